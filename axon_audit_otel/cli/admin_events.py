"""Records in an archive what a command did to it: erasures, holds and releases of holds."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..archive.attested import ATTESTED
from ..archive.checkpoints import SigningKey, is_signed
from ..archive.directory import files_of
from ..archive.writer_lock import has_begun
from ..core.errors import ArchiveError
from ..core.files import give_back, listed
from ..core.os_user import os_user
from ..events.draft import draft
from ..privacy.erased_tokens import keyring_of, keys_of
from ..privacy.policy import PrivacyPolicy
from ..verification.checkpoint_files import SUFFIXES

if TYPE_CHECKING:
    from ..trail.audit_logger import AuditLogger

__all__ = [
    *("check_archive", "check_signing", "is_signed_archive"),
    *("keys_for", "record", "recorder"),
]


def check_archive(directory: Path) -> None:
    """Refuse a directory that is not an archive, such as the parent of one.

    Raises:
        ArchiveError: If *directory* does not exist, or has no audit files.
    """
    if not has_begun(directory):
        files_of(directory)


def is_signed_archive(directory: Path) -> bool:
    """Return True if a trail in *directory* is signed, or will be at its first checkpoint."""
    if any(listed(directory, f"*{ATTESTED}")):
        return True
    return any(map(is_signed, directory.glob(f"*{SUFFIXES[1]}")))


def check_signing(directory: Path, key: SigningKey | None) -> None:
    """Refuse to record without a signature beside signed checkpoints.

    Raises:
        click.UsageError: If *key* is missing: `verify` with a key would report the unsigned
            trail.
    """
    if key is None and is_signed_archive(directory):
        msg = f"checkpoints in {str(directory)!r} are signed, so this must be signed too"
        raise click.UsageError(f"{msg}: give --signing-key (axon-audit keygen makes one)")


def keys_for(directory: Path, given: Path | None) -> Path | None:
    """The directory of keys for a record in *directory*: the one *given*, or the one beside it.

    Returns None if the archive is not encrypted, or its keys are missing or read-only.

    Raises:
        ArchiveError: If *given* belongs to another archive, or cannot be used.
    """
    if keyring_of(directory) is None:
        return None
    place = given or keys_of(directory)
    try:
        PrivacyPolicy.for_reading(directory, place)
    except ArchiveError:
        if given is not None:
            raise
        return None
    return place if os.access(place, os.W_OK) else None


@contextmanager
def recorder(
    directory: Path,
    name: str,
    key: SigningKey | None,
    environ: Mapping[str, str] = os.environ,
    is_guest: bool = False,
    **settings: Any,
) -> Iterator[AuditLogger]:
    """A logger with a trail in *directory* that only the command writes.

    What *settings* leave out is as the variables of *environ* say. A guest leaves its journal to
    the next one, and what others left to them.
    """
    from prometheus_client import CollectorRegistry  # slow to import, as the next

    from ..trail.audit_logger import AuditLogger

    class Recorder(AuditLogger):
        _names_users = settings.get("erasable") is not False
        _environ = environ
        _is_guest = is_guest

    for place in (directory, settings.get("erasable")):
        if isinstance(place, Path) and place.is_dir():
            give_back(place)
    # What it records names no entries: no secret is needed, whatever the environment says.
    options = {"private_ids": False, **settings, "signing_key": key}
    options["registry"] = CollectorRegistry()
    if settings.get("erasable") is False and keyring_of(directory) is not None:
        options["start_record"] = False  # it would name the user of the machine in clear
    with Recorder(name=name, auto_export_path=directory, **options) as audit:
        yield audit


def record(
    directory: Path,
    name: str,
    key: SigningKey | None,
    keys: Path | None,
    do: Callable[[], object] = lambda: None,
    status: str = "SUCCESS",
    **facts: Any,
) -> None:
    """Record what a command did, and which user of the machine ran it.

    Args:
        directory: The directory of the archive.
        name: The name of the trail.
        key: The key that signs the record.
        keys: The result of `keys_for`. If it is None and the archive is encrypted, the record
            has no user.
        do: The action, if it must not happen without a record.
        status: That of the record.
        facts: The metadata of the record.

    Raises:
        click.ClickException: If the record could not be written.
    """
    who = os_user()
    user, ids = who.name, who.ids
    if keys is None and keyring_of(directory) is not None:
        user, ids = None, {}
        click.echo("recorded without a name: the keys cannot be used (--keys)", err=True)
    with recorder(directory, name, key, erasable=keys or False) as audit:
        now = time.time_ns()  # a hold is released from here on: retention may delete
        do()
        trail = audit.trail
        if user is not None:
            user = trail.policy.hidden("user_id", user)
        facts = {**facts, **ids}
        event = draft("AUDIT", status, user_id=user, metadata=facts, time_ns=now, trail=trail)
        audit.emit(event)
        if not trail.is_kept:
            raise click.ClickException(f"done, but not recorded: {trail.why}")
