"""What the pages read of an archive: by the index where it is built, else by a search."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path

from ..archive.missing import Missing
from ..archive.places import Place, read_places
from ..archive.search import search, search_by_writer
from ..core.time import to_microseconds
from ..events.model import AuditEvent
from ..events.query import Query
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import Pseudonyms
from ..privacy.readable import decrypted
from .background import Follow
from .index import Answer, Key
from .notes import notes_on

__all__ = ["Page", "Reading", "Seen", "Shown"]

Shown = Callable[[Iterable[AuditEvent]], Iterator[AuditEvent]]


@dataclass
class Page:
    """Events that answer a query, newest first.

    Attributes:
        events: The events with their keys.
        missing: What could not be read.
        has_newer: Whether there are events before the first.
        has_older: Whether there are events after the last.
        answer: Of the index, about all that answer; None while it is built.
    """

    events: list[tuple[Key, AuditEvent]]
    missing: Missing
    has_newer: bool
    has_older: bool
    answer: Answer | None


@dataclass
class Seen:
    """One event, and where it is.

    Attributes:
        event: The event, readable as far as there are keys.
        writer: Its writer; "" if its file names none.
    """

    event: AuditEvent
    writer: str


class Reading:
    """Reads an archive for pages.

    Args:
        path: A file, or a directory.
        policy: Reads its events.
        pseudonyms: The secret that ids were hashed with.
        follow: Has the index.
        shown: Takes note of the events that are shown.
    """

    def __init__(
        self,
        path: Path,
        policy: PrivacyPolicy,
        pseudonyms: Pseudonyms | None,
        follow: Follow,
        shown: Shown = iter,
    ) -> None:
        self.path, self._shown = path, shown
        self._policy, self._pseudonyms, self._follow = policy, pseudonyms, follow

    def page(
        self, query: Query, size: int, before: Key | None = None, after: Key | None = None
    ) -> Page:
        """At most *size* events that answer *query*: the newest, those before *before*, or the
        oldest after *after*.

        Raises:
            ArchiveError: If the archive cannot be read at all.
        """
        index, missing = self._follow.index, Missing()
        if index is None:
            return self._searched(query, size, before, after, missing)
        query = query.under(self._pseudonyms)
        answer = index.ask(query)
        if after is not None:
            places = answer.after(size + 1, after)[::-1]
            more, places = len(places) > size, places[:size][::-1]
        else:
            places = answer.places(size + 1, before)
            more, places = len(places) > size, places[:size]
        found = read_places(self.path, [place for _, place in places], missing)
        events = []
        for key, place in places:
            if place in found:
                event = self._policy.reveal(found[place].event)
                events += [(key, event) for event in self._shown(query.passing([event]))]
        if len(events) < len(places):  # deleted, or damaged, since it was indexed
            self._follow.disagrees()
            return self._searched(query, size, before, after, missing)
        has_newer = before is not None or (after is not None and more)
        has_older = after is not None or more
        return Page(events, missing, has_newer, has_older, answer)

    def _searched(
        self, query: Query, size: int, before: Key | None, after: Key | None, missing: Missing
    ) -> Page:
        """As `page`, without the index."""
        key = before or after
        if before is not None:
            end = before.order_us if query.end_us is None else min(query.end_us, before.order_us)
            asked = replace(query, end_us=end)
        elif after is not None:
            low = query.start_us
            start = after.order_us if low is None else max(low, after.order_us)
            asked = replace(query, start_us=start)
        else:
            asked = query
        found = self.events(asked, missing, oldest_first=after is not None)
        keyed = ((Key(to_microseconds(e.timestamp), e.sequence, ""), e) for e in found)
        if key is not None:
            keyed = (
                (at, event)
                for at, event in keyed
                if (at[:2] < key[:2] if after is None else at[:2] > key[:2])
            )
        events = list(islice(keyed, size + 1))
        more, events = len(events) > size, events[:size]
        if after is not None:
            return Page(events[::-1], missing, more, True, None)
        return Page(events, missing, before is not None, more, None)

    def events(
        self, query: Query, missing: Missing, oldest_first: bool = False
    ) -> Iterator[AuditEvent]:
        """Yield the events that answer *query*, read from the files.

        Raises:
            ArchiveError: If the archive cannot be read at all.
        """
        by = partial(search, self.path, oldest_first=oldest_first, missing=missing)
        found = self._policy.read(query.under(self._pseudonyms), by)
        return map(decrypted, self._shown(found))

    def notes(self, query: Query, found: bool) -> list[str]:
        """What the answer to *query* may lack, in words; see `notes_on`."""
        return list(
            notes_on(self.path, query.under(self._pseudonyms), found, self._policy.encrypts)
        )

    # --- one event -------------------------------------------------------------------------

    def event(self, event_id: str, at_us: int | None, missing: Missing) -> Seen | None:
        """The event with that id; *at_us*, its time if that is known, finds it fast.

        Raises:
            ArchiveError: If the archive cannot be read at all.
        """
        index = self._follow.index
        if at_us is None and index is not None:
            at_us = next((place.time_us for place in index.with_id(event_id)), None)
        times: list[int | None] = [None] if at_us is None else [at_us, None]
        for time_us in times:
            asked = Query(start_us=time_us, end_us=time_us, with_start=True)
            for writer, event in search_by_writer(self.path, asked, missing):
                if event.event_id == event_id:
                    (event,) = self._shown([self._policy.reveal(event)])
                    return Seen(event, writer)
        return None

    def beside(self, seen: Seen, missing: Missing) -> tuple[AuditEvent | None, AuditEvent | None]:
        """The events before and after one in its chain; None for one that is not here."""
        number = seen.event.sequence
        if not number or not seen.writer:
            return None, None
        places = [Place(seen.writer, number + step) for step in (-1, 1)]
        found = read_places(self.path, places, missing)
        both = [found[place].event if place in found else None for place in places]
        first, last = (None if event is None else self._policy.reveal(event) for event in both)
        return first, last

    def file_of(self, seen: Seen, missing: Missing) -> str | None:
        """The name of the file that an event is in; None if it is not known."""
        place = Place(seen.writer, seen.event.sequence, to_microseconds(seen.event.timestamp))
        found = read_places(self.path, [place], missing) if seen.writer else {}
        return found[place].file if place in found else None

    def newer_than(self, key: Key, query: Query) -> int:
        """How many events that answer *query* came after *key*, up to a thousand."""
        index = self._follow.index
        if index is None:
            return 0
        return len(index.ask(query.under(self._pseudonyms)).after(1000, key))
