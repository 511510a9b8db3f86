"""Receipts of erasures: what they say, and that the script verifies them and nothing else."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from axon import Filter
from conftest import FaultyAdapter, ListingAdapter, Make, MakeSystem, only, retire
from prometheus_client import CollectorRegistry
from proof_script import load, run

from axon_audit_otel import (
    ArchiveError,
    AuditConfigError,
    AuditLogger,
    InvalidEventError,
    audit_context,
    verify,
)
from axon_audit_otel.archive.checkpoints import Checkpoint, new_key
from axon_audit_otel.archive.holds import place_hold
from axon_audit_otel.archive.retention import LAWS, Retention, rule_seconds
from axon_audit_otel.evidence.receipt import _POINTS
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms
from axon_audit_otel.verification.checkpoint_files import notes_in
from axon_audit_otel.verification.receipt import (
    FORMAT,
    facts_of,
    make_receipt,
    open_points,
    signers_of,
)

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)
FIRST_EDITION = Path(__file__).resolve().parents[1] / "data" / "first_edition"


class Joining:
    """A summarizer."""

    async def summarize(self, entries: Any, *args: Any, **kwargs: Any) -> str:
        return "several"


class Office:
    """A memory whose archive is signed, and receipts from it."""

    def __init__(self, audit: AuditLogger, memory: Any, path: Path) -> None:
        self.audit = audit
        self.memory = memory
        self.path = path

    async def forget(self, **given: Any) -> str:
        """Forget; returns the id of the event."""
        with suppress(OSError):  # of the adapter
            await self.memory.forget(**given)
        return self.audit.query_events(operation="FORGET")[0].event_id

    def receipt(self, event_id: str, **given: Any) -> dict[str, Any]:
        self.audit.seal()
        return dict(json.loads(json.dumps(self.audit.receipt(event_id, **given))))

    def facts(self, event_id: str, **given: Any) -> dict[str, Any]:
        return facts_of(self.receipt(event_id, **given))


MakeOffice = Callable[..., Office]


@pytest.fixture(name="make_office")
def _make_office(make_audit: Make, make_system: MakeSystem, tmp_path: Path) -> MakeOffice:
    def make(
        adapter: Any = None, name: str = "office", place: str = "archive", **given: Any
    ) -> Office:
        path = tmp_path / place
        settings = {"signing_key": KEY, "name": name, "registry": CollectorRegistry(), **given}
        audit = make_audit(auto_export_path=path, **settings)
        memory = make_system(audit_logger=audit, persistent=adapter or ListingAdapter())
        return Office(audit, memory, path)

    return make


@pytest.fixture(name="office")
def _office(make_office: MakeOffice) -> Office:
    return make_office()


@pytest.fixture(name="script", scope="module")
def _script() -> ModuleType:
    return load()


def kinds(points: list[dict[str, Any]]) -> list[str]:
    return [point["kind"] for point in points]


def point(points: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (one for one in points if one["kind"] == kind)
    return found


def resigned(receipt: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    """The receipt with other facts, signed by who has the key."""
    facts = facts_of(receipt)
    change(facts)
    return {**receipt, "statement": KEY.sign(f"{FORMAT}\n{json.dumps(facts)}\n")}


class TestFacts:
    """What a receipt says of a FORGET."""

    async def test_all_is_gone(self, office: Office) -> None:
        """The entries, their owner, who asked, how it was checked; and nothing to be done."""
        ids = [await office.memory.store("tea", user_id="bob") for _ in range(3)]
        await office.memory.store("coffee", user_id="alice")
        with audit_context(user_id="officer"):
            event_id = await office.forget(filter=Filter(user_id="bob"))
        receipt = office.receipt(event_id)
        facts = facts_of(receipt)
        event = facts["event"]
        (recorded,) = office.audit.query_events(operation="FORGET")
        assert (event["event_id"], event["status"]) == (event_id, "SUCCESS")
        assert event["timestamp"] == recorded.to_dict()["timestamp"]
        assert sorted(event["entry_ids"]) == sorted(ids)
        assert event["subjects"] == ["bob"]
        assert facts["counted"] == {"deleted": 3, "remaining": 0}
        assert facts["requested"] == {"user_id": "officer"}
        assert facts["verified"] == "read_again"
        assert kinds(facts["remains"]) == ["trail_events"]
        assert kinds(facts["unknown"]) == ["backups", "other_stores", "models_and_caches"]
        assert facts["seen_again"]["number"] == 0
        assert facts["seen_again"]["until"] == {"office": recorded.sequence}
        assert signers_of(receipt) == ["auditor"]
        assert open_points(receipt) == []

    async def test_trail_events(self, make_office: MakeOffice) -> None:
        """The trail's own events about the person, of every writer, and how long they are kept."""
        office, other = make_office(retention="180d"), make_office(name="other")
        await office.memory.store("tea", user_id="bob")
        await office.memory.store("coffee", user_id="alice")
        await other.audit.log_event("RECALL", user_id="bob")
        event_id = await office.forget(filter=Filter(user_id="bob"))
        found = point(office.facts(event_id)["remains"], "trail_events")
        assert (found["number"], found["in_clear"]) == (3, 3)
        trails = found["trails"]
        assert (trails["office"]["number"], trails["other"]["number"]) == (2, 1)
        assert trails["office"]["rule"] == "180 days"
        assert trails["office"]["until"] > trails["office"]["last"]
        assert (trails["other"]["rule"], trails["other"]["until"]) == (None, None)
        assert trails["other"]["states_rule"] is True

    @pytest.mark.parametrize(
        ("rule", "seconds"),
        [
            *((law.rule, law.seconds) for law in LAWS.values()),
            (Retention.of(86_400 * 30).rule, 86_400 * 30),
            ("for ever", None),
            ("nan days", None),
            ("-3 days", None),
            ("1e300 days", None),
        ],
    )
    def test_rules(self, rule: str, seconds: float | None) -> None:
        """A recorded rule is read again; another text, of anybody, is no time."""
        assert rule_seconds(rule) == seconds

    async def test_not_deleted(self, make_office: MakeOffice) -> None:
        """Entries that the storage kept are named."""
        adapter = FaultyAdapter(delete=OSError("read only"))
        office = make_office(adapter)
        kept = await office.memory.store("tea", user_id="bob")
        gone = await office.memory.store("milk", user_id="bob")
        adapter.only = {kept}
        receipt = office.receipt(await office.forget(filter=Filter(user_id="bob")))
        facts = facts_of(receipt)
        found = point(facts["remains"], "not_deleted")
        assert (found["number"], found["entry_ids"]) == (1, [kept])
        assert facts["counted"] == {"deleted": 1, "remaining": 1}
        assert gone in facts["event"]["entry_ids"]
        assert open_points(receipt)[:2] == ["not_successful", "not_deleted"]

    async def test_derived(self, office: Office) -> None:
        """A summary that was made of the data lives; once it is gone, it does not remain."""
        await office.memory.store("coffee", user_id="alice")
        for _ in range(2):
            await office.memory.store("tea", user_id="bob")
        await office.memory.compact("persistent", threshold=2, summarizer=Joining())
        (compacted,) = office.audit.query_events(operation="COMPACT")
        event_id = await office.forget(filter=Filter(user_id="bob"))
        receipt = office.receipt(event_id)
        found = point(facts_of(receipt)["remains"], "derived")
        assert found["entry_ids"] == compacted.metadata["summary_ids"]
        assert "derived" in open_points(receipt)
        await office.forget(entry_id=found["entry_ids"][0])
        assert "derived" not in kinds(office.facts(event_id)["remains"])

    async def test_hold(self, office: Office) -> None:
        await office.memory.store("tea", user_id="bob")
        event_id = await office.forget(filter=Filter(user_id="bob"))
        place_hold(office.path, "a lawsuit")
        receipt = office.receipt(event_id)
        assert point(facts_of(receipt)["remains"], "hold")["holds"] == ["legal"]
        assert open_points(receipt) == ["hold"]

    async def test_exports(self, office: Office) -> None:
        """Exports before it took copies; one of others, and one after it, did not."""
        entry = await office.memory.store("tea", user_id="bob")
        await office.memory.store("coffee", user_id="alice")
        await office.memory.export(filter=Filter(user_id="alice"))
        await office.memory.export()
        event_id = await office.forget(entry_id=entry)
        exported = office.audit.query_events(operation="EXPORT")[0]
        await office.memory.export()
        receipt = office.receipt(event_id)
        found = point(facts_of(receipt)["unknown"], "exports")
        assert found["number"] == 1
        (named,) = found["events"]
        assert (named["event_id"], named["certain"]) == (exported.event_id, True)
        assert open_points(receipt) == ["exports"]

    async def test_seen_again(self, office: Office) -> None:
        """Each event that had an erased entry again is named; one that found nothing is not."""
        entry = await office.memory.store("tea", user_id="bob")
        copy = await office.memory.export()
        event_id = await office.forget(entry_id=entry)
        await office.forget(entry_id=entry)  # there is nothing
        assert office.facts(event_id)["seen_again"]["number"] == 0
        await office.memory.import_from(copy)
        await office.memory.recall("tea", user_id="bob")
        receipt = office.receipt(event_id)
        seen = facts_of(receipt)["seen_again"]
        assert [one["operation"] for one in seen["events"]] == ["IMPORT", "RECALL"]
        assert [one["entry_ids"] for one in seen["events"]] == [[entry], [entry]]
        assert seen["until"]["office"] >= seen["events"][-1]["sequence"]
        assert "seen_again" in open_points(receipt)

    async def test_many_events_are_counted(self, office: Office) -> None:
        """The first hundred are named, all are counted."""
        entry = await office.memory.store("tea", user_id="bob")
        event_id = await office.forget(entry_id=entry)
        for _ in range(130):
            await office.audit.log_event("RECALL", "bob", entry_ids=[entry])
        seen = office.facts(event_id)["seen_again"]
        assert (seen["number"], len(seen["events"])) == (130, 100)

    async def test_not_verified(self, office: Office) -> None:
        """Nobody read the entry again after an adapter's own delete, or a FORGET told by hand."""
        entry = await office.memory.store("tea", user_id="bob")
        adapter = await office.memory.registry.get_adapter("persistent")
        await adapter.delete(entry)
        (event,) = office.audit.query_events(operation="FORGET")
        assert event.action == "StorageAdapter.delete"
        by_hand = await office.audit.log_event(
            "FORGET", "bob", entry_ids=["other"], metadata={"deleted": 1, "remaining": 0}
        )
        for one in (event, by_hand):
            receipt = office.receipt(one.event_id)
            assert facts_of(receipt)["verified"] == "not_verified"
            assert open_points(receipt) == ["not_verified"]

    async def test_whose_wish(self, office: Office) -> None:
        """Who did it, with what, for whom and why."""
        entry = await office.memory.store("tea", user_id="bob")
        told = {"agent_id": "desk", "on_behalf_of": "bob", "purpose": "request of 1 May"}
        with audit_context(user_id="officer", **told):
            event_id = await office.forget(entry_id=entry)
        assert office.facts(event_id)["requested"] == {"user_id": "officer", **told}

    async def test_request(self, office: Office) -> None:
        """The number of the request, where the event has it."""
        facts = {"request_id": "DSR-7", "deleted": 1}
        event = await office.audit.log_event(
            "FORGET", "officer", entry_ids=["a"], subject_id="bob", metadata=facts
        )
        said = office.facts(event.event_id)["requested"]
        assert said == {"user_id": "officer", "request_id": "DSR-7"}

    async def test_more_entries_than_are_named(self, office: Office) -> None:
        """What is not named is told."""
        many = [f"entry-{number:06}" for number in range(30_000)]
        event = await office.audit.log_event("FORGET", "bob", entry_ids=many)
        facts = office.facts(event.event_id)
        named = len(facts["event"]["entry_ids"])
        assert point(facts["unknown"], "entries_not_named")["number"] == 30_000 - named > 0

    async def test_incomplete(self, office: Office) -> None:
        """A file that is gone may have had exports and recalls; its name is said, not its place."""
        await office.memory.store("milk", user_id="ann")
        office.audit.seal()
        (lost,) = office.path.glob("audit_*.json")
        entry = await office.memory.store("tea", user_id="bob")
        event_id = await office.forget(entry_id=entry)
        office.audit.seal()
        lost.unlink()
        receipt = office.receipt(event_id)
        (problem,) = point(facts_of(receipt)["unknown"], "archive_incomplete")["problems"]
        assert problem.startswith(f"{lost.name}: ")
        assert "archive_incomplete" in open_points(receipt)

    async def test_damaged(self, office: Office) -> None:
        """Who alters later events cannot have it signed that an entry was not seen again."""
        entry = await office.memory.store("tea", user_id="bob")
        event_id = await office.forget(entry_id=entry)
        office.audit.seal()
        (proved,) = office.path.glob("audit_*.json")
        await office.audit.log_event("RECALL", "mallory", entry_ids=[entry])
        office.audit.seal()
        (later,) = set(office.path.glob("audit_*.json")) - {proved}
        hidden = later.read_bytes().replace(entry.encode(), b"0" * len(entry))
        later.write_bytes(hidden)
        receipt = office.receipt(event_id)
        facts = facts_of(receipt)
        assert facts["seen_again"]["number"] == 0
        found = point(facts["unknown"], "archive_damaged")
        assert found["number"] >= 1
        assert found["findings"][0].startswith(f"{later.name}: ")
        assert "archive_damaged" in open_points(receipt)

    async def test_after_retention(self, office: Office, make_office: MakeOffice) -> None:
        """Older events that retention deleted are told; a receipt of one of them is not made."""
        office = make_office(name="default", place="kept")
        old = await office.forget(entry_id=await office.memory.store("milk", user_id="ann"))
        office.audit.seal()
        retired = only(office.path, "audit_*.json")
        office.audit.close()
        retire(retired)
        office = make_office(name="default", place="kept")
        event_id = await office.forget(entry_id=await office.memory.store("tea", user_id="bob"))
        found = point(office.facts(event_id)["unknown"], "older_events_deleted")
        assert found["number"] >= 2
        with pytest.raises(ArchiveError, match=f"retention deleted {retired.name}"):
            office.receipt(old)


