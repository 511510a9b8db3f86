"""The checkpoints for a verification: from files beside the archive, and from the caller."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from ..archive.checkpoints import (
    NOTE_TEXT,
    SIGNATURE_LINE,
    Checkpoint,
    VerifyingKey,
    is_signed_note,
)
from ..archive.cosignatures import COSIGNED, Quorum, WitnessKey
from ..core.errors import InvalidEventError
from ..core.files import open_regular
from ..otlp.checkpoint_records import notes_in_otlp
from .findings import Findings

__all__ = [
    "SUFFIXES",
    "CheckpointSet",
    "Statement",
    "notes_beside",
    "notes_in",
    "notes_in_file",
    "notes_of",
]

SUFFIXES = (".checkpoint", ".checkpoints", COSIGNED)
_START = "axon-audit/"
# A first line after other text on its line; a writer or a key may have that word in its name.
_after_a_cut = re.compile(r"(?<=.)axon-audit/[^/\s]+/(?:[0-9a-f]{16}|new)\n$").search
_whole = re.compile(f"{NOTE_TEXT}\n(?P<signatures>(?:{SIGNATURE_LINE})*)").match
# What a kill leaves of a note: the beginning of its text, with its empty line or without.
_is_begun = re.compile(
    r"axon-audit/\S*(?:\n[0-9]*(?:\n[A-Za-z0-9+/]*=?(?:\n[a-z]*(?: [0-9]*(?: [0-9a-f]*)?)?"
    r"(?:\n[a-z]*(?: \S*)?\n?)?)?)?)?"
).fullmatch
_is_begun_signature = re.compile(r"\ufffd|\u2014(?: \S*){0,2}\n?").fullmatch
_LONGEST = 1 << 16  # characters; a note is shorter

_OTHERS_SIGN = "if another key signs here too (a reader's, or an older one), give both, --key twice"


class Statement(NamedTuple):
    """A checkpoint and its source.

    Attributes:
        checkpoint: The checkpoint.
        source: The file name, or "the given checkpoint".
        outside: True if the caller gave it.
        proves: True if an attacker could not have made it: it is signed by a given key or, if
            no key was given, was kept elsewhere or is cosigned by enough witnesses.
        cosigned: The witnesses that cosigned it, and when, in seconds since 1970.
        cosigned_at: When enough of them had; None if they have not.
    """

    checkpoint: Checkpoint
    source: str
    outside: bool
    proves: bool
    cosigned: Mapping[WitnessKey, int]
    cosigned_at: datetime | None

    def __str__(self) -> str:
        return str(self.checkpoint)

    @property
    def writer(self) -> str:
        """The name of its writer."""
        return self.checkpoint.writer

    @property
    def id(self) -> str:
        """The id of its trail; "new" before that had a manifest."""
        return self.checkpoint.origin.split("/")[-1]


def notes_in(lines: Iterable[str]) -> Iterator[str]:
    """Yield the notes in a text, and what else there is, each on its own.

    A note that was cut off by a kill is skipped: in the middle of a line, where the next note
    begins, or between the lines of its text.
    """
    parts: list[str] = []
    size = 0
    for line in lines:
        begins = _after_a_cut(line)
        if begins is not None:
            parts.append(line[: begins.start()])
        if begins is not None or line.startswith(_START) or size > _LONGEST:
            yield from _finished("".join(parts))
            parts, size = [], 0
        parts.append(line if begins is None else begins[0])
        size += len(parts[-1])
    yield from _finished("".join(parts))


def _finished(text: str) -> Iterator[str]:
    """Yield the note that *text* begins with, and then the rest; not what a kill cut off."""
    note = _whole(text)
    if note is None:
        rest = text
    else:
        rest = text[note.end() :]
        if not note["signatures"] and _is_begun_signature(rest):
            return
        yield note[0]
    if rest.strip() and not _START.startswith(rest.rstrip("\n")) and not _is_begun(rest):
        yield rest


def notes_in_file(path: Path) -> Iterator[str]:
    """Yield the notes in a file; damaged bytes do not hide the other notes.

    Raises:
        OSError: If it cannot be read.
    """
    with TextIOWrapper(open_regular(path), "utf-8", errors="replace", newline="\n") as lines:
        yield from notes_in(lines)


def notes_of(text: str) -> list[str]:
    """The notes in a text, or in OTLP JSON, as a collector's file exporter writes it."""
    lines = (text if text.endswith("\n") else f"{text}\n").splitlines(keepends=True)
    return notes_in_otlp(lines) if text.lstrip().startswith("{") else list(notes_in(lines))


def notes_beside(directory: Path, writer: str) -> Iterator[tuple[Checkpoint, str]]:
    """Yield each signed checkpoint of *writer* beside its archive, and its note.

    Raises:
        OSError: If a file cannot be read.
    """
    for suffix in SUFFIXES:
        with suppress(FileNotFoundError):
            for note in notes_in_file(directory / f"{writer}{suffix}"):
                with suppress(InvalidEventError):
                    checkpoint = Checkpoint.parse(note)
                    if is_signed_note(note):
                        yield checkpoint, note


