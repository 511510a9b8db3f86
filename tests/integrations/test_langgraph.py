"""LangGraph's stores, the real ones, are recorded."""

from __future__ import annotations

import asyncio
import copy
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, TypedDict

import pytest
from conformance import Conformance, MakeMemory
from conftest import Make, history, only_event
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from axon_audit_otel import AuditConfigError, AuditLogger, AuditUnavailableError, audit_context

pytest.importorskip("langgraph", reason="it comes with the extra `components`")

from langgraph.config import get_store
from langgraph.graph import START, StateGraph
from langgraph.store.base import BaseStore, GetOp, ListNamespacesOp, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from axon_audit_otel.integrations.langgraph.instrumentor import LangGraphInstrumentor
from axon_audit_otel.integrations.langgraph.store import AuditedStore, item_id

pytestmark = pytest.mark.component


class Breaking(InMemoryStore):
    """Fails once, on purpose."""

    broken = False

    def batch(self, ops: Any) -> Any:
        if self.broken:
            self.broken = False
            raise OSError("broken on purpose")
        return super().batch(ops)

    async def abatch(self, ops: Any) -> Any:
        return self.batch(ops)


class _Async:
    """As `conformance.Memory`, by the store's coroutines."""

    system = "langgraph"
    actions = ("BaseStore.put", "BaseStore.search", "BaseStore.delete")

    def __init__(self, audit: AuditLogger) -> None:
        self.inner = Breaking()
        self.audited = AuditedStore(self.inner, audit, owner=1)
        self._number = 0

    async def store(self, owner: str, text: str) -> str:
        self._number += 1
        key = f"k{self._number}"
        await self.audited.aput(("memories", owner), key, {"text": text})
        return f"memories/{owner}/{key}"

    async def recall(self, owner: str, query: str) -> list[str]:
        found = await self.audited.asearch(("memories", owner), query=query)
        return [item.value["text"] for item in found]

    async def forget(self, owner: str, entry_id: str) -> None:
        await self.audited.adelete(("memories", owner), entry_id.rpartition("/")[2])

    async def texts(self) -> list[str]:
        return [item.value["text"] for item in self.inner.search(("memories",))]

    def breaks(self) -> None:
        self.inner.broken = True


class _Plain(_Async):
    """The same, by the store's functions."""

    async def store(self, owner: str, text: str) -> str:
        self._number += 1
        key = f"k{self._number}"
        self.audited.put(("memories", owner), key, {"text": text})
        return f"memories/{owner}/{key}"

    async def recall(self, owner: str, query: str) -> list[str]:
        found = self.audited.search(("memories", owner), query=query)
        return [item.value["text"] for item in found]

    async def forget(self, owner: str, entry_id: str) -> None:
        self.audited.delete(("memories", owner), entry_id.rpartition("/")[2])


class TestConformance(Conformance):
    @pytest.fixture(params=[_Async, _Plain])
    def make(self, request: pytest.FixtureRequest) -> MakeMemory:
        """Of both kinds of calls."""
        kind: MakeMemory = request.param
        return kind


