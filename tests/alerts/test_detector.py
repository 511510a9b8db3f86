"""The detector by itself, against a count by hand."""

from __future__ import annotations

import gc
import tracemalloc
from datetime import datetime, timedelta, timezone

import pytest
from amounts import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from axon_audit_otel import (
    Rule,
)
from axon_audit_otel.alerts import alert as alert_module
from axon_audit_otel.alerts import detector as detector_module
from axon_audit_otel.alerts import windows as windows_module
from axon_audit_otel.alerts.detector import Detector

EXPORTS = Rule("exports", over=2, window="1h", operations="EXPORT")
# Steps between events, in the unit of the windows below; now and then one that came late.
_EVENTS = st.lists(st.tuples(st.sampled_from("ab"), st.integers(-12, 9)), min_size=1, max_size=120)


class TestDetector:
    @settings(max_examples=examples(300), deadline=None)
    @given(_EVENTS, st.integers(0, 4), st.integers(0, 7))
    def test_as_counted_by_hand(self, steps: list[tuple[str, int]], over: int, keep: int) -> None:
        """Alerts are those of one who keeps every event, and counts at every microsecond."""
        rule = Rule(
            "by_hand",
            over=over,
            window=timedelta(microseconds=10),
            operations="STORE",
            per_user=True,
            keep_firing_for=timedelta(microseconds=keep),
        )
        detector = Detector([rule], max_users=10)
        trackers = detector.concerned("STORE", "SUCCESS") or ()
        found, expected = [], []
        kept: dict[str, list[int]] = {"a": [], "b": []}
        clock = 1000
        firing: dict[str, int] = {}  # user: when it was last true
        for user, step in [("a", 0), *steps]:
            time = clock + step
            found += [
                (alert.state, alert.user_id) for alert in detector.add(trackers, user, time) or ()
            ]
            # by hand: let the clock run, then count the event
            over_now = []
            for now in range(clock, max(clock, time) + 1):
                for who, last in sorted(firing.items(), key=lambda item: (item[1], item[0])):
                    if sum(now - 10 <= t for t in kept[who]) > over:
                        firing[who] = now
                    elif now - last > keep:
                        over_now.append(("resolved", who))
                        del firing[who]
            clock = max(clock, time)
            if time >= clock - 10:
                kept[user].append(time)
                if sum(clock - 10 <= t for t in kept[user]) > over:
                    if user not in firing:
                        over_now.append(("firing", user))
                    firing[user] = clock
            expected += over_now
        assert sorted(found) == sorted(expected)
        assert {alert.user_id for alert in detector.active} == set(firing)

    def test_a_clock_that_is_set_back(self) -> None:
        """Windows go on where they were if the system's time goes back by years."""
        detector = Detector([EXPORTS], max_users=1)
        trackers = detector.concerned("EXPORT", "SUCCESS") or ()
        hour, year = 3600 * 10**6, 365 * 86400 * 10**6
        assert not detector.add(trackers, None, 9 * year, now_us=9 * year)
        assert not detector.add(trackers, None, 9 * year + 1, now_us=9 * year + 1)
        (alert,) = detector.add(trackers, None, year, now_us=year) or ()
        assert alert.since == datetime.fromtimestamp(365 * 86400, timezone.utc)
        assert detector.late == 0
        (over,) = detector.add(trackers, None, year + 2 * hour, now_us=year + 2 * hour) or ()
        assert over.resolved_at == alert.since + timedelta(hours=1, microseconds=-1)

    @pytest.mark.slow
    def test_memory_is_bounded(self) -> None:
        """Ten times the users take no more memory."""
        rules = [Rule("all", over=20, window="1h"), Rule("by", over=20, window="1h", per_user=True)]
        detector = Detector(rules, max_users=100)
        trackers = detector.concerned("FORGET", "FAILURE") or ()

        def users(first: int, last: int) -> int:
            for number in range(first, last):
                for event in range(22):
                    detector.add(trackers, f"user_{number}", number * 1000 + event)
            gc.collect()
            modules = (detector_module, windows_module, alert_module)
            ours = [tracemalloc.Filter(True, str(of.__file__)) for of in modules]  # no others
            held = tracemalloc.take_snapshot().filter_traces(ours).statistics("filename")
            return sum(found.size for found in held)

        tracemalloc.start()
        try:
            few = users(0, 200)
            many = users(200, 2000)
        finally:
            tracemalloc.stop()
        assert many < 1.1 * few
        assert few < 100 * (8 * 20 + 1000) + 25_000
