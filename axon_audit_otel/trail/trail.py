"""A trail: one ordered, chained sequence of events, in memory and in files."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from weakref import WeakMethod, WeakSet, finalize

from prometheus_client import CollectorRegistry

from ..archive.manifest import trail_id
from ..core.merkle import leaf_hash
from ..core.worker import Worker
from ..events import model as _event
from ..events.draft import Draft, draft
from .afterwards import Afterwards, Late
from .archive_keeper import ArchiveKeeper
from .buffer import Buffer
from .encoder import Encoder
from .event_source import TrailSource
from .given_ids import GivenIds
from .known_entries import KnownEntries
from .metrics import TrailMetrics
from .outlet import Outlet
from .private_entries import PrivateEntries
from .promises import Promises
from .reader import TrailReader
from .sending import emit_checkpoint, shipper_of
from .settings import Settings
from .stable_storage import StableStorage
from .start_record import look_up, start_facts
from .trail_lock import is_alone, new_lock, ownership, renew_alone, require_free
from .trail_policy import policy_of, warn_of_idle

__all__ = ["Trail"]

_TICK_S = 1.0  # how often the archive is looked after when nothing happens
_PATIENCE_S = 2.0  # that whoever closes waits for another thread that looks after it
_living: WeakSet[Trail] = WeakSet()


class Trail(Promises):
    """The sequence that the log record processor writes, and queries and exports read.

    Args:
        settings: See `Settings`.
        name: Name of the trail in this process (differs from the setting if that is taken).
        registry: Where its metrics live.

    Attributes:
        reader: Reads its events.
        entries: What is known of the entries that its events touched.
        source: Gives them to shipping.
        outlet: Has those that the trail recorded by itself, until OpenTelemetry has seen them.
        storage: Waits for stable storage; None where that is not promised.

    Raises:
        ArchiveError: If the archive's directory cannot be used.
    """

    def __init__(
        self,
        settings: Settings,
        name: str,
        registry: CollectorRegistry | None = None,
        is_guest: bool = False,
    ) -> None:
        self.name = name
        self.settings = settings
        self.blocks = settings.on_failure == "block"  # what cannot be recorded must not happen
        self.metrics = TrailMetrics(name, registry)
        self._leave_metrics = finalize(self, self.metrics.end)
        self._leave_metrics.atexit = False  # a last push still has them
        self._lock = new_lock()
        #: Returns True if this thread holds the lock: an interrupted call must end first.
        self.is_busy = ownership(self._lock)
        self._afterwards = Afterwards(name, self.metrics)
        self._afterwards.begin(self.is_busy)
        #: Counts a failure of our own, and logs it once; under no lock.
        self.fault = self._afterwards.report
        self.metrics.report_faults(partial(self.fault, "metrics"))
        self.policy = policy_of(settings, name, self._afterwards.fault, self.metrics.pii)
        self._is_torn = False  # True until what an exception struck in the middle of is whole
        self._struck: tuple[Draft, bytes] | None = None  # the event that was being recorded
        self._is_alone = False  # True once that was seen to
        #: What had no room to be recorded, or counted, when it ended.
        self.late = Late()
        self._evicted = 0  # events that left memory unarchived, not counted yet
        self._postponed: list[tuple[Draft, bytes, Mapping[str, Any]]] = []
        self._clock: Worker | None = None
        self.observers: tuple[Callable[[Draft], None], ...] = ()
        buffer = self._buffer = Buffer(settings.max_events)
        self._given_ids = GivenIds(settings.auto_export_path, buffer, self._lock)
        self.outlet = Outlet()
        keeper: ArchiveKeeper | None = None
        if settings.auto_export_path is not None:
            look_up()  # now: at the first event the lock is held
            parts = buffer, self._lock, self.metrics, self._afterwards
            keeper = ArchiveKeeper(settings, *parts, is_guest)
        else:
            warn_of_idle(settings, name)
        self._keeper = keeper
        self.storage: StableStorage | None = None if keeper is None else keeper.storage
        self.reader = TrailReader(settings, buffer, self._lock, keeper, self.policy)
        own = WeakMethod(self.reader.writer_name)  # what is known of entries may outlive it
        hashed = settings.private_ids and settings.pseudonymize is not None
        entries = PrivateEntries if hashed else KnownEntries
        self.entries: KnownEntries = entries(settings.auto_export_path, self.policy, own)
        self.source = TrailSource(name, buffer, self._lock, keeper, self.outlet)
        self._encode = Encoder(self.policy, settings.max_event_bytes, self.fault).encoded
        self._shipper = shipper_of(settings, self.source, self.metrics, self.fault)
        self.ships = self._shipper is not None  # to a collector, from here
        self._emit_checkpoint = partial(emit_checkpoint, self.source, self._shipper, self.outlet)
        self._start()
        _living.add(self)
        self._afterwards.do()

    def _start(self) -> None:
        """Open the archive, and begin with what nobody's call does."""
        keeper, shipper = self._keeper, self._shipper
        if keeper is not None:
            with self._lock:
                self._open_archive(keeper)
            self.policy.mark()
            something_to_send = shipper is not None and keeper.has_past
            if something_to_send or keeper.needs_clock:
                self._start_clock()
            if shipper is not None and something_to_send:
                shipper.tick()
        self.metrics.buffer_capacity.set(self.settings.max_events)
        self.metrics.buffer_events.set(0)

    def _start_clock(self) -> None:
        clock = Worker("axon-audit-keeper", self.tick)  # reports its own failures
        self._clock = clock if clock.start(_TICK_S) else None

    def record(self, draft: Draft) -> None:
        """Give *draft* its place and its final bytes, keep it, and count it.

        When this returns the event is in memory and, with an archive that works, in the
        journal. Never raises for a fault of the archive: that is counted, and the events
        follow when it works again, as long as memory holds them.
        """
        payload, fields = self._encode(draft)
        if is_alone():
            self._be_alone()
        if self.is_busy():
            self._postpone(draft, payload, fields)
            return
        keeper = self._keeper
        with self._lock:
            if self._is_torn:
                self._recover()
                if draft.encoded is not None:
                    return  # it was this one, and had its place
            try:
                draft.encoded = self._append(draft, payload, fields)
                if keeper is not None and keeper.internal.gaps:
                    self._record_internal(keeper)
                if self._postponed:
                    self._append_postponed()
                evicted, self._evicted = self._evicted, 0
            except BaseException:
                self._is_torn, self._struck = True, (draft, payload)
                self._recover()
                raise
        if self._clock is None and (self.ships or (keeper is not None and keeper.needs_clock)):
            self._start_clock()
        try:
            self.metrics.observe(draft, evicted)
        except (RecursionError, MemoryError):  # no room here
            self.late.append(partial(self.metrics.observe, draft, evicted))
        for observe in self.observers:
            observe(draft)
        if self._afterwards.waiting:
            self._afterwards.do()

    def _append(self, draft: Draft, payload: bytes, fields: Mapping[str, Any]) -> bytes:
        buffer, keeper = self._buffer, self._keeper
        if keeper is not None:
            if keeper.writer is None:
                self._reopen(keeper)
            if not (buffer.start or keeper.continues) and self.settings.start_record:
                self._append_start(draft.time_us)
        draft.sequence, draft.previous_hash = buffer.next, buffer.head_hex
        oldest = buffer.first
        line = buffer.append(payload, draft.time_us, fields)
        assert buffer.head is not None
        assert buffer.head_hex is not None
        leaf, draft.hash = buffer.head, buffer.head_hex
        if buffer.first == oldest or oldest == buffer.start:  # there is one more
            self.metrics.buffer_events.set(buffer.count)
        elif keeper is None or oldest > keeper.archived:
            self._evicted += 1
        if not self.source.stream:
            self.source.stream = trail_id(draft.hash)
        if keeper is not None:
            keeper.append(line, leaf, draft["timestamp"])
            keeper.measure()
        return line

    def _append_start(self, time_us: int) -> None:
        """Append the record `start`, dated as the first event of this process, or now if that is
        earlier. It is sent as any other event, and neither counted nor shown to observers."""
        time_ns = min(time_us * 1000, time.time_ns())
        facts = start_facts(self.settings, self.name)
        event = draft("AUDIT", "SUCCESS", metadata=facts, time_ns=time_ns, trail=self)
        self._buffer.start = self._buffer.next
        event.encoded = self._append(event, _event.encode_fields(event)[:-1], event)
        self.outlet.add(event)

    def _postpone(self, draft: Draft, payload: bytes, fields: Mapping[str, Any]) -> None:
        """In the middle of another event, by a signal handler or a finalizer: this one gets its
        place after that."""
        self._postponed.append((draft, payload, fields))
        line = draft.encoded = payload + b"}"
        draft.sequence, draft.previous_hash, draft.hash = 0, None, leaf_hash(line).hex()

    def _append_postponed(self) -> None:
        while self._postponed:
            self._append_late(*self._postponed.pop(0))

    def _append_late(self, draft: Draft, payload: bytes, fields: Mapping[str, Any]) -> None:
        """Append what nobody but us counts, shows and sends, since the lock is held."""
        draft.encoded = self._append(draft, payload, fields)
        evicted, self._evicted = self._evicted, 0
        self.metrics.observe(draft, evicted)
        for observe in self.observers:
            self._afterwards.note(partial(observe, draft))
        self.outlet.add(draft)

    def _record_internal(self, keeper: ArchiveKeeper) -> None:
        """Record what is pending about the archive."""
        for status, facts in keeper.pending_events():
            event = draft("AUDIT", status, metadata=facts, trail=self)
            self._append_late(event, _event.encode_fields(event)[:-1], event)

    @contextmanager
    def _change(self) -> Iterator[None]:
        """The lock, for what changes more than a value; what is noted under it is done after.

        Raises:
            OSError: In the middle of such a change: by a signal handler or a finalizer.
        """
        if is_alone():
            self._be_alone()
        require_free(self._lock)
        try:
            with self._lock:
                if self._is_torn:
                    self._recover()
                try:
                    if self._postponed:
                        self._append_postponed()
                    yield
                except BaseException as exc:
                    if not isinstance(exc, OSError) or exc.errno is None:
                        self._is_torn = True
                        self._recover()
                    raise
        finally:
            self._come_after()

    def _come_after(self) -> None:
        """Send what was placed under the lock, and do what was noted under it."""
        if self.outlet.unsent:
            self.outlet.send()
        if self._afterwards.waiting:
            self._afterwards.do()

    def _recover(self) -> None:
        """An exception struck in the middle of a change (a signal handler raised): be whole.

        What was in memory is; the archive is as its files say.
        """
        self._buffer.recover()
        if self._keeper is not None:
            self._keeper.recover()
            self._keeper.catch_up()
        if self._struck is not None:
            draft, payload = self._struck
            number = getattr(draft, "sequence", 0)  # 0: it got none
            draft.encoded = self._buffer.line_of(number, payload)
            if draft.encoded is not None:  # it has its place
                shown = self.metrics.observe, *self.observers
                self.late.extend(partial(observe, draft) for observe in shown)
        self._is_torn, self._struck = False, None

    def _be_alone(self) -> None:
        """The interpreter ends: nothing waits for other threads, which stopped anywhere."""
        if not self._is_alone and not self.is_busy():
            self._is_alone = True
            self._is_torn = renew_alone(self._lock) or self._is_torn
            if self.storage is not None:
                self.storage.begin()

    def watch(self, observer: Callable[[Draft], None]) -> None:
        """Call *observer*, which must not raise, with every event that has been captured."""
        with self._lock:
            self.observers = (*self.observers, observer)

    def unwatch(self, observer: Callable[[Draft], None]) -> None:
        """Stop calling *observer*, if it was called at all."""
        with self._lock:
            self.observers = tuple(known for known in self.observers if known != observer)

    def takes_id(self, given: str) -> bool:
        """Return True if an event from elsewhere can have the id *given*: no event here has it."""
        return self._given_ids.take(given)

    def clear(self) -> None:
        """Let go of the events in memory; files, numbering and chain go on."""
        with self._change():
            archived = 0 if self._keeper is None else self._keeper.archived
            unwritten = self._buffer.next - max(self._buffer.first, archived + 1)
            self.metrics.evicted.inc(min(unwritten, self._buffer.count))
            self._buffer.reset(self._buffer.next)
            self.metrics.buffer_events.set(0)

    # --- the archive ---------------------------------------------------------------------

    def _open_archive(self, keeper: ArchiveKeeper) -> None:
        head = keeper.open()
        if not len(self._buffer):
            self._buffer.follow(head)
            self.source.stream = "" if keeper.writer is None else keeper.writer.stream
            self._record_internal(keeper)

    def _reopen(self, keeper: ArchiveKeeper) -> None:
        """In a forked child: an archive of its own, under another name."""
        if not keeper.waits:
            try:
                self._open_archive(keeper)
            except OSError as exc:
                keeper.failed("journal", exc)

    def seal(self) -> Path | None:
        """Seal what the journal holds; returns the file (None without one).

        Raises:
            OSError: If that failed; the journal goes on.
        """
        keeper = self._keeper
        if keeper is None:
            return None
        with self._change():
            keeper.resume()
            self._record_internal(keeper)
            sealed = keeper.seal()
        keeper.tidy(_PATIENCE_S)
        self._come_after()
        return sealed

    def end(self, program_ends: bool = False) -> None:
        """Seal the journal and say that all is well. Never raises; events may still come: when
        the program ends they are written at once, since nobody does it later."""
        self.late.do()
        self.policy.save()
        self.entries.close()
        keeper = self._keeper
        if keeper is not None:
            with suppress(OSError):  # counted and logged
                with self._change():
                    keeper.resume()
                    self._record_internal(keeper)
                    keeper.end(program_ends)
                keeper.tidy(_PATIENCE_S)
                keeper.checkpointer.send(self._emit_checkpoint, _PATIENCE_S)
        self._come_after()
        if self._shipper is not None:
            self._shipper.flush()

    def give_up(self) -> None:
        """Let another trail have its name, series and files, after `end`; an event that comes in
        spite of that has others."""
        self._leave_metrics()
        if self._keeper is not None:
            with self._change():
                self._keeper.begin_after_fork()

    def tick(self) -> float:
        """Do what is due although nothing is recorded: the backlog, a checkpoint, its sending.

        Returns in how many seconds to call it again.
        """
        keeper = self._keeper
        self.late.do()
        if self._shipper is not None:
            self._shipper.tick()
        if keeper is None:
            return _TICK_S
        try:
            with self._change():
                if keeper.writer is not None:
                    keeper.check()
                    self._record_internal(keeper)
                    keeper.measure()
                    if keeper.checkpointer.is_due:
                        keeper.make_checkpoint()
            keeper.tidy()
            keeper.index()
            keeper.checkpointer.send(self._emit_checkpoint)
        except Exception as exc:  # the background worker
            self._afterwards.fault("journal", exc)
        self._come_after()
        return _TICK_S

    def _begin_after_fork(self) -> None:
        """A child begins a trail of its own: what is in memory is its parent's."""
        renew_alone(self._lock)
        self._afterwards.begin(self.is_busy)
        self._postponed.clear()
        self.late.clear()
        self._evicted, self._is_torn, self._struck = 0, False, None
        self.outlet.begin_after_fork()
        self._buffer.begin()
        self._clock, self.source.stream = None, ""
        self.policy.after_fork()
        self._given_ids.after_fork()
        self.entries.after_fork()
        self.metrics.begin()
        if self._keeper is not None:
            self._keeper.begin_after_fork()
        if self._shipper is not None:
            self._shipper.after_fork()


def _begin_all_after_fork() -> None:
    for trail in list(_living):
        trail._begin_after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all_after_fork)
