"""Prints what a verification found."""

from __future__ import annotations

import textwrap
from datetime import timedelta

from rich.console import Console
from rich.text import Text

from ..events.localtime import local
from ..verification.findings import Finding
from ..verification.report import VerifyReport, WriterReport, numbers
from .render import amount, plain

__all__ = ["print_report"]

_SHOWN = 5  # gaps and unclean ends of many


class _Lines:
    """Prints paragraphs in the width of the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(max(console.width, 40), 100)

    def print(self, text: str, indent: int = 0, style: str = "") -> None:
        """One paragraph, its further lines indented more."""
        wrapped = textwrap.wrap(
            plain(text),
            self._width,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in wrapped or [""]:
            self._console.print(Text(line, style=style), soft_wrap=True)


def print_report(report: VerifyReport, to: Console, outside: bool) -> None:
    """Print *report*; *outside*: checkpoints from elsewhere were given."""
    lines = _Lines(to)
    for writer in report.writers:
        _print_writer(writer, lines)
        if writer.cosigned_until is not None:
            _print_cosigned(writer, writer.cosigned_until, lines)
    if not report.keys:
        what = "no signature" if report.quorum is None else "no signature but those of witnesses"
        said = f"No key was given, so {what} was checked"
        said += ": the checkpoints given are taken as they are. " if outside else ". "
        lines.print(f"{said}To check them, give the public key of the application: --key FILE.")
    if report.lost_keys is not None:
        lines.print(report.lost_keys.words, style="yellow")
    for index in report.wrong_indexes:
        words = f"{plain(index.file)}: {plain(index.explanation)}; queries do not use it"
        lines.print(f"{words} (axon-audit index)", style="yellow")
    if report.unknown is not None:
        lines.print(f"{report.unknown[:1].upper()}{report.unknown[1:]}.", style="yellow")
    lines.print("")
    for words in report.unproved:
        lines.print(f"Not proved: {words}.", style="bold red")
    if report.verdict == "ok":
        lines.print("No damage was found.", style="green")
    if report.ok:
        return
    count = len(report.findings) + report.left_out
    lines.print(f"{amount(count, 'finding')}:", style="bold red")
    for finding in report.findings:
        _print_finding(finding, lines)
    if report.left_out:
        lines.print(f"and {report.left_out:,} more", 2)


def _print_writer(writer: WriterReport, lines: _Lines) -> None:
    head = f"{writer.writer}: {amount(writer.events, 'event')}"
    if writer.first_sequence is not None and writer.last_sequence is not None:
        head += f", {writer.first_sequence:,} to {writer.last_sequence:,}"
    lines.print(f"{head}, in {amount(writer.files, 'sealed file')}", style="bold")
    if writer.origin is not None:
        lines.print(f"origin: {writer.origin}", 2)
    if writer.first_time is not None:
        lines.print(f"from {local(writer.first_time)} to {local(writer.last_time)}", 2)
    if writer.by_digest:
        lines_too = writer.files - writer.by_digest
        said = f"{amount(writer.by_digest, 'file')} checked by the digest that is signed"
        lines.print(f"{said}, {lines_too:,} line by line", 2)
    if writer.unsealed_events:
        lines.print(f"{amount(writer.unsealed_events, 'event')} in the journal, not sealed yet", 2)
    if writer.torn_bytes:
        lines.print(f"{writer.torn_bytes:,} bytes of a line that was never finished", 2)
    if writer.unfinished_seal is not None:
        lines.print(
            f"{writer.unfinished_seal} is not in the manifest yet: its writer was killed", 2
        )
    for deletion in writer.deletions[:_SHOWN]:
        which = numbers(deletion.first, deletion.last)
        said = f"deleted: {which}, {amount(deletion.files, 'file')} ({deletion.rule})"
        said += "" if deletion.proved else ", as the manifest says; no signed checkpoint covers it"
        lines.print(said, 2)
    for gap in writer.gaps[:_SHOWN]:
        why = f" ({gap.reason})" if gap.reason else ""
        lines.print(f"gap: {numbers(gap.first, gap.last)} lost{why}, says event {gap.told_by}", 2)
    for end in writer.unclean_ends[:_SHOWN]:
        said = f"unclean end of {end.writer}: {amount(end.events, 'event')} recovered"
        lines.print(f"{said}, says event {end.told_by}", 2)
    for adopted in writer.adopted[:_SHOWN]:
        which = numbers(adopted.first, adopted.last)
        lines.print(f"adopted: {which}, in {adopted.file}: nothing attests them", 2)
    for refusal in writer.refusals[:_SHOWN]:
        said = f"left alone: the files of {refusal.writer}, says event {refusal.told_by}"
        lines.print(f"{said}: {refusal.why}", 2)
    told = (
        *(writer.deletions, writer.gaps, writer.unclean_ends),
        *(writer.adopted, writer.refusals),
    )
    more = sum(max(0, len(found) - _SHOWN) for found in told)
    if more:
        lines.print(f"and {more:,} more of these", 2)
    _print_steps_back(writer, lines)
    if writer.proved_until is not None:
        said = f"proved up to event {writer.proved_until:,}"
        lines.print(f"{said}, by the checkpoint of {local(writer.proved_at)}", 2, "green")
    if writer.outside_until is not None:
        lines.print(
            f"covered up to event {writer.outside_until:,} by a checkpoint given", 2, "green"
        )
    lines.print(writer.uncovered_by(local), 2, "yellow")


def _print_cosigned(writer: WriterReport, until: int, lines: _Lines) -> None:
    said = f"cosigned up to event {until:,}, by {', '.join(writer.cosigned_by)}"
    lines.print(f"{said}, at {local(writer.cosigned_at)}", 2, "green")
    if writer.last_sequence is not None and writer.last_sequence > until:
        which = numbers(until + 1, writer.last_sequence)
        lines.print(f"{which}: not cosigned", 2, "yellow")


def _print_steps_back(writer: WriterReport, lines: _Lines) -> None:
    for step in writer.steps_back[:_SHOWN]:
        by = timedelta(milliseconds=round(step.seconds * 1000))
        said = f"time runs backwards: event {step.sequence} is dated {by} before the one before it"
        lines.print(f"{said} ({step.file})", 2, "yellow")
    more = len(writer.steps_back[_SHOWN:]) + writer.more_steps_back
    if more:
        lines.print(f"time runs backwards {more:,} more times", 2, "yellow")


def _print_finding(finding: Finding, lines: _Lines) -> None:
    where = "" if finding.sequence is None else f", event {finding.sequence}"
    lines.print(f"{finding.kind.replace('_', ' ')}: {finding.file}{where}", 2, "red")
    lines.print(finding.explanation, 4)
