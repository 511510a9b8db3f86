"""Which sealed files are a writer's, in their order, and under which names they are now."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from ..archive.format import JOURNAL, ZST, sealed_in
from .file_scan import Closing, closing_of
from .manifest_check import Ledger, Seal
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


class Listing:
    """The sealed files of a directory.

    Attributes:
        paths: By their name in a manifest.
        unlisted: Those that are in no manifest, and what their last line says.
        remains: The Merkle root of those that a manifest says are deleted.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.paths = dict(sorted(sealed_in(directory).items()))
        self.unlisted: dict[str, Closing | None] = {}
        self.remains: dict[str, str] = {}
        self._roots: dict[str, str] | None = None

    def path(self, name: str) -> Path | None:
        """Where a file is; also one that was sealed since the listing was made."""
        if name not in self.paths:
            for path in (self._directory / name, self._directory / f"{name}{ZST}"):
                if path.exists():
                    self.paths[name] = path
        return self.paths.get(name)

    def with_root(self, root: str) -> str | None:
        """The name of a file that says it has this Merkle root."""
        if self._roots is None:
            closings = {name: closing_of(path) for name, path in self.paths.items()}
            self._roots = {c.root: name for name, c in closings.items() if c is not None}
        return self._roots.get(root)


def segments_of(
    writer: str, ledger: Ledger, listing: Listing, findings: Findings, asked: str | None
) -> tuple[list[Segment], str | None]:
    """The files of *writer*, oldest first; they are no longer unlisted after this.

    Also the name of a file that its writer sealed and was killed before it could list it.

    Args:
        writer: Its name.
        ledger: Its manifest.
        listing: The files that there are.
        findings: Takes the damage.
        asked: Name of the one file to be verified.
    """
    segments = [_listed_segment(seal, ledger, listing, findings) for seal in ledger.seals]
    unfinished: list[str] = []
    extra = _unlisted_segments(writer, ledger, listing, findings, asked, segments, unfinished)
    if len(extra) > len(unfinished) and not ledger.path.is_file() and asked is None:
        words = f"it is missing: {len(extra)} sealed files are of this writer"
        findings.add(ledger.name, None, "removed", words)
    segments += extra
    if extra or ledger.damaged:
        segments.sort(key=lambda segment: segment.first)
    return segments, unfinished[0] if unfinished else None


def _listed_segment(seal: Seal, ledger: Ledger, listing: Listing, findings: Findings) -> Segment:
    name, root = seal.record.file, seal.record.root
    path = listing.path(name)
    if seal.deletion is not None:
        return Segment(name, path if listing.remains.get(name) == root else None, seal)
    # Compressed, it would have to be read to the end for that.
    closing = closing_of(path) if path is not None and path.suffix != ZST else None
    if path is None or (closing is not None and closing.root != root):
        other = listing.with_root(root)
        if other is not None:
            path = listing.paths[other]
            closing = closing_of(path)
            _tell_renamed(name, other, listing, findings)
        elif closing is not None and closing.root in ledger.file_roots:
            words = "a copy of another file stands in its place: its events are missing"
            findings.add(name, seal.record.first_sequence, "removed", words)
            return Segment(name, None, seal)
    return Segment(name, path, seal, closing)


def _tell_renamed(name: str, other: str, listing: Listing, findings: Findings) -> None:
    now = listing.paths[other].name
    if other in listing.unlisted:
        del listing.unlisted[other]
        findings.add(now, None, "unlisted", f"it is {name} of the manifest, under another name")
    else:
        words = f"another file has this name now; what was sealed under it is {now}"
        findings.add(name, None, "reordered", words)


def _unlisted_segments(
    writer: str,
    ledger: Ledger,
    listing: Listing,
    findings: Findings,
    asked: str | None,
    listed: list[Segment],
    unfinished: list[str],
) -> list[Segment]:
    """Files that say they are of this writer, and that its manifest does not know."""
    covered = [(s.first, s.seal.record.last_sequence) for s in listed if s.seal is not None]
    result = []
    for name, closing in list(listing.unlisted.items()):
        of_writer = closing is not None and closing.trail == writer
        if not of_writer and name != asked:
            continue
        del listing.unlisted[name]
        overlaps = closing is not None and any(
            first <= closing.last_sequence and closing.first_sequence <= last
            for first, last in covered
        )
        if name == asked or not overlaps:
            result.append(Segment(name, listing.paths[name], closing=closing))
        words = "no manifest lists it"
        if closing is not None and closing.root in ledger.file_roots:
            words += ": it is a copy of another file"
        elif closing is not None and not overlaps and _is_next(closing, ledger):
            if not unfinished and not _went_on(ledger, listing.paths[name]):
                unfinished.append(listing.paths[name].name)
                continue
            if ledger.seals_now(name):
                continue  # it was listed before its writer went on
            words += f": {ledger.name} was cut off before it"
        if ledger.exists:
            findings.add(listing.paths[name].name, None, "unlisted", words)
    return result


def _is_next(closing: Closing, ledger: Ledger) -> bool:
    """Whether a seal continues the manifest where that ends."""
    lines = ledger.lines
    # The first seal is prepared before the manifest has its first line.
    return closing.previous_seal == (lines[-1].hash if len(lines) > 1 else None)


def _went_on(ledger: Ledger, sealed: Path) -> bool:
    """Whether the writer ended well, or did more, after it sealed that file."""
    writer = ledger.path.stem
    try:
        if ledger.path.with_name(f".{writer}.lock").stat().st_size == 0:
            return True
    except OSError:
        return True
    try:  # while a file gets its name, it has two
        return not ledger.path.with_name(f"{writer}{JOURNAL}").samefile(sealed)
    except FileNotFoundError:
        return False
