"""Makes checkpoints of a writer's files, keeps them beside these, and sends them on."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from ..core.faults import Faults
from ..core.files import append, write_file
from ..core.time import format_time
from ..core.turn import Turn
from .checkpoints import Checkpoint, SigningKey
from .manifest import OtherWriter
from .register import Register
from .writer import ArchiveWriter

__all__ = ["Checkpointer", "Cosigning"]


class Cosigning(Protocol):
    """Has others cosign checkpoints, in the background; called under a trail's lock, but `wait`."""

    def begin(self) -> None:
        """Forget what waits; also called in a forked child."""

    def add(self, path: Path, note: str) -> None:
        """Take a signed checkpoint of the writer whose files begin with *path*."""

    def wait(self, seconds: float) -> None:
        """Wait about *seconds* for the answers."""


class Checkpointer:
    """The checkpoints of one trail. Its trail holds a lock, but not for `send`.

    Args:
        key: Signs them; None: nothing does.
        to: Where they go besides the archive: a path, a function, or "otlp"; None: nowhere.
        interval: Seconds between them when nothing is sealed; None: none then.
        events: Events between them when nothing is sealed; None: no limit.
        faults: Takes what failed.
        sync: Force what a checkpoint is about to stable storage before.
        witnesses: Get those that are signed; None: nobody does.

    Attributes:
        is_wanted: Whether any are made.
    """

    def __init__(
        self,
        key: SigningKey | None,
        to: Any,
        interval: float | None,
        events: int | None,
        faults: Faults,
        sync: bool = False,
        witnesses: Cosigning | None = None,
    ) -> None:
        self._sync = sync
        self._key = key
        self._witnesses = None if key is None else witnesses
        self._to = to
        self._interval = interval
        self._fault = faults.fault
        self.is_wanted = key is not None or to is not None
        self._events = events if self.is_wanted else None
        self.begin()

    def begin(self) -> None:
        """Forget what was made and what waits; also called in a forked child."""
        self._made_at = -math.inf
        self._made_for = 0  # the newest event in it
        self._unsent: deque[str] = deque()
        self._turn = Turn()
        self._register = Register(self._key, self._sync)
        if self._witnesses is not None:
            self._witnesses.begin()

    @property
    def is_due(self) -> bool:
        """True if a checkpoint should be made although nothing was sealed."""
        if self._interval is None or not self.is_wanted:
            return False
        return time.monotonic() - self._made_at >= self._interval

    def is_due_at(self, number: int) -> bool:
        """Return True if a checkpoint should be made after the event with that *number*."""
        return self._events is not None and number - self._made_for >= self._events

    def make(self, writer: ArchiveWriter) -> None:
        """Make a checkpoint of *writer*, signed if there is a key. Never raises."""
        self._made_for = writer.newest[0]  # also after a failure: not at each event again
        if self.attest(writer):
            self._made_at = time.monotonic()

    def conclude(self, writer: ArchiveWriter) -> None:
        """Make a checkpoint if there is news of other writers. Never raises."""
        if self.is_wanted and self._others(writer, now=True):
            self._register = Register(self._key, self._sync)  # looks again
            self.make(writer)

    def _others(self, writer: ArchiveWriter, now: bool = False) -> list[OtherWriter]:
        try:
            return self._register.news(writer.directory, writer.name, writer.sealed.manifest, now)
        except OSError:
            return []  # the next checkpoint looks again

    def attest(self, writer: ArchiveWriter) -> bool:
        """Make a checkpoint of any writer, also of a recovered one; False if it is still due."""
        if not self.is_wanted:
            return True
        if not writer.newest[0]:
            return False  # a checkpoint of no events would fit any trail
        try:
            writer.state_newest()
            if others := self._others(writer):
                writer.sealed.state_others(others)
            note = self._note(writer)
            write_file([note.encode()], writer.path(".checkpoint"))
            append(writer.path(".checkpoints"), note.encode())
        except OSError as exc:
            self._fault("checkpoint", exc)
            return False
        if self._to is not None:
            self._unsent.append(note)
        if self._witnesses is not None:
            self._witnesses.add(writer.path(""), note)
        return True

    def attest_other(self, writer: ArchiveWriter) -> bool:
        """Make a checkpoint of a recovered writer, if there is a key; False if it is still due."""
        # An unsigned one would replace a signed one.
        return self._key is None or self.attest(writer)

    def _note(self, writer: ArchiveWriter) -> str:
        manifest, (number, head) = writer.sealed.manifest, writer.newest
        text = Checkpoint(
            origin=f"axon-audit/{writer.name}/{manifest.id}",
            size=manifest.tree.size,
            root=manifest.tree.root(),
            events=number,
            head=head or "",
            time=format_time(time.time_ns() // 1000),
        ).text()
        return text + "\n" if self._key is None else self._key.sign(text)

    def send(self, emit: Callable[[str], object], patience: float = 0.0) -> None:
        """Send the checkpoints that wait. It may take long, so no lock may be held.

        Args:
            emit: Sends one checkpoint through OpenTelemetry.
            patience: Seconds to wait for another thread that is sending.
        """
        sends = True
        while sends and self._unsent:
            with self._turn.take(patience) as ours:
                sends = ours and self._send_next(emit)
        if patience and self._witnesses is not None:
            self._witnesses.wait(patience)

    def _send_next(self, emit: Callable[[str], object]) -> bool:
        """Send the oldest; False if there is none, or it has to be sent again later."""
        if not self._unsent:
            return False
        to, note = self._to, self._unsent.popleft()
        try:
            if to == "otlp":
                emit(note)
            elif callable(to):
                to(note)
            else:
                append(to, note.encode(), anywhere=True)
        except BaseException as exc:
            self._unsent.appendleft(note)
            self._fault("checkpoint", exc)
            if not isinstance(exc, (Exception, asyncio.CancelledError)):
                raise
            return False
        return True
