"""The pages of `axon-audit view`, over real archives."""

from __future__ import annotations

import csv
import html
import io
import json
import os
import re
import shutil
from pathlib import Path

import msgspec
import pytest
from conftest import Cli, Make, archived, sealed_files, until
from hostile_names import HOSTILE, visible
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags, use_span
from viewing import address_in, viewing

from axon_audit_otel import AuditLogger
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms

WITH_AND_WITHOUT = pytest.mark.parametrize("has_index", [True, False], ids=["index", "search"])


async def _filled(make_audit: Make, directory: Path, count: int = 130) -> AuditLogger:
    """An archive of several files, with something for each filter."""
    audit = make_audit(auto_export_path=directory, max_events=40)
    for number in range(count):
        context = SpanContext(number % 50 + 1, 1, False, TraceFlags(1))
        with use_span(NonRecordingSpan(context)):
            await audit.log_event(
                "RECALL" if number % 3 else "STORE",
                user_id=f"user-{number % 7}",
                session_id=f"session-{number // 20}",
                subject_id="carol" if number % 5 == 0 else None,
                entry_ids=[f"entry-{number % 11}"],
                status="FAILURE" if number % 13 == 0 else "SUCCESS",
                agent_id="robot" if number % 17 == 0 else None,
                on_behalf_of="dave" if number % 19 == 0 else None,
                purpose="support" if number % 23 == 0 else None,
            )
    return audit


#: Filters of the pages, and the options of the command line that mean the same.
FILTERS = [
    {},
    {"user": "user-3"},
    {"subject": "carol"},
    {"agent": "robot"},
    {"on_behalf_of": "dave"},
    {"session": "session-2"},
    {"entry": "entry-10"},
    {"purpose": "support"},
    {"trace": f"{7:032x}"},
    {"operation": "STORE"},
    {"status": "failure"},
    {"operation": "STORE", "user": "user-1"},
    {"user": "nobody"},
    {"operation": "AUDIT"},
    {"since": "1d"},
    {"until": "2001-01-01"},
]


@WITH_AND_WITHOUT
async def test_filters_answer_as_the_command_line(
    make_audit: Make, cli: Cli, tmp_path: Path, has_index: bool
) -> None:
    """Each filter shows what `axon-audit query` finds, on as many pages as it takes, in order."""
    audit = await _filled(make_audit, tmp_path)
    with viewing(tmp_path, has_index=has_index) as view:
        for given in FILTERS:
            options = [x for k, v in given.items() for x in (f"--{k.replace('_', '-')}", v)]
            found = cli("query", tmp_path, "--json", *options).stdout.splitlines()
            expected = [json.loads(line)["event_id"] for line in found]
            assert view.all_ids(**given) == expected, given
            if has_index:
                assert f"{len(expected):,} event" in view.text(**given)
    audit.close()


@WITH_AND_WITHOUT
async def test_pages_do_not_move_while_events_come(
    make_audit: Make, tmp_path: Path, has_index: bool
) -> None:
    """The next page begins where the last one ended, also if there are newer events by then; and
    "newer" leads back."""
    audit = await _filled(make_audit, tmp_path)
    with viewing(tmp_path, has_index=has_index) as view:
        first = view.ids()
        older = address_in(view.text(), 'rel="next" href')
        assert older is not None
        before = view.ids(older)
        for _ in range(60):
            await audit.log_event("STORE", user_id="later")
        second = view.text(older)
        assert view.ids(older) == before
        assert not set(before) & set(first)
        newer = address_in(second, 'rel="prev" href')
        assert newer is not None
        assert view.ids(newer) == first
    audit.close()


@pytest.mark.slow
async def test_new_events_are_followed(make_audit: Make, tmp_path: Path) -> None:
    """The index goes on with the archive, over the end of a file; a page is told what is new."""
    audit = await _filled(make_audit, tmp_path, 30)
    with viewing(tmp_path) as view:
        newest = address_in(view.text(), "data-newest")
        assert view.get("/state", newest=newest).json["newer"] == 0  # type: ignore[index]
        for _ in range(50):
            await audit.log_event("STORE", user_id="later")
        await until(lambda: view.viewer.follow.seen == 81)
        assert view.get("/state", newest=newest).json["newer"] == 50  # type: ignore[index]
        assert view.get("/state", newest=newest, user="later").json["newer"] == 50  # type: ignore[index]
        assert view.get("/state", newest=newest, user="other").json["newer"] == 0  # type: ignore[index]
        assert "80 events" in view.text()
    audit.close()


