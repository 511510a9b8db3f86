"""Fixtures that several test files share: real systems, providers and registries, per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from axon import MemorySystem
from axon.core.config import MemoryConfig
from axon.core.policies.ephemeral import EphemeralPolicy
from axon.core.policies.persistent import PersistentPolicy
from axon.core.policies.session import SessionPolicy
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, AxonInstrumentor


@pytest.fixture(name="config")
def _config() -> MemoryConfig:
    """The smallest configuration that runs in memory."""
    return MemoryConfig(
        persistent=PersistentPolicy(
            adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
        ),
        default_tier="persistent",
    )


@pytest.fixture(name="tiered_config")
def _tiered_config() -> MemoryConfig:
    """Three tiers, all in memory."""
    return MemoryConfig(
        ephemeral=EphemeralPolicy(adapter_type="memory", ttl_seconds=60),
        session=SessionPolicy(adapter_type="memory", ttl_seconds=600),
        persistent=PersistentPolicy(
            adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
        ),
        default_tier="persistent",
    )


@pytest.fixture(name="registry")
def _registry() -> CollectorRegistry:
    """A Prometheus registry of the test's own."""
    return CollectorRegistry()


@pytest.fixture(name="log_exporter")
def _log_exporter() -> InMemoryLogRecordExporter:
    return InMemoryLogRecordExporter()


@pytest.fixture(name="logger_provider")
def _logger_provider(log_exporter: InMemoryLogRecordExporter) -> LoggerProvider:
    """An application's own logger provider, with an exporter that keeps what it gets."""
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(log_exporter))
    return provider


@pytest.fixture(name="span_exporter")
def _span_exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture(name="tracer_provider")
def _tracer_provider(span_exporter: InMemorySpanExporter) -> TracerProvider:
    """An application's own tracer provider, with an exporter that keeps what it gets."""
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(span_exporter))
    return provider


@pytest.fixture(name="make_audit")
def _make_audit(
    registry: CollectorRegistry, logger_provider: LoggerProvider
) -> Callable[..., AuditLogger]:
    """Makes audit loggers on the test's registry and logger provider."""

    def make(*args: Any, **kwargs: Any) -> AuditLogger:
        return AuditLogger(
            *args, **{"registry": registry, "logger_provider": logger_provider, **kwargs}
        )

    return make


@pytest.fixture(name="audit")
def _audit(make_audit: Callable[..., AuditLogger]) -> AuditLogger:
    """An audit logger with default settings."""
    return make_audit()


@pytest.fixture(name="instrumented")
def _instrumented(
    audit: AuditLogger, tracer_provider: TracerProvider
) -> Iterator[AxonInstrumentor]:
    """The SDK, instrumented for the test's audit logger and tracer provider."""
    instrumentor = AxonInstrumentor()
    instrumentor.instrument(audit_logger=audit, tracer_provider=tracer_provider)
    yield instrumentor
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


@pytest.fixture(autouse=True)
def _leave_no_patch() -> Iterator[None]:
    """Whatever a test patched (an `AuditLogger` does) is undone after it."""
    yield
    instrumentor = AxonInstrumentor()
    if not instrumentor.is_instrumented_by_opentelemetry:
        instrumentor._is_instrumented_by_opentelemetry = True
    instrumentor.uninstrument()


@pytest.fixture(name="memory")
def _memory(config: MemoryConfig, instrumented: AxonInstrumentor) -> MemorySystem:
    """A real system on its in-memory adapter, instrumented from outside."""
    return MemorySystem(config)
