"""Verifies the files of one writer: sealed files, journal, checkpoints."""

from __future__ import annotations

import os
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from itertools import accumulate, repeat
from pathlib import Path
from typing import BinaryIO

from ..archive.checkpoints import VerifyingKey, signed_by
from ..archive.format import JOURNAL, ZST, sealed_name
from ..archive.manifest import SealRecord
from ..archive.reader import first_number, first_number_at, open_events_file
from ..core.time import parse_time
from .checkpoint_check import CheckpointCheck, Claim, deletions
from .checkpoint_files import Statement
from .event_ids import twice_in
from .file_judgement import FileJudgement
from .file_reading import Reading
from .file_scan import Content, scan
from .findings import Findings
from .hash_chain import ANY, Chain, disjoint, outside, within
from .key_check import KeyCheck
from .manifest_check import CheckedManifest, Seal
from .processes import FileReader
from .reading_plan import jobs_of
from .report import Adopted, Gap, WriterReport, numbers
from .segments import Segment
from .trail_facts import Observer, TrailFacts

__all__ = ["WriterCheck"]


class WriterCheck:
    """The verification of one writer's trail.

    Args:
        manifest: Its manifest.
        segments: Its sealed files.
        statements: Its checkpoints, ordered by their newest event.
        claims: Events of it that lines of manifests name.
        keys: The keys that may sign deletions; none: signatures are not checked.
        findings: Takes the damage.
        progress: Takes the number of bytes read.
        only: Name of the one file to verify; None: all.
        key_check: Counts the encrypted events that no key opens.
        observer: Takes the events as they are read.
        ahead: Reads files ahead; None: each is read in its turn.
        may_skip: Lines that a signed digest proves need no other proof.
    """

    def __init__(
        self,
        manifest: CheckedManifest,
        segments: list[Segment],
        statements: list[Statement],
        claims: list[Claim],
        keys: list[VerifyingKey],
        findings: Findings,
        progress: Callable[[int], None],
        only: str | None,
        key_check: KeyCheck,
        observer: Observer | None = None,
        ahead: FileReader | None = None,
        may_skip: bool = False,
    ) -> None:
        self._ahead = ahead
        self._may_skip = may_skip
        self._manifest = manifest
        self._segments = segments
        self._statements = statements
        self._keys = keys
        self._findings = findings
        self._progress = progress
        self._only = only
        self._report = WriterReport(writer=manifest.path.stem, id=manifest.id)
        self._chain = Chain(findings.add, self._miss)
        self._claims = claims
        wanted = {claim.number for claim in claims} | {s.checkpoint.events for s in statements}
        self._facts = TrailFacts(wanted, self._report.writer, key_check, observer)
        self._missing: list[tuple[str, int, int, bool]] = []
        self._judgement = FileJudgement(manifest, self._chain, findings)
        self._gone: list[Seal] = []  # of files that were not read
        self._deleted: list[Seal] = []  # of files that retention deleted
        self._newest = manifest.name  # the newest file

    def run(self, journal: BinaryIO | None) -> WriterReport:
        """Read all files; return the result, and add the damage to the findings."""
        self._confirm_lines()
        if self._segments and not self._manifest.begins:
            self._chain.jump(self._segments[0].first - 1, ANY)
        for segment, reading in zip(self._segments, self._readings()):
            self._check(segment, reading)
        if journal is not None and self._only in (None, self._journal_name):
            self._check_journal(journal)
        self._find_adopted()
        self._facts.gaps = [gap for gap in self._facts.gaps if not self._is_belated(gap)]
        self._explain()
        self._report_doubled()
        checkpoints = CheckpointCheck(
            manifest=self._manifest,
            claims=self._claims,
            facts=self._facts,
            gone=self._gone,
            last=self._chain.sequence,
            newest=self._newest,
            one_file=self._only is not None,
        )
        checkpoints.run(self._statements, self._report, self._findings)
        self._report.deletions = deletions(self._deleted, self._proved)
        self._report.gaps = self._facts.gaps
        self._report.unclean_ends = self._facts.unclean_ends
        self._report.refusals = self._facts.refusals
        self._report.steps_back = self._facts.steps_back
        self._report.more_steps_back = self._facts.more_steps_back
        return self._report

    @property
    def facts(self) -> TrailFacts:
        """What its events tell of the trail."""
        return self._facts

    def _report_doubled(self) -> None:
        """Report events that have the id of another one, in files without other damage."""
        damaged = {file for file, _ in self._facts.doubled if self._findings.count(file)}
        for file, sequence in self._facts.doubled:
            if file not in damaged:
                words = f"event {sequence} has the id of another event"
                self._findings.add(file, sequence, "inserted", words)
        late = self._facts.late_ids
        if late and self._only is None and not damaged:
            journal = self._manifest.path.with_name(self._journal_name)
            paths = [segment.path for segment in self._segments]
            with suppress(FileNotFoundError):  # while it is sealed, it has two names
                status = journal.stat()
                paths += [] if any(_is_same(path, status) for path in paths) else [journal]
            with suppress(OSError):  # reported before, or deleted or sealed since
                for event_id in twice_in(filter(None, paths), late):
                    words = f"another event has the id {event_id} as well"
                    self._findings.add(self._manifest.name, None, "inserted", words)

    @property
    def _journal_name(self) -> str:
        return f"{self._report.writer}{JOURNAL}"

    def _confirm_lines(self) -> None:
        """Mark the lines of the manifest that a checkpoint covers as sound."""
        for line in self._manifest.lines[: self._covered(self._statements)]:
            line.state = "sound"

    @property
    def _proved(self) -> int:
        """Number of lines of the manifest that an attacker cannot have written."""
        return self._covered(statement for statement in self._statements if statement.proves)

    def _covered(self, statements: Iterable[Statement]) -> int:
        roots = self._manifest.roots
        covering = (statement.checkpoint for statement in statements)
        return max((c.size for c in covering if roots.get(c.size) == c.root), default=0)

    # --- reading ---------------------------------------------------------------------------

    def _readings(self) -> Iterator[Reading | None]:
        """Yield what was read ahead of each file."""
        if self._ahead is None:
            return repeat(None)
        proved = self._proved if self._may_skip else None
        jobs = jobs_of(self._segments, self._report.writer, self._facts.wanted, proved)
        return self._ahead.read(jobs)

    def _check(self, segment: Segment, reading: Reading | None) -> None:
        seal, path = segment.seal, segment.path
        record = None if seal is None else seal.record
        if path is None or self._only not in (None, segment.name):
            if seal is not None:
                self._pass_over(seal, path is None)
            return
        if record is None and self._only is not None:
            self._chain.jump((segment.first or first_number_at(path) or 1) - 1, ANY)
        if reading is not None and record is not None and self._take(path, record, reading):
            self._report.files += 1
            self._judgement.sealed(segment, path.name, reading.content(record))
            return
        content = Content()
        try:
            with open_events_file(path) as file:
                self._read(file, path.name, content, self._scaled(path, record))
        except OSError as exc:
            if isinstance(exc, FileNotFoundError) and seal is not None:
                self._pass_over(seal, True)  # deleted since it was listed
                return
            self._findings.add_unreadable(path.name, exc, self._chain.sequence)
            self._chain.waiting.clear()
            if seal is not None:
                self._skip(seal)
            return
        self._report.files += 1
        self._judgement.sealed(segment, path.name, content)

    def _pass_over(self, seal: Seal, missing: bool) -> None:
        record = seal.record
        if missing and seal.deletion is None:
            self._manifest.look_again(seal)
        if missing and seal.deletion is not None and self._is_forged(seal):
            words = "it is missing, and that retention deleted it is not signed"
            self._findings.add(record.file, record.first_sequence, "removed", words)
        elif missing and seal.deletion is not None:
            self._deleted.append(seal)
        elif missing and self._only is None:
            which = numbers(record.first_sequence, record.last_sequence)
            words = f"it is missing, and with it {which}"
            self._findings.add(record.file, record.first_sequence, "removed", words)
        self._skip(seal)

    def _is_forged(self, seal: Seal) -> bool:
        """Return True if there are keys, and none of them signed the deletion."""
        assert seal.deletion is not None
        deletion, _ = seal.deletion
        signature = deletion.signature or ""
        return bool(self._keys) and not signed_by(self._keys, deletion.text, signature)

    def _skip(self, seal: Seal) -> None:
        self._gone.append(seal)
        self._chain.jump(seal.record.last_sequence, seal.record.head)

    def _scaled(self, path: Path, record: SealRecord | None) -> Callable[[int], None]:
        """The progress callback, scaled to the size of a compressed file."""
        if path.suffix != ZST or record is None or not record.bytes:
            return self._progress
        ratio = path.stat().st_size / record.bytes
        return lambda size: self._progress(int(size * ratio))

    def _read(
        self, file: BinaryIO, name: str, content: Content, progress: Callable[[int], None]
    ) -> None:
        self._newest = self._facts.file = name
        self._judgement.unclaimed = []
        self._chain.enter(name)
        scan(file, self._chain, self._facts, content, progress)
        self._count(content)

    def _take(self, path: Path, record: SealRecord, reading: Reading) -> bool:
        """Take a file that was read ahead; False, with nothing taken, if it does not fit."""
        chain, facts, content = self._chain, self._facts, reading.content(record)
        fits = chain.is_next(content.first_sequence, reading.previous)
        if not fits or not facts.can_take(reading.ids):
            return False
        tell = self._progress
        with suppress(OSError):  # it was just deleted, or compressed
            tell = self._scaled(path, record)
        tell(content.bytes)
        self._newest = facts.file = path.name
        self._judgement.unclaimed = []
        chain.enter(path.name)
        chain.sequence, chain.head = content.last_sequence, content.head
        facts.begin(content.first_sequence, content.oldest_time)
        facts.take_ids_of_file(reading.ids, content.first_sequence, reading.first, reading.newest)
        facts.add(reading.told)
        facts.time = content.newest_time
        if facts.keys is not None:
            facts.keys.add(reading.keys)
        self._report.by_digest += reading.by_digest
        self._count(content)
        return True

    def _count(self, content: Content) -> None:
        report = self._report
        report.events += content.events
        if not content.events:
            return
        if report.first_sequence is None:
            report.first_sequence = content.first_sequence
            report.first_time = parse_time(content.oldest_time)
        report.last_sequence = content.last_sequence
        report.last_time = parse_time(content.newest_time)

    # --- the journal -------------------------------------------------------------------------

    def _check_journal(self, file: BinaryIO) -> None:
        if self._was_sealed(file):
            return
        name, content = self._journal_name, Content()
        try:
            self._read(file, name, content, self._progress)
        except OSError as exc:
            self._findings.add_unreadable(name, exc, self._chain.sequence)
            return
        if not content.framed and content.lines <= 1:
            content.torn = content.bytes  # not even its first line
        self._judgement.journal(name, content)
        self._report.unsealed_events = content.events
        self._report.torn_bytes = content.torn

    def _was_sealed(self, file: BinaryIO) -> bool:
        """Return True if the journal was sealed since it was opened, and is read already."""
        status = os.fstat(file.fileno())
        if any(_is_same(segment.path, status) for segment in self._segments):
            return True
        if os.fstat(file.fileno()).st_nlink:
            return False
        return (first_number(file) or 1) <= self._chain.sequence  # compressed or deleted

    # --- in the end --------------------------------------------------------------------------

    def _find_adopted(self) -> None:
        """Report the events that the application sealed and did not attest."""
        adopted = list(self._adopted())
        self._report.adopted = adopted
        facts = self._facts
        told_by = {gap.told_by for gap in facts.gaps} | {of.told_by for of in facts.refusals}
        told_by |= {of.number for of in facts.erasures} | {of.number for of in facts.holds}
        found_at_a_start = dict(within(told_by, [(of.first, of.last, of) for of in adopted]))
        facts.gaps = [gap for gap in facts.gaps if gap.told_by not in found_at_a_start]
        facts.refusals = [of for of in facts.refusals if of.told_by not in found_at_a_start]
        facts.erasures = [of for of in facts.erasures if of.number not in found_at_a_start]
        for place, hold in enumerate(facts.holds):
            if hold.number in found_at_a_start:
                facts.holds[place] = hold._replace(is_attested=False)
        if not self._keys:
            return
        for found in adopted:
            which = numbers(found.first, found.last)
            words = f"the application found {which} at a start, and nothing attests"
            one = found.first == found.last
            words += f" that it recorded {'it' if one else 'them'}"
            self._findings.add(found.file, found.first, "adopted", words)

    def _adopted(self) -> Iterator[Adopted]:
        """Yield the events of sealed files that nothing attests, by file."""
        proving = sorted(
            (s.checkpoint.size, s.checkpoint.events) for s in self._statements if s.proves
        )
        sizes = [size for size, _ in proving]
        most = [0, *accumulate((events for _, events in proving), max)]
        for seal in self._manifest.seals:
            record = seal.record
            if seal.deletion is not None or not isinstance(record.adopted, int):
                continue
            known = most[bisect_left(sizes, seal.line.number)]  # before the file was sealed
            first = max(record.adopted, known + 1)
            if first <= record.last_sequence:
                yield Adopted(first, record.last_sequence, record.file)

    def _miss(self, file: str, first: int, last: int, cut: bool) -> None:
        self._missing.append((file, first, last, cut))
        self._judgement.unclaimed.append(first - 1)

    def _is_belated(self, gap: Gap) -> bool:
        """Return True if a checkpoint covers events that only a later event reports as lost.

        Then they were there: a trail reports a loss before it makes a checkpoint.
        """
        known = (s.checkpoint.events for s in self._statements if s.proves)
        return any(gap.first <= number < gap.told_by for number in known)

    def _explain(self) -> None:
        """Report missing events as damage, unless a later event reports their loss."""
        gaps = disjoint((gap.first, gap.last) for gap in self._facts.gaps)
        whole = self._only is not None and not self._judgement.doubts
        for file, first, last, cut in self._missing:
            if whole and not cut and file != self._journal_name:
                continue  # it was sealed so; the event that reports the loss is in another file
            for low, high in outside(first, last, gaps):
                words = f"{numbers(low, high)} {'is' if low == high else 'are'} missing"
                self._findings.add(file, low, "truncated" if cut else "removed", words)
        for of, file, sequence, words in self._judgement.doubts:
            if not self._findings.count(of):
                self._findings.add(file, sequence, "altered", words)


def _is_same(path: Path | None, status: os.stat_result) -> bool:
    """Return True if it is the file at *path*, or the uncompressed original of that."""
    if path is None:
        return False
    for name in {path, path.with_name(sealed_name(path))}:
        with suppress(OSError):
            if os.path.samestat(name.stat(), status):
                return True
    return False