async def test_the_timeline_counts_what_is_shown(make_audit: Make, tmp_path: Path) -> None:
    """Its bars add up to the count, and each leads to the events of its period."""
    audit = await _filled(make_audit, tmp_path)
    with viewing(tmp_path) as view:
        page = view.text(operation="RECALL")
        bars = re.findall(r'<li><a href="([^"]*)" title="[^"]*: ([^"]*)"', page)
        numbers = [sum(map(int, re.findall(r"(\d+) [A-Z]", words))) for _, words in bars]
        assert sum(numbers) == len(view.all_ids(operation="RECALL")) > 50
        for (address, _), number in zip(bars, numbers):
            assert f"{number} event" in view.text(html.unescape(address))
    audit.close()


async def test_one_event(make_audit: Make, tmp_path: Path) -> None:
    """Its page has every field, the line as recorded, its hash, what is before and after it in
    the chain, the other events of its trace, and how to prove it."""
    audit = await _filled(make_audit, tmp_path)
    audit.close()
    events = archived(tmp_path)
    event = events[64]
    with viewing(tmp_path) as view:
        for given in ({"at": str(int(event.timestamp.timestamp() * 1e6))}, {"at": "x"}, {}):
            page = html.unescape(view.text("/event", id=event.event_id, **given))
            assert event.to_json().decode() in page
            for part in (event.hash, event.event_id, events[63].event_id, events[65].event_id):
                assert part in page
            assert "its previous_hash is the hash of that event" in page
            assert "that event has its hash as previous_hash" in page
            assert f"axon-audit prove {event.event_id} {tmp_path}" in page
            same = [e for e in events if e.trace_id == event.trace_id and e is not event]
            assert same
            assert all(f'href="/event?id={one.event_id}' in page for one in same)
        first = view.text("/event", id=events[0].event_id)
        assert "the event before it is not here" not in first
        assert view.get("/event", id="evt_none").status_code == 404
        assert view.get("/event").status_code == 404


async def test_a_receipt_is_offered_of_a_deletion(make_audit: Make, tmp_path: Path) -> None:
    """A FORGET's page has the command that makes its receipt; others have not."""
    audit = make_audit(auto_export_path=tmp_path)
    forgot = await audit.log_event("FORGET", user_id="dpo", entry_ids=["e1"])
    stored = await audit.log_event("STORE", user_id="dpo", entry_ids=["e1"])
    audit.close()
    with viewing(tmp_path) as view:
        receipt = f"axon-audit receipt {forgot.event_id} {tmp_path}"
        assert receipt in view.text("/event", id=forgot.event_id)
        assert "axon-audit receipt" not in view.text("/event", id=stored.event_id)


async def test_the_lineage_of_an_entry(make_audit: Make, tmp_path: Path) -> None:
    """What it was made of, what was made of it, and what lives on of a forgotten one."""
    audit = make_audit(auto_export_path=tmp_path)
    await audit.log_event("STORE", user_id="alice", entry_ids=["source"])
    await audit.log_event(
        "COMPACT", user_id="alice", entry_ids=["summary"], derived_from=["source"]
    )
    await audit.log_event("FORGET", user_id="alice", entry_ids=["source"])
    audit.close()
    with viewing(tmp_path) as view:
        page = view.text("/lineage", entry="source")
        assert "Something that was forgotten lives on" in page
        assert "/lineage?entry=summary" in page
        assert "/lineage?entry=source" in view.text("/lineage", entry="summary")
        assert view.get("/lineage", entry="unheard-of").status_code == 404


# --- verification ---------------------------------------------------------------------------------


async def test_what_is_verified(make_audit: Make, tmp_path: Path) -> None:
    """Every page says up to where; with a key, an event's page says that a checkpoint covers it."""
    key = new_key("house")
    audit = make_audit(auto_export_path=tmp_path, max_events=10, signing_key=key)
    events = [await audit.log_event("STORE", user_id="alice") for _ in range(30)]
    audit.close()
    with viewing(tmp_path) as view:
        assert view.viewer.verification.wait(60)
        assert "no signature was checked" in view.text()
        assert "no signature was checked" in view.text("/event", id=events[3].event_id)
    with viewing(tmp_path, keys=[key.verifying]) as view:
        assert view.viewer.verification.wait(60)
        assert "Verified and proved up to event 31" in view.text()
        assert "A signed checkpoint covers it" in view.text("/event", id=events[3].event_id)
        assert "axon-audit/default/" in view.text("/verification")


