"""The interface of a store that has log records of trails, and what a comparison asks of it.

A store answers questions about ranges of sequence numbers. Of each block of `BLOCK` numbers it
makes a count and a fingerprint over the hashes in it, so that equal blocks cost one row each, and
only blocks that differ are asked for event by event.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

__all__ = ["BLOCK", "Block", "Place", "Store", "StoredRecord", "StoredStream"]

#: Numbers of events in a block: block 0 has the numbers 1 to 4096.
BLOCK = 4096

#: Number and hash (hex) of an event.
Place = tuple[int, str]


class StoredStream(NamedTuple):
    """What a store has of one trail.

    Attributes:
        trail: Its name.
        stream: What tells it from every other (``audit.sequence.stream_id``).
        records: Log records, duplicates too.
        first: The lowest sequence number.
        last: The highest.
    """

    trail: str
    stream: str
    records: int
    first: int
    last: int


class Block(NamedTuple):
    """What a store has of one block.

    Attributes:
        events: Different pairs of number and hash.
        records: Log records.
        fingerprint: Over these pairs, as `Store.fingerprint` makes it.
    """

    events: int
    records: int
    fingerprint: str


class StoredRecord(NamedTuple):
    """A log record in a store.

    Attributes:
        number: The sequence number that it has.
        hash: The hash of the event that it has, in hex.
        copies: How many there are of that number and hash.
        intact: False if its body is known not to have that hash; None if nobody looked.
    """

    number: int
    hash: str
    copies: int = 1
    intact: bool | None = None


class Store(Protocol):
    """A store of log records; every method raises `ConnectionError` where it does not answer.

    Attributes:
        place: Its address for messages, without secrets.
        hashes_bodies: True if it can hash the bodies itself: `blocks` can look at them then.
    """

    place: str
    hashes_bodies: bool

    def streams(self) -> list[StoredStream]:
        """Every trail that it has records of."""

    def blocks(self, stream: str, first: int, last: int, bodies: bool = False) -> dict[int, Block]:
        """By the number of the block, what it has of the events *first* to *last*.

        Args:
            stream: The id of the trail.
            first: The lowest number.
            last: The highest.
            bodies: Take the hash of each body for the hash that its record names.
        """

    def fingerprint(self, places: Iterable[Place]) -> str:
        """What the store says of a block with these events, in the order of their numbers."""

    def records(
        self, stream: str, first: int, last: int, bodies: bool = False
    ) -> Iterator[StoredRecord]:
        """Yield the records of the events *first* to *last*, in any order.

        Args:
            stream: The id of the trail.
            first: The lowest number.
            last: The highest.
            bodies: Look at the bodies: `StoredRecord.intact` is not None then.
        """

    def keeps(self) -> float | None:
        """For how many seconds it keeps a record, by the record's time; None if that is unknown."""

    def settle(self) -> None:
        """Wait until what it has acknowledged is in its answers, where it can be asked for that."""

    def close(self) -> None:
        """Let go of the connections."""
