"""Compares a trail, after it was read, with its checkpoints."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from operator import attrgetter
from typing import NamedTuple

from ..archive.directory import newest_number
from ..archive.manifest import states
from ..core.time import parse_time
from .checkpoint_files import Statement
from .findings import Findings, Kind
from .hash_chain import within
from .manifest_check import CheckedManifest, Seal
from .report import Deletion, Gap, WriterReport, numbers
from .trail_facts import TrailFacts

__all__ = ["CheckpointCheck", "Claim", "deletions"]


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


class Claim(NamedTuple):
    """An event that a checkpoint, or a line of a manifest, names.

    Attributes:
        number: Its number.
        head: Its hash, hex.
        source: What names it, for messages.
    """

    number: int
    head: str
    source: str


@dataclass
class CheckpointCheck:
    """Compares one trail with its checkpoints.

    Attributes:
        manifest: Its manifest.
        claims: Events of it that lines of manifests name.
        facts: The events that checkpoints name, and the gaps.
        gone: The seals of files that were not read.
        last: Number of the newest event.
        newest: Name of the newest file.
        one_file: True if only one file was read.
    """

    manifest: CheckedManifest
    claims: list[Claim]
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
        altered, shorter = [], []
        for statement in statements:  # ordered by their newest event
            checkpoint = statement.checkpoint
            root = self.manifest.roots.get(checkpoint.size)
            if checkpoint.size > len(self.manifest.lines):
                shorter.append(statement)
            elif root != checkpoint.root:
                altered.append(statement)
            time = self._time_of(checkpoint.events, checkpoint.head)
            if time is None or root != checkpoint.root or not checkpoint.events:
                continue
            if statement.outside:
                report.outside_until = checkpoint.events
            if statement.proves:
                report.proved_until = checkpoint.events
                report.proved_until_time = parse_time(time)
                report.proved_at = parse_time(checkpoint.time)
            if time is not None and root == checkpoint.root and statement.cosigned_at is not None:
                stated = self._stated_in(checkpoint.size)
                if stated >= (report.cosigned_until or 1):
                    report.cosigned_until = stated
                    report.cosigned_at = statement.cosigned_at
                    report.cosigned_by = [witness.name for witness in statement.cosigned]
        report.checkpoints = len(statements)
        # With keys, none is among them that no key signed.
        report.unchecked = sum(not statement.proves for statement in statements)
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
        self._compare_events(statements, findings)

    def _stated_in(self, size: int) -> int:
        """The newest event that the first *size* lines of the manifest state; 0 without one.

        Their root says nothing about later events: two tails could have it.
        """
        for line in reversed(self.manifest.lines[:size]):
            stated = None if line.record is None else states(line.record)
            if stated is not None:
                return stated[0]
        return 0

    def _compare_events(self, statements: list[Statement], findings: Findings) -> None:
        """Find events that are not those that a checkpoint, or a line of the manifest, names."""
        claims = [Claim(s.checkpoint.events, s.checkpoint.head, str(s)) for s in statements]
        claims += self._claims_to_check()
        wrong = [claim for claim in claims if self._time_of(claim.number, claim.head) is None]
        if not wrong:
            return
        wrong.sort(key=attrgetter("number"))
        for number, _, source in wrong:
            if number in self.facts.found:
                words = f"it is not the one that {source} names: it, or what was before it, was"
                file = self.facts.found[number][0][2]
                findings.add(file, number, "altered", f"{words} rewritten")
                break
        newest, _, source = max(wrong, key=attrgetter("number"))
        if newest > self.last and newest not in self.facts.found:
            which = numbers(self.last + 1, newest)
            words = f"the trail ends before {which}, which {source} knew"
            findings.add(self.newest, self.last + 1, "truncated", words)
        for number, _, source in wrong:
            if number <= self.last and number not in self.facts.found and not findings.kept:
                words = f"there is no event {number}, which {source} knew"
                findings.add(self.manifest.name, number, "removed", words)

    def _claims_to_check(self) -> list[Claim]:
        """The claims, but for those about events in a journal that was begun meanwhile."""
        if all(claim.number <= self.last for claim in self.claims):
            return self.claims
        path = self.manifest.path
        newest = newest_number(path.parent, path.stem)
        return [c for c in self.claims if c.number <= self.last or c.number > newest]

    def _time_of(self, number: int, head: str) -> str | None:
        """The time of the event with that number and hash; "" if not known, None if not here."""
        seen = self.facts.found.get(number, [])
        for hash_, time, _ in seen:
            if hash_ == head:
                return time
        if seen:
            return None
        if number == 0 or self.one_file:
            return ""
        if (seal := self._gone_with.get(number)) is not None:
            as_sealed = number < seal.record.last_sequence or seal.record.head == head
            return "" if seal.deletion is not None and as_sealed else None
        return "" if number in self._lost else None

    @cached_property
    def _gone_with(self) -> dict[int, Seal]:
        """Of the events that were asked for, those in files that were not read."""
        seals = [(of.record.first_sequence, of.record.last_sequence, of) for of in self.gone]
        return dict(within(self.facts.wanted, seals))

    @cached_property
    def _lost(self) -> dict[int, Gap]:
        """Of the events that were asked for, those that the trail says it lost."""
        gaps = [(gap.first, gap.last, gap) for gap in self.facts.gaps]
        return dict(within(self.facts.wanted, gaps))
