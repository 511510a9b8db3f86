"""An audit trail, as `agmi` sees a store: a suite of tests of the integrity of agents' memories.

(PyPI: agent-memory-integrity.) It edits a store behind its owner's back in nine ways, and asks the
owner whether all is well. Here the store is an archive with two trails; the owner has its public
key and the checkpoints that were sent elsewhere, and asks `verify`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from agmi.adapters.base import MemoryAdapter, Record
from forgery import hash_of, lines_of, write_events, write_manifest
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import ArchiveError, AuditLogger, verify

TRAIL, OTHER = "first", "second"
PER_FILE = 2
#: What holds the events together: no part of a record.
LINKS = ("sequence", "previous_hash")
#: Who and when: the rest is what was done.
LABELS = ("user_id", "session_id", "timestamp")


class EditedTrail(MemoryAdapter):  # type: ignore[misc]
    """Events are edited, and nothing else: no hash is computed again."""

    name = "axon-audit-otel"
    detection_point = "audit"
    supports_replay = supports_metadata = supports_snapshot = True
    forged = False
    signed = True

    def __init__(self) -> None:
        with tempfile.TemporaryDirectory() as place:
            key = Path(place, "auditor.key")
            command = [sys.executable, "-m", "axon_audit_otel", "keygen", "auditor"]
            made = subprocess.run([*command, "--output", key], capture_output=True, check=True)
            self._public = made.stdout.decode().strip()
            self._private = key.read_text().strip()
        self._archive = Path()
        self._elsewhere: list[str] = []  # checkpoints

    # --- the owner -----------------------------------------------------------------------------

    def setup(self) -> None:
        """A new, empty archive."""
        self._archive = Path(tempfile.mkdtemp(prefix="agmi-"))
        self._elsewhere.clear()

    def teardown(self) -> None:
        shutil.rmtree(self._archive)

    def seed(self, n: int) -> None:
        self._record(TRAIL, n)

    def seed_other(self, n: int) -> None:
        self._record(OTHER, n)

    def append_genuine(self) -> None:
        self._record(TRAIL, 1)

    def reload(self) -> None:
        """A start of the application; it may refuse to go on with what it finds."""
        with contextlib.suppress(ArchiveError):
            self._record(TRAIL, 0)

    def _record(self, trail: str, count: int) -> None:
        audit = AuditLogger(
            PER_FILE,
            self._archive,
            name=trail,
            signing_key=self._private,
            checkpoint_to=self._elsewhere.append,
            start_record=False,
            registry=CollectorRegistry(),
            logger_provider=LoggerProvider(shutdown_on_exit=False),
        )

        async def work() -> None:
            number = len(self._events(trail))
            for entry in range(number, number + count):
                user = f"user-of-{trail}"
                await audit.log_event("STORE", user, entry_ids=[f"{trail}-{entry}"])

        asyncio.run(work())
        audit.close()

    def verify(self) -> bool:
        known = ([self._public], self._elsewhere) if self.signed else ()
        report = verify(self._archive, *known)
        found = [f"{finding.kind}: {finding.explanation}" for finding in report.findings]
        self.verify_detail = found[0] if found else None
        return report.ok

    # --- the attacker --------------------------------------------------------------------------

    def _files(self, trail: str) -> list[Path]:
        """The sealed files of a trail, oldest first."""
        manifest = self._archive / f"{trail}.manifest"
        lines = manifest.read_bytes().splitlines() if manifest.is_file() else []
        names = [record["file"] for line in lines if "file" in (record := json.loads(line))]
        return [self._archive / name for name in names]

    def _events(self, trail: str) -> list[dict[str, Any]]:
        return [
            event
            for file in self._files(trail)
            for event in json.loads(file.read_bytes())["events"]
        ]

    def _write(self, events: list[dict[str, Any]]) -> None:
        """Write the events of `TRAIL`; those that are too many go into its newest file."""
        files = self._files(TRAIL)
        write_events(self._archive / f"{TRAIL}.manifest", files, events, PER_FILE, self.forged)
        if self.forged:
            for name in self._archive.glob("*.checkpoint*"):
                name.unlink()
            self._unlist()

    def _unlist(self) -> None:
        """Remove what the manifest of the other trail says of this one."""
        manifest = self._archive / f"{OTHER}.manifest"
        if manifest.is_file():
            records = [json.loads(line) for line in lines_of(manifest)]
            write_manifest(manifest, [line for line in records if line["kind"] != "writers"])

    def read_all_raw(self) -> list[Record]:
        return self._read(TRAIL)

    def read_other_raw(self) -> list[Record]:
        return self._read(OTHER)

    def _read(self, trail: str) -> list[Record]:
        records = []
        for number, event in enumerate(self._events(trail)):
            fields = {name: value for name, value in event.items() if name not in LINKS}
            records.append(Record(seq=number, fields={"trail": trail, **fields}))
        return records

    def write_raw(self, record: Record) -> None:
        """Write a record over another one, which keeps its id and its place; or behind the
        last."""
        events = self._events(TRAIL)
        event = {name: value for name, value in record.fields.items() if name != "trail"}
        if record.seq < len(events):
            old = events[record.seq]
            links = {name: old[name] for name in LINKS if name in old}
            events[record.seq] = {**event, "event_id": old["event_id"], **links}
        else:
            links = {"sequence": len(events) + 1, "previous_hash": hash_of(events[-1])}
            events.append({**event, **links})
        self._write(events)

    def delete_raw(self, seq: int) -> None:
        events = self._events(TRAIL)
        del events[seq]
        self._write(events)

    def replay_onto(self, victim_seq: int, donor: Record) -> None:
        self.write_raw(Record(seq=victim_seq, fields=donor.fields))

    def read_meta(self, seq: int) -> dict[str, Any]:
        event = self._events(TRAIL)[seq]
        return {name: event[name] for name in LABELS}

    def write_meta(self, seq: int, meta: dict[str, Any]) -> None:
        record = self._read(TRAIL)[seq]
        record.fields.update({name: meta[name] for name in LABELS})
        if meta.get("agmi_meta_tampered"):
            record.fields["user_id"] = "mallory"
        self.write_raw(record)

    def mutate_payload(self, record: Record) -> Record:
        record.fields["entry_ids"] = ["tampered"]
        return record

    def forge_record(self, template: Record) -> Record:
        """An event as the one before it, of which nobody has heard."""
        fields = {**template.fields, "event_id": "evt_" + "0" * 32}
        return self.mutate_payload(Record(seq=template.seq + 1, fields=fields))

    def identity_of(self, record: Record) -> str:
        return f"{record.fields['trail']} {record.fields['event_id']}"

    def payload_of(self, record: Record) -> str:
        left_out = ("trail", "event_id", *LABELS)
        return json.dumps({n: v for n, v in record.fields.items() if n not in left_out})

    def owner_of(self, record: Record) -> str:
        return str(record.fields["trail"])

    def snapshot_store(self) -> object:
        return self._copy_store(self._archive)

    def restore_store(self, token: object) -> None:
        self._restore_store(token, self._archive)
        shutil.rmtree(Path(str(token)).parent)


class ForgedTrail(EditedTrail):
    """All hashes, seals and last lines are made to fit, and the checkpoints beside them removed:
    only the key is missing."""

    name = "axon-audit-otel, forged"
    forged = True


class BelievedTrail(ForgedTrail):
    """Likewise, and nobody asks for a signature: the edits fit, so that all are accepted."""

    name = "axon-audit-otel, forged and believed"
    signed = False
