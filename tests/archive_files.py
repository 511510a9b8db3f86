"""What is in the files of an archive, by itself: without this package's readers."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import msgspec
from conftest import events_in, sealed_files

from axon_audit_otel import (
    AuditEvent,
    AuditLogger,
)


def journals(directory: Path) -> list[Path]:
    return sorted(directory.glob("*.journal"))


def names_in(directory: Path) -> list[str]:
    """The names of all files but the archive's own locks and manifests."""
    names = sorted(file.name for file in directory.iterdir())
    return [name for name in names if not name.endswith((".lock", ".manifest"))]


def all_files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir())


def _numbers(file: Path) -> list[int]:
    """Numbers of the application's events: without what the trail says of itself."""
    return [event["sequence"] for event in events_in(file) if event["operation"] != "AUDIT"]


def sealed_numbers(directory: Path) -> list[int]:
    """The numbers of all events in sealed files; an event in two files is there twice."""
    return sorted(number for file in sealed_files(directory) for number in _numbers(file))


def users_in(*files: Path) -> list[str]:
    """The user ids of all events in *files*, sorted; what a trail records about itself
    (that the one before it was killed) does not count."""
    lines = [
        json.loads(line[1:])
        for file in files
        for line in file.read_bytes().splitlines()
        if line[1:].startswith(b'{"event_id"') and b'"operation":"AUDIT"' not in line
    ]
    return sorted(str(event["user_id"]) for event in lines if event["operation"] != "AUDIT")


def sealed_users(directory: Path) -> list[str]:
    return users_in(*sealed_files(directory))


def recorded_in(directory: Path) -> list[str]:
    return users_in(*sealed_files(directory), *journals(directory))


def decoded_in(file: Path) -> list[AuditEvent]:
    """The events of one file, as ours; within a file the chain has no gap."""
    events = [
        msgspec.json.decode(msgspec.json.encode(event), type=AuditEvent)
        for event in events_in(file)
    ]
    for before, after in itertools.pairwise(events):
        assert after.sequence == before.sequence + 1
        assert after.previous_hash == before.hash
    return events


def chain_in(directory: Path) -> list[AuditEvent]:
    """The events of all sealed files, in the order of their numbers."""
    read = [event for file in sealed_files(directory) for event in decoded_in(file)]
    return sorted(read, key=lambda event: event.sequence)


async def log(audit: AuditLogger, count: int, **fields: Any) -> list[AuditEvent]:
    return [await audit.log_event("STORE", **fields) for _ in range(count)]
