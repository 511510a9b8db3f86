"""Private entry ids with `erasable`: encrypted with the keys of whose they are."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axon import MemoryEntry
from conftest import Cli, ListingAdapter, Make, MakeSystem, only_event
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from axon_audit_otel import (
    Alert,
    AuditEvent,
    AuditLogger,
    SecurityMonitor,
    audit_context,
    audited,
    current_operation,
    verify,
)
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.events.draft import draft
from axon_audit_otel.operations.signals import Signals, use_signals
from axon_audit_otel.privacy.encryption import Erasure
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms
from axon_audit_otel.verification.receipt import facts_of

SECRET = b"0123456789abcdef0123456789abcdef"
WHO, OTHER_ONE, NAMED = "alice-7f3e", "bob-55aa", "liddell-41c2"  # the last: in ids of entries
ENTRY, OTHER, SUMMARY = f"memories/{NAMED}/k1", f"memories/{NAMED}/k2", f"summaries/{NAMED}/s1"
ID = re.compile(NAMED.encode(), re.IGNORECASE)
FORM = re.compile("entry-erasable:[0-9a-f]{32}:[a-z2-7]{77,}")

#: With `erasable` alone, and with hashed ids as well.
BOTH = pytest.mark.parametrize("more", [{}, {"pseudonymize": SECRET}], ids=["alone", "hashed"])


def _content(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())


def _do(audit: AuditLogger, operation: str, *ids: str, owner: str | None = WHO) -> AuditEvent:
    with audit.operation(operation, system="notes", owner=owner, private_ids=True) as op:
        {"STORE": op.saved, "RECALL": op.found, "FORGET": op.deleted}[operation](*ids)
    assert op.event is not None
    return op.event


def _derive(audit: AuditLogger, key: str, *sources: str, owner: str = WHO) -> None:
    with audit.operation("STORE", system="notes", owner=owner, private_ids=True) as op:
        op.saved(key, derived_from=sources)


@pytest.fixture(name="spans")
def _spans(tracer_provider: TracerProvider) -> Iterator[None]:
    use_signals(Signals.of(tracer_provider))
    yield
    use_signals(None)


class TestNowhere:
    @BOTH
    @pytest.mark.usefixtures("spans")
    async def test_in_no_output(
        self,
        make_audit: Make,
        span_exporter: InMemorySpanExporter,
        log_exporter: InMemoryLogRecordExporter,
        registry: CollectorRegistry,
        caplog: pytest.LogCaptureFixture,
        tmp_path: Path,
        more: dict[str, Any],
    ) -> None:
        """Neither files, intents, keys, spans, log records, metrics nor log lines have the id: not
        as ids, sources, keys, facts, texts or messages, also where nobody acts."""
        audit = make_audit(
            auto_export_path=tmp_path / "a",
            erasable=True,
            capture_content=True,
            on_failure="block",
            max_event_bytes=16_384,
            **more,
        )
        written = b""
        for owner in (WHO, None):
            store = audit.operation("STORE", system="notes", owner=owner, private_ids=True)
            with store as op:
                op.saved(OTHER, ENTRY)
                op.saved(SUMMARY, derived_from=[OTHER, ENTRY])
                texts = {ENTRY: f"see {OTHER}", SUMMARY: "tea", f'"{NAMED}"\\é': "odd"}
                op.content(texts=texts, query=f"what is {ENTRY}?")
                op.note(copies={ENTRY: 2}, nested=[{"about": [ENTRY]}], note=f"({ENTRY})")
                written += (tmp_path / "a/default.intents").read_bytes()
            with audit.operation("COMPACT", system="notes"):
                _nested_recall(audit, owner)
                compaction = current_operation()
                assert compaction is not None
                compaction.note(about=f"it is {ENTRY}")
            forget = audit.operation("FORGET", owner=owner, entry_ids=[ENTRY], private_ids=True)
            with forget as op:
                op.remaining(OTHER)
                op.partial("still_there", ENTRY)
                op.deleted(ENTRY)
            with (
                pytest.raises(KeyError),
                audit.operation("RECALL", owner=owner, entry_ids=[ENTRY], private_ids=True),
            ):
                raise KeyError(f"there is no {ENTRY}")
        _do(audit, "STORE", *(f"{ENTRY}/{number}" for number in range(2_000)))  # more than fit
        audit.close()
        outputs = {
            "files": written + _content(tmp_path),
            "trail": b"".join(event.to_json() for event in audit.query_events()),
            "spans": "".join(s.to_json() for s in span_exporter.get_finished_spans()).encode(),
            "records": "".join(r.to_json() for r in log_exporter.get_finished_logs()).encode(),
            "metrics": generate_latest(registry),
            "log": caplog.text.encode(),
        }
        for name, output in outputs.items():
            assert not ID.search(output), name
        for name in ("files", "trail", "spans", "records"):
            assert FORM.search(outputs[name].decode("utf-8", "replace")), name
        assert verify(tmp_path / "a").ok

    def test_what_cannot_be_hidden(self, tmp_path: Path) -> None:
        """It is not recorded, and texts of its span have no id."""
        erasure = Erasure.for_writing(None, tmp_path / "k", sync=False, fault=print)
        policy = PrivacyPolicy(erasure=erasure)
        event = draft("STORE", "SUCCESS", entry_ids=[ENTRY], derived_from=[OTHER])
        event.private, event["error_message"] = {ENTRY: ENTRY, OTHER: OTHER}, f"no {ENTRY}"
        event.namer = _raises
        policy.event(event)
        assert event["entry_ids"] == []
        assert not ID.search(repr(event).encode())
        assert event["metadata"] == {"dropped": "[details that could not be recorded]"}
        assert policy.span_texts([WHO], None, event.private)(f"no {ENTRY}") == "no [id]"

    async def test_digest_of_many(self, make_audit: Make, tmp_path: Path) -> None:
        """Of more ids than fit the digest is that of what is recorded."""
        audit = make_audit(erasable=tmp_path / "k", private_ids=True, max_event_bytes=16_384)
        ids = [f"{ENTRY}/{number}/{'x' * 80}" for number in range(2_000)]
        event = await audit.log_event("STORE", user_id=WHO, entry_ids=ids)
        plain = make_audit(max_event_bytes=16_384)
        same = await plain.log_event("STORE", user_id=WHO, entry_ids=ids)
        assert event.metadata["entry_ids_total"] == same.metadata["entry_ids_total"] == 2_000
        assert event.metadata["entry_ids_sha256"] != same.metadata["entry_ids_sha256"]
        assert set(event.entry_ids) < set(ids)


def _raises(text: str) -> str:
    raise ValueError(text)


def _nested_recall(audit: AuditLogger, owner: str | None) -> None:
    with audit.operation("RECALL", system="notes", owner=owner, private_ids=True) as op:
        op.found(ENTRY)


class TestReadable:
    """Whoever holds the keys asks by the real id, and reads it."""

    def test_as_given(self, make_audit: Make, tmp_path: Path) -> None:
        """Ids, sources, fingerprints, facts and texts are as they were given."""
        audit = make_audit(auto_export_path=tmp_path, erasable=True, capture_content=True)
        with audit.operation("STORE", system="notes", owner=WHO, private_ids=True) as op:
            op.saved(ENTRY, OTHER)
            op.content(texts={ENTRY: f"see {OTHER}"})
            op.note(why=f"{ENTRY} was empty")
        _derive(audit, SUMMARY, ENTRY)
        gone = _do(audit, "FORGET", ENTRY)
        assert gone.entry_ids == [ENTRY]
        assert gone.metadata["derived_remaining"] == [SUMMARY]
        for archived in (True, False):
            forget, made, stored = audit.query_events(archived=archived)
            assert forget == gone
            assert (made.entry_ids, made.derived_from) == ([SUMMARY], (ENTRY,))
            assert stored.entry_ids == [ENTRY, OTHER]
            assert set(stored.fingerprints or ()) == {ENTRY}
            assert stored.metadata["why"] == f"{ENTRY} was empty"
            assert stored.metadata["content"] == [f"see {OTHER}"]
            assert not ID.search(stored.to_json())

    @BOTH
    def test_queries(self, make_audit: Make, tmp_path: Path, more: dict[str, Any]) -> None:
        """In memory, in files and after a restart, with a limit, and with other filters."""
        how = {"auto_export_path": tmp_path / "a", "erasable": True, **more}
        audit = make_audit(**how)
        _do(audit, "STORE", ENTRY)
        for number in range(20):
            _do(audit, "STORE", f"{OTHER}/{number}", owner=OTHER_ONE)
        _do(audit, "RECALL", ENTRY)
        audit.record("STORE", user_id=WHO, entry_ids=["plain"])
        for archived in (True, False):
            found = audit.query_events(entry_ids=[ENTRY], archived=archived)
            assert [event.operation.value for event in found] == ["RECALL", "STORE"]
            assert audit.query_events(entry_ids=[ENTRY], limit=1, archived=archived) == found[:1]
            asked = {"entry_ids": [ENTRY], "user_id": WHO, "archived": archived}
            assert audit.query_events(**asked) == found
            assert not audit.query_events(**{**asked, "user_id": OTHER_ONE})
            assert len(audit.query_events(entry_ids=["plain"], archived=archived)) == 1
        audit.close()
        later = make_audit(**how)
        assert len(later.query_events(entry_ids=[ENTRY], archived=True)) == 2

    def test_of_many(self, make_audit: Make, tmp_path: Path) -> None:
        """Whoever asks for more ids than there are forms to look for finds them all the same."""
        audit = make_audit(auto_export_path=tmp_path / "a", erasable=True)
        _do(audit, "STORE", ENTRY)
        audit.record("STORE", user_id=WHO, entry_ids=["plain"])
        _do(audit, "STORE", OTHER, owner=OTHER_ONE)
        many = [str(number) for number in range(5_000)]
        for archived in (True, False):
            for key in (ENTRY, "plain", OTHER):
                asked = {"entry_ids": [key, *many], "archived": archived}
                (found,) = audit.query_events(**asked)
                assert found.entry_ids == [key]
                assert audit.query_events(**asked, limit=1) == [found]

    def test_lineage_and_influence(self, make_audit: Make, tmp_path: Path) -> None:
        audit = make_audit(auto_export_path=tmp_path / "a", erasable=True)
        _do(audit, "STORE", ENTRY)
        _do(audit, "RECALL", ENTRY)
        _derive(audit, SUMMARY, ENTRY)
        _do(audit, "FORGET", ENTRY)
        for archived in (True, False):
            lineage = audit.lineage(ENTRY, archived=archived)
            assert lineage is not None
            assert (lineage.entry.entry_id, lineage.entry.state) == (ENTRY, "gone")
            assert [one.entry_id for one in lineage.descendants] == [SUMMARY]
            assert lineage.derived_remaining == (SUMMARY,)
            influence = audit.influence(ENTRY, archived=archived)
            assert [one.entry_ids for one in influence.readings] == [[ENTRY]]
            assert [one.entry_id for one in influence.influenced] == [SUMMARY]

    @BOTH
    def test_known_after_a_restart(
        self, make_audit: Make, tmp_path: Path, more: dict[str, Any]
    ) -> None:
        """What was made of a forgotten entry is noticed by the next process."""
        how = {"auto_export_path": tmp_path / "a", "erasable": True, **more}
        with make_audit(**how) as audit:
            _do(audit, "STORE", ENTRY)
            _derive(audit, SUMMARY, ENTRY)
        event = _do(make_audit(**how), "FORGET", ENTRY)
        assert event.status == "PARTIAL"
        assert len(event.metadata["derived_remaining"]) == 1
        assert not ID.search(_content(tmp_path))

    @pytest.mark.parametrize("command", ["query", "lineage", "influence"])
    def test_commands(self, make_audit: Make, cli: Cli, tmp_path: Path, command: str) -> None:
        """With the keys, beside the archive or elsewhere; without them nothing is found."""
        keys = tmp_path / "kept"
        with make_audit(auto_export_path=tmp_path / "a", erasable=keys) as audit:
            _do(audit, "STORE", ENTRY)
            _derive(audit, SUMMARY, ENTRY)
            _do(audit, "FORGET", ENTRY)
        asked = [str(tmp_path / "a")]
        asked = (
            [command, *asked, "--entry", ENTRY] if command == "query" else [command, ENTRY, *asked]
        )
        found = cli(*asked, "--keys", str(keys), code=None)
        assert "FORGET" in found.output or SUMMARY in found.output
        without = cli(*asked, code=None)
        assert "FORGET" not in without.output
        assert "--keys" in without.stderr
        assert not ID.search(_content(tmp_path))  # the record of the reading has no id either


class TestErased:
    @BOTH
    def test_nowhere_any_more(self, make_audit: Make, tmp_path: Path, more: dict[str, Any]) -> None:
        """In memory, in files, in exports, and after a restart: not read, and not found. What is
        another person's is as before."""
        how = {"auto_export_path": tmp_path / "a", "erasable": True, **more}
        audit = make_audit(**how)
        _do(audit, "STORE", ENTRY)
        _derive(audit, SUMMARY, ENTRY)
        with audit_context(user_id=OTHER_ONE):
            with audit.operation("RECALL", owner=WHO, private_ids=True) as op:
                op.found(ENTRY)
                op.note(why=f"for {ENTRY}")
            _do(audit, "STORE", OTHER, owner=OTHER_ONE)
        assert audit.erase_user(WHO)
        second = make_audit(**how)
        for one in (audit, second):
            for key in (ENTRY, SUMMARY):
                assert audit.query_events(entry_ids=[key], archived=True) == []
                assert audit.query_events(entry_ids=[key], archived=False) == []
                assert audit.lineage(key) is None
            found = one.query_events(archived=True)
            assert not any(NAMED in str(event) for event in found if OTHER not in str(event))
            assert len(one.query_events(entry_ids=[OTHER], archived=True)) == 1
        told = audit.query_events(operation="RECALL", archived=True)
        assert [len(event.entry_ids) for event in told] == [1]
        audit.export_to_file(tmp_path / "export.json")
        second.close()
        audit.close()
        assert not ID.search(_content(tmp_path))
        assert verify(tmp_path / "a").ok

    def test_one_form(self, make_audit: Make, tmp_path: Path) -> None:
        """What is left of an id is the same in all events of its owner, so that they are joined."""
        audit = make_audit(auto_export_path=tmp_path / "a", erasable=True)
        _do(audit, "STORE", ENTRY)
        _do(audit, "RECALL", ENTRY, owner=None)  # the trail knows whose it is
        _derive(audit, SUMMARY, ENTRY)
        _do(audit, "FORGET", ENTRY)
        audit.erase_user(WHO)
        events = [one for one in audit.query_events(archived=True) if one.operation != "AUDIT"]
        forget, made, read, stored = events
        (name,) = stored.entry_ids
        assert FORM.fullmatch(name)
        assert (forget.entry_ids, read.entry_ids, made.derived_from) == ([name], [name], (name,))
        assert len(audit.query_events(entry_ids=[name], archived=True)) == 3
        lineage = audit.lineage(name)
        assert lineage is not None
        assert lineage.entry.state == "gone"
        assert [one.entry_id for one in lineage.descendants] == made.entry_ids

    def test_no_later_event_has_it(self, make_audit: Make, tmp_path: Path) -> None:
        """A process that knew an id does not write it again, with the key of somebody else."""
        how = {"auto_export_path": tmp_path / "a", "erasable": True}
        audit, other = make_audit(**how), make_audit(**how)
        _do(other, "STORE", "of-bob", owner=OTHER_ONE)
        for one in (audit, other):
            _do(one, "STORE", f"of-bob/{one.name}", owner=OTHER_ONE)
            _derive(one, f"{SUMMARY}/{one.name}", f"of-bob/{one.name}")
        audit.erase_user(WHO)
        for one in (audit, other):
            event = _do(one, "FORGET", f"of-bob/{one.name}", owner=OTHER_ONE)
            (left,) = event.metadata["derived_remaining"]
            assert FORM.fullmatch(left)
            assert not ID.search(str(event).encode())

    def test_by_the_command(self, make_audit: Make, cli: Cli, tmp_path: Path) -> None:
        """`axon-audit erase`, and what other commands show then; a dossier of the other person."""
        with make_audit(auto_export_path=tmp_path / "a", erasable=True) as audit:
            _do(audit, "STORE", ENTRY)
            with audit_context(user_id=OTHER_ONE):
                _do(audit, "RECALL", ENTRY)
        place = str(tmp_path / "a")
        assert ID.search(cli("query", place, "--json").output.encode())
        cli("erase", WHO, place)
        for command in (
            ["query", place, "--json"],
            ["query", place, "--entry", ENTRY],
            ["export", place, str(tmp_path / "e.jsonl"), "--decrypt"],
            ["subject", OTHER_ONE, place, "--output", str(tmp_path / "dossier"), "--decrypt"],
            ["verify", place],
        ):
            found = cli(*command, code=None)
            assert not ID.search(f"{found.output}{found.stderr}".encode()), command
        assert not ID.search(_content(tmp_path))

    def test_of_nobody(self, make_audit: Make, tmp_path: Path) -> None:
        """Where nobody acts and no owner is known, the id is encrypted, and no erasure is of it."""
        how = {"auto_export_path": tmp_path / "a", "erasable": True}
        audit = make_audit(**how)
        _do(audit, "STORE", ENTRY, owner=None)
        _do(audit, "STORE", OTHER)
        assert audit.erase_user(WHO)
        assert not ID.search(_content(tmp_path))
        audit.close()
        (found,) = make_audit(**how).query_events(entry_ids=[ENTRY], archived=True)
        assert found.entry_ids == [ENTRY]


