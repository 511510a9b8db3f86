"""The facts that a writer's events report of the trail itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import msgspec

from ..archive.clock import TOLERANCE_S, behind
from ..archive.format import position_of
from ..archive.holds import HoldRecord
from ..core.files import DECODE_ERRORS
from ..events.model import AuditEvent
from .event_ids import EventIds, FileIds, IdCollector, is_repeated
from .hold_check import Erased
from .key_check import KeyCheck
from .report import Gap, Refusal, StepBack, UncleanEnd

__all__ = ["Observer", "Told", "TrailFacts"]

#: Takes a writer's name, some of its events in the order of its files, and the hash of each.
Observer = Callable[[str, list[AuditEvent], list[bytes]], object]

_STEPS = 100  # steps back in time, and events with known ids, that are kept


class _Internal(msgspec.Struct):
    metadata: dict[str, Any]
    status: str


_internal_in = msgspec.json.Decoder(_Internal).decode


class Told(msgspec.Struct):
    """What the events of one file tell of their trail; as `TrailFacts`.

    Attributes:
        found: Number, hash and time of each wanted event.
    """

    holds: list[HoldRecord]
    erasures: list[Erased]
    gaps: list[Gap]
    unclean_ends: list[UncleanEnd]
    refusals: list[Refusal]
    steps_back: list[StepBack]
    more_steps_back: int
    found: list[tuple[int, str, str]]


class TrailFacts:
    """The facts that a writer's events report of the trail, and the events that checkpoints name.

    Args:
        wanted: Numbers of the events that checkpoints name.
        writer: Name of the writer.
        keys: Counts the encrypted events that no key opens; None: they are not counted.
        observer: Takes every event that can be read.
        ids: Takes the ids of all events.
    """

    def __init__(
        self,
        wanted: set[int],
        writer: str = "",
        keys: KeyCheck | None = None,
        observer: Observer | None = None,
        ids: EventIds | IdCollector | None = None,
    ) -> None:
        self.wanted = wanted
        self.observer = observer
        self.writer = writer
        self.keys = keys
        self.holds: list[HoldRecord] = []
        self.erasures: list[Erased] = []
        self.file = ""  # being read
        self.ids = EventIds() if ids is None else ids
        self.newest = b""  # the event that was read last
        self.doubled: list[tuple[str, int | None]] = []  # events that have the id of another
        self.found: dict[int, list[tuple[str, str, str]]] = {}  # hash, time, file
        self.gaps: list[Gap] = []
        self.unclean_ends: list[UncleanEnd] = []
        self.refusals: list[Refusal] = []
        self.time = ""  # of the last event before the file that is read
        self.steps_back: list[StepBack] = []
        self.more_steps_back = 0

    def earlier(self, sequence: int, time: str, before: str) -> None:
        """Record that an event has an earlier time than the event before it."""
        seconds = behind(time, before)
        if seconds <= TOLERANCE_S:
            return  # operations that ended at the same time
        self._stepped_back([StepBack(self.file, sequence, seconds)], 0)

    def _stepped_back(self, steps: list[StepBack], more: int) -> None:
        room = _STEPS - len(self.steps_back)
        self.steps_back += steps[:room]
        self.more_steps_back += len(steps[room:]) + more

    def take_ids(self, bodies: list[bytes]) -> None:
        """Take the next events of the file: find those that have the id of an earlier one."""
        for at in self.ids.again(bodies):
            if not is_repeated(bodies[at], bodies[at - 1] if at else self.newest):
                number = None
                with suppress(*DECODE_ERRORS):
                    number = position_of(bodies[at]).sequence
                self._has_known_id(number)
        self.newest = bodies[-1]

    @property
    def late_ids(self) -> set[bytes]:
        """See `EventIds`."""
        return self.ids.late if isinstance(self.ids, EventIds) else set()

    def can_take(self, ids: FileIds) -> bool:
        """Return True if that is enough to know of a file's ids."""
        return isinstance(self.ids, EventIds) and self.ids.can_take(ids)

    def begin(self, sequence: int, time: str) -> None:
        """Take the first event of a file that was read elsewhere."""
        if time < self.time:
            self.earlier(sequence, time, self.time)

    def take_ids_of_file(self, ids: FileIds, number: int, first: bytes, newest: bytes) -> None:
        """Take all events of a file that was read elsewhere, as `take_ids`.

        Args:
            ids: Their ids.
            number: The number of the first; the others follow without a gap.
            first: The first.
            newest: The last.
        """
        assert isinstance(self.ids, EventIds)
        for count, batch in enumerate(ids.batches):
            for at in self.ids.take(batch):
                is_joint = count == at == 0
                if at not in batch.again and not (is_joint and is_repeated(first, self.newest)):
                    self._has_known_id(number + at)
            number += len(batch)
        self.newest = newest

    def _has_known_id(self, number: int | None) -> None:
        if len(self.doubled) < _STEPS:
            self.doubled.append((self.file, number))

    def find(self, sequence: int, head: str, time: str) -> None:
        """Record that the file has an event that a checkpoint names."""
        self.found.setdefault(sequence, []).append((head, time, self.file))

    def internal_event(self, line: bytes, sequence: int, time: str = "") -> None:
        """Take an event of the trail about itself."""
        try:
            event = _internal_in(line)
            facts = event.metadata
            hold = HoldRecord.of(facts, time, self.writer, sequence)
            if hold is not None:
                self.holds.append(hold)
            elif facts.get("record") == "erasure" and event.status == "SUCCESS":
                tokens = [str(token) for token in facts["tokens"]]
                self.erasures.append(Erased(time, self.file, sequence, tokens))
            elif facts.get("record") == "gap":
                first, last = int(facts["first"]), int(facts["last"])
                if not 0 < first <= last < sequence:
                    return  # a loss is reported after it
                self.gaps.append(Gap(first, last, str(facts.get("reason", "")), sequence))
            elif facts.get("record") == "unclean_end":
                events, torn = int(facts["events"]), int(facts["torn_bytes"])
                self.unclean_ends.append(UncleanEnd(str(facts["writer"]), events, torn, sequence))
            elif facts.get("record") == "refused":
                self.refusals.append(Refusal(str(facts["writer"]), str(facts["why"]), sequence))
        except (*DECODE_ERRORS, KeyError, ValueError, TypeError):
            return  # of another program or version

    # --- between processes -------------------------------------------------------------------

    def told(self) -> Told:
        """What the events of one file told."""
        return Told(
            self.holds,
            self.erasures,
            self.gaps,
            self.unclean_ends,
            self.refusals,
            self.steps_back,
            self.more_steps_back,
            [(number, *seen[:2]) for number, all_ in self.found.items() for seen in all_],
        )

    def add(self, told: Told) -> None:
        """Take what the events of the next file told, which was read elsewhere."""
        self.holds += told.holds
        self.erasures += told.erasures
        self.gaps += told.gaps
        self.unclean_ends += told.unclean_ends
        self.refusals += told.refusals
        self._stepped_back(told.steps_back, told.more_steps_back)
        for number, head, time in told.found:
            self.find(number, head, time)
