"""An event before it has its place in a trail: made here, whatever it is made of."""

from __future__ import annotations

import hashlib
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import accumulate, islice
from numbers import Real
from typing import TYPE_CHECKING, Any, TypedDict

import msgspec
from opentelemetry.trace import SpanContext

from ..core.errors import InvalidEventError, shown
from ..core.time import FIRST_US, LAST_US, format_time
from .findings import cut_to, findings
from .identifiers import DIGEST_BYTES, ID_TYPES, MAX_ID, checked_id, new_event_id

if TYPE_CHECKING:
    from typing_extensions import Unpack

__all__ = [
    *(
        "Acting",
        "Draft",
        "Later",
        "Told",
        "add_later",
        "checked_duration",
        "checked_ids",
        "draft",
        "flags_text",
        "intent",
        "note_many",
    ),
    "shorten",
]


#: Gives what stands for persons in what is written.
_Names = Callable[[Iterable[str]], tuple[str, ...]]


class Draft(dict[str, Any]):
    """An event on its way through OpenTelemetry: the body of its log record.

    It stays a plain mapping for whoever else reads the record. The trail it is meant for
    and, once captured, the final bytes ride along.
    """

    __slots__ = (
        *("encoded", "entries", "exemplar", "further", "hash", "namer", "own", "previous_hash"),
        *("private", "sequence", "text_owners", "time_us", "trail", "uncarried"),
    )

    encoded: bytes | None
    entries: int
    exemplar: bool  # metrics name its trace, which tail sampling keeps
    further: tuple[str, ...]  # subjects beyond those that it names: recorded by their digests
    hash: str  # its own and the one before, and its number: once captured
    namer: Callable[[str], str] | None  # gives what stands for a private entry
    own: bool  # the names of its facts are ours: no caller gave them
    previous_hash: str | None
    private: dict[str, str] | None  # its entry ids name people: what stands for which
    sequence: int
    text_owners: tuple[tuple[str, ...], ...]  # whose each text in the fact ``content`` is
    time_us: int
    trail: object | None
    uncarried: dict[str, Any] | None  # for its metadata: how much it could not carry


class Acting(TypedDict, total=False):
    """The agent that acts, on behalf of whom, and why: each left out if it is not known."""

    agent_id: str
    on_behalf_of: str
    purpose: str


class Told(TypedDict, total=False):
    """What an event tells of the content of entries; each left out if there is none."""

    fingerprints: Mapping[str, str]
    derived_from: Sequence[str]


class Later(Acting, Told, total=False):
    """Fields that few events have, each left out where there is nothing to say."""


def draft(
    operation: str,
    status: str,
    *,
    user_id: str | None = None,
    session_id: str | None = None,
    entry_ids: list[str] | None = None,
    metadata: Any = None,
    duration_ms: float | None = None,
    event_id: str | None = None,
    time_ns: int | None = None,
    entries: int | None = None,
    most_ids: int | None = None,
    trail: object | None = None,
    error_message: str | None = None,
    error_type: str | None = None,
    subject_id: str | None = None,
    trace_id: str | None = None,
    span_id: str | None = None,
    trace_flags: str | None = None,
    span: SpanContext | None = None,
    action: str | None = None,
    system: str | None = None,
    store: str | None = None,
    subjects: Sequence[str] = (),
    **later: Unpack[Later],
) -> Draft:
    """An event without its place in a trail. What is not ours goes through
    `PrivacyPolicy.event` before it is recorded: that makes JSON types of it, and redacts it.

    Its time is *time_ns* or now, its trace that of *span*, if that is one, else *trace_id*,
    *span_id* and *trace_flags*. Of more ids than *most_ids*, or than an event can carry, it has
    their number (`Draft.uncarried`), of those of entries their digest as well; further subjects
    are in `Draft.further`. *entries* is how many the operation handled, if that is another number.
    """
    now = min(max(time_ns, FIRST_US * 1000), LAST_US * 1000) if time_ns else time.time_ns()
    time_us = now // 1000
    ids = [] if entry_ids is None else entry_ids
    count = len(ids)
    uncarried = None
    if count > _FEW_IDS:
        ids, uncarried = _bounded(ids, most_ids)
    event = Draft(
        event_id=event_id or new_event_id(now),
        timestamp=format_time(time_us),
        operation=operation,
        user_id=user_id,
        session_id=session_id,
        entry_ids=ids,
        metadata={} if metadata is None else metadata,
        status=status,
        duration_ms=duration_ms,
    )
    if error_message is not None:
        event["error_message"] = error_message
    if error_type is not None:
        event["error_type"] = error_type
    if subject_id is not None:
        event["subject_id"] = subject_id
    event.own = event.exemplar = False
    if span is not None and span.is_valid:
        trace_id = span.trace_id.to_bytes(16, "big").hex()
        span_id = span.span_id.to_bytes(8, "big").hex()
        trace_flags = _FLAGS[span.trace_flags & 0xFF]
    if trace_id is not None:
        event["trace_id"] = trace_id
    if span_id is not None:
        event["span_id"] = span_id
    if trace_flags is not None:
        event["trace_flags"] = trace_flags
    if action is not None:
        event["action"] = action
    if system is not None:
        event["system"] = system
    if store:
        event["store"] = store
    event.further = event.text_owners = ()
    event.uncarried = uncarried
    event.private = event.namer = None
    if subjects:
        event["subjects"] = some = tuple(subjects)
        if len(some) > 1:
            some = tuple(dict.fromkeys(some))
            event["subjects"], event.further = some[:_SEVERAL_MOST], some[_SEVERAL_MOST:]
    if later:
        add_later(event, later)
    event.encoded = None
    event.entries = count if entries is None else entries
    event.time_us = time_us
    event.trail = trail
    return event


