"""Verification of what arrived: audit records in files that a collector wrote (OTLP JSON lines).

A record's body is its event's bytes, and the event has its number and the hash of the event
before it. So what is missing, doubled or altered shows without the archive that it came from.
Records may come in any order, and more than once. Memory holds about twelve bytes an event, and
more only where the order has holes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from ..archive.checkpoints import VerifyingKey
from ..archive.cosignatures import Quorum
from ..archive.cursor import Cursor
from ..archive.directory import writers_in
from ..archive.origin import source_of
from ..archive.reader import open_events_file
from ..core import semconv
from ..core.errors import ArchiveError, archive_errors
from ..core.files import named
from ..otlp.json_reader import LogRecord, Requests
from ..verification.checkpoint_files import CheckpointSet, Statement
from ..verification.findings import Finding, Findings
from ..verification.report import EXIT_CODES, Verdict, numbers, parsed_origins
from ..verification.verify import verify
from .stream_check import StreamCheck, StreamReport

__all__ = ["ArrivalReport", "prove_archive", "verify_arrival"]

_NAMED = 1000  # duplicates that are named one by one


class ArrivalReport(msgspec.Struct, kw_only=True):
    """The result of `verify_arrival`.

    Attributes:
        files: What was read.
        streams: One by one.
        findings: Every damage, up to a thousand. ``removed``: events are missing.
        left_out: Further findings.
        duplicates: ``log.record.uid`` of events that came more than once, up to a thousand.
        other_records: Log records that are no audit events.
        torn_lines: Lines that their writer did not finish; a killed collector leaves them.
        keys: Names of the keys, one of which must have signed each checkpoint.
        unproved: What was asked for and could not be proved, in words.
        told: What is to be known and is no damage, in words.
    """

    files: list[str]
    streams: list[StreamReport]
    findings: list[Finding]
    left_out: int = 0
    duplicates: list[str] = msgspec.field(default_factory=list)
    other_records: int = 0
    torn_lines: int = 0
    keys: list[str] = msgspec.field(default_factory=list)
    unproved: list[str] = msgspec.field(default_factory=list)
    told: list[str] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if there are events, none is missing and none was altered."""
        return bool(self.streams) and not self.findings

    @property
    def verdict(self) -> Verdict:
        """``damage``; ``not proved``: not verified as it was asked for; or ``ok``."""
        kinds = {finding.kind for finding in self.findings}
        if kinds - {"wrong_key", "denied"} or (kinds and not self.unproved):
            return "damage"
        return "not proved" if self.unproved else "ok"

    @property
    def events(self) -> int:
        """Different events that arrived."""
        return sum(stream.events for stream in self.streams)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        verdict = {"verdict": self.verdict, "exit": EXIT_CODES[self.verdict]}
        return {"ok": self.ok, **verdict, "events": self.events, **msgspec.to_builtins(self)}


def verify_arrival(
    paths: Iterable[Path | str],
    partial: bool = False,
    archive: Path | str | None = None,
    progress: Callable[[int], None] | None = None,
    keys: Iterable[VerifyingKey] = (),
    checkpoints: Iterable[str] = (),
    origins: Iterable[str] = (),
    require_checkpoint: bool = False,
) -> ArrivalReport:
    """Verify the audit records in files of a collector's file exporter.

    They are compared with the checkpoints in the same files (``checkpoint_to="otlp"``), and with
    those given. Nothing else is believed; acknowledgements are not read.

    Args:
        paths: The files, in any order; those of one trail must be verified together.
        partial: They hold only a part of the trails: what is before the oldest event in
            them is not missed.
        archive: The directory that the events were shipped from: each of them must be there. With
            *keys* it is verified as well, else it is taken as it is.
        progress: Called with the number of bytes read since the last call.
        keys: Public keys. If any are given, one of them must have signed each checkpoint, and each
            trail must be covered by one.
        checkpoints: Notes that were kept elsewhere.
        origins: The trails that must be there, and no others; each as ``axon-audit/<trail>/<id>``.
        require_checkpoint: Each trail must be covered by one of *checkpoints*.

    Returns:
        What was found. A tail that never arrived does not show in the files alone, without
        *archive* or a checkpoint of it.

    Raises:
        ArchiveError: If a file cannot be read, or has no line of OTLP JSON.
        AuditConfigError: If an origin is not valid.
        InvalidEventError: If one of *checkpoints* is not a checkpoint.
    """
    wanted = parsed_origins(origins)
    arrival = _Arrival(partial, list(keys), list(checkpoints))
    for path in map(Path, paths):
        with archive_errors(path):
            arrival.read(path, progress)
    return arrival.report(None if archive is None else Path(archive), wanted, require_checkpoint)


