"""The register of writers: each manifest lists the other writers of its directory.

A signed checkpoint binds it. So a writer whose files are removed, or rolled back, with its own
checkpoints is missed by the others.
"""

from __future__ import annotations

import math
import time
from contextlib import suppress
from pathlib import Path

from ..core.files import DECODE_ERRORS, open_regular, sync_file
from ..core.merkle import leaf_hash
from .directory import writers_in
from .format import JOURNAL, position_of
from .manifest import MANIFEST, Listing, OtherWriter, newest_stated
from .origin import source_of
from .reader import LineReader

__all__ = ["Register"]

_SHARE = 0.01  # of the time may go into looking
_GROWN = 4  # known writers in one line that have more events now


class Register:
    """Looks for what a writer's manifest does not list yet of the other writers.

    Args:
        sync: Force what it lists to stable storage before.
    """

    def __init__(self, sync: bool = False) -> None:
        self._sync = sync
        self._next = -math.inf  # time of the next look

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
        found = [other for name in names if (other := self._read(directory, name)) is not None]
        known = listed.others
        new = [other for other in found if other.id not in known]
        grown = [o for o in found if o.id in known and o.events > known[o.id].events]
        grown.sort(key=lambda other: known[other.id].events / other.events)
        ended = time.monotonic()
        self._next = ended + (ended - began) / _SHARE
        return new + grown[:_GROWN]

    def _read(self, directory: Path, name: str) -> OtherWriter | None:
        """How far a writer is; None without an event, or if its files cannot be read."""
        with suppress(OSError, *DECODE_ERRORS):
            number, head = newest_stated(directory / f"{name}{MANIFEST}")
            if not number:
                number, head = self._first_event(directory / f"{name}{JOURNAL}")
            stream = source_of(directory, name).stream
            if number and stream:
                return OtherWriter(writer=name, id=stream, events=number, head=head)
        return None

    def _first_event(self, journal: Path) -> tuple[int, str]:
        """Number and hash of a trail's first event; 0 and "" if the journal begins later."""
        with open_regular(journal) as file:
            if self._sync:
                sync_file(file.fileno())
            line = next(LineReader(file).lines(), b"")[1:-1]
        if line and position_of(line).sequence == 1:
            return 1, leaf_hash(line).hex()
        return 0, ""
