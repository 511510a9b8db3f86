"""Alerts in the process: when they fire and resolve, what they record, whom they call."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from uuid import uuid4
from weakref import ref

import pytest
from amounts import examples
from axon import MemorySystem
from conftest import Make, Run, assert_chained, events_in, history, until
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from prometheus_client import CollectorRegistry

from axon_audit_otel import (
    Alert,
    AuditConfigError,
    AuditEvent,
    AuditLogger,
    Rule,
    SecurityMonitor,
    audit_context,
)
from axon_audit_otel.alerts.detector import Detector
from axon_audit_otel.events.draft import draft

START = datetime(2026, 1, 5, tzinfo=timezone.utc)  # events have their own time
EXPORTS = Rule("exports", over=2, window="1h", operations="EXPORT")
BY_USER = Rule("by_user", over=2, window="1h", operations="EXPORT", per_user=True)


@pytest.fixture(name="at")
def _at(logger_provider: LoggerProvider) -> Callable[..., None]:
    """Emits a record of *operation* at a time after `START`."""

    def emit(
        operation: str, user_id: str | None = None, status: str = "SUCCESS", **after: Any
    ) -> None:
        moment = START + timedelta(**after)
        logger_provider.get_logger("another").emit(
            LogRecord(
                event_name="axon.memory.audit",
                timestamp=int(moment.timestamp() * 1e9),
                body={"operation": operation, "status": status, "user_id": user_id},
            )
        )

    return emit


def ago(time: timedelta) -> float:
    """The seconds from `START` until *time* before now."""
    return (datetime.now(timezone.utc) - time - START).total_seconds()


def alerts(audit: AuditLogger) -> list[AuditEvent]:
    """The alerts that were recorded, the oldest first."""
    found = history(audit, operation="AUDIT")
    return [event for event in found if event.metadata.get("record") == "alert"]


def told(audit: AuditLogger) -> list[tuple[str, str, str | None]]:
    """The recorded alerts, in short."""
    return [(e.metadata["rule"], e.metadata["state"], e.subject_id) for e in alerts(audit)]


class TestArguments:
    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"audit_logger": logging}, "must be an axon_audit_otel.AuditLogger"),
            ({"rules": EXPORTS}, "must be several Rule"),
            ({"rules": ["exports"]}, "'exports' is no Rule"),
            ({"rules": [EXPORTS, EXPORTS]}, "'exports' is there twice"),
            ({"on_alert": "mail"}, "on_alert='mail': must be a function"),
            ({"on_resolved": 3}, "on_resolved=3: must be a function"),
            ({"max_users": 0}, "max_users=0: must be a whole number"),
        ],
    )
    def test_what_cannot_work(self, audit: AuditLogger, wrong: dict[str, Any], said: str) -> None:
        """A wrong argument is shown, and nothing is watched."""
        with pytest.raises(AuditConfigError, match=said):
            SecurityMonitor(**{"audit_logger": audit, **wrong})
        assert audit.trail.observers == ()


class TestWhenItFires:
    def test_one_more_than_the_limit(self, audit: AuditLogger, at: Callable[..., None]) -> None:
        """100 deletions in an hour are well; the 101st is an alert, those after it are not."""
        seen: list[Alert] = []
        SecurityMonitor(audit, on_alert=seen.append)
        for second in range(100):
            at("FORGET", "alice", seconds=second)
        assert seen == []
        for second in range(100, 150):
            at("FORGET", "bob", seconds=second)
        (alert,) = seen
        assert (alert.rule.name, alert.count, alert.user_id) == ("excessive_deletions", 101, None)
        assert alert.since == START + timedelta(seconds=100)
        assert str(alert) == "excessive_deletions: 101 entries deleted, more than 100 in 1h"

    def test_each_user_apart(self, audit: AuditLogger, at: Callable[..., None]) -> None:
        """Rules per user name him, and count nobody's events for anybody."""
        seen: list[Alert] = []
        SecurityMonitor(audit, [BY_USER], seen.append)
        for minute, user in enumerate(["x", "y", None, "x", "y", None, None, "x"]):
            at("EXPORT", user, minutes=minute)
        (alert,) = seen
        assert (alert.user_id, alert.count) == ("x", 3)
        assert str(alert) == "by_user: 3 EXPORT events by user 'x', more than 2 in 1h"

    def test_only_what_it_names(self, audit: AuditLogger, at: Callable[..., None]) -> None:
        """Operations and statuses must both fit; none given fits every one."""
        rules = [
            Rule("failed_exports", over=0, window=1, operations="EXPORT", statuses="FAILURE"),
            Rule("not_well", over=0, window=1, statuses=["FAILURE", "PARTIAL"]),
            Rule("anything", over=0, window=1),
        ]
        seen: list[str] = []
        SecurityMonitor(audit, rules, lambda alert: seen.append(alert.rule.name))
        for hour, (operation, status) in enumerate(
            [("EXPORT", "SUCCESS"), ("STORE", "PARTIAL"), ("EXPORT", "FAILURE")]
        ):
            at(operation, None, status, hours=hour)
            seen.append("-")
        assert seen == [
            *("anything", "-", "not_well", "anything", "-"),
            *("failed_exports", "not_well", "anything", "-"),
        ]

    def test_one_system(self, audit: AuditLogger) -> None:
        """A rule may count one memory system alone, also what was recorded before the start."""
        rules = [
            Rule("all", over=4, window="1h", operations="FORGET"),
            Rule("mem0", over=2, window="1h", operations="FORGET", system="mem0"),
            Rule("altered", over=0, window="1h", counting="altered", system="mem0"),
        ]
        seen: list[Alert] = []

        def forget(system: str | None, **facts: Any) -> None:
            with audit.operation("FORGET", system=system) as op:
                op.deleted(str(uuid4()))
                op.note(**facts)

        for system in ("mem0", None, "axon"):
            forget(system)
        monitor = SecurityMonitor(audit, rules, seen.append)
        forget("axon", altered=["k"])
        forget("mem0")
        assert [str(alert) for alert in seen] == ["all: 5 entries deleted, more than 4 in 1h"]
        forget("mem0", altered=["k"])
        assert [str(alert) for alert in seen[1:]] == [
            "mem0: 3 entries deleted in 'mem0', more than 2 in 1h",
            "altered: 1 altered entry ('k') in 'mem0', more than 0 in 1h",
        ]
        monitor.close()

    @pytest.mark.parametrize("microseconds", [0, 1])
    def test_the_window_slides(
        self, audit: AuditLogger, at: Callable[..., None], microseconds: int
    ) -> None:
        """Events as old as the window count, older ones do not."""
        SecurityMonitor(audit, [EXPORTS])
        at("EXPORT")
        at("EXPORT", minutes=1)
        at("EXPORT", hours=1, microseconds=microseconds)
        fired = [state for _, state, _ in told(audit) if state == "firing"]  # and is over soon
        assert len(fired) == 1 - microseconds

    def test_late_events(self, audit: AuditLogger, at: Callable[..., None]) -> None:
        """Events count in any order, if they come within the window of the newest."""
        monitor = SecurityMonitor(audit, [EXPORTS])
        at("EXPORT", minutes=120)
        at("EXPORT", minutes=59)
        assert monitor.late_events == 1
        at("EXPORT", minutes=61)
        assert monitor.active == []
        at("EXPORT", minutes=90)
        (alert,) = monitor.active
        assert (alert.count, monitor.late_events) == (3, 1)

    def test_a_time_to_come_blinds_nobody(
        self, audit: AuditLogger, at: Callable[..., None]
    ) -> None:
        """A record from the year 2199 counts as now: what came before is not old by it, what
        follows is not late."""
        seen: list[Alert] = []
        monitor = SecurityMonitor(audit, [EXPORTS], seen.append)
        now = (datetime.now(timezone.utc) - START).total_seconds()
        at("EXPORT", seconds=now - 1)
        at("EXPORT", seconds=now - 1)
        at("EXPORT", days=170 * 365)
        at("EXPORT", seconds=now - 1)
        (alert,) = seen
        assert abs(alert.since - datetime.now(timezone.utc)) < timedelta(hours=1)
        assert (monitor.late_events, monitor.active[0].count) == (0, 4)

    def test_forgotten_users(self, audit: AuditLogger, at: Callable[..., None]) -> None:
        """With more users than *max_users*, those active last are kept; an alert of one who is
        forgotten ends."""
        monitor = SecurityMonitor(audit, [BY_USER], max_users=2)
        for minute, user in enumerate("abbcab"):
            at("EXPORT", user, minutes=minute)
        assert alerts(audit) == []
        for minute, user in enumerate("abac", 10):
            at("EXPORT", user, minutes=minute)
        assert told(audit) == [("by_user", "firing", "a")]
        for minute, user in enumerate("bc", 15):
            at("EXPORT", user, minutes=minute)
        assert told(audit) == [("by_user", "firing", "a"), ("by_user", "resolved", "a")]
        assert monitor.active == []
        at("EXPORT", "c", minutes=20)
        assert [alert.user_id for alert in monitor.active] == ["c"]


