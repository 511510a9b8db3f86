"""Events that a trail records about itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import msgspec

from ..archive.attested import NotAttestedError
from ..archive.clock import WallClock
from ..archive.intents import Intents
from ..archive.takeover import Adopted, Recovery
from ..shipping.witnesses import Refusal

__all__ = ["Gap", "InternalEvents"]


@dataclass(frozen=True)
class Gap:
    """Events that left memory before a file could take them.

    Attributes:
        first: The number of the first of them.
        last: The number of the last.
        reason: Why no file could take them.
    """

    first: int
    last: int
    reason: str


class InternalEvents:
    """Findings about the archive, each kept until an event about it is recorded.

    Attributes:
        recoveries: Ends of writers that did not end well.
        missing_holds: Names of legal holds whose files are gone, though no release is on record.
        unfinished: Intents of before a crash that have no outcome.
        gaps: Events that are in no file.
        refusals: Witnesses that know another history of a trail.
        adopted: Events that were found in files, and that nothing attests.
        refused: Files of writers that are left as they are.
        clock: Knows the jumps of the system's clock.
    """

    def __init__(self, clock: WallClock) -> None:
        self.clock = clock
        self.begin()

    def begin(self) -> None:
        """Without any; in a forked child as well."""
        self.recoveries: list[Recovery] = []
        self.missing_holds: list[str] = []
        self.unfinished: list[dict[str, Any]] = []
        self.gaps: list[Gap] = []
        self.refusals: list[Refusal] = []
        self.adopted: list[Adopted] = []
        self.refused: list[NotAttestedError] = []

    def witness_refused(self, refusal: Refusal) -> None:
        """Have an event recorded about a witness; in any thread."""
        self.refusals.append(refusal)

    def pending(
        self, all_archived: Callable[[], bool], intents: Intents | None
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        """The status and the facts of each event to be recorded; with it the finding is settled.

        Args:
            all_archived: Returns True if every event is in a file. A gap is settled only when its
                event is; before, the next one would be lost with it.
            intents: Removed when all that are unfinished are recorded: before, we may be killed.
        """
        while self.refused:
            found = self.refused[0]
            yield "FAILURE", {"record": "refused", "writer": found.writer, "why": found.words}
            del self.refused[0]
        while self.adopted:
            yield "PARTIAL", {"record": "adopted", **msgspec.structs.asdict(self.adopted[0])}
            del self.adopted[0]
        while self.recoveries:
            yield "PARTIAL", {"record": "unclean_end", **msgspec.structs.asdict(self.recoveries[0])}
            del self.recoveries[0]
        while self.missing_holds:
            told = {"record": "hold", "hold": self.missing_holds[0], "state": "missing"}
            yield "FAILURE", {**told, "reason": "its file is gone; no release is on record"}
            del self.missing_holds[0]
        if self.unfinished:
            while self.unfinished:
                yield "FAILURE", {"record": "unfinished", **self.unfinished[0]}
                del self.unfinished[0]
            if intents is not None and all_archived():
                with suppress(OSError):  # the next start removes them
                    intents.remove()
        while self.gaps and all_archived():
            gap = self.gaps[0]
            facts = {"first": gap.first, "last": gap.last, "events": gap.last - gap.first + 1}
            yield "FAILURE", {"record": "gap", **facts, "reason": gap.reason}
            if all_archived():
                del self.gaps[0]
        while self.refusals:
            yield "FAILURE", {"record": "witness_refused", **self.refusals[0]._asdict()}
            del self.refusals[0]
        self.clock.look()
        for jump in self.clock.take():
            yield "SUCCESS", jump.facts
