"""The methods of `AuditLogger` that answer what was recorded."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from ..archive.missing import Missing
from ..archive.publishing import write_events
from ..core.errors import AuditConfigError, InvalidEventError, MemoryOnlyWarning, shown
from ..events.family import Lineage
from ..events.identifiers import checked_id
from ..events.influence import Influence, influence
from ..events.model import AuditEvent, EventStatus, OperationType
from ..events.query import Query, activity
from .settings import Settings
from .trail import Trail

__all__ = ["Querying"]


class Querying:
    """The methods of a logger that read its trail."""

    settings: Settings
    trail: Trail
    _warned_of_files = False

    @property
    def event_count(self) -> int:
        """Number of events in memory."""
        return len(self.trail.reader)

    def query_events(
        self,
        user_id: str | None = None,
        operation: OperationType | str | None = None,
        status: EventStatus | str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        session_id: str | None = None,
        entry_ids: Iterable[str] | str | None = None,
        limit: int | None = None,
        *,
        subject_id: str | None = None,
        agent_id: str | None = None,
        on_behalf_of: str | None = None,
        purpose: str | None = None,
        trace_id: str | None = None,
        system: str | None = None,
        store: str | None = None,
        action: str | None = None,
        archived: bool | None = None,
        strict: bool = False,
    ) -> list[AuditEvent]:
        """The events in memory that pass every given filter, newest first.

        The record `start`, with which each writer of an archive begins, is found only with
        ``operation="AUDIT"``.

        A naive time that comes twice, or never, because clocks change, means what its ``fold``
        says (PEP 495): the first of the two, unless that is 1.

        Args:
            user_id: Who acted.
            operation: An `OperationType` or its name in any case.
            status: An `EventStatus` or its name in any case.
            start_time: The earliest time, included; naive is local time.
            end_time: The latest time, included; naive is local time.
            session_id: The session.
            entry_ids: Events that touch any of these entries.
            limit: At most so many.
            subject_id: Whose data it was, also if it is one of several `subjects`.
            agent_id: The agent that acted.
            on_behalf_of: The person for whom it was done.
            purpose: Why it was done: the whole text, as it was recorded.
            trace_id: The W3C trace id, 32 hex digits.
            system: The memory's library, as it was recorded: ``axon``, ``langgraph``.
            store: Which of its stores.
            action: The method, as that library names it.
            archived: Also those in the files of the archive, of other writers as well. It
                reads files: in a coroutine, use `asyncio.to_thread`. Where one of them, or a
                part of it, cannot be read or is gone, the rest is the answer, and an
                `ArchiveIncompleteWarning` says so. What is damaged inside of a line and still
                an event, `verify` finds. An id that was hashed (``pseudonymize=``) is found
                only with the secret that it was hashed with. False: memory alone. Default:
                memory alone, with a `MemoryOnlyWarning`, once, when the archive may have more:
                older ones, or those of other processes.
            strict: An answer that is not whole is an error instead.

        Raises:
            InvalidEventError: If a filter cannot be meant.
            AuditConfigError: If there is no archive, and *archived* is asked for.
            ArchiveError: If the answer is not whole, with *strict*.
        """
        query = Query.of(
            operation=operation,
            status=status,
            user_id=user_id,
            session_id=session_id,
            subject_id=subject_id,
            agent_id=agent_id,
            on_behalf_of=on_behalf_of,
            purpose=purpose,
            trace_id=trace_id,
            system=system,
            store=store,
            action=action,
            entry_ids=entry_ids,
            start_time=start_time,
            end_time=end_time,
            limit=limit,
        )
        return list(self._found(query, archived, strict))

    def _found(
        self, query: Query, archived: bool | None, strict: bool = False
    ) -> Iterable[AuditEvent]:
        """The events that match *query*, newest first."""
        if archived:
            missing = self._missing(strict)
            found = list(self.trail.reader.search_all(query, missing))
            missing.warn(2)
            return found
        found = list(self.trail.reader.search(query))
        if archived is None:
            self._warn_of_files(query, len(found) == query.limit, 4)
        return found

    def _missing(self, strict: bool) -> Missing:
        """For an answer from the archive: takes what it lacks.

        Raises:
            AuditConfigError: If there is none.
        """
        if self.settings.auto_export_path is None:
            msg = "archived=True: there is no archive (auto_export_path)"
            raise AuditConfigError(msg)
        return Missing(strict)

    def lineage(
        self, entry_id: str, *, archived: bool | None = None, strict: bool = False
    ) -> Lineage | None:
        """What an entry was made of, and what was made of it, as the events in memory say.

        Args:
            entry_id: The entry.
            archived: See `query_events`; the files are read twice.
            strict: See `query_events`.

        Returns:
            The entry, its ancestors and its descendants, each with owners, the event that made
            it, and the one that deleted it; None if no event names the entry.

        Raises:
            InvalidEventError: If *entry_id* is no id.
            AuditConfigError: If there is no archive, and *archived* is asked for.
            ArchiveError: If the answer is not whole, with *strict*.
        """
        asked = checked_id("entry_id", entry_id)
        missing = self._missing(strict) if archived else None
        if archived is None:
            self._warn_of_files(Query(), False, 3)
        found = self.trail.reader.lineage(asked, missing)
        if missing is not None:
            missing.warn()
        return found

    def _warn_of_files(self, query: Query, full: bool, level: int) -> None:
        """Warn, once, that memory is not all there is: at that level of the stack."""
        if self._warned_of_files or not self.trail.reader.has_more_in_files(query, full):
            return
        self._warned_of_files = True
        msg = (
            f"this answer is from memory; {str(self.settings.auto_export_path)!r} has more events:"
            " query_events(archived=True) reads them too, archived=False says that memory is enough"
        )
        warnings.warn(msg, MemoryOnlyWarning, stacklevel=level)

    def influence(
        self,
        entry_id: str,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        archived: bool | None = None,
        strict: bool = False,
    ) -> Influence:
        """Who read an entry, and which entries it may have influenced since.

        These are the entries that were stored in the same trace or session after the first
        reading there, and those that were made of it; and what these influenced in turn.

        Args:
            entry_id: The entry.
            start_time: See `query_events`.
            end_time: See `query_events`.
            archived: See `query_events`. Not all events are in memory at once.
            strict: See `query_events`.

        Returns:
            The answer, which is true if the entry was read or another was made of it; its
            ``is_named`` is False where no event names the entry at all.

        Raises:
            InvalidEventError: If an argument cannot be meant.
            AuditConfigError: If there is no archive, and *archived* is asked for.
            ArchiveError: If the answer is not whole, with *strict*.
        """
        entry = checked_id("entry_id", entry_id)
        read = self.trail.reader.knowing(entry)
        query = Query.of(start_time=start_time, end_time=end_time)
        if archived:
            missing = self._missing(strict)
            found = influence(entry, read.search_all(query, missing, oldest_first=True))
            missing.warn(2)
            return found
        if archived is None:
            self._warn_of_files(query, False, 3)
        return influence(entry, read.search(query, oldest_first=True))

    def get_statistics(self) -> dict[str, Any]:
        """Counts and latencies since this logger began, as its Prometheus metrics have them.

        They are those of this process, and begin anew in a forked child.

        Returns:
            ``total_events``; ``success_rate`` (0 to 1, of the memory operations: events about
            the trail itself, AUDIT, do not change it; 1 without any); ``avg_duration_ms``;
            ``by_operation`` and ``by_status`` (every name, also those at 0); ``by_system`` (the
            memory systems with events, by the metrics' label: the first 20, then ``other``;
            ``none`` is what names no system); ``latency_ms``
            (per operation: ``count``, ``avg``, ``p50``, ``p95``, ``p99``; these three are at
            most 1 % off the exact ones); ``events_in_memory``, ``max_events``,
            ``evicted_events`` (left memory without being in a file), ``exported_events``,
            ``findings`` (how many entries need attention, by kind: ``altered``,
            ``resurrected``, ``derived_remaining``) and ``failures`` (of our own, by stage).
        """
        return {
            **self.trail.metrics.statistics(),
            "events_in_memory": self.event_count,
            "max_events": self.settings.max_events,
        }

    def get_user_statistics(
        self, user_id: str | None, *, archived: bool | None = None, strict: bool = False
    ) -> dict[str, Any]:
        """Counts of one user's operations in memory; None: of operations without a known user.

        Args:
            user_id: The user.
            archived: See `query_events`.
            strict: See `query_events`.

        Returns:
            ``user_id``, ``total_operations``, ``by_operation``, ``by_status``,
            ``success_rate``, ``avg_duration_ms``, ``first_activity``, ``last_activity``
            (aware datetimes, or None) and ``most_common_operation`` (a name, or None).
        """
        found = self._found(Query.of(user_id=user_id), archived, strict)
        if user_id is None:
            found = (event for event in found if event.user_id is None)
        return {"user_id": user_id, **activity(found)}

    # --- files -----------------------------------------------------------------------------

    def export_to_file(
        self, path: Path | str, *, archived: bool | None = None, strict: bool = False
    ) -> int:
        """Write the events in memory to *path*, oldest first; returns how many.

        The file replaces one of the same name; it appears whole or not at all.

        Args:
            path: The file.
            archived: See `query_events`; all events are in memory for a while.
            strict: See `query_events`.

        Raises:
            AuditConfigError: If there is no archive, and *archived* is asked for.
            ArchiveError: If it cannot be written, or a file cannot be read.
        """
        if archived:
            lines = [event.to_json() for event in self._found(Query(), archived, strict)]
            return write_events(reversed(lines), Path(path))
        if archived is None:
            self._warn_of_files(Query(), False, 3)
        return write_events(self.trail.reader.lines(), Path(path))

    def export_events(self, events: Iterable[AuditEvent], path: Path | str) -> int:
        """Write *events* to *path* in the same format, in their order; returns how many.

        Raises:
            ArchiveError: If it cannot be written.
            InvalidEventError: If one of them is no `AuditEvent`.
        """
        return write_events(map(_as_line, events), Path(path))


def _as_line(event: AuditEvent) -> bytes:
    if not isinstance(event, AuditEvent):
        msg = f"{shown(event)} is no AuditEvent: pass what query_events returns"
        raise InvalidEventError(msg)
    return event.to_json()
