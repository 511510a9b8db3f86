"""What a verification says: damage, and how far the proof goes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, Literal

import msgspec

__all__ = [
    "Deletion",
    "Finding",
    "Gap",
    "Kind",
    "StepBack",
    "UncleanEnd",
    "VerifyReport",
    "WriterReport",
]

Kind = Literal[
    "altered",
    "removed",
    "inserted",
    "reordered",
    "truncated",
    "wrong_key",
    "unreadable",
    "unlisted",
]


class Finding(msgspec.Struct, frozen=True):
    """One damage.

    Attributes:
        file: Name of the damaged file.
        sequence: Number of the (first) event concerned; None where it is no event.
        kind: ``altered``, ``removed``, ``inserted``, ``reordered``, ``truncated`` (cut off
            at its end), ``wrong_key`` (not signed by any of the keys), ``unreadable``, or
            ``unlisted`` (a file that no manifest knows).
        explanation: The same in words.
    """

    file: str
    sequence: int | None
    kind: Kind
    explanation: str


class Gap(msgspec.Struct, frozen=True):
    """Events that were lost, as the trail itself says: no damage.

    Attributes:
        first: The first number that no event has.
        last: The last one.
        reason: Why, in words.
        told_by: Number of the event that says so.
    """

    first: int
    last: int
    reason: str
    told_by: int


class UncleanEnd(msgspec.Struct, frozen=True):
    """A writer that ended without closing its trail (killed, power lost): no damage.

    Attributes:
        writer: Its name.
        events: Events that were recovered from its journal.
        torn_bytes: Bytes of a last line that was cut off in the middle.
        told_by: Number of the event that says so.
    """

    writer: str
    events: int
    torn_bytes: int
    told_by: int


class StepBack(msgspec.Struct, frozen=True):
    """An event that is dated before the one before it, by more than five seconds: the clock was
    set back, or somebody else gave the event its time. No damage.

    Attributes:
        file: Name of its file.
        sequence: Its number.
        seconds: How much earlier its time is.
    """

    file: str
    sequence: int
    seconds: float


class Deletion(msgspec.Struct, frozen=True):
    """Events whose files retention deleted, as the manifest says: no damage.

    Attributes:
        first: The first of them.
        last: The last.
        files: In how many files they were.
        rule: The rule that deleted them.
        deleted_at: When the last of these files went.
        proved: Whether signed checkpoints cover what the manifest says of it. If not, somebody
            who removed the files could have written that as well.
    """

    first: int
    last: int
    files: int
    rule: str
    deleted_at: datetime | None
    proved: bool

    def joined(self, other: Deletion) -> list[Deletion]:
        """This one and the next, as one if they are alike and no event lies between them."""
        alike = (self.rule, self.proved) == (other.rule, other.proved)
        if not alike or other.first != self.last + 1:
            return [self, other]
        files = self.files + other.files
        return [msgspec.structs.replace(other, first=self.first, files=files)]


class WriterReport(msgspec.Struct, kw_only=True):
    """The trail of one writer.

    Attributes:
        writer: Its name.
        id: The trail's own, from its manifest.
        events: Events that were read.
        files: Sealed files that were read.
        deletions: What retention deleted, and whose seals are here.
        unsealed_events: How many of the events are in the journal.
        torn_bytes: Bytes of a line in the journal that its writer could not finish.
        unfinished_seal: A file that its writer sealed and was killed before it could list it in
            its manifest; the next start does.
        first_sequence: Number of the oldest event here.
        last_sequence: Number of the newest.
        first_time: Time of the oldest event.
        last_time: Time of the newest.
        gaps: What was lost, as later events say.
        unclean_ends: Ends that were none, as later events say.
        steps_back: Where time runs backwards, up to a hundred.
        more_steps_back: Further ones.
        checkpoints: Different states that checkpoints attest and that were checked.
        proved_until: Number of the newest event that a signed checkpoint covers: up to
            there nothing is missing or forged. A tail that was cut off after it could not
            be noticed. None: nothing is covered.
        proved_until_time: Time of that event.
        proved_at: When that checkpoint was made.
    """

    writer: str
    id: str | None = None
    events: int = 0
    files: int = 0
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
    steps_back: list[StepBack] = msgspec.field(default_factory=list)
    more_steps_back: int = 0
    checkpoints: int = 0
    proved_until: int | None = None
    proved_until_time: datetime | None = None
    proved_at: datetime | None = None

    @property
    def deleted_files(self) -> int:
        """Files that retention deleted."""
        return sum(deletion.files for deletion in self.deletions)

    @property
    def uncovered(self) -> str:
        """What could have been cut off, or rewritten, without a trace; in words."""
        return self.uncovered_by(lambda moment: f"{moment:%Y-%m-%dT%H:%M:%S.%fZ}")

    def uncovered_by(self, clock: Callable[[datetime], str]) -> str:
        """The same, with the time as *clock* shows it."""
        if self.proved_until is None:
            return (
                "no signed checkpoint proves any of it: a tail cut off, or a history rewritten"
                " as a whole, could not be noticed"
            )
        moment = self.proved_until_time or self.proved_at
        when = f" ({clock(moment)})" if moment else ""
        return f"a tail cut after event {self.proved_until}{when} could not be noticed"


class VerifyReport(msgspec.Struct, kw_only=True):
    """The result of `verify`.

    Attributes:
        path: What was verified.
        writers: One by one.
        findings: Every damage, up to a thousand.
        left_out: Further findings.
        keys: Names of the keys that every checkpoint must be signed by; empty if no key
            was given and no signature could be checked.
    """

    path: str
    writers: list[WriterReport]
    findings: list[Finding]
    left_out: int = 0
    keys: list[str] = msgspec.field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no damage was found."""
        return not self.findings

    @property
    def events(self) -> int:
        """Events that were read."""
        return sum(writer.events for writer in self.writers)

    def to_dict(self) -> dict[str, Any]:
        """Everything as JSON types."""
        writers = [
            {**msgspec.to_builtins(writer), "uncovered": writer.uncovered}
            for writer in self.writers
        ]
        return {"ok": self.ok, **msgspec.to_builtins(self), "writers": writers}


def numbers(first: int, last: int) -> str:
    """A range of events in words."""
    return f"event {first}" if first == last else f"events {first} to {last}"


class Findings:
    """Collects findings, each once, up to a limit."""

    LIMIT = 1000

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int | None, Kind, str], Finding] = {}
        self.left_out = 0

    def add(self, file: str, sequence: int | None, kind: Kind, explanation: str) -> None:
        """One damage; what is said already is not said again."""
        # Of an event the first word is enough; of a file there may be several.
        key = (file, sequence, kind, explanation if sequence is None else "")
        if key in self.kept:
            return
        if len(self.kept) >= self.LIMIT:
            self.left_out += 1
            return
        self.kept[key] = Finding(file, sequence, kind, explanation)

    def count(self, file: str) -> int:
        """Findings in *file* so far."""
        return sum(key[0] == file for key in self.kept)
