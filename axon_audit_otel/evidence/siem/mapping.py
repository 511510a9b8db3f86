"""What the formats of SIEMs have in common: tables of fields, facts of events, bounds, lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from ...core.semconv import ERASABLE_PREFIX, PSEUDONYM_PREFIX
from ...core.time import format_time, to_microseconds
from ...events.model import ENCODE_ERRORS, AuditEvent, encode
from ...events.query import START
from .origin import Origin

__all__ = ["Row", "Table", "bounded", "json_line", "record_name", "severity"]

#: Characters of a text; four bytes each are what an index of Elasticsearch takes (Lucene: 32,766).
LONGEST = 8_191
#: Items of a list, and characters of all of them.
MOST, MOST_CHARACTERS = 1_000, 1 << 18
_SMALL = MOST  # bytes of an event that is within these bounds, whatever is in it


class Row(NamedTuple):
    """A field of a format: what fills it.

    Attributes:
        target: Its name; with dots, one of an object in an object.
        source: What it is made of, for people.
        value: Makes it; None leaves the field out.
    """

    target: str
    source: str
    value: Callable[[AuditEvent, Origin], Any]


def fixed(target: str, value: Any) -> Row:
    """A field that is the same in each event."""
    return Row(target, repr(value), lambda _event, _origin: value)


def field(target: str, name: str) -> Row:
    """A field that repeats the field *name* of the event."""
    return Row(target, name, lambda event, _origin: _plain(getattr(event, name)))


def _plain(value: Any) -> Any:
    return list(value) if type(value) is tuple else value


class Table:
    """The fields of a format, which is JSON.

    Args:
        rows: The fields, in the order of the JSON.
    """

    def __init__(self, rows: Iterable[Row]) -> None:
        self._fields = [(*_split(row.target), row.value) for row in rows]

    def made_of(self, event: AuditEvent, origin: Origin) -> tuple[dict[str, Any], bool]:
        """An object with the fields of *event*, within bounds; and whether something was cut.

        What is None or an empty list is not in it.
        """
        made: dict[str, Any] = {}
        for path, name, value_of in self._fields:
            value = value_of(event, origin)
            if value is None or value == []:
                continue
            place = made
            for outer in path:
                place = place.setdefault(outer, {})
            place[name] = value
        return (made, False) if len(encode(event)) <= _SMALL else bounded(made)


def _split(target: str) -> tuple[list[str], str]:
    *path, name = target.split(".")
    return path, name


def bounded(value: Any) -> tuple[Any, bool]:
    """*value*, a JSON type, without what is beyond the bounds above; and whether there was any."""
    if isinstance(value, str):
        return (value, False) if len(value) <= LONGEST else (value[: LONGEST - 3] + "...", True)
    if isinstance(value, dict):
        pairs = {name: bounded(one) for name, one in value.items()}
        return {name: one for name, (one, _) in pairs.items()}, any(c for _, c in pairs.values())
    if not isinstance(value, list):
        return value, False
    kept, room = [], MOST_CHARACTERS
    for one in map(bounded, value[:MOST]):
        room -= len(one[0]) if isinstance(one[0], str) else 0
        if room < 0:
            break
        kept.append(one)
    return [one for one, _ in kept], len(kept) < len(value) or any(cut for _, cut in kept)


# --- facts of events -----------------------------------------------------------------------------


def record_name(event: AuditEvent) -> str | None:
    """What a record of the trail about itself is of: ``start``, ``erasure``, ``alert``."""
    name = event.metadata.get("record")
    return name if event.operation == "AUDIT" and type(name) is str else None


#: Each `severity` on the scale of 0 to 10.
LEVELS = (1, 4, 6, 8)
_BY_STATUS = {"SUCCESS": 0, "PARTIAL": 1, "FAILURE": 2}
_BY_RULE = {"info": 0, "warning": 2, "critical": 3}


def severity(event: AuditEvent) -> int:
    """How much the event asks of a person: 0 nothing, 1 a look, 2 soon, 3 now.

    By its status; of an alert that fires, by its rule. What the trail failed to keep is 3.
    """
    name, facts = record_name(event), event.metadata
    if name == "alert" and facts.get("state") != "resolved":
        told = facts.get("severity")
        return _BY_RULE.get(told, 2) if type(told) is str else 2
    asked = _BY_STATUS[event.status.value]
    return 3 if name is not None and name != START and asked == 2 else asked


def id_kind(name: str) -> str | None:
    """What stands for a person: a ``Pseudonym``, an ``Encrypted`` id; None for the id itself."""
    if name.startswith(PSEUDONYM_PREFIX):
        return "Pseudonym"
    return "Encrypted" if name.startswith(ERASABLE_PREFIX) else None


def as_json(value: Mapping[str, Any] | None) -> str | None:
    """Facts with names of anybody, as one text: they are never fields of ours. None for none."""
    if not value:
        return None
    try:
        return msgspec.json.encode(value).decode()
    except ENCODE_ERRORS:
        return None


def message(event: AuditEvent) -> str:
    """What happened, in a few words: ``STORE: SUCCESS``, ``AUDIT start: SUCCESS``."""
    what = " ".join(filter(None, (event.operation.value, record_name(event))))
    return f"{what}: {event.status.value}"


def told_fingerprints(event: AuditEvent) -> list[dict[str, str]]:
    """The fingerprints as a list, since names of entries are no names of fields."""
    found = event.fingerprints or {}
    return [{"entry_id": entry, "fingerprint": value} for entry, value in found.items()]


def persons(event: AuditEvent) -> list[str]:
    """Everybody whom the event names: who acted, for whom, and whose data it was; once each."""
    named = (event.user_id, event.on_behalf_of, event.subject_id, *event.subjects)
    return [one for one in dict.fromkeys(named) if one is not None]


def written_time(event: AuditEvent) -> str:
    """When it ended, as the archive writes it."""
    return format_time(to_microseconds(event.timestamp))


def at_milliseconds(event: AuditEvent) -> int:
    """When it ended: Unix time in milliseconds."""
    return to_microseconds(event.timestamp) // 1000


def milliseconds(event: AuditEvent) -> int | None:
    """How long it took, as a whole number; None if that is not known, or no time."""
    took = event.duration_ms
    return int(took + 0.5) if took is not None and 0 <= took < 1 << 53 else None


# --- one event, one line -------------------------------------------------------------------------

# Ends of lines for some readers, though not for JSON: C1 controls, U+2028, U+2029.
_ENDS = re.compile("[\x80-\x9f\u2028\u2029]")


def json_line(made: Mapping[str, Any]) -> bytes:
    """*made* as JSON on one line, for whatever takes which character for the end of one."""
    text = msgspec.json.encode(made).decode()
    if not text.isascii():
        text = _ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode() + b"\n"
