"""Sends what is in an archive to a collector: what it missed, or everything."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from ..archive.directory import newest_number, unlisted_in, writers_in
from ..core.errors import ArchiveError, archive_errors
from ..core.files import give_back
from ..otlp.client import Client, Endpoint, connect, load
from ..otlp.encoding import Envelope
from .acknowledgements import confirmed
from .delivery import Delivery
from .sources import ArchiveFeed, Item

__all__ = ["Replayed", "replay"]

_RETRY_S = (0.2, 5.0)  # between attempts: the first, and at most
_IN_FLIGHT = 4  # requests, of up to a thousand events or two MiB
_Batch = list[Item]


class _Sent(NamedTuple):
    """What became of a batch: how many from its front need not be sent again."""

    settled: int
    rejected: int
    why: str = ""


class Replayed(msgspec.Struct, kw_only=True):
    """What `replay` did.

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
        self._local = threading.local()
        self._clients: list[Client] = []
        self._stop = False
        self._progressed = time.monotonic()
        self._envelope = Envelope(resource)
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
                    self._stop = True
        finally:
            for client in self._clients:
                client.close()
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
        # Several requests are on their way at once; acknowledged is what all before it is.
        sending: deque[tuple[_Batch, Future[_Sent]]] = deque()
        try:
            while not self._result.why:
                while len(sending) < _IN_FLIGHT and (batch := feed.batch()):
                    sending.append((batch, pool.submit(self._send, batch)))
                if not sending:
                    break
                batch, future = sending[0]
                sent = future.result()
                sending.popleft()  # now: if that was interrupted, it is waited for below
                self._settle(writer, feed, batch, sent)
        finally:
            self._stop = True  # those that wait for their next attempt
            for _, future in sending:
                future.result()
            self._stop = False
            feed.close()
            self._result.unreadable += feed.dropped.get("unreadable", 0)
            self._result.deleted += feed.dropped.get("deleted", 0)
            self._result.missing += feed.dropped.get("missing", 0)

    def _settle(self, writer: str, feed: ArchiveFeed, batch: _Batch, sent: _Sent) -> None:
        if sent.settled:
            try:
                feed.acknowledge(batch[sent.settled - 1])
            except OSError:  # a full disk: it costs duplicates
                if writer not in self._result.unremembered:
                    self._result.unremembered.append(writer)
        self._result.sent += sent.settled - sent.rejected
        self._result.rejected += sent.rejected
        self._result.why = sent.why
        self._done += sent.settled
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

    def _send(self, batch: _Batch) -> _Sent:
        """Send one batch, with patience; in a thread that has a client of its own."""
        client: Client | None = getattr(self._local, "client", None)
        if client is None:
            client = self._local.client = connect(self._endpoint)
            self._clients.append(client)
        records = [item.record for item in batch]
        delay, most = _RETRY_S
        settled = rejected = 0
        while True:
            delivery = Delivery(client, self._envelope, records[settled:])
            settled += delivery.settled
            rejected += delivery.rejected
            if delivery.settled:
                self._progressed = time.monotonic()
            if settled == len(records):
                return _Sent(settled, rejected)
            if delivery.settled:
                continue
            if self._stop or time.monotonic() - self._progressed >= self._patience:
                return _Sent(settled, rejected, delivery.answer.why)
            time.sleep(max(delay, delivery.answer.wait))
            delay = min(2 * delay, most)
