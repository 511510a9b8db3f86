"""One query over memory and files: in order, each event once, decoding only what can match."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import tempfile
import textwrap
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Cli, Make, Run, only, sealed_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axon_audit_otel import (
    ArchiveError,
    ArchiveIncompleteWarning,
    AuditConfigError,
    AuditEvent,
    AuditLogger,
    verify,
)
from axon_audit_otel.events.model import encode
from axon_audit_otel.trail import reader

pytestmark = pytest.mark.usefixtures("without_start_record")


async def _log(audit: AuditLogger, count: int, **fields: Any) -> list[AuditEvent]:
    return [await audit.log_event("STORE", **fields) for _ in range(count)]


def _asked(cli: Cli, directory: Path, *options: str) -> list[dict[str, Any]]:
    """The events that the command line finds."""
    result = cli("query", directory, "--json", *options)
    return [json.loads(line) for line in result.stdout.splitlines()]


def _numbers(events: list[AuditEvent]) -> list[int]:
    return [event.sequence for event in events]


# --- any history against a plain list ----------------------------------------------------------

#: Values that need escaping, or that also stand elsewhere in a line or in the frame of a file.
IDS = [
    *("alice", "bob", "", 'al"ice', "a\\", "ü", "日本\U0001f600", "\n", "\x00", "</b>"),
    *('"user_id":"alice"', "events", "trail", "total_events", "STORE", "SUCCESS", "1"),
]
METADATA: list[dict[str, Any]] = [
    {},
    {"user_id": "alice", "session_id": "bob", "operation": "RECALL", "status": "FAILURE"},
    {"text": '"user_id":"alice","entry_ids":["bob"]', "list": ["alice", "ü"]},
    {"timestamp": "1970-01-01T00:00:00.000000Z", "alice": {"user_id": "ü"}},
]
_id = st.none() | st.sampled_from(IDS)
_event = st.fixed_dictionaries(
    {
        "operation": st.sampled_from(["STORE", "RECALL"]),
        "user_id": _id,
        "session_id": _id,
        "subject_id": _id,
        "entry_ids": st.lists(st.sampled_from(IDS), max_size=3),
        "metadata": st.sampled_from(METADATA),
        "status": st.sampled_from(["SUCCESS", "FAILURE"]),
    }
)
_query = st.fixed_dictionaries(
    {},
    optional={
        "operation": st.sampled_from(["STORE", "RECALL"]),
        "user_id": st.sampled_from(IDS),
        "session_id": st.sampled_from(IDS),
        "subject_id": st.sampled_from(IDS),
        "entry_ids": st.lists(st.sampled_from(IDS), min_size=1, max_size=20),
        "status": st.sampled_from(["SUCCESS", "FAILURE"]),
        "limit": st.integers(0, 12),
        "since": st.integers(0, 30),
        "until": st.integers(0, 30),
    },
)
_action = st.one_of(
    st.tuples(st.just("log"), st.integers(0, 1), st.lists(_event, min_size=1, max_size=8)),
    st.tuples(st.just("seal"), st.integers(0, 1), st.none()),
    st.tuples(st.just("clear"), st.integers(0, 1), st.none()),
    st.tuples(st.just("query"), st.integers(0, 1), _query),
)
#: What one process does, and how it ends; torn: in the middle of a line, as with the power.
_process = st.tuples(
    st.lists(_action, min_size=1, max_size=8), st.sampled_from(["closed", "killed", "torn"])
)
_options = st.fixed_dictionaries(
    {
        "max_events": st.integers(1, 7),
        "compress": st.booleans(),
        "durability": st.sampled_from(["process", "disk"]),
    },
    optional={"max_file_bytes": st.integers(1, 3000)},
)

#: Runs histories, each process of them as a real one that ends or is ended.
WORKER = """
import asyncio, json, os, signal, sys
from datetime import datetime
from prometheus_client import CollectorRegistry
from axon_audit_otel import AuditLogger

async def act(directory, options, actions, reply):
    def make(name):
        return AuditLogger(
            auto_export_path=directory, name=name, registry=CollectorRegistry(), **options)
    loggers = [make("one"), make("two")]
    for kind, which, argument in actions:
        audit = loggers[which]
        if kind == "log":
            for fields in argument:
                event = await audit.log_event(**fields)
                reply("logged", audit.name, event.to_json().decode())
        elif kind == "seal":
            audit.seal()
        elif kind == "clear":
            await audit.clear()
        else:
            for name in {"start_time", "end_time"} & argument.keys():
                argument[name] = datetime.fromisoformat(argument[name])
            found = audit.query_events(archived=True, **argument)
            reply("found", [event.to_json().decode() for event in found])
    return loggers

