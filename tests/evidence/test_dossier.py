"""The dossier of a person: everything of him, nothing of others, and what cannot be known."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable
from datetime import timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from axon import Filter
from conftest import Make, MakeSystem
from hostile_names import HOSTILE

from axon_audit_otel import AuditLogger, Rule, SecurityMonitor, audit_context
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.core.errors import ArchiveError
from axon_audit_otel.evidence.dossier import make_dossier
from axon_audit_otel.evidence.dossier_files import as_csv, as_json
from axon_audit_otel.evidence.dossier_page import as_html
from axon_audit_otel.privacy.erased_tokens import keys_of
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms

KEY = new_key("auditor")
SECRET = b"a secret of thirty-two bytes ...."


class Made:
    """A dossier in all its forms."""

    def __init__(self, path: Path, who: str, policy: PrivacyPolicy | None, **options: Any) -> None:
        options.setdefault("zone", timezone.utc)
        with make_dossier(path, who, policy, **options) as made:
            self.needs = made.needs_a_person()
            self.json = b"".join(as_json(made)).decode()
            self.csv = b"".join(as_csv(made)).decode()
            self.html = as_html(made, "UTC")
        self.facts: dict[str, Any] = json.loads(self.json)
        self.rows = list(csv.DictReader(io.StringIO(self.csv)))
        self.limits = [one["kind"] for one in self.facts["limits"]]

    @property
    def text(self) -> str:
        return "\n".join((self.json, self.csv, self.html))

    def __getitem__(self, part: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.facts[part]
        return found

    def held(self) -> set[str]:
        return {one["entry_id"] for one in self["entries"] if one["state"] == "held"}


def dossier(path: Path, who: str, policy: PrivacyPolicy | None = None, **options: Any) -> Made:
    """The dossier of *who*."""
    return Made(path, who, policy, **options)


def knows_nothing_of(made: Made, words: Iterable[str]) -> None:
    """No form of a dossier has one of *words*."""
    assert not [word for word in words if word in made.text]


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "archive"


@pytest.fixture(name="audit")
def _audit(make_audit: Make, path: Path) -> AuditLogger:
    return make_audit(auto_export_path=path, signing_key=KEY)


class Joining:
    """A summarizer."""

    async def summarize(self, entries: Any, *args: Any, **kwargs: Any) -> str:
        return "several"


class Day:
    """Entries of several users, read, exported, compacted and forgotten by others."""

    def __init__(self) -> None:
        self.entries: dict[str, list[str]] = {}
        self.summaries: list[str] = []


@pytest.fixture(name="day")
async def _day(audit: AuditLogger, make_system: MakeSystem) -> Day:
    memory, day = make_system(audit_logger=audit), Day()
    for user in ("ann-1", "bob-2", "cid-3"):
        day.entries[user] = [await memory.store(f"{n} of {user}", user_id=user) for n in range(3)]
    with audit_context(user_id="dora-4", agent_id="helper", purpose="ticket 17"):
        await memory.recall("of", filter=Filter(user_id="ann-1"))
        await memory.recall("of", k=9)
    with audit_context(user_id="eve-5"):
        await memory.export()
    with audit_context(user_id="ann-1"):
        await memory.recall("of", filter=Filter(user_id="bob-2"))
    with audit_context(user_id="dora-4"):
        await memory.forget(day.entries["bob-2"][0])
        await memory.forget(filter=Filter(user_id="cid-3"), request_id="DSR-9")
    audit.close()
    return day


def test_whole(day: Day, path: Path) -> None:
    """What is held, who read it with which program and why, who exported it."""
    made = dossier(path, "ann-1")
    assert made.needs == []
    assert made.held() == set(day.entries["ann-1"])
    assert {one["source"] for one in made["entries"]} == {"STORE"}
    read = made["consultations"]
    assert [(one["actor"], one["agent"], one["purpose"]) for one in read] == [
        ("staff 1", "helper", "ticket 17")
    ] * 2
    assert [one["entries"] for one in read] == [3, 3]
    assert [(one["actor"], one["entries"]) for one in made["exports"]] == [("staff 2", 3)]
    assert {one["consulted"] for one in made["entries"]} == {3}
    assert made.facts["summary"]["by_actor"][0]["number"] == 2


def test_nothing_of_others(day: Day, path: Path) -> None:
    """Of other persons a dossier has no id and no entry, in any form."""
    for who, keys in day.entries.items():
        made = dossier(path, who)
        others = [other for other in day.entries if other != who]
        theirs = [key for other in others for key in day.entries[other]]
        knows_nothing_of(made, [*others, *theirs, "dora-4", "eve-5"])
        assert all(key in made.text for key in keys)


def test_acting_on_others(day: Day, path: Path) -> None:
    """Who read another's data has that he did it in his dossier, and nothing else of it."""
    (act,) = dossier(path, "ann-1")["acts"]
    assert (act["operation"], act["actor"]) == ("RECALL", "ann-1")
    assert "entries" not in act
    assert "entry_ids" not in act
    acted = dossier(path, "dora-4")
    assert [one["operation"] for one in acted["acts"]] == ["RECALL"] * 2 + ["FORGET"] * 2
    assert acted["entries"] == []
    knows_nothing_of(acted, [*day.entries, *(key for some in day.entries.values() for key in some)])


