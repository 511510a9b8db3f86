"""Reads the events of a trail, in memory and in files."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from functools import partial
from itertools import chain, islice

from ..archive.directory import OtherWriters
from ..archive.index.notes import keys_of_application
from ..archive.missing import Missing
from ..archive.search import search
from ..core.semconv import ERASABLE_ENTRY_PREFIX
from ..events import model as _event
from ..events.draft import Draft
from ..events.family import Lineage, lineage_of
from ..events.model import AuditEvent
from ..events.query import Query
from ..privacy.policy import PrivacyPolicy
from .archive_keeper import ArchiveKeeper
from .buffer import Buffer
from .settings import Settings
from .trail_lock import Lock

__all__ = ["TrailReader"]

_FEW, _READ_AT_ONCE = 16, 256  # events taken from the buffer under one lock


class TrailReader:
    """Answers queries about one trail. Takes the lock for a moment at a time.

    Args:
        settings: The trail's.
        buffer: The events in memory.
        lock: Guards them.
        keeper: Has them in files; None without an archive.
        policy: Makes them readable.
    """

    def __init__(
        self,
        settings: Settings,
        buffer: Buffer,
        lock: Lock,
        keeper: ArchiveKeeper | None,
        policy: PrivacyPolicy,
    ) -> None:
        self._directory = settings.auto_export_path
        self._key = settings.signing_key
        self._buffer = buffer
        self._lock = lock
        self._keeper = keeper
        self._policy = policy
        self._others = OtherWriters()

    def __len__(self) -> int:
        """Events in memory, without the record `start`."""
        return self._buffer.count

    @property
    def recorded(self) -> int:
        """The number of events recorded since the trail began, without the record `start`."""
        return self._buffer.total

    def event(self, line: bytes, draft: Draft) -> AuditEvent:
        """The event that was made of *draft*, from its bytes."""
        return self._policy.as_given(_event.decode(line), draft)

    def search(self, query: Query, oldest_first: bool = False) -> Iterator[AuditEvent]:
        """The events in memory that answer *query*, newest first."""
        return self._policy.read(query, partial(self._search, oldest_first=oldest_first))

    def knowing(self, entry_id: str) -> TrailReader:
        """This reader, whose events have that id also where a hash stands for it."""
        made = copy(self)
        made._policy = self._policy.with_entries([entry_id])
        return made

    def hiding_entries(self) -> TrailReader:
        """This reader, whose events have what stands for private entries, for what is recorded of
        them again."""
        made = copy(self)
        made._policy = self._policy.hiding_entries()
        return made

    def search_all(
        self, query: Query, missing: Missing, oldest_first: bool = False
    ) -> Iterator[AuditEvent]:
        """The events in memory and in files that answer *query*, newest first.

        Args:
            query: What is asked for.
            missing: Takes what of it cannot be read.
            oldest_first: The other way round.
        """
        found = partial(self._search_all, missing=missing, oldest_first=oldest_first)
        return self._policy.read(query, found)

    def lineage(self, entry_id: str, missing: Missing | None) -> Lineage | None:
        """The lineage of an entry; None if no event names it.

        Args:
            entry_id: The entry.
            missing: Takes what of the files cannot be read; None: only memory is read.
        """

        reader = self.knowing(entry_id)

        def search_all(query: Query) -> Iterator[AuditEvent]:
            assert missing is not None
            with missing.one_of_several() as here:
                yield from reader.search_all(query, here)

        return lineage_of(entry_id, reader.search if missing is None else search_all)

    def has_more_in_files(self, query: Query, full: bool) -> bool:
        """True if files may hold matching events that are not in memory: those of other writers
        and, if the answer is not *full* yet, older ones."""
        if self._directory is None:
            return False
        with self._lock:
            if not full and self._buffer.begins_after(query.start_us):
                return True
            writer = self.writer_name()
        return self._others.have_written(self._directory, writer, query.start_us)

    def lines(self) -> Iterator[bytes]:
        """Every event in memory but the record `start` as its bytes, oldest first."""
        with self._lock:
            first = self._buffer.first + self._buffer.holds_start
            numbers = iter(range(first, self._buffer.next))
        return chain.from_iterable(self._chunks(numbers))

    def writer_name(self) -> str:
        """The name of the trail's writer; "" without one."""
        writer = None if self._keeper is None else self._keeper.writer
        return "" if writer is None else writer.name

    def _candidates(self, query: Query) -> Iterator[int]:
        ids = query.entry_ids
        if ids is not None and query.any_encrypted:
            ids = ids.union((ERASABLE_ENTRY_PREFIX,))
        return self._buffer.candidates(query.keys, ids, query.start_us, query.end_us)

    def _search(self, query: Query, oldest_first: bool) -> Iterator[AuditEvent]:
        with self._lock:
            numbers = self._candidates(query)
            if oldest_first:
                numbers = iter(list(numbers)[::-1])
        events = chain.from_iterable(map(_event.decode_all, self._chunks(numbers)))
        return islice(query.passing(events), query.limit)

    def _search_all(
        self, query: Query, missing: Missing, oldest_first: bool
    ) -> Iterator[AuditEvent]:
        if self._directory is None or self._keeper is None:
            return self._search(query, oldest_first)
        with self._lock:
            writer = self.writer_name()
            before = self._buffer.first
            numbers = self._candidates(query)
        lines: list[bytes] = []
        while chunk := list(islice(numbers, _READ_AT_ONCE)):
            with self._lock:
                lines += self._buffer.lines(chunk)
                if self._buffer.first > chunk[-1]:  # they left meanwhile, and are in files
                    before = min(self._buffer.first, chunk[0] + 1)  # what was before is taken
                    break
        recent = query.passing(map(_event.decode, lines[::-1] if oldest_first else lines))
        return search(
            self._directory,
            query,
            oldest_first=oldest_first,
            recent=recent,
            writer=writer,
            before=before,
            missing=missing,
            index_keys=keys_of_application(self._key),
        )

    def _chunks(self, numbers: Iterator[int]) -> Iterator[list[bytes]]:
        count = _FEW  # whoever asks for the newest event does not wait for many
        while chunk := list(islice(numbers, count)):
            with self._lock:
                lines = self._buffer.lines(chunk)
            yield lines
            count = min(2 * count, _READ_AT_ONCE)
