"""Private entry ids: where an id names somebody, a keyed hash stands for it everywhere."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
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
    AuditConfigError,
    AuditEvent,
    AuditLogger,
    SecurityMonitor,
    audited,
    current_operation,
    verify,
)
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.events.draft import draft
from axon_audit_otel.operations.signals import Signals, use_signals
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms
from axon_audit_otel.verification.receipt import facts_of

KEY, OLD = b"0123456789abcdef0123456789abcdef", b"another secret, of the year before"
WHO, NAMED = "alice-7f3e", "liddell-41c2"  # the owner; and who is named by ids of entries
ENTRY, OTHER, SUMMARY = f"memories/{NAMED}/k1", f"memories/{NAMED}/k2", f"summaries/{NAMED}/s1"
REAL = re.compile(f"{WHO}|{NAMED}".encode(), re.IGNORECASE)


def _hash(entry_id: str, key: bytes = KEY) -> str:
    """What stands for an entry as docs/format.md defines it."""
    mac = hmac.new(key, b"entry:" + entry_id.encode(), hashlib.sha256)
    return "entry-hmac-sha256:" + mac.hexdigest()[:32]


def _content(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())


def _store(audit: AuditLogger, *ids: str, **more: Any) -> AuditEvent:
    with audit.operation("STORE", system="notes", owner=WHO, private_ids=True) as op:
        op.saved(*ids, **more)
    assert op.event is not None
    return op.event


def _store_inside(audit: AuditLogger, *ids: str) -> None:
    with audit.operation("STORE", system="below", private_ids=True) as op:
        op.saved(*ids)


def _recall(audit: AuditLogger, *ids: str) -> None:
    with audit.operation("RECALL", system="notes", owner=WHO, private_ids=True) as op:
        op.found(*ids)


def _forget(audit: AuditLogger, *ids: str) -> AuditEvent:
    with audit.operation("FORGET", system="notes", owner=WHO, private_ids=True) as op:
        op.deleted(*ids)
    assert op.event is not None
    return op.event


@pytest.fixture(name="spans")
def _spans(tracer_provider: TracerProvider) -> Iterator[None]:
    use_signals(Signals.of(tracer_provider))
    yield
    use_signals(None)


class TestNowhere:
    """Whatever leaves the process, or a file of it, has no real id."""

    @pytest.mark.usefixtures("spans")
    async def test_in_no_output(
        self,
        make_audit: Make,
        span_exporter: InMemorySpanExporter,
        log_exporter: InMemoryLogRecordExporter,
        registry: CollectorRegistry,
        caplog: pytest.LogCaptureFixture,
        tmp_path: Path,
    ) -> None:
        """Neither trail, files, intents, spans, log records, metrics nor log lines: not as ids,
        sources, keys, facts, texts or messages, of operations that fail and of parts of others."""
        audit = make_audit(
            auto_export_path=tmp_path,
            pseudonymize=KEY,
            capture_content=True,
            on_failure="block",
            max_event_bytes=16_384,
        )
        written = b""
        store = audit.operation("STORE", system="notes", owner=WHO, private_ids=True)
        with store as op:
            op.saved(OTHER, ENTRY)
            op.saved(SUMMARY, derived_from=[OTHER, ENTRY])
            op.content(texts={ENTRY: f"see {OTHER}", SUMMARY: "tea"}, query=f"what is {ENTRY}?")
            op.note(copies={ENTRY: 2}, nested=[{"about": [ENTRY]}], note=f"({ENTRY})")
            written = (tmp_path / "default.intents").read_bytes()
        with audit.operation("COMPACT", system="notes"):  # a part names people: so does the whole
            _recall(audit, ENTRY)
            compaction = current_operation()
            assert compaction is not None
            compaction.note(about=f"it is {ENTRY}")
        with audit.operation("FORGET", owner=WHO, entry_ids=[ENTRY], private_ids=True) as op:
            op.remaining(OTHER)
            op.partial("still_there", ENTRY)
            op.deleted(ENTRY)
        with (
            pytest.raises(KeyError),
            audit.operation("RECALL", owner=WHO, entry_ids=[ENTRY], private_ids=True),
        ):
            raise KeyError(f"there is no {ENTRY}")
        _store(audit, *(f"{ENTRY}/{number}" for number in range(2_000)))  # more than fit
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
            assert not REAL.search(output), name
        for name in ("files", "trail", "spans", "records"):
            assert _hash(ENTRY).encode() in outputs[name], name
        assert verify(tmp_path).ok

    @pytest.mark.usefixtures("spans")
    @pytest.mark.parametrize("how", ["pseudonymize", "erasable"])
    def test_words_of_nobody(
        self,
        make_audit: Make,
        span_exporter: InMemorySpanExporter,
        log_exporter: InMemoryLogRecordExporter,
        tmp_path: Path,
        how: str,
    ) -> None:
        """Where an event names nobody, the query and what was raised are left out: no key hides an
        id in them that the operation did not report."""
        secret: Any = KEY if how == "pseudonymize" else True
        audit = make_audit(auto_export_path=tmp_path / "a", capture_content=True, **{how: secret})
        asked = audit.operation("RECALL", system="notes", private_ids=True)
        with suppress(KeyError), asked as op:
            op.content(query=f"what is {ENTRY}?")
            raise KeyError(f"there is no {ENTRY}")
        event = only_event(audit)
        assert (event.status, event.error_type) == ("FAILURE", "KeyError")
        left_out = "[left out: it may name an entry, and the event names nobody]"
        assert event.error_message == event.metadata["query"] == left_out
        audit.close()
        outputs = [_content(tmp_path)]
        outputs += [span.to_json().encode() for span in span_exporter.get_finished_spans()]
        outputs += [record.to_json().encode() for record in log_exporter.get_finished_logs()]
        assert len(outputs) > 2
        assert not [output for output in outputs if REAL.search(output)]

    async def test_facts(self, make_audit: Make) -> None:
        """Ids in facts are the hashes that the events have, so that they can be joined."""
        audit = make_audit(pseudonymize=KEY)
        _store(audit, ENTRY)
        _store(audit, SUMMARY, derived_from=[ENTRY])
        event = _forget(audit, ENTRY)
        assert event.entry_ids == [_hash(ENTRY)]
        assert event.metadata["derived_remaining"] == [_hash(SUMMARY)]
        assert event.status == "PARTIAL"
        (made,) = audit.query_events(entry_ids=[SUMMARY])
        assert made.derived_from == (_hash(ENTRY),)

    def test_a_part_is_private(self, make_audit: Make) -> None:
        """An entry that an operation and its private part name is one entry."""
        audit = make_audit(pseudonymize=KEY)
        with audit.operation("STORE", system="notes", entry_ids=[OTHER]) as op:
            op.saved(ENTRY)
            _store_inside(audit, ENTRY)
        event = only_event(audit)
        assert sorted(event.entry_ids) == sorted([_hash(ENTRY), _hash(OTHER)])
        assert not REAL.search(event.to_json())

    def test_what_cannot_be_hidden(self) -> None:
        """It is not recorded."""
        event = draft("STORE", "SUCCESS", entry_ids=[ENTRY], derived_from=[OTHER])
        event.private, event["error_message"] = {}, f"no {ENTRY}"
        event.uncarried = 3  # type: ignore[assignment]
        PrivacyPolicy(pseudonyms=Pseudonyms(KEY)).event(event)
        assert event["entry_ids"] == []
        assert not REAL.search(repr(event).encode())
        assert event["metadata"] == {"dropped": "[details that could not be recorded]"}

    async def test_digest_of_many(self, make_audit: Make, logger_provider: LoggerProvider) -> None:
        """Of more ids than fit the digest is that of the hashes: real ids could be guessed."""
        audit = make_audit(pseudonymize=KEY, private_ids=True, max_event_bytes=16_384)
        ids = [f"{ENTRY}/{number}/{'x' * 80}" for number in range(2_000)]
        event = await audit.log_event("STORE", entry_ids=ids)
        body = {"operation": "STORE", "entry_ids": ids}
        logger_provider.get_logger("theirs").emit(
            LogRecord(event_name="axon.memory.audit", body=body)
        )
        hashed = "\n".join(map(_hash, ids)).encode()
        for one in audit.query_events():
            assert one.metadata["entry_ids_sha256"] == hashlib.sha256(hashed).hexdigest()
        assert event in audit.query_events()

    def test_no_pseudonym_of_a_person(self, make_audit: Make) -> None:
        """An entry that is named as a person is has another hash, and another form."""
        audit = make_audit(pseudonymize=KEY)
        with audit.operation("STORE", system="notes", owner=WHO, private_ids=True) as op:
            op.saved(WHO)
        event = only_event(audit)
        assert event.user_id is not None
        digest = event.user_id.rpartition(":")[2]
        assert event.entry_ids == [_hash(WHO)]
        assert digest not in event.entry_ids[0]
        assert audit.query_events(user_id=_hash(WHO)) == []

    @pytest.mark.parametrize("user", ["entry", "hmac", "sha256", _hash("x")])
    def test_users_of_odd_names(self, make_audit: Make, user: str) -> None:
        """The id of a person that is a part of the form of a hash leaves the hashes as they are."""
        audit = make_audit(pseudonymize=KEY)
        _store(audit, ENTRY)
        _store(audit, SUMMARY, derived_from=[ENTRY])
        with audit.operation("FORGET", owner=user, private_ids=True) as op:
            op.deleted(ENTRY)
        assert op.event is not None
        assert op.event.metadata["derived_remaining"] == [_hash(SUMMARY)]

    def test_texts_of_no_entry(self, make_audit: Make) -> None:
        """A text that belongs to no entry has no fingerprint."""
        audit = make_audit(pseudonymize=KEY)
        with audit.operation("STORE", system="notes", private_ids=True) as op:
            op.saved(ENTRY)
            op.content(texts={"": "a", ENTRY: "b"})
        assert list(only_event(audit).fingerprints or ()) == [_hash(ENTRY)]

    def test_many_entries_in_texts(self, make_audit: Make) -> None:
        """Texts of many entries, each of which names its own and others, take no long time."""
        audit = make_audit(pseudonymize=KEY, capture_content=True)
        ids = [f"{NAMED}/{number}" for number in range(500)]
        with audit.operation("RECALL", system="notes", private_ids=True) as op:
            op.found(ids)
            op.content(texts={key: f"{key}, not {NAMED}/7777; {ids[3]}" for key in ids})
        texts = only_event(audit).metadata["content"]
        assert texts == [f"{_hash(key)}, not {NAMED}/7777; {_hash(ids[3])}" for key in ids]

    def test_a_forged_hash(self, make_audit: Make) -> None:
        """Who names an entry like the hash of another does not get its history."""
        audit = make_audit(pseudonymize=KEY)
        _store(audit, _hash(ENTRY))
        assert audit.query_events(entry_ids=[ENTRY]) == []
        assert only_event(audit).entry_ids == [_hash(_hash(ENTRY))]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.text(min_size=1, max_size=30), st.sampled_from([WHO, "a", ".*", "\x00", "🫖"])
        ),
        min_size=1,
        max_size=4,
        unique=True,
    )
)
def test_any_id(ids: list[str]) -> None:
    """Whatever an id is, it has the hash that is documented, and is found by itself."""
    audit = AuditLogger(name="any", pseudonymize=KEY, registry=CollectorRegistry())
    with audit.operation("STORE", system="notes", private_ids=True) as op:
        op.saved(*ids)
    assert op.event is not None
    exact = [key.encode("utf-8", "backslashreplace").decode() for key in ids]
    assert op.event.entry_ids == list(dict.fromkeys(map(_hash, exact)))
    for key in ids:
        assert audit.query_events(entry_ids=[key]) == [op.event]
    audit.close()


class TestSetting:
    """`private_ids=True`: of all operations."""

    def test_without_a_secret(self, make_audit: Make) -> None:
        """There is nothing to hide them with: the error says what to do."""
        with pytest.raises(AuditConfigError, match="pseudonymize= or erasable="):
            make_audit(private_ids=True)

    def test_without_a_secret_in_an_operation(self, make_audit: Make) -> None:
        """An integration that says it works on a trail that hides nothing."""
        audit = make_audit()
        _store(audit, ENTRY)
        assert only_event(audit).entry_ids == [ENTRY]

    def test_variable(self, make_audit: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("AXON_AUDIT_PRIVATE_IDS", "true")
        monkeypatch.setenv("AXON_AUDIT_PSEUDONYMIZE", KEY.decode())
        audit = make_audit()
        audit.record("STORE", entry_ids=[ENTRY])
        assert only_event(audit).entry_ids == [_hash(ENTRY)]

    async def test_by_hand(self, make_audit: Make) -> None:
        """`log_event` and `record` hide ids, sources, keys of fingerprints, and facts."""
        audit = make_audit(pseudonymize=KEY, private_ids=True)
        await audit.log_event("STORE", user_id=WHO, entry_ids=[ENTRY], fingerprints={ENTRY: "x"})
        event = audit.record(
            "COMPACT",
            entry_ids=[SUMMARY, OTHER],
            derived_from=[ENTRY],
            metadata={"derived": {SUMMARY: [ENTRY], OTHER: [ENTRY]}, "why": f"{ENTRY} is old"},
        )
        assert event.entry_ids == [_hash(SUMMARY), _hash(OTHER)]
        assert event.derived_from == (_hash(ENTRY),)
        assert event.metadata == {
            "derived": {_hash(SUMMARY): [_hash(ENTRY)], _hash(OTHER): [_hash(ENTRY)]},
            "why": f"{_hash(ENTRY)} is old",
        }
        (stored,) = audit.query_events(entry_ids=ENTRY)
        assert stored.fingerprints == {_hash(ENTRY): "x"}

    async def test_records_of_others(
        self, make_audit: Make, logger_provider: LoggerProvider
    ) -> None:
        """So are those of log records of another source; hashes in them stay."""
        audit = make_audit(pseudonymize=KEY, private_ids=True)
        body = {"operation": "STORE", "entry_ids": [ENTRY, _hash(OTHER)], "derived_from": [OTHER]}
        logger_provider.get_logger("theirs").emit(
            LogRecord(event_name="axon.memory.audit", body=body)
        )
        event = only_event(audit)
        assert event.entry_ids == [_hash(ENTRY), _hash(OTHER)]
        assert event.derived_from == (_hash(OTHER),)

    async def test_decorator(self, make_audit: Make) -> None:
        audit = make_audit(pseudonymize=KEY)

        @audited("STORE", audit=audit, ids="key", private_ids=True)
        def put(key: str) -> None: ...

        put(ENTRY)
        assert only_event(audit).entry_ids == [_hash(ENTRY)]

    async def test_axon(self, make_audit: Make, make_system: MakeSystem, tmp_path: Path) -> None:
        """Axon's own ids as well; what is known of an entry is known after a restart."""
        how = {"auto_export_path": tmp_path, "pseudonymize": KEY, "private_ids": True}
        adapter = ListingAdapter()
        first = make_audit(**how)
        memory: Any = make_system(audit_logger=first, persistent=adapter)
        gone = await memory.store("tea", tier="persistent", user_id=WHO)
        kept = await memory.store("tea", tier="persistent", user_id=WHO)
        entry = await adapter.get(gone)
        await memory.forget(gone)
        first.close()
        second = make_audit(**how)
        again: Any = make_system(audit_logger=second, persistent=adapter)
        adapter._storage[gone] = entry
        changed = adapter._storage[kept].model_copy(update={"text": "tea!"})
        adapter._storage[kept] = changed
        await again.recall("tea")
        (read,) = second.query_events(operation="RECALL")
        assert set(read.entry_ids) == {_hash(gone), _hash(kept)}
        assert read.metadata["resurrected"] == [_hash(gone)]
        assert read.metadata["altered"] == [_hash(kept)]
        second.close()
        assert gone.encode() not in _content(tmp_path)
        assert kept.encode() not in _content(tmp_path)