class TestPersons:
    """For whom a receipt is."""

    async def test_one_of_several(self, office: Office) -> None:
        """It is for the person who is named; events about others alone are not counted."""
        for user in ("bob", "alice"):
            await office.memory.store("tea", user_id=user)
        await office.memory.recall("tea", filter=Filter(user_id="alice"))
        event_id = await office.forget(everything=True)
        facts = office.facts(event_id, subject_id="bob")
        assert facts["person"] == {"id": "bob", "confirmed": True}
        with pytest.raises(InvalidEventError, match="is not about 'carol'"):
            office.receipt(event_id, subject_id="carol")

    @pytest.mark.parametrize(
        ("secret", "confirmed"), [(b"the secret of this test", True), (None, False)]
    )
    async def test_hashed(
        self, make_office: MakeOffice, secret: bytes | None, confirmed: bool
    ) -> None:
        """With the secret the person is confirmed, or refused; without, it is said that not."""
        office = make_office(pseudonymize=b"the secret of this test")
        await office.memory.store("tea", user_id="bob")
        event_id = await office.forget(filter=Filter(user_id="bob"))
        office.audit.seal()
        policy = PrivacyPolicy(pseudonyms=None if secret is None else Pseudonyms(secret))
        facts = facts_of(make_receipt(office.path, event_id, policy, KEY, subject_id="bob"))
        assert facts["person"] == {"id": "bob", "confirmed": confirmed}
        assert ("person_not_confirmed" in kinds(facts["unknown"])) is not confirmed
        assert "bob" not in json.dumps(facts["event"])
        if secret is not None:
            with pytest.raises(InvalidEventError, match="is not about"):
                make_receipt(office.path, event_id, policy, KEY, subject_id="carol")


