"""Large archives of realistic events, written with the package's own writer of files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timezone
from pathlib import Path
from random import Random
from time import time_ns
from typing import Any

from axon_audit_otel.archive.checkpoints import Checkpoint, SigningKey
from axon_audit_otel.archive.writer import ArchiveWriter
from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.core.time import format_time
from axon_audit_otel.events.model import encode_fields, place
from axon_audit_otel.events.query import START

__all__ = ["EACH", "RARE_ENTRY", "RARE_USER", "SECONDS", "agent_events", "key_of", "write"]

EACH = 10_000  # events in a file: the default `max_events`
SECONDS = 30 * 24 * 3600  # from the first event to the last
RARE_USER, RARE_ENTRY = "user_rare", "entry_rare"  # of 100 events, whatever the size


def write(
    directory: Path,
    events: Iterable[dict[str, Any]],
    each: int = EACH,
    key: SigningKey | None = None,
) -> None:
    """Write the archive of a trail, in sealed files.

    Args:
        directory: Where to.
        events: The fields of each, in the order of the format; the oldest first.
        each: Events in a file.
        key: Signs a checkpoint of all of them; its public half is beside the archive (`key_of`).
    """
    archive = ArchiveWriter(directory, "default")
    head: bytes | None = None
    for number, fields in enumerate(events, 1):
        line = place(encode_fields(fields)[:-1], number, None if head is None else head.hex())
        head = leaf_hash(line)
        archive.append(line, head, number, fields["timestamp"])
        if archive.count == each:
            archive.seal()
    archive.seal()
    if key is not None:
        manifest, (number, newest) = archive.sealed.manifest, archive.newest
        state = manifest.tree.size, manifest.tree.root(), number, newest or ""
        now = format_time(time_ns() // 1000)
        note = key.sign(Checkpoint(f"axon-audit/default/{manifest.id}", *state, now).text())
        archive.path(".checkpoint").write_text(note, "utf-8")
        key_of(directory).write_text(str(key.verifying), "utf-8")
    archive.release()


def key_of(directory: Path) -> Path:
    """The file with the public key of an archive that `write` signed."""
    return directory.with_name("key.pub")


def _start(moment_us: int) -> dict[str, Any]:
    """The record that a trail begins with."""
    return {
        "event_id": f"evt_{0:032x}",
        "timestamp": format_time(moment_us),
        "operation": "AUDIT",
        "user_id": None,
        "session_id": None,
        "entry_ids": [],
        "metadata": {"record": START},
        "status": "SUCCESS",
        "duration_ms": 0.0,
    }


def agent_events(count: int) -> Iterator[dict[str, Any]]:
    """Events of the last 30 days, as an instrumented SDK records them: the record of the start,
    and then stores of one entry, and recalls of three; with as many users as a hundredth of the
    events, and one user and one entry of a hundred events in all."""
    chance = Random(7)
    end_us = int(datetime.now(timezone.utc).timestamp() * 1e6)
    step = SECONDS * 1_000_000 / count
    users, entries, rare = max(100, count // 100), max(100, count // 4), max(1, count // 100)
    text = f"{chance.getrandbits(109):028x}"
    yield _start(end_us - int(count * step))
    for number in range(1, count):
        is_rare = number % rare == rare // 2
        user = RARE_USER if is_rare else f"user_{int(chance.random() * users):06}"
        is_store = number % 2 == 0
        ids = [f"entry_{int(chance.random() * entries):09}" for _ in range(1 if is_store else 3)]
        if is_rare:
            ids[0] = RARE_ENTRY
        yield {
            "event_id": f"evt_{number:08x}{text[:24]}",
            "timestamp": format_time(end_us - int((count - number) * step)),
            "operation": "STORE" if is_store else "RECALL",
            "user_id": user,
            "session_id": f"session_{number // 50:07}",
            "entry_ids": ids,
            "metadata": (
                {"importance": 0.5, "privacy_level": "public", "has_embedding": False}
                if is_store
                else {"k": 3, "tiers": ["all"], "has_filter": False, "result_count": 3}
            ),
            "status": "FAILURE" if number % 101 == 0 else "SUCCESS",
            "duration_ms": number % 900 / 10,
            "trace_id": f"{number + 1:032x}",
            "span_id": f"{number + 1:016x}",
            "trace_flags": "01",
            "action": "MemorySystem.store" if is_store else "MemorySystem.recall",
            "system": "axon",
            "subjects": [user],
            "fingerprints": dict.fromkeys(ids, "498oWMuoRN08I1o5mrA"),
        }