class TestAnswers:
    """Whoever has the secret asks by the real id."""

    def test_in_memory_and_in_files(self, make_audit: Make, tmp_path: Path) -> None:
        """Also what was recorded with an earlier secret, and before there was one."""
        for secret in (None, OLD, KEY):
            with make_audit(auto_export_path=tmp_path, pseudonymize=secret) as audit:
                _store(audit, ENTRY)
                _store(audit, OTHER)
        audit = make_audit(auto_export_path=tmp_path, pseudonymize=[KEY, OLD])
        _recall(audit, ENTRY)
        found = audit.query_events(entry_ids=[ENTRY], archived=True)
        names = [_hash(ENTRY), _hash(ENTRY), _hash(ENTRY, OLD), ENTRY]
        assert [event.entry_ids for event in found] == [[name] for name in names]
        assert audit.query_events(entry_ids=[ENTRY], archived=False) == found[:1]
        assert audit.query_events(entry_ids=[_hash(ENTRY)], archived=True) == found[:2]

    @pytest.mark.parametrize("archived", [True, False])
    def test_lineage_and_influence(self, make_audit: Make, tmp_path: Path, archived: bool) -> None:
        audit = make_audit(auto_export_path=tmp_path, pseudonymize=KEY)
        _store(audit, ENTRY)
        _recall(audit, ENTRY)
        _store(audit, SUMMARY, derived_from=[ENTRY])
        _forget(audit, ENTRY)
        lineage = audit.lineage(ENTRY, archived=archived)
        assert lineage is not None
        assert lineage.entry.entry_id == ENTRY
        assert lineage.entry.state == "gone"
        assert [one.entry_id for one in lineage.descendants] == [_hash(SUMMARY)]
        assert lineage.derived_remaining == (_hash(SUMMARY),)
        influence = audit.influence(ENTRY, archived=archived)
        assert influence.is_named
        assert [one.entry_ids for one in influence.readings] == [[ENTRY]]
        assert [one.entry_id for one in influence.influenced] == [_hash(SUMMARY)]

    def test_known_after_a_restart(self, make_audit: Make, tmp_path: Path) -> None:
        """What a forgotten entry was made into is noticed by the next process too."""
        how = {"auto_export_path": tmp_path, "pseudonymize": KEY}
        with make_audit(**how) as audit:
            _store(audit, ENTRY)
            _store(audit, SUMMARY, derived_from=[ENTRY])
        event = _forget(make_audit(**how), ENTRY)
        assert event.metadata["derived_remaining"] == [_hash(SUMMARY)]

    def test_as_they_were_given(self, make_audit: Make) -> None:
        """An integration that asks what was deleted so far gets ids that its library knows."""
        audit = make_audit(pseudonymize=KEY)
        with audit.operation("FORGET", private_ids=True) as op:
            op.deleted(ENTRY)
            assert op.deleted_ids == (ENTRY,)


