"""The newest state that a writer recorded itself: a start signs nothing else.

Whoever can write to the directory could add events, and wait for the next start to sign them. So
each writer keeps its newest state, with a keyed hash, in ``<writer>.attested``. Its two slots are
written in turn, each before its line of journal or manifest: a kill between the two leaves the slot
of before. A signed checkpoint says the same, but only now and then.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import secrets
import stat
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from ..core.errors import InvalidEventError
from ..core.files import DECODE_ERRORS, named, open_owned, open_regular
from ..core.merkle import leaf_hash, root_hash
from .checkpoints import Checkpoint, SigningKey, signed_notes
from .format import Position, position_of
from .manifest import DeleteRecord, Manifest, trail_id
from .reader import LineReader

__all__ = ["ATTESTED", "AttestedFile", "Attestor", "Judgement", "NotAttestedError"]

ATTESTED = ".attested"
_STATE = struct.Struct(">QQ32s32s")
_pack = _STATE.pack
_MAC = 16  # bytes of a keyed hash
_SLOT = _STATE.size + _MAC
_NONE = bytes(32)
_NOTES = 1 << 18  # bytes at the end of a file with checkpoints: the newest are there
_COPIES = 1 << 28  # and of those kept elsewhere, also of other trails


class State(NamedTuple):
    """What one slot says.

    Attributes:
        number: The number of the newest event; 0 before the first.
        lines: The number of lines in the manifest.
        head: The hash of that event.
        line: The hash of the newest of those lines.
    """

    number: int = 0
    lines: int = 0
    head: bytes = _NONE
    line: bytes = _NONE


class NotAttestedError(Exception):
    """Files of a writer that nothing attests, or that contradict a checkpoint: see `words`.

    Attributes:
        writer: Its name.
        words: The reason, as the end of a sentence about these files.
    """

    def __init__(self, writer: str, words: str) -> None:
        super().__init__(f"the files of {writer!r} are left as they are: {words}")
        self.writer = writer
        self.words = words


class AttestedFile:
    """The file of one writer with its newest state.

    Args:
        path: The file; made if it is missing.
        secret: The key of its hashes.
        state: The state to begin with.

    Attributes:
        file: Its descriptor.
    """

    def __init__(self, path: Path, secret: bytes, state: State) -> None:
        self._path = path
        self._keyed = hashlib.blake2b(key=secret, digest_size=_MAC)
        self._number, self._lines, self._head, self._line = state
        self._offset = 0
        self._open()

    def _open(self) -> None:
        with suppress(FileNotFoundError):
            if not stat.S_ISREG(self._path.lstat().st_mode):  # no file of ours
                os.replace(self._path, f"{self._path}.{secrets.token_hex(4)}")
        self.file = open_owned(self._path, os.O_RDWR | os.O_CREAT)
        for _ in range(2):
            self._write()

    def event(self, number: int, leaf: bytes) -> None:
        """Take an event that is written next.

        Raises:
            OSError: If that failed.
        """
        self._number, self._head = number, leaf
        self._write()

    def line(self, lines: int, leaf: bytes) -> None:
        """Take a line of the manifest that is written next.

        Raises:
            OSError: If that failed.
        """
        if not self._is_in_place():  # somebody removed it
            self.close()
            self._open()
        self._lines, self._line = lines, leaf
        self._write()

    def _is_in_place(self) -> bool:
        with suppress(OSError):
            return os.path.samestat(self._path.lstat(), os.fstat(self.file))
        return False

    def _write(self) -> None:
        data = _pack(self._number, self._lines, self._head, self._line)
        keyed = self._keyed.copy()
        keyed.update(data)
        os.pwrite(self.file, data + keyed.digest(), self._offset)
        self._offset ^= _SLOT

    def close(self) -> None:
        """Close the file."""
        if self.file >= 0:
            with suppress(OSError):
                os.close(self.file)
        self.file = -1


class Judgement(NamedTuple):
    """The result of `Attestor.judge`.

    Attributes:
        state: What is attested, also of a new trail.
        adopted: The number of the first event that nothing attests; 0 if there is none.
        last: The number of the newest event that is here.
        lost: The number of the newest event that was recorded; more than *last* if the newest
            events are gone.
        gone: A trail of this name that was here before; None without one.
    """

    state: State
    adopted: int
    last: int
    lost: int
    gone: NotAttestedError | None = None


class Attestor:
    """Says what of a writer's files may be signed.

    Args:
        key: Signs this archive's checkpoints.
        copy: A file outside the archive with the checkpoints that were made; None without.
    """

    def __init__(self, key: SigningKey, copy: Path | None) -> None:
        self._key = key
        self._copy = copy

    def file(self, prefix: Path, state: State) -> AttestedFile:
        """The file of a writer, with *state* in it.

        Raises:
            OSError: If it cannot be written.
        """
        return AttestedFile(prefix.with_name(prefix.name + ATTESTED), self._secret(prefix), state)

    def secret(self, purpose: str) -> bytes:
        """A secret key of 32 bytes for *purpose*."""
        return self._key.derived(purpose)

    def _secret(self, prefix: Path) -> bytes:
        return self.secret(f"attested {prefix.name}")

    def judge(self, prefix: Path, manifest: Manifest, unlisted: Path | None) -> Judgement:
        """What of a writer's files this key attests.

        Args:
            prefix: The path of the writer's files, without their suffixes.
            manifest: Its manifest.
            unlisted: The file with its events that are not in the manifest; None without.

        Raises:
            NotAttestedError: If nothing attests them, or something contradicts them.
            OSError: If they cannot be read.
        """
        states = list(self._states(prefix))
        last = manifest.last
        events = _Unlisted(*((0, None) if last is None else (last.last_sequence, last.head)))
        if unlisted is not None:
            events.read(unlisted)
        writer = _Writer(prefix.name, self._key, manifest, events)
        notes = [self._newest(prefix, suffix, writer) for suffix in (".checkpoint", ".checkpoints")]
        notes.append(None if self._copy is None else self._newest_in(self._copy, writer, True))
        checkpoints = [note for note in notes if note is not None]
        is_empty = not (writer.leaves or events.hashes)
        if is_empty and checkpoints == notes[2:]:
            (copied,) = checkpoints  # only the copy knows a trail: it was removed
            assert self._copy is not None
            words = f"{copied.origin} had {copied.events} events, as {self._copy.name} says"
            gone = writer.refusal(f"{words}, of which nothing is here")
            return Judgement(State(), 0, 0, 0, gone)
        if is_empty and not checkpoints:
            return Judgement(State(), 0, 0, 0)
        if not states and not checkpoints:
            raise writer.refusal("no checkpoint of this key, and no keyed hash, covers them")
        return writer.judged(states, checkpoints)

    def knows(self, prefix: Path) -> bool:
        """Return True if a writer of this key began the files with that prefix."""
        return any(True for _ in self._states(prefix))

    def _states(self, prefix: Path) -> Iterator[State]:
        """The states in the slots that have the right hash."""
        data = b""
        with suppress(OSError), open_regular(prefix.with_name(prefix.name + ATTESTED)) as file:
            data = file.read(2 * _SLOT)
        secret = self._secret(prefix)
        for slot in (data[:_SLOT], data[_SLOT:]):
            said, keyed = slot[: _STATE.size], slot[_STATE.size :]
            if len(slot) == _SLOT and hmac.compare_digest(_keyed(secret, said), keyed):
                yield State(*_STATE.unpack(said))

    def _newest(self, prefix: Path, suffix: str, writer: _Writer) -> Checkpoint | None:
        return self._newest_in(prefix.with_name(prefix.name + suffix), writer, False)

    def _newest_in(self, path: Path, writer: _Writer, is_copy: bool) -> Checkpoint | None:
        """The newest checkpoint in a file that this key signed for the writer; None without any."""
        try:
            with open_regular(named(path) if is_copy else path) as file:
                most = _COPIES if is_copy else _NOTES
                file.seek(max(0, file.seek(0, os.SEEK_END) - most))
                text = file.read(most).decode(errors="replace")
        except OSError:
            return None
        found = []
        for note in signed_notes(text):
            with suppress(InvalidEventError):
                checkpoint = Checkpoint.parse(note)
                if writer.owns(checkpoint, is_copy):
                    found.append((checkpoint.size, checkpoint.events, note))
        for _, _, note in sorted(found, reverse=True):
            with suppress(InvalidEventError):
                return Checkpoint.parse(note, [self._key.verifying])
        return None


class _Unlisted:
    """The events of a writer that are not in its manifest, as they are found.

    Args:
        sealed: The number of the newest event in the manifest; 0 before the first.
        head: Its hash, hex; None before the first.

    Attributes:
        sealed: As given.
        hashes: The hashes of the events, by number.
        last: The number of the newest event, sealed or not.
        broken: The number of the first event that does not continue the one before it; 0 without.
        gap: The number of the first event before which numbers are missing; 0 without. No hash
            leads from it to the events before.
        goes_back: The number of the first event that is not higher than the one before it.
    """

    def __init__(self, sealed: int, head: str | None) -> None:
        self.sealed = self.last = sealed
        self._head = head
        self.hashes: dict[int, bytes] = {}
        self.broken = self.gap = self.goes_back = 0

    def read(self, path: Path) -> None:
        """Read a journal, or a sealed file; lines that are no events are left out.

        Raises:
            OSError: If that failed.
        """
        with open_regular(path) as file:
            for line in LineReader(file, path).lines():
                with suppress(InvalidEventError, *DECODE_ERRORS):
                    self._take(position_of(line[1:-1]), leaf_hash(line[1:-1]))

    def _take(self, position: Position, leaf: bytes) -> None:
        number, head = position.sequence, leaf.hex()
        if number <= self.last:
            self.goes_back = self.goes_back or number
        elif position.previous_hash != self._head and number == self.last + 1:
            self.broken = self.broken or number
        elif position.previous_hash != self._head:
            self.gap = self.gap or number
        self.hashes[number] = leaf
        self.last, self._head = max(self.last, number), head


class _Writer:
    """The files of one writer, as they are found."""

    def __init__(self, name: str, key: SigningKey, manifest: Manifest, events: _Unlisted) -> None:
        self._name = name
        self._key = key
        self._manifest = manifest
        self._events = events
        self.leaves = [leaf_hash(line) for line, _ in manifest.lines()]
        first = min(events.hashes, default=0)
        self._id = manifest.id or (trail_id(events.hashes[first].hex()) if first else "")

    def refusal(self, words: str) -> NotAttestedError:
        return NotAttestedError(self._name, words)

    def owns(self, checkpoint: Checkpoint, is_copy: bool) -> bool:
        """Return True if a checkpoint is about this trail, or was beside it."""
        writer, _, trail = checkpoint.origin.removeprefix("axon-audit/").partition("/")
        return writer == self._name and (not is_copy or trail in (self._id, "new") or not self._id)

    def judged(self, states: list[State], checkpoints: list[Checkpoint]) -> Judgement:
        for checkpoint in checkpoints:
            self._compare(checkpoint)
        fitting = [state for state in states if self._fits(state)]
        if states and not fitting:
            raise self.refusal("its manifest is not the one that was written")
        lines = max(
            [state.lines for state in fitting] + [checkpoint.size for checkpoint in checkpoints]
        )
        self._compare_lines_after(lines)
        number = self._newest_attested(fitting, checkpoints)
        state = State(
            number,
            len(self.leaves),
            self._events.hashes.get(number, _NONE),
            self.leaves[-1] if self.leaves else _NONE,
        )
        adopted = number + 1 if number < self._events.last else 0
        # The newest state may be that of an event whose line was not written any more.
        lost = min((state.number for state in states), default=0)
        return Judgement(state, adopted, self._events.last, max(lost, self._events.last))

    def _fits(self, state: State) -> bool:
        lines = state.lines
        return lines <= len(self.leaves) and (not lines or self.leaves[lines - 1] == state.line)

    def _compare(self, checkpoint: Checkpoint) -> None:
        """Raise if a checkpoint contradicts the files."""
        about = f"the checkpoint of {checkpoint.time}"
        if checkpoint.size > len(self.leaves):
            words = f"{about} knew {checkpoint.size} lines of its manifest"
            raise self.refusal(f"{words}, {len(self.leaves)} are here")
        if root_hash(self.leaves[: checkpoint.size]) != checkpoint.root:
            raise self.refusal(f"its manifest is not the one that {about} signed")
        number, here = checkpoint.events, self._events
        if number > here.last:
            raise self.refusal(f"{about} knew event {number}, {here.last} is the newest here")
        if number in here.hashes and here.hashes[number].hex() != checkpoint.head:
            raise self.refusal(f"event {number} is not the one that {about} names")

    def _compare_lines_after(self, lines: int) -> None:
        """Raise if a line after the first *lines* of the manifest is not a deletion of ours."""
        for _, record in list(self._manifest.lines())[lines:]:
            if not (isinstance(record, DeleteRecord) and record.is_signed_by(self._key.verifying)):
                words = f"nothing attests its manifest after line {lines}"
                raise self.refusal(words)

    def _newest_attested(self, states: list[State], checkpoints: list[Checkpoint]) -> int:
        """The number of the newest event that is attested, and with it those before."""
        events = self._events
        claims = [(checkpoint.events, bytes.fromhex(checkpoint.head)) for checkpoint in checkpoints]
        claims += [(state.number, state.head) for state in states]
        number = events.sealed
        for claimed, head in claims:
            known = events.hashes.get(claimed)
            if known is not None and known != head:
                raise self.refusal(f"event {claimed} is not the one that was recorded")
            if known is not None and not (events.gap and events.gap <= claimed):
                number = max(number, claimed)
        if events.goes_back:
            raise self.refusal(f"event {events.goes_back} is not after the one before it")
        if 0 < events.broken <= number:
            raise self.refusal(f"event {events.broken} does not continue the one before it")
        return number


def _keyed(secret: bytes, data: bytes) -> bytes:
    return hashlib.blake2b(data, key=secret, digest_size=_MAC).digest()
