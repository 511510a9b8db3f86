"""Verification of an archive: what of it was altered, removed, inserted or moved, and how far
it is proved.

Everything is read once, line by line; of the events nothing is remembered but what damage and
checkpoints speak of.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

from ..archive.checkpoints import VerifyingKey
from ..archive.format import HEAD, JOURNAL, open_events_file, sealed_name
from ..archive.manifest import MANIFEST
from ..core.errors import ArchiveError, archive_errors
from ..core.files import open_regular
from .checkpoint_files import SUFFIXES, Statement, Witnesses
from .file_scan import closing_of
from .manifest_check import Ledger
from .report import Findings, VerifyReport, WriterReport
from .segments import Listing, segments_of
from .writer_check import WriterCheck

__all__ = ["verify"]


def verify(
    path: Path | str,
    keys: Iterable[VerifyingKey | str] = (),
    checkpoints: Iterable[str] = (),
    progress: Callable[[int], None] | None = None,
) -> VerifyReport:
    """Verify an archive, or one file of it.

    Args:
        path: The archive's directory (all its writers), or a sealed file or journal.
        keys: Public keys (or their lines, as ``axon-audit keygen`` prints them). If any are
            given, every checkpoint must be signed by one of them.
        checkpoints: Notes that were kept elsewhere. Only these show that the archive's end
            was cut off together with the checkpoints beside it.
        progress: Called with the number of bytes read since the last call.

    Returns:
        What was found, and up to which event the archive is proved.

    Raises:
        ArchiveError: If there is no archive at *path*.
        AuditConfigError: If a key is none.
        InvalidEventError: If one of *checkpoints* is none.
    """
    parsed = [VerifyingKey.parse(key) if isinstance(key, str) else key for key in keys]
    notes = list(checkpoints)
    with archive_errors(Path(path)):
        return _Verification(Path(path), parsed, notes, progress or (lambda size: None)).run()


class _Verification:
    """One call of `verify`."""

    def __init__(
        self,
        path: Path,
        keys: list[VerifyingKey],
        notes: list[str],
        progress: Callable[[int], None],
    ) -> None:
        if not path.exists():
            msg = f"no such file or directory: {str(path)!r}"
            raise ArchiveError(msg)
        self._path = path
        self._directory = path if path.is_dir() else path.parent
        self._only = None if path.is_dir() else path
        self._keys = keys
        self._progress = progress
        self._findings = Findings()
        self._witnesses = Witnesses(keys, self._findings)
        self._witnesses.given(notes)
        self._ledgers: dict[str, Ledger] = {}

    def run(self) -> VerifyReport:
        """Everything there is at the path."""
        with ExitStack() as stack:
            # A writer may be at work. What only grows is read last: checkpoints, journals,
            # names of sealed files, manifests.
            writers = self._writers()
            for writer in writers:
                self._add_checkpoints(writer)
            self._journals = {writer: self._journal(writer, stack) for writer in writers}
            self._listing = Listing(self._directory)
            for writer in writers:
                self._add_ledger(writer)
            self._find_unlisted(stack)
            chosen = [self._chosen()] if self._only is not None else sorted(self._ledgers)
            if not (chosen or self._listing.paths or self._witnesses.sizes()):
                msg = f"no audit files (audit_*.json) in {str(self._directory)!r}"
                raise ArchiveError(msg)
            known: list[Statement] = []
            reports = [self._check(writer, known) for writer in chosen]
        self._judge_strangers(known)
        return VerifyReport(
            path=str(self._path),
            writers=reports,
            findings=list(self._findings.kept.values()),
            left_out=self._findings.left_out,
            keys=[key.name for key in self._keys],
        )

    # --- what there is ---------------------------------------------------------------------

    def _writers(self) -> list[str]:
        suffixes = (MANIFEST, JOURNAL, *SUFFIXES)
        found = [path for suffix in suffixes for path in self._directory.glob(f"*{suffix}")]
        return sorted({path.stem for path in found})

    def _add_checkpoints(self, writer: str) -> None:
        for suffix in SUFFIXES:
            self._witnesses.found(self._directory / f"{writer}{suffix}")

    def _journal(self, writer: str, stack: ExitStack) -> BinaryIO | None:
        """A writer's journal, opened: it may become a sealed file any moment."""
        try:
            return stack.enter_context(open_regular(self._directory / f"{writer}{JOURNAL}"))
        except FileNotFoundError:
            return None
        except OSError as exc:
            words = f"cannot be read: {exc.strerror or exc}"
            self._findings.add(f"{writer}{JOURNAL}", None, "unreadable", words)
            return None

    def _add_ledger(self, writer: str) -> None:
        path = self._directory / f"{writer}{MANIFEST}"
        self._ledgers[writer] = Ledger(path, self._findings, self._witnesses.sizes())

    def _add_writer(self, writer: str, stack: ExitStack) -> None:
        """One of whom there was only a sealed file: it may have been its first this moment."""
        self._add_checkpoints(writer)
        self._journals[writer] = self._journal(writer, stack)
        self._add_ledger(writer)

    def _find_unlisted(self, stack: ExitStack) -> None:
        """Sealed files that are in no manifest, and what they say of themselves."""
        ledgers = list(self._ledgers.values())
        listed = {name for ledger in ledgers for name in ledger.names}
        deleted = {s.record.file: s.record.root for x in ledgers for s in x.seals if s.deletion}
        journals = [file for file in self._journals.values() if file is not None]
        open_now = [os.fstat(file.fileno()) for file in journals]
        for name, path in self._listing.paths.items():
            if name in listed:
                continue
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # deleted, or compressed, this moment
            if any(os.path.samestat(status, journal) for journal in open_now):
                continue  # a journal that is being sealed
            if any(ledger.seals_now(name) for ledger in ledgers if name not in deleted):
                continue  # sealed since the manifest was read
            closing = closing_of(path)
            if closing is not None and deleted.get(name) == closing.root:
                self._listing.remains[name] = closing.root
                continue
            if closing is not None and closing.trail not in self._ledgers:
                if Path(closing.trail).name != closing.trail:
                    closing = None  # no name of a writer
                elif self._only is None:
                    self._add_writer(closing.trail, stack)
                    listed |= self._ledgers[closing.trail].names.keys()
            if name not in listed:
                self._listing.unlisted[name] = closing

    def _chosen(self) -> str:
        """The writer of the one file that is asked for."""
        assert self._only is not None
        if self._only.suffix == JOURNAL:
            return self._only.stem
        name = sealed_name(self._only)
        for writer, ledger in self._ledgers.items():
            if name in ledger.names:
                return writer
        closing = closing_of(self._only)
        if closing is None:
            self._refuse_export()
        writer = "" if closing is None else closing.trail
        self._listing.paths.setdefault(name, self._only)
        if name not in self._listing.remains:
            self._listing.unlisted[name] = closing
        if writer not in self._ledgers:
            self._add_ledger(writer)
        return writer

    def _refuse_export(self) -> None:
        assert self._only is not None
        with open_events_file(self._only) as file:
            first = file.readline()
            last = first
            for line in file:
                last = line
        name = repr(str(self._only))
        if first != HEAD and not last.startswith(b"],"):
            raise ArchiveError(f"{name} is neither a sealed file nor a journal")
        if last.startswith(b'],"total_events"') and b'"root"' not in last:
            msg = f"{name} is an export and carries no proof: verify the archive it was taken from"
            raise ArchiveError(msg)

    # --- its parts -------------------------------------------------------------------------

    def _check(self, writer: str, known: list[Statement]) -> WriterReport:
        ledger = self._ledgers[writer]
        statements = self._witnesses.about(writer, ledger.id)
        known += statements
        asked = None if self._only is None else sealed_name(self._only)
        segments, unfinished = segments_of(writer, ledger, self._listing, self._findings, asked)
        check = WriterCheck(
            ledger, segments, statements, self._keys, self._findings, self._progress, asked
        )
        report = check.run(self._journals.get(writer))
        report.unfinished_seal = unfinished
        if self._keys and ledger.seals and not _any_proves(statements):
            self._add_checkpoints(writer)  # the first is made after the first seal
            late = self._witnesses.about(writer, ledger.id)
            known += late
            if not _any_proves(late):
                names = " or ".join(key.name for key in self._keys)
                words = f"no checkpoint of it is signed by {names}"
                self._findings.add(ledger.name, None, "wrong_key", words)
        return report

    def _judge_strangers(self, known: list[Statement]) -> None:
        """Files and checkpoints that belong to no trail here."""
        if self._only is None:
            for name in self._listing.unlisted:
                file = self._listing.paths[name].name
                self._findings.add(file, None, "unlisted", "no manifest lists it")
        for statement in self._witnesses.others(known):
            if self._only is not None and not statement.outside:
                continue  # of another writer
            ledger = self._ledgers.get(statement.writer)
            of = f"{statement.source} speaks of the trail {statement.checkpoint.origin}"
            if ledger is not None and ledger.id is not None:
                words = f"{of}, and this is another one ({ledger.id})"
                self._findings.add(ledger.name, None, "altered", words)
            else:
                words = f"{of}, of which there is nothing here"
                self._findings.add(f"{statement.writer}{MANIFEST}", None, "removed", words)


def _any_proves(statements: Iterable[Statement]) -> bool:
    """Whether one of them is of a key, and names an event."""
    return any(s.proves and s.checkpoint.events for s in statements)
