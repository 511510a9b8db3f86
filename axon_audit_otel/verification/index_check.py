"""Checks the indexes of an archive: one that is wrong costs time, and is no damage.

That an index leaves nothing out need not be checked here: it is believed only by who made it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..archive.format import ZST
from ..archive.index.building import content_in
from ..archive.index.layout import BadIndexError
from ..archive.index.notes import index_files, index_path
from ..archive.manifest import SealRecord
from ..core.files import is_there
from .report import WrongIndex

__all__ = ["wrong_indexes"]

_MOST = 1000


def wrong_indexes(directory: Path, seals: Iterable[SealRecord]) -> list[WrongIndex]:
    """The indexes in an archive that are damaged, or not those of its files, up to a thousand.

    Args:
        directory: The archive.
        seals: The files that it lists, without those that were deleted.
    """
    records = {index_path(directory, seal.file).name: seal for seal in seals}
    found: list[WrongIndex] = []
    try:
        paths = sorted(index_files(directory))
    except OSError as exc:
        return [WrongIndex(str(directory), f"cannot be read: {exc.strerror or exc}")]
    for path in paths:
        why = _what_is_wrong(path, records.get(path.name))
        if why and len(found) < _MOST:
            found.append(WrongIndex(path.name, why))
    return found


def _what_is_wrong(path: Path, seal: SealRecord | None) -> str:
    if seal is None:
        name = path.with_suffix(".json")
        is_new = any(map(is_there, (name, name.with_name(name.name + ZST))))  # sealed just now
        return "" if is_new else "the file that it is about is not here"
    try:
        content = content_in(path)
    except FileNotFoundError:  # removed just now
        return ""
    except (OSError, BadIndexError) as exc:
        return f"it is damaged: {getattr(exc, 'strerror', None) or exc}"
    if content != (bytes.fromhex(seal.sha256), seal.bytes, seal.events):
        return f"it is not about {seal.file} as it was sealed"
    return ""
