"""The fields of the event's second edition, and names of operations that are not listed, in every
output and for every reader."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import receiver as receivers
from amounts import slow
from conftest import Cli, ListingAdapter, Make, MakeSystem, archived, history, only_event
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from prometheus_client import CollectorRegistry
from receiver import Receiver

from axon_audit_otel import AuditEvent, AuditLogger, AxonInstrumentor, Rule, SecurityMonitor
from axon_audit_otel.events.draft import draft

pytestmark = pytest.mark.usefixtures("without_start_record")

WHOLE: dict[str, Any] = {
    "action": "mem0.delete_all",
    "system": "mem0",
    "store": "vectors",
    "subjects": ("ann", 'b"ob', "a,n"),
    "agent_id": "bot-7",
    "on_behalf_of": "dee",
    "purpose": "a request",
    "fingerprints": {"e1": "hmac-sha256:00"},
    "derived_from": ("e0", "e2"),
}
#: How a foreign record says the same by attributes.
ATTRIBUTES = {
    "axon.operation": "FORGET",
    "axon.action": "mem0.delete_all",
    "axon.system": "mem0",
    "gen_ai.memory.store.id": "vectors",
    "axon.subject.ids": ["ann", 'b"ob', "a,n"],
    "gen_ai.agent.id": "bot-7",
    "axon.on_behalf_of": "dee",
    "axon.purpose": "a request",
    "axon.derived_from": ["e0", "e2"],
}


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    found = receivers.over_http()
    yield found
    found.close()


def _emit(provider: LoggerProvider, **fields: Any) -> None:
    provider.get_logger("test").emit(LogRecord(event_name="axon.memory.audit", **fields))


def _record(audit: AuditLogger, operation: str = "FORGET", **fields: Any) -> AuditEvent:
    """Record an event of these fields, as an operation does."""
    made = draft(operation, "SUCCESS", user_id="officer", trail=audit.trail, **fields)
    audit.trail.policy.event(made)
    audit.emit(made)
    return audit.query_events(limit=1)[0]


def _said(event: AuditEvent) -> dict[str, Any]:
    return {name: getattr(event, name) for name in WHOLE}


class TestFields:
    def test_in_every_output(
        self,
        make_audit: Make,
        log_exporter: InMemoryLogRecordExporter,
        receiver: Receiver,
        cli: Cli,
        tmp_path: Path,
    ) -> None:
        """Memory, files, exports, log records and what is shipped have them all."""
        logs = tmp_path / "logs"
        audit = make_audit(2, logs)
        events = [_record(audit, **WHOLE), _record(audit), _record(audit, **WHOLE)]
        audit.close()
        assert _said(events[0]) == _said(archived(logs)[2]) == WHOLE
        as_json = json.loads(json.dumps(WHOLE))
        line = json.loads(cli("query", logs, "--json", "--limit", "1").stdout)
        assert {name: line[name] for name in WHOLE} == as_json

        for form in ("json", "jsonl", "csv", "otlp"):
            cli("export", logs, tmp_path / f"out.{form}", "--format", form)
        exported = json.loads((tmp_path / "out.json").read_text())["events"]
        assert {name: exported[0][name] for name in WHOLE} == as_json
        (first, second, _) = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text()))
        assert (first["agent_id"], json.loads(first["subjects"])) == ("bot-7", as_json["subjects"])
        assert {second[name] for name in WHOLE} == {"", "[]"}

        expected = {name: value for name, value in ATTRIBUTES.items() if name != "axon.operation"}
        told = dict(log_exporter.get_finished_logs()[0].log_record.attributes or {})
        for name, value in expected.items():
            assert told[name] == (tuple(value) if isinstance(value, list) else value)
        cli("replay", logs, "--endpoint", receiver.url)
        sent = receivers.attributes(receiver.records[0])
        assert [item.string_value for item in sent["axon.subject.ids"].values] == [
            *WHOLE["subjects"]
        ]
        assert sent["gen_ai.agent.id"] == "bot-7"

        arrived = tmp_path / "arrived.json"
        receivers.write_json(receiver.records, arrived)
        cli("verify", "--otlp-json", arrived, "--archive", logs)
        cli("verify", "--otlp-json", tmp_path / "out.otlp", "--archive", logs)
        arrived.write_text(
            arrived.read_text().replace('"stringValue": "a,n"', '"stringValue": "x"')
        )
        cli("verify", "--otlp-json", arrived, code=1)
        cli("verify", logs)
        shown = cli("query", logs, "--limit", "1").stdout
        assert "ann and 2 others: by bot-7, for dee, a request" in shown

    @pytest.mark.parametrize("how", ["body", "attributes"])
    def test_of_another_source(
        self, audit: AuditLogger, logger_provider: LoggerProvider, how: str
    ) -> None:
        """A record of another source says them in its body, or by attributes."""
        if how == "body":
            _emit(logger_provider, body={"operation": "FORGET", **WHOLE})
            expected = WHOLE
        else:
            _emit(logger_provider, attributes=ATTRIBUTES)
            expected = {**WHOLE, "fingerprints": None}
        event = only_event(audit)
        assert _said(event) == expected
        assert event.metadata == {}

    def test_of_another_type(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """A value that cannot be such a field becomes a fact, unchanged."""
        odd = {"store": {"name": "s"}, "subjects": "ann", "fingerprints": [1], "purpose": True}
        _emit(logger_provider, body={"operation": "STORE", **odd})
        event = only_event(audit)
        assert event.metadata == odd
        assert (event.store, event.subjects, event.fingerprints) == (None, (), None)

    async def test_of_the_instrumented_sdk(
        self, audit: AuditLogger, make_system: MakeSystem, instrumented: AxonInstrumentor
    ) -> None:
        """Every operation says its method and its library; what the SDK lacks, its supplied one."""
        memory: Any = make_system(session=ListingAdapter())
        entry_id = await memory.store("tea")
        await memory.recall("tea")
        data = await memory.export()
        await memory.import_from(data)
        await memory.import_data(data)
        await memory.sync("session", "persistent")
        async with memory.transaction():
            pass
        await memory.forget(entry_id)
        assert {event.system for event in history(audit)} == {"axon"}
        assert [event.action for event in history(audit)] == [
            f"MemorySystem.{name}"
            for name in (
                *("store", "recall", "export", "import_from", "import_data"),
                *("sync", "transaction", "forget"),
            )
        ]


class TestSubjects:
    """`query_events(subject_id=X)` finds X alone and among the subjects."""

    NAMES = ("ann", "an", 'b"ob', "user_id", "bob,", "ann]", "żółw")

    @pytest.mark.parametrize("compress", [False, True])
    def test_in_memory_and_in_files(
        self, make_audit: Make, tmp_path: Path, cli: Cli, compress: bool
    ) -> None:
        """Queries answer as a plain loop does, in memory and in files, as events leave memory."""
        audit = make_audit(9, tmp_path / "logs", compress=compress)
        events = [
            _record(audit, subject_id=alone, subjects=subjects, entry_ids=["user_id", "an"])
            for alone, subjects in [
                *((name, ()) for name in self.NAMES),
                *((None, pair) for pair in product(self.NAMES, repeat=2)),
                *(("ann", (name, "x")) for name in self.NAMES),
            ]
        ]
        for name in self.NAMES:
            expected = [e for e in events if name in (e.subject_id, *e.subjects)][::-1]
            assert audit.query_events(subject_id=name, archived=True) == expected
            assert audit.query_events(subject_id=name, archived=False) == [
                event for event in expected if event in events[-9:]
            ]
        audit.close()
        found = cli("query", tmp_path / "logs", "--subject", "an", "--json").stdout.splitlines()
        assert len(found) == sum("an" in (e.subject_id, *e.subjects) for e in events)

    def test_hashed(self, make_audit: Make, tmp_path: Path) -> None:
        """Each of them is hashed, and found by the id itself."""
        audit = make_audit(2, tmp_path / "logs", pseudonymize="s" * 32)
        events = [_record(audit, subjects=("ann", "bob")) for _ in range(5)]
        assert events[0].subjects[0].startswith("hmac-sha256:")
        for archive in (True, False):
            found = audit.query_events(subject_id="bob", archived=archive)
            assert len(found) == (5 if archive else 2)

    @pytest.mark.parametrize("how", [{}, {"pseudonymize": "s" * 32}, {"erasable": True}])
    @pytest.mark.parametrize(("many", "words"), [(1_001, 5), slow(3_000, 100_000)])
    @pytest.mark.slow
    def test_of_more_than_it_can_name(
        self, make_audit: Make, tmp_path: Path, cli: Cli, how: Any, many: int, words: int
    ) -> None:
        """An event of many persons is bounded, has their number and digest, and is found by each
        of them, and by nobody else."""
        logs = tmp_path / "logs"
        audit = make_audit(20, logs, **how)
        names = [f"user {number}" for number in range(many)]
        _record(audit, subjects=("user 7", "nobody"))
        facts = {str(number): "x" * 1000 for number in range(words // 1000)}
        event = _record(audit, subjects=names, entry_ids=["e1"], metadata=facts)
        assert event.metadata["subjects_total"] == many
        recorded = archived(logs)[-1]
        assert len(recorded.to_json()) <= 256 << 10
        assert (b"user 7" in recorded.to_json()) == (not how)
        if not how:
            expected = hashlib.sha256("\n".join(names).encode()).hexdigest()
            assert event.metadata["subjects_sha256"] == expected
        ids = {event.event_id}
        for place in (False, True):
            for name in (names[0], names[999], names[1000], names[-1]):
                found = audit.query_events(subject_id=name, archived=place)
                assert {one.event_id for one in found} == ids, name
            assert len(audit.query_events(subject_id="user 7", archived=place)) == 2
            for name in ("nobody", "user", f"user {many}", recorded.subjects[-1] + "x"):
                found = audit.query_events(subject_id=name, archived=place)
                assert event.event_id not in {one.event_id for one in found}
        audit.close()
        options = ["--pseudonymize", "s" * 32] if "pseudonymize" in how else []
        found = cli("query", logs, "--subject", names[-1], "--json", *options).stdout.splitlines()
        assert [json.loads(line)["event_id"] for line in found] == [event.event_id]
        cli("verify", logs)

    def test_of_more_than_fit(self, make_audit: Make, tmp_path: Path) -> None:
        """Even digests have no room without end: how many persons have none is said."""
        audit = make_audit(20, tmp_path / "logs")
        names = [f"user {number}" for number in range(40_000)]
        event = _record(audit, subjects=names, entry_ids=names, metadata={"k": "x" * 100_000})
        assert len(event.to_json()) <= 256 << 10
        assert event.metadata["subjects_total"] == 40_000
        assert len(event.subjects) == 40_000 - event.metadata["subjects_unfound"]
        for name, found in ((names[len(event.subjects) - 1], 1), (names[len(event.subjects)], 0)):
            assert len(audit.query_events(subject_id=name, archived=True)) == found

    def test_an_entry_named_like_a_person(self, make_audit: Make) -> None:
        """Digests share an index with entries: no event is found twice."""
        audit = make_audit()
        names = [f"user {number}" for number in range(1_500)]
        _record(audit, subjects=names)
        _record(audit, subjects=["ann"], entry_ids=["ann"])
        _record(audit, entry_ids=["ann"])
        assert len(audit.query_events(subject_id="ann")) == 1

    @pytest.mark.slow
    def test_erased_one_of_many(self, make_audit: Make, tmp_path: Path) -> None:
        """The erasure of one leaves the others; content is not kept for those who are not named."""
        audit = make_audit(20, tmp_path / "logs", erasable=True)
        names = [f"user {number}" for number in range(1_500)]
        event = _record(audit, subjects=names, metadata={"content": ["tea"]})
        assert "tea" not in str(event.metadata["content"])
        for gone in (names[1], names[-1]):
            assert audit.erase_user(gone)
            assert audit.query_events(subject_id=gone, archived=True) == []
        for left in (names[0], names[-2]):
            (found,) = audit.query_events(subject_id=left, archived=True)
            assert found.subjects[0] == names[0]
            assert found.subjects[1].startswith("erasable:")


class TestOpenOperations:
    """An operation that is not listed is kept as it was, and never an error."""

    NAME = "memory.melt [red]\x1b[31m"

    @pytest.fixture(name="logs")
    def _logs(self, logger_provider: LoggerProvider, make_audit: Make, tmp_path: Path) -> Path:
        audit = make_audit(3, tmp_path / "logs")
        for name in ("STORE", self.NAME, "MELT", self.NAME):
            _emit(logger_provider, body={"operation": name, "user_id": "u", "success": True})
        audit.close()
        return tmp_path / "logs"

    def test_readers(self, logs: Path, receiver: Receiver, cli: Cli, tmp_path: Path) -> None:
        """query, stats, tail, verify, export, replay and alerts answer."""
        found = [json.loads(line) for line in cli("query", logs, "--json").stdout.splitlines()]
        assert [event["operation"] for event in found] == [self.NAME, "MELT", self.NAME, "STORE"]
        for command in ("query", "tail", "stats"):
            shown = cli(command, logs).stdout
            assert "MELT" in shown
            assert "\x1b" not in shown
            assert "[red]" in shown
        counted = json.loads(cli("stats", logs, "--json").stdout)
        assert counted["by_operation"] == {self.NAME: 2, "STORE": 1, "MELT": 1}
        assert counted["users"][0]["most_common_operation"] == self.NAME
        for form in ("json", "csv", "otlp"):
            cli("export", logs, tmp_path / f"out.{form}", "--format", form)
        cli("query", tmp_path / "out.json", "--json")
        cli("verify", logs)
        cli("verify", "--otlp-json", tmp_path / "out.otlp", "--archive", logs)
        cli("alerts", logs)
        cli("replay", logs, "--endpoint", receiver.url)
        sent = [receivers.attributes(record)["axon.operation"] for record in receiver.records]
        assert sent == ["STORE", self.NAME, "MELT", self.NAME]

    def test_after_a_restart(self, logs: Path, make_audit: Make) -> None:
        """A trail that takes its archive up again has them in memory and in files."""
        audit = make_audit(3, logs, name="default")
        assert [event.operation.value for event in audit.query_events(archived=True)] == [
            *(self.NAME, "MELT", self.NAME, "STORE")
        ]
        assert audit.export_to_file(logs.with_name("all.json"), archived=True) == 4

    def test_label(
        self, audit: AuditLogger, logger_provider: LoggerProvider, registry: CollectorRegistry
    ) -> None:
        """The labels of metrics are a closed set: it counts as OTHER."""
        _emit(logger_provider, body={"operation": "MELT", "success": True, "duration_ms": 2})
        labels = {"trail": audit.name, "system": "none", "operation": "OTHER"}
        value = registry.get_sample_value
        counted = value("axon_memory_operations_total", {**labels, "status": "SUCCESS"})
        timed = value("axon_memory_operation_duration_seconds_count", labels)
        assert (counted, timed) == (1, 1)
        assert audit.get_statistics()["by_operation"]["OTHER"] == 1
        assert audit.get_user_statistics(None)["by_operation"] == {"MELT": 1}

    def test_monitor(self, make_audit: Make, logger_provider: LoggerProvider) -> None:
        """A rule about OTHER counts it, as it comes and from before; one about all does too."""
        audit = make_audit()
        rules = [
            Rule("other", over=1, window="1h", operations="OTHER"),
            Rule("all", over=1, window="1h"),
        ]
        _emit(logger_provider, body={"operation": "MELT"})
        with SecurityMonitor(audit, rules) as monitor:
            _emit(logger_provider, body={"operation": "MERGE"})
            assert {alert.rule.name for alert in monitor.active} == {"other", "all"}
