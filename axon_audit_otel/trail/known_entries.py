"""What a trail knows of entries: seen in this process, read in its files, recorded by others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from weakref import finalize

from ..archive.cursor import Cursor
from ..archive.directory import newest_number, writers_in
from ..archive.missing import Missing
from ..archive.search import search
from ..core.errors import AxonAuditError
from ..events.entries import MOST_KNOWN, Entries
from ..events.model import AuditEvent
from ..events.query import Query
from ..privacy.policy import PrivacyPolicy
from ..privacy.readable import recorded

__all__ = ["KnownEntries"]

_PAST = 20_000  # events of the files that are read after a start
_AT_ONCE = 2_000  # events of another writer
_PAUSE_NS = 1_000_000_000


class KnownEntries(Entries):
    """The entries of one trail.

    What cannot be read is not known: nothing here raises for that.

    Args:
        directory: Of the archive; None without one.
        policy: Makes events readable.
        own: Gives what tells the name of our writer there, as long as there is one.
    """

    def __init__(
        self,
        directory: Path | None,
        policy: PrivacyPolicy,
        own: Callable[[], Callable[[], str] | None],
    ) -> None:
        super().__init__(named=policy.learned)
        self._directory = directory
        self._policy = policy
        self._own = own
        self._hidden: dict[str, str] = {}  # ids of entries, by their encrypted form
        self._erasures = policy.entry_names.erasures
        self.after_fork()

    def after_fork(self) -> None:
        """In a child: open files are its parent's. At a start: nothing is read yet."""
        self._lock = threading.Lock()
        self._in_files: Entries | None = None
        self._is_whole = self._follows = False
        self._cursors: dict[str, Cursor] = {}
        self._looked_at = 0
        finalize(self, _close, self._cursors).atexit = False

    # --- private entries -----------------------------------------------------------------

    def namer(
        self, *who: str | None, owners: Mapping[str, str | None] | None = None
    ) -> Callable[[str], str]:
        """What gives the name of a private entry in events: see `EntryNames.namer`.

        Args:
            who: For whom, or by whom, something is done.
            owners: Whose entries are, where that is known better than here.
        """
        told = owners or {}
        name = self._policy.entry_names.namer(lambda key: told.get(key) or self.owner(key), *who)
        if not self._policy.encrypts:
            return name

        def noted(key: str) -> str:
            found = name(key)
            self._note(((found, key),))
            return found

        return noted

    def _note(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Note the encrypted forms of ids, and the ids."""
        self._hidden.update((found, key) for found, key in pairs if found != key)
        while len(self._hidden) > MOST_KNOWN:
            with suppress(KeyError, RuntimeError, StopIteration):  # another thread was faster
                del self._hidden[next(iter(self._hidden))]

    def _note_in(self, event: AuditEvent) -> None:
        """Note the ids in *event* that were encrypted."""
        before = recorded(event)
        if before is not event:
            self._note(zip(before.entry_ids, event.entry_ids))
            self._note(zip(before.derived_from, event.derived_from))

    def _hide_erased(self) -> None:
        """Know the private entries of somebody who was erased by what is left of their ids: no
        later event is to have the ids themselves."""
        if not self._hidden or self._policy.entry_names.erasures == self._erasures:
            return
        self._erasures = self._policy.entry_names.erasures
        names = list(self._hidden.items())
        living = {key for found, key in names if self._policy.entry_names.opens(found)}
        gone = {key: found for found, key in names if key not in living}
        self._hidden = {found: key for found, key in names if key not in gone}
        if gone:
            self.rename(gone)
            if self._in_files is not None:
                self._in_files.rename(gone)

    def disown(self, names: Iterable[str]) -> None:
        """See `Entries`."""
        super().disown(names)
        self._hide_erased()

    # --- files ---------------------------------------------------------------------------

    def close(self) -> None:
        """Close the files of other writers, until they are looked at again."""
        _close(self._cursors)

    def _past(self) -> Entries | None:
        """What the newest events in the files say; read once, when it is first asked."""
        if self._in_files is None and self._directory is not None:
            if not self._follows:
                self._begin_to_follow(self._directory)
            self._in_files = found = Entries(named=self._policy.learned)
            events: list[AuditEvent] = []
            with suppress(AxonAuditError, OSError):
                recorded = partial(search, self._directory, missing=Missing())
                events += self._policy.read(Query(limit=_PAST), recorded)
            for event in reversed(events):
                _apply(found, event, 0)
                self._note_in(event)
        return self._in_files

    def _begin_to_follow(self, directory: Path) -> None:
        """From now on, what other writers record is not the past."""
        self._follows = True
        with suppress(OSError):
            for writer in writers_in(directory):
                after = newest_number(directory, writer)
                self._cursors[writer] = Cursor(directory, writer, after)

    def look(self, at_once: bool = False) -> bool:
        """Take in what other writers of the archive have recorded, at most once a second.

        Args:
            at_once: Now in any case.

        Returns:
            True if that was anything.
        """
        self._hide_erased()
        now = time.perf_counter_ns()
        if self._directory is None or (now < self._looked_at + _PAUSE_NS and not at_once):
            return False
        if not self._lock.acquire(blocking=False):
            return False  # another thread does it
        try:
            self._looked_at = now
            if not self._follows:
                self._begin_to_follow(self._directory)
                return False
            return self._follow(self._directory)
        except (AxonAuditError, OSError):
            return False
        finally:
            self._lock.release()

    def _follow(self, directory: Path) -> bool:
        name, anything = self._own(), False
        own = "" if name is None else name()
        for writer in writers_in(directory):
            if writer == own:
                continue
            if writer not in self._cursors:
                self._cursors[writer] = Cursor(directory, writer)
            for event in islice(self._cursors[writer].events(Missing()), _AT_ONCE):
                readable = self._policy.reveal(event)
                _apply(self, readable, time.perf_counter_ns())
                self._note_in(readable)
                anything = True
        return anything


def _apply(entries: Entries, event: AuditEvent, now: int) -> None:
    with suppress(Exception):  # facts of a stranger: then they say nothing
        entries.apply(event, now)


def _close(cursors: dict[str, Cursor]) -> None:
    for cursor in cursors.values():
        cursor.close()
