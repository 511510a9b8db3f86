"""The methods that the SDK's own audit logger has besides `log_event`."""

from __future__ import annotations

from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..core.files import write_file
from ..events.model import AuditEvent, EventStatus, OperationType
from ..events.query import Query
from ..privacy.readable import recorded
from .querying import Querying

if TYPE_CHECKING:  # so that type checkers let it stand where the SDK's logger is wanted
    from axon.core.audit import AuditLogger as _SdkLogger
else:
    _SdkLogger = object

__all__ = ["SdkLoggerInterface"]


class SdkLoggerInterface(Querying, _SdkLogger):  # type: ignore[misc,unused-ignore]
    """The methods that code written for `axon.core.audit.AuditLogger` calls."""

    async def get_events(
        self,
        operation: OperationType | str | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        status: EventStatus | str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        limit: int | None = None,
    ) -> list[AuditEvent]:
        """`query_events` as the SDK calls it: naive times are UTC.

        Raises:
            InvalidEventError: If a filter cannot be meant.
        """
        query = Query.of(
            operation=operation,
            status=status,
            user_id=user_id,
            session_id=session_id,
            start_time=start_time,
            end_time=end_time,
            limit=limit,
            naive=timezone.utc,
        )
        return list(self._found(query, None))

    async def export_to_json(
        self,
        file_path: Path | str,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
    ) -> int:
        """Write events as a bare JSON list, as the SDK does; returns how many.

        Raises:
            ArchiveError: If it cannot be written.
        """
        events = await self.get_events(start_time=start_time, end_time=end_time)
        path = Path(file_path)
        text = msgspec.json.format(msgspec.json.encode([recorded(e).to_dict() for e in events]))
        write_file([text, b"\n"], path)
        return len(events)

    async def clear(self) -> None:
        """Let go of the events in memory. Files, numbering and statistics go on."""
        self.trail.clear()

    @property
    def total_events_logged(self) -> int:
        """Number of events recorded since this logger began."""
        return self.trail.reader.recorded

    def get_stats(self) -> dict[str, Any]:
        """The statistics that the SDK's own logger has; `get_statistics` has more."""
        return {
            "events_in_memory": self.event_count,
            "total_events_logged": self.total_events_logged,
            "max_events": self.settings.max_events,
            "rotation_enabled": self.settings.enable_rotation,
            "auto_export_enabled": self.settings.auto_export_path is not None,
        }
