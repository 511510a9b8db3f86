"""The sealed files of a writer, in order, also those that were renamed or are not listed."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..archive.directory import Directory
from ..archive.format import JOURNAL, ZST, Closing
from ..archive.manifest import SealRecord
from ..archive.missing import Missing
from ..archive.reader import closing_of, first_number_at
from .findings import Findings
from .manifest_check import CheckedManifest, Seal

__all__ = ["CheckedDirectory", "Segment", "segments_of"]


class Segment(NamedTuple):
    """A sealed file, also a missing one.

    Attributes:
        name: Its name in the manifest.
        path: Its path; None if it is missing.
        seal: Its seal in the manifest; None if it is not listed.
        closing: The file's own last line, if that was read.
    """

    name: str
    path: Path | None
    seal: Seal | None = None
    closing: Closing | None = None

    @property
    def trusted(self) -> bool:
        """True if it has a seal in the manifest that is not altered."""
        return self.seal is not None and self.seal.line.state != "altered"

    @property
    def first(self) -> int:
        """The number of its first event; 0 if not known."""
        if self.seal is not None and (self.trusted or self.closing is None):
            return self.seal.record.first_sequence
        return 0 if self.closing is None else self.closing.first_sequence


class CheckedDirectory(Directory):
    """A directory, and its files that no manifest lists.

    Attributes:
        strays: The last lines of sealed files that are in no manifest, by name.
        remains: The Merkle roots of files that a manifest lists as deleted, by name.
    """

    def __init__(self, path: Path, missing: Missing) -> None:
        super().__init__(path, missing)
        self.strays: dict[str, Closing | None] = {}
        self.remains: dict[str, str] = {}

    def where(self, name: str) -> Path | None:
        """The path of a file, also of one sealed after the directory was read; None without one."""
        if name not in self.sealed:
            for path in (self.path / name, self.path / f"{name}{ZST}"):
                if path.exists():
                    self.sealed[name] = path
        return self.sealed.get(name)

    @cached_property
    def by_root(self) -> dict[str, str]:
        """The names of the files, by the Merkle root in their last line."""
        closings = ((name, closing_of(path)) for name, path in self.sealed.items())
        return {closing.root: name for name, closing in closings if closing is not None}


def segments_of(
    writer: str,
    manifest: CheckedManifest,
    directory: CheckedDirectory,
    findings: Findings,
    only: str | None,
) -> tuple[list[Segment], str | None]:
    """The files of *writer*, oldest first, which are removed from the strays of *directory*.

    Also the name of a sealed file that is not in the manifest since its writer was killed.

    Args:
        writer: Its name.
        manifest: Its manifest.
        directory: The files.
        findings: Takes the damage.
        only: Name of the one file to verify; None: all.
    """
    segments = [_listed_segment(seal, manifest, directory, findings) for seal in manifest.seals]
    unfinished: list[str] = []
    extra = _unlisted_segments(writer, manifest, directory, findings, only, segments, unfinished)
    if len(extra) > len(unfinished) and not manifest.path.is_file() and only is None:
        words = f"it is missing: {len(extra)} sealed files are of this writer"
        findings.add(manifest.name, None, "removed", words)
    segments += extra
    if extra or manifest.damaged:
        segments.sort(key=lambda segment: segment.first)
    return segments, unfinished[0] if unfinished else None


def _listed_segment(
    seal: Seal, manifest: CheckedManifest, directory: CheckedDirectory, findings: Findings
) -> Segment:
    name, root = seal.record.file, seal.record.root
    path = directory.where(name)
    if seal.deletion is not None:
        return Segment(name, path if directory.remains.get(name) == root else None, seal)
    closing = None if path is None else _closing_to_compare(path, seal.record)
    if path is None or (closing is not None and closing.root != root):
        other = directory.by_root.get(root)
        if other is not None:
            path = directory.sealed[other]
            closing = closing_of(path)
            _report_renamed(name, other, directory, findings)
        elif closing is not None and closing.root in manifest.file_roots:
            words = "a copy of another file stands in its place: its events are missing"
            findings.add(name, seal.record.first_sequence, "removed", words)
            return Segment(name, None, seal)
    return Segment(name, path, seal, closing)


def _closing_to_compare(path: Path, record: SealRecord) -> Closing | None:
    """The last line of a file. None for a compressed file with the right first event: it would
    have to be read to its end."""
    if path.suffix == ZST and first_number_at(path) in (None, 0, record.first_sequence):
        return None
    return closing_of(path)


def _report_renamed(name: str, other: str, directory: CheckedDirectory, findings: Findings) -> None:
    now = directory.sealed[other].name
    if other in directory.strays:
        del directory.strays[other]
        findings.add(now, None, "unlisted", f"it is {name} of the manifest, under another name")
    else:
        words = f"another file has this name now; what was sealed under it is {now}"
        findings.add(name, None, "reordered", words)


def _unlisted_segments(
    writer: str,
    manifest: CheckedManifest,
    directory: CheckedDirectory,
    findings: Findings,
    only: str | None,
    listed: list[Segment],
    unfinished: list[str],
) -> list[Segment]:
    """The files that name this writer, and are not in its manifest."""
    covered = [(s.first, s.seal.record.last_sequence) for s in listed if s.seal is not None]
    result = []
    for name, closing in list(directory.strays.items()):
        of_writer = closing is not None and closing.trail == writer
        if not of_writer and name != only:
            continue
        del directory.strays[name]
        overlaps = closing is not None and any(
            first <= closing.last_sequence and closing.first_sequence <= last
            for first, last in covered
        )
        if name == only or not overlaps:
            result.append(Segment(name, directory.sealed[name], closing=closing))
        words = "no manifest lists it"
        if closing is not None and closing.root in manifest.file_roots:
            words += ": it is a copy of another file"
        elif closing is not None and not overlaps and _is_next(closing, manifest):
            if not unfinished and not _went_on(manifest, directory.sealed[name]):
                unfinished.append(directory.sealed[name].name)
                continue
            if manifest.seals_now(name):
                continue  # it was listed before its writer went on
            words += f": {manifest.name} was cut off before it"
        if manifest.exists:
            findings.add(directory.sealed[name].name, None, "unlisted", words)
    return result


def _is_next(closing: Closing, manifest: CheckedManifest) -> bool:
    """Return True if a seal continues the manifest at its end."""
    lines = manifest.lines
    if len(lines) <= 1 and closing.previous_seal is None:
        return True  # the first seal may be prepared before the manifest has its first line
    return bool(lines) and closing.previous_seal == lines[-1].hash


def _went_on(manifest: CheckedManifest, sealed: Path) -> bool:
    """Return True if the writer ended well, or continued, after it sealed that file."""
    writer = manifest.path.stem
    try:
        if manifest.path.with_name(f".{writer}.lock").stat().st_size == 0:
            return True
    except OSError:
        return True
    try:  # while a file gets its name, it has two
        return not manifest.path.with_name(f"{writer}{JOURNAL}").samefile(sealed)
    except FileNotFoundError:
        return False
