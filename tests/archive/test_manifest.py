"""The lines of a manifest, for each who reads them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from conftest import Make

from axon_audit_otel.archive.manifest import SealRecord, manifest_lines, read_manifest
from axon_audit_otel.archive.missing import Missing


@pytest.fixture(name="manifest")
async def _manifest(make_audit: Make, tmp_path: Path) -> Path:
    """A manifest with a damaged line and a torn one: trail, seal, damage, seal, half a seal."""
    audit = make_audit(2, tmp_path, start_record=False)
    for _ in range(6):
        await audit.log_event("STORE")
    audit.close()
    path = tmp_path / "default.manifest"
    lines = path.read_bytes().splitlines(keepends=True)
    assert len(lines) == 4
    lines[2:] = [b'{"kind":"seal\xff"}\n', lines[2], lines[3][:-1]]
    path.write_bytes(b"".join(lines))
    return path


@pytest.mark.parametrize("begin", [0, 1, 3, 4, 9])
def test_lines(manifest: Path, begin: int) -> None:
    """Each whole line from there on, as it is in the file, with its record if it has one."""
    whole = manifest.read_bytes().split(b"\n")[:-1]
    found = [*manifest_lines(manifest, begin)]
    assert [line for line, _ in found] == whole[begin:]
    kinds = ["TrailRecord", "SealRecord", "NoneType", "SealRecord"]
    assert [type(record).__name__ for _, record in found] == kinds[begin:]


def test_damage(manifest: Path) -> None:
    """A damaged line is an error, or is reported and left out: the caller chooses."""
    with pytest.raises(msgspec.DecodeError, match="it has a line that is not a record"):
        list(read_manifest(manifest))
    missing = Missing()
    records = [record for _, record in read_manifest(manifest, missing)]
    assert sum(isinstance(record, SealRecord) for record in records) == 2
    assert [path for path, _ in missing.problems()] == [manifest]


def test_none(tmp_path: Path) -> None:
    """A manifest that is not there has no lines; who wants to know asks for its lines."""
    assert list(read_manifest(tmp_path / "default.manifest")) == []
    with pytest.raises(FileNotFoundError):
        list(manifest_lines(tmp_path / "default.manifest"))
