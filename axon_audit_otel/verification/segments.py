"""Which sealed files are a writer's, in their order, and under which names they are now."""

from __future__ import annotations

from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from ..archive.directory import Directory
from ..archive.format import JOURNAL, ZST, Closing
from ..archive.manifest import SealRecord
from ..archive.missing import Missing
from ..archive.reader import closing_of, first_number, open_events_file
from .manifest_check import CheckedManifest, Seal
from .report import Findings

__all__ = ["Listing", "Segment", "segments_of"]


class Segment(NamedTuple):
    """A sealed file, or what is known of one that is gone.

    Attributes:
        name: In the manifest.
        path: Where it is; None where it is not.
        seal: What the manifest says of it; None if that does not know it.
        closing: What the file's own last line says, if that was read.
    """

    name: str
    path: Path | None
    seal: Seal | None = None
    closing: Closing | None = None

    @property
    def trusted(self) -> bool:
        """Whether it has a seal in the manifest, with nothing known against it."""
        return self.seal is not None and self.seal.line.state != "altered"

    @property
    def first(self) -> int:
        """The number of its first event; 0 where that is not known."""
        if self.seal is not None and (self.trusted or self.closing is None):
            return self.seal.record.first_sequence
        return 0 if self.closing is None else self.closing.first_sequence


class Listing(Directory):
    """A directory, and what of it no manifest explains.

    Attributes:
        strays: Sealed files that are in no manifest, and what their last line says.
        remains: The Merkle root of those that a manifest says are deleted.
    """

    def __init__(self, path: Path, missing: Missing) -> None:
        super().__init__(path, missing)
        self.strays: dict[str, Closing | None] = {}
        self.remains: dict[str, str] = {}

    def where(self, name: str) -> Path | None:
        """Where a file is; also one that was sealed since the directory was read."""
        if name not in self.sealed:
            for path in (self.path / name, self.path / f"{name}{ZST}"):
                if path.exists():
                    self.sealed[name] = path
        return self.sealed.get(name)

    @cached_property
    def by_root(self) -> dict[str, str]:
        """The names of files by the Merkle root that they say they have."""
        closings = ((name, closing_of(path)) for name, path in self.sealed.items())
        return {closing.root: name for name, closing in closings if closing is not None}


def segments_of(
    writer: str, manifest: CheckedManifest, listing: Listing, findings: Findings, asked: str | None
) -> tuple[list[Segment], str | None]:
    """The files of *writer*, oldest first; they are no longer unlisted after this.

    Also the name of a file that its writer sealed and was killed before it could list it.

    Args:
        writer: Its name.
        manifest: Its manifest.
        listing: The files that there are.
        findings: Takes the damage.
        asked: Name of the one file to be verified.
    """
    segments = [_listed_segment(seal, manifest, listing, findings) for seal in manifest.seals]
    unfinished: list[str] = []
    extra = _unlisted_segments(writer, manifest, listing, findings, asked, segments, unfinished)
    if len(extra) > len(unfinished) and not manifest.path.is_file() and asked is None:
        words = f"it is missing: {len(extra)} sealed files are of this writer"
        findings.add(manifest.name, None, "removed", words)
    segments += extra
    if extra or manifest.damaged:
        segments.sort(key=lambda segment: segment.first)
    return segments, unfinished[0] if unfinished else None


def _listed_segment(
    seal: Seal, manifest: CheckedManifest, listing: Listing, findings: Findings
) -> Segment:
    name, root = seal.record.file, seal.record.root
    path = listing.where(name)
    if seal.deletion is not None:
        return Segment(name, path if listing.remains.get(name) == root else None, seal)
    closing = None if path is None else _said_by(path, seal.record)
    if path is None or (closing is not None and closing.root != root):
        other = listing.by_root.get(root)
        if other is not None:
            path = listing.sealed[other]
            closing = closing_of(path)
            _report_renamed(name, other, listing, findings)
        elif closing is not None and closing.root in manifest.file_roots:
            words = "a copy of another file stands in its place: its events are missing"
            findings.add(name, seal.record.first_sequence, "removed", words)
            return Segment(name, None, seal)
    return Segment(name, path, seal, closing)


def _said_by(path: Path, record: SealRecord) -> Closing | None:
    """What the last line of a file says. A compressed one would have to be read to its end for
    that: only where it begins with another event than it should."""
    if path.suffix == ZST:
        with suppress(OSError), open_events_file(path) as file:
            if first_number(file) in (None, 0, record.first_sequence):
                return None
    return closing_of(path)


def _report_renamed(name: str, other: str, listing: Listing, findings: Findings) -> None:
    now = listing.sealed[other].name
    if other in listing.strays:
        del listing.strays[other]
        findings.add(now, None, "unlisted", f"it is {name} of the manifest, under another name")
    else:
        words = f"another file has this name now; what was sealed under it is {now}"
        findings.add(name, None, "reordered", words)


def _unlisted_segments(
    writer: str,
    manifest: CheckedManifest,
    listing: Listing,
    findings: Findings,
    asked: str | None,
    listed: list[Segment],
    unfinished: list[str],
) -> list[Segment]:
    """Files that say they are of this writer, and that its manifest does not know."""
    covered = [(s.first, s.seal.record.last_sequence) for s in listed if s.seal is not None]
    result = []
    for name, closing in list(listing.strays.items()):
        of_writer = closing is not None and closing.trail == writer
        if not of_writer and name != asked:
            continue
        del listing.strays[name]
        overlaps = closing is not None and any(
            first <= closing.last_sequence and closing.first_sequence <= last
            for first, last in covered
        )
        if name == asked or not overlaps:
            result.append(Segment(name, listing.sealed[name], closing=closing))
        words = "no manifest lists it"
        if closing is not None and closing.root in manifest.file_roots:
            words += ": it is a copy of another file"
        elif closing is not None and not overlaps and _is_next(closing, manifest):
            if not unfinished and not _went_on(manifest, listing.sealed[name]):
                unfinished.append(listing.sealed[name].name)
                continue
            if manifest.seals_now(name):
                continue  # it was listed before its writer went on
            words += f": {manifest.name} was cut off before it"
        if manifest.exists:
            findings.add(listing.sealed[name].name, None, "unlisted", words)
    return result


def _is_next(closing: Closing, manifest: CheckedManifest) -> bool:
    """Whether a seal continues the manifest where that ends."""
    lines = manifest.lines
    # The first seal is prepared before the manifest has its first line.
    return closing.previous_seal == (lines[-1].hash if len(lines) > 1 else None)


def _went_on(manifest: CheckedManifest, sealed: Path) -> bool:
    """Whether the writer ended well, or did more, after it sealed that file."""
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
