"""Records in an archive what a command did to it: erasures, holds and releases of holds."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..archive.checkpoints import SigningKey, is_signed
from ..archive.directory import files_of
from ..archive.holds import user_name
from ..archive.writer_lock import has_begun
from ..core.errors import ArchiveError
from ..core.files import give_back
from ..events.draft import draft
from ..privacy.encryption import keyring_of, keys_of
from ..privacy.policy import PrivacyPolicy
from ..verification.checkpoint_files import SUFFIXES

if TYPE_CHECKING:
    from ..trail.audit_logger import AuditLogger

__all__ = ["check_archive", "check_signing", "keys_for", "process_ids", "record", "recorder"]


def check_archive(directory: Path) -> None:
    """Refuse a directory that is not an archive, such as the parent of one.

    Raises:
        ArchiveError: If *directory* does not exist, or has no audit files.
    """
    if not has_begun(directory):
        files_of(directory)


def check_signing(directory: Path, key: SigningKey | None) -> None:
    """Refuse to record without a signature beside signed checkpoints.

    Raises:
        click.UsageError: If *key* is missing: `verify` with a key would report the unsigned
            trail.
    """
    if key is None and any(map(is_signed, directory.glob(f"*{SUFFIXES[1]}"))):
        msg = f"checkpoints in {str(directory)!r} are signed, so this must be signed too"
        raise click.UsageError(f"{msg}: give --signing-key (axon-audit keygen makes one)")


def keys_for(directory: Path, given: Path | None) -> Path | None:
    """The directory of keys for a record in *directory*: the one *given*, or the one beside it.

    Returns None if the archive is not encrypted, or its keys are missing or read-only.

    Raises:
        ArchiveError: If *given* belongs to another archive, or cannot be used.
    """
    if keyring_of(directory)[0] is None:
        return None
    place = given or keys_of(directory)
    try:
        PrivacyPolicy.for_reading(directory, place)
    except ArchiveError:
        if given is not None:
            raise
        return None
    return place if os.access(place, os.W_OK) else None


def login_user() -> str | None:
    """The user of the machine who runs this, as the kernel says; None without a kernel that does.

    After `sudo` that is who logged in. The environment is not believed.
    """
    if not hasattr(os, "getuid"):
        return user_name()
    import pwd

    uid = _login_uid()
    uid = os.getuid() if uid is None else uid
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"


def _login_uid() -> int | None:
    """The number of the user whose login began this process (Linux); None where none did."""
    with suppress(OSError, ValueError):
        uid = int(Path("/proc/self/loginuid").read_text())
        return None if uid == _NO_LOGIN else uid
    return None


_NO_LOGIN = 2**32 - 1


def process_ids() -> dict[str, int]:
    """The user, group and login of this process, as the kernel says; {} where it says none."""
    if not hasattr(os, "getuid"):
        return {}
    ids = {"uid": os.getuid(), "gid": os.getgid(), "effective_uid": os.geteuid()}
    login = _login_uid()
    return ids if login is None else {**ids, "login_uid": login}


@contextmanager
def recorder(
    directory: Path, name: str, key: SigningKey | None, **settings: Any
) -> Iterator[AuditLogger]:
    """A logger with a trail in *directory* that only the command writes."""
    from prometheus_client import CollectorRegistry  # slow to import, as the next

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
    """Record what a command did, and which user of the machine ran it.

    Args:
        directory: The directory of the archive.
        name: The name of the trail.
        key: The key that signs the record.
        keys: The result of `keys_for`. If it is None and the archive is encrypted, the record
            has no user.
        do: The action, if it must not happen without a record.
        facts: The metadata of the record.

    Raises:
        click.ClickException: If the record could not be written.
    """
    user = login_user()
    if keys is None and keyring_of(directory)[0] is not None:
        user = None
        click.echo("recorded without a name: the keys cannot be used (--keys)", err=True)
    with recorder(directory, name, key, erasable=keys or False) as audit:
        do()
        trail = audit.trail
        if user is not None:
            user = trail.policy.hidden("user_id", user)
        facts = {**facts, **(process_ids() if user is not None else {})}
        audit.emit(draft("AUDIT", "SUCCESS", user_id=user, metadata=facts, trail=trail))
        if not trail.is_kept:
            raise click.ClickException(f"done, but not recorded: {trail.why}")
