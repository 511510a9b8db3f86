"""`forget` deletes what was meant: a filter that selects everybody is refused, dates compare."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from axon import Filter, MemoryEntry, MemorySystem
from axon.adapters.memory import InMemoryAdapter
from axon.models.filter import DateRange
from conftest import FaultyAdapter, ListingAdapter, MakeSystem, history, only_event

from axon_audit_otel import AuditLogger, EventStatus, ForgetRefusedError

pytestmark = pytest.mark.usefixtures("instrumented")

SUCCESS, FAILURE, PARTIAL = EventStatus.SUCCESS, EventStatus.FAILURE, EventStatus.PARTIAL
REFUSED = "axon_audit_otel.core.errors.ForgetRefusedError"
UTC = timezone.utc


async def fill(memory: Any) -> list[str]:
    """One memory of each of three people."""
    return [await memory.store(f"of {user}", {"user_id": user}) for user in ("ada", "bob", "cyd")]


async def left(memory: MemorySystem, tier: str = "persistent") -> list[str]:
    adapter: Any = await memory.registry.get_adapter(tier)
    return list(adapter.list_ids())


class Strict(Filter):
    """A filter of the user's own, with a `matches` of its own."""

    def matches(self, entry: MemoryEntry) -> bool:
        return entry.metadata.user_id == "ada"


SELECT_EVERYBODY: dict[str, Any] = {
    "no members": Filter(),
    "None values": Filter(user_id=None, session_id=None, date_range=None),
    "empty user": Filter(user_id=""),
    "empty session": Filter(session_id=""),
    "blank user": Filter(user_id=" \t\n"),
    "blank session": Filter(session_id="  "),
    "empty containers": Filter(tags=[], custom={}),
    "a misspelt member": Filter.model_validate({"userid": "ada"}),
    "least importance": Filter(min_importance=0.0),
    "most importance": Filter(max_importance=1.0),
    "all importances": Filter(min_importance=0, max_importance=1),
    "any age": Filter(older_than_days=0),
    "unbounded dates": Filter(date_range=DateRange()),
    "the calendar": Filter(date_range=DateRange(start=datetime.min, end=datetime.max)),
    "since the epoch": Filter(date_range=DateRange(start=datetime.fromtimestamp(0, UTC))),
    "an empty privacy level": Filter.model_construct(privacy_level=""),
    "no filter but a dict": {},
    "no filter but a text": "ada",
}
#: A member that is empty, beside one that restricts.
HALF_EMPTY: dict[str, tuple[str, Filter]] = {
    "user and tags": ("user_id", Filter(user_id="", tags=["x"])),
    "blank user and session": ("user_id", Filter(user_id="  ", session_id="s1")),
    "session and user": ("session_id", Filter(session_id="", user_id="ada")),
    "session and age": ("session_id", Filter(session_id=" ", older_than_days=30)),
    "user of an own filter": ("user_id", Strict(user_id="")),
}
RESTRICT: dict[str, Filter] = {
    "user": Filter(user_id="ada"),
    "user, all else given and empty": Filter(**Filter(user_id="ada").model_dump()),
    "custom": Filter(custom={"user_id": "ada"}),
    "an own filter": Strict(),
}


