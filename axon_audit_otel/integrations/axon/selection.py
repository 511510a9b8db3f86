"""What a filter selects: everybody, only some, and whether one entry is among them."""

from __future__ import annotations

import functools
from datetime import datetime
from typing import Any

from ...core.time import aware

_TEXTS = ("user_id", "session_id", "privacy_level")


def blank_member(chosen: Any) -> str | None:
    """The member of a filter that is given and empty: what should have restricted does not."""
    for name in _TEXTS:
        value = getattr(chosen, name, None)
        if value is not None and not str(value).strip():
            return name
    return None


def selects_everybody(chosen: Any) -> bool:
    """Whether no entry that can be is left out by a filter, as `axon.Filter.matches` reads it.

    A class with a ``matches`` of its own may restrict in ways that nobody here knows: False.
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
    """Whether a filter's class compares as the SDK's own does."""
    from axon.models.filter import Filter

    return next((base for base in cls.__mro__ if "matches" in vars(base)), None) is Filter


def _is_bounded(dates: Any) -> bool:
    """Whether a `DateRange` leaves anything out; nothing was remembered before 1971."""
    if dates is None:
        return False
    start, end = dates.start, dates.end
    return (start is not None and start.year > 1970) or (end is not None and end.year < 9999)


def unrestricted(chosen: Any) -> bool:
    """Whether a filter is there and does not restrict, or not as far as it was meant to."""
    return chosen is not None and (
        blank_member(chosen) is not None or (has_matches(chosen) and selects_everybody(chosen))
    )


def has_matches(chosen: Any) -> bool:
    """Whether it is a filter at all; the class of one is none."""
    return not isinstance(chosen, type) and callable(getattr(chosen, "matches", None))


class Selection:
    """What a filter selects, also where its times or an entry's have no zone.

    `Filter.matches` cannot compare the two kinds. A time without a zone is local, as the SDK
    writes it (``datetime.now()``) and its adapters read it (``timestamp()``).

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
    def timeless(self) -> Any:
        """The same filter without its times, for an adapter that cannot compare these; None
        where it has none."""
        if not self._by_time or not hasattr(self.chosen, "model_copy"):
            return None
        return self.chosen.model_copy(update={"date_range": None, "older_than_days": None})

    def has(self, entry: Any) -> bool | None:
        """Whether *entry* is selected; None if nobody can say, since it cannot be compared."""
        if self._filter is None:
            return True
        try:
            return bool(self._filter.matches(self._comparable(entry)))
        except TypeError:
            return None

    def _comparable(self, entry: Any) -> Any:
        """*entry*, or a copy whose date has a zone; the entry itself is never changed."""
        if not self._by_time or not hasattr(entry, "model_copy"):
            return entry
        created = entry.metadata.created_at
        if _zoned(created) is created:
            return entry
        metadata = entry.metadata.model_copy(update={"created_at": _zoned(created)})
        return entry.model_copy(update={"metadata": metadata})


def _zoned(moment: Any) -> Any:
    """A time with a zone; also of ISO 8601 text, as metadata may have it. Else as it is."""
    if isinstance(moment, str):
        try:
            moment = datetime.fromisoformat(moment.replace("Z", "+00:00"))
        except ValueError:
            return moment
    return aware(moment) if isinstance(moment, datetime) else moment
