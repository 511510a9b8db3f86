"""Pseudonyms: no id of a user or session is recorded, and queries by the real id still work."""

from __future__ import annotations

import hashlib
import hmac
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from axon import Filter
from axon.core.audit import OperationType as SdkOperationType
from conftest import Cli, FaultyAdapter, Make, MakeSystem, history, only_event
from opentelemetry import baggage
from opentelemetry import context as otel_context
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from axon_audit_otel import AuditConfigError, AuditLogger, AxonInstrumentor, audit_context
from axon_audit_otel.events.draft import draft
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms

KEY = b"0123456789abcdef0123456789abcdef"
ALICE, SESSION = "alice-7f3e", "visit-9c41"


def _hash(kind: str, value: str, key: bytes = KEY) -> str:
    """The pseudonym of an id as the documentation defines it."""
    mac = hmac.new(key, f"{kind}:{value}".encode(), hashlib.sha256)
    return "hmac-sha256:" + mac.hexdigest()[:32]


HASH = _hash("user", ALICE)


def _content(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.iterdir())


class TestNowhere:
    """Whatever leaves the process, or a file of it, has no real id."""

    async def test_in_no_output(
        self,
        make_audit: Make,
        make_system: MakeSystem,
        tracer_provider: TracerProvider,
        span_exporter: InMemorySpanExporter,
        log_exporter: InMemoryLogRecordExporter,
        registry: CollectorRegistry,
        caplog: pytest.LogCaptureFixture,
        tmp_path: Path,
    ) -> None:
        """With all content recorded, neither trail, files, spans, log records, metrics nor
        log lines have the ids: not in filters, texts, messages or nested facts."""
        audit = make_audit(
            auto_export_path=tmp_path,
            pseudonymize=KEY,
            capture_content=True,
            on_failure="block",
            baggage_identity=True,
        )
        AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)
        faulty = FaultyAdapter()
        memory: Any = make_system(persistent=faulty)
        intents = tmp_path / "default.intents"
        with audit_context(user_id=ALICE, session_id=SESSION):
            entry_id = await memory.store(f"{ALICE} likes tea")
            await memory.recall(f"what does {ALICE.upper()} like?")
            await memory.export(filter=Filter(user_id=ALICE))
        await memory.store("x", metadata={"user_id": ALICE, "session_id": SESSION})
        token = otel_context.attach(baggage.set_baggage("user.id", ALICE))
        await memory.recall("from afar")
        otel_context.detach(token)
        faulty.faults = {"get": ValueError(f"cannot find what {ALICE} said in {SESSION}")}
        with pytest.raises(ValueError, match="cannot find"):
            await memory.forget(entry_id, user_id=ALICE, session_id=SESSION)
        written = intents.read_bytes()
        await audit.log_event(
            "STORE",
            user_id=ALICE,
            subject_id=ALICE,
            metadata={
                "filter": {"user_id": ALICE, "tags": [f"of:{ALICE}"]},
                "nested": [{ALICE: [{"actor": ALICE}]}],
                "note": f"({ALICE})",
            },
            error_message=f"user {ALICE} has no quota",
        )
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
            for real in (ALICE, SESSION):
                assert real.encode() not in output.lower(), name
        for name in ("files", "trail", "spans", "records"):
            assert HASH.encode() in outputs[name], name

    async def test_a_filter_names_somebody_else(
        self, make_audit: Make, make_system: MakeSystem
    ) -> None:
        """Whose data it was is hashed as who acts is: the two can be joined."""
        audit = make_audit(pseudonymize=KEY)
        memory: Any = make_system(audit_logger=audit)
        await memory.store("hers", user_id=ALICE)
        with audit_context(user_id="support"):
            await memory.export(filter=Filter(user_id=ALICE))

        event = only_event(audit, operation="EXPORT")
        assert event.subject_id == HASH
        assert event.user_id == _hash("user", "support")
        assert audit.query_events(subject_id=ALICE, operation="EXPORT") == [event]


