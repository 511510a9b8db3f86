"""A trail: one ordered, chained sequence of events, in memory and in files."""

from __future__ import annotations

import errno
import logging
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Any
from weakref import WeakMethod, finalize, ref

from opentelemetry._logs import get_logger_provider
from prometheus_client import CollectorRegistry

from ..archive.manifest import trail_id
from ..archive.missing import Missing
from ..archive.origin import Source
from ..archive.search import OtherWriters, search
from ..core.merkle import leaf_hash
from ..events import model as _event
from ..events.model import AuditEvent, Draft
from ..events.query import Query
from ..otlp.checkpoint_records import emit_record, statement_of
from ..otlp.encoding import encode
from ..privacy.encryption import Erasure
from ..privacy.redaction import Privacy
from ..shipping.shipper import Shipper
from .afterwards import Afterwards
from .archive_keeper import Clock, Keeper
from .buffer import Buffer
from .metrics import TrailMetrics
from .settings import Settings
from .start_record import prepare, start_facts

__all__ = ["Trail"]

_logger = logging.getLogger("axon_audit_otel")

_FOR_FILES = (
    "max_file_bytes",
    "max_file_age",
    "compress",
    "retention",
    "max_archive_bytes",
    "durability",
    "signing_key",
    "checkpoint_to",
)
_TICK_S = 1.0  # how often the archive is looked after when nothing happens
_PATIENCE_S = 2.0  # that whoever closes waits for another thread that looks after it
_FEW, _READ_AT_ONCE = 16, 256  # events taken from the buffer under one lock
_UNSENT = 10_000  # events that wait for a logger provider at most


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
        finalize(self, self.metrics.end).atexit = False  # a last push still has them
        self._afterwards = Afterwards(name, self.metrics)
        #: Counts a failure of our own, and logs it once; under no lock.
        self.fault = self._afterwards.report
        self.metrics.tell_faults(partial(self.fault, "metrics"))
        self._begin()
        note = self._afterwards.fault
        self.privacy = Privacy(
            settings.redact, settings.redact_pii, partial(note, "redact"), self.metrics.pii
        )
        self.pseudonyms = settings.pseudonymize
        if self.pseudonyms is not None and self.pseudonyms.weak:
            _logger.warning("audit trail %r: pseudonymize= is short enough to be guessed", name)
        self.erasure: Erasure | None = None
        if settings.erasable is not False:
            self.erasure = self._make_erasure(partial(note, "keys"))
        self._buffer = Buffer(settings.max_events)
        self._head: bytes | None = None  # hash of the newest event
        self.stream = ""  # what tells its events from those of every other trail
        self._shown = 0  # events in memory, as the gauge says
        #: Number of the record `start`, which nobody counts; 0 before this process has an event.
        self._start = 0
        self._clock: Clock | None = None
        self._keeper: Keeper | None = None
        self._others = OtherWriters()
        self.observers: tuple[Callable[[Draft], None], ...] = ()
        #: Sends `unsent`; the emitter's, while there is one.
        self.sender: Callable[[], Callable[[], object] | None] = lambda: None
        if settings.auto_export_path is not None:
            prepare()  # now: at the first event the lock is held
            announce = WeakMethod(self._announce)
            emit = lambda note: (f := announce()) and f(note)  # noqa: E731
            self._keeper = Keeper(settings, settings.name, self.metrics, self._afterwards, emit)
            self._head = self._keeper.open(self._buffer, self._lock)
            self.stream = self._keeper.stream
            self._tell_recoveries()
            if self.erasure is not None:
                self.erasure.mark()
        elif idle := [key for key in _FOR_FILES if getattr(settings, key) != vars(Settings)[key]]:
            words = "audit trail %r has no files: %s mean nothing without auto_export_path"
            _logger.warning(words, name, ", ".join(f"{key}=" for key in idle))
        self.provider: Any = None  # what its records go through
        self._shipper = self._make_shipper(settings.ship_to)
        self.ships = self._shipper is not None  # to a collector, from here
        self.metrics.buffer_capacity.set(settings.max_events)
        self.metrics.buffer_events.set(0)
        if self._clock is None and self._keeper is not None and self._keeper.needs_clock:
            self._start_clock()
        if hasattr(os, "register_at_fork"):
            forked = WeakMethod(self._after_fork)
            os.register_at_fork(after_in_child=lambda: (f := forked()) and f())
        self._afterwards.do()

    def _begin(self) -> None:
        # Reentrant: a signal handler or a finalizer may log in the middle of a call.
        self._lock = lock = threading.RLock()
        #: Whether this thread holds the lock: what it interrupted must come to its end first.
        self.is_busy: Callable[[], bool] = lock._is_owned  # type: ignore[attr-defined]
        self._afterwards.begin(self.is_busy)
        self._postponed: list[tuple[Draft, bytes, Mapping[str, Any]]] = []
        #: Events that no call of `Emitter.emit` placed: OpenTelemetry has not seen them yet.
        self.unsent: deque[Draft] = deque()
        self.unsent_lost = 0

    def _make_erasure(self, fault: Callable[[Exception], object]) -> Erasure:
        settings = self.settings
        place = settings.erasable if isinstance(settings.erasable, Path) else None
        sync = settings.durability == "disk"
        return Erasure.for_writing(settings.auto_export_path, place, sync, fault)

    def _make_shipper(self, endpoint: Any) -> Shipper | None:
        if endpoint is None or os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            return None
        shipper = Shipper(ref(self), endpoint, self.metrics, partial(self.fault, "ship"))
        if self._keeper is not None and self._keeper.has_past:  # something may be left to send
            self._start_clock()
            shipper.tick()
        return shipper

    # --- writing: called by the processor, and by the emitter in its place ----------------

    def record(self, draft: Draft) -> None:
        """Give *draft* its place and its final bytes, keep it, and count it.

        When this returns the event is in memory and, with an archive that works, in the
        journal. Never raises for a fault of the archive: that is counted, and the events
        follow when it works again, as long as memory holds them.
        """
        payload = self._encode(draft)
        fields: Mapping[str, Any] = draft
        if self.erasure is not None:
            fields = self.erasure.sealed(draft)
            payload = _event.encode_fields(fields)
        payload = payload[:-1]  # a copy: what the encoder gives keeps up to a third more memory
        if self.is_busy():
            self._postpone(draft, payload, fields)
            return
        with self._lock:
            try:
                draft.encoded = self._append(draft, payload, fields)
                if self._keeper is not None and self._keeper.lost:
                    self._tell_losses(self._keeper)
                if self._postponed:
                    self._place()
            except BaseException:
                self._mend()
                raise
        if self._clock is None and (
            self.ships or (self._keeper is not None and self._keeper.needs_clock)
        ):
            self._start_clock()
        self.metrics.observe(draft)
        for observe in self.observers:
            observe(draft)
        if self._afterwards.waiting:
            self._afterwards.do()

    def _start_clock(self) -> None:
        with suppress(RuntimeError):  # the program ends, or may have no more threads
            self._clock = Clock(ref(self), _TICK_S)

    def _append(self, draft: Draft, payload: bytes, fields: Mapping[str, Any]) -> bytes:
        buffer, keeper = self._buffer, self._keeper
        if keeper is not None:
            if keeper.archive is None:
                self._reopen(keeper)
            if not self._start and self.settings.start_record:
                self._tell_start(keeper, draft.time_us)
        draft.sequence = buffer.next
        draft.previous_hash = None if self._head is None else self._head.hex()
        line = _event.place(payload, draft.sequence, draft.previous_hash)
        oldest = buffer.first
        buffer.append(payload, self._head, draft.time_us, fields)
        left = buffer.first != oldest and oldest != self._start
        if left and (keeper is None or oldest > keeper.archived):
            self.metrics.evicted.inc()
        leaf = self._head = leaf_hash(line)
        draft.hash = leaf.hex()
        if not self.stream:
            self.stream = trail_id(draft.hash)
        if keeper is not None:
            keeper.wrote(buffer, line, leaf, draft["timestamp"])
            keeper.measure(buffer)
        held = len(self)
        if held != self._shown:
            self._shown = held
            self.metrics.buffer_events.set(held)
        return line

    @contextmanager
    def _change(self) -> Iterator[None]:
        """The lock, for what changes more than a value; what is noted under it is done after.

        Raises:
            OSError: In the middle of such a change: by a signal handler or a finalizer.
        """
        self._require_free()
        try:
            with self._lock:
                try:
                    if self._postponed:
                        self._place()
                    yield
                except BaseException as exc:
                    if not isinstance(exc, OSError) or exc.errno is None:
                        self._mend()
                    raise
        finally:
            self._come_after()

    def _require_free(self) -> None:
        if self.is_busy():
            raise OSError(errno.EDEADLK, "called in the middle of another call")

    def _come_after(self) -> None:
        """Send what was placed under the lock, and do what was noted under it."""
        if self.unsent and (send := self.sender()) is not None:
            send()
        if self._afterwards.waiting:
            self._afterwards.do()

    def _postpone(self, draft: Draft, payload: bytes, fields: Mapping[str, Any]) -> None:
        """In the middle of another event, by a signal handler or a finalizer: this one gets its
        place after that."""
        self._postponed.append((draft, payload, fields))
        line = draft.encoded = payload + b"}"
        draft.sequence, draft.previous_hash, draft.hash = 0, None, leaf_hash(line).hex()

    def _place(self) -> None:
        while self._postponed:
            self._append_late(*self._postponed.pop(0))

    def _append_late(self, draft: Draft, payload: bytes, fields: Mapping[str, Any]) -> None:
        """Append what nobody but us counts, shows and sends, since the lock is held."""
        draft.encoded = self._append(draft, payload, fields)
        self.metrics.observe(draft)
        for observe in self.observers:
            self._afterwards.note(partial(observe, draft))
        self._send_later(draft)

    def _send_later(self, draft: Draft) -> None:
        if len(self.unsent) >= _UNSENT:
            self.unsent.popleft()
            self.unsent_lost += 1
        self.unsent.append(draft)

    def _mend(self) -> None:
        """An exception struck in the middle of a change (a signal handler raised): be whole.

        What was in memory is; the archive is as its files say.
        """
        self._buffer.mend()
        if self._start >= self._buffer.next:  # it did not come to that
            self._start = 0
        if len(self._buffer):
            self._head = self._buffer.proof_of(self._buffer.next - 1)[0]
        if self._keeper is not None:
            self._keeper.mend(self._buffer)
            self._keeper.catch_up(self._buffer)

    def _tell_start(self, keeper: Keeper, time_us: int) -> None:
        """Say who writes, before the first event of this process and dated as that."""
        facts, moment = start_facts(self.settings, self.name), min(time_us * 1000, time.time_ns())
        draft = _event.draft("AUDIT", "SUCCESS", metadata=facts, time_ns=moment, trail=self)
        self._start = keeper.start = self._buffer.next
        draft.encoded = self._append(draft, _event.encode_fields(draft)[:-1], draft)
        self._send_later(draft)

    def _own(self, status: str, **facts: Any) -> None:
        """An event about the trail itself."""
        draft = _event.draft("AUDIT", status, metadata=facts, trail=self)
        self._append_late(draft, _event.encode_fields(draft)[:-1], draft)

    def _tell_losses(self, keeper: Keeper) -> None:
        """Lost is on the record when that is in a file: if it fails again, it is told again."""
        while keeper.lost and keeper.archived == self.newest:
            first, last, why = keeper.lost[0]
            events = last - first + 1
            self._own("FAILURE", record="gap", first=first, last=last, events=events, reason=why)
            if keeper.archived == self.newest:
                del keeper.lost[0]

    def _tell_jumps(self, keeper: Keeper) -> None:
        keeper.clock.look()
        for jump in keeper.clock.take():
            self._own("SUCCESS", **jump.facts)

    def _resume(self, keeper: Keeper) -> None:
        keeper.resume(self._buffer)
        self._tell_losses(keeper)
        self._tell_jumps(keeper)

    def _tell_recoveries(self) -> None:
        assert self._keeper is not None
        with self._lock:
            for found in self._keeper.recoveries:
                facts = {name: getattr(found, name) for name in found.__struct_fields__}
                self._own("PARTIAL", record="unclean_end", **facts)
            for intent in self._keeper.unfinished:
                self._own("FAILURE", record="unfinished", **intent)
            self._keeper.told(self._buffer)
            self._tell_jumps(self._keeper)

    def _reopen(self, keeper: Keeper) -> None:
        """In a forked child: an archive of its own, under another name."""
        if keeper.waits:
            return
        try:
            head = keeper.open(self._buffer, self._lock)
            if not len(self._buffer):
                self._head, self.stream = head, keeper.stream
                self._tell_recoveries()
        except OSError as exc:
            keeper.failed("journal", exc, self._buffer)

    def _encode(self, draft: Draft) -> bytes:
        try:
            return _event.encode_fields(draft)
        except Exception as exc:  # an id or a text that is no UTF-8, a foreign type
            self.fault("encode", exc)
            clean = Privacy(pii=False).metadata(dict(draft))
            clean["entry_ids"] = [str(item) for item in clean["entry_ids"]]
            draft.update(clean)
            return _event.encode_fields(draft)

    def seal(self) -> Path | None:
        """Seal what the journal holds; returns the file (None without one).

        Raises:
            OSError: If that failed; the journal goes on.
        """
        if self._keeper is None:
            return None
        with self._change():
            self._resume(self._keeper)
            sealed = self._keeper.seal(self._buffer)
        self._keeper.tidy(_PATIENCE_S)
        self._come_after()
        return sealed

    def end(self, program_ends: bool = False) -> None:
        """Seal the journal and say that all is well. Never raises; events may still come: when
        the program ends they are written at once, since nobody does it later."""
        if self.erasure is not None:
            self.erasure.keys.save()
        keeper = self._keeper
        if keeper is not None:
            with suppress(OSError):  # counted and logged
                with self._change():
                    self._resume(keeper)
                    keeper.end(self._buffer, program_ends)
                keeper.tidy(_PATIENCE_S)
                keeper.send(_PATIENCE_S)
        self._come_after()
        if self._shipper is not None:
            self._shipper.flush()

    def tick(self) -> None:
        """What is due although nothing happens: the backlog, a checkpoint, its sending."""
        keeper = self._keeper
        if self._shipper is not None:
            self._shipper.tick()
        if keeper is None:
            return
        try:
            with self._change():
                if keeper.archive is not None:
                    keeper.look_after(self._buffer)
                    self._tell_losses(keeper)
                    self._tell_jumps(keeper)
                    keeper.measure(self._buffer)
                    if keeper.checkpoint_due():
                        keeper.make_checkpoint()
            keeper.tidy()
            keeper.send()
        except Exception as exc:
            self._afterwards.fault("journal", exc)
        self._come_after()

    def watch(self, observer: Callable[[Draft], None]) -> None:
        """Call *observer*, which must not raise, with every event that has been captured."""
        with self._lock:
            self.observers = (*self.observers, observer)

    def unwatch(self, observer: Callable[[Draft], None]) -> None:
        """No longer, if it was called at all."""
        with self._lock:
            self.observers = tuple(known for known in self.observers if known != observer)

    # --- promises -----------------------------------------------------------------------

    @property
    def blocks(self) -> bool:
        """Whether what cannot be recorded must not happen."""
        return self.settings.on_failure == "block"

    @property
    def is_kept(self) -> bool:
        """Whether every event is in a file, as far as one is asked for."""
        if self.erasure is not None and not self.erasure.keys.is_saved:
            return False
        return self._keeper is None or self._keeper.keeps(self._buffer)

    @property
    def why(self) -> str:
        """The archive's newest failure, in words."""
        return "" if self._keeper is None else self._keeper.why

    def admit(self, event_id: str, intent: Mapping[str, Any]) -> None:
        """Journal what is about to be done (``on_failure="block"``).

        Raises:
            OSError: If that, or what was done before, cannot be recorded.
        """
        if self.erasure is not None:
            intent = self.erasure.intent(intent)
        if self._keeper is not None:
            with self._change():
                if self._keeper.archive is None:
                    self._reopen(self._keeper)
                self._keeper.admit(self._buffer, event_id, _event.encode_fields(intent))

    def require_files(self) -> None:
        """Write what no file has yet, and do not wait after a failure.

        Raises:
            OSError: If that is not possible.
        """
        keeper = self._keeper
        if keeper is not None and (keeper.waits or not keeper.keeps(self._buffer)):
            with self._change():
                keeper.require(self._buffer)

    def done(self, event_id: str) -> None:
        """An admitted operation has ended."""
        if self._keeper is not None:
            with suppress(OSError), self._change():
                self._keeper.done(event_id)

    @property
    def settles(self) -> bool:
        """Whether there is anything to wait for (``durability="disk"``)."""
        return self._keeper is not None and self._keeper.commit is not None

    async def settle(self) -> None:
        """Wait until everything appended so far is as durable as promised.

        Raises:
            OSError: If the device refused.
        """
        if self._keeper is not None and self._keeper.commit is not None:
            self._require_free()
            await self._keeper.commit.wait_async(self._buffer.next - 1)

    def settle_now(self) -> None:
        """The same for callers without an event loop.

        Raises:
            OSError: If the device refused.
        """
        if self._keeper is not None and self._keeper.commit is not None:
            self._require_free()
            self._keeper.commit.wait(self._buffer.next - 1)

    async def settle_intents(self) -> None:
        """Wait until what was admitted so far is on stable storage, if that is promised.

        Raises:
            OSError: If the device refused.
        """
        keeper = self._keeper
        if keeper is not None and keeper.intents is not None and keeper.archive is not None:
            self._require_free()
            await keeper.intents.wait_async(keeper.archive.intents.count)

    def settle_intents_now(self) -> None:
        """The same for callers without an event loop.

        Raises:
            OSError: If the device refused.
        """
        keeper = self._keeper
        if keeper is not None and keeper.intents is not None and keeper.archive is not None:
            self._require_free()
            keeper.intents.wait(keeper.archive.intents.count)

    def clear(self) -> None:
        """Let go of the events in memory; files, numbering and chain go on."""
        with self._change():
            archived = 0 if self._keeper is None else self._keeper.archived
            unwritten = self._buffer.next - max(self._buffer.first, archived + 1)
            lost = min(unwritten, len(self))
            self.metrics.evicted.inc(lost)
            self._buffer.reset(self._buffer.next)
            self._shown = 0
            self.metrics.buffer_events.set(0)

    def _after_fork(self) -> None:
        """A child begins a trail of its own: what is in memory is its parent's."""
        self._begin()
        self._buffer = Buffer(self.settings.max_events)
        self._head, self._clock, self.stream, self._start = None, None, "", 0
        if self.erasure is not None:
            self.erasure.keys.after_fork()
        self.metrics.begin()
        if self._keeper is not None:
            self._keeper.after_fork(self._lock)
        if self._shipper is not None:
            self._shipper.after_fork()

    # --- shipping ----------------------------------------------------------------------------

    def _announce(self, note: str) -> None:
        """Send a checkpoint the way that events take.

        Raises:
            OSError: If there is none.
        """
        record = statement_of(note, Source(self.name, self.stream))
        if self._shipper is not None:
            self._shipper.add(encode(record))
        else:
            ours = hasattr(self.provider, "add_log_record_processor")
            emit_record(record, self.provider if ours else get_logger_provider())

    @property
    def archives(self) -> bool:
        """Whether it has an archive."""
        return self._keeper is not None

    @property
    def place(self) -> tuple[Path, str] | None:
        """The directory and the writer of its archive; None where that is not open."""
        archive = None if self._keeper is None else self._keeper.archive
        return None if archive is None else (archive.directory, archive.writer)

    @property
    def durable(self) -> int | None:
        """The newest event that may leave this process; None: all (but for durability="disk")."""
        return None if self._keeper is None else self._keeper.durable

    @property
    def newest(self) -> int:
        """The number of the newest event."""
        return self._buffer.next - 1

    def after(self, number: int, count: int) -> tuple[int, list[bytes]]:
        """The next events in memory after event *number*, at most *count*, and the first's number.

        It is higher than *number* + 1 where those between have left memory.
        """
        with self._lock:
            first = max(self._buffer.first, number + 1)
            return first, self._buffer.lines(range(first, min(first + count, self._buffer.next)))

    # --- reading ---------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self._buffer) - self._holds_start

    @property
    def _holds_start(self) -> bool:
        """Whether the oldest event in memory is the record `start`."""
        return self._buffer.first == self._start < self._buffer.next

    @property
    def recorded(self) -> int:
        """How many events were recorded since this trail began."""
        return self._buffer.total - bool(self._start)

    def statistics(self) -> dict[str, Any]:
        """See `AuditLogger.get_statistics`."""
        return {
            **self.metrics.statistics(),
            "events_in_memory": len(self),
            "max_events": self.settings.max_events,
        }

    def search(self, query: Query) -> Iterator[AuditEvent]:
        """The events in memory that answer *query*, newest first."""
        query = query.under(self.pseudonyms)
        return (
            self._search(query) if self.erasure is None else self.erasure.read(query, self._search)
        )

    def _search(self, query: Query) -> Iterator[AuditEvent]:
        with self._lock:
            numbers = self._buffer.candidates(
                query.keys, query.entry_ids, query.start_us, query.end_us
            )
        events = chain.from_iterable(map(_event.decode_all, self._chunks(numbers)))
        return islice(query.passing(events), query.limit)

    def has_more_in_files(self, query: Query, full: bool) -> bool:
        """Whether files can hold events that answer *query* and are not in memory: those of
        other writers, and, if the answer is not *full* yet, older ones."""
        directory, keeper = self.settings.auto_export_path, self._keeper
        if directory is None:
            return False
        with self._lock:
            left = self._buffer.first > 1 + (self._start == 1)
            if left and not full and self._buffer.begins_after(query.start_us):
                return True
            writer = "" if keeper is None or keeper.archive is None else keeper.archive.writer
        return self._others.have_written(directory, writer, query.start_us)

    def search_all(self, query: Query, missing: Missing) -> Iterator[AuditEvent]:
        """The events in memory and in files that answer *query*, newest first.

        Args:
            query: What is asked for.
            missing: Takes what of it cannot be read.
        """
        query = query.under(self.pseudonyms)
        found = partial(self._search_all, missing=missing)
        return found(query) if self.erasure is None else self.erasure.read(query, found)

    def event(self, line: bytes, draft: Draft) -> AuditEvent:
        """The event that was made of *draft*, from its bytes."""
        event = _event.decode(line)
        return event if self.erasure is None else self.erasure.as_given(event, draft)

    def _search_all(self, query: Query, missing: Missing) -> Iterator[AuditEvent]:
        directory, keeper = self.settings.auto_export_path, self._keeper
        if directory is None or keeper is None:
            return self._search(query)
        with self._lock:
            writer = "" if keeper.archive is None else keeper.archive.writer
            before = self._buffer.first
            numbers = self._buffer.candidates(
                query.keys, query.entry_ids, query.start_us, query.end_us
            )
        lines: list[bytes] = []
        while chunk := list(islice(numbers, _READ_AT_ONCE)):
            with self._lock:
                lines += self._buffer.lines(chunk)
                if self._buffer.first > chunk[-1]:  # they left meanwhile, and are in files
                    before = min(self._buffer.first, chunk[0] + 1)  # what was before is taken
                    break
        recent = query.passing(map(_event.decode, lines))
        return search(
            directory, query, recent=recent, writer=writer, before=before, missing=missing
        )

    def lines(self) -> Iterator[bytes]:
        """Every event in memory but the record `start` as its bytes, oldest first."""
        with self._lock:
            numbers = iter(range(self._buffer.first + self._holds_start, self._buffer.next))
        return chain.from_iterable(self._chunks(numbers))

    def _chunks(self, numbers: Iterator[int]) -> Iterator[list[bytes]]:
        count = _FEW  # whoever asks for the newest event does not wait for many
        while chunk := list(islice(numbers, count)):
            with self._lock:
                lines = self._buffer.lines(chunk)
            yield lines
            count = min(2 * count, _READ_AT_ONCE)
