"""The completeness of a report is proved: nothing can be taken away without a trace in it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from conftest import retire, sealed_files, until
from forgery import lines_of
from month import KEY, archive, days, record, report

from axon_audit_otel import AuditLogger
from axon_audit_otel.archive.checkpoints import new_key

pytestmark = pytest.mark.usefixtures("without_start_record")

#: Of each: 25 events of three files and of a journal.
MOMENTS = [*days(20, 31, "2025-10"), *days(1, 25), *days(1, 8, "2025-12")]


@pytest.fixture(name="path", scope="module")
def _path(tmp_path_factory: pytest.TempPathFactory, without_start_record: None) -> Path:
    """Two trails of October to December; the second has a journal."""
    path = tmp_path_factory.mktemp("completeness") / "logs"
    archive(path, MOMENTS)
    archive(path, days(3, 14), name="second")
    running = AuditLogger(auto_export_path=path, name="third", signing_key=KEY)
    for moment in days(5, 9):
        record(running, moment, user_id="bob")
    copy = path.with_name("copy")
    shutil.copytree(path, copy)  # as a kill leaves it
    running.close()
    return copy


def part(path: Path, **given: Any) -> dict[str, Any]:
    output = path.with_name("report.zip")
    found = report(path, output, force=True, **given)["completeness"]
    assert isinstance(found, dict)
    return found


def test_whole(path: Path) -> None:
    """Numbers, hashes, and how far signed checkpoints reach, of the period alone."""
    found = part(path, keys=[KEY.verifying])
    first, second, third = found["trails"]
    assert [trail["trail"] for trail in found["trails"]] == ["default", "second", "third"]
    assert (first["events"], first["expected"], first["missing"]) == (25, 25, [])
    assert (first["first"]["sequence"], first["last"]["sequence"]) == (13, 37)
    assert first["first"]["previous_hash"] is not None
    assert first["covered"]["until"] == 37
    assert first["covered"]["uncovered"] is None
    assert (second["events"], second["covered"]["until"]) == (12, 12)
    assert third["events"] == 5
    assert found["events"] == 42
    assert found["findings"] == []


def test_without_keys(path: Path) -> None:
    """No signature is checked: it says so, and what could be missing."""
    found = part(path)
    assert (found["verdict"], found["keys"]) == ("ok", [])
    assert all(trail["covered"]["until"] is None for trail in found["trails"])
    assert "rewritten as a whole" in found["trails"][0]["covered"]["uncovered"]
    assert found["trails"][0]["checkpoints"]["reaching"]["events"] >= 37
    assert found["unknown"] is not None


# --- taken away --------------------------------------------------------------------------------


def _of_the_month(path: Path) -> list[Path]:
    """The whole files of November of the first trail."""
    of_trail = [f for f in sealed_files(path) if b'"trail":"default"' in f.read_bytes()]
    return [file for file in of_trail if file.read_bytes().count(b"2025-11-") == 10]


def a_line(path: Path) -> None:
    file = _of_the_month(path)[0]
    lines = lines_of(file)
    file.write_bytes(b"".join([*lines[:4], *lines[5:]]))


def a_file(path: Path) -> None:
    _of_the_month(path)[0].unlink()


def a_file_and_its_line(path: Path) -> None:
    file = _of_the_month(path)[0]
    file.unlink()
    manifest = path / "default.manifest"
    kept = [line for line in lines_of(manifest) if file.name.encode() not in line]
    manifest.write_bytes(b"".join(kept))


def the_end_of_a_journal(path: Path) -> None:
    journal = path / "third.journal"
    journal.write_bytes(b"".join(lines_of(journal)[:-1]))


def a_journal(path: Path) -> None:
    (path / "third.journal").unlink()


def a_writer(path: Path) -> None:
    for file in [*path.glob("second.*"), *path.glob("audit_*")]:
        if file.suffix != ".json" or b'"trail":"second"' in file.read_bytes():
            file.unlink()


def the_newest_checkpoint(path: Path) -> None:
    (path / "second.checkpoint").unlink()


def all_checkpoints(path: Path) -> None:
    for file in path.glob("default.checkpoint*"):
        file.unlink()


def the_newest_of_all_checkpoints(path: Path) -> None:
    file = path / "second.checkpoints"
    text = file.read_text()
    file.write_text(text[: text.rindex("axon-audit/")])
    (path / "second.checkpoint").unlink()


def the_month(path: Path) -> None:
    manifest = path / "default.manifest"
    gone = [f for f in sealed_files(path) if b"2025-11-" in f.read_bytes()]
    kept = [x for x in lines_of(manifest) if not any(f.name.encode() in x for f in gone)]
    manifest.write_bytes(b"".join(kept))
    for file in gone:
        file.unlink()


def the_month_before(path: Path) -> None:
    for file in sealed_files(path):
        if b"2025-10-2" in file.read_bytes():
            file.unlink()


def all_until_its_end(path: Path) -> None:
    """What is left of the trail is of later."""
    for file in sealed_files(path):
        data = file.read_bytes()
        if b'"trail":"default"' in data and (b"2025-10-" in data or b"2025-11-" in data):
            file.unlink()


def all_until_its_end_and_the_list(path: Path) -> None:
    all_until_its_end(path)
    (path / "default.manifest").unlink()


TAKEN: list[Callable[[Path], None]] = [
    *(a_line, a_file, a_file_and_its_line, the_end_of_a_journal, a_journal, a_writer),
    *(the_newest_checkpoint, the_newest_of_all_checkpoints, all_checkpoints),
    *(the_month, the_month_before, all_until_its_end, all_until_its_end_and_the_list),
]


@pytest.mark.slow
@pytest.mark.parametrize("take", TAKEN, ids=lambda take: take.__name__)
@pytest.mark.parametrize("keys", [(), (KEY.verifying,)], ids=["without keys", "with keys"])
def test_whatever_is_taken_away_shows(
    path: Path, tmp_path: Path, take: Callable[[Path], None], keys: tuple[Any, ...]
) -> None:
    """With the keys and without them, the completeness says something else than before."""
    copy = tmp_path / "logs"
    shutil.copytree(path, copy)
    before = part(copy, keys=keys)
    take(copy)
    assert part(copy, keys=keys) != before


@pytest.mark.parametrize(
    "take",
    [
        *(a_line, a_file, a_file_and_its_line, the_month),
        *(all_until_its_end, all_until_its_end_and_the_list),
    ],
    ids=lambda take: take.__name__,
)
def test_what_is_missing_needs_a_person(
    path: Path, tmp_path: Path, take: Callable[[Path], None]
) -> None:
    copy = tmp_path / "logs"
    shutil.copytree(path, copy)
    take(copy)
    found = report(copy, tmp_path / "report", keys=[KEY.verifying])
    assert found["limits"]["needs_a_person"] != []
    assert found["completeness"]["verdict"] == "damage"


def test_a_trail_of_which_nothing_is_left_needs_a_person(path: Path, tmp_path: Path) -> None:
    """A checkpoint from elsewhere is all that knows of it."""
    copy = tmp_path / "logs"
    shutil.copytree(path, copy)
    note = (copy / "second.checkpoint").read_text()
    a_writer(copy)
    found = report(copy, tmp_path / "report", keys=[KEY.verifying], checkpoints=[note])
    assert found["limits"]["needs_a_person"] != []
    assert found["completeness"]["verdict"] != "ok"


def test_every_single_event_counts(tmp_path: Path) -> None:
    """Of a journal, which nothing attests, the loss of the last line shows, and of any other."""
    audit = AuditLogger(auto_export_path=tmp_path / "running", name="default")
    for moment in days(1, 12):
        record(audit, moment, user_id="alice")
    path = tmp_path / "logs"
    shutil.copytree(tmp_path / "running", path)
    audit.close()
    whole = part(path)
    journal = path / "default.journal"
    head, *lines = lines_of(journal)
    for number in range(len(lines)):
        journal.write_bytes(head + b"".join(lines[:number] + lines[number + 1 :]))
        assert part(path) != whole, number


# --- explained -----------------------------------------------------------------------------------


def test_retention(tmp_path: Path) -> None:
    """Deletions that touch the period are named, with their numbers and their rule; others not."""
    path = archive(tmp_path / "logs", MOMENTS, key=None)
    files = sealed_files(path)
    retire(files[0])  # of October
    (trail,) = part(path)["trails"]
    assert (trail["events"], trail["deletions"], trail["missing"]) == (25, [], [])
    retire(files[1])
    (trail,) = part(path)["trails"]
    (deletion,) = trail["deletions"]
    assert (deletion["first"], deletion["last"]) == (11, 20)
    assert (deletion["rule"], deletion["wholly_of_the_period"]) == ("retention: 1d", False)
    assert trail["missing"] == [{"first": 1, "last": 20, "why": "deleted"}]
    assert report(path, tmp_path / "report")["limits"]["needs_a_person"] == []


def test_retention_of_all_of_a_trail(tmp_path: Path) -> None:
    """What retention has deleted is still told where nothing else is left."""
    path = archive(tmp_path / "logs", days(1, 12))
    retire(*sealed_files(path))
    (trail,) = part(path)["trails"]
    assert (trail["events"], len(trail["deletions"])) == (0, 2)


GIVEN: dict[str, Any] = {"keys": [KEY.verifying], "signing_key": KEY}


def test_a_later_trail_changes_nothing(tmp_path: Path) -> None:
    """What began after the period is no part of it: the report has the same bytes."""
    path = archive(tmp_path / "logs", MOMENTS)
    report(path, tmp_path / "before.zip", **GIVEN)
    for number in range(3):
        audit = AuditLogger(auto_export_path=path, name="reads", signing_key=KEY)
        record(audit, f"2025-12-24T10:00:0{number}", "AUDIT", metadata={"record": "read"})
        audit.close()
        report(path, tmp_path / "after.zip", force=True, **GIVEN)
        assert (tmp_path / "before.zip").read_bytes() == (tmp_path / "after.zip").read_bytes()


_GOES_ON = """
import sys
from pathlib import Path
from month import archive, days
from axon_audit_otel.archive.checkpoints import SigningKey
archive(Path(sys.argv[1]), days(1, 24, "2025-12"), key=SigningKey(sys.argv[2]), name="app")
"""


@pytest.mark.slow
def test_later_events_of_the_trail_change_nothing(tmp_path: Path) -> None:
    """Also of a trail that another process goes on with, and its new checkpoints."""
    key, path = new_key("app"), tmp_path / "logs"
    given = {"keys": [key.verifying], "signing_key": key}
    archive(path, MOMENTS[:-8], key=key, name="app")
    report(path, tmp_path / "before.zip", **given)
    helpers = Path(__file__).parents[1]
    line = [sys.executable, "-c", _GOES_ON, str(path), key.line()]
    subprocess.run(line, check=True, cwd=helpers)
    assert path.joinpath("app.manifest").read_text().count('"kind":"seal"') > 5
    report(path, tmp_path / "after.zip", **given)
    assert (tmp_path / "before.zip").read_bytes() == (tmp_path / "after.zip").read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("names", [("journal",), ("journal", "attested"), ("journal", "manifest")])
async def test_all_events_of_a_trail_are_taken_away(tmp_path: Path, names: Any) -> None:
    """What is left says that there were some, and not when these were."""
    running = AuditLogger(auto_export_path=tmp_path / "logs", name="third", signing_key=KEY)
    for moment in days(5, 9):
        record(running, moment, user_id="bob")
    await until((tmp_path / "logs" / "third.checkpoint").exists)
    copy = shutil.copytree(tmp_path / "logs", tmp_path / "copy")
    running.close()
    for name in names:
        (copy / f"third.{name}").unlink()
    found = part(copy, keys=[KEY.verifying])
    assert found["verdict"] == "damage"
    assert [trail["trail"] for trail in found["trails"]] == ["third"]
    assert {one["file"].partition(".")[0] for one in found["findings"]} == {"third"}


@pytest.mark.parametrize("forges_manifest", [False, True])
def test_the_period_is_taken_away(tmp_path: Path, forges_manifest: bool) -> None:
    """What is left of the trail is of later; its manifest may be shortened as well."""
    path = archive(tmp_path / "logs", [*days(1, 10), *days(1, 10, "2025-12")])
    first, *_ = sealed_files(path)
    first.unlink()
    if forges_manifest:
        manifest = path / "default.manifest"
        lines = manifest.read_bytes().splitlines(keepends=True)
        manifest.write_bytes(b"".join(line for line in lines if first.name.encode() not in line))
    found = part(path, keys=[KEY.verifying])
    assert found["verdict"] == "damage"
    assert found["findings"]
    assert [trail["trail"] for trail in found["trails"]] == ["default"]
