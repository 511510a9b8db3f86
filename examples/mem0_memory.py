"""A mem0 memory on its embedded Qdrant, with models that are fakes: needs no network.

python3 examples/mem0_memory.py
"""

import json
import os
import tempfile

os.environ["MEM0_TELEMETRY"] = "False"

from langchain_core.embeddings import DeterministicFakeEmbedding
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from mem0 import Memory

from axon_audit_otel import AuditLogger, audit_context
from axon_audit_otel.integrations.mem0.instrumentor import Mem0Instrumentor

audit = AuditLogger(auto_export_path="mem0_audit")
Mem0Instrumentor().instrument(audit_logger=audit)

facts = json.dumps(
    {"memory": [{"id": "0", "text": "likes tea"}, {"id": "1", "text": "hates nuts"}]}
)
with tempfile.TemporaryDirectory() as home:
    store = {"path": f"{home}/qdrant", "embedding_model_dims": 32}
    embedder = {"model": DeterministicFakeEmbedding(size=32)}
    memory = Memory.from_config(
        {
            "vector_store": {"provider": "qdrant", "config": store},
            "embedder": {"provider": "langchain", "config": embedder},
            "llm": {
                "provider": "langchain",
                "config": {"model": FakeListChatModel(responses=[facts])},
            },
            "history_db_path": f"{home}/history.db",
        }
    )
    memory.add("I like tea, and nuts kill me", user_id="alice")
    with audit_context(user_id="support-7", purpose="ticket 12"):
        memory.search("tea", filters={"user_id": "alice"})
    memory.delete_all(user_id="alice")
    memory.vector_store.client.close()

for event in reversed(audit.query_events(archived=True)):
    print(f"{event.action:16} by {event.user_id}, of {', '.join(event.subjects)}: {event.metadata}")
audit.close()
print("now: axon-audit verify mem0_audit")
