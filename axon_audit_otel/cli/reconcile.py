"""The command `reconcile`: holds a memory's store against its trail."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, redirect_stdout, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..archive.checkpoints import SigningKey
from ..archive.missing import Missing
from ..archive.search import search
from ..core.errors import AxonAuditError, shown
from ..core.time import parse_time
from ..events.localtime import local
from ..evidence.reconciliation import Reconciliation
from ..privacy.fingerprints import key_of
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import Pseudonyms
from ..trail.setting_values import parse_fingerprints
from ..trail.settings import Settings
from .admin_events import check_archive, check_signing, keys_for, record
from .options import (
    NotAnswered,
    answering,
    json_option,
    keys_option,
    parsed,
    print_missing,
    reason,
    secret_option,
    signing_option,
)
from .privacy import reader
from .render import amount, console, plain, print_json

if TYPE_CHECKING:
    from ..evidence.reconcile import Progress

__all__ = ["reconcile"]

_SHOWN = 10  # entries of each kind of finding; --json has all


@click.command()
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--memory",
    "name",
    metavar="MODULE:NAME",
    required=True,
    help="The MemorySystem, or a function without arguments that returns it.",
)
@click.option(
    "--allow-unknown",
    is_flag=True,
    help="Entries of which the trail cannot know (older ones) do not make the exit code 1.",
)
@click.option(
    "--fingerprints",
    metavar="@FILE",
    envvar=Settings.variable("fingerprints"),
    show_envvar=True,
    callback=parsed(parse_fingerprints),
    help="The secret of the fingerprints, if the application has one."
    " Default: the key made of the signing key, else the one in DIR.",
)
@secret_option
@keys_option
@signing_option
@json_option
@click.pass_context
def reconcile(
    ctx: click.Context,
    path: Path,
    name: str,
    allow_unknown: bool,
    fingerprints: bytes | bool | None,
    pseudonyms: Pseudonyms | None,
    keys: Path | None,
    signing_key: SigningKey | None,
    as_json: bool,
) -> None:
    """Compare what lies in a memory's store with its trail.

    DIR is the directory of the archive. Finds entries that nobody stored (unrecorded), that
    should be there and are not (missing), whose text is not the newest on record (altered),
    that were deleted and are there (forgotten_present), and that were made of entries which
    are forgotten (derived_orphaned).

    NAME in MODULE (the working directory is searched, too) is the MemorySystem, or a function
    that returns it, may be a coroutine function, or give an async context manager. Its
    entries are read through the storage adapters, and none is changed; the application may
    run meanwhile. That the store was read, and what was found, is recorded in DIR, if that
    can be written.

    Exit codes: 0, store and trail agree; 1, something was found, or the answer is not whole
    (standard error says what it lacks); 2, it could not be done.
    """
    missing = Missing()
    try:
        check_archive(path)
        if os.access(path, os.W_OK):
            check_signing(path, signing_key)
        policy = _policy(path, keys, pseudonyms, fingerprints, signing_key)
        with _progress() as progress:
            found = asyncio.run(_compared(path, name, policy, missing, progress))
    except (AxonAuditError, OSError) as exc:
        raise NotAnswered(reason(exc)) from exc
    hidden = policy.encrypts  # then each person has a key of their own
    if found.not_comparable and not (hidden or _has_key(path, fingerprints, signing_key)):
        found.lacking.append("the key of the fingerprints: texts could not be compared")
    is_recorded = _record(path, signing_key, keys, found)  # before a pipe can break
    with answering():
        if as_json:
            print_json(found.to_dict())
        else:
            _print(found)
    print_missing(missing)
    is_well = found.agrees or (allow_unknown and found.finds_nothing and found.is_all_read)
    if not (is_recorded and is_well):
        ctx.exit(1)


def _policy(
    path: Path,
    keys: Path | None,
    pseudonyms: Pseudonyms | None,
    secret: bytes | bool | None,
    signing_key: SigningKey | None,
) -> PrivacyPolicy:
    """The policy that makes fingerprints as the application does."""
    policy = reader(path, keys, pseudonyms=pseudonyms)
    if isinstance(secret, bytes):
        return policy.with_fingerprints(lambda: secret)
    if signing_key is not None:
        return policy.with_fingerprints(lambda: signing_key.derived("fingerprints"))
    try:
        key = key_of(path, make=False)
    except FileNotFoundError:
        why = "there is no key of fingerprints in the archive, so texts cannot be compared"
        click.echo(f"{why}: give the application's --signing-key, or --fingerprints", err=True)
        key = key_of(None)
    return policy.with_fingerprints(lambda: key)


def _has_key(path: Path, secret: bytes | bool | None, signing_key: SigningKey | None) -> bool:
    """True if the fingerprints on record can be made again."""
    if isinstance(secret, bytes) or signing_key is not None:
        return True
    with suppress(FileNotFoundError):
        return bool(key_of(path, make=False))
    return False


def _record(path: Path, key: SigningKey | None, keys: Path | None, found: Reconciliation) -> bool:
    """Record the run; returns False, and says why, if an archive that can be written has failed."""
    if not os.access(path, os.W_OK):
        click.echo("not recorded: the archive is read-only", err=True)
        return True
    status = "SUCCESS" if found.agrees else "PARTIAL"
    try:
        record(path, "reconcile", key, keys_for(path, keys), status=status, **found.facts())
    except (AxonAuditError, OSError, click.ClickException) as exc:
        why = exc.message if isinstance(exc, click.ClickException) else reason(exc)
        click.echo(f"not recorded: {plain(why)}", err=True)
        return False
    return True


# --- the memory ------------------------------------------------------------------------------


async def _compared(
    path: Path, name: str, policy: PrivacyPolicy, missing: Missing, progress: Progress
) -> Reconciliation:
    from ..evidence.reconcile import Reading  # slow to import, as the next
    from ..integrations.axon.stored import StoredMemory

    def events(query: Any) -> Any:
        return policy.read(query, partial(search, path, oldest_first=True, missing=missing))

    async with _memory(name) as memory:
        reading = Reading(StoredMemory(memory), policy, events, path, progress)
        try:
            return await reading.result(missing)
        except (AxonAuditError, OSError):
            raise
        except Exception as exc:  # a storage adapter may raise anything
            raise NotAnswered(f"cannot read the store: {_in_a_line(exc)}") from exc


@asynccontextmanager
async def _memory(name: str) -> AsyncIterator[Any]:
    """The system that the user's function makes; it is closed in the end."""
    with _errors_of(name):
        made = _named(name)
        if callable(made):
            made = made()
        if inspect.isawaitable(made):
            made = await made
        if not hasattr(made, "__aenter__"):
            raise TypeError(f"it gave {shown(made)}, no MemorySystem")
        memory = await made.__aenter__()
    try:
        yield memory
    finally:
        with _errors_of(name):
            await made.__aexit__(None, None, None)


