"""The command `influence`: who read an entry, and what it may have influenced since."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.text import Text

from ..archive.missing import Missing
from ..archive.search import search
from ..core.errors import AxonAuditError
from ..events.identifiers import identifier
from ..events.influence import Influence, Influenced, Reading
from ..events.influence import influence as influence_in
from ..events.localtime import local
from ..events.query import Query
from ..privacy.pseudonyms import Pseudonyms
from .access import Access, recorded_reading
from .event_words import without_ciphers
from .notes import Answer, hashed_entries
from .options import (
    NOT_ANSWERED,
    NotAnswered,
    json_option,
    keys_option,
    path_argument,
    period,
    print_missing,
    reason,
    secret_option,
    within,
)
from .privacy import found as found_in
from .render import amount, console, on_screen, plain, print_json

__all__ = ["influence"]

_FEW = 4  # entries of one event that a line names
_DEEPEST = 12  # levels that are set in
_NARROWEST = 30  # cells of a line


@click.command()
@click.argument("entry")
@path_argument
@period
@keys_option
@secret_option
@json_option
@recorded_reading()
def influence(entry: str, path: Path, as_json: bool, **given: Any) -> None:
    """Find who read an entry, and what it may have influenced.

    Follows a poisoned memory: who read ENTRY, in which traces and sessions, which entries were
    stored there afterwards, and which were made of it; then the same of these. PATH is a
    directory of audit files, or one file. A session is known only where events can be
    decrypted.

    Exit codes: 0, nobody read it and nothing was made of it; 1, somebody did, or something was;
    2, no event names the entry, or the archive could not be read.
    """
    try:
        found = _answer(identifier(entry), path, as_json=as_json, **given)
    except (AxonAuditError, OSError) as exc:
        if isinstance(exc, BrokenPipeError):
            raise
        raise NotAnswered(reason(exc)) from exc
    click.get_current_context().exit(found)


def _answer(
    entry: str,
    path: Path,
    since: Any,
    until: Any,
    keys: Path | None,
    pseudonyms: Pseudonyms | None,
    as_json: bool,
    reading: Access,
) -> int:
    """Print the answer; return the exit code."""
    missing = Missing()
    query = within(Query(), since, until)
    secret: dict[str, Any] = {"keys": keys, "pseudonyms": pseudonyms}
    how: dict[str, Any] = {
        "missing": missing,
        "oldest_first": True,
        "entry": entry,
        "shown": reading.shown,
    }
    events = found_in(path, query, **how, **secret)
    found = influence_in(entry, Answer(events, path, query, secret))
    if not found.is_named and (since or until):
        ever = Query(entry_ids=frozenset([entry]), limit=1).under(pseudonyms)
        found.is_named = any(True for _ in search(path, ever, missing=missing))
    print_missing(missing)
    found.is_whole = found.is_whole and not missing
    if as_json:
        print_json({"has_influence": bool(found), **msgspec.structs.asdict(found)})
    elif found.is_named:
        _print(found, console())
    if not found.is_named:
        for note in hashed_entries(path, None, pseudonyms):
            click.echo(note, err=True)
        msg = f"no event in {str(path)!r} names an entry {entry!r}: is the id complete?"
        raise NotAnswered(plain(msg))
    if found:
        return 1
    return NOT_ANSWERED if missing else 0


# --- as text ---------------------------------------------------------------------------------


def _print(found: Influence, to: Console) -> None:
    for depth, text in _tree(found):
        _print_line(to, depth, plain(text))
    click.echo()
    for text in _summary(found):
        _print_line(to, 0, text)


def _print_line(to: Console, depth: int, text: str) -> None:
    """Print a line that is set in; on a terminal it is wrapped, with encrypted ids shortened."""
    indent, lines = "  " * min(depth, _DEEPEST), [text]
    if on_screen(to):
        width = max(to.width - len(indent) - 2, _NARROWEST)
        lines = [line.plain for line in Text(without_ciphers(text)).wrap(to, width)]
    for number, line in enumerate(lines):
        click.echo(f"{indent}{'  ' if number else ''}{line}".rstrip())


def _tree(found: Influence) -> Iterator[tuple[int, str]]:
    """The lines of the tree, with their depths: each entry, its readings, what came of it."""
    readings: defaultdict[str, list[Reading]] = defaultdict(list)
    for reading in found.readings:
        for key in reading.entry_ids:
            readings[key].append(reading)
    followers: defaultdict[str, list[Influenced]] = defaultdict(list)
    for one in found.influenced:
        followers[one.source_id].append(one)
    left: list[tuple[int, str, str]] = [(0, found.entry_id, found.entry_id)]
    while left:
        depth, key, text = left.pop()
        yield depth, text
        for words in _grouped(readings[key]):
            yield depth + 1, words
        ends = {one.entry_id for one in followers[key]} - readings.keys() - followers.keys()
        came = list(_came(followers[key], ends))
        left += [(depth + 1, *one) for one in reversed(came)]


def _grouped(readings: list[Reading]) -> Iterator[str]:
    """Readings in words, those of one kind together."""
    groups: defaultdict[tuple[str, str, str], list[Reading]] = defaultdict(list)
    for one in readings:
        where = "" if one.session_id is None else f" in session {one.session_id}"
        groups[one.operation, _who(one), where].append(one)
    for (operation, who, where), some in groups.items():
        times = "" if len(some) == 1 else f" {len(some):,} times"
        did = "exported" if operation == "EXPORT" else "read"
        first, last = local(some[0].timestamp), local(some[-1].timestamp)
        when = first if first == last else f"{first} to {last}"
        traces = list(dict.fromkeys(one.trace_id for one in some if one.trace_id is not None))
        trace = f", trace {traces[0]}" if len(traces) == 1 else f", {len(traces):,} traces"
        yield f"{did}{times} by {who}{where}, {when}{trace if traces else ''}"


_BECAUSE = {
    "derived": "made of that",
    "trace": "stored after that in the same trace",
    "session": "stored after that in the same session",
}


def _came(steps: list[Influenced], ends: set[str]) -> Iterator[tuple[str, str]]:
    """The id of each entry and its line; those of one event from which nothing came (*ends*)
    share one."""
    together: defaultdict[tuple[str, str], list[Influenced]] = defaultdict(list)
    for one in steps:
        together[one.event_id, one.entry_id if one.entry_id not in ends else ""].append(one)
    for some in together.values():
        one = some[0]
        keys = [step.entry_id for step in some]
        named = ", ".join(keys if len(keys) <= _FEW else keys[: _FEW - 1])
        if len(keys) > _FEW:
            named += f" and {len(keys) - _FEW + 1:,} more (--json)"
        came = f"{_BECAUSE[one.because]}, by {_who(one)}, {local(one.timestamp)}"
        yield one.entry_id, f"{named}: {came}"


def _who(step: Reading | Influenced) -> str:
    """Who acted, with the agent, for whom, and why, in words."""
    words = [
        *([] if step.agent_id is None else [f"agent {step.agent_id}"]),
        *([] if step.on_behalf_of is None else [f"for {step.on_behalf_of}"]),
        *([step.purpose] if step.purpose else []),
    ]
    user = "an unknown user" if step.user_id is None else step.user_id
    return f"{user} ({', '.join(words)})" if words else user


def _summary(found: Influence) -> Iterator[str]:
    """How much there is, and what the answer lacks."""
    entry = plain(found.entry_id)
    if not found:
        yield f"nobody read {entry}, and nothing was made of it"
    else:
        places = (
            f"{amount(len(found.traces), 'trace')} and {amount(len(found.sessions), 'session')}"
        )
        yield f"{amount(len(found.readings), 'reading')} in {places}"
        others = len(found.influenced)
        many = f"{others:,} other {'entry' if others == 1 else 'entries'}"
        yield f"{many} may carry on what {entry} said"
    if found.readings_without_place:
        many = amount(found.readings_without_place, "reading")
        yield f"{many} without trace or session: what was stored after that is not known"
    if found.stores_without_place:
        many = amount(found.stores_without_place, "event")
        yield f"{many} stored something later, without trace or session: not assigned"
    if found.events_cut_short:
        many = amount(found.events_cut_short, "event")
        yield f"{many} touched more entries than named: {entry} may be among them"
    if not found.is_whole:
        yield "the answer is not whole"
