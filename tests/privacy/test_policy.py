"""The door of privacy: every field of an event is declared, and no id goes out as it came."""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import pytest
from amounts import examples
from conftest import Cli, Make, only_event
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditEvent, AuditLogger, audit_context
from axon_audit_otel.events.draft import draft, intent
from axon_audit_otel.events.model import FIELD_KINDS, fields_of

PERSONS = fields_of("person", "persons")
HIDDEN = (*PERSONS, *fields_of("session"))


def _record(provider: LoggerProvider, **body: Any) -> None:
    provider.get_logger("test").emit(LogRecord(event_name="axon.memory.audit", body=body))


def test_every_field_is_declared() -> None:
    """A new field of the event says what it holds: until then this fails."""
    assert tuple(FIELD_KINDS) == AuditEvent.__struct_fields__


def test_ids_are_declared_as_ids() -> None:
    """A field that is named as an id of somebody is one, and no id of a machine is."""
    named = {name for name in FIELD_KINDS if name.endswith(("user_id", "subject_id", "agent_id"))}
    assert named | {"subjects", "on_behalf_of"} == set(PERSONS)


#: An id as an application has it; it begins so that nothing else can be taken for it.
_IDS = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), max_size=20).map(
    lambda text: f"canary{text}"
)


@pytest.mark.parametrize("setting", [{"pseudonymize": "s" * 32}, {"erasable": True}])
@given(ids=st.lists(_IDS, min_size=len(HIDDEN) + 1, max_size=len(HIDDEN) + 1, unique=True))
@settings(
    max_examples=examples(25),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_no_id_goes_out(
    setting: dict[str, Any], ids: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Neither trail, files, intents, log records nor log lines have the ids of any field, though
    names, facts and words repeat them; and who may read has them all back."""
    caplog.clear()
    caplog.set_level(logging.DEBUG, logger="axon_audit_otel")
    given = dict(zip(HIDDEN, ids))
    body: dict[str, Any] = {**given, "subjects": [given["subjects"], ids[-1]]}
    words = " and ".join(ids)
    exporter = InMemoryLogRecordExporter()
    provider = LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    with tempfile.TemporaryDirectory() as place:
        logs = Path(place) / "logs"
        audit = AuditLogger(
            auto_export_path=logs,
            on_failure="block",
            logger_provider=provider,
            registry=CollectorRegistry(),
            **setting,
        )
        audit.trail.record_intent(intent("STORE", **{name: given.get(name) for name in HIDDEN}))
        intents = (logs / "default.intents").read_bytes()
        said: dict[str, Any] = {
            **body,
            "purpose": f"asked by {words}",
            "error_message": f"no {words}",
            "metadata": {"note": words, "user": given["user_id"]},
        }
        made = draft("STORE", "SUCCESS", trail=audit.trail, action="Memory.melt", **said)
        audit.trail.policy.event(made)
        audit.emit(made)
        names = {"operation": f"MELT {ids[0]}", "action": f"Memory.melt({ids[-2]})"}
        _record(provider, **said, **names)
        foreign, own = audit.query_events()
        audit.close()
        outputs = {
            "trail": foreign.to_json() + own.to_json(),
            "files": b"".join(path.read_bytes() for path in logs.iterdir()),
            "intents": intents,
            "records": exporter.get_finished_logs()[0].to_json().encode(),
            "log": caplog.text.encode(),
        }
        if "erasable" in setting:  # and back
            whole = {**given, "subjects": tuple(body["subjects"])}
            for event in (foreign, own):
                assert {name: getattr(event, name) for name in given} == whole
                assert event.purpose == f"asked by {words}"
        assert audit.query_events(subject_id=ids[-1]) == [foreign, own]
        assert audit.query_events(user_id=given["user_id"], archived=True) == [foreign, own]
    for name, output in outputs.items():
        assert b"canary" not in output.lower(), name


def test_persons_of_an_event_are_erased_one_by_one(
    make_audit: Make, logger_provider: LoggerProvider, tmp_path: Path, cli: Cli
) -> None:
    """The rest of an event is readable as long as the keys of all who act are there; of its
    subjects each has a key, and the ids of the others stay."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True)
    _record(
        logger_provider,
        operation="EXPORT",
        user_id="ann",
        subjects=["bob", "ann", "cyd", "bob"],
        agent_id="bot-7",
        on_behalf_of="dee",
        purpose="a request of hers",
        metadata={"k": 1},
    )
    (event,) = audit.query_events(subject_id="cyd", archived=True)
    assert event.subjects == ("bob", "ann", "cyd")
    assert (event.agent_id, event.on_behalf_of, event.purpose) == (
        "bot-7",
        "dee",
        "a request of hers",
    )
    with audit_context(user_id="officer"):
        assert audit.erase_user("cyd")
    (event,) = audit.query_events(subject_id="bob", archived=True)
    assert event.subjects[:2] == ("bob", "ann")
    assert event.subjects[2].startswith("erasable:")
    assert (event.user_id, event.agent_id, event.on_behalf_of) == ("ann", "bot-7", "dee")
    assert (event.purpose, event.metadata) == ("a request of hers", {"k": 1})
    assert audit.query_events(subject_id="cyd", archived=True) == []
    assert audit.erase_user("dee")
    (event,) = audit.query_events(subject_id="bob", archived=True)
    assert (event.user_id, event.agent_id) == ("ann", "bot-7")
    assert (event.purpose, list(event.metadata)) == (None, ["erasable"])
    audit.close()
    assert '"bot-7"' in cli("query", tmp_path / "logs", "--subject", "ann", "--json").stdout
    cli("verify", tmp_path / "logs")


def test_the_system_is_never_encrypted(
    make_audit: Make, logger_provider: LoggerProvider, tmp_path: Path
) -> None:
    """Library, store and method are readable without a key."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True)
    _record(
        logger_provider,
        operation="STORE",
        user_id="ann",
        system="mem0",
        store="s",
        action="mem0.add",
    )
    assert b'"action":"mem0.add","system":"mem0","store":"s"' in only_event(audit).to_json()
