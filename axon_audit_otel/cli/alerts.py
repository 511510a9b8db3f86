"""The command `alerts`: finds the alerts that a monitor would have raised."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import click

from ..alerts.alert import Alert
from ..alerts.detector import Detector
from ..alerts.rules import DEFAULT_RULES, Rule, checked_rules
from ..archive.missing import Missing
from ..core.time import to_microseconds
from ..core.units import seconds
from ..events.findings import findings
from ..events.localtime import local
from ..events.model import AuditEvent, deleted_entries
from ..events.query import Query
from .access import Access, recorded_reading
from .notes import Answer
from .options import (
    answering,
    json_option,
    keys_option,
    parsed,
    path_argument,
    print_missing,
    reads,
)
from .privacy import found as found_in
from .render import amount, console, on_screen, plain, print_json

__all__ = ["alerts"]

_USERS = 100_000


def _duration(_ctx: Any, _param: Any, value: str | None) -> timedelta | None:
    try:
        return None if value is None else timedelta(seconds=seconds(value))
    except ValueError as exc:
        raise click.BadParameter(f"{value!r} {exc}") from None


@click.command()
@path_argument
@click.option(
    "--last",
    metavar="DURATION",
    callback=_duration,
    help="Only this long up to now: 24h, 30d. Default: all events.",
)
@click.option(
    "--rules",
    metavar="FILE",
    callback=parsed(checked_rules),
    help="A JSON file of rules to apply instead of the default ones.",
)
@keys_option
@json_option
@reads
@recorded_reading()
def alerts(
    path: Path,
    last: timedelta | None,
    rules: tuple[Rule, ...] | None,
    keys: Path | None,
    as_json: bool,
    missing: Missing,
    reading: Access,
) -> None:
    """Find suspicious activity: deletions, exports, altered entries.

    Applies rules to the events at PATH, as SecurityMonitor does to events as they are recorded.
    The default rules: more than 100 entries deleted in an hour, 10 failures in 15 minutes or 5
    exports in 24 hours, by all users together or by one; any entry that was read altered, that
    was seen after it was forgotten, or that is still there although what it was made of was
    forgotten.

    \b
    Rules in a file: one of your own beside the default ones (docs/alerts.md).
      ["default",
       {"name": "imports", "operations": "IMPORT", "over": 1, "window": "1h"}]

    Exit codes: 0, no alert; 1, there are alerts, or a file could not be read (the rest is
    printed, and standard error names the file); 2, no answer.
    """
    since = None if last is None else datetime.now(timezone.utc) - last
    query = Query.of(start_time=since)
    with answering():
        events = found_in(path, query, keys, missing, oldest_first=True, shown=reading.shown)
        answer = Answer(events, path, query, {"keys": keys, "pseudonyms": None})
        applied = DEFAULT_RULES if rules is None else rules
        found = sorted(_found(answer, applied), key=lambda alert: alert.since)
    if as_json:
        print_json([alert.facts() for alert in found])
    else:
        for alert in found:
            until = "now" if alert.resolved_at is None else local(alert.resolved_at)
            _print(f"{local(alert.since)} to {until}: {plain(str(alert))}")
        click.echo(amount(len(found), "alert"), err=True)
    if found:
        print_missing(missing)
        click.get_current_context().exit(1)


def _print(line: str) -> None:
    """Print an alert: wrapped between words on a terminal, else as one line."""
    to = console()
    if on_screen(to):
        line = textwrap.fill(
            line,
            to.width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        )
    click.echo(line)


def _found(events: Iterable[AuditEvent], rules: tuple[Rule, ...]) -> Iterator[Alert]:
    """Yield every alert in its last state."""
    detector = Detector(rules, max_users=_USERS)
    for event in events:
        seen = findings(event.metadata)
        trackers = detector.concerned(event.operation.value, event.status.value, seen)
        if trackers is not None:
            moment, deleted = to_microseconds(event.timestamp), deleted_entries(event)
            changes = detector.add(
                trackers, event.user_id, moment, event.event_id, deleted=deleted, found=seen
            )
            yield from (alert for alert in changes if alert.resolved_at is not None)
    yield from detector.advance(time.time_ns() // 1000)
    yield from detector.active
