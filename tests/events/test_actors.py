"""Agent, on behalf of whom, and purpose: from `audit_context`, `log_event` and log records to
every output, and back by queries."""

from __future__ import annotations

import asyncio
import csv
import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from axon import Filter
from conftest import Cli, ListingAdapter, Make, MakeSystem, history, only_event
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from axon_audit_otel import AuditEvent, AuditLogger, InvalidEventError, audit_context

NAMES = ("agent_id", "on_behalf_of", "purpose")
WHO = {"agent_id": "bot-7", "on_behalf_of": "dee", "purpose": "a request"}
SECRET = "s" * 32


def acting(event: AuditEvent) -> tuple[str | None, str | None, str | None]:
    return event.agent_id, event.on_behalf_of, event.purpose


def emit(provider: LoggerProvider, **body: Any) -> None:
    provider.get_logger("test").emit(LogRecord(event_name="axon.memory.audit", body=body))


CALLS: dict[str, Callable[[Any], Any]] = {
    "store": lambda m: m.store("tea"),
    "recall": lambda m: m.recall("tea"),
    "export": lambda m: m.export(),
    "import_from": lambda m: m.import_from({"version": "1.0", "entries": []}),
    "compact": lambda m: m.compact(),
    "sync": lambda m: m.sync("session", "persistent"),
    "forget": lambda m: m.forget("nothing"),
}


