"""The report of a period: its facts, its files, the same bytes each time, whole or not there."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import proof_script
import pytest
from axon import Filter
from conftest import Cli, Make, MakeSystem, only, sealed_files
from month import KEY, NOVEMBER, archive, at, days, record, report
from strikes import Strike

from axon_audit_otel import AuditLogger, audit_context
from axon_audit_otel.archive.holds import place_hold
from axon_audit_otel.core.errors import ArchiveError
from axon_audit_otel.evidence import bundle, tally
from axon_audit_otel.evidence.bundle import new_bundle
from axon_audit_otel.evidence.period import Period
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms

FIRST_EDITION = Path(__file__).parents[1] / "data" / "first_edition"
PARTS = [
    *("scope", "completeness", "coverage", "activity", "alerts", "erasures", "retention"),
    *("proofs", "limits"),
]


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return archive(tmp_path / "logs", [*days(1, 30), *days(1, 3, "2025-12")])


# --- facts ---------------------------------------------------------------------------------------


async def test_a_memory(make_audit: Make, make_system: MakeSystem, tmp_path: Path) -> None:
    """What a real memory did: one key a part, and the same numbers in each of them."""
    path = tmp_path / "logs"
    audit = make_audit(auto_export_path=path, signing_key=KEY)
    memory = make_system(audit_logger=audit)
    for user in ("alice", "bob", "bob"):
        with audit_context(agent_id="helper", purpose="support"):
            await memory.store("tea", user_id=user)
    await memory.export()
    with audit_context(user_id="officer"):
        await memory.forget(filter=Filter(user_id="bob"), request_id="DSR-17")
    audit.close()
    month = f"{audit.query_events()[0].timestamp:%Y-%m}"
    facts = report(path, tmp_path / "r", Period.of(month, zone="UTC"), keys=[KEY.verifying])
    assert list(facts) == PARTS
    activity = facts["activity"]
    assert (activity["events"], activity["start_records"]) == (5, 1)
    assert facts["completeness"]["events"] == 6
    assert [(row["agent_id"], row["events"]) for row in activity["by_agent"]["top"]] == [
        ("helper", 3),
        (None, 2),
    ]
    assert activity["by_subject"]["top"][0]["subject_id"] == "bob"
    assert activity["exports"]["number"] == 1
    (erasure,) = facts["erasures"]["first"]
    assert (erasure["user_id"], erasure["request_id"]) == ("officer", "DSR-17")
    assert (erasure["deleted"], erasure["remaining"], erasure["verified"]) == (2, 0, "read_again")
    assert erasure["receipt_possible"]
    stored = next(m for m in facts["coverage"]["audited"] if m["method"] == "MemorySystem.store")
    assert stored["events"] == 3
    (program,) = facts["coverage"]["programs"]
    assert program["said"]["axon_sdk"] is not None
    assert facts["limits"]["needs_a_person"] == []


def test_boundaries(tmp_path: Path) -> None:
    """An event at a boundary belongs to one month only, of every zone."""
    edge = ["2025-10-31T22:59:59.999999", "2025-10-31T23:00:00", "2025-11-30T22:59:59.999999"]
    path = archive(tmp_path / "logs", [*edge, "2025-11-30T23:00:00"])
    numbers = []
    for month in ("2025-10", "2025-11", "2025-12"):
        facts = report(path, tmp_path / month, Period.of(month, zone="Europe/Berlin"))
        numbers.append(facts["activity"]["events"])
    assert numbers[1:] == [2, 1] or numbers == [1, 2, 1]
    november = report(path, tmp_path / "utc", NOVEMBER)
    assert november["activity"]["events"] == 2
    assert [day["day"] for day in november["activity"]["by_day"]] == ["2025-11-30"]


def test_alerts(tmp_path: Path) -> None:
    """Those that the default rules find, with events before the period that count; and those on
    record."""
    moments = [f"2025-10-31T23:{minute}:00" for minute in range(50, 55)]
    audit = AuditLogger(auto_export_path=tmp_path / "logs", signing_key=KEY)
    for moment in [*moments, "2025-11-01T00:10:00"]:
        record(audit, moment, "EXPORT", user_id="mallory")
    facts = {"record": "alert", "rule": "mine", "state": "firing", "count": 3}
    record(audit, "2025-11-02T00:00:00", "AUDIT", subject_id="mallory", metadata=facts)
    audit.close()
    alerts = report(tmp_path / "logs", tmp_path / "r")["alerts"]
    assert {one["rule"] for one in alerts["found"]["first"]} == {
        "unusual_exports",
        "unusual_exports_by_user",
    }
    assert alerts["found"]["first"][0]["since"] == "2025-11-01T00:10:00.000000Z"
    (told,) = alerts["recorded"]["first"]
    assert (told["alert"]["rule"], told["user_id"]) == ("mine", "mallory")
    october = report(tmp_path / "logs", tmp_path / "o", Period.of("2025-10", zone="UTC"))
    assert october["alerts"]["found"]["number"] == 0


def test_an_empty_month(path: Path, tmp_path: Path) -> None:
    """It says so, and nothing needs a person."""
    facts = report(path, tmp_path / "r", Period.of("2025-08", zone="UTC"), keys=[KEY.verifying])
    assert facts["completeness"]["events"] == facts["activity"]["events"] == 0
    assert facts["completeness"]["trails"] == facts["proofs"]["sample"] == []
    assert facts["limits"]["needs_a_person"] == []


def test_holds(path: Path, tmp_path: Path) -> None:
    place_hold(path, "a lawsuit")
    facts = report(path, tmp_path / "r", Period.of("2025-11", "2099-12", zone="UTC"))
    (hold,) = facts["retention"]["holds"]
    assert (hold["name"], hold["reason"], hold["in_force_at_end"]) == ("legal", "a lawsuit", True)


@pytest.mark.parametrize("kind", sorted(p.name for p in FIRST_EDITION.iterdir() if p.is_dir()))
def test_the_first_edition(kind: str, tmp_path: Path) -> None:
    """What an archive does not say of itself is not known, and no more is claimed."""
    shutil.copytree(FIRST_EDITION / kind, tmp_path / kind)
    logs = tmp_path / kind / "logs"
    facts = report(logs, tmp_path / "r", Period.of("2000-01", "2099-12", zone="UTC"))
    trails = {trail["trail"] for trail in facts["completeness"]["trails"] if trail["events"]}
    assert len(facts["coverage"]["not_known"]) == len(trails)
    expected = json.loads((tmp_path / kind / "expected.json").read_bytes())
    if kind == "exported":
        assert facts["completeness"]["findings"] != []
    else:
        assert facts["activity"]["events"] == expected["stats"]["total_operations"]


async def test_hashed_ids_without_the_secret(tmp_path: Path) -> None:
    """Ids are as recorded; the report says that they are hashed, and if the secret was there."""
    secret = Pseudonyms(b"a secret of more than enough letters")
    audit = AuditLogger(auto_export_path=tmp_path / "logs", pseudonymize=secret)
    await audit.log_event("STORE", user_id="alice")
    audit.close()
    facts = report(tmp_path / "logs", tmp_path / "r", Period.of("2020-01", "2099-12", "UTC"))
    assert facts["activity"]["ids"]["hashed"] == 1
    assert facts["scope"]["privacy"]["secret_was_given"] is False
    assert b"alice" not in (tmp_path / "r" / "report.json").read_bytes()


async def test_keys(tmp_path: Path) -> None:
    """Without --decrypt, ids are as recorded; with it and the keys, in clear; erased ones never."""
    path, keys = tmp_path / "logs", tmp_path / "logs.keys"
    audit = AuditLogger(auto_export_path=path, erasable=keys, signing_key=KEY)
    for user in ("alice", "bob"):
        await audit.log_event("STORE", user_id=user, metadata={"n": 1})
    await audit.log_event(
        "FORGET", user_id="alice", metadata={"request_id": "r-7"}, purpose="asked"
    )
    audit.erase_user("bob", metadata={"reason": "asked"})
    audit.close()
    period = Period.of("2020-01", "2099-12", zone="UTC")
    policy = PrivacyPolicy.for_reading(path, keys)
    closed = report(path, tmp_path / "closed", period)
    opened = report(path, tmp_path / "opened", period, policy=policy, decrypt=True)
    names = [[row["user_id"] for row in f["activity"]["by_actor"]["top"]] for f in (closed, opened)]
    assert all(name is None or name.startswith("erasable:") for name in names[0])
    assert "alice" in names[1]
    assert "bob" not in names[1]
    forget, erasure = opened["erasures"]["first"]
    assert (erasure["erased"], erasure["verified"]) == ("keys", "no_key")
    assert closed["erasures"]["first"][1]["verified"] == "not_verified"
    assert (forget["request_id"], opened["erasures"]["with_request_id"]) == ("r-7", 1)
    assert opened["activity"]["by_purpose"]["top"][1]["purpose"] == "asked"
    assert opened["activity"]["facts_encrypted"] == 1  # bob's
    shutil.rmtree(keys)
    assert report(path, tmp_path / "lost", period)["scope"]["privacy"]["keys_were_at_hand"] is False


def test_a_period_that_is_not_over(cli: Cli, path: Path, tmp_path: Path) -> None:
    """Its report has not all of it: that is said where the report is made."""
    line = ("report", path, "--from", "2025-11", "--output")
    done = cli(*line, tmp_path / "a", "--to", "2999-12")
    assert "the period is not over" in done.stderr
    assert "the period is not over" not in cli(*line, tmp_path / "b", "--to", "2025-12").stderr


async def test_what_is_encrypted_is_not_called_absent(tmp_path: Path) -> None:
    """Purposes and requests that are not read are told, also on the page."""
    path = tmp_path / "logs"
    audit = AuditLogger(auto_export_path=path, erasable=tmp_path / "logs.keys")
    facts = {"request_id": "r-7"}
    await audit.log_event("FORGET", user_id="alice", metadata=facts, purpose="asked")
    audit.close()
    period = Period.of("2020-01", "2099-12", zone="UTC")
    policy = PrivacyPolicy.for_reading(path, tmp_path / "logs.keys")
    found = report(path, tmp_path / "r", period, policy=policy)
    assert (found["activity"]["facts_encrypted"], found["erasures"]["with_request_id"]) == (1, 1)
    (row,) = found["erasures"]["first"]
    assert (row["request_id"], row["facts_encrypted"]) == (None, True)
    assert any("encrypted" in words for words in found["limits"]["not_known"])
    page = (tmp_path / "r" / "report.html").read_text()
    assert "not recorded, or encrypted of any event" in page
    assert "encrypted in 1 of these events" in page


# --- files ---------------------------------------------------------------------------------------


def test_files(path: Path, tmp_path: Path) -> None:
    """A zip has what a directory has; digests, signature and proofs are checked by the program."""
    report(path, tmp_path / "r", signing_key=KEY)
    report(path, tmp_path / "r.zip", signing_key=KEY)
    with zipfile.ZipFile(tmp_path / "r.zip") as files:
        assert files.testzip() is None
        inside = {name: files.read(name) for name in files.namelist()}
    place = tmp_path / "r"
    here = {str(f.relative_to(place)): f.read_bytes() for f in place.rglob("*") if f.is_file()}
    assert inside == here
    sums = dict(line.split("  ")[::-1] for line in here["SHA256SUMS"].decode().splitlines())
    assert sums.keys() == here.keys() - {"SHA256SUMS", "report.note"}
    assert all(hashlib.sha256(here[name]).hexdigest() == sums[name] for name in sums)
    key = KEY.verifying
    assert proof_script.run(place / "report.note", key, code=0).startswith("PROVED: ")
    proofs = sorted(place.glob("proofs/*.json"))
    assert len(proofs) == 10
    for proof in proofs:
        assert "PROVED" in proof_script.run(proof, key, code=0)
    shown = json.loads(here["report.json"])["proofs"]["sample"]
    assert {one["file"] for one in shown} == {str(p.relative_to(place)) for p in proofs}


@pytest.mark.parametrize("name", ["report.json", "csv/actors.csv", "verify_proof.py", "SHA256SUMS"])
def test_a_changed_file_is_found(path: Path, tmp_path: Path, name: str) -> None:
    report(path, tmp_path / "r", signing_key=KEY)
    file = tmp_path / "r" / name
    file.write_bytes(file.read_bytes() + b" ")
    said = proof_script.run(tmp_path / "r" / "report.note", KEY.verifying, code=1)
    assert said == f"NOT PROVED: '{name}' is not as it was signed"
    file.unlink()
    said = proof_script.run(tmp_path / "r" / "report.note", KEY.verifying, code=1)
    assert said == f"NOT PROVED: '{name}' is missing"


def test_a_forged_list_is_found(path: Path, tmp_path: Path) -> None:
    """A list that nobody signed, and one that leads out of the report."""
    report(path, tmp_path / "r", signing_key=KEY)
    note = tmp_path / "r" / "report.note"
    text = note.read_text()
    note.write_text(text.replace("  report.json", "  other.json"))
    assert proof_script.run(note, KEY.verifying, code=1).startswith("NOT PROVED")
    note.write_text(KEY.sign(f"axon-audit report 1\n{'0' * 64}  ../secret\n"))
    assert "outside of the report" in proof_script.run(note, KEY.verifying, code=1)


def test_a_file_that_was_added_is_named(path: Path, tmp_path: Path) -> None:
    report(path, tmp_path / "r", signing_key=KEY)
    note = tmp_path / "r" / "report.note"
    assert "NOT" not in proof_script.run(note, KEY.verifying, code=0)
    (tmp_path / "r" / "csv" / "new\nreport.html").write_text("all is well")
    said = proof_script.run(note, KEY.verifying, code=0)
    assert said.endswith(r"; NOT signed, and beside them: 'csv/new\nreport.html'")


def test_unsigned(path: Path, tmp_path: Path) -> None:
    """It says so in each place where people look."""
    facts = report(path, tmp_path / "r")
    assert facts["proofs"]["signed_by"] is None
    assert facts["limits"]["is_signed"] is False
    assert not (tmp_path / "r" / "report.note").exists()
    assert "NOT SIGNED" in (tmp_path / "r" / "README.txt").read_text()


def test_tables(tmp_path: Path) -> None:
    """All rows are in a table, in which no cell is a formula; the top ones are in the JSON."""
    audit = AuditLogger(auto_export_path=tmp_path / "logs")
    users = [f"user {number:03}" for number in range(250)]
    for user in [*users, "=cmd()", "@x", "user 007"]:
        record(audit, "2025-11-03T00:00:00", user_id=user)
    audit.close()
    facts = report(tmp_path / "logs", tmp_path / "r")
    assert facts["activity"]["by_actor"]["number"] == 252
    assert len(facts["activity"]["by_actor"]["top"]) == 100
    assert facts["activity"]["by_actor"]["top"][0]["user_id"] == "user 007"
    with (tmp_path / "r/csv/actors.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["user_id"] for row in rows] == sorted(["'=cmd()", "'@x", *users], key=_plain)
    assert sum(int(row["events"]) for row in rows) == 253


def _plain(cell: str) -> str:
    return cell.removeprefix("'")


def test_many_users(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What does not fit into memory is counted in files, exactly, and the answer is the same."""
    audit = AuditLogger(auto_export_path=tmp_path / "logs", max_events=500)
    for number in range(3000):
        user = f"user {number % 700:03}" if number % 9 else None
        operation = "RECALL" if number % 5 else "FORGET"
        record(
            audit, "2025-11-03T00:00:00", operation, user_id=user, subjects=(f"s{number % 600}",)
        )
    audit.close()
    report(tmp_path / "logs", tmp_path / "memory.zip")
    monkeypatch.setattr(tally, "MOST", 300)
    report(tmp_path / "logs", tmp_path / "files.zip")
    assert (tmp_path / "memory.zip").read_bytes() == (tmp_path / "files.zip").read_bytes()