class TestWays:
    """All the ways on which private ids come to a trail."""

    async def test_by_hand(self, make_audit: Make, tmp_path: Path) -> None:
        audit = make_audit(erasable=tmp_path / "k", private_ids=True)
        await audit.log_event("STORE", user_id=WHO, entry_ids=[ENTRY], fingerprints={ENTRY: "x"})
        event = audit.record(
            "COMPACT",
            entry_ids=[SUMMARY, OTHER],
            derived_from=[ENTRY],
            metadata={"derived": {SUMMARY: [ENTRY], OTHER: [ENTRY]}, "why": f"{ENTRY} is old"},
        )
        assert event.entry_ids == [SUMMARY, OTHER]
        assert event.derived_from == (ENTRY,)
        assert event.metadata["derived"] == {SUMMARY: [ENTRY], OTHER: [ENTRY]}
        assert event.metadata["why"] == f"{ENTRY} is old"
        assert not ID.search(event.to_json())
        (stored,) = audit.query_events(entry_ids=ENTRY)
        assert stored.fingerprints == {ENTRY: "x"}

    async def test_records_of_others(
        self, make_audit: Make, logger_provider: LoggerProvider, tmp_path: Path
    ) -> None:
        audit = make_audit(erasable=tmp_path / "k", private_ids=True)
        body = {
            "operation": "STORE",
            "user_id": WHO,
            "entry_ids": [ENTRY],
            "action": f"put {ENTRY}",
        }
        logger_provider.get_logger("theirs").emit(
            LogRecord(event_name="axon.memory.audit", body=body)
        )
        event = only_event(audit)
        assert event.entry_ids == [ENTRY]
        assert not ID.search(event.to_json())

    @pytest.mark.parametrize("field", ["subject_id", "user_id", "on_behalf_of", "agent_id"])
    @pytest.mark.parametrize("name", ["id", "pseudonym"])
    def test_records_of_others_are_erased(
        self,
        make_audit: Make,
        logger_provider: LoggerProvider,
        tmp_path: Path,
        field: str,
        name: str,
    ) -> None:
        """Also where the record has a pseudonym of the person already."""
        more: dict[str, Any] = {} if name == "id" else {"pseudonymize": SECRET}
        audit = make_audit(erasable=tmp_path / "k", private_ids=True, **more)
        who = WHO if name == "id" else Pseudonyms(SECRET).user(WHO)
        body = {"operation": "STORE", field: who, "entry_ids": [ENTRY]}
        logger_provider.get_logger("theirs").emit(
            LogRecord(event_name="axon.memory.audit", body=body)
        )
        assert audit.query_events(entry_ids=[ENTRY])
        audit.erase_user(WHO)
        assert not audit.query_events(entry_ids=[ENTRY])
        (event,) = audit.query_events(operation="STORE")
        assert FORM.fullmatch(*event.entry_ids)

    async def test_decorator(self, make_audit: Make, tmp_path: Path) -> None:
        audit = make_audit(erasable=tmp_path / "k")

        @audited("STORE", audit=audit, ids="key", private_ids=True)
        def put(key: str) -> None: ...

        put(ENTRY)
        event = only_event(audit)
        assert event.entry_ids == [ENTRY]
        assert not ID.search(event.to_json())

    @BOTH
    async def test_axon(
        self, make_audit: Make, make_system: MakeSystem, tmp_path: Path, more: dict[str, Any]
    ) -> None:
        """Axon's own ids; what is known of an entry is known after a restart."""
        how = {"auto_export_path": tmp_path, "erasable": tmp_path.with_name("k"), **more}
        adapter = ListingAdapter()
        first = make_audit(**how, private_ids=True)
        memory: Any = make_system(audit_logger=first, persistent=adapter)
        gone = await memory.store("tea", tier="persistent", user_id=WHO)
        kept = await memory.store("tea", tier="persistent", user_id=WHO)
        entry = await adapter.get(gone)
        await memory.forget(gone)
        first.close()
        second = make_audit(**how, private_ids=True)
        again: Any = make_system(audit_logger=second, persistent=adapter)
        adapter._storage[gone] = entry
        changed = adapter._storage[kept].model_copy(update={"text": "tea!"})
        adapter._storage[kept] = changed
        await again.recall("tea")
        (read,) = second.query_events(operation="RECALL")
        assert len(read.metadata["resurrected"]) == len(read.metadata["altered"]) == 1
        if not more:
            assert (read.metadata["resurrected"], read.metadata["altered"]) == ([gone], [kept])
        for key in (gone, kept):
            assert read in second.query_events(entry_ids=[key], archived=True)
        second.close()
        assert gone.encode() not in _content(tmp_path)
        assert kept.encode() not in _content(tmp_path)

    def test_a_forged_form(self, make_audit: Make, tmp_path: Path) -> None:
        """Who names an entry like the encrypted id of another does not get its history."""
        audit = make_audit(erasable=tmp_path / "k")
        _do(audit, "STORE", ENTRY)
        (name,) = json.loads(only_event(audit).to_json())["entry_ids"]
        _do(audit, "STORE", name, owner=OTHER_ONE)
        newest = audit.query_events()[0]
        assert newest.entry_ids == [name]
        assert len(audit.query_events(entry_ids=[ENTRY])) == 1

    def test_damage(self, make_audit: Make, tmp_path: Path) -> None:
        """An id that was altered in a file, or is of other keys, is read as it stands there."""
        how: dict[str, Any] = {"auto_export_path": tmp_path / "a", "erasable": True}
        with make_audit(**how) as audit:
            _do(audit, "STORE", ENTRY)
            _do(audit, "STORE", OTHER)
        (file,) = (tmp_path / "a").glob("audit_*.json")
        data = file.read_bytes()
        names = [one.encode() for one in FORM.findall(data.decode())]
        changes = [
            (names[0], names[0][:-9] + b"aaaaaaaaa"),
            (names[0], names[0][:-1]),
            (names[0], names[0] + b"a"),
            (names[0], names[0].replace(names[0][15:47], b"0" * 32)),
            (names[0], names[0][:48] + b"7" * 77),
        ]
        for old, new in changes:
            file.write_bytes(data.replace(old, new))
            later = make_audit(**how)
            found = later.query_events(operation="STORE", archived=True)
            assert found[-1].entry_ids in ([new.decode()], [ENTRY])
            assert found[0].entry_ids == [OTHER]
            assert len(later.query_events(entry_ids=[OTHER], archived=True)) == 1
            later.close()
            assert not verify(tmp_path / "a").ok