DELETIONS = Rule("deletions", over=10, window="1h", operations="FORGET")


class TestDeletions:
    """Deletions are counted by deleted entries, not by calls."""

    @pytest.mark.parametrize(
        ("given", "deleted"),
        [
            ({}, 1),
            ({"status": "PARTIAL"}, 0),
            ({"status": "FAILURE"}, 0),
            ({"entry_ids": ["a", "b", "c"]}, 3),
            ({"entry_ids": ["a", "b"], "status": "PARTIAL"}, 2),
            ({"entry_ids": ["a", "b"], "status": "FAILURE"}, 0),
            ({"metadata": {"deleted": 7}}, 7),
            ({"metadata": {"deleted": 7}, "entry_ids": ["a"]}, 7),
            ({"metadata": {"deleted": 0}, "entry_ids": ["a"]}, 0),
            ({"metadata": {"deleted": 0}}, 0),
            ({"metadata": {"deleted": 2}, "status": "PARTIAL"}, 2),
            *(({"metadata": {"deleted": odd}}, 1) for odd in (True, -3, "4", 2.5, None, [])),
        ],
    )
    @pytest.mark.parametrize("live", [True, False], ids=["live", "from files"])
    async def test_how_many_an_event_is(
        self,
        make_audit: Make,
        registry: CollectorRegistry,
        tmp_path: Path,
        given: dict[str, Any],
        deleted: int,
        live: bool,
    ) -> None:
        """The monitor, the counter and `axon-audit alerts` agree, whether the event comes now
        or was there before."""
        audit = make_audit(auto_export_path=tmp_path)
        rule = Rule("none", over=0, window="1h", operations="FORGET")
        monitor = SecurityMonitor(audit, [rule]) if live else None
        await audit.log_event("FORGET", **given)
        if monitor is None:
            monitor = SecurityMonitor(audit, [rule])
        expected = [deleted if live else 1] if deleted else []
        assert [alert.count for alert in monitor.active] == expected
        labels = {"trail": audit.name, "system": "none", "operation": "FORGET"}
        assert registry.get_sample_value("axon_memory_entries_total", labels) == deleted
        monitor.close()

    @pytest.mark.parametrize("operation", ["SYNC", "COMPACT", "STORE", "EXPORT"])
    async def test_other_operations(self, audit: AuditLogger, operation: str) -> None:
        """A rule may count what others delete too, by what they say; none else deletes."""
        rule = Rule("gone", over=4, window="1h", counting="deleted")
        monitor = SecurityMonitor(audit, [rule])
        await audit.log_event(operation, entry_ids=["a"] * 9, metadata={"moved": 9})
        assert monitor.active == []
        await audit.log_event(operation, entry_ids=["a"] * 9, metadata={"deleted": 5})
        counts = [alert.count for alert in monitor.active]
        assert counts == ([5] if operation in ("SYNC", "COMPACT") else [])

    async def test_one_that_deletes_many(self, audit: AuditLogger) -> None:
        """One FORGET of 5,000 entries is an alert, over all and by its user."""
        seen: list[Alert] = []
        SecurityMonitor(audit, on_alert=seen.append)
        await audit.log_event("FORGET", "mallory", metadata={"deleted": 5000})
        assert [(alert.rule.name, alert.count) for alert in seen] == [
            ("excessive_deletions", 5000),
            ("excessive_deletions_by_user", 5000),
        ]
        assert str(seen[0]) == "excessive_deletions: 5000 entries deleted, more than 100 in 1h"
        assert alerts(audit)[0].metadata["count"] == 5000

    async def test_many_that_found_nothing(
        self, memory: MemorySystem, audit: AuditLogger, tmp_path: Path, cli: Callable[..., Any]
    ) -> None:
        """5,000 of them are none: now, at a start, and in files."""
        seen: list[Alert] = []
        monitor = SecurityMonitor(audit, on_alert=seen.append)
        for _ in range(150):
            with suppress(Exception):  # the SDK raises where it finds nothing
                await memory.forget("not-there", user_id="mallory")
        for _ in range(5000):
            await audit.log_event("FORGET", "mallory", metadata={"deleted": 0})
        named = {alert.rule.name for alert in seen}
        assert not any("deletions" in name for name in named)
        monitor.close()
        again = SecurityMonitor(audit, on_alert=seen.append)
        assert not any("deletions" in alert.rule.name for alert in again.active)
        audit.export_to_file(tmp_path / "audit_2026_01_05_000000.json")
        assert "deletions" not in cli("alerts", tmp_path / "audit_2026_01_05_000000.json").stdout

    async def test_many_in_a_file(
        self, audit: AuditLogger, tmp_path: Path, cli: Callable[..., Any]
    ) -> None:
        """`axon-audit alerts` says how many entries one operation deleted."""
        await audit.log_event("FORGET", entry_ids=[str(number) for number in range(500)])
        audit.export_to_file(tmp_path / "audit_2026_01_05_000000.json")
        said = cli("alerts", tmp_path / "audit_2026_01_05_000000.json", code=1).stdout
        assert "excessive_deletions: 500 entries deleted, more than 100 in 1h" in said

    def test_failures_are_operations(self) -> None:
        """A rule on failed FORGETs counts events; `counting="events"` counts calls."""
        failed = Rule("failed", over=1, window="1h", operations="FORGET", statuses="FAILURE")
        calls = Rule("calls", over=1, window="1h", operations="FORGET", counting="events")
        mixed = Rule("mixed", over=1, window="1h", operations=["FORGET", "EXPORT"])
        assert {rule.counting for rule in (failed, calls, mixed, EXPORTS)} == {"events"}
        assert DELETIONS.counting == "deleted"

    @settings(max_examples=examples(200), deadline=None)
    @given(st.lists(st.tuples(st.integers(0, 30), st.integers(-12, 9)), max_size=60))
    def test_as_counted_by_hand(self, steps: list[tuple[int, int]]) -> None:
        """An alert fires when the entries of a window are too many, and says how many."""
        window = timedelta(microseconds=10)
        rule = Rule("by_hand", over=20, window=window, operations="FORGET")
        detector = Detector([rule], max_users=1)
        trackers = detector.concerned("FORGET", "SUCCESS") or ()
        clock, kept, expected, found, firing = 1000, [], [], [], False
        for number, step in [(0, 0), *steps]:
            time = clock + step
            found += [
                (alert.state, alert.count if alert.state == "firing" else None)
                for alert in detector.add(trackers, None, time, deleted=number) or ()
            ]
            for now in range(clock, max(clock, time) + 1):
                if firing and sum(n for n, t in kept if now - 10 <= t) <= 20:
                    firing = False
                    expected.append(("resolved", None))
            clock = max(clock, time)
            if time >= clock - 10:
                kept.append((number, time))
                total = sum(n for n, t in kept if clock - 10 <= t)
                if total > 20 and not firing and number:
                    firing = True
                    expected.append(("firing", total))
        assert found == expected


