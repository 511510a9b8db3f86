"""Alerts about altered, resurrected and remaining entries: when they fire, what they name."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from conftest import ListingAdapter, Make, history
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import Alert, AuditLogger, Rule, SecurityMonitor
from axon_audit_otel.events.draft import draft

KINDS = {
    "altered": "altered_entry",
    "resurrected": "forgotten_entry_seen",
    "derived_remaining": "incomplete_forget",
}
every_kind = pytest.mark.parametrize(("kind", "rule"), KINDS.items())
ODD_IDS = ["e1", 5, [1, {}], {"e": 1}, [], ["\x1b"]]
ALTERED = Rule("altered", over=0, window="1h", counting="altered")


def told(audit: AuditLogger) -> list[tuple[str, str, list[str]]]:
    """The recorded alerts: rule, state and entries of each, the oldest first."""
    facts = [e.metadata for e in history(audit, operation="AUDIT") if "rule" in e.metadata]
    return [(f["rule"], f["state"], f.get("entry_ids", [])) for f in facts]


def forge(audit: AuditLogger, facts: dict[str, Any]) -> None:
    """Record an alert that no monitor has found."""
    facts = {"record": "alert", **facts}
    audit.emit(draft("AUDIT", "SUCCESS", metadata=facts, trail=audit.trail))


@pytest.fixture(name="emit")
def _emit(logger_provider: LoggerProvider) -> Callable[..., None]:
    """Emits a record of another source with *facts*, so long ago."""

    def emit(facts: dict[str, Any], operation: str = "RECALL", **ago: Any) -> None:
        moment = datetime.now(timezone.utc) - timedelta(**ago)
        logger_provider.get_logger("another").emit(
            LogRecord(
                event_name="axon.memory.audit",
                timestamp=int(moment.timestamp() * 1e9),
                body={"operation": operation, "status": "SUCCESS", "metadata": facts},
            )
        )

    return emit


class TestWhenItFires:
    @every_kind
    async def test_at_the_first_event(self, audit: AuditLogger, kind: str, rule: str) -> None:
        """One event is enough; the alert and its record name the event and the entries."""
        seen: list[Alert] = []
        SecurityMonitor(audit, on_alert=seen.append)
        await audit.log_event("RECALL", metadata={"result_count": 3})
        assert seen == []
        cause = await audit.log_event("RECALL", metadata={kind: ["e1", "e2"]})
        (alert,) = seen
        assert (alert.rule.name, alert.count, alert.event_id) == (rule, 2, cause.event_id)
        assert alert.entry_ids == ("e1", "e2")
        words = kind.replace("_", " ")
        assert str(alert) == f"{rule}: 2 {words} entries ('e1', 'e2'), more than 0 in 1h"
        assert told(audit) == [(rule, "firing", ["e1", "e2"])]

    @every_kind
    def test_of_another_source(
        self, audit: AuditLogger, emit: Callable[..., None], kind: str, rule: str
    ) -> None:
        """A record of anybody makes it fire, also of an operation that nobody has heard of."""
        SecurityMonitor(audit)
        emit({kind: ["e1"]}, "GLANCE")
        assert told(audit) == [(rule, "firing", ["e1"])]

    @every_kind
    async def test_facts_of_an_application(self, audit: AuditLogger, kind: str, rule: str) -> None:
        """What it says under these names is no finding."""
        monitor = SecurityMonitor(audit)
        for odd in ("yes", 5, {"e": 1}, [1], []):
            await audit.log_event("STORE", metadata={kind: odd})
        assert rule not in {alert.rule.name for alert in monitor.active}
        assert audit.get_statistics()["failures"] == {}

    async def test_the_same_entry_again(self, audit: AuditLogger) -> None:
        """While it goes on, the same entries are told once; another one fires it again."""
        seen: list[Alert] = []
        monitor = SecurityMonitor(audit, [ALTERED], seen.append)
        first = await audit.log_event("RECALL", metadata={"altered": ["e1"]})
        for _ in range(3):
            await audit.log_event("EXPORT", metadata={"altered": ["e1"]})
        further = await audit.log_event("RECALL", metadata={"altered": ["e2", "e1"]})
        await audit.log_event("RECALL", metadata={"altered": ["e2", "e1"]})
        assert [(a.count, a.entry_ids, a.event_id) for a in seen] == [
            (1, ("e1",), first.event_id),
            (6, ("e2", "e1"), further.event_id),
        ]
        assert [state for _, state, _ in told(audit)] == ["firing", "firing"]
        (alert,) = monitor.active
        assert (alert.count, alert.since) == (8, seen[0].since)

    def test_over_and_again(self, audit: AuditLogger, emit: Callable[..., None]) -> None:
        """After an hour without such an entry it is over, and fires again for the same one."""
        SecurityMonitor(audit, [ALTERED], lambda alert: None)
        for minutes in (300, 250, 180, 100):
            emit({"altered": ["e1"]}, minutes=minutes)
        states = [state for _, state, _ in told(audit)]
        assert states[:5] == ["firing", "resolved", "firing", "resolved", "firing"]

    async def test_many_entries(self, audit: AuditLogger) -> None:
        """It names a hundred, counts all, and rings no more: a restored backup is one alert."""
        seen: list[Alert] = []
        monitor = SecurityMonitor(audit, [ALTERED], seen.append)
        for part in range(40):
            ids = [f"e{part * 10 + number}" for number in range(10)]
            await audit.log_event("RECALL", metadata={"altered": ids})
        assert len(seen) == 10
        (alert,) = monitor.active
        assert (alert.count, len(alert.entry_ids)) == (400, 100)

    async def test_more_than_an_event_names(self, audit: AuditLogger) -> None:
        """The entries that an event could not carry count as well."""
        monitor = SecurityMonitor(audit, [ALTERED])
        await audit.log_event("RECALL", metadata={"altered": [f"e{n}" for n in range(5_000)]})
        (alert,) = monitor.active
        assert (alert.count, len(alert.entry_ids)) == (5_000, 100)
        assert "5000 altered entries ('e0', 'e1', 'e2', ...)" in str(alert)

    async def test_other_thresholds(self, audit: AuditLogger) -> None:
        """A rule may allow some, each user's apart; then it fires once."""
        seen: list[Alert] = []
        rule = Rule("some", over=3, window="1h", counting="altered", per_user=True,
                    operations=["RECALL", "EXPORT"], statuses="SUCCESS")  # fmt: skip
        SecurityMonitor(audit, [rule], seen.append)
        for operation in ("RECALL", "STORE", "EXPORT"):
            await audit.log_event(operation, "eve", metadata={"altered": ["e1", "e2"]})
            await audit.log_event(operation, metadata={"altered": ["e1", "e2"]})
        await audit.log_event("RECALL", "eve", metadata={"altered": ["e3"]})
        assert [(alert.user_id, alert.count) for alert in seen] == [("eve", 4)]
        assert str(seen[0]).endswith("by user 'eve', more than 3 in 1h")

    async def test_hostile_ids(self, audit: AuditLogger, caplog: pytest.LogCaptureFixture) -> None:
        """Ids with control characters or of any length stay in one line of log."""
        SecurityMonitor(audit, [ALTERED])
        ids = ["a\nb", "\x1b[2J", "x" * 5_000, "[dropped: 7 more]"]
        await audit.log_event("RECALL", metadata={"altered": ids})
        (record,) = [r for r in caplog.records if r.name == "axon_audit_otel"]
        said = record.getMessage()
        assert "altered: 10 altered entries ('a\\nb', " in said
        assert "\x1b" not in said
        assert "\n" not in said
        assert len(said) < 400

    async def test_an_alert_is_no_finding(self, audit: AuditLogger) -> None:
        """What an alert records makes no other monitor fire, and is not counted."""
        for _ in range(2):
            SecurityMonitor(audit, [ALTERED], lambda alert: None)
        await audit.log_event("RECALL", metadata={"altered": ["e1"]})
        assert len(told(audit)) == 2
        assert audit.get_statistics()["findings"] == {"altered": 1}

    async def test_an_altered_store(self, audit: AuditLogger, make_system: Any) -> None:
        """A text that was changed in the store fires when it is recalled; a change through the
        memory does not."""
        adapter = ListingAdapter()
        memory = make_system(audit_logger=audit, persistent=adapter)
        monitor = SecurityMonitor(audit, on_alert=lambda alert: None)
        key = await memory.store("tea at five")
        await memory.recall("tea")
        assert monitor.active == []
        entry = await adapter.get(key)
        adapter._storage[key] = entry.model_copy(update={"text": "tea never"})
        await memory.recall("tea")
        (alert,) = monitor.active
        assert (alert.rule.name, alert.entry_ids) == ("altered_entry", (key,))


