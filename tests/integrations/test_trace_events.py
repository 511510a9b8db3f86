"""The SDK's trace events are bounded while it is instrumented, and still a list."""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import pytest
from axon import MemorySystem
from conftest import Make

from axon_audit_otel import AuditConfigError, AuditLogger, AxonInstrumentor

VARIABLE = "AXON_AUDIT_MAX_TRACE_EVENTS"


async def work(memory: MemorySystem, count: int) -> None:
    """Operations, each with a trace event of its own."""
    for number in range(count):
        await memory.recall(str(number))


def queries(memory: Any) -> list[str]:
    return [event.query for event in memory._trace_events]


def newest(count: int, most: int) -> list[str]:
    return [str(number) for number in range(count)][-most:]


@pytest.fixture(name="instrument")
def _instrument(audit: AuditLogger) -> Any:
    """Instruments the SDK for the test's audit logger, with the arguments given."""
    return lambda **arguments: AxonInstrumentor().instrument(audit_logger=audit, **arguments)


class TestBound:
    @pytest.mark.parametrize("count", [3, 9, 10, 11, 12, 13, 57])
    async def test_newest_stay(self, instrument: Any, config: Any, count: int) -> None:
        """However many there were, what is seen is the newest of them."""
        instrument(max_trace_events=10)
        memory = MemorySystem(config)
        await work(memory, count)
        assert list.__len__(memory._trace_events) <= 12  # before it is looked at
        assert len(memory._trace_events) == min(count, 10)
        assert queries(memory) == newest(count, 10)
        assert memory.get_statistics()["trace_events"] == min(count, 10)

    async def test_every_operation(self, instrument: Any, config: Any) -> None:
        """The trace events of all operations count."""
        instrument(max_trace_events=3)
        memory = MemorySystem(config)
        for _ in range(3):
            await memory.store("tea")
            data = await memory.export()
            await memory.import_from(data)
            await memory.compact()
            with pytest.raises(ValueError, match="empty"):
                await memory.store("")
        assert [event.operation for event in memory._trace_events] == ["IMPORT", "compact", "store"]

    @pytest.mark.parametrize("given", [{}, {"max_trace_events": None}])
    async def test_default(self, instrument: Any, config: Any, given: Any) -> None:
        """Without a word it is a thousand."""
        instrument(**given)
        memory: Any = MemorySystem(config)
        memory._trace_events.extend(range(5_000))
        await work(memory, 1)
        assert len(memory._trace_events) == 1_000

    async def test_variable(
        self, instrument: Any, config: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The environment says how many, unless the argument does."""
        monkeypatch.setenv(VARIABLE, "4")
        instrument()
        memory = MemorySystem(config)
        await work(memory, 9)
        assert len(memory._trace_events) == 4
        AxonInstrumentor().uninstrument()
        instrument(max_trace_events=6)
        await work(memory, 9)
        assert len(memory._trace_events) == 6

    async def test_off(self, instrument: Any, config: Any) -> None:
        """0: none is kept."""
        instrument(max_trace_events=0)
        memory = MemorySystem(config)
        await work(memory, 30)
        assert memory._trace_events == []
        assert memory.get_trace_events() == []

    @pytest.mark.parametrize("wrong", [-1, 1.5, True, "many", "-3"])
    def test_wrong(self, instrument: Any, wrong: Any) -> None:
        """A wrong number of events is refused, and nothing is wrapped."""
        with pytest.raises(AuditConfigError, match="max_trace_events="):
            instrument(max_trace_events=wrong)

    @pytest.mark.parametrize("wrong", ["-1", "many"])
    def test_wrong_variable(
        self, make_audit: Make, monkeypatch: pytest.MonkeyPatch, wrong: str
    ) -> None:
        """So in the environment."""
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(AuditConfigError, match=f"{VARIABLE}='{wrong}'"):
            make_audit()


class TestWhichSystems:
    async def test_made_before(self, instrument: Any, config: Any) -> None:
        """A system that was made before keeps the newest of what it has."""
        memory = MemorySystem(config)
        await work(memory, 30)
        assert len(memory._trace_events) == 30
        instrument(max_trace_events=10)
        await memory.recall("last")
        assert queries(memory) == [*newest(30, 9), "last"]

    async def test_with_an_audit_logger(
        self, make_audit: Make, config: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A system with an `AuditLogger` of its own needs no `instrument`."""
        monkeypatch.setenv(VARIABLE, "10")
        memory = MemorySystem(config, audit_logger=make_audit())
        await work(memory, 30)
        assert queries(memory) == newest(30, 10)

    async def test_with_an_audit_logger_and_instrument(
        self, instrument: Any, audit: AuditLogger, config: Any
    ) -> None:
        """`instrument` says how many for all systems, also for those that there are."""
        memory = MemorySystem(config, audit_logger=audit)
        await work(memory, 30)
        assert len(memory._trace_events) == 30
        instrument(max_trace_events=10)
        await work(memory, 1)
        assert len(memory._trace_events) == 10

    async def test_that_nobody_records(
        self, make_audit: Make, config: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A system without a trail beside one that has one is left alone."""
        monkeypatch.setenv(VARIABLE, "10")
        recorded = make_audit()
        memory = MemorySystem(config)
        await work(memory, 30)
        assert type(memory._trace_events) is list
        assert len(memory._trace_events) == 30
        assert recorded.event_count == 0

    async def test_afterwards(self, instrument: Any, config: Any) -> None:
        """After `uninstrument` a new system is as without us, and an old one grows again."""
        instrument(max_trace_events=10)
        old = MemorySystem(config)
        await work(old, 30)
        AxonInstrumentor().uninstrument()
        assert "_trace_events" not in vars(MemorySystem)
        new = MemorySystem(config)
        await work(new, 30)
        assert type(new._trace_events) is list
        assert len(new._trace_events) == 30
        await work(old, 30)
        assert len(old._trace_events) >= 40

    async def test_replaced(self, instrument: Any, config: Any) -> None:
        """A list that the user puts there is bounded as well; what is no list is left alone."""
        instrument(max_trace_events=10)
        memory: Any = MemorySystem(config)
        memory._trace_events = []
        await work(memory, 30)
        assert queries(memory) == newest(30, 10)
        memory._trace_events = found = type("Mine", (list,), {})()
        await work(memory, 30)
        assert memory._trace_events is found
        assert len(found) == 30


#: What is done with a list, and gives the same as with the newest three of a plain one.
READS: dict[str, Any] = {
    "len": len,
    "bool": bool,
    "list": list,
    "index": lambda events: (events[0], events[-1], events[1:], events[::-1]),
    "reversed": lambda events: list(reversed(events)),
    "sorted": sorted,
    "contains": lambda events: (0 in events, 9 in events),
    "copy": lambda events: events.copy(),
    "equal": lambda events: (events == [7, 8, 9], events != [7, 8, 9], [7, 8, 9] == events),  # noqa: SIM300
    "order": lambda events: (events < [8], events <= [7], events > [6], events >= [9]),
    "sum": lambda events: events + [1],  # noqa: RUF005
    "product": lambda events: (events * 2, 2 * events),
    "repr": repr,
    "count": lambda events: events.count(0),
    "position": lambda events: events.index(7),
    "star": lambda events: [*events],
    "copied": copy.copy,
    "deeply copied": copy.deepcopy,
    "pickled": lambda events: pickle.loads(pickle.dumps(events)),
}
CHANGES: dict[str, Any] = {
    "clear": lambda events: events.clear(),
    "pop": lambda events: events.pop(0),
    "insert": lambda events: events.insert(1, 5),
    "remove": lambda events: events.remove(8),
    "reverse": lambda events: events.reverse(),
    "sort": lambda events: events.sort(reverse=True),
    "set": lambda events: events.__setitem__(0, 5),
    "set slice": lambda events: events.__setitem__(slice(0, 1), [5]),
    "delete": lambda events: events.__delitem__(0),
    "extend": lambda events: events.extend([10, 11]),
    "add": lambda events: events.__iadd__([10, 11]),
    "multiply": lambda events: events.__imul__(2),
}


class TestStillAList:
    @pytest.fixture(name="events", params=[0, 1, 5])
    def _events(self, instrument: Any, config: Any, request: pytest.FixtureRequest) -> Any:
        """The numbers 0 to 9, of which three stay, some forgotten already and some not."""
        instrument(max_trace_events=3)
        events: Any = MemorySystem(config)._trace_events
        list.extend(events, range(request.param, 10))
        return events

    @pytest.mark.parametrize("how", READS)
    def test_reads(self, events: Any, how: str) -> None:
        """Every way to look at it shows the newest, as a plain list does."""
        result = READS[how](events)
        assert result == READS[how]([7, 8, 9])
        assert isinstance(events, list)

    @pytest.mark.parametrize("how", ["copy", "copied", "deeply copied", "pickled"])
    def test_copies(self, events: Any, how: str) -> None:
        """A copy is a plain list, which nobody bounds."""
        assert type(READS[how](events)) is list

    @pytest.mark.parametrize("how", CHANGES)
    def test_changes(self, events: Any, how: str) -> None:
        """Every way to change it does what it does to the newest; no more of them stay."""
        plain = [7, 8, 9]
        assert CHANGES[how](events) == CHANGES[how](plain) or how in ("add", "multiply")
        assert list(events) == plain[-3:]

    async def test_the_sdks_own_reading(self, instrument: Any, config: Any) -> None:
        """`get_trace_events` and `clear_trace_events` do what they did."""
        instrument(max_trace_events=5)
        memory = MemorySystem(config)
        await work(memory, 20)
        await memory.store("tea")
        assert [event.query for event in memory.get_trace_events("recall", limit=2)] == ["19", "18"]
        assert len(memory.get_trace_events()) == 5
        memory.clear_trace_events()
        assert memory.get_trace_events() == memory._trace_events == []
        memory.enable_tracing(False)
        await work(memory, 3)
        assert len(memory._trace_events) == 0

    async def test_no_such_attribute(self, instrument: Any, config: Any) -> None:
        """The attribute can be deleted, and is missing then as any other."""
        instrument()
        memory: Any = MemorySystem(config)
        del memory._trace_events
        assert not hasattr(memory, "_trace_events")
        assert not hasattr(MemorySystem, "_trace_events")

    def test_threads(self, instrument: Any, config: Any, busy_threads: None) -> None:
        """Threads that append at once leave no more than the bound, and the newest last."""
        instrument(max_trace_events=50)
        memory: Any = MemorySystem(config)

        def append() -> None:
            for number in range(2_000):
                memory._trace_events.append(number)

        threads = [threading.Thread(target=append) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(memory._trace_events) == 50
        assert memory._trace_events[-1] == 1_999
