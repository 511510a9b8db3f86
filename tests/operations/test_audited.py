"""The public operation: a program, or an integration, records what it does to a memory."""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from axon import MemorySystem
from conftest import Cli, ListingAdapter, Make, MakeSystem, Run, history, only_event
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import get_current_span

from axon_audit_otel import (
    AuditLogger,
    AuditUnavailableError,
    AxonInstrumentor,
    InvalidEventError,
    audit_context,
    audited,
    current_operation,
)
from axon_audit_otel.operations.together import Together


@pytest.fixture(autouse=True)
def _instrument(audit: AuditLogger, tracer_provider: TracerProvider) -> None:
    AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)


class TestOneEvent:
    def test_what_it_says(self, audit: AuditLogger) -> None:
        """The event has what the block reported, and whose data it was."""
        with audit.operation(
            "store", system="notes", action="Notes.add", store="n1", owner="alice"
        ) as op:
            op.saved("k1")
            op.note(size=3)
        event = only_event(audit)
        assert (event.operation, event.status, event.user_id) == ("STORE", "SUCCESS", "alice")
        assert (event.system, event.action, event.store) == ("notes", "Notes.add", "n1")
        assert (event.entry_ids, event.subjects) == (["k1"], ("alice",))
        assert event.metadata == {"size": 3}
        assert event.duration_ms is not None
        assert op.event == event

    async def test_in_a_coroutine(self, audit: AuditLogger) -> None:
        """`async with` does the same."""
        async with audit.operation("RECALL", system="notes", owner="alice") as op:
            op.found(["k1", "k2"], owner="bob")
            await asyncio.sleep(0)
        event = only_event(audit)
        assert event.entry_ids == ["k1", "k2"]
        assert event.metadata == {"result_count": 2}
        assert set(event.subjects) == {"alice", "bob"}

    def test_span(self, audit: AuditLogger, span_exporter: InMemorySpanExporter) -> None:
        """Its span follows the GenAI conventions, and is the event's."""
        with audit.operation("FORGET", system="notes", store="n1", owner="alice") as op:
            op.deleted("k1")
        (span,) = span_exporter.get_finished_spans()
        assert span.name == "delete_memory"
        assert dict(span.attributes or {}) == {
            "axon.operation": "FORGET",
            "axon.system": "notes",
            "axon.status": "SUCCESS",
            "axon.forget.deleted": 1,
            "axon.exemplar": True,
            "gen_ai.operation.name": "delete_memory",
            "gen_ai.memory.record.id": "k1",
            "gen_ai.memory.record.count": 1,
            "gen_ai.memory.store.id": "n1",
            "user.id": "alice",
        }
        event = only_event(audit)
        assert event.span_id == format(span.context.span_id, "016x")
        assert event.trace_flags == f"{span.context.trace_flags:02x}"

    def test_metrics_agree(self, audit: AuditLogger) -> None:
        """It is counted as any other operation."""
        with audit.operation("COMPACT", system="notes"):
            pass
        assert audit.get_statistics()["by_operation"]["COMPACT"] == 1