@pytest.fixture(name="archive")
def _archive(make_audit: Make, tmp_path: Path) -> Path:
    """An archive with private ids, and a file with its secret beside it."""
    (tmp_path / "secret").write_bytes(KEY)
    with make_audit(auto_export_path=tmp_path / "audit", pseudonymize=KEY) as audit:
        _store(audit, ENTRY)
        _recall(audit, ENTRY)
        _store(audit, SUMMARY, derived_from=[ENTRY])
        _forget(audit, ENTRY)
    return tmp_path / "audit"


class TestCommands:
    @pytest.mark.parametrize(
        "command",
        [
            lambda path: ["query", str(path), "--entry", ENTRY],
            lambda path: ["lineage", ENTRY, str(path), "--json"],
            lambda path: ["influence", ENTRY, str(path), "--json"],
        ],
    )
    def test_by_the_real_id(
        self, cli: Cli, archive: Path, command: Callable[[Path], list[str]]
    ) -> None:
        """With the secret they find the entry; without it they say what is needed."""
        secret = f"@{archive.parent / 'secret'}"
        found = cli(*command(archive), "--pseudonymize", secret, code=None)
        assert found.exit_code in (0, 1)
        assert "FORGET" in found.output or _hash(SUMMARY) in found.output
        without = cli(*command(archive), code=None)
        assert "FORGET" not in without.output
        assert "ids of entries in this archive are hashed: give the secret" in without.stderr

    @pytest.mark.parametrize("command", ["query", "stats", "verify", "alerts"])
    def test_say_no_real_id(self, cli: Cli, archive: Path, command: str) -> None:
        found = cli(command, str(archive), code=None)
        assert not REAL.search(f"{found.output}{found.stderr}".encode())

    def test_hash(self, cli: Cli, archive: Path) -> None:
        """`pseudonym` prints the hash of an entry, to look for it in logs and tables."""
        secret = f"@{archive.parent / 'secret'}"
        found = cli("pseudonym", ENTRY, "--entry", "--pseudonymize", secret)
        assert found.output.strip() == _hash(ENTRY)
        as_json = cli("pseudonym", ENTRY, "--entry", "--pseudonymize", secret, "--json")
        assert json.loads(as_json.output) == {"entry_id": _hash(ENTRY)}
        cli("pseudonym", "a", "--entry", "--session", "--pseudonymize", secret, code=2)


