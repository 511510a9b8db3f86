"""Where events come from, as a SIEM asks for it: trail, service, host and process."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...archive.missing import Missing
from ...archive.origin import Source, source_of
from ...archive.search import search_by_writer
from ...core.semconv import SERVICE_NAME
from ...events.model import AuditEvent, OperationType
from ...events.query import Query, is_start
from ...version import __version__

__all__ = ["Origin", "Origins"]

_LONGEST = 1_023  # characters
_UNNAMED = "unknown_service"  # OpenTelemetry's default; more may follow


@dataclass(frozen=True)
class Origin:
    """The source of an event.

    Attributes:
        trail: Name of the trail; "" if not known.
        stream: Unique id of its chain; "" if not known.
        service: The application, as OpenTelemetry names it (``service.name``).
        host: The host that recorded, as the record `start` names it.
        process: The name of the process that recorded.
        pid: The number of that process.
        version: The version of this package that recorded.
    """

    trail: str = ""
    stream: str = ""
    service: str | None = None
    host: str | None = None
    process: str | None = None
    pid: int | None = None
    version: str = __version__

    @classmethod
    def of(cls, source: Source, service: str | None = None) -> Origin:
        """The origin of a *source*'s events, before its record `start` is known."""
        return cls(_text(source.trail), source.stream, service and _text(service))

    def since(self, start: AuditEvent) -> Origin:
        """This origin, from the record `start` of a writer on."""
        facts: Mapping[str, Any] = start.metadata
        pid = facts.get("pid")
        return replace(
            self,
            host=_told(facts, "host"),
            process=_told(facts, "process"),
            pid=pid if type(pid) is int and 0 <= pid < 1 << 31 else None,
            version=_told(facts, "axon_audit_otel") or self.version,
        )

    @property
    def application(self) -> str:
        """The name of the application; where that is not known, of its trail."""
        return self.service or self.trail or "unknown"


def _told(facts: Mapping[str, Any], name: str) -> str | None:
    """A fact that is a text; None for what another version, or a forger, has there."""
    value = facts.get(name)
    return _text(value) if type(value) is str else None


def _text(value: str) -> str:
    """A text of the machine, bounded; what was no Unicode in names and variables is shown so."""
    return value[:_LONGEST].encode("utf-8", "backslashreplace").decode()


class Origins:
    """The origins of the events at a path.

    Args:
        path: A file or a directory of an archive.
        resource: The attributes of the application's OpenTelemetry resource.

    Raises:
        ArchiveError: If nothing is at *path*.
    """

    def __init__(self, path: Path, resource: Mapping[str, Any]) -> None:
        self._directory = path if path.is_dir() else path.parent
        named = str(resource.get(SERVICE_NAME) or _UNNAMED)
        self._service = None if named.startswith(_UNNAMED) else named
        self._plain: dict[str, Origin] = {}
        self._started: dict[str, tuple[list[int], list[Origin]]] = {}
        # What these lack is reported by whoever reads the events themselves.
        audits = search_by_writer(path, Query(operation=OperationType.AUDIT), Missing())
        for writer, event in audits:
            if is_start(event):
                numbers, origins = self._started.setdefault(writer, ([], []))
                numbers.append(event.sequence)
                origins.append(self._of(writer).since(event))

    def of(self, writer: str, event: AuditEvent) -> Origin:
        """The origin of an *event* of that *writer*: as the `start` before it tells, if any."""
        numbers, origins = self._started.get(writer, ((), ()))
        place = bisect_right(numbers, event.sequence)
        return origins[place - 1] if place else self._of(writer)

    def _of(self, writer: str) -> Origin:
        if writer not in self._plain:
            source = source_of(self._directory, writer) if writer else Source("")
            self._plain[writer] = Origin.of(source, self._service)
        return self._plain[writer]
