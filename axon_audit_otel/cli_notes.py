"""What an answer leaves out, said on standard error: else "0 events" would mean too much."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import click

from .cli_privacy import found_by, reader
from .config import Settings
from .erasure import Erasure, keyring_of
from .event import AuditEvent, to_microseconds
from .localtime import local
from .manifest import deleted_in
from .pseudonym import Pseudonyms, is_pseudonym
from .query import Query
from .render import amount, plain

__all__ = ["Answer"]

_LOOKED_AT = 1000  # events at either end, for ids that are hashed
_KINDS = {"user_id": "user", "subject_id": "user", "session_id": "session"}


class Answer:
    """The events at a path that answer a query, readable as far as there are keys.

    Args:
        path: A file or a directory.
        given: What the options said, by their names: those of `filters`.
        query: What they ask for.
        as_recorded: Not decrypted, though found by what they are decrypted to.
        oldest_first: In which order.

    Raises:
        ArchiveError: As `search`, or if the keys cannot be used.
    """

    def __init__(
        self,
        path: Path,
        given: dict[str, Any],
        query: Query,
        *,
        as_recorded: bool = False,
        oldest_first: bool = False,
    ) -> None:
        self._path = path
        self._secret: Pseudonyms | None = given["pseudonyms"]
        self._query = query
        self._erasure: Erasure | None = reader(path, given["keys"])
        self._found = found_by(
            self._erasure, path, query, as_recorded=as_recorded, oldest_first=oldest_first
        )
        self.count = 0

    def __iter__(self) -> Iterator[AuditEvent]:
        """The events; after the last one, what they leave out is said."""
        for event in self._found:
            self.count += 1
            yield event
        for said in chain(self._hashed(), self._erased(), self._deleted()):
            click.echo(said, err=True)

    def _hashed(self) -> Iterator[str]:
        """That ids are hashed, where somebody asks for one as if they were not."""
        for field, kind in _KINDS.items():
            asked = getattr(self._query, field)
            if asked is None or is_pseudonym(asked) or (self._secret and self.count):
                continue
            if not self._has_hashed(field):
                continue
            if self._secret is None:
                secret = f"--pseudonymize @FILE (or {Settings.variable('pseudonymize')})"
                yield f"{kind} ids in this archive are hashed: give the secret with {secret}"
            else:
                yield (
                    f"{kind} ids in this archive are hashed: with the secret given,"
                    f" none of them is {plain(asked)!r}"
                )

    def _has_hashed(self, field: str) -> bool:
        period = Query(start_us=self._query.start_us, end_us=self._query.end_us)
        return any(
            is_pseudonym(getattr(event, field) or "")
            for oldest_first in (False, True)
            for event in islice(
                found_by(self._erasure, self._path, period, oldest_first=oldest_first), _LOOKED_AT
            )
        )

    def _erased(self) -> Iterator[str]:
        """That erased users are not found by their ids."""
        by_id = any(getattr(self._query, field) is not None for field in _KINDS)
        if self.count or not by_id or self._erasure is None:
            return
        directory = self._path if self._path.is_dir() else self._path.parent
        if keyring_of(directory)[1]:
            yield "users were erased from this archive: no id finds what is recorded of them"

    def _deleted(self) -> Iterator[str]:
        """That retention deleted events of the time that is asked for."""
        query = self._query
        if not self._path.is_dir() or (
            self.count and query.start_us is None and query.end_us is None
        ):
            return
        events, until = deleted_in(self._path)
        if until is not None and (
            query.start_us is None or query.start_us <= to_microseconds(until)
        ):
            yield f"{amount(events, 'event')} up to {local(until)} were deleted by retention"
