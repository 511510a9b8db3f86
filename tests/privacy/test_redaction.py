"""What may be recorded: no content unless switched on, and then without personal data."""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from axon import Filter, MemorySystem
from axon.core.adapter_registry import AdapterRegistry
from axon.core.config import MemoryConfig
from conftest import FaultyAdapter, ListingAdapter, Make, only_event
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from axon_audit_otel import AuditLogger, AxonInstrumentor

CANARY = "canary5e1f"
GENAI = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"


class Scene:
    """A real system in which everything that can carry content carries the canary."""

    def __init__(
        self,
        audit: AuditLogger,
        tiered: MemoryConfig,
        spans: InMemorySpanExporter,
        logs: InMemoryLogRecordExporter,
        registry: CollectorRegistry,
        archive: Path,
    ) -> None:
        self.audit = audit
        self._spans, self._logs = spans, logs
        self._registry, self._archive = registry, archive
        self._faulty = FaultyAdapter()
        adapters = AdapterRegistry()
        adapters.register("persistent", "memory", adapter_instance=self._faulty)
        for tier in ("session", "ephemeral"):
            adapters.register(tier, "memory", adapter_instance=ListingAdapter())
        self.memory: Any = MemorySystem(tiered, registry=adapters)

    async def play(self) -> None:
        """Every operation, once in vain for a reason that quotes the canary."""
        memory, text = self.memory, f"the {CANARY} sings"
        entry_id = await memory.store(text, user_id="alice")
        await memory.store(text + " twice", metadata={"note": CANARY, "user_id": "bob"})
        await memory.recall(f"{CANARY} sings")
        exported = await memory.export()
        await memory.import_from(exported, overwrite=True)
        await memory.import_data([f"new {CANARY}"])
        await memory.sync("persistent", "session")
        await memory.compact("persistent", threshold=1, dry_run=True)
        async with memory.transaction():
            await memory.store(f"in a transaction {CANARY}")
        await memory.forget(filter=Filter(user_id="bob"))
        await memory.forget(entry_id)
        error = ValueError(f"cannot digest {CANARY}")
        self._faulty.faults = dict.fromkeys(("save", "query", "get", "delete", "list_ids"), error)
        for call in (
            lambda: memory.store(text, tier="persistent"),
            lambda: memory.recall(CANARY),
            lambda: memory.export(),
            lambda: memory.import_from(exported, overwrite=True),
            lambda: memory.sync("persistent", "session"),
            lambda: memory.compact("persistent", threshold=0),
            lambda: memory.forget(entry_id),
            lambda: memory.router.route_forget(entry_id=entry_id),
            lambda: memory.store("", tags=["empty"]),
            self._fail_in_transaction,
        ):
            try:
                await call()
            except Exception:
                continue
        self.audit.close()

    async def _fail_in_transaction(self) -> None:
        async with self.memory.transaction():
            raise LookupError(f"no {CANARY}")

    def events(self) -> str:
        """All that the trail, its files and its log records say."""
        files = [file.read_text() for file in sorted(self._archive.iterdir())]
        records = [log.to_json() for log in self._logs.get_finished_logs()]
        events = [event.to_json().decode() for event in self.audit.query_events()]
        assert len(events) >= 20
        assert len(records) == len(events)
        assert files
        return "\n".join(files + records + events)

    def spans(self) -> str:
        """All that the spans say."""
        spans = self._spans.get_finished_spans()
        assert len(spans) >= 20
        return "\n".join(span.to_json() for span in spans)

    def metrics(self) -> str:
        return generate_latest(self._registry).decode()


@pytest.fixture(name="scene")
def _scene(
    make_audit: Make,
    tiered_config: MemoryConfig,
    tracer_provider: TracerProvider,
    span_exporter: InMemorySpanExporter,
    log_exporter: InMemoryLogRecordExporter,
    registry: CollectorRegistry,
    tmp_path: Path,
) -> Callable[..., Scene]:
    """Makes the scene for an audit logger of chosen settings."""

    def make(**settings: Any) -> Scene:
        archive = tmp_path / "archive"
        audit = make_audit(auto_export_path=archive, **settings)
        AxonInstrumentor().instrument(audit_logger=audit, tracer_provider=tracer_provider)
        return Scene(audit, tiered_config, span_exporter, log_exporter, registry, archive)

    return make


