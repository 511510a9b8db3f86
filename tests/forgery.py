"""Forges an archive as an intruder without the key can, by the description of the format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from by_definition import by_definition

MANIFEST, JOURNAL = "default.manifest", "default.journal"
FIRST_LINE = b'{"events":[\n'
TIME = "2025-01-15T11:00:00.000000Z"


def rewrite(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change events and make everything else fit: what an intruder without the key can do.

    Written from the description of the format, without our code.
    """
    records = [json.loads(line) for line in lines_of(directory / MANIFEST)]
    head: str | None = None
    for record in records:
        if record["kind"] == "seal":
            file = directory / record["file"]
            first, *lines, last = lines_of(file)
            lines, head = _rechained(lines, head, change)
            root = by_definition([line[1:-1] for line in lines]).hex()
            record |= {"head": head, "root": root}
            file.write_bytes(
                b"".join([first, *lines, _last_line(_closing_of(last) | {"root": root})])
            )
    write_manifest(directory / MANIFEST, records)
    first, *lines = lines_of(directory / JOURNAL)
    (directory / JOURNAL).write_bytes(first + b"".join(_rechained(lines, head, change)[0]))


def write_manifest(manifest: Path, records: list[dict[str, Any]], reseal: bool = True) -> None:
    """Write a manifest of *records*, each with the hash of the one before; sealed files are made
    to fit, if they are asked to."""
    previous = None
    lines = []
    above = set()  # kinds of the lines before
    for record in records:
        file = manifest.parent / record.get("file", "none")
        if reseal and record["kind"] == "seal" and file.is_file():
            _resealed(file, record, previous if "seal" in above else None)
        above.add(record["kind"])
        record["previous"] = previous
        lines.append(_compact(record))
        previous = _hash(lines[-1])
    manifest.write_bytes(b"".join(line + b"\n" for line in lines))


def begin_later(manifest: Path, count: int) -> None:
    """Remove the first *count* lines of a manifest, and their files; the rest is made to fit."""
    records = [json.loads(line) for line in lines_of(manifest)]
    for record in records[:count]:
        remove(manifest.parent, record.get("file", "none"))
    write_manifest(manifest, records[count:])


def write_events(
    manifest: Path, files: list[Path], events: list[dict[str, Any]], count: int, fits: bool
) -> None:
    """Write *events* into the sealed *files* of a manifest, *count* into each and the rest into
    the last. If all is to fit, events, last lines and seals are hashed anew."""
    records = [json.loads(line) for line in lines_of(manifest)]
    head = None
    for number, file in enumerate(files):
        upto = len(events) if file == files[-1] else (number + 1) * count
        inside = events[number * count : upto]
        if fits and not inside:
            file.unlink()
            records = [record for record in records if record.get("file") != file.name]
            continue
        entries: list[bytes] = []
        for event in inside:
            if fits and head is not None:
                event["previous_hash"] = head
            if fits:
                event["sequence"] = number * count + len(entries) + 1
            entries.append(_compact(event))
            head = _hash(entries[-1])
        last = lines_of(file)[-1]
        if fits:
            seal = next(record for record in records if record.get("file") == file.name)
            last = _summed_up(inside, entries, seal, last)
        lines = [bytes([b", "[not index]]) + entry for index, entry in enumerate(entries)]
        file.write_bytes(FIRST_LINE + b"".join(line + b"\n" for line in lines) + last)
    if fits:
        write_manifest(manifest, records)


def plant(manifest: Path, name: str, number: int) -> None:
    """Write a sealed file *name* of one event, which continues the newest line of the manifest."""
    *above, newest = lines_of(manifest)
    event = {
        "event_id": "evt_0",
        "timestamp": TIME,
        "operation": "STORE",
        "user_id": "mallory",
        "session_id": None,
        "entry_ids": [],
        "metadata": {},
        "status": "SUCCESS",
        "duration_ms": 1.0,
        "sequence": number,
        "previous_hash": json.loads(newest).get("head", "0" * 64),
    }
    entry = _compact(event)
    closing = {
        "total_events": 1,
        "exported_at": TIME,
        "trail": manifest.stem,
        "first_sequence": number,
        "last_sequence": number,
        "root": _hash(entry),
        "previous_seal": _hash(newest[:-1]) if above else None,
    }
    manifest.with_name(name).write_bytes(FIRST_LINE + b" " + entry + b"\n" + _last_line(closing))


def kill(manifest: Path) -> None:
    """Make it look as if the writer had been killed when everything was sealed."""
    manifest.with_name(f".{manifest.stem}.lock").write_bytes(b"1 host\n")
    manifest.with_suffix(".journal").unlink(missing_ok=True)


def remove(archive: Path, name: str) -> None:
    """Remove a sealed file, compressed or not."""
    for path in (archive / name, archive / f"{name}.zst"):
        path.unlink(missing_ok=True)


def lines_of(file: Path) -> list[bytes]:
    """The lines of a file, with their ends."""
    return file.read_bytes().splitlines(keepends=True)


def hash_of(event: dict[str, Any]) -> str:
    """The hash of an event."""
    return _hash(_compact(event))


def _summed_up(
    events: list[dict[str, Any]], entries: list[bytes], seal: dict[str, Any], last: bytes
) -> bytes:
    """The last line of a file that holds other events now; its seal says so too."""
    root, times = by_definition(entries).hex(), [event["timestamp"] for event in events]
    numbers = {"first_sequence": events[0]["sequence"], "last_sequence": events[-1]["sequence"]}
    closing = _closing_of(last) | {"total_events": len(events), "root": root, **numbers}
    seal |= {"events": len(events), "root": root, "head": _hash(entries[-1]), **numbers}
    seal |= {"first_time": min(times), "last_time": max(times)}
    return _last_line(closing)


def _resealed(file: Path, record: dict[str, Any], previous: str | None) -> None:
    """Make a file's last line say that it was sealed after *previous*, and its seal say that."""
    *lines, last = lines_of(file)
    if not last.startswith(b"],"):
        return
    content = b"".join(lines) + _last_line(_closing_of(last) | {"previous_seal": previous})
    file.write_bytes(content)
    record["bytes"], record["sha256"] = len(content), hashlib.sha256(content).hexdigest()


def _closing_of(last: bytes) -> dict[str, Any]:
    """What the last line of a sealed file says."""
    closing: dict[str, Any] = json.loads(b"{" + last[2:])
    return closing


def _last_line(closing: dict[str, Any]) -> bytes:
    """The last line that says so."""
    return b"]," + _compact(closing)[1:] + b"\n"


def _rechained(
    lines: list[bytes], head: str | None, change: Callable[[dict[str, Any]], None]
) -> tuple[list[bytes], str | None]:
    result = []
    for line in lines:
        event = json.loads(line[1:])
        change(event)
        if head is not None:
            event["previous_hash"] = head
        entry = _compact(event)
        head = _hash(entry)
        result.append(line[:1] + entry + b"\n")
    return result, head


def _compact(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def _hash(line: bytes) -> str:
    return hashlib.sha256(b"\0" + line).hexdigest()
