"""Exceptions that strike anywhere: what a signal handler raises, and what it does."""

from __future__ import annotations

import sys
from itertools import count, pairwise
from pathlib import Path

import pytest
from conftest import Make, Run, assert_chained, history
from strikes import Strike

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
