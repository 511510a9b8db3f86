"""What goes on while pages are looked at: the index follows the archive, and it is verified."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone
from pathlib import Path

from ..archive.checkpoints import VerifyingKey
from ..archive.directory import Directory, files_of, sealed_in
from ..archive.follow import Follower
from ..archive.missing import Missing
from ..core.errors import harmless
from ..core.worker import Worker
from ..privacy.policy import PrivacyPolicy
from ..verification.report import VerifyReport
from ..verification.verify import verify
from .index import Index

__all__ = ["Follow", "GiveWay", "Verification"]

_POLL_S = 1.0
_BATCH = 200  # events between two looks whether a page waits
_LONGEST_S = 0.05  # that a page holds up the background at a time
_MOST = 5_000_000  # events in the index: about 400 MB
_RARELY = 20  # times as long as it takes, between two of it


class GiveWay:
    """Lets the background wait a little while a page is made: they share one interpreter."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._pages = 0

    @contextmanager
    def page(self) -> Iterator[None]:
        """A page is made in the block."""
        with self._changed:
            self._pages += 1
        try:
            yield
        finally:
            with self._changed:
                self._pages -= 1
                self._changed.notify_all()

    def wait(self) -> None:
        """Wait until no page is made, or a moment."""
        if self._pages:
            with self._changed:
                self._changed.wait_for(lambda: not self._pages, _LONGEST_S)


