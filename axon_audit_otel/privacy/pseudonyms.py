"""Keyed hashes in place of user and session ids (``pseudonymize=``), and of private entry ids.

The hash of a user is what OpenTelemetry calls ``user.hash``: the same for the same user, so that
events can be counted and joined, and no way back to the id for whoever lacks the key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, MutableMapping
from functools import lru_cache, partial
from typing import Any

from ..core.semconv import ENTRY_PREFIX, PSEUDONYM_PREFIX
from ..events.identifiers import Recorded
from ..events.model import FIELD_KINDS, FieldKind, fields_of, listed
from .box import ENTRY_FACTS
from .private_ids import is_hidden

__all__ = [
    *("Pseudonyms", "is_pseudonym", "mask_names", "mask_texts", "masked", "text_mask"),
]

_KEPT = 4096  # pseudonyms in memory
_FEW = 16  # ids that are looked for at once
_BYTES = 16  # of the digest: no two of 2**32 users share one, but for one chance in 2**64
_PSEUDONYM = re.compile(re.escape(PSEUDONYM_PREFIX) + "[0-9a-f]{32}")

#: Facts that name a user or a session, whatever their value is.
_USERS = frozenset(
    [
        *("user_id", "userid", "user", "uid", "username", "subject_id", "actor", "actor_id"),
        *("owner", "owner_id", "user.id", "user.name", "enduser.id", "audit.actor.id"),
        *("axon.subject.id", "agent_id", "gen_ai.agent.id", "on_behalf_of", "axon.on_behalf_of"),
    ]
)
_SESSIONS = frozenset(["session_id", "sessionid", "session", "session.id"])
#: Facts about the tiers by their names, one of which is "session".
_TIERS = frozenset(["by_tier", "tier_mapping"])
#: Facts that are read by these names, which stay, though somebody be called so: else he could
#: hide what is found of him.
_READ = ENTRY_FACTS | {
    *("deleted", "remaining", "copies", "derived_subjects", "request_id", "content", "query"),
    *("entry_ids_total", "derived_from_total", "fingerprints_total", "dropped", "record"),
}

#: The fields that name somebody, and whether that is a session.
_PERSONAL = tuple(
    (field, FIELD_KINDS[field] == "session") for field in fields_of("person", "persons", "session")
)
_WORDS = fields_of("text")
_NAMES = fields_of("name")

#: What `plain_text` adds to an id that it has cut.
_CUT = re.compile(r"\[truncated: \d+ characters\]\Z")


#: What is hashed before the id, and what stands before the hash: of users, and of other kinds.
_USER = b"user:", PSEUDONYM_PREFIX
_FORMS: dict[FieldKind, tuple[bytes, str]] = {
    "session": (b"session:", PSEUDONYM_PREFIX),
    "entries": (b"entry:", ENTRY_PREFIX),
}


class _Secret(bytes):
    """A secret that is not shown where its owner is."""

    def __repr__(self) -> str:
        return "<secret>"


class Pseudonyms:
    """The pseudonyms that one secret gives.

    A pseudonym is ``hmac-sha256:`` and the first 128 bits, in hex, of HMAC-SHA-256 over
    ``user:`` and a user's id, or ``session:`` and a session's. That of an entry begins with
    ``entry-hmac-sha256:``, and is made of ``entry:`` and its id.

    Args:
        keys: The secret. Further ones are former secrets: nothing is written with them, and
            queries still find what was.
    """

    def __init__(self, *keys: bytes) -> None:
        self._keys = tuple(map(_Secret, keys))
        #: The pseudonym of a user, acting or concerned.
        self.user = lru_cache(_KEPT)(partial(_pseudonym, self._keys[0], *_USER))
        #: The pseudonym of a session. A session named like a user has another one.
        self.session = lru_cache(_KEPT)(partial(_pseudonym, self._keys[0], *_FORMS["session"]))
        #: What stands for an entry whose id names somebody.
        self.entry = lru_cache(_KEPT)(partial(_pseudonym, self._keys[0], *_FORMS["entries"]))

    def __repr__(self) -> str:
        return "<secret>"

    def __deepcopy__(self, memo: object) -> Pseudonyms:
        return self

    def __reduce__(self) -> str:
        raise TypeError("the secret of pseudonyms is never pickled")

    @property
    def weak(self) -> bool:
        """True if the secret is so short that it can be found by trying."""
        return len(self._keys[0]) < _BYTES

    def aliases(self, field: str, value: str) -> tuple[str, ...]:
        """The pseudonyms of *value* in that field of an event, one for each of the secrets."""
        kind, prefix = _FORMS.get(FIELD_KINDS[field], _USER)
        return tuple(_pseudonym(key, kind, prefix, value) for key in self._keys)

    # --- recording -------------------------------------------------------------------------

    def apply(
        self,
        draft: MutableMapping[str, Any],
        foreign: bool = False,
        entries: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Put pseudonyms in place of an event's ids, and of these in all its texts.

        Args:
            draft: The event, of JSON types.
            foreign: It may carry pseudonyms already, which stay.
            entries: Ids of entries that are to be replaced in texts as well, and by what.
        """
        masks: list[tuple[str, str]] = []
        for field, is_session in _PERSONAL:
            real = draft.get(field)
            if real is None:
                continue
            if not isinstance(real, str):
                hidden = {one: self.named(one, foreign) for one in real}
                draft[field] = tuple(dict.fromkeys(hidden.values()))
                masks += hidden.items()
            elif not (foreign and is_pseudonym(real)):
                draft[field] = stand_in = (self.session if is_session else self.user)(real)
                masks.append((real, stand_in))
        masks += entries
        mask = _Mask(masks)
        if draft.get("metadata"):
            facts = draft["metadata"]
            draft["metadata"] = self._hidden(facts, mask, named=_named_in(draft, mask))
            if draft.get("operation") == "AUDIT" and "record" in facts:  # a word of ours
                draft["metadata"]["record"] = facts["record"]
        for field in _WORDS:
            if draft.get(field):
                draft[field] = mask.text(draft[field])
        if foreign:
            mask_names(draft, masks)

    def users(self, ids: Iterable[str], foreign: bool = False) -> tuple[str, ...]:
        """The pseudonyms of users; with *foreign*, what is one already stays."""
        return tuple(self.named(one, foreign) for one in ids)

    def named(self, user: str, foreign: bool = False) -> str:
        """The pseudonym of a user, who may be known by it alone; with *foreign*, what is one
        already stays."""
        if isinstance(user, Recorded) or (foreign and is_pseudonym(user)):
            return str(user)
        return self.user(user)

    def text_mask(
        self,
        users: Iterable[str | None],
        session: str | None,
        entries: Iterable[tuple[str, str]] = (),
    ) -> Callable[[str], str]:
        """What puts pseudonyms in place of those ids in a text."""
        masks = [(real, self.named(real)) for real in users if real is not None]
        masks += entries
        if session is not None:
            masks.append((session, self.session(session)))
        return _Mask(masks).text

    def _hidden(
        self,
        value: Any,
        mask: _Mask,
        tiers: bool = False,
        named: Callable[[str], str] | None = None,
    ) -> Any:
        """Metadata without the ids, and without whatever a fact calls a user or a session;
        but the names of *tiers* are those of tiers. *named* gives the names of these facts."""
        if isinstance(value, str):
            return mask.text(value)
        if isinstance(value, list):
            return [self._hidden(item, mask) for item in value]
        if not isinstance(value, dict):
            return value
        result: dict[str, Any] = {}
        named = named or mask.text
        for key, item in value.items():
            name = key.lower()
            if not tiers and (name in _USERS or name in _SESSIONS):
                result[key] = self._named(item, name in _SESSIONS, mask)
            elif isinstance(item, (str, list, dict)):
                result[named(key)] = self._hidden(item, mask, name in _TIERS)
            else:
                result[named(key)] = item
        return result

    def _named(self, value: Any, session: bool, mask: _Mask) -> Any:
        """The value of a fact that names users, or sessions."""
        if isinstance(value, list):
            return [self._named(item, session, mask) for item in value]
        if isinstance(value, str) and is_pseudonym(value):
            return value
        if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
            return (self.session if session else self.user)(str(value))
        return self._hidden(value, mask)


