"""What flows with the calls of a task: who acts, and the operation that is running."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, NamedTuple

from opentelemetry import baggage

from . import semconv
from .privacy import checked_id, identifier

__all__ = ["audit_context"]


class Identity(NamedTuple):
    """Who acts, and in which session."""

    user_id: str | None = None
    session_id: str | None = None


NOBODY = Identity()
_identity: ContextVar[Identity] = ContextVar("axon_audit_identity", default=NOBODY)


#: The innermost audited operation of this task (an `Operation`), also after it has ended.
running: ContextVar[Any] = ContextVar("axon_audit_operation", default=None)


@contextmanager
def audit_context(*, user_id: str | None = None, session_id: str | None = None) -> Iterator[None]:
    """Name who acts for every memory operation inside the ``with`` block.

    An argument of the call itself goes before it; what is not given here stays as an
    enclosing `audit_context` said. Tasks that are started inside inherit it.

    Args:
        user_id: Who acts.
        session_id: In which session.

    Raises:
        InvalidEventError: If one of them is no text, number or UUID.
    """
    outer = _identity.get()
    token = _identity.set(
        Identity(
            outer.user_id if user_id is None else checked_id("user_id", user_id),
            outer.session_id if session_id is None else checked_id("session_id", session_id),
        )
    )
    try:
        yield
    finally:
        with suppress(ValueError):  # closed in another context: a fixture, a generator
            _identity.reset(token)


def current_identity() -> Identity:
    """What `audit_context` says here."""
    return _identity.get()


def baggage_identity() -> Identity:
    """What the caller's OpenTelemetry baggage says (``user.id``, ``session.id``)."""
    carried = baggage.get_all()
    if not carried:
        return NOBODY
    user, session = carried.get(semconv.USER_ID), carried.get(semconv.SESSION_ID)
    return Identity(
        None if user is None else identifier(user),
        None if session is None else identifier(session),
    )