class Follow:
    """Keeps an index of an archive.

    Args:
        path: A file, or a directory.
        policy: Reads its events; the index knows what it makes readable.
        give_way: See there.

    Attributes:
        missing: What could not be read.
        trouble: Why the archive cannot be read at all; "" if it can.
        is_too_large: There are more than five million events: they get no index.
    """

    def __init__(self, path: Path, policy: PrivacyPolicy, give_way: GiveWay) -> None:
        self._path, self._policy, self._give_way = path, policy, give_way
        self._index = Index()
        self._follower: Follower | None = None
        self._sealed: set[str] = set()
        self._expected = 1
        self._built_at, self._took = 0.0, 0.0
        self._is_stale = False
        self._is_ready = threading.Event()
        self.missing = Missing()
        self.trouble = ""
        self.is_too_large = False
        self._worker = Worker("axon-audit-view-index", self._step, self._failed, self._end)

    def start(self, wait: float) -> None:
        """Begin, in *wait* seconds."""
        self._worker.start(wait)

    def close(self) -> None:
        """End, after the current step."""
        self._worker.close()

    @property
    def index(self) -> Index | None:
        """The index; None while it is being built."""
        index = self._index  # before: it may be replaced meanwhile
        return index if self._is_ready.is_set() and not self._is_stale else None

    @property
    def progress(self) -> int:
        """How much of it is built, in percent."""
        return 100 if self.index is not None else min(99, 100 * len(self._index) // self._expected)

    @property
    def seen(self) -> int:
        """The number of events that were indexed."""
        return len(self._index)

    def wait(self, seconds: float) -> bool:
        """Wait until the index is built; returns whether it is."""
        return self._is_ready.wait(seconds)

    def disagrees(self) -> None:
        """Have it built anew: it named an event that is not there."""
        self._is_stale = True
        self._worker.wake()

    def _step(self) -> float | None:
        sealed = set(sealed_in(self._path)) if self._path.is_dir() else set()
        if self._sealed - sealed:  # retention has deleted some
            self._is_stale = True
        self._sealed = sealed
        if self._follower is None or (self._is_stale and self._may_begin()):
            self._begin()
        assert self._follower is not None
        started, found = time.monotonic(), Missing()
        for number, (source, event) in enumerate(self._follower.poll_by_source(found)):
            if number % _BATCH == 0:
                self._give_way.wait()
                if len(self._index) >= _MOST:
                    self._give_up()
                    return None
            self._index.add(source, self._policy.reveal(event))
        self._index.settle()
        found.include(self.missing)
        self.missing = found  # a new one: pages look through the old one meanwhile
        if not self._is_ready.is_set():
            self._took = time.monotonic() - started
            self._is_ready.set()
        self.trouble = ""
        return _POLL_S

    def _give_up(self) -> None:
        self.is_too_large, self._is_stale = True, True
        self._index, self._follower = Index(), None
        self._is_ready.set()

    def _may_begin(self) -> bool:
        return time.monotonic() - self._built_at > _RARELY * self._took

    def _begin(self) -> None:
        self._is_ready.clear()
        self._is_stale = False
        self._index, self.missing = Index(), Missing()
        self._built_at = time.monotonic()
        if self._follower is not None:
            self._follower.close()
        self._follower = Follower(self._path)
        if self._path.is_dir():
            with Directory(self._path, Missing()) as here:
                files = [file for writer in here.writers.values() for file in writer.files]
                self._expected = 1 + sum(f.seal.events for f in files if f.seal is not None)

    def _failed(self, exc: BaseException) -> None:
        self.trouble = harmless(str(exc)) or type(exc).__name__
        self._is_stale = True

    def _end(self) -> None:
        if self._follower is not None:
            self._follower.close()


class Verification:
    """Verifies an archive again and again while it changes.

    Args:
        path: A file, or a directory.
        keys: See `verify`.
        checkpoints: See `verify`.
        erasable: See `verify`.
        follow: Tells whether there are new events.
        give_way: See there.

    Attributes:
        report: The newest result; None before the first.
        finished_at: When that was there; UTC.
        trouble: Why it could not be verified; "" if it could.
    """

    def __init__(
        self,
        path: Path,
        keys: Iterable[VerifyingKey],
        checkpoints: Iterable[str],
        erasable: Path | None,
        follow: Follow,
        give_way: GiveWay,
    ) -> None:
        self._path, self._erasable = path, erasable
        self._keys, self._checkpoints = list(keys), list(checkpoints)
        self._follow, self._give_way = follow, give_way
        self._done, self._size = 0, 1  # bytes
        self._seen: list[tuple[str, int, int]] = []
        self.report: VerifyReport | None = None
        self.finished_at: datetime | None = None
        self.trouble = ""
        self._is_done = threading.Event()
        self._worker = Worker("axon-audit-view-verify", self._step, self._failed)

    def start(self, wait: float) -> None:
        """Begin, in *wait* seconds."""
        self._worker.start(wait)

    def close(self) -> None:
        """End, after the current step."""
        self._worker.close()

    def wait(self, seconds: float) -> bool:
        """Wait for the first result; returns whether it is there."""
        return self._is_done.wait(seconds)

    @property
    def progress(self) -> int:
        """How much was read, in percent."""
        return min(99, 100 * self._done // self._size)

    def _step(self) -> float:
        if not self._follow.wait(0.2):
            return _POLL_S / 10
        seen, started = self._state(), time.monotonic()
        if self._seen == seen and self.report is not None:
            return _POLL_S
        self._done, self._size = 0, 1 + sum(size for _, size, _ in seen)
        report = verify(
            self._path,
            self._keys,
            self._checkpoints,
            progress=self._progressed,
            erasable=self._erasable,
        )
        self.report, self.finished_at = report, datetime.now(timezone.utc)
        self._seen, self.trouble = seen, ""
        self._is_done.set()
        return max(10 * _POLL_S, _RARELY * (time.monotonic() - started))

    def _state(self) -> list[tuple[str, int, int]]:
        """Names, sizes and times of the files."""
        found = []
        for file in files_of(self._path) if not self._path.is_dir() else self._path.iterdir():
            with suppress(FileNotFoundError):
                status = file.stat()
                found.append((file.name, status.st_size, status.st_mtime_ns))
        return sorted(found)

    def _progressed(self, size: int) -> None:
        self._done += size
        self._give_way.wait()

    def _failed(self, exc: BaseException) -> None:
        self.trouble = harmless(str(exc)) or type(exc).__name__
