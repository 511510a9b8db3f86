"""Prints events and statistics: wrapped to fit a terminal, one line each in a pipe, never cut."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click
import msgspec
from rich import box
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..core.errors import escaped
from ..core.semconv import ERASABLE_PREFIX
from ..core.units import short
from ..events.findings import few, findings
from ..events.localtime import local, shown, usual_offset
from ..events.model import AuditEvent
from ..verification.report import numbers

__all__ = [
    "EventLines",
    "actor_table",
    "amount",
    "console",
    "details",
    "found_words",
    "milliseconds",
    "plain",
    "print_json",
    "print_table",
    "reading_bar",
    "statistics",
    "without_ciphers",
]

_COLOURS = {"SUCCESS": "green", "PARTIAL": "yellow", "FAILURE": "red"}
_USERS = 10  # shown in the table of users, and of agents
_ENCRYPTED = re.compile(f"({ERASABLE_PREFIX}[0-9a-f]+:)[\\w+/=-]*", re.ASCII)


def plain(value: object) -> str:
    """*value* as text without control characters: ids come from strangers."""
    return escaped(str(value))


def print_json(value: object, err: bool = False) -> None:
    """Print *value* as JSON in UTF-8, whatever the terminal's encoding is.

    Text that is not valid Unicode (a file name) is escaped.
    """
    try:
        text = msgspec.json.format(msgspec.json.encode(value), indent=2)
    except UnicodeEncodeError:
        text = json.dumps(msgspec.to_builtins(value), indent=2).encode()
    click.echo(text, err=err)


def without_ciphers(text: str) -> str:
    """*text* in which of each encrypted id only its token is left, and a mark."""
    return _ENCRYPTED.sub(r"\1…", text)


def amount(number: int, noun: str) -> str:
    """A number with its noun: ``1,200 events``, ``2 entries``."""
    if number != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("entry") else f"{noun}s"
    return f"{number:,} {noun}"


def milliseconds(value: float | None) -> str:
    """A duration in milliseconds, with about three digits."""
    if value is None:
        return "-"
    if value < 10:
        return f"{value:.3f}" if value < 1 else f"{value:.2f}"
    return f"{value:.1f}" if value < 100 else f"{value:,.0f}"


@contextmanager
def reading_bar(what: str, files: Iterable[Path]) -> Iterator[Callable[[int], None]]:
    """A progress bar on a terminal while *files* are read; its function takes the bytes read."""
    to = console(stderr=True)
    if not to.is_interactive:
        yield lambda size: None
        return
    columns = TextColumn(what, markup=False), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(*columns, console=to, transient=True) as bar:
        task = bar.add_task("", total=sum(file.stat().st_size for file in files if file.is_file()))
        yield lambda size: bar.advance(task, size)


# --- the console -----------------------------------------------------------------------------

_WIDTH, _HEIGHT = 80, 25  # of a terminal with unknown size
_WIDEST = 1000  # a larger COLUMNS or LINES is taken as this


def console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """A console for text that people read, on standard output or standard error.

    Colour depends on environment variables (NO_COLOR, FORCE_COLOR, CLICOLOR_FORCE,
    TTY_COMPATIBLE, TERM). Layout and animation depend on `on_screen` and the width only.
    """
    stream = sys.stderr if stderr else sys.stdout
    screen = _is_terminal(stream)
    width, height = _size(stream, screen)
    return Console(
        stderr=stderr,
        quiet=quiet,
        highlight=False,
        markup=False,
        emoji=False,
        width=width,
        height=height,
        no_color=_without_colour() or None,
        **_escapes(screen),
    )


def on_screen(to: Console) -> bool:
    """Return True for a terminal; a file or a pipe gets everything in full."""
    return _is_terminal(to.file)


def _is_terminal(stream: Any) -> bool:
    try:
        return bool(stream.isatty())
    except (AttributeError, ValueError):  # no stream, or closed
        return False


def _without_colour() -> bool:
    return bool(os.environ.get("NO_COLOR")) or os.environ.get("FORCE_COLOR") in ("0", "false")


def _escapes(screen: bool) -> dict[str, Any]:
    """The arguments of a rich `Console` that allow or forbid escape sequences."""
    environment = os.environ
    compatible = environment.get("TTY_COMPATIBLE")
    if screen:
        able = compatible != "0" and environment.get("TERM") not in ("dumb", "unknown")
        moving = able and environment.get("TTY_INTERACTIVE") != "0"
        return {"force_terminal": able, "force_interactive": moving}
    forced = [environment.get(name, "") for name in ("FORCE_COLOR", "CLICOLOR_FORCE")]
    wanted = compatible == "1" or any(value not in ("", "0", "false") for value in forced)
    coloured = wanted and compatible != "0" and not _without_colour()
    colours = "standard" if coloured else None
    return {"force_terminal": False, "force_interactive": False, "color_system": colours}


def _size(stream: Any, screen: bool) -> tuple[int, int]:
    """Columns and lines: from COLUMNS and LINES, else from the terminal."""
    width = height = 0
    if screen:
        with suppress(OSError, ValueError, AttributeError):
            width, height = os.get_terminal_size(stream.fileno())
    return _number("COLUMNS") or width or _WIDTH, _number("LINES") or height or _HEIGHT


def _number(variable: str) -> int:
    """The value of an environment variable; 0 if it is not a size."""
    text = os.environ.get(variable, "")
    return min(int(text), _WIDEST) if text.isascii() and text.isdigit() and len(text) < 9 else 0


# --- events ----------------------------------------------------------------------------------


class EventLines:
    """Prints events in columns of fixed width, each as soon as it comes.

    On a terminal, text that does not fit its column continues on the next line, in the same
    column. In a pipe, and on a terminal too narrow for the columns, an event is one line.
    Nothing is cut.

    Args:
        to: The console to print to.
    """

    def __init__(self, to: Console) -> None:
        self._console = to
        self._usual = usual_offset()
        screen = on_screen(to)
        # A wide terminal has room for the session and the year; the rest is for the details.
        self._full = not screen or to.width >= 120
        wider = min(max(0, to.width - 120) // 2, 30) if screen else 0
        self._columns = [("operation", 11), ("status", 7), ("user", 15 + wider)]
        if self._full:
            self._columns.append(("session", 18 + wider))
        self._time = (19 if self._full else 16) + (0 if self._usual else 6)
        used = self._time + sum(width + 1 for _, width in self._columns) + 9
        self._rest = to.width - used
        self._folds = screen and self._rest >= 10

    def header(self) -> None:
        """Print the names of the columns, and the zone of the times."""
        clock = "local" if self._usual is None else f"UTC{self._usual}".replace("+00:00", "")
        names = [set_cell_size(name, width) for name, width in self._columns]
        line = " ".join([f"{f'time ({clock})':{self._time}}", *names, f"{'ms':>7}", "what"])
        self._write(Text(line, style="bold"))

    def print(self, events: Iterable[AuditEvent]) -> None:
        """Print *events*, each on lines of its own."""
        if self._console.quiet:
            return
        for event in events:
            for line in self._lines(event):
                self._write(line)
        self._console.file.flush()

    def _write(self, line: Text) -> None:
        if self._console.color_system is not None:
            self._console.print(line, soft_wrap=True)
        elif not self._console.quiet:  # a pipe or a file: rich would be slow
            self._console.file.write(f"{line.plain}\n")

    def _lines(self, event: AuditEvent) -> Iterator[Text]:
        cells = [([self._moment(event.timestamp)], self._time, "")]
        for name, width in self._columns:
            value, style = self._cell(name, event)
            cells.append((self._folded(value, width), width, style))
        cells.append(([f"{milliseconds(event.duration_ms):>7}"], 7, ""))
        style = "" if event.status == "SUCCESS" else _COLOURS[event.status.value]
        cells.append((self._wrapped(details(event)), 0, style))
        for number in range(max(len(parts) for parts, _, _ in cells)):
            line = Text()
            for parts, width, style in cells:
                part = parts[number] if number < len(parts) else ""
                line.append(_pad(part, width), style=style).append(" ")
            line.rstrip()
            yield line

    def _folded(self, text: str, width: int) -> list[str]:
        """An id in lines of *width* cells; an encrypted id is shortened to its first part."""
        if not self._folds:
            return [text]
        text = without_ciphers(text)
        return _chopped(text, width) if cell_len(text) > width else [text]

    def _wrapped(self, text: str) -> list[str]:
        """*text* in lines that fit the last column, wrapped between words if possible, with
        encrypted ids shortened."""
        if not self._folds:
            return [text]
        text = without_ciphers(text)
        if cell_len(text) <= self._rest:
            return [text]
        return [line.plain for line in Text(text).wrap(self._console, self._rest)]

    def _moment(self, moment: datetime) -> str:
        """A time as text: with seconds if there is room, with the year unless it is this one.

        It has the offset from UTC if that is not the one in the header, as after a change of
        the clock.
        """
        text, offset = shown(moment)
        if not self._full:
            this_year = text.startswith(f"{datetime.now().year}-")
            text = text[5:] if this_year else text[:16]
        if offset != self._usual:
            text += offset
        return f"{text:{self._time}}"

    @staticmethod
    def _cell(name: str, event: AuditEvent) -> tuple[str, str]:
        if name == "operation":
            return plain(event.operation.value), "bold"
        if name == "status":
            return event.status.value, _COLOURS[event.status.value]
        value = event.user_id if name == "user" else event.session_id
        return ("-", "dim") if value is None else (plain(value), "")


def _pad(text: str, width: int) -> str:
    """*text*, filled up with spaces to *width* cells."""
    return text + " " * (width - cell_len(text))


#: The most useful fact in the metadata of an operation, and its text.
_FACTS = {
    "STORE": "importance {importance}",
    "RECALL": "{result_count} found",
    "FORGET": "{deleted} deleted",
    "EXPORT": "{total_entries} entries",
    "IMPORT": "{imported} of {total_entries} imported",
    "SYNC": "{synced} synced",
    "COMPACT": "{entries_before} to {entries_after} entries",
    "TRANSACTION": "{outcome}",
    "BULK_STORE": "{total_entries} entries",
}


def found_words(numbers: Mapping[str, int]) -> list[str]:
    """How many entries need attention, by kind: ``altered: 2 entries``."""
    return [f"{kind.replace('_', ' ')}: {amount(n, 'entry')}" for kind, n in numbers.items()]


def details(event: AuditEvent) -> str:
    """A short text with the facts of an event that have no column."""
    facts, words = event.metadata, []
    if event.operation == "AUDIT" and "record" in facts:
        return plain(_record_text(event))
    if event.error_type:
        words.append(event.error_type.rpartition(".")[2])
    if event.status != "FAILURE":
        try:
            words.append(_FACTS[event.operation.value].format(**facts))
        except (KeyError, ValueError, TypeError, AttributeError, IndexError):
            if len(event.entry_ids) > 1:
                words.append(f"{len(event.entry_ids)} entries")
    words += found_words({kind: found.number for kind, found in findings(facts).items()})
    if facts.get("pii_detected") is True:
        words.append("personal data")
    for who, names in (("by", event.agent_id), ("for", event.on_behalf_of)):
        if names is not None:
            words.append(f"{who} {names}")
    if event.purpose:
        words.append(event.purpose)
    said = ", ".join(words)
    whose = dict.fromkeys((event.subject_id, *event.subjects))
    others = [one for one in whose if one is not None and one != event.user_id]
    if others:
        more = f" and {amount(len(others) - 1, 'other')}" if len(others) > 1 else ""
        said = f"{others[0]}{more}: {said}"
    return plain(said)


# --- events that a trail records about itself -------------------------------------------------


_UNREADABLE = (AttributeError, KeyError, OverflowError, TypeError, ValueError)


def _record_text(event: AuditEvent) -> str:
    """The text of an event that has a metadata["record"]."""
    facts, name = event.metadata, str(event.metadata["record"])
    try:
        told = _RECORDS[name](facts, event.subject_id)
        return f"{told}: {event.purpose}" if event.purpose else told
    except _UNREADABLE:  # of another version, or forged
        return name.replace("_", " ")


def _start(facts: dict[str, Any], _subject: str | None) -> str:
    user = facts["user"]
    who = user.get("name") or f"user {user['uid']}"
    versions = f"axon-audit-otel {facts['axon_audit_otel']}, Python {facts['python']}"
    return f"start: {facts['process']} (pid {facts['pid']}) on {facts['host']} by {who}, {versions}"


def _gap(facts: dict[str, Any], _subject: str | None) -> str:
    why = f" ({facts['reason']})" if facts["reason"] else ""
    return f"gap: {numbers(facts['first'], facts['last'])} lost{why}"


def _unclean_end(facts: dict[str, Any], _subject: str | None) -> str:
    words = [f"{amount(facts['events'], 'event')} recovered"]
    if facts["torn_bytes"]:
        words.append(f"{amount(facts['torn_bytes'], 'byte')} of a torn line cut away")
    if facts.get("damaged"):
        words.append(f"{amount(facts['damaged'], 'damaged line')} set aside")
    return f"unclean end of {facts['writer']}: {', '.join(words)}"


def _witness_refused(facts: dict[str, Any], _subject: str | None) -> str:
    sizes = f"{facts['size']:,} lines of the manifest here, {facts['known']:,} known there"
    return f"witness {facts['witness']} refused: {facts['reason']} ({sizes})"


def _adopted(facts: dict[str, Any], _subject: str | None) -> str:
    which = numbers(facts["first"], facts["last"])
    return f"adopted: {which} of {facts['writer']}, in {facts['file']}: nothing attests them"


def _refused(facts: dict[str, Any], _subject: str | None) -> str:
    return f"left alone: the files of {facts['writer']}: {facts['why']}"


def _unfinished(facts: dict[str, Any], _subject: str | None) -> str:
    user, subject = facts.get("user_id"), facts.get("subject_id")
    who = "" if user is None else f" by {user}"
    pairs = ("by", facts.get("agent_id")), ("for", facts.get("on_behalf_of"))
    who += "".join(f", {how} {one}" for how, one in pairs if one is not None)
    whose = "" if subject in (None, user) else f", data of {subject}"
    begun = local(datetime.fromisoformat(str(facts["time"]).replace("Z", "+00:00")))
    adopted = "; adopted: anybody may have written it" if facts.get("adopted") else ""
    return f"unfinished: {facts['operation']}{who}{whose}, begun {begun}{adopted}"


def _hold(facts: dict[str, Any], _subject: str | None) -> str:
    why = f": {facts['reason']}" if "reason" in facts else ""
    return f"hold {facts['hold']!r} {facts['state']}{why}"


def _erasure(facts: dict[str, Any], subject: str | None) -> str:
    why = f": {facts['reason']}" if "reason" in facts else ""
    keys = amount(len(facts["tokens"]), "key")
    if facts.get("state") == "failed":
        return f"erasure: {keys} could not be destroyed, of {subject}{why}"
    return f"erasure: {keys} destroyed, of {subject}{why}"


def _access(facts: dict[str, Any], subject: str | None) -> str:
    if "events" not in facts:
        shown = str(facts["state"])
    else:
        shown = amount(facts["events"], "event")
        shown += f", {facts['revealed']:,} decrypted" if facts["revealed"] else ""
    of = "" if subject is None else f" of {subject}"
    return f"read with {facts['command']}: {shown}{of}"


def _alert(facts: dict[str, Any], subject: str | None) -> str:
    who = "" if subject is None else f" by {subject}"
    limit = f"more than {facts['over']} in {short(timedelta(seconds=facts['window_s']))}"
    ids = facts.get("entry_ids")
    counted = amount(facts["count"], "entry" if ids else "event")
    if ids:
        counted += f" ({few(ids)})"
    return f"alert {facts['state']}: {facts['rule']}, {counted}{who}, {limit}"


def _reconcile(facts: dict[str, Any], _subject: str | None) -> str:
    found = {**facts["found"], **facts["unknown"]}
    words = [f"{number:,} {kind}" for kind, number in found.items()]
    return (
        f"reconcile: {facts['in_store']:,} entries in the store; {', '.join(words) or 'it agrees'}"
    )


_RECORDS: dict[str, Callable[[dict[str, Any], str | None], str]] = {
    "start": _start,
    "gap": _gap,
    "unclean_end": _unclean_end,
    "adopted": _adopted,
    "refused": _refused,
    "unfinished": _unfinished,
    "witness_refused": _witness_refused,
    "access": _access,
    "hold": _hold,
    "erasure": _erasure,
    "alert": _alert,
    "reconcile": _reconcile,
}


def _chopped(text: str, width: int) -> list[str]:
    """*text* in lines of *width* cells (`chop_cells` of Rich before 13.8 reverses them)."""
    lines = [""]
    for character in text:
        if cell_len(lines[-1] + character) > width:
            lines.append("")
        lines[-1] += character
    return lines


# --- statistics ------------------------------------------------------------------------------


_NARROWEST = 8  # cells of the column of names, on a narrow terminal


def print_table(to: Console, table: Table) -> None:
    """Print *table* in full; on a narrow terminal the names in it are wrapped."""
    whole, names = to.options.update(max_width=_WIDEST * _WIDEST), table.columns[0]
    if on_screen(to):
        names.max_width = _NARROWEST
    needed = Measurement.get(to, whole, table).maximum
    names.max_width = None
    if needed > to.width:
        table.width = needed
    to.print(table, crop=False)


def _table(*columns: str, numbers: int) -> Table:
    """An empty table; from its second column on, *numbers* columns are numbers, others text."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 2, 0, 0))
    for number, column in enumerate(columns):
        table.add_column(
            column,
            justify="right" if 1 <= number <= numbers else "left",
            no_wrap=bool(number),
            overflow="fold",
        )
    return table