for line in sys.stdin:
    directory, options, actions, end = json.loads(line)
    child = os.fork()
    if not child:
        def reply(*words):
            sys.stdout.write(json.dumps(words) + "\\n")
            sys.stdout.flush()
        try:
            loggers = asyncio.run(act(directory, options, actions, reply))
            for audit in loggers if end == "closed" else ():
                audit.close()
            reply("done")
            if end != "closed":
                os.kill(os.getpid(), signal.SIGKILL)
        except BaseException as exc:
            reply("failed", repr(exc))
        finally:
            os._exit(0)
    os.waitpid(child, 0)
"""


class _Model:
    """Processes that write to one directory, and a plain list of what they logged."""

    def __init__(self, worker: subprocess.Popen[str], directory: str, options: Any) -> None:
        self._worker = worker
        self._directory = directory
        self._options = options
        self.logged: list[dict[str, Any]] = []

    def run(self, actions: list[Any], end: str) -> None:
        """Let a process act; what it finds must be what the list says."""
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        queries = [query for kind, _, query in actions if kind == "query"]
        for query in queries:  # times are those of events that are logged by now
            for option, name in (("since", "start_time"), ("until", "end_time")):
                number = query.pop(option, len(self.logged))
                if number < len(self.logged):
                    query[name] = self.logged[number]["timestamp"].replace("Z", "+00:00")
            if query.get("start_time", "") > query.get("end_time", "~"):
                del query["start_time"]
        command = json.dumps([self._directory, self._options, actions, end])
        self._worker.stdin.write(command + "\n")
        self._worker.stdin.flush()
        while (said := json.loads(self._worker.stdout.readline()))[0] != "done":
            if said[0] == "logged":
                self.logged.append(json.loads(said[2]))
            else:
                assert said[0] == "found", said
                self.check(queries.pop(0), [json.loads(line) for line in said[1]])
        for journal in Path(self._directory).glob("*.journal") if end == "torn" else ():
            with journal.open("ab") as file:
                file.write(b',{"event_id":"evt_0')

    def check(self, query: dict[str, Any], found: list[dict[str, Any]]) -> None:
        """*found* is what the list has, newest first.

        What the trails say of themselves (processes that did not end well) is left out.
        """
        expected = [event for event in reversed(self.logged) if _matches(event, query)]
        if "limit" in query:
            assert len(found) <= query["limit"]
            own = sum(event["operation"] == "AUDIT" for event in found)
            expected = expected[: query["limit"] - own]
        assert [event for event in found if event["operation"] != "AUDIT"] == expected


def _matches(event: dict[str, Any], query: dict[str, Any]) -> bool:
    fields = ("operation", "user_id", "session_id", "subject_id", "status")
    start = query.get("start_time", "").replace("+00:00", "Z")
    end = query.get("end_time", "~").replace("+00:00", "Z")
    wanted = set(query.get("entry_ids", ()))
    return (
        all(event.get(name) == query[name] for name in fields if name in query)
        and ("entry_ids" not in query or not wanted.isdisjoint(event["entry_ids"]))
        and start <= event["timestamp"] <= end
    )


@pytest.fixture(name="worker", scope="module")
def _worker() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", textwrap.dedent(WORKER)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


_settings = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
_histories = given(
    options=_options, processes=st.lists(_process, min_size=1, max_size=4), last=_query
)


def _try(
    worker: subprocess.Popen[str],
    cli: Cli,
    options: dict[str, Any],
    processes: list[tuple[list[Any], str]],
    last: dict[str, Any],
) -> None:
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # it syncs at once
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        model = _Model(worker, directory, options)
        for actions, end in processes:
            model.run([list(action) for action in actions], end)
        model.run([["query", 0, last]], "closed")
        if model.logged:
            model.check({}, _asked(cli, Path(directory)))
            assert verify(directory).findings == []


@pytest.mark.slow
@settings(_settings, max_examples=15)
@_histories
def test_any_history(worker: subprocess.Popen[str], cli: Cli, **history: Any) -> None:
    """All events that two trails log, seal and forget, over processes that end, are killed, or lose
    power in the middle of a line: a query over memory and files finds what a plain list has,
    and so does the command line; verify finds nothing."""
    _try(worker, cli, **history)


@pytest.mark.nightly  # five minutes
@settings(_settings, max_examples=500)
@_histories
def test_many_histories(worker: subprocess.Popen[str], cli: Cli, **history: Any) -> None:
    """More histories than in the test above."""
    _try(worker, cli, **history)


# --- memory and files ----------------------------------------------------------------------------


class TestMemoryAndFiles:
    async def test_each_event_once(self, make_audit: Make, tmp_path: Path) -> None:
        """An event in memory, in the journal and in sealed files is found once, newest first;
        without `archived`, memory is all."""
        audit = make_audit(max_events=5, auto_export_path=tmp_path)
        logged = await _log(audit, 23)
        assert audit.query_events(archived=True) == logged[::-1]
        assert audit.query_events() == logged[:-6:-1]

    async def test_journal_that_memory_has_in_part(self, make_audit: Make, tmp_path: Path) -> None:
        """After `clear`, the journal still has the events before, and those after are not
        taken twice from it."""
        audit = make_audit(auto_export_path=tmp_path)
        logged = await _log(audit, 5)
        await audit.clear()
        logged += await _log(audit, 3)
        assert audit.query_events(archived=True) == logged[::-1]
        assert audit.query_events(archived=True, limit=4) == logged[:-5:-1]

    @pytest.mark.parametrize("compress", [False, True])
    async def test_every_filter(self, make_audit: Make, tmp_path: Path, compress: bool) -> None:
        """Each filter finds in files what it finds in memory."""
        audit = make_audit(auto_export_path=tmp_path, compress=compress)
        for number in range(30):
            await audit.log_event(
                ["STORE", "RECALL"][number % 2],
                f"user{number % 3}",
                f"session{number % 5}",
                [f"e{number}", f"e{number + 1}", "common"],
                status=["SUCCESS", "FAILURE"][number % 7 == 0],
                subject_id=f"user{number % 4}",
            )
            if number in (9, 19):
                audit.seal()
        moment = audit.query_events(entry_ids="e14")[0].timestamp
        queries: list[dict[str, Any]] = [
            {"user_id": "user1"},
            {"session_id": "session2"},
            {"subject_id": "user3"},
            {"operation": "RECALL"},
            {"status": "FAILURE"},
            {"entry_ids": "e7"},
            {"entry_ids": ["e7", "common"]},
            {"entry_ids": ["e3", "e28", "e9", "none"]},
            {"entry_ids": [f"e{n}" for n in range(25)]},
            {"start_time": moment},
            {"end_time": moment},
            {"start_time": moment, "end_time": moment},
            {"user_id": "user1", "operation": "STORE", "limit": 3},
            {"user_id": "user", "limit": 3},
            {"limit": 0},
        ]
        expected = [audit.query_events(**query) for query in queries]
        await audit.clear()
        assert [audit.query_events(**query) for query in queries] == [[]] * len(queries)
        assert [audit.query_events(archived=True, **query) for query in queries] == expected
        assert [len(found) for found in expected[:8]] == [10, 6, 7, 15, 5, 2, 30, 6]

    async def test_other_writers(self, make_audit: Make, registry: Any, tmp_path: Path) -> None:
        """Other trails in the directory are found too, merged by time."""
        first = make_audit(max_events=3, auto_export_path=tmp_path, name="first")
        second = make_audit(max_events=2, auto_export_path=tmp_path, name="second")
        logged = []
        for number in range(20):
            logged += await _log(second if number % 3 else first, 1, user_id=f"u{number % 2}")
        assert first.query_events(archived=True) == logged[::-1]
        assert second.query_events(archived=True) == logged[::-1]
        assert first.query_events(archived=True, user_id="u1", limit=4) == logged[:-9:-2]

    async def test_directory_that_is_gone(self, make_audit: Make, tmp_path: Path) -> None:
        """Without its directory, memory still answers."""
        audit = make_audit(auto_export_path=tmp_path / "gone")
        logged = await _log(audit, 3)
        (tmp_path / "gone").rename(tmp_path / "moved")
        assert audit.query_events(archived=True) == logged[::-1]

    def test_without_an_archive(self, make_audit: Make) -> None:
        """To ask for files where there are none is a mistake, not an empty answer."""
        with pytest.raises(AuditConfigError, match="auto_export_path"):
            make_audit().query_events(archived=True)

    async def test_filters_that_cannot_be_meant(self, make_audit: Make, tmp_path: Path) -> None:
        """They are refused as they are without files."""
        audit = make_audit(auto_export_path=tmp_path)
        with pytest.raises(ValueError, match="DELETE"):
            audit.query_events(operation="DELETE", archived=True)


class TestWhileWritersWork:
    @pytest.mark.slow
    @pytest.mark.usefixtures("busy_threads")
    async def test_own_events_that_leave_memory_meanwhile(
        self, make_audit: Make, tmp_path: Path
    ) -> None:
        """A query among writing threads, while events leave memory and files are sealed and
        compressed, misses none and has none twice."""
        audit = make_audit(max_events=5_000, auto_export_path=tmp_path, compress=True)
        await _log(audit, 5_100)
        stop = threading.Event()

        def write() -> None:
            while not stop.is_set():
                asyncio.run(_log(audit, 10))
                audit.trail.tick()

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(10):
                numbers = _numbers(audit.query_events(archived=True))
                assert len(numbers) >= 5_100
                assert numbers == list(range(len(numbers), 0, -1))
        finally:
            stop.set()
            writer.join()

    @pytest.mark.slow
    def test_events_leave_memory_at_each_step(self, make_audit: Make, tmp_path: Path) -> None:
        """Wherever a query is when a hundred events push out as many, it misses none and has
        none twice."""
        audit = make_audit(max_events=300, auto_export_path=tmp_path)
        asyncio.run(_log(audit, 900))

        def steps_before_more(left: int) -> int:
            """Query, and log after so many lines of the trail's; returns how many were left."""

            def at_line(frame: Any, event: str, _: Any) -> Any:
                nonlocal left
                left -= event == "line"
                if event == "line" and not left:
                    for _ in range(100):
                        with suppress(StopIteration):
                            audit.log_event("STORE").send(None)
                return at_line

            def at_call(frame: Any, event: str, _: Any) -> Any:
                return at_line if frame.f_code.co_filename == reader.__file__ else None

            before = sys.gettrace()
            sys.settrace(at_call)
            try:
                numbers = _numbers(audit.query_events(archived=True))
            finally:
                sys.settrace(before)
            assert numbers == list(range(len(numbers), 0, -1))
            return left

        step = 1
        while steps_before_more(step) <= 0:
            step += 1
        assert step > 10

    @pytest.mark.slow
    async def test_another_process_reads(
        self, make_audit: Make, tmp_path: Path, run_script: Run
    ) -> None:
        """So does a reader that knows nothing of the writer but its files."""
        audit = make_audit(max_events=20, auto_export_path=tmp_path, compress=True)
        await _log(audit, 50)
        reader = """
            import sys
            from pathlib import Path
            from axon_audit_otel.events.query import Query
            from axon_audit_otel.archive.search import search
            count = 0
            while count < 3000:
                for oldest_first in (False, True):
                    found = search(Path(sys.argv[1]), Query(), oldest_first=oldest_first)
                    numbers = [event.sequence for event in found]
                    count = len(numbers)
                    wanted = range(1, count + 1) if oldest_first else range(count, 0, -1)
                    assert count >= 50 and numbers == list(wanted), count
        """
        reading = asyncio.create_task(asyncio.to_thread(run_script, reader, tmp_path))
        while audit.total_events_logged < 3000 and not reading.done():
            await _log(audit, 5)
            audit.trail.tick()
            await asyncio.sleep(0.001)
        await reading


