"""Ships a trail to an OpenTelemetry collector, at least once, and never at the application's cost.

With an archive, what is sent is read from its files, behind the application: the archive is the
queue, and remembers what the collector has acknowledged, so that an outage of any length, or the
application's own end, loses nothing. Without one, the events in memory are the queue.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from weakref import ReferenceType

from ..archive.directory import states_of_others
from ..core.worker import Worker
from ..otlp.client import Endpoint, load
from ..otlp.resource import process_resource, resource_of
from .acknowledgements import acknowledged
from .delivery import USUAL, Delivery, Limits, Outcome, Sender
from .event_source import EventSource
from .sources import BYTES, EVENTS, ArchiveFeed, Item, MemoryFeed

__all__ = ["Shipper"]

_POLL_S = 0.25  # how often is looked for new events
# After a batch that is not full, so that the next one is fuller: a request costs more than an
# event, and a collector with a queue on disk waits for the disk at each. Where events are only in
# memory, newer ones may push them out meanwhile.
_PAUSE_S = 0.5
_MEMORY_PAUSE_S = 0.05
_STATEMENTS = 1000  # that wait at most: a newer one says what the older did
_OTHERS_S = 10.0  # how often for what others left in the same archive
_FLUSH_S = 2.0  # that the end of a program waits for

_inherited: list[Sender | None] = []  # from a parent: gRPC's cannot be ended in a forked child
_unresponsive: set[str] = set()  # endpoints that the end of a program has waited for in vain


class _Count(Protocol):
    def inc(self, amount: int, /) -> None: ...


class _Level(Protocol):
    def set(self, value: int, /) -> None: ...


class ShippingMetrics(Protocol):
    """Counts events on their way; none of it raises."""

    @property
    def shipped(self) -> _Count:
        """Events that a collector has acknowledged."""

    @property
    def shipping_lag(self) -> _Level:
        """Events that no collector has acknowledged yet."""

    @property
    def shipping_dropped(self) -> Mapping[str, _Count]:
        """Events that will not be sent, by reason."""


class Shipper:
    """Sends the events of one trail, from a background thread.

    Args:
        trail: The events of the trail.
        endpoint: Where to.
        metrics: The trail's.
        fault: Reports a failure.
        limits: What is sent at most.
    """

    def __init__(
        self,
        trail: ReferenceType[EventSource],
        endpoint: Endpoint,
        metrics: ShippingMetrics,
        fault: Callable[[BaseException], None],
        limits: Limits = USUAL,
    ) -> None:
        self._trail = trail
        self._endpoint = endpoint
        self._metrics = metrics
        self._fault = fault
        self._limits = limits
        # Here, since neither can be had any more when the program ends.
        load(endpoint)
        self._resource = process_resource()
        self._begin()

    def after_fork(self) -> None:
        """Begin anew in a forked child, without a thread."""
        # The lock on what is acknowledged is the parent's, and ends with the last copy of its file.
        self._let_go()
        _inherited.append(self._sender)
        self._begin()

    def _begin(self) -> None:
        self._worker = Worker("axon-audit-ship", self._turn, self._fault, self._end)
        self._progress = threading.Condition()  # notified after each turn
        self._fails = False  # the last turn did
        self._sender: Sender | None = None
        self._own: Delivery | None = None  # of the trail's events
        self._is_elsewhere = False  # another process sends them
        self._place: tuple[Path, str] | None = None  # where they are
        self._other: Delivery | None = None  # of another writer's
        self._others_turn = False  # they would never have one while this process is busy
        self._seen: dict[str, tuple[int, ...]] = {}  # of other writers, when all was sent
        self._look_at = 0.0
        self._statements: deque[bytes] = deque(maxlen=_STATEMENTS)  # not sent yet
        self._durable: int | None = None  # newest of its own events that may be sent; None: all
        self._newest = 0  # number of the trail's newest event, when it was last looked at

    def tick(self) -> None:
        """Start, if that has not been done; let the gauge say how much is to be sent."""
        self._worker.start()
        self._measure()

    def _measure(self) -> None:
        trail = self._trail()
        if trail is not None:
            self._newest = trail.newest
            lag = self._newest - self._acknowledged(trail.location)
            self._metrics.shipping_lag.set(max(0, lag))

    def _acknowledged(self, place: tuple[Path, str] | None) -> int:
        """Number of the newest event of the trail that the collector has, with all before."""
        if (own := self._own) is not None:
            return own.feed.acknowledged
        return 0 if place is None else acknowledged(*place)[0]

    def add(self, record: bytes) -> None:
        """Send *record* too, which is no event; it waits in memory only."""
        self._statements.append(record)

    def flush(self) -> None:
        """Wait until everything is sent, but not for a collector that does not answer."""
        trail = self._trail()
        if trail is None:
            return
        target = trail.newest
        timeout = 0.0 if self._endpoint.url in _unresponsive else _FLUSH_S
        with self._progress:
            self._worker.wake()
            over = self._progress.wait_for(lambda: self._is_over(target), timeout)
        if timeout and not over and not self._is_elsewhere:
            _unresponsive.add(self._endpoint.url)
        self._measure()

    def _is_over(self, target: int) -> bool:
        """True if all is sent, or it makes no sense to wait for it."""
        if self._fails or not self._worker.is_running:
            return True
        # Written there may be acknowledgements of another archive, until we have opened them.
        place = self._place if self._is_elsewhere else None
        return self._acknowledged(place) >= target and not self._statements

    # --- the thread ------------------------------------------------------------------------

    def _turn(self) -> float | None:
        """Send what can be sent now; returns in how many seconds to go on, None without a trail."""
        from opentelemetry.instrumentation.utils import suppress_instrumentation

        fails = True
        try:
            with suppress_instrumentation():
                sender = self._open()
                wait = None
                if sender is not None:
                    wait = self._send_statements(sender) or self._send_events(sender)
                    fails = sender.wait > 0
                return wait
        finally:
            with self._progress:
                self._fails = fails
                self._progress.notify_all()

    def _send_statements(self, sender: Sender) -> float:
        """Returns how long to wait until they are sent again; 0.0 if they were."""
        if records := [*self._statements]:
            outcome = sender.send(records)
            for record in records[: outcome.done]:
                with suppress(ValueError):  # newer ones took its place
                    self._statements.remove(record)
            self._report(outcome)
        return sender.wait if records else 0.0

    def _send_events(self, sender: Sender) -> float:
        """Send one batch; returns for how many seconds there is nothing to do."""
        delivery, batch = self._next()
        if delivery is None or not batch:
            self._count_dropped()
            return _POLL_S
        outcome = sender.send([item.record for item in batch])
        self._metrics.shipped.inc(outcome.sent)
        # Of a full batch: a record is longer than its event.
        more = len(batch) >= EVENTS or sum(len(item.record) for item in batch) >= BYTES
        self._others_turn = delivery is self._own and not more
        try:
            delivery.acknowledge(outcome)
        except OSError as exc:  # a full disk
            self._fault(exc)
        self._count_dropped()
        self._measure()
        self._report(outcome)
        pause = _MEMORY_PAUSE_S if isinstance(delivery.feed, MemoryFeed) else _PAUSE_S
        return sender.wait or (0.0 if more else pause)

    def _report(self, outcome: Outcome) -> None:
        if outcome.done:
            _unresponsive.discard(self._endpoint.url)
        if outcome.why:
            self._fault(ConnectionError(f"{self._endpoint.place}: {outcome.why}"))

    def _count_dropped(self) -> None:
        for delivery in (self._own, self._other):
            if delivery is not None:
                for reason, count in delivery.take_dropped().items():
                    self._metrics.shipping_dropped[reason].inc(count)

    def _end(self) -> None:
        """The trail is gone, and what was only in its memory with it."""
        if self._own is not None and isinstance(self._own.feed, MemoryFeed):
            unread = max(0, self._newest - self._own.feed.position)
            self._metrics.shipping_dropped["shutdown"].inc(len(self._own.pending) + unread)
        self._count_dropped()
        self._let_go()
        if self._sender is not None:
            self._sender.close()

    def _let_go(self) -> None:
        for delivery in (self._own, self._other):
            if delivery is not None:
                delivery.feed.close()

    # --- what is sent ----------------------------------------------------------------------

    def _open(self) -> Sender | None:
        """A connection, with the trail's own events ready to be read; None without a trail.

        The trail is not held on to: it goes when nobody else uses it, and its name with it.
        """
        trail = self._trail()
        if trail is None:
            return None
        if self._sender is None:
            resource = resource_of(trail.provider) or self._resource
            self._sender = Sender(self._endpoint, resource, self._limits)
        self._durable = trail.durable
        self._open_own(trail)
        return self._sender

    def _open_own(self, trail: EventSource) -> None:
        place = trail.location
        if self._own is not None:
            if place == self._place:
                return
            self._own.feed.close()
        self._own, self._place, self._is_elsewhere = None, place, False
        try:
            if place is not None:
                self._own = Delivery(ArchiveFeed(*place, trail.name))
            elif not trail.archives:
                self._own = Delivery(MemoryFeed(self._trail))
        except FileNotFoundError:
            return  # nothing yet
        except BlockingIOError:
            self._is_elsewhere = True

    def _next(self) -> tuple[Delivery | None, list[Item]]:
        """What is sent next, and whose it is."""
        own = self._ready()
        other = self._left_by_others() if self._others_turn or not own else None
        if other is not None and (batch := other.pending or other.take()):
            return other, batch
        return self._own, own

    def _ready(self) -> list[Item]:
        """The next of the trail's own events that may be sent."""
        if self._own is None:
            return []
        pending, newest = self._own.pending or self._own.take(), self._durable
        return [item for item in pending if newest is None or item.number <= newest]

    def _left_by_others(self) -> Delivery | None:
        """Events of another writer of the same archive, who may be gone; None: there are none."""
        try:
            if self._other is not None and (self._other.pending or self._other.take()):
                return self._other
        except OSError as exc:  # tried again when its writer has done something
            self._fault(exc)
        if self._other is not None:
            self._count_dropped()
            self._other.feed.close()
            self._other = None
        elif time.monotonic() < self._look_at:
            return None
        if self._place is None:
            return None
        directory, writer = self._place
        for name, state in states_of_others(directory, writer).items():
            if self._seen.get(name) == state:
                continue
            self._seen[name] = state
            with suppress(OSError):  # it ships itself, or has nothing
                self._other = Delivery(ArchiveFeed(directory, name))
                return self._other
        self._look_at = time.monotonic() + _OTHERS_S
        return None
