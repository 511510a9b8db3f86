"""Whether a period of an archive is complete: what its numbers, hashes and checkpoints prove."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from ..archive.checkpoints import Checkpoint, VerifyingKey, is_signed_note
from ..archive.format import JOURNAL, ZST
from ..archive.manifest import MANIFEST, DeleteRecord, SealRecord, read_listing
from ..archive.missing import Missing
from ..core.errors import InvalidEventError, escaped
from ..core.time import format_time, to_microseconds
from ..verification.checkpoint_files import SUFFIXES, notes_in_file
from ..verification.findings import Finding
from ..verification.report import VerifyReport, WriterReport
from ..verification.verify import unproved
from .period import Period
from .trail_period import TrailPeriod, event_facts

__all__ = ["Archive", "completeness", "of_the_period"]


#: Kinds of findings after which nobody can tell when a trail began.
_DAMAGE = frozenset(("altered", "removed", "inserted", "reordered", "truncated", "unreadable"))
_LISTED = 1000  # of what a trail tells; the rest is counted


class Archive:
    """What the files beside the events say of each trail: deletions and checkpoints.

    Args:
        directory: The archive.
        period: The period.
        trails: What each trail has of it, by writer.
        keys: If there are any, a checkpoint counts only if one of them signed it.
    """

    def __init__(
        self,
        directory: Path,
        period: Period,
        trails: dict[str, TrailPeriod],
        keys: list[VerifyingKey],
    ) -> None:
        self._keys = keys
        self.directory = directory
        self.period = period
        self.trails = trails
        self.deleted: dict[str, list[tuple[SealRecord, DeleteRecord]]] = {}
        self._sealed: dict[str, list[SealRecord]] = {}  # also those that are deleted
        self.files: dict[str, str] = {}  # writers, by the names of their sealed files
        self._reaching: dict[str, tuple[Checkpoint, str] | None] = {}
        missing = Missing()  # `verify` reports damage
        for path in sorted(directory.glob(f"*{MANIFEST}")):
            with missing.caught(path):
                listing = read_listing(path, missing)
                self.deleted[path.stem] = listing.deleted
                gone = [seal for seal, _ in listing.deleted]
                self._sealed[path.stem] = [*gone, *listing.seals.values()]
                self.files |= dict.fromkeys(listing.seals, path.stem)
                self.files |= {seal.file: path.stem for seal in gone}

    def deletions(self, writer: str) -> list[tuple[SealRecord, DeleteRecord]]:
        """What retention deleted of a trail that has, or may have, events of the period."""
        first, last = map(format_time, (self.period.start_us, self.period.end_us))
        return [
            (seal, record)
            for seal, record in self.deleted.get(writer, ())
            if seal.first_time <= last and seal.last_time >= first
        ]

    def is_of_the_period(self, writer: str) -> bool:
        """True unless a trail is known to have begun after the period, or has never begun."""
        end = self.period.end_us
        seals = self._sealed.get(writer, [])
        if any(seal.first_time <= format_time(end) for seal in seals):
            return True
        trail = self.trails.get(writer)
        if trail is None or trail.began is None:
            return bool(seals) and not _has_its_begin(seals)
        is_old = to_microseconds(trail.began) <= end
        return is_old or not (trail.has_its_begin or _has_its_begin(seals))

    def reaching(self, writer: str) -> tuple[Checkpoint, str] | None:
        """The checkpoint that covers the most of the period, and its note: the first that covers
        all of it, so that later ones change nothing. Its signature is not checked."""
        if writer not in self._reaching:
            span = self.trails[writer].span if writer in self.trails else None
            last = 0 if span is None else span[1]
            found = self._checkpoints(writer)
            enough = [one for one in found if one[0].events >= last]
            less = [one for one in found if one[0].events < last]
            order = min(enough, key=_age) if enough else max(less, key=_age, default=None)
            self._reaching[writer] = order
        return self._reaching[writer]

    def writer_of(self, file: str) -> str | None:
        """The writer of the file of that name; None if it is not known."""
        name = file.removesuffix(ZST)
        suffix = next((end for end in (MANIFEST, JOURNAL, *SUFFIXES) if name.endswith(end)), None)
        return self.files.get(name) if suffix is None else name.removesuffix(suffix)

    def _checkpoints(self, writer: str) -> list[tuple[Checkpoint, str]]:
        return [one for name in self._notes(writer).values() for one in name]

    def _notes(self, writer: str) -> dict[str, list[tuple[Checkpoint, str]]]:
        """The signed checkpoints in each file beside the archive, by its name."""
        missing = Missing()  # `verify` reports damage
        found: dict[str, list[tuple[Checkpoint, str]]] = {}
        for path in [self.directory / f"{writer}{suffix}" for suffix in SUFFIXES]:
            with missing.caught(path), suppress(FileNotFoundError):
                found[path.name] = []
                found[path.name] += filter(None, map(self._signed, notes_in_file(path)))
        return {name: notes for name, notes in found.items() if (self.directory / name).exists()}

    def _signed(self, note: str) -> tuple[Checkpoint, str] | None:
        """The checkpoint in a note; None if there is none, or nobody signed it who should have."""
        with suppress(InvalidEventError):
            checkpoint = Checkpoint.parse(note, self._keys)
            return (checkpoint, note) if is_signed_note(note) else None
        return None

    def checkpoint_facts(self, writer: str) -> dict[str, Any]:
        """The checkpoints beside the archive: how many up to the one that reaches the furthest
        in the period, by file, and that one. Later ones change nothing."""
        best = self.reaching(writer)
        until = 0 if best is None else best[0].events
        files = []
        for name, notes in self._notes(writer).items():
            is_log = name != f"{writer}{SUFFIXES[0]}"  # else it holds the newest alone
            about = [c for c, _ in notes if c.events <= until or not is_log]
            files.append({"file": name, "number": len(about)})
        return {"files": files, "reaching": None if best is None else _facts(best[0])}


def _has_its_begin(seals: list[SealRecord]) -> bool:
    return any(seal.first_sequence == 1 for seal in seals)


def _facts(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": checkpoint.root.hex(),
        "events": checkpoint.events,
        "head": checkpoint.head,
        "time": checkpoint.time,
    }


def _age(found: tuple[Checkpoint, str]) -> tuple[int, int, str, str]:
    checkpoint, note = found
    return checkpoint.events, checkpoint.size, checkpoint.time, note


def completeness(verified: VerifyReport, archive: Archive) -> dict[str, Any]:
    """The part ``completeness``, as JSON types."""
    shown = of_the_period(verified, archive)
    trails = [_trail(report, archive) for report in shown.writers]
    return {
        "verdict": shown.verdict,
        "events": sum(trail["events"] for trail in trails),
        "trails": trails,
        "findings": [_finding(finding, archive) for finding in shown.findings],
        "more_findings": shown.left_out,
        "keys": shown.keys,
        "witnesses": shown.quorum,
        "lost_keys": None if shown.lost_keys is None else shown.lost_keys.words,
        "events_with_lost_keys": 0 if shown.lost_keys is None else shown.lost_keys.events,
        "not_proved": shown.unproved,
        "unknown": shown.unknown if shown.writers else verified.unknown,
    }


def of_the_period(verified: VerifyReport, archive: Archive) -> VerifyReport:
    """The report without trails that began after the period, which change nothing of it; but with
    those whose begin is not known, and those of which something is gone or altered: they may
    have had events of the period."""
    damaged = {archive.writer_of(f.file) for f in verified.findings if f.kind in _DAMAGE}
    reports = [
        report
        for report in verified.writers
        if report.writer in damaged or archive.is_of_the_period(report.writer)
    ]
    later = {report.writer for report in verified.writers} - {report.writer for report in reports}
    of_trails = unproved(verified.writers, verified.keys, False, verified.quorum)
    others = [words for words in verified.unproved if words not in of_trails]
    here = unproved(reports, verified.keys, False, verified.quorum) if reports else []
    return msgspec.structs.replace(
        verified,
        writers=reports,
        findings=[f for f in verified.findings if archive.writer_of(f.file) not in later],
        unproved=[*here, *others],
    )


def _trail(report: WriterReport, archive: Archive) -> dict[str, Any]:
    trail = archive.trails.get(report.writer)
    if trail is None:
        trail = archive.trails[report.writer] = TrailPeriod(report.writer, archive.period)
    missing = list(_missing(trail, report, archive))
    facts: dict[str, Any] = {
        "trail": report.writer,
        "id": report.id,
        "origin": report.origin,
        "events": trail.events,
        "first": None,
        "last": None,
        "expected": 0,
        "of_another_time": trail.between,
        "missing": missing,
        "more_missing": trail.more_holes,
    }
    if trail.first is not None and trail.last is not None:
        facts["first"] = {**event_facts(trail.first), "previous_hash": trail.first_hash}
        facts["last"] = {**event_facts(trail.last), "hash": trail.last_hash}
        facts["expected"] = trail.last.sequence - trail.first.sequence + 1
    return {
        **facts,
        "covered": _covered(trail, report),
        "checkpoints": archive.checkpoint_facts(report.writer),
        "deletions": [
            _deletion(*one, archive.period, report) for one in archive.deletions(report.writer)
        ],
        **_told(trail, report),
    }


def _told(trail: TrailPeriod, report: WriterReport) -> dict[str, Any]:
    """What the trail tells of itself that is about the period."""
    told: dict[str, list[Any]] = {
        "gaps": [
            gap
            for gap in report.gaps
            if trail.touches(gap.first, gap.last) or trail.told_in(gap.told_by)
        ],
        "unclean_ends": [end for end in report.unclean_ends if trail.told_in(end.told_by)],
        "adopted": [one for one in report.adopted if trail.touches(one.first, one.last)],
        "refusals": [one for one in report.refusals if trail.told_in(one.told_by)],
        "steps_back": [one for one in report.steps_back if trail.told_in(one.sequence)],
    }
    more = {name: len(facts) - _LISTED for name, facts in told.items() if len(facts) > _LISTED}
    listed = {name: facts[:_LISTED] for name, facts in told.items()}
    found: dict[str, Any] = msgspec.to_builtins(listed)
    return {**found, "more": more}


def _missing(
    trail: TrailPeriod, report: WriterReport, archive: Archive
) -> Iterator[dict[str, Any]]:
    """Yield the numbers without an event, and why: ``deleted`` by retention, ``lost`` as the trail
    tells itself, or ``unexplained``."""
    why = [("deleted", d.first, d.last) for d in report.deletions]
    why += [("lost", gap.first, gap.last) for gap in report.gaps]
    for hole in trail.holes:
        at = hole.first
        while at <= hole.last:
            here = [(kind, last) for kind, first, last in why if first <= at <= last]
            kind, last = here[0] if here else ("unexplained", hole.last)
            if not here:
                last = min([last, *(first - 1 for _, first, _ in why if first > at)])
            last = min(last, hole.last)
            yield {"first": at, "last": last, "why": kind}
            at = last + 1


def _covered(trail: TrailPeriod, report: WriterReport) -> dict[str, Any]:
    """How far what was checked reaches in the period: numbers of events; None: not at all."""
    span = trail.span

    def clipped(number: int | None) -> int | None:
        return None if span is None or number is None or number < span[0] else min(number, span[1])

    signed = clipped(report.proved_until)
    left = 0 if span is None else span[1] - (span[0] - 1 if signed is None else signed)
    cosigned = clipped(report.cosigned_until)
    return {
        "until": signed,
        "numbers_after": left,
        "by_checkpoint_from_elsewhere_until": clipped(report.outside_until),
        "cosigned_until": cosigned,
        "cosigned_by": [] if cosigned is None else sorted(report.cosigned_by),
        "uncovered": _uncovered(trail, signed),
    }


def _uncovered(trail: TrailPeriod, signed: int | None) -> str | None:
    """A sentence about what could have been cut off or rewritten without a trace, in the period."""
    span = trail.span
    if span is None or signed == span[1]:
        return None
    if signed is None:
        return (
            "no checkpoint that was checked covers it: events cut off at its end, or a history"
            " rewritten as a whole, could not be noticed"
        )
    return f"events cut off after event {signed} could not be noticed"


def _deletion(
    seal: SealRecord, record: DeleteRecord, period: Period, report: WriterReport
) -> dict[str, Any]:
    first, last = map(format_time, (period.start_us, period.end_us))
    proved = any(d.proved and d.first <= seal.first_sequence <= d.last for d in report.deletions)
    return {
        "file": seal.file,
        "first": seal.first_sequence,
        "last": seal.last_sequence,
        "first_time": seal.first_time,
        "last_time": seal.last_time,
        "wholly_of_the_period": first <= seal.first_time and seal.last_time <= last,
        "rule": record.reason,
        "deleted_at": record.deleted_at,
        "proved": proved,
    }


def _finding(finding: Finding, archive: Archive) -> dict[str, Any]:
    """A finding, and if it is about events that are of the period, or may be."""
    writer = archive.writer_of(finding.file)
    trail = archive.trails.get(writer or "")
    is_near = trail is None or finding.sequence is None or trail.told_in(finding.sequence)
    facts: dict[str, Any] = msgspec.to_builtins(finding)
    file, words = escaped(finding.file), escaped(finding.explanation)
    named = {"file": file, "explanation": words, "trail": writer, "may_be_of_the_period": is_near}
    return {**facts, **named}
