"""The one door of privacy: what is recorded goes through it, and what is read as well."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from copy import copy
from itertools import chain, islice
from pathlib import Path
from typing import Any

from ..core import semconv
from ..events.draft import Draft, note_many
from ..events.identifiers import Recorded, digest_of
from ..events.model import AuditEvent, fields_of, listed, nameless
from ..events.query import Query
from .box import LEFT_OUT, TOO_LONG, bytes_of_name, bytes_of_texts
from .encryption import Erasure
from .entry_names import EntryNames
from .fingerprints import Fingerprints
from .private_ids import hide, masks, renamed
from .pseudonyms import Pseudonyms, is_pseudonym, mask_names, mask_texts, masked, text_mask
from .readable import as_readable, decrypted
from .redaction import Privacy

__all__ = ["PrivacyPolicy", "json_types"]

Search = Callable[[Query], Iterable[AuditEvent]]


class PrivacyPolicy:
    """Decides which parts of an event, a span or an intent are recorded, and makes them readable.

    Args:
        redaction: Redacts free texts and facts.
        pseudonyms: Replace ids; None: ids stay.
        erasure: Encrypts personal data; None: it is recorded in clear.
        fingerprints: Makes the fingerprints of entries; None: there are none.
        fault: Takes the exception if something cannot be hidden, and so is not recorded.
    """

    def __init__(
        self,
        redaction: Privacy | None = None,
        pseudonyms: Pseudonyms | None = None,
        erasure: Erasure | None = None,
        fault: Callable[[Exception], object] = lambda exc: None,
        fingerprints: Fingerprints | None = None,
    ) -> None:
        self._redaction = redaction or Privacy()
        self._pseudonyms = pseudonyms
        self._erasure = erasure
        self._fault = fault
        self._fingerprints = fingerprints
        #: Gives what stands for private ids of entries.
        self.entry_names = EntryNames(pseudonyms, erasure)
        self._opens_entries = True
        self._entries: dict[str, str] = {}  # ids of entries, by what stands for them
        #: A free text of anybody, redacted.
        self.text = self._redaction.text

    @classmethod
    def for_reading(
        cls, archive: Path, keys: Path, pseudonyms: Pseudonyms | None = None
    ) -> PrivacyPolicy:
        """For a reader of *archive*, with the *keys* of what is encrypted there.

        Raises:
            ArchiveError: If they cannot be used, or are not those of the archive.
        """
        return cls(pseudonyms=pseudonyms, erasure=Erasure.for_reading(archive, keys))

    def with_fingerprints(self, key: Callable[[], bytes]) -> PrivacyPolicy:
        """This policy, of a reader who has the *key* of the fingerprints as well."""
        made = copy(self)
        made._fingerprints = Fingerprints(key, self._erasure)
        return made

    def with_entries(self, entry_ids: Iterable[str]) -> PrivacyPolicy:
        """This policy, of a reader who knows these entries: in the events that it reads their ids
        are in place of the hashes."""
        if self._pseudonyms is None:
            return self
        made = copy(self)
        made._entries = dict(self._entries)
        for entry_id in entry_ids:
            hashed = self._pseudonyms.aliases("entry_ids", entry_id)
            made._entries.update(dict.fromkeys(hashed, entry_id))
        return made

    def hiding_entries(self) -> PrivacyPolicy:
        """This policy, of a reader whose events have what stands for private entries."""
        made = copy(self)
        made._opens_entries = False
        return made

    # --- recording -------------------------------------------------------------------------

    def event(self, event: Draft, *, own: bool = False, foreign: bool = False) -> None:
        """Make of *event* what may be recorded of it; but what `recorded` does to it.

        Never raises for what cannot be hidden: that is not recorded.

        Args:
            event: Its facts and words as they came, of whatever type.
            own: The names of the facts are ours, no text of anybody.
            foreign: Its ids may be pseudonyms already, which stay; its names are words of
                anybody.
        """
        event.own = own
        try:
            if event.private is not None and self.entry_names.are_hidden:
                hide(event, event.namer or self.entry_names.namer_in(event))
            facts = event["metadata"]
            if type(facts) is not dict or facts:
                event["metadata"] = facts = self._redaction.metadata(facts, own)
            if event.uncarried:
                facts.update(event.uncarried)
            for field in _WORDS:
                if field in event:
                    event[field] = self.text(event[field])
            if foreign:
                self._hide_in_names(event)
            if self._pseudonyms is not None:
                self._pseudonyms.apply(event, foreign, masks(event))
                event.further = self._pseudonyms.users(event.further, foreign)
                event.text_owners = tuple(map(self._pseudonyms.users, event.text_owners))
            elif event.private and (found := masks(event)):
                mask_texts(event, found)
            if event.further:
                note_many(event, self.names)
        except Exception as exc:  # the instrumented call: facts and hooks may raise anything
            self._fault(exc)
            bare = nameless(event, "[details that could not be recorded]")
            if event.private is not None:
                unknown = (key for key, name in event.private.items() if key == name)
                event.private.update(dict.fromkeys(unknown, "[id]"))
                bare = {name: one for name, one in bare.items() if name not in _OF_ENTRIES}
                bare = {name: bare.get(name, []) for name in event if name in (*bare, "entry_ids")}
            event.clear()
            event.update(bare)
            event.further = event.text_owners = ()

    def _hide_in_names(self, event: Draft) -> None:
        """Redact the names that another source gives, which nothing encrypts."""
        for field in _NAMES:
            if field in event and listed(event[field]) != event[field]:
                event[field] = self.text(event[field])
        if self._erasure is not None and self._pseudonyms is None:
            ids = chain.from_iterable(
                (some,) if isinstance(some, str) else some or ()
                for some in map(event.get, _PERSONAL)
            )
            mask_names(event, [*((one, "[id]") for one in ids), *masks(event)])

    def names(self, user_ids: Iterable[str]) -> tuple[str, ...]:
        """What is written for users, as events name them before encryption."""
        return tuple(user_ids) if self._erasure is None else self._erasure.names(user_ids)

    def growth(self, event: Draft) -> int:
        """The bytes by which *event* gets longer for its subjects and their texts when it is
        recorded, as `bytes_of_name` counts them."""
        if self._erasure is None:
            return 0
        return len(event["subjects"]) * bytes_of_name(event) + bytes_of_texts(event.text_owners)

    def bytes_of_name(self, event: Draft) -> int:
        """By how much a name in the subjects of *event* gets longer when it is recorded: in
        bytes of plain text, which take half as much again."""
        return 0 if self._erasure is None else bytes_of_name(event)

    def leave_out_texts(self, event: Draft) -> bool:
        """Take out of *event* what takes most room, texts that need keys of their own; returns
        whether there were any."""
        if self._erasure is None or not event.text_owners:
            return False
        event["metadata"]["content"] = TOO_LONG
        event.text_owners = ()
        return True

    def recorded(self, event: Draft) -> Mapping[str, Any]:
        """The fields of *event* as they are written: itself, or what of it is encrypted.

        Never raises: what cannot be encrypted is not recorded.
        """
        if event.further:
            return self._with_digests(event)
        return event if self._erasure is None else self._erasure.sealed(event)

    def _with_digests(self, event: Draft) -> Mapping[str, Any]:
        """As `recorded`, of an event of more persons than it can name: with their digests."""
        names, fields = self.names(event.further), dict(event)
        if self._erasure is not None:
            facts = event["metadata"]
            if "content" in facts and not event.text_owners:
                # It would be encrypted for those who are named, and an erasure is of all.
                facts["content"] = LEFT_OUT
            fields = dict(self._erasure.sealed(event))
        digests = tuple(map(digest_of, names))
        event["subjects"] += digests
        if "subjects" in fields:
            fields["subjects"] += digests
        return fields

    def intent(self, facts: dict[str, Any]) -> dict[str, Any]:
        """The facts of an operation that has not happened yet, as they are written.

        Raises:
            OSError: If a key that they need is in no file.
        """
        if self._pseudonyms is not None:
            self._pseudonyms.apply(facts)
        return facts if self._erasure is None else self._erasure.intent(facts)

    def hidden(self, field: str, value: str) -> str:
        """The pseudonym of *value* in that field of an event; without pseudonyms *value*."""
        if self._pseudonyms is None:
            return value
        return (self._pseudonyms.session if field == "session_id" else self._pseudonyms.user)(value)

    def recorded_name(self, user: str) -> str:
        """A user as events name him, but for encryption."""
        return user if self._pseudonyms is None else self._pseudonyms.named(user)

    def learned(self, subject: str) -> str | None:
        """A subject of a readable event, whom other events may name; None: he was erased."""
        if self._erasure is not None and subject.startswith(semconv.ERASABLE_PREFIX):
            return None
        return Recorded(subject) if self._pseudonyms and is_pseudonym(subject) else subject

    def span_identity(self, user_id: str | None, session_id: str | None) -> dict[str, str]:
        """The acting user and the session as attributes of a span."""
        attributes = {}
        if user_id is not None:
            name = semconv.USER_ID if self._pseudonyms is None else semconv.USER_HASH
            attributes[name] = self.hidden("user_id", user_id)
        if session_id is not None:
            attributes[semconv.SESSION_ID] = self.hidden("session_id", session_id)
        return attributes

    def span_texts(
        self,
        users: Iterable[str | None],
        session_id: str | None,
        entries: Mapping[str, str] | None,
    ) -> Callable[[str], str]:
        """What gives redacted texts of a span without the ids that pseudonyms stand for, and
        without those of *entries*, for which these texts stand."""
        pairs = (entries or {}).items()
        made = self._pseudonyms
        return text_mask(pairs) if made is None else made.text_mask(users, session_id, pairs)

    @property
    def fingerprints(self) -> bool:
        """True if events have fingerprints of entries."""
        return self._fingerprints is not None

    def fingerprint(self, text: str, owner: str | None) -> str:
        """The fingerprint of an entry with that *text* and *owner*; "" if it cannot be made.

        Never raises.
        """
        if self._fingerprints is None:
            return ""
        try:
            if self._pseudonyms is not None and owner is not None:
                owner = self._pseudonyms.named(owner)
            return self._fingerprints.of(text, owner)
        except Exception as exc:  # the instrumented call: any kind of text; a key in no file
            self._fault(exc)
            return ""

    def possible_fingerprints(self, owner: str | None) -> Callable[[Any], tuple[str, ...]]:
        """What gives the fingerprints that a text of *owner* may have on record.

        They differ by the key, and by what stood for the owner. None if they are switched off,
        or cannot be made. What it gives has keys of persons in it: not to be kept.
        """
        makers: list[tuple[Fingerprints, str | None]] = []
        if self._fingerprints is not None:
            for name in (None,) if owner is None else self.forms(owner):
                with suppress(OSError):  # a key that cannot be read: others may be
                    makers += [(one, name) for one in self._fingerprints.of_owner(name)]

        def of(text: Any) -> tuple[str, ...]:
            if not isinstance(text, str):
                return ()
            return tuple(dict.fromkeys(maker.of(text, name) for maker, name in makers))

        return of

    # --- reading ---------------------------------------------------------------------------

    @property
    def encrypts(self) -> bool:
        """True if events are encrypted, so that the recorded fields differ from the given ones."""
        return self._erasure is not None

    def read(self, query: Query, search: Search) -> Iterator[AuditEvent]:
        """The events that *search* finds for *query*, readable as far as there are keys.

        They are found by the ids of *query*, and by the pseudonyms of these.

        Raises:
            ArchiveError: If the keys cannot be read.
        """
        query = query.under(self._pseudonyms)
        if self._erasure is None:
            events = iter(search(query))
        else:
            found = map(self.reveal, search(self.asking(query)))
            events = islice((one for one in found if self.answers(query, one)), query.limit)
        return map(self.with_names, events) if self._entries else events

    def with_names(self, event: AuditEvent) -> AuditEvent:
        """*event* with the ids of the entries that are known; see `with_entries`."""
        changes = renamed(event, self._entries)
        return as_readable(event, changes) if changes else event

    def asking(self, query: Query) -> Query:
        """A query that finds recorded events; those that match *query* pass `answers`.

        Raises:
            ArchiveError: If the keys cannot be read.
        """
        return query if self._erasure is None else self._erasure.asking(query)

    def answers(self, query: Query, event: AuditEvent) -> bool:
        """True if a readable event, found by the query of `asking`, matches *query*."""
        return self._erasure is None or self._erasure.answers(query, event)

    def reveal(self, event: AuditEvent) -> AuditEvent:
        """*event* with what its keys make readable; its bytes and its hash are as recorded."""
        if self._erasure is None:
            return event
        return self._erasure.reveal(event, self._opens_entries)

    def readable(self, events: Iterable[AuditEvent]) -> Iterable[AuditEvent]:
        """*events* as far as there are keys, as events whose bytes are readable too."""
        return events if self._erasure is None else map(decrypted, map(self.reveal, events))

    def as_given(self, event: AuditEvent, made_of: Draft) -> AuditEvent:
        """*event* made readable, as `reveal` does, from the draft that it was made of."""
        return event if self._erasure is None else self._erasure.as_given(event, made_of)

    def lost_in(self, event: AuditEvent) -> set[str]:
        """What stands for users of *event* whom no key names, and whose erasure is not listed.

        That list is in the archive, and only `verify` looks for the records of erasures.
        """
        return set() if self._erasure is None else self._erasure.lost_in(event)

    # --- keys ------------------------------------------------------------------------------

    def forms(self, user_id: str) -> list[str]:
        """The ids under which a user may have been recorded, before encryption."""
        hashed = self._pseudonyms.aliases("user_id", user_id) if self._pseudonyms else ()
        return [user_id, *hashed]

    @property
    def has_erased(self) -> bool:
        """True if the archive lists the erasure of a user, which these keys prove."""
        return self._erasure is not None and bool(self._erasure.keys.dead)

    def has_key(self, token: str) -> bool:
        """True if there is a key for the *token* (hex) of a person, also an erased one.

        Raises:
            OSError: If that cannot be told.
        """
        try:
            return self._erasure is not None and self._erasure.keys.lives(bytes.fromhex(token))
        except ValueError:  # of a forged record
            return False

    def knows(self, user_id: str) -> bool:
        """True if there is a key for one of the `forms` of a user."""
        erasure = self._erasure
        return erasure is not None and any(map(erasure.keys.knows, self.forms(user_id)))

    def erase(
        self,
        user_id: str,
        actor: str | None,
        facts: Mapping[str, Any],
        record: Callable[[Draft], object],
    ) -> bool:
        """Record that a user is erased, then destroy his keys; returns whether there were any.

        Args:
            user_id: Whose.
            actor: Who wants it.
            facts: Further facts of the record; the ids of the user in their texts are replaced.
            record: Records an event, so that nothing loses it; if it raises, nothing is destroyed.

        Raises:
            OSError: If a key may still be there; that is recorded.
        """
        assert self._erasure is not None
        forms = self.forms(user_id)
        found = self._erasure.tokens_of(forms)
        if not found:
            return False
        tokens = [token for some in found.values() for token in some]
        by = None if actor is None else self.hidden("user_id", actor)
        by = None if by in forms else by
        event = self._erasure.event
        facts = self._redaction.metadata(facts, own=True)
        facts = masked(facts, [(form, "[erased]") for form in forms])
        record(event(tokens, by, "SUCCESS", facts))
        try:
            self._erasure.destroy(found)
        except OSError as exc:
            why = {**facts, "state": "failed", "error": exc.strerror or str(exc)}
            record(event(tokens, by, "FAILURE", why))
            raise
        return True

    def mark(self) -> None:
        """Say in the archive which keyring its events need."""
        if self._erasure is not None:
            self._erasure.mark()

    @property
    def is_saved(self) -> bool:
        """True if every key is in a file."""
        return self._erasure is None or self._erasure.keys.is_saved

    def save(self) -> None:
        """Write the keys that are in no file yet. Never raises."""
        if self._erasure is not None:
            self._erasure.keys.save()

    def after_fork(self) -> None:
        """In a child: what is read and locked is its parent's."""
        if self._erasure is not None:
            self._erasure.keys.after_fork()


def json_types(event: Draft) -> None:
    """Replace what of *event* no JSON can carry."""
    event.update(Privacy(pii=False).metadata(dict(event)))
    event["entry_ids"] = [str(item) for item in event["entry_ids"]]


_NAMES = fields_of("name")
_OF_ENTRIES = fields_of("entries")
_WORDS = fields_of("text")
_PERSONAL = fields_of("person", "persons", "session")
