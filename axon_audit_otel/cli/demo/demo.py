"""The demonstration: records a day of an agent's memory and shows the recording."""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import logging
import os
import re
import shlex
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from random import Random
from typing import Any

from prometheus_client import CollectorRegistry
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.text import Text

from ...archive.checkpoints import new_key
from ...archive.directory import files_of
from ...archive.search import search
from ...core.errors import ArchiveError, AuditConfigError, without_login
from ...core.files import make_directory
from ...events.model import AuditEvent
from ...events.query import Query
from ...events.statistics import summarise
from ...otel_setup import configure, serve_metrics
from ...otlp.address import parse_address
from ...trail.audit_logger import AuditLogger
from ..event_lines import EventLines
from ..keygen import write_key
from ..render import actor_table, print_table, statistics
from .scenario import Day, dialogue, make_memory, personal, spoken

__all__ = ["run_demo"]

_SHOWN = 15  # events of the trail that are printed
_SHOW_S = 1.0  # seconds of the day on a terminal: long enough to be seen
_LOAD_S = 0.2  # seconds between two operations of the load
_SHIP_S = 2.0  # seconds to wait for a collector at the end


def run_demo(
    console: Console,
    output: Path,
    lines: list[str] | None = None,
    users: int = 4,
    *,
    port: int | None = None,
    host: str = "127.0.0.1",
    otlp: bool = False,
    report: Callable[[dict[str, Any]], None] | None = None,
) -> None:
    """Record a day of an agent's memory and show the recording.

    Args:
        console: Shows the recording.
        output: Directory for the audit files.
        lines: The words of the users; None for the text of the package.
        users: Number of users.
        port: After the day, serve metrics on this port until SIGINT or SIGTERM.
        host: The address to serve metrics on.
        otlp: Ship to an OpenTelemetry collector as well.
        report: Called with the results, as JSON types.

    Raises:
        ArchiveError: If *output* cannot be used.
        AuditConfigError: If *host*, *port* or a variable of OpenTelemetry cannot be used.
    """
    with contextlib.ExitStack() as stack:
        stack.enter_context(_without_sdk_logs())
        shipping = stack.enter_context(_Shipping(console)) if otlp else None
        server = None if port is None else stack.enter_context(_metrics_server(port, host))
        audit = stack.enter_context(
            AuditLogger(
                10_000,
                output,
                True,
                name="demo",
                capture_content=False,
                signing_key=_signing_key(output),
            )
        )
        demo = _Demo(console, audit, output, lines, users)
        asyncio.run(demo.run(server.url if server else None, shipping, report))


def _signing_key(output: Path) -> Path | None:
    """The file of the key that signs the archive *output*, beside it; None for one that has no key.

    Raises:
        ArchiveError: If it cannot be written.
    """
    path = output.with_name(f"{output.name}.key")
    if not path.exists():
        if output.is_dir() and any(output.iterdir()):
            return None  # what is there already is not signed
        try:
            make_directory(output)
        except OSError:
            return None  # the logger says why
        try:
            write_key(new_key("demo"), path)
        except OSError as exc:
            raise ArchiveError(f"cannot write {str(path)!r}: {exc.strerror}") from exc
    return path