def test_actors_shown(day: Day, path: Path) -> None:
    """The ids of who acted are there if they are asked for; labels are the same everywhere."""
    made = dossier(path, "ann-1", show_actors=True)
    assert {one["actor"] for one in made["consultations"]} == {"dora-4"}
    knows_nothing_of(made, ("bob-2", "cid-3"))
    masked = dossier(path, "ann-1")
    (first,) = {one["actor"] for one in masked["consultations"]}
    assert first in masked.html


def test_deletions(day: Day, path: Path) -> None:
    """What was deleted, when, by whom and on which request; the command of its receipt."""
    made = dossier(path, "cid-3")
    (gone,) = made["erasures"]
    assert (gone["deleted"], gone["remaining"], gone["request_id"]) == (3, 0, "DSR-9")
    assert sorted(gone["entry_ids"]) == sorted(day.entries["cid-3"])
    assert made.held() == set()
    assert {one["deleted_by"] for one in made["entries"]} == {"FORGET"}
    (receipt,) = made["receipts"]
    assert receipt["why_not"] is None
    assert receipt["command"].split() == [
        *("axon-audit", "receipt", gone["event_id"], str(path), "--subject", "cid-3")
    ]
    assert dossier(path, "bob-2").held() == set(day.entries["bob-2"][1:])


def test_reproducible(day: Day, path: Path) -> None:
    """The same archive and arguments give the same bytes."""
    assert dossier(path, "ann-1").text == dossier(path, "ann-1").text


def test_until(day: Day, path: Path) -> None:
    """It says up to which event of each trail it goes, and when that was."""
    ((_, until),) = dossier(path, "ann-1").facts["until"].items()
    assert (until["first"], until["last"]) == (1, 16)
    assert until["begins"] < until["ends"]


def test_nobody(day: Day, path: Path) -> None:
    """Of an unknown person nothing is on record, which is certain, and said."""
    made = dossier(path, "nobody")
    assert made.needs == []
    assert made.facts["person"] == {"id": "nobody", "on_record": False}
    assert "Nothing is on record about you" in made.html


async def test_compaction(make_audit: Make, make_system: MakeSystem, path: Path) -> None:
    """A summary of several persons is in the dossier of each, with his own sources alone."""
    audit = make_audit(auto_export_path=path)
    memory = make_system(audit_logger=audit)
    made_of = {}
    for user in ("ann-1", "bob-2"):
        made_of[user] = [await memory.store(f"tea {user}", user_id=user) for _ in range(6)]
    with audit_context(user_id="night"):
        await memory.compact("persistent", threshold=2, summarizer=Joining())
    audit.close()
    for who, other in (("ann-1", "bob-2"), ("bob-2", "ann-1")):
        made = dossier(path, who)
        (summary,) = [one for one in made["entries"] if one["kind"] == "derived"]
        assert summary["holds_data_of_others"]
        assert set(summary["made_of"]) <= set(made_of[who])
        left = set(made_of[who]) - set(summary["made_of"])
        assert made.held() == {summary["entry_id"], *left}
        knows_nothing_of(made, [other, *made_of[other]])


