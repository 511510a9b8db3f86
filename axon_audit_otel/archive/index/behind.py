"""Makes the indexes of a running writer's sealed files, behind the application."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import takewhile
from pathlib import Path

from ...core.errors import InvalidEventError
from ...core.faults import Faults
from ...core.files import is_there
from ...core.turn import Turn
from ..checkpoints import SigningKey
from ..manifest import SealRecord
from ..writer import ArchiveWriter
from .archive import remove_index, tidy_indexes
from .building import index_steps, is_indexed, path_of
from .notes import Notes, keys_of_application

__all__ = ["Indexer"]

_AT_ONCE_S = 0.05  # time for one run
_AGAIN_S = 60.0  # after a failure


class Indexer:
    """Works for a moment at a time, in the background thread of its trail.

    Args:
        signing: Signs the archive; None: it is not signed.
        faults: Takes failures.
    """

    def __init__(self, signing: SigningKey | None, faults: Faults) -> None:
        self._signing = signing
        self._faults = faults
        self.begin()

    def begin(self) -> None:
        """Start with nothing done yet; also called in a forked child."""
        self._turn = Turn()
        self._notes: Notes | None = None
        self._through = 0  # newest event in a file that was added to these
        self._waiting: list[SealRecord] = []  # the next one last
        self._steps: Iterator[None] | None = None
        self._again_at = 0.0

    def run(self, writer: ArchiveWriter, lock: AbstractContextManager[object]) -> None:
        """Go on with what is due, unless another thread does. Never raises.

        Args:
            writer: The writer of the archive.
            lock: Its lock; must not be held.
        """
        until = time.monotonic() + _AT_ONCE_S
        if until < self._again_at:
            return
        with self._turn.take(0.0) as ours:
            try:
                if ours:
                    self._look(writer, lock)
                    self._go_on(writer.directory, until)
            except Exception as exc:
                self._again_at = time.monotonic() + _AGAIN_S
                self._steps = None
                self._faults.fault("index", exc)

    def _go_on(self, directory: Path, until: float) -> None:
        while time.monotonic() < until and (self._steps or self._waiting):
            self._steps = self._steps or self._indexed(directory, self._waiting[-1])
            if next(self._steps, self) is self:
                self._steps = None
                self._waiting.pop()

    def _look(self, writer: ArchiveWriter, lock: AbstractContextManager[object]) -> None:
        """Find what was sealed since the last look."""
        with lock:
            records = reversed(writer.sealed.manifest.seals.values())
            new = list(takewhile(lambda record: record.last_sequence > self._through, records))
        if self._notes is None:
            self._notes = Notes(writer.directory, keys_of_application(self._signing))
            tidy_indexes(writer.directory, self._notes, ())
        if new:
            self._through = new[0].last_sequence
            self._waiting[:0] = reversed(new)  # what is begun stays the last

    def _indexed(self, directory: Path, seal: SealRecord) -> Iterator[None]:
        """Give a file an index, if it has none, step by step."""
        assert self._notes is not None
        path = path_of(directory, seal.file)
        try:
            if not is_indexed(directory, seal, path, self._notes):
                yield from index_steps(directory, seal, path, self._notes)
        except BlockingIOError:  # it was compressed meanwhile
            self._waiting.insert(0, seal)
        except (FileNotFoundError, InvalidEventError):
            pass  # deleted or damaged: that is told elsewhere
        if not is_there(path_of(directory, seal.file)):
            remove_index(directory, seal.file)  # deleted meanwhile