class TestAlertsInTheTrail:
    async def test_the_event(self, make_audit: Make, tmp_path: Path) -> None:
        """An alert is an event of the trail, chained, in its files, about the user."""
        audit = make_audit(auto_export_path=tmp_path)
        rule = Rule("exports", over=0, window="1h", operations="EXPORT", per_user=True,
                    severity="critical", summary="He exports.")  # fmt: skip
        with SecurityMonitor(audit, [rule]):
            cause = await audit.log_event("EXPORT", user_id="eve")
        await audit.log_event("STORE")
        _, event, _ = history(audit)
        assert (event.operation, event.status, event.user_id) == ("AUDIT", "SUCCESS", None)
        assert event.subject_id == "eve"
        assert event.metadata == {
            "record": "alert",
            "rule": "exports",
            "state": "firing",
            "severity": "critical",
            "count": 1,
            "over": 0,
            "window_s": 3600,
            "summary": "He exports.",
            "since": cause.to_dict()["timestamp"],
            "event_id": cause.event_id,
        }
        assert_chained(history(audit))
        sealed = audit.seal()
        assert sealed is not None
        assert events_in(sealed)[-2]["metadata"]["rule"] == "exports"

    async def test_others_get_it_too(
        self, audit: AuditLogger, log_exporter: InMemoryLogRecordExporter
    ) -> None:
        """Alerts reach the application's own exporters, and the metrics."""
        SecurityMonitor(audit, [EXPORTS])
        for _ in range(3):
            await audit.log_event("EXPORT")
        actions = [
            log.log_record.attributes["audit.action"] for log in log_exporter.get_finished_logs()
        ]
        assert sorted(actions) == ["AUDIT", "EXPORT", "EXPORT", "EXPORT"]
        assert audit.get_statistics()["by_operation"]["AUDIT"] == 1

    def test_over_and_again(self, audit: AuditLogger, at: Callable[..., None]) -> None:
        """An alert fires once, goes on while it is true, resolves, and can fire again."""
        over: list[Alert] = []
        SecurityMonitor(audit, [EXPORTS], on_resolved=over.append)
        for minute in (0, 1, 2, 3, 50, 60, 150, 151, 152):
            at("EXPORT", minutes=minute)
        assert [event.metadata["state"] for event in alerts(audit)] == [
            *("firing", "resolved", "firing")
        ]
        (alert,) = over
        assert (alert.count, alert.since) == (6, START + timedelta(minutes=2))
        assert alert.resolved_at == START + timedelta(minutes=63)
        assert str(alert).endswith(", resolved")
        assert alerts(audit)[1].metadata["resolved_at"] == "2026-01-05T01:03:00.000000Z"

    def test_keep_firing_for(self, audit: AuditLogger, at: Callable[..., None]) -> None:
        """A rate about the limit is one alert, if it may go on for a while."""
        calm = Rule("calm", over=2, window="1h", operations="EXPORT", keep_firing_for="30m")
        SecurityMonitor(audit, [EXPORTS, calm])
        for minute in range(0, 300, 25):
            at("EXPORT", minutes=minute)
        names = [event.metadata["rule"] for event in alerts(audit)]
        assert names.count("exports") > 3
        assert names.count("calm") == 1

    async def test_over_although_nothing_happens(self, audit: AuditLogger) -> None:
        """An alert resolves when its time has come, without another event; then no thread
        is left."""
        before = threading.enumerate()
        over: list[Alert] = []
        rule = Rule("short", over=1, window=0.2, operations="STORE")
        monitor = SecurityMonitor(audit, [rule], on_resolved=over.append)
        for _ in range(2):
            await audit.log_event("STORE")
        await until(lambda: over)
        assert monitor.active == []
        await until(lambda: set(threading.enumerate()) <= set(before))
        assert [state for _, state, _ in told(audit)] == ["firing", "resolved"]

    async def test_recorded_while_it_goes_on(self, audit: AuditLogger) -> None:
        """Now and then, so that a restart finds it; nobody is called again."""
        seen: list[Alert] = []
        rule = Rule("short", over=1, window=0.2, operations="STORE", keep_firing_for="1h")
        with SecurityMonitor(audit, [rule], seen.append):
            for _ in range(2):
                await audit.log_event("STORE")
            await until(lambda: len(told(audit)) > 2)
            await audit.log_event("STORE")
            known = len(told(audit))
            await until(lambda: len(told(audit)) > known)
        states = [state for _, state, _ in told(audit)]
        assert states == ["firing", *["ongoing"] * (len(states) - 1)]
        first, *_, last = alerts(audit)
        for fact in ("since", "event_id", "severity"):
            assert last.metadata[fact] == first.metadata[fact]
        assert (first.metadata["count"], last.metadata["count"]) == (2, 3)
        assert len(seen) == 1

    async def test_no_alert_about_alerts(self, audit: AuditLogger) -> None:
        """Events that record alerts are counted by no rule of any monitor."""
        everything = Rule("everything", over=0, window="1h")
        own = Rule("own", over=0, window="1h", operations="AUDIT")
        SecurityMonitor(audit, [everything, own])
        SecurityMonitor(audit, [everything, own])
        for _ in range(3):
            await audit.log_event("STORE")
        assert told(audit) == [("everything", "firing", None)] * 2
        await audit.log_event("AUDIT", metadata={"why": "review"})
        assert [rule for rule, _, _ in told(audit)][2:] == ["own"] * 2


