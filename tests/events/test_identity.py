"""The acting user, the session, and the owner of the data."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any
from uuid import UUID

import pytest
from axon import Filter, MemorySystem
from conftest import FaultyAdapter, ListingAdapter, Make, MakeSystem, history, only_event
from opentelemetry import baggage, context

from axon_audit_otel import (
    AuditEvent,
    AuditLogger,
    EventStatus,
    InvalidEventError,
    audit_context,
)

pytestmark = pytest.mark.usefixtures("instrumented")


@pytest.fixture(name="audit")
def _audit(make_audit: Make) -> AuditLogger:
    """A logger that believes baggage."""
    return make_audit(baggage_identity=True)


@contextmanager
def carrying(**items: str) -> Iterator[None]:
    """OpenTelemetry baggage, as a server takes it from a request's headers."""
    carried = context.get_current()
    for name, value in items.items():
        carried = baggage.set_baggage(f"{name}.id", value, carried)
    token = context.attach(carried)
    try:
        yield
    finally:
        context.detach(token)


def who(event: AuditEvent) -> tuple[str | None, str | None, str | None]:
    return event.user_id, event.session_id, event.subject_id


class TestOrder:
    """The call's own arguments, then `audit_context`, metadata or filter, baggage."""

    async def test_nobody(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Without any of them the event is anonymous."""
        await memory.store("tea")
        assert who(only_event(audit)) == (None, None, None)

    async def test_baggage(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Baggage is the last resort."""
        with carrying(user="bag", session="s-bag"):
            await memory.store("tea")
        assert who(only_event(audit)) == ("bag", "s-bag", None)

    async def test_baggage_by_default(self, make_audit: Make) -> None:
        """It names nobody, unless that is switched on: any caller can send it."""
        audit = make_audit(name="careful")
        with carrying(user="admin", session="forged"):
            await audit.log_event("STORE")
        assert who(only_event(audit)) == (None, None, None)

    async def test_metadata_before_baggage(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """The data's owner goes before the baggage: he is the user."""
        with carrying(user="bag", session="s-bag"):
            await memory.store("tea", metadata={"user_id": "owner", "session_id": "s-own"})
        assert who(only_event(audit)) == ("owner", "s-own", None)

    async def test_filter_before_baggage(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A filter's user goes before the baggage."""
        with carrying(user="bag", session="s-bag"):
            await memory.recall("tea", filter=Filter(user_id="owner", session_id="s-own"))
        assert who(only_event(audit)) == ("owner", "s-own", None)

    async def test_context_before_metadata(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """The acting user goes before the data's owner, who becomes the subject."""
        with carrying(user="bag"), audit_context(user_id="actor", session_id="s-act"):
            await memory.store("tea", metadata={"user_id": "owner", "session_id": "s-own"})
        assert who(only_event(audit)) == ("actor", "s-act", "owner")

    async def test_call_before_context(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """The call's own arguments go before everything."""
        with audit_context(user_id="actor", session_id="s-act"):
            await memory.store("tea", {"user_id": "owner"}, user_id="call", session_id="s-call")
        assert who(only_event(audit)) == ("call", "s-call", "owner")

    async def test_each_for_itself(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """User and session are looked for separately."""
        with carrying(user="bag", session="s-bag"), audit_context(user_id="actor"):
            await memory.store("tea")
        with audit_context(session_id="s-act"):
            await memory.store("tea", user_id="call")
        assert [who(event) for event in history(audit)] == [
            ("actor", "s-bag", None),
            ("call", "s-act", None),
        ]


CALLS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "store": lambda m, who: m.store("tea", **who),
    "recall": lambda m, who: m.recall("tea", **who),
    "export": lambda m, who: m.export(**who),
    "import_from": lambda m, who: m.import_from({"version": "1.0", "entries": []}, **who),
    "import_data": lambda m, who: m.import_data(["tea"], **who),
    "sync": lambda m, who: m.sync("session", "persistent", **who),
    "compact": lambda m, who: m.compact(**who),
    "forget": lambda m, who: m.forget("nothing", **who),
    "route_forget": lambda m, who: m.router.route_forget("nothing", **who),
}


@pytest.mark.parametrize("method", CALLS)
async def test_every_method_takes_it(
    make_system: MakeSystem, audit: AuditLogger, method: str
) -> None:
    """`user_id=` and `session_id=` work on every audited method; the SDK never sees them."""
    memory = make_system(session=ListingAdapter())
    await CALLS[method](memory, {"user_id": "ada", "session_id": "s1"})
    event = only_event(audit)
    assert event.status is EventStatus.SUCCESS
    assert who(event) == ("ada", "s1", None)


async def test_transactions_take_it(memory: MemorySystem, audit: AuditLogger) -> None:
    """So does `transaction`; its block has an identity of its own."""
    async with memory.transaction(user_id="ada", session_id="s1"):
        await memory.store("tea")
    assert [who(event)[:2] for event in history(audit)] == [(None, None), ("ada", "s1")]


class TestSubject:
    async def test_recall_of_another_users_data(
        self, memory: MemorySystem, audit: AuditLogger
    ) -> None:
        """Support looks into a customer's memories: both are in the event."""
        for call in (
            memory.recall("tea", filter=Filter(user_id="customer"), user_id="support"),
            memory.export(filter=Filter(user_id="customer"), user_id="support"),
        ):
            await call
        assert [who(event) for event in history(audit)] == [("support", None, "customer")] * 2

    async def test_queries_find_both(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """`subject_id=` finds whose data it was, `user_id=` who acted."""
        await memory.store("tea", {"user_id": "customer"}, user_id="support")
        assert len(audit.query_events(subject_id="customer")) == 1
        assert len(audit.query_events(user_id="support")) == 1
        assert audit.query_events(user_id="customer") == []

    async def test_forget_by_filter(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """An erasure on request names the operator and the person."""
        await memory.store("tea", {"user_id": "customer"})
        await memory.forget(filter=Filter(user_id="customer"), user_id="dpo")
        assert who(only_event(audit, operation="FORGET")) == ("dpo", None, "customer")


class TestOwnership:
    async def test_store_as_a_user(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """The specification's `store(..., user_id=)`: the entry can be found by that user."""
        await memory.store("tea", user_id="ada", session_id="s1")
        (entry,) = await memory.recall("tea", filter=Filter(user_id="ada", session_id="s1"))
        assert (entry.metadata.user_id, entry.metadata.session_id) == ("ada", "s1")

    async def test_metadata_says_otherwise(self, memory: MemorySystem) -> None:
        """Metadata that names an owner keeps it, and the caller's mapping is not changed."""
        metadata = {"user_id": "owner"}
        await memory.store("tea", metadata, user_id="actor", session_id="s1")
        (entry,) = await memory.recall("tea")
        assert (entry.metadata.user_id, entry.metadata.session_id) == ("owner", "s1")
        assert metadata == {"user_id": "owner"}

    async def test_context_owns_nothing(self, memory: MemorySystem) -> None:
        """`audit_context` says who acts; what is stored stays as the SDK would have it."""
        with audit_context(user_id="ada"):
            await memory.store("tea")
        (entry,) = await memory.recall("tea")
        assert entry.metadata.user_id is None


class TestFailures:
    """A failed operation keeps its identity."""

    @pytest.mark.parametrize("given", ["call", "context", "metadata", "baggage"])
    async def test_failed_store(self, memory: MemorySystem, audit: AuditLogger, given: str) -> None:
        """Wherever it came from (the SDK's own audit loses it)."""
        identity = {"user_id": "ada", "session_id": "s1"}
        around = {
            "context": audit_context(**identity),
            "baggage": carrying(user="ada", session="s1"),
        }
        arguments = {"call": identity, "metadata": {"metadata": identity}}.get(given, {})
        with around.get(given, nullcontext()), pytest.raises(ValueError, match="content"):
            await memory.store("", **arguments)
        event = only_event(audit)
        assert (event.status, who(event)) == (EventStatus.FAILURE, ("ada", "s1", None))

    async def test_cancelled_recall(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A cancelled operation is a FAILURE of its user."""
        asked = asyncio.Event()

        class Waiting(ListingAdapter):
            async def query(self, vector: Any, k: int = 5, filter: Any = None) -> Any:
                asked.set()
                await asyncio.Event().wait()

        memory = make_system(persistent=Waiting())
        task = asyncio.create_task(memory.recall("tea", user_id="ada", session_id="s1"))
        await asked.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        event = only_event(audit)
        assert (event.status, event.error_type) == (
            EventStatus.FAILURE,
            "asyncio.CancelledError",
        )
        assert who(event) == ("ada", "s1", None)

    async def test_failed_forget(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """An erasure that failed names the entry, the operator and the person."""
        memory = make_system(persistent=FaultyAdapter(delete=OSError("down")))
        entry_id = await memory.store("tea", {"user_id": "customer"})
        with pytest.raises(OSError, match="down"):
            await memory.forget(filter=Filter(user_id="customer"), user_id="dpo")
        event = only_event(audit, operation="FORGET")
        assert who(event) == ("dpo", None, "customer")
        assert event.entry_ids == [entry_id]


class TestContext:
    async def test_nesting(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """An inner context changes what it names and gives it back."""
        with audit_context(user_id="outer", session_id="s1"):
            with audit_context(user_id="inner"):
                await memory.store("tea")
            await memory.store("tea")
        await memory.store("tea")
        assert [who(event)[:2] for event in history(audit)] == [
            ("inner", "s1"),
            ("outer", "s1"),
            (None, None),
        ]

    async def test_tasks_inherit_it(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Tasks started inside have it; tasks beside it do not mix."""

        async def request(user: str) -> None:
            with audit_context(user_id=user):
                await asyncio.sleep(0)
                await asyncio.gather(memory.store(user), memory.store(user))

        await asyncio.gather(*(request(f"u{number}") for number in range(10)))
        for number in range(10):
            assert len(audit.query_events(user_id=f"u{number}", operation="STORE")) == 2
        assert audit.event_count == 20

    async def test_threads(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """`asyncio.to_thread` carries it to another thread's own loop."""

        def work() -> None:
            asyncio.run(memory.store("tea"))

        with audit_context(user_id="ada"):
            await asyncio.to_thread(work)
        assert only_event(audit).user_id == "ada"

    async def test_as_an_error_passes(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """An exception passes through, and the context ends."""
        error = RuntimeError("mine")
        with pytest.raises(RuntimeError) as caught, audit_context(user_id="ada"):
            raise error
        assert caught.value is error
        await memory.store("tea")
        assert only_event(audit).user_id is None


class TestForms:
    @pytest.mark.parametrize(
        ("given", "recorded"),
        [
            (42, "42"),
            (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
            ("zoë", "zoë"),
            ("", ""),
        ],
    )
    async def test_ids_become_text(
        self, memory: MemorySystem, audit: AuditLogger, given: Any, recorded: str
    ) -> None:
        """Numbers and UUIDs are ids too; in the event they are text."""
        await memory.store("tea", user_id=given)
        assert only_event(audit).user_id == recorded

    @pytest.mark.parametrize("hostile", [object(), b"ada", ["ada"], {"a": 1}, 1.5, "\ud800"])
    async def test_hostile_ids(
        self, memory: MemorySystem, audit: AuditLogger, hostile: Any
    ) -> None:
        """A value that cannot be an id is replaced by a marker; the store works all the same."""
        assert await memory.store("tea", user_id=hostile)
        event = only_event(audit)
        assert event.status is EventStatus.SUCCESS
        assert isinstance(event.user_id, str)
        assert audit.get_statistics()["failures"] == {}

    @pytest.mark.parametrize("name", ["user_id", "session_id"])
    @pytest.mark.parametrize("wrong", [object(), b"ada", ["ada"], {"a": 1}, 1.5, True])
    async def test_context_refuses_what_is_no_id(
        self, memory: MemorySystem, audit: AuditLogger, name: str, wrong: Any
    ) -> None:
        """`audit_context` says at once what cannot be an id, as `log_event` does, and leaves
        what an enclosing one said."""
        with audit_context(user_id="ada", session_id="s1"):
            with pytest.raises(InvalidEventError) as refused, audit_context(**{name: wrong}):
                pytest.fail("the block ran")
            with pytest.raises(InvalidEventError) as by_hand:
                await audit.log_event("STORE", **{name: wrong})
            await memory.store("tea")
        assert str(refused.value) == str(by_hand.value)
        assert who(only_event(audit))[:2] == ("ada", "s1")

    @pytest.mark.parametrize(
        ("given", "recorded"), [(7, "7"), ("zoë", "zoë"), ("\ud800", "\\ud800")]
    )
    async def test_context_takes_what_is_one(
        self, memory: MemorySystem, audit: AuditLogger, given: Any, recorded: str
    ) -> None:
        """Numbers and any text are ids there, too."""
        with audit_context(user_id=given):
            await memory.store("tea")
        assert only_event(audit).user_id == recorded
