"""Work that a trail postpones until its lock is released: log messages and calls of observers.

Logging handlers and observers are foreign code: they take locks of their own, and use the trail.
To call them under our lock could block for ever. So a failure under the lock is only counted and
noted here; the thread that releases the lock does the rest.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ..core.log import logger
from ..core.turn import Turn
from .metrics import TrailMetrics

__all__ = ["Afterwards", "Late"]


_OF_FILES = {"journal", "seal", "commit"}  # stages of the archive
_KINDS = 64  # of failures that are logged
_MOST = 1000  # notes that wait for a handler that does not come back


class Late(deque[Callable[[], object]]):
    """What had no room when it was to be done: the stack or memory ended there. Whoever comes
    next does it."""

    def do(self) -> None:
        """Do what waits; what has no room here either waits on."""
        for _ in range(2 * len(self)):  # to record an event may leave its counting
            try:
                action = self.popleft()
            except IndexError:  # done, also by another thread
                return
            try:
                action()
            except (RecursionError, MemoryError):
                self.append(action)
                return


class Afterwards:
    """Failures of our own, and whatever else must wait until no lock is held.

    One thread at a time does what is noted, by whomever. Another one does not wait for it: what
    that thread calls may wait for this one.

    Args:
        name: Name of the trail.
        metrics: The trail's.

    Attributes:
        waiting: What is noted and not done: to be looked at when the lock is released.
    """

    def __init__(self, name: str, metrics: TrailMetrics) -> None:
        self._name = name
        self._metrics = metrics
        self._known: set[str] = set()  # kinds of failures that were noted
        self.waiting: deque[Callable[[], object]] = deque()
        self.begin(lambda: False)

    def begin(self, is_locked: Callable[[], bool]) -> None:
        """With nothing noted; in a forked child as well, since its parent does what it noted.

        *is_locked* says whether this thread holds the trail's lock.
        """
        self._is_locked = is_locked
        self._turn = Turn()
        self.waiting.clear()

    # --- noting: under any lock ---------------------------------------------------------------

    def note(self, action: Callable[[], object]) -> None:
        """Have *action* done, after what was noted before."""
        if len(self.waiting) >= _MOST:
            self.waiting.popleft()
            self._metrics.failures["emit"].inc()
        self.waiting.append(action)

    def fault(self, stage: str, exc: BaseException) -> None:
        """A failure of our own: counted always, logged once a stage and kind, of the archive
        once until that works again."""
        self._metrics.failures[stage].inc()
        kind = f"{stage}:{type(exc).__name__}"
        if kind not in self._known and len(self._known) < _KINDS:
            self._known.add(kind)
            self.note(partial(self._log, stage, kind, exc))

    def restored(self) -> None:
        """The archive works again: the next time that it fails is worth a line."""
        self._known = {
            kind for kind in list(self._known) if kind.partition(":")[0] not in _OF_FILES
        }
        self.note(partial(logger.warning, "audit trail %r: the archive works again", self._name))

    # --- doing: under none --------------------------------------------------------------------

    def do(self) -> None:
        """Do what is noted, unless this thread holds the lock, or somebody is at it already."""
        if not self._is_locked():
            self._turn.each(self.waiting, self._try)

    def report(self, stage: str, exc: BaseException) -> None:
        """Note a failure as `fault` does, and log it at once if this thread holds no lock."""
        try:
            self.fault(stage, exc)
            self.do()
        except (RecursionError, MemoryError):  # no room, not even for that
            pass

    def _try(self, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception:  # a logging handler that raises: it must not reach the application
            with suppress(Exception):
                logger.debug("audit trail %r: cannot report", self._name, exc_info=True)

    def _log(self, stage: str, kind: str, exc: BaseException) -> None:
        logger.error(
            "audit trail %r: %s failed (%s); further failures of this kind are"
            " only counted in axon_audit_failures_total",
            self._name,
            stage,
            f"{type(exc).__name__}: {exc}" if isinstance(exc, OSError) else kind,
        )
