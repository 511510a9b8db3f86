"""How far an archive is verified, in a few words."""

from __future__ import annotations

from ..archive.format import JOURNAL
from ..archive.manifest import MANIFEST
from ..verification.report import VerifyReport, WriterReport
from .background import Verification

__all__ = ["SYMBOLS", "coverage", "state_of"]

#: Of the kinds of `macros.html`.
SYMBOLS = {"ok": "✓", "warning": "!", "bad": "✕", "unknown": "?", "info": "i"}


def state_of(verification: Verification) -> tuple[str, str]:
    """The state of the verification: a kind of `macros.html`, and words."""
    if verification.trouble:
        return "bad", f"It cannot be verified: {verification.trouble}"
    report = verification.report
    if report is None:
        return "info", f"Verifying: {verification.progress} %"
    if report.verdict == "damage":
        number = len(report.findings) + report.left_out
        return "bad", f"Damage was found: {number:,} {'finding' if number == 1 else 'findings'}"
    if report.verdict == "not proved":
        return "warning", "No damage was found, but it is not proved as asked"
    return _undamaged(report)


def _undamaged(report: VerifyReport) -> tuple[str, str]:
    trails = [writer for writer in report.writers if not writer.is_empty]
    if not report.keys:
        return "ok", f"Verified up to {_ends(trails, 'last_sequence')}; no signature was checked"
    return "ok", f"Verified and proved up to {_ends(trails, 'proved_until')}"


def _ends(trails: list[WriterReport], name: str) -> str:
    ends = [(writer.writer, getattr(writer, name) or 0) for writer in trails]
    if len(ends) == 1:
        return f"event {ends[0][1]:,}"
    if len(ends) > 3:
        return f"the newest events of {len(ends):,} writers"
    return ", ".join(f"event {number:,} of {writer}" for writer, number in ends) or "its end"


def coverage(
    report: VerifyReport | None, writer: str, file: str | None, number: int
) -> tuple[str, str]:
    """Whether what was verified covers event *number* of *writer*: a kind, and words."""
    if report is None:
        return "info", "It is being verified"
    found = next((of for of in report.writers if of.writer == writer), None)
    if found is None or not number:
        return "unknown", "It is in no chain of this archive: nothing is known of it"
    names = {file, f"{writer}{JOURNAL}", f"{writer}{MANIFEST}"}
    damaged = [one for one in report.findings if one.sequence == number and one.file in names]
    if damaged:
        return "bad", damaged[0].explanation
    if any(one.first <= number <= one.last for one in found.adopted):
        return "bad", "The application adopted it and did not record it: nothing attests it"
    if (found.last_sequence or 0) < number:
        return "info", "It is newer than what was verified last"
    if found.proved_until is not None and number <= found.proved_until:
        return "ok", f"A signed checkpoint covers it: proved up to event {found.proved_until:,}"
    if not report.keys:
        return (
            "unknown",
            "Its chain is intact; no signature was checked: no --key was given",
        )
    return "warning", "Its chain is intact; no signed checkpoint covers it yet"
