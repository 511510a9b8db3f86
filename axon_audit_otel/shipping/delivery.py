"""Delivers encoded records to a receiver, and finds out which of them it refuses."""

from __future__ import annotations

from collections.abc import Sequence

from ..otlp.client import Answer, Client
from ..otlp.encoding import Envelope

__all__ = ["Delivery"]


class Delivery:
    """Sends one batch, in parts where it is refused as a whole.

    A record that is refused alone is given up, if the receiver takes others (or a request
    without records): else it is the receiver that is at fault, or what is before it, and the
    records wait.

    Attributes:
        settled: Records from the front that need not be sent again.
        rejected: How many of them the receiver refused for good.
        answer: Why the rest was not accepted, or anything was rejected.

    Args:
        client: Where to.
        envelope: Makes requests.
        records: The batch.
    """

    def __init__(self, client: Client, envelope: Envelope, records: Sequence[bytes]) -> None:
        self._client = client
        self._envelope = envelope
        self._works = False  # whether the receiver is known to take what it should
        self.rejected = 0
        self.answer = Answer("accepted")
        self.settled = self._send(records)

    def _send(self, records: Sequence[bytes]) -> int:
        """Send *records*; returns how many from the front are settled."""
        answer = self._client.send(self._envelope.protobuf(records))
        if answer.kind == "accepted":
            self._works = True
            if answer.rejected:
                self.rejected += min(answer.rejected, len(records))
                self.answer = answer
            return len(records)
        self.answer = answer
        if answer.kind == "later":
            return 0
        if len(records) == 1:
            if not self._works:
                self._works = self._client.send(self._envelope.protobuf(())).kind == "accepted"
            if self._works:
                self.rejected += 1
            return int(self._works)
        middle = len(records) // 2
        settled = self._send(records[:middle])
        return settled if settled < middle else settled + self._send(records[middle:])
