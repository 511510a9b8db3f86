"""Prints notes on standard error about events that an answer leaves out.

Without them, "0 events" could be read as proof that nothing happened.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any, Generic, TypeVar

import click

from ..archive.manifest import deleted_in
from ..archive.missing import Missing
from ..archive.search import search
from ..core.errors import ArchiveError
from ..core.time import to_microseconds
from ..events.localtime import local
from ..events.model import AuditEvent
from ..events.query import Query
from ..privacy.policy import PrivacyPolicy
from ..privacy.private_ids import is_hash
from ..privacy.pseudonyms import Pseudonyms, is_pseudonym
from ..trail.settings import Settings
from .privacy import reader
from .render import amount, plain

__all__ = ["Answer", "hashed_entries"]

_T = TypeVar("_T")

_CHECKED = 1000  # events at each end of the period that are checked for hashed ids
_KINDS = {
    "user_id": "user",
    "subject_id": "user",
    "on_behalf_of": "user",
    "agent_id": "agent",
    "session_id": "session",
}


def hashed_entries(
    path: Path, events: Iterable[AuditEvent] | None, secret: Pseudonyms | None
) -> Iterator[str]:
    """A note if ids of entries in an archive are hashed, of which none was found.

    *events* are those that are checked; None: the newest.
    """
    with suppress(ArchiveError):  # reported when the answer was read
        if events is None:
            events = search(path, Query(limit=_CHECKED), missing=Missing())
        if any(is_hash(key) for event in events for key in event.entry_ids):
            if secret is None:
                how = f"--pseudonymize @FILE (or {Settings.variable('pseudonymize')})"
                yield f"ids of entries in this archive are hashed: give the secret with {how}"
            else:
                yield "ids of entries in this archive are hashed, perhaps with another secret"


class Answer(Generic[_T]):
    """Yields and counts the events that answer a query, then prints notes on what is left out.

    Args:
        events: The events, or tuples with them.
        path: The archive or file that they come from.
        query: The query that they answer.
        given: The options of `filters` that *query* was made of.
    """

    def __init__(
        self, events: Iterable[_T], path: Path, query: Query, given: dict[str, Any]
    ) -> None:
        self._events = events
        self._path = path
        self._query = query
        self._secret: Pseudonyms | None = given["pseudonyms"]
        self._keys: Path | None = given["keys"]
        self.count = 0

    def __iter__(self) -> Iterator[_T]:
        for event in self._events:
            self.count += 1
            yield event
        for note in chain(self._hashed(), self._erased(), self._lost(), self._deleted()):
            click.echo(note, err=True)

    def _hashed(self) -> Iterator[str]:
        """A note if the query has a plain id but ids in the archive are hashed."""
        for field, kind in _KINDS.items():
            wanted = getattr(self._query, field)
            if wanted is None or is_pseudonym(wanted) or (self._secret and self.count):
                continue
            if not self._has_hashed(field):
                continue
            if self._secret is None:
                secret = f"--pseudonymize @FILE (or {Settings.variable('pseudonymize')})"
                yield f"{kind} ids in this archive are hashed: give the secret with {secret}"
            else:
                yield (
                    f"{kind} ids in this archive are hashed: with the secret given,"
                    f" none of them is {plain(wanted)!r}"
                )

        if self._query.entry_ids and not self.count:
            yield from hashed_entries(self._path, self._checked(), self._secret)

    def _has_hashed(self, field: str) -> bool:
        """Return True if one of the newest or oldest events of the period has a hashed id."""
        return any(
            is_pseudonym(getattr(event, field) or "")
            for event in self._policy.readable(self._checked())
        )

    @cached_property
    def _policy(self) -> PrivacyPolicy:
        return reader(self._path, self._keys, quiet=True)

    def _checked(self) -> Iterator[AuditEvent]:
        """The newest and the oldest events of the period, as recorded."""
        period = Query(start_us=self._query.start_us, end_us=self._query.end_us)
        with suppress(ArchiveError):  # reported when the answer was read
            for oldest_first in (False, True):
                found = search(self._path, period, oldest_first=oldest_first, missing=Missing())
                yield from islice(found, _CHECKED)

    def _erased(self) -> Iterator[str]:
        """A note if nothing was found by an id, and users were erased."""
        by_id = any(getattr(self._query, field) is not None for field in (*_KINDS, "purpose"))
        if by_id and not self.count and self._policy.has_erased:
            yield "users were erased from this archive: their events are not found by an id"

    def _lost(self) -> Iterator[str]:
        """A note if keys are gone, and no erasure of their users is listed."""
        if not self._policy.encrypts:
            return
        lost: dict[str, set[str]] = {}
        for event in self._checked():
            if users := self._policy.lost_in(event):
                lost[event.event_id] = users
        if lost:
            of = amount(len(set().union(*lost.values())), "user")
            events = f"at least {amount(len(lost), 'event')} of {of}"
            yield f"no key opens {events}, and no erasure of them is listed: see axon-audit verify"

    def _deleted(self) -> Iterator[str]:
        """A note if retention has deleted events of the period of the query."""
        query = self._query
        in_general = query.start_us is None and query.end_us is None
        if not self._path.is_dir() or (self.count and in_general):
            return
        events, until = deleted_in(self._path)
        if until is not None and (
            query.start_us is None or query.start_us <= to_microseconds(until)
        ):
            yield f"deleted by retention: {amount(events, 'event')} up to {local(until)}"
