"""One event with what is around it: its chain, its trace, the lineage of its entries."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..archive.missing import Missing
from ..events.family import Lineage, lineage_of
from ..events.model import AuditEvent
from ..events.query import Query
from ..privacy.readable import recorded
from .background import Verification
from .reading import Reading, Seen
from .verified import coverage

__all__ = ["Facts", "facts_of", "lineage_facts"]

_TRACED = 50
_LONGEST = 200_000  # characters of a line
#: The filter of the pages that a field's value is for.
_FILTERS = {
    "user_id": "user",
    "subject_id": "subject",
    "subjects": "subject",
    "agent_id": "agent",
    "on_behalf_of": "on_behalf_of",
    "session_id": "session",
    "entry_ids": "entry",
    "derived_from": "entry",
    "purpose": "purpose",
    "trace_id": "trace",
    "system": "system",
    "operation": "operation",
    "status": "status",
}


@dataclass
class Facts:
    """What a page says of one event.

    Attributes:
        fields: Name, value, and the filter for it ("" for none), of every field that is not empty
            and no dict.
        dicts: Name and text as JSON, of those that are.
        writer: Its writer; "" if its file names none.
        file: The file that it is in; None if that is not known.
        line: Its bytes as they are in the file.
        hash: The hash of these, which the next event has as its `previous_hash`.
        links: What is before and after in the chain: direction, kind, words.
        around: Of these, the events that are here, by direction.
        traced: Other events of its trace, newest first.
        coverage: See `verified.coverage`.
        commands: Title and command, to prove it.
    """

    fields: list[tuple[str, Any, str]]
    dicts: list[tuple[str, str]]
    writer: str
    file: str | None
    line: str
    hash: str
    links: list[tuple[str, str, str]]
    around: dict[str, AuditEvent]
    coverage: tuple[str, str]
    commands: list[tuple[str, str]]
    entry_ids: list[str]
    traced: list[AuditEvent] = field(default_factory=list)


def facts_of(seen: Seen, reading: Reading, verification: Verification, missing: Missing) -> Facts:
    """What is to be said of an event.

    Raises:
        ArchiveError: If the archive cannot be read at all.
    """
    event, as_recorded = seen.event, recorded(seen.event)
    before, after = reading.beside(seen, missing)
    file = reading.file_of(seen, missing)
    around = {"previous": before, "next": after}
    fields = [
        (name, value, _FILTERS.get(name, ""))
        for name, value in event.to_dict().items()
        if value not in (None, [], {}, "") and not isinstance(value, dict)
    ]
    facts = Facts(
        fields=fields,
        dicts=[
            (name, _indented(value))
            for name, value in event.to_dict().items()
            if value and isinstance(value, dict)
        ],
        writer=seen.writer,
        file=file,
        line=_beginning(as_recorded.to_json().decode("utf-8", "backslashreplace")),
        hash=as_recorded.hash,
        links=_links(as_recorded, before, after),
        around={name: one for name, one in around.items() if one is not None},
        coverage=coverage(verification.report, seen.writer, file, event.sequence),
        commands=_commands(event, reading),
        entry_ids=event.entry_ids,
    )
    if event.trace_id:
        found = reading.page(Query(trace_id=event.trace_id, with_start=True), _TRACED)
        missing.include(found.missing)
        facts.traced = [one for _, one in found.events if one.event_id != event.event_id]
    return facts


def _links(
    event: AuditEvent, before: AuditEvent | None, after: AuditEvent | None
) -> list[tuple[str, str, str]]:
    links = []
    if before is not None:
        fits = recorded(before).hash == event.previous_hash
        said = "its previous_hash is the hash of that event" if fits else "THE HASHES DIFFER"
        links.append(("previous", "ok" if fits else "bad", said))
    elif event.sequence == 1:
        is_first = event.previous_hash is None
        said = "it is the first of its chain" if is_first else "it is number 1, and names another"
        links.append(("previous", "ok" if is_first else "bad", said))
    else:
        links.append(("previous", "unknown", "the event before it is not here"))
    if after is not None:
        fits = after.previous_hash == event.hash
        said = "that event has its hash as previous_hash" if fits else "THE HASHES DIFFER"
        links.append(("next", "ok" if fits else "bad", said))
    else:
        links.append(("next", "info", "no event after it is here"))
    return links


def _commands(event: AuditEvent, reading: Reading) -> list[tuple[str, str]]:
    place, name = shlex.quote(str(reading.path)), shlex.quote(event.event_id)
    commands = [("Prove that it is in the trail", f"axon-audit prove {name} {place}")]
    if event.operation == "FORGET":
        key = "--signing-key KEY"
        commands.append(("A receipt of the erasure", f"axon-audit receipt {name} {place} {key}"))
    return commands


def lineage_facts(entry_id: str, reading: Reading, missing: Missing) -> Lineage | None:
    """The lineage of an entry; None if no event names it.

    Raises:
        ArchiveError: If the archive cannot be read at all.
    """

    def search(query: Query) -> Any:
        with missing.one_of_several() as here:
            yield from reading.events(query, here)

    return lineage_of(entry_id, search)


def _indented(value: dict[str, Any]) -> str:
    return _beginning(msgspec.json.format(msgspec.json.encode(value), indent=2).decode())


def _beginning(text: str) -> str:
    more = len(text) - _LONGEST
    return text if more <= 0 else f"{text[:_LONGEST]}… ({more:,} more characters)"
