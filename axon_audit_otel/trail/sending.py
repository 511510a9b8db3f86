"""The ways on which a trail sends events and checkpoints to others."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from weakref import ref

from opentelemetry._logs import get_logger_provider

from ..archive.origin import Source
from ..otlp.checkpoint_records import emit_record, statement_of
from ..otlp.encoding import encode
from ..shipping.delivery import Limits
from ..shipping.shipper import Shipper
from .event_source import TrailSource
from .metrics import TrailMetrics
from .outlet import Outlet
from .settings import Settings

__all__ = ["emit_checkpoint", "shipper_of"]


def shipper_of(
    settings: Settings,
    source: TrailSource,
    metrics: TrailMetrics,
    fault: Callable[[str, BaseException], None],
) -> Shipper | None:
    """What ships the events of *source* to a collector; None where they are not to be shipped."""
    endpoint = settings.ship_to
    if endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        return None
    limits = Limits(settings.ship_request_bytes, settings.ship_event_bytes)
    return Shipper(ref(source), endpoint, metrics, partial(fault, "ship"), limits)


def emit_checkpoint(
    source: TrailSource, shipper: Shipper | None, outlet: Outlet, note: str
) -> None:
    """Send a checkpoint of *source* the way that its events take.

    Raises:
        OSError: If there is none.
    """
    record = statement_of(note, Source(source.name, source.stream))
    if shipper is not None:
        shipper.add(encode(record))
        return
    provider = outlet.provider
    ours = hasattr(provider, "add_log_record_processor")
    emit_record(record, provider if ours else get_logger_provider())
