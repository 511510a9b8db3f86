"""`verify` tells what was deleted or erased on hold, by the records of the holds."""

from __future__ import annotations

import gc
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Cli, Make, archived, sealed_files
from every_way import verify

from axon_audit_otel import AuditLogger
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.events.draft import draft

KEY = new_key("auditor")
PUBLIC = [KEY.verifying]
SIZE: dict[str, Any] = {"max_archive_bytes": 1, "signing_key": KEY}


async def seal(audit: AuditLogger) -> None:
    """Record an event, and seal it in a file of its own."""
    gc.collect()  # the trails of commands have ended
    await audit.log_event("STORE", user_id="alice")
    audit.seal()


@contextmanager
def hidden(archive: Path, aside: Path) -> Iterator[None]:
    """For a while, the archive has neither the file nor the manifest of a hold."""
    aside.mkdir()
    paths = [*archive.glob("hold.*"), *archive.glob("*.hold")]
    for path in paths:
        path.rename(aside / path.name)
    yield
    for path in paths:
        (aside / path.name).rename(path)


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture(name="signed")
def _signed(tmp_path: Path) -> list[object]:
    """The options of commands that sign with the key."""
    path = tmp_path / "key"
    path.write_text(KEY.line())
    return ["--signing-key", path]


def found(archive: Path, keys: Any = PUBLIC) -> list[tuple[str, str]]:
    """The kinds and the files of what `verify` finds."""
    return [(finding.kind, finding.file) for finding in verify(archive, keys).findings]


async def test_deleted_on_hold(
    make_audit: Make, cli: Cli, archive: Path, signed: list[object], tmp_path: Path
) -> None:
    """A deletion while a hold was in force is a finding that names file and hold, also when the
    hold is released since; those before and after it are none."""
    audit = make_audit(auto_export_path=archive, **SIZE)
    for _ in range(2):
        await seal(audit)
    cli("hold", archive, "--reason", "Doe v. Acme", *signed)
    assert found(archive) == []
    with hidden(archive, tmp_path / "aside"):
        await seal(audit)
    for release in (True, False):
        (finding,) = verify(archive, PUBLIC).findings
        assert finding.kind == "on_hold"
        assert finding.file.startswith("audit_")
        assert "while a hold was in force: 'legal', placed at 20" in finding.explanation
        assert "(event 2 of hold)" in finding.explanation
        assert [kind for kind, _ in found(archive, ())] == ["on_hold"]
        shown = cli("verify", archive, code=1).stdout
        assert f"on hold: {finding.file}" in shown
        if release:
            cli("hold", archive, "--release", *signed)


@pytest.mark.slow
async def test_after_its_release(
    make_audit: Make, cli: Cli, archive: Path, signed: list[object]
) -> None:
    """What is deleted after the release, or before the hold, is no finding."""
    audit = make_audit(auto_export_path=archive, **SIZE)
    for _ in range(2):
        await seal(audit)
        await seal(audit)
        cli("hold", archive, "--reason", "Doe v. Acme", *signed)
        await seal(audit)
        cli("hold", archive, "--release", *signed)
        await seal(audit)
    assert sum(writer.deleted_files for writer in verify(archive).writers) > 3
    assert found(archive) == found(archive, ()) == []


async def test_erased_on_hold(
    make_audit: Make, cli: Cli, archive: Path, signed: list[object], tmp_path: Path
) -> None:
    """So is an erasure."""
    audit = make_audit(auto_export_path=archive, erasable=True, signing_key=KEY)
    await seal(audit)
    cli("hold", archive, "--reason", "Doe v. Acme", *signed)
    with hidden(archive, tmp_path / "aside"):
        assert audit.erase_user("alice")
    audit.close()
    (finding,) = verify(archive, PUBLIC).findings
    assert finding.kind == "on_hold"
    assert "it tells of an erasure" in finding.explanation
    assert finding.sequence is not None


