"""Personal data that can be erased later: encrypted when recorded, readable while its key exists.

An event of a user is recorded so (``erasable=``)::

    "user_id":"erasable:<token>:<the id, encrypted>","session_id":null,
    "metadata":{"erasable":"<session, metadata and error message, encrypted>"}

That is what hash chain, proofs and files are made of; to destroy a key changes none of them. Of
an event with an actor and a subject the rest needs both keys: it is about both.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ..core.errors import ArchiveError, AuditConfigError, archive_errors
from ..core.files import DECODE_ERRORS, append, content_of
from ..core.log import logger
from ..core.merkle import leaf_hash
from ..core.semconv import ERASABLE_PREFIX
from ..events.draft import Draft, draft
from ..events.model import (
    ENCODE_ERRORS,
    FIELD_KINDS,
    AuditEvent,
    OperationType,
    encode,
    fields_of,
    nameless,
)
from ..events.query import Query, has
from .keyring import Keyring, User, name_of

__all__ = ["Erasure", "check_in_clear", "decrypted", "keyring_of", "keys_of", "recorded"]


_BOX = "erasable"
_MOST_ERASED = 1 << 30  # bytes of it
_MARK = ".keyring"  # in an archive: the number of the keyring, and tokens that were erased
_NONCE = 12
_PADDING = 64

_PERSONS = fields_of("person", "persons")
_BOXED = fields_of("session", "facts", "text")

_encode = msgspec.json.Encoder().encode


class _Readable(AuditEvent, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """An event with its personal data readable. Its bytes and its hash are as recorded."""

    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__name__, AuditEvent.__name__, 1)

    def to_json(self) -> bytes:
        return encode(recorded(self))

    @property
    def hash(self) -> str:
        return leaf_hash(self.to_json()).hex()


class _Box(msgspec.Struct, omit_defaults=True):
    """The content that is encrypted besides the ids of persons."""

    session_id: str | None = None
    metadata: dict[str, Any] = {}
    error_message: str | None = None
    purpose: str | None = None


_box_in = msgspec.json.Decoder(_Box).decode


def keyring_of(archive: Path) -> tuple[str | None, set[bytes]]:
    """The number of the keyring that an archive's events need, and the tokens erased since.

    The archive keeps these, so that an old copy of the keys brings nobody back.

    Raises:
        ArchiveError: If that cannot be read.
    """
    lines: list[str] = []
    with archive_errors(archive / _MARK), suppress(FileNotFoundError, NotADirectoryError):
        lines = content_of(archive / _MARK, _MOST_ERASED).decode("ascii", "replace").split()
    tokens = {bytes.fromhex(line) for line in lines[1:] if re.fullmatch("[0-9a-f]{32}", line)}
    return (lines[0] if lines else None), tokens


def check_in_clear(archive: Path) -> None:
    """Refuse to record in clear beside events that are encrypted.

    Raises:
        AuditConfigError: If *archive* needs keys.
        ArchiveError: If it cannot be told whether it does.
    """
    number, _ = keyring_of(archive)
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
    ) -> Erasure:
        """For a writer, with new keys if its archive has none.

        Args:
            archive: Its archive, if it has one.
            place: Where the keys are. Default: beside the archive.
            sync: Force new keys to the device before they are used.
            fault: Told of a key that could not be written.

        Raises:
            ArchiveError: If they cannot be used, or are not those of the archive.
        """
        if place is None:
            assert archive is not None  # as the settings were checked
            place = keys_of(archive)
        number, erased = (None, set()) if archive is None else keyring_of(archive)
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
        try:
            if erased and _checked(keys, archive, number).destroy_again(erased):
                logger.warning("keys of erased users were back in %r: destroyed again", str(place))
        except OSError as exc:
            fault(exc)
        return cls(_checked(keys, archive, number), archive)

    @classmethod
    def for_reading(cls, archive: Path, place: Path) -> Erasure:
        """For a reader of *archive*, with the keys in *place*.

        Raises:
            ArchiveError: If they cannot be used, or are not those of the archive.
        """
        number, erased = keyring_of(archive)
        keys = _checked(Keyring(place, create=False), archive, number)
        keys.dead = erased
        return cls(keys, archive)

    def mark(self) -> None:
        """Say in the archive which keyring its events need."""
        with suppress(OSError):  # the archive's own failure is told
            self._keep([])

    def _keep(self, tokens: list[bytes]) -> None:
        """Write *tokens* to the archive, after the keyring's number."""
        if self._archive is not None:
            new = tokens if keyring_of(self._archive)[0] else [self.keys.number, *tokens]
            if new:
                text = "".join(f"{item.hex()}\n" for item in new)
                append(self._archive / _MARK, text.encode(), sync=True)

    # --- erasing ---------------------------------------------------------------------------

    def destroy(self, user_ids: Iterable[str]) -> list[bytes]:
        """Destroy the keys of a user, by all his ids; returns the tokens, none if unknown.

        `complete` is the second half. If it does not come to that, this finds them again.

        Raises:
            OSError: If a key may still be there.
        """
        return [token for user_id in user_ids for token in self.keys.destroy(user_id)]

    def complete(self, user_ids: Iterable[str], tokens: list[bytes]) -> None:
        """Keep the tokens in the archive, and remove what says whose they were.

        Raises:
            OSError: If that failed.
        """
        self._keep(tokens)
        for user_id in user_ids:
            self.keys.forget(user_id, tokens)

    def event(self, tokens: list[bytes], actor: str | None) -> Draft:
        """The event that tells of an erasure; its subject is what stood for the user."""
        facts = {"record": "erasure", "tokens": [token.hex() for token in tokens]}
        subject = name_of(tokens[0])
        return draft("AUDIT", "SUCCESS", user_id=actor, metadata=facts, subject_id=subject)

    # --- recording -------------------------------------------------------------------------

    def sealed(self, plain: Mapping[str, Any]) -> Mapping[str, Any]:
        """The fields of an event as they are recorded; *plain* itself where nobody is named.

        Never raises: what cannot be encrypted is not recorded.
        """
        try:
            return self._sealed(plain)
        except (OSError, *ENCODE_ERRORS) as exc:
            self.keys.fault(exc)
            return nameless(plain, "[what could not be encrypted]")

    def _sealed(self, plain: Mapping[str, Any]) -> Mapping[str, Any]:
        if is_erasure(plain):  # of whom it tells, there is no name any more
            return {**plain, **self._named({"user_id": plain["user_id"]})[1], "session_id": None}
        if plain["operation"] == "AUDIT" and self._is_of_nobody(plain):
            return {name: value for name, value in plain.items() if name != "subject_id"}
        users, fields = self._named(plain)
        if not users:
            return plain
        text = _encode(_Box(**{name: fields.pop(name) for name in _BOXED if name in fields}))
        padded = text + b" " * (-len(text) % _PADDING)
        nonce = os.urandom(_NONCE)
        encrypted = _cipher(users).encrypt(nonce, padded, fields["event_id"].encode())
        box = {_BOX: base64.b64encode(nonce + encrypted).decode()}
        sealed = {**fields, "session_id": None, "metadata": box}
        return {name: sealed[name] for name in plain if name in sealed}  # in their order

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

    def _named(self, plain: Mapping[str, Any]) -> tuple[list[User], dict[str, Any]]:
        """Whose keys an event needs, and its fields with what stands for their ids."""
        users: list[User] = []
        fields = dict(plain)

        def name_of(real: str) -> str:
            user = self.keys.of(real)
            if user not in users:
                users.append(user)
            return user.name

        for field in _PERSONS:
            real = fields.get(field)
            if isinstance(real, str):
                fields[field] = name_of(real)
            elif real:
                fields[field] = tuple(map(name_of, real))
        return users, fields

    # --- reading ---------------------------------------------------------------------------

    def asking(self, query: Query) -> Query:
        """A query that finds recorded events; those that match *query* pass `answers`.

        Sessions are encrypted: whoever asks for one without its user reads every event.

        Raises:
            ArchiveError: If the keys cannot be read.
        """
        try:
            asked = replace(query, aliases=query.aliases + self._aliases(query))
        except OSError as exc:
            msg = f"cannot read the keys in {str(self.keys.directory)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc
        return asked if query.session_id is None else replace(asked, session_id=None, limit=None)

    def answers(self, query: Query, event: AuditEvent) -> bool:
        """True if a readable event, found by the query of `asking`, matches *query*."""
        as_recorded = recorded(event)
        return all(
            has(event, field, values) or has(as_recorded, field, values)
            for field, values in query.keys.items()
            if FIELD_KINDS[field] in ("person", "session")  # a key may have gone since then
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
        users: list[User] = []
        is_whole = True

        def real_id(name: str) -> str:
            nonlocal is_whole
            if not name.startswith(ERASABLE_PREFIX):
                return name
            found = self.keys.by_name(name)
            if found is None:
                is_whole = False
                return name
            if found[0] not in users:
                users.append(found[0])
            return found[1]

        for field in _PERSONS:
            names = getattr(event, field)
            if names:
                real = real_id(names) if isinstance(names, str) else tuple(map(real_id, names))
                if real != names:
                    changes[field] = real
        metadata = event.metadata
        if event.operation is OperationType.AUDIT:
            readable = {key: self._id(value) for key, value in metadata.items()}
            if readable != metadata:
                changes["metadata"] = readable
        if users and is_whole and len(metadata) == 1 and isinstance(metadata.get(_BOX), str):
            changes.update(_opened(metadata[_BOX], users, event.event_id))
        return _readable(event, changes) if changes else event

    def as_given(self, event: AuditEvent, plain: Mapping[str, Any]) -> AuditEvent:
        """*event* made readable, as `reveal` does, from its fields as they were given."""
        if _BOX not in event.metadata or is_erasure(plain):
            return self.reveal(event)
        given = {name: plain[name] for name in (*_PERSONS, *_BOXED) if name in plain}
        return _readable(event, given)

    def _id(self, value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith(ERASABLE_PREFIX):
            return value
        found = self.keys.by_name(value)
        return value if found is None else found[1]


def _readable(event: AuditEvent, changes: Mapping[str, Any]) -> AuditEvent:
    readable = _Readable(**{**msgspec.structs.asdict(event), **changes})
    readable.__dict__["recorded"] = event
    return readable


def _cipher(users: list[User]) -> AESGCM:
    """A cipher whose key is made of the keys of all *users*."""
    first = users[0]
    if all(user.token == first.token for user in users):
        return first.cipher
    return AESGCM(hashlib.sha256(b"".join(user.key for user in users)).digest())


def _opened(box: str, users: list[User], event_id: str) -> dict[str, Any]:
    try:
        data = base64.b64decode(box)
        text = _cipher(users).decrypt(data[:_NONCE], data[_NONCE:], event_id.encode())
        return msgspec.structs.asdict(_box_in(text))
    except (InvalidTag, ValueError, *DECODE_ERRORS):  # not what was recorded
        return {}