class TestEncrypted:
    """Of an archive whose personal data is encrypted."""

    @pytest.fixture(name="office")
    def _encrypted(self, make_office: MakeOffice) -> Office:
        return make_office(erasable=True)

    async def test_with_the_keys(self, office: Office, script: ModuleType) -> None:
        """The counts are said; names and reasons only where that is asked for."""
        await office.memory.store("tea", user_id="bob")
        with audit_context(user_id="officer"):
            event_id = await office.forget(filter=Filter(user_id="bob"))
        receipt = office.receipt(event_id)
        facts = facts_of(receipt)
        assert facts["counted"] == {"deleted": 1, "remaining": 0}
        assert facts["verified"] == "read_again"
        assert not any(name in json.dumps(receipt) for name in ("bob", "officer"))
        trail = point(facts["remains"], "trail_events")
        assert (trail["opened"], trail["closed"]) == (2, 0)
        assert open_points(receipt) == []
        script.check(receipt, PUBLIC)
        told = office.receipt(event_id, subject_id="bob", decrypt=True)
        assert facts_of(told)["person"] == {"id": "bob", "confirmed": True}
        assert facts_of(told)["requested"]["user_id"] == "officer"
        script.check(told, PUBLIC)
        with pytest.raises(InvalidEventError, match="is not about 'carol'"):
            office.receipt(event_id, subject_id="carol")

    async def test_without_the_keys(self, office: Office) -> None:
        """What is not known then is said, and needs a person."""
        await office.memory.store("tea", user_id="bob")
        event_id = await office.forget(filter=Filter(user_id="bob"))
        office.audit.seal()
        receipt = make_receipt(office.path, event_id, PrivacyPolicy(), KEY, subject_id="bob")
        facts = facts_of(receipt)
        assert facts["counted"] == {}
        unknown = kinds(facts["unknown"])[:3]
        assert unknown == ["facts_unreadable", "person_not_confirmed", "keys_not_here"]
        assert facts["verified"] == "not_verified"

    async def test_keys_destroyed(self, office: Office, script: ModuleType) -> None:
        """The record of an erasure of keys: no key opens anything, but the entries live on."""
        entry = await office.memory.store("tea", user_id="bob")
        with audit_context(user_id="officer"):
            assert office.audit.erase_user("bob", metadata={"request_id": "DSR-7"})
        (event,) = (
            e
            for e in office.audit.query_events(operation="AUDIT")
            if e.metadata["record"] == "erasure"
        )
        receipt = office.receipt(event.event_id, subject_id="bob", decrypt=True)
        facts = facts_of(receipt)
        assert (facts["erased"], facts["verified"]) == ("keys", "no_key")
        assert facts["requested"] == {"user_id": "officer", "request_id": "DSR-7"}
        assert facts["person"] == {"id": "bob", "confirmed": False}
        assert point(facts["remains"], "entries")["entry_ids"] == [entry]
        assert point(facts["remains"], "trail_events")["closed"] == 1
        assert "'keys' erased" in script.check(receipt, PUBLIC)
        await office.memory.forget(entry)
        after = office.facts(event.event_id)
        assert "entries" not in kinds(after["remains"])

    async def test_a_copy_of_the_keys(self, office: Office) -> None:
        """A key that somebody put back is found, though readers do not use it any more."""
        await office.memory.store("tea", user_id="bob")
        keys = office.path.with_name("archive.keys")
        copy = shutil.copytree(keys, keys.with_name("copy"))
        office.audit.erase_user("bob")
        event = office.audit.query_events(operation="AUDIT")[0]
        assert office.facts(event.event_id)["verified"] == "no_key"
        office.audit.close()
        shutil.rmtree(keys)
        copy.rename(keys)
        policy = PrivacyPolicy.for_reading(office.path, keys)
        receipt = make_receipt(office.path, event.event_id, policy, KEY)
        assert facts_of(receipt)["verified"] == "not_verified"
        assert "key_lives" in open_points(receipt)

    async def test_forged_tokens(self, office: Office) -> None:
        """An erasure of keys that nobody holds: it is a record, whatever its tokens are."""
        assert not PrivacyPolicy().has_key("00" * 16)
        await office.memory.store("tea", user_id="bob")
        policy = office.audit.trail.policy
        assert not any(map(policy.has_key, ["", "no hex", "00", "00" * 16]))


