"""Counts and keeps many things in bounded memory: what does not fit goes to temporary files."""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from itertools import groupby
from typing import IO, Any

import msgspec

__all__ = ["MOST", "Spool", "Tally"]

#: Different keys that a `Tally` counts in memory.
MOST = 300_000
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode

Key = tuple[Any, ...]


class Tally:
    """Counts keys, exactly: tuples of texts and None.

    Args:
        stack: Closes, and so removes, its temporary files.
        most: Different keys in memory; when there are more, they are sorted and written to a file.
    """

    def __init__(self, stack: ExitStack, most: int = MOST) -> None:
        self._stack = stack
        self._most = most
        self._counted: Counter[Key] = Counter()
        self._runs: list[Spool] = []

    def add(self, keys: Iterable[Key]) -> None:
        """Count each of *keys*."""
        self._counted.update(keys)
        if len(self._counted) > self._most:
            self._write()

    def _write(self) -> None:
        run = Spool(self._stack)
        for key in sorted(self._counted, key=_order):
            run.add([*key, self._counted[key]])
        self._runs.append(run)
        self._counted = Counter()

    def items(self) -> Iterator[tuple[Key, int]]:
        """Yield each key once, in order (None first), with its number."""
        here = ((key, self._counted[key]) for key in sorted(self._counted, key=_order))
        runs = [((tuple(row[:-1]), row[-1]) for row in run) for run in self._runs]
        merged = heapq.merge(here, *runs, key=lambda item: _order(item[0]))
        for key, several in groupby(merged, key=lambda item: item[0]):
            yield key, sum(number for _, number in several)

    @property
    def spilled(self) -> int:
        """How often keys were written to a file."""
        return len(self._runs)


def _order(key: Key) -> tuple[tuple[bool, str], ...]:
    return tuple((part is not None, part or "") for part in key)


class Spool:
    """Rows of JSON types in a temporary file, in the order in which they were added.

    Args:
        stack: Closes, and so removes, the file.

    Raises:
        OSError: From every method, if the file cannot be written or read.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._file: IO[bytes] | None = None
        self.count = 0

    def add(self, row: Any) -> None:
        """Add a row."""
        if self._file is None:
            self._file = self._stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack is it
        self._file.write(_encode(row) + b"\n")
        self.count += 1

    def __iter__(self) -> Iterator[Any]:
        if self._file is not None:
            self._file.seek(0)
            yield from map(_decode, self._file)