class TestOutcomes:
    def test_raises(self, audit: AuditLogger) -> None:
        """A block that raises is a FAILURE, and raises what it raised."""
        error = ValueError("no")
        with pytest.raises(ValueError, match="no") as raised, audit.operation("RECALL"):
            raise error
        assert raised.value is error
        event = only_event(audit)
        assert (event.status, event.error_type) == ("FAILURE", "ValueError")

    def test_raises_after_a_change(self, audit: AuditLogger) -> None:
        """It is PARTIAL if memory is not what it was."""
        with (  # noqa: PT012 - the block is what is tested
            pytest.raises(OSError, match="late"),
            audit.operation("STORE") as op,
        ):
            op.saved("k1")
            raise OSError("late")
        assert (only_event(audit).status, only_event(audit).entry_ids) == ("PARTIAL", ["k1"])

    async def test_cancelled(self, audit: AuditLogger) -> None:
        """A cancelled block is a FAILURE."""

        async def block() -> None:
            async with audit.operation("RECALL"):
                await asyncio.Event().wait()

        task = asyncio.create_task(block())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        event = only_event(audit)
        assert (event.status, event.error_type) == ("FAILURE", "asyncio.CancelledError")

    def test_partial(self, audit: AuditLogger) -> None:
        """What was swallowed is reported: by an exception, or by a name."""
        with audit.operation("STORE") as op:
            op.saved("k1")
            op.partial(KeyError("k2"))
        assert (only_event(audit).status, only_event(audit).error_type) == ("PARTIAL", "KeyError")

    def test_failed(self, audit: AuditLogger) -> None:
        """Nothing worked, and nothing was raised."""
        with audit.operation("STORE") as op:
            op.failed("store_refused")
        event = only_event(audit)
        assert (event.status, event.error_type) == ("FAILURE", "store_refused")

    def test_deletion(self, audit: AuditLogger) -> None:
        """A deletion says what is gone, what is still there, and what never was."""
        with audit.operation("FORGET", entry_ids=["a", "b", "c"]) as op:
            op.deleted("a", number=2)
            op.remaining("b")
        event = only_event(audit)
        assert (event.status, event.error_type) == ("PARTIAL", "entry_still_present")
        assert event.entry_ids == ["a", "b", "c"]
        assert event.metadata == {"deleted": 3, "remaining": 1, "remaining_ids": ["b"]}

    def test_nothing_was_there(self, audit: AuditLogger) -> None:
        """A deletion that found nothing deleted nothing, and names what was asked for."""
        with audit.operation("FORGET", entry_ids=["a"]):
            pass
        event = only_event(audit)
        assert (event.status, event.entry_ids) == ("SUCCESS", ["a"])
        assert event.metadata == {"deleted": 0}

    def test_what_is_made_of_it_lives(self, audit: AuditLogger) -> None:
        """A deletion is PARTIAL while an entry lives that was made of the deleted one."""
        for key, made_of in (("a", None), ("b", ["a"]), ("c", ["b"])):
            with audit.operation("STORE", owner="alice") as op:
                op.saved(key, derived_from=made_of)
        with audit.operation("FORGET", owner="alice") as op:
            op.deleted("a", "b")
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.error_type) == ("PARTIAL", "derived_entries_remain")
        assert event.metadata["derived_remaining"] == ["c"]


