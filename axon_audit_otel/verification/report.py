"""The result of a verification: the damage, and the newest event that is proved."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import msgspec

from ..core.errors import AuditConfigError
from .findings import Finding

__all__ = [
    "EXIT_CODES",
    "Adopted",
    "Deletion",
    "Gap",
    "LostKeys",
    "Refusal",
    "StepBack",
    "UncleanEnd",
    "Verdict",
    "VerifyReport",
    "WriterReport",
    "WrongIndex",
]

Verdict = Literal["ok", "damage", "not proved"]

#: The exit codes of the command line.
EXIT_CODES: dict[Verdict, int] = {"ok": 0, "damage": 1, "not proved": 2}


class Gap(msgspec.Struct, frozen=True):
    """Events that were lost, as a later event reports; this is not damage.

    Attributes:
        first: The first number without an event.
        last: The last number without an event.
        reason: The reason.
        told_by: Number of the event that reports it.
    """

    first: int
    last: int
    reason: str
    told_by: int


class UncleanEnd(msgspec.Struct, frozen=True):
    """An end of a writer without closing its trail (a kill, power loss); this is not damage.

    Attributes:
        writer: Its name.
        events: Number of events that were recovered from its journal.
        torn_bytes: Bytes of an incomplete last line.
        told_by: Number of the event that reports it.
    """

    writer: str
    events: int
    torn_bytes: int
    told_by: int


class Adopted(msgspec.Struct, frozen=True):
    """Events that the application found in the directory at a start, and that nothing attests.

    It sealed them, and said so. Anybody who could write to the directory may have made them.

    Attributes:
        first: Number of the first event.
        last: Number of the last event.
        file: The sealed file.
    """

    first: int
    last: int
    file: str


class Refusal(msgspec.Struct, frozen=True):
    """Files of a writer that the application left alone at a start: it signs none of them.

    Attributes:
        writer: Its name.
        why: The reason: nothing attests them, or they contradict a checkpoint.
        told_by: Number of the event that reports it.
    """

    writer: str
    why: str
    told_by: int


class StepBack(msgspec.Struct, frozen=True):
    """An event with a time more than five seconds before that of the event before it.

    The clock was set back, or another program gave the event its time. This is not damage.

    Attributes:
        file: Name of its file.
        sequence: Its number.
        seconds: The difference.
    """

    file: str
    sequence: int
    seconds: float


class Deletion(msgspec.Struct, frozen=True):
    """Events whose files retention deleted, by the manifest; this is not damage.

    Attributes:
        first: Number of the first event.
        last: Number of the last event.
        files: Number of files.
        rule: The rule that deleted them.
        deleted_at: Time of the last deletion.
        proved: True if signed checkpoints cover these lines of the manifest. If not, an attacker
            who removed the files could also have written the lines.
    """

    first: int
    last: int
    files: int
    rule: str
    deleted_at: datetime | None
    proved: bool

    def joined(self, other: Deletion) -> list[Deletion]:
        """This and the next deletion, joined if they are alike and no event is between them."""
        alike = (self.rule, self.proved) == (other.rule, other.proved)
        if not alike or other.first != self.last + 1:
            return [self, other]
        files = self.files + other.files
        return [msgspec.structs.replace(other, first=self.first, files=files)]


class LostKeys(msgspec.Struct, frozen=True):
    """Encrypted events that no key opens, without an erasure on record; this is not damage.

    Attributes:
        events: Number of such events.
        users: Number of different users, by the tokens that stand for them.
        why: The reason why this could not be checked; "" if it was.
    """

    events: int
    users: int
    why: str = ""

    @property
    def words(self) -> str:
        """A sentence about it."""
        if self.why:
            return (
                f"personal data is encrypted, and the keys could not be looked at ({self.why}):"
                " whether any were destroyed without an erasure is not known"
            )
        events = "1 event" if self.events == 1 else f"{self.events:,} events"
        users = "1 user" if self.users == 1 else f"{self.users:,} users"
        return f"no key opens {events} of {users}, and no erasure of them is on record"


class WrongIndex(msgspec.Struct, frozen=True):
    """An index that queries do not use; this is not damage.

    Attributes:
        file: Its name.
        explanation: A sentence about it.
    """

    file: str
    explanation: str


class WriterReport(msgspec.Struct, kw_only=True):
    """The result for the trail of one writer.

    Attributes:
        writer: Its name.
        id: The id of the trail, from its manifest.
        origin: What tells the trail from every other, as in its checkpoints:
            ``axon-audit/<writer>/<id>``; None before its first event.
        events: Number of events that were read.
        files: Number of sealed files that were read.
        by_digest: Number of these whose lines were not proved one by one, as a signed checkpoint
            covers the digest that they have.
        deletions: The deletions by retention.
        unsealed_events: Number of the events that are in the journal.
        torn_bytes: Bytes of an incomplete line in the journal.
        unfinished_seal: A sealed file that is not in the manifest, since its writer was killed;
            the next start adds it.
        first_sequence: Number of the oldest event here.
        last_sequence: Number of the newest.
        first_time: Time of the oldest event.
        last_time: Time of the newest.
        gaps: Lost events, as later events report.
        unclean_ends: Ends by a kill or power loss, as later events report.
        adopted: Events that nothing attests; they are never proved.
        refusals: Files of writers that the application left alone, as its events report.
        steps_back: Places where time runs backwards, up to a hundred.
        more_steps_back: Number of further ones.
        checkpoints: Number of different states in the checkpoints that were checked.
        unchecked: Number of these whose signatures were not checked, as no key was given.
        proved_until: Number of the newest event that a signed checkpoint covers: up to
            there nothing is missing or forged, but for what is adopted. If the trail was
            truncated after it, this could not be noticed. None: nothing is covered.
        proved_until_time: Time of that event.
        proved_at: Time of that checkpoint.
        outside_until: Number of the newest event that a given checkpoint covers, which was kept
            elsewhere; None: none covers any.
        cosigned_until: Number of the newest event that a checkpoint covers which enough
            witnesses cosigned: up to there even who has the key could not write another
            history. None: there is none, or no witness was given.
        cosigned_at: When enough of them had.
        cosigned_by: Their names.
    """

    writer: str
    id: str | None = None
    origin: str | None = None
    events: int = 0
    files: int = 0
    by_digest: int = 0
    deletions: list[Deletion] = msgspec.field(default_factory=list)
    unsealed_events: int = 0
    torn_bytes: int = 0
    unfinished_seal: str | None = None
    first_sequence: int | None = None
    last_sequence: int | None = None
    first_time: datetime | None = None
    last_time: datetime | None = None
    gaps: list[Gap] = msgspec.field(default_factory=list)
    unclean_ends: list[UncleanEnd] = msgspec.field(default_factory=list)
    adopted: list[Adopted] = msgspec.field(default_factory=list)
    refusals: list[Refusal] = msgspec.field(default_factory=list)
    steps_back: list[StepBack] = msgspec.field(default_factory=list)
    more_steps_back: int = 0
    checkpoints: int = 0
    unchecked: int = 0
    proved_until: int | None = None
    proved_until_time: datetime | None = None
    proved_at: datetime | None = None
    outside_until: int | None = None
    cosigned_until: int | None = None
    cosigned_at: datetime | None = None
    cosigned_by: list[str] = msgspec.field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """True if there never was an event in it."""
        return not (self.events or self.deletions)

    @property
    def deleted_files(self) -> int:
        """Number of files that retention deleted."""
        return sum(deletion.files for deletion in self.deletions)

    @property
    def uncovered(self) -> str:
        """A sentence about what could have been cut off or rewritten without a trace."""
        return self.uncovered_by(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}")

    def uncovered_by(self, clock: Callable[[datetime], str]) -> str:
        """The text of `uncovered`, with the time as *clock* formats it."""
        unseen = (
            "events cut off at its end, or a history rewritten as a whole, could not be noticed"
        )
        if self.proved_until is None and self.unchecked:
            count = f"{self.unchecked} checkpoint{'' if self.unchecked == 1 else 's'}"
            return f"{count} not checked, as no key was given: {unseen}"
        if self.proved_until is None:
            return f"no signed checkpoint covers it: {unseen}"
        moment = self.proved_until_time or self.proved_at
        when = f" ({clock(moment)})" if moment else ""
        return f"events cut off after event {self.proved_until}{when} could not be noticed"


class VerifyReport(msgspec.Struct, kw_only=True):
    """The result of `verify`.

    Attributes:
        path: The directory or file that was verified.
        writers: The results of the writers.
        findings: The damage, up to a thousand items.
        left_out: Number of further findings.
        keys: Names of the keys, one of which must have signed each checkpoint; empty if no key
            was given, and no signature could be checked.
        unproved: What was asked for and could not be proved, in words.
        quorum: How many of which witnesses must have cosigned a checkpoint of each writer; None:
            no witness was given.
        lost_keys: Encrypted events that no key opens; None if there is nothing to tell.
        wrong_indexes: Indexes that queries do not use; this is not damage.
    """

    path: str
    writers: list[WriterReport]
    findings: list[Finding]
    left_out: int = 0
    keys: list[str] = msgspec.field(default_factory=list)
    unproved: list[str] = msgspec.field(default_factory=list)
    quorum: str | None = None
    lost_keys: LostKeys | None = None
    wrong_indexes: list[WrongIndex] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """True if there are no findings; `verdict` also says whether it is proved."""
        return not self.findings

    def in_words(self) -> dict[str, Any]:
        """The ``number`` of findings, and what the first twenty ``findings`` say, by file."""
        said = [f"{one.file}: {one.explanation}" for one in self.findings[:20]]
        return {"number": len(self.findings) + self.left_out, "findings": said}

    @property
    def verdict(self) -> Verdict:
        """``damage``; ``not proved``: not verified as it was asked for; or ``ok``."""
        if any(self._is_damage(finding) for finding in self.findings):
            return "damage"
        return "not proved" if self.findings or self.unproved else "ok"

    def _is_damage(self, finding: Finding) -> bool:
        """Return False if the finding may come from another key, or rights that are missing."""
        if finding.kind == "denied":
            return False
        proved = (writer.writer for writer in self.writers if writer.proved_until is not None)
        # Beside good signatures of a key, a bad one was not made by who has the key.
        return finding.kind != "wrong_key" or Path(finding.file).stem in proved

    @property
    def unknown(self) -> str | None:
        """A sentence about what could be missing without a trace; None if nothing could.

        Checkpoints that were kept elsewhere, of each trail, leave nothing of that kind.
        """
        if all(writer.outside_until for writer in self.writers if not writer.is_empty):
            return None
        return (
            "a whole trail, or the whole archive, could be missing: give a checkpoint that was kept"
            " elsewhere (--checkpoint)"
        )

    @property
    def events(self) -> int:
        """Number of events that were read."""
        return sum(writer.events for writer in self.writers)

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON types."""
        writers = [
            {**msgspec.to_builtins(writer), "uncovered": writer.uncovered}
            for writer in self.writers
        ]
        return {
            "ok": self.ok,
            "verdict": self.verdict,
            "exit": EXIT_CODES[self.verdict],
            **msgspec.to_builtins(self),
            "unknown": self.unknown,
            "writers": writers,
        }


def parsed_origins(origins: Iterable[str]) -> set[str]:
    """The *origins*, checked.

    Raises:
        AuditConfigError: If one of them is none.
    """
    found = set(origins)
    for origin in found:
        if not _is_origin(origin):
            raise AuditConfigError(f"{origin!r} is not an origin (axon-audit/<writer>/<id>)")
    return found


_is_origin = re.compile(r"axon-audit/[^/\s]+/[0-9a-f]{16}").fullmatch


def numbers(first: int, last: int) -> str:
    """A range of events as text."""
    return f"event {first}" if first == last else f"events {first} to {last}"
