"""Intents: operations that are recorded before they run (``on_failure="block"``).

So operations without an outcome are known after a crash. Disk space is reserved for the outcomes.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from ..core.content import content_of
from ..core.errors import ArchiveError
from ..core.files import DECODE_ERRORS, open_owned, renewed
from ..core.fsync import sync_directory
from .directory import Directory, EventFile
from .manifest import SealRecord
from .missing import Missing
from .reader import LineReader

__all__ = ["Intents"]

_MOST = 1 << 28  # bytes that are read of it
_LONGEST = 1 << 16  # bytes of an intent
_KEPT = 65_536  # bytes; a smaller file is not truncated
_RESERVED = 262_144  # bytes reserved for outcomes,
_FOR = 64  # for each 64 running operations
#: An event's id; of an event that reports an intent without outcome also the id of that one.
_EVENT_ID = re.compile(
    rb'^.\{"event_id":"([^"]+)"(?:,"timestamp":"[^"]*","operation":"AUDIT",'
    rb'.*"metadata":\{"record":"unfinished","event_id":"([^"]+)")?',
    re.MULTILINE,
)


class _Known(msgspec.Struct):
    """The facts of every intent."""

    event_id: str
    time: str


_known_in = msgspec.json.Decoder(_Known).decode


class Intents:
    """The intents of one writer. Not thread-safe.

    Args:
        path: The file without its ending; the file need not exist.
        sync: Force its name to stable storage.
        secret: The key of a hash that each intent gets; None: none gets one.
    """

    def __init__(self, path: Path, sync: bool, secret: bytes | None = None) -> None:
        self._path = path.with_name(f"{path.name}.intents")
        self._reserve = path.with_name(f"{path.name}.reserve")
        self._sync = sync
        self._secret = secret
        self._file = -1
        self._size = 0
        self._running: dict[str, bytes] = {}  # operations without an outcome yet
        self.count = 0  # of intents recorded

    def record_intent(self, event_id: str, intent: bytes) -> None:
        """Record an intent, and reserve space for its outcome.

        Args:
            event_id: The id of the outcome's event.
            intent: One line.

        Raises:
            OSError: If there is no space for one of them.
        """
        if self._secret is not None:
            keyed = _keyed(self._secret, intent)
            intent = b'%b,"keyed_hash":"%b"}' % (intent[:-1], keyed.encode())
        self._hold_back(_RESERVED * (1 + len(self._running) // _FOR))
        lines = [intent]
        if not self._is_in_place():  # the file was changed from outside
            self._open()
            lines = [*self._running.values(), intent]
        size = os.fstat(self._file).st_size
        data = b"".join(line + b"\n" for line in lines)
        if os.write(self._file, data) != len(data):
            self._size = -1  # so that all of it is written again
            os.ftruncate(self._file, size)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._size = size + len(data)
        self._running[event_id] = intent
        self.count += 1

    def done(self, event_id: str) -> None:
        """Drop the intent of an operation that has its outcome."""
        self._running.pop(event_id, None)
        if not self._running and self._file >= 0 and os.fstat(self._file).st_size > _KEPT:
            self._size = 0
            os.ftruncate(self._file, 0)

    def _is_in_place(self) -> bool:
        """Return True if the open file is still at its path, and is not truncated."""
        if self._file < 0:
            return False
        with contextlib.suppress(OSError):
            found = self._path.stat()
            return found.st_size >= self._size >= 0 and (
                found.st_ino == 0 or os.path.samestat(found, os.fstat(self._file))
            )
        return False

    def _open(self) -> None:
        self.close()
        self._file = open_owned(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND)
        if self._sync:
            sync_directory(self._path.parent)

    def moved(self, path: Path) -> Intents:
        """Close the file; return these intents for another name of their writer."""
        self.close()
        intents = Intents(path, self._sync, self._secret)
        intents.count, intents._running = self.count, self._running
        return intents

    def _hold_back(self, wanted: int) -> None:
        """Make the reserve that large, if it is smaller."""
        with contextlib.suppress(FileNotFoundError):
            wanted -= self._reserve.stat().st_size
        if wanted > 0:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
            with open(open_owned(self._reserve, flags), "ab") as file:
                file.write(os.urandom(wanted))  # random, so that no file system can compress it

    def give_reserve(self) -> bool:
        """Free the reserved space; return False if there is none."""
        try:
            self._reserve.unlink()
        except OSError:
            return False
        return True

    def unfinished(self, seals: Iterable[SealRecord]) -> list[dict[str, Any]]:
        """The intents of a writer that crashed which have no event.

        With a key, those without its hash have the fact ``adopted``: anybody may have written
        them.

        Args:
            seals: The sealed files of the directory, the newest first.

        Raises:
            ArchiveError: If the intents cannot be read.
        """
        try:
            lines = content_of(self._path, _MOST).splitlines()
        except FileNotFoundError:
            return []
        except OSError as exc:
            msg = f"cannot archive to {str(self._path.parent)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc
        intents: dict[str, dict[str, Any]] = {}
        times = []
        for line in lines:
            with contextlib.suppress(*DECODE_ERRORS):  # cut off in the middle
                known, intent = _known_in(line), msgspec.json.decode(line)
                if len(line) > _LONGEST or "record" in intent:  # it says what that is
                    continue
                keyed = intent.pop("keyed_hash", "")
                if self._secret is not None and not self._attests(line, keyed):
                    intent["adopted"] = True
                intents[known.event_id] = intent
                times.append(known.time)
        oldest = min(times, default="")
        with Directory(self._path.parent, Missing()) as directory:
            for index, seal in enumerate(seals):
                # The newest file is read always: the clock may have gone back.
                if not intents or (index and seal.last_time < oldest):
                    break
                sealed = EventFile.listed_as(seal, directory.path)
                # Missing or damaged: `verify` reports it.
                with contextlib.suppress(OSError), directory.open(sealed) as file:
                    for block in LineReader(file).blocks():
                        for outcome, intended in _EVENT_ID.findall(block):
                            intents.pop((intended or outcome).decode(), None)
        return list(intents.values())

    def _attests(self, line: bytes, keyed: object) -> bool:
        assert self._secret is not None
        intent = line[: line.rfind(b',"keyed_hash"')] + b"}"
        given = str(keyed).encode("utf-8", "replace")
        return hmac.compare_digest(_keyed(self._secret, intent).encode(), given)

    def duplicate(self) -> int:
        """A new descriptor of the file; -1 without a file."""
        return -1 if self._file < 0 else os.dup(self._file)

    def renew(self) -> None:
        """Write the content to a new file: see `renewed`.

        Raises:
            OSError: If that failed; it is as before.
        """
        if self._is_in_place():
            self._file = renewed(self._path, self._file)

    def remove(self) -> None:
        """Remove both files: they are not needed any more."""
        for path in (self._path, self._reserve):
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = -1


def _keyed(secret: bytes, intent: bytes) -> str:
    return hashlib.blake2b(intent, key=secret, digest_size=16).hexdigest()