_AGAIN = """
import sys
from pathlib import Path
from axon_audit_otel.evidence.bundle import new_bundle
from axon_audit_otel.evidence.period import Period
from axon_audit_otel.evidence.report import make_report
make_report(Path(sys.argv[1]), Period.of("2025-11", zone="Europe/Berlin"), Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_the_same_bytes(path: Path, tmp_path: Path) -> None:
    """Whatever the locale, the seed of hashes, the zone, the order of the directory, the time."""
    again = tmp_path / "copies" / "logs"
    for name in sorted((file.name for file in path.iterdir()), reverse=True):
        again.mkdir(parents=True, exist_ok=True)
        shutil.copy(path / name, again / name)
    made = []
    for number, (place, more) in enumerate(
        [(path, {}), (again, {"PYTHONHASHSEED": "1", "TZ": "Asia/Tokyo", "LC_ALL": "tr_TR.UTF-8"})]
    ):
        work = place.parent
        output = tmp_path / f"{number}.zip"
        environment = {**os.environ, "PYTHONHASHSEED": "0", **more}
        subprocess.run(
            [sys.executable, "-c", _AGAIN, "logs", output], cwd=work, env=environment, check=True
        )
        made.append(output.read_bytes())
    assert made[0] == made[1]


def test_the_sample_is_of_the_archive(path: Path, tmp_path: Path) -> None:
    """Who makes the report cannot choose it: it follows from hashes, as the report says."""
    sample = report(path, tmp_path / "r")["proofs"]["sample"]
    last = report(path, tmp_path / "s")["completeness"]["trails"][0]["last"]
    seed = hashlib.sha256(f"default 1 {last['sequence']} {last['hash']}\n".encode()).digest()
    digest = hashlib.sha256(seed + (0).to_bytes(8, "big")).digest()
    assert sample[0]["sequence"] == 1 + int.from_bytes(digest, "big") % 31


# --- bad input -----------------------------------------------------------------------------------


def test_no_archive(tmp_path: Path) -> None:
    for place in (tmp_path / "none", tmp_path):
        with pytest.raises(ArchiveError):
            report(place, tmp_path.with_name("out"))
    assert not tmp_path.with_name("out").exists()


def test_one_file(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="is one file: a report needs the directory"):
        report(sealed_files(path)[0], tmp_path / "r")


@pytest.mark.parametrize("name", ["r", "r.zip"])
def test_an_output_that_exists(path: Path, tmp_path: Path, name: str) -> None:
    """It is refused, and as it was; `force` replaces a report, and nothing else."""
    output = tmp_path / name
    report(path, output)
    before = output.stat().st_ino
    with pytest.raises(ArchiveError, match="exists: --force replaces it"):
        report(path, output)
    assert output.stat().st_ino == before
    report(path, output, force=True)
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "letter").write_text("love")
    with pytest.raises(ArchiveError, match="not a directory with a report"):
        report(path, precious, force=True)
    assert (precious / "letter").read_text() == "love"
    (precious / "SHA256SUMS").write_text(f"{'0' * 64}  letter\n")
    with pytest.raises(ArchiveError, match="not a directory with a report"):
        report(path, precious, force=True)


def test_a_file_among_those_of_a_report_is_kept(path: Path, tmp_path: Path) -> None:
    report(path, tmp_path / "r")
    (tmp_path / "r" / "csv" / "remarks.txt").write_text("mine")
    with pytest.raises(ArchiveError, match="not a directory with a report"):
        report(path, tmp_path / "r", force=True)
    assert (tmp_path / "r" / "csv" / "remarks.txt").read_text() == "mine"


def test_an_output_that_is_a_link(path: Path, tmp_path: Path) -> None:
    """It is a zip file or a directory by the name that was given."""
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "r.zip").symlink_to("file")
    report(path, tmp_path / "r.zip", force=True)
    assert zipfile.is_zipfile(tmp_path / "file")
    (tmp_path / "place.zip").mkdir()
    (tmp_path / "r").symlink_to("place.zip")
    report(path, tmp_path / "r", force=True)
    assert (tmp_path / "place.zip" / "report.json").is_file()


def test_interrupted(tmp_path: Path) -> None:
    """Whenever Ctrl-C comes, the old report is there, or the new one, whole."""
    output = tmp_path / ("\N{ROCKET}" * 60)

    def write(text: str) -> None:
        with new_bundle(output) as files:
            files.add("text", [text.encode()])
            files.finish("head", None)

    def interrupt() -> None:
        raise KeyboardInterrupt

    write("0")
    number, is_over = 0, False
    while not is_over:
        number, old = number + 1, (output / "text").read_text()
        with suppress(KeyboardInterrupt), Strike(number, interrupt, {bundle.__file__}) as strike:
            write(str(number))
        is_over = strike.left > 0
        assert (output / "text").read_text() in (old, str(number))
        assert (output / "SHA256SUMS").exists()
    assert number > 30


def test_an_output_in_the_archive(path: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(path)
    for output in (path / "r", path, path / "deep" / "r.zip", tmp_path / "link" / "r.zip"):
        with pytest.raises(ArchiveError, match="not apart from the archive"):
            report(path, output, force=True)
    keys = tmp_path / "somewhere" / "keys"
    for given, output in ((keys, keys / "r"), (None, tmp_path / "logs.keys" / "r.zip")):
        with pytest.raises(ArchiveError, match="not apart from the archive and its keys"):
            report(path, output, force=True, erasable=given)


@contextmanager
def at_most(size: int) -> Iterator[None]:
    """Files of at most *size* bytes, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 100, 5000, 20_000])
