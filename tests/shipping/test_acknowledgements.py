"""Acknowledgements say what a receiver has, of the archive as it is now."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from weakref import ref

import pytest
from conftest import Make, archived, retire, sealed_files, until
from receiver import Receiver

from axon_audit_otel import AuditLogger
from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.acknowledgements import (
    SHIPPED,
    Acknowledgements,
    acknowledged,
    confirmed,
)
from axon_audit_otel.shipping.replay import replay

pytestmark = pytest.mark.usefixtures("without_start_record")


async def _log(audit: AuditLogger, count: int) -> None:
    for _ in range(count):
        await audit.log_event("STORE", user_id="ann")


def _keep(archive: Path) -> Path:
    """A copy of *archive* as it is."""
    copy = archive.with_name("backup")
    shutil.copytree(archive, copy)
    return copy


def _restore(archive: Path, copy: Path) -> None:
    """Everything in *archive* is as it was, but for the kept."""
    for path in archive.iterdir():
        if path.suffix != SHIPPED:
            path.unlink()
    for path in copy.iterdir():
        if path.suffix != SHIPPED:
            shutil.copy(path, archive)


@pytest.fixture(name="session")
def _session(make_audit: Make, tmp_path: Path) -> Callable[..., Awaitable[None]]:
    """Logs so many events to an archive, and lets that go."""

    async def session(count: int, **settings: Any) -> None:
        audit = make_audit(max_events=10, auto_export_path=tmp_path / "logs", **settings)
        await _log(audit, count)
        audit.close()
        trail = ref(audit.trail)
        del audit
        await until(lambda: trail() is None)

    return session


def test_one_at_a_time(tmp_path: Path) -> None:
    """One at a time holds the kept of a writer; they remember the trail's name."""
    first = Acknowledgements(tmp_path, "default", "a" * 16, "orders")
    with pytest.raises(BlockingIOError):
        Acknowledgements(tmp_path, "default", "a" * 16)
    first.close()
    second = Acknowledgements(tmp_path, "default", "a" * 16)
    assert (second.number, second.trail) == (0, "orders")
    second.close()
    assert acknowledged(tmp_path, "nobody") == (0, "")


async def test_they_count_for_one_archive(make_audit: Make, tmp_path: Path) -> None:
    """Acknowledgements are known after a restart, and not of another archive."""
    audit = make_audit(auto_export_path=tmp_path)
    await _log(audit, 3)
    stream, newest = audit.trail.source.stream, audit.query_events()[0]
    first = Acknowledgements(tmp_path, "default", stream, "orders")
    first.save(3, newest.hash)
    first.close()
    assert acknowledged(tmp_path, "default") == confirmed(tmp_path, "default") == (3, "orders")
    second = Acknowledgements(tmp_path, "default", stream)
    assert (second.number, second.trail) == (3, "orders")
    second.close()
    other = Acknowledgements(tmp_path, "default", "b" * 16)
    assert (other.number, other.trail) == (0, "")
    other.close()


@pytest.mark.parametrize("later", [0, 20, 50])
async def test_an_archive_that_lost_its_tail(
    http: Receiver, session: Callable[..., Awaitable[None]], tmp_path: Path, later: int
) -> None:
    """Events that have the numbers of lost ones, which were acknowledged, are shipped."""
    archive = tmp_path / "logs"
    await session(25, ship_to=http.url)
    copy = _keep(archive)
    await session(35, ship_to=http.url)
    await until(lambda: acknowledged(archive, "default")[0] == 60)
    _restore(archive, copy)
    assert confirmed(archive, "default")[0] == 25
    await session(later)
    http.records.clear()
    await session(2, ship_to=http.url)
    assert http.numbers == list(range(26, 28 + later))
    await until(lambda: acknowledged(archive, "default")[0] == 27 + later)


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_replay_of_an_archive_that_lost_its_tail(
    http: Receiver, session: Callable[..., Awaitable[None]], tmp_path: Path, elsewhere: bool
) -> None:
    """`replay` does not take a lost event's acknowledgement for that of another with its
    number, also while somebody else ships."""
    archive = tmp_path / "logs"
    endpoint = Endpoint.resolve(http.url)
    await session(25)
    copy = _keep(archive)
    await session(35)
    assert replay(archive, endpoint, {}).sent == 60
    _restore(archive, copy)
    await session(50)
    http.records.clear()
    owner = _lock(archive / f"default{SHIPPED}") if elsewhere else -1
    done = replay(archive, endpoint, {})
    assert (done.before, done.sent, done.why) == (0, 75, "")
    assert http.numbers == list(range(1, 76))
    if elsewhere:
        os.close(owner)
        assert done.unremembered == ["default"]
    else:
        assert replay(archive, endpoint, {}).before == 75


