"""What `verify` does grows as what it reads, whatever somebody writes there."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from forgery import TIME, write_manifest

import axon_audit_otel
from axon_audit_otel import verify

_OURS = f"{Path(axon_audit_otel.__file__).parent}/"
_ID = "0" * 16

Write = Callable[[Path, int], object]


def _hash(number: int) -> str:
    return hashlib.sha256(b"%d" % number).hexdigest()


def _seal(number: int) -> dict[str, Any]:
    """Of a file with one event."""
    times = {"first_time": TIME, "last_time": TIME}
    numbers = {"first_sequence": number, "last_sequence": number, "events": 1, **times}
    hashes = {"head": _hash(number), "root": _hash(number), "sealed_at": TIME, "bytes": 9}
    of_file = {"sha256": _hash(-number), "previous": None}
    return {"kind": "seal", "file": f"audit_{number}.json", **numbers, **hashes, **of_file}


def _manifest(archive: Path, seals: list[dict[str, Any]]) -> Path:
    first = {"kind": "trail", "writer": "default", "id": _ID, "created_at": TIME}
    manifest = archive / "default.manifest"
    write_manifest(manifest, [first, *seals], reseal=False)
    return manifest


def _journal(archive: Path, facts: list[dict[str, Any]], step: int = 1) -> None:
    """A journal whose events say *facts* of the trail, with every *step*-th number."""
    lines, previous = [], None
    for place, said in enumerate(facts):
        event = {"event_id": f"evt_{place:032x}", "timestamp": TIME, "operation": "AUDIT"}
        event |= {"user_id": None, "session_id": None, "entry_ids": [], "metadata": said}
        event |= {"status": "SUCCESS", "duration_ms": None, "sequence": 1 + place * step}
        if previous is not None:
            event["previous_hash"] = previous
        line = json.dumps(event, separators=(",", ":")).encode()
        lines.append((b"," if lines else b" ") + line + b"\n")
        previous = hashlib.sha256(b"\0" + line).hexdigest() if step == 1 else _hash(place)
    (archive / "default.journal").write_bytes(b'{"events":[\n' + b"".join(lines))


def _lines_reversed(archive: Path, count: int) -> None:
    manifest = _manifest(archive, [_seal(number) for number in range(1, count)])
    manifest.write_bytes(b"".join(manifest.read_bytes().splitlines(keepends=True)[::-1]))


def _deletions_of_nothing(archive: Path, count: int) -> None:
    facts = {"sha256": _hash(0), "reason": "", "deleted_at": TIME, "previous": None}
    names = [f"audit_{number}.json" for number in range(count)]
    _manifest(archive, [{"kind": "delete", "file": name, **facts} for name in names])


def _checkpoints_of_deleted_files(archive: Path, count: int) -> None:
    records = []
    for number in range(1, count):
        seal = _seal(number)
        facts = {"sha256": seal["sha256"], "reason": "age", "deleted_at": TIME, "previous": None}
        records += [seal, {"kind": "delete", "file": seal["file"], **facts}]
    _manifest(archive, records)
    with (archive / "default.checkpoints").open("w") as notes:
        for number in range(1, count):
            lines = [f"axon-audit/default/{_ID}", number, "A" * 43 + "="]
            lines += [f"events {number} {_hash(number)}", f"time {TIME}"]
            print(*lines, "", sep="\n", file=notes)


def _gaps(archive: Path, count: int) -> None:
    told = [{"record": "gap", "first": 2 * at, "last": 2 * at} for at in range(count)]
    _journal(archive, told, step=2)


def _erasures_and_holds(archive: Path, count: int) -> None:
    told: list[dict[str, Any]] = []
    for place in range(count):
        told.append({"record": "hold", "hold": f"h{place}", "state": "placed"})
        told.append({"record": "erasure", "tokens": [f"{place:032x}"]})
    _journal(archive, told)


def _lines_run(archive: Path) -> int:
    """How many lines of the package run in a verification."""
    count = 0

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal count
        if event == "call":
            return trace if frame.f_code.co_filename.startswith(_OURS) else None
        count += event == "line"
        return trace

    sys.settrace(trace)
    try:
        verify(archive, jobs=1)
    finally:
        sys.settrace(None)
    return count


@pytest.mark.parametrize(
    "write",
    [
        _lines_reversed,
        _deletions_of_nothing,
        _checkpoints_of_deleted_files,
        _gaps,
        _erasures_and_holds,
    ],
)
def test_twice_as_much(write: Write, tmp_path: Path) -> None:
    """An archive twice as large takes little more than twice the work."""
    work = []
    for count in (150, 300):
        archive = tmp_path / str(count)
        archive.mkdir()
        write(archive, count)
        work.append(_lines_run(archive))
    assert work[1] < 2.4 * work[0]