def mask_names(draft: MutableMapping[str, Any], masks: list[tuple[str, str]]) -> None:
    """Put what stands for ids in place of them in the names that an event of another source has."""
    mask = _Mask(masks)
    for field in _NAMES:
        name = draft.get(field)
        if name and not (field == "operation" and listed(name) == name):
            draft[field] = mask.text(name)


def mask_texts(draft: MutableMapping[str, Any], masks: list[tuple[str, str]]) -> None:
    """Put what stands for ids in place of them in the facts and words of an event."""
    mask = _Mask(masks)
    if draft.get("metadata"):
        facts, named = masked(draft["metadata"], masks), _named_in(draft, mask)
        draft["metadata"] = {named(name): fact for name, fact in facts.items()}
    for field in _WORDS:
        if draft.get(field):
            draft[field] = mask.text(draft[field])


def _named_in(draft: MutableMapping[str, Any], mask: _Mask) -> Callable[[str], str]:
    """What gives the names of the facts of an event, without the ids."""
    if getattr(draft, "own", False):  # none is a text of anybody
        return str
    return lambda name: name if name in _READ else mask.text(name)


def text_mask(masks: Iterable[tuple[str, str]]) -> Callable[[str], str]:
    """What puts what stands for ids in place of them in a text."""
    return _Mask(list(masks)).text


