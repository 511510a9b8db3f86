"""An event has one encoding: whatever else says the same, or more, was not recorded so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from conftest import Cli, Make
from every_way import verify

from axon_audit_otel import AuditLogger
from axon_audit_otel.core.merkle import leaf_hash

pytestmark = pytest.mark.usefixtures("without_start_record")

LINE = (
    '{"event_id":"evt_x","timestamp":"2026-01-01T00:00:01.500000Z","operation":"RECALL",'
    '"user_id":"ann","session_id":null,"entry_ids":["e"],"metadata":{"k":1},'
    '"status":"SUCCESS","duration_ms":1.5,"sequence":%d,"previous_hash":"%s"}'
)
#: What is written otherwise, and how.
CHANGES = {
    "a key twice": ('"session_id":null', '"session_id":null,"user_id":"bob"'),
    "a key twice in the facts": ('{"k":1}', '{"k":2,"k":1}'),
    "another order": ('"user_id":"ann","session_id":null', '"session_id":null,"user_id":"ann"'),
    "a space": ('"user_id":', '"user_id": '),
    "a tab in a list": ('["e"]', '[\t"e"]'),
    "an escape": ('"ann"', '"\\u0061nn"'),
    "an escaped slash": ('"e"', '"a\\/b"'),
    "an escape in a key": ('"k"', '"\\u006b"'),
    "a number with an exponent": ('"k":1', '"k":1e0'),
    "a duration without a fraction": ("1.5,", "1,"),
    "a duration with a zero more": ("1.5,", "1.50,"),
    "an unknown key": ('"sequence"', '"note":"more","sequence"'),
    "null for nothing": ('"sequence"', '"purpose":null,"sequence"'),
    "a time of another zone": ("01.500000Z", "01.500000+00:00"),
    "a time without its zeros": ("01.500000Z", "01.5Z"),
    "a day that is none": ("2026-01-01", "2026-02-31"),
    "an operation in lower case": ('"RECALL"', '"recall"'),
    "a status that is none": ('"SUCCESS"', '"FINE"'),
}


def _with_line(directory: Path, make_audit: Make, old: str = "", new: str = "") -> None:
    """An archive of three events, and a fourth that an intruder put in the journal."""
    with make_audit(auto_export_path=directory) as audit:
        for _ in range(3):
            asyncio.run(audit.log_event("STORE", user_id="ann"))
    seal = json.loads((directory / "default.manifest").read_bytes().splitlines()[-1])
    line = LINE % (4, seal["head"])
    assert old in line
    (directory / "default.journal").write_text('{"events":[\n ' + line.replace(old, new) + "\n")


def test_as_recorded(make_audit: Make, tmp_path: Path) -> None:
    """The line as it is recorded continues the trail."""
    _with_line(tmp_path, make_audit)
    assert verify(tmp_path).ok
    assert verify(tmp_path).events == 4


@pytest.mark.parametrize(("old", "new"), CHANGES.values(), ids=CHANGES)
class TestWrittenOtherwise:
    def test_verify(self, make_audit: Make, tmp_path: Path, old: str, new: str) -> None:
        """Verification finds it, and no other damage."""
        _with_line(tmp_path, make_audit, old, new)
        found = verify(tmp_path).findings
        assert [(finding.sequence, finding.kind) for finding in found] == [(4, "altered")]
        assert "not canonical" in str(found[0])

    def test_readers(self, cli: Cli, make_audit: Make, tmp_path: Path, old: str, new: str) -> None:
        """No reader shows it, and each says that something is missing."""
        _with_line(tmp_path, make_audit, old, new)
        for command in (["query", "--json"], ["tail"], ["export", "-", "--format", "jsonl"]):
            name, *options = command
            result = cli(name, tmp_path, *options, code=None)
            assert "evt_x" not in result.output.replace(result.stderr, ""), command
            assert "not an audit event" in result.stderr, command


def test_chain_goes_on(make_audit: Make, tmp_path: Path) -> None:
    """Events that continue such a line are no damage of their own; unlisted operations, whole
    seconds and what must be escaped are as they are recorded."""
    _with_line(tmp_path, make_audit, '"ann"', '"\\u0061nn"')
    journal = tmp_path / "default.journal"
    head = leaf_hash(journal.read_bytes().splitlines()[1][1:]).hex()
    line = LINE.replace("01.500000Z", "01.000000Z").replace("RECALL", "REWIND") % (5, head)
    line = line.replace('"k"', '"\\u0001\\n\\"é"')
    journal.write_text(journal.read_text() + "," + line + "\n", "utf-8")
    assert [finding.sequence for finding in verify(tmp_path).findings] == [4]


class TestNumbers:
    """A number that no event can have, in the journal that an application goes on with."""

    @pytest.mark.parametrize(
        "number",
        [2**62 + 1, 2**63 - 1, 2**63, 2**64, 10**30, 10**400, 0, -5],
        ids=lambda number: f"{number:.0e}" if number < 10**300 else "googols",
    )
    def test_start(self, make_audit: Make, tmp_path: Path, number: int) -> None:
        _with_line(tmp_path, make_audit, '"sequence":4', f'"sequence":{number}')
        assert not verify(tmp_path).ok
        for _ in range(2):
            with make_audit(auto_export_path=tmp_path) as audit:
                asyncio.run(audit.log_event("STORE", user_id="cleo"))
                assert audit.query_events(user_id="cleo")
        with make_audit(auto_export_path=tmp_path) as audit:
            found = audit.query_events(archived=True, strict=True, user_id="cleo")
        assert len(found) == 2
        assert all(0 < event.sequence <= 2**62 for event in found)

    @pytest.mark.parametrize("number", [2**63, 10**400, -1], ids=["large", "endless", "negative"])
    def test_manifest(self, tmp_path: Path, number: int) -> None:
        """A manifest with such a number is damage, and the application records all the same."""
        with AuditLogger(auto_export_path=tmp_path) as audit:
            asyncio.run(audit.log_event("STORE"))
        manifest = tmp_path / "default.manifest"
        changed = manifest.read_text().replace('"last_sequence":1', f'"last_sequence":{number}')
        manifest.write_text(changed)
        assert not verify(tmp_path).ok
        with AuditLogger(auto_export_path=tmp_path) as audit:
            asyncio.run(audit.log_event("STORE", user_id="cleo"))
            assert audit.query_events(user_id="cleo")