class TestRefused:
    @pytest.mark.parametrize("kind", SELECT_EVERYBODY)
    async def test_selects_everybody(self, memory: Any, audit: AuditLogger, kind: str) -> None:
        """Refused with an error that says how to mean it; nothing is deleted; a FAILURE."""
        ids = await fill(memory)
        with pytest.raises(ForgetRefusedError, match=r"everything=True|must be an axon\.Filter"):
            await memory.forget(filter=SELECT_EVERYBODY[kind], user_id="dpo")
        assert await left(memory) == ids
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.error_type, event.user_id) == (FAILURE, REFUSED, "dpo")
        assert (event.metadata["deleted"], event.entry_ids) == (0, [])
        assert "everything" not in event.metadata

    @pytest.mark.parametrize("kind", HALF_EMPTY)
    async def test_empty_beside_what_restricts(
        self, memory: Any, audit: AuditLogger, kind: str
    ) -> None:
        """An empty member was meant to restrict: refused, and the error names it."""
        ids = await fill(memory)
        name, chosen = HALF_EMPTY[kind]
        with pytest.raises(ForgetRefusedError, match=f"{name}='"):
            await memory.forget(filter=chosen)
        assert await left(memory) == ids
        assert only_event(audit, operation="FORGET").metadata["unrestricted_filter"] is True

    @pytest.mark.parametrize(
        "arguments",
        [
            {},
            {"entry_id": ""},
            {"entry_id": " \n"},
            {"entry_id": "a", "filter": Filter(user_id="ada")},
            {"entry_id": "a", "everything": True},
            {"filter": Filter},
            {"filter": {"user_id": "ada"}},
            {"filter": Filter(user_id="ada"), "everything": True},
            {"everything": False},
            {"everything": "no"},
            {"everything": 1},
        ],
    )
    async def test_unclear(self, memory: Any, audit: AuditLogger, arguments: Any) -> None:
        """Nothing, an empty id, or several ways at once: refused as a ValueError."""
        ids = await fill(memory)
        with pytest.raises(ValueError, match="forget: ") as caught:
            await memory.forget(**arguments)
        assert isinstance(caught.value, ForgetRefusedError)
        assert await left(memory) == ids
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.error_type) == (FAILURE, REFUSED)
        assert event.metadata["deleted"] == 0
        assert "everything" not in event.metadata

    @pytest.mark.parametrize("kind", RESTRICT)
    async def test_not(self, memory: Any, audit: AuditLogger, kind: str) -> None:
        """A filter that restricts deletes what it selects, as before."""
        first, *others = await fill(memory)
        assert await memory.forget(filter=RESTRICT[kind]) == 1
        assert await left(memory) == others
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.entry_ids) == (SUCCESS, [first])
        assert "unrestricted_filter" not in event.metadata

    @pytest.mark.parametrize(
        "chosen",
        [
            Filter(tags=["none"]),
            Filter(privacy_level="restricted"),
            Filter(min_importance=0.9),
            Filter(max_importance=0.1),
            Filter(older_than_days=1),
            Filter(date_range=DateRange(end=datetime(2020, 1, 1))),
            Filter(date_range=DateRange(start=datetime(2200, 1, 1))),
        ],
        ids=lambda chosen: "-".join(chosen.model_fields_set),
    )
    async def test_selects_nobody(self, memory: Any, audit: AuditLogger, chosen: Filter) -> None:
        """Each member that restricts is one: it is not refused, and finds nothing."""
        ids = await fill(memory)
        assert await memory.forget(filter=chosen) == 0
        assert await left(memory) == ids
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.metadata["found"]) == (SUCCESS, 0)


async def test_store_that_cannot_be_asked(make_system: MakeSystem, audit: AuditLogger) -> None:
    """If the store cannot be asked, the event says nothing of found entries."""
    memory: Any = make_system(persistent=FaultyAdapter(query=OSError("down")))
    with pytest.raises(OSError, match="down"):
        await memory.forget(filter=Filter(user_id="ada"))
    event = only_event(audit)
    assert (event.status, event.metadata["deleted"]) == (FAILURE, 0)
    assert "found" not in event.metadata


