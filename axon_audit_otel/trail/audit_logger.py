"""`AuditLogger`: the face of a trail."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict
from weakref import WeakValueDictionary, finalize

from opentelemetry.context import Context
from opentelemetry.trace import get_current_span
from prometheus_client import CollectorRegistry

from ..archive.holds import in_force
from ..archive.missing import Missing
from ..archive.publishing import write_events
from ..core.errors import (
    ArchiveError,
    AuditConfigError,
    AuditUnavailableError,
    InvalidEventError,
    MemoryOnlyWarning,
    hide_source,
    shown,
)
from ..events import model as _event
from ..events.draft import Draft, Told, checked_duration, checked_ids, draft
from ..events.family import Lineage
from ..events.identifiers import checked_id
from ..events.identity import acting_as, active_operation, named_or_current, or_from_baggage
from ..events.influence import Influence, influence
from ..events.model import AuditEvent, EventStatus, OperationType
from ..events.query import Query, activity
from ..privacy.encryption import check_in_clear
from .otel_emitter import Emitter, checked_provider
from .sdk_logger_interface import SdkLoggerInterface
from .settings import Settings
from .trail import Trail

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..operations.audited import AuditedOperation  # for its type alone: it is above

__all__ = ["AuditLogger", "EventFields", "loggers"]

_trails: WeakValueDictionary[str, Trail] = WeakValueDictionary()
_loggers: WeakValueDictionary[str, AuditLogger] = WeakValueDictionary()

#: The module whose ``register`` gets every new `AuditLogger`, since a `MemorySystem` that is
#: given one must be recorded. It is above this one: imported only then, by name, here alone.
_INSTRUMENTOR = "axon_audit_otel.integrations.axon.instrumentor"
#: The module that compares a memory with a trail: it is above this one as well.
_AUDITED = "axon_audit_otel.operations.audited"
_RECONCILE = "axon_audit_otel.evidence.reconcile"


def _free_name(name: str) -> str:
    """*name*, or *name*-2, ...: two trails of one process never share their series."""
    taken, number = name, 1
    while taken in _trails:
        number += 1
        taken = f"{name}-{number}"
    return taken


def loggers() -> dict[str, AuditLogger]:
    """The loggers of this process, by their names."""
    return dict(_loggers)


def _of_this_process(name: str) -> AuditLogger:
    """The logger of that name, for what was pickled with it.

    Raises:
        AuditConfigError: If there is none: nothing may go unrecorded for that.
    """
    found = _loggers.get(name)
    if found is None:
        msg = f"no AuditLogger named {shown(name)} in this process: make it before unpickling"
        raise AuditConfigError(msg)
    return found


class EventFields(TypedDict, total=False):
    """The arguments of `AuditLogger.log_event` besides the operation."""

    user_id: str | None
    session_id: str | None
    entry_ids: Iterable[str] | None
    metadata: dict[str, Any] | None
    status: EventStatus | str
    error_message: str | None
    duration_ms: float | None
    error_type: str | None
    subject_id: str | None
    agent_id: str | None
    on_behalf_of: str | None
    purpose: str | None
    subjects: Iterable[str] | None
    derived_from: Iterable[str] | None
    fingerprints: Mapping[str, str] | None


#: An event to be recorded, what it tells of entries, and whose these are; True if the SDK logs it.
_Drafted = tuple[Draft, Told, Sequence[str], bool]


class AuditLogger(SdkLoggerInterface):
    """Records audit events, and answers what was recorded.

    Pass it to `axon.MemorySystem(config, audit_logger=...)` or to
    `AxonInstrumentor().instrument(audit_logger=...)`. It also has the methods of the SDK's
    own audit logger. Arguments that are not given come from ``AXON_AUDIT_*`` variables.

    Args:
        max_events: Events kept in memory; the oldest leave first. Default 10,000.
        auto_export_path: Directory of the archive. Every event is in its journal before
            the call that caused it returns; every *max_events* events the journal becomes
            a sealed file ``audit_2025_01_15_103045.json``. Default: no archive.
        enable_rotation: Seal a full journal. Default True.
        max_file_bytes: The journal is full also when it is that large: bytes, or ``"64MiB"``.
        max_file_age: It is full also when it is that old, and then sealed though nothing
            happens: seconds, a `timedelta`, or ``"15m"``, ``"24h"``.
        name: Name of the trail. Default "default".
        capture_content: Record texts, queries and exception messages: True, or
            ``"SPAN_ONLY"``, ``"EVENT_ONLY"``, ``"SPAN_AND_EVENT"``. Default: none.
        redact: A function from text to text for every free text that is recorded, and for
            the names of facts that you give.
        redact_pii: Replace personal data of a known shape in what is recorded. Default True.
        erasable: Encrypt personal data in the trail, so that `erase_user` can make it
            unreadable. True: with keys in a directory beside the archive, ``audit_logs.keys``;
            a path: with keys there. Default False.
        pseudonymize: A secret: bytes, text, or a `Path` (``"@FILE"``) of a file with one. Keyed
            hashes stand for user and session ids in whatever is recorded. Queries take the
            ids themselves. Of several, the first is used and the others were.
        private_ids: The ids of all entries name people: hashes stand for them too. It needs
            *pseudonymize*. Default False: only where an integration or an operation says so.
        fingerprints: Record keyed hashes of the content of entries, and notice those that were
            changed without the trail. True (the default): with a key made of *signing_key*, or
            one in the archive; a secret: bytes, text, or a `Path` (``"@FILE"``) of a file with
            one; False: none.
        compress: Compress sealed files: ``audit_....json.zst``. Needs the extra ``zstd``.
        index: Make an index of sealed files, so that queries by id are fast (docs/files.md).
        retention: Delete sealed files when everything in them is older: seconds, a
            `timedelta`, ``"180d"``, ``"hipaa"`` (six years) or ``"eu-ai-act"`` (six months).
        max_archive_bytes: Delete the oldest sealed files when all are larger together.
        durability: What an archived event survives when the call returns: ``"process"``
            (the default) a killed process, ``"disk"`` power loss; ``"memory"`` neither.
        on_failure: ``"degrade"`` (the default): an operation that cannot be recorded goes
            on, and is counted. ``"block"``: it is refused before it touches memory, with
            `AuditUnavailableError`.
        signing_key: The key (file, line or `SigningKey`) that signs checkpoints.
        checkpoint_to: Where checkpoints go besides the archive: a file, a function, or
            ``"otlp"``: log records, by *ship_to* or else *logger_provider*.
        witnesses: Who cosigns checkpoints, by the C2SP's protocol tlog-witness: lines
            ``URL name+id+key``, or files of them.
        checkpoint_interval: Seconds between them when nothing is sealed. Default 3,600.
        checkpoint_events: Events between them, for more than one in each sealed file.
        ship_to: Ship the events to an OpenTelemetry collector: ``"otlp"`` (as the
            ``OTEL_EXPORTER_OTLP_*`` variables say) or its URL. From the archive, so that an
            outage loses none; without one from memory. Then records do not go through the
            global logger provider as well: they would arrive twice.
        start_record: Begin each writer of the archive with an AUDIT event: host, process, user,
            versions, settings. Default True; False where host and login name must not be kept.
        logger_provider: The OpenTelemetry provider that its records go through. Default:
            the global one if it is set (now or later); without one they go to the trail only.
        registry: The Prometheus registry of its metrics. Default: the default registry.
        max_event_bytes: Length of an event's line at most: bytes, or ``"256KiB"`` (the default).
            Of more ids it has number and digest, of more metadata the marker ``truncated``.
        baggage_identity: Let OpenTelemetry baggage (``user.id``, ``session.id``) say who acts,
            where nothing else does. Any caller of the service can send it. Default False.

    Raises:
        AuditConfigError: If an argument or variable cannot work.
        ArchiveError: If *auto_export_path* cannot be used.
    """

    _warned_of_files = False
    _names_users = True  # what does not needs no keys
    _is_guest = False  # in an archive of others
    _environ: Mapping[str, str] = os.environ

    def __init__(
        self,
        max_events: int | None = None,
        auto_export_path: Path | str | None = None,
        enable_rotation: bool | None = None,
        *,
        name: str | None = None,
        capture_content: bool | str | None = None,
        redact: Callable[[str], str] | None = None,
        redact_pii: bool | None = None,
        erasable: bool | Path | str | None = None,
        pseudonymize: Any = None,
        private_ids: bool | None = None,
        fingerprints: Any = None,
        max_file_bytes: int | str | None = None,
        max_file_age: timedelta | float | str | None = None,
        compress: bool | None = None,
        index: bool | None = None,
        retention: timedelta | float | str | None = None,
        max_archive_bytes: int | str | None = None,
        durability: str | None = None,
        on_failure: str | None = None,
        signing_key: Any = None,
        checkpoint_to: Any = None,
        witnesses: Any = None,
        checkpoint_interval: Any = None,
        checkpoint_events: int | None = None,
        ship_to: str | None = None,
        start_record: bool | None = None,
        logger_provider: Any = None,
        registry: CollectorRegistry | None = None,
        max_event_bytes: int | str | None = None,
        baggage_identity: bool | None = None,
    ) -> None:
        # Every argument by its name: those that are settings are described there, once.
        try:
            self.settings = Settings.resolve(locals(), self._environ)
        except AuditConfigError as exc:
            if any(
                isinstance(value, (str, bytes))
                for value in (signing_key, pseudonymize, fingerprints, ship_to)
            ):
                hide_source(exc)
            raise exc.with_traceback(None) from None  # its frames hold the secrets
        finally:
            del signing_key, pseudonymize, ship_to  # a traceback may show variables
        checked_provider(logger_provider)
        if self._names_users:
            self._check_in_clear()
        free_name = _free_name(self.settings.name)
        self.trail = Trail(self.settings, free_name, _registry(registry), self._is_guest)
        _trails[self.trail.name] = self.trail
        self._emitter = Emitter(self.trail, logger_provider)
        _loggers[self.trail.name] = self
        finalize(self, _end, self.trail, self._emitter)
        import_module(_INSTRUMENTOR).register(self)

    def _check_in_clear(self) -> None:
        archive, erasable = self.settings.auto_export_path, self.settings.erasable
        if archive is not None and erasable is False:
            check_in_clear(archive)

    def __repr__(self) -> str:
        return f"AuditLogger(name={self.name!r}, events={self.event_count})"

    def __copy__(self) -> AuditLogger:
        """The logger itself: a copy of a system records to the same trail."""
        return self

    def __deepcopy__(self, memo: object) -> AuditLogger:
        return self

    def __reduce__(self) -> tuple[Callable[[str], AuditLogger], tuple[str]]:
        """Its name: files, locks and keys are of one process. Where a system is unpickled,
        that process's own logger of this name records it."""
        return _of_this_process, (self.name,)

    @property
    def name(self) -> str:
        """The trail's name: the value of the metrics' label ``trail``."""
        return self.trail.name

    def use(self, logger_provider: Any) -> None:
        """Send the records through *logger_provider* from now on.

        Raises:
            AuditConfigError: If it is none.
        """
        self._emitter.use(logger_provider)

    def emit(self, draft: Draft, context: Context | None = None) -> bytes:
        """Record a prepared event; see `Emitter.emit`."""
        return self._emitter.emit(draft, context)

    # --- recording ---------------------------------------------------------------------------

    async def log_event(
        self,
        operation: OperationType | str,
        user_id: str | None = None,
        session_id: str | None = None,
        entry_ids: Iterable[str] | None = None,
        metadata: dict[str, Any] | None = None,
        status: EventStatus | str = EventStatus.SUCCESS,
        error_message: str | None = None,
        duration_ms: float | None = None,
        *,
        error_type: str | None = None,
        subject_id: str | None = None,
        agent_id: str | None = None,
        on_behalf_of: str | None = None,
        purpose: str | None = None,
        subjects: Iterable[str] | None = None,
        derived_from: Iterable[str] | None = None,
        fingerprints: Mapping[str, str] | None = None,
    ) -> AuditEvent:
        """Record an event by hand.

        Args:
            operation: What was done: an `OperationType` or its name in any case.
            user_id: Who did it. Default: as `audit_context` says.
            session_id: In which session. Default: likewise.
            entry_ids: The memory entries it touched.
            metadata: Any facts; what JSON cannot carry is replaced by a marker.
            status: How it ended: an `EventStatus` or its name in any case.
            error_message: What went wrong, in words.
            duration_ms: How long it took, in milliseconds.
            error_type: The error's class.
            subject_id: Whose data it was, if that is not *user_id*.
            agent_id: The agent (the program) that did it. Default: as `audit_context` says.
            on_behalf_of: The person for whom it was done. Default: likewise.
            purpose: Why, in words. Default: likewise.
            subjects: Every person whose data it touched. The owners of sources are added, where
                they are known.
            derived_from: The entries that its new entries were made of. Of more than one new
                entry, metadata ``derived`` says which of what: ``{"new": ["source", ...]}``.
            fingerprints: Keyed hashes of the content of entries, by their ids.

        Returns:
            The event as recorded.

        Raises:
            InvalidEventError: If *operation* or *status* is unknown, *duration_ms* is
                negative, infinite or no number, or an id is no text.
            AuditUnavailableError: If it could not be written, with ``on_failure="block"``.
        """
        event, told, whose, by_the_sdk = self._drafted(
            *(operation, user_id, session_id, entry_ids, metadata, status, error_message),
            *(duration_ms, error_type, subject_id, agent_id, on_behalf_of, purpose),
            *(subjects, derived_from, fingerprints),
        )
        if by_the_sdk and self._merge(event):
            return _event.decode(_event.encode_fields(event))
        recorded = await self._record(event)
        if told:
            self.trail.entries.apply_derived(recorded, whose)
        return recorded

    def record(self, operation: OperationType | str, **fields: Unpack[EventFields]) -> AuditEvent:
        """Record an event by hand where there is no event loop: as `log_event`, whose arguments
        it takes by name.

        With ``durability="disk"`` the thread waits until the event is on stable storage.

        Returns:
            The event as recorded.

        Raises:
            InvalidEventError: As `log_event`.
            AuditUnavailableError: As `log_event`.
        """
        event, told, whose, _ = self._drafted(operation, **fields)
        if self.trail.blocks:
            self._require_files(event)
        recorded = self.trail.reader.event(self.emit(event), event)
        if self.trail.storage is not None:
            with self._on_stable_storage():
                self.trail.storage.wait_now()
        if self.trail.blocks:
            self._require_kept(recorded)
        if told:
            self.trail.entries.apply_derived(recorded, whose)
        return recorded

    def _drafted(
        self,
        operation: OperationType | str,
        user_id: str | None = None,
        session_id: str | None = None,
        entry_ids: Iterable[str] | None = None,
        metadata: dict[str, Any] | None = None,
        status: EventStatus | str = EventStatus.SUCCESS,
        error_message: str | None = None,
        duration_ms: float | None = None,
        error_type: str | None = None,
        subject_id: str | None = None,
        agent_id: str | None = None,
        on_behalf_of: str | None = None,
        purpose: str | None = None,
        subjects: Iterable[str] | None = None,
        derived_from: Iterable[str] | None = None,
        fingerprints: Mapping[str, str] | None = None,
    ) -> _Drafted:
        """The event that these arguments of `log_event` describe.

        Raises:
            InvalidEventError: As `log_event`.
        """
        try:
            # `value` has the same, by a detour over Python code before Python 3.12.
            kind: str = OperationType.parse(operation)._value_
            outcome: str = EventStatus.parse(status)._value_
            actor, session, acting = named_or_current(user_id, session_id, checked_id)
            if not (agent_id is on_behalf_of is purpose is None):
                acting = acting_as(acting, agent_id, on_behalf_of, purpose)
            if self.settings.baggage_identity:
                actor, session = or_from_baggage(actor, session)
            message = None if error_message is None else str(error_message)
            whose: Sequence[str] = () if subjects is None else checked_ids(subjects, "subjects")
            told = _NOTHING
            if derived_from is not None or fingerprints is not None:
                told = _told_of_entries(derived_from, fingerprints)
                whose = (*whose, *self.trail.entries.whose(told.get("derived_from", ())))
            by_the_sdk = type(operation).__module__.startswith("axon.")
            if by_the_sdk and not self.settings.capture_content.on_events:
                message, metadata = _without_content(message, metadata)
            ids, private = checked_ids(entry_ids), None
            if self.settings.private_ids:
                ids, told, private = self._hidden(ids, told)
            event = draft(
                kind,
                outcome,
                user_id=actor,
                session_id=session,
                entry_ids=ids,
                metadata=metadata,
                duration_ms=checked_duration(duration_ms),
                trail=self.trail,
                error_message=message,
                error_type=None if error_type is None else checked_id("error_type", error_type),
                subject_id=None if subject_id is None else checked_id("subject_id", subject_id),
                span=get_current_span().get_span_context(),
                subjects=whose,
                **acting,
                **told,
            )
            event.private = private
            self.trail.policy.event(event)
        except InvalidEventError:
            raise
        except Exception as exc:  # an argument that raises when one looks at it
            msg = f"an argument cannot be read: {type(exc).__name__}"
            raise InvalidEventError(msg) from exc
        if kind == "AUDIT" and "record" in event["metadata"]:
            msg = "AUDIT with metadata['record']: only the trail itself records that; rename it"
            raise InvalidEventError(msg)
        return event, told, whose, by_the_sdk

    def _hidden(self, ids: list[str], told: Told) -> tuple[list[str], Told, dict[str, str]]:
        """Entry ids, and what is told of entries, with what stands for their ids; and for which
        ids that stands."""
        prints, sources = told.get("fingerprints", {}), told.get("derived_from", ())
        names = {key: self.trail.policy.entry(key) for key in (*ids, *sources, *prints)}
        hidden = Told()
        if sources:
            hidden["derived_from"] = [names[key] for key in sources]
        if prints:
            hidden["fingerprints"] = {names[key]: found for key, found in prints.items()}
        return [names[key] for key in ids], hidden, names

    async def _record(self, draft: Draft) -> AuditEvent:
        if self.trail.blocks:
            self._require_files(draft)
        event = self.trail.reader.event(self.emit(draft), draft)
        if self.trail.storage is not None:
            await self.wait_durable()
        if self.trail.blocks:
            self._require_kept(event)
        return event

    def _require_kept(self, event: AuditEvent) -> None:
        if not self.trail.is_kept:
            msg = f"the {event.operation.value} is in no file: {self.trail.why}"
            raise AuditUnavailableError(msg)

    def _merge(self, draft: Draft) -> bool:
        """Add the facts of *draft* to the running operation if both are about the same call.

        Returns True if they are: one operation is one event.
        """
        running = active_operation()
        if running is None or running.trail is not self.trail:
            return False
        if running.kind.name != draft["operation"]:
            return False
        running.merge(draft["entry_ids"], draft["metadata"])
        return True

    def _require_files(self, draft: Draft) -> None:
        """Refuse an event that would only wait in memory, and push out those let through."""
        try:
            self.trail.require_files()
        except OSError as exc:
            msg = f"the {draft['operation']} is in no file: {exc.strerror or exc}"
            raise AuditUnavailableError(msg) from exc

    async def wait_durable(self) -> None:
        """Wait until what was recorded is on stable storage (``durability="disk"``).

        Raises:
            AuditUnavailableError: If it cannot be, with ``on_failure="block"``.
        """
        if self.trail.storage is not None:
            with self._on_stable_storage():
                await self.trail.storage.wait()

    @contextmanager
    def _on_stable_storage(self) -> Iterator[None]:
        try:
            yield
        except OSError as exc:
            self.trail.fault("commit", exc)
            if self.trail.blocks:
                msg = f"not on stable storage: {exc.strerror or exc}"
                raise AuditUnavailableError(msg) from exc

    # --- operations ------------------------------------------------------------------------

    def operation(
        self,
        operation: OperationType | str,
        *,
        system: str | None = None,
        action: str | None = None,
        store: str | None = None,
        owner: str | None = None,
        entry_ids: Iterable[str] | None = None,
        user_id: str | None = None,
        session_id: str | None = None,
        agent_id: str | None = None,
        on_behalf_of: str | None = None,
        purpose: str | None = None,
        private_ids: bool = False,
    ) -> AuditedOperation:
        """One operation on a memory, as a ``with`` or ``async with`` block.

        The block is one span, one observation and one event, and says itself what happened::

            with audit.operation("FORGET", system="notes", owner="alice") as op:
                notes.delete(key)
                op.deleted(key)

        Inside of another operation on this trail it is a part of that. With
        ``on_failure="block"`` it is refused before the block runs; with ``durability="disk"``
        the end of the block waits for stable storage (a plain ``with`` holds up its thread).

        Args:
            operation: What it does: an `OperationType` or its name in any case.
            system: The memory's library, or the program's own name for it.
            action: The method, as that library names it: ``mem0.delete_all``.
            store: Which of several stores.
            owner: Whose data it is about. The owner acts, unless somebody else does.
            entry_ids: The entries that are asked for, whatever becomes of them.
            user_id: Who acts. Default: as `audit_context` says, else the owner.
            session_id: In which session. Default: as `audit_context` says.
            agent_id: The agent (the program) that does it. Default: likewise.
            on_behalf_of: The person for whom it is done. Default: likewise.
            purpose: Why, in words. Default: likewise.
            private_ids: The ids of its entries name people: keyed hashes stand for them in all
                that is recorded, if the trail has a secret (*pseudonymize*).

        Raises:
            InvalidEventError: If *operation* is unknown, an id is no text, number or UUID, or a
                name is no text.
            AuditUnavailableError: When the block begins: if it cannot be recorded, with
                ``on_failure="block"``.
        """
        made: AuditedOperation = import_module(_AUDITED).AuditedOperation(
            self,
            operation,
            system=system,
            action=action,
            store=store,
            owner=owner,
            entry_ids=entry_ids,
            user_id=user_id,
            session_id=session_id,
            agent_id=agent_id,
            on_behalf_of=on_behalf_of,
            purpose=purpose,
            private_ids=private_ids,
        )
        return made

    # --- erasure ---------------------------------------------------------------------------

    def erase_user(self, user_id: str, *, metadata: dict[str, Any] | None = None) -> bool:
        """Make a user's personal data in the trail unreadable for ever (GDPR Art. 17).

        Destroys the key that the ids, sessions, metadata and messages of that user's events
        are encrypted with, in this process and all others, in memory and in files. The files
        are not changed: `verify`, proofs and checkpoints hold. That it is done is an event,
        without the name, which is recorded first. It can be repeated if it was interrupted.

        Args:
            user_id: Whose data.
            metadata: Further facts of that event, such as the reason. They are encrypted with
                the key of the acting user; if nobody is named as such, they stay readable.

        Returns:
            True if there was anything to erase.

        Raises:
            AuditConfigError: If the trail is not `erasable`.
            InvalidEventError: If *user_id* is no text.
            ArchiveError: If the archive is on hold, or a key may still be there: try again.
            AuditUnavailableError: If it cannot be recorded: then nothing is erased.
        """
        user = checked_id("user_id", user_id)
        archive = self.settings.auto_export_path
        if self.settings.erasable is False:
            msg = "erase_user: without erasable=True, personal data is not encrypted"
            raise AuditConfigError(msg)
        if archive is not None and (held := in_force(archive)):
            msg = f"{str(archive)!r} is on hold ({', '.join(held)}): nothing in it is erased"
            raise ArchiveError(msg)

        def record(draft: Draft) -> None:
            draft.trail = self.trail
            self.emit(draft)
            try:
                self.trail.require_files()
                if self.trail.storage is not None:
                    self.trail.storage.wait_now()
            except OSError as exc:
                msg = f"the erasure cannot be recorded: {exc.strerror or exc}"
                raise AuditUnavailableError(msg) from exc

        actor, session, _ = named_or_current(None, None)
        if self.settings.baggage_identity:
            actor, _ = or_from_baggage(actor, session)
        try:
            done = self.trail.policy.erase(user, actor, metadata or {}, record)
        except OSError as exc:
            msg = f"the erasure is not complete: {exc.strerror or exc}; try again"
            raise ArchiveError(msg) from exc
        self.trail.entries.disown(self.trail.policy.forms(user))
        return done

    def receipt(
        self, event_id: str, *, subject_id: str | None = None, decrypt: bool = False
    ) -> dict[str, Any]:
        """A signed receipt for a person whose data was erased, with the proof (docs/format.md).

        It says what was deleted, when and on whose request, how that was checked, what remains,
        what cannot be known, and if the entries were seen again. `signing_key` signs it; without
        one it is not signed. It reads all files of the archive: in a coroutine, use
        `asyncio.to_thread`. ``axon-audit prove --script`` prints the program that verifies it.

        Args:
            event_id: The id of a FORGET, or of the AUDIT event of `erase_user`. It must be in a
                sealed file (`seal`) which a signed checkpoint covers.
            subject_id: The person whom it is for. Default: whoever the event names.
            decrypt: Say who asked for it, and why, in clear where that is encrypted.

        Returns:
            ``format``, ``statement`` and ``proof``: JSON types.

        Raises:
            AuditConfigError: If there is no archive, or *signing_key* has not signed it.
            InvalidEventError: If the event is no erasure, or is not about *subject_id*.
            ArchiveError: If there is no such event, or no proof of it.
        """
        from ..verification.receipt import make_receipt  # rarely needed, and slow to import

        archive, key = self.settings.auto_export_path, self.settings.signing_key
        if archive is None:
            raise AuditConfigError("receipt: there is no archive (auto_export_path)")
        policy = self.trail.policy
        return make_receipt(archive, event_id, policy, key, subject_id=subject_id, decrypt=decrypt)

    # --- the store -------------------------------------------------------------------------

    async def reconcile(self, memory: Any) -> Any:
        """Compare what lies in the store of *memory* with what is on record of it.

        Reads every entry of every tier through the storage adapters, which changes none, and all
        events of the archive, or of memory without one. The application may go on meanwhile.
        What was found is an AUDIT event.

        Args:
            memory: The `axon.MemorySystem`, which this logger records.

        Returns:
            The result: its ``findings`` (entries that are ``unrecorded``, ``missing``,
            ``altered``, ``forgotten_present`` or ``derived_orphaned``), its counts, and
            what cannot be known. ``agrees`` is True if nothing was found and everything could
            be read; ``to_dict()`` has all of it.

        Raises:
            AuditConfigError: If *memory* is no such system.
            AuditUnavailableError: If it could not be recorded, with ``on_failure="block"``.
            Exception: Of a storage adapter that gives nothing at all.
        """
        found = await import_module(_RECONCILE).reconcile(self.trail, memory)
        actor, session, acting = named_or_current(None, None)
        event = draft(
            "AUDIT",
            "SUCCESS" if found.agrees else "PARTIAL",
            user_id=actor,
            session_id=session,
            metadata=found.facts(),
            trail=self.trail,
            **acting,
        )
        self.trail.policy.event(event, own=True)
        await self._record(event)
        return found

    # --- queries ---------------------------------------------------------------------------

    def query_events(
        self,
        user_id: str | None = None,
        operation: OperationType | str | None = None,
        status: EventStatus | str | None = None,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        session_id: str | None = None,
        entry_ids: Iterable[str] | str | None = None,
        limit: int | None = None,
        *,
        subject_id: str | None = None,
        agent_id: str | None = None,
        on_behalf_of: str | None = None,
        purpose: str | None = None,
        trace_id: str | None = None,
        system: str | None = None,
        store: str | None = None,
        action: str | None = None,
        archived: bool | None = None,
        strict: bool = False,
    ) -> list[AuditEvent]:
        """The events in memory that pass every given filter, newest first.

        The record `start`, with which each writer of an archive begins, is found only with
        ``operation="AUDIT"``.

        A naive time that comes twice, or never, because clocks change, means what its ``fold``
        says (PEP 495): the first of the two, unless that is 1.

        Args:
            user_id: Who acted.
            operation: An `OperationType` or its name in any case.
            status: An `EventStatus` or its name in any case.
            start_time: The earliest time, included; naive is local time.
            end_time: The latest time, included; naive is local time.
            session_id: The session.
            entry_ids: Events that touch any of these entries.
            limit: At most so many.
            subject_id: Whose data it was, also if it is one of several `subjects`.
            agent_id: The agent that acted.
            on_behalf_of: The person for whom it was done.
            purpose: Why it was done: the whole text, as it was recorded.
            trace_id: The W3C trace id, 32 hex digits.
            system: The memory's library, as it was recorded: ``axon``, ``langgraph``.
            store: Which of its stores.
            action: The method, as that library names it.
            archived: Also those in the files of the archive, of other writers as well. It
                reads files: in a coroutine, use `asyncio.to_thread`. Where one of them, or a
                part of it, cannot be read or is gone, the rest is the answer, and an
                `ArchiveIncompleteWarning` says so. What is damaged inside of a line and still
                an event, `verify` finds. An id that was hashed (``pseudonymize=``) is found
                only with the secret that it was hashed with. False: memory alone. Default:
                memory alone, with a `MemoryOnlyWarning`, once, when the archive may have more:
                older ones, or those of other processes.
            strict: An answer that is not whole is an error instead.

        Raises:
            InvalidEventError: If a filter cannot be meant.
            AuditConfigError: If there is no archive, and *archived* is asked for.
            ArchiveError: If the answer is not whole, with *strict*.
        """
        query = Query.of(
            operation=operation,
            status=status,
            user_id=user_id,
            session_id=session_id,
            subject_id=subject_id,
            agent_id=agent_id,
            on_behalf_of=on_behalf_of,
            purpose=purpose,
            trace_id=trace_id,
            system=system,
            store=store,
            action=action,
            entry_ids=entry_ids,
            start_time=start_time,
            end_time=end_time,
            limit=limit,
        )
        return list(self._found(query, archived, strict))

    def _found(
        self, query: Query, archived: bool | None, strict: bool = False
    ) -> Iterable[AuditEvent]:
        """The events that match *query*, newest first."""
        if archived:
            missing = self._missing(strict)
            found = list(self.trail.reader.search_all(query, missing))
            missing.warn(2)
            return found
        found = list(self.trail.reader.search(query))
        if archived is None:
            self._warn_of_files(query, len(found) == query.limit, 4)
        return found

    def _missing(self, strict: bool) -> Missing:
        """For an answer from the archive: takes what it lacks.

        Raises:
            AuditConfigError: If there is none.
        """
        if self.settings.auto_export_path is None:
            msg = "archived=True: there is no archive (auto_export_path)"
            raise AuditConfigError(msg)
        return Missing(strict)

    def lineage(
        self, entry_id: str, *, archived: bool | None = None, strict: bool = False
    ) -> Lineage | None:
        """What an entry was made of, and what was made of it, as the events in memory say.

        Args:
            entry_id: The entry.
            archived: See `query_events`; the files are read twice.
            strict: See `query_events`.

        Returns:
            The entry, its ancestors and its descendants, each with owners, the event that made
            it, and the one that deleted it; None if no event names the entry.

        Raises:
            InvalidEventError: If *entry_id* is no id.
            AuditConfigError: If there is no archive, and *archived* is asked for.
            ArchiveError: If the answer is not whole, with *strict*.
        """
        asked = checked_id("entry_id", entry_id)
        missing = self._missing(strict) if archived else None
        if archived is None:
            self._warn_of_files(Query(), False, 3)
        found = self.trail.reader.lineage(asked, missing)
        if missing is not None:
            missing.warn()
        return found

    def _warn_of_files(self, query: Query, full: bool, level: int) -> None:
        """Warn, once, that memory is not all there is: at that level of the stack."""
        if self._warned_of_files or not self.trail.reader.has_more_in_files(query, full):
            return
        self._warned_of_files = True
        msg = (
            f"this answer is from memory; {str(self.settings.auto_export_path)!r} has more events:"
            " query_events(archived=True) has these too, archived=False means memory"
        )
        warnings.warn(msg, MemoryOnlyWarning, stacklevel=level)

    def influence(
        self,
        entry_id: str,
        *,
        start_time: datetime | None = None,
        end_time: datetime | None = None,
        archived: bool | None = None,
        strict: bool = False,
    ) -> Influence:
        """Who read an entry, and which entries it may have influenced since.

        These are the entries that were stored in the same trace or session after the first
        reading there, and those that were made of it; and what these influenced in turn.

        Args:
            entry_id: The entry.
            start_time: See `query_events`.
            end_time: See `query_events`.
            archived: See `query_events`. Not all events are in memory at once.
            strict: See `query_events`.

        Returns:
            The answer, which is true if the entry was read or another was made of it; its
            ``is_named`` is False where no event names the entry at all.

        Raises:
            InvalidEventError: If an argument cannot be meant.
            AuditConfigError: If there is no archive, and *archived* is asked for.
            ArchiveError: If the answer is not whole, with *strict*.
        """
        entry = checked_id("entry_id", entry_id)
        read = self.trail.reader.knowing(entry)
        query = Query.of(start_time=start_time, end_time=end_time)
        if archived:
            missing = self._missing(strict)
            found = influence(entry, read.search_all(query, missing, oldest_first=True))
            missing.warn(2)
            return found
        if archived is None:
            self._warn_of_files(query, False, 3)
        return influence(entry, read.search(query, oldest_first=True))

    def get_statistics(self) -> dict[str, Any]:
        """Counts and latencies since this logger began, as its Prometheus metrics have them.

        They are those of this process, and begin anew in a forked child.

        Returns:
            ``total_events``; ``success_rate`` (0 to 1, of the memory operations: events about
            the trail itself, AUDIT, do not change it; 1 without any); ``avg_duration_ms``;
            ``by_operation`` and ``by_status`` (every name, also those at 0); ``by_system`` (the
            memory systems with events, by the metrics' label: the first 20, then ``other``;
            ``none`` is what names no system); ``latency_ms``
            (per operation: ``count``, ``avg``, ``p50``, ``p95``, ``p99``; these three are at
            most 1 % off the exact ones); ``events_in_memory``, ``max_events``,
            ``evicted_events`` (left memory without being in a file), ``exported_events``,
            ``findings`` (how many entries need attention, by kind: ``altered``,
            ``resurrected``, ``derived_remaining``) and ``failures`` (of our own, by stage).
        """
        return {
            **self.trail.metrics.statistics(),
            "events_in_memory": self.event_count,
            "max_events": self.settings.max_events,
        }

    def get_user_statistics(
        self, user_id: str | None, *, archived: bool | None = None, strict: bool = False
    ) -> dict[str, Any]:
        """Counts of one user's operations in memory; None: of operations without a known user.

        Args:
            user_id: The user.
            archived: See `query_events`.
            strict: See `query_events`.

        Returns:
            ``user_id``, ``total_operations``, ``by_operation``, ``by_status``,
            ``success_rate``, ``avg_duration_ms``, ``first_activity``, ``last_activity``
            (aware datetimes, or None) and ``most_common_operation`` (a name, or None).
        """
        found = self._found(Query.of(user_id=user_id), archived, strict)
        if user_id is None:
            found = (event for event in found if event.user_id is None)
        return {"user_id": user_id, **activity(found)}

    # --- files -----------------------------------------------------------------------------

    def export_to_file(
        self, path: Path | str, *, archived: bool | None = None, strict: bool = False
    ) -> int:
        """Write the events in memory to *path*, oldest first; returns how many.

        The file replaces one of the same name; it appears whole or not at all.

        Args:
            path: The file.
            archived: See `query_events`; all events are in memory for a while.
            strict: See `query_events`.

        Raises:
            AuditConfigError: If there is no archive, and *archived* is asked for.
            ArchiveError: If it cannot be written, or a file cannot be read.
        """
        if archived:
            lines = [event.to_json() for event in self._found(Query(), archived, strict)]
            return write_events(reversed(lines), Path(path))
        if archived is None:
            self._warn_of_files(Query(), False, 3)
        return write_events(self.trail.reader.lines(), Path(path))

    def export_events(self, events: Iterable[AuditEvent], path: Path | str) -> int:
        """Write *events* to *path* in the same format, in their order; returns how many.

        Raises:
            ArchiveError: If it cannot be written.
            InvalidEventError: If one of them is no `AuditEvent`.
        """
        return write_events(map(_as_line, events), Path(path))

    def seal(self) -> Path | None:
        """Seal the journal now; returns the file, None if there was nothing to seal.

        Raises:
            ArchiveError: If that failed; the events are still in the journal.
        """
        try:
            return self.trail.seal()
        except OSError as exc:
            msg = f"cannot seal in {str(self.settings.auto_export_path)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc

    def close(self) -> None:
        """Seal the journal. Events can still be logged: they begin a new one.

        A failure is logged and counted; the events are then still in the journal. With
        *ship_to*, waits up to two seconds for what is not sent yet.
        """
        self.trail.end()

    def __enter__(self) -> AuditLogger:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _end(trail: Trail, emitter: Emitter) -> None:
    """Seal the journal when nobody has the logger any more; *emitter* sends what that places."""
    trail.end(program_ends=True)


