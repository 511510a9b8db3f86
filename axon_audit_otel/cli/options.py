"""Arguments and options that commands share: path, keys, secret, filters; and their query."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Any, NamedTuple

import click

from ..archive.missing import Missing
from ..core.errors import AxonAuditError, InvalidEventError, shown
from ..core.files import is_there
from ..core.time import to_microseconds
from ..events.localtime import earliest, latest, local
from ..events.model import EventStatus, OperationType
from ..events.query import Query
from ..trail.setting_values import parse_keys, parse_secret, parse_signing_key
from ..trail.settings import Settings
from .render import plain

__all__ = [
    "NOT_ANSWERED",
    "NotAnswered",
    "answering",
    "archive_argument",
    "check_ending",
    "erasable_option",
    "filters",
    "json_option",
    "keys_option",
    "limit_option",
    "parsed",
    "path_argument",
    "period",
    "print_missing",
    "query_of",
    "reads",
    "reason",
    "secret_option",
    "signing_option",
    "within",
]


#: The exit code of commands whose 1 is an answer, if there is none.
NOT_ANSWERED = 2


class NotAnswered(click.ClickException):
    """The question could not be answered."""

    exit_code = NOT_ANSWERED


@contextmanager
def answering() -> Iterator[None]:
    """Turn our errors, and those of the system, into `NotAnswered`."""
    try:
        yield
    except BrokenPipeError:  # whoever reads has enough
        raise
    except (AxonAuditError, OSError) as exc:
        raise NotAnswered(reason(exc)) from exc


def reads(command: Callable[..., None]) -> Callable[..., None]:
    """*command* with an argument `missing`; its contents are printed: exit code 1."""

    @wraps(command)
    def run(**given: Any) -> None:
        missing = Missing()
        command(**given, missing=missing)
        print_missing(missing)
        if missing:
            click.get_current_context().exit(1)

    return run


def print_missing(missing: Missing) -> None:
    """Print on standard error what an answer lacks, and what was skipped; each of these once."""
    for line in missing.untold(missing.passed_over()):
        click.echo(plain(line), err=True)
    for line in missing.untold(missing.lines()):
        click.echo(f"Error: {plain(line)}", err=True)


def _existing(_ctx: Any, _param: Any, path: Path) -> Path:
    with suppress(OSError):  # of another kind: the command says what it is
        if not is_there(path):
            raise NotAnswered(f"no such file or directory: {str(path)!r}")
    return path


path_argument = click.argument("path", type=click.Path(path_type=Path), callback=_existing)


def _archive(ctx: Any, param: Any, path: Path) -> Path:
    with suppress(OSError):
        if not _existing(ctx, param, path).is_dir():
            msg = f"{str(path)!r} is no archive: give the directory of the audit files"
            raise NotAnswered(msg)
    return path


#: A path that must be a directory.
archive_argument = click.argument("path", type=click.Path(path_type=Path), callback=_archive)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


# --- settings --------------------------------------------------------------------------------


def parsed(parse: Callable[[str], Any]) -> Callable[[Any, Any, str | None], Any]:
    """A callback for an option that *parse* reads as a setting; None if it is not given."""

    def callback(_ctx: Any, _param: Any, value: str | None) -> Any:
        try:
            return parse(value) if value else None
        except ValueError as exc:
            raise click.BadParameter(str(exc)) from None

    return callback


def _place(value: str) -> Path | None:
    place = parse_keys(value)
    return place if isinstance(place, Path) else None


#: The key that signs the events which the command records.
signing_option = click.option(
    "--signing-key",
    metavar="FILE",
    envvar=Settings.variable("signing_key"),
    show_envvar=True,
    callback=parsed(parse_signing_key),
    help="Private key that signs the record of this command; needed if checkpoints are signed.",
)

#: The secret that ids were hashed with, as `Query.under` needs it.
secret_option = click.option(
    "--pseudonymize",
    "pseudonyms",
    metavar="@FILE",
    envvar=Settings.variable("pseudonymize"),
    show_envvar=True,
    callback=parsed(parse_secret),
    help="The secret that the ids were hashed with.",
)

_KEYS: dict[str, Any] = {
    "metavar": "DIR",
    "envvar": Settings.variable("erasable"),
    "show_envvar": True,
    "callback": parsed(_place),
    "help": "Directory of the keys that decrypt personal data. Default: PATH.keys.",
}
#: The directory of the keys that personal data is encrypted with.
keys_option = click.option("--keys", **_KEYS)

#: The same, where ``keys`` are those that verify.
erasable_option = click.option("--keys", "erasable", **_KEYS)


# --- filters ---------------------------------------------------------------------------------


class _When(NamedTuple):
    """A moment, and the text that it was read from."""

    text: str
    moment: datetime


class _Moment(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A time or period as people write it.

    Args:
        end: Take the last moment of a period, not the first.
    """

    name = "when"

    def __init__(self, end: bool = False) -> None:
        self._parse = latest if end else earliest

    def convert(self, value: Any, param: Any, ctx: Any) -> _When:
        text = str(value).strip()
        try:
            return _When(text, self._parse(text))
        except (ValueError, OverflowError, OSError):
            self.fail(
                f"{value!r} is not a time: use 2025-01-31, 2025-01 (a month), 2025-01-31T10:30,"
                " 10:30 (today), today, yesterday, monday, or 15m, 24h, 7d for that long ago",
                param,
                ctx,
            )