class TestWho:
    def test_owner_acts_unless_somebody_else_does(self, audit: AuditLogger) -> None:
        """Where only the owner is known, he acts."""
        with audit.operation("RECALL", owner="alice"):
            pass
        with audit_context(user_id="bob", agent_id="bot"), audit.operation("RECALL", owner="alice"):
            pass
        with audit.operation("RECALL", owner="alice", user_id="carol", purpose="support"):
            pass
        first, second, third = history(audit)
        assert (first.user_id, first.subject_id, first.subjects) == ("alice", None, ("alice",))
        assert (second.user_id, second.subject_id, second.agent_id) == ("bob", "alice", "bot")
        assert (third.user_id, third.subject_id, third.purpose) == ("carol", "alice", "support")

    def test_owner_learnt_late(
        self, audit: AuditLogger, span_exporter: InMemorySpanExporter
    ) -> None:
        """The same holds for an owner whom the block finds out."""
        with audit.operation("FORGET", entry_ids=["k1"]) as op:
            op.owned_by("alice")
            op.deleted("k1")
        with audit.operation("FORGET", user_id="bob") as op:
            op.owned_by("alice")
        first, second = history(audit)
        assert (first.user_id, first.subject_id) == ("alice", None)
        assert (second.user_id, second.subject_id) == ("bob", "alice")
        assert (span_exporter.get_finished_spans()[0].attributes or {})["user.id"] == "alice"

    def test_several_owners(self, audit: AuditLogger, span_exporter: InMemorySpanExporter) -> None:
        """Of several owners, nobody is said to act, also where they are learnt one by one."""
        with audit.operation("RECALL") as op:
            op.owned_by("alice", "bob")
        with audit.operation("FORGET") as op:
            op.owned_by("alice")
            op.owned_by("bob")
        for event in history(audit):
            assert (event.user_id, event.subjects) == (None, ("alice", "bob"))
        for span in span_exporter.get_finished_spans():
            assert "user.id" not in (span.attributes or {})

    @pytest.mark.parametrize("how", ["found", "touched", "deleted", "remaining", "saved", "named"])
    def test_owner_on_record(self, audit: AuditLogger, how: str) -> None:
        """Of an entry of which nobody says it, the trail knows whose it is."""
        with audit.operation("STORE", system="notes", owner="alice") as op:
            op.saved("k1")
        kind = {"saved": "STORE", "deleted": "FORGET", "remaining": "FORGET"}.get(how, "RECALL")
        names = ["k1"] if how == "named" else None
        with audit.operation(kind, system="notes", user_id="support", entry_ids=names) as op:
            if how != "named":
                getattr(op, how)("k1")
        event = history(audit)[-1]
        assert (event.user_id, event.entry_ids, event.subjects) == ("support", ["k1"], ("alice",))

    def test_owners_of_sources(self, make_audit: Make, tmp_path: Path) -> None:
        """An entry is also of those whose entries it was made of, over several steps; its text
        goes with any of them."""
        how = {"auto_export_path": tmp_path / "logs", "erasable": True, "capture_content": True}
        audit = make_audit(**how)
        for key, owner in (("a", "alice"), ("b", "bob")):
            with audit.operation("STORE", system="notes", owner=owner) as op:
                op.saved(key)
        for key, sources in (("s", ["a", "b"]), ("t", ["s"])):
            with audit.operation("STORE", system="notes", user_id="agent", owner="carl") as op:
                op.saved(key, derived_from=sources)
                op.content(texts={key: f"tea in {key}"})
        with audit.operation("STORE", system="notes", user_id="agent") as op:
            op.saved("u", derived_from=["a"])
            op.saved("v", derived_from=["t"])
        subjects = [event.subjects for event in history(audit)[2:]]
        assert subjects[:2] == [("carl", "alice", "bob")] * 2
        assert set(subjects[2]) == {"alice", "bob", "carl"}
        audit.close()
        audit = make_audit(**how)
        with audit.operation("FORGET", system="notes", user_id="officer") as op:
            op.deleted("s")
        assert set(audit.query_events()[0].subjects) == {"alice", "bob", "carl"}
        audit.erase_user("bob")
        assert "tea in" not in str(audit.query_events(archived=True))

    def test_id_used_again(self, audit: AuditLogger) -> None:
        """Who had an entry that is gone has none of that id that is new."""
        with audit.operation("STORE", system="notes", owner="alice") as op:
            op.saved("k1")
        with audit.operation("FORGET", system="notes", owner="alice") as op:
            op.deleted("k1")
        with audit.operation("STORE", system="notes", user_id="support") as op:
            op.saved("k1")
        assert history(audit)[-1].subjects == ()

    def test_new_owner(self, audit: AuditLogger) -> None:
        """An entry that gets another owner is of both; from then on of the new one."""
        with audit.operation("STORE", system="notes", owner="alice") as op:
            op.saved("k1")
        with audit.operation("STORE", system="notes", user_id="support") as op:
            op.saved("k1", owner="bob")
        with audit.operation("RECALL", system="notes", user_id="support") as op:
            op.found("k1")
        assert [event.subjects for event in history(audit)] == [
            *(("alice",), ("bob", "alice"), ("bob",)),
        ]

    @pytest.mark.parametrize("whose", ["on record", "learnt late"])
    def test_fingerprint_of_an_owner_not_given(
        self, make_audit: Make, tmp_path: Path, whose: str
    ) -> None:
        """It and captured texts have the key of the owner, also where no call names him."""
        audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True, capture_content=True)
        with audit.operation("STORE", system="notes", owner="alice") as op:
            op.saved("k1")
            op.content(texts={"k1": "tea"})
        with audit.operation("RECALL", system="notes", user_id="support") as op:
            if whose == "learnt late":
                op.owned_by("alice")
            op.found("k1")
            op.content(texts={"k1": "tea"})
        stored, read = history(audit)
        assert read.fingerprints == stored.fingerprints
        audit.erase_user("alice")
        assert "tea" not in str(audit.query_events(archived=True))