class CheckpointSet:
    """Collects checkpoints, each state of a trail once.

    Args:
        keys: If there are any, one of them must have signed every checkpoint.
        findings: Takes checkpoints that are not signed, or cannot be read.
        quorum: How many witnesses must have cosigned one.
    """

    def __init__(self, keys: list[VerifyingKey], findings: Findings, quorum: Quorum) -> None:
        self._keys = keys
        self.quorum = quorum
        self._findings = findings
        self._statements: dict[tuple[object, ...], Statement] = {}

    def add_given(self, texts: Iterable[str]) -> None:
        """Add checkpoints that the caller kept elsewhere: notes, or OTLP JSON lines with notes.

        Raises:
            InvalidEventError: If there is no checkpoint in one of *texts*.
        """
        for text in texts:
            ended = text if text.endswith("\n") else f"{text}\n"
            lines = ended.splitlines(keepends=True)
            if ended.lstrip().startswith("{"):  # foreign records may have that name
                notes = [note for note in notes_in_otlp(lines) if self._is_good(note, [])]
            else:
                notes = self._finished(notes_in(lines), text == ended)
            for note in notes or [ended]:
                self._add(Checkpoint.parse(note), note, "the given checkpoint", True)

    def add_received(self, note: str, source: str) -> None:
        """Add a checkpoint that was sent; records that are none are ignored."""
        with suppress(InvalidEventError):
            self._add(Checkpoint.parse(note), note, source, False)

    def add_file(self, path: Path) -> None:
        """Add the checkpoints in a file beside the archive."""
        try:
            for note in self._finished(notes_in_file(path)):
                try:
                    self._add(Checkpoint.parse(note), note, path.name, False)
                except InvalidEventError:
                    words = "a note in it is not a checkpoint"
                    self._findings.add(path.name, None, "unreadable", words)
        except FileNotFoundError:
            return
        except OSError as exc:
            self._findings.add_unreadable(path.name, exc)

    def _add(self, checkpoint: Checkpoint, note: str, source: str, outside: bool) -> None:
        signed = bool(self._keys) and self._is_good(note, self._keys)
        if self._keys and not signed:
            names = " or ".join(key.name for key in self._keys)
            words = f"a checkpoint in it is not signed by {names}: {_OTHERS_SIGN}"
            self._findings.add(source, None, "wrong_key", words)
            return
        state = (checkpoint.origin, checkpoint.size, checkpoint.root, checkpoint.events)
        key = (*state, checkpoint.head)
        known = self._statements.get(key)
        cosigned = self.quorum.cosigned(note)
        for witness, time in () if known is None else known.cosigned.items():
            cosigned[witness] = max(time, cosigned.get(witness, time))
        at = self.quorum.reached_at(cosigned)
        proves = signed or ((outside or at is not None) and not self._keys)
        outside = outside or (known is not None and known.outside)
        statement = Statement(checkpoint, source, outside, proves, cosigned, at)
        if known is not None:
            known = self._statements[key] = known._replace(
                outside=outside, cosigned=cosigned, cosigned_at=at
            )
        if known is None or (statement.proves, checkpoint.time) > (
            known.proves,
            known.checkpoint.time,
        ):
            self._statements[key] = statement

    def _finished(self, found: Iterable[str], ended: bool = True) -> list[str]:
        """The notes without the last of several, if a kill cut that off before its signature.

        Args:
            found: The notes.
            ended: True if the text ended with a newline.
        """
        notes = list(found)
        if len(notes) > 1 and not self._is_good(notes[-1], self._keys):
            is_half = "\u2014" not in notes[-1] or not ended
            return notes[:-1] if is_half and self._is_good(notes[-1], []) else notes
        return notes

    @staticmethod
    def _is_good(note: str, keys: list[VerifyingKey]) -> bool:
        """Return True if it is a checkpoint, signed by one of *keys* if there are any."""
        try:
            Checkpoint.parse(note, keys)
        except InvalidEventError:
            return False
        return True

    def about(self, writer: str, trail: str | None) -> list[Statement]:
        """The checkpoints of one trail, ordered by the number of their newest event."""
        found = [
            statement
            for statement in self._statements.values()
            if statement.id == trail
            or (statement.writer == writer and (trail is None or statement.id == "new"))
        ]
        return sorted(found, key=lambda s: (s.checkpoint.events, s.checkpoint.size))

    def others(self, known: Iterable[Statement]) -> list[Statement]:
        """The checkpoints that are not among *known*."""
        seen = {id(statement) for statement in known}
        return [s for s in self._statements.values() if id(s) not in seen]

    def sizes(self) -> set[int]:
        """The sizes of the manifests in the checkpoints."""
        return {statement.checkpoint.size for statement in self._statements.values()}
