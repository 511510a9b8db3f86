"""Prints for people and programs: on a console, as JSON, as tables that are never cut."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

import click
import msgspec
from rich import box
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from ..core.errors import escaped
from ..events.localtime import local

__all__ = [
    "actor_table",
    "amount",
    "console",
    "json_for",
    "milliseconds",
    "on_screen",
    "plain",
    "print_json",
    "print_table",
    "reading_bar",
    "statistics",
]

_USERS = 10  # shown in the table of users, and of agents


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
    click.echo(json_for(sys.stderr if err else sys.stdout, text), err=err)


def json_for(stream: IO[str], text: bytes) -> bytes:
    """JSON as it is; for a terminal, what would act on that escaped: the same JSON."""
    if not stream.isatty():
        return text
    return _acting.sub(lambda found: f"\\u{ord(found[0]):04x}", text.decode()).encode()


# Controls, and marks that change the direction or the line of a text. JSON itself has no others.
_acting = re.compile("[\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")


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


# --- statistics ------------------------------------------------------------------------------


_NARROWEST = 9  # cells of the column of names, on a narrow terminal


def print_table(to: Console, table: Table) -> None:
    """Print *table* in full; on a narrow terminal its columns move together, and the names in it
    are wrapped."""
    whole, names = to.options.update(max_width=_WIDEST * _WIDEST), table.columns[0]
    if on_screen(to):
        if Measurement.get(to, whole, table).maximum > to.width:
            table.padding = (0, 0, 0, 0)  # the box still has a space between them
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
