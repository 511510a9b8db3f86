"""Holds a trail, once it is read, against what checkpoints say of it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import msgspec

from .checkpoint_files import Statement
from .file_scan import Witnessed
from .manifest_check import CheckedManifest, Seal
from .report import Deletion, Findings, Kind, WriterReport, numbers

__all__ = ["Attestation", "deletions", "moment"]


def moment(text: str) -> datetime | None:
    """A time as it is written in events and checkpoints; None if it is none."""
    try:
        return msgspec.convert(text, datetime)
    except msgspec.ValidationError:
        return None


def deletions(seals: Iterable[Seal], proved: int) -> list[Deletion]:
    """What retention deleted, of *seals* in their order.

    Args:
        seals: Those of deleted files.
        proved: How many lines of the manifest signed checkpoints cover.
    """
    found: list[Deletion] = []
    for seal in seals:
        assert seal.deletion is not None
        record, number = seal.deletion
        deletion = Deletion(
            seal.record.first_sequence,
            seal.record.last_sequence,
            1,
            record.reason,
            moment(record.deleted_at),
            number <= proved,
        )
        found[-1:] = found[-1].joined(deletion) if found else [deletion]
    return found


class Attestation:
    """What the checkpoints of one trail attest.

    Args:
        manifest: Its manifest.
        witnessed: The events that checkpoints name, and the gaps.
        gone: Files that were not read.
        last: Number of the newest event.
        newest: Name of the newest file.
        asked: Whether only one file was read.
    """

    def __init__(
        self,
        manifest: CheckedManifest,
        witnessed: Witnessed,
        gone: Iterable[Seal],
        last: int,
        newest: str,
        asked: bool,
    ) -> None:
        self._manifest = manifest
        self._witnessed = witnessed
        self._gone = list(gone)
        self._last = last
        self._newest = newest
        self._asked = asked

    def check(self, statements: list[Statement], report: WriterReport, findings: Findings) -> None:
        """Note in *report* what is proved, and in *findings* what is not so.

        Of checkpoints that all tell of the same damage, one is named: where something was
        cut off the newest of them, where something was rewritten the oldest.
        """
        manifest = self._manifest.name
        altered, rewritten, shorter, beyond, vanished = [], [], [], [], []
        for statement in statements:  # by the number of their newest event
            checkpoint = statement.checkpoint
            root = self._manifest.roots.get(checkpoint.size)
            if checkpoint.size > len(self._manifest.lines):
                shorter.append(statement)
            elif root != checkpoint.root:
                altered.append(statement)
            time = self._time_of(statement)
            if time is not None and root == checkpoint.root:
                if statement.proves and checkpoint.events:
                    report.proved_until = checkpoint.events
                    report.proved_until_time = moment(time)
                    report.proved_at = moment(checkpoint.time)
            elif checkpoint.events in self._witnessed.seen and time is None:
                rewritten.append(statement)
            elif checkpoint.events > self._last and time is None:
                beyond.append(statement)
            elif time is None:
                vanished.append(statement)
        report.checkpoints = len(statements)
        if shorter:
            most = max(shorter, key=lambda s: s.checkpoint.size)
            words = f"{most} knew {most.checkpoint.size} lines of it, {len(self._manifest.lines)}"
            kind: Kind = "truncated" if self._manifest.exists else "removed"
            if self._manifest.exists or not findings.count(manifest):
                findings.add(manifest, None, kind, f"{words} are here")
        if altered and not self._manifest.damaged:
            least = min(altered, key=lambda s: s.checkpoint.size)
            words = f"its first {least.checkpoint.size} lines are not those that {least} signed"
            findings.add(manifest, None, "altered", words)
        if rewritten:
            number = rewritten[0].checkpoint.events
            words = f"it is not the one that {rewritten[0]} names: it, or what was before it, was"
            file = self._witnessed.seen[number][0][2]
            findings.add(file, number, "altered", f"{words} rewritten")
        if beyond:
            which = numbers(self._last + 1, beyond[-1].checkpoint.events)
            words = f"the trail ends before {which}, which {beyond[-1]} knew"
            findings.add(self._newest, self._last + 1, "truncated", words)
        if vanished and not findings.kept:  # else that it is missing is said already
            number = vanished[0].checkpoint.events
            words = f"there is no event {number}, which {vanished[0]} knew"
            findings.add(manifest, number, "removed", words)

    def _time_of(self, statement: Statement) -> str | None:
        """The time of the event that it names; "" if not known, None if it is not here."""
        number, head = statement.checkpoint.events, statement.checkpoint.head
        seen = self._witnessed.seen.get(number, [])
        for hash_, time, _ in seen:
            if hash_ == head:
                return time
        if seen:
            return None
        if number == 0 or self._asked:
            return ""
        for seal in self._gone:
            record = seal.record
            if record.first_sequence <= number <= record.last_sequence:
                as_sealed = number < record.last_sequence or record.head == head
                return "" if seal.deletion is not None and as_sealed else None
        lost = any(gap.first <= number <= gap.last for gap in self._witnessed.gaps)
        return "" if lost else None