class TestAccounts:
    def test_receipt(self, make_audit: Make, tmp_path: Path) -> None:
        """A receipt has ids as they are recorded; it sees what remains, and what came back."""
        how = {
            "auto_export_path": tmp_path / "a",
            "erasable": True,
            "signing_key": new_key("trail"),
        }
        audit = make_audit(**how)
        _do(audit, "STORE", ENTRY)
        _derive(audit, SUMMARY, ENTRY)
        forget = _do(audit, "FORGET", ENTRY)
        _do(audit, "STORE", ENTRY)
        audit.seal()
        receipt = audit.receipt(forget.event_id, subject_id=WHO)
        facts = facts_of(receipt)
        assert [bool(FORM.fullmatch(key)) for key in facts["event"]["entry_ids"]] == [True]
        assert facts["seen_again"]["number"] == 1
        remains = {one["kind"]: one.get("entry_ids") for one in facts["remains"]}
        assert len(remains["derived"]) == 1
        told = json.dumps({**facts, "person": None}) + json.dumps(receipt["proof"])
        assert not ID.search(told.encode())

    def test_alerts(self, make_audit: Make, tmp_path: Path) -> None:
        """An alert has what stands for the entries, also one of what a restart has read."""
        how = {"auto_export_path": tmp_path / "a", "erasable": True}
        seen: list[Alert] = []
        for _ in range(2):
            audit = make_audit(**how)
            monitor = SecurityMonitor(audit, on_alert=seen.append)
            _do(audit, "STORE", ENTRY)
            _derive(audit, SUMMARY, ENTRY)
            _do(audit, "FORGET", ENTRY)
            monitor.close()
            audit.close()
        assert seen
        assert all(FORM.fullmatch(key) for alert in seen for key in alert.entry_ids)
        assert not ID.search(_content(tmp_path))

    async def test_reconcile(
        self, make_audit: Make, make_system: MakeSystem, tmp_path: Path
    ) -> None:
        """What is told of a comparison has real ids, and what is recorded of it has none."""
        adapter = ListingAdapter()
        how = {"auto_export_path": tmp_path / "a", "erasable": True, "private_ids": True}
        audit = make_audit(**how)
        memory: Any = make_system(audit_logger=audit, persistent=adapter)
        _, changed, lost = [
            await memory.store(text, tier="persistent", user_id=WHO) for text in "abc"
        ]
        assert (await audit.reconcile(memory)).agrees
        changes = adapter._storage[changed].model_copy(update={"text": "x"})
        adapter._storage[changed] = changes
        del adapter._storage[lost]
        adapter._storage[f"new-{NAMED}"] = MemoryEntry(id=f"new-{NAMED}", text="tea")
        found = (await audit.reconcile(memory)).findings
        told = {kind: [one["entry_id"] for one in some] for kind, some in found.items() if some}
        assert told == {"unrecorded": [f"new-{NAMED}"], "missing": [lost], "altered": [changed]}
        audit.erase_user(WHO)
        after = await audit.reconcile(memory)
        assert not after.findings["missing"]
        assert not after.whole
        audit.close()
        files = _content(tmp_path)
        assert not ID.search(files)
        assert changed.encode() not in files
        assert lost.encode() not in files


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(min_size=1, max_size=70), st.sampled_from([WHO, "a", ".*", "\x00", "🫖"])
        ),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_any_id(keyring: Path, ids: list[str]) -> None:
    """Whatever an id is, it is read as it was given, and found by itself."""
    audit = AuditLogger(name="any", erasable=keyring, registry=CollectorRegistry())
    with audit.operation("STORE", system="notes", owner=WHO, private_ids=True) as op:
        op.saved(*ids)
        op.note(about=list(ids))
    assert op.event is not None
    exact = [key.encode("utf-8", "backslashreplace").decode() for key in ids]
    assert op.event.entry_ids == list(dict.fromkeys(exact))
    assert all(FORM.fullmatch(key) for key in json.loads(op.event.to_json())["entry_ids"])
    for key in ids:
        assert audit.query_events(entry_ids=[key]) == [op.event]
    audit.close()


