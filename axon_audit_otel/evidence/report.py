"""The report of a period: facts for an auditor, each with what it rests on, in one reading."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..archive.checkpoints import SigningKey, VerifyingKey
from ..archive.cosignatures import Quorum
from ..core.spreadsheet import csv_lines
from ..privacy.policy import PrivacyPolicy
from ..verification.verify import verify
from .activity import Activity
from .bundle import check_output, new_bundle
from .completeness import Archive, completeness
from .period import Period
from .reading import Reading

__all__ = ["FORMAT", "make_report"]

#: The name of the format, and the first line of what is signed.
FORMAT = "axon-audit report 1"


def make_report(
    path: Path | str,
    period: Period,
    output: Path | str,
    *,
    keys: Iterable[VerifyingKey] = (),
    checkpoints: Iterable[str] = (),
    quorum: Quorum | None = None,
    policy: PrivacyPolicy | None = None,
    erasable: Path | None = None,
    decrypt: bool = False,
    signing_key: SigningKey | None = None,
    command: str = "",
    force: bool = False,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Any]:
    path, output = Path(path), Path(output)
    check_output(output, path, force)
    policy = PrivacyPolicy() if policy is None else policy
    with ExitStack() as stack:
        activity = Activity(period, stack)
        reading = Reading(period, policy, decrypt, [activity], [])
        verified = verify(path, keys, checkpoints, progress, (), False, quorum, erasable, reading)
        archive = Archive(path, period, reading.trails)
        facts = {
            "scope": {"format": FORMAT, "command": command, "period": period.facts()},
            "completeness": completeness(verified, archive),
            "activity": activity.facts(),
        }
        tables = activity.tables()
        with new_bundle(output) as bundle:
            bundle.add("report.json", [_json(facts)])
            for name, (header, rows) in tables.items():
                bundle.add(f"csv/{name}.csv", csv_lines(header, rows))
            bundle.finish(FORMAT, signing_key)
    return facts


def _json(facts: dict[str, Any]) -> bytes:
    return json.dumps(facts, indent=2).encode() + b"\n"
