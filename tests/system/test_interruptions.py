"""Exceptions that strike anywhere: what a signal handler raises, and what it does."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest
from axon import MemorySystem
from conftest import ListingAdapter, Make, Run, assert_chained, history
from strikes import PACKAGE, Strike

from axon_audit_otel import AuditLogger, AuditUnavailableError, verify

pytestmark = pytest.mark.usefixtures("without_start_record")


class Interrupted(BaseException):
    """Raised by a signal handler, as by one that ends a task in time."""


def _log(audit: AuditLogger, user_id: str) -> None:
    with pytest.raises(StopIteration):
        audit.log_event("STORE", user_id=user_id).send(None)


@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else traces: coverage, debugger")
@pytest.mark.usefixtures("no_finalizers")
class TestAnywhere:
    """At every line of what changes a trail, one after the other."""

    @pytest.mark.parametrize("kind", [Interrupted, TimeoutError, ValueError])
    @pytest.mark.parametrize("archived", [False, pytest.param(True, marks=pytest.mark.slow)])
    def test_raising(
        self, make_audit: Make, tmp_path: Path, archived: bool, kind: type[BaseException]
    ) -> None:
        """The trail is whole after it: every event in it or not, the chain unbroken, in memory
        and in files, and what comes next is recorded."""
        audit = make_audit(max_events=3, auto_export_path=tmp_path if archived else None)

        def strike() -> None:
            raise kind

        struck = True
        for number in count(1):
            if not struck:
                break
            struck = False
            for turn in range(3):  # each third event seals
                try:
                    with Strike(number, strike) as done:
                        _log(audit, "struck")
                except (kind, AuditUnavailableError):
                    pass
                struck = struck or not done.left
                _log(audit, f"after {number}.{turn}")
                events = history(audit)
                assert events[-1].user_id == f"after {number}.{turn}"
                for one, two in pairwise(events):
                    assert (two.sequence, two.previous_hash) == (one.sequence + 1, one.hash)
                assert audit.query_events(user_id=f"after {number}.{turn}") == events[-1:]
        audit.close()
        if archived:
            report = verify(tmp_path)
            assert (report.findings, report.ok) == ([], True)
            assert report.writers[0].last_sequence == audit.trail.reader.recorded

    @pytest.mark.parametrize("archived", [False, True])
    def test_logging(self, make_audit: Make, tmp_path: Path, archived: bool) -> None:
        """A handler may log: its event comes after the one that it interrupted. Nothing hangs,
        nothing is lost; closing then waits for another time."""
        audit = make_audit(max_events=10_000, auto_export_path=tmp_path if archived else None)

        def handler() -> None:
            _log(audit, "handler")
            audit.close()

        logged = struck = 0
        for number in count(1):
            with Strike(number, handler) as done:
                _log(audit, "interrupted")
            logged += 1
            if done.left:
                break
            struck += 1
        _log(audit, "last")
        assert len(audit.query_events(user_id="handler")) == struck
        assert len(audit.query_events(user_id="interrupted")) == logged
        assert_chained(history(audit))
        audit.close()
        if archived:
            assert verify(tmp_path).ok


#: What an operation is made of.
OPERATIONS = {
    *map(str, Path(PACKAGE, "operations").glob("*.py")),
    *map(str, Path(PACKAGE, "integrations/axon").glob("*.py")),
    *(f"{PACKAGE}/{name}.py" for name in ("trail/recording", "trail/otel_emitter")),
}


@pytest.mark.slow
@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else traces: coverage, debugger")
@pytest.mark.usefixtures("no_finalizers")
@pytest.mark.parametrize("kind", [Interrupted, TimeoutError])
class TestOperations:
    """At every line of an operation, as by a soft time limit: who catches that goes on in the
    same context. `TimeoutError` is an `Exception`, as an error of our own."""

    def _strike(
        self, kind: type[BaseException], once: Callable[[int], object], after: Callable[[], None]
    ) -> None:
        def strike() -> None:
            raise kind

        def at(number: int) -> int:
            with suppress(kind), Strike(number, strike, OPERATIONS) as done:
                once(number)
            after()
            return done.left

        for number in count(1):
            if copy_context().run(at, number):
                break
        assert number > 100

    def test_block(self, make_audit: Make, kind: type[BaseException]) -> None:
        """Whatever ran is one event, and the next operation is one."""
        audit, ran = make_audit(), set()

        def once(number: int) -> None:
            with audit.operation("STORE", owner=str(number)):
                ran.add(str(number))

        def after() -> None:
            with audit.operation("RECALL"):
                pass
            assert audit.query_events(limit=1)[0].operation.value == "RECALL"

        self._strike(kind, once, after)
        stored = [event.user_id for event in audit.query_events(operation="STORE")]
        assert len(stored) == len(set(stored))
        assert ran <= set(stored)
        assert audit.get_statistics()["total_events"] <= len(history(audit))

    @pytest.mark.parametrize("call", ["system", "adapter"])
    def test_call(
        self, make_audit: Make, make_system: Any, kind: type[BaseException], call: str
    ) -> None:
        """So it is with calls of an instrumented system, and of a storage adapter."""
        audit, adapter = make_audit(), ListingAdapter()
        memory: MemorySystem = make_system(audit_logger=audit, persistent=adapter)
        keys = [self._now(memory.store("tea")) for _ in range(2)]

        def once(number: int) -> None:
            if call == "system":
                self._now(memory.store("struck"))
            else:
                self._now(adapter.delete(keys[0]))

        def after() -> None:
            if call == "system":
                assert self._now(memory.store("tea")) in history(audit)[-1].entry_ids
            else:
                keys[:] = [self._now(memory.store("tea")) for _ in range(2)]
                self._now(adapter.delete(keys[1]))
                assert history(audit)[-1].entry_ids == [keys[1]]
                assert history(audit)[-1].status.value == "SUCCESS"

        self._strike(kind, once, after)

    @staticmethod
    def _now(call: Any) -> Any:
        """The result of a coroutine that waits for nothing, in this context."""
        with pytest.raises(StopIteration) as done:
            call.send(None)
        return done.value.value


class TestNoRoom:
    """Near the end of the stack, where the call itself still has room."""

    @pytest.mark.parametrize("on_failure", ["degrade", "block"])
    def test_stack(
        self, make_audit: Make, make_system: Any, tmp_path: Path, on_failure: str
    ) -> None:
        """No event that was recorded is lost, what follows is recorded, and with
        ``on_failure="block"`` nothing happens that is not."""
        audit, adapter = make_audit(100, tmp_path, on_failure=on_failure), ListingAdapter()
        memory: MemorySystem = make_system(audit_logger=audit, persistent=adapter)
        outcomes = []

        def deep(levels: int) -> None:
            if levels:
                deep(levels - 1)
            else:
                memory.store("deep").send(None)

        with pytest.raises(StopIteration):
            memory.store("first").send(None)
        room = sys.getrecursionlimit() - len(_stack())
        for levels in range(room - 60, room):
            with suppress(RecursionError, AuditUnavailableError, StopIteration):
                deep(levels)
            outcomes.append(len(adapter.list_ids()))
        assert outcomes[0] == 2
        assert outcomes[-1] == outcomes[-2] < 62  # no room for the call itself
        with pytest.raises(StopIteration):
            memory.store("last").send(None)
        events = history(audit)
        assert_chained(events)
        recorded = [key for event in events for key in event.entry_ids]
        assert set(recorded) <= set(adapter.list_ids())
        assert recorded[0] == adapter.list_ids()[0]
        assert recorded[-1] == adapter.list_ids()[-1]
        assert len(recorded) == len(set(recorded))
        if on_failure == "block":
            assert set(recorded) == set(adapter.list_ids())
        assert audit.get_statistics()["total_events"] == len(events)
        audit.close()
        report = verify(tmp_path)
        assert (report.findings, report.writers[0].last_sequence) == ([], len(events))


def _stack() -> list[Any]:
    frames, frame = [], sys._getframe(1)
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back  # type: ignore[assignment]
    return frames


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no interval timers")
@pytest.mark.skipif(
    sys.version_info >= (3, 14), reason="there a signal can strike between a lock and its block"
)
def test_a_real_signal(run_script: Run, tmp_path: Path) -> None:
    """A timer's signals strike between any two bytecodes. (In a process of
    its own: they can hit what others lock as well.)"""
    struck = run_script(
        """
        import signal, sys
        from axon_audit_otel import AuditLogger

        class Interrupted(BaseException):
            pass

        def handler(*_):
            if armed:
                raise Interrupted

        armed, struck = False, 0
        signal.signal(signal.SIGALRM, handler)
        audit = AuditLogger(max_events=50, auto_export_path=sys.argv[1])
        for number in range(3000):
            call = audit.log_event("STORE", user_id=str(number % 5))
            signal.setitimer(signal.ITIMER_REAL, 1e-5 * (1 + number % 37))
            try:
                try:
                    armed = True
                    call.send(None)
                except StopIteration:
                    pass
                finally:
                    armed = False
            except Interrupted:  # also between the lines above; it strikes once a turn
                armed = False
                struck += 1
        signal.setitimer(signal.ITIMER_REAL, 0)
        audit.close()
        print(struck)
        """,
        tmp_path,
    )
    assert int(struck) > 10
    report = verify(tmp_path)
    assert (report.findings, report.ok) == ([], True)
