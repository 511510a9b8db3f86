"""The register of writers: each manifest lists the other writers of its directory.

A signed checkpoint binds it. So a writer whose files are removed, or rolled back, with its own
checkpoints is missed by the others. With a key only those writers are listed that had it too:
nobody else can add to the register.
"""

from __future__ import annotations

import math
import os
import time
from contextlib import suppress
from pathlib import Path

from ..core.errors import InvalidEventError
from ..core.files import DECODE_ERRORS, open_regular
from ..core.fsync import sync_file
from ..core.merkle import leaf_hash
from .attested import Attestor
from .checkpoints import Checkpoint, SigningKey
from .directory import writers_in
from .format import JOURNAL, position_of
from .manifest import Listing, OtherWriter, trail_id
from .reader import LineReader

__all__ = ["Register"]

_SHARE = 0.01  # of the time may go into looking
_GROWN = 4  # known writers in one line that have more events now
_NOTE = 1 << 16  # bytes of a checkpoint, at most


class Register:
    """Looks for what a writer's manifest does not list yet of the other writers.

    Args:
        key: Of all that is listed; None: anything is, unsigned as it is.
        sync: Force what it lists to stable storage before.
    """

    def __init__(self, key: SigningKey | None, sync: bool = False) -> None:
        self._keys = [] if key is None else [key.verifying]
        self._attestor = None if key is None else Attestor(key, None)
        self._sync = sync
        self._next = -math.inf  # time of the next look
        self._read: dict[str, tuple[tuple[int, int], OtherWriter]] = {}  # checkpoints, by file

    def news(
        self, directory: Path, writer: str, listed: Listing, now: bool = False
    ) -> list[OtherWriter]:
        """The other writers that are new, and those with more events that have grown most.

        Args:
            directory: The archive.
            writer: Name of the writer whose manifest it is.
            listed: The content of that manifest.
            now: Look also if the last look was a moment ago.

        Raises:
            OSError: If the directory cannot be read.
        """
        began = time.monotonic()
        if began < self._next and not now:
            return []
        names = (name for name in writers_in(directory) if name != writer)
        found = [other for name in names if (other := self._look_at(directory, name)) is not None]
        known = listed.others
        new = [other for other in found if other.id not in known]
        grown = [o for o in found if o.id in known and o.events > known[o.id].events]
        grown.sort(key=lambda other: known[other.id].events / other.events)
        ended = time.monotonic()
        self._next = ended + (ended - began) / _SHARE
        return new + grown[:_GROWN]

    def _look_at(self, directory: Path, name: str) -> OtherWriter | None:
        """How far a writer is; None if nothing attests an event, or it cannot be read."""
        with suppress(OSError, InvalidEventError, *DECODE_ERRORS):
            try:
                return self._by_checkpoint(directory / f"{name}.checkpoint", name)
            except (FileNotFoundError, InvalidEventError):
                if self._attestor is None or self._attestor.knows(directory / name):
                    return self._by_journal(directory / f"{name}{JOURNAL}", name)
        return None

    def _by_checkpoint(self, path: Path, name: str) -> OtherWriter | None:
        """The writer by its newest checkpoint.

        Raises:
            InvalidEventError: If it is none, or not of the key.
            OSError: If it cannot be read.
        """
        with open_regular(path) as file:
            status = os.fstat(file.fileno())
            state = status.st_size, status.st_mtime_ns
            before, other = self._read.get(name, (None, None))
            if before != state:
                note = file.read(_NOTE).decode("utf-8", "replace")
                checkpoint = Checkpoint.parse(note, self._keys)
                writer, _, trail = checkpoint.origin.removeprefix("axon-audit/").partition("/")
                if writer != name or trail == "new":  # of an older version
                    raise InvalidEventError(f"a checkpoint of {checkpoint.origin}")
                number, head = checkpoint.events, checkpoint.head
                other = OtherWriter(writer=name, id=trail, events=number, head=head)
                self._read[name] = state, other
        return other

    def _by_journal(self, path: Path, name: str) -> OtherWriter | None:
        """The writer by its first event; None if its journal begins later."""
        with open_regular(path) as file:
            if self._sync:
                sync_file(file.fileno())
            line = next(LineReader(file).lines(), b"")[1:-1]
        if not line or position_of(line).sequence != 1:
            return None
        head = leaf_hash(line).hex()
        return OtherWriter(writer=name, id=trail_id(head), events=1, head=head)
