"""Legal holds: while a file ``*.hold`` is in an archive's directory, nothing is deleted there.

The text of the file is the reason. Any program that can write a file can place one.
"""

from __future__ import annotations

import getpass
import os
import re
import time
from contextlib import suppress
from pathlib import Path

from ..core.errors import ArchiveError
from ..core.files import open_regular, write_file
from ..core.time import format_time

__all__ = ["holds", "is_held", "parts", "place_hold", "release_hold", "user_name"]

_HOLD = ".hold"
_LONGEST = 1 << 16  # bytes that are read of a reason


def is_held(directory: Path) -> bool:
    """Return True if there is a hold: nothing may be deleted in *directory*.

    Raises:
        OSError: If the directory cannot be read.
    """
    return any(name.endswith(_HOLD) for name in os.listdir(directory))  # noqa: PTH208 - raises


def holds(directory: Path, missing_ok: bool = False) -> dict[str, str]:
    """The holds in *directory*: their texts, by name.

    Args:
        directory: The archive's.
        missing_ok: Return {} if there is no such directory.

    Raises:
        ArchiveError: If *directory* cannot be read.
    """
    try:
        found = sorted(path for path in directory.iterdir() if path.name.endswith(_HOLD))
    except OSError as exc:
        if missing_ok and isinstance(exc, FileNotFoundError):
            return {}
        raise ArchiveError(f"cannot read {str(directory)!r}: {exc.strerror or exc}") from exc
    reasons = {}
    for path in found:
        reason = ""
        with suppress(OSError), open_regular(path) as file:  # a hold without a text
            reason = file.read(_LONGEST).decode("utf-8", "replace").strip()
        reasons[path.name.removesuffix(_HOLD)] = reason
    return reasons


def parts(text: str) -> dict[str, str | None]:
    """The parts of a hold's text: ``reason``, ``placed_at``, ``placed_by``; None if missing."""
    reason, _, last = text.rpartition("\n")
    placed = re.fullmatch(r"placed (\S+) by (.+)", last)
    at, by = placed.groups() if placed else (None, None)
    return {"reason": (reason if placed else text) or None, "placed_at": at, "placed_by": by}


def place_hold(directory: Path, reason: str, name: str = "legal") -> Path:
    """Stop every deletion in *directory*; returns the hold's file.

    Args:
        directory: The archive's.
        reason: The reason. The name of the user and the time are added.
        name: Name of the hold; a directory can have several.

    Raises:
        ArchiveError: If that name is taken, or the file cannot be written.
    """
    path = _path(directory, name)
    if name in holds(directory):
        raise ArchiveError(f"there is a hold {name!r} in {str(directory)!r}: use another name")
    placed = f"placed {format_time(time.time_ns() // 1000)} by {user_name() or 'unknown'}"
    write_file([f"{reason.strip()}\n{placed}\n".encode("utf-8", "replace")], path)
    return path


def user_name() -> str | None:
    """The name of the user who runs this process; None without a name."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return None


def release_hold(directory: Path, name: str = "legal") -> None:
    """Remove a hold.

    Raises:
        ArchiveError: If there is none of that name, or it cannot be removed.
    """
    path = _path(directory, name)
    try:
        path.unlink()
    except OSError as exc:
        why = "there is none" if isinstance(exc, FileNotFoundError) else exc.strerror
        msg = f"cannot release the hold {name!r} in {str(directory)!r}: {why}"
        raise ArchiveError(msg) from exc


def _path(directory: Path, name: str) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise ArchiveError(f"{name!r} names no hold: must be 1 to 64 of A-Z a-z 0-9 . _ -")
    return directory / f"{name}{_HOLD}"
