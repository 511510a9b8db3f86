"""Personal data that can be erased later: encrypted when recorded, readable while its key exists.

An event of a user is recorded so (``erasable=``)::

    "user_id":"erasable:<token>:<the id, encrypted>","session_id":null,
    "metadata":{"erasable":"<session, metadata and error message, encrypted>"}

That is what hash chain, proofs and files are made of; to destroy a key changes none of them. Which
keys the metadata needs, and whose the texts in it are, is the matter of `box`. Of the record of an
erasure, of a legal hold or of a reading only what tells of persons is encrypted, so that nobody
needs a key to know what it is.

Only an erasure destroys keys: `Erasure.destroy`, after it was recorded. The file ``.keyring`` in
an archive lists the tokens of erased users, each with a code that only the keys can make: so a copy
of the keys from before an erasure brings nobody back, and a line of somebody without keys does
nothing.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from ..core.errors import ArchiveError, AuditConfigError, archive_errors
from ..core.files import append, open_owned
from ..core.log import logger
from ..core.merkle import leaf_hash
from ..core.semconv import ERASABLE_PREFIX
from ..events.draft import Draft, draft
from ..events.identifiers import is_digest
from ..events.model import (
    ENCODE_ERRORS,
    FIELD_KINDS,
    AuditEvent,
    OperationType,
    encode,
    fields_of,
    nameless,
)
from ..events.query import ACCESS, Query, has
from .box import BOX, ENTRY_FACTS, Facts, closed, facts_of_entries, opened
from .keyring import Keyring, User, name_of

__all__ = [
    "Erasure",
    "as_readable",
    "check_in_clear",
    "decrypted",
    "keyring_of",
    "keys_of",
    "recorded",
]


_MARK = ".keyring"  # in an archive: the number of the keyring, and tokens that were erased
_MOST = 64 << 20  # bytes of it: a million erased users

_PERSONS = fields_of("person", "persons")
_ACTORS = tuple(field for field in _PERSONS if not field.startswith("subject"))
_BOXED = fields_of("session", "facts", "text")
#: Facts in the records of erasures, holds and readings that tell of nobody.
_OPEN = frozenset(("record", "tokens", "hold", "state"))
_TOLD = ("erasure", "hold", ACCESS)


class _Readable(AuditEvent, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """An event with its personal data readable. Its bytes and its hash are as recorded."""

    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__name__, AuditEvent.__name__, 1)

    def to_json(self) -> bytes:
        return encode(recorded(self))

    @property
    def hash(self) -> str:
        return leaf_hash(self.to_json()).hex()


def keyring_of(archive: Path) -> str | None:
    """The number of the keyring that an archive's events need; None if none is encrypted.

    Raises:
        ArchiveError: If that cannot be read, or is no list of a keyring.
    """
    return _list_in(archive)[0] or None


def _list_in(archive: Path) -> list[str]:
    """The lines of an archive's list: the keyring's number, and a line for each erased token.

    Anybody who can write to the archive may have written them.

    Raises:
        ArchiveError: If it cannot be read, or is no such list.
    """
    content = b""
    with (
        archive_errors(archive / _MARK),
        suppress(FileNotFoundError, NotADirectoryError),
        open(open_owned(archive / _MARK, os.O_RDONLY), "rb") as file,
    ):
        content = file.read(_MOST + 1)
    lines = content.decode("ascii", "replace").split("\n")
    if len(content) > _MOST or (content and not re.fullmatch("[0-9a-f]{8}", lines[0])):
        raise ArchiveError(f"{str(archive / _MARK)!r} is no list of a keyring")
    return lines


def _line(keys: Keyring, token: bytes) -> str:
    """The line for an erased token, with a code that only who has the keys can make."""
    return f"{token.hex()} {keys.proof_of_erasure(token).hex()}"


def _erased(keys: Keyring, lines: list[str]) -> set[bytes]:
    """The tokens in an archive's list that were erased by somebody who had the keys.

    Other lines are garbage, or of somebody who would like to hide, or to destroy, a user's events.
    """
    found = filter(re.compile("[0-9a-f]{32} [0-9a-f]{32}").fullmatch, lines)
    tokens = ((bytes.fromhex(line[:32]), line) for line in found)
    return {token for token, line in tokens if hmac.compare_digest(line, _line(keys, token))}


def check_in_clear(archive: Path) -> None:
    """Refuse to record in clear beside events that are encrypted.

    Raises:
        AuditConfigError: If *archive* needs keys.
        ArchiveError: If it cannot be told whether it does.
    """
    number = keyring_of(archive)
    if number is not None:
        msg = (
            f"erasable=False: personal data in {str(archive)!r} is encrypted (keyring {number}),"
            " and would be in clear from now on; give erasable=True or the place of its keys, or"
            " another auto_export_path"
        )
        raise AuditConfigError(msg)


def _checked(keys: Keyring, archive: Path | None, number: str | None) -> Keyring:
    if number not in (None, keys.number.hex()):
        msg = (
            f"{str(keys.directory)!r} is keyring {keys.number.hex()}, but the events in"
            f" {str(archive)!r} need keyring {number}"
        )
        raise ArchiveError(msg)
    return keys


def is_erasure(fields: Mapping[str, Any]) -> bool:
    """True if *fields* are those of an event that records an erasure."""
    if fields["operation"] != "AUDIT" or fields["metadata"].get("record") != "erasure":
        return False
    subject: str | None = fields.get("subject_id")
    return subject is not None and subject.startswith(ERASABLE_PREFIX)


def _open_facts(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The facts of a trail's own event that stay readable: of the records of erasures, holds
    and readings."""
    facts = fields["metadata"]
    if not (facts.get("record") in ("hold", ACCESS) or is_erasure(fields)):
        return {}
    return {name: fact for name, fact in facts.items() if name in _OPEN}


