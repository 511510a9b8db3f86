"""mem0's memories, on its embedded Qdrant and its SQLite, with models that are fakes."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from conformance import Conformance, MakeMemory
from conftest import Make, history, only_event

from axon_audit_otel import AuditEvent, AuditLogger, audit_context
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.evidence.receipt import as_text
from axon_audit_otel.verification.receipt import facts_of, open_points

os.environ["MEM0_TELEMETRY"] = "False"  # it is read at the import

pytestmark = [
    pytest.mark.component,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore:Payload indexes have no effect:UserWarning"),
]


class BrokenError(Exception):
    """Raised by a store on purpose."""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MEM0_DIR", str(tmp_path / "mem0"))


def config(path: Path, provider: str = "qdrant", facts: tuple[str, ...] = ()) -> dict[str, Any]:
    """Of a memory in *path*, whose model finds these *facts* in everything."""
    from langchain_core.embeddings import DeterministicFakeEmbedding
    from langchain_core.language_models.fake_chat_models import FakeListChatModel

    said = {"memory": [{"id": str(at), "text": text} for at, text in enumerate(facts)]}
    store = {"path": str(path / provider), "embedding_model_dims": 32, "collection_name": "m"}
    model = FakeListChatModel(responses=[json.dumps(said)])
    return {
        "vector_store": {"provider": provider, "config": store},
        "embedder": {
            "provider": "langchain",
            "config": {"model": DeterministicFakeEmbedding(size=32)},
        },
        "llm": {"provider": "langchain", "config": {"model": model}},
        "history_db_path": str(path / "history.db"),
    }


@pytest.fixture(name="instrument")
def _instrument() -> Iterator[Any]:
    """Instruments mem0 for a logger, until the end of the test."""
    from axon_audit_otel.integrations.mem0.instrumentor import Mem0Instrumentor

    def instrument(audit: AuditLogger) -> None:
        Mem0Instrumentor().uninstrument()
        Mem0Instrumentor().instrument(audit_logger=audit)

    yield instrument
    Mem0Instrumentor().uninstrument()


class _Plain:
    """As `conformance.Memory`, by `Memory`."""

    system = "mem0"
    actions = ("mem0.add", "mem0.search", "mem0.delete")

    def __init__(self, path: Path) -> None:
        self.memory = self.make(path)
        self.broken = False
        store = self.memory.vector_store
        for name in ("search", "keyword_search"):
            setattr(store, name, self._may_break(getattr(store, name)))

    def make(self, path: Path) -> Any:
        from mem0 import Memory

        return Memory.from_config(config(path))

    def _may_break(self, original: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.broken:
                raise OSError("broken on purpose")
            return original(*args, **kwargs)

        return call

    async def store(self, owner: str, text: str) -> str:
        return str(self.memory.add(text, user_id=owner, infer=False)["results"][0]["id"])

    async def recall(self, owner: str, query: str) -> list[str]:
        found = self.memory.search(query, filters={"user_id": owner}, threshold=0.0)
        return [item["memory"] for item in found["results"]]

    async def forget(self, owner: str, entry_id: str) -> None:
        self.memory.delete(entry_id)

    async def texts(self) -> list[str]:
        return [item.payload["data"] for item in self.memory.vector_store.list()[0]]

    def breaks(self) -> None:
        self.broken = True


class _Async(_Plain):
    """The same, by `AsyncMemory`."""

    def make(self, path: Path) -> Any:
        from mem0 import AsyncMemory

        return AsyncMemory.from_config(config(path))

    async def store(self, owner: str, text: str) -> str:
        added = await self.memory.add(text, user_id=owner, infer=False)
        return str(added["results"][0]["id"])

    async def recall(self, owner: str, query: str) -> list[str]:
        found = await self.memory.search(query, filters={"user_id": owner}, threshold=0.0)
        return [item["memory"] for item in found["results"]]

    async def forget(self, owner: str, entry_id: str) -> None:
        await self.memory.delete(entry_id)


class TestConformance(Conformance):
    @pytest.fixture(params=[_Plain, _Async])
    def make(self, request: pytest.FixtureRequest, instrument: Any, tmp_path: Path) -> MakeMemory:
        """Of both classes."""

        def made(audit: AuditLogger) -> Any:
            instrument(audit)
            return request.param(tmp_path)

        return made

    @pytest.mark.flaky(reruns=5)  # mem0's threads share one SQLite connection
    async def test_tasks_and_threads(self, make: MakeMemory, audit: AuditLogger) -> None:
        """As of every memory."""
        await super().test_tasks_and_threads(make, audit)


@pytest.fixture(name="memory", params=["qdrant", "faiss"])
def _memory(
    request: pytest.FixtureRequest, instrument: Any, audit: AuditLogger, tmp_path: Path
) -> Any:
    """A memory whose model finds two facts in everything."""
    from mem0 import Memory

    instrument(audit)
    return Memory.from_config(config(tmp_path, request.param, ("likes tea", "hates nuts")))


def last(audit: AuditLogger) -> AuditEvent:
    """The newest event."""
    return audit.query_events(limit=1)[0]


class TestTruth:
    def test_inferred(self, memory: Any, audit: AuditLogger) -> None:
        """What the model made of a conversation is named: all that was stored."""
        added = memory.add("I like tea, and nuts kill me", user_id="alice", run_id="r1")
        event = only_event(audit)
        assert event.entry_ids == [item["id"] for item in added["results"]]
        assert len(event.entry_ids) == 2
        assert (event.user_id, event.session_id, event.status) == ("alice", "r1", "SUCCESS")

    def test_swallowed(self, memory: Any, audit: AuditLogger) -> None:
        """An insert that mem0 swallows is PARTIAL; one that a second attempt makes good is not."""
        store, real = memory.vector_store, type(memory.vector_store).insert
        calls = []

        def insert(self: Any, vectors: Any, payloads: Any = None, ids: Any = None) -> Any:
            calls.append(ids)
            if len(ids) > 1 or (fails and "nuts" in payloads[0]["data"]):
                raise BrokenError
            return real(self, vectors, payloads, ids)

        from axon_audit_otel.integrations.mem0.vector_store import watch

        for fails, status, number in ((True, "PARTIAL", 1), (False, "SUCCESS", 2)):
            kind = type("Failing", (type(store),), {"insert": insert})
            failing = object.__new__(kind)
            failing.__dict__.update(
                {k: v for k, v in vars(store).items() if not callable(v) and k[:5] != "_axon"}
            )
            failing.__dict__.update(client=getattr(store, "client", None))
            watch(failing, audit)
            memory.vector_store = failing
            memory.add("tea and nuts", user_id=f"user-{fails}")
            event = last(audit)
            assert (event.status, len(event.entry_ids)) == (status, number), calls
        assert history(audit)[0].error_type == "test_mem0.BrokenError"

    def test_past_its_methods(self, memory: Any, audit: AuditLogger) -> None:
        """Who deletes in the vector store itself is seen."""
        added = memory.add("tea", user_id="alice", infer=False)["results"][0]["id"]
        memory.vector_store.delete(vector_id=added)
        event = last(audit)
        assert (event.operation, event.status, event.entry_ids) == ("FORGET", "SUCCESS", [added])
        assert event.action == f"{type(memory.vector_store).__name__}.delete"
        assert event.metadata["deleted"] == 1

    def test_whose(self, memory: Any, audit: AuditLogger) -> None:
        """Methods that name nobody tell the owner, and who acts for somebody else."""
        added = memory.add("tea", user_id="alice", infer=False)["results"][0]["id"]
        with audit_context(user_id="support"):
            memory.get(added)
            memory.update(added, text="coffee")
            memory.history(added)
            memory.delete(added)
        events = history(audit)[1:]
        assert [event.action for event in events] == [
            *("mem0.get", "mem0.update", "mem0.history", "mem0.delete"),
        ]
        for event in events:
            assert (event.user_id, event.subject_id) == ("support", "alice"), event.action
            assert (event.entry_ids, event.subjects) == ([added], ("alice",))

    def test_history_of_a_deleted_one(self, memory: Any, audit: AuditLogger) -> None:
        """Its texts are somebody's, though mem0 does not know whose any more."""
        added = memory.add("tea", user_id="alice", infer=False)["results"][0]["id"]
        memory.delete(added)
        with audit_context(user_id="support"):
            assert [one["old_memory"] for one in memory.history(added)][-1] == "tea"
        event = last(audit)
        assert (event.user_id, event.entry_ids, event.subjects) == ("support", [added], ("alice",))

    def test_blanks_around_an_id(self, memory: Any, audit: AuditLogger) -> None:
        """mem0 takes them away, and so does the event."""
        memory.add("tea", user_id=" alice ", infer=False)
        memory.search("tea", filters={"user_id": "alice\n"})
        memory.delete_all(user_id="\talice")
        assert {event.user_id for event in history(audit)} == {"alice"}
        assert {event.subjects for event in history(audit)} == {("alice",)}

    @pytest.mark.parametrize("named", ["memory", "agent", "run", "user"])
    def test_what_was_said(self, memory: Any, audit: AuditLogger, named: str) -> None:
        """What mem0 keeps of what was said is told, whatever the deletion names."""
        scope = {"user_id": "al&ice", "agent_id": "bot", "run_id": "r=1"}
        added = memory.add("I like tea", **scope)["results"]
        memory.add("Bob likes tea", user_id="bob")
        if named == "memory":
            memory.delete(added[0]["id"])
        else:
            memory.delete_all(**{key: one for key, one in scope.items() if key.startswith(named)})
        assert last(audit).metadata["texts_left"]["messages"] == 1

    @pytest.mark.parametrize("how", ["clear", "erasable"])
    def test_receipt(self, instrument: Any, make_audit: Make, tmp_path: Path, how: str) -> None:
        """A receipt does not say that all is gone: mem0 keeps the texts."""
        from mem0 import Memory

        key = new_key("auditor")
        more: dict[str, Any] = {"erasable": True} if how == "erasable" else {}
        audit = make_audit(auto_export_path=tmp_path / "logs", signing_key=key, **more)
        instrument(audit)
        memory = Memory.from_config(config(tmp_path, "qdrant", ("likes tea",)))
        added = memory.add("I like tea", user_id="alice")["results"][0]["id"]
        memory.delete(added)
        audit.seal()
        receipt = audit.receipt(last(audit).event_id)
        (found,) = [one for one in facts_of(receipt)["remains"] if one["kind"] == "texts_left"]
        assert found["places"] == {"history": 1, "messages": 1}
        assert "texts_left" in open_points(receipt)
        assert "keeps 2 copies" in " ".join(as_text(receipt).split())

    def test_of_several_by_their_agent(self, memory: Any, audit: AuditLogger) -> None:
        """Of the entries that go with an agent, the event names all owners, and none acts."""
        for user in ("alice", "bob"):
            memory.add("tea", user_id=user, agent_id="bot", infer=False)
        memory.delete_all(agent_id="bot")
        event = last(audit)
        assert (event.user_id, event.agent_id) == (None, "bot")
        assert set(event.subjects) == {"alice", "bob"}

    def test_all_of_a_user(self, memory: Any, audit: AuditLogger) -> None:
        """`delete_all` is one event, with all ids, and what mem0 keeps of their texts."""
        ids = [
            memory.add(f"tea {at}", user_id="alice", infer=False)["results"][0]["id"]
            for at in range(3)
        ]
        memory.add("I like tea", user_id="alice")
        memory.add("bob's", user_id="bob", infer=False)
        memory.delete_all(user_id="alice")
        event = last(audit)
        assert (event.action, event.metadata["deleted"]) == ("mem0.delete_all", 5)
        assert set(ids) < set(event.entry_ids)
        assert event.metadata["texts_left"] == {"history": 5, "messages": 1}
        assert len(memory.get_all(filters={"user_id": "bob"})["results"]) == 1

    def test_reset(self, memory: Any, audit: AuditLogger) -> None:
        """`reset` names what it deleted, and the new store is watched."""
        memory.add("tea", user_id="alice", infer=False)
        memory.add("nuts", user_id="bob", infer=False)
        memory.reset()
        event = last(audit)
        assert (event.action, event.metadata["deleted"]) == ("mem0.reset", 2)
        assert set(event.subjects) == {"alice", "bob"}
        added = memory.add("again", user_id="alice", infer=False)["results"][0]["id"]
        assert last(audit).entry_ids == [added]

    def test_several_persons(self, memory: Any, audit: AuditLogger) -> None:
        """A search that names several persons is about all of them."""
        memory.search(
            "tea", filters={"user_id": "alice", "OR": [{"user_id": "bob"}, {"run_id": "r"}]}
        )
        assert last(audit).subjects == ("alice", "bob")
        with pytest.raises(ValueError, match="user_id"):
            memory.search("tea", filters={"user_id": {"in": ["alice", "bob"]}})
        assert (last(audit).status, last(audit).subjects) == ("FAILURE", ("alice", "bob"))

    def test_wrong_calls(self, memory: Any, audit: AuditLogger) -> None:
        """A call that mem0 refuses raises what mem0 raises, and is a FAILURE."""

        class Hostile:
            def __str__(self) -> str:
                raise TypeError("no text")

        with pytest.raises(TypeError):
            memory.search()
        with pytest.raises(TypeError, match="no text"):
            memory.add("tea", user_id=Hostile(), infer=False)
        with pytest.raises(ValueError, match="filters"):
            memory.search("tea", filters=None)
        with pytest.raises(ValueError, match="not found"):
            memory.delete("00000000-0000-0000-0000-000000000000")
        assert [event.status for event in history(audit)] == ["FAILURE"] * 4

    @pytest.mark.flaky(reruns=5)  # mem0's threads share one SQLite connection
    async def test_tasks(self, instrument: Any, audit: AuditLogger, tmp_path: Path) -> None:
        """Tasks of `AsyncMemory` are told apart, also in its own threads."""
        from mem0 import AsyncMemory

        instrument(audit)
        memory = AsyncMemory.from_config(config(tmp_path))

        async def one(user: str) -> None:
            with audit_context(user_id=f"acts-for-{user}"):
                await memory.add(f"tea of {user}", user_id=user, infer=False)

        await asyncio.gather(*(one(f"u{at}") for at in range(4)))
        assert {(e.user_id, e.subject_id) for e in history(audit)} == {
            (f"acts-for-u{at}", f"u{at}") for at in range(4)
        }

    async def test_cancelled(self, instrument: Any, audit: AuditLogger, tmp_path: Path) -> None:
        """What a thread of `AsyncMemory` deletes after its call was cancelled is an event."""
        from mem0 import AsyncMemory

        instrument(audit)
        memory = AsyncMemory.from_config(config(tmp_path))
        added = (await memory.add("tea", user_id="alice", infer=False))["results"][0]["id"]
        client, begun, go = memory.vector_store.client, threading.Event(), threading.Event()
        real = client.delete

        def delete(*args: Any, **kwargs: Any) -> Any:
            begun.set()
            go.wait()
            return real(*args, **kwargs)

        client.delete = delete
        loop = asyncio.get_running_loop()
        loop.set_default_executor(executor := ThreadPoolExecutor())
        call = asyncio.create_task(memory.delete(added))
        await asyncio.to_thread(begun.wait)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go.set()
        executor.shutdown()
        failed, deleted = history(audit)[1:]
        assert (failed.action, failed.status) == ("mem0.delete", "FAILURE")
        assert (deleted.action, deleted.status) == ("Qdrant.delete", "SUCCESS")
        assert (deleted.entry_ids, deleted.subjects) == ([added], ("alice",))