def _without_content(message: str | None, metadata: Any) -> tuple[str | None, Any]:
    """*message* and *metadata* of the SDK without content: the query of a recall, and the text
    of an exception, which comes together with its type."""
    if not isinstance(metadata, dict):
        return message, metadata
    kept = {key: value for key, value in metadata.items() if key != "query"}
    return (None if "error_type" in metadata else message), kept


_NOTHING = Told()


def _told_of_entries(derived_from: Any, fingerprints: Any) -> Told:
    """What a caller of `log_event` tells of sources and contents, checked.

    Raises:
        InvalidEventError: If these are no ids, or no texts by id.
    """
    told = Told()
    if derived_from is not None:
        told["derived_from"] = checked_ids(derived_from, "derived_from")
    if fingerprints is not None:
        if not isinstance(fingerprints, Mapping):
            msg = f"fingerprints={shown(fingerprints)}: must be a mapping from entry ids to text"
            raise InvalidEventError(msg)
        told["fingerprints"] = dict(
            checked_ids(pair, "fingerprints") for pair in fingerprints.items()
        )
    return told


def _registry(value: Any) -> CollectorRegistry | None:
    if value is None or isinstance(value, CollectorRegistry):
        return value
    msg = f"registry={shown(value)}: must be a prometheus_client.CollectorRegistry"
    raise AuditConfigError(msg)


def _as_line(event: AuditEvent) -> bytes:
    if not isinstance(event, AuditEvent):
        msg = f"{shown(event)} is no AuditEvent: pass what query_events returns"
        raise InvalidEventError(msg)
    return event.to_json()