class TestAccounts:
    """What is made of events has no real ids either, and is complete."""

    def test_receipt(self, make_audit: Make, tmp_path: Path) -> None:
        """A receipt sees what remains of a forgotten entry, and that it came back."""
        how = {"pseudonymize": KEY, "signing_key": new_key("trail")}
        audit = make_audit(auto_export_path=tmp_path, **how)
        _store(audit, ENTRY)
        _store(audit, SUMMARY, derived_from=[ENTRY])
        forget = _forget(audit, ENTRY)
        _store(audit, ENTRY)
        audit.seal()
        receipt = audit.receipt(forget.event_id, subject_id=WHO)
        facts = facts_of(receipt)
        assert facts["event"]["entry_ids"] == [_hash(ENTRY)]
        assert facts["seen_again"]["number"] == 1
        remains = {one["kind"]: one.get("entry_ids") for one in facts["remains"]}
        assert remains["derived"] == [_hash(SUMMARY)]
        told = json.dumps({**facts, "person": None}) + json.dumps(receipt["proof"])
        assert not REAL.search(told.encode())

    def test_alerts(self, make_audit: Make) -> None:
        """An alert names the hashes."""
        audit = make_audit(pseudonymize=KEY, private_ids=True)
        seen: list[Alert] = []
        monitor = SecurityMonitor(audit, on_alert=seen.append)
        _store(audit, ENTRY)
        _store(audit, SUMMARY, derived_from=[ENTRY])
        _forget(audit, ENTRY)
        monitor.close()
        assert {key for alert in seen for key in alert.entry_ids} == {_hash(SUMMARY)}
        (recorded,) = [e for e in audit.query_events(operation="AUDIT") if "rule" in e.metadata]
        assert recorded.metadata["entry_ids"] == [_hash(SUMMARY)]


