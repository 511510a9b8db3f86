"""Instruments every memory library of this process that an integration is there for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from opentelemetry.instrumentation.dependencies import get_dependency_conflicts

from ..core.errors import AuditUnavailableError
from ..core.log import logger

__all__ = ["GROUP", "instrument_all", "instrument_rest", "uninstrument_all"]

#: The entry points of integrations: ours, and those of other packages.
GROUP = "axon_audit.integrations"


def instrument_all(**options: Any) -> list[str]:
    """Instrument every installed memory library that an integration is there for.

    Integrations are the entry points of the group ``axon_audit.integrations``: classes of
    instrumentors, such as `AxonInstrumentor`. One that fails is told in a warning; the others go
    on.

    Args:
        options: What every instrumentor takes: ``audit_logger`` and providers.

    Returns:
        The names of those that were started, in their order.

    Raises:
        AuditUnavailableError: If a library cannot be recorded, with ``on_failure="block"``.
    """
    points = sorted(entry_points(group=GROUP), key=lambda one: one.name)
    return [point.name for point in points if _started(point, options)]


def instrument_rest() -> None:
    """Instrument what ``opentelemetry-instrument`` has left out, and was not told to leave out.

    It starts none of a package's instrumentors unless the package's whole extra ``instruments``
    is installed, which is Axon's SDK here.
    """
    disabled = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "").split(",")
    names = {name.strip() for name in disabled}
    for point in entry_points(group="opentelemetry_instrumentor"):
        ours = point.value.startswith(f"{__name__.partition('.')[0]}.")
        if ours and not names & {"*", point.name}:
            _started(point, {})


def _started(point: EntryPoint, options: dict[str, Any]) -> bool:
    try:
        instrumentor = point.load()()
        if get_dependency_conflicts(instrumentor.instrumentation_dependencies()) is not None:
            return False  # its library is not here, or in a version that it does not know
        if getattr(instrumentor, "is_instrumented_by_opentelemetry", False):
            return False
        instrumentor.instrument(**options)
    except AuditUnavailableError:  # nothing may go on unrecorded
        raise
    except Exception as exc:  # of whoever wrote it
        logger.warning(
            "the integration %r could not be started, and its memory is not recorded: %s: %s",
            *(point.name, type(exc).__name__, exc),
        )
        return False
    return True


def uninstrument_all(names: Iterable[str]) -> None:
    """Undo what `instrument_all` started; *names* are what it returned."""
    wanted = set(names)
    for point in entry_points(group=GROUP):
        if point.name in wanted:
            point.load()().uninstrument()
