"""The lineage of an entry: sources, derived entries, owners, and what a FORGET has left."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from axon import Filter
from conftest import Make, MakeSystem

from axon_audit_otel import (
    ArchiveError,
    ArchiveIncompleteWarning,
    AuditConfigError,
    AuditEvent,
    AuditLogger,
    EventStatus,
    InvalidEventError,
    Lineage,
    MemoryOnlyWarning,
    OperationType,
)
from axon_audit_otel.events.family import DEEPEST, Relative, lineage_of

NOON = datetime(2026, 1, 1, 12, tzinfo=timezone.utc)


class Trail:
    """Events of a trail, each a second after the one before."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def add(
        self, operation: str, ids: str = "", sources: str = "", owners: str = "", **facts: Any
    ) -> None:
        """An event of the entries *ids*; several ids and names with spaces between."""
        number = len(self.events) + 1
        status = EventStatus(facts.pop("status", "SUCCESS"))
        self.events.append(
            AuditEvent(
                event_id=f"evt_{number}",
                timestamp=NOON + timedelta(seconds=number),
                operation=OperationType(operation),
                user_id=None,
                session_id=None,
                entry_ids=ids.split(),
                metadata=facts,
                status=status,
                duration_ms=None,
                derived_from=tuple(sources.split()),
                subjects=tuple(owners.split()),
                sequence=number,
            )
        )

    def lineage(self, entry_id: str) -> Lineage:
        """The lineage of an entry, the same whether the events come forwards or backwards."""
        found = lineage_of(entry_id, lambda query: query.passing(self.events))
        assert found == lineage_of(entry_id, lambda query: query.passing(self.events[::-1]))
        assert found is not None
        return found


def every(relatives: tuple[Relative, ...]) -> Iterator[Relative]:
    for one in relatives:
        yield one
        yield from every(one.relatives)


def shape(relatives: tuple[Relative, ...]) -> dict[str, Any]:
    """The ids of a tree, nested."""
    return {one.entry_id: shape(one.relatives) for one in relatives}


def states(found: Lineage) -> dict[str, str]:
    relatives = (found.entry, *every(found.ancestors), *every(found.descendants))
    return {one.entry_id: one.state for one in relatives}


@pytest.fixture(name="trail")
def _trail() -> Trail:
    """Two entries of two persons in a summary, and that in another."""
    trail = Trail()
    trail.add("STORE", "a", owners="alice")
    trail.add("STORE", "b", owners="bob")
    trail.add("STORE", "c", owners="carl")
    trail.add("COMPACT", "a b s", "a b", "alice bob", deleted=2, summary_ids=["s"])
    trail.add("COMPACT", "s c t", "s c", "alice bob carl", deleted=2, summary_ids=["t"])
    return trail


def test_of_a_source(trail: Trail) -> None:
    """A source has descendants, each with its owners, the event that made it, its end."""
    found = trail.lineage("b")
    assert [shape(found.ancestors), shape(found.descendants)] == [{}, {"s": {"t": {}}}]
    (s,) = found.descendants
    assert [s.owners, s.sources, s.distance, s.state] == [("alice", "bob"), ("a", "b"), 1, "gone"]
    assert [s.made and s.made.event_id, s.gone and s.gone.event_id] == ["evt_4", "evt_5"]
    (t,) = s.relatives
    assert [t.owners, t.distance, t.state, t.gone] == [("alice", "bob", "carl"), 2, "living", None]
    entry = found.entry
    assert [entry.owners, entry.sources, entry.state] == [("bob",), (), "gone"]
    assert entry.made is not None
    assert [entry.made.operation, entry.made.sequence] == ["STORE", 2]


def test_of_a_summary(trail: Trail) -> None:
    """A summary has ancestors; that compactions deleted them needs nobody."""
    found = trail.lineage("t")
    assert [shape(found.ancestors), found.descendants] == [{"s": {"a": {}, "b": {}}, "c": {}}, ()]
    assert found.derived_remaining == ()
    assert states(found) == {"t": "living", **dict.fromkeys("abcs", "gone")}


