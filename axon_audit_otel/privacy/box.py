"""What of an event is encrypted besides the ids of persons, and which keys open it.

An event of one person, or of those alone who act, has the facts in one text::

    "metadata":{"erasable":"<facts, encrypted>"}

In any other each person's part needs the person's own key. Persons are numbered as in the event's
``subjects``; ``keys`` has an item for each of them, ``texts`` one for each owner. Both may be left
out::

    "metadata":{"erasable":
        {"box":"<facts>","keys":["<key of the box>",...],"texts":[[[0],"<texts>"],...]}}

The *facts* (session, metadata, error message, purpose) are of who acts and of the one person whom
the call named: they need the keys of all of these. Where the event names no such person, a random
key opens them, which is there for each subject: they are readable while one of these keys is left.

The *texts* of entries are each their owner's, and need that key alone; that of an entry which was
made of several persons' entries needs the keys of all of these.
"""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Annotated, Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..core.files import DECODE_ERRORS
from ..events.draft import Draft
from ..events.model import AuditEvent, fields_of
from .keyring import User

__all__ = [
    *("BOX", "ENTRY_FACTS", "ERASED", "LEFT_OUT", "TOO_LONG", "Facts"),
    *("bytes_of_name", "bytes_of_texts", "closed", "facts_of_entries", "opened"),
]

BOX = "erasable"  # the fact that has it
#: In place of a text that is not the box's own: what is read where its owner has no key any more.
ERASED = "[erased]"
LEFT_OUT = "[left out: the event is of more persons than it names]"
TOO_LONG = "[left out: too long]"
#: Facts that name entries. These are nobody's, as `AuditEvent.entry_ids`, and stay readable.
ENTRY_FACTS = frozenset(
    (
        *("altered", "resurrected", "derived", "summary_ids", "remaining_ids"),
        *("derived_remaining", "derived_deleted", "derived_of_others"),
    )
)

_HOLDERS = fields_of("person")
_KEY_BYTES = 32
_NONCE = 12
_PADDING = 64
#: Two thirds of what is recorded besides: for a name, a key of a box, a text, an owner of texts.
_NAME_BYTES, _KEY_TEXT_BYTES, _TEXT_BYTES, _TEXTS_BYTES = 86, 56, 20, 92
_FOR_KEY, _FOR_TEXTS = b" key", b" texts"
_MOST_TEXTS = 10_000  # more than any event has: nobody's number makes us fill the memory

_Place = Annotated[int, msgspec.Meta(ge=0, lt=_MOST_TEXTS)]


class Facts(msgspec.Struct, omit_defaults=True):
    """The fields of an event that are in its box."""

    session_id: str | None = None
    metadata: dict[str, Any] = {}
    error_message: str | None = None
    purpose: str | None = None


class _Texts(msgspec.Struct, array_like=True):
    """The texts of the same owners, by their places among so many of the event."""

    count: _Place
    texts: dict[_Place, Any]


class _Part(msgspec.Struct, array_like=True):
    """The texts of those persons, encrypted."""

    owners: list[_Place]
    texts: str


class _Parts(msgspec.Struct, omit_defaults=True):
    """A box whose event is of several persons."""

    box: str
    keys: list[str] = []
    texts: list[_Part] = []


_encode = msgspec.json.Encoder().encode
_facts_in = msgspec.json.Decoder(Facts).decode
_texts_in = msgspec.json.Decoder(_Texts).decode


# --- recording -----------------------------------------------------------------------------------