class TestReconcile:
    async def test_with_the_store(
        self, make_audit: Make, make_system: MakeSystem, tmp_path: Path
    ) -> None:
        """A store of real ids is compared with hashed ones: what is told has real ids, and what
        is recorded of it has none."""
        adapter = ListingAdapter()
        audit = make_audit(auto_export_path=tmp_path, pseudonymize=KEY, private_ids=True)
        memory: Any = make_system(audit_logger=audit, persistent=adapter)
        _, changed, lost = [
            await memory.store(text, tier="persistent", user_id=WHO) for text in "abc"
        ]
        assert (await audit.reconcile(memory)).agrees
        changes = adapter._storage[changed].model_copy(update={"text": "x"})
        adapter._storage[changed] = changes
        del adapter._storage[lost]
        adapter._storage[f"new-{NAMED}"] = MemoryEntry(id=f"new-{NAMED}", text="tea")
        audit_later = make_audit(auto_export_path=tmp_path, pseudonymize=KEY, private_ids=True)
        found = (await audit_later.reconcile(memory)).findings
        told = {kind: [one["entry_id"] for one in some] for kind, some in found.items() if some}
        assert told == {
            "unrecorded": [f"new-{NAMED}"],
            "missing": [_hash(lost)],
            "altered": [changed],
        }
        audit.close()
        audit_later.close()
        assert not REAL.search(_content(tmp_path))
        assert changed.encode() not in _content(tmp_path)

    async def test_another_secret(
        self, make_audit: Make, make_system: MakeSystem, tmp_path: Path
    ) -> None:
        """Where no id can be told, nothing is claimed."""
        adapter = ListingAdapter()
        with make_audit(auto_export_path=tmp_path, pseudonymize=KEY, private_ids=True) as audit:
            memory: Any = make_system(audit_logger=audit, persistent=adapter)
            await memory.store("a", tier="persistent")
        other = make_audit(auto_export_path=tmp_path, pseudonymize=OLD)
        with pytest.raises(AuditConfigError, match="hashed"):
            await other.reconcile(make_system(audit_logger=other, persistent=adapter))


async def test_coroutines(make_audit: Make) -> None:
    audit = make_audit(pseudonymize=KEY)
    async with audit.operation("RECALL", private_ids=True) as op:
        op.touched(ENTRY)
    assert only_event(audit).entry_ids == [_hash(ENTRY)]
