"""What a test asks of an audit trail; pytest has it as the fixture ``audit_trail``."""

from __future__ import annotations

from typing import Any

from prometheus_client import CollectorRegistry

from .events.model import AuditEvent
from .integrations.all import instrument_all, uninstrument_all
from .trail.audit_logger import AuditLogger

__all__ = ["AuditTrail"]

_SHOWN = 50  # events, the newest, where an assertion fails


class AuditTrail:
    """The events of one test: in memory, with a registry of their own.

    Until `close`, every memory library that an integration is there for is recorded here, but for
    those that the application instrumented before, and memories that were given another logger.

    Attributes:
        logger: The `AuditLogger`, for ``MemorySystem(config, audit_logger=...)``.
    """

    def __init__(self, **settings: Any) -> None:
        """As `AuditLogger`; what is not given is its default."""
        self.logger = AuditLogger(**{"name": "pytest", "registry": CollectorRegistry(), **settings})
        self._instrumented = instrument_all(audit_logger=self.logger)

    def events(self, **filters: Any) -> list[AuditEvent]:
        """The events that pass every filter of `AuditLogger.query_events`, oldest first."""
        return self.logger.query_events(**filters)[::-1]

    def assert_recorded(self, *, times: int | None = None, **filters: Any) -> list[AuditEvent]:
        """Fail unless events that pass every filter were recorded; *times* is their number.

        Returns:
            These events, oldest first.

        Raises:
            AssertionError: With what was recorded instead.
        """
        __tracebackhide__ = True
        found = self.events(**filters)
        if len(found) == times or (times is None and found):
            return found
        wanted = "an event" if times is None else f"{times} event{'s' * (times != 1)}"
        raise AssertionError(f"expected {wanted} with {_said(filters)}, found {len(found)}{self}")

    def assert_not_recorded(self, **filters: Any) -> None:
        """Fail if an event that passes every filter was recorded.

        Raises:
            AssertionError: With what was recorded.
        """
        __tracebackhide__ = True
        if found := self.events(**filters):
            raise AssertionError(
                f"expected no event with {_said(filters)}, found {len(found)}{self}"
            )

    def __str__(self) -> str:
        if not (events := self.events()):
            return "; recorded: none"
        earlier = len(events) - _SHOWN
        said = f"; recorded, after {earlier} others:" if earlier > 0 else "; recorded:"
        return said + "".join(f"\n  {one}" for one in events[-_SHOWN:])

    def close(self) -> None:
        """Stop recording."""
        instrumented, self._instrumented = self._instrumented, []
        uninstrument_all(instrumented)
        self.logger.close()


def _said(filters: dict[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in filters.items()) or "no filter"
