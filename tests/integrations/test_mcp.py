"""Calls of the tools of MCP servers are recorded: in a FastMCP server, and before any other."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conformance import SECRET, Conformance, MakeMemory
from conftest import Make, only_event

from axon_audit_otel import AuditEvent, AuditLogger, audit_context
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.query import Query
from axon_audit_otel.integrations.mcp.tools import Tool, Tools
from axon_audit_otel.verification.verify import verify

#: What the tools of the toy memory do.
DESCRIBED = {
    "remember": Tool("STORE", "", "id"),
    "look": Tool("RECALL", "", "ids[]"),
    "drop": Tool("FORGET", "id"),
}


class TestTools:
    """Without any server: what tools do."""

    @pytest.mark.parametrize(
        ("name", "annotations", "operation"),
        [
            ("delete_entities", {}, "FORGET"),
            ("read_graph", {}, "RECALL"),
            ("create_entities", {}, "STORE"),
            ("memory.remove", {}, "FORGET"),
            ("getMemory", {}, "RECALL"),
            ("add-note", {"readOnlyHint": True}, "STORE"),
            ("ponder", {"readOnlyHint": True}, "RECALL"),
            ("ponder", {"destructiveHint": True}, "FORGET"),
            ("ponder", {}, "OTHER"),
            ("", {}, "OTHER"),
        ],
    )
    def test_operations(
        self, audit: AuditLogger, name: str, annotations: dict[str, Any], operation: str
    ) -> None:
        """A tool is told by what is described, by its verb, then by what the server says."""
        tools = Tools(audit)
        tools.learn(name, annotations)
        assert tools.tool(name).operation == operation

    def test_private_ids(self, make_audit: Make, tmp_path: Path) -> None:
        """With a secret, the names of entities are nowhere, and they find what was done."""
        audit = make_audit(auto_export_path=tmp_path, pseudonymize=b"0123456789abcdef" * 2)
        tools = Tools(audit)
        entities = [{"name": "Alice Liddell", "observations": ["likes tea"]}]
        calls = {
            "create_entities": {"entities": entities},
            "search_nodes": {"query": "tea"},
            "add_observations": {
                "observations": [{"entityName": "Alice Liddell", "contents": ["is seven"]}]
            },
            "delete_observations": {
                "deletions": [{"entityName": "Alice Liddell", "observations": ["is seven"]}]
            },
            "delete_entities": {"entityNames": ["Alice Liddell"]},
        }
        for name, arguments in calls.items():
            with tools.operation(name, arguments) as op:
                result = {"entities": entities, "results": arguments.get("observations", [])}
                tools.report(op, name, arguments, result)
        assert len(audit.query_events(entry_ids=["Alice Liddell"])) == len(calls)
        audit.close()
        assert not [one for one in tmp_path.iterdir() if b"Liddell" in one.read_bytes()]
        plain = Tools(audit, private_ids=False)
        with plain.operation("open_nodes", {"names": ["Paris"]}) as op:
            op.found("Paris")
        assert op.event is not None
        assert op.event.entry_ids == ["Paris"]

    @pytest.mark.parametrize("more", [{}, {"pseudonymize": b"0123456789abcdef" * 2}])
    def test_erasable_ids(self, make_audit: Make, tmp_path: Path, more: dict[str, Any]) -> None:
        """With `erasable` the names of entities are readable until the person who acts is erased,
        after a restart as well."""
        how = {"auto_export_path": tmp_path / "a", "erasable": True, **more}
        entities = [{"name": "Ada Lovelace", "observations": ["likes tea"]}]
        with make_audit(**how) as audit, audit_context(user_id="bob"):
            tools = Tools(audit)
            for name, arguments in (
                ("create_entities", {"entities": entities}),
                ("delete_entities", {"entityNames": ["Ada Lovelace"]}),
            ):
                with tools.operation(name, arguments) as op:
                    tools.report(op, name, arguments, {"entities": entities})
        audit = make_audit(**how)
        assert len(audit.query_events(entry_ids=["Ada Lovelace"], archived=True)) == 2
        assert audit.erase_user("bob")
        assert audit.query_events(entry_ids=["Ada Lovelace"], archived=True) == []
        assert "Lovelace" not in str(audit.query_events(archived=True))
        audit.close()
        files = [one.read_bytes() for one in tmp_path.rglob("*") if one.is_file()]
        assert not [data for data in files if b"Lovelace" in data]

    @pytest.mark.parametrize(
        "arguments",
        [
            None,
            [],
            3,
            {"entityNames": 3},
            {"entityNames": [3, None, {"a": 1}]},
            {"entityNames": {}},
        ],
    )
    def test_hostile_arguments(self, audit: AuditLogger, arguments: Any) -> None:
        """Whatever the arguments are, the call is an event."""
        tools = Tools(audit)
        with tools.operation("delete_entities", arguments) as op:
            tools.report(op, "delete_entities", arguments, arguments)
        assert only_event(audit).operation == "FORGET"


# --- FastMCP -----------------------------------------------------------------------------------


class _Toy:
    """As `conformance.Memory`: a FastMCP server with the middleware, and its client."""

    system = "mcp"
    actions = ("remember", "look", "drop")

    def __init__(self, audit: AuditLogger) -> None:
        fastmcp = pytest.importorskip("fastmcp", reason="the extra mcp is not installed")
        from axon_audit_otel.integrations.mcp.middleware import AuditMiddleware

        self._client = fastmcp.Client
        self._audit = audit
        self._kept: dict[str, str] = {}
        self._broken = False
        self._middleware = AuditMiddleware
        self._fastmcp = fastmcp.FastMCP

    def _server(self, owner: str) -> Any:
        server = self._fastmcp("toy")
        server.add_middleware(self._middleware(self._audit, DESCRIBED, owner=owner))

        @server.tool
        def remember(text: str) -> dict[str, Any]:
            key = f"k{len(self._kept) + 1}"
            self._kept[key] = text
            return {"id": key, "entities": [{"name": key, "text": text}]}

        @server.tool
        def look(query: str) -> dict[str, Any]:
            if self._broken:
                raise OSError("broken on purpose")
            found = {key: text for key, text in self._kept.items() if query in text}
            entities = [{"name": key, "text": text} for key, text in found.items()]
            return {"ids": list(found), "entities": entities}

        @server.tool
        def drop(id: str) -> dict[str, Any]:
            del self._kept[id]
            return {"done": True}

        return server

    async def _call(self, owner: str, name: str, **arguments: Any) -> Any:
        async with self._client(self._server(owner)) as client:
            return (await client.call_tool(name, arguments)).structured_content

    async def store(self, owner: str, text: str) -> str:
        return str((await self._call(owner, "remember", text=text))["id"])

    async def recall(self, owner: str, query: str) -> list[str]:
        found = await self._call(owner, "look", query=query)
        return [entity["text"] for entity in found["entities"]]

    async def forget(self, owner: str, entry_id: str) -> None:
        await self._call(owner, "drop", id=entry_id)

    async def texts(self) -> list[str]:
        return list(self._kept.values())

    def breaks(self) -> None:
        self._broken = True


@pytest.mark.component
class TestMiddleware(Conformance):
    """The conformance suite, through a real client."""

    error_type = "fastmcp.exceptions.ToolError"

    @property
    def error(self) -> type[Exception]:  # type: ignore[override]
        """FastMCP tells its clients what was raised in words."""
        from fastmcp.exceptions import ToolError

        return ToolError

    refusal = error  # type: ignore[assignment]

    @pytest.fixture
    def make(self) -> MakeMemory:
        """The toy memory."""
        return _Toy


@pytest.mark.component
async def test_annotations(audit: AuditLogger) -> None:
    """A tool whose name tells nothing is what its server says of it."""
    fastmcp = pytest.importorskip("fastmcp", reason="the extra mcp is not installed")
    from axon_audit_otel.integrations.mcp.middleware import AuditMiddleware

    server = fastmcp.FastMCP("toy")
    server.add_middleware(AuditMiddleware(audit))

    @server.tool(annotations={"destructiveHint": True})
    def ponder() -> str:
        return "done"

    async with fastmcp.Client(server) as client:
        await client.call_tool("ponder", {})
    assert only_event(audit).operation == "FORGET"


@pytest.mark.component
async def test_no_such_tool(audit: AuditLogger) -> None:
    """A call of a tool that is not there is an event as well, and raises what FastMCP raises."""
    fastmcp = pytest.importorskip("fastmcp", reason="it comes with the extra `components`")
    from axon_audit_otel.integrations.mcp.middleware import AuditMiddleware

    server = fastmcp.FastMCP("toy")
    server.add_middleware(AuditMiddleware(audit))
    async with fastmcp.Client(server) as client:
        with pytest.raises(fastmcp.exceptions.ToolError, match="ponder"):
            await client.call_tool("ponder", {})
    event = only_event(audit)
    assert (event.operation, event.action, event.status) == ("OTHER", "ponder", "FAILURE")


# --- the proxy ---------------------------------------------------------------------------------


def _events(archive: Path) -> list[AuditEvent]:
    return list(search(archive, Query(), oldest_first=True))


class _Session:
    """A client of the proxy, which writes and reads lines."""

    def __init__(
        self, archive: Path, *command: str, stdin: Any = subprocess.PIPE, **environ: str
    ) -> None:
        self._process = subprocess.Popen(
            [
                *(sys.executable, "-m", "axon_audit_otel", "mcp-proxy", "--archive", str(archive)),
                *("--user", "alice", "--", *command),
            ],
            stdin=stdin,
            stdout=subprocess.PIPE,
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", **environ},
        )
        self._number = 0

    def send(self, line: bytes) -> dict[str, Any]:
        """Send a line; the next that comes back."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + b"\n")
        self._process.stdin.flush()
        return self.next()

    def next(self) -> dict[str, Any]:
        """The next line that comes."""
        assert self._process.stdout is not None
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The answer to a request."""
        self._number += 1
        request = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": params}
        answer = self.send(json.dumps(request).encode())
        assert answer["id"] == self._number
        return answer

    def call(self, name: str, **arguments: Any) -> dict[str, Any]:
        """The answer to a call of a tool."""
        return self.ask("tools/call", name=name, arguments=arguments)

    def write(self, name: str) -> None:
        """Call a tool, and wait for nothing."""
        assert self._process.stdin is not None
        said = {"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {"name": name}}
        self._process.stdin.write(json.dumps(said).encode() + b"\n")
        self._process.stdin.flush()

    def end(self) -> int:
        """Close the connection; the exit code."""
        with self._process:
            pass
        return self._process.wait(30)


#: A server that answers each call with what it was given, and ends at the tool "exit".
_ECHO = """
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if "id" not in message:
        continue
    asked = message.get("params", {})
    if asked.get("name") == "exit":
        sys.exit(3)
    result = {"structuredContent": asked.get("arguments"), "isError": asked.get("name") == "bad"}
    print(json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result}), flush=True)
