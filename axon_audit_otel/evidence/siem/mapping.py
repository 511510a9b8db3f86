"""What the formats of SIEMs have in common: tables of fields, facts of events, bounds, lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from ...core.semconv import ERASABLE_PREFIX, PSEUDONYM_PREFIX
from ...events.model import ENCODE_ERRORS, AuditEvent
from ...events.query import START
from .origin import Origin

__all__ = ["Row", "json_line", "nested", "record_name", "severity"]


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


def nested(rows: Iterable[Row], event: AuditEvent, origin: Origin) -> dict[str, Any]:
    """An object with the fields of *rows*; without what is None or an empty list."""
    made: dict[str, Any] = {}
    for target, _, value_of in rows:
        value = value_of(event, origin)
        if value is None or value == []:
            continue
        place = made
        *path, last = target.split(".")
        for name in path:
            place = place.setdefault(name, {})
        place[last] = value
    return made


# --- facts of events -----------------------------------------------------------------------------


def record_name(event: AuditEvent) -> str | None:
    """What a record of the trail about itself is of: ``start``, ``erasure``, ``alert``."""
    name = event.metadata.get("record")
    return name if event.operation == "AUDIT" and type(name) is str else None


#: How much an event asks of a person: 0 nothing, 1 a look, 2 soon, 3 now.
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


def milliseconds(event: AuditEvent) -> int | None:
    """How long it took, as a whole number; None if that is not known, or no time."""
    took = event.duration_ms
    return round(took) if took is not None and 0 <= took < 1 << 53 else None


# --- one event, one line -------------------------------------------------------------------------

# Ends of lines for some readers, though not for JSON: C1 controls, U+2028, U+2029.
_ENDS = re.compile("[\x80-\x9f\u2028\u2029]")


def json_line(made: Mapping[str, Any]) -> bytes:
    """*made* as JSON on one line, for whatever takes which character for the end of one."""
    text = msgspec.json.encode(made).decode()
    if not text.isascii():
        text = _ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return text.encode() + b"\n"
