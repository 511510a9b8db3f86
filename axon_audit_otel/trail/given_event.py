"""The event that the arguments of `AuditLogger.log_event` describe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from opentelemetry.trace import get_current_span

from ..core.errors import InvalidEventError, shown
from ..events.draft import Draft, Told, checked_duration, checked_ids, draft
from ..events.identifiers import checked_id
from ..events.identity import acting_as, named_or_current, or_from_baggage
from ..events.model import EventStatus, OperationType

if TYPE_CHECKING:
    from .trail import Trail

__all__ = ["EventFields", "GivenEvent", "all_fields", "given_event"]


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


_UNGIVEN: EventFields = {
    "user_id": None,
    "session_id": None,
    "entry_ids": None,
    "metadata": None,
    "status": EventStatus.SUCCESS,
    "error_message": None,
    "duration_ms": None,
    "error_type": None,
    "subject_id": None,
    "agent_id": None,
    "on_behalf_of": None,
    "purpose": None,
    "subjects": None,
    "derived_from": None,
    "fingerprints": None,
}
#: An event to be recorded, what it tells of entries, and whose these are; True if the SDK logs it.
GivenEvent = tuple[Draft, Told, Sequence[str], bool]
_NOTHING = Told()


def all_fields(given: EventFields) -> EventFields:
    """*given*, and what stands for each field that is not.

    Raises:
        TypeError: If one is no field of an event.
    """
    for name in given:
        if name not in _UNGIVEN:
            raise TypeError(f"record() got an unexpected keyword argument {name!r}")
    return {**_UNGIVEN, **given}


def given_event(trail: Trail, operation: OperationType | str, fields: EventFields) -> GivenEvent:
    """The event of *trail* that these arguments of `log_event`, all of them, describe.

    Raises:
        InvalidEventError: As `log_event`.
    """
    try:
        given = _checked(trail, operation, fields)
    except InvalidEventError:
        raise
    except Exception as exc:  # an argument that raises when one looks at it
        msg = f"an argument cannot be read: {type(exc).__name__}"
        raise InvalidEventError(msg) from exc
    event = given[0]
    if event["operation"] == "AUDIT" and "record" in event["metadata"]:
        msg = "AUDIT with metadata['record']: only the trail itself records that; rename it"
        raise InvalidEventError(msg)
    return given


def _checked(trail: Trail, operation: OperationType | str, fields: EventFields) -> GivenEvent:
    settings = trail.settings
    # `value` has the same, by a detour over Python code before Python 3.12.
    kind: str = OperationType.parse(operation)._value_
    status: str = EventStatus.parse(fields["status"])._value_
    user, session, acting = named_or_current(fields["user_id"], fields["session_id"], checked_id)
    agent, principal, purpose = fields["agent_id"], fields["on_behalf_of"], fields["purpose"]
    if not (agent is principal is purpose is None):
        acting = acting_as(acting, agent, principal, purpose)
    if settings.baggage_identity:
        user, session = or_from_baggage(user, session)
    message, metadata = fields["error_message"], fields["metadata"]
    message = None if message is None else str(message)
    subjects, told = fields["subjects"], _NOTHING
    whose: Sequence[str] = () if subjects is None else checked_ids(subjects, "subjects")
    sources, prints = fields["derived_from"], fields["fingerprints"]
    if sources is not None or prints is not None:
        told = _told_of_entries(sources, prints)
        whose = (*whose, *trail.entries.whose(told.get("derived_from", ())))
    by_the_sdk = type(operation).__module__.startswith("axon.")
    if by_the_sdk and not settings.capture_content.on_events:
        message, metadata = _without_content(message, metadata)
    error, subject = fields["error_type"], fields["subject_id"]
    ids, private, namer = checked_ids(fields["entry_ids"]), None, None
    if settings.private_ids:
        who = (subject, *whose[:1], user, acting.get("on_behalf_of"), acting.get("agent_id"))
        namer = trail.entries.namer(*who)
        ids, told, private = _hidden(ids, told, namer)
    event = draft(
        kind,
        status,
        user_id=user,
        session_id=session,
        entry_ids=ids,
        metadata=metadata,
        duration_ms=checked_duration(fields["duration_ms"]),
        trail=trail,
        error_message=message,
        error_type=None if error is None else checked_id("error_type", error),
        subject_id=None if subject is None else checked_id("subject_id", subject),
        span=get_current_span().get_span_context(),
        subjects=whose,
        **acting,
        **told,
    )
    event.private, event.namer = private, namer
    trail.policy.event(event)
    return event, told, whose, by_the_sdk


def _hidden(
    ids: list[str], told: Told, namer: Callable[[str], str]
) -> tuple[list[str], Told, dict[str, str]]:
    """Entry ids, and what is told of entries, with what stands for their ids; and for which
    ids that stands."""
    prints, sources = told.get("fingerprints", {}), told.get("derived_from", ())
    names = {key: namer(key) for key in (*ids, *sources, *prints)}
    hidden = Told()
    if sources:
        hidden["derived_from"] = [names[key] for key in sources]
    if prints:
        hidden["fingerprints"] = {names[key]: found for key, found in prints.items()}
    return [names[key] for key in ids], hidden, names


def _without_content(message: str | None, metadata: Any) -> tuple[str | None, Any]:
    """*message* and *metadata* of the SDK without content: the query of a recall, and the text
    of an exception, which comes together with its type."""
    if not isinstance(metadata, dict):
        return message, metadata
    kept = {key: value for key, value in metadata.items() if key != "query"}
    return (None if "error_type" in metadata else message), kept


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
