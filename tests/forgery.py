"""Forges an archive as an intruder without the key can, by the description of the format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from by_definition import by_definition

MANIFEST, JOURNAL = "default.manifest", "default.journal"


def rewrite(directory: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change events, and all digests and hashes to fit, without the key and without our code."""
    manifest = directory / MANIFEST
    records = [json.loads(line) for line in manifest.read_bytes().splitlines()]
    head: str | None = None
    above: str | None = None
    lines = []
    for record in records:
        if record["kind"] == "seal":
            file = directory / record["file"]
            first, *events, closing = file.read_bytes().splitlines(keepends=True)
            events, head = _rechained(events, head, change)
            entries = [line[1:-1] for line in events]
            tail = json.loads(b"{" + closing[2:])
            tail["root"] = record["root"] = by_definition(entries).hex()
            tail["previous_seal"] = above if len(lines) > 1 else None
            closing = b"]," + _compact(tail)[1:] + b"\n"
            file.write_bytes(b"".join([first, *events, closing]))
            record["head"] = head
            record["bytes"] = file.stat().st_size
            record["sha256"] = hashlib.sha256(file.read_bytes()).hexdigest()
        record["previous"] = above
        lines.append(_compact(record))
        above = hashlib.sha256(b"\x00" + lines[-1]).hexdigest()
    manifest.write_bytes(b"".join(line + b"\n" for line in lines))
    first, *events = (directory / JOURNAL).read_bytes().splitlines(keepends=True)
    (directory / JOURNAL).write_bytes(first + b"".join(_rechained(events, head, change)[0]))


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
        head = hashlib.sha256(b"\x00" + entry).hexdigest()
        result.append(line[:1] + entry + b"\n")
    return result, head


def _compact(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
