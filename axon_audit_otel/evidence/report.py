"""The report of a period, for auditors: facts, and what each of them rests on.

A report is a directory or a zip file. ``report.json`` has the facts, one key a part, and the page
``report.html`` shows them; ``csv/`` has the long lists in full, ``proofs/`` what others can check.
The same archive and the same arguments give the same bytes: nothing says when it was made, and
events after the period change nothing of it. docs/report.md describes all of it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from ..archive.checkpoints import SigningKey, VerifyingKey
from ..archive.cosignatures import Quorum
from ..core.errors import ArchiveError, escaped, shown
from ..core.os_user import os_user
from ..core.spreadsheet import csv_lines
from ..privacy.erased_tokens import keyring_of, keys_of
from ..privacy.policy import PrivacyPolicy
from ..verification.report import VerifyReport
from ..verification.verify import verify
from ..version import __version__
from .activity import Activity
from .alarms import Alarms
from .bundle import check_output, new_bundle
from .completeness import Archive, completeness, of_the_period
from .coverage import Programs, coverage
from .erasures import Erasures
from .keeping import Holds, retention
from .limits import limits, readme
from .pages import environment
from .period import Period
from .proofs import Proofs, verifier
from .reading import Reading
from .report_page import report_page

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
    knows_secret: bool = False,
    decrypt: bool = False,
    signing_key: SigningKey | None = None,
    command: str | None = None,
    force: bool = False,
    progress: Callable[[int], None] | None = None,
    before_writing: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Make the report of a period, from one reading of an archive.

    Args:
        path: The archive's directory.
        period: The period: ``Period.of("2026-11", zone="Europe/Berlin")``.
        output: Where to: a new directory; or a file, if its name ends in ``.zip``. It is there
            whole, or not at all.
        keys, checkpoints, quorum, erasable, progress: As `verify` has them.
        policy: Makes events readable, as far as it has keys. Default: none.
        knows_secret: The secret that ids were hashed with was given; the report says so.
        decrypt: Show ids and texts in clear where they are encrypted and *policy* has the keys.
        signing_key: Signs the list of the files' digests. None: the report is not signed.
        command: What makes the report again, for the report.
        force: Replace the report at *output*.
        before_writing: Called with the facts when all is read, and nothing is written yet.

    Returns:
        The facts in ``report.json``: a dict of JSON types, with the parts that docs/report.md
        describes. ``limits.needs_a_person`` is [] if the period is complete.

    Raises:
        ArchiveError: If there is no archive at *path*, or *output* cannot be written: it exists,
            or is in the archive.
        AuditConfigError, InvalidEventError: As `verify`.
    """
    directory, target = _places(Path(path), Path(output), erasable, force)
    given, policy = list(keys), PrivacyPolicy() if policy is None else policy
    with ExitStack() as stack:
        policy = policy if decrypt else policy.hiding_entries()
        parts = _Parts(directory, period, policy, decrypt, given, stack)
        verified = verify(
            directory, given, checkpoints, progress, (), False, quorum, erasable, parts.reading
        )
        facts = {
            "scope": _scope(directory, period, policy, decrypt, knows_secret, command),
            **parts.facts(verified, signing_key),
        }
        _conclude(facts)
        if before_writing is not None:
            before_writing(facts)
        parts.write(facts, target, signing_key)
    return facts


def _places(directory: Path, target: Path, erasable: Path | None, force: bool) -> tuple[Path, Path]:
    """What is read and what is written: an error comes before the archive is read, not after.

    Raises:
        ArchiveError: If *directory* is a file, or *target* cannot be written.
    """
    if directory.exists() and not directory.is_dir():
        msg = f"{shown(str(directory))} is one file: a report needs the directory of the archive"
        raise ArchiveError(msg)
    check_output(target, (directory, erasable or keys_of(directory)), force)
    environment()
    return directory, target


class _Parts:
    """What takes the events while an archive is read."""

    def __init__(
        self,
        directory: Path,
        period: Period,
        policy: PrivacyPolicy,
        decrypt: bool,
        keys: list[VerifyingKey],
        stack: ExitStack,
    ) -> None:
        self._directory, self._period, self._keys = directory, period, keys
        self._activity = Activity(period, stack)
        self._erasures = Erasures(policy, decrypt, stack)
        self._alarms = Alarms(period, policy, decrypt, stack)
        self._programs, self._holds = Programs(period), Holds()
        self.reading = Reading(
            period,
            policy,
            decrypt,
            parts=[self._activity, self._erasures],
            near=[self._alarms],
            past=[self._programs, self._holds],
        )

    def facts(self, verified: VerifyReport, signing_key: SigningKey | None) -> dict[str, Any]:
        """The parts of the report, after all is read and *verified*."""
        trails = self.reading.trails
        archive = Archive(self._directory, self._period, trails, self._keys)
        inside = of_the_period(verified, archive)
        self._proofs = proofs = Proofs(archive, [one.writer for one in inside.writers])
        self._sample = list(proofs.sample())
        active = {name for name, trail in trails.items() if trail.events}
        return {
            "completeness": completeness(verified, archive),
            "coverage": coverage(self._programs, active, self._activity.by_method()),
            "activity": self._activity.facts(),
            "alerts": self._alarms.facts(),
            "erasures": self._erasures.facts(proofs.has),
            "retention": retention(archive, self._programs, self._holds, inside),
            "proofs": proofs.facts(self._sample, self._keys, signing_key),
        }

    def write(self, facts: dict[str, Any], target: Path, signing_key: SigningKey | None) -> None:
        """Write the report: its pages, the long lists in full, proofs and their program."""
        tables = {
            **self._activity.tables(),
            "alerts": self._alarms.table(),
            "erasures": self._erasures.table(self._proofs.has),
        }
        with new_bundle(target) as bundle:
            bundle.add("README.txt", [readme(facts).encode()])
            bundle.add("report.html", [report_page(facts).encode()])
            bundle.add("report.json", [json.dumps(facts, indent=2).encode() + b"\n"])
            for name, (header, rows) in tables.items():
                bundle.add(f"csv/{name}.csv", csv_lines(header, rows))
            for name, content in self._proofs.files(self._sample).items():
                bundle.add(name, [content])
            bundle.add("verify_proof.py", [verifier()])
            bundle.finish(FORMAT, signing_key)


def _conclude(facts: dict[str, Any]) -> None:
    """Add what follows from the parts."""
    names = ("trail", "id", "origin", "events")
    trails = facts["completeness"]["trails"]
    facts["scope"]["trails"] = [{name: trail[name] for name in names} for trail in trails]
    facts["limits"] = limits(facts)


def _scope(
    directory: Path,
    period: Period,
    policy: PrivacyPolicy,
    decrypt: bool,
    knows_secret: bool,
    command: str | None,
) -> dict[str, Any]:
    """The part ``scope``, without the trails."""
    who = os_user()
    return {
        "format": FORMAT,
        "made_by": f"axon-audit-otel {__version__}",
        "command": command,
        "run_by": {"user": who.name, **who.ids},
        "archive": escaped(str(directory)),
        "period": period.facts(),
        "trails": [],
        "filters": [],
        "privacy": {
            "is_encrypted": keyring_of(directory) is not None,
            "keys_were_at_hand": policy.encrypts,
            "secret_was_given": knows_secret,
            "is_decrypted": decrypt and policy.encrypts,
        },
    }