class TestNesting:
    @pytest.mark.parametrize("late", [False, True])
    def test_whose(self, audit: AuditLogger, late: bool) -> None:
        """It is also about those whom its parts are about, though these found nothing."""
        with audit.operation("RECALL", system="outer", user_id="support") as outer:
            outer.found("k1", owner="bob")
            with audit.operation("RECALL", owner=None if late else "alice") as inner:
                if late:
                    inner.owned_by("alice")
        event = only_event(audit)
        assert (event.user_id, set(event.subjects)) == ("support", {"alice", "bob"})

    async def test_one_event(self, audit: AuditLogger) -> None:
        """An operation inside of another is a part of it."""
        async with audit.operation("FORGET", system="outer", owner="alice"):
            with audit.operation("FORGET", system="inner") as inner:
                inner.deleted("k1", owner="bob")
            assert inner.event is None
        event = only_event(audit)
        assert (event.system, event.metadata["deleted"]) == ("outer", 1)
        assert event.entry_ids == ["k1"]
        assert set(event.subjects) == {"alice", "bob"}

    async def test_around_axon(self, audit: AuditLogger, make_system: MakeSystem) -> None:
        """So is an operation of another library that is instrumented."""
        memory: MemorySystem = make_system(session=ListingAdapter())
        async with audit.operation("STORE", system="app"):
            key = await memory.store("tea", tier="session", user_id="alice")
        event = only_event(audit)
        assert (event.system, event.entry_ids, event.subjects) == ("app", [key], ("alice",))

    async def test_current_operation(self, audit: AuditLogger) -> None:
        """What lies below a call reports to the operation of that call."""
        assert current_operation() is None
        async with audit.operation("FORGET") as op:
            assert current_operation() is op
            below = await asyncio.to_thread(current_operation)
            assert below is op
            below.deleted("k1")
        assert current_operation() is None
        assert only_event(audit).entry_ids == ["k1"]

    async def test_current_operation_of_axon(
        self, audit: AuditLogger, make_system: MakeSystem
    ) -> None:
        """The storage of an instrumented library can report to its operation as well."""

        class Noting(ListingAdapter):
            async def save(self, entry: Any) -> str:
                op = current_operation()
                assert op is not None
                op.note(shelf=4)
                return await super().save(entry)

        await make_system(session=Noting()).store("tea", tier="session")
        assert only_event(audit).metadata["shelf"] == 4

    def test_what_an_inner_one_reports(self, audit: AuditLogger) -> None:
        """Nothing that an inner operation reports is lost: failures, numbers, what remains."""
        with audit.operation("FORGET", action="all"):
            for part in ("a", "b"):
                with audit.operation("FORGET", action="part") as inner:
                    inner.deleted(part, number=5)
                    inner.remaining(f"{part}-left")
        event = only_event(audit)
        assert (event.status, event.error_type) == ("PARTIAL", "entry_still_present")
        assert event.metadata["deleted"] == 12
        assert event.metadata["remaining_ids"] == ["a-left", "b-left"]

    def test_made_good_around(self, audit: AuditLogger) -> None:
        """An attempt that fails inside may be made good by the operation around it."""
        with audit.operation("STORE") as outer:
            with audit.operation("STORE") as inner:
                inner.partial(OSError(), "k1", "k2")
            outer.saved("k1", "k2")
        assert only_event(audit).status == "SUCCESS"

    def test_found_twice(self, audit: AuditLogger) -> None:
        """Entries that both operations report are counted once."""
        with audit.operation("RECALL") as outer:
            with audit.operation("RECALL") as inner:
                inner.found("k1", "k2")
            outer.found("k1", "k2")
        assert only_event(audit).metadata["result_count"] == 2

    def test_on_two_trails(self, audit: AuditLogger, make_audit: Make) -> None:
        """An operation on another trail in between does not part the two of one trail."""
        other = make_audit()
        with audit.operation("STORE", action="outer") as outer:
            between = other.operation("STORE", action="between")
            with between, audit.operation("STORE", action="inner") as inner:
                inner.saved("k1")
            outer.saved("k2")
        assert only_event(audit).entry_ids == ["k1", "k2"]
        assert only_event(other).action == "between"


