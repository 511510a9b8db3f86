"""The one way events take to a receiver: taken from a feed, sent, acknowledged or dropped."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ..otlp.client import Answer, Endpoint, connect
from ..otlp.encoding import Envelope
from .sources import Feed, Item

__all__ = ["Delivery", "Outcome", "Sender"]

_RETRY_S = (0.5, 15.0)  # between attempts: the first wait, and the longest


class Outcome(NamedTuple):
    """The result of sending some records.

    Attributes:
        done: How many of the first need not be sent again.
        rejected: How many of these the receiver refused for good.
        why: Why others must be sent again, or some were refused; "" if all were accepted.
    """

    done: int
    rejected: int = 0
    why: str = ""


class Sender:
    """A connection to one receiver; for one thread.

    Args:
        endpoint: Where to.
        resource: The attributes of the resource that the records are of.

    Attributes:
        wait: Seconds for which the receiver is left alone now: longer after each failure, and
            as long as it wants; 0.0 if it took what was sent last.

    Raises:
        AuditConfigError: If a file of the TLS settings cannot be read.
    """

    def __init__(self, endpoint: Endpoint, resource: Mapping[str, Any]) -> None:
        self._endpoint = endpoint
        self._client = connect(endpoint)
        self._envelope = Envelope(resource)
        self._delay = 0.0
        self.wait = 0.0

    def send(self, records: Sequence[bytes]) -> Outcome:
        """Send *records*, in parts where they are refused as a whole.

        A record that is refused alone is given up, if the receiver takes others (or a request
        without records): else it is the receiver that is at fault, or what is before it, and
        the records wait.
        """
        done = rejected = 0
        why, works = "", False
        sizes = [len(records)]  # of the parts that are left, the next one last
        while sizes:
            size = sizes.pop()
            answer = self._post(records[done : done + size])
            if answer.kind == "refused" and size > 1:
                sizes += size - size // 2, size // 2
                continue
            if answer.kind == "refused" and (works or self._post(()).kind == "accepted"):
                answer = Answer("accepted", answer.why, 1)
            if answer.kind != "accepted":
                self._back_off(answer.wait)
                return Outcome(done, rejected, answer.why)
            works = True
            done += size
            if answer.rejected:
                rejected += min(answer.rejected, size)
                why = answer.why or "rejected"
        self._delay = self.wait = 0.0
        return Outcome(done, rejected, why)

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
        if outcome.rejected:
            dropped = self.feed.dropped
            dropped["rejected"] = dropped.get("rejected", 0) + outcome.rejected
        if outcome.done:
            item = self.pending[outcome.done - 1]
            del self.pending[: outcome.done]
            self.feed.acknowledge(item)

    def take_dropped(self) -> dict[str, int]:
        """Events that will not be sent, by reason, since the last call."""
        dropped, self.feed.dropped = self.feed.dropped, {}
        return dropped