@pytest.mark.usefixtures("instrumented")
class TestContext:
    """`audit_context(agent_id=, on_behalf_of=, purpose=)`."""

    @pytest.mark.parametrize("method", CALLS)
    async def test_every_operation(
        self, make_system: MakeSystem, audit: AuditLogger, method: str
    ) -> None:
        """Each operation inside of the block says who acted for whom, and why; none after it."""
        memory = make_system(session=ListingAdapter())
        with audit_context(**WHO):
            await CALLS[method](memory)
        await memory.store("after")
        inside, after = history(audit)
        assert acting(inside) == tuple(WHO.values())
        assert acting(after) == (None, None, None)

    async def test_a_failure(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """So does one that failed."""
        with audit_context(**WHO), pytest.raises(ValueError, match="content"):
            await make_system().store("")
        assert acting(only_event(audit)) == tuple(WHO.values())

    async def test_nesting(self, audit: AuditLogger) -> None:
        """The inner block overrides what it names, and the rest stays; then all is as before."""
        with audit_context(user_id="ann", **WHO):
            with audit_context(session_id="s1", agent_id="bot-8"):
                await audit.log_event("STORE")
                with audit_context(purpose="", on_behalf_of="eve"):
                    await audit.log_event("STORE")
            await audit.log_event("STORE")
        await audit.log_event("STORE")
        assert [(event.user_id, event.session_id, *acting(event)) for event in history(audit)] == [
            ("ann", "s1", "bot-8", "dee", "a request"),
            ("ann", "s1", "bot-8", "eve", None),
            ("ann", None, "bot-7", "dee", "a request"),
            (None, None, None, None, None),
        ]

    async def test_tasks_generators_decorators(
        self, make_system: MakeSystem, audit: AuditLogger
    ) -> None:
        """Tasks inherit it, a decorated function has it for each call, and a generator keeps it
        from its consumer."""
        memory = make_system()

        @audit_context(agent_id="decorated")
        async def work() -> None:
            await memory.store("one")

        async def items() -> Any:
            with audit_context(agent_id="generator"):
                await memory.store("two")
                yield 1
                await memory.store("three")

        with audit_context(on_behalf_of="dee"):
            await asyncio.gather(asyncio.create_task(work()), work())
            async for _ in items():
                await memory.store("consumer")
        assert [acting(event)[:2] for event in history(audit)] == [
            *([("decorated", "dee")] * 2),
            ("generator", "dee"),
            (None, "dee"),
            ("generator", "dee"),
        ]

    @pytest.mark.parametrize("name", NAMES)
    @pytest.mark.parametrize("wrong", [object(), b"ada", ["ada"], {"a": 1}, 1.5, True])
    async def test_what_cannot_be(self, audit: AuditLogger, name: str, wrong: Any) -> None:
        """The block and `log_event` refuse it in the same words, which name the argument."""
        with (
            pytest.raises(InvalidEventError, match=name) as refused,
            audit_context(**{name: wrong}),
        ):
            pytest.fail("the block ran")
        with pytest.raises(InvalidEventError) as by_hand:
            await audit.log_event("STORE", **{name: wrong})
        assert str(refused.value) == str(by_hand.value)
        assert audit.event_count == 0

    async def test_bounds(self, audit: AuditLogger) -> None:
        """Ids and the purpose are bounded and redacted as other ids and texts are; odd characters
        are carried."""
        odd = "żółw\x1b[31m\n<b>\ud800"
        with audit_context(agent_id="a" * 1000, on_behalf_of=odd, purpose="x" * 100_000):
            await audit.log_event("STORE")
        with audit_context(agent_id=7, purpose=f"mail ann@example.com {odd}"):  # type: ignore[arg-type]
            await audit.log_event("STORE")
        long, redacted = history(audit)
        assert str(long.agent_id).endswith("[truncated: 1000 characters]")
        assert long.on_behalf_of == odd.replace("\ud800", "\\ud800")
        assert len(str(long.purpose)) < 20_000
        assert redacted.agent_id == "7"
        assert "ann@example.com" not in str(redacted.purpose)

    async def test_spans(
        self, make_system: MakeSystem, span_exporter: InMemorySpanExporter
    ) -> None:
        """The span has the agent, by the name of the GenAI conventions, and for whom it acted."""
        with audit_context(**WHO):
            await make_system().store("tea")
        (span,) = span_exporter.get_finished_spans()
        assert span.attributes is not None
        assert span.attributes["gen_ai.agent.id"] == "bot-7"
        assert span.attributes["axon.on_behalf_of"] == "dee"
        assert "axon.purpose" not in span.attributes  # words of anybody


class TestByHand:
    """`log_event`, and records of other sources."""

    async def test_arguments(self, audit: AuditLogger) -> None:
        """Each argument goes before what the block says, and stands alone without one."""
        await audit.log_event("STORE", **WHO)
        with audit_context(**WHO):
            await audit.log_event("STORE", agent_id="bot-8")
        assert [acting(event) for event in history(audit)] == [
            ("bot-7", "dee", "a request"),
            ("bot-8", "dee", "a request"),
        ]

    def test_records(self, audit: AuditLogger, logger_provider: LoggerProvider) -> None:
        """A record of another source that does not say it has what the block says."""
        with audit_context(**WHO):
            emit(logger_provider, operation="STORE", agent_id="other", purpose=" ")
        assert acting(only_event(audit)) == ("other", "dee", "a request")


def passes(event: dict[str, Any], filters: dict[str, str]) -> bool:
    return all(event[name] == value for name, value in filters.items())


EVENTS = [
    {"agent_id": agent, "on_behalf_of": person, "purpose": purpose}
    for agent in ("bot-7", 'b"ot')
    for person in ("dee", "żółw")
    for purpose in ("a request", "care, or not")
]
FILTERS = {"agent_id": 'b"ot', "on_behalf_of": "żółw", "purpose": "care, or not"}
OPTIONS = {"agent_id": "--agent", "on_behalf_of": "--on-behalf-of", "purpose": "--purpose"}


class TestQueries:
    @pytest.mark.parametrize("how", [{}, {"pseudonymize": SECRET}, {"erasable": True}])
    @pytest.mark.parametrize("compress", [False, True])
    async def test_every_combination(
        self, make_audit: Make, tmp_path: Path, cli: Cli, how: dict[str, Any], compress: bool
    ) -> None:
        """Each filter, and several together, find the same in memory, in files and on the command
        line, also by the real id where ids are hashed or encrypted."""
        logs = tmp_path / "logs"
        audit = make_audit(5, logs, compress=compress, **how)
        for fields in EVENTS:
            await audit.log_event("STORE", user_id="ann", metadata={"purpose": "no"}, **fields)
        ids = {
            event.event_id: number
            for number, event in enumerate(audit.query_events(archived=True)[::-1])
        }
        chosen = [names for size in (1, 2, 3) for names in combinations(FILTERS, size)]
        found = {}
        for names in chosen:
            filters = {name: FILTERS[name] for name in names}
            expected = [n for n, event in enumerate(EVENTS) if passes(event, filters)][::-1]
            whole = audit.query_events(archived=True, **filters)
            assert [ids[event.event_id] for event in whole] == expected
            recent = audit.query_events(archived=False, **filters)
            assert [ids[event.event_id] for event in recent] == [n for n in expected if n > 2]
            assert len(audit.query_events(archived=True, limit=1, **filters)) == 1
            found[names] = expected
        audit.close()
        secret = ["--pseudonymize", SECRET] if "pseudonymize" in how else []
        for names, expected in found.items():
            options = [word for name in names for word in (OPTIONS[name], FILTERS[name])]
            lines = cli("query", logs, "--json", *options, *secret).stdout.splitlines()
            assert [ids[json.loads(line)["event_id"]] for line in lines] == expected
        stats = json.loads(cli("stats", logs, "--json", "--agent", "bot-7", *secret).stdout)
        assert stats["total_operations"] == 4
        form = ["--format", "jsonl", "--on-behalf-of", "żółw", *secret]
        assert len(cli("export", logs, "-", *form).stdout.splitlines()) == 4
        cli("verify", logs)

    async def test_nothing(self, audit: AuditLogger) -> None:
        """Parts of an id or a purpose find nothing, and no event without them is found."""
        await audit.log_event("STORE", **WHO)
        await audit.log_event("STORE", user_id="bot-7", subject_id="dee", session_id="a request")
        for name, value in WHO.items():
            assert len(audit.query_events(**{name: value})) == 1
            assert audit.query_events(**{name: value[:-1]}) == []
            assert audit.query_events(**{name: value.upper()}) == []

    async def test_hashed_without_the_secret(
        self, make_audit: Make, tmp_path: Path, cli: Cli
    ) -> None:
        """A plain id that finds nothing since ids are hashed is told so."""
        with make_audit(auto_export_path=tmp_path / "a", pseudonymize=SECRET) as audit:
            await audit.log_event("EXPORT", user_id="ann", **WHO)
        for option, kind in (("--agent", "agent"), ("--on-behalf-of", "user")):
            said = cli("query", tmp_path / "a", option, "dee").stderr
            assert f"{kind} ids in this archive are hashed: give the secret with" in said


class TestTraces:
    """`query_events(trace_id=)` and `--trace`."""

    TRACE = "0af7651916cd43dd8448eb211c80319c"

    @pytest.fixture(name="logs")
    def _logs(self, make_audit: Make, tmp_path: Path, logger_provider: LoggerProvider) -> Path:
        """An archive of three events, two of them of that trace."""
        self.audit = make_audit(auto_export_path=tmp_path / "logs")
        for trace in (self.TRACE, "f" * 32, self.TRACE):
            record = LogRecord(event_name="axon.memory.audit", body={"operation": "STORE"})
            record.trace_id, record.span_id = int(trace, 16), 1
            logger_provider.get_logger("test").emit(record)
        return tmp_path / "logs"

    def test_found(self, logs: Path, cli: Cli) -> None:
        """It is found in memory, in files and on the command line, in any case of its digits."""
        for trace in (self.TRACE, self.TRACE.upper()):
            for archived in (True, False):
                found = self.audit.query_events(trace_id=trace, archived=archived)
                assert [event.trace_id for event in found] == [self.TRACE] * 2
            lines = cli("query", logs, "--trace", trace, "--json").stdout.splitlines()
            assert len(lines) == 2
        assert self.audit.query_events(trace_id="a" * 32) == []

    @pytest.mark.parametrize("wrong", ["", "12", "g" * 32, "a" * 33, f"{'a' * 31} ", "٣" * 32])
    def test_wrong(self, logs: Path, cli: Cli, wrong: str) -> None:
        """Another form is an error that shows the value, and says the form."""
        with pytest.raises(InvalidEventError, match=r"trace_id=.*32 hex digits"):
            self.audit.query_events(trace_id=wrong)
        said = cli("query", logs, f"--trace={wrong}", code=2).stderr
        assert repr(wrong) in said
        assert "32 hex digits" in said

    def test_of_another_type(self, audit: AuditLogger) -> None:
        """A number is an error, not an answer without events."""
        with pytest.raises(InvalidEventError, match="trace_id=7"):
            audit.query_events(trace_id=7)  # type: ignore[arg-type]


class TestPrivacy:
    @pytest.mark.usefixtures("instrumented")
    @pytest.mark.parametrize("setting", [{"pseudonymize": SECRET}, {"erasable": True}])
    async def test_hidden(
        self, make_audit: Make, make_system: MakeSystem, tmp_path: Path, setting: dict[str, Any]
    ) -> None:
        """The block's agent, person and purpose are hashed or encrypted in all files; an intent
        has them as well, without the purpose."""
        logs = tmp_path / "logs"
        audit = make_audit(auto_export_path=logs, on_failure="block", **setting)
        memory = make_system(audit_logger=audit)
        who = {"agent_id": "canary-bot", "on_behalf_of": "canary-dee"}
        with audit_context(**who, purpose="asked by canary-dee"):
            await memory.store("tea")
            await audit.log_event("RECALL")
            found = audit.query_events(on_behalf_of="canary-dee", archived=True)
        assert len(found) == 2
        audit.close()
        files = b"".join(path.read_bytes() for path in logs.iterdir())
        assert b"canary" not in files
        assert files.count(b'"agent_id":"') >= 2

    @pytest.mark.usefixtures("instrumented")
    async def test_erased(
        self, make_audit: Make, make_system: MakeSystem, tmp_path: Path, cli: Cli
    ) -> None:
        """Of a person who is erased nothing is found or readable; the agent's own id stays."""
        logs = tmp_path / "logs"
        audit = make_audit(auto_export_path=logs, erasable=True)
        memory = make_system(audit_logger=audit)
        for person in ("dee", "eve"):
            with audit_context(agent_id="bot-7", on_behalf_of=person, purpose=f"asked by {person}"):
                await memory.store("tea")
                await memory.recall("tea", filter=Filter(tags=["none"]))
        assert audit.erase_user("dee")
        assert audit.query_events(on_behalf_of="dee", archived=True) == []
        assert audit.query_events(purpose="asked by dee", archived=True) == []
        gone, left = (
            [
                event
                for event in audit.query_events(agent_id="bot-7", archived=True)
                if (event.on_behalf_of == "eve") is known
            ]
            for known in (False, True)
        )
        assert len(gone) == len(left) == 2
        assert {event.purpose for event in gone} == {None}
        assert {event.purpose for event in left} == {"asked by eve"}
        audit.close()
        said = cli("query", logs, "--on-behalf-of", "dee")
        assert said.stdout.count("\n") == 1
        assert "users were erased from this archive" in said.stderr
        cli("verify", logs)

    async def test_facts_that_name_them(self, make_audit: Make) -> None:
        """A fact of the same name is hashed too, whatever it holds."""
        audit = make_audit(pseudonymize=SECRET)
        event = await audit.log_event("STORE", metadata={"on_behalf_of": "dee", "agent_id": "b"})
        assert all(value.startswith("hmac-sha256:") for value in event.metadata.values())

    async def test_clear_text_from_before(self, make_audit: Make, tmp_path: Path, cli: Cli) -> None:
        """An erasure says if older events name the person as the one acted for, or as agent."""
        logs = tmp_path / "logs"
        with make_audit(auto_export_path=logs, name="older") as audit:
            await audit.log_event("STORE", on_behalf_of="dee", agent_id="bot")
        with make_audit(auto_export_path=logs, name="newer", erasable=True) as audit:
            await audit.log_event("STORE", user_id="dee")
            await audit.log_event("STORE", user_id="bot")
        for person in ("dee", "bot"):
            said = json.loads(cli("erase", person, logs, "--json").stdout)
            assert said == {"erased": True, "also_in_clear": True}


class TestOutputs:
    async def test_tables(self, make_audit: Make, tmp_path: Path, cli: Cli) -> None:
        """`query`, `tail`, CSV and `stats` show them; where no event has one, no agents' table."""
        logs = tmp_path / "logs"
        with make_audit(auto_export_path=logs) as audit:
            await audit.log_event("STORE", user_id="ann")
            without = cli("stats", logs).stdout
            await audit.log_event("STORE", user_id="ann", **WHO)
            await audit.log_event("RECALL", user_id="bob", agent_id="bot-7")
        for command in ("query", "tail"):
            assert "by bot-7, for dee, a request" in cli(command, logs).stdout
        table = list(csv.DictReader(cli("export", logs, "-", "--format", "csv").stdout.split("\n")))
        assert [tuple(row[name] for name in NAMES) for row in table[-2:]] == [
            ("bot-7", "dee", "a request"),
            ("bot-7", "", ""),
        ]
        shown = cli("stats", logs).stdout
        assert "agent" not in without
        assert "agent" in shown
        assert max(map(len, shown.splitlines())) <= 80
        (agent,) = json.loads(cli("stats", logs, "--json").stdout)["agents"]
        assert (agent["agent_id"], agent["total_operations"]) == ("bot-7", 2)