async def test_damage_is_shown(make_audit: Make, tmp_path: Path) -> None:
    """An altered event is told on every page, with its file on one; the others are shown."""
    audit = await _filled(make_audit, tmp_path)
    audit.close()
    events, damaged = archived(tmp_path), sealed_files(tmp_path)[1]
    content = damaged.read_bytes()
    damaged.write_bytes(content.replace(b'"user_id":"user-3"', b'"user_id":"user-4"', 1))
    with viewing(tmp_path) as view:
        assert view.viewer.verification.wait(60)
        for page in ("/", f"/event?id={events[3].event_id}"):
            assert "Damage was found: 1 finding" in view.text(page)
        assert damaged.name in view.text("/verification")
        altered = next(e for e in events[40:] if e.user_id == "user-3")
        assert "Damaged" in view.text("/event", id=altered.event_id)
        following = events[events.index(altered) + 1]
        assert "THE HASHES DIFFER" in view.text("/event", id=following.event_id)


@WITH_AND_WITHOUT
async def test_what_cannot_be_read_is_told(
    make_audit: Make, tmp_path: Path, has_index: bool
) -> None:
    """A line that is no event, and a file that is gone, are named; the rest is shown."""
    audit = await _filled(make_audit, tmp_path)
    audit.close()
    first, second, *_ = sealed_files(tmp_path)
    first.write_bytes(first.read_bytes().replace(b'{"event_id"', b'{"event_ID"', 1))
    second.unlink()
    with viewing(tmp_path, has_index=has_index) as view:
        assert len(view.all_ids()) == 130 - 40
        *_, page = view.pages()
        assert "This is not all" in page
        assert first.name in page
        assert second.name in page


async def test_an_archive_that_changes_behind_the_index(make_audit: Make, tmp_path: Path) -> None:
    """The index is not believed: what it names and the files lack is not shown, and is told."""
    audit = await _filled(make_audit, tmp_path)
    audit.close()
    with viewing(tmp_path) as view:
        assert len(view.all_ids()) == 130
        sealed_files(tmp_path)[1].unlink()
        assert len(view.all_ids()) == 90
        assert "This is not all" in view.text(user="nobody")


async def test_a_directory_that_is_deleted(make_audit: Make, tmp_path: Path) -> None:
    """Pages say so, without a traceback."""
    audit = await _filled(make_audit, tmp_path / "archive")
    audit.close()
    with viewing(tmp_path / "archive") as view:
        shutil.rmtree(tmp_path / "archive")
        for page in ("/", "/event?id=evt_1", "/lineage?entry=e", "/export/csv"):
            answer = view.get(page)
            assert answer.status_code == 503, page
            assert "no such file or directory" in answer.text
            assert "Traceback" not in answer.text
        assert view.get("/verification").status_code == 200


async def test_an_archive_of_other_files(make_audit: Make, tmp_path: Path) -> None:
    """Exports, JSON lines in any order, and one file alone are shown like an archive."""
    audit = await _filled(make_audit, tmp_path / "archive", 60)
    audit.close()
    events = archived(tmp_path / "archive")
    lines = [event.to_json() for event in reversed(events)]
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "audit_of_others.json").write_bytes(b"\n".join(lines))
    newest = [event.event_id for event in reversed(events)]
    for path in (tmp_path / "others", tmp_path / "others" / "audit_of_others.json"):
        with viewing(path) as view:
            assert view.all_ids() == newest, path
    sealed = sealed_files(tmp_path / "archive")[0]
    with viewing(sealed) as view:
        assert view.all_ids() == [event.event_id for event in reversed(archived(sealed))]
        assert "its previous_hash" in view.text("/event", id=events[20].event_id)