class TestStore:
    def test_batch(self, audit: AuditLogger) -> None:
        """Each operation of a batch is an event, with its own owner."""
        store = AuditedStore(InMemoryStore(), audit, owner=1)
        store.put(("memories", "alice"), "k1", {"text": "tea"})
        store.put(("memories", "bob"), "k2", {"text": "nuts"})
        store.batch(
            [
                GetOp(("memories", "alice"), "k1"),
                SearchOp(("memories",)),
                PutOp(("memories", "bob"), "k2", None),
                PutOp(("memories", "bob"), "k3", None),
                ListNamespacesOp(),
            ]
        )
        got, searched, deleted, missing, listed = history(audit)[2:]
        assert (got.entry_ids, got.subjects) == (["memories/alice/k1"], ("alice",))
        assert set(searched.entry_ids) == {"memories/alice/k1", "memories/bob/k2"}
        assert (searched.user_id, set(searched.subjects)) == (None, {"alice", "bob"})
        assert (deleted.entry_ids, deleted.metadata) == (["memories/bob/k2"], {"deleted": 1})
        assert (missing.entry_ids, missing.metadata) == (["memories/bob/k3"], {"deleted": 0})
        assert (listed.operation, listed.action) == ("RECALL", "BaseStore.list_namespaces")

    def test_batch_that_fails(self, audit: AuditLogger) -> None:
        """If the batch raises, all of it has failed."""
        inner = Breaking()
        store = AuditedStore(inner, audit)
        inner.broken = True
        with pytest.raises(OSError, match="broken"):
            store.batch([GetOp(("a",), "1"), GetOp(("a",), "2")])
        assert [event.status for event in history(audit)] == ["FAILURE", "FAILURE"]

    def test_ids_are_not_mixed_up(self) -> None:
        """Two items have never one id."""
        assert item_id(("a", "b"), "c") != item_id(("a",), "b/c")
        assert item_id(("a%2Fb",), "c") != item_id(("a/b",), "c")

    def test_owner(self, audit: AuditLogger) -> None:
        """Whose data it is: a label, what a function says, or the acting user if he is a label."""
        by_function = AuditedStore(InMemoryStore(), audit, owner=lambda space: space[0].upper())
        by_function.put(("ada",), "k", {})
        by_acting = AuditedStore(InMemoryStore(), audit)
        with audit_context(user_id="bob"):
            by_acting.put(("memories", "carol"), "k", {})
            by_acting.put(("memories", "bob"), "k", {})
            by_acting.search(("memories", "bob"))
        with audit_context(user_id="support"):
            by_acting.get(("memories", "bob"), "k")
        too_short = AuditedStore(InMemoryStore(), audit, owner=4)
        too_short.put(("memories",), "k", {})
        assert [event.subjects for event in history(audit)] == [
            *(("ADA",), (), ("bob",), ("bob",), ("bob",), ()),
        ]

    def test_owner_in_the_baggage(self, make_audit: Make) -> None:
        """Where the baggage says who acts, it says whose the items are."""
        from opentelemetry import baggage, context

        audit = make_audit(baggage_identity=True)
        store = AuditedStore(InMemoryStore(), audit)
        token = context.attach(baggage.set_baggage("user.id", "bob"))
        try:
            store.put(("memories", "bob"), "k", {})
        finally:
            context.detach(token)
        assert (only_event(audit).user_id, only_event(audit).subjects) == ("bob", ("bob",))

    def test_one_item_twice(self, audit: AuditLogger) -> None:
        """Of several operations of a batch on one item each says what it did."""
        store = AuditedStore(InMemoryStore(), audit, owner=1)
        where = ("memories", "alice"), "k1"
        store.batch([PutOp(*where, {"a": 1}), PutOp(*where, None), PutOp(*where, None)])
        assert [event.metadata.get("deleted") for event in history(audit)] == [None, 1, 0]
        assert store.inner.get(*where) is None

    @pytest.mark.parametrize("wrong", [lambda space: [space], lambda space: 1 / 0, "x", 9])
    def test_wrong_owner(self, audit: AuditLogger, wrong: Any) -> None:
        """An owner that cannot be told is no error of the call."""
        AuditedStore(InMemoryStore(), audit, owner=wrong).put(("memories", "alice"), "k1", {})
        assert only_event(audit).entry_ids == ["memories/alice/k1"]

    def test_what_no_store_knows(self, audit: AuditLogger) -> None:
        """Something else than an operation is none that is known; the store refuses it."""
        with pytest.raises(ValueError, match="Unknown operation"):
            AuditedStore(InMemoryStore(), audit).batch([3])  # type: ignore[list-item]
        assert (only_event(audit).operation, only_event(audit).status) == ("OTHER", "FAILURE")

    def test_copies(self, audit: AuditLogger) -> None:
        """A copy is audited as well."""
        store = AuditedStore(InMemoryStore(), audit)
        copied = copy.copy(store)
        copied.put(("memories",), "k1", {})
        copy.deepcopy(store).put(("memories",), "k2", {})
        assert copied.inner is store.inner
        assert [event.entry_ids for event in history(audit)] == [["memories/k1"], ["memories/k2"]]

    def test_wrong_calls(self, audit: AuditLogger) -> None:
        """What the store itself refuses raises what the store raises, and is a FAILURE."""
        inner, store = InMemoryStore(), AuditedStore(InMemoryStore(), audit, owner=1)
        for wrong in ([GetOp(None, "k")], [object()], [PutOp((), 3, {})], 3):  # type: ignore[arg-type,list-item]
            raised = []
            for one in (inner, store):
                try:
                    one.batch(wrong)  # type: ignore[arg-type]
                    raised.append("")
                except Exception as exc:
                    raised.append(type(exc).__name__)
            assert raised[0] == raised[1], wrong

    def test_refused(self, audit: AuditLogger) -> None:
        """A store is audited once."""
        with pytest.raises(AuditConfigError, match="not audited yet"):
            AuditedStore(AuditedStore(InMemoryStore(), audit), audit)
        with pytest.raises(AuditConfigError):
            AuditedStore(3, audit)  # type: ignore[arg-type]


