"""Reads filters: whether one selects everybody, and whether it selects a given entry."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Any

from ...core.time import aware
from ...events.identifiers import identifier

_TEXTS = ("user_id", "session_id", "privacy_level")


def blank_member(chosen: Any) -> str | None:
    """The name of the filter's first text member that is set but blank, so restricts nothing."""
    for name in _TEXTS:
        value = getattr(chosen, name, None)
        if value is not None and not str(value).strip():
            return name
    return None


def selects_everybody(chosen: Any) -> bool:
    """Return True if `axon.Filter.matches` would accept every possible entry.

    Returns False for a class with its own ``matches``, which may restrict in other ways.
    """
    kind: Any = type(chosen)
    if not _is_plain(kind):
        return False
    least, most, days = chosen.min_importance, chosen.max_importance, chosen.older_than_days
    return not (
        chosen.user_id
        or chosen.session_id
        or chosen.privacy_level
        or chosen.tags
        or chosen.custom
        or (least is not None and least > 0)
        or (most is not None and most < 1)
        or (days is not None and days > 0)
        or _is_bounded(chosen.date_range)
    )


@functools.lru_cache(64)
def _is_plain(cls: type[object]) -> bool:
    """Return True if a filter's class uses the ``matches`` of the SDK."""
    from axon.models.filter import Filter

    return next((base for base in cls.__mro__ if "matches" in vars(base)), None) is Filter


def _is_bounded(dates: Any) -> bool:
    """Return True if a `DateRange` excludes dates that entries can have: from 1971 on."""
    if dates is None:
        return False
    start, end = dates.start, dates.end
    return (start is not None and start.year > 1970) or (end is not None and end.year < 9999)


def unrestricted(chosen: Any) -> bool:
    """Return True if there is a filter that selects everybody or has a blank member."""
    return chosen is not None and (
        blank_member(chosen) is not None or (has_matches(chosen) and selects_everybody(chosen))
    )


def has_matches(chosen: Any) -> bool:
    """Return True if *chosen* is a filter object, not a filter class."""
    return not isinstance(chosen, type) and callable(getattr(chosen, "matches", None))


class Selection:
    """A filter that can also compare times with a zone to times without one.

    `Filter.matches` raises there. A time without a zone is local, as the SDK writes it
    (``datetime.now()``) and its adapters read it (``timestamp()``).

    Args:
        chosen: The filter; None selects everything.
    """

    def __init__(self, chosen: Any) -> None:
        self.chosen = chosen
        dates = getattr(chosen, "date_range", None)
        self._by_time = dates is not None or getattr(chosen, "older_than_days", None) is not None
        self._filter = chosen
        if dates is not None and hasattr(chosen, "model_copy"):
            zoned = {"start": _zoned(dates.start), "end": _zoned(dates.end)}
            dates = dates.model_copy(update=zoned)
            self._filter = chosen.model_copy(update={"date_range": dates})

    @property
    def person(self) -> str | None:
        """The user all of whose entries are selected; None if the filter has another purpose."""
        kind: Any = type(self.chosen)
        user = getattr(self.chosen, "user_id", None)
        if not user or not _is_plain(kind):
            return None
        anybody = self.chosen.model_copy(update={"user_id": None})
        return identifier(user) if selects_everybody(anybody) else None

    @property
    def timeless(self) -> Any:
        """The filter without its times, for adapters that cannot compare them; None if the
        filter has no times."""
        if not self._by_time or not hasattr(self.chosen, "model_copy"):
            return None
        return self.chosen.model_copy(update={"date_range": None, "older_than_days": None})

    def has(self, entry: Any) -> bool | None:
        """Return True if *entry* is selected; None if it cannot be compared with the filter."""
        if self._filter is None:
            return True
        try:
            return bool(self._filter.matches(self._comparable(entry)))
        except TypeError:
            return None

    def _comparable(self, entry: Any) -> Any:
        """*entry*, or a copy of it whose date has a zone."""
        if not self._by_time or not hasattr(entry, "model_copy"):
            return entry
        created = entry.metadata.created_at
        if _zoned(created) is created:
            return entry
        metadata = entry.metadata.model_copy(update={"created_at": _zoned(created)})
        return entry.model_copy(update={"metadata": metadata})


def _zoned(moment: Any) -> Any:
    """*moment* with a zone, if it is a time or ISO 8601 text; other values unchanged."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        except ValueError:
            return moment
    return aware(moment) if isinstance(moment, datetime) else moment
