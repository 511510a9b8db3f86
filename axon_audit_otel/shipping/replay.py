"""Sends what is in an archive to a collector: what it missed, or everything."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec

from ..archive.directory import newest_number, unlisted_in, writers_in
from ..core.errors import ArchiveError, archive_errors
from ..core.files import give_back
from ..otlp.client import Endpoint, load
from .acknowledgements import confirmed
from .delivery import Delivery, Outcome, Sender
from .sources import ArchiveFeed, Item

__all__ = ["Replayed", "replay"]

_IN_FLIGHT = 4  # requests, of up to a thousand events or two MiB


class Replayed(msgspec.Struct, kw_only=True):
    """Result of `replay`: counts of events.

    Attributes:
        sent: Events that the collector has acknowledged now.
        before: Events that it had acknowledged before, and that were not sent again.
        rejected: Events that it refused for good.
        unreadable: Lines of the archive that are no event.
        deleted: Events that retention had deleted before they were sent.
        missing: Events of files that are not there, are cut off, or cannot be read.
        why: Why not everything was sent; "" if it was.
        unremembered: Writers of which the acknowledgements could not be written down.
    """

    sent: int = 0
    before: int = 0
    rejected: int = 0
    unreadable: int = 0
    deleted: int = 0
    missing: int = 0
    why: str = ""
    unremembered: list[str] = msgspec.field(default_factory=list)


def replay(
    directory: Path,
    endpoint: Endpoint,
    resource: Mapping[str, Any],
    everything: bool = False,
    patience: float = 60.0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Replayed:
    """Send the events of an archive, of all its writers, oldest first.

    Receivers see what they have already as duplicates, by ``log.record.uid``.

    Args:
        directory: The archive. Its writers may be at work.
        endpoint: Where to.
        resource: The attributes of the resource that the records are of.
        everything: Also what was acknowledged; and remember nothing.
        patience: Seconds without progress after which it is given up.
        progress: Called with the number of events that are done, and of all.

    Raises:
        ArchiveError: If there is no archive, or it cannot be read.
        AuditConfigError: If a file of the TLS settings cannot be read.
    """
    with archive_errors(directory):
        if directory.is_dir():
            give_back(directory)
        return _Replay(directory, endpoint, resource, everything, patience, progress).run()


class _Replay:
    """One call of `replay`."""

    def __init__(
        self,
        directory: Path,
        endpoint: Endpoint,
        resource: Mapping[str, Any],
        everything: bool,
        patience: float,
        progress: Callable[[int, int], None],
    ) -> None:
        if not directory.is_dir():
            msg = f"no directory of audit files: {str(directory)!r}"
            raise ArchiveError(msg)
        self._directory = directory
        self._everything = everything
        self._patience = patience
        self._progress = progress
        load(endpoint)
        self._endpoint = endpoint
        self._resource = resource
        self._local = threading.local()
        self._senders: list[Sender] = []
        self._stop = threading.Event()
        self._progressed = time.monotonic()
        self._unlisted = unlisted_in(directory)
        self._done = self._total = 0
        self._result = Replayed()

    def run(self) -> Replayed:
        """Every writer in turn."""
        names = sorted({*writers_in(self._directory), *self._unlisted})
        if not names:
            msg = f"no audit files (audit_*.json) in {str(self._directory)!r}"
            raise ArchiveError(msg)
        starts = {writer: self._start(writer) for writer in names}
        self._result.before = sum(starts.values())
        self._total = sum(max(0, self._newest(name) - after) for name, after in starts.items())
        self._progress(0, self._total)
        try:
            with ThreadPoolExecutor(_IN_FLIGHT, "axon-audit-replay") as pool:
                try:
                    for writer in names:
                        self._send_all(writer, starts[writer], pool)
                        if self._result.why:
                            break
                finally:  # also of those that nobody waits for: Ctrl-C can strike anywhere
                    self._stop.set()
        finally:
            for sender in self._senders:
                sender.close()
        return self._result

    def _start(self, writer: str) -> int:
        if self._everything:
            return 0
        return confirmed(self._directory, writer, self._unlisted.get(writer, ()))[0]

    def _newest(self, writer: str) -> int:
        unlisted = (file.last for file in self._unlisted.get(writer, ()))
        return max([newest_number(self._directory, writer), *unlisted])

    def _send_all(self, writer: str, after: int, pool: ThreadPoolExecutor) -> None:
        feed = self._open(writer, after)
        if feed is None:
            return
        feed.hurry()
        delivery = Delivery(feed)
        # Several requests are on their way at once; acknowledged is what all before it is.
        sending: deque[Future[Outcome]] = deque()
        try:
            while not self._result.why:
                while len(sending) < _IN_FLIGHT and (batch := delivery.take()):
                    sending.append(pool.submit(self._send, batch))
                if not sending:
                    break
                outcome = sending[0].result()
                sending.popleft()  # now: if that was interrupted, it is waited for below
                self._acknowledge(writer, delivery, outcome)
        finally:
            self._stop.set()  # those that wait for their next attempt
            for future in sending:
                future.result()
            self._stop.clear()
            feed.close()
            for reason, count in delivery.take_dropped().items():
                setattr(self._result, reason, getattr(self._result, reason) + count)

    def _acknowledge(self, writer: str, delivery: Delivery, outcome: Outcome) -> None:
        try:
            delivery.acknowledge(outcome)
        except OSError:  # a full disk
            if writer not in self._result.unremembered:
                self._result.unremembered.append(writer)
        self._result.sent += outcome.done - outcome.rejected
        self._result.why = outcome.why
        self._done += outcome.done
        self._progress(self._done, self._total)

    def _open(self, writer: str, after: int) -> ArchiveFeed | None:
        files = self._unlisted.get(writer, ())
        try:
            if not self._everything:
                return ArchiveFeed(self._directory, writer, "", files)
        except FileNotFoundError:
            return None
        except OSError:  # a running process ships it, or nothing can be written here
            self._result.unremembered.append(writer)
        trail = confirmed(self._directory, writer, files)[1]
        try:
            return ArchiveFeed(self._directory, writer, trail, files, False, after)
        except FileNotFoundError:
            return None

    def _send(self, batch: list[Item]) -> Outcome:
        """Send one batch, with patience; in a thread that has a sender of its own."""
        sender: Sender | None = getattr(self._local, "sender", None)
        if sender is None:
            sender = self._local.sender = Sender(self._endpoint, self._resource)
            self._senders.append(sender)
        records = [item.record for item in batch]
        done = rejected = 0
        while True:
            outcome = sender.send(records[done:])
            done += outcome.done
            rejected += outcome.rejected
            if outcome.done:
                self._progressed = time.monotonic()
            if done == len(records):
                return Outcome(done, rejected)
            gives_up = time.monotonic() - self._progressed >= self._patience
            if (gives_up and not outcome.done) or self._stop.wait(sender.wait):
                return Outcome(done, rejected, outcome.why)
