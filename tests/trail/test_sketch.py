"""Quantiles of `get_statistics` are within one percent of the exact ones; and its totals."""

from __future__ import annotations

from typing import Any

import pytest
from amounts import examples
from conftest import Make
from hypothesis import given, settings
from hypothesis import strategies as st

from axon_audit_otel import AuditLogger
from axon_audit_otel.events.statistics import summarise
from axon_audit_otel.trail.sketch import RELATIVE_ERROR, Sketch

DAY = 86_400_000.0  # milliseconds
_SHARES = 0.0, 0.01, 0.5, 0.9, 0.95, 0.99, 1.0
_DURATIONS = st.one_of(
    st.just(0.0),
    st.floats(1e-6, 100 * DAY),
    st.floats(-6, 10).map(lambda power: 10.0**power),  # of any size
    st.integers(0, 10**10).map(lambda microseconds: microseconds / 1000),
)


def exact(numbers: list[float], share: float) -> float:
    """The least that so many are not above."""
    return next(n for n in sorted(numbers) if sum(m <= n for m in numbers) >= share * len(numbers))


class TestSketch:
    @settings(max_examples=examples(300), deadline=None)
    @given(st.lists(_DURATIONS, min_size=1, max_size=200))
    def test_close_to_the_exact_ones(self, numbers: list[float]) -> None:
        """From nothing to months, whatever their distribution."""
        sketch = Sketch()
        for number in numbers:
            sketch.add(number)
        for share, found in zip(_SHARES, sketch.quantiles(*_SHARES)):
            assert found == pytest.approx(exact(numbers, share), rel=RELATIVE_ERROR, abs=1e-6)
        assert sketch.count == len(numbers)
        assert sketch.total == pytest.approx(sum(numbers))

    @settings(max_examples=examples(50), deadline=None)
    @given(_DURATIONS)
    def test_one_number_is_exact(self, number: float) -> None:
        """Of one number, or of equal ones, every quantile is that number."""
        sketch = Sketch()
        for _ in range(3):
            sketch.add(number)
        assert sketch.quantiles(*_SHARES) == [number] * len(_SHARES)

    def test_a_million(self) -> None:
        """The error does not grow with their number, and memory does not either."""
        sketch = Sketch()
        for number in range(1, 1_000_001):
            sketch.add(number / 1000)
        for share, found in zip((0.5, 0.95, 0.99), sketch.quantiles(0.5, 0.95, 0.99)):
            assert found == pytest.approx(1000 * share, rel=RELATIVE_ERROR)
        assert len(sketch._buckets) < 800

    @pytest.mark.parametrize("odd", [1e-300, 1e-7, 1e15, 1e300])
    def test_bounded_whatever_comes(self, odd: float) -> None:
        """A number that is no duration makes no bucket of its own, and no error."""
        sketch = Sketch()
        sketch.add(odd)
        sketch.add(5.0)
        assert sketch.quantiles(0.0, 1.0) == pytest.approx(sorted([odd, 5.0]), rel=1, abs=1e-6)

    def test_nothing(self) -> None:
        """Without numbers it is 0."""
        assert Sketch().quantiles(0.5) == [0.0]


class TestStatistics:
    @pytest.mark.parametrize("milliseconds", [0, 0.001, 4.9, 90_000, 3 * DAY])
    async def test_one_event(self, audit: AuditLogger, milliseconds: float) -> None:
        """With one event, every quantile is its duration."""
        await audit.log_event("STORE", duration_ms=milliseconds)
        latency = audit.get_statistics()["latency_ms"]["STORE"]
        same = dict.fromkeys(("avg", "p50", "p95", "p99"), float(milliseconds))
        assert latency == {"count": 1, **same}

    async def test_as_a_report_has_them(self, audit: AuditLogger) -> None:
        """Each operation has its own, and where events are many both say the same."""
        for number in range(300):
            await audit.log_event("STORE", duration_ms=1.02**number)
            await audit.log_event("RECALL", duration_ms=number)
        found = audit.get_statistics()["latency_ms"]
        for operation, report in summarise(audit.query_events())["operations"].items():
            for name, value in report["latency_ms"].items():  # which are between two events'
                assert found[operation][name] == pytest.approx(value, rel=RELATIVE_ERROR + 0.01)

    async def test_a_name_used_again(self, make_audit: Make) -> None:
        """They begin anew with their logger."""
        first = make_audit(name="first")
        await first.log_event("STORE", duration_ms=1000)
        second = make_audit(name="second")
        await second.log_event("STORE", duration_ms=1)
        assert second.get_statistics()["latency_ms"]["STORE"]["p99"] == 1


class TestOneTotal:
    async def test_events_about_the_trail(self, audit: AuditLogger) -> None:
        """They count as events, and change nothing in an application's success rate."""

        def shares() -> list[Any]:
            report = summarise(audit.query_events())
            (user,) = report["users"]
            return [
                audit.get_statistics()["success_rate"],
                audit.get_user_statistics(None)["success_rate"],
                report["success_rate"],
                user["success_rate"],
            ]

        for status in ("SUCCESS", "SUCCESS", "FAILURE", "PARTIAL"):
            await audit.log_event("STORE", status=status)
        assert shares() == [0.5] * 4
        for status in ("SUCCESS", "FAILURE", "FAILURE", "PARTIAL"):
            await audit.log_event("AUDIT", status=status)
        assert shares() == [0.5] * 4
        found = audit.get_statistics()
        assert found["total_events"] == audit.total_events_logged == audit.event_count == 8
        assert (found["by_operation"]["AUDIT"], found["by_status"]["FAILURE"]) == (4, 3)

    async def test_nothing_else(self, audit: AuditLogger) -> None:
        """Without operations nothing has failed."""
        await audit.log_event("AUDIT", status="FAILURE")
        assert audit.get_statistics()["success_rate"] == 1.0