async def test_compaction_of_one_person(
    make_audit: Make, make_system: MakeSystem, path: Path
) -> None:
    """A summary of one person's entries is one entry, also once it is deleted."""
    audit = make_audit(auto_export_path=path)
    memory = make_system(audit_logger=audit)
    for _ in range(6):
        await memory.store("tea", user_id="ann-1")
    with audit_context(user_id="night"):
        await memory.compact("persistent", threshold=2, summarizer=Joining())
    made = dossier(path, "ann-1")
    keys = [one["entry_id"] for one in made["entries"]]
    assert sorted(keys) == sorted(set(keys))
    (summary,) = [one for one in made["entries"] if one["made_of"]]
    assert (summary["source"], summary["state"]) == ("COMPACT", "held")
    assert summary["since"] is not None
    numbers = made.facts["numbers"]
    assert (numbers["held"], numbers["derived"]) == (len(made.held()) - 1, 1)
    await memory.forget(filter=Filter(user_id="ann-1"))
    audit.close()
    after = dossier(path, "ann-1").facts["numbers"]
    assert (after["held"], after["derived"]) == (0, 0)


async def test_named_in_one_place(audit: AuditLogger, path: Path) -> None:
    """Found as one of the subjects, as the subject, as who stored; and not for reading alone."""
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    await audit.log_event("STORE", user_id="bob-2", entry_ids=["b1"])
    await audit.log_event("RECALL", user_id="desk", subject_id="ann-1", entry_ids=["a1", "b1"])
    await audit.log_event("RECALL", user_id="ann-1", entry_ids=["b1"])
    await audit.log_event("RECALL", user_id="desk", subject_id="ann-1", entry_ids=["b1"])
    audit.close()
    made = dossier(path, "ann-1")
    assert made.held() == {"a1"}
    assert [one["entry_ids"] for one in made["consultations"]] == [["a1"], []]
    assert [one["operation"] for one in made["acts"]] == ["RECALL"]
    assert '"b1"' not in made.json
    assert dossier(path, "bob-2").held() == {"b1"}


async def test_unnamed_deletion(audit: AuditLogger, path: Path) -> None:
    """A deletion by the entry's id, which names nobody, ends the entry all the same."""
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    await audit.log_event("FORGET", user_id="desk", entry_ids=["a1"])
    audit.close()
    made = dossier(path, "ann-1")
    assert made.held() == set()
    assert [one["actor"] for one in made["erasures"]] == ["staff 1"]


async def test_handed_over(audit: AuditLogger, path: Path) -> None:
    """An entry that is stored as another's is the other's alone."""
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["e1"])
    await audit.log_event("STORE", user_id="bob-2", entry_ids=["e1"])
    await audit.log_event("RECALL", user_id="bob-2", subject_id="bob-2", entry_ids=["e1"])
    audit.close()
    made = dossier(path, "ann-1")
    assert made.held() == set()
    assert made["consultations"] == []
    assert dossier(path, "bob-2").held() == {"e1"}


async def test_found_again(audit: AuditLogger, path: Path) -> None:
    """An entry that is read after it was deleted is told; stored again, it is held again."""
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    await audit.log_event("FORGET", user_id="ann-1", entry_ids=["a1"])
    await audit.log_event("RECALL", user_id="desk", subject_id="ann-1", entry_ids=["a1"])
    made = dossier(path, "ann-1")
    assert made.facts["numbers"]["seen_again"] == 1
    assert "Deleted, and found again" in made.html
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    audit.close()
    assert dossier(path, "ann-1").held() == {"a1"}


async def test_alerts(audit: AuditLogger, path: Path) -> None:
    """What the trail itself records of a person is a notice."""
    rule = Rule("many", operations="EXPORT", over=1, window="10m", per_user=True)
    monitor = SecurityMonitor(audit, rules=[rule])
    for _ in range(2):
        await audit.log_event("EXPORT", user_id="ann-1")
    monitor.close()
    audit.close()
    made = dossier(path, "ann-1")
    assert {one["record"] for one in made["notices"]} == {"alert"}
    assert "an alarm about unusual activity" in made.html