def test_unknown(trail: Trail) -> None:
    """Of an entry that no event names there is no lineage."""
    assert lineage_of("x", lambda query: query.passing(trail.events)) is None


def test_what_a_forget_left(trail: Trail) -> None:
    """A living entry made of a forgotten one is named, from wherever one looks; then it is gone."""
    trail.add("FORGET", "b", deleted=0, found=0)
    assert {trail.lineage(key).derived_remaining for key in "abcst"} == {("t",)}
    assert trail.lineage("b").entry.forgotten is not None
    trail.add("FORGET", "t", deleted=1)
    assert trail.lineage("b").derived_remaining == ()


@pytest.mark.parametrize(
    ("later", "left"),
    [
        ([], ("new",)),
        ([("FORGET", "new")], ()),
        ([("FORGET", "new"), ("STORE", "new")], ("new",)),
        ([("FORGET", "new"), ("RECALL", "new")], ()),
    ],
)
def test_left_at_last(later: list[tuple[str, str]], left: tuple[str, ...]) -> None:
    """What was deleted is not left, unless it was stored again."""
    trail = Trail()
    trail.add("STORE", "old")
    trail.add("STORE", "new", "old")
    trail.add("FORGET", "old")
    for operation, key in later:
        trail.add(operation, key)
    assert trail.lineage("old").derived_remaining == left


def test_seen_again() -> None:
    """An entry that was seen after its FORGET lives; when it was forgotten is still told."""
    trail = Trail()
    trail.add("STORE", "a")
    trail.add("FORGET", "a", deleted=1)
    trail.add("RECALL", "a x", resurrected=["a"])
    found = trail.lineage("a").entry
    assert [found.state, found.forgotten and found.forgotten.event_id] == ["living", "evt_2"]


def test_found_and_deleted() -> None:
    """An entry that came back, and was deleted by the very event that says so, is gone."""
    trail = Trail()
    trail.add("FORGET", "a", deleted=1)
    trail.add("FORGET", "a", deleted=1, resurrected=["a"])
    found = trail.lineage("a").entry
    assert [found.state, found.gone and found.gone.event_id] == ["gone", "evt_2"]


def test_stored_again() -> None:
    """What is made of an entry that was stored again after its FORGET is nobody's concern."""
    trail = Trail()
    trail.add("STORE", "a")
    trail.add("STORE", "before", "a")
    trail.add("FORGET", "a")
    trail.add("STORE", "a")
    trail.add("STORE", "after", "a")
    assert trail.lineage("a").derived_remaining == ("before",)


@pytest.mark.parametrize(
    ("facts", "gone"),
    [
        ({"deleted": 1, "remaining_ids": ["b"], "status": "PARTIAL"}, "a"),
        ({"status": "FAILURE"}, ""),
        ({"deleted": 0}, ""),
        ({}, "ab"),
    ],
)
def test_which_a_forget_deleted(facts: dict[str, Any], gone: str) -> None:
    """Of the entries that a FORGET names those are gone that are not told to remain."""
    trail = Trail()
    trail.add("STORE", "a")
    trail.add("STORE", "b")
    trail.add("FORGET", "a b", **facts)
    assert {key for key in "ab" if trail.lineage(key).entry.state == "gone"} == set(gone)


def test_named_by_a_forget() -> None:
    """What a FORGET names as left counts, though the sources are not on record."""
    trail = Trail()
    trail.add("FORGET", "", owners="bob", derived_remaining=["s"], status="PARTIAL")
    trail.add("RECALL", "s", owners="bob alice")
    found = trail.lineage("s")
    assert [found.derived_remaining, found.entry.owners] == [("s",), ("alice", "bob")]


