"""What the command line records in an archive itself: who erased, held, or released what."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..archive.checkpoints import SigningKey, is_signed
from ..archive.directory import files_of
from ..archive.holds import user_name
from ..archive.writer_lock import has_begun
from ..core.errors import ArchiveError
from ..core.files import give_back
from ..events.model import draft
from ..privacy.encryption import Erasure, keyring_of, keys_of
from ..verification.checkpoint_files import SUFFIXES

if TYPE_CHECKING:
    from ..trail.audit_logger import AuditLogger

__all__ = ["check_archive", "check_signing", "keys_for", "record", "recorder"]


def check_archive(directory: Path) -> None:
    """Refuse a directory that is no archive: the parent of one, for example.

    Raises:
        ArchiveError: If *directory* is not there, or has no audit files.
    """
    if not has_begun(directory):
        files_of(directory)


def check_signing(directory: Path, key: SigningKey | None) -> None:
    """Refuse to record unsigned what stands beside signed checkpoints.

    Raises:
        click.UsageError: If *key* is missing: `verify` with a key would find a trail that
            nobody signed.
    """
    if key is None and any(map(is_signed, directory.glob(f"*{SUFFIXES[1]}"))):
        msg = f"checkpoints in {str(directory)!r} are signed, and so must be what this records"
        raise click.UsageError(f"{msg}: give --signing-key (axon-audit keygen makes one)")


def keys_for(directory: Path, given: Path | None) -> Path | None:
    """The keys that what is recorded in *directory* needs: those *given*, or those beside it.

    None if it needs none, which is not changed; or they are not here, or cannot be added to.

    Raises:
        ArchiveError: If those *given* are not the archive's, or cannot be used.
    """
    if keyring_of(directory)[0] is None:
        return None
    place = given or keys_of(directory)
    try:
        Erasure.for_reading(directory, place)
    except ArchiveError:
        if given is not None:
            raise
        return None
    return place if os.access(place, os.W_OK) else None


@contextmanager
def recorder(
    directory: Path, name: str, key: SigningKey | None, **settings: Any
) -> Iterator[AuditLogger]:
    """A logger whose trail in *directory* is the command's own."""
    from prometheus_client import CollectorRegistry  # these take their time

    from ..trail.audit_logger import AuditLogger

    class Recorder(AuditLogger):
        _names_users = settings.get("erasable") is not False

    for place in (directory, settings.get("erasable")):
        if isinstance(place, Path) and place.is_dir():
            give_back(place)
    options = {**settings, "signing_key": key, "registry": CollectorRegistry()}
    with Recorder(name=name, auto_export_path=directory, **options) as audit:
        yield audit


def record(
    directory: Path,
    name: str,
    key: SigningKey | None,
    keys: Path | None,
    do: Callable[[], object] = lambda: None,
    **facts: Any,
) -> None:
    """Record what was done, and which user of the machine did it.

    Args:
        directory: The archive's.
        name: Of the trail.
        key: Signs for it.
        keys: As `keys_for` says; nobody is named if the archive needs some and there are none.
        do: Does it, if that must not be done where it cannot be recorded.
        facts: What was done.

    Raises:
        click.ClickException: If it could not be recorded.
    """
    user = os.environ.get("SUDO_USER") or user_name()
    if keys is None and keyring_of(directory)[0] is not None:
        user = None
        click.echo("recorded without a name: the keys cannot be used (--keys)", err=True)
    with recorder(directory, name, key, erasable=keys or False) as audit:
        do()
        trail = audit.trail
        if trail.pseudonyms is not None and user is not None:
            user = trail.pseudonyms.user(user)
        audit.emit(draft("AUDIT", "SUCCESS", user_id=user, metadata=facts, trail=trail))
        if not trail.is_kept:
            raise click.ClickException(f"it is done, but not recorded: {trail.why}")
