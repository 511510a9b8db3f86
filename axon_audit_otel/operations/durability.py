"""Intents (``on_failure="block"``), and waiting for stable storage (``durability="disk"``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress

from ..core.errors import AuditUnavailableError
from ..events.draft import intent
from .facts import Facts

__all__ = ["record_intent", "wait_event", "wait_event_now", "wait_intent", "wait_intent_now"]


def record_intent(op: Facts) -> None:
    """Journal the intent, or refuse the operation.

    Raises:
        AuditUnavailableError: If it, or its outcome, could not be recorded.
    """
    facts = intent(
        op.kind.name,
        user_id=op.user_id,
        session_id=op.session_id,
        subject_id=op.subject_id,
        **op.delegates,
    )
    op.event_id = facts["event_id"]
    try:
        op.trail.record_intent(facts)
    except OSError as exc:
        raise _refusal(op, exc) from exc


def _refusal(op: Facts, exc: OSError) -> AuditUnavailableError:
    return AuditUnavailableError(f"{op.kind.name} refused: it cannot be recorded ({exc})")


@contextmanager
def _refusing(op: Facts) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        op.trail.fault("commit", exc)
        raise _refusal(op, exc) from exc


async def wait_intent(op: Facts) -> None:
    """Wait until the intent, if there is one, is on stable storage, where that is promised.

    Raises:
        AuditUnavailableError: If the device refused.
    """
    if op.event_id is not None and op.trail.storage is not None:
        with _refusing(op):
            await op.trail.storage.wait_intents()


def wait_intent_now(op: Facts) -> None:
    """Do as `wait_intent`, in a function that is no coroutine."""
    if op.event_id is not None and op.trail.storage is not None:
        with _refusing(op):
            op.trail.storage.wait_intents_now()


async def wait_event(op: Facts) -> None:
    """Wait until the event is on stable storage, where that is promised."""
    if op.trail.storage is not None:
        with suppress(AuditUnavailableError):  # counted; what was done, was done
            await op.audit.wait_durable()


def wait_event_now(op: Facts) -> None:
    """Do as `wait_event`, in a function that is no coroutine."""
    try:
        if op.trail.storage is not None:
            op.trail.storage.wait_now()
    except OSError as exc:
        op.trail.fault("commit", exc)