@pytest.fixture(name="sqlite")
async def _sqlite(tmp_path: Path) -> AsyncIterator[BaseStore]:
    from langgraph.store.sqlite.aio import AsyncSqliteStore

    path = str(tmp_path / "store.db")
    async with AsyncSqliteStore.from_conn_string(path, ttl={"default_ttl": 0.0001}) as store:
        await store.setup()
        yield store


@pytest.mark.filterwarnings("ignore:The default datetime adapter:DeprecationWarning")
class TestSqlite:
    async def test_file(self, audit: AuditLogger, sqlite: BaseStore) -> None:
        """A store in a file, whose own queue is passed by."""
        store = AuditedStore(sqlite, audit, owner=1)
        users = [f"u{number}" for number in range(8)]

        async def one(user: str) -> None:
            with audit_context(user_id=user):
                await store.aput(("memories", user), "k", {"text": user})

        await asyncio.gather(*map(one, users))
        events = history(audit)
        assert {(e.user_id, e.entry_ids[0]) for e in events} == {
            (user, f"memories/{user}/k") for user in users
        }
        assert len(await store.asearch(("memories",))) == 8

    @pytest.mark.parametrize("keys", [False, True])
    async def test_vectors(
        self, audit: AuditLogger, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, keys: bool
    ) -> None:
        """A deletion says which vectors are left of the item."""
        import aiosqlite
        import sqlite_vec
        from langchain_core.embeddings import DeterministicFakeEmbedding
        from langgraph.store.sqlite import AsyncSqliteStore, SqliteStore

        class Connection(sqlite3.Connection):
            """Not every Python can load extensions; only a search needs this one."""

            def enable_load_extension(self, enabled: bool, /) -> None: ...

            def load_extension(self, name: str, /, **_: Any) -> None: ...

        monkeypatch.setattr(sqlite_vec, "load", lambda connection: None)
        index: Any = {"dims": 8, "embed": DeterministicFakeEmbedding(size=8), "fields": ["text"]}
        alices, carols = (("memories", user) for user in ("alice", "carol"))
        pragma = f"PRAGMA foreign_keys = {'ON' if keys else 'OFF'}"
        how: dict[str, Any] = {"factory": Connection, "isolation_level": None}
        plain = sqlite3.connect(":memory:", check_same_thread=False, **how)
        plain.execute(pragma)
        store = AuditedStore(SqliteStore(plain, index=index), audit, owner=1)
        for where in (alices, carols):
            store.put(where, "k", {"text": "tea"})
        store.delete(alices, "k")
        store.batch([PutOp(carols, "k", None), PutOp(carols, "k", {"text": "milk"})])
        async with aiosqlite.connect(tmp_path / "db", **how) as connection:
            await connection.execute(pragma)
            store = AuditedStore(AsyncSqliteStore(connection, index=index), audit, owner=1)
            await store.aput(alices, "k", {"text": "tea"})
            await store.adelete(alices, "k")
        plain.close()
        said = [e.metadata.get("texts_left") for e in history(audit) if e.operation == "FORGET"]
        left = None if keys else {"vectors": 1}
        assert said == [left, None, left]
        assert sum(audit.get_statistics()["failures"].values()) == 0

    async def test_sweeps(self, audit: AuditLogger, sqlite: BaseStore) -> None:
        """What expires is a deletion, also by the store's own method: LangGraph tells no ids."""
        store = AuditedStore(sqlite, audit, owner=1)
        await store.aput(("memories", "alice"), "k", {"text": "tea"}, ttl=0.0001)
        deadline = asyncio.get_running_loop().time() + 20
        while not await sqlite.sweep_ttl():  # type: ignore[attr-defined]
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.2)
        last = history(audit)[-1]
        assert (last.operation, last.action) == ("FORGET", "BaseStore.sweep_ttl")
        assert last.metadata == {"deleted": 1}


