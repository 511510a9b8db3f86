"""An application that knows nothing of auditing. Record it without a change:

    AXON_AUDIT_AUTO_EXPORT_PATH=audit_logs opentelemetry-instrument python examples/app.py
    axon-audit query audit_logs

(The extra `distro` brings what `opentelemetry-instrument` needs to export. Without a collector, set
`OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER` and `OTEL_LOGS_EXPORTER` to `none`.)
"""

import asyncio

from axon import Filter, MemorySystem
from axon.core.templates import DEVELOPMENT_CONFIG


async def main() -> None:
    """Remember two things about Alice, and look one of them up."""
    memory = MemorySystem(DEVELOPMENT_CONFIG)
    await memory.store("Alice likes her tea without milk", metadata={"user_id": "alice"})
    await memory.store("Alice is allergic to nuts", metadata={"user_id": "alice"})
    for entry in await memory.recall("tea", filter=Filter.model_validate({"user_id": "alice"})):
        print(entry.text)


asyncio.run(main())
