"""Axon's integration passes what every integration must."""

from __future__ import annotations

import pytest
from axon import Filter, MemorySystem
from conformance import Conformance, MakeMemory
from conftest import ListingAdapter, MakeSystem
from opentelemetry.sdk.trace import TracerProvider

from axon_audit_otel import AuditLogger, AxonInstrumentor


class _Axon:
    """As `conformance.Memory`."""

    system = "axon"
    actions = ("MemorySystem.store", "MemorySystem.recall", "MemorySystem.forget")

    def __init__(self, memory: MemorySystem, adapter: ListingAdapter) -> None:
        self._memory = memory
        self._adapter = adapter

    async def store(self, owner: str, text: str) -> str:
        found: str = await self._memory.store(text, {"user_id": owner}, tier="session")
        return found

    async def recall(self, owner: str, query: str) -> list[str]:
        found = await self._memory.recall(query, filter=Filter(user_id=owner))
        return [entry.text for entry in found]

    async def forget(self, owner: str, entry_id: str) -> None:
        await self._memory.forget(entry_id, user_id=owner)

    async def texts(self) -> list[str]:
        return [entry.text for entry in self._adapter._storage.values()]

    def breaks(self) -> None:
        async def broken(*args: object, **kwargs: object) -> None:
            raise OSError("broken on purpose")

        self._memory.router.route_recall = broken


class TestConformance(Conformance):
    @pytest.fixture
    def make(self, make_system: MakeSystem, tracer_provider: TracerProvider) -> MakeMemory:
        """A system on one adapter."""

        def made(audit: AuditLogger) -> _Axon:
            AxonInstrumentor().uninstrument()
            AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)
            adapter = ListingAdapter()
            return _Axon(make_system(session=adapter), adapter)

        return made
