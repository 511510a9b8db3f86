"""Which ids of records from elsewhere are new to a trail: no two events have one id."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

import msgspec

from ..archive.directory import files_of
from ..archive.format import JOURNAL
from ..archive.reader import LineReader, open_events_file
from ..core.errors import InvalidEventError
from .buffer import Buffer
from .trail_lock import Lock

__all__ = ["GivenIds"]

_BITS = 1 << 27  # of the filter: 16 MiB, which memory has from the first id on
_PLACES = 4  # of them for each id: after a million ids, one new id in a million seems known
_PATIENCE_S = 0.05
_AT_ONCE = 256  # blocks of 64 KiB that are read for one record
#: Returns a true value for an id that has the form of those that trails make.
_is_made_here = re.compile(r"evt_[0-9a-f]{32}").fullmatch
_others = re.compile(
    rb'^.\{"event_id":"(?!evt_[0-9a-f]{32}")((?:[^"\\]|\\.)*)"', re.MULTILINE
).findall


class GivenIds:
    """Remembers the ids that records from elsewhere gave to events. Thread-safe.

    The ids that trails make, which are random, are not remembered. All others in the archive are
    read when the first record comes, some MiB for each record, and until that is done none
    counts as new. They are kept in a Bloom filter: it takes a new id for a known one now and
    then, and never a known one for new.

    Args:
        archive: The directory of the archive; None without one.
        buffer: The events in memory.
        trail_lock: Its lock.
    """

    def __init__(self, archive: Path | None, buffer: Buffer, trail_lock: Lock) -> None:
        self.after_fork()
        self._archives = archive is not None
        self._buffer = buffer
        self._trail_lock = trail_lock
        self._filter = bytearray()
        self._unread: Iterator[None] = iter(()) if archive is None else self._read(archive)
        self._are_all_known = False

    def after_fork(self) -> None:
        """In a child: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()

    def take(self, given: str) -> bool:
        """Return True if an event may have that id; from then on it is known.

        An id that a trail has made may be that of any event which is no longer in memory.
        """
        if _is_made_here(given):
            with self._trail_lock:
                if self._archives or self._buffer.may_have_had(given):
                    return False
        if not self._lock.acquire(timeout=_PATIENCE_S):
            return False  # a signal handler's record, in the middle of another
        try:
            self._filter = self._filter or bytearray(_BITS >> 3)
            if not self._are_all_known:
                read = sum(1 for _ in islice(self._unread, _AT_ONCE))
                self._are_all_known = read < _AT_ONCE
            return self._add(msgspec.json.encode(given)[1:-1]) and self._are_all_known
        finally:
            self._lock.release()

    def _add(self, key: bytes) -> bool:
        """Add an id, as it is written in JSON; return False if it seems known."""
        places = int.from_bytes(hashlib.blake2b(key, digest_size=16).digest(), "big")
        is_new = False
        for _ in range(_PLACES):
            places, bit = divmod(places, _BITS)
            byte, mask = bit >> 3, 1 << (bit & 7)
            is_new = is_new or not self._filter[byte] & mask
            self._filter[byte] |= mask
        return is_new

    def _read(self, archive: Path) -> Iterator[None]:
        """Add the ids in the archive; yields after each block."""
        with suppress(OSError):  # an archive without files
            for path in sorted(files_of(archive), key=lambda path: path.suffix != JOURNAL):
                with suppress(OSError, InvalidEventError), open_events_file(path) as file:
                    for block in LineReader(file).blocks():
                        for key in _others(block):
                            self._add(key)
                        yield