async def test_the_system_is_a_filter(make_audit: Make, cli: Cli, tmp_path: Path) -> None:
    """Of the pages, with the index and without, and of the command line."""
    audit = await _filled(make_audit, tmp_path / "archive", 12)
    audit.close()
    events = archived(tmp_path / "archive")
    ours = [
        msgspec.structs.replace(event, system="mem0" if number % 3 else "axon")
        for number, event in enumerate(events)
    ]
    others = tmp_path / "others"
    others.mkdir()
    name = os.fsencode(others) + b"/audit_\xff.json"  # not UTF-8
    with open(name, "wb") as file:  # noqa: ASYNC230
        file.writelines(event.to_json() + b"\n" for event in ours)
    expected = [event.event_id for event in reversed(ours) if event.system == "mem0"]
    said = cli("query", others, "--json", "--system", "mem0").stdout.splitlines()
    assert [json.loads(line)["event_id"] for line in said] == expected
    for has_index in (True, False):
        with viewing(others, has_index=has_index) as view:
            assert view.all_ids(system="mem0") == expected
            assert view.all_ids(system="other") == []


async def test_many_events_of_one_moment(make_audit: Make, tmp_path: Path) -> None:
    """Of a file that names no writer, and numbers no events: each is on one page."""
    audit = await _filled(make_audit, tmp_path / "archive", 120)
    audit.close()
    first, *_ = events = archived(tmp_path / "archive")
    lines = [
        msgspec.structs.replace(
            event, timestamp=first.timestamp, sequence=0, previous_hash=None
        ).to_json()
        for event in events
    ]
    (tmp_path / "others.jsonl").write_bytes(b"\n".join(lines))
    with viewing(tmp_path / "others.jsonl") as view:
        assert sorted(view.all_ids()) == sorted(event.event_id for event in events)


@pytest.mark.slow
async def test_an_empty_directory_fills(make_audit: Make, tmp_path: Path) -> None:
    """Its page says that there is nothing; later it shows the first events."""
    with viewing(tmp_path) as view:
        assert "no audit files" in view.text()
        audit = make_audit(auto_export_path=tmp_path)
        event = await audit.log_event("STORE", user_id="alice")
        await until(lambda: view.viewer.follow.seen == 2)
        assert view.ids() == [event.event_id]
        audit.close()


# --- words of strangers ---------------------------------------------------------------------------


async def test_hostile_names_are_text(make_audit: Make, tmp_path: Path) -> None:
    """Whatever an id holds, it is shown as text, and its filter finds it again."""
    audit = make_audit(auto_export_path=tmp_path)
    for name in HOSTILE:
        await audit.log_event(
            "STORE",
            user_id=name,
            entry_ids=[name],
            metadata={"note": name},
            purpose=name[:100],
        )
    audit.close()
    events = [event for event in archived(tmp_path) if event.user_id is not None]
    with viewing(tmp_path) as view:
        page = view.text()
        assert "<script>alert" not in page
        assert "<img" not in page
        for event in events:
            assert event.user_id is not None
            assert html.escape(visible(event.user_id)[:300], quote=False) in page.replace(
                "&#34;", '"'
            ).replace("&#39;", "'")
            for given in ({"user": event.user_id}, {"entry": event.entry_ids[0]}):
                assert view.ids(**given) == [event.event_id], given
            one = view.text("/event", id=event.event_id)
            assert "<script>alert" not in one
            assert view.get("/lineage", entry=event.entry_ids[0]).status_code == 200


async def test_exports_are_what_is_shown(make_audit: Make, tmp_path: Path) -> None:
    """As files of the command line: oldest first, whole, and no cell is a formula."""
    audit = make_audit(auto_export_path=tmp_path)
    for number in range(5):
        await audit.log_event("STORE", user_id="=1+1" if number % 2 else "bob")
    audit.close()
    with viewing(tmp_path) as view:
        answer = view.get("/export/csv", user="=1+1")
        assert answer.headers["Content-Disposition"] == "attachment; filename=audit-events.csv"
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [row["user_id"] for row in rows] == ["'=1+1", "'=1+1"]
        lines = view.get("/export/jsonl").data.splitlines()
        assert lines == [event.to_json() for event in archived(tmp_path)]
        assert view.get("/export/exe").status_code == 404
        assert view.get("/export/csv", since="never").status_code == 400


async def test_an_export_says_that_it_lacks_something(make_audit: Make, tmp_path: Path) -> None:
    """Its name does: a file has no other place for that."""
    audit = await _filled(make_audit, tmp_path)
    audit.close()
    sealed_files(tmp_path)[0].unlink()
    with viewing(tmp_path) as view:
        named = view.get("/export/jsonl").headers["Content-Disposition"]
        assert named == "attachment; filename=audit-events-INCOMPLETE.jsonl"


