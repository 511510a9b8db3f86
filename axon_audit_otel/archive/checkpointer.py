"""Makes checkpoints of a writer's files, keeps them beside these, and sends them on."""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..core.faults import Faults
from ..core.files import append, write_file
from ..core.time import format_time
from ..core.turn import Turn
from .checkpoints import Checkpoint, SigningKey
from .manifest import OtherWriter
from .register import Register
from .writer import ArchiveWriter

__all__ = ["Checkpointer"]


class Checkpointer:
    """The checkpoints of one trail. Its trail holds a lock, but not for `send`.

    Args:
        key: Signs them; None: nothing does.
        to: Where they go besides the archive: a path, a function, or "otlp"; None: nowhere.
        interval: Seconds between them when nothing is sealed; None: none then.
        faults: Takes what failed.
        sync: Force what a checkpoint is about to stable storage before.

    Attributes:
        is_wanted: Whether any are made.
    """

    def __init__(
        self,
        key: SigningKey | None,
        to: Any,
        interval: float | None,
        faults: Faults,
        sync: bool = False,
    ) -> None:
        self._sync = sync
        self._key = key
        self._to = to
        self._interval = interval
        self._fault = faults.fault
        self.is_wanted = key is not None or to is not None
        self.begin()

    def begin(self) -> None:
        """Forget what was made and what waits; also called in a forked child."""
        self._made_at = -math.inf
        self._unsent: deque[str] = deque()
        self._turn = Turn()
        self._register = Register(self._sync)

    @property
    def is_due(self) -> bool:
        """True if a checkpoint should be made although nothing was sealed."""
        if self._interval is None or not self.is_wanted:
            return False
        return time.monotonic() - self._made_at >= self._interval

    def make(self, writer: ArchiveWriter) -> None:
        """Make a checkpoint of *writer*, signed if there is a key. Never raises."""
        if self.attest(writer):
            self._made_at = time.monotonic()

    def conclude(self, writer: ArchiveWriter) -> None:
        """Make a checkpoint if there is news of other writers. Never raises."""
        if self.is_wanted and self._others(writer, now=True):
            self._register = Register(self._sync)
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
