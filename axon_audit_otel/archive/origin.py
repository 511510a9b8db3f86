"""The trail that the events of a writer belong to."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..core.merkle import leaf_hash
from .format import JOURNAL
from .manifest import MANIFEST, TrailRecord, read_manifest, trail_id
from .reader import first_line

__all__ = ["Source", "source_of"]


class Source(NamedTuple):
    """The trail that events come from.

    Attributes:
        trail: Name of the trail.
        stream: Unique id of its chain; "" if not known.
    """

    trail: str
    stream: str = ""


def source_of(directory: Path, writer: str, first: Path | None = None) -> Source:
    """The source of the events of *writer*.

    Args:
        directory: Its archive.
        writer: Its name.
        first: A file with its first event, if there is neither a manifest nor a journal.
    """
    with suppress(OSError, msgspec.DecodeError):
        for _, record in read_manifest(directory / f"{writer}{MANIFEST}"):
            if isinstance(record, TrailRecord):
                return Source(writer, record.id)
            break
    with suppress(OSError):
        event = first_line(first or directory / f"{writer}{JOURNAL}")
        return Source(writer, trail_id(leaf_hash(event).hex()) if event else "")
    return Source(writer)
