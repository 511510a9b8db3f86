"""The index of an archive: answers are the same with it and without it, whatever is done to it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import mmap
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import go_programs
import pytest
from conftest import Cli, Make, archived, sealed_files
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, verify
from axon_audit_otel.archive.checkpoints import SigningKey, new_key
from axon_audit_otel.archive.directory import sealed_in
from axon_audit_otel.archive.index import building, layout
from axon_audit_otel.archive.index.archive import Indexed, index_archive
from axon_audit_otel.archive.index.finding import Chosen, Indexes
from axon_audit_otel.archive.index.notes import (
    Notes,
    index_files,
    index_path,
    key_of_user,
    keys_of_application,
    keys_of_user,
    state_of,
)
from axon_audit_otel.archive.manifest import read_listing
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.publishing import compress
from axon_audit_otel.archive.reader import open_events_file
from axon_audit_otel.archive.search import search, search_by_writer
from axon_audit_otel.archive.writer import ArchiveWriter
from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.core.semconv import ERASABLE_ENTRY_PREFIX
from axon_audit_otel.core.time import format_time
from axon_audit_otel.events.draft import draft
from axon_audit_otel.events.identifiers import digest_of
from axon_audit_otel.events.model import encode_fields, place
from axon_audit_otel.events.query import Query

KEY, OTHER = b"the key of one reader".ljust(32), b"the key of another reader".ljust(32)
START_US = 1_760_000_000_000_000
ALL = Query(with_start=True)

#: Values that need escaping, or that also stand elsewhere in a line.
IDS = [
    *("alice", "bob", "carol", "", 'al"ice', "a\\", "ü", "日本\U0001f600", "\n", "\x00"),
    *('"user_id":"alice"', "events", "STORE", "SUCCESS", "1"),
]
_id = st.none() | st.sampled_from(IDS)
_event = st.fixed_dictionaries(
    {
        "user_id": _id,
        "session_id": _id,
        "subject_id": _id,
        "agent_id": _id,
        "on_behalf_of": _id,
        "trace_id": st.none() | st.sampled_from(["0" * 31 + "1", "f" * 32]),
        "entry_ids": st.lists(st.sampled_from(IDS), max_size=3),
        "subjects": st.lists(st.sampled_from(IDS), max_size=3),
        "metadata": st.sampled_from([{}, {"user_id": "alice", "list": ["bob"]}]),
    }
)
_events = st.lists(_event, max_size=40)
_query = st.fixed_dictionaries(
    {},
    optional={
        "user_id": st.sampled_from(IDS),
        "session_id": st.sampled_from(IDS),
        "subject_id": st.sampled_from(IDS),
        "agent_id": st.sampled_from(IDS),
        "on_behalf_of": st.sampled_from(IDS),
        "trace_id": st.sampled_from(["0" * 31 + "1", "f" * 32]),
        "status": st.sampled_from(["SUCCESS", "FAILURE"]),
        "entry_ids": st.lists(st.sampled_from(IDS), max_size=20).map(frozenset),
        "limit": st.integers(0, 12),
        "start_us": st.integers(START_US, START_US + 40),
        "end_us": st.integers(START_US, START_US + 40),
    },
)


def write(
    directory: Path, events: list[dict[str, Any]], each: int, writer: str = "default"
) -> list[Path]:
    """Write *events* as a trail does, *each* of them in a file; returns the sealed files."""
    archive = ArchiveWriter(directory, writer)
    files: list[Path | None] = []
    head: bytes | None = None
    for number, fields in enumerate(events, 1):
        event = draft("STORE", "SUCCESS" if number % 3 else "FAILURE", **fields)
        event["timestamp"] = format_time(START_US + number)
        if fields.get("subjects"):  # also digests, as they are
            event["subjects"] = tuple(fields["subjects"])
        line = place(encode_fields(event)[:-1], number, None if head is None else head.hex())
        head = leaf_hash(line)
        archive.append(line, head, number, event["timestamp"])
        if archive.count == each:
            files.append(archive.seal())
    archive.release()
    return [file for file in files if file is not None]


def users(count: int) -> list[dict[str, Any]]:
    """Events of many users: `user 7` is in a few of them."""
    return [
        {
            "user_id": f"user {n % 37}",
            "session_id": f"session {n // 5}",
            "entry_ids": [f"entry {n}"],
        }
        for n in range(count)
    ]


def index(directory: Path, key: bytes = KEY) -> Indexed:
    """Index an archive; nothing may be missing."""
    missing = Missing()
    done = index_archive(directory, [key], missing)
    assert not missing, missing
    return done


def answer(
    directory: Path, query: Query, key: bytes | None, oldest_first: bool = False
) -> tuple[list[bytes], list[str]]:
    """The events, and what is missing."""
    missing = Missing()
    how: Any = {"missing": missing, "oldest_first": oldest_first}
    how["index_keys"] = [] if key is None else [key]
    found = [event.to_json() for event in search(directory, query, **how)]
    return found, missing.lines()


def both(directory: Path, query: Query, key: bytes = KEY) -> list[bytes]:
    """The answer, which is the same with the index and without."""
    for oldest_first in (False, True):
        found = answer(directory, query, key, oldest_first)
        assert found == answer(directory, query, None, oldest_first)
    return found[0]


def forget(directory: Path) -> None:
    """Remove the indexes."""
    for path in [*index_files(directory), directory / "index.notes"]:
        path.unlink()


def seals(directory: Path, writer: str = "default") -> list[Any]:
    return list(read_listing(directory / f"{writer}.manifest").seals.values())


def chosen(directory: Path, query: Query, key: bytes = KEY) -> list[Chosen | None]:
    """What the index says of each sealed file; None: it is read."""
    indexes = Indexes(directory, query, [key])
    return [indexes.chosen(seal, directory / seal.file) for seal in seals(directory)]


@pytest.fixture(autouse=True)
def _no_key_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture(name="archive")
def _archive(tmp_path: Path) -> Path:
    """Four sealed files of 50 events and a journal, indexed."""
    write(tmp_path / "logs", users(220), 50)
    assert index(tmp_path / "logs").made == 4
    return tmp_path / "logs"


# --- answers -----------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    one=_events,
    two=_events,
    each=st.integers(1, 20),
    compressed=st.booleans(),
    queries=st.lists(_query, min_size=3, max_size=8),
    later=st.integers(0, 1),
)
def test_any_archive(
    tmp_path_factory: pytest.TempPathFactory,
    one: list[dict[str, Any]],
    two: list[dict[str, Any]],
    each: int,
    compressed: bool,
    queries: list[dict[str, Any]],
    later: int,
) -> None:
    """Whatever is in an archive and whatever is asked, an index does not change the answer."""
    directory = tmp_path_factory.mktemp("logs")
    files = write(directory, one, each)
    if compressed:
        for file, seal in list(zip(files, seals(directory) if files else []))[later:]:
            compress(file, seal.sha256)
    index(directory)
    write(directory, two, each, "other")  # some files without an index
    for fields in queries:
        both(directory, Query(**fields))
    shutil.rmtree(directory)


def test_one_of_many(archive: Path) -> None:
    """Only the lines of that user are read."""
    query = Query(user_id="user 7")
    assert len(both(archive, query)) == 6
    counts = [0 if one is None else len(one.lines) for one in chosen(archive, query)]
    assert counts == [2, 1, 1, 2] or sum(counts) <= 6
    assert all(one is not None and not one.lines for one in chosen(archive, Query(user_id="x")))


def test_everywhere(tmp_path: Path) -> None:
    """An id in most lines has no list of them: the file is read, other ids still choose."""
    events = [{**fields, "agent_id": "the agent"} for fields in users(600)]
    write(tmp_path, events, 300)
    index(tmp_path)
    assert chosen(tmp_path, Query(agent_id="the agent")) == [None, None]
    assert len(both(tmp_path, Query(agent_id="the agent"))) == 600
    query = Query(agent_id="the agent", user_id="user 7")
    assert all(one is not None and len(one.lines) < 10 for one in chosen(tmp_path, query))
    assert len(both(tmp_path, query)) == 17


def test_subjects(tmp_path: Path) -> None:
    """Also a subject among the subjects of an event, and one behind a digest."""
    names = [f"person {n}" for n in range(1200)]
    many = names[:1000] + list(map(digest_of, names[1000:]))
    write(tmp_path, [{"subjects": names[:3]}, {"subjects": many}, {"subject_id": "person 1"}], 3)
    index(tmp_path)
    for person in ("person 1", "person 1100", "nobody"):
        both(tmp_path, Query(subject_id=person))
    assert len(both(tmp_path, Query(subject_id="person 1100"))) == 1


def test_any_encrypted(tmp_path: Path) -> None:
    """A query that also finds events with any encrypted id of an entry."""
    encrypted = f"{ERASABLE_ENTRY_PREFIX}1234"
    write(tmp_path, [{"entry_ids": ["one"]}, {"entry_ids": [encrypted]}, {"entry_ids": ["two"]}], 3)
    index(tmp_path)
    query = Query(entry_ids=frozenset(["one"]), any_encrypted=True)
    assert len(both(tmp_path, query)) == 2


def test_by_writer(archive: Path) -> None:
    """An export to other formats, which tells the writer of each event."""
    key_of_user(make=True)
    query = Query(user_id="user 7")
    before = [one.to_json() for _, one in search_by_writer(archive, query, Missing())]
    index(archive, key_of_user() or b"")
    assert [one.to_json() for _, one in search_by_writer(archive, query, Missing())] == before


def test_limit_stops_early(archive: Path) -> None:
    """The newest files are enough: an unreadable old one is not looked at."""
    sealed_files(archive)[0].unlink()
    query = Query(user_id="user 7", limit=2)
    assert answer(archive, query, KEY)[1] == []


def test_empty_files(tmp_path: Path) -> None:
    """An archive without any sealed file."""
    write(tmp_path, users(3), 5)
    assert index(tmp_path).files == 0
    assert len(both(tmp_path, Query(user_id="user 1"))) == 1


# --- who is believed ---------------------------------------------------------------------------


def test_of_another_reader(archive: Path) -> None:
    """An index that another user made is not used; that user's still is when both made one."""
    query = Query(user_id="user 7")
    assert chosen(archive, query, OTHER) == [None] * 4
    assert index(archive, OTHER).made == 4
    assert None not in chosen(archive, query, OTHER) + chosen(archive, query, KEY)


