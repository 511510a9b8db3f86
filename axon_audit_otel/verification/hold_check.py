"""Checks that nothing was deleted or erased while a legal hold was in force.

The truth is in the events that the command `hold` recorded, not in the files ``*.hold``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..archive.holds import HOLD, HoldPeriod, HoldRecord, holds, periods
from .findings import Findings
from .hash_chain import within
from .manifest_check import Seal

__all__ = ["Erased", "check_holds"]


_NEVER = "~"  # after every time


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
    believed: list[HoldRecord] = []
    doubted: list[HoldRecord] = []
    for record in records:
        (believed if _is_believed(record, proved) else doubted).append(record)
    in_force = periods(believed)
    deleted = [(seal.record, seal.deletion[0].deleted_at) for seal in seals if seal.deletion]
    then = _in_force_at([*(at for _, at in deleted), *(of.time for of in erasures)], in_force)
    for seal, at in deleted:
        if at in then:
            words = f"retention deleted it at {at}, {_while_held(then[at], doubted)}"
            findings.add(seal.file, seal.first_sequence, "on_hold", words)
    for erased in erasures:
        if erased.time in then:
            why = _while_held(then[erased.time], doubted)
            words = f"it tells of an erasure at {erased.time}, {why}"
            findings.add(erased.file, erased.number, "on_hold", words)
    with_file = holds(directory) if in_force else {}
    for period in in_force:
        if period.released is None and period.placed.name not in with_file:
            words = f"the hold {_in_words(period, doubted)}, but its file is gone"
            findings.add(f"{period.placed.name}{HOLD}", None, "removed", words)


def _in_force_at(times: Iterable[str], holds: Iterable[HoldPeriod]) -> dict[str, HoldPeriod]:
    """Those of *times* at which a hold was in force, and the first hold that was."""
    spans = [
        ((of.placed.time, 0), (_NEVER if of.released is None else of.released.time, 0), of)
        for of in holds
    ]
    return {time: of for (time, _), of in within({(time, 1) for time in times}, spans)}


def _while_held(period: HoldPeriod, doubted: list[HoldRecord]) -> str:
    return f"while a hold was in force: {_in_words(period, doubted)}"


def _in_words(period: HoldPeriod, doubted: list[HoldRecord]) -> str:
    placed, released = period
    words = f"{placed.name!r}, placed at {placed.time} (event {placed.number} of {placed.writer})"
    if released is not None:
        return f"{words}, released at {released.time}"
    forged = next((record for record in doubted if record.ends(placed)), None)
    if forged is None:
        return f"{words}, never released"
    where = f"event {forged.number} of {forged.writer}"
    return f"{words}, with a release that no signed checkpoint covers ({where})"


def _is_believed(record: HoldRecord, proved: Mapping[str, int] | None) -> bool:
    if record.state == "placed":
        return True
    is_proved = proved is None or record.number <= proved.get(record.writer, 0)
    return is_proved and record.is_attested
