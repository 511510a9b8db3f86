"""The file ``.keyring`` of an archive: which keys its events need, and who was erased.

It has the number of the keyring, and a line for each erased user, with a code that only the keys
can make: so a copy of the keys from before an erasure brings nobody back, and a line of somebody
without keys does nothing.
"""

from __future__ import annotations

import hmac
import os
import re
from contextlib import suppress
from pathlib import Path

from ..core.errors import ArchiveError, AuditConfigError, archive_errors
from ..core.files import append, open_owned
from .keyring import Keyring

__all__ = [
    "MARK",
    "check_in_clear",
    "checked",
    "erased",
    "keep",
    "keyring_of",
    "keys_of",
    "list_in",
]

MARK = ".keyring"  # in an archive: the number of the keyring, and tokens that were erased
_MOST = 64 << 20  # bytes of it: a million erased users


def keyring_of(archive: Path) -> str | None:
    """The number of the keyring that an archive's events need; None if none is encrypted.

    Raises:
        ArchiveError: If that cannot be read, or is no list of a keyring.
    """
    return list_in(archive)[0] or None


def list_in(archive: Path) -> list[str]:
    """The lines of an archive's list: the keyring's number, and a line for each erased token.

    Anybody who can write to the archive may have written them.

    Raises:
        ArchiveError: If it cannot be read, or is no such list.
    """
    content = b""
    with (
        archive_errors(archive / MARK),
        suppress(FileNotFoundError, NotADirectoryError),
        open(open_owned(archive / MARK, os.O_RDONLY), "rb") as file,
    ):
        content = file.read(_MOST + 1)
    lines = content.decode("ascii", "replace").split("\n")
    if len(content) > _MOST or (content and not re.fullmatch("[0-9a-f]{8}", lines[0])):
        raise ArchiveError(f"{str(archive / MARK)!r} is not a list of a keyring")
    return lines


def _line(keys: Keyring, token: bytes) -> str:
    """The line for an erased token, with a code that only who has the keys can make."""
    return f"{token.hex()} {keys.proof_of_erasure(token).hex()}"


def erased(keys: Keyring, lines: list[str]) -> set[bytes]:
    """The tokens in an archive's list that were erased by somebody who had the keys.

    Other lines are garbage, or of somebody who would like to hide, or to destroy, a user's events.
    """
    found = filter(re.compile("[0-9a-f]{32} [0-9a-f]{32}").fullmatch, lines)
    tokens = ((bytes.fromhex(line[:32]), line) for line in found)
    return {token for token, line in tokens if hmac.compare_digest(line, _line(keys, token))}


def check_in_clear(archive: Path) -> None:
    """Refuse to record in clear beside events that are encrypted.

    Raises:
        AuditConfigError: If *archive* needs keys.
        ArchiveError: If it cannot be told whether it does.
    """
    number = keyring_of(archive)
    if number is not None:
        msg = (
            f"erasable=False: personal data in {str(archive)!r} is encrypted (keyring {number}),"
            " and would be in clear from now on; give erasable=True or the place of its keys, or"
            " another auto_export_path"
        )
        raise AuditConfigError(msg)


def checked(keys: Keyring, archive: Path | None, number: str | None) -> Keyring:
    if number not in (None, keys.number.hex()):
        msg = (
            f"{str(keys.directory)!r} is keyring {keys.number.hex()}, but the events in"
            f" {str(archive)!r} need keyring {number}"
        )
        raise ArchiveError(msg)
    return keys


def keep(archive: Path, keys: Keyring, tokens: list[bytes]) -> None:
    """Write *tokens* to the archive, after the keyring's number.

    Raises:
        OSError: If that failed.
        ArchiveError: If the file cannot be read.
    """
    before = list_in(archive)
    lines = [_line(keys, token) for token in tokens]
    if not before[0]:
        lines.insert(0, keys.number.hex())
    elif before[-1]:  # a line without its end
        lines.insert(0, "")
    if tokens or not before[0]:
        text = "".join(f"{line}\n" for line in lines)
        append(archive / MARK, text.encode(), sync=True)


def keys_of(archive: Path) -> Path:
    """The default directory of an archive's keys."""
    return Path(f"{os.path.realpath(archive)}.keys")
