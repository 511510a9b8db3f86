"""Prints events: wrapped to fit a terminal, one line each in a pipe, never cut."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

import click
from rich.cells import cell_len, set_cell_size
from rich.console import Console
from rich.text import Text

from ..events.localtime import shown, usual_offset
from ..events.model import AuditEvent
from .event_words import details, without_ciphers
from .render import milliseconds, on_screen, plain

__all__ = ["COLUMNS", "EventLines", "columns_option"]

_LEAST = 10  # cells for the details beside the columns
_NARROWEST = 40  # of a terminal on which each column can have a line of its own
_COLOURS = {"SUCCESS": "green", "PARTIAL": "yellow", "FAILURE": "red"}

#: The columns that can be chosen: the width of each, and what it shows of an event.
COLUMNS: dict[str, tuple[int, Callable[[AuditEvent], str | None]]] = {
    "operation": (11, lambda event: event.operation.value),
    "status": (7, lambda event: event.status.value),
    "user": (15, lambda event: event.user_id),
    "session": (18, lambda event: event.session_id),
    "subject": (15, lambda event: ", ".join(event.subjects) or event.subject_id),
    "agent": (15, lambda event: event.agent_id),
    "system": (9, lambda event: event.system),
    "store": (12, lambda event: event.store),
    "action": (20, lambda event: event.action),
    "entry": (36, lambda event: ", ".join(event.entry_ids) or None),
    "event": (36, lambda event: event.event_id),
    "trace": (32, lambda event: event.trace_id),
    "number": (8, lambda event: str(event.sequence)),
}


def _chosen(_ctx: Any, _param: Any, value: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in (value or "").split(",") if name.strip())
    if unknown := [name for name in names if name not in COLUMNS]:
        raise click.BadParameter(f"{unknown[0]!r} must be one of {', '.join(COLUMNS)}")
    return names


#: Which columns a table of events has.
columns_option = click.option(
    "--columns",
    metavar="NAMES",
    callback=_chosen,
    help=f"In the table, separated by commas: {', '.join(COLUMNS)}.",
)


class EventLines:
    """Prints events in columns of fixed width, each as soon as it comes.

    On a terminal, text that does not fit its column continues on the next line, in the same
    column. If there is no room for the details beside the columns, they stand below; if there is
    none for the columns, each has a line of its own. In a pipe, an event is one line. Nothing is
    cut.

    Args:
        to: The console to print to.
        columns: Which of `COLUMNS`, between the time and the duration. Default: those that most
            ask for, as far as there is room.
    """

    def __init__(self, to: Console, columns: Sequence[str] = ()) -> None:
        self._console = to
        self._usual = usual_offset()
        screen = on_screen(to)
        # A wide terminal has room for the session and the year; the rest is for the details.
        self._full = not screen or to.width >= 120
        wider = min(max(0, to.width - 120) // 2, 30) if screen else 0
        names = columns or ("operation", "status", "user", *(["session"] if self._full else []))
        may_grow = () if columns else ("user", "session")
        self._columns = [(n, COLUMNS[n][0] + (wider if n in may_grow else 0)) for n in names]
        self._time = (19 if self._full else 16) + (0 if self._usual else 6)
        used = self._time + sum(width + 1 for _, width in self._columns) + 9
        self._rest = to.width - used
        is_narrow = screen and self._rest < _LEAST
        self._is_below = is_narrow and self._rest >= -1  # the last space needs no room
        self._is_list = is_narrow and not self._is_below and to.width >= _NARROWEST
        self._folds = screen and (not is_narrow or self._is_below or self._is_list)

    def header(self) -> None:
        """Print the names of the columns, and the zone of the times."""
        if self._is_list:
            return
        clock = "local" if self._usual is None else f"UTC{self._usual}".replace("+00:00", "")
        names = [set_cell_size(name, width) for name, width in self._columns]
        line = " ".join(
            [
                f"{f'time ({clock})':{self._time}}",
                *names,
                f"{'ms':>7}",
                *([] if self._is_below else ["what"]),
            ]
        )
        self._write(Text(line, style="bold"))

    def print(self, events: Iterable[AuditEvent]) -> None:
        """Print *events*, each on lines of its own."""
        if self._console.quiet:
            return
        lines_of = self._listed if self._is_list else self._lines
        for event in events:
            for line in lines_of(event):
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
        more = self._wrapped(
            details(event), self._console.width - 2 if self._is_below else self._rest
        )
        cells.append(([] if self._is_below else more, 0, style))
        for number in range(max(len(parts) for parts, _, _ in cells)):
            line = Text()
            for parts, width, style in cells:
                part = parts[number] if number < len(parts) else ""
                line.append(_pad(part, width), style=style).append(" ")
            line.rstrip()
            yield line
        if self._is_below and any(more):
            yield from (Text(f"  {part}", style=style) for part in more)

    def _listed(self, event: AuditEvent) -> Iterator[Text]:
        """The event with each of its columns on a line."""
        duration = milliseconds(event.duration_ms)
        after = "" if duration == "-" else f"  {duration} ms"
        yield Text(f"{self._moment(event.timestamp).rstrip()}{after}", style="bold")
        labels = max(len(name) for name in (*(name for name, _ in self._columns), "what"))
        room = self._console.width - labels - 4
        cells = [(name, *self._cell(name, event)) for name, _ in self._columns]
        if what := details(event):
            style = "" if event.status == "SUCCESS" else _COLOURS[event.status.value]
            cells.append(("what", what, style))
        for name, value, style_of in cells:
            for number, part in enumerate(self._wrapped(value, room)):
                label = "" if number else name
                yield Text(f"  {label:{labels}}  ").append(part, style=style_of)

    def _folded(self, text: str, width: int) -> list[str]:
        """An id in lines of *width* cells; an encrypted id is shortened to its first part."""
        if not self._folds:
            return [text]
        text = without_ciphers(text)
        return _chopped(text, width) if cell_len(text) > width else [text]

    def _wrapped(self, text: str, room: int) -> list[str]:
        """*text* in lines of *room* cells, wrapped between words if possible, with encrypted ids
        shortened."""
        if not self._folds:
            return [text]
        text = without_ciphers(text)
        if cell_len(text) <= room:
            return [text]
        return [line.plain for line in Text(text).wrap(self._console, room)]

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
        value = COLUMNS[name][1](event)
        if value is None:
            return "-", "dim"
        if name == "status":
            return value, _COLOURS[value]
        return plain(value), "bold" if name == "operation" else ""


def _pad(text: str, width: int) -> str:
    """*text*, filled up with spaces to *width* cells."""
    return text + " " * (width - cell_len(text))


def _chopped(text: str, width: int) -> list[str]:
    """*text* in lines of *width* cells (`chop_cells` of Rich before 13.8 reverses them)."""
    lines = [""]
    for character in text:
        if cell_len(lines[-1] + character) > width:
            lines.append("")
        lines[-1] += character
    return lines
