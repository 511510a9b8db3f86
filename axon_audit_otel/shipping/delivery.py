"""The one way events take to a receiver: taken from a feed, sent, acknowledged or dropped."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..core.log import logger
from ..otlp.client import Answer, Endpoint, connect
from ..otlp.encoding import Envelope
from .sources import Feed, Item
from .unsent import SetAside, Why

__all__ = ["USUAL", "Delivery", "Limits", "Outcome", "Sender"]

_LENGTHS = 16  # bytes at most by which the lengths in a request grow with its records
_RETRY_S = (0.5, 15.0)  # between attempts: the first wait, and the longest


class Outcome(NamedTuple):
    """The result of sending some records.

    Attributes:
        done: How many of the first need not be sent again.
        refused: Which of these the receiver refused for good.
        why: Why others must be sent again, or some were refused; "" if all were accepted.
        too_large: Which of the first were not sent, since they are larger than is allowed.
        said: What the receiver said of those that it refused.
    """

    done: int
    refused: tuple[int, ...] = ()
    why: str = ""
    too_large: tuple[int, ...] = ()
    said: str = ""

    @property
    def sent(self) -> int:
        """How many the receiver has taken."""
        return self.done - len(self.refused) - len(self.too_large)

    def after(self, before: Outcome) -> Outcome:
        """This outcome of the records that *before* left, as one of all of them."""
        first = before.done
        return Outcome(
            first + self.done,
            (*before.refused, *(first + index for index in self.refused)),
            self.why,
            (*before.too_large, *(first + index for index in self.too_large)),
            self.said or before.said,
        )


class Limits(NamedTuple):
    """What is sent at most, uncompressed.

    Attributes:
        request: Bytes of a request.
        event: Bytes of the log record of an event.
    """

    request: int
    event: int


#: What is sent where nothing else is said: Kafka takes messages of a million bytes.
USUAL = Limits(800_000, 800_000)


class Sender:
    """A connection to one receiver; for one thread.

    Args:
        endpoint: Where to.
        resource: The attributes of the resource that the records are of.
        limits: What is sent at most.

    Attributes:
        wait: Seconds for which the receiver is left alone now: longer after each failure, and
            as long as it wants; 0.0 if it took what was sent last.

    Raises:
        AuditConfigError: If a file of the TLS settings cannot be read.
    """

    def __init__(
        self, endpoint: Endpoint, resource: Mapping[str, Any], limits: Limits = USUAL
    ) -> None:
        self._endpoint = endpoint
        self._client = connect(endpoint)
        self._envelope = Envelope(resource)
        around = len(self._envelope.protobuf(())) + _LENGTHS
        self._room = max(1, limits.request - around)
        self._largest = min(limits.event, self._room)
        self._delay = 0.0
        self.wait = 0.0

    def send(self, records: Sequence[bytes]) -> Outcome:
        """Send *records*, in requests of limited size, in parts where they are refused as a whole.

        A record that is refused alone is given up, if the receiver takes others (or a request
        without records): else it is the receiver that is at fault, or what is before it, and
        the records wait. Of a request of which a part was refused, the halves are sent again, to
        find out which: what was taken then comes twice.
        """
        done, said, works = 0, "", False
        refused: list[int] = []
        too_large: list[int] = []
        sizes = self._parts(records)  # of the parts that are left, the next one last
        while sizes:
            size = sizes.pop()
            if size == 1 and len(records[done]) > self._largest:
                too_large.append(done)
                done += 1
                continue
            answer = self._post(records[done : done + size])
            partly = answer.kind == "accepted" and 0 < answer.rejected < size
            if size > 1 and (answer.kind == "refused" or partly):
                sizes += size - size // 2, size // 2
                works = works or partly
                continue
            if answer.kind == "refused" and (works or self._post(()).kind == "accepted"):
                answer = Answer("accepted", answer.why, 1)
            if answer.kind != "accepted":
                self._back_off(answer.wait)
                return Outcome(done, tuple(refused), answer.why, tuple(too_large), said)
            works = True
            if answer.rejected:
                refused += range(done, done + size)
                said = answer.why or "rejected"
            done += size
        self._delay = self.wait = 0.0
        return Outcome(done, tuple(refused), said, tuple(too_large), said)

    def _parts(self, records: Sequence[bytes]) -> list[int]:
        """How many records each request has, the last one first; what is too large is alone."""
        sizes, room = [0], self._room
        for record in records:
            alone = len(record) > self._largest
            if sizes[-1] and (alone or len(record) > room):
                sizes.append(0)
                room = self._room
            sizes[-1] += 1
            room = 0 if alone else room - len(record)
        return [size for size in reversed(sizes) if size]

    def _post(self, records: Sequence[bytes]) -> Answer:
        answer = self._client.send(self._envelope.protobuf(records))
        return answer._replace(why=self._endpoint.without_secrets(answer.why))

    def _back_off(self, wanted: float) -> None:
        least, most = _RETRY_S
        self._delay = min(max(2 * self._delay, least), most)
        self.wait = max(self._delay * random.uniform(0.7, 1.0), wanted)  # noqa: S311

    def close(self) -> None:
        """Let go of the connection."""
        self._client.close()


class Delivery:
    """The events of one feed on their way, in order.

    Attributes:
        feed: Where they come from.
        pending: Those that were taken from it and are not acknowledged, the oldest first.
    """

    def __init__(self, feed: Feed) -> None:
        self.feed = feed
        self.pending: list[Item] = []

    def take(self) -> list[Item]:
        """The next events, which are pending from now on; [] for now."""
        batch = self.feed.batch()
        self.pending += batch
        return batch

    def acknowledge(self, outcome: Outcome) -> None:
        """Remember what became of the oldest pending events.

        Raises:
            OSError: If it cannot be written down, which costs duplicates after a restart.
        """
        items = self.pending[: outcome.done]
        aside = [set_aside(items[index], "rejected", outcome.said) for index in outcome.refused]
        aside += [set_aside(items[index], "too_large") for index in outcome.too_large]
        for entry in aside:
            self.feed.dropped[entry.why] = self.feed.dropped.get(entry.why, 0) + 1
        if aside:
            self._warn(aside)
        if items:
            del self.pending[: outcome.done]
            if aside:
                self.feed.set_aside(aside)
            self.feed.acknowledge(items[-1])

    @staticmethod
    def _warn(aside: Sequence[SetAside]) -> None:
        named = ", ".join(f"{entry.event_id} ({entry.bytes:,} bytes)" for entry in aside[:_NAMED])
        more = f" and {len(aside) - _NAMED:,} more" if len(aside) > _NAMED else ""
        reasons = {entry.said or "larger than ship_event_bytes" for entry in aside}
        words = "not shipped: %s%s: %s; `axon-audit replay` sends what is set aside in the archive"
        logger.warning(words, named, more, ", ".join(sorted(reasons)))

    def take_dropped(self) -> dict[str, int]:
        """Events that will not be sent, by reason, since the last call."""
        dropped, self.feed.dropped = self.feed.dropped, {}
        return dropped


_NAMED = 10  # events in a line of the log


def set_aside(item: Item, why: Why, said: str = "") -> SetAside:
    """What is remembered of *item*, which was not sent."""
    return SetAside(item.number, item.hash, item.event_id, len(item.record), why, said)