async def test_filters_that_cannot_be_meant(make_audit: Make, tmp_path: Path) -> None:
    """The form says what is wrong with a field, and keeps what was typed."""
    audit = await _filled(make_audit, tmp_path, 3)
    audit.close()
    wrong = {
        "since": "never",
        "trace": "12",
        "operation": "STARE",
        "status": "GOOD",
    }
    with viewing(tmp_path) as view:
        for name, text in wrong.items():
            answer = view.get("/", **{name: text})
            assert answer.status_code == 400, name
            if name in ("since", "trace"):
                assert f'value="{text}"' in answer.text
                assert 'aria-invalid="true"' in answer.text
        assert view.get("/", since="today", until="2001-01-01").status_code == 400
        for name in ("before", "after", "newest"):
            assert view.get("/", **{name: "1:x"}).status_code == 200
        assert view.get("/event", id="x", at="9" * 30).status_code == 404
        assert view.get("/event", id="x", at="--5").status_code == 404
        huge = view.get("/", before=f"{10**30}:1:default")
        assert huge.status_code == 200
        answer = view.get("/", user="", status="FAILURE", _external="1", endpoint="x")
        assert answer.headers["Location"] == "/?status=FAILURE"


async def test_times_are_local(make_audit: Make, tmp_path: Path, zone: object) -> None:
    """Filters without a zone mean the clock of whoever looks, and times are shown by it."""
    audit = await _filled(make_audit, tmp_path, 3)
    audit.close()
    zone("JST-9")  # type: ignore[operator]
    event = archived(tmp_path)[-1]
    shown = event.timestamp.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    with viewing(tmp_path) as view:
        page = view.text(since=shown[:10], until=shown[:10])
        assert shown in page
        assert "UTC+09:00" in page


# --- privacy --------------------------------------------------------------------------------------

SECRET = Pseudonyms(b"a secret of enough length")


@WITH_AND_WITHOUT
async def test_hashed_ids_are_found_by_the_real_ones(
    make_audit: Make, tmp_path: Path, has_index: bool
) -> None:
    """With the secret; without it the page says why nothing is found."""
    audit = make_audit(auto_export_path=tmp_path, pseudonymize=b"a secret of enough length")
    event = await audit.log_event("STORE", user_id="alice", subject_id="bob", session_id="s1")
    audit.close()
    policy = PrivacyPolicy(pseudonyms=SECRET)
    with viewing(tmp_path, has_index=has_index, policy=policy, pseudonyms=SECRET) as view:
        for given in ({"user": "alice"}, {"subject": "bob"}, {"session": "s1"}):
            assert view.ids(**given) == [event.event_id], given
        assert view.ids(user="carol") == []
    with viewing(tmp_path, has_index=has_index) as view:
        assert view.ids(user="alice") == []
        assert "Ids here are hashed" in view.text(user="alice")
        assert "Ids here are hashed" not in view.text()


@WITH_AND_WITHOUT
async def test_encrypted_data_is_shown_only_if_asked_for(
    make_audit: Make, tmp_path: Path, has_index: bool
) -> None:
    """Decrypted it is found and shown; else it is shown as it was recorded, and the page says so.
    After an erasure nothing of that user is shown."""
    path, keys = tmp_path / "archive", tmp_path / "keys"
    audit = make_audit(auto_export_path=path, erasable=keys)
    event = await audit.log_event("STORE", user_id="alice", metadata={"note": "her words"})
    await audit.log_event("STORE", user_id="bob")
    address = "/event?id=" + event.event_id
    with viewing(path, has_index=has_index, erasable=keys) as view:
        assert "is not decrypted here" in view.text()
        for page in (view.text(), view.text(address), view.get("/export/csv").text):
            assert "alice" not in page
            assert "her words" not in page
    policy = PrivacyPolicy.for_reading(path, keys)
    with viewing(path, has_index=has_index, policy=policy, erasable=keys) as view:
        assert view.ids(user="alice") == [event.event_id]
        assert "her words" in view.text(address)
        assert "alice" in view.get("/export/csv").text
        assert event.hash in view.text(address)
        audit.erase_user("alice")
        assert view.ids(user="alice") == []
        assert "alice" not in view.text()
        assert "her words" not in view.text(address)
    audit.close()