class TestSignals:
    async def test_owners_in_texts(
        self,
        make_audit: Make,
        make_system: MakeSystem,
        tracer_provider: TracerProvider,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """In the texts of a span the owners of entries are hashed, as in those of the event."""
        audit = make_audit(pseudonymize=KEY, capture_content=True)
        AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)
        memory: Any = make_system(audit_logger=audit)
        await memory.store(f"{ALICE} likes tea", user_id=ALICE)
        with audit_context(user_id="support"):
            await memory.recall("tea")
            with suppress(KeyError), audit.operation("RECALL", system="notes") as op:
                op.found("k1", owner=ALICE)
                op.content(query=f"does {ALICE} like tea?", texts={"k1": f"{ALICE} does"})
                raise KeyError(f"{ALICE} is not there")
        spans = "".join(span.to_json() for span in span_exporter.get_finished_spans())
        assert ALICE not in spans
        assert spans.count(f"{HASH} likes tea") == 2
        assert f"{HASH} is not there" in spans

    async def test_attributes(
        self,
        make_audit: Make,
        make_system: MakeSystem,
        tracer_provider: TracerProvider,
        span_exporter: InMemorySpanExporter,
        log_exporter: InMemoryLogRecordExporter,
    ) -> None:
        """Spans and records carry user.hash instead of user.id; the session is hashed too."""
        audit = make_audit(pseudonymize=KEY)
        AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)
        memory: Any = make_system()
        await memory.store("hers", user_id=ALICE, session_id=SESSION)

        (span,) = span_exporter.get_finished_spans()
        (record,) = log_exporter.get_finished_logs()
        for attributes in (span.attributes, record.log_record.attributes):
            assert attributes is not None
            assert attributes["user.hash"] == HASH
            assert attributes["session.id"] == _hash("session", SESSION)
            assert "user.id" not in attributes
        assert record.log_record.attributes is not None
        assert record.log_record.attributes["audit.actor.id"] == HASH
        event = only_event(audit)
        assert (event.user_id, event.session_id) == (HASH, _hash("session", SESSION))

    async def test_off_by_default(
        self, audit: AuditLogger, log_exporter: InMemoryLogRecordExporter
    ) -> None:
        """Without a secret, ids are what they are."""
        await audit.log_event("STORE", user_id=ALICE)
        (record,) = log_exporter.get_finished_logs()
        assert record.log_record.attributes is not None
        assert record.log_record.attributes["user.id"] == ALICE
        assert "user.hash" not in record.log_record.attributes

    @pytest.mark.parametrize("attribute", ["user.id", "user.hash", "audit.actor.id"])
    def test_record_of_another_source(
        self, make_audit: Make, logger_provider: LoggerProvider, attribute: str
    ) -> None:
        """Ids of other sources are hashed too, unless they are hashed already."""
        audit = make_audit(pseudonymize=KEY)
        for value in (ALICE, HASH):
            logger_provider.get_logger("other").emit(
                LogRecord(
                    event_name="axon.memory.audit",
                    attributes={attribute: value, "enduser.id": value, "session.id": SESSION},
                )
            )
        assert [event.user_id for event in audit.query_events()] == [HASH, HASH]
        assert [event.metadata for event in audit.query_events()] == [{"enduser.id": HASH}] * 2


