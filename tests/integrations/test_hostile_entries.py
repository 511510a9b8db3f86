"""Entries of any shape: the call works as it would, and takes no longer than it must."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from axon import MemoryEntry
from axon.models.base import ProvenanceEvent
from conftest import ListingAdapter, Make, MakeSystem, history

from axon_audit_otel import AuditLogger
from axon_audit_otel.events.entries import Entries

pytestmark = pytest.mark.usefixtures("instrumented", "without_start_record")


def made_of(key: str, sources: str, user: str = "bob") -> MemoryEntry:
    """An entry that claims these sources."""
    entry = MemoryEntry(id=key, text="tea", metadata={"user_id": user})
    step = ProvenanceEvent(action="compact", by="somebody", metadata={"summarized_ids": sources})
    entry.metadata.provenance.append(step)
    return entry


def odd(**fields: Any) -> Any:
    return SimpleNamespace(**{"id": "odd", "text": "tea", "metadata": None, **fields})


ODD = [
    odd(),
    odd(id=7),
    odd(id=None),
    odd(text=None),
    odd(text=b"tea\xff"),
    odd(text="tea \ud800"),
    odd(metadata=SimpleNamespace(user_id=7, provenance="no list")),
    odd(metadata=SimpleNamespace(user_id="bob", provenance=[None, 7])),
    odd(metadata=SimpleNamespace(provenance=[SimpleNamespace(metadata="text")])),
    odd(metadata=SimpleNamespace(provenance=[SimpleNamespace(metadata={"summarized_ids": 7})])),
]


class TestShapes:
    @pytest.mark.parametrize("entry", ODD, ids=range(len(ODD)))
    async def test_any(self, make_system: MakeSystem, audit: AuditLogger, entry: Any) -> None:
        """What is saved, read and deleted comes back as it is, and each operation is recorded."""
        adapter = ListingAdapter()
        memory: Any = make_system(audit_logger=audit, persistent=adapter)
        await adapter.bulk_save([entry])
        assert await adapter.query([1.0]) == [entry]
        assert await adapter.delete(entry.id)
        assert [e.operation for e in history(audit)] == ["BULK_STORE", "FORGET"]
        assert memory is not None

    @pytest.mark.parametrize("sources", ["e", "f,e", ",".join(["f"] * 200_000), ",,,", "f\x00,\n"])
    async def test_claims(self, make_system: MakeSystem, audit: AuditLogger, sources: str) -> None:
        """An entry may claim to be made of itself, of one made of it, of a megabyte of others."""
        memory: Any = make_system(audit_logger=audit, persistent=ListingAdapter())
        adapter = await memory.registry.get_adapter("persistent")
        await adapter.bulk_save([made_of("e", sources), made_of("f", "e")])
        assert len(await memory.recall("tea")) == 2
        assert await memory.forget("e", derived="delete") == 2
        assert sum(audit.get_statistics()["failures"].values()) == 0


class TestMany:
    def test_a_chain_of_summaries(self) -> None:
        """Of a chain as long as is kept, the last of the descendants of the first is found."""
        known = Entries()
        for number in range(50_000):
            known.derive(f"e{number + 1}", [f"e{number}"], ["bob"])
        assert len(known.descendants(["e0"])) == 50_000
        assert len(known.derived_of(["bob"])) == 50_000

    @pytest.mark.slow
    def test_bounded(self) -> None:
        """A hundred thousand derived entries, each of many sources: the newest are kept."""
        known = Entries()
        for number in range(100_000):
            known.derive(f"e{number}", ["a", "b", f"c{number}"], ["bob"])
        assert 10_000 < len(known.derived) <= 65_536
        assert "e99999" in known.descendants(["a"])
        assert known.descendants(["c1"]) == []


class TestErasedPersons:
    @pytest.mark.parametrize("secret", [None, b"0123456789abcdef"])
    async def test_what_is_still_there(
        self, make_system: MakeSystem, make_audit: Make, tmp_path: Path, secret: bytes | None
    ) -> None:
        """Entries of an erased person that are read later are no false alarm, before and after a
        restart; then they are found as that person's, but nothing from before."""
        adapter = ListingAdapter()
        settings: Any = {"erasable": True, "pseudonymize": secret}
        audit = make_audit(100, tmp_path / "logs", **settings)
        memory: Any = make_system(audit_logger=audit, persistent=adapter)
        for user in ("ann", "bob"):
            await memory.store("tea", {"user_id": user})
        await memory.recall("tea")
        assert audit.erase_user("bob")
        assert [e.event_id for e in audit.query_events(subject_id="bob", archived=True)] == []
        await memory.recall("tea")
        audit.close()
        audit = make_audit(100, tmp_path / "logs", **settings)
        memory = make_system(audit_logger=audit, persistent=adapter)
        await memory.recall("tea")
        found = audit.query_events(subject_id="bob", archived=True)
        assert [event.operation for event in found] == ["RECALL", "RECALL"]
        assert not any(
            {"altered", "resurrected"} & event.metadata.keys()
            for event in audit.query_events(archived=True)
        )
        assert len(audit.query_events(subject_id="ann", archived=True)) == 4
        audit.close()

    async def test_a_user_who_calls_himself_a_pseudonym(
        self, make_system: MakeSystem, make_audit: Make, tmp_path: Path
    ) -> None:
        """He is hashed as others are, also after a restart: he does not pass as somebody else."""
        adapter, settings = ListingAdapter(), {"pseudonymize": b"0123456789abcdef"}
        audit = make_audit(100, tmp_path / "logs", **settings)
        memory: Any = make_system(audit_logger=audit, persistent=adapter)
        await memory.store("tea", {"user_id": "bob"})
        (bob,) = audit.query_events(limit=1)[0].subjects
        key = await memory.store("tea", {"user_id": bob})
        (liar,) = audit.query_events(limit=1)[0].subjects
        assert liar != bob
        await memory.forget(key)
        audit.close()
        audit = make_audit(100, tmp_path / "logs", **settings)
        memory = make_system(audit_logger=audit, persistent=adapter)
        await memory.forget(key)
        assert audit.query_events(limit=1)[0].subjects == (liar,)
        assert len(audit.query_events(subject_id="bob", archived=True)) == 1
        audit.close()