async def test_they_go_back_no_further_than_they_must(make_audit: Make, tmp_path: Path) -> None:
    """Few events that were not lost are sent again, where little was lost."""
    archive = tmp_path / "logs"
    audit = make_audit(max_events=100, auto_export_path=archive)
    kept = None
    for number in range(1, 481):
        await _log(audit, 1)
        kept = kept or Acknowledgements(archive, "default", audit.trail.source.stream)
        kept.save(number, audit.query_events(limit=1)[0].hash)
    assert kept is not None
    kept.close()
    journal = archive / "default.journal"
    lines = journal.read_bytes().splitlines(keepends=True)
    known = []
    for lost in (0, 1, 5, 20, 60):
        journal.write_bytes(b"".join(lines[: len(lines) - lost]))
        known.append(confirmed(archive, "default")[0])
        assert 480 - 16 * lost <= known[-1] <= 480 - lost
    assert known[0] == 480
    assert known == sorted(known, reverse=True)


async def test_older_kept(make_audit: Make, tmp_path: Path) -> None:
    """Acknowledgements of versions that wrote no hash count, as long as there is such an event."""
    audit = make_audit(auto_export_path=tmp_path)
    await _log(audit, 5)
    path = tmp_path / f"default{SHIPPED}"
    for number, expected in ((4, 4), (5, 5), (6, 0)):
        state = {"acknowledged": number, "stream": audit.trail.source.stream, "trail": "orders"}
        path.write_bytes(json.dumps(state).encode().ljust(255) + b"\n")
        assert confirmed(tmp_path, "default")[0] == expected
        kept = Acknowledgements(tmp_path, "default", audit.trail.source.stream)
        assert (kept.number, kept.trail) == (expected, "orders")
        kept.close()
        assert acknowledged(tmp_path, "default") == (expected, "orders")


async def test_what_retention_deleted(http: Receiver, make_audit: Make, tmp_path: Path) -> None:
    """Events that were acknowledged and then deleted are neither missed nor sent again."""
    audit = make_audit(max_events=10, auto_export_path=tmp_path)
    await _log(audit, 35)
    hashes = {event.sequence: event.hash for event in archived(tmp_path)}
    kept = Acknowledgements(tmp_path, "default", audit.trail.source.stream)
    for number in (4, 15):
        kept.save(number, hashes[number])
    kept.close()
    retire(*sealed_files(tmp_path)[:2])
    done = replay(tmp_path, Endpoint.resolve(http.url), {})
    assert (done.before, done.sent, done.deleted) == (15, 15, 5)
    assert http.numbers == list(range(21, 36))


async def test_a_file_that_is_not_listed_yet(make_audit: Make, tmp_path: Path) -> None:
    """Acknowledged events stay so while a file is sealed, and its manifest is behind."""
    audit = make_audit(max_events=10, auto_export_path=tmp_path)
    await _log(audit, 30)
    kept = Acknowledgements(tmp_path, "default", audit.trail.source.stream)
    kept.save(25, archived(tmp_path)[24].hash)
    kept.close()
    manifest = tmp_path / "default.manifest"
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(lines[:-1]))
    assert confirmed(tmp_path, "default")[0] == 25


def _lock(path: Path) -> int:
    """Take the lock of *path*, as somebody who ships does."""
    file = os.open(path, os.O_RDWR)
    fcntl.flock(file, fcntl.LOCK_EX)
    return file
