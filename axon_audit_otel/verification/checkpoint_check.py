"""Compares a trail, after it was read, with its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..core.time import parse_time
from .checkpoint_files import Statement
from .file_scan import TrailFacts
from .manifest_check import CheckedManifest, Seal
from .report import Deletion, Findings, Kind, WriterReport, numbers

__all__ = ["CheckpointCheck", "deletions"]


def deletions(seals: Iterable[Seal], proved: int) -> list[Deletion]:
    """The deletions by retention, joined where they follow each other.

    Args:
        seals: The seals of deleted files, in order.
        proved: Number of lines of the manifest that signed checkpoints cover.
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
            parse_time(record.deleted_at),
            number <= proved,
        )
        found[-1:] = found[-1].joined(deletion) if found else [deletion]
    return found


@dataclass
class CheckpointCheck:
    """Compares one trail with its checkpoints.

    Attributes:
        manifest: Its manifest.
        facts: The events that checkpoints name, and the gaps.
        gone: The seals of files that were not read.
        last: Number of the newest event.
        newest: Name of the newest file.
        one_file: True if only one file was read.
    """

    manifest: CheckedManifest
    facts: TrailFacts
    gone: list[Seal]
    last: int
    newest: str
    one_file: bool

    def run(self, statements: list[Statement], report: WriterReport, findings: Findings) -> None:
        """Write to *report* what is proved, and add contradictions to *findings*.

        Of several checkpoints that show the same damage, one is named: the newest if something
        was cut off, the oldest if something was rewritten.
        """
        manifest = self.manifest.name
        altered, rewritten, shorter, beyond, vanished = [], [], [], [], []
        for statement in statements:  # ordered by their newest event
            checkpoint = statement.checkpoint
            root = self.manifest.roots.get(checkpoint.size)
            if checkpoint.size > len(self.manifest.lines):
                shorter.append(statement)
            elif root != checkpoint.root:
                altered.append(statement)
            time = self._time_of(statement)
            if time is not None and root == checkpoint.root:
                if statement.proves and checkpoint.events:
                    report.proved_until = checkpoint.events
                    report.proved_until_time = parse_time(time)
                    report.proved_at = parse_time(checkpoint.time)
            elif checkpoint.events in self.facts.found and time is None:
                rewritten.append(statement)
            elif checkpoint.events > self.last and time is None:
                beyond.append(statement)
            elif time is None:
                vanished.append(statement)
        report.checkpoints = len(statements)
        if shorter:
            most = max(shorter, key=lambda s: s.checkpoint.size)
            words = f"{most} knew {most.checkpoint.size} lines of it, {len(self.manifest.lines)}"
            kind: Kind = "truncated" if self.manifest.exists else "removed"
            if self.manifest.exists or not findings.count(manifest):
                findings.add(manifest, None, kind, f"{words} are here")
        if altered and not self.manifest.damaged:
            least = min(altered, key=lambda s: s.checkpoint.size)
            words = f"its first {least.checkpoint.size} lines are not those that {least} signed"
            findings.add(manifest, None, "altered", words)
        if rewritten:
            number = rewritten[0].checkpoint.events
            words = f"it is not the one that {rewritten[0]} names: it, or what was before it, was"
            file = self.facts.found[number][0][2]
            findings.add(file, number, "altered", f"{words} rewritten")
        if beyond:
            which = numbers(self.last + 1, beyond[-1].checkpoint.events)
            words = f"the trail ends before {which}, which {beyond[-1]} knew"
            findings.add(self.newest, self.last + 1, "truncated", words)
        if vanished and not findings.kept:  # else it is reported as missing already
            number = vanished[0].checkpoint.events
            words = f"there is no event {number}, which {vanished[0]} knew"
            findings.add(manifest, number, "removed", words)

    def _time_of(self, statement: Statement) -> str | None:
        """The time of the event that it names; "" if not known, None if the event is not here."""
        number, head = statement.checkpoint.events, statement.checkpoint.head
        seen = self.facts.found.get(number, [])
        for hash_, time, _ in seen:
            if hash_ == head:
                return time
        if seen:
            return None
        if number == 0 or self.one_file:
            return ""
        for seal in self.gone:
            record = seal.record
            if record.first_sequence <= number <= record.last_sequence:
                as_sealed = number < record.last_sequence or record.head == head
                return "" if seal.deletion is not None and as_sealed else None
        lost = any(gap.first <= number <= gap.last for gap in self.facts.gaps)
        return "" if lost else None