class _Demo:
    """One run. It shows what the files contain, not what it remembers."""

    def __init__(
        self,
        console: Console,
        audit: AuditLogger,
        output: Path,
        lines: list[str] | None,
        users: int,
    ) -> None:
        self._console = console
        self._audit = audit
        self._output = output
        self._before = set(self._present())
        self._own_text = lines is not None
        self._users, self._lines = spoken(dialogue() if lines is None else lines, users)
        memory, adapters = make_memory(audit)
        self._day = Day(memory, adapters, self._users, self._lines)

    async def run(
        self, url: str | None, shipping: _Shipping | None, report: Callable[[Any], None] | None
    ) -> None:
        """Record the day, show the results, and run a load if there is a *url* to scrape."""
        stop = None if url is None else _ended()  # before the address is printed
        self._title("A day of an AI agent's memory, recorded")
        text = "your own lines" if self._own_text else "Lewis Carroll, A Mad Tea-Party (1865)"
        self._print(
            "A real axon MemorySystem, its three tiers in this process: no server is needed."
        )
        users = len(self._users)
        self._print(f"{users} user{'s' if users > 1 else ''}; what they say: {text}\n")
        await self._live()
        self._audit.seal()
        files = self._files()
        summary = summarise(chain.from_iterable(map(_events_in, files)))
        privacy = await self._privacy()
        self._show(files, summary, privacy)
        if url is None and shipping is not None:
            shipping.finish()
        self._show_next(url)
        if report is not None:
            report(
                {
                    "output": str(self._output),
                    "files": [str(file) for file in files],
                    **summary,
                    "redacted": privacy,
                    "metrics_url": url,
                    "otlp": None if shipping is None else shipping.outcome,
                }
            )
        if stop is not None:
            await self._carry_on(stop)
            if shipping is not None:
                shipping.finish()

    # --- the day -----------------------------------------------------------------------------

    async def _live(self) -> None:
        phases = self._day.phases()
        steps = sum(len(phase.steps) for phase in phases)
        pause = min(0.03, _SHOW_S / steps) if self._console.is_interactive else 0
        columns = TextColumn("  {task.description:36}"), BarColumn(24), MofNCompleteColumn()
        with Progress(*columns, console=self._console) as progress:
            for number, phase in enumerate(phases):
                for step in progress.track(phase.steps, description=phase.title):
                    await step()
                    await asyncio.sleep(pause)
                if number == 1:  # noon: so that there are two files to see
                    self._audit.seal()

    async def _privacy(self) -> list[str]:
        """The recorded content of a line with personal data, if content is captured."""
        with AuditLogger(
            name="demo-content", capture_content=True, registry=CollectorRegistry()
        ) as audit:
            memory, _ = make_memory(audit)
            line = personal(self._users[0])
            await memory.store(line.words, user_id=line.user)
            (event,) = audit.query_events(limit=1)
            content: list[str] = event.metadata["content"]
            return content

    async def _carry_on(self, stop: asyncio.Event) -> None:
        """Run a few operations a second until *stop* is set."""
        random = Random(1865)  # noqa: S311 - a load, no secret
        done = 0
        with self._console.status("") as status:
            while not stop.is_set():
                await self._day.carry_on(random)
                done += 1
                rate = self._audit.get_statistics()["success_rate"]
                status.update(f"{done:,} more operations, {100 * rate:.1f} % succeeded")
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(stop.wait(), _LOAD_S)
        sealed = self._audit.seal()
        self._print(f"\n{done:,} more operations, sealed in {_short(sealed)}")

    # --- files -------------------------------------------------------------------------------

    def _present(self) -> list[Path]:
        try:
            return files_of(self._output)
        except ArchiveError:  # no files yet
            return []

    def _files(self) -> list[Path]:
        """The files that this run sealed."""
        return [
            file for file in self._present() if file not in self._before and file.suffix == ".json"
        ]

    # --- the screen --------------------------------------------------------------------------

    def _print(self, text: str, style: str = "") -> None:
        self._console.print(Text(text, style=style), soft_wrap=True)

    def _title(self, text: str) -> None:
        self._print(f"\n{text}", "bold cyan")

    def _show(self, files: list[Path], summary: dict[str, Any], privacy: list[str]) -> None:
        self._title(f"The audit trail: the newest {_SHOWN} of {summary['total_operations']} events")
        lines = EventLines(self._console)
        lines.header()
        lines.print(self._audit.query_events(limit=_SHOWN))
        self._show_erasure()
        self._title("Statistics")
        print_table(self._console, statistics(summary))
        self._title("Who did how much")
        print_table(self._console, actor_table(summary, "user"))
        self._title("Privacy")
        self._print("By default no text is recorded. With capture_content=True this would be:")
        for text in privacy:
            self._print(f"  {text}")
        self._title("Files")
        width = max((len(_short(file)) for file in files), default=0)
        for file in files:
            count = sum(1 for _ in _events_in(file))
            size = file.stat().st_size / 1024
            self._print(f"  {_short(file):{width}}  {count} events, {size:.0f} KiB")
        if self._audit.settings.signing_key is not None:
            key = _short(self._output.with_name(f"{self._output.name}.key"))
            self._print(f"  {key:{width}}  the key that signs them")

    def _show_erasure(self) -> None:
        """Tell what the deletion of a user's entries left, and what deleted that as well."""
        forgets = self._audit.query_events(operation="FORGET", subject_id=self._day.subject)
        left = [key for event in forgets for key in event.metadata.get("derived_remaining", ())]
        if not left:
            return
        whose = dict.fromkeys(
            person
            for event in self._audit.query_events(operation="COMPACT", entry_ids=left)
            for person in event.subjects
        )
        self._title("Is it really gone?")
        self._print(
            f"forget(Filter(user_id={self._day.subject!r})) deleted the entries of"
            f" {self._day.subject}, and was PARTIAL: a summary made of some of them lived, with"
            f" words of {', '.join(whose)}:\n  {', '.join(left)}\n"
            'forget(..., derived="delete") deleted that as well.'
        )

    def _show_next(self, url: str | None) -> None:
        program, where = _program(), shlex.quote(_short(self._output))
        subject = self._day.subject
        self._title("What to look at next")
        hints = [
            ("what failed, and why", f"query {where} --status FAILURE"),
            (
                f"who touched the data of {subject}",
                f"query {where} --subject {shlex.quote(subject)}",
            ),
            *self._about_erasure(where),
            *self._about_proof(where),
            ("one user's day", f"stats {where} --user {shlex.quote(self._users[0])}"),
            ("for a spreadsheet", f"export {where} audit.csv"),
        ]
        if url is None:
            hints.append(("a load that goes on, with metrics for Prometheus", "demo --serve"))
        else:
            hints.append(("the events as they come, in another terminal", f"tail {where} --follow"))
        for comment, command in hints:
            self._print(f"  # {comment}", "dim")
            self._print(f"  {program} {command}")
        if url is not None:
            self._title("Serving")
            self._print(f"  {url}")
            self._print("  A few operations a second go on; Ctrl-C ends it.\n")

    def _about_proof(self, where: str) -> Iterator[tuple[str, str]]:
        """The command that verifies the archive with the public half of its key."""
        if key := self._audit.settings.signing_key:
            yield "was anything altered or cut off?", f"verify {where} --key {key.verifying}"

    def _about_erasure(self, where: str) -> Iterator[tuple[str, str]]:
        """Commands about the summary that outlived the deletion of its sources."""
        signed = _short(self._output.with_name(f"{self._output.name}.key"))
        for event in self._audit.query_events(operation="FORGET", subject_id=self._day.subject):
            left = event.metadata.get("derived_remaining")
            if left:
                yield "what that summary was made of", f"lineage {left[0]} {where}"
                yield "who had read it, and what came of that", f"influence {left[0]} {where}"
                who = shlex.quote(self._day.subject)
                yield (
                    f"is it erased? A receipt for {self._day.subject}, signed",
                    f"receipt {event.event_id} {where} --subject {who}"
                    f" --signing-key {shlex.quote(signed)}",
                )


