"""The command `lineage`: what an entry was made of, and what was made of it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from ..archive.manifest import deleted_in
from ..archive.missing import Missing
from ..archive.search import search
from ..events.family import Lineage, Mention, Relative, lineage_of
from ..events.identifiers import identifier
from ..events.localtime import local
from ..events.model import AuditEvent
from ..events.query import Query
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import Pseudonyms
from .access import Access, recorded_reading
from .notes import hashed_entries
from .options import (
    NotAnswered,
    answering,
    json_option,
    keys_option,
    path_argument,
    print_missing,
    reads,
    secret_option,
)
from .privacy import reader
from .render import amount, console, on_screen, plain, print_json

__all__ = ["lineage"]

_DEEPEST = 12  # levels that are indented
_NARROWEST = 40  # cells for an entry
_NAMED = 10  # owners, and entries in a sentence


@click.command()
@click.argument("entry")
@path_argument
@keys_option
@secret_option
@json_option
@reads
@recorded_reading()
def lineage(
    entry: str,
    path: Path,
    keys: Path | None,
    pseudonyms: Pseudonyms | None,
    as_json: bool,
    missing: Missing,
    reading: Access,
) -> None:
    """Show what an entry was made of, and what was made of it.

    Prints the ancestors and the descendants of the memory entry ENTRY as trees: of each its
    owners, whether it lives or is gone, and the events that made and deleted it. Each entry is
    in a tree once. The files are read twice.

    Exit codes: 0, answered; 1, something needs a person: an entry lives although it was made of
    one that was forgotten, or a file could not be read; 2, no answer: no event names ENTRY.
    """
    with answering():
        policy = reader(path, keys, pseudonyms=pseudonyms)
        found = _found(identifier(entry), path, policy, missing, reading)
    for note in _lacking(found, path):
        click.echo(note, err=True)
    if found is None:
        print_missing(missing)
        for note in hashed_entries(path, None, pseudonyms):
            click.echo(note, err=True)
        what = " that can be read" if missing else ""
        raise NotAnswered(f"no event{what} in {str(path)!r} names the entry {entry!r}")
    with answering():
        if as_json:
            print_json(found.to_dict())
        else:
            _print(found, console())
    if found.derived_remaining:
        print_missing(missing)
        click.get_current_context().exit(1)


def _found(
    entry_id: str, path: Path, policy: PrivacyPolicy, missing: Missing, reading: Access
) -> Lineage | None:
    policy = policy.with_entries([entry_id])

    def search_here(query: Query) -> Iterator[AuditEvent]:
        with missing.one_of_several() as here:
            yield from reading.shown(policy.read(query, partial(search, path, missing=here)))

    return lineage_of(entry_id, search_here)


def _lacking(found: Lineage | None, path: Path) -> Iterator[str]:
    """What is not known."""
    deleted, until = deleted_in(path) if path.is_dir() else (0, None)
    if until is not None:
        yield f"deleted by retention: {amount(deleted, 'event')} up to {local(until)}"
    if found is not None and found.unreadable:
        events = amount(found.unreadable, "event")
        yield f"no key opens the facts of {events}: it is not known whether they deleted entries"
    if found is not None and found.unnamed:
        sources = amount(found.unnamed, "source")
        yield f"{sources} of derived entries had no room in their events: any entry may be one"


# --- printing --------------------------------------------------------------------------------


def _print(found: Lineage, to: Console) -> None:
    left = set(found.derived_remaining)
    _print_tree(found.entry, 0, left, to)
    for title, relatives in (("made of", found.ancestors), ("made into", found.descendants)):
        _print_line("", 0, "", to)
        _print_line(f"{title}:" if relatives else f"{title}: nothing on record", 0, "", to)
        for relative in relatives:
            _print_tree(relative, 1, left, to)
    if left:
        live = (
            "lives, made of a forgotten one" if len(left) == 1 else "live, made of forgotten ones"
        )
        named = _some(sorted(left))
        _print_line("", 0, "", to)
        _print_line(plain(f"{_count(len(left))} {live}: {named}"), 0, "bold red", to)


def _print_tree(relative: Relative, level: int, left: set[str], to: Console) -> None:
    style = "red" if relative.entry_id in left else "dim" if relative.state == "gone" else ""
    _print_line(_described(relative, relative.entry_id in left), level, style, to)
    for one in relative.relatives:
        _print_tree(one, level + 1, left, to)


def _described(relative: Relative, is_left: bool) -> str:
    """An entry in one line."""
    steps = f" ({relative.distance} steps away)" if relative.distance > _DEEPEST else ""
    owners = _some(relative.owners) or "nobody on record"
    said = f"{relative.entry_id}{steps}, of {owners}: {_state(relative, is_left)}"
    if relative.made is not None:
        said += f"; made by {_done(relative.made)}"
    if relative.sources:
        said += f", of {_count(len(relative.sources))}"
    return plain(said)


def _some(names: Sequence[str]) -> str:
    """The first of *names*, and how many more there are."""
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def _count(entries: int) -> str:
    return f"{entries:,} {'entry' if entries == 1 else 'entries'}"


def _state(relative: Relative, is_left: bool) -> str:
    said = "lives, made of forgotten data" if is_left else "lives"
    if relative.state == "unknown":
        said = "no event found it"
    gone, forgotten = relative.gone, relative.forgotten
    if gone is not None:
        said = f"gone by {_event(gone)}"
    if forgotten is not None and forgotten != gone:
        said += f", forgotten by {_event(forgotten)}"
    return said


def _event(event: Mention) -> str:
    return f"{_done(event)} ({event.event_id})"


def _done(event: Mention) -> str:
    who = "" if event.user_id is None else f" by {event.user_id}"
    return f"{event.operation} {local(event.timestamp)}{who}"


def _print_line(text: str, level: int, style: str, to: Console) -> None:
    """Print a line, on a terminal in its width; a pipe gets it whole."""
    indent = " " * (2 * min(level, _DEEPEST))
    lines = [indent + text]
    if on_screen(to):
        width = max(to.width, len(indent) + _NARROWEST)
        lines = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=f"{indent}    ")
    for line in lines or [""]:
        to.print(Text(line, style=style), soft_wrap=True)
