"""Events in files of another layout: JSON lines, or JSON in any form."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import InvalidEventError
from ..core.files import DECODE_ERRORS
from ..events.model import AuditEvent, decode, of_fields
from .missing import Missing
from .reader import open_events_file

__all__ = ["GZIPPED", "other_events"]

GZIPPED = "it is compressed with gzip, which is not read: gunzip it"
_GZIP = b"\x1f\x8b"
_WHOLE = 256 << 20  # limit for a file that is not one event a line


def other_events(path: Path, missing: Missing) -> Iterator[AuditEvent]:
    """Yield the events of a file of another layout: JSON lines, or JSON in any form.

    Raises:
        OSError: If it cannot be read.
        InvalidEventError: If it holds no audit event.
    """
    with open_events_file(path) as file:
        first, second = file.readline(), file.readline()
        if first.startswith(_GZIP):
            raise InvalidEventError(GZIPPED)
        if _is_event(first) or _is_event(second) or path.suffix == ".jsonl":
            lines = (line for line in itertools.chain((first, second), file) if line.strip())
            yield from _events_among(lines, decode, path, missing)
            return
    yield from _events_among(_items_in(path), of_fields, path, missing)


def _events_among(
    items: Iterable[Any], read: Callable[[Any], AuditEvent], path: Path, missing: Missing
) -> Iterator[AuditEvent]:
    """Yield the events that *read* makes of *items*; raise if it makes none of any item."""
    found = False
    early: list[Exception] = []  # errors before the first event
    for item in items:
        try:
            event = read(item)
        except (InvalidEventError, *DECODE_ERRORS) as exc:
            if found:
                missing.line(path)
            else:
                early.append(exc)
            continue
        if not found:
            missing.line(path, len(early))
            found = True
        yield event
    if early and not found:
        raise InvalidEventError(f"no audit events: {early[0]}") from early[0]


def _is_event(line: bytes) -> bool:
    try:
        decode(line)
    except InvalidEventError:
        return False
    return True


def _items_in(path: Path) -> list[Any]:
    """The list in a JSON file: the file itself, or the value of its key "events"."""
    with open_events_file(path) as file:
        text = file.read(_WHOLE + 1)
    if not text:
        raise InvalidEventError("it is empty")
    if len(text) > _WHOLE:
        raise InvalidEventError(f"more than {_WHOLE >> 20} MiB, and not one event a line")
    try:
        content = msgspec.json.decode(text)
        events = content["events"] if isinstance(content, dict) else content
    except (*DECODE_ERRORS, KeyError) as exc:
        raise InvalidEventError(f"no audit events: {exc}") from exc
    if not isinstance(events, list):
        raise InvalidEventError("no audit events: not a list of them")
    return events