class TestRestart:
    @pytest.fixture(name="again")
    def _again(self, tmp_path: Path, logger_provider: LoggerProvider) -> Iterator[Make]:
        """Audit loggers on one archive, one after the other."""
        running: list[AuditLogger] = []

        def start(**settings: Any) -> AuditLogger:
            while running:
                running.pop().close()
            gc.collect()
            audit = AuditLogger(
                auto_export_path=tmp_path / "archive",
                registry=CollectorRegistry(),
                logger_provider=logger_provider,
                **settings,
            )
            running.append(audit)
            return audit

        yield start
        running.pop().close()

    @pytest.mark.parametrize("erasable", [False, True])
    async def test_it_goes_on(self, again: Make, tmp_path: Path, erasable: bool) -> None:
        """After a restart the same entries are not told again; another one is."""
        settings: dict[str, Any] = {"erasable": tmp_path / "keys"} if erasable else {}
        seen: list[Alert] = []
        audit = again(**settings)
        SecurityMonitor(audit, [ALTERED], seen.append)
        await audit.log_event("RECALL", "bob", metadata={"altered": ["e1", "e2"]})
        audit = again(**settings)
        SecurityMonitor(audit, [ALTERED], seen.append)
        await audit.log_event("RECALL", "bob", metadata={"altered": ["e2"]})
        assert [alert.entry_ids for alert in seen] == [("e1", "e2")]
        await audit.log_event("RECALL", "bob", metadata={"altered": ["e3"]})
        assert [alert.entry_ids for alert in seen[1:]] == [("e3", "e1", "e2")]

    @pytest.mark.parametrize("erasable", [False, True])
    async def test_found_at_the_start(self, again: Make, tmp_path: Path, erasable: bool) -> None:
        """What was recorded while nobody watched fires at the start, with its entries."""
        settings: dict[str, Any] = {"erasable": tmp_path / "keys"} if erasable else {}
        seen: list[Alert] = []
        audit = again(**settings)
        with SecurityMonitor(audit, [ALTERED], seen.append):
            await audit.log_event("RECALL", "bob", metadata={"altered": ["e1"]})
        await audit.log_event("RECALL", "bob", metadata={"altered": ["e1", "e2"]})
        await audit.log_event("RECALL", "bob", metadata={"resurrected": ["e3", "e4"]})
        resurrected = Rule("back", over=0, window="1h", counting="resurrected")
        SecurityMonitor(again(**settings), [ALTERED, resurrected], seen.append)
        assert [(alert.rule.name, alert.entry_ids) for alert in seen] == [
            ("altered", ("e1",)),
            ("altered", ("e2", "e1")),
            ("back", ("e3", "e4")),
        ]

    async def test_what_is_too_old(self, again: Make, emit: Callable[..., None]) -> None:
        """Entries from before the window are not named, whatever other rules look at."""
        again()
        emit({"altered": ["e1"]}, hours=3)
        emit({"altered": ["e2"]}, minutes=5)
        rules = [
            ALTERED,
            Rule("everything", over=1, window="24h"),
            Rule("long", over=1, window="24h", counting="altered"),
        ]
        monitor = SecurityMonitor(again(), rules, lambda alert: None)
        named = {alert.rule.name: alert.entry_ids for alert in monitor.active}
        assert named == {"altered": ("e2",), "everything": (), "long": ("e2", "e1")}

    @pytest.mark.parametrize("ids", ODD_IDS)
    async def test_a_forged_record(self, again: Callable[..., AuditLogger], ids: Any) -> None:
        """A record of an alert whose entries are no ids is taken as far as it can be meant."""
        audit = again()
        await audit.log_event("RECALL", metadata={"altered": ["e9"]})
        forge(audit, {"rule": "altered", "state": "firing", "entry_ids": ids})
        monitor = SecurityMonitor(again(), [ALTERED], lambda alert: None)
        (alert,) = monitor.active
        assert alert.entry_ids[0] == "e9"
        assert all(isinstance(key, str) for key in alert.entry_ids)
        assert audit.get_statistics()["failures"] == {}


