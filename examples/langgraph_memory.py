"""A graph that remembers, and the trail of what it did: needs no network.

python3 examples/langgraph_memory.py
"""

import asyncio
from typing import TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from langgraph.store.memory import InMemoryStore

from axon_audit_otel import AuditLogger
from axon_audit_otel.integrations.langgraph.instrumentor import LangGraphInstrumentor


class State(TypedDict):
    said: str


def remember(state: State) -> State:
    get_store().put(("memories", "alice"), "tea", {"text": state["said"]})
    return state


def answer(state: State) -> State:
    get_store().get(("memories", "alice"), "tea")
    return state


audit = AuditLogger(auto_export_path="langgraph_audit")
LangGraphInstrumentor().instrument(audit_logger=audit, owner=1)

graph = StateGraph(State).add_node("remember", remember).add_node("answer", answer)
graph = graph.add_edge(START, "remember").add_edge("remember", "answer")
memory = graph.compile(store=InMemoryStore())
said: RunnableConfig = {"configurable": {"thread_id": "t1", "langgraph_user_id": "bob"}}
asyncio.run(memory.ainvoke({"said": "likes tea"}, said))

for event in reversed(audit.query_events(archived=True)):
    who, whose = event.user_id, ", ".join(event.subjects)
    print(f"{event.operation.value:7} {event.entry_ids} of {whose}, by {who} in {event.session_id}")
audit.close()
print("now: axon-audit verify langgraph_audit")
