"""A proxy before an MCP server on standard input and output: what passes is not changed.

Each line is one JSON-RPC message. Calls of tools are recorded; everything else passes. An answer
goes to the client when its event is recorded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from ...core.errors import AxonAuditError
from ...core.log import logger
from .tools import TOOL_ERROR, Tools

__all__ = ["Proxy"]

_LONGEST = 64 << 20  # bytes of a line
_PATIENCE = 5  # seconds for a server that is to end, or to answer a question of ours
#: Error codes of JSON-RPC: no message, no request, and what a server itself refuses.
_NO_MESSAGE, _NO_REQUEST, _REFUSED = -32700, -32600, -32000


class Proxy:
    """Runs a server, and passes on what it and its client say.

    Args:
        tools: What the server's tools do, and where their calls are recorded.
        who: Who acts: arguments of `AuditLogger.operation`.
    """

    def __init__(self, tools: Tools, **who: Any) -> None:
        self._tools = tools
        self._who = who
        self._answers: dict[Any, asyncio.Future[dict[str, Any]]] = {}  # by the id of the request
        self._listing: set[Any] = set()
        self._calls: set[asyncio.Task[None]] = set()
        self._number = 0
        self._prefix = f"axon-audit-{os.getpid()}-"  # of the ids of our own requests
        self._asked = asyncio.Event()  # to end

    async def run(self, command: list[str], stdin: BinaryIO, stdout: BinaryIO) -> int:
        """Pass messages on until one of both sides ends, or a signal asks for the end; returns
        the server's exit code, 128 and the signal that ended it, as shells do.

        Raises:
            OSError: If the server cannot be started.
        """
        self._out = stdout
        self._server = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LONGEST,
        )
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            loop.add_signal_handler(number, self._asked.set)
        client = asyncio.create_task(self._from_client(stdin))
        server = asyncio.create_task(self._from_server())
        asked = asyncio.create_task(self._asked.wait())
        await asyncio.wait((client, server, asked), return_when=asyncio.FIRST_COMPLETED)
        code = await self._end_server(server)
        for answer in list(self._answers.values()):
            if not answer.done():
                answer.set_exception(ConnectionResetError("the server has ended"))
        await asyncio.gather(*self._calls, return_exceptions=True)
        asked.cancel()
        for task in (client, server):
            if not task.done():
                task.cancel()
            elif (exc := task.exception()) is not None and not isinstance(exc, ConnectionError):
                logger.error("the proxy has ended: %s: %s", type(exc).__name__, exc)
        return code if code >= 0 else 128 - code

    async def _end_server(self, reading: asyncio.Task[None]) -> int:
        """End the server, and pass on what it says until then; returns its exit code."""
        process = self._server
        if process.stdin is not None:
            process.stdin.close()
        ends = [process.terminate, process.kill, None]
        if self._asked.is_set():
            self._signal(ends.pop(0))
        exited = asyncio.create_task(process.wait())
        for end in ends:
            await asyncio.wait((exited,), timeout=_PATIENCE)
            if process.returncode is not None or end is None:
                break  # `exited` waits for its children as well, which may have its pipes
            self._signal(end)
        exited.cancel()
        await asyncio.wait((reading,), timeout=1)
        return -signal.SIGKILL if process.returncode is None else process.returncode

    @staticmethod
    def _signal(send: Callable[[], None] | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            if send is not None:
                send()

    # --- what passes ---------------------------------------------------------------------------

    async def _from_client(self, stdin: BinaryIO) -> None:
        lines = asyncio.StreamReader(limit=_LONGEST)
        mode = os.fstat(stdin.fileno()).st_mode
        if stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or os.isatty(stdin.fileno()):
            await asyncio.get_running_loop().connect_read_pipe(
                lambda: asyncio.StreamReaderProtocol(lines), stdin
            )
        else:  # a file, which no event loop can wait for
            lines.feed_data(stdin.read())
            lines.feed_eof()
        while line := await lines.readline():
            message = _parsed(line)
            method = message.get("method")
            if not message:  # a server might read more in it than we do
                self._refuse(None, _NO_MESSAGE, "not a JSON object on a line: not passed on")
                continue
            if method == "tools/call":
                await self._begin(line, message)
                continue
            if method == "tools/list":
                if _is_id(message.get("id")):
                    self._listing.add(message["id"])
            elif method == "initialize":
                self._meet(message)
            elif method == "notifications/cancelled":
                self._cancelled(message)
            await self._send(line)

    async def _from_server(self) -> None:
        assert self._server.stdout is not None
        while line := await self._server.stdout.readline():
            message = _parsed(line)
            key = message.get("id")
            is_answer = "method" not in message and _is_id(key)
            if is_answer and key in self._answers:
                answer = self._answers[key]
                if not answer.done():
                    answer.set_result({**message, "line": line})
                continue
            if is_answer and str(key).startswith(self._prefix):
                continue  # to a question of ours, too late
            if is_answer and key in self._listing:
                self._listing.discard(key)
                self._learn(message)
            self._give(line)

    def _meet(self, message: Mapping[str, Any]) -> None:
        """The program that calls is the agent."""
        client = _in(message, "params", "clientInfo")
        if isinstance(client, Mapping) and isinstance(client.get("name"), str):
            self._who.setdefault("agent_id", client["name"])

    def _cancelled(self, message: Mapping[str, Any]) -> None:
        key = _in(message, "params", "requestId")
        answer = self._answers.get(key) if _is_id(key) else None
        if answer is not None and not answer.done():
            answer.cancel()

    def _learn(self, message: Mapping[str, Any]) -> None:
        tools = _in(message, "result", "tools")
        for tool in tools if isinstance(tools, list) else ():
            if isinstance(tool, Mapping) and isinstance(tool.get("annotations"), Mapping):
                self._tools.learn(str(tool.get("name")), tool["annotations"])

    async def _send(self, line: bytes) -> None:
        assert self._server.stdin is not None
        self._server.stdin.write(line)
        await self._server.stdin.drain()

    def _give(self, line: bytes) -> None:
        try:
            self._out.write(line)
            self._out.flush()
        except OSError:  # the client has gone
            self._asked.set()

    # --- calls ---------------------------------------------------------------------------------

    async def _begin(self, line: bytes, message: Mapping[str, Any]) -> None:
        """Begin a call; returns when the server has it, so that messages stay in their order."""
        key = message.get("id")
        if not _is_id(key) or key in self._answers:
            self._refuse(None, _NO_REQUEST, "a call needs an id of its own: not passed on")
            return
        self._answers[key] = asyncio.get_running_loop().create_future()
        sent = asyncio.Event()
        task = asyncio.create_task(self._call(line, message, sent))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        task.add_done_callback(lambda _: sent.set())
        await sent.wait()

    async def _call(self, line: bytes, message: Mapping[str, Any], sent: asyncio.Event) -> None:
        key, name = message["id"], str(_in(message, "params", "name"))
        arguments = _in(message, "params", "arguments")
        answer: dict[str, Any] | None = None
        try:
            async with self._tools.operation(name, arguments, **self._who) as op:
                there = await self._check(name, arguments)
                await self._send(line)
                sent.set()
                answer = await self._answers[key]
                result = answer.get("result")
                if not isinstance(result, Mapping) or result.get("isError") is True:
                    op.failed(TOOL_ERROR)
                else:
                    content = result.get("structuredContent")
                    self._tools.report(op, name, arguments, content, there)
        except AxonAuditError as exc:
            self._refuse(key, _REFUSED, str(exc))
        except (asyncio.CancelledError, OSError) as exc:
            logger.debug("the call of %s had no answer: %s", name, type(exc).__name__)
        finally:
            self._answers.pop(key, None)
        if answer is not None:
            self._give(answer["line"])

    def _refuse(self, key: Any, code: int, why: str) -> None:
        error = {"code": code, "message": why}
        said = {"jsonrpc": "2.0", "id": key, "error": error}
        self._give(json.dumps(said).encode() + b"\n")

    async def _check(self, name: str, arguments: Any) -> list[str] | None:
        """The entries that there are of those that a call is to delete; None: not known."""
        check, named = self._tools.tool(name).check, self._tools.named(name, arguments)
        if check is None or not named:
            return None
        tool, argument = check
        self._number += 1
        key = f"{self._prefix}{self._number}"
        waits = self._answers[key] = asyncio.get_running_loop().create_future()
        request = {"name": tool, "arguments": {argument: named}}
        said = {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": request}
        try:
            await self._send(json.dumps(said).encode() + b"\n")
            answer = await asyncio.wait_for(waits, _PATIENCE)
        except asyncio.TimeoutError:
            return None
        finally:
            del self._answers[key]
        result = answer.get("result")
        if not isinstance(result, Mapping) or result.get("isError") is True:
            return None
        return self._tools.there(tool, result.get("structuredContent"))


def _parsed(line: bytes) -> dict[str, Any]:
    """The message in a line; {} if it is no object of JSON."""
    with contextlib.suppress(ValueError, RecursionError):
        message = json.loads(line)
        if isinstance(message, dict):
            return message
    return {}


def _is_id(key: Any) -> bool:
    """True for an id of a request; true is none, though it equals 1."""
    return type(key) in (str, int)


def _in(message: Mapping[str, Any], *names: str) -> Any:
    value: Any = message
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def run(tools: Tools, command: list[str], **who: Any) -> int:
    """Run the proxy on this process's standard input and output."""
    return asyncio.run(Proxy(tools, **who).run(command, sys.stdin.buffer, sys.stdout.buffer))