def flags_text(flags: int) -> str | None:
    """*flags* of a span as an event has them: 2 hex digits, None if none is set."""
    return _FLAGS[flags & 0xFF]


_FLAGS = (None, *(f"{flags:02x}" for flags in range(1, 0x100)))


def add_later(event: Draft, later: Later | Acting | Told) -> None:
    """Add these fields to a new *event*, in their order: as if `draft` had been given them."""
    for name in _LATER:
        value: Any = later.get(name)
        if not value:
            continue
        if name == "derived_from":
            value = tuple(dict.fromkeys(value))
        if name in _SEVERAL and len(value) > _SEVERAL_MOST:
            event.uncarried = {**(event.uncarried or {}), f"{name}_total": len(value)}
            some = islice(value.items() if name == "fingerprints" else value, _SEVERAL_MOST)
            value = dict(some) if name == "fingerprints" else tuple(some)
        event[name] = value


_LATER = tuple(Later.__annotations__)
_SEVERAL = ("derived_from", "fingerprints")
_SEVERAL_MOST = 1_000


def intent(operation: str, **who: str | None) -> dict[str, Any]:
    """The facts of an operation that has not happened yet, with the id of its event to come."""
    now = time.time_ns()
    facts = {"event_id": new_event_id(now), "operation": operation, **who}
    return {**facts, "time": format_time(now // 1000)}


_MAX_ID_CHARACTERS = 128 << 10
_FEW_IDS = 256  # of at most 512 characters: they fit


def _bounded(ids: list[str], most: int | None) -> tuple[list[str], dict[str, Any] | None]:
    """As many ids as an event can carry, at *most*; of all of them their number and digest: the
    SHA-256 of the ids in their order, with line feeds between."""
    most = _MAX_ID_CHARACTERS if most is None else min(most, _MAX_ID_CHARACTERS)
    few = ids[: _MAX_ID_CHARACTERS // 8]  # mostly enough
    some = few if sum(map(len, few)) > _MAX_ID_CHARACTERS else ids[:most]
    sizes = list(accumulate(len(key) + 1 for key in some[:most]))
    fit = bisect_right(sizes, _MAX_ID_CHARACTERS)
    if fit == len(ids):
        return ids, None
    return ids[:fit], {"entry_ids_total": len(ids), "entry_ids_sha256": _digest(ids)}


def _digest(ids: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(ids).encode("utf-8", "replace")).hexdigest()


def shorten(event: Draft, most: int, name_bytes: int = 0, recorded: _Names = tuple) -> None:
    """Make the JSON of *event*, with the digests of its further subjects, at most *most* bytes
    long, 4,096 or more: of its ids and names the first stay, with their number and digest; of
    its metadata the facts that fit, and of its `findings` the first ids, with their number. Its
    metadata then has the marker ``truncated``.

    Each name of a subject will be *name_bytes* longer when it is *recorded*.
    """
    facts = event["metadata"]
    told: dict[str, Any] = {}
    subjects = event.get("subjects", ())
    named = tuple(_first(subjects, most // 16, name_bytes))
    if len(named) < len(subjects):
        note_many(event, recorded)
        event["subjects"] = named
        others = dict.fromkeys(subjects).keys() - set(named)
        event.further = (*filter(others.__contains__, subjects), *event.further)
    for name in ("entry_ids", "derived_from"):
        values = event.get(name)
        kept = _first(values, most // 4 if name == "entry_ids" else most // 16)
        if values and len(kept) < len(values):
            event[name] = kept if name == "entry_ids" else tuple(kept)
            told.setdefault(f"{name}_total", facts.get(f"{name}_total", len(values)))
            if name == "entry_ids" and "entry_ids_sha256" not in facts:
                told["entry_ids_sha256"] = _digest(values)
    if event.get("fingerprints"):
        pairs = _first(event["fingerprints"].items(), most // 16)
        if len(pairs) < len(event["fingerprints"]):
            told["fingerprints_total"] = len(event["fingerprints"])
            event["fingerprints"] = dict(pairs)
    for name in ("error_message", "purpose"):
        text = event.get(name)
        if text is not None and _bytes(text) > most // 8:
            event[name] = f"{text[: most // 48]}[truncated: {len(text)} characters]"
    told |= {name: facts[name] for name in facts if name in _COUNTS}
    told |= _first_found(facts, most // 32)
    event["metadata"] = {}
    left = most - _bytes(event) - _bytes(told) - 64 - len(named) * name_bytes
    room = max(0, left - most // 16) // DIGEST_BYTES
    if len(event.further) > room:
        told["subjects_unfound"] = len(event.further) - room
        event.further = event.further[:room]
    left -= len(event.further) * DIGEST_BYTES
    fit = _first(((name, facts[name]) for name in facts if name not in told), left)
    if len(fit) + len(told.keys() & facts.keys()) < len(facts):
        told["truncated"] = f"{len(fit)} of {len(facts)} facts"
    event["metadata"] = {**dict(fit), **told}


def _first_found(facts: Mapping[str, Any], most: int) -> dict[str, Any]:
    """The `findings` in *facts*: of each so many ids as fit into *most* bytes, and the number."""
    found = findings(facts).items()
    return {kind: cut_to(one, _first(one.entry_ids, most)) for kind, one in found}


_COUNTS = (
    *("deleted", "entry_ids_total", "entry_ids_sha256"),
    *("subjects_total", "subjects_sha256"),
)


def note_many(event: Draft, recorded: _Names) -> None:
    """Say in the metadata of *event* how many subjects it has, and the SHA-256 of their ids, as
    they are *recorded*, in their order, with line feeds between."""
    names = (*event.get("subjects", ()), *event.further)
    event["metadata"].setdefault("subjects_total", len(names))
    if "subjects_sha256" not in event["metadata"]:  # of ids in clear, it would tell who is erased
        event["metadata"]["subjects_sha256"] = _digest(recorded(names))


def _first(values: Iterable[Any] | None, most: int, more: int = 0) -> list[Any]:
    """As many of *values* as fit into *most* bytes of JSON, if each takes *more* besides."""
    kept: list[Any] = []
    size = 0
    for value in values or ():
        needed = _bytes(value) + 1 + more
        if size + needed <= most:
            kept.append(value)
            size += needed
    return kept


def _bytes(value: Any) -> int:
    return len(msgspec.json.encode(value))


# --- what callers give by hand ------------------------------------------------------------------


def checked_ids(values: Any, name: str = "entry_ids") -> list[str]:
    """Ids as a list of text; one id alone is a list of one. *name*: of the argument.

    Raises:
        InvalidEventError: If they are no ids.
    """
    if values is None:
        return []
    if type(values) is list:
        if len(values) > _FEW_IDS and _are_plain(values):
            return values
        return [
            item
            if type(item) is str and len(item) <= MAX_ID and item.isascii()  # most often
            else checked_id(name, item)
            for item in values
        ]
    if isinstance(values, ID_TYPES):
        return [checked_id(name, values)]
    if isinstance(values, (bytes, Mapping)) or not isinstance(values, Iterable):
        msg = f"{name}={shown(values)}: must be ids as text"
        raise InvalidEventError(msg)
    return [checked_id(name, item) for item in values]


def _are_plain(values: list[Any]) -> bool:
    """Whether many *values* are ids already, found without a look at each in Python."""
    try:
        return all(map(str.isascii, values)) and max(map(len, values)) <= MAX_ID
    except TypeError:
        return False


def checked_duration(value: Any) -> float | None:
    """A duration in milliseconds, None where there is none.

    Raises:
        InvalidEventError: If it is no number of at least 0.
    """
    if value is None or (type(value) is float and 0 <= value < math.inf):
        return value
    if isinstance(value, Real) and not isinstance(value, bool):
        try:
            duration = float(value)
        except OverflowError:
            duration = math.inf
        if math.isfinite(duration) and duration >= 0:
            return duration
    msg = f"duration_ms={shown(value)}: must be milliseconds, 0 or more"
    raise InvalidEventError(msg)
