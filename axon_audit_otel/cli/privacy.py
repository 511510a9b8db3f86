"""Decrypts events whose keys are there; the commands `erase` and `pseudonym`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import msgspec

from ..archive.checkpoints import SigningKey
from ..archive.missing import Missing
from ..archive.search import search
from ..core.os_user import os_user
from ..events.identifiers import identifier
from ..events.identity import audit_context
from ..events.model import AuditEvent, fields_of
from ..events.query import Query
from ..privacy.erased_tokens import keyring_of, keys_of
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import Pseudonyms
from ..privacy.readable import decrypted, recorded
from ..trail.settings import Settings
from .admin_events import check_archive, check_signing, recorder
from .options import (
    archive_argument,
    json_option,
    keys_option,
    reads,
    secret_option,
    signing_option,
)
from .render import plain

__all__ = ["erase", "found", "pseudonym", "reader"]


def reader(
    path: Path, keys: Path | None, quiet: bool = False, pseudonyms: Pseudonyms | None = None
) -> PrivacyPolicy:
    """The policy that makes the events at *path* readable, as far as there are keys.

    Prints that keys are missing, unless *quiet*. With *pseudonyms* it knows hashed ids.

    Raises:
        ArchiveError: If *keys* belong to another archive.
    """
    directory = path if path.is_dir() else path.parent
    number, place = keyring_of(directory), keys or keys_of(directory)
    if keys is None and not place.is_dir():
        if number is not None and not quiet:
            where = f"the keys (keyring {number}) are not in {str(place)!r}"
            click.echo(f"{where}: personal data stays encrypted (--keys)", err=True)
        return PrivacyPolicy(pseudonyms=pseudonyms)
    return PrivacyPolicy.for_reading(directory, place, pseudonyms)


def found(
    path: Path,
    query: Query,
    keys: Path | None,
    missing: Missing,
    *,
    as_recorded: bool = False,
    oldest_first: bool = False,
    shown: Callable[[Iterator[AuditEvent]], Iterator[AuditEvent]] = iter,
    pseudonyms: Pseudonyms | None = None,
    entry: str | None = None,
) -> Iterator[AuditEvent]:
    """The events that `search` finds, decrypted if the keys are there.

    With *as_recorded*, the keys only serve to find events, which stay encrypted. *shown* takes
    note of each event as the keys open it. With *pseudonyms* they have the id *entry* also where
    a hash stands for it.

    Raises:
        ArchiveError: As `search`, or if the keys cannot be used.
    """
    search_for = partial(search, path, oldest_first=oldest_first, missing=missing)
    policy = reader(path, keys, pseudonyms=pseudonyms)
    if entry is not None:
        policy = policy.with_entries([entry])
    events = shown(policy.read(query, search_for))
    return map(recorded if as_recorded else decrypted, events)


@click.command()
@click.argument("user")
@archive_argument
@click.option("--reason", metavar="TEXT", help="Why, for the record.")
@keys_option
@secret_option
@signing_option
@json_option
@reads
def erase(
    user: str,
    path: Path,
    reason: str | None,
    keys: Path | None,
    pseudonyms: Pseudonyms | None,
    signing_key: SigningKey | None,
    as_json: bool,
    missing: Missing,
) -> None:
    """Make a user's personal data unreadable, for good.

    Destroys the keys of USER's events in PATH, a directory of audit files (GDPR Art. 17). In an
    event about several persons, USER's id and the texts of USER's entries become unreadable, and
    the other facts if USER acted or the call named USER; the data of others stays readable.

    The files do not change, so verify and proofs still work. The erasure is recorded before it
    is done: who asked for it and why, without USER's name. Applications may run meanwhile.
    During a legal hold nothing is erased. Who has a copy of the keys can still read the data.
    """
    if reason is not None and not reason.strip():
        raise click.BadParameter("it is empty", param_hint="--reason")
    check_archive(path)
    place = keys or keys_of(path)
    if not place.is_dir():
        msg = f"there are no keys in {str(place)!r}: events in {str(path)!r} cannot be erased"
        raise click.ClickException(msg)
    done = PrivacyPolicy.for_reading(path, place, pseudonyms).knows(identifier(user))
    if done:
        check_signing(path, signing_key)
        settings: dict[str, Any] = {"erasable": place, "pseudonymize": pseudonyms}
        who = os_user()
        facts: dict[str, Any] = {} if reason is None else {"reason": reason.strip()}
        if who.name != identifier(user):  # whoever erases himself is not named
            facts |= who.ids
        with (
            recorder(path, "erasure", signing_key, **settings) as audit,
            audit_context(user_id=who.name),
        ):
            audit.erase_user(user, metadata=facts)
    clear = _is_in_clear(path, user, pseudonyms, missing)
    if as_json:
        click.echo(msgspec.json.encode({"erased": done, "also_in_clear": clear}))
    elif done:
        click.echo(f"erased: the personal data of {plain(user)!r} can no longer be read")
    if clear:
        words = "events with that id from before erasable= was switched on are not encrypted"
        click.echo(f"{words}: they stay readable", err=True)
    if not done:
        msg = f"no key for {plain(user)!r}: erased before, or never recorded"
        if pseudonyms is None:
            msg += " by that id (if it was with a pseudonym: --pseudonymize)"
        raise click.ClickException(msg)


def _is_in_clear(path: Path, user: str, pseudonyms: Pseudonyms | None, missing: Missing) -> bool:
    """Return True if an event that is not encrypted names the user."""
    found = False
    for field in fields_of("person"):
        by_field: dict[str, Any] = {field: user}
        query = Query.of(limit=1, **by_field).under(pseudonyms)
        here = Missing()
        found = found or any(True for _ in search(path, query, missing=here))
        missing.include(here)
    return found


@click.command()
@click.argument("user")
@click.option("--session", is_flag=True, help="USER is the id of a session.")
@click.option("--entry", is_flag=True, help="USER is the id of a memory entry.")
@secret_option
@json_option
def pseudonym(
    user: str, session: bool, entry: bool, pseudonyms: Pseudonyms | None, as_json: bool
) -> None:
    """Print the pseudonym of a user's id: its user.hash.

    Use it to find a user in traces and logs. USER is the id as the application has it, the
    secret that of its setting pseudonymize.
    """
    if pseudonyms is None:
        msg = f"the secret is missing: give --pseudonymize or {Settings.variable('pseudonymize')}"
        raise click.UsageError(msg)
    if session and entry:
        raise click.UsageError("an id is that of a session or of an entry: leave out one of both")
    real, policy = identifier(user), PrivacyPolicy(pseudonyms=pseudonyms)
    field = "session_id" if session else "user_id"
    hashed = policy.entry_names.hashed(real) if entry else policy.hidden(field, real)
    if as_json:
        name = "entry_id" if entry else "session.id" if session else "user.hash"
        click.echo(msgspec.json.encode({name: hashed}))
    else:
        click.echo(hashed)
