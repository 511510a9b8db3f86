"""Checks that nothing was deleted or erased while a legal hold was in force.

The truth is in the events that the command `hold` recorded, not in the files ``*.hold``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from ..archive.holds import HoldPeriod, HoldRecord, holds, periods
from .manifest_check import Seal
from .report import Findings

__all__ = ["Erased", "check_holds"]


class Erased(NamedTuple):
    """An erasure on record.

    Attributes:
        time: Of its event.
        file: Of its event.
        number: Of its event.
        tokens: What stands for the user, hex.
    """

    time: str
    file: str
    number: int
    tokens: list[str]


def check_holds(
    directory: Path,
    records: list[HoldRecord],
    proved: Mapping[str, int] | None,
    seals: list[Seal],
    erasures: list[Erased],
    findings: Findings,
) -> None:
    """Add what contradicts the holds on record to the findings.

    Args:
        directory: The archive.
        records: The holds on record.
        proved: The newest event that a signed checkpoint covers, by writer: a release after it
            is not believed. None: no signature can be checked, so every release is.
        seals: All sealed files, also those that were deleted.
        erasures: All erasures on record.
        findings: Takes the damage.
    """
    believed = [record for record in records if _is_believed(record, proved)]
    in_force = periods(believed)
    for period in in_force:
        _check(period, seals, erasures, findings)
    with_file = holds(directory) if in_force else {}
    for placed in (period.placed for period in in_force if period.released is None):
        if placed.name not in with_file:
            words = f"{_placed(placed)}, and its release is not on record, but its file is gone"
            if any(record.ends(placed) for record in records):
                words = f"{_placed(placed)}, and no signed checkpoint covers its release"
            findings.add(f"{placed.name}.hold", None, "removed", words)


def _check(
    period: HoldPeriod, seals: list[Seal], erasures: list[Erased], findings: Findings
) -> None:
    end = "never released" if period.released is None else f"released at {period.released.time}"
    during = f"while a hold was in force: {_placed(period.placed)}, {end}"
    for seal in seals:
        if seal.deletion is not None and period.covers(at := seal.deletion[0].deleted_at):
            words = f"retention deleted it at {at}, {during}"
            findings.add(seal.record.file, seal.record.first_sequence, "on_hold", words)
    for erased in erasures:
        if period.covers(erased.time):
            words = f"it tells of an erasure at {erased.time}, {during}"
            findings.add(erased.file, erased.number, "on_hold", words)


def _is_believed(record: HoldRecord, proved: Mapping[str, int] | None) -> bool:
    released = record.state == "released"
    return not released or proved is None or record.number <= proved.get(record.writer, 0)


def _placed(record: HoldRecord) -> str:
    where = f"event {record.number} of {record.writer}"
    return f"the hold {record.name!r} was placed at {record.time} ({where})"
