"""Whatever call into the file system fails, or is the last one before `kill -9`: no event that
was acknowledged is lost, and `verify` finds nothing. Every call is tried, one after the other."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import suppress
from itertools import count, product
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from axon import MemorySystem
from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy
from calls import Calls, copy
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import (
    AuditEvent,
    AuditLogger,
    AuditUnavailableError,
    VerifyReport,
    verify,
)
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.archive.holds import holds, place_hold, release_hold
from axon_audit_otel.core.errors import ArchiveError

pytestmark = pytest.mark.usefixtures("without_start_record")

Result = TypeVar("Result")

KEY = new_key("auditor")
MEMORY = MemoryConfig(
    persistent=PersistentPolicy(adapter_type="memory", compaction_threshold=10_000),
    default_tier="persistent",
)
OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "compress": {"compress": True},
    "signed": {"signing_key": KEY, "checkpoint_interval": 1e-6},
    "retention": {"max_archive_bytes": 1500},
    "age": {"retention": "1h"},
    "erasable": {"erasable": True},
    "pseudonyms": {"pseudonymize": b"x" * 32},
}
STEP = 7  # of the calls that the slow tests try; 1 tries all, in some minutes
FAULTS = [errno.EIO, errno.ENOSPC, errno.EMFILE]


class Setting(NamedTuple):
    """The combination that a test tries."""

    option: str
    on_failure: str
    durability: str
    max_events: int

    def __str__(self) -> str:
        return "-".join(map(str, self))


#: Every option, with every way to fail and every durability in turn. Two events at most are in
#: memory where operations are refused: then none of them may wait there.
SETTINGS = [
    Setting(option, on_failure, durability, 100 if on_failure == "degrade" else 2)
    for (option, on_failure), durability in zip(
        product(OPTIONS, ["degrade", "block"]), ["process", "disk", "memory"] * 5
    )
] + [Setting("plain", "degrade", "process", 2)]


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """The result of the coroutine *work*, which waits for nobody."""
    try:
        work.send(None)
    except StopIteration as exc:
        result: Result = exc.value
        return result
    raise AssertionError("it waits")


class Writer:
    """A program that records in a directory, through several seals, and what it was told."""

    def __init__(self, root: Path, setting: Setting) -> None:
        self.root, self.setting = root, setting
        self.logs, self.notes = root / "logs", root / "notes"
        self.events: list[AuditEvent] = []  # acknowledged
        self.entries: list[str] = []  # of operations that were let through
        self.erased = False
        self._audit: AuditLogger | None = None
        self._memory: MemorySystem | None = None

    def open(self) -> AuditLogger:
        """A logger on that archive."""
        signs = self.setting.option == "signed"
        return AuditLogger(
            self.setting.max_events,
            self.logs,
            name="busy",
            max_file_bytes=None if self.setting.max_events == 2 else 500,
            on_failure=self.setting.on_failure,
            durability=self.setting.durability,
            checkpoint_to=self.notes if signs else None,
            registry=CollectorRegistry(),
            logger_provider=LoggerProvider(shutdown_on_exit=False),
            **OPTIONS[self.setting.option],
        )

    def work(self) -> None:
        """Start, record, seal, erase, hold, end."""
        try:
            audit = self._audit = self.open()
        except ArchiveError:  # is told, at a start: tried again
            audit = self._audit = self.open()
        blocks = self.setting.on_failure == "block"
        self._memory = MemorySystem(MEMORY, audit_logger=audit) if blocks else None
        for number in range(4):
            self._log(audit, "mallory" if number == 1 else "alice")
            self._store()
        audit.trail.tick()
        if self.setting.option == "erasable":
            self._erase(audit)
        if self.setting.option == "retention":
            self._hold(audit)
        self._log(audit)
        with suppress(ArchiveError):
            audit.seal()
        self._store()
        self._log(audit)
        audit.close()

    def end(self) -> None:
        """The program ends: what failed is tried once more."""
        self._audit = self._memory = None

    def _log(self, audit: AuditLogger, user_id: str = "alice") -> None:
        try:
            self.events.append(run(audit.log_event("STORE", user_id)))
        except AuditUnavailableError:
            assert self.setting.on_failure == "block"

    def _store(self) -> None:
        if self._memory is not None:
            with suppress(AuditUnavailableError):
                self.entries.append(run(self._memory.store("tea")))

    def _erase(self, audit: AuditLogger) -> None:
        try:
            audit.erase_user("mallory")
        except (ArchiveError, AuditUnavailableError):
            audit.erase_user("mallory")
        self.erased = True

    def _hold(self, audit: AuditLogger) -> None:
        """Nothing is deleted while it is there."""
        with suppress(ArchiveError):
            place_hold(self.logs, "Doe v. Acme")
        held, there = (self.logs / "legal.hold").exists(), sealed(self.logs)
        run_quietly(audit, self._log)
        audit.trail.tick()
        assert not held or there <= sealed(self.logs)
        for _ in range(2):
            with suppress(ArchiveError):
                if holds(self.logs):
                    release_hold(self.logs)


def sealed(directory: Path) -> set[str]:
    """The names of the sealed files."""
    return {path.name for path in directory.glob("audit_*")}


def run_quietly(audit: AuditLogger, log: Callable[[AuditLogger], None]) -> None:
    """Fill another file."""
    for _ in range(2):
        log(audit)


class Archive:
    """The files left in a directory: judged, recorded into once more, and judged again."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._logs = writer.logs
        self.judge()
        self.audit = writer.open()
        found = self.audit.query_events(archived=True)
        run(self.audit.log_event("STORE", "bob"))
        self.audit.close()
        report = self.judge()
        assert report is not None
        self.there = Counter(event.event_id for event in found)
        assert set(self.there.values()) <= {1}
        assert self.audit.query_events(archived=True, user_id="bob")
        self.entries = {entry for event in found for entry in event.entry_ids}
        self.gaps = _numbers(report, "gaps")
        self.deleted = _numbers(report, "deletions")

    def judge(self) -> VerifyReport | None:
        """No damage; None where there is nothing yet."""
        keys = [str(KEY.verifying)] if any(self._logs.glob("*.checkpoint")) else []
        notes = self._writer.notes.read_text() if self._writer.notes.exists() else ""
        try:
            report = verify(self._logs, keys, [notes] if notes else [])
        except ArchiveError as exc:
            if "no audit files" in str(exc):
                return None
            raise
        assert report.findings == []
        return report

    def missing(self) -> list[AuditEvent]:
        """The acknowledged events that are neither there nor deleted by a rule."""
        return [
            event
            for event in self._writer.events
            if event.event_id not in self.there and event.sequence not in self.deleted
        ]

    def forgets(self) -> None:
        """Whoever was erased can be read no more; the others can."""
        if self._writer.setting.option != "erasable":
            return
        if not self._writer.erased:
            self.audit.erase_user("mallory")
        assert self.audit.query_events(archived=True, user_id="mallory") == []
        found = {e.event_id for e in self.audit.query_events(archived=True, user_id="alice")}
        hers = {e.event_id for e in self._writer.events if e.user_id == "alice"}
        assert hers & set(self.there) <= found


