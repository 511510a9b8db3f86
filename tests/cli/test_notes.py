"""Notes report what an answer leaves out: hashed and erased ids, deleted and damaged files."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from conftest import Cli, Make, Run

from axon_audit_otel import AuditConfigError, AuditLogger, MemoryOnlyWarning

KEY = b"a secret of enough length"
NOW = datetime.now(timezone.utc)


# --- ids that are hashed or erased ------------------------------------------------------------


@pytest.fixture(name="hashed")
async def _hashed(make_audit: Make, tmp_path: Path) -> Path:
    """An archive whose ids are hashed; the secret is beside it."""
    (tmp_path / "key").write_bytes(KEY)
    with make_audit(auto_export_path=tmp_path / "a", pseudonymize=KEY) as audit:
        for user in ("alice", "bob"):
            await audit.log_event("EXPORT", user_id=user, session_id="s1", subject_id="carol")
    return tmp_path / "a"


@pytest.mark.parametrize(
    "command", ["query", "query --json", "stats", "stats --json", "export", "export --format=otlp"]
)
@pytest.mark.parametrize(
    ("option", "kind"), [("--user", "user"), ("--session", "session"), ("--subject", "user")]
)
def test_hashed_ids_without_the_secret(
    cli: Cli, hashed: Path, command: str, option: str, kind: str
) -> None:
    """A query by a plain id, in an archive with hashed ids, gets a note on what is missing."""
    name, *more = command.split()
    out = ["-"] if name == "export" else []
    said = cli(name, hashed, *out, option, "alice", *more).stderr
    assert f"{kind} ids in this archive are hashed: give the secret with --pseudonymize" in said
    assert "AXON_AUDIT_PSEUDONYMIZE" in said


def test_hashed_ids_with_a_secret(cli: Cli, hashed: Path, tmp_path: Path) -> None:
    """The right one finds them, and nothing is said; another one may be why nothing is found."""
    right = cli("query", hashed, "--user", "alice", "--pseudonymize", f"@{tmp_path / 'key'}")
    assert right.stderr == "1 event\n"
    wrong = cli("query", hashed, "--user", "alice", "--pseudonymize", "another secret, long")
    assert "with the secret given, none of them is 'alice'" in wrong.stderr
    assert "another secret" not in wrong.stderr


def test_pseudonyms_are_asked_for_as_they_are(cli: Cli, hashed: Path) -> None:
    """A query by a pseudonym gets no note."""
    event = json.loads(cli("query", hashed, "--limit", "1", "--json").stdout)
    assert cli("query", hashed, "--user", event["user_id"]).stderr == "1 event\n"


async def test_hashed_since_a_while(cli: Cli, hashed: Path, make_audit: Make) -> None:
    """Some events in clear are an answer, and not the whole one."""
    with make_audit(auto_export_path=hashed, name="other") as audit:
        await audit.log_event("EXPORT", user_id="alice")
    result = cli("query", hashed, "--user", "alice")
    assert "are hashed" in result.stderr
    assert result.stderr.endswith("1 event\n")
    assert cli("query", hashed, "--operation", "EXPORT").stderr == "3 events\n"
    assert cli("query", hashed, "--user", "alice", "--until", "1h").stderr == "0 events\n"


async def test_clear_ids(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """Without hashed ids, an unknown id is simply not there."""
    with make_audit(auto_export_path=tmp_path) as audit:
        await audit.log_event("EXPORT", user_id="alice", session_id="s1")
    assert cli("query", tmp_path, "--user", "bob").stderr == "0 events\n"
    assert cli("query", tmp_path, "--session", "s2").stderr == "0 events\n"


async def test_erased_ids(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """After an erasure no id finds the events, which are there."""
    with make_audit(auto_export_path=tmp_path / "a", erasable=True, pseudonymize=KEY) as audit:
        await audit.log_event("EXPORT", user_id="alice")
        await audit.log_event("EXPORT", user_id="bob")
        assert "hashed" in cli("query", tmp_path / "a", "--user", "bob").stderr
        audit.erase_user("alice")
    secret = ["--pseudonymize", KEY.decode()]
    assert cli("query", tmp_path / "a", "--user", "bob", *secret).stderr == "1 event\n"
    assert "users were erased" in cli("query", tmp_path / "a", "--user", "alice", *secret).stderr


# --- what retention deleted -------------------------------------------------------------------


async def test_a_time_that_retention_deleted(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """A range that reaches into it says so; one that does not, or none at all, has nothing to
    say."""
    with make_audit(auto_export_path=tmp_path, max_events=10, max_archive_bytes=1) as audit:
        for _ in range(25):
            await audit.log_event("EXPORT")
    said = cli("query", tmp_path, "--since", "1h").stderr
    count = len(cli("query", tmp_path, "--json").stdout.splitlines())
    assert f"deleted by retention: {26 - count} events up to {datetime.now().year}-" in said
    assert "deleted" in cli("stats", tmp_path, "--until", "0s").stderr
    assert "deleted" in cli("query", tmp_path, "--user", "nobody").stderr
    assert "deleted" in cli("alerts", tmp_path, "--last", "1h").stderr
    assert "deleted" not in cli("query", tmp_path).stderr
    assert "deleted" not in cli("query", tmp_path, "--since", "0s").stderr


def test_an_archive_without_events(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """Before its first event, an archive answers that there is none; it is no error."""
    make_audit(auto_export_path=tmp_path)
    for command in ("query", "stats", "tail", "alerts"):
        cli(command, tmp_path)
    assert json.loads(cli("export", tmp_path, "-").stdout)["events"] == []


# --- memory, and files that have more ---------------------------------------------------------

ASK: list[Callable[[AuditLogger, Path, Any], object]] = [
    lambda audit, _, option: audit.query_events(**option),
    lambda audit, _, option: audit.get_user_statistics("alice", **option),
    lambda audit, path, option: audit.export_to_file(path / "out.json", **option),
]


async def _log(audit: AuditLogger, count: int) -> None:
    for _ in range(count):
        await audit.log_event("EXPORT", user_id="alice")


def _is_told(ask: Callable[[], object]) -> bool:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        ask()
    assert all(warning.category is MemoryOnlyWarning for warning in told)
    return bool(told)


@pytest.mark.parametrize("ask", ASK)
async def test_memory_alone_says_so_once(make_audit: Make, tmp_path: Path, ask: Any) -> None:
    """When events have left memory that could be in the answer, whoever did not say which of
    the two is meant is told; once."""
    audit = make_audit(auto_export_path=tmp_path / "a", max_events=10)
    await _log(audit, 10)
    assert not _is_told(lambda: ask(audit, tmp_path, {}))
    await _log(audit, 1)
    for option in ({"archived": False}, {"archived": True}):
        assert not _is_told(partial(ask, audit, tmp_path, option))
    with pytest.warns(MemoryOnlyWarning, match="archived=True") as told:
        ask(audit, tmp_path, {})
    assert told[0].filename == __file__
    assert not _is_told(lambda: ask(audit, tmp_path, {}))


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
async def test_after_a_restart(
    make_audit: Make, run_script: Run, tmp_path: Path, first: bool
) -> None:
    """Events of the last process are not in this one's memory, before and after its first
    event."""
    script = """
        import asyncio, sys
        from axon_audit_otel import AuditLogger
        with AuditLogger(auto_export_path=sys.argv[1]) as audit:
            asyncio.run(audit.log_event("STORE"))
        """
    run_script(script, tmp_path)
    audit = make_audit(auto_export_path=tmp_path)
    await _log(audit, 0 if first else 1)
    with pytest.warns(MemoryOnlyWarning):
        audit.query_events()


async def test_other_writers(make_audit: Make, tmp_path: Path) -> None:
    """Events of another process are not in this one's memory, even if its own newest events are;
    a process that has written nothing, or nothing since then, has none to add."""
    audit = make_audit(auto_export_path=tmp_path)
    other = make_audit(auto_export_path=tmp_path, name="other")
    await _log(audit, 3)
    assert not _is_told(audit.query_events)
    await _log(other, 1)
    assert not _is_told(lambda: audit.query_events(start_time=NOW + timedelta(days=1)))
    with pytest.warns(MemoryOnlyWarning, match="archived=True"):
        assert len(audit.query_events(limit=3)) == 3


async def test_the_way_the_sdk_asks(make_audit: Make, tmp_path: Path) -> None:
    """`get_events` has no such argument, and says so too."""
    audit = make_audit(auto_export_path=tmp_path, max_events=10)
    await _log(audit, 11)
    with pytest.warns(MemoryOnlyWarning, match="query_events"):
        await audit.get_events()


@pytest.mark.parametrize("given", [{"limit": 10}, {"start_time": NOW + timedelta(days=1)}])
async def test_an_answer_that_is_whole(make_audit: Make, tmp_path: Path, given: Any) -> None:
    """The newest few, and what happened after the oldest in memory, are all in memory."""
    audit = make_audit(auto_export_path=tmp_path, max_events=10)
    await _log(audit, 11)
    assert not _is_told(lambda: audit.query_events(**given))
    oldest = audit.query_events(archived=False)[-1].timestamp
    assert not _is_told(lambda: audit.query_events(start_time=oldest))


async def test_without_an_archive(make_audit: Make, tmp_path: Path) -> None:
    """Nothing has more; and asking for files is an error everywhere."""
    audit = make_audit(max_events=10)
    await _log(audit, 11)
    for ask in ASK:
        assert not _is_told(partial(ask, audit, tmp_path, {}))
        with pytest.raises(AuditConfigError, match="no archive"):
            ask(audit, tmp_path, {"archived": True})


@pytest.mark.parametrize("erasable", [False, True])
async def test_memory_and_files_together(
    make_audit: Make, cli: Cli, tmp_path: Path, erasable: bool
) -> None:
    """Statistics and an export of both, of every event once, as it was recorded."""
    audit = make_audit(auto_export_path=tmp_path / "a", max_events=10, erasable=erasable)
    await _log(audit, 25)
    assert audit.get_user_statistics("alice", archived=True)["total_operations"] == 25
    assert audit.export_to_file(tmp_path / "out.json", archived=True) == 25
    exported = json.loads((tmp_path / "out.json").read_bytes())["events"]
    assert [event["sequence"] for event in exported] == list(range(2, 27))  # 1: `start`
    assert (b"alice" in (tmp_path / "out.json").read_bytes()) is not erasable


# --- filters of stats -------------------------------------------------------------------------


async def test_stats_takes_every_filter(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """It counts what `query` prints."""
    with make_audit(auto_export_path=tmp_path) as audit:
        await audit.log_event("EXPORT", user_id="alice", session_id="s1", entry_ids=["e1"])
        await audit.log_event("STORE", user_id="bob", status="FAILURE", subject_id="alice")
    for option, value in (
        ("--user", "alice"),
        ("--session", "s1"),
        ("--operation", "store"),
        ("--status", "FAILURE"),
        ("--entry", "e1"),
        ("--subject", "alice"),
    ):
        counted = json.loads(cli("stats", tmp_path, option, value, "--json").stdout)
        assert counted["total_operations"] == 1, option
    for options, count in ((["--since", "1h"], 2), (["--until", "1h"], 0), (["--since", "0s"], 0)):
        counted = json.loads(cli("stats", tmp_path, *options, "--json").stdout)
        assert counted["total_operations"] == count, options