class _Name(click.Choice):  # type: ignore[type-arg,unused-ignore]
    """One of *names* in any case; errors list them in upper case, unlike `click.Choice`."""

    def __init__(self, names: list[str]) -> None:
        super().__init__(names, case_sensitive=False)
        self._shown = ", ".join(names)

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        if str(value).upper() not in self.choices:
            self.fail(f"{value!r} is not one of {self._shown}.", param, ctx)
        return super().convert(value, param, ctx)


def _choice(name: str, kind: type[OperationType] | type[EventStatus]) -> Callable[..., Any]:
    names = list(kind.__members__)
    return click.option(name, type=_Name(names), metavar="NAME", help=", ".join(names) + ".")


def _trace(_ctx: Any, _param: Any, value: str | None) -> str | None:
    try:
        return Query.of(trace_id=value).trace_id
    except InvalidEventError:
        raise click.BadParameter(f"{value!r} is not a trace id: it has 32 hex digits") from None


_PERIOD = [
    click.option(
        "--since",
        type=_Moment(),
        help="From this time: 2025-01-31, 2025-01, 2025-01-31T10:30, 10:30, today, monday, or 24h,"
        " 7d for that long ago.",
    ),
    click.option(
        "--until",
        type=_Moment(end=True),
        help="Until this time, inclusive: a day or a month counts to its end.",
    ),
]

_FILTERS = [
    click.option("-u", "--user", metavar="ID", help="The user who acted."),
    click.option("--session", metavar="ID", help="The session in which it was done."),
    _choice("--operation", OperationType),
    _choice("--status", EventStatus),
    click.option(
        "--entry", metavar="ID", multiple=True, help="A memory entry; repeat it for any of several."
    ),
    click.option("--subject", metavar="ID", help="The person whose data was touched."),
    click.option("--agent", metavar="ID", help="The agent that acted."),
    click.option("--on-behalf-of", metavar="ID", help="The person for whom it was done."),
    click.option("--purpose", metavar="TEXT", help="Why it was done; must be the whole text."),
    click.option("--system", metavar="NAME", help="The memory library: axon, langgraph, ..."),
    click.option("--store", metavar="NAME", help="The store of that library."),
    click.option("--action", metavar="NAME", help="The method's name in that library."),
    click.option("--trace", metavar="ID", callback=_trace, help="The trace id: 32 hex digits."),
    *_PERIOD,
    secret_option,
    keys_option,
]

#: The highest number of events.
limit_option = click.option(
    "-n",
    "--limit",
    type=click.IntRange(min=1),
    metavar="N",
    help="Only the newest N.",
)


def filters(command: Callable[..., Any]) -> Callable[..., Any]:
    """*command* with the options of a query."""
    return _with(_FILTERS, command)


def period(command: Callable[..., Any]) -> Callable[..., Any]:
    """*command* with the options ``since`` and ``until``, for `within`."""
    return _with(_PERIOD, command)


def _with(options: list[Callable[..., Any]], command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(options):
        command = option(command)
    return command


def query_of(given: dict[str, Any]) -> Query:
    """The query that `filters` and `limit_option` make.

    Raises:
        click.UsageError: If the period ends before it begins.
    """
    query = Query.of(
        operation=given["operation"],
        status=given["status"],
        user_id=given["user"],
        session_id=given["session"],
        subject_id=given["subject"],
        agent_id=given["agent"],
        on_behalf_of=given["on_behalf_of"],
        purpose=given["purpose"],
        trace_id=given["trace"],
        system=given["system"],
        store=given["store"],
        action=given["action"],
        entry_ids=given["entry"] or None,
        limit=given.get("limit"),
    )
    return within(query, given["since"], given["until"]).under(given["pseudonyms"])


def within(query: Query, since: _When | None, until: _When | None) -> Query:
    """*query*, about that period.

    Raises:
        click.UsageError: If the period ends before it begins.
    """
    # The same text twice is allowed: a day that the clock skips ends before it begins.
    if since and until and since.moment > until.moment and since.text != until.text:
        msg = f"--since ({local(since.moment)}) is after --until ({local(until.moment)})"
        raise click.UsageError(msg)
    return replace(
        query,
        start_us=None if since is None else to_microseconds(since.moment),
        end_us=None if until is None else to_microseconds(until.moment),
    )


def check_ending(name: str, known: Iterable[str], or_else: str = "") -> None:
    """Refuse the *name* of a file whose ending names a format that is not *known*: whoever opens
    it would find another one. A name without an ending is no such wish.

    Raises:
        click.UsageError: If the ending is none of them.
    """
    ending = Path(name).suffix.lower()
    if ending and ending not in known:
        use = f"use {', '.join(known)}{or_else}"
        raise click.UsageError(f"{name!r}: {ending!r} is no format that can be written: {use}")


def reason(exc: Exception) -> str:
    """An error of ours, or of the system, in one line."""
    if not isinstance(exc, OSError):
        return str(exc)
    place = f": {shown(exc.filename)}" if exc.filename else ""
    return f"{exc.strerror or exc}{place}"
