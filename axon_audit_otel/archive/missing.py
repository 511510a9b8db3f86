"""Collects what an answer lacks: lines, files and directories that are unreadable or gone.

One bad file does not end an answer: the reader reports it to a `Missing`, and continues.
"""

from __future__ import annotations

import errno
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..core.errors import ArchiveError, ArchiveIncompleteWarning, InvalidEventError

__all__ = ["CHANGED", "OF_ANOTHER", "Missing"]

OF_ANOTHER = "it holds events of another file"
CHANGED = "an event in it is not the one that was indexed"

_NAMED = 1000  # problems that are listed; further ones are counted
_IN_A_WARNING = 3

#: Errors of opening something that cannot be an audit file.
_NO_FILE = {errno.EISDIR, errno.EINVAL, errno.ELOOP, errno.ENXIO, errno.ENOTDIR, errno.EFBIG}


class Missing:
    """The problems that make one answer incomplete, by file. False (`bool`) without any.

    Args:
        strict: Raise the first problem as an `ArchiveError`.
    """

    def __init__(self, strict: bool = False) -> None:
        self._strict = strict
        self._found: dict[tuple[Path, str], int] = {}  # problems, and how often
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
        """Add a problem: *path*, or a part of it, is missing in the answer.

        Raises:
            ArchiveError: If `strict`.
        """
        self._count(path, _words(why), 1)

    def line(self, path: Path, count: int = 1) -> None:
        """Add a problem: *count* lines of *path* are not events.

        Raises:
            ArchiveError: If `strict`.
        """
        if count:
            self._count(path, _LINE, count)

    def _count(self, path: Path, words: str, count: int) -> None:
        key = path, words
        if self._strict:
            raise ArchiveError(_described(key, count))
        if key in self._found or len(self._found) < _NAMED:
            self._found[key] = self._found.get(key, 0) + count
        else:
            self._unnamed += 1

    def include(self, other: Missing) -> None:
        """Add the problems of another answer, which may be from the same files.

        Raises:
            ArchiveError: If `strict`.
        """
        for (path, words), count in other._found.items():
            self._count(path, words, max(0, count - self._found.get((path, words), 0)))
        self._passed_over.update(other._passed_over)

    @contextmanager
    def one_of_several(self) -> Iterator[Missing]:
        """The `Missing` of one of several answers from the same files, which is then included.

        Raises:
            ArchiveError: If `strict`.
        """
        here = Missing()
        yield here
        self.include(here)

    def judge(self, path: Path, exc: Exception) -> None:
        """Add *path*, which is in no manifest and cannot be read: a problem, or a foreign file.

        Raises:
            ArchiveError: If it is a problem, and `strict`.
        """
        if isinstance(exc, InvalidEventError) or getattr(exc, "errno", 0) in _NO_FILE:
            if len(self._passed_over) < _NAMED:
                self._passed_over[path] = _words(exc)
        else:
            self.add(path, exc)

    @contextmanager
    def caught(self, path: Path) -> Iterator[None]:
        """Add errors of reading in the block as problems of *path*.

        Raises:
            ArchiveError: If `strict`.
        """
        try:
            yield
        except ArchiveError:
            raise
        except (OSError, InvalidEventError) as exc:
            self.add(path, exc)

    def problems(self) -> list[tuple[Path, str]]:
        """The paths and reasons of the problems."""
        return list(self._found)

    def lines(self) -> list[str]:
        """The problems as text."""
        lines = [_described(key, count) for key, count in self._found.items()]
        return [*lines, f"and {self._unnamed:,} more"] if self._unnamed else lines

    def passed_over(self) -> list[str]:
        """The files of other programs, as text; they are not problems."""
        return [f"passed over {str(path)!r}: {why}" for path, why in self._passed_over.items()]

    def untold(self, lines: list[str]) -> list[str]:
        """The *lines* that were not in an earlier call."""
        new = [line for line in lines if line not in self._reported]
        self._reported.update(new)
        return new

    def warn(self, stacklevel: int = 1) -> None:
        """Warn of the problems, at the caller of the caller (or *stacklevel* frames above)."""
        if self:
            warnings.warn(str(self), ArchiveIncompleteWarning, stacklevel=stacklevel + 2)


_LINE = "a line is not an audit event"


def _words(why: Exception | str) -> str:
    return str(getattr(why, "strerror", None) or why)


def _described(key: tuple[Path, str], count: int) -> str:
    path, words = key
    if words == _LINE and count > 1:
        words = f"{count:,} lines are no audit events"
    return f"cannot read {str(path)!r}: {words}"
