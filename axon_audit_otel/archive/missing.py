"""What an answer lacks: lines, files and directories that could not be read, or are gone.

One bad file never ends an answer: whoever reads tells it to a `Missing`, and goes on.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import ArchiveError, ArchiveIncompleteWarning, InvalidEventError

__all__ = ["Missing"]

_NAMED = 1000  # problems that are told one by one
_IN_A_WARNING = 3

#: What opening says of something that is no file of ours, and never was.
_NO_FILE = {errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EFBIG}


class Missing:
    """What one answer lacks, file by file. Says no (`bool`) where it is whole.

    Args:
        strict: The first problem ends the answer, as an `ArchiveError`.
    """

    def __init__(self, strict: bool = False) -> None:
        self._strict = strict
        self._found: dict[tuple[Path, str], int] = {}  # what, and how often
        self._passed_over: dict[Path, str] = {}
        self._unnamed = 0
        self._reported: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def __str__(self) -> str:
        lines = self.lines()
        more = len(lines) - _IN_A_WARNING
        if more > 0:
            lines[_IN_A_WARNING:] = [f"and {more:,} more"]
        return "the answer is not whole: " + "; ".join(lines)

    def add(self, path: Path, why: Exception | str) -> None:
        """*path*, or a part of it, is not in the answer.

        Raises:
            ArchiveError: If that ends the answer.
        """
        self._count(path, _words(why), 1)

    def line(self, path: Path, count: int = 1) -> None:
        """So many lines of *path* are no events.

        Raises:
            ArchiveError: If that ends the answer.
        """
        if count:
            self._count(path, _LINE, count)

    def _count(self, path: Path, words: str, count: int) -> None:
        key = path, words
        if self._strict:
            raise ArchiveError(_said(key, count))
        if key in self._found or len(self._found) < _NAMED:
            self._found[key] = self._found.get(key, 0) + count
        else:
            self._unnamed += 1

    def include(self, other: Missing) -> None:
        """Take what another answer lacks, of the same files as this one, perhaps.

        Raises:
            ArchiveError: If that ends the answer.
        """
        for (path, words), count in other._found.items():
            self._count(path, words, max(0, count - self._found.get((path, words), 0)))
        self._passed_over.update(other._passed_over)

    def judge(self, path: Path, exc: Exception) -> None:
        """*path*, which nobody lists, cannot be read: it is missing, or another program's.

        Raises:
            ArchiveError: If it is missing, and that ends the answer.
        """
        if isinstance(exc, InvalidEventError) or getattr(exc, "errno", 0) in _NO_FILE:
            if len(self._passed_over) < _NAMED:
                self._passed_over[path] = _words(exc)
        else:
            self.add(path, exc)

    @contextmanager
    def caught(self, path: Path) -> Iterator[None]:
        """What cannot be read in the block is missing; *path* is what that is told of.

        Raises:
            ArchiveError: If that ends the answer.
        """
        try:
            yield
        except ArchiveError:
            raise
        except (OSError, InvalidEventError) as exc:
            self.add(path, exc)

    def problems(self) -> list[tuple[Path, str]]:
        """What is missing, and why, in words."""
        return list(self._found)

    def lines(self) -> list[str]:
        """Every problem in words."""
        told = [_said(key, count) for key, count in self._found.items()]
        return [*told, f"and {self._unnamed:,} more"] if self._unnamed else told

    def passed_over(self) -> list[str]:
        """What is of another program, in words: nothing is missing for it."""
        return [f"passed over {str(path)!r}: {why}" for path, why in self._passed_over.items()]

    def untold(self, lines: list[str]) -> list[str]:
        """Those of *lines* that this was not asked for before."""
        new = [line for line in lines if line not in self._reported]
        self._reported.update(new)
        return new

    def warn(self, stacklevel: int = 1) -> None:
        """Tell a program, which asked the caller (or whoever is *stacklevel* above that)."""
        if self:
            warnings.warn(str(self), ArchiveIncompleteWarning, stacklevel=stacklevel + 2)


_LINE = "a line is no audit event"


def _words(why: Exception | str) -> str:
    return str(getattr(why, "strerror", None) or why)


def _said(key: tuple[Path, str], count: int) -> str:
    path, words = key
    if words == _LINE and count > 1:
        words = f"{count:,} lines are no audit events"
    return f"cannot read {str(path)!r}: {words}"