def _short(path: Path | None) -> str:
    """*path* as text, relative to the current directory if it is below that."""
    if path is None:
        return "-"
    with contextlib.suppress(ValueError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)


def _program() -> str:
    """The command that starts this program in the current directory."""
    script = Path(sys.argv[0])
    if not script.name.startswith("axon-audit"):
        return f"{shlex.quote(_short(Path(sys.executable)))} -m {__package__}"
    short = _short(script)
    if Path(short).is_absolute() and shutil.which(script.name) == str(script):
        return script.name
    return shlex.quote(short)


def _ended() -> asyncio.Event:
    """An event that SIGINT (Ctrl-C) or SIGTERM (a container runtime) sets."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        with contextlib.suppress(NotImplementedError, ValueError):  # Windows; no main thread
            loop.add_signal_handler(number, ended.set)
    return ended


# --- surroundings ----------------------------------------------------------------------------


@contextmanager
def _without_sdk_logs() -> Iterator[None]:
    """Remove the handlers that `import axon` puts on its loggers, and restore them at the end."""
    logger = logging.getLogger("axon")
    handlers = logger.handlers
    logger.handlers = [logging.NullHandler()]
    try:
        yield
    finally:
        logger.handlers = handlers


def _metrics_server(port: int, host: str) -> Any:
    try:
        return serve_metrics(port, host)
    except OSError as exc:
        msg = f"cannot serve metrics on {host}:{port} ({exc.strerror}): --port 0 takes a free one"
        raise AuditConfigError(msg) from exc


class _Shipping(logging.Handler):
    """Ships by OTLP to a collector, which may be dead, slow or hanging.

    Attributes:
        outcome: The result, in one line.
    """

    def __init__(self, console: Console) -> None:
        super().__init__(logging.WARNING)
        self._console = console
        self._problem: str | None = None
        protocol = os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
        default = f"http://localhost:{4317 if protocol == 'grpc' else 4318}"
        given = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or default
        parse_address(given, "OTEL_EXPORTER_OTLP_ENDPOINT")  # or no exporter could read it
        self._endpoint = without_login(given)
        self.outcome = f"ships to {self._endpoint}"
        self._providers = configure(service_name="axon-audit-demo")

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the first error of an exporter, without its traceback."""
        if self._problem is None:
            line = record.getMessage().partition("\n")[0]
            cause = re.search(r"\[Errno -?\d+\] ([^\"')]+)", line)
            self._problem = cause[1] if cause else line.partition(", retrying")[0][:100]

    def finish(self) -> None:
        """Send the rest; returns soon, also if the collector hangs."""
        sender = threading.Thread(target=self._providers.shutdown, daemon=True)
        with self._console.status(Text(f"shipping to {self._endpoint}")):
            sender.start()
            sender.join(_SHIP_S)
        if sender.is_alive():
            made = self._providers
            waiting: list[Any] = [made.tracer_provider, made.meter_provider, made.logger_provider]
            for provider in waiting:
                atexit.unregister(provider.shutdown)  # at exit it would wait again
            self._problem = self._problem or f"no answer in {_SHIP_S:.0f} seconds"
        if self._problem is None:
            self.outcome = f"shipped to {self._endpoint}"
        else:
            self.outcome = f"not all was shipped to {self._endpoint}: {self._problem}"
        self._console.print(Text(f"\nOpenTelemetry: {self.outcome}"), soft_wrap=True)

    def __enter__(self) -> _Shipping:
        self._logger = logging.getLogger("opentelemetry")
        self._kept = self._logger.handlers, self._logger.propagate
        self._logger.handlers, self._logger.propagate = [self], False
        return self

    def __exit__(self, *exc_info: object) -> None:
        if not any(thread.name.startswith("OtelBatch") for thread in threading.enumerate()):
            self._logger.handlers, self._logger.propagate = self._kept


def _events_in(file: Path) -> Iterator[AuditEvent]:
    return search(file, Query(), oldest_first=True)