async def test_texts_of_others(audit: AuditLogger, path: Path) -> None:
    """Another person's id in a purpose or a recipient, or as an agent's name, is not shown."""
    with audit_context(agent_id="bob-2", on_behalf_of="cid-3", purpose="ask bob-2 for cid-3"):
        await audit.log_event(
            "EXPORT",
            user_id="desk",
            entry_ids=["e1"],
            metadata={"recipient": "bob-2 & sons"},
            subject_id="ann-1",
        )
        await audit.log_event("RECALL", user_id="bob-2", subject_id="ann-1")
    with audit_context(user_id="desk", purpose="compare ann-1 with fay-6"):
        await audit.log_event("RECALL", subjects=["ann-1", "fay-6"])
    audit.close()
    made = dossier(path, "ann-1")
    assert made["exports"][0]["recipient"] == "[another person] & sons"
    assert made["consultations"][-1]["purpose"] == "compare ann-1 with [another person]"
    knows_nothing_of(made, ("bob-2", "cid-3", "desk", "fay-6"))


# --- hidden names ---------------------------------------------------------------------------------


def hashed(path: Path) -> PrivacyPolicy:
    return PrivacyPolicy(pseudonyms=Pseudonyms(SECRET))


def with_keys(path: Path) -> PrivacyPolicy:
    return PrivacyPolicy.for_reading(path, keys_of(path))


@pytest.mark.parametrize(
    ("setting", "policy", "limit"),
    [
        ({"pseudonymize": SECRET}, hashed, "ids_hashed"),
        ({"erasable": True}, with_keys, "keys_not_here"),
    ],
)
async def test_hidden(
    make_audit: Make, path: Path, setting: dict[str, Any], policy: Any, limit: str
) -> None:
    """With the secret or the keys it is whole; without, it says that it is not."""
    audit = make_audit(auto_export_path=path, **setting)
    await audit.log_event("STORE", user_id="ann-1", subject_id="ann-1", entry_ids=["a1"])
    await audit.log_event("RECALL", user_id="bob-2", subject_id="ann-1", entry_ids=["a1"])
    await audit.log_event("STORE", user_id="bob-2", entry_ids=["b1"])
    audit.close()
    made = dossier(path, "ann-1", policy(path))
    assert made.needs == []
    assert made.held() == {"a1"}
    assert [one["actor"] for one in made["consultations"]] == ["staff 1"]
    assert dossier(path, "cid-3", policy(path)).needs == []
    blind = dossier(path, "ann-1")
    assert blind.needs == [limit]
    assert not blind.facts["person"]["on_record"]
    assert "Nothing is on record about you" not in blind.html
    assert "not certain" in blind.html


async def test_erased(make_audit: Make, path: Path) -> None:
    """Of an erased person nothing is found by name; by the token, what was never encrypted."""
    audit = make_audit(auto_export_path=path, erasable=True)
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    await audit.log_event("RECALL", user_id="bob-2", subject_id="ann-1", entry_ids=["a1"])
    assert audit.erase_user("ann-1")
    audit.close()
    made = dossier(path, "ann-1", with_keys(path))
    assert made.needs == ["maybe_erased"]
    assert not made.facts["person"]["on_record"]
    token = audit.query_events(operation="AUDIT", archived=True)[0].subject_id
    by_token = dossier(path, str(token), with_keys(path))
    assert "keys_destroyed" in by_token.limits
    assert by_token.held() == {"a1"}
    assert [one["operation"] for one in by_token["consultations"]] == ["RECALL"]
    assert [one["record"] for one in by_token["erasures"]] == ["erasure"]
    assert "bob-2" not in by_token.text


async def test_more_persons_than_fit(audit: AuditLogger, path: Path) -> None:
    """A person whom an event names by a digest alone is found; the dossier says so."""
    many = [f"user-{number}" for number in range(1_200)]
    await audit.log_event("EXPORT", user_id="desk", subjects=many, entry_ids=["e1"])
    audit.close()
    made = dossier(path, many[-1])
    assert len(made["exports"]) == 1
    assert "by_digest" in made.limits
    assert made.needs == []