@pytest.fixture(name="keyring", scope="module")
def _keyring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "k"


def test_while_others_record(make_audit: Make, tmp_path: Path) -> None:
    """An erasure while another thread records leaves no id that reads afterwards."""
    audit = make_audit(auto_export_path=tmp_path / "a", erasable=True)
    _do(audit, "STORE", ENTRY)
    begun, stop = threading.Event(), threading.Event()

    def record() -> None:
        while not stop.is_set():
            _do(audit, "RECALL", ENTRY)
            begun.set()

    thread = threading.Thread(target=record)
    thread.start()
    begun.wait()
    audit.erase_user(WHO)
    stop.set()
    thread.join()
    audit.erase_user(WHO)  # who came back meanwhile
    assert audit.query_events(entry_ids=[ENTRY], archived=True) == []
    assert not ID.search(_content(tmp_path))


def test_names_of_facts(make_audit: Make, tmp_path: Path) -> None:
    """An id may be the name of a fact, also in an event of nobody, which no box encrypts."""
    audit = make_audit(auto_export_path=tmp_path / "a", erasable=True, private_ids=True)
    audit.record("STORE", entry_ids=[ENTRY], metadata={ENTRY: 1, "nested": {ENTRY: 2}})
    audit.close()
    assert not ID.search(_content(tmp_path))