def closed(
    facts: Facts,
    fields: Mapping[str, Any],
    users: Mapping[str, User],
    subjects: Sequence[str] = (),
    owners: Sequence[Sequence[str]] = (),
) -> str | dict[str, Any]:
    """What is recorded of the *facts* of an event.

    Args:
        facts: Its facts. The texts that get keys of their own are replaced in them.
        fields: Its other fields, with the names of users in them.
        users: The user of each name, in the order of the fields.
        subjects: The ids of its subjects.
        owners: The ids of the owners of each text in the fact ``content``.
    """
    event_id = fields["event_id"].encode()
    if len(users) == 1 and (not owners or set[str]().union(*owners) <= {*subjects}):
        # Most events.
        return _encrypted(next(iter(users.values())).cipher, facts, event_id)
    named = [users[name] for name in fields.get("subjects", ())]
    holders = _holders(fields, users) or (named if len(named) == 1 else [])
    places = dict(zip(subjects, range(len(named))))
    texts = _taken_out(facts, owners, places, named, holders)
    if not texts and len(holders) == len(users):
        return _encrypted(_cipher(users.values()), facts, event_id)
    parts: dict[str, Any] = {}
    if holders:
        cipher = _cipher(holders)
    else:
        key = os.urandom(_KEY_BYTES)
        cipher = AESGCM(key)
        parts["keys"] = [_wrapped(user.cipher, key, event_id + _FOR_KEY) for user in named]
    if texts:
        parts["texts"] = [
            [of, _encrypted(_cipher(named[place] for place in of), some, event_id + _FOR_TEXTS)]
            for of, some in texts.items()
        ]
    return {"box": _encrypted(cipher, facts, event_id), **parts}


def facts_of_entries(event: Draft) -> dict[str, Any]:
    """The facts of *event* that are entry ids: those that an operation noted. Of a caller's facts,
    which may have these names by chance, only ids that the event names anyway."""
    named = {*event["entry_ids"], *event.get("derived_from", ())}
    facts = {name: event["metadata"][name] for name in ENTRY_FACTS & event["metadata"].keys()}
    return {
        name: fact
        for name, fact in sorted(facts.items())
        if isinstance(fact, (list, dict)) and (event.own or named.issuperset(_ids_in(fact)))
    }


def _ids_in(fact: Any) -> Iterator[Any]:
    """What is in a list of ids, or in a mapping of ids to lists of them."""
    if isinstance(fact, dict):
        fact = [*fact, *fact.values()]
    if isinstance(fact, list):
        for item in fact:
            yield from _ids_in(item)
    else:
        yield fact


def _holders(fields: Mapping[str, Any], users: Mapping[str, User]) -> list[User]:
    """Who acts, and the one whom the call named: each once, in the order of the fields."""
    names = dict.fromkeys(fields[field] for field in _HOLDERS if fields.get(field) in users)
    return [users[name] for name in names]


def _taken_out(
    facts: Facts,
    owners: Sequence[Sequence[str]],
    places: Mapping[str, int],
    named: Sequence[User],
    holders: Sequence[User],
) -> dict[tuple[int, ...], _Texts]:
    """The texts that are not the box's, taken out of *facts*, by the places of their owners."""
    content = facts.metadata.get("content")
    found: dict[tuple[int, ...], _Texts] = {}
    if not isinstance(content, list):
        return found
    kept = list(content)
    for at, (text, some) in enumerate(zip(content, owners)):
        if not places.keys() >= set(some):
            kept[at] = LEFT_OUT
            continue
        of = tuple(sorted(places[owner] for owner in some))
        if of and [named[place] for place in of] != holders:
            kept[at] = ERASED
            found.setdefault(of, _Texts(len(content), {})).texts[at] = text
    facts.metadata = {**facts.metadata, "content": kept}
    return found


def _cipher(users: Iterable[User]) -> AESGCM:
    """A cipher whose key is made of the keys of all *users*."""
    first, *others = users
    if not others:
        return first.cipher
    return AESGCM(hashlib.sha256(b"".join([first.key, *(user.key for user in others)])).digest())


def _encrypted(cipher: AESGCM, value: Facts | _Texts, bound_to: bytes) -> str:
    """*value* as text, padded so that its length tells little, and encrypted."""
    text = _encode(value)
    return _wrapped(cipher, text + b" " * (-len(text) % _PADDING), bound_to)


def _wrapped(cipher: AESGCM, data: bytes, bound_to: bytes) -> str:
    """*data*, encrypted, as Base64 with its nonce before it."""
    nonce = os.urandom(_NONCE)
    return base64.b64encode(nonce + cipher.encrypt(nonce, data, bound_to)).decode()