# --- what is missing ------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["cut", "gone", "altered", "garbage"])
def test_damage(day: Day, path: Path, harm: str) -> None:
    """A file that is cut, gone or changed needs a person; the rest is told."""
    (sealed,) = path.glob("audit_*.json")
    content = sealed.read_bytes()
    if harm == "gone":
        sealed.unlink()
    elif harm == "cut":
        sealed.write_bytes(content[: len(content) // 2])
    elif harm == "altered":
        sealed.write_bytes(content.replace(b"ticket 17", b"ticket 18"))
    else:
        sealed.write_bytes(content[:2_000] + b"\0" * 500 + content[2_500:])
    made = dossier(path, "ann-1")
    assert "archive_damaged" in made.needs
    assert "not complete" in made.html
    assert str(path.parent) not in json.dumps(made.facts["limits"])


def test_proved(day: Day, path: Path) -> None:
    """With the public key it says how far signatures reach; with another, that they do not."""
    made = dossier(path, "ann-1", keys=[KEY.verifying])
    (trail,) = made.facts["proved"]["trails"].values()
    assert trail["proved_until"] == 16
    assert "no_key_given" not in made.limits
    assert dossier(path, "ann-1", keys=[new_key("other").verifying]).needs


async def test_retention(make_audit: Make, path: Path) -> None:
    """It says by which rule the trail's events are kept, and that a hold forbids to delete."""
    audit = make_audit(auto_export_path=path, retention="30d")
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    audit.close()
    (path / "case.hold").write_text("Doe v. Acme")
    kept = dossier(path, "ann-1").facts["retention"]
    (trail,) = kept["trails"].values()
    assert (trail["rule"], trail["number"]) == ("30 days", 1)
    assert trail["until"] > trail["last"]
    assert kept["holds"] == ["hold 1"]


async def test_no_rule_of_retention(audit: AuditLogger, path: Path) -> None:
    """A trail that deletes nothing by age says so, in the table as on the page."""
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    audit.close()
    made = dossier(path, "ann-1")
    words = "no rule deletes them by age"
    assert [row["remark"] for row in made.rows if row["part"] == "retention"] == [words]
    assert words in made.html


async def test_a_hold_may_name_somebody(audit: AuditLogger, path: Path) -> None:
    """Its name is that of a matter of others: a dossier says only that there is one."""
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    audit.close()
    (path / "claim-of-bob-2.hold").write_text("Doe v. Acme")
    made = dossier(path, "ann-1")
    knows_nothing_of(made, ["bob-2", "Doe"])
    assert "1 legal hold" in made.html
    shown = dossier(path, "ann-1", show_actors=True)
    assert shown.facts["retention"]["holds"] == ["claim-of-bob-2"]
    assert "claim-of-bob-2" in shown.html


async def test_the_newest_entry_is_first(audit: AuditLogger, path: Path) -> None:
    """On the page, whether an entry was stored or made of others."""
    for name in ("a1", "a2"):
        await audit.log_event("STORE", user_id="ann-1", entry_ids=[name])
    facts = {"summary_id": "s1"}
    await audit.log_event(
        "COMPACT",
        user_id="night",
        subjects=["ann-1"],
        derived_from=["a1"],
        entry_ids=["a1", "s1"],
        metadata=facts,
    )
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a3"])
    audit.close()
    made = dossier(path, "ann-1")
    newest = sorted(made["entries"], key=lambda one: one["first_seen"], reverse=True)
    shown = [one["entry_id"] for one in newest if one["state"] == "held"]
    places = [made.html.index(f">{name}<") for name in shown]
    assert "s1" in shown
    assert places == sorted(places)


def test_no_archive(tmp_path: Path) -> None:
    """Where there is no archive, there is no dossier."""
    with pytest.raises(ArchiveError):
        dossier(tmp_path / "nothing", "ann-1")
    (tmp_path / "file").write_text("{}")
    with pytest.raises(ArchiveError):
        dossier(tmp_path / "file", "ann-1")


async def test_lost_keys(make_audit: Make, path: Path, tmp_path: Path) -> None:
    """Keys that are not there at all are said to be not at hand, and not to be lost."""
    audit = make_audit(auto_export_path=path, erasable=True)
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    audit.close()
    keys = keys_of(path).rename(tmp_path / "elsewhere")
    assert dossier(path, "ann-1").needs == ["keys_not_here"]
    made = dossier(path, "ann-1", PrivacyPolicy.for_reading(path, keys), erasable=keys)
    assert made.needs == []
    assert made.held() == {"a1"}


async def test_told(audit: AuditLogger, path: Path) -> None:
    """Events that do not say whose data they touched, or name not all that they deleted."""
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    await audit.log_event("RECALL", user_id="desk", entry_ids=["x1"])
    await audit.log_event("FORGET", user_id="desk", entry_ids=["x1"], metadata={"deleted": 9})
    await audit.log_event("STORE", user_id="desk", entry_ids=["x2"])
    audit.close()
    made = dossier(path, "ann-1")
    assert made.needs == []
    numbers = {one["kind"]: one.get("number") for one in made.facts["limits"]}
    assert (numbers["no_subject"], numbers["deletions_not_named"]) == (2, 1)


def test_texts_that_a_library_keeps(audit: AuditLogger, path: Path) -> None:
    """What mem0 keeps of deleted memories is said with the deletion."""
    with audit.operation("STORE", system="mem0", owner="ann-1") as op:
        op.saved("m1")
    with audit.operation("FORGET", system="mem0", owner="ann-1") as op:
        op.deleted("m1")
        op.note(texts_left={"history": 3, "messages": 2})
    audit.close()
    made = dossier(path, "ann-1")
    assert [one["texts_left"] for one in made["erasures"]] == [5]
    assert "5 texts of it remained" in made.html


async def test_running(audit: AuditLogger, path: Path) -> None:
    """While the application runs, what it has recorded is there; a receipt must wait for a seal."""
    await audit.log_event("STORE", user_id="ann-1", entry_ids=["a1"])
    await audit.log_event("FORGET", user_id="ann-1", entry_ids=["a1"])
    made = dossier(path, "ann-1")
    assert made.needs == []
    assert [one["outcome"] for one in made["erasures"]] == ["SUCCESS"]
    (receipt,) = made["receipts"]
    assert "not sealed yet" in receipt["why_not"]
    audit.close()


def test_months(day: Day, path: Path) -> None:
    """Months begin as they do in the zone that is asked for; a page of several shows them."""
    with make_dossier(path, "ann-1", zone=timezone(timedelta(hours=14))) as made:
        (month,) = made.facts["summary"]["by_month"]
        (until,) = made.facts["until"].values()
        shown = made.local(until["begins"])
        assert month["month"] == f"{shown:%Y-%m}"
        made.facts["summary"]["by_month"] = [month, {**month, "month": "2099-01"}]
        assert "2099-01" in as_html(made, "UTC")


# --- strangers ------------------------------------------------------------------------------------


async def test_hostile_names(audit: AuditLogger, path: Path) -> None:
    """Ids, programs and purposes of strangers stay text in every form."""
    for name in HOSTILE:
        with audit_context(agent_id=name, purpose=name):
            await audit.log_event("STORE", user_id=name, entry_ids=[name])
            await audit.log_event("RECALL", user_id="desk", subject_id=name, entry_ids=[name])
    audit.close()
    for name in HOSTILE:
        made = dossier(path, name, show_actors=True)
        assert len(made["consultations"]) == 1, name
        assert "<script>alert" not in made.html
        assert "<img" not in made.html
        assert not any(
            cell.startswith(("=", "+", "-", "@")) for row in made.rows for cell in row.values()
        )


async def test_unlisted_operation(audit: AuditLogger, path: Path) -> None:
    """Of an operation with a name that is not listed, the name is not shown."""
    await audit.log_event("other", user_id="desk", subject_id="ann-1", entry_ids=["a1"])
    audit.close()
    assert [one["operation"] for one in dossier(path, "ann-1")["consultations"]] == ["OTHER"]


async def test_table(day: Day, path: Path) -> None:
    """The table has every row of the object, and what it lists besides."""
    made = dossier(path, "ann-1")
    parts = [row["part"] for row in made.rows]
    for part in ("consultations", "exports", "changes", "erasures", "notices", "acts"):
        assert parts.count(part) == len(made[part])
    assert parts.count("held") == len(made.held())
    assert parts.count("limit") == len(made.limits)
    assert parts.count("blank") == len(made.facts["blanks"])
