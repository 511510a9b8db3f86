"""The command line: parses arguments, calls the other modules, prints."""

from __future__ import annotations

import heapq
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import click

from ..archive.follow import Follower
from ..archive.missing import Missing
from ..archive.search import search, search_by_writer
from ..events.localtime import local
from ..events.model import AuditEvent, age
from ..events.query import Query
from ..events.statistics import summarise
from ..evidence.siem.origin import Origins
from ..otlp.resource import resource_from_environment
from ..privacy.policy import PrivacyPolicy
from ..privacy.readable import decrypted, recorded
from ..version import __version__
from .access import Access, recorded_reading
from .alerts import alerts
from .assets import assets
from .event_lines import EventLines, columns_option
from .event_words import found_words
from .examples import EPILOG, epilog_of
from .export import (
    FORMATS,
    SIEM_FORMATS,
    checked_target,
    export_events,
    export_otlp,
    export_parquet,
    export_siem,
    format_of,
)
from .group import Commands
from .hold import hold
from .index import index
from .influence import influence
from .keygen import keygen
from .lineage import lineage
from .mcp_proxy import mcp_proxy
from .notes import Answer
from .options import (
    filters,
    json_option,
    keys_option,
    limit_option,
    path_argument,
    print_missing,
    query_of,
    reads,
)
from .privacy import erase, found, pseudonym, reader
from .proof import prove
from .receipt import receipt
from .reconcile import reconcile
from .render import (
    actor_table,
    amount,
    console,
    json_for,
    plain,
    print_json,
    print_table,
    statistics,
)
from .report import report
from .shipping import replay
from .subject import subject
from .verify import verify
from .view import view

__all__ = ["main"]

_POLL_S = 0.2


@click.group(
    cls=Commands,
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="axon-audit")
def main() -> None:
    """Read, verify and hand over the audit trail of an AI application's memory.

    PATH is an exported or sealed file (audit_*.json), a journal, or a directory of them.

    \b
    Examples:
      axon-audit query audit_logs --subject alice --since monday
      axon-audit verify audit_logs --key my-app.pub
      axon-audit report audit_logs --month last --output report.zip
    """


# --- commands --------------------------------------------------------------------------------


@main.command()
@path_argument
@filters
@limit_option
@columns_option
@json_option
@reads
@recorded_reading()
def query(
    path: Path,
    columns: tuple[str, ...],
    as_json: bool,
    missing: Missing,
    reading: Access,
    **given: Any,
) -> None:
    """Print events that pass every filter, newest first.

    With --json: one event per line, as it was recorded, decrypted if the keys are there. Times
    given without a zone are local.
    """
    wanted = query_of(given)
    answers = found(path, wanted, given["keys"], missing, shown=reading.shown)
    events = Answer(answers, path, wanted, given)
    _print_events(events, as_json, columns)
    if not as_json:
        which = "the newest " if events.count == wanted.limit else ""
        click.echo(which + amount(events.count, "event"), err=True)


@main.command()
@path_argument
@filters
@json_option
@reads
@recorded_reading()
def stats(path: Path, as_json: bool, missing: Missing, reading: Access, **given: Any) -> None:
    """Count events: success and latency by operation, users, agents.

    Counts the events that pass every filter. Times given without a zone are local. With --json,
    durations are in milliseconds.
    """
    wanted = query_of(given)
    how: Any = {"oldest_first": True, "shown": reading.shown}
    events = found(path, wanted, given["keys"], missing, **how)
    summary = summarise(Answer(events, path, wanted, given))
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
    print_table(to, actor_table(summary, "user"))
    if summary["agents"]:
        click.echo()
        print_table(to, actor_table(summary, "agent"))
    if len(summary["systems"]) > 1:
        click.echo()
        print_table(to, actor_table(summary, "system"))
    if summary["findings"]:
        click.echo(f"\n{', '.join(found_words(summary['findings']))}")


@main.command()
@path_argument
@click.option(
    "-n",
    "count",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    metavar="N",
    help="How many events to print.",
)
@click.option("-f", "--follow", is_flag=True, help="Print new events too, until Ctrl-C.")
@keys_option
@columns_option
@json_option
@reads
@recorded_reading()
def tail(
    path: Path,
    count: int,
    follow: bool,
    keys: Path | None,
    columns: tuple[str, ...],
    as_json: bool,
    missing: Missing,
    reading: Access,
) -> None:
    """Print the newest events, and new ones as they come.

    The newest comes last. With --json: one event per line, as it was recorded, decrypted if the
    keys are there.
    """
    wanted = Query(limit=count)
    if not follow:
        events = found(path, wanted, keys, missing, shown=reading.shown)
        _print_events(reversed(list(events)), as_json, columns)
        return
    policy = reader(path, keys)
    reading.begin()
    with closing(Follower(path)) as follower, suppress(KeyboardInterrupt):
        for _ in search(path, wanted, recent=(), missing=missing):
            pass  # reports damage in the files of these events only, not in all older ones
        new = wanted.passing(follower.poll(Missing()))
        newest = reversed(heapq.nlargest(max(count, 1), new, age)[:count])
        _print_events(_readable(newest, policy, reading), as_json, columns)
        while True:
            print_missing(missing)
            time.sleep(_POLL_S)
            new = iter(sorted(wanted.passing(follower.poll(missing)), key=age))
            _print_events(_readable(new, policy, reading), as_json, columns, header=False)


def _readable(
    events: Iterable[AuditEvent], policy: PrivacyPolicy, reading: Access
) -> Iterator[AuditEvent]:
    return map(decrypted, reading.shown(map(policy.reveal, events)))


