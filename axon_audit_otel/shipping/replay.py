"""Sends what is in an archive to a collector: what it missed, or everything."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from ..archive.directory import newest_number, unlisted_in, writers_in
from ..archive.origin import Source, source_of
from ..core.errors import ArchiveError, archive_errors
from ..core.files import give_back
from ..otlp.client import Endpoint, load
from .acknowledgements import confirmed, ships_itself
from .delivery import USUAL, Delivery, Limits, Outcome, Sender
from .sources import ArchiveFeed, Feed, Item
from .store_check import Span, WriterCheck, time_of
from .store_feed import StoreFeed
from .stores.store import Store

__all__ = ["Replayed", "replay"]

_IN_FLIGHT = 4  # batches, of up to a thousand events or one MiB
_FORGOTTEN = 250  # events that are taken off the list at once: each time it is written anew


class Replayed(msgspec.Struct, kw_only=True):
    """Result of `replay`: counts of events.

    Attributes:
        sent: Events that the collector has acknowledged now.
        before: Events that it had acknowledged before, and that were not sent again.
        rejected: Events that it refused for good.
        too_large: Events that were not sent, since their record is larger than is allowed.
        again: Events among those sent that had been refused, or were too large, before.
        too_old: Events that the store lacks, and would not keep.
        left: Events that the store lacks and a running process sends.
        unreadable: Lines of the archive that are no event.
        deleted: Events that retention had deleted before they were sent.
        missing: Events of files that are not there, are cut off, or cannot be read.
        why: Why not everything was sent; "" if it was.
        unremembered: Writers of which the acknowledgements could not be written down.
    """

    sent: int = 0
    before: int = 0
    rejected: int = 0
    too_large: int = 0
    again: int = 0
    too_old: int = 0
    left: int = 0
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
    limits: Limits = USUAL,
    store: Store | None = None,
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
        limits: What is sent at most.
        store: Send what this store lacks, and nothing else, whatever was acknowledged; and
            remember nothing.

    Raises:
        ArchiveError: If there is no archive, or it cannot be read.
        ConnectionError: If the store does not answer.
        AuditConfigError: If a file of the TLS settings cannot be read.
    """
    with archive_errors(directory):
        if directory.is_dir():
            give_back(directory)
        run = _Replay(directory, endpoint, resource, everything, patience, progress)
        run.limits, run.store = limits, store
        return run.run()


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
        self._refused: set[int] = set()  # of the writer that is sent
        self._result = Replayed()
        self.limits = USUAL
        self.store: Store | None = None

    def run(self) -> Replayed:
        """Every writer in turn."""
        names = sorted({*writers_in(self._directory), *self._unlisted})
        if not names:
            msg = f"no audit files (audit_*.json) in {str(self._directory)!r}"
            raise ArchiveError(msg)
        starts = {writer: self._start(writer) for writer in names}
        self._result.before = 0 if self.store else sum(starts.values())
        there = self._there()
        self._total = sum(max(0, self._newest(name) - after) for name, after in starts.items())
        self._progress(0, self._total)
        try:
            with ThreadPoolExecutor(_IN_FLIGHT, "axon-audit-replay") as pool:
                try:
                    for writer in names:
                        if there is None:
                            self._send_all(writer, starts[writer], pool)
                        else:
                            self._send_missing(writer, there, pool)
                        if self._result.why:
                            break
                finally:  # also of those that nobody waits for: Ctrl-C can strike anywhere
                    self._stop.set()
        finally:
            for sender in self._senders:
                sender.close()
        return self._result

    def _there(self) -> set[str] | None:
        """The trails of which the store has something; None without a store."""
        if self.store is None:
            return None
        self.store.settle()
        return {stream.stream for stream in self.store.streams()}

    def _start(self, writer: str) -> int:
        if self._everything or self.store is not None:
            return 0
        return confirmed(self._directory, writer, self._unlisted.get(writer, ()))[0]

    def _newest(self, writer: str) -> int:
        unlisted = (file.last for file in self._unlisted.get(writer, ()))
        return max([newest_number(self._directory, writer), *unlisted])

    def _send_all(self, writer: str, after: int, pool: ThreadPoolExecutor) -> None:
        feed = self._open(writer, after)
        if feed is None:
            self._result.missing += self._newest(writer) - after
            return
        feed.hurry()
        self._refused.clear()
        try:
            self._deliver(writer, feed, pool)
            if not self._result.why:
                self._send_aside(writer, feed)
        finally:
            feed.close()

    def _send_missing(self, writer: str, there: set[str], pool: ThreadPoolExecutor) -> None:
        """Send what the store lacks of one writer."""
        files = self._unlisted.get(writer, ())
        source = source_of(self._directory, writer, files[0].path if files else None)
        if not source.stream:
            self._result.missing += self._newest(writer)
            return
        assert self.store is not None
        number, trail = confirmed(self._directory, writer, files)
        source = Source(trail or writer, source.stream)
        newest = self._newest(writer)
        if ships_itself(self._directory, writer):
            self._result.left += max(0, newest - number)
            newest = number
        check = WriterCheck(self.store, self._directory, writer, source, files)
        spans = check.spans(source.stream in there, newest)
        self._deliver(writer, StoreFeed(self._seen(spans), source), pool)
        for reason in ("missing", "unreadable"):
            lost = getattr(self._result, reason) + check.found.lost[reason]
            setattr(self._result, reason, lost)

    def _seen(self, spans: Iterator[Span]) -> Iterator[Span]:
        """*spans* of what is to be sent; the rest of them is progress."""
        assert self.store is not None
        keeps = self.store.keeps()
        since = 0.0 if keeps is None else time.time() - keeps
        for span in spans:
            self._result.before += span.events - len(span.missing)
            self._done += span.last - span.first + 1 - len(span.missing)
            wanted = {n: line for n, line in span.missing.items() if time_of(line) >= since}
            too_old = len(span.missing) - len(wanted)
            self._result.too_old += too_old
            self._done += too_old
            self._progress(self._done, self._total)
            yield span._replace(missing=wanted)

    def _deliver(self, writer: str, feed: Feed, pool: ThreadPoolExecutor) -> None:
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
            for reason, count in delivery.take_dropped().items():
                setattr(self._result, reason, getattr(self._result, reason) + count)

    def _send_aside(self, writer: str, feed: ArchiveFeed) -> None:
        """Send what no receiver took before, unless this one did not just now."""
        if self._everything:
            return
        taken: list[int] = []
        try:
            with closing(feed.aside()) as items:
                for item in items:
                    if item.number in self._refused:
                        continue
                    outcome = self._send([item])
                    if outcome.sent:
                        self._result.sent += 1
                        self._result.again += 1
                        taken.append(item.number)
                    elif outcome.done:
                        reason = "rejected" if outcome.refused else "too_large"
                        setattr(self._result, reason, getattr(self._result, reason) + 1)
                    else:
                        self._result.why = outcome.why
                        return
                    if len(taken) >= _FORGOTTEN:
                        self._forget(writer, feed, taken)
        finally:
            self._forget(writer, feed, taken)

    def _forget(self, writer: str, feed: ArchiveFeed, taken: list[int]) -> None:
        """Take the events of these numbers off the list, and empty *taken*."""
        try:
            if taken:
                feed.taken(taken)
        except OSError:
            self._unremembered(writer)
        taken.clear()

    def _unremembered(self, writer: str) -> None:
        if writer not in self._result.unremembered:
            self._result.unremembered.append(writer)

    def _acknowledge(self, writer: str, delivery: Delivery, outcome: Outcome) -> None:
        for index in (*outcome.refused, *outcome.too_large):
            self._refused.add(delivery.pending[index].number)
        try:
            delivery.acknowledge(outcome)
        except OSError:  # a full disk
            self._unremembered(writer)
        self._result.sent += outcome.sent
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
            self._unremembered(writer)
        trail = confirmed(self._directory, writer, files)[1]
        try:
            return ArchiveFeed(self._directory, writer, trail, files, False, after)
        except FileNotFoundError:
            return None

    def _send(self, batch: list[Item]) -> Outcome:
        """Send one batch, with patience; in a thread that has a sender of its own."""
        sender: Sender | None = getattr(self._local, "sender", None)
        if sender is None:
            sender = self._local.sender = Sender(self._endpoint, self._resource, self.limits)
            self._senders.append(sender)
        records = [item.record for item in batch]
        whole = Outcome(0)
        while True:
            outcome = sender.send(records[whole.done :])
            whole = outcome.after(whole)
            if outcome.done:
                self._progressed = time.monotonic()
            if whole.done == len(records):
                return whole._replace(why="")
            gives_up = time.monotonic() - self._progressed >= self._patience
            if (gives_up and not outcome.done) or self._stop.wait(sender.wait):
                return whole