"""


@pytest.mark.slow
class TestProxy:
    def _echo(self, archive: Path) -> _Session:
        return _Session(archive, sys.executable, "-c", _ECHO)

    def test_what_passes(self, tmp_path: Path) -> None:
        """Calls are recorded; all else passes unchanged."""
        session = self._echo(tmp_path / "audit_logs")
        client = {"name": "some-agent", "version": "1"}
        assert session.ask("initialize", clientInfo=client)["result"]["isError"] is False
        assert session.call("delete_note", id="n1")["result"]["structuredContent"] == {"id": "n1"}
        assert session.call("bad")["result"]["isError"] is True
        assert session.end() == 0
        good, bad = _events(tmp_path / "audit_logs")
        assert (good.operation, good.action, good.system) == ("FORGET", "delete_note", "mcp")
        assert (good.entry_ids, good.user_id, good.agent_id) == (["n1"], "alice", "some-agent")
        assert (bad.operation, bad.status, bad.error_type) == ("OTHER", "FAILURE", "tool_error")
        assert good.session_id == bad.session_id
        assert good.session_id is not None

    @pytest.mark.parametrize(
        "line",
        [
            b'[{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"delete_note"}}]',
            b'{"jsonrpc":"2.0","id":1' + b"0" * 5000 + b',"method":"tools/call"}',
            b'{"jsonrpc":"2.0","method":"tools/call","params":{"name":"delete_note"}}',
            b'{"jsonrpc":"2.0","id":[1],"method":"tools/call"}',
            b"no JSON",
        ],
    )
    def test_nothing_passes_unseen(self, tmp_path: Path, line: bytes) -> None:
        """What cannot be told, or could not be answered, is not passed on."""
        session = self._echo(tmp_path / "audit_logs")
        answer = session.send(line)
        assert "not passed on" in answer["error"]["message"]
        assert session.call("look")["result"]["isError"] is False
        assert session.end() == 0
        assert [event.action for event in _events(tmp_path / "audit_logs")] == ["look"]

    def test_server_ends(self, tmp_path: Path) -> None:
        """A call that the server never answers has failed; its exit code is ours."""
        archive = tmp_path / "audit_logs"
        session = self._echo(archive)
        session.write("exit")
        assert session.end() == 3
        assert only(_events(archive)).status == "FAILURE"

    def test_refused(self, tmp_path: Path) -> None:
        """With `on_failure="block"` a call that cannot be recorded is not passed on."""
        archive = tmp_path / "audit_logs"
        session = _Session(archive, sys.executable, "-c", _ECHO, AXON_AUDIT_ON_FAILURE="block")
        session.call("look")
        shutil.rmtree(archive)
        archive.write_text("no directory")
        answer = session.call("delete_note", id="n1")
        assert "refused" in answer["error"]["message"]
        session.end()

    @pytest.mark.parametrize("deaf", [False, True])
    def test_terminated(self, tmp_path: Path, deaf: bool) -> None:
        """SIGTERM ends the server, which may be deaf to it, and seals the archive."""
        archive = tmp_path / "audit_logs"
        ignoring = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)" if deaf else ""
        waiting = 'print(\'{"method": "working"}\', flush=True); import time; time.sleep(600)'
        server = f"{ignoring}\n{_ECHO.replace('sys.exit(3)', waiting)}"
        session = _Session(archive, sys.executable, "-c", server)
        session.call("look")
        session.write("exit")
        assert session.next() == {"method": "working"}
        session._process.terminate()
        assert session._process.wait(30) == 128 + (signal.SIGKILL if deaf else signal.SIGTERM)
        session.end()
        assert [event.status for event in _events(archive)] == ["SUCCESS", "FAILURE"]
        assert [writer.unsealed_events for writer in verify(archive).writers] == [0]

    def test_client_goes(self, tmp_path: Path) -> None:
        """A client that has gone before its answer: the call is recorded, the server ends."""
        archive = tmp_path / "audit_logs"
        session = self._echo(archive)
        session.call("look")
        assert session._process.stdout is not None
        session._process.stdout.close()
        session.write("look")
        assert session._process.wait(30) in (0, 1, 128 + signal.SIGTERM)
        session.end()
        assert [event.status for event in _events(archive)] == ["SUCCESS", "SUCCESS"]

    def test_from_a_file(self, tmp_path: Path) -> None:
        """Requests may be in a file."""
        request = {"jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {"name": "look"}}
        (tmp_path / "requests").write_text(f"{json.dumps(request)}\n")
        with (tmp_path / "requests").open("rb") as file:
            session = _Session(tmp_path / "audit_logs", sys.executable, "-c", _ECHO, stdin=file)
        assert session._process.wait(30) == 0
        session.end()
        assert only(_events(tmp_path / "audit_logs")).action == "look"

    def test_no_answer_to_our_question(self, tmp_path: Path) -> None:
        """A server that does not say what there is: the deletion goes on."""
        skipped = "if asked.get('name') == 'open_nodes': continue"
        silent = _ECHO.replace("result =", f"{skipped}\n    result =")
        session = _Session(tmp_path / "audit_logs", sys.executable, "-c", silent)
        assert session.call("delete_entities", entityNames=["Ann"])["result"]["isError"] is False
        session.end()
        assert only(_events(tmp_path / "audit_logs")).entry_ids == ["Ann"]

    def test_no_such_command(self, tmp_path: Path) -> None:
        """A command that is not there is one line, and an exit code."""
        assert _Session(tmp_path / "audit_logs", "no-such-command").end() == 2


# --- the server from npm -----------------------------------------------------------------------

_PACKAGE = "@modelcontextprotocol/server-memory"


def _server_memory() -> str:
    """The server's program: in MCP_SERVER_MEMORY, or in the cache that CI fills."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "axon-audit-otel"
    default = cache / "mcp-server-memory/node_modules/.bin/mcp-server-memory"
    program = Path(os.environ.get("MCP_SERVER_MEMORY") or default)
    if not program.exists():
        command = f"npm install --prefix {cache / 'mcp-server-memory'} {_PACKAGE}"
        why = f"{program} is not there: {command}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{why}; in CI that is no reason to skip")
        pytest.skip(why)
    return str(program)


