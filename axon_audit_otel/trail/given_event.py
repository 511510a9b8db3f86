"""The event that the arguments of `AuditLogger.log_event` describe."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypedDict

from opentelemetry.trace import INVALID_SPAN, get_current_span

from ..core.errors import InvalidEventError, shown
from ..events.draft import Draft, Told, add_later, checked_duration, checked_ids, draft
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
_NOBODYS: Sequence[str] = ()


def all_fields(given: EventFields) -> EventFields:
    """*given*, and what stands for each field that is not.

    Raises:
        TypeError: If one is no field of an event.
    """
    for name in given:
        if name not in _UNGIVEN:
            raise TypeError(f"record() got an unexpected keyword argument {name!r}")
    return {**_UNGIVEN, **given}


def given_event(trail: Trail, operation: OperationType | str, *given: Any) -> GivenEvent:
    """The event of *trail* that these arguments of `log_event`, all of them in the order of
    `EventFields`, describe.

    Raises:
        InvalidEventError: As `log_event`.
    """
    try:
        made = _checked(trail, operation, *given)
    except (InvalidEventError, RecursionError, MemoryError):  # no room: of no argument's making
        raise
    except Exception as exc:  # an argument that raises when one looks at it
        msg = f"an argument cannot be read: {type(exc).__name__}"
        raise InvalidEventError(msg) from exc
    event = made[0]
    trail.policy.event(event)
    if event["operation"] == "AUDIT" and "record" in event["metadata"]:
        msg = "AUDIT with metadata['record']: only the trail itself records that; rename it"
        raise InvalidEventError(msg)
    return made


def _checked(
    trail: Trail,
    operation: OperationType | str,
    user_id: Any,
    session_id: Any,
    entry_ids: Any,
    metadata: Any,
    status: EventStatus | str,
    error_message: Any,
    duration_ms: Any,
    error_type: Any,
    subject_id: Any,
    agent_id: Any,
    on_behalf_of: Any,
    purpose: Any,
    subjects: Any,
    derived_from: Any,
    fingerprints: Any,
) -> GivenEvent:
    settings, told, whose = trail.settings, _NOTHING, _NOBODYS
    # As `parse` does, without a call for what is a member already.
    done = operation if type(operation) is OperationType else OperationType.parse(operation)
    ended = status if type(status) is EventStatus else EventStatus.parse(status)
    by_the_sdk = done is not operation and type(operation).__module__.startswith("axon.")
    user, session, acting = named_or_current(user_id, session_id, checked_id)
    if not (agent_id is on_behalf_of is purpose is None):
        acting = acting_as(acting, agent_id, on_behalf_of, purpose)
    if settings.baggage_identity:
        user, session = or_from_baggage(user, session)
    if not (subjects is derived_from is fingerprints is None):
        told, whose = _told(trail, subjects, derived_from, fingerprints)
    message = None if error_message is None else str(error_message)
    if by_the_sdk and not settings.capture_content.on_events:
        message, metadata = _without_content(message, metadata)
    ids, private, namer = checked_ids(entry_ids), None, None
    subject = None if subject_id is None else checked_id("subject_id", subject_id)
    if settings.private_ids:
        who = (subject, *whose[:1], user, acting.get("on_behalf_of"), acting.get("agent_id"))
        namer = trail.entries.namer(*who)
        ids, told, private = _hidden(ids, told, namer)
    span = get_current_span()
    event = draft(
        done._value_,  # as `value`, which takes Python code before Python 3.12
        ended._value_,
        user_id=user,
        session_id=session,
        entry_ids=ids,
        metadata=metadata,
        duration_ms=checked_duration(duration_ms),
        trail=trail,
        error_message=message,
        error_type=None if error_type is None else checked_id("error_type", error_type),
        subject_id=subject,
        span=None if span is INVALID_SPAN else span.get_span_context(),
        subjects=whose,
    )
    if acting or told:
        add_later(event, {**acting, **told})
    event.private, event.namer = private, namer
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


def _told(
    trail: Trail, subjects: Any, derived_from: Any, fingerprints: Any
) -> tuple[Told, Sequence[str]]:
    """What a caller of `log_event` tells of entries, checked; and of whom it is.

    Raises:
        InvalidEventError: If these are no ids, or no texts by id.
    """
    told, whose = Told(), [] if subjects is None else checked_ids(subjects, "subjects")
    if derived_from is not None:
        told["derived_from"] = sources = checked_ids(derived_from, "derived_from")
        whose = [*whose, *trail.entries.whose(sources)]
    if fingerprints is not None:
        if not isinstance(fingerprints, Mapping):
            msg = f"fingerprints={shown(fingerprints)}: must be a mapping from entry ids to text"
            raise InvalidEventError(msg)
        told["fingerprints"] = dict(
            checked_ids(pair, "fingerprints") for pair in fingerprints.items()
        )
    return told, whose