@main.command()
@path_argument
@click.argument("out", type=click.Path(dir_okay=False, allow_dash=True))
@click.option(
    "--format",
    "form",
    type=click.Choice(list(FORMATS), case_sensitive=False),
    metavar="NAME",
    help="Default: what the name OUT ends with; json if it has no ending.",
)
@click.option("--force", is_flag=True, help="Replace OUT if it exists.")
@click.option("--decrypt", is_flag=True, help="Decrypt personal data, if the keys are there.")
@filters
@limit_option
@json_option
@reads
@recorded_reading()
def export(
    path: Path,
    out: str,
    form: str | None,
    force: bool,
    decrypt: bool,
    as_json: bool,
    missing: Missing,
    reading: Access,
    **given: Any,
) -> None:
    """Write events to a file, in the format of other programs.

    Writes the events at PATH that pass every filter to the file OUT, oldest first. OUT is
    written whole or not at all; the name - prints to standard output.

    \b
    json     as the sealed files
    jsonl    one event a line, also .ndjson
    csv      a table; no cell is read as a formula
    parquet  a table with typed columns (docs/sql.md)
    otlp     log records, for a collector's otlp_json_file receiver
    ocsf     for a SIEM: OCSF Datastore Activity, one line an event
    ecs      for a SIEM: Elastic Common Schema
    cef      for a SIEM: ArcSight

    For otlp and a SIEM, OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES name the source, and the
    records of each start of the application are there too.
    """
    wanted = query_of(given)
    name = form or format_of(out)
    printed = out == "-"  # compared as text: as a path it would equal ./-
    target = sys.stdout.buffer if printed else checked_target(Path(out), path, force)
    reading.decrypts, reading.facts["format"] = decrypt and name != "otlp", name
    if name in ("otlp", "parquet", *SIEM_FORMATS):
        written = _export_by_writer(path, wanted, target, name, decrypt, given, missing, reading)
    else:
        keys, oldest = given["keys"], wanted.limit is None
        how: Any = {"as_recorded": not decrypt, "oldest_first": oldest, "shown": reading.shown}
        events: Any = Answer(found(path, wanted, keys, missing, **how), path, wanted, given)
        if wanted.limit is not None:
            events = reversed(list(events))
        written = export_events(events, target, name)
    if as_json:
        print_json({"path": out, "format": name, "events": written}, err=printed)
    else:
        click.echo(f"{amount(written, 'event')} written to {plain(out)}", err=printed)


def _export_by_writer(
    path: Path,
    wanted: Query,
    out: Path | BinaryIO,
    form: str,
    decrypt: bool,
    given: dict[str, Any],
    missing: Missing,
    reading: Access,
) -> int:
    """Export in a format that tells of each event where it is from."""
    if form == "parquet":
        pairs = _by_writer(path, wanted, given, missing, reading)
        return export_parquet(pairs, out, decrypt)
    wanted = replace(wanted, with_start=True)  # whoever receives it counts: nothing is left out
    pairs, resource = _by_writer(path, wanted, given, missing, reading), resource_from_environment()
    if form in SIEM_FORMATS:
        shown = pairs if decrypt else ((writer, recorded(event)) for writer, event in pairs)
        return export_siem(shown, Origins(path, resource), out, form)
    directory = path if path.is_dir() else path.parent
    return export_otlp(pairs, directory, out, resource)


def _by_writer(
    path: Path, wanted: Query, given: dict[str, Any], missing: Missing, reading: Access
) -> Any:
    """The events that `wanted` asks for with their writers, readable; their bytes as recorded."""
    policy = reader(path, given["keys"])
    pairs = search_by_writer(path, policy.asking(wanted), missing)
    read = ((writer, policy.reveal(event)) for writer, event in pairs)
    answers = (pair for pair in read if policy.answers(wanted, pair[1]))
    shown = ((writer, event) for writer, one in answers for event in reading.shown((one,)))
    events = Answer(shown, path, wanted, given)
    return events if wanted.limit is None else deque(events, maxlen=wanted.limit)


@main.command()
@click.option(
    "--input",
    "text",
    type=click.File("r", encoding="utf-8-sig", errors="replace"),
    help="A file of your own lines to remember: 'SPEAKER: words', or just words.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    default=Path("axon-audit-demo"),
    show_default=True,
    help="Directory for the audit files; nothing there is overwritten.",
)
@click.option(
    "--users",
    type=click.IntRange(1, 1000),
    default=4,
    show_default=True,
    metavar="N",
    help="How many users.",
)
@click.option("--serve", is_flag=True, help="Keep a load running and serve /metrics, until Ctrl-C.")
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=9464,
    show_default=True,
    help="Port of /metrics; 0: a free one.",
)
@click.option(
    "--host", default="127.0.0.1", show_default=True, help="Address of /metrics; 0.0.0.0: all."
)
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
    """Record an AI agent's day, and show the recording.

    Runs a real Axon memory in this process, with several users and every operation, some of
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


# --- printing --------------------------------------------------------------------------------


def _print_events(
    events: Any, as_json: bool, columns: Sequence[str] = (), header: bool = True
) -> None:
    if as_json:
        out = sys.stdout.buffer
        for event in events:
            out.write(json_for(sys.stdout, event.to_json()) + b"\n")
        out.flush()
        return
    lines = EventLines(console(), columns)
    events = iter(events)
    first = list(islice(events, 1))  # an error of reading comes before the header
    if header:
        lines.header()
    lines.print(chain(first, events))


for _command in (
    *(keygen, verify, prove, receipt, hold, erase, pseudonym, alerts, assets, replay),
    *(index, influence, lineage, mcp_proxy, reconcile, report, subject, view),
):
    main.add_command(_command)
for _name, _command in main.commands.items():
    _command.epilog = epilog_of(_name)