@pytest.mark.component
async def test_server_memory(tmp_path: Path) -> None:
    """The reference memory server, and the official client, with the proxy between them."""
    mcp = pytest.importorskip("mcp", reason="the extra mcp is not installed")
    from mcp.client.stdio import stdio_client

    archive = tmp_path / "audit_logs"
    proxy = ["-m", "axon_audit_otel", "mcp-proxy", "--archive", str(archive), "--user", "alice"]
    parameters = mcp.StdioServerParameters(
        command=sys.executable,
        args=[*proxy, "--", _server_memory()],
        env={**os.environ, "MEMORY_FILE_PATH": str(tmp_path / "memory.jsonl")},
    )
    big = "x" * 10_000_000

    def entity(name: str, text: str) -> dict[str, Any]:
        return {"name": name, "entityType": "person", "observations": [text]}

    async with (
        stdio_client(parameters) as (reading, writing),
        mcp.ClientSession(reading, writing) as session,
    ):
        await session.initialize()
        assert len((await session.list_tools()).tools) == 9
        made = [entity("Ann", SECRET), entity("Bob", big)]
        await session.call_tool("create_entities", {"entities": made})
        await session.call_tool("create_entities", {"entities": made})
        await asyncio.gather(
            *(session.call_tool("open_nodes", {"names": ["Ann"]}) for _ in range(20))
        )
        await session.call_tool("search_nodes", {"query": SECRET})
        graph = await session.call_tool("read_graph", {})
        assert big in str(graph)
        deletion = {"entityName": "Ann", "observations": [SECRET]}
        await session.call_tool("delete_observations", {"deletions": [deletion]})
        await session.call_tool("delete_entities", {"entityNames": ["Ann", "Nobody"]})
        await session.call_tool("no_such_tool", {})
    events = _events(archive)
    found = [(e.operation, e.action, e.status, e.entry_ids) for e in events]
    assert [one for one in found if one[1] != "open_nodes"] == [
        ("STORE", "create_entities", "SUCCESS", ["Ann", "Bob"]),
        ("STORE", "create_entities", "SUCCESS", []),
        ("RECALL", "search_nodes", "SUCCESS", ["Ann"]),
        ("RECALL", "read_graph", "SUCCESS", ["Ann", "Bob"]),
        ("FORGET", "delete_observations", "SUCCESS", ["Ann"]),
        ("FORGET", "delete_entities", "SUCCESS", ["Ann", "Nobody"]),
        ("OTHER", "no_such_tool", "FAILURE", []),
    ]
    assert [e.entry_ids for e in events if e.action == "open_nodes"] == [["Ann"]] * 20
    assert [e.metadata["deleted"] for e in events if e.operation == "FORGET"] == [1, 1]
    assert {e.agent_id for e in events} == {"mcp"}
    files = b"".join(file.read_bytes() for file in archive.rglob("*") if file.is_file())
    assert SECRET.encode() not in files
    assert b"xxxxx" not in files


def only(events: list[AuditEvent]) -> AuditEvent:
    """The only event."""
    (event,) = events
    return event
