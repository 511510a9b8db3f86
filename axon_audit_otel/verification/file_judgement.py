"""Judges a file after it was read: whether it is as it was written, and as it was sealed."""

from __future__ import annotations

from ..archive.format import Closing, parse_closing
from ..archive.manifest import SealRecord
from .file_reading import FIELDS, describes
from .file_scan import Content
from .findings import Findings, Kind
from .hash_chain import ANY, Chain
from .manifest_check import CheckedManifest
from .segments import Segment

__all__ = ["FileJudgement"]


class FileJudgement:
    """Judges the files of one writer.

    Args:
        manifest: Its manifest.
        chain: Its events.
        findings: Takes the damage.

    Attributes:
        doubts: Reported only if a file has no other findings: that file, and the finding.
        unclaimed: Of the file that is read: events that no other event continues.
    """

    def __init__(self, manifest: CheckedManifest, chain: Chain, findings: Findings) -> None:
        self._manifest = manifest
        self._chain = chain
        self._findings = findings
        self._writer = manifest.path.stem
        self.doubts: list[tuple[str, str, int | None, str]] = []
        self.unclaimed: list[int] = []

    def sealed(self, segment: Segment, name: str, content: Content) -> None:
        """Judge a sealed file, and end it in the chain."""
        seal, chain = segment.seal, self._chain
        trusted = seal.record if seal is not None and segment.trusted else None
        closing = None if content.closing is None else parse_closing(content.closing)
        whole = closing is not None and describes(closing, content)
        cut = content.closing is None and (trusted is None or content.bytes < trusted.bytes)
        self._frame(name, content, cut)
        if cut:
            of = f" of {trusted.bytes:,}" if trusted is not None else ""
            self._add_finding(name, "truncated", f"it ends after {content.bytes:,}{of} bytes")
        elif content.closing is None:
            self._add_finding(name, "altered", "its last line can no longer be read")
            self._set_closing_aside(trusted)
        elif closing is None:
            self._add_finding(name, "altered", "its last line is not as it was written")
        if whole:
            chain.leave(content.last_sequence, content.head)
        elif trusted is not None:
            chain.leave(trusted.last_sequence, trusted.head, cut)
        elif closing is not None:
            chain.leave(closing.last_sequence, ANY, cut)
        else:
            chain.leave()
        self._compare(segment, name, content, closing, whole)
        sure = seal is not None and seal.line.state == "sound"
        if trusted is not None and (sure or not whole):
            chain.jump(trusted.last_sequence, trusted.head, name)

    def _frame(self, name: str, content: Content, cut: bool) -> None:
        if not content.framed and not (cut and content.lines <= 1):
            self._add_finding(name, "altered", "its first line is not as it was written")
        if content.after:
            self._add_finding(name, "inserted", f"{content.after:,} bytes follow its last line")
        if content.misframed is not None:
            words = f"the character before event {content.misframed} was changed"
            self.doubts.append((name, name, content.misframed, words))

    def _set_closing_aside(self, trusted: SealRecord | None) -> None:
        """Take an unreadable end as the closing line, unless events are missing."""
        waiting = self._chain.waiting
        if waiting and waiting[-1].sequence is None:
            reached = self._chain.sequence + len(waiting) - 1
            if trusted is None or reached >= trusted.last_sequence:
                waiting.pop()

    def _compare(
        self, segment: Segment, name: str, content: Content, closing: Closing | None, whole: bool
    ) -> None:
        """Compare the file with its closing line and its seal."""
        if closing is not None and not whole:
            inside = [n for n in self.unclaimed if n >= content.first_sequence]
            words = "its events are not those that its last line sums up"
            if len(inside) == 1:
                words = f"event {inside[0]} is not the one that was sealed"
            self.doubts.append((name, name, inside[0] if len(inside) == 1 else None, words))
        elif closing is not None and closing.trail != self._writer:
            words = f"its last line says that it is of {closing.trail!r}"
            self.doubts.append((name, name, None, words))
        if segment.seal is None or not segment.trusted:
            return
        record, line = segment.seal.record, segment.seal.line
        wrong = [
            words
            for field, words in FIELDS.items()
            if getattr(record, field) != getattr(content, field)
        ]
        if closing is not None and not wrong:
            self._compare_links(name, record, closing)
            return
        seal = f"{line.about()}," if line.state == "unknown" else ""
        if wrong and set(wrong) <= {"digest", "size"}:
            words = "its events are those that were sealed, but its last line is not"
            words += (
                f" (or {self._manifest.name} was altered: {seal} is its newest)" if seal else ""
            )
            self.doubts.append((name, name, None, words))
        elif wrong and whole and seal:
            words = f"{seal} does not fit the file: another {', '.join(wrong)}"
            self.doubts.append((name, self._manifest.name, None, words))
        elif wrong:
            words = f"it is not the file that was sealed: another {', '.join(wrong)}"
            self.doubts.append((name, name, None, words))

    def _compare_links(self, name: str, record: SealRecord, closing: Closing) -> None:
        # The first seal is prepared before the manifest has its first line.
        is_first = self._manifest.seals[0].record is record
        may_lack = is_first and closing.previous_seal is None
        if closing.previous_seal != record.previous and not may_lack:
            words = "its last line does not continue the seal before it"
            self.doubts.append((name, name, None, words))

    def journal(self, name: str, content: Content) -> None:
        """Judge a journal, and end it in the chain."""
        closing = None if content.closing is None else parse_closing(content.closing)
        if content.closing is not None and closing is None:
            self._add_finding(name, "altered", "its last line is not as it was written")
        elif closing is not None and not describes(closing, content):
            words = "its events are not those that its last line sums up"
            self.doubts.append((name, name, None, words))
        self._frame(name, content, cut=True)
        self._chain.leave()

    def _add_finding(self, name: str, kind: Kind, words: str) -> None:
        self._findings.add(name, None, kind, words)