def _numbers(report: VerifyReport, kind: str) -> set[int]:
    ranges = [found for writer in report.writers for found in getattr(writer, kind)]
    return {number for found in ranges for number in range(found.first, found.last + 1)}


@pytest.fixture(name="root")
def _root(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, if possible: thousands of syncs of a device would take minutes."""
    if os.access("/dev/shm", os.W_OK):
        directory = Path(tempfile.mkdtemp(dir="/dev/shm"))
        yield directory
        while directory.exists():  # the clock of a logger may be at work in it for a moment
            shutil.rmtree(directory, ignore_errors=True)
    else:
        yield tmp_path


# --- a call that fails -------------------------------------------------------------------------


def fails(root: Path, setting: Setting, number: int, after: bool) -> Calls:
    """Let call *number* fail, or fail though it was done; returns what calls there were."""
    writer = Writer(root, setting)
    code = FAULTS[number % len(FAULTS)]

    def happens(now: int) -> None:
        if now == number:
            raise OSError(code, os.strerror(code))

    with Calls(happens, after) as calls:
        writer.work()
    writer.end()
    left = Archive(writer)
    missing = left.missing()
    if setting.on_failure == "degrade" and setting.max_events == 2:
        missing = [event for event in missing if event.sequence not in left.gaps]
    else:
        assert not left.gaps
    assert missing == []
    assert left.deleted or set(writer.entries) <= left.entries
    if "keyring.py" not in calls.names[min(number, len(calls.names)) - 1]:
        left.forgets()
    return calls


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS, ids=str)
class TestFailing:
    """One call fails. The program goes on, and ends."""

    def test_some(self, root: Path, setting: Setting) -> None:
        """A sample of the calls, each of them with one of three errors."""
        for number in range(1 + 7 * SETTINGS.index(setting), 200, 97):
            fails(root / str(number), setting, number, after=number % 2 == 0)

    def test_each(self, root: Path, setting: Setting) -> None:
        """Every `STEP`-th of them."""
        for number in count(1 + SETTINGS.index(setting) % STEP, STEP):
            calls = fails(root / str(number), setting, number, after=False)
            if number > len(calls.names):
                assert number > 50
                break


@pytest.mark.parametrize(
    ("option", "call", "function"),
    [
        ("compress", "unlink", "publish"),
        ("retention", "unlink", "publish"),
        ("signed", "write", "append"),
        pytest.param("erasable", "write", "append", marks=pytest.mark.slow),
        pytest.param("plain", "flock", "lock", marks=pytest.mark.slow),
    ],
)
def test_failing_once(root: Path, option: str, call: str, function: str) -> None:
    """Calls whose failure cost events, files or a start, once."""
    setting = Setting(option, "degrade", "process", 100)
    names = fails(root / "none", setting, 10_000, after=False).names
    found = [
        number
        for number, name in enumerate(names, 1)
        if name.startswith(f"{call} ") and name.endswith(f" in {function}")
    ]
    assert found
    for number in found:
        fails(root / str(number), setting, number, after=False)


# --- a call that is the last one ---------------------------------------------------------------


class Left(NamedTuple):
    """The files that a kill before a call leaves, and the events acknowledged until then."""

    root: Path
    call: str
    events: list[AuditEvent]
    entries: list[str]
    erased: bool


def kills(root: Path, setting: Setting, wanted: Callable[[int], bool]) -> list[Left]:
    """Let a writer work, and copy the directory before each of the *wanted* calls: what the
    kernel has then is what a kill leaves."""
    writer = Writer(root / "alive", setting)
    writer.root.mkdir(parents=True)
    found: list[Left] = []

    def happens(number: int) -> None:
        if wanted(number) and writer.logs.exists():
            target = root / f"killed-{number}"
            copy(writer.root, target)
            now = list(writer.events), list(writer.entries), writer.erased
            found.append(Left(target, calls.names[-1], *now))

    with Calls(happens) as calls:
        writer.work()
    writer.end()
    assert len(writer.events) >= 5
    return found


def judge(left: Left, setting: Setting) -> None:
    """Everything is there that was acknowledged before the kill."""
    writer = Writer(left.root, setting)
    writer.events, writer.entries, writer.erased = left.events, left.entries, left.erased
    archive = Archive(writer)
    missing = archive.missing()
    if setting.durability == "memory":
        newest = writer.events[len(writer.events) - len(missing) :]
        assert missing == newest
        assert len(missing) < setting.max_events
    else:
        assert missing == [], left.call
        assert archive.deleted or set(writer.entries) <= archive.entries, left.call
        assert not archive.gaps, left.call
    archive.forgets()


def kills_again(left: Left, setting: Setting, wanted: Callable[[int], bool]) -> Iterator[Left]:
    """Start on what a kill left, and kill that, too."""
    again = Writer(left.root, setting)
    found: list[Left] = []

    def happens(number: int) -> None:
        if wanted(number):
            target = left.root.with_name(f"{left.root.name}-{number}")
            copy(left.root, target)
            found.append(left._replace(root=target, call=f"{left.call}, {calls.names[-1]}"))

    with Calls(happens) as calls:
        again.open().close()
    yield from found


@pytest.mark.slow
@pytest.mark.parametrize("setting", SETTINGS[:-1], ids=str)
class TestKilled:
    """Killed before a call. The next start goes on."""

    def test_some(self, root: Path, setting: Setting) -> None:
        """A sample of the calls, and of those of the next start."""
        turn = SETTINGS.index(setting)
        for left in kills(root, setting, lambda number: number % 89 == 6 * turn):
            for second in kills_again(left, setting, lambda number: number % 61 == 4 * turn):
                judge(second, setting)
            judge(left, setting)

    def test_each(self, root: Path, setting: Setting) -> None:
        """Every `STEP`-th of them; and a sample of those of the next start."""
        first = SETTINGS.index(setting) % STEP
        every = kills(root, setting, lambda number: number % STEP == first)
        assert len(every) * STEP > 50
        for turn, left in enumerate(every):
            if turn % 4 == 0:
                for second in kills_again(left, setting, lambda n, t=turn: (n + t) % 23 == 0):
                    judge(second, setting)
            judge(left, setting)