class TestGenerators:
    """The block of a generator is around its own code."""

    def test_consumer(self, audit: AuditLogger, span_exporter: InMemorySpanExporter) -> None:
        """What the consumer does between items is no part of it, nor a child of its span."""

        def entries() -> Iterator[str]:
            with audit.operation("RECALL", action="entries") as op:
                for key in ("k1", "k2"):
                    with audit.operation("RECALL", action="inside"):
                        op.found(key)
                    yield key

        for key in entries():
            assert current_operation() is None
            with audit.operation("STORE", action="consumer") as op:
                op.saved(f"new-{key}")
        assert current_operation() is None
        assert {(e.action, *e.entry_ids) for e in history(audit)} == {
            ("consumer", "new-k1"),
            ("consumer", "new-k2"),
            ("entries", "k1", "k2"),
        }
        assert all(span.parent is None for span in span_exporter.get_finished_spans())

    async def test_async(self, audit: AuditLogger) -> None:
        """Neither in an async generator; also if its consumer leaves it."""

        async def entries() -> AsyncIterator[str]:
            async with audit.operation("RECALL", action="entries") as op:
                for key in ("k1", "k2"):
                    await asyncio.sleep(0)
                    op.found(key)
                    yield key

        items = entries()
        async for key in items:
            async with audit.operation("STORE", action="consumer") as op:
                op.saved(f"new-{key}")
            break
        await items.aclose()
        assert [(e.action, *e.entry_ids) for e in history(audit)] == [
            ("consumer", "new-k1"),
            ("entries", "k1"),
        ]

    def test_ends_inside_of_the_consumers(self, audit: AuditLogger) -> None:
        """A generator that ends leaves the operation that its consumer began meanwhile."""

        def entries() -> Iterator[str]:
            with audit.operation("RECALL", action="entries"):
                yield "k1"

        items = entries()
        next(items)
        with audit.operation("STORE", action="consumer"):
            assert list(items) == []
            with audit.operation("STORE") as inner:
                inner.saved("k2")
        assert [event.entry_ids for event in history(audit)] == [[], ["k2"]]
        assert current_operation() is None
        assert not get_current_span().get_span_context().is_valid

    def test_dropped(self, audit: AuditLogger) -> None:
        """Nothing keeps a generator alive that is dropped."""

        def entries() -> Iterator[str]:
            with audit.operation("RECALL", action="entries"):
                yield "k1"

        next(entries())
        gc.collect()
        assert only_event(audit).error_type == "GeneratorExit"

    def test_for_a_block(self, audit: AuditLogger) -> None:
        """A context manager that is made of a generator is around the block."""

        @contextmanager
        def task() -> Iterator[None]:
            with audit.operation("SYNC", action="task"):
                yield

        with task(), audit.operation("STORE") as op:
            op.saved("k1")
        assert (only_event(audit).action, only_event(audit).entry_ids) == ("task", ["k1"])


class TestTogether:
    async def test_interrupted_wait(self, make_audit: Make, tmp_path: Path) -> None:
        """All end before one is waited for: a task that is cancelled then loses none."""
        audit = make_audit(auto_export_path=tmp_path / "a", durability="disk", on_failure="block")

        async def batch() -> None:
            async with Together([audit.operation("STORE") for _ in range(3)]):
                asyncio.current_task().cancel()  # type: ignore[union-attr]

        with pytest.raises(asyncio.CancelledError):
            await asyncio.create_task(batch())
        events = history(audit, operation="STORE")
        assert [event.status for event in events] == ["SUCCESS"] * 3
        assert await asyncio.to_thread(audit.seal) is not None