class TestRefused:
    """There is no receipt, for a reason that is said."""

    async def test_another_operation(self, office: Office) -> None:
        await office.memory.store("tea", user_id="bob")
        (event,) = office.audit.query_events(operation="STORE")
        with pytest.raises(InvalidEventError, match="operation 'STORE'"):
            office.receipt(event.event_id)
        (start,) = office.audit.query_events(operation="AUDIT")
        with pytest.raises(InvalidEventError, match="operation 'AUDIT'"):
            office.receipt(start.event_id)

    async def test_not_sealed(self, office: Office) -> None:
        event = await office.audit.log_event("FORGET", "bob", entry_ids=["a"])
        with pytest.raises(ArchiveError, match="not sealed yet"):
            office.audit.receipt(event.event_id)

    async def test_unsigned_archive(self, make_office: MakeOffice) -> None:
        """A trail without a key proves nothing."""
        office = make_office(signing_key=None)
        event = await office.audit.log_event("FORGET", "bob", entry_ids=["a"])
        with pytest.raises(ArchiveError, match="no signed checkpoint"):
            office.receipt(event.event_id)

    async def test_another_key(self, office: Office) -> None:
        """A statement by another key than the trail's would not be verified."""
        event = await office.audit.log_event("FORGET", "bob", entry_ids=["a"])
        office.audit.seal()
        with pytest.raises(AuditConfigError, match="'somebody' did not sign"):
            make_receipt(office.path, event.event_id, PrivacyPolicy(), new_key("somebody"))

    async def test_no_archive(self, audit: AuditLogger, office: Office, tmp_path: Path) -> None:
        with pytest.raises(AuditConfigError, match="no archive"):
            audit.receipt("evt_1")
        with pytest.raises(ArchiveError, match="no event"):
            office.receipt("evt_1")
        with pytest.raises(ArchiveError, match="no such file"):
            make_receipt(tmp_path / "nowhere", "evt_1", PrivacyPolicy())
        event = await office.audit.log_event("FORGET", "bob", entry_ids=["a"])
        office.audit.seal()
        with pytest.raises(ArchiveError, match="directory of the archive"):
            make_receipt(only(office.path, "audit_*.json"), event.event_id, PrivacyPolicy())