class TestQueries:
    async def test_by_the_real_id(
        self, make_audit: Make, cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Every way to ask takes the real id, and the pseudonym as well."""
        audit = make_audit(auto_export_path=tmp_path / "a", pseudonymize=KEY, max_events=2)
        (tmp_path / "key").write_bytes(KEY + b"\n")
        for user in (ALICE, "bob", ALICE):
            await audit.log_event("STORE", user_id=user, session_id=SESSION)

        for user in (ALICE, HASH):
            assert len(audit.query_events(user_id=user)) == 1
            assert len(audit.query_events(user_id=user, archived=True)) == 2
            assert len(await audit.get_events(user_id=user)) == 1
            assert audit.get_user_statistics(user)["total_operations"] == 1
        assert len(audit.query_events(session_id=SESSION, archived=True)) == 3
        assert audit.query_events(user_id=SESSION, archived=True) == []
        assert audit.query_events(user_id="nobody", archived=True) == []
        audit.close()
        secret = ["--pseudonymize", f"@{tmp_path / 'key'}"]
        for command in (["query", tmp_path / "a", "--user", ALICE], ["stats", tmp_path / "a"]):
            assert HASH[:20] in cli(*command, *secret, "--json").stdout
        assert len(cli("query", tmp_path / "a", "--user", ALICE, "--json", *secret).stdout) > 9
        assert cli("query", tmp_path / "a", "--user", ALICE, "--json").stdout == ""
        assert cli("pseudonym", ALICE, *secret).stdout == HASH + "\n"
        assert json.loads(cli("pseudonym", SESSION, "--session", "--json", *secret).stdout) == {
            "session.id": _hash("session", SESSION)
        }

    async def test_what_was_recorded_before(self, make_audit: Make, tmp_path: Path) -> None:
        """After the setting was switched on, and after its secret was changed, one query
        finds what each of them recorded."""
        old, new = b"o" * 32, b"n" * 32
        for settings in ({}, {"pseudonymize": old}, {"pseudonymize": [new, old]}):
            audit = make_audit(auto_export_path=tmp_path, **settings)
            await audit.log_event("STORE", user_id=ALICE)
            audit.close()
        found = audit.query_events(user_id=ALICE, archived=True)
        expected = [_hash("user", ALICE, new), _hash("user", ALICE, old), ALICE]
        assert [event.user_id for event in found] == expected

    async def test_wrong_secret(self, make_audit: Make, tmp_path: Path) -> None:
        """Whoever has another secret, or none, does not find the user."""
        audit = make_audit(auto_export_path=tmp_path, pseudonymize=KEY)
        await audit.log_event("STORE", user_id=ALICE)
        audit.close()
        for settings in ({"pseudonymize": b"another secret of some length"}, {}):
            other = make_audit(auto_export_path=tmp_path, **settings)
            assert other.query_events(user_id=ALICE, archived=True) == []
            other.close()


class TestHostileIds:
    @pytest.mark.parametrize(
        "user",
        [
            "",
            "a",
            "用户一",
            "naïve\u0301",
            "\ud800",
            "a\0b",
            '"quoted"',
            "(.*)+$",
            "[x",
            "x" * 10**6,
        ],
    )
    async def test_any_id(self, make_audit: Make, user: str) -> None:
        """An id of any form and size is hashed, found again, and gone from texts."""
        audit = make_audit(pseudonymize=KEY)
        await audit.log_event("STORE", user_id=user, metadata={"note": f"by {user}!"})
        await audit.log_event("STORE", user_id="somebody else", metadata={"note": "xx"})

        event = only_event(audit, user_id=user)
        assert event.user_id is not None
        assert event.user_id.startswith("hmac-sha256:")
        assert len(event.user_id) == len(HASH)
        masked = f"by {event.user_id if user else ''}!"
        assert event.metadata == {"note": masked} or len(user) > 512
        assert "xxxx" not in str(event.metadata)

    async def test_prefixes_of_each_other(self, make_audit: Make) -> None:
        """An id within a longer one is another user's, in queries and in texts."""
        audit = make_audit(pseudonymize=KEY)
        users = ["user1", "user12", "user123"]
        for user in users:
            await audit.log_event("STORE", user_id=user, metadata={"note": "user12 wrote"})
        notes = [event.metadata["note"] for event in history(audit)]
        assert notes == ["user12 wrote", f"{_hash('user', 'user12')} wrote", "user12 wrote"]
        assert [len(audit.query_events(user_id=user)) for user in users] == [1, 1, 1]

    async def test_one_that_looks_like_a_pseudonym(self, make_audit: Make) -> None:
        """A user who calls himself by another's pseudonym is not taken for that one."""
        audit = make_audit(pseudonymize=KEY)
        await audit.log_event("STORE", user_id=HASH)
        assert audit.query_events(user_id=ALICE) == []
        assert only_event(audit, user_id=HASH).user_id == _hash("user", HASH)

    async def test_numbers_and_lists(self, make_audit: Make) -> None:
        """Facts that name users are hashed whatever their form is."""
        audit = make_audit(pseudonymize=KEY)
        given = {"user_id": 42, "Actor": ["7", 8], "session": None, "owner": True, "k": 42}
        await audit.log_event("STORE", user_id="42", metadata=given)
        assert only_event(audit).metadata == {
            "user_id": _hash("user", "42"),
            "Actor": [_hash("user", "7"), _hash("user", "8")],
            "session": None,
            "owner": True,
            "k": 42,
        }

    async def test_tiers(self, make_audit: Make, make_system: MakeSystem) -> None:
        """The tier that is called "session" is none: its numbers and its place are as they are."""
        audit = make_audit(pseudonymize=KEY)
        memory: Any = make_system(audit_logger=audit, session=FaultyAdapter())
        await memory.store("tea", user_id="ada", session_id="s1", tier="session")
        exported = await memory.export()
        await memory.import_from(exported, tier_mapping={"session": "persistent"})
        _, export, imported = history(audit)
        assert export.metadata["by_tier"]["session"] == 1
        assert imported.metadata["tier_mapping"] == {"session": "persistent"}

    async def test_called_by_the_sdk(self, make_audit: Make) -> None:
        """Ids that the SDK itself logs are hashed as well."""
        audit = make_audit(pseudonymize=KEY)
        await audit.log_event(SdkOperationType.STORE, user_id=ALICE, metadata={"user_id": ALICE})
        assert ALICE not in only_event(audit).to_json().decode()


class TestSecret:
    """The setting: what it takes, and that it is told to nobody."""

    def test_every_form(
        self, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Bytes, text, a path, "@path" and the variable are the same secret."""
        (tmp_path / "key").write_bytes(KEY + b"\r\n")
        (tmp_path / "binary").write_bytes(bytes(range(256)))
        forms = [KEY, KEY.decode(), tmp_path / "key", f"@{tmp_path / 'key'}", [KEY]]
        made = [make_audit(pseudonymize=form).settings.pseudonymize for form in forms]
        for value in (KEY.decode(), f"@{tmp_path / 'key'}"):
            monkeypatch.setenv("AXON_AUDIT_PSEUDONYMIZE", value)
            made.append(make_audit().settings.pseudonymize)
        assert {secret.user(ALICE) for secret in made if secret} == {HASH}
        binary = make_audit(pseudonymize=tmp_path / "binary").settings.pseudonymize
        assert binary is not None
        assert binary.user(ALICE) == _hash("user", ALICE, bytes(range(256)))

    @pytest.mark.parametrize(
        "value", [b"", [], 5, [b"secret-quetzal", b""], [b"secret-quetzal", 3]]
    )
    def test_impossible(self, make_audit: Make, value: Any) -> None:
        """A value that is no secret is refused, and a secret is not shown."""
        with pytest.raises(AuditConfigError, match=r"^pseudonymize=\(a secret\): must") as said:
            make_audit(pseudonymize=value)
        assert "quetzal" not in str(said.value)

    def test_no_file(self, make_audit: Make, cli: Cli, tmp_path: Path) -> None:
        """Of a file that is missing the directory is named: its name may be the secret."""
        with pytest.raises(AuditConfigError, match=r"the file in .* cannot be read: No such") as no:
            make_audit(pseudonymize=f"@{tmp_path}/nowhere")
        assert str(tmp_path) in str(no.value)
        assert "nowhere" not in str(no.value)
        (tmp_path / "empty").touch()
        with pytest.raises(AuditConfigError, match="must not be empty"):
            make_audit(pseudonymize=tmp_path / "empty")
        said = cli("pseudonym", ALICE, "--pseudonymize", f"@{tmp_path}/nowhere", code=2).stderr
        assert "cannot be read" in said
        said = cli("pseudonym", ALICE, code=2).stderr
        assert "AXON_AUDIT_PSEUDONYMIZE" in said

    def test_is_not_shown(
        self, make_audit: Make, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        """Neither the settings nor the warning of a short secret show it."""
        audit = make_audit(pseudonymize="short-quetzal", auto_export_path=tmp_path)
        assert "quetzal" not in repr(audit.settings)
        assert "short" in caplog.text
        assert "quetzal" not in caplog.text
        assert b"quetzal" not in _content(tmp_path)


@pytest.mark.parametrize("name", ["derived_remaining", "deleted"])
def test_called_like_a_fact(make_audit: Make, name: str) -> None:
    """Who is called so, or names an entry so, does not hide what is found."""
    audit = make_audit(pseudonymize=KEY)
    for owner, entry in ((name, "k1"), ("alice", name)):
        with audit.operation("FORGET", owner=owner, private_ids=True) as op:
            op.deleted(entry)
            op.note(derived_remaining=["k2"])
        assert op.event is not None
        assert op.event.metadata.keys() == {"deleted", "derived_remaining"}
    assert audit.get_statistics()["findings"] == {"derived_remaining": 2}


def test_called_like_a_record() -> None:
    """What the trail itself says is still told by its name."""
    policy = PrivacyPolicy(pseudonyms=Pseudonyms(KEY))
    event = draft("AUDIT", "SUCCESS", user_id="access", metadata={"record": "access"})
    policy.event(event)
    assert event["metadata"] == {"record": "access"}