class TestValues:
    @pytest.mark.parametrize(
        "wrong",
        [
            {"operation": "eat"},
            {"operation": "STORE", "owner": object()},
            {"operation": "STORE", "system": 3},
            {"operation": "STORE", "entry_ids": [None]},
            {"operation": "STORE", "user_id": True},
            {"operation": "STORE", "purpose": 1},
        ],
    )
    def test_refused_before_the_block(self, audit: AuditLogger, wrong: dict[str, Any]) -> None:
        """What cannot be meant is refused where the operation is made."""
        with pytest.raises(InvalidEventError):
            audit.operation(**wrong)

    @pytest.mark.parametrize("field", ["system", "action", "store"])
    def test_names_that_no_encoding_carries(self, audit: AuditLogger, field: str) -> None:
        """A name of half a character, or of any length, is recorded as ids are, without a fault."""
        for name in ("a\ud800", "a" * 10_000):
            with audit.operation("STORE", **{field: name}) as op:
                op.saved("k1")
        half, long = (getattr(event, field) for event in history(audit))
        assert half == "a\\ud800"
        assert len(long) < 600
        assert audit.get_statistics()["failures"] == {}

    @pytest.mark.parametrize("wrong", [True, -5, 10**30, "x"])
    def test_numbers_are_counted(self, audit: AuditLogger, wrong: Any) -> None:
        """How many entries are gone is counted, whatever a fact says."""
        with audit.operation("FORGET") as op:
            op.note(deleted=wrong)
            op.deleted("k1", "k2")
        assert only_event(audit).metadata == {"deleted": 2}

    def test_texts_add_up(self, make_audit: Make) -> None:
        """The texts of several reports are recorded, and not the last ones alone."""
        audit = make_audit(capture_content=True)
        with audit.operation("STORE") as op:
            for key in ("k1", "k2"):
                op.saved(key)
                op.content(texts={key: f"text of {key}"})
        assert only_event(audit).metadata["content"] == ["text of k1", "text of k2"]

    def test_nothing_is_raised_inside(self, audit: AuditLogger) -> None:
        """Inside the block nothing of ours is raised, whatever is reported."""

        class Hostile:
            def __str__(self) -> str:
                raise RuntimeError

            __repr__ = __str__

        with audit.operation("FORGET") as op:
            op.deleted("k1", Hostile(), number="many")  # type: ignore[arg-type]
            op.deleted("k2")
            op.partial(Hostile())  # type: ignore[arg-type]
            op.note(what=Hostile())
            op.content(texts={"k2": Hostile()})  # type: ignore[dict-item]
            op.owned_by(Hostile())
        assert "k2" in only_event(audit).entry_ids

    def test_reports_after_the_end(self, audit: AuditLogger) -> None:
        """What is reported when the block is over changes nothing."""
        with audit.operation("FORGET") as op:
            pass
        op.deleted("k1")
        assert only_event(audit).entry_ids == []

    def test_begun_twice(self, audit: AuditLogger) -> None:
        """One operation is one block."""
        operation = audit.operation("STORE")
        with operation:
            pass
        with pytest.raises(InvalidEventError, match="begun already"), operation:
            pass

    def test_no_content(self, make_audit: Make) -> None:
        """Content is recorded only where that is switched on; its fingerprints are."""
        off, on = make_audit(name="off"), make_audit(name="on", capture_content=True)
        for audit in (off, on):
            with audit.operation("STORE", owner="alice") as op:
                op.saved("k1")
                op.content(texts={"k1": "Alice likes tea"})
        assert "tea" not in str(only_event(off))
        assert only_event(on).metadata["content"] == ["Alice likes tea"]
        for audit in (off, on):
            assert list(only_event(audit).fingerprints or ()) == ["k1"]

    def test_record_is_the_trails(self, audit: AuditLogger) -> None:
        """Nobody can make a record of the trail itself."""
        with audit.operation("AUDIT") as op:
            op.note(record="start", more=1)
        assert only_event(audit, operation="AUDIT").metadata == {"more": 1}


