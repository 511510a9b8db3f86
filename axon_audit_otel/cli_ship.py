"""The part of the command line that is about shipping: what arrived, and sending again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import msgspec
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from .render import plain
from .verdict import numbers

__all__ = ["verify_files"]

_SHOWN = 5  # duplicates and gaps of many


def verify_files(paths: Sequence[Path], partial: bool, as_json: bool) -> int:
    """Verify and print what arrived (``verify --otlp-json``); returns the exit code."""
    from .arrival import verify_arrival

    console = Console(stderr=True)
    size = sum(path.stat().st_size for path in paths if path.is_file())
    columns = TextColumn("verifying"), BarColumn(), DownloadColumn(), TimeRemainingColumn()
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("", total=size)
        report = verify_arrival(paths, partial, lambda read: bar.advance(task, read))
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(report.to_dict()), indent=2))
    else:
        _print_arrival(report, Console(highlight=False))
    return 0 if report.ok else 1


def _print_arrival(report: Any, console: Console) -> None:
    def say(text: str, style: str = "") -> None:
        console.print(Text(plain(text), style=style), soft_wrap=True)

    for stream in report.streams:
        which = f" ({stream.stream})" if stream.stream else ""
        head = f"{stream.trail or 'unnamed trail'}{which}: {_count(stream.events, 'event')}"
        if stream.last_sequence is not None:
            head += f", {stream.first_sequence:,} to {stream.last_sequence:,}"
        say(head, "bold")
        if stream.duplicates:
            say(f"  {_count(stream.duplicates, 'duplicate')}, to be dropped by log.record.uid")
        if stream.out_of_order:
            say(f"  {_count(stream.out_of_order, 'event')} came out of order, which is no damage")
        for gap in stream.gaps[:_SHOWN]:
            why = f" ({gap.reason})" if gap.reason else ""
            said = f"lost before it was sent{why}, says event {gap.told_by}"
            say(f"  gap: {numbers(gap.first, gap.last)} {said}")
        if len(stream.gaps) > _SHOWN:
            say(f"  and {len(stream.gaps) - _SHOWN:,} more gaps")
    if report.duplicates:
        more = ", ..." if len(report.duplicates) > _SHOWN else ""
        say("duplicates: " + ", ".join(report.duplicates[:_SHOWN]) + more + " (--json: all)")
    if report.other_records:
        say(f"{_count(report.other_records, 'other log record')} passed over")
    if report.torn_lines:
        say(f"{_count(report.torn_lines, 'line')} not finished: a collector was killed, probably")
    if not report.streams:
        say("There is no audit record in it.", "yellow")
    if report.ok:
        say("Nothing is missing up to the newest event, and nothing was altered.", "green")
        return
    say(f"{_count(len(report.findings) + report.left_out, 'finding')}:", "bold red")
    for finding in report.findings:
        where = "" if finding.sequence is None else f", event {finding.sequence}"
        say(f"  {finding.kind}: {finding.file}{where}", "red")
        say(f"    {finding.explanation}")
    if report.left_out:
        say(f"  and {report.left_out:,} more")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