class TestInstrumentor:
    def test_restored(self, instrument: Any, audit: AuditLogger, tmp_path: Path) -> None:
        """`uninstrument` leaves mem0 as it was."""
        from mem0 import Memory

        from axon_audit_otel.integrations.mem0.instrumentor import Mem0Instrumentor

        instrument(audit)
        Mem0Instrumentor().uninstrument()
        memory = Memory.from_config(config(tmp_path))
        memory.add("tea", user_id="alice", infer=False)
        assert audit.query_events() == []
        assert not hasattr(Memory.add, "__wrapped__")

    def test_in_the_middle(
        self, instrument: Any, audit: AuditLogger, make_audit: Make, tmp_path: Path
    ) -> None:
        """A memory that is there already is recorded whole, from then on and until then."""
        from mem0 import Memory

        from axon_audit_otel.integrations.mem0.instrumentor import Mem0Instrumentor

        def add_and_delete() -> str:
            key = memory.add("tea", user_id="alice", infer=False)["results"][0]["id"]
            memory.vector_store.delete(vector_id=key)
            return str(key)

        memory = Memory.from_config(config(tmp_path))
        add_and_delete()
        instrument(audit)
        key = add_and_delete()
        Mem0Instrumentor().uninstrument()
        add_and_delete()
        assert [event.entry_ids for event in history(audit)] == [[key], [key]]
        other = make_audit()
        instrument(other)
        key = add_and_delete()
        assert [event.entry_ids for event in history(other)] == [[key], [key]]
        assert len(history(audit)) == 2

    def test_another_version(
        self,
        audit: AuditLogger,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        instrument: Any,
    ) -> None:
        """A mem0 that lacks a method is left alone as a whole, with one warning."""
        from mem0 import AsyncMemory, Memory

        monkeypatch.delattr(AsyncMemory, "delete_all")
        instrument(audit)
        ours = [r for r in caplog.records if r.name == "axon_audit_otel"]
        (said,) = [r.getMessage() for r in ours if r.levelname == "WARNING"]
        assert "AsyncMemory has no method delete_all" in said
        assert not hasattr(Memory.add, "__wrapped__")
