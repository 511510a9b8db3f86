"""Events of an archive that a store lacks, to be sent to it again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice

from ..archive.origin import Source
from .sources import EVENTS, Item, encoded
from .store_check import Span
from .unsent import SetAside

__all__ = ["StoreFeed"]

_BYTES = 1 << 20  # of lines in a batch


class StoreFeed:
    """What is missing in spans that were compared; see `Feed`.

    Nothing is remembered: the next comparison finds what did not arrive.

    Args:
        spans: The spans, compared as they are taken.
        source: The trail.
    """

    def __init__(self, spans: Iterator[Span], source: Source) -> None:
        self._spans = spans
        self._source = source
        self._lines: deque[bytes] = deque()
        self.acknowledged = 0
        self.dropped: dict[str, int] = {}

    def batch(self) -> list[Item]:
        """The next events; [] if nothing else is missing.

        Raises:
            ConnectionError: If the store does not answer.
        """
        while not self._lines:
            span = next(self._spans, None)
            if span is None:
                return []
            self._lines.extend(span.missing.values())
        count = size = 0
        for line in islice(self._lines, EVENTS):
            count, size = count + 1, size + len(line)
            if size >= _BYTES:
                break
        lines = [self._lines.popleft() for _ in range(count)]
        return encoded(lines, self._source, self.dropped, polite=False)

    def acknowledge(self, item: Item) -> None:
        self.acknowledged = item.number

    def set_aside(self, entries: Sequence[SetAside]) -> None:
        """The store lacks them: that is remembered there."""

    def close(self) -> None:
        """There is nothing to let go."""