def test_source_of_another() -> None:
    """An entry made of the asked one and of a forgotten one is left of that."""
    trail = Trail()
    trail.add("STORE", "a")
    trail.add("STORE", "b")
    trail.add("STORE", "s", "a b")
    trail.add("FORGET", "b")
    assert trail.lineage("a").derived_remaining == ("s",)


def test_only_named() -> None:
    """A source that no event found is of unknown state; one that was not there as well."""
    trail = Trail()
    trail.add("STORE", "s", "elsewhere")
    trail.add("FORGET", "nothing", deleted=0, found=0)
    assert states(trail.lineage("s")) == {"s": "living", "elsewhere": "unknown"}
    assert trail.lineage("nothing").entry.state == "unknown"


def test_owners_of_several() -> None:
    """Of several entries made at once, each has the owners of its own sources."""
    trail = Trail()
    trail.add("STORE", "a", owners="alice")
    trail.add("STORE", "b", owners="bob")
    derived = {"s": ["a"], "t": ["b"]}
    trail.add("COMPACT", "a b s t", "a b", "alice bob", deleted=2, derived=derived)
    assert trail.lineage("s").entry.owners == ("alice",)
    assert trail.lineage("t").entry.owners == ("bob",)
    trail.add("COMPACT", "x y u v", "x y", "xenia yves", deleted=2, derived={"u": "x", "v": ["y"]})
    assert trail.lineage("v").entry.owners == ("xenia", "yves")  # whose y was is not on record


@pytest.mark.parametrize("facts", [{}, {"deleted": 3}, {"derived_from_total": True}])
def test_more_sources_than_fit(facts: dict[str, Any]) -> None:
    """Where a compaction could not name all sources, what it deleted counts; else it is told."""
    trail = Trail()
    more = {"derived_from_total": 3, "summary_ids": ["s"], **facts}
    trail.add("COMPACT", "a b c s", "a b", **more)
    found = trail.lineage("s")
    is_whole = "deleted" in facts
    assert set(shape(found.ancestors)) == set("abc" if is_whole else "ab")
    assert found.unnamed == (1 if not facts else 0)


def test_absurd_numbers() -> None:
    """What records say of numbers of sources stays a number that JSON has."""
    trail = Trail()
    for key in "ab":
        trail.add("STORE", key, "x", derived_from_total=(1 << 64) - 1)
    assert trail.lineage("a").to_dict()["unnamed"] == 2 * ((1 << 32) - 1)


def test_cycles() -> None:
    """Records of entries that are made of each other, or of themselves, have an end."""
    trail = Trail()
    trail.add("STORE", "a", "b")
    trail.add("STORE", "b", "c a")
    trail.add("STORE", "c", "a", derived={"c": ["a", "c"]})
    found = trail.lineage("a")
    assert shape(found.ancestors) == {"b": {"c": {}}}
    assert shape(found.descendants) == {"b": {}, "c": {}}