async def test_file_gone(make_audit: Make, cli: Cli, archive: Path, signed: list[object]) -> None:
    """A hold without its file, and without a release, is a finding until it is released."""
    audit = make_audit(auto_export_path=archive, **SIZE)
    await seal(audit)
    cli("hold", archive, "--reason", "Doe v. Acme", "--name", "doe", *signed)
    (archive / "doe.hold").unlink()
    assert found(archive) == found(archive, ()) == [("removed", "doe.hold")]
    cli("hold", archive, "--release", "--name", "doe", *signed)
    assert found(archive) == found(archive, ()) == []


async def test_record_gone(make_audit: Make, cli: Cli, archive: Path, signed: list[object]) -> None:
    """A record of a hold that is gone is missing in its trail."""
    audit = make_audit(auto_export_path=archive, signing_key=KEY)
    await seal(audit)
    cli("hold", archive, "--reason", "Doe v. Acme", *signed)
    told = [json.loads(line) for line in (archive / "hold.manifest").read_text().splitlines()]
    (archive / told[1]["file"]).unlink()
    assert ("removed", told[1]["file"]) in found(archive)


@pytest.mark.slow
async def test_release_in_a_sealed_file(
    make_audit: Make, cli: Cli, archive: Path, signed: list[object]
) -> None:
    """In a signed archive retention keeps the records of holds: what it deletes after a forged
    release, sealed by somebody without the key, is a finding."""
    audit = make_audit(auto_export_path=archive, **SIZE)
    for _ in range(2):
        await seal(audit)
    cli("hold", archive, "--reason", "Doe v. Acme", *signed)
    with make_audit(auto_export_path=archive, name="hold") as forger:
        facts = {"record": "hold", "hold": "legal", "state": "released"}
        forger.emit(draft("AUDIT", "SUCCESS", metadata=facts, trail=forger.trail))
    (archive / "legal.hold").unlink()
    for _ in range(3):
        await seal(audit)
    assert [of.writer for of in verify(archive).writers if of.deleted_files] == ["default"]
    told = [f.explanation for f in verify(archive, PUBLIC).findings if f.kind == "on_hold"]
    assert len(told) > 1
    words = "with a release that no signed checkpoint covers (event "
    assert all(words in explanation for explanation in told)
    assert ("removed", "legal.hold") in found(archive)


@pytest.mark.parametrize("writer", ["hold", "hold-9"])
@pytest.mark.slow
async def test_release_that_nobody_sealed(
    make_audit: Make, cli: Cli, archive: Path, signed: list[object], writer: str
) -> None:
    """A release that somebody wrote into a journal, at the end of the trail or in one of its own,
    ends no hold, also when the next start has sealed it as adopted."""
    audit = make_audit(auto_export_path=archive, **SIZE)
    for _ in range(2):
        await seal(audit)
    cli("hold", archive, "--reason", "Doe v. Acme", *signed)
    audit.close()
    placed = next(e for e in archived(archive) if e.metadata.get("state") == "placed")
    (archive / "legal.hold").unlink()
    gc.collect()
    goes_on = writer == "hold"
    forged = msgspec.structs.replace(
        placed,
        event_id="evt_01a2221c0f0f70000000000000000001",
        metadata={"record": "hold", "hold": "legal", "state": "released"},
        sequence=placed.sequence + 1 if goes_on else 1,
        previous_hash=placed.hash if goes_on else None,
    )
    (archive / f"{writer}.journal").write_bytes(b'{"events":[\n ' + forged.to_json() + b"\n")
    before = len(sealed_files(archive))
    for _ in range(2):
        audit = make_audit(auto_export_path=archive, **SIZE)
        await seal(audit)
        audit.close()
    assert len(sealed_files(archive)) >= before + 2
    assert not [f for f in verify(archive, PUBLIC).findings if f.kind == "on_hold"]
    assert ("removed", "legal.hold") in found(archive)