def _named(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not (module and attribute):
        raise click.BadParameter("must be MODULE:NAME, as app:memory", param_hint="--memory")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    found: Any = import_module(module)
    for part in attribute.split("."):
        found = getattr(found, part)
    return found


@contextmanager
def _errors_of(name: str) -> Iterator[None]:
    """Tell errors of the user's code in one line; what it prints goes to standard error."""
    try:
        with redirect_stdout(sys.stderr):
            yield
    except click.ClickException:
        raise
    except (Exception, SystemExit) as exc:
        raise NotAnswered(f"--memory {plain(name)}: {_in_a_line(exc)}") from exc


def _in_a_line(exc: BaseException) -> str:
    words = " ".join(str(exc).split())
    return f"{type(exc).__name__}: {words}" if words else type(exc).__name__


# --- printing --------------------------------------------------------------------------------


@contextmanager
def _progress() -> Iterator[Progress]:
    """Tells on a terminal how much is read."""
    to = console(stderr=True)
    if not to.is_interactive:
        yield lambda what, number: None
        return
    with to.status("reading the store") as status:
        yield lambda what, number: status.update(f"reading: {number:,} {what}")


_HEADS = {
    "unrecorded": "in the store, and on record nobody stored it",
    "missing": "on record stored and not deleted, and not in the store",
    "altered": "the text is not the newest on record",
    "forgotten_present": "on record deleted, and in the store",
    "derived_orphaned": "made of entries that are forgotten",
}
_DOUBTS = {
    "unknown_before": "older than what is left of the trail: nobody knows who stored it",
    "unnamed": "maybe among those that large operations touched without naming them",
    "may_have_expired": "not in the store, but its tier lets entries expire",
    "unsettled": "changing all the time: run it again",
}


def _print(found: Reconciliation) -> None:
    tiers = ", ".join(f"{plain(tier)} {number:,}" for tier, number in found.by_tier.items())
    _say(f"in the store: {_entries(found.in_store)}{f' ({tiers})' if tiers else ''}")
    _say(f"on record:    {_entries(found.on_record)}")
    other = f"; {found.not_comparable:,} cannot be compared" if found.not_comparable else ""
    _say(f"same text:    {_entries(found.matching)}{other}")
    for kind, words in _HEADS.items():
        some = found.findings[kind]
        if some:
            click.echo()
            _say(f"{kind}: {_entries(len(some))} ({words})")
            for one in some[:_SHOWN]:
                _say(_described(one), 2)
            if len(some) > _SHOWN:
                _say(f"and {len(some) - _SHOWN:,} more: --json has all", 2)
    if found.finds_nothing:
        click.echo()
        agree = "store and trail agree" if found.agrees else "in what can be known, they agree"
        but = amount(found.not_comparable, "text")
        _say(
            f"{agree}, except for {but} that cannot be compared" if found.not_comparable else agree
        )
    for line in _lacks(found):
        _say(line, err=True)


def _entries(number: int) -> str:
    return f"{number:,} {'entry' if number == 1 else 'entries'}"


def _lacks(found: Reconciliation) -> Iterator[str]:
    for why, words in _DOUBTS.items():
        if found.unknown[why]:
            yield f"{why}: {_entries(len(found.unknown[why]))} ({words})"
    for tier, number in found.unlisted.items():
        yield f"unlisted: {_entries(number)} that the tier {plain(tier)} counts and does not list"
    for tier, number in found.unreadable.items():
        yield f"unreadable: {_entries(number)} of the tier {plain(tier)}"


def _described(one: dict[str, Any]) -> str:
    """A finding: the entry, whose it is, where it lies, and by which event that is known."""
    owners = one.get("owners") or ([one["owner"]] if one.get("owner") else [])
    words = [plain(one["entry_id"])]
    words += [f"of {plain(', '.join(owners))}"] if owners else []
    words += [f"in {plain(', '.join(one['tiers']))}"] if one.get("tiers") else []
    if "event_id" in one:
        words.append(f"({one['operation']} {_local(one['time'])}, {one['event_id']})")
    elif "created" in one:
        words.append(f"(created {_local(one['created'])})")
    return " ".join(words)


def _local(time: str) -> str:
    moment = parse_time(time)
    return time if moment is None else local(moment)


def _say(text: str, indent: int = 0, err: bool = False) -> None:
    """One paragraph, in the width of the terminal; a pipe gets it in one line."""
    to = console(stderr=err)
    if not to.is_terminal:
        click.echo(" " * indent + text, err=err)
        return
    lines = textwrap.wrap(
        text,
        min(max(to.width, 40), 100),
        initial_indent=" " * indent,
        subsequent_indent=" " * (indent + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
    for line in lines or [""]:
        click.echo(line, err=err)