class TestBlocked:
    def test_refused_before_the_block_runs(self, make_audit: Make, tmp_path: Path) -> None:
        """With `on_failure="block"` what cannot be recorded does not happen."""
        archive = tmp_path / "audit_logs"
        audit = make_audit(auto_export_path=archive, on_failure="block")
        with audit.operation("STORE") as op:
            op.saved("k1")
        audit.close()
        for file in archive.iterdir():
            file.unlink()
        archive.rmdir()
        archive.write_text("no directory")
        ran = False
        with pytest.raises(AuditUnavailableError), audit.operation("STORE"):
            ran = True
        assert not ran

    async def test_disk(self, make_audit: Make, tmp_path: Path) -> None:
        """With `durability="disk"` the end of the block waits, with and without an event loop."""
        audit = make_audit(auto_export_path=tmp_path / "audit_logs", durability="disk")
        assert audit.trail.storage is not None
        async with audit.operation("STORE"):
            pass
        assert audit.trail.storage.durable == 2
        with audit.operation("STORE"):
            pass
        assert audit.trail.storage.durable == 3
        audit.record("STORE")
        assert audit.trail.storage.durable == 4


class TestRecord:
    def test_without_an_event_loop(self, audit: AuditLogger) -> None:
        """`record` is `log_event` for synchronous code."""
        event = audit.record("EXPORT", user_id="alice", metadata={"reason": "backup"})
        assert event == only_event(audit)
        assert (event.user_id, event.metadata) == ("alice", {"reason": "backup"})

    def test_refuses_the_same(self, audit: AuditLogger) -> None:
        """It refuses what that refuses."""
        with pytest.raises(InvalidEventError):
            audit.record("EXPORT", duration_ms=-1)
        with pytest.raises(InvalidEventError):
            audit.record("AUDIT", metadata={"record": "start"})


