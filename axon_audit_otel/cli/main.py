"""The command line: parses, asks the other modules, prints."""

from __future__ import annotations

import errno
import os
import sys
import time
from collections import deque
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import click

from ..archive.follow import Follower, newest
from ..archive.format import files_of
from ..archive.missing import Missing
from ..archive.search import search, search_by_writer
from ..core.errors import ArchiveError, AxonAuditError, shown
from ..events.localtime import local
from ..events.model import age
from ..events.query import Query
from ..events.statistics import summarise
from ..otlp.resource import resource_from_environment
from ..version import __version__
from .alerts import alerts
from .export import FORMATS, export_events, export_otlp
from .hold import hold
from .notes import Answer
from .options import (
    filters,
    json_option,
    keys_option,
    limit_option,
    path_argument,
    query_of,
    reads,
    tell,
)
from .privacy import erase, found, pseudonym, readable, reader
from .proof import keygen, prove, verify
from .render import (
    EventLines,
    amount,
    console,
    plain,
    print_json,
    print_table,
    statistics,
    user_table,
)
from .shipping import replay
from .streams import standard_streams

__all__ = ["main"]

_POLL_S = 0.2


class _Commands(click.Group):
    """Turns our errors into one line and an exit code."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with standard_streams():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except AxonAuditError as exc:
            raise click.ClickException(str(exc)) from exc
        except OSError as exc:
            if exc.errno == errno.EPIPE:  # `| head`: click's business
                raise
            place = f": {shown(exc.filename)}" if exc.filename else ""
            raise click.ClickException(f"{exc.strerror or exc}{place}") from exc


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="axon-audit")
def main() -> None:
    """Read the audit trail of an Axon memory, or see a demonstration of one.

    PATH is an exported or sealed file (audit_*.json), a journal, or a directory of them.

    Exit codes: 0; 1, something could not be done, or a file not be read (which is said, and the
    rest is printed all the same); 2, the command was not understood.
    """


# --- commands --------------------------------------------------------------------------------


@main.command()
@path_argument
@filters
@limit_option
@json_option
@reads
def query(path: Path, as_json: bool, missing: Missing, **given: Any) -> None:
    """Print events that pass every filter, newest first.

    With --json: one event a line, the bytes as recorded, but decrypted where there are
    keys. Times without a zone are local.
    """
    asked = query_of(given)
    events = Answer(found(path, asked, given["keys"], missing), path, asked, given)
    _print_events(events, as_json)
    if not as_json:
        which = "the newest " if events.count == asked.limit else ""
        click.echo(which + amount(events.count, "event"), err=True)


@main.command()
@path_argument
@filters
@json_option
@reads
def stats(path: Path, as_json: bool, missing: Missing, **given: Any) -> None:
    """Count: success and latency by operation, users.

    Of the events that pass every filter. Times without a zone are local. With --json: one
    object; durations in milliseconds.
    """
    asked = query_of(given)
    events = found(path, asked, given["keys"], missing, oldest_first=True)
    summary = summarise(Answer(events, path, asked, given))
    if as_json:
        user = given["user"]
        print_json(summary if user is None else {"user_id": user, **summary})
        return
    if not summary["total_operations"]:
        click.echo("no events", err=True)
        return
    first, last = local(summary["first_activity"]), local(summary["last_activity"])
    to = console()
    click.echo(f"{amount(summary['total_operations'], 'event')} from {first} to {last}\n")
    print_table(to, statistics(summary))
    click.echo()
    print_table(to, user_table(summary))


@main.command()
@path_argument
@click.option(
    "-n", "count", type=click.IntRange(min=0), default=10, show_default=True, help="How many."
)
@click.option("-f", "--follow", is_flag=True, help="Go on with those to come, until Ctrl-C.")
@keys_option
@json_option
@reads
def tail(
    path: Path, count: int, follow: bool, keys: Path | None, as_json: bool, missing: Missing
) -> None:
    """Print the newest events, and those to come.

    The newest is the last. --follow goes on from file to file when the journal is sealed.
    With --json: one event a line, the bytes as recorded, but decrypted where there are keys.
    """
    asked = Query(limit=count)
    if not follow:
        _print_events(reversed(list(found(path, asked, keys, missing))), as_json)
        return
    erasure = reader(path, keys)
    with closing(Follower(path)) as follower, suppress(KeyboardInterrupt):
        for _ in search(path, asked, recent=(), missing=missing):
            pass  # what these lack; not what those before them do
        events = reversed(newest(asked.passing(follower.poll(Missing())), count))
        _print_events(readable(erasure, events), as_json)
        while True:
            tell(missing)
            time.sleep(_POLL_S)
            new = sorted(asked.passing(follower.poll(missing)), key=age)
            _print_events(readable(erasure, new), as_json, header=False)


@main.command()
@path_argument
@click.argument("out", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS), case_sensitive=False),
    help="Default: as OUT ends, else json.",
)
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@click.option("--decrypt", is_flag=True, help="Write readable what there are keys for.")
@filters
@limit_option
@json_option
@reads
def export(
    path: Path,
    out: str,
    form: str | None,
    force: bool,
    decrypt: bool,
    as_json: bool,
    missing: Missing,
    **given: Any,
) -> None:
    """Write events to a file, as JSON, JSON lines, CSV or OTLP.

    Those at PATH that pass every filter, to the file OUT, oldest first. json is the format
    of the sealed files, jsonl one event a line, csv a table in which entry_ids and metadata
    are JSON and no cell is taken for a formula, otlp log records as OpenTelemetry's JSON
    lines, for a collector's otlp_json_file receiver (OTEL_SERVICE_NAME and
    OTEL_RESOURCE_ATTRIBUTES say whose they are). OUT appears whole or not at all; - prints.
    """
    asked = query_of(given)
    name = form or Path(out).suffix.lower().lstrip(".")
    name = name if name in FORMATS else "json"
    printed = out == "-"  # which as a path would be the same as ./-
    target = sys.stdout.buffer if printed else _checked_target(Path(out), path, force)
    if name == "otlp":
        written = _export_otlp(path, asked, target, given, missing)
    else:
        keys, oldest = given["keys"], asked.limit is None
        how = {"as_recorded": not decrypt, "oldest_first": oldest}
        events: Any = Answer(found(path, asked, keys, missing, **how), path, asked, given)
        if asked.limit is not None:
            events = reversed(list(events))
        written = export_events(events, target, name)
    if as_json:
        print_json({"path": out, "format": name, "events": written}, err=printed)
    else:
        click.echo(f"{amount(written, 'event')} written to {plain(out)}", err=printed)


def _export_otlp(
    path: Path, asked: Query, out: Path | BinaryIO, given: dict[str, Any], missing: Missing
) -> int:
    asked = replace(asked, with_start=True)  # what arrives there is verified: nothing is left out
    erasure = reader(path, given["keys"])
    sought = asked if erasure is None else erasure.asking(asked)
    events: Any = search_by_writer(path, sought, missing)
    if erasure is not None:
        events = (pair for pair in events if erasure.answers(asked, erasure.reveal(pair[1])))
    events = Answer(events, path, asked, given)
    if asked.limit is not None:
        events = deque(events, maxlen=asked.limit)
    directory = path if path.is_dir() else path.parent
    return export_otlp(events, directory, out, resource_from_environment())


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
@json_option
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
        with console(quiet=as_json, stderr=True).status("loading the Axon SDK"):
            from .demo.demo import run_demo
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "axon":
            raise
        msg = "the demo needs the Axon SDK: pip install 'axon-audit-otel[instruments]'"
        raise click.ClickException(msg) from exc
    lines = None if text is None else text.read().splitlines()
    if lines is not None and not any(line.strip() for line in lines):
        raise click.BadParameter("there is no line in it", param_hint="--input")
    run_demo(
        console(quiet=as_json),
        output,
        lines,
        users,
        port=port if serve else None,
        host=host,
        otlp=otlp,
        report=print_json if as_json else None,
    )


def _checked_target(out: Path, path: Path, force: bool) -> Path:
    """Where to write: nothing is overwritten unasked, and never what is read."""
    target, name = Path(os.path.realpath(out)), repr(str(out))
    with suppress(ArchiveError):  # there is none: who reads says so
        if str(target) in {os.path.realpath(file) for file in files_of(path)}:
            raise click.ClickException(f"{name} is one of the files to be read")
    if str(target.parent) == os.path.realpath(path) and target.match("audit_*.json*"):
        raise click.ClickException(f"{name} would become part of {str(path)!r}: use another name")
    if target.exists() and not target.is_file():
        raise click.ClickException(f"{name} is no regular file")
    if target.exists() and not force:
        raise click.ClickException(f"{name} exists: --force replaces it")
    return target


# --- printing --------------------------------------------------------------------------------


def _print_events(events: Any, as_json: bool, header: bool = True) -> None:
    if as_json:
        out = sys.stdout.buffer
        for event in events:
            out.write(event.to_json() + b"\n")
        out.flush()
        return
    lines = EventLines(console())
    events = iter(events)
    first = list(islice(events, 1))  # what cannot be read is said before anything is shown
    if header:
        lines.header()
    lines.print(chain(first, events))


for _command in (keygen, verify, prove, hold, erase, pseudonym, alerts, replay):
    main.add_command(_command)