# --- which files, which lines ------------------------------------------------------------------


def _incomplete(name: str) -> Any:
    return pytest.warns(ArchiveIncompleteWarning, match=name)


def _damage(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


class TestOnlyWhatCanMatch:
    """Seen by damage: what is not read cannot be in the way."""

    @pytest.fixture(name="audit")
    async def _audit(self, make_audit: Make, tmp_path: Path) -> AuditLogger:
        """Three files of three events, of alice, bob and carol each; nothing in memory."""
        audit = make_audit(max_events=3, auto_export_path=tmp_path)
        for _ in range(3):
            for user in ("alice", "bob", "carol"):
                await audit.log_event("STORE", user)
        await audit.clear()
        return audit

    async def test_files_of_another_time(self, audit: AuditLogger, tmp_path: Path) -> None:
        """A file whose time cannot match is not opened; one whose time touches the range at
        its end or its beginning is."""
        everything = audit.query_events(archived=True)[::-1]
        first, middle, last = sealed_files(tmp_path)
        for path in (first, last):
            path.write_bytes(b"nothing of ours")
        start, end = everything[3].timestamp, everything[5].timestamp
        found = audit.query_events(archived=True, start_time=start, end_time=end)
        assert found == everything[5:2:-1]
        assert audit.query_events(archived=True, start_time=start, end_time=start) == [
            everything[3]
        ]
        assert audit.query_events(archived=True, start_time=end, end_time=end) == [everything[5]]
        for start, file in ((everything[6].timestamp, last), (everything[8].timestamp, last)):
            with pytest.raises(ArchiveError, match=file.name):
                audit.query_events(archived=True, start_time=start, strict=True)
        for end in (everything[0].timestamp, everything[2].timestamp):
            with pytest.raises(ArchiveError, match=first.name):
                audit.query_events(archived=True, end_time=end, strict=True)
        assert middle.exists()

    async def test_lines_of_others(self, audit: AuditLogger, tmp_path: Path) -> None:
        """A line without what is asked for is not decoded; where it is, damage is said."""
        middle = sealed_files(tmp_path)[1]
        _damage(middle, b'"user_id":"bob"', b'"user_id"-"bob"')
        found = audit.query_events(archived=True, user_id="alice")
        assert [event.user_id for event in found] == ["alice"] * 3
        with pytest.raises(ArchiveError, match=middle.name):
            audit.query_events(archived=True, strict=True)
        with pytest.raises(ArchiveError, match=middle.name):
            audit.query_events(archived=True, operation="STORE", strict=True)

    async def test_limit_ends_the_reading(self, audit: AuditLogger, tmp_path: Path) -> None:
        """Older files are not opened when there is enough."""
        sealed_files(tmp_path)[0].write_bytes(b"nothing of ours")
        assert _numbers(audit.query_events(archived=True, limit=6)) == [9, 8, 7, 6, 5, 4]
        with pytest.raises(ArchiveError):
            audit.query_events(archived=True, limit=7, strict=True)

    async def test_memory_ends_the_reading(self, make_audit: Make, tmp_path: Path) -> None:
        """Files are not opened where memory has enough, or has all that they have."""
        audit = make_audit(auto_export_path=tmp_path)
        await _log(audit, 5)
        sealed = audit.seal()
        assert sealed is not None
        sealed.write_bytes(b"nothing of ours")
        assert _numbers(audit.query_events(archived=True)) == [5, 4, 3, 2, 1]

    async def test_values_inside_of_metadata(self, make_audit: Make, tmp_path: Path) -> None:
        """Text that only looks like a field, in metadata or in another field, is not taken for it;
        the time is the event's own."""
        audit = make_audit(auto_export_path=tmp_path)
        looks_like = {
            "user_id": "alice",
            "entry_ids": ["e1"],
            "timestamp": "1970-01-01T00:00:00.000000Z",
            "text": '"user_id":"alice"',
        }
        await audit.log_event("STORE", "bob", '"user_id":"alice"', ["alice"], looks_like)
        wanted = await audit.log_event("STORE", "alice", None, ["e1"], looks_like)
        await audit.clear()
        assert audit.query_events(archived=True, user_id="alice") == [wanted]
        assert audit.query_events(archived=True, entry_ids=["e1"]) == [wanted]
        since = wanted.timestamp
        assert audit.query_events(archived=True, start_time=since) == [wanted]

    @pytest.mark.slow
    async def test_memory_it_takes(self, make_audit: Make, tmp_path: Path) -> None:
        """A query of one user, and one that counts everything, take a fraction of the size of
        what they read."""
        audit = make_audit(max_events=2_500, auto_export_path=tmp_path)
        for number in range(10_000):
            await audit.log_event("STORE", f"user{number % 500}", metadata={"text": "x" * 1000})
        await audit.clear()
        size = sum(file.stat().st_size for file in sealed_files(tmp_path))
        gc.collect()
        tracemalloc.start()
        try:
            found = audit.query_events(archived=True, user_id="user7")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert len(found) == 20
        assert peak < size / 5


def _compressed(directory: Path) -> list[Path]:
    return sorted(directory.glob("audit_*.json.zst"))


class TestLayout:
    async def test_long_lines(self, make_audit: Make, tmp_path: Path) -> None:
        """Events longer than any block that is read at once, among short ones."""
        audit = make_audit(auto_export_path=tmp_path)
        logged = []
        for count in (1, 6_000, 1, 1, 12_000, 9_000, 1):
            logged += await _log(audit, 1, entry_ids=[f"entry{n}" for n in range(count)])
        await audit.clear()
        assert audit.query_events(archived=True) == logged[::-1]
        assert audit.query_events(archived=True, entry_ids="entry10000") == [logged[4]]
        audit.seal()
        assert audit.query_events(archived=True) == logged[::-1]

    async def test_torn_last_line(self, cli: Cli, make_audit: Make, tmp_path: Path) -> None:
        """A line that is being written, or was when its writer died, is passed over."""
        audit = make_audit(auto_export_path=tmp_path / "live")
        logged = await _log(audit, 3)
        content = only(tmp_path / "live", "*.journal").read_bytes()
        copy = tmp_path / "copy"
        copy.mkdir()
        for cut in (1, 100, content.index(b"\n ") + 1, len(content) - 5, len(content)):
            (copy / "one.journal").write_bytes(content[:-cut])
            whole = content[:-cut].count(b"\n") - 1
            expected = [event.sequence for event in logged[: max(0, whole)]][::-1]
            assert [event["sequence"] for event in _asked(cli, copy)] == expected
            found = _asked(cli, copy, "--operation", "STORE")
            assert [event["sequence"] for event in found] == expected

    async def test_without_manifest(self, cli: Cli, make_audit: Make, tmp_path: Path) -> None:
        """Copies of sealed files, without the manifest, are in order all the same."""
        audit = make_audit(max_events=1, auto_export_path=tmp_path / "archive", compress=True)
        logged = await _log(audit, 12)
        copy = tmp_path / "copy"
        copy.mkdir()
        for path in (tmp_path / "archive").glob("audit_*"):
            (copy / path.name).write_bytes(path.read_bytes())
        assert [event["sequence"] for event in _asked(cli, copy)] == _numbers(logged[::-1])

    async def test_manifest_lost_or_damaged(self, make_audit: Make, tmp_path: Path) -> None:
        """Without a readable manifest no event is missed, and none is there twice."""
        audit = make_audit(max_events=4, auto_export_path=tmp_path)
        logged = await _log(audit, 18)
        manifest = only(tmp_path, "*.manifest")
        content = manifest.read_bytes()
        for damaged in (content[:-300], content.replace(b'"kind":"seal"', b'"kind":"?"', 2), b""):
            manifest.write_bytes(damaged)
            with _incomplete(manifest.name) if b'"?"' in damaged else nullcontext():
                assert audit.query_events(archived=True) == logged[::-1]
        manifest.unlink()
        assert audit.query_events(archived=True) == logged[::-1]

    async def test_file_with_two_names(
        self, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A journal that got its final name, and still has its own, is read once; whether
        or not the manifest lists it already, and whatever the clock did."""
        audit = make_audit(auto_export_path=tmp_path)
        logged = await _log(audit, 3)
        sealed = audit.seal()
        for microseconds in (5, 3, 4):
            monkeypatch.setattr("time.time_ns", lambda m=microseconds: m * 1000)
            logged += await _log(audit, 1)
        monkeypatch.undo()
        last = audit.seal()
        assert sealed is not None
        assert last is not None
        manifest = only(tmp_path, "*.manifest")
        await audit.clear()
        manifest.with_suffix(".journal").hardlink_to(last)
        assert audit.query_events(archived=True) == logged[::-1]
        *lines, _ = manifest.read_bytes().splitlines(keepends=True)
        manifest.write_bytes(b"".join(lines))
        assert audit.query_events(archived=True) == logged[::-1]

    async def test_files_of_two_archives(self, cli: Cli, make_audit: Make, tmp_path: Path) -> None:
        """Sealed files of two trails that had the same name, copied together, are merged."""
        first = make_audit(max_events=3, auto_export_path=tmp_path / "first", name="first")
        second = make_audit(max_events=2, auto_export_path=tmp_path / "second", name="other")
        logged = []
        for number in range(30):
            logged += await _log(second if number % 2 else first, 1)
        for audit in (first, second):
            audit.close()
            for path in sealed_files(tmp_path / audit.name.replace("other", "second")):
                copy = tmp_path / f"audit_{audit.name}_{path.name}"
                copy.write_bytes(path.read_bytes().replace(b'"trail":"other"', b'"trail":"first"'))
        found = [event["event_id"] for event in _asked(cli, tmp_path)]
        assert found == [event.event_id for event in logged[::-1]]

    async def test_trail_that_begins_anew(self, cli: Cli, make_audit: Make, tmp_path: Path) -> None:
        """Files of an earlier trail of the same name, whose manifest is gone, are all found
        although their numbers are given again."""
        logged = []
        for turn in range(2):
            audit = make_audit(max_events=3, auto_export_path=tmp_path / str(turn), name="same")
            logged += await _log(audit, 7)
            audit.close()
            del audit
            gc.collect()
        for path in (tmp_path / "0").glob("audit_*"):
            path.rename(tmp_path / "1" / f"audit_old_{path.name}")
        found = [event["event_id"] for event in _asked(cli, tmp_path / "1")]
        assert found == [event.event_id for event in logged[::-1]]

    async def test_export_beside_the_files(self, make_audit: Make, tmp_path: Path) -> None:
        """An export in the directory of the archive does not make its events appear twice."""
        audit = make_audit(max_events=4, auto_export_path=tmp_path)
        logged = await _log(audit, 10)
        audit.export_to_file(tmp_path / "audit_20250115.json")
        audit.export_events(logged[:3], tmp_path / "audit_of_alice.json")
        assert audit.query_events(archived=True) == logged[::-1]

    async def test_another_event_with_the_same_id(
        self, make_audit: Make, tmp_path: Path, cli: Cli
    ) -> None:
        """It hides nothing, though its file is read first: both are found, everywhere."""
        audit = make_audit(auto_export_path=tmp_path, name="trail")
        (event,) = await _log(audit, 1, user_id="alice", entry_ids=["e-1"])
        audit.close()
        forged = msgspec.structs.replace(event, user_id="nobody", entry_ids=[])
        (tmp_path / "another.journal").write_bytes(b'{"events":[\n ' + encode(forged) + b"\n")
        assert {found["user_id"] for found in _asked(cli, tmp_path)} == {"alice", "nobody"}
        found = audit.query_events(archived=True)
        assert sorted(str(one.user_id) for one in found) == ["alice", "nobody"]
        assert "e-1" in cli("lineage", "e-1", tmp_path).stdout

    async def test_file_that_somebody_formatted(self, make_audit: Make, tmp_path: Path) -> None:
        """A sealed file that went through a pretty-printer is still read."""
        audit = make_audit(max_events=4, auto_export_path=tmp_path)
        logged = await _log(audit, 10, user_id="alice")
        await audit.clear()
        for path in sealed_files(tmp_path):
            path.write_text(json.dumps(json.loads(path.read_bytes()), indent=2))
        assert audit.query_events(archived=True, user_id="alice") == logged[::-1]

    async def test_damaged_compression(self, make_audit: Make, tmp_path: Path) -> None:
        """A compressed file that is damaged or cut off is named; what comes before is read."""
        audit = make_audit(auto_export_path=tmp_path, compress=True)
        for number in range(1_500):
            await audit.log_event("STORE", metadata={"number": number})
        audit.seal()
        await audit.clear()
        (sealed,) = _compressed(tmp_path)
        content = sealed.read_bytes()
        middle = len(content) // 2
        flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        for damaged in (content[:-100], content[:middle], content[:6], flipped):
            sealed.write_bytes(damaged)
            with pytest.raises(ArchiveError, match=sealed.name):
                audit.query_events(archived=True, strict=True)
            with _incomplete(sealed.name):
                found = _numbers(audit.query_events(archived=True))
            assert found == list(range(len(found), 0, -1))

    async def test_clock_that_went_back(
        self, make_audit: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One trail is in the order of its numbers, whatever the clock did."""
        audit = make_audit(max_events=2, auto_export_path=tmp_path)
        now = datetime.now(timezone.utc)
        for hours in (5, 3, 4, 1, 2, 0, 6):
            moment = now - timedelta(hours=hours)
            monkeypatch.setattr("time.time_ns", lambda m=moment: int(m.timestamp() * 1e9))
            await _log(audit, 1)
        monkeypatch.undo()
        assert _numbers(audit.query_events(archived=True)) == [7, 6, 5, 4, 3, 2, 1]
        since = now - timedelta(hours=3, minutes=30)
        found = audit.query_events(archived=True, start_time=since)
        assert _numbers(found) == [6, 5, 4, 2]