def _some(count: int) -> str:
    return f"{count:,}" if count else ""


def _rate(value: float) -> Text:
    colour = "green" if value == 1 else "yellow" if value >= 0.9 else "red"
    return Text(f"{100 * value:.1f} %", style=colour)


def statistics(summary: dict[str, Any]) -> Table:
    """The table by operation of what `summarise` counted; latencies in milliseconds."""
    quantiles = ("p50", "p95", "p99")
    names = ("count", "success", "partial", "failed", *(f"{name} ms" for name in quantiles))
    table = _table("operation", *names, numbers=len(names))
    for name, operation in summary["operations"].items():
        latency = operation["latency_ms"] or {}
        table.add_row(
            Text(plain(name), style="bold"),
            *_counts(operation["count"], operation),
            *(milliseconds(latency.get(key)) for key in quantiles),
        )
    table.add_section()
    table.add_row("all", *_counts(summary["total_operations"], summary))
    return table


def _counts(total: int, of: dict[str, Any]) -> tuple[str, Text, str, str]:
    partial, failed = (of["by_status"].get(status, 0) for status in ("PARTIAL", "FAILURE"))
    return f"{total:,}", _rate(of["success_rate"]), _some(partial), _some(failed)


def actor_table(summary: dict[str, Any], kind: str) -> Table:
    """The table by ``user``, ``agent`` or ``system``, of the busiest, as `summarise` counted."""
    table = _table(kind, "count", "success", "mostly", "last activity", numbers=2)
    actors = summary[f"{kind}s"]
    for user in actors[:_USERS]:
        named = user["system" if kind == "system" else f"{kind}_id"]
        name = "(no user)" if named is None else plain(named)
        table.add_row(
            Text(name, style="bold"),
            f"{user['total_operations']:,}",
            _rate(user["success_rate"]),
            Text(plain(user["most_common_operation"])),
            local(user["last_activity"]),
        )
    more = len(actors) - _USERS
    if more > 0:
        table.add_row(Text(f"and {more:,} more", style="dim"))
    return table
