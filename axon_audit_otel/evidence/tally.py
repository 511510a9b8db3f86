"""Counts and keeps many things in bounded memory: what does not fit goes to temporary files."""

from __future__ import annotations

import heapq
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import groupby
from typing import IO, Any

import msgspec

from ..core.errors import ArchiveError

__all__ = ["MOST", "Spool", "Tally"]

#: What a `Tally` counts in memory: names, for each kind of event.
MOST = 1_000_000
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Tally:
    """Counts names, exactly, of each kind of event.

    Args:
        stack: Closes, and so removes, its temporary files.
        most: Names, counted for each kind, in memory; when there are more, all are written to a
            file, in order.
    """

    def __init__(self, stack: ExitStack, most: int = MOST) -> None:
        self._stack = stack
        self._most = most
        self._counted: defaultdict[str, Counter[str | None]] = defaultdict(Counter)
        self._runs: list[Spool] = []

    def add(self, kind: str, names: Iterable[str | None]) -> None:
        """Count each of *names*, of that kind of event."""
        self._counted[kind].update(names)

    def count(self, kind: str, name: str | None, number: int) -> None:
        """Count *name* so many times, of that kind of event."""
        self._counted[kind][name] += number

    def limit(self) -> None:
        """Keep to the limit of memory; to be called now and then."""
        if sum(map(len, self._counted.values())) > self._most:
            run = Spool(self._stack)
            for row in self._rows():
                run.add(row)
            self._runs.append(run)
            self._counted.clear()

    def _rows(self) -> Iterator[tuple[str | None, dict[str, int]]]:
        """Yield what is in memory: each name, in order (None first), and its numbers."""
        counted = sorted(self._counted.items())
        names: set[str | None] = set().union(*self._counted.values())
        nobody = [None] if None in names else []
        for name in [*nobody, *sorted(name for name in names if name is not None)]:
            yield name, {kind: of[name] for kind, of in counted if name in of}

    def items(self) -> Iterator[tuple[str | None, dict[str, int]]]:
        """Yield each name once, in order (None first), and its number of each kind."""
        if not self._runs:
            yield from self._rows()
            return
        merged = heapq.merge(self._rows(), *self._runs, key=_order)
        for (is_name, text), several in groupby(merged, key=_order):
            total: Counter[str] = Counter()
            for _, numbers in several:
                total.update(numbers)
            yield text if is_name else None, {kind: total[kind] for kind in sorted(total)}


def _order(row: Any) -> tuple[bool, str]:
    name = row[0]
    return name is not None, name or ""


class Spool:
    """Rows of JSON types in a temporary file, in the order in which they were added.

    Args:
        stack: Closes, and so removes, the file.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._file: IO[bytes] | None = None
        self.count = 0

    def add(self, row: Any) -> None:
        """Add a row.

        Raises:
            ArchiveError: If it cannot be written. (Not an OSError: whoever reads an archive
                meanwhile would take that for damage of the archive.)
        """
        with _writing():
            if self._file is None:
                file = tempfile.TemporaryFile()  # noqa: SIM115 - the stack closes it
                self._stack.callback(_close, file)
                self._file = file
            self._file.write(_encode(row) + b"\n")
        self.count += 1

    def __iter__(self) -> Iterator[Any]:
        """Yield the rows; one reader at a time.

        Raises:
            ArchiveError: If they cannot be written, or read.
        """
        if self._file is not None:
            with _writing():
                self._file.seek(0)
            yield from map(_decode, self._file)


@contextmanager
def _writing() -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        why = exc.strerror or exc
        raise ArchiveError(f"cannot write a temporary file (TMPDIR says where): {why}") from exc


def _close(file: IO[bytes]) -> None:
    with suppress(OSError):  # what was not written yet is of no use any more
        file.close()