def bytes_of_name(event: Mapping[str, Any]) -> int:
    """By how much a name in the subjects of *event* gets longer when it is recorded, with his key
    of the box: in bytes of plain text, since all text takes half as much again."""
    is_attributed = any(map(event.get, _HOLDERS))
    return _NAME_BYTES if is_attributed else _NAME_BYTES + _KEY_TEXT_BYTES


def bytes_of_texts(owners: Sequence[Sequence[str]]) -> int:
    """By how much texts of these *owners* get longer, counted in the same way."""
    groups = set(map(tuple, owners))
    return len(owners) * _TEXT_BYTES + len(groups) * _TEXTS_BYTES + 4 * sum(map(len, groups))


# --- reading -------------------------------------------------------------------------------------


def opened(event: AuditEvent, box: object, users: Mapping[str, User | None]) -> dict[str, Any]:
    """The fields of *event*, as recorded, that its *box* and its texts give.

    Args:
        event: The event.
        box: What stands in its metadata.
        users: The user of each name in it, in the order of the fields; None without a key.

    Returns:
        Nothing for what no key opens, and for what is no box.
    """
    event_id = event.event_id.encode()
    if isinstance(box, str):
        return _opened_facts(box, _cipher_of(users.values()), event_id)
    try:
        parts = msgspec.convert(box, _Parts)
    except msgspec.ValidationError:
        return {}
    subjects = [users.get(name) for name in event.subjects]
    content = _opened_facts(parts.box, _cipher_of_parts(event, parts, subjects, users), event_id)
    texts = _opened_texts(parts.texts, subjects, event_id)
    if texts:
        facts = content.get("metadata", event.metadata)
        content["metadata"] = {**facts, "content": _put_back(texts, facts.get("content"))}
    return content


def _cipher_of(users: Iterable[User | None]) -> AESGCM | None:
    """The cipher of all *users*; None if one has no key, or there is none."""
    known = list(users)
    there = [user for user in known if user is not None]
    return _cipher(there) if there and len(there) == len(known) else None


def _cipher_of_parts(
    event: AuditEvent,
    parts: _Parts,
    subjects: Sequence[User | None],
    users: Mapping[str, User | None],
) -> AESGCM | None:
    if not parts.keys:
        names = dict.fromkeys(getattr(event, field) for field in _HOLDERS)
        return _cipher_of(users.get(name) for name in names if name is not None)
    for user, wrapped in zip(subjects, parts.keys):
        if user is not None:
            key = _decrypted(user.cipher, wrapped, event.event_id.encode() + _FOR_KEY)
            if len(key) == _KEY_BYTES:
                return AESGCM(key)
    return None


def _opened_facts(box: str, cipher: AESGCM | None, event_id: bytes) -> dict[str, Any]:
    if cipher is None:
        return {}
    try:
        return msgspec.structs.asdict(_facts_in(_decrypted(cipher, box, event_id)))
    except DECODE_ERRORS:
        return {}


def _opened_texts(
    parts: Sequence[_Part], subjects: Sequence[User | None], event_id: bytes
) -> list[_Texts]:
    found = []
    for part in parts:
        owners = [subjects[place] if place < len(subjects) else None for place in part.owners]
        cipher = _cipher_of(owners)
        if cipher is not None:
            with suppress(*DECODE_ERRORS):
                found.append(_texts_in(_decrypted(cipher, part.texts, event_id + _FOR_TEXTS)))
    return found


def _put_back(texts: Sequence[_Texts], kept: object) -> list[Any]:
    """The texts of the event in their order; *kept* are those of its box, if it is open."""
    content = list(kept) if isinstance(kept, list) else [ERASED] * max(t.count for t in texts)
    for part in texts:
        for place, text in part.texts.items():
            if place < len(content):
                content[place] = text
    return content


def _decrypted(cipher: AESGCM, text: str, bound_to: bytes) -> bytes:
    """What `_wrapped` made *text* of; nothing if that was something else."""
    try:
        data = base64.b64decode(text)
        return cipher.decrypt(data[:_NONCE], data[_NONCE:], bound_to)
    except (InvalidTag, ValueError):
        return b""
