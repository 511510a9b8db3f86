"""A dossier as JSON and as CSV: everything that it says, however much that is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ..core.spreadsheet import csv_lines
from .dossier import Dossier
from .dossier_reading import PARTS
from .dossier_words import BLANKS, limit_words, rule_words

__all__ = ["as_csv", "as_json"]

_encode = msgspec.json.Encoder().encode


def as_json(dossier: Dossier) -> Iterator[bytes]:
    """A dossier as one JSON object, in pieces; its times are UTC."""
    head = msgspec.json.format(_encode(dossier.facts), indent=2)
    yield head[: head.rindex(b"\n")]
    lists: list[tuple[str, Iterable[dict[str, Any]]]] = [("entries", dossier.entries())]
    lists += [(part, dossier.rows(part)) for part in PARTS]
    for name, rows in lists:
        yield b',\n  "%b": [' % name.encode()
        mark = b"\n    "
        for row in rows:
            yield mark + _encode(row)
            mark = b",\n    "
        yield b"]" if mark == b"\n    " else b"\n  ]"
    yield b"\n}\n"


_COLUMNS = (
    *("part", "time", "operation", "outcome", "actor", "agent", "on_behalf_of", "purpose"),
    *("recipient", "entries", "at_least", "entry_ids", "event_id", "trail", "sequence", "remark"),
)


def as_csv(dossier: Dossier) -> Iterator[bytes]:
    """A dossier as one table, in pieces; its times are those of the clock asked for.

    The column ``part`` says what a row is: ``person``, an entry (``held``, ``deleted``), one of
    `PARTS`, ``retention``, ``limit`` (what could not be known), ``blank`` (what a person must
    fill in).
    """
    rows = ([row.get(name) for name in _COLUMNS] for row in _rows(dossier))
    return csv_lines(_COLUMNS, rows)


def _rows(dossier: Dossier) -> Iterator[dict[str, Any]]:
    facts = dossier.facts

    def clock(time: str | None) -> str | None:
        return None if time is None else dossier.local(time).isoformat(" ")

    yield {"part": "person", "remark": facts["person"]["id"]}
    for trail, until in facts["until"].items():
        words = f"read from event {until['first']} to event {until['last']}"
        yield {"part": "trail", "trail": trail, "time": clock(until["ends"]), "remark": words}
    for entry in dossier.entries():
        yield {
            "part": entry["state"],
            "time": clock(entry["since"]),
            "operation": entry["source"],
            "entries": 1,
            "entry_ids": [entry["entry_id"]],
            "event_id": entry["event_id"],
            "remark": _of_entry(entry, clock(entry["deleted_at"])),
        }
    for part in PARTS:
        for row in dossier.rows(part):
            yield {**row, "part": part, "time": clock(row["time"]), "remark": row.get("record")}
    for trail, kept in facts["retention"]["trails"].items():
        yield {"part": "retention", "trail": trail, "remark": rule_words(kept)}
    for point in facts["limits"]:
        yield {"part": "limit", "operation": None, "remark": limit_words(point)}
    for blank in facts["blanks"]:
        yield {"part": "blank", "remark": f"{BLANKS[blank]}: to be filled in by a person"}


def _of_entry(entry: dict[str, Any], deleted_at: str | None) -> str | None:
    words = []
    if entry["kind"] == "derived":
        words.append("made of this person's entries")
    if entry["holds_data_of_others"]:
        words.append("holds data of others too")
    if deleted_at is not None:
        words.append(f"deleted {deleted_at} by {entry['deleted_by']}")
    if entry["seen_again"] is not None:
        words.append("found again after that")
    return ", ".join(words) or None
