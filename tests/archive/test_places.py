"""Single events of an archive, read by their writer and number."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from conftest import Make, archived, retire, sealed_files

from axon_audit_otel import AuditEvent, AuditLogger
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.places import Place, read_places
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.query import Query


async def _filled(make_audit: Make, directory: Path, **settings: object) -> AuditLogger:
    audit = make_audit(auto_export_path=directory, max_events=50, **settings)
    for number in range(175):
        await audit.log_event("STORE", user_id=f"user-{number}", metadata={"n": "x" * number})
    return audit


def _read(path: Path, events: list[AuditEvent], source: str = "default") -> list[AuditEvent]:
    """The events at the places of *events*, in their order."""
    places = [Place(source, event.sequence) for event in events]
    missing = Missing()
    found = read_places(path, places, missing)
    assert not missing
    return [found[place].event for place in places]


@pytest.mark.parametrize("compress", [False, True])
async def test_in_sealed_files_and_the_journal(
    make_audit: Make, tmp_path: Path, compress: bool
) -> None:
    """Each number, the first and the last of a file too, in any order; no others."""
    audit = await _filled(make_audit, tmp_path, compress=compress)
    events = archived(tmp_path)
    assert len(events) == 175
    random.Random(1).shuffle(events)
    assert _read(tmp_path, events) == events
    for event in events[:20]:
        assert _read(tmp_path, [event]) == [event]
    beyond = [Place("default", 0), Place("default", 10_000), Place("nobody", 1)]
    assert read_places(tmp_path, beyond, Missing()) == {}
    audit.close()
    assert _read(tmp_path, events) == events


async def test_in_files_that_no_manifest_lists(make_audit: Make, tmp_path: Path) -> None:
    """They name their writer themselves; a file alone is read like a directory."""
    audit = await _filled(make_audit, tmp_path)
    audit.close()
    events = archived(tmp_path)
    (tmp_path / "default.manifest").unlink()
    assert _read(tmp_path, events) == events
    file = sealed_files(tmp_path)[1]
    own = [event for event in events if event in archived(file)]
    assert _read(file, own) == own
    assert _read(tmp_path, own, f"/{file.name}") == own


async def test_damage_is_passed_over(make_audit: Make, tmp_path: Path) -> None:
    """Beside lines that are no events the others are found; what is deleted or gone is not."""
    audit = await _filled(make_audit, tmp_path)
    audit.close()
    events = archived(tmp_path)
    first, second, third, *_ = sealed_files(tmp_path)
    own = archived(third)
    lines = third.read_bytes().split(b"\n")
    for number in (5, 6, 20, 21, 22):
        lines[number] = b"\x00garbage" + lines[number][8:]
    lines[30] = lines[30].replace(b'"user_id"', b'"user_ID"')
    third.write_bytes(b"\n".join(lines))
    retire(first)
    second.unlink()
    left = list(search(third, Query(), oldest_first=True, missing=Missing()))
    assert len(left) == len(own) - 6
    missing = Missing()
    places = [Place("default", event.sequence) for event in events]
    found = read_places(tmp_path, places, missing)
    after = [event for event in events if event.sequence > own[-1].sequence]
    assert [found[place].event for place in places if place in found] == left + after