class TestEverything:
    @pytest.mark.parametrize("adapter", [InMemoryAdapter, ListingAdapter])
    async def test_all(self, make_system: MakeSystem, audit: AuditLogger, adapter: Any) -> None:
        """`everything=True` deletes all entries, in all tiers, and the event says so."""
        memory: Any = make_system(session=adapter(), persistent=adapter())
        ids = [
            await memory.store("tea", tier="session"),
            await memory.store("coffee", tier="persistent"),
        ]
        assert await memory.forget(everything=True, user_id="dpo") == 2
        assert await left(memory) == await left(memory, "session") == []
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.entry_ids, event.user_id) == (SUCCESS, ids, "dpo")
        assert event.metadata["everything"] is True
        assert event.metadata["deleted"] == 2

    async def test_of_one_tier(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """With `tier` the others keep theirs."""
        memory: Any = make_system(session=ListingAdapter())
        await memory.store("tea", tier="session")
        kept = await memory.store("coffee", tier="persistent")
        assert await memory.forget(everything=True, tier="session") == 1
        assert await left(memory) == [kept]
        assert only_event(audit, operation="FORGET").metadata["tier"] == "session"

    async def test_of_nothing(self, memory: Any, audit: AuditLogger) -> None:
        """Nothing was there: it says so."""
        assert await memory.forget(everything=True) == 0
        event = only_event(audit)
        assert (event.status, event.metadata["deleted"], event.metadata["found"]) == (SUCCESS, 0, 0)


class TestTheSdksOwn:
    """The SDK refuses nothing; what it does is recorded as what it is."""

    async def test_route_forget(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A `route_forget` whose filter selects everybody is recorded as that."""

        class Matching(ListingAdapter):
            async def delete(self, entry_id: Any = None, filter: Any = None) -> Any:
                ids = [e.id for e in list(self._storage.values()) if filter.matches(e)]
                return sum(self._storage.pop(key, None) is not None for key in ids)

        memory: Any = make_system(persistent=Matching())
        await fill(memory)
        assert await memory.router.route_forget(filter=Filter(user_id="")) == 3
        event = only_event(audit, operation="FORGET")
        assert event.metadata["everything"] is True
        assert event.metadata["deleted"] == 3
        assert event.user_id is None

    async def test_move_of_everything(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """`sync(delete_source=True)`, `export` and `recall` go on, and say that nothing
        restricted them."""
        memory: Any = make_system(session=ListingAdapter())
        await memory.store("tea", {"user_id": "ada"}, tier="session")
        nobody = Filter(user_id="")
        assert len(await memory.recall("tea", filter=nobody)) == 1
        assert len((await memory.export(filter=nobody))["entries"]) == 1
        await memory.sync("session", "persistent", filter=nobody, delete_source=True)
        _, *events = history(audit)
        assert [event.metadata["unrestricted_filter"] for event in events] == [True] * 3
        assert events[-1].metadata["deleted"] == 1
        assert {event.user_id for event in events} == {None}


NOW = datetime.now(UTC)
LOCAL = datetime.now()
DAY = timedelta(days=1)


def dated(created: Any, entry_id: str = "a", **changes: Any) -> MemoryEntry:
    entry = MemoryEntry(id=entry_id, text="tea", embedding=changes.pop("embedding", None))
    for name, value in {"created_at": created, **changes}.items():
        setattr(entry.metadata, name, value)
    return entry


BY_TIME: dict[str, Filter] = {
    "age": Filter(older_than_days=30),
    "aware range": Filter(date_range=DateRange(start=NOW - 50 * DAY, end=NOW - 30 * DAY)),
    "naive range": Filter(date_range=DateRange(start=LOCAL - 50 * DAY, end=LOCAL - 30 * DAY)),
    "aware end": Filter(date_range=DateRange(end=NOW - 30 * DAY)),
    "naive end": Filter(date_range=DateRange(end=LOCAL - 30 * DAY)),
    "end, and the first day": Filter(date_range=DateRange(start=datetime.min, end=LOCAL - 9 * DAY)),
}
ENTRIES: dict[str, tuple[Any, Any]] = {
    "naive": (LOCAL - 40 * DAY, LOCAL),
    "aware": (NOW - 40 * DAY, NOW),
    "of another zone": (
        (NOW - 40 * DAY).astimezone(timezone(timedelta(hours=9))),
        NOW.astimezone(timezone(timedelta(hours=-7))),
    ),
    "text": ((NOW - 40 * DAY).isoformat().replace("+00:00", "Z"), LOCAL.isoformat()),
}


class TestByTime:
    @pytest.mark.parametrize("embedding", [None, [1.0] * 384])
    @pytest.mark.parametrize("adapter", [InMemoryAdapter, ListingAdapter])
    @pytest.mark.parametrize("entries", ENTRIES)
    @pytest.mark.parametrize("kind", BY_TIME)
    async def test_old_ones_go(
        self,
        make_system: MakeSystem,
        audit: AuditLogger,
        kind: str,
        entries: str,
        adapter: Any,
        embedding: Any,
    ) -> None:
        """Older entries are deleted and younger ones stay, with or without a zone on either side;
        neither an entry nor the filter is changed."""
        store, chosen = adapter(), BY_TIME[kind]
        old, new = ENTRIES[entries]
        memory: Any = make_system(persistent=store)
        kept = dated(new, "new", embedding=embedding)
        for entry in (dated(old, "old", embedding=embedding), kept):
            await store.save(entry)
        before = chosen.model_copy(deep=True)
        assert await memory.forget(filter=chosen) == 1
        assert store.list_ids() == ["new"]
        assert kept.metadata.created_at is new
        assert chosen == before
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.entry_ids) == (SUCCESS, ["old"])
        assert (event.metadata["deleted"], "stage" in event.metadata) == (1, False)

    @pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles"])
    async def test_local_as_the_sdk_writes_it(
        self, memory: Any, monkeypatch: pytest.MonkeyPatch, zone: str
    ) -> None:
        """The SDK dates an entry with local time: it is read as that, wherever we are."""
        import time

        monkeypatch.setenv("TZ", zone)
        time.tzset()
        try:
            await memory.store("tea")
            now = datetime.now(UTC)
            for start, end, deleted in (
                (now - 3 * DAY, now - DAY / 24, 0),
                (now + DAY / 24, now + 3 * DAY, 0),
                (now - DAY / 24, now + DAY / 24, 1),
            ):
                chosen = Filter(date_range=DateRange(start=start, end=end))
                assert await memory.forget(filter=chosen) == deleted
        finally:
            monkeypatch.undo()
            time.tzset()

    async def test_route_forget(self, memory: Any, audit: AuditLogger) -> None:
        """The check after the SDK's own `route_forget` finds older entries in the same way."""
        adapter = await memory.registry.get_adapter("persistent")
        await adapter.save(dated(LOCAL - 40 * DAY))
        await memory.router.route_forget(filter=Filter(older_than_days=30))
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.error_type) == (FAILURE, "entry_still_present")

    async def test_only_a_query(self, make_system: MakeSystem, audit: AuditLogger) -> None:
        """A store that lists nothing, and whose query cannot compare times, is asked without."""

        class Unlisted(ListingAdapter):
            def list_ids(self) -> list[str]:
                raise NotImplementedError

        store = Unlisted()
        memory: Any = make_system(persistent=store)
        await store.save(dated(LOCAL - 40 * DAY, user_id="ada"))
        await store.save(dated(LOCAL, "b", user_id="ada"))
        await store.save(dated(LOCAL - 40 * DAY, "c", user_id="bob"))
        assert await memory.forget(filter=Filter(user_id="ada", older_than_days=30)) == 1
        assert list(store._storage) == ["b", "c"]

    @pytest.mark.parametrize("created", [None, "yesterday", 5])
    async def test_without_a_date(
        self, make_system: MakeSystem, audit: AuditLogger, created: Any
    ) -> None:
        """An entry that nobody can date stays; the event says that it may be one of them."""
        store = ListingAdapter()
        memory: Any = make_system(persistent=store)
        await store.save(dated(created))
        await store.save(dated(LOCAL - 40 * DAY, "old"))
        assert await memory.forget(filter=Filter(older_than_days=30)) == 1
        assert store.list_ids() == ["a"]
        event = only_event(audit, operation="FORGET")
        assert (event.status, event.error_type) == (PARTIAL, "entries_not_listed")
        assert (event.metadata["deleted"], event.metadata["unlisted"]) == (1, 1)