def masked(facts: dict[str, Any], masks: list[tuple[str, str]]) -> dict[str, Any]:
    """*facts*, of JSON types, with what stands for ids in place of them in all texts; but the
    names of the facts themselves stay."""
    mask = _Mask(masks)

    def hidden(value: Any) -> Any:
        if isinstance(value, str):
            return mask.text(value)
        if isinstance(value, list):
            return [hidden(item) for item in value]
        if isinstance(value, dict):
            return {mask.text(name): hidden(item) for name, item in value.items()}
        return value

    return {name: hidden(value) for name, value in facts.items()}


def is_pseudonym(value: str) -> bool:
    """True if *value* is a pseudonym."""
    return _PSEUDONYM.fullmatch(value) is not None


def _pseudonym(key: bytes, kind: bytes, prefix: str, value: str) -> str:
    digest = hmac.digest(key, kind + value.encode("utf-8", "backslashreplace"), "sha256")
    return prefix + digest[:_BYTES].hex()


class _Mask:
    """Replaces whole ids in texts.

    An id does not begin or end within a run of ASCII letters and digits: ``user_1`` is not
    part of ``user_12``. Other scripts may put no spaces between words.
    """

    def __init__(self, masks: list[tuple[str, str]]) -> None:
        self._masks = sorted((mask for mask in masks if mask[0]), key=lambda mask: -len(mask[0]))
        self._heads = [_head(real).lower() for real, _ in self._masks]
        self._pattern: re.Pattern[str] | None = None

    def text(self, text: str) -> str:
        """*text* without the ids."""
        if text.startswith("entry-") and is_hidden(text):
            return text  # also where an id is a part of that
        lower = text.lower()
        if len(self._masks) > _FEW:  # an event of many entries, whose texts name one each
            pairs = zip(self._masks, self._heads)
            few = [mask for mask, head in pairs if head in lower]
            if len(few) < len(self._masks):
                return _Mask(few).text(text) if few else text
        for head in self._heads:
            if head in lower:
                break
        else:
            return text  # most of them
        if self._pattern is None:
            patterns = (f"({_whole(real)})" for real, _ in self._masks)
            self._pattern = re.compile("|".join(patterns), re.IGNORECASE)
        return self._pattern.sub(self._pseudonym, text)

    def _pseudonym(self, match: re.Match[str]) -> str:
        assert match.lastindex is not None
        return self._masks[match.lastindex - 1][1]


def _head(real: str) -> str:
    """An id as far as it was not cut."""
    return _CUT.sub("", real) if real.endswith("]") else real


def _whole(real: str) -> str:
    """A pattern for an id as a whole; for one that was cut, for all that begins like it."""
    head = _head(real)
    before = r"(?<![A-Za-z0-9])" if _is_word(head[:1]) else ""
    if head != real:
        return before + re.escape(head) + r"\S*"
    after = r"(?![A-Za-z0-9])" if _is_word(head[-1:]) else ""
    return before + re.escape(head) + after


def _is_word(character: str) -> bool:
    return character.isascii() and character.isalnum()
