"""No content is recorded unless switched on, and then without personal data."""

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
from personal_data import HARMLESS, SAMPLES
from prometheus_client import CollectorRegistry
from prometheus_client.openmetrics.exposition import generate_latest

from axon_audit_otel import AuditLogger, AxonInstrumentor

pytestmark = pytest.mark.usefixtures("without_start_record")

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
        """The error message of a summariser or an embedder is content as well."""
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
        """Facts that operations note keep their names whatever the hook does."""
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
        """The hook's answer becomes text, bounded and UTF-8, whatever it is."""
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


async def cleaned(audit: AuditLogger, text: str) -> Any:
    """*text* as it is recorded."""
    return (await audit.log_event("STORE", metadata={"text": text})).metadata["text"]


class TestPersonalData:
    async def test_redacted(self, audit: AuditLogger) -> None:
        """All that is promised to be found is replaced in what is recorded."""
        for sample in SAMPLES:
            found = await cleaned(audit, sample.text)
            assert f"[REDACTED:{sample.kind}]" in found
            assert sample.value not in found

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
        """The value of a fact of such a name is not recorded, at any depth and of any shape."""
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
        """Ids are never redacted: they are the point of an audit."""
        event = await audit.log_event(
            "STORE", "eve@example.com", "555-123-4567", ["10.0.0.1"], subject_id="bob@example.com"
        )
        assert (event.user_id, event.session_id) == ("eve@example.com", "555-123-4567")
        assert (event.entry_ids, event.subject_id) == (["10.0.0.1"], "bob@example.com")

    async def test_switched_off(self, make_audit: Make) -> None:
        """`redact_pii=False` records texts as they are."""
        audit = make_audit(redact_pii=False)
        for sample in SAMPLES:
            assert await cleaned(audit, sample.text) == sample.text

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


class TestHarmless:
    async def test_survives(self, audit: AuditLogger) -> None:
        """Text that only looks like personal data is recorded unchanged."""
        for text in HARMLESS:
            assert await cleaned(audit, text) == text

    async def test_facts_of_operations(self, scene: Callable[..., Scene]) -> None:
        """Facts that the operations of a real system note are never redacted."""
        played = scene()
        await played.play()
        assert "REDACTED" not in played.events()
        assert "REDACTED" not in played.spans()


#: Text of any length on which all that cleans it has the most to do.
HOSTILE: list[Callable[[int], str]] = [
    lambda n: "a." * (n // 2) + "@",
    lambda n: "1 " * (n // 2),
    lambda n: "-----BEGIN PRIVATE KEY-----" * (n // 27),
    lambda n: "token:" * (n // 6),
    lambda n: "DE89 3704 0044 0532 0130 01 " * (n // 28),
]


class TestEffort:
    """The effort stops growing where texts and events are cut."""

    @pytest.mark.slow
    async def test_stops_growing(self, audit: AuditLogger) -> None:
        """100 kB take no longer than what is kept of them."""

        async def effort(size: int) -> float:
            best = float("inf")
            for _ in range(3):
                started = time.process_time_ns()
                for make in HOSTILE:
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
