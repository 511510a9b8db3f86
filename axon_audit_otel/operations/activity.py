"""What happened to entries in stores while an operation ran."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

from ..events.entries import Entries
from ..events.stores import Store

__all__ = ["ENDED", "STILL_PRESENT", "AdapterActivity", "OwnerOf", "error_type"]

#: ``error.type`` of a deletion after which entries were still there.
STILL_PRESENT = "entry_still_present"

#: Users by the ids of their entries; None: the entry is nobody's.
OwnerOf = Mapping[str, "str | None"]


class AdapterActivity:
    """The calls of storage adapters while an operation ran; dicts are ordered sets."""

    __slots__ = (
        *("aside", "back", "copies", "deleted", "derived", "failed", "found", "listed"),
        *("others", "owners", "prints", "queried", "saved", "stores", "undeleted"),
        *("attempts", "remaining", "unnamed"),
    )

    def __init__(self) -> None:
        self.saved: dict[str, Any] = {}  # id -> entry
        self.deleted: dict[str, None] = {}
        self.undeleted: dict[str, None] = {}  # `delete` answered that it did not
        self.found: dict[tuple[int, str], Any] = {}  # by get: adapter, id -> entry
        self.queried: dict[str, Any] = {}  # by query: id -> entry
        self.listed: set[int] = set()  # adapters asked for all their entries
        self.owners: dict[str, str | None] = {}  # of the entries seen
        self.stores: dict[Store, set[str]] = {}  # which entries were read where
        self.back: dict[str, None] = {}  # read, although they are gone
        self.prints: dict[str, str] = {}  # fingerprints of what was saved
        self.derived: dict[str, tuple[str, ...]] = {}  # of what a saved entry is made
        # In how many stores an entry is that was copied, or deleted from one: before, and now.
        self.copies: dict[str, tuple[int, int]] = {}
        self.others: dict[str, list[str | None]] = {}  # further ones: an id can be in two stores
        # What failed: its stage (one of `metrics.SDK_STAGES`), and of what -> the exception, or
        # the name of a failure without one.
        self.failed: dict[tuple[str, str], BaseException | str] = {}
        self.attempts: dict[str, str] = {}  # id -> ``error.type``: forgotten if another succeeds
        self.remaining: dict[str, None] = {}  # were to be deleted, and are still there
        self.unnamed = 0  # deleted entries whose ids are not known
        # What failed of the SDK's housekeeping: nobody had asked for that.
        self.aside: list[tuple[str, BaseException]] = []

    def sees(self, owners: OwnerOf) -> None:
        """Entries of these *owners* are read, saved or deleted."""
        known = self.owners
        if known and not known.keys().isdisjoint(owners):
            for key, user in owners.items():
                if known.setdefault(key, user) != user:  # in two stores, or replaced
                    self.others.setdefault(key, []).append(user)
        else:
            known.update(owners)

    def owns(self, owner: str, ids: Iterable[str]) -> None:
        """These entries are saved, and are the *owner*'s from now on."""
        for key in ids:
            before = self.owners.get(key, owner)
            if before != owner:
                self.others.setdefault(key, []).append(before)
            self.owners[key] = owner

    def copied(self, entries: Entries, key: str, now: int, before: int | None = None) -> None:
        """An entry is *now* in so many stores."""
        first = entries.copies(key) if before is None else before
        entries.set_copies(key, max(1, now))
        self.copies[key] = self.copies.get(key, (first, 0))[0], now

    def stores_of(self, key: str) -> list[Store]:
        """Where an entry was read."""
        return [store for store, keys in self.stores.items() if key in keys]

    def owners_of(self, ids: list[str]) -> tuple[str, ...]:
        """The owners of the entries of those *ids*, as far as they were seen; each once."""
        if len(ids) == 1 and not self.others:
            owner = self.owners.get(ids[0])
            return () if owner is None else (owner,)
        found = dict.fromkeys(map(self.owners.get, ids))
        if self.others:
            for key in ids:
                found.update(dict.fromkeys(self.others.get(key, ())))
        return tuple(user for user in found if user is not None)

    def set_aside(self, stage: str, exc: BaseException) -> None:
        """*exc* ended something of the SDK's own, so it is no failure of the operation."""
        self.failed = {key: error for key, error in self.failed.items() if error is not exc}
        self.aside.append((stage, exc))

    def swallowed(self, raised: BaseException | None) -> list[tuple[str, str]]:
        """Stage and type of each failure but the one *raised*; housekeeping comes last."""
        by_error: dict[int, tuple[str, str]] = {}
        for stage, error in [*((key[0], e) for key, e in self.failed.items()), *self.aside]:
            if error is not raised:
                by_error.setdefault(id(error), (stage, error_type(error)))
        return list(by_error.values())

    def take(self, other: AdapterActivity, failures: bool) -> None:
        """Add the calls of an operation inside this one; its *failures* if it raised none."""
        self.saved.update(other.saved)
        self.deleted.update(other.deleted)
        self.undeleted.update(other.undeleted)
        self.found.update(other.found)
        self.queried.update(other.queried)
        self.listed.update(other.listed)
        self.sees(other.owners)
        for store, keys in other.stores.items():
            self.stores.setdefault(store, set()).update(keys)
        self.back.update(other.back)
        self.prints.update(other.prints)
        self.derived.update(other.derived)
        for key, (before, now) in other.copies.items():
            self.copies[key] = self.copies.get(key, (before, 0))[0], now
        for key, users in other.others.items():
            self.others.setdefault(key, []).extend(users)
        self.aside += other.aside
        self.remaining.update(other.remaining)
        self.unnamed += other.unnamed
        if failures:
            self.failed.update(other.failed)
            self.attempts.update(other.attempts)


class _Ended:
    """Stands for the activity of an operation that has ended: what comes late is not kept."""

    def __getattr__(self, name: str) -> Any:
        return getattr(AdapterActivity(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Keep nothing."""


ENDED = cast("AdapterActivity", _Ended())


def error_type(exc: BaseException | str) -> str:
    """The class of *exc* as ``error.type``: qualified, built-in names bare; or a name as it is."""
    if isinstance(exc, str):
        return exc
    kind = type(exc)
    module = kind.__module__
    if module == "builtins":
        return kind.__qualname__
    if module == "asyncio.exceptions":
        module = "asyncio"
    return f"{module}.{kind.__qualname__}"
