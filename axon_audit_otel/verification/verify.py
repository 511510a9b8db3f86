"""Verifies an archive: finds altered, removed, inserted and moved events, and what is proved.

Every file is read once, line by line. Only facts about damage and checkpoints stay in memory.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path

from ..archive.checkpoints import VerifyingKey
from ..archive.cosignatures import Quorum
from ..archive.directory import writers_in
from ..archive.format import HEAD, JOURNAL, sealed_name
from ..archive.manifest import MANIFEST
from ..archive.missing import Missing
from ..archive.origin import source_of
from ..archive.reader import LineReader, closing_of, open_events_file
from ..core.errors import ArchiveError, AuditConfigError, archive_errors
from ..core.files import named
from .checkpoint_check import Claim
from .checkpoint_files import SUFFIXES, CheckpointSet, Statement
from .findings import Findings
from .hold_check import check_holds
from .index_check import wrong_indexes
from .key_check import KeyCheck
from .manifest_check import CheckedManifest
from .processes import FileReader
from .report import LostKeys, VerifyReport, WriterReport, numbers, parsed_origins
from .segments import CheckedDirectory, segments_of
from .trail_facts import Observer, TrailFacts
from .writer_check import WriterCheck

__all__ = ["unproved", "verify"]


def verify(
    path: Path | str,
    keys: Iterable[VerifyingKey | str] = (),
    checkpoints: Iterable[str] = (),
    progress: Callable[[int], None] | None = None,
    origins: Iterable[str] = (),
    require_checkpoint: bool = False,
    quorum: Quorum | None = None,
    erasable: Path | str | None = None,
    observer: Observer | None = None,
    jobs: int | None = None,
    full: bool = False,
) -> VerifyReport:
    """Verify an archive, or one file of it.

    Args:
        path: The archive's directory (all its writers), or a sealed file or journal.
        keys: Public keys (or their lines, as ``axon-audit keygen`` prints them). If any are
            given, every checkpoint must be signed by one of them.
        checkpoints: Notes that were kept elsewhere. Only these show if the archive was truncated
            together with the checkpoints beside it.
        progress: Called with the number of bytes read since the last call.
        origins: The trails that must be there, and no others; each as ``axon-audit/<writer>/<id>``.
        require_checkpoint: Each trail must be covered by one of *checkpoints*.
        quorum: Of each writer, how many witnesses must have cosigned a checkpoint.
        erasable: The directory of the keys that personal data is encrypted with, to find events
            that no key opens though nobody was erased. Default: beside the archive.
        observer: Called with each writer's name, its events in the order of its files (as they
            were recorded, some at a time) and their hashes, so that whoever counts them need not
            read the archive twice. Events that are no part of a trail are not among them. With
            an observer, this process reads every line itself.
        jobs: How many processes read a large archive at most; 1: only this one. Default: as many
            as there are processors, and at most 8. The report is the same.
        full: Prove every line by itself, also those of files whose digest a signed checkpoint
            covers. So it is always without *keys*, with a *quorum*, and of one file.

    Returns:
        The damage, and the newest event that is proved.

    Raises:
        ArchiveError: If there is no archive at *path*.
        AuditConfigError: If a key, an origin or *jobs* is not valid.
        InvalidEventError: If one of *checkpoints* is not a checkpoint.
    """
    parsed = [VerifyingKey.parse(key) if isinstance(key, str) else key for key in keys]
    notes, wanted = list(checkpoints), parsed_origins(origins)
    place = None if erasable is None else Path(erasable)
    if jobs is not None and not (isinstance(jobs, int) and jobs > 0):
        raise AuditConfigError(f"jobs must be 1 or more, not {jobs!r}")
    tell = progress or (lambda size: None)
    with archive_errors(Path(path)):
        verification = _Verification(
            named(Path(path)), parsed, notes, tell, quorum or Quorum(), place, observer, jobs, full
        )
        return verification.run(wanted, require_checkpoint)


class _Verification:
    """One call of `verify`."""

    def __init__(
        self,
        path: Path,
        keys: list[VerifyingKey],
        notes: list[str],
        progress: Callable[[int], None],
        quorum: Quorum,
        erasable: Path | None,
        observer: Observer | None,
        jobs: int | None,
        full: bool,
    ) -> None:
        if not path.exists():
            raise ArchiveError(f"no such file or directory: {str(path)!r}")
        self._path = path
        self._directory = path if path.is_dir() else path.parent
        self._only = None if path.is_dir() else path
        self._keys = keys
        self._progress = progress
        self._observer = observer
        self._findings = Findings()
        self._checkpoints = CheckpointSet(keys, self._findings, quorum)
        self._checkpoints.add_given(notes)
        self._missing = Missing()
        self._manifests: dict[str, CheckedManifest] = {}
        self._ids: dict[str, str] = {}  # of the trails, by writer
        self._registered: dict[str, dict[tuple[str, int], Claim]] = {}  # by the trail's id
        self._key_check = KeyCheck(self._directory, erasable)
        self._facts: list[TrailFacts] = []
        self._erasable = erasable
        self._jobs = jobs
        # Who asks for witnesses does not trust the key alone.
        self._may_skip = bool(keys) and not full and not quorum.needed
        self._ahead: FileReader | None = None

    def run(self, origins: set[str], require_checkpoint: bool) -> VerifyReport:
        """Verify everything at the path."""
        with ExitStack() as stack:
            # A writer may be running, so the order matters: checkpoints, journals, names of
            # sealed files, manifests.
            writers = writers_in(self._directory, *SUFFIXES)
            for writer in writers:
                self._add_checkpoints(writer)
            self._found = stack.enter_context(CheckedDirectory(self._directory, self._missing))
            for writer in writers:
                self._add_manifest(writer)
            self._find_strays()
            self._report_unreadable()
            chosen = [self._chosen()] if self._only is not None else sorted(self._manifests)
            if not (chosen or self._found.sealed or self._checkpoints.sizes()):
                raise ArchiveError(f"no audit files (audit_*.json) in {str(self._directory)!r}")
            self._read_registers()
            if self._only is None and self._observer is None:
                self._ahead = stack.enter_context(self._file_reader())
            known: list[Statement] = []
            reports = [self._check(writer, known) for writer in chosen]
        self._judge_strangers(known)
        if self._only is None:
            self._find_vanished()
        self._judge_refused(reports)
        if origins:
            here = {of.origin: f"{of.writer}{MANIFEST}" for of in reports if of.origin}
            self._findings.compare_origins(here, origins)
        lost, indexes = None, []
        if self._only is None:
            seals = [seal for manifest in self._manifests.values() for seal in manifest.seals]
            there = [seal.record for seal in seals if seal.deletion is None]
            indexes = wrong_indexes(self._directory, there)
            self._check_holds(reports)
            lost = self._key_check.lost(e for facts in self._facts for e in facts.erasures)
        return VerifyReport(
            path=str(self._path),
            writers=reports,
            findings=list(self._findings.kept.values()),
            left_out=self._findings.left_out,
            keys=[key.name for key in self._keys],
            lost_keys=lost,
            wrong_indexes=indexes,
            unproved=self._unproved(reports, require_checkpoint, lost),
            quorum=str(quorum) if (quorum := self._checkpoints.quorum).needed else None,
        )

    def _file_reader(self) -> FileReader:
        seals = (seal for manifest in self._manifests.values() for seal in manifest.seals)
        size = sum(seal.record.bytes for seal in seals if seal.deletion is None)
        return FileReader(self._directory, self._erasable, size, self._jobs)

    # --- the files -------------------------------------------------------------------------

    def _add_checkpoints(self, writer: str) -> None:
        for suffix in SUFFIXES:
            self._checkpoints.add_file(self._directory / f"{writer}{suffix}")

    def _report_unreadable(self) -> None:
        """Report journals that cannot be read."""
        for path, words in self._missing.problems():
            is_denied = path.exists() and not os.access(path, os.R_OK)
            exc: type[OSError] = PermissionError if is_denied else OSError
            self._findings.add_unreadable(path.name, exc(words))

    def _add_manifest(self, writer: str) -> None:
        path = self._directory / f"{writer}{MANIFEST}"
        self._manifests[writer] = CheckedManifest(path, self._findings, self._checkpoints.sizes())

    def _add_writer(self, writer: str) -> None:
        """Add a writer whose first file was sealed just now."""
        self._add_checkpoints(writer)
        self._found.open_journal(writer)
        self._add_manifest(writer)

    def _find_strays(self) -> None:
        """Find sealed files that are in no manifest, and read their last lines."""
        manifests = list(self._manifests.values())
        listed = {name for manifest in manifests for name in manifest.names}
        deleted = {s.record.file: s.record.root for x in manifests for s in x.seals if s.deletion}
        for name, path in self._found.sealed.items():
            if name in listed:
                continue
            try:
                if self._found.is_journal(path):
                    continue  # it is being sealed
            except FileNotFoundError:
                continue  # deleted or compressed just now
            now = [of for of in manifests if name not in deleted and of.seals_now(name)]
            if now:  # sealed since the manifest was read
                for manifest in now:
                    self._add_manifest(manifest.path.stem)
                    listed |= self._manifests[manifest.path.stem].names.keys()
                continue
            closing = closing_of(path)
            if closing is not None and deleted.get(name) == closing.root:
                self._found.remains[name] = closing.root
                continue
            trail = "" if closing is None else closing.trail
            if trail and trail not in self._manifests and self._only is None:
                self._add_writer(trail)
                listed |= self._manifests[trail].names.keys()
            if name not in listed:
                self._found.strays[name] = closing

    def _chosen(self) -> str:
        """The writer of the one file to verify."""
        assert self._only is not None
        if self._only.suffix == JOURNAL:
            return self._only.stem
        name = sealed_name(self._only)
        for writer, manifest in self._manifests.items():
            if name in manifest.names:
                return writer
        closing = closing_of(self._only)
        if closing is None:
            self._refuse_export()
        writer = "" if closing is None else closing.trail
        self._found.sealed.setdefault(name, self._only)
        if name not in self._found.remains:
            self._found.strays[name] = closing
        if writer not in self._manifests:
            self._add_manifest(writer)
        return writer

    def _refuse_export(self) -> None:
        assert self._only is not None
        with open_events_file(self._only) as file:
            reader = LineReader(file)
            deque(reader.batches(), maxlen=0)
        last = reader.closing or reader.torn
        name = repr(str(self._only))
        if reader.head != HEAD and not last.startswith(b"],"):
            raise ArchiveError(f"{name} is neither a sealed file nor a journal")
        if last.startswith(b'],"total_events"') and b'"root"' not in last:
            msg = f"{name} is an export and carries no proof: verify the archive it was taken from"
            raise ArchiveError(msg)

    # --- its parts -------------------------------------------------------------------------

    def _check(self, writer: str, known: list[Statement]) -> WriterReport:
        manifest = self._manifests[writer]
        statements = self._checkpoints.about(writer, manifest.id)
        known += statements
        claims = [Claim(h.number, h.head, line.about()) for line, h in manifest.heads]
        claims += self._registered.get(self._ids[writer], {}).values()
        only = None if self._only is None else sealed_name(self._only)
        segments, unfinished = segments_of(writer, manifest, self._found, self._findings, only)
        check = WriterCheck(
            manifest,
            segments,
            statements,
            claims,
            self._keys,
            self._findings,
            self._progress,
            only,
            self._key_check,
            self._observer,
            self._ahead,
            self._may_skip,
        )
        self._facts.append(check.facts)
        journal = self._found.journals.get(writer)
        report = check.run(None if journal is None else journal.journal)
        report.unfinished_seal = unfinished
        if trail := self._ids[writer]:
            report.origin = f"axon-audit/{writer}/{trail}"
        if self._keys and manifest.seals and not _any_proves(statements):
            self._add_checkpoints(writer)  # the first one is made after the first seal
            late = self._checkpoints.about(writer, manifest.id)
            known += late
            if not _any_proves(late):
                names = " or ".join(key.name for key in self._keys)
                words = f"no checkpoint of it is signed by {names}"
                self._findings.add(manifest.name, None, "wrong_key", words)
        return report

    def _check_holds(self, reports: list[WriterReport]) -> None:
        """Report what was deleted or erased while a hold was in force, and holds that vanished."""
        check_holds(
            self._directory,
            [record for facts in self._facts for record in facts.holds],
            {r.writer: r.proved_until or 0 for r in reports} if self._keys else None,
            [seal for manifest in self._manifests.values() for seal in manifest.seals],
            [erased for facts in self._facts for erased in facts.erasures],
            self._findings,
        )

    # --- what was asked for ------------------------------------------------------------------

    def _unproved(
        self, reports: list[WriterReport], require_checkpoint: bool, lost: LostKeys | None
    ) -> list[str]:
        """What was asked for and could not be proved, in words."""
        quorum = self._checkpoints.quorum
        words = unproved(
            reports,
            [key.name for key in self._keys],
            require_checkpoint,
            str(quorum) if quorum.needed else None,
        )
        if self._key_check.is_asked_for and lost is not None and lost.why:
            words.append(f"the keys could not be looked at: {lost.why}")
        return words

    # --- the registers of writers ------------------------------------------------------------

    def _read_registers(self) -> None:
        """Take what the manifests list of other writers."""
        self._ids = {
            writer: manifest.id or source_of(self._directory, writer).stream
            for writer, manifest in self._manifests.items()
        }
        for manifest in self._manifests.values():
            for line, other in manifest.others:
                source = f"{manifest.name}, line {line.number},"
                claim = Claim(other.events, other.head, source)
                self._registered.setdefault(other.id, {})[other.writer, other.events] = claim

    def _find_vanished(self) -> None:
        """Find writers that are listed, and are not here any more."""
        for trail, claims in self._registered.items():
            (writer, events), claim = max(claims.items(), key=lambda item: item[0][1])
            name = f"{writer}{MANIFEST}"
            if trail in self._ids.values() or self._findings.count(name):
                continue
            if Path(name).name == name and source_of(self._directory, writer).stream == trail:
                continue  # it has begun meanwhile
            now = "another has its name" if writer in self._manifests else "nothing of it is here"
            words = f"{claim.source} lists its trail {trail} with {numbers(1, events)}: {now}"
            self._findings.add(name, None, "removed", words)

    def _judge_strangers(self, known: list[Statement]) -> None:
        """Report files and checkpoints that belong to no trail here."""
        if self._only is None:
            for name in self._found.strays:
                file = self._found.sealed[name].name
                self._findings.add(file, None, "unlisted", "no manifest lists it")
        for statement in self._checkpoints.others(known):
            if self._only is not None and not statement.outside:
                continue  # of another writer
            manifest = self._manifests.get(statement.writer)
            of = f"{statement.source} speaks of the trail {statement.checkpoint.origin}"
            if manifest is not None and manifest.id is not None:
                words = f"{of}, and this is another one ({manifest.id})"
                self._findings.add(manifest.name, None, "altered", words)
            else:
                words = f"{of}, of which there is nothing here"
                self._findings.add(f"{statement.writer}{MANIFEST}", None, "removed", words)

    def _judge_refused(self, reports: list[WriterReport]) -> None:
        """Report the files that the application left alone, if signatures were asked for."""
        if not self._keys:
            return
        told = {}
        for report in reports:
            for refusal in report.refusals:  # by each start
                told[refusal.writer, refusal.why] = f"event {refusal.told_by} of {report.writer!r}"
        for (writer, why), by in told.items():
            words = f"the application signs none of it: {why} ({by})"
            self._findings.add(f"{writer}{MANIFEST}", None, "adopted", words)


def _any_proves(statements: Iterable[Statement]) -> bool:
    """Return True if one of them proves at least one event."""
    return any(s.proves and s.checkpoint.events for s in statements)


def unproved(
    reports: Iterable[WriterReport], keys: list[str], require_checkpoint: bool, quorum: str | None
) -> list[str]:
    """What was asked for of trails, and could not be proved, in words.

    Args:
        reports: Of the trails.
        keys: Names of the keys, one of which must have signed a checkpoint of each trail.
        require_checkpoint: Each must be covered by a checkpoint from elsewhere.
        quorum: How many of which witnesses must have cosigned a checkpoint of each.
    """
    trails = [report for report in reports if not report.is_empty]
    words = []
    if keys:
        missing = f"no checkpoint that {' or '.join(keys)} signed covers"
        words += [f"{missing} {of.writer}" for of in trails if of.proved_until is None]
        words += [] if trails else [f"{missing} anything here"]
    if require_checkpoint:
        missing = "no checkpoint from elsewhere (--checkpoint) covers"
        words += [f"{missing} {of.writer}" for of in trails if of.outside_until is None]
        words += [] if trails else [f"{missing} anything here"]
    if quorum is not None:
        unseen = [of.writer for of in trails if of.cosigned_until is None]
        unseen += [] if trails else ["anything here"]
        words += [f"no checkpoint of {of} is cosigned by {quorum}" for of in unseen]
    return words