def recorded(event: AuditEvent) -> AuditEvent:
    """*event* as it was recorded, if `Erasure.reveal` made it readable."""
    kept: AuditEvent = getattr(event, "__dict__", {}).get("recorded", event)
    return kept


def decrypted(event: AuditEvent) -> AuditEvent:
    """*event* as an event of its own, whose bytes are readable too."""
    return event if recorded(event) is event else AuditEvent(**msgspec.structs.asdict(event))


def keys_of(archive: Path) -> Path:
    """The default directory of an archive's keys."""
    return Path(f"{os.path.realpath(archive)}.keys")


class Erasure:
    """Encrypts and decrypts the personal data of events.

    Args:
        keys: The keys.
        archive: Where the events are, if they are in files.
    """

    def __init__(self, keys: Keyring, archive: Path | None = None) -> None:
        self.keys = keys
        self._archive = archive

    @classmethod
    def for_writing(
        cls,
        archive: Path | None,
        place: Path | None,
        sync: bool,
        fault: Callable[[Exception], object],
        held: bool = False,
    ) -> Erasure:
        """For a writer, with new keys if its archive has none.

        Args:
            archive: Its archive, if it has one.
            place: Where the keys are. Default: beside the archive.
            sync: Force new keys to the device before they are used.
            fault: Told of a key that could not be written.
            held: The archive is under a legal hold: no key is destroyed.

        Raises:
            ArchiveError: If they cannot be used, or are not those of the archive.
        """
        if place is None:
            assert archive is not None  # as the settings were checked
            place = keys_of(archive)
        lines = [""] if archive is None else _list_in(archive)
        number = lines[0] or None
        try:
            keys = Keyring(place, number is None, sync, fault, archive)
        except ArchiveError as exc:
            if number is None or not isinstance(exc.__cause__, FileNotFoundError):
                raise
            msg = (
                f"the keys of {str(archive)!r} (keyring {number}) are not in {str(place)!r}: bring"
                f" them back, or remove its file {_MARK!r} to begin with new ones"
            )
            raise ArchiveError(msg) from exc
        _checked(keys, archive, number).dead = dead = _erased(keys, lines)
        try:
            if dead and not held and keys.destroy_again(dead):
                logger.warning("keys of erased users were back in %r: destroyed again", str(place))
        except OSError as exc:
            fault(exc)
        return cls(keys, archive)

    @classmethod
    def for_reading(cls, archive: Path, place: Path) -> Erasure:
        """For a reader of *archive*, with the keys in *place*.

        Raises:
            ArchiveError: If they cannot be used, or are not those of the archive.
        """
        lines = _list_in(archive)
        keys = _checked(Keyring(place, create=False), archive, lines[0] or None)
        keys.dead = _erased(keys, lines)
        return cls(keys, archive)

    def mark(self) -> None:
        """Say in the archive which keyring its events need."""
        with suppress(OSError):  # the archive's own failure is told
            self._keep([])

    def _keep(self, tokens: list[bytes]) -> None:
        """Write *tokens* to the archive, after the keyring's number."""
        if self._archive is None:
            return
        before = _list_in(self._archive)
        lines = [_line(self.keys, token) for token in tokens]
        if not before[0]:
            lines.insert(0, self.keys.number.hex())
        elif before[-1]:  # a line without its end
            lines.insert(0, "")
        if tokens or not before[0]:
            text = "".join(f"{line}\n" for line in lines)
            append(self._archive / _MARK, text.encode(), sync=True)

    # --- erasing ---------------------------------------------------------------------------

    def tokens_of(self, user_ids: Iterable[str]) -> dict[str, list[bytes]]:
        """What stands for a user in events, by each of his ids that has any.

        Raises:
            OSError: If that cannot be read.
        """
        found = {user_id: self.keys.tokens_of(user_id) for user_id in user_ids}
        return {user_id: tokens for user_id, tokens in found.items() if tokens}

    def destroy(self, found: Mapping[str, list[bytes]]) -> None:
        """Destroy the keys of `tokens_of`, and remove what says whose they were.

        If it is interrupted, the tokens are found again.

        Raises:
            OSError: If a key may still be there.
        """
        for user_id, tokens in found.items():
            self.keys.destroy(user_id, tokens)
        self._keep([token for tokens in found.values() for token in tokens])
        for user_id, tokens in found.items():
            self.keys.forget(user_id, tokens)

    def event(
        self, tokens: list[bytes], actor: str | None, status: str, facts: Mapping[str, Any]
    ) -> Draft:
        """The event that tells of an erasure; its subject is what stood for the user.

        *facts* are encrypted with the key of the actor; without one they stay readable.
        """
        facts = {**facts, "record": "erasure", "tokens": [token.hex() for token in tokens]}
        subject = name_of(tokens[0])
        return draft("AUDIT", status, user_id=actor, metadata=facts, subject_id=subject)

    # --- recording -------------------------------------------------------------------------

    def sealed(self, plain: Draft) -> Mapping[str, Any]:
        """The fields of an event as they are recorded; *plain* itself where nobody is named.

        Never raises: what cannot be encrypted is not recorded.
        """
        try:
            return self._sealed(plain)
        except (OSError, *ENCODE_ERRORS) as exc:
            self.keys.fault(exc)
            return nameless(plain, "[what could not be encrypted]")

    def _sealed(self, plain: Draft) -> Mapping[str, Any]:
        is_open: dict[str, Any] = {}
        if plain["operation"] == "AUDIT":
            if self._is_of_nobody(plain):
                return {name: value for name, value in plain.items() if name != "subject_id"}
            is_open = _open_facts(plain)
        elif not ENTRY_FACTS.isdisjoint(plain["metadata"]):
            is_open = facts_of_entries(plain)
        # Of whom an erasure tells, there is no name any more.
        is_told = is_open.get("record") == "erasure"
        users, fields = self._named(plain, _ACTORS if is_told else _PERSONS)
        if not users:
            return {**plain, "session_id": None} if is_told else plain
        if is_open:
            facts = plain["metadata"].items()
            fields["metadata"] = {name: fact for name, fact in facts if name not in is_open}
        boxed = Facts(**{name: fields.pop(name) for name in _BOXED if name in fields})
        box = closed(boxed, fields, users, plain.get("subjects", ()), plain.text_owners)
        sealed = {**fields, "session_id": None, "metadata": {**is_open, BOX: box}}
        return {name: sealed[name] for name in plain if name in sealed}  # in their order

    def names(self, user_ids: Iterable[str]) -> tuple[str, ...]:
        """What stands for users in events. Never raises: of whom there is no key is left out."""
        try:
            return tuple(self.keys.of(user_id).name for user_id in user_ids)
        except OSError as exc:
            self.keys.fault(exc)
            return ()

    def _is_of_nobody(self, plain: Mapping[str, Any]) -> bool:
        """True for an alert about a user who was erased since: no reason for a new key."""
        subject = plain.get("subject_id")
        return plain["metadata"].get("record") == "alert" and not (
            subject is None or self.keys.having(subject)
        )

    def intent(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """The facts of an operation that has not happened yet, without a session.

        Raises:
            OSError: If a key that they need is in no file.
        """
        users, fields = self._named(facts)
        if users:
            fields["session_id"] = None
        if not self.keys.is_saved:
            raise OSError(5, "a key cannot be written", str(self.keys.directory))
        return fields

    def _named(
        self, plain: Mapping[str, Any], persons: tuple[str, ...] = _PERSONS
    ) -> tuple[dict[str, User], dict[str, Any]]:
        """The users of an event by what stands for their ids, and its fields with that."""
        users: dict[str, User] = {}
        fields = dict(plain)

        def name_of(real: str) -> str:
            user = self.keys.of(real)
            users[user.name] = user
            return user.name

        for field in persons:
            real = fields.get(field)
            if isinstance(real, str):
                fields[field] = name_of(real)
            elif real:
                fields[field] = tuple(map(name_of, real))
        return users, fields

    # --- reading ---------------------------------------------------------------------------

    def asking(self, query: Query) -> Query:
        """A query that finds recorded events; those that match *query* pass `answers`.

        Sessions, purposes and facts are encrypted: whoever asks for one without its user reads
        every event.

        Raises:
            ArchiveError: If the keys cannot be read.
        """
        try:
            asked = replace(query, aliases=query.aliases + self._aliases(query))
        except OSError as exc:
            msg = f"cannot read the keys in {str(self.keys.directory)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc
        if query.session_id is None and query.purpose is None and not query.facts:
            return asked
        return replace(asked, session_id=None, purpose=None, facts=(), limit=None)

    def answers(self, query: Query, event: AuditEvent) -> bool:
        """True if a readable event, found by the query of `asking`, matches *query*."""
        as_recorded = recorded(event)
        many = bool(as_recorded.subjects) and is_digest(as_recorded.subjects[-1])
        return query.has_facts(event) and all(
            has(event, field, values)
            or has(as_recorded, field, values)
            or (many and field == "subject_id")  # `asking` knew what the digests are of
            for field, values in query.keys.items()
            # a key may have gone since then
            if FIELD_KINDS[field] in ("person", "session", "text")
        )

    def _aliases(self, query: Query) -> tuple[tuple[str, tuple[str, ...]], ...]:
        return tuple(
            (field, tuple(user.name for value in values for user in self.keys.having(value)))
            for field, values in query.keys.items()
            if field in _PERSONS
        )

    def reveal(self, event: AuditEvent) -> AuditEvent:
        """*event* with what its keys make readable; the event itself where that is nothing."""
        changes: dict[str, Any] = {}
        users: dict[str, User | None] = {}

        def real_id(name: str) -> str:
            if not name.startswith(ERASABLE_PREFIX):
                return name
            found = self.keys.by_name(name)
            users[name] = None if found is None else found[0]
            return name if found is None else found[1]

        metadata = event.metadata
        record = metadata.get("record") if event.operation is OperationType.AUDIT else None
        for field in _ACTORS if record == "erasure" else _PERSONS:
            names = getattr(event, field)
            if names:
                real = real_id(names) if isinstance(names, str) else tuple(map(real_id, names))
                if real != names:
                    changes[field] = real
        if event.operation is OperationType.AUDIT:
            readable = {key: self._id(value) for key, value in metadata.items()}
            if readable != metadata:
                changes["metadata"] = readable
        if changes and BOX in metadata:
            is_open = {name: fact for name, fact in metadata.items() if name != BOX}
            if is_open.keys() <= (_OPEN if record in _TOLD else ENTRY_FACTS):
                content = opened(event, metadata[BOX], users)
                changes.update(content)
                if content and is_open:
                    changes["metadata"] = {**is_open, **content["metadata"]}
        return as_readable(event, changes) if changes else event

    def lost_in(self, event: AuditEvent) -> set[str]:
        """What stands for users of *event* whom no key names, and whose erasure is not listed."""
        named = (getattr(recorded(event), field) or () for field in _PERSONS)
        names = {name for some in named for name in ([some] if isinstance(some, str) else some)}
        tokens = {
            name: name.removeprefix(ERASABLE_PREFIX).partition(":")[0]
            for name in names
            if name.startswith(ERASABLE_PREFIX) and name.count(":") == 2
        }
        dead = {token.hex() for token in self.keys.dead} if tokens else set()
        return {
            token
            for name, token in tokens.items()
            if token not in dead and self.keys.by_name(name) is None
        }

    def as_given(self, event: AuditEvent, plain: Mapping[str, Any]) -> AuditEvent:
        """*event* made readable, as `reveal` does, from its fields as they were given."""
        if BOX not in event.metadata or is_erasure(plain):
            return self.reveal(event)
        given = {name: plain[name] for name in (*_PERSONS, *_BOXED) if name in plain}
        return as_readable(event, given)

    def _id(self, value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith(ERASABLE_PREFIX):
            return value
        found = self.keys.by_name(value)
        return value if found is None else found[1]


def as_readable(event: AuditEvent, changes: Mapping[str, Any]) -> AuditEvent:
    """*event* with these fields; its bytes and its hash are as recorded."""
    readable = _Readable(**{**msgspec.structs.asdict(event), **changes})
    readable.__dict__["recorded"] = recorded(event)
    return readable
