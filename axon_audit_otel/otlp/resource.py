"""The OpenTelemetry resource of shipped events."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..core import semconv

__all__ = ["process_resource", "resource_from_environment", "resource_of"]


def resource_of(provider: Any) -> Mapping[str, Any] | None:
    """The attributes of this process from its SDK's providers; None without any.

    Args:
        provider: The logger provider that is asked first; None for none.
    """
    from opentelemetry import trace
    from opentelemetry._logs import get_logger_provider
    from opentelemetry.sdk.resources import Resource

    for known in (provider, get_logger_provider(), trace.get_tracer_provider()):
        resource = getattr(known, "resource", None) or getattr(known, "_resource", None)
        if isinstance(resource, Resource):
            return resource.attributes
    return None


def process_resource() -> Mapping[str, Any]:
    """The attributes of this process from its environment.

    Do not call this at the end of a program: OpenTelemetry starts threads for it.
    """
    from opentelemetry.sdk.resources import Resource

    return Resource.create().attributes


def resource_from_environment() -> Mapping[str, Any]:
    """The attributes in ``OTEL_SERVICE_NAME`` and ``OTEL_RESOURCE_ATTRIBUTES``.

    They describe the process that recorded: without the random id that the SDK gives this process.
    """
    attributes = dict(process_resource())
    if semconv.SERVICE_INSTANCE_ID not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        attributes.pop(semconv.SERVICE_INSTANCE_ID, None)
    return attributes