class TestVerified:
    """By the script alone: the statement is signed, and agrees with an event in the trail."""

    @pytest.fixture(name="receipt")
    async def _receipt(self, office: Office) -> dict[str, Any]:
        await office.memory.store("coffee", user_id="alice")
        for _ in range(2):
            await office.memory.store("tea", user_id="bob")
        await office.forget(filter=Filter(user_id="alice"))
        return office.receipt(await office.forget(filter=Filter(user_id="bob")))

    def test_proved(self, receipt: dict[str, Any], tmp_path: Path) -> None:
        """Without our package, from a file: one line that repeats what the receipt says."""
        file = tmp_path / "receipt.json"
        file.write_text(json.dumps(receipt))
        said = run(file, PUBLIC, code=0)
        assert said.startswith("PROVED: event 'evt_")
        assert "'entries' erased, 'read_again'; remains: 'trail_events'; seen again 0" in said

    @pytest.mark.parametrize(
        ("change", "reason"),
        [
            (
                lambda r: r.update(statement=r["statement"].replace('"bob"', '"ann"')),
                "not what was",
            ),
            (lambda r: r.update(statement=r["statement"].split("\u2014")[0]), "not signed"),
            (lambda r: r.update(statement=r["statement"].replace("receipt 1", "receipt 2")), "not"),
            (lambda r: r.update(statement=r["proof"]["checkpoint"]), "no receipt"),
            (lambda r: r.update(statement="nonsense"), "cannot be read"),
            (lambda r: r.update(statement=None), "cannot be read"),
            (lambda r: r["proof"].update(checkpoint=r["statement"]), "NOT PROVED"),
            (lambda r: r["proof"].update(event=r["proof"]["event"].replace("bob", "ann")), "event"),
            (lambda r: r.pop("proof"), "cannot be read"),
            (lambda r: r.update(proof=dict(r)), "cannot be read"),
        ],
    )
    def test_changed(
        self,
        receipt: dict[str, Any],
        script: ModuleType,
        tmp_path: Path,
        change: Callable[[dict[str, Any]], object],
        reason: str,
    ) -> None:
        """Any part changed: it says why it is not proved."""
        change(receipt)
        file = tmp_path / "receipt.json"
        file.write_text(json.dumps(receipt))
        said = script.main(str(file), PUBLIC)
        assert said.startswith("NOT PROVED: ")
        assert reason in said

    @pytest.mark.parametrize(
        "change",
        [
            lambda f: f["event"].update(event_id="evt_0"),
            lambda f: f["event"].update(timestamp="2025-01-15T10:30:45.123456Z"),
            lambda f: f["event"].update(status="PARTIAL"),
            lambda f: f["event"].update(operation="STORE"),
            lambda f: f["event"].update(entry_ids=f["event"]["entry_ids"][1:]),
            lambda f: f["event"].update(subjects=["ann"]),
            lambda f: f["event"].update(purpose="none"),
            lambda f: f["event"].pop("entry_ids"),
            lambda f: f["counted"].update(deleted=5),
            lambda f: f["counted"].update(remaining=1),
            lambda f: f.update(trail="axon-audit/office/0000000000000000"),
            lambda f: f.update(trail="axon-audit/office"),
        ],
    )
    def test_contradicts_the_event(
        self,
        receipt: dict[str, Any],
        script: ModuleType,
        change: Callable[[dict[str, Any]], object],
    ) -> None:
        """Not even who has the key can state something else than the event says."""
        script.check(resigned(receipt, lambda facts: None), PUBLIC)
        with pytest.raises(AssertionError):
            script.check(resigned(receipt, change), PUBLIC)

    def test_of_another_event(
        self, office: Office, receipt: dict[str, Any], script: ModuleType
    ) -> None:
        """The statement about one erasure with the proof of another."""
        other = office.audit.query_events(operation="FORGET")[1]
        mixed = {**receipt, "proof": office.receipt(other.event_id)["proof"]}
        with pytest.raises(AssertionError, match="does not say what the event says"):
            script.check(mixed, PUBLIC)

    async def test_of_another_archive(
        self, make_office: MakeOffice, receipt: dict[str, Any], script: ModuleType
    ) -> None:
        """Of the same key; and of another key."""
        for key in (KEY, new_key("auditor")):
            other = make_office(name="office", place=f"other-{key is KEY}", signing_key=key)
            event = await other.audit.log_event("FORGET", "bob", entry_ids=["a"])
            mixed = {**receipt, "proof": other.receipt(event.event_id)["proof"]}
            with pytest.raises(
                AssertionError, match="of another trail" if key is KEY else "signed"
            ):
                script.check(mixed, PUBLIC)

    def test_another_key(self, receipt: dict[str, Any], script: ModuleType) -> None:
        with pytest.raises(AssertionError, match="not signed by somebody"):
            script.check(receipt, str(new_key("somebody").verifying))

    def test_statement_of_another_key(self, receipt: dict[str, Any], script: ModuleType) -> None:
        """The proof is the trail's, the statement is not."""
        text = receipt["statement"].partition("\n\n")[0]
        forged = {**receipt, "statement": new_key("auditor").sign(f"{text}\n")}
        with pytest.raises(AssertionError, match="the statement is not signed by auditor"):
            script.check(forged, PUBLIC)

    @pytest.mark.parametrize("first", ["axon-audit deletion", "axon-audit receipt 2", ""])
    def test_signed_for_another_purpose(
        self, receipt: dict[str, Any], script: ModuleType, first: str
    ) -> None:
        """What the key signed with another first line is no statement of a receipt."""
        facts = json.dumps(facts_of(receipt))
        other = {**receipt, "statement": KEY.sign(f"{first or facts}\n{facts}\n")}
        with pytest.raises(AssertionError, match="of no receipt"):
            script.check(other, PUBLIC)

    @pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
    def test_truncated(
        self, receipt: dict[str, Any], script: ModuleType, tmp_path: Path, part: float
    ) -> None:
        text = json.dumps(receipt)
        file = tmp_path / "receipt.json"
        file.write_text(text[: int(len(text) * part)])
        assert "cannot be read" in script.main(str(file), PUBLIC)

    @pytest.mark.parametrize(
        "text",
        ["", "no JSON", "[]", '{"statement":1}', "[" * 5_000_000, '{"a":"' + "x" * 9_999_999],
    )
    def test_not_one(self, script: ModuleType, tmp_path: Path, text: str) -> None:
        """Anything else, also if it is huge."""
        file = tmp_path / "receipt.json"
        file.write_text(text)
        assert script.main(str(file), PUBLIC).startswith("NOT PROVED")

    def test_unsigned(self, office: Office, receipt: dict[str, Any], script: ModuleType) -> None:
        """Without a key it is made, says so, and is not proved."""
        event_id = facts_of(receipt)["event"]["event_id"]
        unsigned = make_receipt(office.path, event_id, PrivacyPolicy())
        assert signers_of(unsigned) == []
        assert open_points(unsigned) == ["not_signed"]
        with pytest.raises(AssertionError, match="the statement is not signed"):
            script.check(unsigned, PUBLIC)

    def test_no_checkpoint(self, office: Office, receipt: dict[str, Any]) -> None:
        """A statement is never taken for a checkpoint, wherever it lies."""
        statement = receipt["statement"]
        with pytest.raises(InvalidEventError, match="not a checkpoint"):
            Checkpoint.parse(statement, [KEY.verifying])
        assert list(notes_in(statement.splitlines(keepends=True))) == [statement]
        with (office.path / "office.checkpoints").open("a") as file:
            file.write(statement)
        report = verify(office.path, keys=[PUBLIC])
        assert [found.kind for found in report.findings] == ["unreadable"]

    @pytest.mark.parametrize(
        "name",
        [
            "a\nb",
            "axon-audit/office/0000000000000000\n1\n",
            "\u2028\x85\x1c\u202e",
            "\n\n\u2014 auditor AAAA",
            "<script>alert(1)</script>",
            'a "quote" \\',
        ],
    )
    async def test_hostile_ids(self, office: Office, script: ModuleType, name: str) -> None:
        """Ids of strangers change nothing of the form: what is signed is two lines of ASCII."""
        event = await office.audit.log_event("FORGET", name, entry_ids=[name], subject_id=name)
        receipt = office.receipt(event.event_id, subject_id=name)
        text = receipt["statement"].partition("\n\n")[0]
        assert text.isascii()
        assert len(text.splitlines()) == 2
        assert facts_of(receipt)["event"]["entry_ids"] == [name]
        script.check(receipt, PUBLIC)


