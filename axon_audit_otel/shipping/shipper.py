"""Ships a trail to an OpenTelemetry collector, at least once, and never at the application's cost.

With an archive, what is sent is read from its files, behind the application: the archive is the
queue, and remembers what the collector has acknowledged, so that an outage of any length, or the
application's own end, loses nothing. Without one, the events in memory are the queue.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol
from weakref import ReferenceType

from ..otlp.client import Client, Endpoint, connect, load
from ..otlp.encoding import Envelope
from ..otlp.resource import own_resource, resource_of
from .acknowledgements import acknowledged
from .delivery import Delivery
from .event_source import EventSource
from .sources import EVENTS, ArchiveFeed, Feed, Item, MemoryFeed, others

__all__ = ["Shipper"]

_logger = logging.getLogger("axon_audit_otel")

_POLL_S = 0.25  # how often is looked for new events
_PAUSE_S = 0.05  # after a batch that is not full, so that the next one is fuller
_STATEMENTS = 1000  # that wait at most: a newer one says what the older did
_OTHERS_S = 10.0  # how often for what others left in the same archive
_RETRY_S = (0.5, 15.0)  # between attempts: the first, and at most
_FLUSH_S = 2.0  # that the end of a program waits for

_inherited: list[Client | None] = []  # from a parent: gRPC's cannot be ended in a forked child
_unresponsive: set[str] = set()  # endpoints that the end of a program has waited for in vain


class _Count(Protocol):
    def inc(self, amount: int, /) -> None: ...


class _Level(Protocol):
    def set(self, value: int, /) -> None: ...


class ShippingMetrics(Protocol):
    """What is counted of the events on their way; none of it raises."""

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
    """Sends the events of one trail, from a daemon thread.

    Args:
        trail: The events of the trail.
        endpoint: Where to.
        metrics: The trail's.
        fault: Reports a failure.
    """

    def __init__(
        self,
        trail: ReferenceType[EventSource],
        endpoint: Endpoint,
        metrics: ShippingMetrics,
        fault: Callable[[BaseException], None],
    ) -> None:
        self._trail = trail
        self._endpoint = endpoint
        self._metrics = metrics
        self._fault = fault
        # Here, since neither can be had any more when the program ends.
        load(endpoint)
        self._resource = own_resource()
        self._begin()

    def after_fork(self) -> None:
        """Begin anew in a forked child, without a thread."""
        # The lock on the receipts is the parent's, and ends with the last copy of its file.
        self._own.close()
        if self._other is not None:
            self._other.close()
        _inherited.append(self._client)
        self._begin()

    def _begin(self) -> None:
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._client: Client | None = None
        self._envelope: Envelope | None = None
        self._own = _Lane()
        self._place: tuple[Path, str] | None = None
        self._other: _Lane | None = None
        self._seen: dict[str, tuple[int, ...]] = {}  # of other writers, when all was sent
        self._look_at = 0.0
        self._statements: deque[bytes] = deque(maxlen=_STATEMENTS)  # not sent yet
        self._durable: int | None = None  # newest of its own events that may be sent; None: all
        self._delay = 0.0  # after a failure
        self._newest = 0  # number of the trail's newest event, when it was last looked at

    @property
    def acknowledged(self) -> int:
        """Number of the newest event of the trail that the collector has, with all before."""
        return self._own.acknowledged

    def tick(self) -> None:
        """Start, if that has not been done; let the gauge say how much is to be sent."""
        if self._thread is None:
            thread = threading.Thread(target=self._run, name="axon-audit-ship", daemon=True)
            with suppress(RuntimeError):  # the program ends, or may have no more threads
                thread.start()
                self._thread = thread
        self._measure()

    def _measure(self) -> None:
        trail = self._trail()
        if trail is None:
            return
        number, place = self.acknowledged, trail.location
        if self._own.feed is None and place is not None:  # not begun
            number = acknowledged(*place)[0]
        self._newest = trail.newest
        self._metrics.shipping_lag.set(max(0, self._newest - number))

    def add(self, record: bytes) -> None:
        """Send *record* too, which is no event; it waits in memory only."""
        self._statements.append(record)

    def flush(self) -> None:
        """Wait until everything is sent, but not for a collector that does not answer."""
        trail = self._trail()
        if trail is None:
            return
        self.tick()
        target = trail.newest
        timeout = 0.0 if self._endpoint.url in _unresponsive else _FLUSH_S
        with self._condition:
            self._condition.notify_all()
            over = self._condition.wait_for(lambda: self._is_over(target), timeout)
            if timeout and not over and not self._own.elsewhere:
                _unresponsive.add(self._endpoint.url)
        self._measure()

    def _is_over(self, target: int) -> bool:
        """Whether all is sent, or it makes no sense to wait for it."""
        if self._thread is None or not self._thread.is_alive():
            return True
        sent = self.acknowledged >= target and not self._statements
        return sent or bool(self._delay)

    # --- the thread ------------------------------------------------------------------------

    def _run(self) -> None:
        from opentelemetry.instrumentation.utils import suppress_instrumentation

        with suppress_instrumentation():
            while True:
                try:
                    if not self._open():
                        break
                    wait = self._turn()
                except BaseException as exc:
                    wait = self._failed(0.0)
                    with suppress(BaseException):  # of who logs it: it ends no thread of ours
                        self._fault(exc)
                with self._condition:
                    self._condition.notify_all()
                    if wait:
                        self._condition.wait(wait)
        if isinstance(self._own.feed, MemoryFeed):  # gone with the trail
            unread = max(0, self._newest - self._own.feed.position)
            self._own.drop("shutdown", len(self._own.pending) + unread)
            self._drop(self._own)
        self._own.close()
        if self._other is not None:
            self._other.close()
        if self._client is not None:
            self._client.close()

    def _turn(self) -> float:
        """Send one batch; returns for how many seconds there is nothing to do."""
        if self._statements and (wait := self._send_statements()):
            return wait
        lane = self._own
        batch = lane.ready(self._durable)
        if not batch:
            lane = self._lane_of_others() or lane
            batch = lane.ready(self._durable if lane is self._own else None)
        if not batch:
            self._drop(lane)
            return _POLL_S
        delivery = self._deliver(batch)
        if delivery.settled:
            _unresponsive.discard(self._endpoint.url)
            self._metrics.shipped.inc(delivery.settled - delivery.rejected)
            try:
                lane.settle(delivery.settled)
            except OSError as exc:  # a full disk: it costs duplicates after a restart
                self._fault(exc)
        if delivery.rejected:
            lane.drop("rejected", delivery.rejected)
        self._drop(lane)
        self._measure()
        self._tell(delivery)
        if delivery.settled < len(batch):
            return self._failed(delivery.answer.wait)
        self._delay = 0.0
        return 0.0 if len(batch) >= EVENTS else _PAUSE_S

    def _send_statements(self) -> float:
        """Returns how long to wait until they are sent again; 0.0 if they were."""
        records = [*self._statements]
        delivery = self._deliver(records)
        for record in records[: delivery.settled]:
            with suppress(ValueError):  # newer ones took its place
                self._statements.remove(record)
        self._tell(delivery)
        if delivery.settled < len(records):
            return self._failed(delivery.answer.wait)
        self._delay = 0.0
        _unresponsive.discard(self._endpoint.url)
        return 0.0

    def _deliver(self, records: list[bytes]) -> Delivery:
        assert self._client is not None
        assert self._envelope is not None
        return Delivery(self._client, self._envelope, records)

    def _tell(self, delivery: Delivery) -> None:
        if delivery.answer.kind != "accepted" or delivery.answer.rejected:
            self._fault(ConnectionError(f"{self._endpoint.url}: {delivery.answer.why}"))

    def _failed(self, wanted: float) -> float:
        """How long to wait after a failure: longer each time, and as the receiver wants."""
        least, most = _RETRY_S
        self._delay = min(max(2 * self._delay, least), most)
        return max(self._delay * random.uniform(0.7, 1.0), wanted)  # noqa: S311

    def _drop(self, lane: _Lane) -> None:
        for reason, count in lane.take_dropped().items():
            self._metrics.shipping_dropped[reason].inc(count)

    # --- what is sent ----------------------------------------------------------------------

    def _open(self) -> bool:
        """Have a connection, and the feed of the trail's own events; False without a trail.

        The trail is not held on to: it goes when nobody else uses it, and its name with it.
        """
        trail = self._trail()
        if trail is None:
            return False
        if self._client is None:
            self._client = connect(self._endpoint)
            self._envelope = Envelope(resource_of(trail.provider) or self._resource)
        self._durable = trail.durable
        self._open_own(trail)
        return True

    def _open_own(self, trail: EventSource) -> None:
        place = trail.location
        if self._own.feed is not None and place == self._place:
            return
        self._own.close()
        self._own, self._place = _Lane(), place
        if place is None:
            if not trail.archives:
                self._own = _Lane(MemoryFeed(self._trail))
            return
        try:
            self._own = _Lane(ArchiveFeed(*place, trail.name))
        except FileNotFoundError:
            return  # nothing yet
        except BlockingIOError:  # another process ships them now
            self._own.elsewhere = True
            self._own.acknowledged = acknowledged(*place)[0]

    def _lane_of_others(self) -> _Lane | None:
        """What another writer of the same archive left, who may be gone."""
        try:
            if self._other is not None and self._other.fill():
                return self._other
        except OSError as exc:  # tried again when its writer has done something
            self._fault(exc)
        place = self._place
        if self._other is not None:
            self._other.close()
            self._other = None
        elif time.monotonic() < self._look_at:
            return None
        if place is None:
            return None
        directory, writer = place
        for name, state in others(directory, writer).items():
            if self._seen.get(name) == state:
                continue
            self._seen[name] = state
            with suppress(OSError):  # it ships itself, or has nothing
                self._other = _Lane(ArchiveFeed(directory, name))
                return self._other
        self._look_at = time.monotonic() + _OTHERS_S
        return None


class _Lane:
    """A feed, and what was taken from it and is not settled.

    Args:
        feed: None: there is nothing to be sent.
    """

    def __init__(self, feed: Feed | None = None) -> None:
        self.feed = feed
        self.pending: list[Item] = []
        self.acknowledged = 0 if feed is None else feed.acknowledged
        self.elsewhere = False  # another process sends it

    def fill(self) -> bool:
        """Have something to send, if there is anything."""
        if self.feed is not None and not self.pending:
            self.pending = self.feed.batch()
        return bool(self.pending)

    def ready(self, newest: int | None) -> list[bytes]:
        """What can be sent, up to event *newest*."""
        self.fill()
        pending = self.pending
        return [item.record for item in pending if newest is None or item.number <= newest]

    def settle(self, count: int) -> None:
        """The first *count* of what is pending need not be sent again."""
        item = self.pending[count - 1]
        del self.pending[:count]
        self.acknowledged = item.number
        assert self.feed is not None
        self.feed.acknowledge(item)

    def drop(self, reason: str, count: int) -> None:
        """Events that will not be sent."""
        assert self.feed is not None
        self.feed.dropped[reason] = self.feed.dropped.get(reason, 0) + count

    def take_dropped(self) -> dict[str, int]:
        """Those since the last call, by reason."""
        if self.feed is None:
            return {}
        dropped, self.feed.dropped = self.feed.dropped, {}
        return dropped

    def close(self) -> None:
        """Let go of the feed."""
        if self.feed is not None:
            self.feed.close()
            self.feed = None
