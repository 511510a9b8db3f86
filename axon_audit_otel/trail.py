"""A trail: one ordered, chained sequence of events, in memory and in files."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any
from weakref import WeakMethod

from prometheus_client import CollectorRegistry

from . import event as _event
from .archive import Archive, JournalRemovedError
from .buffer import Buffer
from .config import Settings
from .event import AuditEvent, Draft
from .merkle import leaf_hash
from .metrics import TrailMetrics
from .privacy import Privacy
from .query import Query

__all__ = ["Trail"]

_logger = logging.getLogger("axon_audit_otel")

_RETRY_S = 1.0  # how long a failed archive is left alone
_READ_AT_ONCE = 256  # events taken from the buffer under one lock


class Trail:
    """What the log record processor writes to, and queries and exports read from.

    Args:
        settings: See `Settings`.
        name: Name of the trail in this process (differs from the setting if that is taken).
        registry: Where its metrics live.

    Raises:
        ArchiveError: If the archive's directory cannot be used.
    """

    def __init__(
        self, settings: Settings, name: str, registry: CollectorRegistry | None = None
    ) -> None:
        self.name = name
        self.settings = settings
        self.metrics = TrailMetrics(name, registry)
        fault = WeakMethod(self.fault)
        self.privacy = Privacy(
            settings.redact,
            settings.redact_pii,
            lambda exc: (f := fault()) and f("redact", exc),
        )
        self._buffer = Buffer(settings.max_events)
        self._lock = threading.Lock()
        self._head: str | None = None  # hash of the newest event
        self._told: set[str] = set()
        self._archive: Archive | None = None
        self._archived = 0  # newest sequence that is in a file
        self._retry_at = 0.0
        self._forked = False  # a child that has not opened an archive of its own yet
        if settings.auto_export_path is not None:
            self._open_archive(settings.auto_export_path)
            assert self._archive is not None
            self._archive.recover_others()
        self.metrics.buffer_capacity.set(settings.max_events)
        self.metrics.buffer_events.set(0)
        if hasattr(os, "register_at_fork"):
            forked = WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (f := forked()) and f())

    def _open_archive(self, directory: Path, fresh: bool = False) -> None:
        """Open the archive, and go on where its last writer ended."""
        self._archive = archive = Archive(directory, self.name, fresh)
        if not len(self._buffer):
            self._archived = archive.last_sequence
            self._buffer.reset(archive.last_sequence + 1)
            self._head = archive.head

    # --- writing: called by the processor only --------------------------------------------

    def append(self, draft: Draft) -> bytes:
        """Give *draft* its place and keep it; returns its final bytes.

        When this returns the event is in memory and, with an archive that works, in the
        journal. Never raises for a fault of the archive: that is counted, and the events
        follow when it works again, as long as memory holds them.
        """
        payload = self._encode(draft)
        with self._lock:
            buffer = self._buffer
            if self._forked:
                self._reopen()
            line = _event.place(payload, buffer.next, self._head)
            if len(buffer) == buffer.capacity and buffer.first > self._archived:
                self.metrics.evicted.inc()
            buffer.append(line, draft.time_us, draft)
            self._head = leaf_hash(line).hex()
            if self._archive is not None:
                self._write(self._archive)
            self.metrics.buffer_events.set(len(buffer))
        return line

    def _encode(self, draft: Draft) -> bytes:
        try:
            return _event.encode_fields(draft)
        except Exception as exc:  # an id or a text that is no UTF-8, a foreign type
            self.fault("encode", exc)
            clean = Privacy(pii=False).metadata(dict(draft))
            clean["entry_ids"] = [str(item) for item in clean["entry_ids"]]
            draft.update(clean)
            return _event.encode_fields(draft)

    def _write(self, archive: Archive) -> None:
        """Bring the journal up to the newest event; seal it when it is full."""
        if self._retry_at and time.monotonic() < self._retry_at:
            return
        newest = self._buffer.next - 1
        behind = range(max(self._archived + 1, self._buffer.first), newest + 1)
        stage = "journal"
        try:
            for number, line in zip(behind, self._buffer.lines(behind)):
                archive.write(line, leaf_hash(line), number, self._buffer.time_text(number))
                self._archived = number
            stage = "seal"
            if self.settings.enable_rotation and archive.count >= self.settings.max_events:
                self._seal(archive)
            self._retry_at = 0.0
        except OSError as exc:
            self._failed(stage, exc)

    def _failed(self, stage: str, exc: OSError) -> None:
        """The archive failed: leave it alone for a moment, then write what is missing."""
        self._retry_at = time.monotonic() + _RETRY_S
        if isinstance(exc, JournalRemovedError) and self._archive is not None:
            # Memory writes it again; what has left memory as well is lost.
            kept = min(self._archived + 1, self._buffer.first)
            self.metrics.evicted.inc(max(0, kept - self._archive.sealed_through - 1))
            self._archived = self._archive.sealed_through
        self.fault(stage, exc)

    def _seal(self, archive: Archive) -> Path | None:
        count = archive.count
        sealed = archive.seal()
        if sealed is not None:
            self.metrics.exported.inc(count)
            self.metrics.last_seal.set_to_current_time()
        return sealed

    def seal(self) -> Path | None:
        """Seal what the journal holds; returns the file (None without one).

        Raises:
            OSError: If that failed; the journal goes on.
        """
        with self._lock:
            archive = self._archive
            if archive is None:
                return None
            self._retry_at = 0.0
            self._write(archive)
            try:
                return self._seal(archive)
            except OSError as exc:
                self._failed("seal", exc)
                raise

    def end(self) -> None:
        """Seal the journal and say that all is well. Never raises; events may still come."""
        try:
            self.seal()
            with self._lock:
                if self._archive is not None:
                    self._archive.ended()
        except OSError:
            return  # counted and logged

    def _reopen(self) -> None:
        """In a forked child: an archive of its own, under another name."""
        directory = self.settings.auto_export_path
        if directory is None or (self._retry_at and time.monotonic() < self._retry_at):
            return
        try:
            # Numbers that were given without an archive must not be there already.
            self._open_archive(directory, fresh=len(self._buffer) > 0)
            self._forked = False
        except OSError as exc:
            self._retry_at = time.monotonic() + _RETRY_S
            self.fault("journal", exc)

    def clear(self) -> None:
        """Let go of the events in memory; files, numbering and chain go on."""
        with self._lock:
            lost = self._buffer.next - max(self._buffer.first, self._archived + 1)
            self.metrics.evicted.inc(lost)
            self._buffer.reset(self._buffer.next)
            self.metrics.buffer_events.set(0)

    def fault(self, stage: str, exc: BaseException) -> None:
        """A failure of our own: counted always, logged once a stage and kind."""
        try:
            self.metrics.failure(stage)
            kind = f"{stage}:{type(exc).__name__}"
            if kind not in self._told and len(self._told) < 64:
                self._told.add(kind)
                _logger.error(
                    "audit trail %r: %s failed (%s); further failures of this kind are"
                    " only counted in axon_audit_failures_total",
                    self.name,
                    stage,
                    f"{type(exc).__name__}: {exc}" if isinstance(exc, OSError) else kind,
                )
        except Exception:  # nothing of ours may reach the application
            _logger.debug("cannot report a failure", exc_info=True)

    def _after_fork(self) -> None:
        """A child begins a trail of its own: what is in memory is its parent's."""
        self._lock = threading.Lock()
        self._buffer = Buffer(self.settings.max_events)
        self._head, self._archived, self._retry_at = None, 0, 0.0
        self.metrics.begin()
        if self._archive is not None:
            self._archive.abandon()
            self._archive, self._forked = None, True

    # --- reading ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._buffer)

    @property
    def recorded(self) -> int:
        """How many events were recorded since this trail began."""
        return self._buffer.total

    def statistics(self) -> dict[str, Any]:
        """See `AuditLogger.get_statistics`."""
        return {
            **self.metrics.statistics(),
            "events_in_memory": len(self),
            "max_events": self.settings.max_events,
        }

    def search(self, query: Query) -> Iterator[AuditEvent]:
        """The events in memory that answer *query*, newest first."""
        with self._lock:
            numbers = self._buffer.candidates(
                query.keys, query.entry_ids, query.start_us, query.end_us
            )
        return query.select(map(_event.decode, self._lines(numbers)))

    def lines(self) -> Iterator[bytes]:
        """Every event in memory as its bytes, oldest first."""
        with self._lock:
            numbers = iter(range(self._buffer.first, self._buffer.next))
        return self._lines(numbers)

    def _lines(self, numbers: Iterator[int]) -> Iterator[bytes]:
        while chunk := list(islice(numbers, _READ_AT_ONCE)):
            with self._lock:
                lines = self._buffer.lines(chunk)
            yield from lines
