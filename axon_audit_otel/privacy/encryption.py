"""Personal data that can be erased later: encrypted when recorded, readable while its key exists.

An event of a user is recorded so (``erasable=``)::

    "user_id":"erasable:<token>:<the id, encrypted>","session_id":null,
    "metadata":{"erasable":"<session, metadata and error message, encrypted>"}

That is what hash chain, proofs and files are made of; to destroy a key changes none of them. Which
keys the metadata needs, and whose the texts in it are, is the matter of `box`. Of the record of an
erasure, of a legal hold or of a reading only what tells of persons is encrypted, so that nobody
needs a key to know what it is.

Ids of entries that name people are encrypted before that (`Erasure.entry`), since spans and alerts
have them too: see `entry_ids`.

Only an erasure destroys keys: `Erasure.destroy`, after it was recorded. An archive lists who was
erased: see `erased_tokens`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..core.errors import ArchiveError
from ..core.log import logger
from ..core.semconv import ERASABLE_PREFIX
from ..events.draft import Draft, draft
from ..events.identifiers import is_digest
from ..events.model import (
    ENCODE_ERRORS,
    FIELD_KINDS,
    AuditEvent,
    OperationType,
    fields_of,
    nameless,
)
from ..events.query import ACCESS, Query, has
from .box import BOX, ENTRY_FACTS, Facts, closed, facts_of_entries, opened
from .entry_ids import decrypted_id, encrypted_id, is_encrypted, opened_in, token_of
from .erased_tokens import MARK, checked, erased, keep, keys_of, list_in
from .keyring import Keyring, User, name_of
from .readable import as_readable, recorded

__all__ = ["Erasure"]

_PERSONS = fields_of("person", "persons")
_ACTORS = tuple(field for field in _PERSONS if not field.startswith("subject"))
_BOXED = fields_of("session", "facts", "text")
#: Fields that name entries, or may do so in their texts.
_OF_ENTRIES = (*fields_of("entries"), *fields_of("facts", "text"))
#: Facts in the records of erasures, holds and readings that tell of nobody.
_OPEN = frozenset(("record", "tokens", "hold", "state"))
_MOST_FORMS = 5_000  # of ids of entries, that are made for one query: 0.1 s
_TOLD = ("erasure", "hold", ACCESS)


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
        lines = [""] if archive is None else list_in(archive)
        number = lines[0] or None
        try:
            keys = Keyring(place, number is None, sync, fault, archive)
        except ArchiveError as exc:
            if number is None or not isinstance(exc.__cause__, FileNotFoundError):
                raise
            msg = (
                f"the keys of {str(archive)!r} (keyring {number}) are not in {str(place)!r}: bring"
                f" them back, or remove its file {MARK!r} to begin with new ones"
            )
            raise ArchiveError(msg) from exc
        checked(keys, archive, number).dead = dead = erased(keys, lines)
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
        lines = list_in(archive)
        keys = checked(Keyring(place, create=False), archive, lines[0] or None)
        keys.dead = erased(keys, lines)
        return cls(keys, archive)

    def mark(self) -> None:
        """Say in the archive which keyring its events need."""
        with suppress(OSError):  # the archive's own failure is told
            self._keep([])

    def _keep(self, tokens: list[bytes]) -> None:
        if self._archive is not None:
            keep(self._archive, self.keys, tokens)

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

    def entry(self, entry_id: str, holder: str | None) -> str:
        """What stands for the id of an entry whose *holder* can erase it; None: nobody can.

        Never raises: where no key can be read or written, there is a new one.
        """
        user = self.keys.nobody if holder is None else self.keys.of(holder)
        memory = self.keys.memory
        found: str | None = memory.get((user.token, entry_id))
        if found is None:
            found = memory[user.token, entry_id] = encrypted_id(user, entry_id)
        return found

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
            if query.entry_ids:
                asked = self._asking_for_entries(asked, query.entry_ids)
        except OSError as exc:
            msg = f"cannot read the keys in {str(self.keys.directory)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc
        if query.session_id is None and query.purpose is None and not query.facts:
            return asked
        return replace(asked, session_id=None, purpose=None, facts=(), limit=None)

    def _asking_for_entries(self, query: Query, entry_ids: frozenset[str]) -> Query:
        """*query* for these entries as well where their ids are encrypted.

        It is not known with whose key: these are the forms with all keys. If they would be many,
        it finds every event with an encrypted id.
        """
        everybody = self.keys.everybody(_MOST_FORMS // len(entry_ids))
        if everybody is None:
            return replace(query, any_encrypted=True, limit=None)
        forms = (encrypted_id(user, key) for user in everybody for key in entry_ids)
        return replace(query, entry_ids=entry_ids.union(forms))

    def answers(self, query: Query, event: AuditEvent) -> bool:
        """True if a readable event, found by the query of `asking`, matches *query*."""
        as_recorded = recorded(event)
        many = bool(as_recorded.subjects) and is_digest(as_recorded.subjects[-1])
        asked = query.entry_ids
        if asked is not None and asked.isdisjoint((*event.entry_ids, *as_recorded.entry_ids)):
            return False
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

    def reveal(self, event: AuditEvent, entries: bool = True) -> AuditEvent:
        """*event* with what its keys make readable; the event itself where that is nothing.

        Args:
            event: The event.
            entries: Also the ids of its entries.
        """
        readable = self._revealed(event)
        return self._with_ids(readable) if entries else readable

    def opened_entry(self, entry_id: str) -> str:
        """The id of an entry that is encrypted; *entry_id* itself without its key, or if it is
        none."""
        if not is_encrypted(entry_id):
            return entry_id
        memory = self.keys.memory
        if entry_id not in memory:
            try:
                user = self.keys.by_token(token_of(entry_id))
            except OSError:
                return entry_id
            memory[entry_id] = None if user is None else decrypted_id(user, entry_id)
        found: str | None = memory[entry_id]
        return entry_id if found is None else found

    def _with_ids(self, event: AuditEvent) -> AuditEvent:
        """*event* with the ids of its entries, wherever it names them, as far as keys open them."""
        changes = {}
        for field in _OF_ENTRIES:
            value = getattr(event, field)
            if value:
                found = opened_in(value, self.opened_entry)
                if found != value:
                    changes[field] = found
        return as_readable(event, changes) if changes else event

    def _revealed(self, event: AuditEvent) -> AuditEvent:
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
        return self._with_ids(as_readable(event, given))

    def _id(self, value: Any) -> Any:
        if not isinstance(value, str) or not value.startswith(ERASABLE_PREFIX):
            return value
        found = self.keys.by_name(value)
        return value if found is None else found[1]
