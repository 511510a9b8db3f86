"""The filters of a page: from the form's fields to a query, and back into addresses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from ..core.errors import InvalidEventError
from ..core.time import to_microseconds
from ..events.localtime import earliest, latest
from ..events.query import Query

__all__ = ["LABELS", "MORE", "Filters"]

#: The fields, as the command line names them, with the argument of `Query.of`.
_ARGUMENTS = {
    "operation": "operation",
    "status": "status",
    "user": "user_id",
    "subject": "subject_id",
    "agent": "agent_id",
    "on_behalf_of": "on_behalf_of",
    "session": "session_id",
    "entry": "entry_ids",
    "purpose": "purpose",
    "trace": "trace_id",
    "system": "system",
    "store": "store",
    "action": "action",
}
_TIMES: dict[str, Callable[[str], datetime]] = {"since": earliest, "until": latest}
#: What people read beside each field.
LABELS = {name: name.replace("_", " ").capitalize() for name in (*_ARGUMENTS, *_TIMES)}
#: The fields that are asked for less often.
MORE = tuple(name for name in _ARGUMENTS if name not in ("operation", "status", "user"))
_NO_TIME = (
    "no time: use 2025-01-31, 2025-01 (a month), 2025-01-31T10:30, 10:30, today, monday, 15m, 24h"
)


@dataclass(frozen=True)
class Filters:
    """What a form was filled in with.

    Attributes:
        given: The texts of the fields that are not empty.
        errors: What is wrong, by field.
        query: What they ask for; without the fields that are wrong.
    """

    given: dict[str, str] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    query: Query = field(default_factory=Query)

    @classmethod
    def of(cls, values: Mapping[str, str]) -> Filters:
        """The filters among the fields of a form, or of an address."""
        given = {name: text for name in LABELS if (text := values.get(name, ""))}
        errors: dict[str, str] = {}
        asked: dict[str, Any] = {}
        for name, text in given.items():
            if name in _ARGUMENTS:
                one: dict[str, Any] = {_ARGUMENTS[name]: text}
                try:
                    Query.of(**one)
                    asked.update(one)
                except InvalidEventError as exc:
                    errors[name] = str(exc)
        moments: dict[str, datetime] = {}
        for name, parse in _TIMES.items():
            if text := given.get(name, "").strip():
                try:
                    moments[name] = parse(text)
                except (ValueError, OverflowError, OSError):
                    errors[name] = _NO_TIME
        # The same text twice is allowed: a day that the clock skips ends before it begins.
        is_backwards = len(moments) == 2 and moments["since"] > moments["until"]
        if is_backwards and given["since"] != given["until"]:
            errors["until"] = "it is before the beginning"
        bounds = {name: to_microseconds(moment) for name, moment in moments.items()}
        query = Query.of(**asked)
        query = replace(query, start_us=bounds.get("since"), end_us=bounds.get("until"))
        return cls(given, errors, query)

    @property
    def has_more(self) -> bool:
        """Whether one of the fields that are asked for less often is filled in."""
        return not self.given.keys().isdisjoint(MORE)

    def address(self, **changes: str | None) -> dict[str, str]:
        """The arguments of an address with these filters; None leaves one out."""
        changed = {**self.given, **changes}
        return {name: text for name, text in changed.items() if text is not None}

    def without(self, name: str) -> dict[str, str]:
        """The arguments of an address without that filter."""
        left = dict(self.given)
        with suppress(KeyError):
            del left[name]
        return left