@pytest.mark.parametrize("count", [1_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_a_long_chain(count: int) -> None:
    """Of entries that are each made of the one before, all are in the answer, which is JSON."""
    trail = Trail()
    for number in range(count):
        trail.add("STORE", f"e{number + 1}", f"e{number}")
    found = lineage_of("e0", lambda query: query.passing(trail.events))
    assert found is not None
    everybody = list(every(found.descendants))
    assert [one.distance for one in everybody] == list(range(1, count + 1))
    level: tuple[Relative, ...] = found.descendants
    for _ in range(DEEPEST - 1):
        (one,) = level
        level = one.relatives
    assert len(level) == count - DEEPEST + 1
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()


def test_a_wide_event() -> None:
    """An event of a thousand entries that all came of all its sources is no problem."""
    trail = Trail()
    many = " ".join(f"n{number}" for number in range(1_000))
    sources = " ".join(f"s{number}" for number in range(500))
    trail.add("STORE", many, sources, "alice")
    found = trail.lineage("s7")
    assert len(found.descendants) == 1_000
    assert {one.owners for one in found.descendants} == {("alice",)}


# --- of a real trail -------------------------------------------------------------------------


class Joining:
    """A summarizer."""

    async def summarize(self, entries: Any, *args: Any, **kwargs: Any) -> str:
        return "several"


@pytest.mark.usefixtures("instrumented")
async def test_of_a_memory(audit: AuditLogger, make_system: MakeSystem) -> None:
    """A summary, and the FORGET of one of its persons, are seen from a source."""
    memory: Any = make_system(audit_logger=audit)
    keys = [
        await memory.store(f"{user} drinks tea", {"user_id": user}) for user in ("alice", "bob")
    ]
    await memory.compact("persistent", threshold=1, summarizer=Joining())
    (summary,) = audit.lineage(keys[1]).descendants  # type: ignore[union-attr]
    assert [summary.owners, summary.state] == [("alice", "bob"), "living"]
    assert set(summary.sources) == set(keys)
    assert audit.lineage(keys[1]).derived_remaining == ()  # type: ignore[union-attr]
    await memory.forget(filter=Filter(user_id="bob"))
    found = audit.lineage(summary.entry_id)
    assert found is not None
    assert found.derived_remaining == (summary.entry_id,)
    await memory.forget(filter=Filter(user_id="bob"), derived="delete")
    found = audit.lineage(summary.entry_id)
    assert found is not None
    assert [found.derived_remaining, found.entry.state] == [(), "gone"]


@pytest.mark.usefixtures("instrumented")
async def test_told_by_hand(audit: AuditLogger, make_system: MakeSystem) -> None:
    """Sources that an application tells are known to `forget` as well."""
    memory: Any = make_system(audit_logger=audit)
    keys = [await memory.store("tea", {"user_id": user}) for user in ("alice", "bob")]
    await audit.log_event("STORE", entry_ids=keys[1], derived_from=keys[0], subjects=["bob"])
    await memory.forget(keys[0])
    (event,) = audit.query_events(limit=1)
    assert [event.status, event.metadata["derived_remaining"]] == ["PARTIAL", [keys[1]]]
    found = audit.lineage(keys[0])
    assert found is not None
    assert found.derived_remaining == (keys[1],)
    assert found.descendants[0].owners == ("alice", "bob")


async def test_owners_of_what_is_told(audit: AuditLogger) -> None:
    """What is made of entries whose owners are known is theirs, told or not, over several steps."""
    await audit.log_event("STORE", entry_ids="s", derived_from=["a", "b"], subjects=["alice"])
    await audit.log_event("STORE", entry_ids="t", derived_from="s")
    event = await audit.log_event("STORE", entry_ids="u", derived_from="t", subjects=["bob"])
    assert event.subjects == ("bob", "alice")
    assert audit.query_events(subject_id="alice", entry_ids="t")


async def test_what_is_told(audit: AuditLogger) -> None:
    """Owners, sources and fingerprints that are given are in the event, each once."""
    event = await audit.log_event(
        "STORE",
        entry_ids=["new"],
        subjects=iter(["bob", "alice", "bob"]),
        derived_from=("a", 7, "a"),
        fingerprints={"new": "abc1"},
    )
    assert event.subjects == ("bob", "alice")
    assert [event.derived_from, event.fingerprints] == [("a", "7"), {"new": "abc1"}]
    event = await audit.log_event("STORE", subjects=[], derived_from=[], fingerprints={})
    assert [event.subjects, event.derived_from, event.fingerprints] == [(), (), None]


async def told(audit: AuditLogger) -> None:
    """Five events about a source and what was made of it."""
    await audit.log_event("STORE", "alice", entry_ids=["a"], subjects=["alice"])
    await audit.log_event("STORE", "bob", entry_ids=["b"], subjects="bob")
    await audit.log_event("STORE", "agent", entry_ids=["s"], derived_from=["a", "b"])
    await audit.log_event("RECALL", "carl", entry_ids=["a", "b", "s"])
    await audit.log_event("FORGET", "dpo", entry_ids=["b"], metadata={"deleted": 1})


ARCHIVES: dict[str, dict[str, Any]] = {
    "plain": {},
    "rotated": {"max_events": 1},
    "erasable": {"erasable": True},
    "pseudonymous": {"pseudonymize": b"0123456789abcdef0123456789abcdef"},
}


@pytest.mark.parametrize("settings", ARCHIVES.values(), ids=ARCHIVES)
async def test_of_an_archive(make_audit: Make, tmp_path: Path, settings: dict[str, Any]) -> None:
    """Memory and archive have the same lineage, also in parts, encrypted, with pseudonyms."""
    with make_audit(**{"max_events": 10, "auto_export_path": tmp_path, **settings}) as audit:
        await told(audit)
        found = audit.lineage("b", archived=True)
        assert found is not None
        assert shape(found.descendants) == {"s": {}}
        assert [found.derived_remaining, found.unreadable] == [("s",), 0]
        assert found.entry.forgotten is not None
        if "max_events" not in settings:
            assert audit.lineage("b", archived=False) == found
        if "pseudonymize" not in settings:
            assert [found.entry.owners, found.descendants[0].owners] == [("bob",), ("alice", "bob")]


@pytest.mark.parametrize("archived", [False, True])
async def test_left_encrypted(make_audit: Make, tmp_path: Path, archived: bool) -> None:
    """What a FORGET that names no entry has left is found in encrypted facts."""
    with make_audit(1 if archived else 10, tmp_path / "trail", erasable=True) as audit:
        await audit.log_event("STORE", entry_ids="s", derived_from="b", subjects="bob")
        left = {"deleted": 0, "derived_remaining": ["s"]}
        await audit.log_event(
            *("FORGET", "dpo"),
            status="PARTIAL",
            error_type="derived_entries_remain",
            metadata=left,
            subjects="bob",
        )
        await audit.log_event("RECALL", entry_ids="x")
        found = audit.lineage("s", archived=archived)
        assert found is not None
        assert found.derived_remaining == ("s",)


async def test_of_the_erased(make_audit: Make, tmp_path: Path) -> None:
    """Ids and edges stay when persons are erased; what cannot be read is told."""
    with make_audit(10, tmp_path / "trail", erasable=True) as audit:
        await told(audit)
        audit.erase_user("dpo")
        found = audit.lineage("b", archived=True)
    assert found is not None
    assert [shape(found.descendants), found.entry.owners] == [{"s": {}}, ("bob",)]
    assert found.unreadable == 1


async def test_damaged(make_audit: Make, tmp_path: Path) -> None:
    """What files lack is told once, by a warning or an error; the rest is the answer."""
    with make_audit(2, tmp_path / "trail") as audit:
        await told(audit)
        file = max((tmp_path / "trail").glob("audit_*.json"))
        file.write_bytes(file.read_bytes()[:-200])
        with pytest.warns(ArchiveIncompleteWarning) as caught:
            assert audit.lineage("a", archived=True) is not None
        assert [Path(one.filename) for one in caught] == [Path(__file__)]
        with pytest.raises(ArchiveError):
            audit.lineage("a", archived=True, strict=True)


async def test_memory_only(make_audit: Make, tmp_path: Path) -> None:
    """Memory alone says so, if the archive may have more."""
    with make_audit(2, tmp_path / "trail") as audit:
        await told(audit)
        with pytest.warns(MemoryOnlyWarning) as caught:
            audit.lineage("a")
        assert [Path(one.filename) for one in caught] == [Path(__file__)]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            audit.lineage("a", archived=False)


def test_refused(audit: AuditLogger) -> None:
    """What is no id, and an archive that is not there, are errors."""
    with pytest.raises(InvalidEventError, match="entry_id"):
        audit.lineage(None)  # type: ignore[arg-type]
    with pytest.raises(AuditConfigError, match="no archive"):
        audit.lineage("a", archived=True)
    assert audit.lineage("a", archived=False) is None