class _Arrival:
    """One call of `verify_arrival`."""

    def __init__(self, partial: bool, keys: list[VerifyingKey], notes: list[str]) -> None:
        self._partial = partial
        self._keys = keys
        self._notes = notes
        self._findings = Findings()
        self._checkpoints = CheckpointSet(keys, self._findings, Quorum())
        self._checkpoints.add_given(notes)
        self._streams: dict[str, StreamCheck] = {}
        self._report = ArrivalReport(files=[], streams=[], findings=[])
        self._doubled: dict[str, None] = {}

    def read(self, path: Path, progress: Callable[[int], None] | None) -> None:
        """The records of one file."""
        self._report.files.append(str(path))
        with open_events_file(named(path)) as file:
            requests = Requests(file, progress)
            for instance, record in requests:
                attributes = record.named()
                if record.event_name == semconv.CHECKPOINT_EVENT_NAME:
                    self._checkpoints.add_received(record.text or "", path.name)
                if _is_audit(record, attributes):
                    self._take(path.name, instance, record, attributes)
                else:
                    self._report.other_records += 1
        if requests.unreadable and not requests.lines:
            msg = f"{str(path)!r} has no line of OTLP JSON (uncompressed, one request a line)"
            raise ArchiveError(msg)
        self._report.torn_lines += requests.torn
        for number in requests.unreadable:
            self._findings.add(path.name, None, "unreadable", f"line {number} is no OTLP JSON")

    def report(
        self, archive: Path | None, origins: set[str], require_checkpoint: bool
    ) -> ArrivalReport:
        """The report of all files, compared with *archive* if there is one."""
        report = self._report
        self._end_streams()
        if origins:
            here = {of.report.origin: of.report.origin for of in self._streams.values()}
            self._findings.compare_origins(here, origins)
        if archive is not None:
            self._compare(archive)
            if self._keys:
                prove_archive(archive, self._keys, self._notes, report, self._findings)
        self._judge_proofs(require_checkpoint)
        report.findings = list(self._findings.kept.values())
        report.left_out = self._findings.left_out
        report.streams = [stream.report for stream in self._streams.values()]
        report.duplicates = list(self._doubled)
        return report

    def _end_streams(self) -> None:
        known: list[Statement] = []
        for stream in self._streams.values():
            of = stream.report
            statements = self._checkpoints.about(of.trail, of.stream or None)
            stream.end(self._partial, statements)
            known += statements
        if self._partial or not self._streams:
            return
        for statement in self._checkpoints.others(known):
            words = f"{statement} speaks of this trail, of which nothing arrived"
            self._findings.add(statement.checkpoint.origin, None, "removed", words)

    def _judge_proofs(self, require_checkpoint: bool) -> None:
        """Say what was asked for and is not proved."""
        report, words = self._report, self._report.unproved
        report.keys = [key.name for key in self._keys]
        if not self._streams:
            words.append("there is no audit record in the files")
        signed = f"no checkpoint that {' or '.join(report.keys)} signed"
        for of in (stream.report for stream in self._streams.values() if stream.report.events):
            name = of.trail or "an unnamed trail"
            if self._keys and of.proved_until is None:
                words.append(f"{signed} covers {name}")
            elif self._keys:
                words += [f"{signed} binds {numbers(*run)} of {name}" for run in of.unbound]
            if require_checkpoint and of.outside_until is None:
                words.append(f"no checkpoint from elsewhere (--checkpoint) covers {name}")

    def _compare(self, archive: Path) -> None:
        with archive_errors(archive):
            names = writers_in(archive)
        if not names:
            msg = f"no archive (with its manifests and journals) in {str(archive)!r}"
            raise ArchiveError(msg)
        for name in names:
            stream_id = source_of(archive, name).stream
            if stream_id:
                stream = self._streams.get(stream_id)
                if stream is None:
                    stream = self._streams[stream_id] = StreamCheck(name, stream_id, self._findings)
                stream.compare(Cursor(archive, name))

    def _take(
        self, file: str, instance: str, record: LogRecord, attributes: dict[str, Any]
    ) -> None:
        trail = str(attributes.get(semconv.AXON_AUDIT_TRAIL) or "")
        stream_id = str(attributes.get(semconv.AUDIT_SEQUENCE_STREAM_ID) or "")
        key = stream_id or f"{trail} {instance}"
        stream = self._streams.get(key)
        if stream is None:
            stream = self._streams[key] = StreamCheck(trail, stream_id, self._findings)
        uid = stream.take(file, record, attributes)
        if uid is not None and len(self._doubled) < _NAMED:
            self._doubled[uid] = None


def prove_archive(
    archive: Path,
    keys: list[VerifyingKey],
    notes: list[str],
    report: ArrivalReport,
    findings: Findings,
) -> None:
    """Verify the archive that arrival is compared with; what is wrong with it is wrong here."""
    verified = verify(archive, keys, notes)
    report.unproved += verified.unproved
    for found in verified.findings:
        words = f"in the archive: {found.explanation}"
        findings.add(found.file, found.sequence, found.kind, words)


def _is_audit(record: LogRecord, attributes: dict[str, Any]) -> bool:
    """True if a trail made the record: others may use its name, and a store may lose that."""
    if record.event_name not in ("", semconv.EVENT_NAME):
        return False
    if semconv.AXON_AUDIT_HASH in attributes or semconv.AUDIT_SEQUENCE_NUMBER in attributes:
        return True
    return record.event_name != "" and (record.text or "").startswith('{"event_id":')