def _without(archive: Path, value: str) -> None:
    """Put indexes in place, with notes, that do not know *value*: as who can write there."""
    forged = archive.with_name("forged")
    shutil.copytree(archive, forged)
    events = [{**fields, "user_id": "x"} for fields in users(220)]
    shutil.rmtree(forged)
    write(forged, events, 50)
    index(forged, OTHER)
    for own, other in zip(seals(archive), seals(forged), strict=True):
        content = bytearray(index_path(forged, other.file).read_bytes())
        content[8:40] = bytes.fromhex(own.sha256)
        index_path(archive, own.file).write_bytes(content)


def test_forged_index(archive: Path) -> None:
    """An index that leaves a user out, without a note, or with one under a key of its own."""
    _without(archive, "user 7")
    query = Query(user_id="user 7")
    assert len(both(archive, query)) == 6
    notes = Notes(archive, [OTHER])
    for seal in seals(archive):
        path = archive / seal.file
        with index_path(archive, seal.file).open("rb") as file:
            root = layout.OpenIndex(file).root
        state = state_of(path)
        assert state is not None
        notes.add(seal, root, state)
    assert len(both(archive, query)) == 6
    assert answer(archive, query, OTHER) == ([], [])  # only who made them would miss these events


@pytest.mark.parametrize("seed", range(20))
def test_forged_notes(archive: Path, seed: int) -> None:
    """Changed notes are not believed, also where only the hash, or the file's name, is changed."""
    chance = random.Random(seed)
    notes = archive / "index.notes"
    lines = notes.read_bytes().split(b"\n")
    _without(archive, "user 7")
    if seed % 2:
        lines = [line.replace(b"_2.json", b".json") for line in lines]
    else:
        lines[0], lines[1] = lines[0].replace(lines[0][:90], lines[1][:90]), lines[1]
    for _ in range(seed):
        line = bytearray(chance.choice(lines) or b"x")
        line[chance.randrange(len(line))] ^= 1 << chance.randrange(8)
        lines.insert(chance.randrange(len(lines)), bytes(line))
    notes.write_bytes(b"\n".join(lines))
    both(archive, Query(user_id="user 7"))


