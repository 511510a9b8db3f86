"""What an answer leaves out without a file being damaged: "0 events" is no proof of nothing."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

from ..archive.directory import files_of
from ..archive.manifest import deleted_in
from ..archive.missing import Missing
from ..archive.search import search
from ..core.errors import ArchiveError
from ..core.time import to_microseconds
from ..events.localtime import local
from ..events.query import Query
from ..privacy.erased_tokens import keyring_of
from ..privacy.pseudonyms import is_pseudonym

__all__ = ["notes_on"]

_IDS = ("user_id", "subject_id", "agent_id", "on_behalf_of", "session_id")
_CHECKED = 500  # of the newest events


def notes_on(path: Path, query: Query, found: bool, decrypts: bool) -> Iterator[str]:
    """Yield what the answer to *query* may lack, in words.

    Args:
        path: A file, or a directory.
        query: What was asked.
        found: Whether any event answered.
        decrypts: Whether events are decrypted, as far as there are keys.
    """
    if not found:
        try:
            files_of(path)
        except ArchiveError as exc:
            yield f"{exc}"
    directory = path if path.is_dir() else path.parent
    if not decrypts and keyring_of(directory) is not None:
        yield "Personal data is encrypted, and is not decrypted here (--keys DIR --decrypt)."
    asked = [name for name in _IDS if getattr(query, name) is not None]
    if asked and not found and not any(map(is_pseudonym, map(partial(getattr, query), asked))):
        newest = islice(search(path, Query(), missing=Missing()), _CHECKED)
        if any(is_pseudonym(getattr(event, name) or "") for event in newest for name in asked):
            yield "Ids here are hashed: the real ones are found only with --pseudonymize @FILE."
    if path.is_dir() and (not found or query.start_us is not None or query.end_us is not None):
        deleted, until = deleted_in(path)
        if until is not None and (query.start_us or 0) <= to_microseconds(until):
            yield f"Retention has deleted {deleted:,} events, up to {local(until)}."