def _contents(directory: Path) -> list[bytes]:
    return [file.read_bytes() for file in directory.rglob("*") if file.is_file()]


class State(TypedDict):
    """Of the graphs here."""

    text: str


def _remember(state: State) -> State:
    get_store().put(("memories", "alice"), "k", {"text": state["text"]})
    return state


async def _look(state: State) -> State:
    await get_store().aget(("memories", "alice"), "k")
    return state


def _graph(store: BaseStore | None) -> Any:
    graph = StateGraph(State).add_node("remember", _remember).add_node("look", _look)
    inner = StateGraph(State).add_node("look", _look).add_edge(START, "look").compile()
    graph.add_node("inner", inner)
    graph.add_edge(START, "remember").add_edge("remember", "look").add_edge("look", "inner")
    return graph.compile(store=store)


class TestGraph:
    async def test_users_and_threads(self, audit: AuditLogger) -> None:
        """In a real graph, and its subgraph, the configuration says who acts in which thread."""
        LangGraphInstrumentor().instrument(audit_logger=audit, owner=1)
        try:
            graph = _graph(InMemoryStore())
            for user in ("bob", "carol"):
                said = {"configurable": {"thread_id": f"t-{user}", "langgraph_user_id": user}}
                await graph.ainvoke({"text": "tea"}, said)
        finally:
            LangGraphInstrumentor().uninstrument()
        events = history(audit)
        assert [(e.operation.value, e.user_id, e.session_id) for e in events] == [
            (operation, user, f"t-{user}")
            for user in ("bob", "carol")
            for operation in ("STORE", "RECALL", "RECALL")
        ]
        assert {event.subjects for event in events} == {("alice",)}

    def test_restored(self, audit: AuditLogger) -> None:
        """`uninstrument` leaves LangGraph as it was; graphs without a store work."""
        LangGraphInstrumentor().instrument(audit_logger=audit)
        assert _graph(None).store is None
        LangGraphInstrumentor().uninstrument()
        store = InMemoryStore()
        assert _graph(store).store is store
        assert audit.query_events() == []

    def test_undone(self, audit: AuditLogger) -> None:
        """After `uninstrument` the store of a graph that was made before is not recorded."""
        instrumentor = LangGraphInstrumentor()
        instrumentor.instrument(audit_logger=audit)
        graph = StateGraph(State).add_node("n", lambda state: {}).add_edge(START, "n")
        store = graph.compile(store=InMemoryStore()).store
        store.put(("memories",), "k1", {})
        instrumentor.uninstrument()
        store.put(("memories",), "k2", {})
        assert only_event(audit).entry_ids == ["memories/k1"]

    def test_another_version(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A LangGraph that is not as expected is left alone, with one warning that names it."""
        monkeypatch.delattr("langgraph.pregel.Pregel")
        LangGraphInstrumentor().instrument(audit_logger=make_audit())
        LangGraphInstrumentor().uninstrument()
        (said,) = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]
        assert said.startswith("langgraph >= 1, < 2 is not instrumented")

    def test_another_version_that_must_be_recorded(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        """Where nothing may go on unrecorded, a warning is not enough."""
        monkeypatch.delattr("langgraph.pregel.Pregel")
        audit = make_audit(auto_export_path=tmp_path, on_failure="block")
        with pytest.raises(AuditUnavailableError, match="langgraph >= 1, < 2 is not instrumented"):
            LangGraphInstrumentor().instrument(audit_logger=audit)
        assert not LangGraphInstrumentor().is_instrumented_by_opentelemetry

    async def test_private_ids(
        self,
        make_audit: Make,
        tmp_path: Path,
        span_exporter: InMemorySpanExporter,
        tracer_provider: TracerProvider,
        log_exporter: InMemoryLogRecordExporter,
    ) -> None:
        """With a secret, namespaces and keys are nowhere, and the ids of items find them."""
        audit = make_audit(auto_export_path=tmp_path, pseudonymize=b"0123456789abcdef" * 2)
        instrument = LangGraphInstrumentor().instrument
        instrument(audit_logger=audit, owner=1, tracer_provider=tracer_provider)
        try:
            graph = _graph(InMemoryStore())
            await graph.ainvoke({"text": "tea"}, {"configurable": {"thread_id": "t-alice"}})
        finally:
            LangGraphInstrumentor().uninstrument()
        found = audit.query_events(entry_ids=["memories/alice/k"], archived=True)
        assert [event.operation.value for event in found] == ["RECALL", "RECALL", "STORE"]
        audit.close()
        outputs = _contents(tmp_path)
        outputs += [span.to_json().encode() for span in span_exporter.get_finished_spans()]
        outputs += [record.to_json().encode() for record in log_exporter.get_finished_logs()]
        assert not [output for output in outputs if b"alice" in output or b"memories/" in output]

    @pytest.mark.parametrize("more", [{}, {"pseudonymize": b"0123456789abcdef" * 2}])
    def test_erasable_ids(self, make_audit: Make, tmp_path: Path, more: dict[str, Any]) -> None:
        """With `erasable` the ids of items are readable with the keys, until the person is erased;
        after a restart as well."""
        how = {"auto_export_path": tmp_path / "a", "erasable": True, **more}
        with make_audit(**how) as audit:
            store = AuditedStore(InMemoryStore(), audit, owner=1)
            for who in ("alice", "bob"):
                store.put(("memories", who), "k", {"text": "tea"})
                store.get(("memories", who), "k")
            store.delete(("memories", "alice"), "k")
        audit = make_audit(**how)

        def done(who: str) -> list[str]:
            found = audit.query_events(entry_ids=[f"memories/{who}/k"], archived=True)
            return [event.operation.value for event in found]

        assert done("alice") == ["FORGET", "RECALL", "STORE"]
        assert audit.erase_user("alice")
        assert done("alice") == []
        assert done("bob") == ["RECALL", "STORE"]
        assert not [one for one in audit.query_events(archived=True) if "alice" in str(one)]
        audit.close()
        files = b"".join(_contents(tmp_path / "a") + _contents(tmp_path / "a.keys"))
        assert b"memories/" not in files

    def test_switched_off(self, make_audit: Make) -> None:
        """Where namespaces name nobody, the ids can stay."""
        audit = make_audit(pseudonymize=b"0123456789abcdef" * 2)
        AuditedStore(InMemoryStore(), audit, private_ids=False).put(("docs",), "k", {})
        assert only_event(audit).entry_ids == ["docs/k"]

    async def test_langmem(self, audit: AuditLogger) -> None:
        """langmem's tools go through the store."""
        langmem = pytest.importorskip("langmem", reason="langmem is not installed")
        store = AuditedStore(InMemoryStore(), audit, owner=1)
        tool = langmem.create_manage_memory_tool(("memories", "{langgraph_user_id}"), store=store)
        said = {"configurable": {"langgraph_user_id": "alice"}}
        await tool.ainvoke({"content": "likes tea", "action": "create"}, said)
        event = only_event(audit)
        assert (event.operation, event.user_id, event.subjects) == ("STORE", "alice", ("alice",))


class _Seen:
    """Says whether anybody has made text of it."""

    asked = 0

    def __str__(self) -> str:
        self.asked += 1
        return "text"


@pytest.mark.parametrize("asks", [{}, {"capture_content": True}, {"fingerprints": False}])
def test_values_become_text_only_where_something_is_made_of_it(
    make_audit: Make, asks: dict[str, Any]
) -> None:
    store, value = AuditedStore(InMemoryStore(), make_audit(**asks)), _Seen()
    store.put(("memories",), "k1", {"text": value})
    assert store.get(("memories",), "k1") is not None
    assert bool(value.asked) is ("fingerprints" not in asks)