class TestCommand:
    def test_alerts(
        self, make_audit: Make, emit: Callable[..., None], tmp_path: Path, cli: Callable[..., Any]
    ) -> None:
        """`axon-audit alerts` finds them in files, with their entries."""
        with make_audit(auto_export_path=tmp_path):
            emit({"altered": ["e1", "\x1b[2J"]}, hours=8)
            emit({"altered": ["e1", "e3"]}, hours=8)
            emit({"derived_remaining": ["s1"]}, "FORGET", hours=3)
        found = json.loads(cli("alerts", tmp_path, "--json", code=1).stdout)
        assert [(a["rule"], a["count"], a["entry_ids"]) for a in found] == [
            ("altered_entry", 4, ["e3", "e1", "\x1b[2J"]),
            ("incomplete_forget", 1, ["s1"]),
        ]
        said = cli("alerts", tmp_path, code=1).stdout
        assert "altered_entry: 4 altered entries ('e3', 'e1', '\\x1b[2J'), more than 0" in said

    async def test_query(
        self, make_audit: Make, emit: Callable[..., None], tmp_path: Path, cli: Callable[..., Any]
    ) -> None:
        """`axon-audit query` says in words what an event found, and what an alert is about."""
        with make_audit(auto_export_path=tmp_path) as audit:
            SecurityMonitor(audit, [ALTERED], lambda alert: None)
            emit({"altered": ["e1", "e2"], "resurrected": ["e3"], "result_count": 5})
            emit({"altered": "yes", "result_count": 1})
            emit({"derived_remaining": ["s1"], "deleted": 2}, "FORGET")
        forget, plain, alert, recall = cli("query", tmp_path).stdout.splitlines()[1:]
        assert forget.endswith("2 deleted, derived remaining: 1 entry")
        assert plain.endswith("1 found")
        assert recall.endswith("5 found, altered: 2 entries, resurrected: 1 entry")
        assert alert.endswith("alert firing: altered, 2 entries ('e1', 'e2'), more than 0 in 1h")

    def test_stats(
        self, make_audit: Make, emit: Callable[..., None], tmp_path: Path, cli: Callable[..., Any]
    ) -> None:
        """`axon-audit stats` counts them, and says nothing where there are none."""
        with make_audit(auto_export_path=tmp_path):
            emit({"altered": "yes"})
            assert json.loads(cli("stats", tmp_path, "--json").stdout)["findings"] == {}
            assert "altered" not in cli("stats", tmp_path).stdout
            emit({"resurrected": ["e3"]})
            emit({"altered": ["e1", "e2"]})
        found = json.loads(cli("stats", tmp_path, "--json").stdout)["findings"]
        assert found == {"altered": 2, "resurrected": 1}
        last = cli("stats", tmp_path).stdout.splitlines()[-1]
        assert last == "altered: 2 entries, resurrected: 1 entry"

    @pytest.mark.parametrize("ids", ODD_IDS)
    def test_a_forged_alert(
        self, make_audit: Make, tmp_path: Path, cli: Callable[..., Any], ids: Any
    ) -> None:
        """A record that names anything is printed in one line, without control characters."""
        facts = {"rule": "r", "state": "firing", "count": 1, "over": 0, "window_s": 60}
        with make_audit(auto_export_path=tmp_path) as audit:
            forge(audit, {**facts, "entry_ids": ids})
        _, *lines = cli("query", tmp_path, "--operation", "AUDIT").stdout.splitlines()
        (line,) = [line for line in lines if " start: " not in line]
        assert " alert" in line
        assert "\x1b" not in line
