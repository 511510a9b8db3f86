"""The methods of `AuditLogger` that record: an event by hand, or an operation."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from opentelemetry.context import Context
from opentelemetry.trace import get_current_span

from ..core.errors import AuditUnavailableError
from ..events import model as _event
from ..events.draft import Draft
from ..events.identity import active_operation
from ..events.model import AuditEvent, EventStatus, OperationType
from .given_event import EventFields, all_fields, given_event
from .otel_emitter import Emitter
from .trail import Trail

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from ..operations.audited import AuditedOperation  # for its type alone: it is above

__all__ = ["Recording"]

_AUDITED = "axon_audit_otel.operations.audited"


@cache
def _operation_class() -> Any:
    """`AuditedOperation`: its module is above this one, imported only when there is one."""
    return import_module(_AUDITED).AuditedOperation


class Recording:
    """The methods of a logger that record in its trail."""

    trail: Trail
    _emitter: Emitter

    def emit(self, draft: Draft, context: Context | None = None) -> bytes:
        """Record a prepared event; see `Emitter.emit`."""
        return self._emitter.emit(draft, context)

    # --- an event by hand --------------------------------------------------------------------

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
        trail = self.trail
        event, told, whose, by_the_sdk = given_event(
            trail,
            operation,
            user_id,
            session_id,
            entry_ids,
            metadata,
            status,
            error_message,
            duration_ms,
            error_type,
            subject_id,
            agent_id,
            on_behalf_of,
            purpose,
            subjects,
            derived_from,
            fingerprints,
        )
        if by_the_sdk and self._merge(event):
            return _event.decode(_event.encode_fields(event))
        if "trace_id" in event:
            trail.metrics.choose_exemplar(event, get_current_span())
        recorded = self._recorded(event)
        if trail.storage is not None:
            await self.wait_durable()
        if trail.blocks:
            self._require_kept(recorded)
        if told:
            trail.entries.apply_derived(recorded, whose)
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
        given = all_fields(fields).values()
        event, told, whose, _ = given_event(self.trail, operation, *given)
        if "trace_id" in event:
            self.trail.metrics.choose_exemplar(event, get_current_span())
        recorded = self._recorded(event)
        if self.trail.storage is not None:
            with self._on_stable_storage():
                self.trail.storage.wait_now()
        if self.trail.blocks:
            self._require_kept(recorded)
        if told:
            self.trail.entries.apply_derived(recorded, whose)
        return recorded

    def _recorded(self, draft: Draft) -> AuditEvent:
        """Record *draft*; what it became. Not waited for, and not required to be kept."""
        if self.trail.blocks:
            self._require_files(draft)
        return self.trail.reader.event(self._emitter.emit(draft), draft)

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
            private_ids: The ids of its entries name people: they are hidden in all that is
                recorded, if the trail hides ids: by keyed hashes (*pseudonymize*), or encrypted
                (*erasable*).

        Raises:
            InvalidEventError: If *operation* is unknown, an id is no text, number or UUID, or a
                name is no text.
            AuditUnavailableError: When the block begins: if it cannot be recorded, with
                ``on_failure="block"``.
        """
        made: AuditedOperation = _operation_class()(
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