def test_keys_of_applications() -> None:
    """Of the signing key; of the user; without both, one that anybody could have."""
    one, two = new_key("one"), new_key("two")
    again, unsigned = SigningKey(one.line()), keys_of_application(None)
    assert keys_of_application(one) == keys_of_application(again) != keys_of_application(two)
    assert len(keys_of_application(one)) == len(unsigned) == 1
    assert keys_of_user() == []
    key = key_of_user(make=True)
    assert keys_of_application(None) == keys_of_user() == [key] != unsigned
    assert keys_of_application(one)[1:] == [key]


def test_several_keys(archive: Path) -> None:
    """An index that is made with several keys is believed by who has one of them."""
    done = index_archive(archive, [OTHER, KEY], Missing())
    assert done.made == 0  # it was believed, and is noted under the other key as well
    assert None not in chosen(archive, Query(user_id="user 7"), OTHER)


def test_key_of_user(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is made once, and only its owner can read it; another one is not taken."""
    assert key_of_user() is None
    key = key_of_user(make=True)
    assert key is not None
    assert key == key_of_user() == key_of_user(make=True)
    path = tmp_path / "state" / "axon-audit" / "index.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)  # others may know it
    assert key_of_user() is None
    assert key_of_user(make=True) not in (None, key)
    path.write_bytes(b"")
    assert key_of_user() is None
    path.unlink()
    path.symlink_to("elsewhere")
    assert key_of_user() is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_key_of_another_user(tmp_path: Path) -> None:
    """Root, with the variables of a user, leaves that user's key as it is."""
    key_of_user(make=True)
    path = tmp_path / "state" / "axon-audit" / "index.key"
    before = path.read_bytes()
    for one in (path, *path.parents[:2]):
        os.chown(one, 1000, 1000)
    assert key_of_user() is None
    assert key_of_user(make=True) is None
    assert path.read_bytes() == before


# --- what is done to the files -----------------------------------------------------------------


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for at in range(0, len(content), 97):
        content[at] ^= 0x10
    path.write_bytes(content)


def _directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _link(path: Path) -> None:
    target = path.with_name("target")
    path.rename(target)
    path.symlink_to(target.name)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _huge(path: Path) -> None:
    os.truncate(path, 1 << 42)


def _says_huge(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40:56] = b"\xff" * 16
    path.write_bytes(content)


def _of_another(path: Path) -> None:
    other = min(path.parent.glob("*.index"))
    assert other != path
    path.write_bytes(other.read_bytes())


def _grown(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0" * 100)


DAMAGE: list[Callable[[Path], object]] = [
    *(_truncate, _flip, _directory, _link, _pipe, _huge, _says_huge, _of_another, _grown),
    *(Path.unlink, lambda path: path.write_bytes(b""), lambda path: path.chmod(0)),
]


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("which", ["index", "notes"])
def test_damaged_index(archive: Path, damage: Callable[[Path], object], which: str) -> None:
    """A damaged index or damaged notes cost time, and are made again."""
    path = archive / "index.notes"
    if which == "index":
        path = index_path(archive, seals(archive)[1].file)
    damage(path)
    assert len(both(archive, Query(user_id="user 7"))) == 6
    for n in range(0, 200, 40):
        both(archive, Query(entry_ids=frozenset([f"entry {n}"])))
    assert verify(archive).ok
    if path.is_dir():
        path.rmdir()
    elif path.is_fifo():
        path.unlink()
    index(archive)
    assert None not in chosen(archive, Query(user_id="user 7"))


@pytest.mark.parametrize("seed", range(15))
def test_flipped_bits(archive: Path, seed: int) -> None:
    """One bit of an index, anywhere."""
    chance = random.Random(seed)
    path = index_path(archive, seals(archive)[1].file)
    content = bytearray(path.read_bytes())
    content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    path.write_bytes(content)
    for n in range(0, 37, 5):
        both(archive, Query(user_id=f"user {n}"))


def _altered(content: bytes) -> bytes:
    return content.replace(b'"user 9"', b'"user 7"', 1)


def _insert(path: Path) -> None:
    lines = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*lines[:5], lines[4], *lines[5:]]))