def test_documented_example(script: ModuleType) -> None:
    """The receipt in docs/format.md is verified with the key beside it, and is written as told."""
    page = (FIRST_EDITION.parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    said = page.partition("## Receipts\n")[2]
    (key,) = re.findall(r"With the key `(\S+)` this one", said)
    (example,) = re.findall(r"```json\n(.*?)```", said, re.DOTALL)
    receipt = json.loads(example)
    assert script.check(receipt, key)
    facts = facts_of(receipt)
    line = json.dumps(facts, separators=(",", ":"))
    assert receipt["statement"].startswith(f"{FORMAT}\n{line}\n\n\u2014 auditor ")
    assert all(f"| `{name}`" in said or f"`{name}`" in said for name in facts)


def test_every_point_is_documented_and_has_words() -> None:
    """docs/format.md names each kind of point, and the page has a sentence for each."""
    page = (FIRST_EDITION.parents[2] / "docs" / "format.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+)`", page.partition("\nKinds in `remains`")[2]))
    assert set(_POINTS) <= named


def test_first_edition(tmp_path: Path, script: ModuleType) -> None:
    """Of an archive of the first edition: what it did not record yet is not claimed."""
    path = Path(shutil.copytree(FIRST_EDITION / "signed" / "logs", tmp_path / "logs"))
    lines = [line for file in path.glob("audit_*.json") for line in file.read_text().splitlines()]
    events = [json.loads(line[1:]) for line in lines if '"operation":"FORGET"' in line]
    assert events
    for event in events:
        receipt = make_receipt(path, event["event_id"], PrivacyPolicy())
        facts = facts_of(receipt)
        assert facts["event"]["entry_ids"] == event["entry_ids"]
        assert facts["verified"] == "not_verified"
        told = point(facts["remains"], "trail_events")["trails"] if facts["remains"] else {}
        assert not any(trail["states_rule"] for trail in told.values())
        assert script.check_inclusion(
            receipt["proof"], (FIRST_EDITION / "signed" / "key.pub").read_text()
        )


async def test_while_others_write(office: Office) -> None:
    """It is made in a thread while events come."""
    entry = await office.memory.store("tea", user_id="bob")
    event_id = await office.forget(entry_id=entry)
    office.audit.seal()
    making = asyncio.create_task(asyncio.to_thread(office.audit.receipt, event_id))
    while not making.done():
        await office.memory.store("milk", user_id="ann")
        await asyncio.sleep(0)
    assert facts_of(await making)["seen_again"]["number"] == 0