class TestContent:
    async def test_none_by_default(
        self,
        scene: Callable[..., Scene],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """Nothing of texts, queries, custom metadata or exception messages gets into the
        trail, its files, the log records, the spans, the metrics or our own log lines."""
        played = scene()
        await played.play()
        ours = [r.getMessage() for r in caplog.records if r.name.startswith("axon_audit_otel")]
        for output in (played.events(), played.spans(), played.metrics(), "\n".join(ours)):
            assert CANARY not in output

    @pytest.mark.parametrize(
        ("mode", "on_spans", "on_events"),
        [
            (True, True, True),
            ("SPAN_AND_EVENT", True, True),
            ("SPAN_ONLY", True, False),
            ("EVENT_ONLY", False, True),
            ("NO_CONTENT", False, False),
            (False, False, False),
        ],
    )
    async def test_where_it_is_switched_on(
        self, scene: Callable[..., Scene], mode: Any, on_spans: bool, on_events: bool
    ) -> None:
        """Content goes exactly where the setting says, and never into metrics."""
        played = scene(capture_content=mode)
        await played.play()
        assert (CANARY in played.spans()) == on_spans
        assert (CANARY in played.events()) == on_events
        assert CANARY not in played.metrics()

    @pytest.mark.parametrize(
        ("value", "on_spans", "on_events"),
        [
            ("true", True, True),
            ("false", False, False),
            ("span_and_event", True, True),
            ("SPAN_ONLY", True, False),
            ("EVENT_ONLY", False, True),
            ("NO_CONTENT", False, False),
        ],
    )
    async def test_variable_of_opentelemetry(
        self,
        scene: Callable[..., Scene],
        monkeypatch: pytest.MonkeyPatch,
        value: str,
        on_spans: bool,
        on_events: bool,
    ) -> None:
        """OpenTelemetry's own variable switches it in both of its dialects."""
        monkeypatch.setenv(GENAI, value)
        played = scene()
        await played.play()
        assert (CANARY in played.spans()) == on_spans
        assert (CANARY in played.events()) == on_events

    async def test_what_is_captured(
        self, scene: Callable[..., Scene], span_exporter: InMemorySpanExporter
    ) -> None:
        """Switched on, texts, queries and messages are each where one looks for them."""
        played = scene(capture_content=True)
        await played.play()
        found = played.audit.query_events(operation="RECALL", status="SUCCESS")[0]
        assert found.metadata["query"] == f"{CANARY} sings"
        assert found.metadata["content"][0] == f"the {CANARY} sings"
        failed = played.audit.query_events(operation="STORE", status="FAILURE")
        assert f"cannot digest {CANARY}" in {event.error_message for event in failed}
        spans = span_exporter.get_finished_spans()
        queries = [(span.attributes or {}).get("gen_ai.memory.query.text") for span in spans]
        assert f"{CANARY} sings" in queries
        messages = {span.status.description for span in spans}
        assert f"cannot digest {CANARY}" in messages

    async def test_failing_summarizer(self, scene: Callable[..., Scene], make_audit: Make) -> None:
        """What a summariser or an embedder says when it fails is content as well."""
        played = scene()

        class Broken:
            async def summarize(self, *args: Any, **kwargs: Any) -> str:
                raise RuntimeError(f"model refused: {CANARY}")

        for number in range(4):
            await played.memory.store(f"{CANARY} {number}", importance=0.1)
        try:
            await played.memory.compact("persistent", threshold=1, summarizer=Broken())
        except Exception:  # the SDK may raise it or count it
            assert played.audit.query_events(operation="COMPACT")
        (event,) = played.audit.query_events(operation="COMPACT")
        assert CANARY not in event.to_json().decode()

    async def test_of_a_record_from_elsewhere(
        self, audit: AuditLogger, logger_provider: LoggerProvider
    ) -> None:
        """Personal data in somebody else's record is redacted like ours."""
        logger_provider.get_logger("theirs").emit(
            LogRecord(
                event_name="axon.memory.audit",
                body={
                    "operation": "STORE",
                    "metadata": {"from": "mallory@example.com"},
                    "error_message": "no reply from mallory@example.com",
                },
            )
        )
        assert "mallory" not in only_event(audit).to_json().decode()


class TestHook:
    async def test_sees_every_text(self, make_audit: Make) -> None:
        """The hook is given every free text: values, keys, nested ones, messages."""
        seen: list[str] = []

        def hook(text: str) -> str:
            seen.append(text)
            return f"<{len(text)}>"

        audit = make_audit(redact=hook)
        event = await audit.log_event(
            "STORE",
            user_id="alice",
            entry_ids=["e1"],
            metadata={"value": "flat", "list": ["item"], "deep": {"inner": ["leaf"]}, "n": 5},
            status="FAILURE",
            error_message="message",
        )
        assert {"flat", "item", "leaf", "message"} <= set(seen)
        assert {"value", "list", "deep", "inner", "n"} <= set(seen)
        assert {"alice", "e1"}.isdisjoint(seen)  # identity is what an audit is for
        assert event.error_message == "<7>"
        text = event.to_json().decode()
        words = ("flat", "item", "leaf", "message:", '"value"', '"list"', "deep", "inner", '"n"')
        assert not any(word in text for word in words)

    async def test_sees_a_value_that_was_a_name(self, make_audit: Make) -> None:
        """A text is redacted also if a fact has had it for its name, which is redacted too:
        facts that then share a name are all kept."""
        audit = make_audit(redact=lambda text: text.replace("alice", "<X>"))
        for metadata in ({"alice": 3, "<X>": 4}, {"deep": {"alice": 3, "<X>": 4}}) * 2:
            event = await audit.log_event("STORE", metadata=metadata)
            assert event.metadata.get("deep", event.metadata) == {"<X>": 3, "<X> (2)": 4}
            event = await audit.log_event("STORE", metadata={"by": "alice", "list": ["alice"]})
            assert event.metadata == {"by": "<X>", "list": ["<X>"]}

    async def test_names_of_operations(self, scene: Callable[..., Scene]) -> None:
        """What operations note about themselves has its name whatever the hook does."""
        played = scene(redact=lambda text: "***")
        await played.play()
        for operation, name in (("STORE", "importance"), ("RECALL", "k"), ("EXPORT", "by_tier")):
            for event in played.audit.query_events(operation=operation, status="SUCCESS"):
                assert name in event.metadata

    async def test_content(self, scene: Callable[..., Scene]) -> None:
        """Content that is switched on goes through the hook, on spans and in events."""
        played = scene(capture_content=True, redact=lambda text: text.replace(CANARY, "***"))
        await played.play()
        for output in (played.events(), played.spans()):
            assert CANARY not in output
            assert "the *** sings" in output

    async def test_raises(
        self, scene: Callable[..., Scene], caplog: pytest.LogCaptureFixture
    ) -> None:
        """A hook that raises costs the text, never the operation or the event; it is
        counted each time, logged once, and not with the text."""

        def broken(text: str) -> str:
            raise RuntimeError(f"cannot redact {text}")

        played = scene(capture_content=True, redact=broken)
        await played.play()
        for output in (played.events(), played.spans()):
            assert CANARY not in output
            assert "[REDACTED:error]" in output
        assert played.audit.get_statistics()["failures"]["redact"] > 10
        ours = [r.getMessage() for r in caplog.records if r.name == "axon_audit_otel"]
        assert len([line for line in ours if "redact failed" in line]) == 1
        assert CANARY not in "".join(ours)

    @pytest.mark.parametrize("answer", [None, 5, b"bytes", ["list"], "\ud800", "x" * 100_000])
    async def test_answers_something_else(self, make_audit: Make, answer: Any) -> None:
        """What the hook answers is text in the end, bounded and UTF-8, whatever it is."""
        audit = make_audit(redact=lambda text: answer)
        event = await audit.log_event("STORE", metadata={"k": "text", "l": "text"})
        assert list(map(type, event.metadata.values())) == [str, str]
        assert len(event.to_json()) < 20_000
        assert audit.query_events() == [event]

    async def test_personal_data_in_its_answer(self, make_audit: Make) -> None:
        """The default redaction follows the hook, unless it is switched off."""
        event = await make_audit(redact=str.upper).log_event(
            "STORE", metadata={"k": "mail bob@example.com"}
        )
        assert event.metadata == {"K": "MAIL [REDACTED:email]"}
        audit = make_audit(redact=str.upper, redact_pii=False)
        event = await audit.log_event("STORE", metadata={"k": "mail bob@example.com"})
        assert event.metadata == {"K": "MAIL BOB@EXAMPLE.COM"}


# --- personal data -------------------------------------------------------------------------

EMAILS = [
    "alice@example.com",
    "a.b-c+tag@mail.example.co.uk",
    "O_Brien%x@sub.domain.museum",
    "jürgen@exämple.de",
    "用户@例子.公司",
]
PHONES = [
    "555-123-4567",
    "555.123.4567",
    "555 123 4567",
    "(555) 123-4567",
    "(555)123-4567",
    "+1 555 123 4567",
    "+1-555-123-4567",
    "+1 (555) 123-4567",
    "1-555-123-4567",
    "+15551234567",
    "+44 20 7946 0958",
    "+44 (0)20 7946 0958",
    "+49 30 12345678",
    "+49 171 1234567",
    "+33 6 12 34 56 78",
    "+33612345678",
    "+91 98765 43210",
    "+81 3-1234-5678",
    "+55 (11) 91234-5678",
    "+86 138 0013 8000",
    "+358 40 1234567",
]
#: Written without the country code, as people at home do.
NATIONAL_PHONES = [
    "020 7946 0958",  # London
    "07700 900123",  # a British mobile
    "030 12345678",  # Berlin
    "0171 1234567",  # a German mobile
    "06 12 34 56 78",  # a French mobile
    "06.12.34.56.78",
    "03-1234-5678",  # Tokyo
    "090-1234-5678",  # a Japanese mobile
    "(11) 91234-5678",  # a Brazilian mobile
    "(020) 7946 0958",
]
CARDS = [
    "4111111111111111",
    "4111 1111 1111 1111",
    "4111-1111-1111-1111",
    "5500005555555559",
    "2223003122003222",
    "378282246310005",
    "3782 822463 10005",
    "6011000990139424",
    "30569309025904",
    "3530111333300000",
    "6304000000000000",
]
IPS = [
    "192.168.1.1",
    "8.8.8.8",
    "255.255.255.255",
    "2001:0db8:85a3:0000:0000:8a2e:0370:7334",
    "2001:db8::1",
    "fe80::1ff:fe23:4567:890a",
    "2001:db8:0:0:1::1",
    "::1",
    "fe80::1",
    "fd12::1",
]
SECRETS = [
    "AKIAIOSFODNN7EXAMPLE",
    "ASIAIOSFODNN7EXAMPLE",
    "AIza" + "SyD4f8G2hJ5kL7mN9pQ1rS3tU6vW8xY0zAB",
    "ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "github_pat_11ABCDEFG0" + "a1B2c3D4e5F6g7H8i9J0_" + "x" * 40,
    "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
    "xoxb-" + "123456789012-1234567890123-a1B2c3D4e5F6g7H8i9J0k1L2",
    "xapp-1-" + "A0123456789-1234567890123-a1b2c3d4e5f6",
    "https://hooks.slack" + ".com/services/T0A1B2C3D/B0A1B2C3D/a1B2c3D4e5F6g7H8i9J0k1L2",
    "SG." + "a1B2c3D4e5F6g7H8i9J0k1." + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V",
    "whsec_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6",
    "dapi" + "a1b2c3d4e5f6a7b8" * 2,
    "sk-" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0u1V2w3X4",
    "sk-proj-" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "sk-ant-api03-" + "a1B2c3D4e5F6g7H8i9J0k1L2-AA",
    "sk_live_" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "rk_test_" + "a1B2c3D4e5F6g7H8i9J0k1L2",
    "hf_" + "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH",
    "npm_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8",
    "pypi-" + "AgEIcHlwaS5vcmcCJGExYjJjM2Q0LWU1ZjYtNzg5MC1hYmNkLWVmMTIzNDU2Nzg5MA",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA7\n-----END RSA PRIVATE KEY-----",
]
PERSONAL = [
    *(("email", text) for text in EMAILS),
    *(("phone", text) for text in PHONES),
    *(("card", text) for text in CARDS),
    *(("ssn", text) for text in ("123-45-6789", "078 05 1120")),
    *(("ip", text) for text in IPS),
    *(("secret", text) for text in SECRETS),
]


async def cleaned(audit: AuditLogger, text: str) -> Any:
    """*text* as it is recorded."""
    return (await audit.log_event("STORE", metadata={"text": text})).metadata["text"]


class TestPersonalData:
    @pytest.mark.parametrize(("kind", "text"), PERSONAL)
    async def test_redacted(self, audit: AuditLogger, kind: str, text: str) -> None:
        """It is replaced by a marker of its kind, wherever in a sentence it stands, and
        nothing else is."""
        marker = f"[REDACTED:{kind}]"
        for frame in ("{}", "it is {}", "{} it is", "is it {}?", "(see {}), please", '"{}"'):
            assert await cleaned(audit, frame.format(text)) == frame.format(marker)
        assert await cleaned(audit, f"one {text} and {text}.") == f"one {marker} and {marker}."

    @pytest.mark.parametrize("text", NATIONAL_PHONES)
    async def test_phone_without_country_code(self, audit: AuditLogger, text: str) -> None:
        """Phone numbers as people write them at home are phone numbers."""
        assert await cleaned(audit, f"call me: {text}, ok") == "call me: [REDACTED:phone], ok"

    @pytest.mark.parametrize(
        ("text", "secret"),
        [
            ("password=hunter2", "hunter2"),
            ("Password: hunter2", "hunter2"),
            ('api_key = "k3y-v4lue"', "k3y-v4lue"),
            ("my password is hunter2, do not tell", "hunter2"),
            ("Authorization: Bearer abcdef0123456789abcdef", "abcdef0123456789"),
            ("postgres://admin:s3cr3t@db.internal/main", "s3cr3t"),
            ("access_token=a1b2c3d4", "a1b2c3d4"),
            ('{"password": "hunter2", "n": 1}', "hunter2"),
            ("-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA7 (cut off", "MIIEowIB"),
            ('"private_key": "-----BEGIN PRIVATE KEY-----\\nMIIEowIBAAKCA"', "MIIEowIB"),
            ("aws_secret_access_key=wJalrXUtnFEMI/K7MDENG/bPxRfiCYKEY", "wJalr"),
            ("AWS_SECRET_ACCESS_KEY: wJalrXUtnFEMI/K7MDENG/bPxRfiCYKEY", "wJalr"),
            ("SECRET_KEY='django-insecure-1234567890'", "django-insecure"),
            ("secret_key=abcdef", "abcdef"),
            ("private_key=abcdef", "abcdef"),
            ("access-key: abcdef", "abcdef"),
            ("passcode: 1234", "1234"),
            ("passcode is 1234", "1234"),
            ("token=a1b2c3", "a1b2c3"),
            ("your token: 123456.", "123456"),
            ("refresh_token=a1b2c3", "a1b2c3"),
            ('{"idToken": "a1b2c3"}', "a1b2c3"),
            ("credentials=ann/s3cret", "s3cret"),
            ("authorization=basic QWxhZGRpbjpvcGVu", "QWxh"),
            ("Authorization: Basic dXNlcjpwYXNzd29yZA==", "dXNl"),
            ('"authorization": "Token abcdef1"', "abcdef1"),
            ("auth_token: Bearer abcdef", "abcdef"),
            ("AccountName=a;AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50u==;", "Eby8"),
            ("api_key=" + "a1B2" * 1_000, "a1B2"),
        ],
    )
    async def test_secret_named_as_one(self, audit: AuditLogger, text: str, secret: str) -> None:
        """A value that is called a password, key or token is one, whatever its shape."""
        found = await cleaned(audit, text)
        assert secret not in found
        assert "[REDACTED:secret]" in found

    @pytest.mark.parametrize(
        "name",
        [
            *("password", "db_password", "passcode", "secret", "secret_key", "private_key"),
            *("aws_secret_access_key", "AWS_SECRET_ACCESS_KEY", "access_key", "x-api-key"),
            *("token", "refresh_token", "refreshToken", "session_token", "headers.Authorization"),
            *("credentials", "a" * 100 + ".password"),
        ],
    )
    async def test_fact_named_as_a_secret(self, audit: AuditLogger, name: str) -> None:
        """What a fact of such a name says is not recorded, at any depth and of any shape."""
        for value in ("abcdef", ["abcdef"], {"value": "abcdef"}):
            event = await audit.log_event("STORE", metadata={name: value, "n": {name: value}})
            hidden = "[REDACTED:secret]"
            assert event.metadata == {name: hidden, "n": {name: hidden}}

    async def test_fact_that_counts_tokens(self, audit: AuditLogger) -> None:
        """Numbers of tokens, and whatever else is named after secrets, are no secrets."""
        numbers = {"tokens": 512, "token_count": 3, "max_tokens": 1_024, "token": 7, "a_token": 0.5}
        texts = dict.fromkeys(("tokenizer", "prompt_tokens", "key", "monkey", "secretary"), "a")
        facts = {**numbers, **texts, "has_token": True, "session_token": None}
        assert (await audit.log_event("STORE", metadata=facts)).metadata == facts

    async def test_everywhere_in_an_event(self, audit: AuditLogger) -> None:
        """Values, list items, nested values, keys and messages are all redacted."""
        mail = "eve@example.com"
        for metadata in (
            {"k": mail},
            {"k": [mail]},
            {"k": {"deep": [[mail]]}},
            {mail: 1},
            {"deep": {mail: 1}},
            {Enum("Kind", {"MAIL": mail}).MAIL: 1},
            {"k": (mail, {mail})},
            {"k": [mail] * 100},
            {"k": f"{mail} ü"},
        ):
            event = await audit.log_event("STORE", metadata=metadata, error_message=f"no {mail}")
            assert "eve@" not in event.to_json().decode(), metadata
            assert "[REDACTED:email]" in event.to_json().decode()

    async def test_identity_is_kept(self, audit: AuditLogger) -> None:
        """Who acted on what is the point of an audit: ids are never redacted."""
        event = await audit.log_event(
            "STORE", "eve@example.com", "555-123-4567", ["10.0.0.1"], subject_id="bob@example.com"
        )
        assert (event.user_id, event.session_id) == ("eve@example.com", "555-123-4567")
        assert (event.entry_ids, event.subject_id) == (["10.0.0.1"], "bob@example.com")

    async def test_switched_off(self, make_audit: Make) -> None:
        """`redact_pii=False` records texts as they are."""
        audit = make_audit(redact_pii=False)
        for _, text in PERSONAL:
            assert await cleaned(audit, text) == text

    async def test_content_of_operations(self, scene: Callable[..., Scene]) -> None:
        """Content that is switched on is redacted, on spans and in events."""
        played = scene(capture_content=True)
        text = "alice@example.com pays with 4111 1111 1111 1111"
        await played.memory.store(text)
        await played.memory.recall("alice@example.com")
        (event,) = played.audit.query_events(operation="RECALL")
        assert event.metadata["query"] == "[REDACTED:email]"
        assert event.metadata["content"] == ["[REDACTED:email] pays with [REDACTED:card]"]
        spans = "".join(span.to_json() for span in played._spans.get_finished_spans())
        assert "alice@" not in spans
        assert "4111 1111" not in spans

    async def test_cut_before_it_is_whole(self, audit: AuditLogger) -> None:
        """Text that is cut for its length does not leave half an address unredacted."""
        for shift in range(20):
            text = "x" * (8_180 + shift) + " alice@example.com and more"
            found = await cleaned(audit, text)
            assert "alice@ex" not in found


#: Looks like personal data and is none: an audit trail is full of these.
HARMLESS = [
    # ids
    "550e8400-e29b-41d4-a716-446655440000",
    "12345678-1234-1234-1234-123456789012",
    "11111111-2222-3333-4444-555555555555",
    "00000000-0000-0000-0000-000000000000",
    "urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6",
    "evt_0194665e1b3a7c2d8f00112233445566",
    "user_123",
    "order 1234567890",
    "ticket-42",
    "INV-2024-001-0001",
    "entry_1",
    "1234567890123456789012",
    "4bf92f3577b34da6a3ce929d0e0e4736",
    "00f067aa0ba902b7",
    "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    "ISBN 978-3-16-148410-0",
    "ISBN 978-0-306-40615-7",
    "EAN 9780306406157",
    # hashes
    "d41d8cd98f00b204e9800998ecf8427e",
    "da39a3ee5e6b4b0d3255bfef95601890afd80709",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "a2c09e56779284957c910911dcb88f18002f23c4",
    # times
    "2025-01-15T10:30:45.123456Z",
    "2025-01-15T10:30:45+05:30",
    "2025-01-15T10:30:45+0530",
    "2025-01-15 10:30:45",
    "2025-01-15",
    "15.01.2025",
    "01/15/2025 10:30",
    "20250115T103045Z",
    "20250115103045",
    "from 10:30:45 to 11:00:00",
    "12:30:45.678901",
    "audit_2025_01_15_103045.json",
    # numbers
    "1.2.3",
    "v2.14.0-rc.1",
    "1.0.0b2",
    "Python 3.11.7",
    "Chrome/120.0.6099.109",
    "Windows 10.0.19045.3570",
    "node>=18.0.0 <21.0.0",
    "$1,234.56",
    "1.299,00 €",
    "EUR 1 234 567.89",
    "USD 1,234,567,890.12",
    "-273.15",
    "3.141592653589793",
    "1e-10",
    "40.712776, -74.005974",
    "+15000",
    "up by +12500 units",
    "99.999%",
    "1024x768",
    "10000000000000",
    "0.30000000000000004",
    # names of models, code and places
    "text-embedding-3-small",
    "text-embedding-ada-002",
    "gpt-4o-2024-08-06",
    "claude-sonnet-4-20250514",
    "all-MiniLM-L6-v2",
    "meta-llama/Llama-3.1-8B-Instruct",
    "sk-learn pipeline",
    "sklearn.linear_model",
    "sk-learn-regression-pipeline",
    "pk_customer_orders_by_date",
    "rk-means-clustering-implementation",
    "std::vector<int>::iterator",
    "Foo::Bar",
    "dead::beef",
    "@decorator",
    "@scope/package",
    "lodash@4.17.21",
    "key: value",
    "a:b:c",
    "C:\\Users\\me",
    "https://example.com:8080/path?x=1#top",
    "s3://bucket/key",
    "redis://localhost:6379/0",
    "00:1A:2B:3C:4D:5E",
    "max_tokens=512",
    "token count: 1234567",
    "max_token=4096",
    "token: 17",
    "the next token: a word of the vocabulary",
    "tokens=128000",
    "credentials: see the handbook",
    "authorization: basic needs are met",
    "Authorization: required",
    "basic arithmetic2 for beginners",
    "a public-key: value",
    "primary_key=order_id1",
    "the private key: none",
    "std::string",
    "std::vector<std::string>::size_type",
    "x[::1]",
    "items[::-1]",
    "cafe::bad",
    "SG.com.example",
    "xapp-stage-environment",
    "hooks.slack.com",
    "dapibus",
    "the secretary's passport",
    "forgot my password again",
    "the password is required",
    "a password isn't enough",
    "bearer responsibilities",
    "ID 001-002-003",
    "05.01.2025 10:30",
    "bearer of good news",
    "AKIA is a prefix",
    "eyJ is base64",
    "x" * 5_000,
    "deadbeef" * 600,
]


class TestHarmless:
    @pytest.mark.parametrize("text", HARMLESS, ids=lambda text: text[:40])
    async def test_survives(self, audit: AuditLogger, text: str) -> None:
        """It is recorded as it is, alone and within a sentence."""
        for frame in ("{}", "see {} here", "({})", "{}, {}"):
            given = frame.format(text, text)
            if len(given) <= 8_192:
                assert await cleaned(audit, given) == given

    async def test_cards_need_their_check_digit(self, audit: AuditLogger) -> None:
        """Sixteen digits are no card unless the check digit (Luhn) is right."""
        for last in "023456789":  # 1 would be right
            number = f"411111111111111{last}"
            assert await cleaned(audit, number) == number

    @pytest.mark.parametrize(
        "numbers",
        [
            pytest.param(range(1_736_937_045_100, 1_736_937_045_130), id="unix milliseconds"),
            pytest.param(range(1_736_937_045_123_400, 1_736_937_045_123_430), id="microseconds"),
            pytest.param(range(20_250_115_103_040, 20_250_115_103_060), id="compact timestamps"),
            pytest.param(
                range(1_329_876_543_210_987_000, 1_329_876_543_210_987_030), id="snowflakes"
            ),
        ],
    )
    async def test_numbers_that_no_card_begins_with(
        self, audit: AuditLogger, numbers: range
    ) -> None:
        """Every tenth number passes Luhn; cards also begin as their issuers do (2221 to 2720,
        3 to 6), and times and generated ids do not."""
        for number in numbers:
            assert await cleaned(audit, f"at {number}.") == f"at {number}."

    async def test_social_security_numbers_that_are_never_given(self, audit: AuditLogger) -> None:
        """Areas 000, 666 and 900 to 999 are none."""
        for text in ("000-12-3456", "666-12-3456", "912-12-3456"):
            assert await cleaned(audit, text) == text

    async def test_addresses_that_are_none(self, audit: AuditLogger) -> None:
        """Four numbers above 255 are no IP address."""
        for text in ("256.1.1.1", "1.2.3.999", "1.2.3.4.5", "300.300.300.300"):
            assert await cleaned(audit, text) == text

    async def test_facts_of_operations(self, scene: Callable[..., Scene]) -> None:
        """What the operations of a real system note about themselves is never redacted."""
        played = scene()
        await played.play()
        assert "REDACTED" not in played.events()
        assert "REDACTED" not in played.spans()


#: Text of any length on which a careless pattern goes back and forth for ever.
HOSTILE: dict[str, Callable[[int], str]] = {
    "letters": lambda n: "a" * n + ":",
    "dots": lambda n: "a." * (n // 2) + "@",
    "at signs": lambda n: "a@" * (n // 2),
    "domains": lambda n: "a@" + "a." * (n // 2) + "1",
    "domains without an end": lambda n: "a@" + "a-" * (n // 2),
    "digits": lambda n: "1" * n,
    "spaced digits": lambda n: "1 " * (n // 2),
    "digits and dashes": lambda n: "1-" * (n // 2),
    "triples": lambda n: "111-" * (n // 4),
    "plus signs": lambda n: "+1" * (n // 2),
    "parentheses": lambda n: "(1" * (n // 2),
    "octets": lambda n: "1." * (n // 2),
    "colons": lambda n: "a:" * (n // 2),
    "double colons": lambda n: "a::" * (n // 3),
    "tokens": lambda n: "eyJ-" * (n // 4),
    "token parts": lambda n: "eyJaaaaaaaa." * (n // 12),
    "keys": lambda n: "sk-" * (n // 3),
    "key words": lambda n: "sk-" + "a-" * (n // 2) + "!",
    "slack": lambda n: "xoxb-" * (n // 5) + "!",
    "private keys": lambda n: "-----BEGIN PRIVATE KEY-----" * (n // 27),
    "headers": lambda n: "-----BEGIN " + "A " * (n // 2),
    "urls": lambda n: "://" * (n // 3),
    "user parts": lambda n: "://" + "a" * n + ":" + "a" * n,
    "bearers": lambda n: "bearer " * (n // 7),
    "blanks": lambda n: "password" + " " * n,
    "passwords": lambda n: "password:" * (n // 9),
    "account keys": lambda n: "AccountKey=" * (n // 11),
    "authorizations": lambda n: "authorization: basic " * (n // 21),
    "token names": lambda n: "token:" * (n // 6),
    "tokens without an end": lambda n: "refresh_token=" + "a" * n,
    "names of names": lambda n: "secret_access_" * (n // 14),
    "sendgrid": lambda n: "SG." + "SG.aaaaaaaaaaaaaaaa." * (n // 20),
    "hooks": lambda n: "hooks.slack.com/services/" * (n // 25),
    "webhooks": lambda n: "whsec_-" * (n // 7),
    "databricks": lambda n: "dapi" * (n // 4),
    "equals signs": lambda n: "=" * n,
    "base64": lambda n: "data:;base64," + "QUJD" * (n // 4),
}


class TestEffort:
    """The effort grows with the text, not with its square, and stops growing where it is cut."""

    @pytest.mark.parametrize("name", HOSTILE)
    async def test_grows_with_the_text(self, audit: AuditLogger, name: str) -> None:
        """Eight times the text takes about eight times as long: a quadratic pattern would
        take sixty-four times."""
        make = HOSTILE[name]

        async def effort(size: int) -> float:
            text, best = make(size), float("inf")
            for _ in range(6):
                started = time.process_time_ns()
                await audit.log_event("STORE", metadata={"text": text})
                best = min(best, time.process_time_ns() - started)
            return best

        small, large = await effort(1_000), await effort(8_000)
        assert large < 30 * small

    @pytest.mark.slow
    async def test_stops_growing(self, audit: AuditLogger) -> None:
        """100 kB take no longer than what is kept of them."""

        async def effort(size: int) -> float:
            best = float("inf")
            for _ in range(3):
                started = time.process_time_ns()
                for make in HOSTILE.values():
                    await audit.log_event("STORE", metadata={"text": make(size)})
                best = min(best, time.process_time_ns() - started)
            return best

        assert await effort(100_000) < 4 * await effort(8_192)

    async def test_of_many_texts(self, audit: AuditLogger) -> None:
        """Once an event has all the text that it may have, the rest costs nothing."""

        async def effort(number: int) -> float:
            best = float("inf")
            for _ in range(3):
                metadata = {"k": ["word " * 1_600] * number, "n": {}}
                started = time.process_time_ns()
                await audit.log_event("STORE", metadata=metadata)
                best = min(best, time.process_time_ns() - started)
            return best

        assert await effort(900) < 4 * await effort(100)