EVENTS_DAMAGE: list[Callable[[Path], object]] = [
    *(_truncate, _flip, _insert, _grown, _directory, _link, Path.unlink),
    lambda path: path.write_bytes(_altered(path.read_bytes())),
    lambda path: path.write_bytes(b""),
    lambda path: path.rename(path.with_name("audit_2001_01_01_000000.json")),
]


@pytest.mark.parametrize("damage", EVENTS_DAMAGE)
def test_damaged_events(archive: Path, damage: Callable[[Path], object]) -> None:
    """A file that was changed after it was indexed is read as if it had no index."""
    damage(archive / seals(archive)[1].file)
    for user in ("user 7", "user 9", "nobody"):
        both(archive, Query(user_id=user))


def test_altered_with_its_time(archive: Path) -> None:
    """Who sets the time of a file back cannot set back that of its state."""
    path = archive / seals(archive)[1].file
    status = path.stat()
    with path.open("r+b") as file:
        content = _altered(file.read())
        file.seek(0)
        file.write(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert len(both(archive, Query(user_id="user 7"))) == 7


@pytest.mark.parametrize("times", range(10))
def test_altered_at_once(tmp_path: Path, times: int) -> None:
    """A file is written, indexed and changed within one step of the clock that files have."""
    (path,) = write(tmp_path, [{"user_id": "alice"}, {"user_id": "bobby"}], 2)
    index(tmp_path)
    with path.open("r+b") as file:
        content = file.read().replace(b"bobby", b"alice")
        file.seek(0)
        file.write(content)
    assert len(both(tmp_path, Query(user_id="alice"))) == 2


@pytest.mark.skipif(sys.platform == "win32", reason="no time of the state")
def test_exchanged_with_its_times(tmp_path: Path) -> None:
    """Another file that has the times of the indexed one: both were changed at one moment."""
    logs, others = tmp_path / "logs", tmp_path / "others"
    (path,) = write(logs, [{"user_id": "alice"}, {"user_id": "bobby"}], 2)
    shutil.copytree(logs, others)
    other = others / path.name
    other.write_bytes(path.read_bytes().replace(b"bobby", b"alice"))
    for _ in range(1000):
        os.utime(path, ns=(0, 0))
        os.utime(other, ns=(0, 0))
        if path.stat().st_ctime_ns == other.stat().st_ctime_ns:
            break
    index(logs)
    for file in (*index_files(logs), logs / "index.notes"):
        shutil.copy(file, others)
    logs.rename(tmp_path / "away")
    others.rename(logs)
    assert len(both(logs, Query(user_id="alice"))) == 2


def test_exchanged_while_it_is_read(archive: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another directory is there just while the file is opened: what is noted is what was read."""
    forget(archive)
    other, away = archive.with_name("other"), archive.with_name("away")
    shutil.copytree(archive, other)
    seal = seals(archive)[1]
    path = archive / seal.file
    path.write_bytes(_altered(path.read_bytes()))

    def exchange() -> None:
        archive.rename(away)
        other.rename(archive)
        away.rename(other)

    def opened(path: Path) -> Any:
        exchange()
        file = open_events_file(path)
        exchange()
        return file

    monkeypatch.setattr(building, "open_events_file", opened)
    with pytest.raises(BlockingIOError):
        list(building.index_steps(archive, seal, path, Notes(archive, [KEY])))
    assert len(both(archive, Query(user_id="user 7"))) == 7


def test_altered_in_memory(tmp_path: Path) -> None:
    """A process has the file in its memory, changed it before, and changes it after."""
    (path,) = write(tmp_path, [{"user_id": "alice"}, {"user_id": "bobby"}], 2)
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as memory:
        at = memory.find(b"bobby")
        memory[at : at + 5] = b"bobby"
        os.fsync(file.fileno())
        before = state_of(path)
        memory[at : at + 5] = b"bobby"
        if state_of(path) == before:
            pytest.skip("this file system does not notice")
        index(tmp_path)
        memory[at : at + 5] = b"alice"
        assert len(both(tmp_path, Query(user_id="alice"))) == 2


def test_clocks_of_files() -> None:
    """A file system that keeps whole seconds: a change needs longer to be seen."""
    assert building.step_of((1, 2, 1_760_000_000_000_000_000, 3)) == 2_000_000_000
    assert building.step_of((1, 2, 1_760_000_000_004_000_000, 3)) == 20_000_000


@pytest.mark.parametrize(
    "change",
    [
        lambda lines: [*lines[:2], b'],"total_events":1}', *lines[2:]],
        lambda lines: lines[:-2] + lines[-1:],
        lambda lines: [*lines[:-1], b"more", b""],
        lambda lines: [lines[0] + b" " * 200, *lines[1:]],
        lambda lines: [b' {"event_id":"evt_1","operation":"STORE","user_id":"x"}', *lines[1:]],
    ],
)
def test_sealed_by_others(tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]) -> None:
    """A file that no trail wrote so, and a manifest that lists it: it gets no index."""
    (path,) = write(tmp_path, users(3), 3)
    content = b"\n".join(change(path.read_bytes().split(b"\n")))
    path.write_bytes(content)
    (seal,) = seals(tmp_path)
    manifest = tmp_path / "default.manifest"
    text = manifest.read_text("utf-8")
    text = text.replace(seal.sha256, hashlib.sha256(content).hexdigest())
    manifest.write_text(text.replace(f'"bytes":{seal.bytes}', f'"bytes":{len(content)}'), "utf-8")
    index_archive(tmp_path, [KEY], Missing())
    for number in range(3):
        both(tmp_path, Query(user_id=f"user {number}"))


def test_rotten_disk(archive: Path) -> None:
    """Bytes that change without any writer: what the index leads to is told."""
    seal = seals(archive)[1]
    path = archive / seal.file
    content = path.read_bytes()
    path.write_bytes(content.replace(b'"user 7"', b'"user_7"'))
    notes = Notes(archive, [KEY])
    state = state_of(path)
    assert state is not None
    with index_path(archive, seal.file).open("rb") as file:
        root = layout.OpenIndex(file).root
    notes.add(seal, root, state)
    found, missing = answer(archive, Query(user_id="user 7"), KEY)
    assert len(found) < 6
    assert missing == [f"cannot read {str(path)!r}: an event in it is not the one that was indexed"]


def test_damaged_before(tmp_path: Path) -> None:
    """A file whose content is not the one that was sealed gets no index."""
    write(tmp_path, users(100), 50)
    path = tmp_path / seals(tmp_path)[0].file
    path.write_bytes(_altered(path.read_bytes()))
    missing = Missing()
    assert index_archive(tmp_path, [KEY], missing).files == 1
    assert missing.lines() == [
        f"cannot read {str(path)!r}: its content is not the one that was sealed"
    ]
    both(tmp_path, Query(user_id="user 7"))


def test_compressed_later(archive: Path) -> None:
    """A file that is compressed needs its index anew; then the same index counts again."""
    seal = seals(archive)[1]
    before = index_path(archive, seal.file).read_bytes()
    compress(archive / seal.file, seal.sha256)
    both(archive, Query(user_id="user 7"))
    assert index(archive).made == 1
    assert index_path(archive, seal.file).read_bytes() == before
    both(archive, Query(user_id="user 7"))
    assert index(archive).made == 0


def test_compressed_meanwhile(archive: Path) -> None:
    """A file is compressed, and the plain one removed, while the command looks at others."""
    forget(archive)
    done = Missing()
    listed = seals(archive)
    index_archive(archive, [KEY], done, lambda _: _compress_all(archive, listed))
    assert not done
    assert None not in chosen_of_compressed(archive, Query(user_id="user 7"))


@pytest.mark.parametrize("when", ["root", "add"])
def test_compressed_at_once(archive: Path, monkeypatch: pytest.MonkeyPatch, when: str) -> None:
    """A file is compressed just before it is read, or just after its index was made."""
    forget(archive)
    method = getattr(Notes, when)

    def changed(self: Notes, seal: Any, *args: Any) -> Any:
        _compress_all(archive, [None, seal])
        return method(self, seal, *args)

    monkeypatch.setattr(Notes, when, changed)
    assert index(archive).files == 4
    assert None not in chosen_of_compressed(archive, Query(user_id="user 7"))


def _compress_all(archive: Path, listed: list[Any]) -> None:
    for seal in listed[1:]:
        if (archive / seal.file).exists():
            compress(archive / seal.file, seal.sha256)


def chosen_of_compressed(archive: Path, query: Query) -> list[Chosen | None]:
    indexes, paths = Indexes(archive, query, [KEY]), sealed_in(archive)
    return [indexes.chosen(seal, paths[seal.file]) for seal in seals(archive)]


def test_old_version(archive: Path) -> None:
    """An index of an earlier file of that name: a name is used again after a deletion."""
    kept = {path.name: path.read_bytes() for path in index_files(archive)}
    for file in [*archive.glob("audit_*"), *archive.glob("default.*")]:  # not the notes
        file.unlink()
    write(archive, list(reversed(users(220))), 50)
    for content, seal in zip(kept.values(), seals(archive), strict=True):
        index_path(archive, seal.file).write_bytes(content)
    both(archive, Query(user_id="user 7"))
    index(archive)
    both(archive, Query(user_id="user 7"))


# --- made, while things happen -----------------------------------------------------------------

_INDEXER = """
import sys
from pathlib import Path
from axon_audit_otel.archive.index.archive import index_archive
from axon_audit_otel.archive.missing import Missing
print("begins", flush=True)
index_archive(Path(sys.argv[1]), [sys.argv[2].encode().ljust(32)], Missing(),
              lambda size: print("one", flush=True))
"""


@pytest.mark.slow
@pytest.mark.parametrize("after", [0, 1, 3])
def test_killed(tmp_path: Path, after: int) -> None:
    """Killed while it is made, an index is used as far as it was noted, and then completed."""
    write(tmp_path, users(3000), 500)
    command = [sys.executable, "-c", textwrap.dedent(_INDEXER), tmp_path, "the key of one reader"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        list(islice(process.stdout, 1 + after))
        process.send_signal(signal.SIGKILL)
    both(tmp_path, Query(user_id="user 7"))
    index(tmp_path)
    assert None not in chosen(tmp_path, Query(user_id="user 7"))


@pytest.mark.slow
def test_readers_and_makers(tmp_path: Path) -> None:
    """Two make indexes while others ask: answers are always whole."""
    write(tmp_path, users(3000), 300)
    command = [sys.executable, "-c", textwrap.dedent(_INDEXER), tmp_path, "the key of one reader"]
    makers = [subprocess.Popen(command, stdout=subprocess.DEVNULL) for _ in range(2)]
    while any(maker.poll() is None for maker in makers):
        both(tmp_path, Query(user_id="user 7"))
    assert [maker.wait() for maker in makers] == [0, 0]
    assert index(tmp_path).made == 0
    assert None not in chosen(tmp_path, Query(user_id="user 7"))


def test_left_behind(archive: Path) -> None:
    """Indexes of files that are gone, and what a killed process left, are removed; others' not."""
    gone = index_path(archive, "audit_2001_01_01_000000.json")
    names = ".audit_1.index.9.1.tmp", ".index.notes.9.1.tmp", "mine.index"
    left, new, mine = (gone.with_name(name) for name in names)
    for path in (gone, left, new, mine):
        path.write_bytes(b"x")
    os.utime(left, (0, 0))
    index(archive)
    assert [path.exists() for path in (gone, left, new, mine)] == [False, False, True, True]


def test_sealed_meanwhile(archive: Path) -> None:
    """An application seals a file, and makes its index, while the command looks at others."""
    forget(archive)

    def work(_: int) -> None:
        if not (archive / "other.manifest").exists():
            write(archive, users(60), 50, "other")
            index_archive(archive, [OTHER], Missing())

    index_archive(archive, [KEY], Missing(), work)
    (seal,) = seals(archive, "other")
    found = Indexes(archive, Query(user_id="user 7"), [OTHER]).chosen(seal, archive / seal.file)
    assert found is not None


def test_notes_do_not_grow(archive: Path) -> None:
    """Lines that newer ones replace are removed, those of other readers stay."""
    index(archive, OTHER)
    path = archive / "index.notes"
    size = path.stat().st_size
    for _ in range(8):
        for file in sealed_files(archive):
            os.utime(file)
        index(archive)
    assert path.stat().st_size < 3 * size
    assert None not in chosen(archive, Query(user_id="user 7"))


def test_deleted_file(archive: Path) -> None:
    """The index of a deleted file says nothing, and the answer tells what is missing."""
    (archive / seals(archive)[1].file).unlink()
    both(archive, Query(user_id="user 7"))
    missing = Missing()
    assert index_archive(archive, [KEY], missing).files == 3
    assert "is gone" in missing.lines()[0]


def test_rights(archive: Path) -> None:
    """As other files of an archive: only the owner reads them."""
    for path in [*index_files(archive), archive / "index.notes"]:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_same_bytes(archive: Path) -> None:
    """An index depends on its file only."""
    before = {path.name: path.read_bytes() for path in index_files(archive)}
    forget(archive)
    index(archive, OTHER)
    assert before == {path.name: path.read_bytes() for path in index_files(archive)}


# --- what others make of it --------------------------------------------------------------------


def _wrong(archive: Path) -> dict[str, str]:
    report = verify(archive)
    assert report.ok
    assert report.verdict == "ok"
    return {index.file: index.explanation for index in report.wrong_indexes}


def test_verify(archive: Path) -> None:
    """`verify` tells indexes that nobody can use, and calls them no damage."""
    assert _wrong(archive) == {}
    one, two, three, four = (index_path(archive, seal.file) for seal in seals(archive))
    one.write_bytes(one.read_bytes()[:-1])
    two.write_bytes(three.read_bytes())
    four.rename(four.with_name("audit_2001_01_01_000000.index"))
    assert _wrong(archive) == {
        one.name: "it is damaged: a page of it is damaged",
        two.name: f"it is not about {seals(archive)[1].file} as it was sealed",
        "audit_2001_01_01_000000.index": "the file that it is about is not here",
    }


def test_verify_prints(archive: Path, cli: Cli) -> None:
    """Also on the command line, with exit code 0."""
    path = index_path(archive, seals(archive)[1].file)
    path.write_bytes(b"")
    printed = " ".join(cli("verify", archive, columns=200).stdout.split())
    words = (
        f"{path.name}: it is damaged: it is not an index; queries do not use it (axon-audit index)"
    )
    assert words in printed
    said = json.loads(cli("verify", archive, "--json").stdout)
    assert said["wrong_indexes"] == [
        {"file": path.name, "explanation": "it is damaged: it is not an index"}
    ]


# --- the command -------------------------------------------------------------------------------


def test_command(archive: Path, cli: Cli, tmp_path: Path) -> None:
    """It makes what the user has not, and queries use it."""
    forget(archive)
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    before = cli("query", archive, "--user", "user 7", "--json", **state).stdout
    printed = cli("index", archive, **state).stdout
    assert printed.startswith("4 files with 200 events have an index, 4 made now; ")
    said = json.loads(cli("index", archive, "--json", **state).stdout)
    assert (said["files"], said["made"], said["events"]) == (4, 0, 200)
    assert said["bytes"] == sum(file.stat().st_size for file in sealed_files(archive))
    assert cli("query", archive, "--user", "user 7", "--json", **state).stdout == before
    assert None not in chosen(archive, Query(user_id="user 7"), key_of_user() or b"")


def test_command_tells(archive: Path, cli: Cli, tmp_path: Path) -> None:
    """What it cannot index, and where there is no archive."""
    state = {"XDG_STATE_HOME": str(tmp_path / "state")}
    path = archive / seals(archive)[1].file
    path.write_bytes(_altered(path.read_bytes()))
    result = cli("index", archive, code=1, **state)
    assert result.stdout.startswith("3 files with 150 events have an index, 3 made now")
    assert "its content is not the one that was sealed" in result.stderr
    (tmp_path / "empty").mkdir()
    assert "no audit files" in cli("index", tmp_path / "empty", code=1, **state).stderr
    forget(archive)
    (archive / "index.notes").mkdir()
    assert "cannot write" in cli("index", archive, code=1, **state).stderr


# --- behind an application ---------------------------------------------------------------------


def _log(audit: AuditLogger, count: int) -> None:
    async def all_of_them() -> None:
        for n in range(count):
            await audit.log_event("STORE", user_id=f"user {n % 7}", entry_ids=[f"entry {n}"])

    asyncio.run(all_of_them())


def _ticks(audit: AuditLogger, directory: Path) -> None:
    """Do what the background thread does, until each sealed file has an index."""
    while len(list(directory.glob("*.index"))) < len(sealed_in(directory)):
        audit.trail.tick()


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("compresses", [False, True])
def test_application(make_audit: Make, tmp_path: Path, signed: bool, compresses: bool) -> None:
    """It makes indexes behind it, which its own queries use, also those of the next process."""
    logs, key = tmp_path / "logs", new_key("ours") if signed else None
    how: dict[str, Any] = {"auto_export_path": logs, "max_events": 10, "compress": compresses}
    how |= {"signing_key": None if key is None else key.line(), "index": True}
    audit = make_audit(**how)
    _log(audit, 45)
    _ticks(audit, logs)
    keys = keys_of_application(key)
    indexes = Indexes(logs, Query(user_id="user 3"), keys)
    paths = sealed_in(logs)
    found = [indexes.chosen(seal, paths[seal.file]) for seal in seals(logs)]
    assert len(found) >= 4
    assert all(one is not None and len(one.lines) <= 2 for one in found)
    assert len(audit.query_events(user_id="user 3", archived=True)) == 6
    audit.close()
    made = {path: path.stat().st_mtime_ns for path in logs.glob("*.index")}
    again = make_audit(name="again", **how)
    _log(again, 1)
    again.trail.tick()
    assert len(again.query_events(user_id="user 3", archived=True)) == 6
    assert made.items() <= {path: path.stat().st_mtime_ns for path in logs.glob("*.index")}.items()
    again.close()


def test_application_with_forged(make_audit: Make, tmp_path: Path) -> None:
    """One that signs does not believe what is made without its key."""
    logs, key = tmp_path / "logs", new_key("ours")
    audit = make_audit(auto_export_path=logs, max_events=10, signing_key=key.line())
    _log(audit, 45)
    index_archive(logs, keys_of_application(None), Missing())
    query = Query(user_id="user 3")
    assert None not in [
        Indexes(logs, query, keys_of_application(None)).chosen(seal, logs / seal.file)
        for seal in seals(logs)
    ]
    indexes = Indexes(logs, query, keys_of_application(key))
    assert [indexes.chosen(seal, logs / seal.file) for seal in seals(logs)] == [None] * 4
    audit.close()


def test_no_space(make_audit: Make, tmp_path: Path, registry: CollectorRegistry) -> None:
    """An index that cannot be written is counted, and loses nothing; later it is made."""
    logs = tmp_path / "logs"
    audit = make_audit(auto_export_path=logs, max_events=10, index=True)
    (logs / "index.notes").mkdir()
    _log(audit, 45)
    audit.trail.tick()
    labels = {"stage": "index", "trail": audit.name}
    assert (registry.get_sample_value("axon_audit_failures_total", labels) or 0) >= 1
    audit.close()
    assert verify(logs).ok
    assert len(archived(logs)) == 45


def test_retention(make_audit: Make, tmp_path: Path) -> None:
    """The index of a file goes with it."""
    logs = tmp_path / "logs"
    audit = make_audit(auto_export_path=logs, max_events=10, index=True, max_archive_bytes=6_000)
    for _ in range(6):
        _log(audit, 10)
        _ticks(audit, logs)
    audit.close()
    names = {path.name.removesuffix(".json") for path in logs.glob("audit_*.json")}
    indexed = {path.name.removesuffix(".index") for path in logs.glob("*.index")}
    assert len(names) < 5
    assert indexed <= names
    assert verify(logs).ok


def test_erased(make_audit: Make, tmp_path: Path) -> None:
    """In an archive with personal data that can be erased, an index knows no id that is not there
    in clear: it finds by what stands for a person, and nobody can try a name with it."""
    logs = tmp_path / "logs"
    audit = make_audit(auto_export_path=logs, max_events=10, index=True, erasable=True)
    _log(audit, 45)
    _ticks(audit, logs)
    assert len(audit.query_events(user_id="user 3", archived=True)) == 6
    indexes = Indexes(logs, Query(user_id="user 3"), keys_of_application(None))
    assert all(
        one is not None and not one.lines
        for one in (indexes.chosen(seal, logs / seal.file) for seal in seals(logs))
    )
    audit.erase_user("user 3")
    audit.trail.tick()
    assert audit.query_events(user_id="user 3", archived=True) == []
    audit.close()


def test_pseudonyms(make_audit: Make, tmp_path: Path) -> None:
    """A query by the real id finds pseudonyms by the index."""
    logs = tmp_path / "logs"
    audit = make_audit(auto_export_path=logs, max_events=10, index=True, pseudonymize=b"x" * 32)
    _log(audit, 45)
    _ticks(audit, logs)
    assert len(audit.query_events(user_id="user 3", archived=True)) == 6
    audit.close()


@pytest.mark.parametrize("edition", ["plain", "two_writers", "compressed", "unclean", "signed"])
def test_first_edition(tmp_path: Path, edition: str) -> None:
    """Files of the first edition get indexes, and `verify` says of them what it said."""
    logs = tmp_path / "logs"
    shutil.copytree(Path(__file__).parents[1] / "data/first_edition" / edition / "logs", logs)
    before = verify(logs).to_dict()
    assert index(logs).files > 0
    assert verify(logs).to_dict() == before
    events = list(search(logs, ALL))
    for user in {event.user_id for event in events} - {None}:
        both(logs, Query(user_id=user))
    for entry in sorted({entry for event in events for entry in event.entry_ids})[:20]:
        assert both(logs, Query(entry_ids=frozenset([entry])))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root gives away")
def test_by_root(archive: Path) -> None:
    """What root makes in an archive belongs to the owner of that."""
    forget(archive)
    for path in (archive, *archive.iterdir()):
        os.chown(path, 65534, 65534)
    index(archive)
    paths = [archive / "index.notes", *index_files(archive)]
    assert {path.stat().st_uid for path in paths} == {65534}
    both(archive, Query(user_id="user 7"))


@pytest.mark.component
def test_second_verifier(archive: Path) -> None:
    """The verifier in Go says of an indexed archive what it said before."""
    program = go_programs.second_verifier()
    indexed = subprocess.run([program, archive], capture_output=True, check=True).stdout
    forget(archive)
    assert subprocess.run([program, archive], capture_output=True, check=True).stdout == indexed