class TestDecorator:
    def test_function(self, audit: AuditLogger) -> None:
        """Each call of a function is one operation."""

        @audited("FORGET", audit=audit, system="notes", owner="user", ids="key")
        def delete(user: str, key: str) -> bool:
            return key != "missing"

        assert delete("alice", key="k1") is True
        assert delete("alice", "missing") is False
        first, second = history(audit)
        assert (first.user_id, first.entry_ids, first.metadata) == ("alice", ["k1"], {"deleted": 1})
        assert (second.entry_ids, second.metadata) == (["missing"], {"deleted": 0})
        assert first.action is not None
        assert first.action.endswith("delete")

    async def test_coroutine_function(self, audit: AuditLogger) -> None:
        """So is each call of a coroutine function; functions can say owner and ids."""

        @audited(
            "STORE",
            audit=audit,
            action="Notes.add",
            owner=lambda note: note["by"],
            ids=lambda result: result["id"],
        )
        async def add(note: dict[str, str]) -> dict[str, str]:
            return {"id": "k7", **note}

        assert await add({"by": "bob"}) == {"id": "k7", "by": "bob"}
        event = only_event(audit)
        assert (event.action, event.user_id, event.entry_ids) == ("Notes.add", "bob", ["k7"])

    def test_what_raises(self, audit: AuditLogger) -> None:
        """A call that raises names what it was about; wrong arguments are no fault of ours."""

        @audited("FORGET", audit=audit, owner="user", ids="key")
        def delete(user: str, key: str) -> None:
            raise OSError("broken")

        with pytest.raises(OSError, match="broken"):
            delete("alice", "k1")
        with pytest.raises(TypeError, match="missing 2 required"):
            delete()  # type: ignore[call-arg]
        first, second = history(audit)
        assert (first.entry_ids, first.user_id, first.status) == (["k1"], "alice", "FAILURE")
        assert (second.entry_ids, second.error_type) == ([], "TypeError")
        assert audit.get_statistics()["failures"].get("record", 0) == 0

    def test_nothing_found(self, audit: AuditLogger) -> None:
        """A lookup by id that gives None has found nothing."""
        get = audited("RECALL", audit=audit, ids="key")(lambda key: None)
        get("k1")
        event = only_event(audit)
        assert (event.entry_ids, event.metadata["result_count"]) == (["k1"], 0)

    async def test_what_is_no_plain_function(self, audit: AuditLogger) -> None:
        """A partial function, an object that is called, a function in C."""

        class Store:
            async def __call__(self, key: str) -> str:
                await asyncio.sleep(0)
                return key

        await audited("STORE", audit=audit, ids="key")(Store())("k1")
        audited("STORE", audit=audit, ids="key")(partial(lambda x, key: key, 1))("k2")
        audited("FORGET", audit=audit)(dict.pop)({"k3": 1}, "k3")
        assert [event.entry_ids for event in history(audit)] == [["k1"], ["k2"], []]
        with pytest.raises(TypeError, match="below @classmethod"):
            audited("STORE")(classmethod(lambda cls: None))

    def test_what_cannot_be_said(self, audit: AuditLogger) -> None:
        """A function that fails to say whose data it is does not end the call."""

        @audited("RECALL", audit=audit, owner=lambda: 1 / 0, ids=lambda result: result.ids)
        def search() -> int:
            return 3

        assert search() == 3
        assert only_event(audit).entry_ids == []

    def test_refused(self, audit: AuditLogger) -> None:
        """What cannot work is refused where it is written."""
        with pytest.raises(InvalidEventError, match="no such parameter"):
            audited("STORE", audit=audit, owner="usr")(lambda user: user)

        def items() -> Any:
            yield 1

        with pytest.raises(TypeError, match="generator"):
            audited("STORE", audit=audit)(items)

    @pytest.mark.slow
    def test_which_logger(self, run_script: Run) -> None:
        """Without `audit`, it is the logger "default" of the process, or the only one."""
        said = run_script(
            """
            from axon_audit_otel import AuditConfigError, AuditLogger, audited

            @audited("STORE")
            def add():
                pass

            try:
                add()
            except AuditConfigError as exc:
                print(exc)
            one = AuditLogger(name="one")
            add()
            default = AuditLogger()
            add()
            print(one.event_count, default.event_count)
            """
        )
        assert "audit=" in said
        assert said.endswith("1 1\n")


class TestSystems:
    """Several memories in one trail are told apart."""

    def _three(self, audit: AuditLogger) -> None:
        for system, store, action in (("a", "s1", "put"), ("a", "s2", "get"), ("b", "s1", "put")):
            with audit.operation("STORE", system=system, store=store, action=action):
                pass

    def test_queries(self, make_audit: Make, tmp_path: Path) -> None:
        """Queries know system, store and action: in memory and in files."""
        audit = make_audit(auto_export_path=tmp_path / "audit_logs")
        self._three(audit)
        for archived in (False, True):
            assert len(audit.query_events(system="a", archived=archived)) == 2
            assert len(audit.query_events(store="s1", archived=archived)) == 2
            assert len(audit.query_events(action="put", system="b", archived=archived)) == 1
            assert audit.query_events(system="c", archived=archived) == []
        with pytest.raises(InvalidEventError):
            audit.query_events(system=3)  # type: ignore[arg-type]

    def test_command_line(self, make_audit: Make, tmp_path: Path, cli: Cli) -> None:
        """So do the commands; `stats` counts by system where there are several."""
        audit = make_audit(auto_export_path=tmp_path / "audit_logs")
        self._three(audit)
        audit.close()
        logs = str(tmp_path / "audit_logs")
        said = cli("query", logs, "--system", "a", "--store", "s2", "--action", "get", "--json")
        assert len(said.stdout.splitlines()) == 1
        stats = cli("stats", logs)
        assert "system" in stats.stdout
        found = json.loads(cli("stats", logs, "--json").stdout)["systems"]
        assert [(one["system"], one["total_operations"]) for one in found] == [("a", 2), ("b", 1)]
