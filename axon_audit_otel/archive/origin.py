"""The trail that the events of a writer belong to."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec

from ..core.files import DECODE_ERRORS
from ..core.merkle import leaf_hash
from .format import JOURNAL, position_of
from .manifest import MANIFEST, TrailRecord, read_manifest, trail_id
from .reader import first_line

__all__ = ["Source", "source_of", "stream_of"]


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
    if stream := stream_of(directory, writer):
        return Source(writer, stream)
    with suppress(OSError):
        event = first_line(first or directory / f"{writer}{JOURNAL}")
        return Source(writer, trail_id(leaf_hash(event).hex()) if event else "")
    return Source(writer)


def stream_of(directory: Path, writer: str) -> str:
    """The id of the chain of *writer*, as its manifest or its first event tells; else ""."""
    event = b""
    with suppress(OSError):
        # Before the manifest: a journal that is sealed in between began the chain, if it did.
        event = first_line(directory / f"{writer}{JOURNAL}")
    with suppress(OSError, msgspec.DecodeError):
        for _, record in read_manifest(directory / f"{writer}{MANIFEST}"):
            return record.id if isinstance(record, TrailRecord) else ""
    with suppress(*DECODE_ERRORS):
        if event and position_of(event).previous_hash is None:
            return trail_id(leaf_hash(event).hex())
    return ""
