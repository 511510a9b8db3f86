"""The command line: parses, asks the other modules, prints."""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import datetime, timedelta
from datetime import time as time_of_day
from itertools import chain, islice
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec
from rich.console import Console

from .cli_alerts import alerts
from .cli_hold import hold
from .cli_privacy import pseudonym, secret_option
from .cli_proof import keygen, prove, verify
from .errors import AxonAuditError
from .event import AuditEvent, EventStatus, OperationType
from .export import FORMATS, export_events, export_otlp
from .files import files_of
from .follow import Follower, age, newest
from .pseudonym import Pseudonyms
from .query import Query
from .render import EventLines, local, statistics, user_table
from .report import summarise
from .search import search, search_by_writer
from .version import __version__

__all__ = ["main"]

_POLL_S = 0.2


class _Commands(click.Group):
    """Turns our errors into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):  # a terminal that lacks a character is no error
                stream.reconfigure(errors="backslashreplace")
        try:
            return super().invoke(ctx)
        except AxonAuditError as exc:
            raise click.ClickException(str(exc)) from exc


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="axon-audit")
def main() -> None:
    """Read the audit trail of an Axon memory, or see a demonstration of one.

    PATH is an exported or sealed file (audit_*.json), a journal, or a directory of them.
    """


# --- arguments -------------------------------------------------------------------------------

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


class _Moment(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """An ISO date or time, or a duration before now.

    Args:
        end: A date alone means its last microsecond, not its first.
    """

    name = "when"

    def __init__(self, end: bool = False) -> None:
        self._end = end

    def convert(self, value: Any, param: Any, ctx: Any) -> datetime:
        try:
            return self._parse(str(value).strip()).astimezone()
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is no time: use 2025-01-31, 2025-01-31T10:30, 10:30 (today),"
                " or 15m, 24h, 7d for that long ago",
                param,
                ctx,
            )

    def _parse(self, text: str) -> datetime:
        if ago := re.fullmatch(r"(\d+)\s*([smhdw])", text):
            return datetime.now().astimezone() - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            day = datetime.fromisoformat(text)
            return (
                day.replace(hour=23, minute=59, second=59, microsecond=999_999)
                if (self._end)
                else day
            )
        text = re.sub(r"[zZ]$", "+00:00", text)
        if re.match(r"\d\d:\d\d", text):
            return datetime.combine(datetime.now().date(), time_of_day.fromisoformat(text))
        return datetime.fromisoformat(text)


def _choice(name: str, kind: type[OperationType] | type[EventStatus]) -> Callable[..., Any]:
    names = list(kind.__members__)
    choice = click.Choice(names, case_sensitive=False)
    return click.option(name, type=choice, metavar="NAME", help=", ".join(names) + ".")


_path = click.argument("path", type=click.Path(path_type=Path))
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FILTERS = [
    click.option("--user", metavar="ID", help="Who acted."),
    click.option("--session", metavar="ID", help="In which session."),
    _choice("--operation", OperationType),
    _choice("--status", EventStatus),
    click.option("--entry", metavar="ID", multiple=True, help="A memory touched; any of several."),
    click.option("--subject", metavar="ID", help="Whose data, where another user acted."),
    click.option(
        "--since", type=_Moment(), help="2025-01-31, 2025-01-31T10:30, 10:30, or 15m, 24h, 7d ago."
    ),
    click.option("--until", type=_Moment(end=True), help="Likewise; included."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="The newest N only."),
    secret_option,
]


def _filters(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FILTERS):
        command = option(command)
    return command


def _query(filters: dict[str, Any]) -> Query:
    since, until = filters["since"], filters["until"]
    if since is not None and until is not None and since > until:
        msg = f"--since ({local(since)}) is after --until ({local(until)})"
        raise click.UsageError(msg)
    return Query.of(
        operation=filters["operation"],
        status=filters["status"],
        user_id=filters["user"],
        session_id=filters["session"],
        subject_id=filters["subject"],
        entry_ids=filters["entry"] or None,
        start_time=since,
        end_time=until,
        limit=filters["limit"],
    ).under(filters["pseudonyms"])


# --- commands --------------------------------------------------------------------------------


@main.command()
@_path
@_filters
@_json
def query(path: Path, as_json: bool, **filters: Any) -> None:
    """Print events that pass every filter, newest first.

    With --json: one event a line, the bytes as recorded. Times without a zone are local.
    """
    asked = _query(filters)
    found = _Counted(search(path, asked))
    _print_events(found, as_json)
    if not as_json:
        which = "the newest " if found.count == asked.limit else ""
        click.echo(which + _events(found.count), err=True)


@main.command()
@_path
@click.option("--user", metavar="ID", help="This user's events only.")
@secret_option
@_json
def stats(path: Path, user: str | None, pseudonyms: Pseudonyms | None, as_json: bool) -> None:
    """Count: success and latency by operation, users.

    With --json: one object; durations in milliseconds.
    """
    query = Query.of(user_id=user).under(pseudonyms)
    summary = summarise(search(path, query, oldest_first=True))
    if as_json:
        _print_json(summary if user is None else {"user_id": user, **summary})
        return
    if not summary["total_operations"]:
        click.echo("no events", err=True)
        return
    console = _console()
    first, last = local(summary["first_activity"]), local(summary["last_activity"])
    console.print(f"{_events(summary['total_operations'])} from {first} to {last}\n")
    console.print(statistics(summary), "")
    console.print(user_table(summary))


@main.command()
@_path
@click.option(
    "-n", "count", type=click.IntRange(min=0), default=10, show_default=True, help="How many."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with those to come, until Ctrl-C.")
@_json
def tail(path: Path, count: int, follow: bool, as_json: bool) -> None:
    """Print the newest events, and those to come.

    The newest is the last. --follow goes on from file to file when the journal is sealed.
    With --json: one event a line, the bytes as recorded.
    """
    if not follow:
        _print_events(reversed(list(search(path, Query(limit=count)))), as_json)
        return
    with closing(Follower(path)) as follower, suppress(KeyboardInterrupt):
        _print_events(reversed(newest(follower.poll(), count)), as_json)
        while True:
            time.sleep(_POLL_S)
            _print_events(sorted(follower.poll(), key=age), as_json, header=False)


@main.command()
@_path
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS), case_sensitive=False),
    help="Default: as OUT ends, else json.",
)
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@_filters
@_json
def export(
    path: Path, out: Path, form: str | None, force: bool, as_json: bool, **filters: Any
) -> None:
    """Write events to a file, as JSON, JSON lines, CSV or OTLP.

    Those at PATH that pass every filter, to the file OUT, oldest first. json is the format
    of the sealed files, jsonl one event a line, csv a table in which entry_ids and metadata
    are JSON and no cell is taken for a formula, otlp log records as OpenTelemetry's JSON
    lines, for a collector's otlpjsonfile receiver (OTEL_SERVICE_NAME and
    OTEL_RESOURCE_ATTRIBUTES say whose they are). OUT appears whole or not at all.
    """
    asked = _query(filters)
    name = form or out.suffix.lower().lstrip(".")
    name = name if name in FORMATS else "json"
    _check_target(out, path, force)
    if name == "otlp":
        written = _export_otlp(path, asked, out.resolve())
    else:
        events: Any = search(path, asked, oldest_first=asked.limit is None)
        if asked.limit is not None:
            events = reversed(list(events))
        written = export_events(events, out.resolve(), name)
    if as_json:
        _print_json({"path": str(out), "format": name, "events": written})
    else:
        click.echo(f"{_events(written)} written to {out}")


def _export_otlp(path: Path, asked: Query, out: Path) -> int:
    from opentelemetry.sdk.resources import Resource

    found: Any = search_by_writer(path, asked)
    if asked.limit is not None:
        found = deque(found, maxlen=asked.limit)
    directory = path if path.is_dir() else path.parent
    return export_otlp(found, directory, out, Resource.create().attributes)


@main.command()
@click.option(
    "--input",
    "text",
    type=click.File("r", encoding="utf-8-sig", errors="replace"),
    help="Your own lines to remember; 'SPEAKER: words' or words.",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    default=Path("axon-audit-demo"),
    show_default=True,
    help="Directory for the audit files; nothing there is overwritten.",
)
@click.option("--users", type=click.IntRange(1, 1000), default=4, show_default=True)
@click.option("--serve", is_flag=True, help="Keep a load running and serve /metrics, until Ctrl-C.")
@click.option("--port", type=click.IntRange(0, 65535), default=9464, show_default=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="0.0.0.0 for all addresses.")
@click.option("--otlp", is_flag=True, help="Ship to the collector at OTEL_EXPORTER_OTLP_ENDPOINT.")
@_json
def demo(
    text: TextIO | None,
    output: Path,
    users: int,
    serve: bool,
    port: int,
    host: str,
    otlp: bool,
    as_json: bool,
) -> None:
    """See an AI agent's day, recorded: the main job.

    A real Axon memory, in this process, with several users and every operation, some of
    which fail. Needs no server.
    """
    try:
        with _console(quiet=as_json, stderr=True).status("loading the Axon SDK"):
            from .demo import run_demo
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "axon":
            raise
        msg = "the demo needs the Axon SDK: pip install 'axon-audit-otel[instruments]'"
        raise click.ClickException(msg) from exc
    lines = None if text is None else text.read().splitlines()
    if lines is not None and not any(line.strip() for line in lines):
        raise click.BadParameter("there is no line in it", param_hint="--input")
    run_demo(
        _console(quiet=as_json),
        output,
        lines,
        users,
        port=port if serve else None,
        host=host,
        otlp=otlp,
        report=_print_json if as_json else None,
    )


def _check_target(out: Path, path: Path, force: bool) -> None:
    """Nothing is overwritten unasked, and never what is read."""
    target, name = out.resolve(), repr(str(out))
    if target in {file.resolve() for file in files_of(path)}:
        raise click.ClickException(f"{name} is one of the files to be read")
    if target.parent == path.resolve() and target.match("audit_*.json*"):
        raise click.ClickException(f"{name} would become part of {str(path)!r}: use another name")
    if target.exists() and not target.is_file():
        raise click.ClickException(f"{name} is no regular file")
    if target.exists() and not force:
        raise click.ClickException(f"{name} exists: --force replaces it")


# --- printing --------------------------------------------------------------------------------


def _events(count: int) -> str:
    return f"{count:,} event{'' if count == 1 else 's'}"


def _console(quiet: bool = False, stderr: bool = False) -> Console:
    return Console(highlight=False, quiet=quiet, stderr=stderr)


def _print_events(events: Any, as_json: bool, header: bool = True) -> None:
    if as_json:
        out = sys.stdout.buffer
        for event in events:
            out.write(event.to_json() + b"\n")
        out.flush()
        return
    lines = EventLines(_console())
    events = iter(events)
    first = list(islice(events, 1))  # what cannot be read is said before anything is shown
    if header:
        lines.header()
    lines.print(chain(first, events))


def _print_json(value: Any) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(value), indent=2))


class _Counted:
    """Counts what is taken from it."""

    def __init__(self, events: Iterator[AuditEvent]) -> None:
        self._events = events
        self.count = 0

    def __iter__(self) -> Iterator[AuditEvent]:
        for event in self._events:
            self.count += 1
            yield event


for _command in (keygen, verify, prove, hold, pseudonym, alerts):
    main.add_command(_command)