class TestCallbacks:
    async def test_its_failure_is_ours(
        self, audit: AuditLogger, caplog: pytest.LogCaptureFixture
    ) -> None:
        """An exception of a callback does not reach the caller; it is logged once and counted."""

        def page(alert: Alert) -> None:
            raise ConnectionError("no pager")

        SecurityMonitor(audit, [Rule(f"r{n}", over=0, window="1h") for n in range(3)], page)
        event = await audit.log_event("STORE")
        assert event.operation == "STORE"
        assert len(alerts(audit)) == 3
        assert audit.get_statistics()["failures"] == {"monitor": 3}
        assert len([r for r in caplog.records if "monitor failed" in r.message]) == 1

    async def test_awaited(self, audit: AuditLogger) -> None:
        """An awaitable that a callback returns is awaited in the operation's loop; its failure
        is counted as ours."""
        done: list[Any] = []

        async def page(alert: Alert) -> None:
            await asyncio.sleep(0)
            done.append(asyncio.get_running_loop())
            raise ConnectionError("no pager")

        SecurityMonitor(audit, [EXPORTS], page)
        for _ in range(3):
            await audit.log_event("EXPORT")
        await until(lambda: audit.get_statistics()["failures"])
        assert done == [asyncio.get_running_loop()]

    async def test_from_another_thread(self, audit: AuditLogger) -> None:
        """Without a loop in the thread of the event, the callback runs in its maker's."""
        done: list[Any] = []

        async def page(alert: Alert) -> None:
            done.append(asyncio.get_running_loop())

        SecurityMonitor(audit, [Rule("one", over=0, window="1h")], page)
        await asyncio.to_thread(_finish, audit.log_event("STORE"))
        await until(lambda: done)
        assert done == [asyncio.get_running_loop()]

    def test_without_a_loop(self, audit: AuditLogger, at: Callable[..., None]) -> None:
        """Without any loop, it is awaited there and then."""
        done: list[str] = []

        async def page(alert: Alert) -> None:
            await asyncio.sleep(0)
            done.append(alert.rule.name)

        SecurityMonitor(audit, [Rule("one", over=0, window="1h")], page)
        at("STORE")
        assert done == ["one"]

    async def test_it_may_ask_the_trail(self, audit: AuditLogger) -> None:
        """A callback can query, count and seal: no lock is held."""
        asked: list[Any] = []

        def page(alert: Alert) -> None:
            asked.append(len(audit.query_events(operation="EXPORT")))
            asked.append(audit.get_statistics()["total_events"])
            asked.append(len(monitor.active))
            thread = threading.Thread(target=lambda: asked.append(len(monitor.active)))
            thread.start()
            thread.join()

        monitor = SecurityMonitor(audit, [EXPORTS], page)
        for _ in range(3):
            await audit.log_event("EXPORT")
        assert asked == [3, 4, 1, 1]
        monitor.close()  # else its callback keeps the logger, and that the monitor

    async def test_what_it_does_is_its_own(self, audit: AuditLogger, memory: MemorySystem) -> None:
        """Operations of a callback are events of their own, not part of what set it off, and
        not by that user."""
        done = asyncio.Event()

        async def note(alert: Alert) -> None:
            await memory.store("somebody exports too much", user_id=None)
            done.set()

        SecurityMonitor(audit, [BY_USER], note)
        with audit_context(user_id="eve"):
            for _ in range(3):
                await memory.export()
        await done.wait()
        stored = history(audit, operation="STORE")
        assert [event.user_id for event in stored] == [None]
        assert told(audit) == [("by_user", "firing", "eve")]

    async def test_logged_without_one(
        self, audit: AuditLogger, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Without a callback an alert is a warning in the log, in one line."""
        SecurityMonitor(audit, [BY_USER])
        for _ in range(3):
            await audit.log_event("EXPORT", user_id="eve\nroot")
        (record,) = [r for r in caplog.records if r.name == "axon_audit_otel"]
        assert record.levelname == "WARNING"
        assert record.getMessage() == (
            r"by_user: 3 EXPORT events by user 'eve\nroot', more than 2 in 1h"
        )


def _finish(call: Any) -> None:
    """Run a coroutine that waits for nothing."""
    with pytest.raises(StopIteration):
        call.send(None)


class TestRestart:
    @pytest.fixture(name="again")
    def _again(self, tmp_path: Path, logger_provider: LoggerProvider) -> Iterator[Make]:
        """Audit loggers on one archive, one after the other."""
        running: list[AuditLogger] = []

        def start() -> AuditLogger:
            while running:
                running.pop().close()
            gc.collect()
            audit = AuditLogger(
                auto_export_path=tmp_path,
                registry=CollectorRegistry(),
                logger_provider=logger_provider,
            )
            running.append(audit)
            return audit

        yield start
        running.pop().close()

    @pytest.mark.slow
    async def test_it_counts_on(self, again: Make) -> None:
        """Events recorded before the start count."""
        seen: list[Alert] = []
        audit = again()
        SecurityMonitor(audit, [EXPORTS, BY_USER], seen.append)
        for user in ("x", "y"):
            await audit.log_event("EXPORT", user_id=user)
        audit = again()
        SecurityMonitor(audit, [EXPORTS, BY_USER], seen.append)
        assert seen == []
        await audit.log_event("EXPORT", user_id="x")
        assert [(alert.rule.name, alert.count) for alert in seen] == [("exports", 3)]
        audit = again()
        SecurityMonitor(audit, [BY_USER], seen.append)
        await audit.log_event("EXPORT", user_id="x")
        assert [alert.user_id for alert in seen] == [None, "x"]

    async def test_an_alert_goes_on(self, again: Make, at: Callable[..., None]) -> None:
        """An alert that fired before the start is active and not repeated, or ends."""
        rules = [
            Rule("long", over=2, window="24h", operations="EXPORT", per_user=True),
            Rule("short", over=1, window="1h", operations="STORE"),
        ]
        audit = again()
        SecurityMonitor(audit, rules)
        for operation in ("EXPORT", "EXPORT", "EXPORT", "STORE", "STORE"):
            at(operation, "eve", seconds=ago(timedelta(hours=2)))
        assert told(audit) == [("long", "firing", "eve"), ("short", "firing", None)]
        audit = again()
        seen: list[Alert] = []
        over: list[Alert] = []
        monitor = SecurityMonitor(audit, rules, seen.append, on_resolved=over.append)
        assert [alert.rule.name for alert in over] == ["short"]
        await audit.log_event("EXPORT", user_id="eve")
        assert seen == []
        assert [(a.rule.name, a.user_id, a.count) for a in monitor.active] == [("long", "eve", 4)]
        assert told(audit) == [("short", "resolved", None)]
        audit = again()
        SecurityMonitor(audit, rules)
        assert told(audit) == []

    @pytest.mark.parametrize("state", ["firing", "ongoing"])
    async def test_an_alert_older_than_every_window(
        self, again: Callable[..., AuditLogger], at: Callable[..., None], state: str
    ) -> None:
        """An alert that has gone on for longer is not repeated; it is recorded anew."""
        rule = Rule("exports", over=2, window="15h", operations="EXPORT")
        since = datetime.now(timezone.utc) - timedelta(hours=40)
        audit = again()
        facts = {"record": "alert", "rule": rule.name, "state": state, "since": str(since)}
        then = (datetime.now(timezone.utc) - timedelta(hours=20)).timestamp()
        audit.emit(
            draft("AUDIT", "SUCCESS", metadata=facts, trail=audit.trail, time_ns=int(then * 1e9))
        )
        for minutes in (3, 2, 1):
            at("EXPORT", seconds=ago(timedelta(minutes=minutes)))
        audit = again()
        seen: list[Alert] = []
        monitor = SecurityMonitor(audit, [rule], seen.append, on_resolved=seen.append)
        assert (seen, [alert.since for alert in monitor.active]) == ([], [since])
        assert told(audit) == [("exports", "ongoing", None)]
        audit = again()
        SecurityMonitor(audit, [rule], seen.append, on_resolved=seen.append)
        assert (seen, told(audit)) == ([], [])

    async def test_found_at_the_start(self, audit: AuditLogger) -> None:
        """A rule that holds already fires at once; without *warm_up* nothing is looked at."""
        for _ in range(3):
            await audit.log_event("EXPORT")
        assert SecurityMonitor(audit, [EXPORTS], warm_up=False).active == []
        seen: list[Alert] = []
        SecurityMonitor(audit, [EXPORTS], seen.append)
        assert [alert.count for alert in seen] == [3]

    async def test_an_archive_that_cannot_be_read(
        self, again: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        """Then it begins with what could be read, says so, and watches."""
        audit = again()
        (tmp_path / "other.journal").mkdir()
        seen: list[Alert] = []
        SecurityMonitor(audit, [EXPORTS], seen.append)
        for _ in range(3):
            await audit.log_event("EXPORT")
        assert len(seen) == 1
        assert audit.get_statistics()["failures"] == {"monitor": 1}
        assert "monitor failed (ArchiveError: the answer is not whole: cannot read" in caplog.text

    async def test_files_that_cannot_be_looked_for(
        self, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Events in memory count, the fault is counted once, and the monitor works."""
        audit = make_audit(auto_export_path=tmp_path)
        for _ in range(2):
            await audit.log_event("EXPORT")

        def refuse(*_: Any, **__: Any) -> Any:
            raise OSError(errno.EIO, "the disk is gone")

        with monkeypatch.context() as broken:
            for name in ("scandir", "listdir", "open"):
                broken.setattr(os, name, refuse)
            seen: list[Alert] = []
            SecurityMonitor(audit, [EXPORTS, BY_USER], seen.append)
        assert audit.get_statistics()["failures"] == {"monitor": 1}
        await audit.log_event("EXPORT")
        assert [alert.rule.name for alert in seen] == ["exports"]

    @pytest.mark.usefixtures("busy_threads")
    def test_while_others_record(self, audit: AuditLogger) -> None:
        """Each event counts once, whether it came before, during or after the start."""
        before, each, threads = 3000, 500, 4
        total = before + each * threads
        exactly = Rule("exactly", over=total - 1, window="1h", operations="STORE")
        more = Rule("more", over=total, window="1h", operations="STORE", statuses="SUCCESS")

        def work(count: int = each) -> None:
            for _ in range(count):
                _finish(audit.log_event("STORE"))

        work(before)
        workers = [threading.Thread(target=work) for _ in range(threads)]
        for worker in workers:
            worker.start()
        monitor = SecurityMonitor(audit, [exactly, more])
        for worker in workers:
            worker.join()
        assert [alert.rule.name for alert in monitor.active] == ["exactly"]


class TestLife:
    async def test_close(self, audit: AuditLogger) -> None:
        """A closed monitor sees nothing; closing twice is well."""
        seen: list[Alert] = []
        with SecurityMonitor(audit, [EXPORTS], seen.append) as monitor:
            await audit.log_event("EXPORT")
        monitor.close()
        for _ in range(3):
            await audit.log_event("EXPORT")
        assert seen == []

    async def test_it_lasts_as_long_as_its_logger(self, registry: CollectorRegistry) -> None:
        """Nobody need keep the monitor, and it keeps nobody."""
        seen: list[Alert] = []
        audit = AuditLogger(registry=registry)
        kept = ref(SecurityMonitor(audit, [EXPORTS], seen.append))
        gc.collect()
        for _ in range(3):
            await audit.log_event("EXPORT")
        assert len(seen) == 1
        logger = ref(audit)
        del audit, seen

        def are_gone() -> bool:
            gc.collect()
            return logger() is None and kept() is None

        await until(are_gone)  # the thread of an alert holds the monitor for a moment

    @pytest.mark.usefixtures("busy_threads")
    def test_threads(self, audit: AuditLogger) -> None:
        """Of events from many threads, none is missed and one alert fires."""
        seen: list[Alert] = []
        rule = Rule("many", over=500, window="1h", operations="STORE")
        monitor = SecurityMonitor(audit, [rule], seen.append)

        def work() -> None:
            for _ in range(200):
                _finish(audit.log_event("STORE"))

        workers = [threading.Thread(target=work) for _ in range(8)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert [alert.count for alert in seen] == [501]
        assert [alert.count for alert in monitor.active] == [1600]

    @pytest.mark.skipif(sys.platform == "win32", reason="no fork")
    def test_fork(self, run_script: Run) -> None:
        """A child counts its own events from none, and alerts of its own; its parent goes on."""
        printed = run_script(
            """
            import asyncio, os, sys
            from axon_audit_otel import AuditLogger, Rule, SecurityMonitor
            audit = AuditLogger()
            rule = Rule("exports", over=2, window="1h", operations="EXPORT")
            def told(alert):
                print(who, alert.count, flush=True)
            monitor = SecurityMonitor(audit, [rule], told)
            who = "parent"
            def exports(count):
                async def all():
                    for _ in range(count):
                        await audit.log_event("EXPORT")
                asyncio.run(all())
            exports(2)
            child = os.fork()
            if not child:
                who = "child"
                exports(2)
                print("child", len(monitor.active), flush=True)
                exports(1)
                os._exit(0)
            os.waitpid(child, 0)
            exports(1)
            """
        )
        assert printed.splitlines() == ["child 0", "child 3", "parent 3"]


class TestRealMemory:
    async def test_who_deleted_too_much(self, audit: AuditLogger, memory: MemorySystem) -> None:
        """Over a hundred deletes of one user through the SDK name that user."""
        seen: list[Alert] = []
        SecurityMonitor(audit, on_alert=seen.append)
        for number in range(101):
            entry = await memory.store(f"note {number}", user_id="alice")
            await memory.forget(entry, user_id="mallory")
        assert [(alert.rule.name, alert.user_id) for alert in seen] == [
            ("excessive_deletions", None),
            ("excessive_deletions_by_user", "mallory"),
        ]
        causes = {event.event_id: event for event in history(audit, operation="FORGET")}
        for event in alerts(audit):
            cause = causes[event.metadata["event_id"]]
            assert (event.trace_id, event.span_id) == (cause.trace_id, cause.span_id)
            assert event.trace_id is not None


class TestCommand:
    def test_alerts(
        self, make_audit: Make, at: Callable[..., None], tmp_path: Path, cli: Callable[..., Any]
    ) -> None:
        """`axon-audit alerts` finds in files what a monitor would have told."""
        with make_audit(auto_export_path=tmp_path):
            for minute in range(8):
                at("EXPORT", "eve\x1b[2J" if minute else "bob", minutes=minute)
            at("FORGET", "bob", days=3)
        found = json.loads(cli("alerts", tmp_path, "--json", code=1).stdout)
        assert [(a["rule"], a["user_id"], a["count"], a["since"][:19]) for a in found] == [
            ("unusual_exports", None, 8, "2026-01-05T00:05:00"),
            ("unusual_exports_by_user", "eve\x1b[2J", 7, "2026-01-05T00:06:00"),
        ]
        assert found[0]["resolved_at"] == "2026-01-06T00:07:00.000000Z"
        said = cli("alerts", tmp_path, code=1)
        assert "unusual_exports_by_user: 7 EXPORT events by user 'eve\\x1b[2J', more" in said.stdout
        assert said.stderr == "2 alerts\n"

    def test_only_the_last(
        self, make_audit: Make, at: Callable[..., None], tmp_path: Path, cli: Callable[..., Any]
    ) -> None:
        """Events older than --last are left out; a wrong duration is refused."""
        with make_audit(auto_export_path=tmp_path):
            for _ in range(6):
                at("EXPORT")
        assert cli("alerts", tmp_path, "--last", "1h", "--json").stdout == "[]\n"
        assert "'soon' must be" in cli("alerts", tmp_path, "--last", "soon", code=2).stderr
