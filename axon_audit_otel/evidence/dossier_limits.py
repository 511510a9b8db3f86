"""What a dossier cannot know: each limit is a point with its ``kind``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..archive.manifest import deleted_in
from ..archive.missing import Missing
from ..core.semconv import PSEUDONYM_PREFIX
from ..core.time import format_time, to_microseconds
from ..events.entries import stored_in
from ..events.model import AuditEvent, OperationType, deleted_entries
from ..privacy.box import BOX
from ..privacy.erased_tokens import keyring_of
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import is_pseudonym
from ..privacy.readable import recorded
from ..verification.report import VerifyReport
from .person import Person

__all__ = ["NEEDS_A_PERSON", "Unknown", "limits"]

#: The limits that a person must look at: exit code 1.
NEEDS_A_PERSON = frozenset(
    [
        *("archive_incomplete", "archive_damaged", "not_proved", "ids_hashed", "keys_not_here"),
        *("maybe_erased", "keys_lost", "persons_not_named", "entries_left_out"),
    ]
)
#: What no trail can know, whatever it says.
_NEVER_KNOWN = ("other_stores", "backups", "models_and_caches")


class Unknown:
    """What events leave open, counted while they are read.

    Attributes:
        hashed: True if there are ids that are hashed.
        hashed_here: True if the person is among them.
        keys_erased: How many records there are of keys that were destroyed.
        by_digest: How many events have the person as a digest only.
        closed: How many events about the person no key at hand opens.
        without_facts: How many of them lost facts that could not be recorded.
        no_subject: How many events touched entries, and do not say whose.
        persons_not_named: How many events touched more persons than they have room for.
        deletions_not_named: How many events deleted entries that they do not name.
        entries_left_out: True if the person has more entries than are followed.
        groups_left_out: How many consultations are counted without saying whose they were.
    """

    def __init__(self, person: Person) -> None:
        self.person = person
        self.hashed = self.hashed_here = self.entries_left_out = False
        self.keys_erased = self.by_digest = self.closed = self.without_facts = 0
        self.no_subject = self.persons_not_named = self.deletions_not_named = 0
        self.groups_left_out = 0

    def take_other(self, event: AuditEvent) -> None:
        """Take in an event, as recorded, that is not known to be about the person."""
        if not self.hashed:
            self._look_for_hashes(event)
        if event.operation is OperationType.AUDIT:
            return
        if "subjects_unfound" in event.metadata:
            self.persons_not_named += 1
        if event.subject_id is None and not event.subjects and event.entry_ids:
            # Whoever stores something stores his own; or it is nobody's.
            is_known = bool(stored_in(event)) and bool(event.system or event.user_id)
            self.no_subject += not is_known
            self._look_for_unnamed(event)

    def take(self, before: AuditEvent, event: AuditEvent) -> None:
        """Take in an event about the person, as recorded and readable."""
        if not self.hashed:
            self._look_for_hashes(before)
        names = (before.user_id, before.subject_id, *before.subjects)
        self.hashed_here |= any(
            is_pseudonym(name) for name in names if name and self.person.has_name(name)
        )
        is_digested = self.person.is_digested_in(before)
        self.by_digest += is_digested and not self.person.is_among(before.subjects)
        self.closed += BOX in event.metadata and BOX in recorded(event).metadata
        self.without_facts += "dropped" in event.metadata
        self._look_for_unnamed(event)

    def _look_for_hashes(self, event: AuditEvent) -> None:
        name = event.user_id or event.subject_id
        if name is None and event.subjects:
            name = event.subjects[0]
        self.hashed = name is not None and name.startswith(PSEUDONYM_PREFIX)

    def _look_for_unnamed(self, event: AuditEvent) -> None:
        if event.operation is OperationType.FORGET:
            self.deletions_not_named += deleted_entries(event) > len(event.entry_ids)


def limits(
    directory: Path,
    policy: PrivacyPolicy,
    unknown: Unknown,
    is_on_record: bool,
    missing: Missing,
    report: VerifyReport,
) -> Iterator[dict[str, Any]]:
    """Yield what the dossier of a person cannot know."""
    if missing:
        yield {"kind": "archive_incomplete", "problems": _problems(missing)}
    yield from _of_the_report(report, policy)
    number, until = deleted_in(directory)
    if number:
        newest = None if until is None else format_time(to_microseconds(until))
        yield {"kind": "older_events_deleted", "number": number, "newest": newest}
    yield from _of_names(directory, policy, unknown, is_on_record)
    for name in ("without_facts", "deletions_not_named", "no_subject", "groups_left_out"):
        if number := getattr(unknown, name):
            yield {"kind": name, "number": number}
    if unknown.entries_left_out:
        yield {"kind": "entries_left_out"}
    for kind in _NEVER_KNOWN:
        yield {"kind": kind}


def _of_the_report(report: VerifyReport, policy: PrivacyPolicy) -> Iterator[dict[str, Any]]:
    """What `verify` found: damage, gaps, what nothing attests or proves."""
    if report.findings:
        yield {"kind": "archive_damaged", **report.in_words()}
    for writer in report.writers:
        gaps = sum(gap.last - gap.first + 1 for gap in writer.gaps)
        if gaps:
            yield {"kind": "events_lost", "trail": writer.writer, "number": gaps}
        if writer.unclean_ends:
            ends = len(writer.unclean_ends)
            yield {"kind": "unclean_ends", "trail": writer.writer, "number": ends}
        if writer.adopted:
            adopted = sum(one.last - one.first + 1 for one in writer.adopted)
            yield {"kind": "adopted", "trail": writer.writer, "number": adopted}
        if writer.refusals:
            yield {"kind": "refused", "trail": writer.writer, "number": len(writer.refusals)}
    lost = report.lost_keys
    if lost is not None and not lost.why and policy.encrypts:
        yield {"kind": "keys_lost", "events": lost.events, "persons": lost.users}
    if not report.keys:
        yield {"kind": "no_key_given"}
    elif report.verdict == "not proved" or any(
        writer.proved_until is None for writer in report.writers if not writer.is_empty
    ):
        yield {"kind": "not_proved", "reasons": report.unproved[:20]}


def _of_names(
    directory: Path, policy: PrivacyPolicy, unknown: Unknown, is_on_record: bool
) -> Iterator[dict[str, Any]]:
    """Where the person may be on record under a name that is not known."""
    has_secret = len(policy.forms(unknown.person.id)) > 1
    if unknown.hashed and not has_secret and not unknown.hashed_here:
        yield {"kind": "ids_hashed"}
    elif unknown.hashed and not is_on_record:
        yield {"kind": "no_such_hash"}
    if unknown.person.is_erased:
        yield {"kind": "keys_destroyed"}
    elif keyring_of(directory) is not None and not policy.encrypts:
        yield {"kind": "keys_not_here"}
    elif unknown.keys_erased or policy.has_erased:
        kind = "others_erased" if is_on_record else "maybe_erased"
        yield {"kind": kind, "number": unknown.keys_erased}
    if unknown.closed:
        yield {"kind": "facts_unreadable", "number": unknown.closed}
    if unknown.by_digest:
        yield {"kind": "by_digest", "number": unknown.by_digest}
    if unknown.persons_not_named:
        yield {"kind": "persons_not_named", "number": unknown.persons_not_named}


def _problems(missing: Missing) -> list[str]:
    """What is wrong, by file, without the place of the archive on its machine."""
    return [f"{path.name}: {why}" for path, why in missing.problems()[:20]]
