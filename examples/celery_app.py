"""Tasks whose memory is recorded, in worker processes that share an archive.

celery --workdir examples -A celery_app worker --concurrency 2
"""

import asyncio
import os

from axon.core.templates import DEVELOPMENT_CONFIG
from celery import Celery
from celery.signals import worker_process_shutdown

from axon_audit_otel import AuditLogger, audit_context
from axon_audit_otel.memory_system import MemorySystem

broker = os.environ.get("BROKER_URL", "redis://127.0.0.1:6379/0")
app = Celery("celery_app", broker=broker, backend=broker)
audit = AuditLogger(auto_export_path="audit_logs")
memory = MemorySystem(DEVELOPMENT_CONFIG, audit_logger=audit)


@app.task  # type: ignore[untyped-decorator,unused-ignore]
def remember(text: str, user: str) -> str:
    with audit_context(user_id=user):
        return asyncio.run(memory.store(text))


@worker_process_shutdown.connect  # type: ignore[untyped-decorator,unused-ignore]
def seal(**_: object) -> None:
    audit.close()  # worker processes end without Python's exit handlers
