"""When prometheus_client may be called: one call at a time, and while its files can grow."""

from __future__ import annotations

import errno
import os
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from prometheus_client import values

from ..core.turn import Turn

__all__ = ["begin_after_fork", "in_files", "require_room", "the_gate"]

_ROOM = 512 << 10  # bytes that must be free for another series; other processes may take some
_FORK_S = 5.0  # how long a fork waits for what another thread does

_Work = tuple[Any, Callable[[Any], None], Any]  # whose, what, and with what


def in_files() -> bool:
    """True if the metrics of all processes are kept in files (multiprocess mode)."""
    return getattr(values.ValueClass, "_multiprocess", _files_at() is not None)


def _files_at() -> str | None:
    names = "PROMETHEUS_MULTIPROC_DIR", "prometheus_multiproc_dir"
    return next((os.environ[name] for name in names if name in os.environ), None)


def require_room() -> None:
    """See that the metrics' files can grow: they are mapped into memory, and where there is no
    space for that, writing to them ends the process (SIGBUS) and not the call.

    Raises:
        OSError: If they cannot, or their directory is gone.
    """
    directory = _files_at()
    if directory is None or not hasattr(os, "statvfs"):
        return
    found = os.statvfs(directory or ".")
    if found.f_blocks and found.f_bavail * found.f_frsize < _ROOM:
        raise OSError(errno.ENOSPC, f"less than {_ROOM >> 10} KiB are left for metrics", directory)


class _Gate(Turn):
    """Lets one thread at a time call prometheus_client, and not in the middle of such a call.

    Its locks are not reentrant, and a signal handler or a finalizer may record something while
    this very thread holds one. So what is to be done is put down here, and whoever comes first
    does it for all: nobody waits, whatever other locks he holds.
    """

    def begin(self) -> None:
        """Nothing is to be done; in a forked child as well."""
        super().begin()
        self.todo: deque[_Work] = deque()

    def work(self) -> None:
        """Do what is to be done, unless somebody does it already."""
        self.each(self.todo, _run)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """For who must wait, and sees what was put down before; never with a lock of a trail."""
        is_ours_already = self.is_ours()
        with self._lock:
            while self.todo and not is_ours_already:
                _run(self.todo.popleft())
            yield
        self.work()


def _run(todo: _Work) -> None:
    owner, work, what = todo
    owner.run(work, what)


the_gate = _Gate()


def begin_after_fork(turn: Turn) -> None:
    """Have a fork wait for *turn*: of a lock that another thread holds, a child has a copy that
    nobody gives back."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(
            before=partial(turn.wait, _FORK_S),
            after_in_parent=turn.leave,
            after_in_child=turn.begin,
        )


begin_after_fork(the_gate)