@pytest.mark.parametrize("name", ["r", "r.zip"])
def test_a_full_disk(path: Path, tmp_path: Path, size: int, name: str) -> None:
    """Nothing is there, and what was there before still is."""
    whole = tmp_path / "place" / name
    report(path, whole)
    there = sorted(str(f) for f in whole.parent.rglob("*"))
    for output in (whole, whole.with_name(f"new-{name}")):
        with at_most(size), pytest.raises((ArchiveError, OSError)):
            report(path, output, force=True)
        assert sorted(str(f) for f in whole.parent.rglob("*")) == there


def test_a_full_disk_for_what_does_not_fit_into_memory(tmp_path: Path) -> None:
    """It is no damage of the archive: there is no report."""
    audit = AuditLogger(auto_export_path=tmp_path / "logs")
    for number in range(300):
        record(audit, "2025-11-03T00:00:00", "EXPORT", user_id=f"user {number}")
    audit.close()
    with at_most(10_000), pytest.raises(ArchiveError, match="cannot write a temporary file"):
        report(tmp_path / "logs", tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_name_that_is_no_text(path: Path, tmp_path: Path) -> None:
    """A file whose name is no UTF-8 is told, and the report is text."""
    other = tmp_path / os.fsdecode(b"caf\xe9")
    path.rename(other)
    (other / os.fsdecode(b"audit_\xff.json")).write_bytes(b'{"events":[\n')
    facts = report(other, tmp_path / "r", command="axon-audit report")
    assert {finding["file"] for finding in facts["completeness"]["findings"]} == {
        "audit_\\udcff.json"
    }
    assert "caf\\udce9" in (tmp_path / "r" / "report.html").read_text()


def test_damage(path: Path, tmp_path: Path) -> None:
    """What can be read is counted; what cannot is told."""
    files = sealed_files(path)
    content = bytearray(files[1].read_bytes())
    content[len(content) // 2] ^= 1
    files[1].write_bytes(content)
    facts = report(path, tmp_path / "r", keys=[KEY.verifying])
    assert facts["completeness"]["verdict"] == "damage"
    assert facts["activity"]["events"] >= 28
    assert at("2025-11-11T00:00:00") in NOVEMBER
    assert facts["limits"]["needs_a_person"] != []


def test_a_manifest_with_a_line_that_is_no_record(path: Path, tmp_path: Path) -> None:
    """It is told, and there is a report, without proofs."""
    manifest = only(path, "*.manifest")
    lines = manifest.read_bytes().splitlines(keepends=True)
    for place in range(len(lines) + 1):
        manifest.write_bytes(b"".join([*lines[:place], b"no record\n", *lines[place:]]))
        facts = report(path, tmp_path / f"r{place}")
        assert facts["completeness"]["verdict"] == "damage"
        assert any(manifest.name in words for words in facts["limits"]["needs_a_person"])
        assert facts["proofs"]["sample"] == []


def test_hostile_names(tmp_path: Path) -> None:
    """Whatever ids hold: the report is JSON, and its tables are tables."""
    names = [
        "<script>alert(1)</script>",
        'a"b\n\r\x00,;',
        "\u202eevil",
        "=1+1",
        "x" * 1000,
        "é" * 9,
    ]
    audit = AuditLogger(auto_export_path=tmp_path / "logs")
    for name in names:
        record(audit, "2025-11-03T00:00:00", "FORGET", user_id=name, purpose=name, agent_id=name)
    audit.close()
    facts = report(tmp_path / "logs", tmp_path / "r")
    assert facts["activity"]["by_actor"]["number"] == len(names)
    with (tmp_path / "r/csv/erasures.csv").open(newline="") as file:
        assert len(list(csv.reader(file))) == len(names) + 1


def test_texts_that_a_library_keeps(tmp_path: Path) -> None:
    """What mem0 keeps of deleted memories is in the register."""
    audit = AuditLogger(auto_export_path=tmp_path / "logs")
    for left in ({"history": 3, "messages": 2}, {"history": 1}, "many", {"history": "x"}, [1]):
        facts = {"deleted": 1, "texts_left": left}
        record(audit, "2025-11-03T00:00:00", "FORGET", entry_ids=["m1"], metadata=facts)
    audit.close()
    erasures = report(tmp_path / "logs", tmp_path / "r")["erasures"]
    assert erasures["texts_left"] == 6
    assert [row["texts_left"] for row in erasures["first"]] == [5, 1, 0, 0, 0]


def test_the_command(cli: Cli, path: Path, tmp_path: Path) -> None:
    """Exit code 0: complete; 1: a person must look; 2: there is no report."""
    key = tmp_path / "auditor.key"
    key.write_text(f"{KEY.line()}\n")
    key.chmod(0o600)
    line = ("report", path, "--month", "2025-11", "--timezone", "UTC", "--key", KEY.verifying)
    done = cli(*line, "--signing-key", key, "--output", tmp_path / "a.zip", code=0)
    assert "signed by auditor" in done.stdout
    again = cli(*line, "--signing-key", key, "--output", tmp_path / "b.zip", "--json", code=0)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    command = json.loads(again.stdout)["scope"]["command"]
    assert str(key) not in command
    assert "PRIVATE" not in command
    assert command.endswith("--signing-key FILE --output OUTPUT")
    sealed_files(path)[1].unlink()
    done = cli(*line, "--output", tmp_path / "c", code=1)
    assert "NOT SIGNED" in done.stdout
    assert "needs a person: " in done.stderr
    assert (tmp_path / "c" / "report.json").exists()
    for wrong in (
        ("report", tmp_path / "none", "--month", "2025-11", "--output", tmp_path / "d"),
        (*line, "--output", tmp_path / "c"),
        (*line, "--from", "2025-11", "--to", "2025-11", "--output", tmp_path / "d"),
        ("report", path, "--month", "2025-11-03", "--output", tmp_path / "d"),
        ("report", path, "--month", "2025-11", "--timezone", "Nowhere", "--output", tmp_path / "d"),
        ("report", path, "--from", "2025-12", "--to", "2025-11", "--output", tmp_path / "d"),
    ):
        assert cli(*wrong, code=2).stderr.startswith(("Error: ", "Usage: "))
        assert not (tmp_path / "d").exists()


def test_the_command_makes_it_again(cli: Cli, path: Path, tmp_path: Path) -> None:
    """The command in a report, with a place to write to, makes the same bytes."""
    kept = tmp_path / "kept elsewhere"
    shutil.copy(path / "default.checkpoint", kept)
    first = ("report", path, "--from", "2025-11-01", "--to", "2025-11-20T10:00")
    first = (*first, "--key", KEY.verifying, "--checkpoint", kept)
    done = cli(*first, "--timezone", "Asia/Kathmandu", "--json", "--output", tmp_path / "a.zip")
    command = json.loads(done.stdout)["scope"]["command"]
    command = shlex.split(command)
    assert command[:2] == ["axon-audit", "report"]
    cli(*command[1:-1], tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()


def _types(value: Any) -> Iterator[type]:
    yield type(value)
    for part in (
        value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    ):
        yield from _types(part)


def test_json_types(path: Path, tmp_path: Path) -> None:
    """Keys are snake_case, values JSON types; nothing says compliant, and nothing is a score."""
    facts = report(path, tmp_path / "r", keys=[KEY.verifying])
    assert set(_types(facts)) <= {dict, list, str, int, float, bool, type(None)}
    text = json.dumps(facts).lower()
    assert "compliant" not in text
