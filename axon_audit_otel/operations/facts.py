"""What is known of one audited call, and what it learns until its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from ..core import semconv
from ..events.draft import Acting
from ..events.identifiers import identifier
from ..events.identity import NOBODY, named_or_current, or_from_baggage
from ..events.lineage import DERIVED_REMAIN
from ..events.model import OperationType
from ..events.stores import Store
from ..privacy.private_ids import is_hidden
from .activity import AdapterActivity, OwnerOf

if TYPE_CHECKING:
    from ..trail.audit_logger import AuditLogger

__all__ = ["COPYING", "Arguments", "Facts", "Kind"]

Arguments = dict[str, Any]

#: Operations that save what they have read.
COPYING = (OperationType.RECALL, OperationType.SYNC)

#: The fields of those for whom it is done, after those who own or act.
_FOR_WHOM = ("on_behalf_of", "agent_id")

#: The operations that the GenAI conventions know, by our names.
_GEN_AI = {
    OperationType.STORE: semconv.CREATE_MEMORY,
    OperationType.RECALL: semconv.SEARCH_MEMORY,
    OperationType.FORGET: semconv.DELETE_MEMORY,
    OperationType.IMPORT: semconv.CREATE_MEMORY,
}


@dataclass(frozen=True)
class Kind:
    """Describes the calls of one method of a memory library.

    Args:
        operation: Its name in events and metrics.
        action: The method, as its library names it.
        system: The library.
        parameters: Its positional parameters after self, in order.
        before: Notes facts from the arguments.
        after: Notes facts from the result.
        verify: Notes facts that must be looked up after the call.

    Attributes:
        name: The operation as text.
        gen_ai: Its ``gen_ai.operation.name``; None if it is not one of the GenAI conventions.
        span: Its span's name.
        attributes: Of every span of it.
        deletes: True if its purpose is to delete.
    """

    operation: OperationType
    action: str | None = None
    system: str | None = None
    parameters: tuple[str, ...] = ()
    before: Callable[[Facts, Arguments], None] = lambda op, args: None
    after: Callable[[Facts, Arguments, Any], None] = lambda op, args, result: None
    verify: Callable[[Facts, Any, Arguments, Any], Awaitable[None]] | None = None
    name: str = field(init=False)
    gen_ai: str | None = field(init=False)
    span: str = field(init=False)
    attributes: dict[str, str] = field(init=False, compare=False)
    deletes: bool = field(init=False)

    def __post_init__(self) -> None:
        name, gen_ai = self.operation.value, _GEN_AI.get(self.operation)
        attributes = {semconv.AXON_OPERATION: name}
        if self.system is not None:
            attributes[semconv.AXON_SYSTEM] = self.system
        object.__setattr__(self, "name", name)
        object.__setattr__(self, "gen_ai", gen_ai)
        object.__setattr__(self, "span", gen_ai or f"axon.{name.lower()}")
        object.__setattr__(self, "attributes", attributes)
        object.__setattr__(self, "deletes", self.operation is OperationType.FORGET)


class Facts:
    """What is known of one call. The kinds note facts here; `Operation` adds a life to them.

    Args:
        kind: What kind of call it is.
        audit: Where it is recorded.
        args: Its positional arguments, without self.
        kwargs: Its arguments by name.
        identity: The acting user and session that it names.
        acting: The agent, on whose behalf, and why, as far as the call says that.
        store: Which store of its library.
        owner: Whose data it is about, if that is known from the beginning.
        private: Its entry ids name people.
    """

    began: int  # when, by `time.perf_counter_ns`
    # What most operations leave as it is.
    active = True
    entry_ids: list[Any] | None = None  # None: those that were saved or deleted
    are_names = False  # True: these are texts as `identifiers` makes them
    entries: int | None = None  # how many the operation handled; None: len(entry_ids)
    attempted: int | None = None  # record count of the span; None: the same
    problems = 0  # failures that the SDK did not raise
    failed = False  # nothing of it worked, although nothing was raised
    error_type: str | None = None
    given: tuple[str | None, ...] | None = None  # the owners of what the caller got
    persons: tuple[str, ...] = ()  # whose data it is about, though it touched no entry of theirs
    subject_id: str | None = None
    user_id: str | None = None
    session_id: str | None = None
    text_owners: tuple[tuple[str, ...], ...] = ()  # of each text of an entry in the metadata
    acting: Acting = NOBODY.acting
    store: str | None = None  # which store of its library
    own_facts = True  # the names of the facts are ours, no text of anybody
    private: dict[str, str] | None = None  # its entry ids name people: what stands for which
    event_id: str | None = None  # given to its intent, where one was recorded
    altered: dict[str, str] | None = None  # fingerprints of entries that have another content
    span_attributes: Mapping[str, str] = {}
    records: list[tuple[str, str]] | None = None  # of the span: ids of entries, and texts
    #: Gives the adapters of any memory in which an entry is known to live.
    holders: Callable[[str, Facts], list[Any]] = staticmethod(lambda key, op: [])
    subjects: tuple[str, ...] = ()  # all whom its event names as owners
    is_unsaid = False  # its query, and what it raised, may name people whom nothing hides
    learnt = False  # who acts was learnt late, or that it is nobody
    _subject: tuple[str | None, str | None] = (None, None)

    def __init__(
        self,
        kind: Kind,
        audit: AuditLogger,
        args: tuple[Any, ...],
        kwargs: Arguments,
        identity: tuple[Any, Any] = (None, None),
        acting: Mapping[str, Any] | None = None,
        store: str | None = None,
        owner: str | None = None,
        private: bool = False,
    ) -> None:
        self.kind = kind
        self.audit = audit
        self.trail = audit.trail
        self.gen_ai = kind.gen_ai
        self.capture = audit.settings.capture_content  # where content may be recorded
        self.activity = AdapterActivity()
        self.metadata: dict[str, Any] = {}
        self.fingerprints: dict[str, str] = {}  # of what the caller got
        self.arguments: Arguments = {}
        if store is not None:
            self.store = store
        if owner is not None:
            self._subject, self.persons = (owner, None), (owner,)
        if private or audit.settings.private_ids:
            self.private = {}
        try:
            self.arguments = {**dict(zip(kind.parameters, args)), **kwargs} if args else kwargs
            kind.before(self, self.arguments)
        except Exception as exc:  # the instrumented call: its arguments may raise anything
            self.trail.fault("record", exc)
        actor, session, self.acting = named_or_current(*identity)
        self._actor = actor, session
        self._settle()
        if acting:
            self.acting = cast("Acting", {**self.acting, **acting})

    # --- who, and whose data -----------------------------------------------------------------

    def concerns(self, user_id: Any, session_id: Any) -> None:
        """Whose data it is, as the call's metadata or filter says."""
        self._subject = (
            None if user_id is None else identifier(user_id),
            None if session_id is None else identifier(session_id),
        )

    def _settle(self) -> None:
        """Say who acts: the owner of the data, unless it is somebody else."""
        actor, session = self._actor
        subject, its_session = self._subject
        self.subject_id = None if actor is None else subject
        self.user_id = subject if actor is None else actor
        self.session_id = its_session if session is None else session
        if self.trail.settings.baggage_identity:
            self.user_id, self.session_id = or_from_baggage(self.user_id, self.session_id)

    def owned_by(self, owners: tuple[str, ...]) -> None:
        """Whose data it is, learnt late: of one owner alone, he acts unless somebody else does."""
        self.persons = tuple(dict.fromkeys((*self.persons, *owners)))
        if self._subject[0] is None or self.learnt:
            self.learnt = True
            only = self.persons[0] if len(self.persons) == 1 else None
            self._subject = only, self._subject[1]
            self._settle()

    @property
    def owner(self) -> str | None:
        """Whose its entries are, where nothing else says it."""
        return self._subject[0]

    @property
    def delegates(self) -> dict[str, str]:
        """The agent and on whose behalf it acts, by the names of the fields."""
        return {name: str(one) for name, one in self.acting.items() if name != "purpose"}

    def named(self, entry_ids: list[str], again: bool = False) -> list[str]:
        """Entries as events name them: where their ids name people, by what stands for these.

        *again*: some may be named so already.
        """
        known = self.private
        if known is None:
            return entry_ids
        new = [key for key in entry_ids if not is_hidden(key)] if again else entry_ids
        found = dict(zip(new, map(self.trail.policy.entry_names.hashed, new)))
        known.update(found)
        return [found.get(key, key) for key in entry_ids]

    def namer(self) -> Callable[[str], str]:
        """What gives the name of a private entry in the event."""
        whose = (*self.persons[:1], self.subject_id)
        who = (*whose, self.user_id, *map(self.delegates.get, _FOR_WHOM))
        return self.trail.entries.namer(*who, owners=self.activity.owners)

    # --- what happened -----------------------------------------------------------------------

    def note(self, **facts: Any) -> None:
        """Facts for the event's metadata; None is left out."""
        metadata = self.metadata
        for name, value in facts.items():
            if value is not None:
                metadata[name] = value

    def merge(self, entry_ids: list[str], metadata: Mapping[str, Any]) -> None:
        """Add facts that the SDK logs about this operation; facts that are known already stay."""
        self.metadata = {**metadata, **self.metadata}
        if not self.entry_ids and not self.activity.saved:
            self.entry_ids = list(entry_ids)

    def partly(self, name: str) -> None:
        """A part of it failed, though nothing is raised; *name* is its ``error.type``."""
        self.problems += 1
        self.error_type = self.error_type or name

    def owners_on_record(self, entry_ids: list[str], living: bool = False) -> dict[str, str | None]:
        """The owners of these entries, as far as the trail knows them; with *living*, of those
        alone that are not known to be gone."""
        find = self.trail.entries.find
        known = ((key, find(key)) for key in entry_ids)
        return {
            key: one[0] for key, one in known if one[0] and not (living and isinstance(one[1], int))
        }

    def living_descendants(self) -> list[str]:
        """The entries that live, as far as is known, and were made of what it deleted.

        Also one that it deleted in another store: a copy lives here.
        """
        known = self.trail.entries
        return [key for key in known.descendants(self.activity.deleted) if known.lives(key)]

    def derived_remain(self, entry_ids: list[str]) -> None:
        """These entries live, and were made of what it deleted."""
        if entry_ids:
            self.note(derived_remaining=entry_ids)
            self.partly(DERIVED_REMAIN)

    # --- what the caller gets ----------------------------------------------------------------

    def read(self, texts: Mapping[str, str], owners: OwnerOf | None = None) -> None:
        """The caller gets these entries: the text of each by its id.

        Notes their fingerprints, and which of them have not the newest content on record.
        *owners* are theirs, where stores have entries of one id and of several owners.
        """
        policy, whose = self.trail.policy, self.activity.owners
        if owners is not None:
            whose = {**whose, **owners}
            self.given = (*(self.given or ()), *owners.values())
        if not policy.fingerprints:
            return
        prints, newest, make = self.fingerprints, self.trail.entries.newer, policy.fingerprint
        for key, text in texts.items():
            found = prints[key] = make(text, whose.get(key))
            known = newest.get(key)
            if found and (known is None or known[1] != found):
                self.is_altered(key, found, self.activity.stores_of(key))

    def is_altered(self, key: str, found: str, stores: list[Store]) -> bool:
        """True, and noted, if an entry that was read in *stores* has not the newest content."""
        if not stores or any(one.agrees(key, found, self.began) for one in stores):
            return False
        if self.altered is None:
            self.altered = {}
        self.altered[key] = found
        return True

    # --- content, where that is switched on ----------------------------------------------------

    @property
    def captures(self) -> bool:
        """True if content may be recorded on events or spans."""
        return self.capture.on_events or self.capture.on_spans

    def content(
        self,
        *,
        query: str | None = None,
        texts: Mapping[str, str] | None = None,
        owners: OwnerOf | None = None,
    ) -> None:
        """Content of the operation, recorded where that is switched on (`captures`).

        *texts* are those of entries, by id; and so are *owners*, in the same order.
        """
        clean = self.trail.policy.text
        if self.capture.on_events:
            self.note(query=query)
            if texts is not None:
                self.metadata["content"] = list(texts.values())
                self.text_owners = self.owners_of_texts(owners or {})
        if self.capture.on_spans:
            if query is not None:
                said = {semconv.GEN_AI_MEMORY_QUERY_TEXT: clean(query)}
                self.span_attributes = {**self.span_attributes, **said}
            if texts is not None:
                names = self.named(list(texts), again=True)
                self.records = [(key, clean(text)) for key, text in zip(names, texts.values())]

    def owners_of_texts(self, owners: OwnerOf) -> tuple[tuple[str, ...], ...]:
        """Of each of these entries everybody whose data is in its text: its owner, and those of
        the entries that it was made of."""
        behind = self.trail.entries.owners_behind
        everybody = ((owner, *behind((key,))) for key, owner in owners.items())
        return tuple(tuple({one: None for one in some if one}) for some in everybody)
