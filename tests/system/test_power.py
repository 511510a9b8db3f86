"""Power loss: what is left when only what was synced is left (``durability="disk"``).

The device is watched through `os.fsync` and `os.fdatasync`, which do what they always do. What
nobody forced to it is lost: the content of a file since its last sync, and every name that was
made, moved or removed since the last sync of its directory.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import gc
import itertools
import os
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from axon import MemorySystem
from conftest import ListingAdapter, Make, assert_chained, until
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditEvent, AuditLogger, AuditUnavailableError, verify
from axon_audit_otel.archive.search import search
from axon_audit_otel.events.query import Query

pytestmark = pytest.mark.usefixtures("without_start_record")


class Device:
    """The content of a directory after power loss."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        directory.mkdir()
        self.failing = 0  # syncs that are going to fail
        self.syncs = 0
        self._names: dict[str, int] = {}  # name to inode
        self._content: dict[int, bytes] = {}
        self._poisoned: dict[int, bytes] = {}  # what a failed sync left: the rest is lost
        self._held: dict[int, int] = {}  # descriptors: an inode's number is not used again
        self._lock = threading.Lock()
        self._clock = itertools.count()
        self._synced: dict[int, int] = {}  # inode (-1: the names) to when its last sync began

    def watch(self, sync: Callable[[int], None]) -> Callable[[int], None]:
        """A function that syncs as *sync* does, and notes what that was."""

        def watched(file: int) -> None:
            if not Path(f"/proc/self/fd/{file}").readlink().is_relative_to(self.directory):
                sync(file)  # of a logger from before
                return
            status, begun = os.fstat(file), next(self._clock)
            here = self._names_now() if stat.S_ISDIR(status.st_mode) else None
            content = b"" if here is not None else Path(f"/proc/self/fd/{file}").read_bytes()
            with self._lock:
                self.syncs += 1
                if self.failing and here is None:
                    self.failing -= 1
                    self._poisoned[status.st_ino] = self._content.get(status.st_ino, b"")
                    raise OSError(errno.EIO, "the device failed")
            sync(file)
            with self._lock:
                inode = -1 if here is not None else status.st_ino
                if self._synced.get(inode, -1) > begun:
                    return  # another thread's sync began later, and ended earlier
                self._synced[inode] = begun
                if here is not None:
                    self._names = here
                    return
                self._hold(status.st_ino, os.dup(file))
                # A kernel that reported a failure once forgets it, and the data.
                lost = self._poisoned.get(status.st_ino)
                self._content[status.st_ino] = content if lost is None else lost

        return watched

    def _names_now(self) -> dict[str, int]:
        names = {}
        for name in [path.name for path in self.directory.iterdir()]:
            try:
                held = os.open(self.directory / name, os.O_RDONLY)
            except FileNotFoundError:
                continue
            names[name] = os.fstat(held).st_ino
            with self._lock:
                self._hold(names[name], held)
        return names

    def _hold(self, inode: int, file: int) -> None:
        if inode in self._held:
            os.close(file)
        else:
            self._held[inode] = file

    def after_power_loss(self, directory: Path) -> Path:
        """The content that is left, in a new directory."""
        directory.mkdir()
        with self._lock:
            for name, inode in self._names.items():
                (directory / name).write_bytes(self._content.get(inode, b""))
        return directory

    def close(self) -> None:
        """Let go of every file."""
        for file in self._held.values():
            os.close(file)


@pytest.fixture(name="device")
def _device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_finalizers: None
) -> Iterator[Device]:
    if not Path("/proc/self/fd").exists():
        pytest.skip("needs /proc")
    device = Device(tmp_path / "logs")
    monkeypatch.setattr(os, "fsync", device.watch(os.fsync))
    monkeypatch.setattr(os, "fdatasync", device.watch(os.fdatasync))
    yield device
    device.close()


@pytest.fixture(name="left")
def _left(device: Device, make_audit: Make, tmp_path: Path) -> Callable[[], list[AuditEvent]]:
    """The events that the next start finds, oldest first; `verify` finds nothing."""
    numbers = iter(range(1000))

    def find() -> list[AuditEvent]:
        directory = device.after_power_loss(tmp_path / f"left{next(numbers)}")
        assert verify(directory).findings == []
        make_audit(auto_export_path=directory, name="after").close()
        make_audit(auto_export_path=directory).close()
        assert verify(directory).findings == []
        found = list(search(directory, Query(), oldest_first=True))
        events = [event for event in found if event.operation.value != "AUDIT"]
        assert_chained(events)
        return events

    return find


async def test_every_acknowledged_event(
    device: Device, left: Callable[[], list[AuditEvent]], make_audit: Make
) -> None:
    """When power is lost, it holds every event whose call had returned: of single callers and
    of many at once, through rotation and seals."""
    audit = make_audit(10, device.directory, durability="disk")
    chance, acknowledged = Random(7), []
    for _ in range(12):
        at_once = chance.choice([1, 1, 3, 15])
        acknowledged += await asyncio.gather(*(audit.log_event("STORE") for _ in range(at_once)))
        if chance.random() < 0.3:
            audit.seal()
        assert left()[: len(acknowledged)] == sorted(acknowledged, key=lambda e: e.sequence)


async def test_first_event(
    device: Device, left: Callable[[], list[AuditEvent]], make_audit: Make
) -> None:
    """A new journal's name is on stable storage, not only its content."""
    audit = make_audit(auto_export_path=device.directory, durability="disk")
    event = await audit.log_event("STORE")
    assert left() == [event]


async def test_process_mode_does_not_wait(
    device: Device, left: Callable[[], list[AuditEvent]], make_audit: Make
) -> None:
    """With ``durability="process"`` nobody waits for the device, and power loss costs events:
    this test would notice."""
    audit = make_audit(auto_export_path=device.directory)
    await audit.log_event("STORE")
    assert device.syncs == 0


async def test_forgotten_logger(tmp_path: Path) -> None:
    """Nothing holds a trail that nobody uses any more: its name is free again."""
    audit = AuditLogger(auto_export_path=tmp_path, durability="disk", registry=CollectorRegistry())
    await audit.log_event("STORE")
    del audit

    def is_free() -> bool:
        gc.collect()
        with (tmp_path / ".default.lock").open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                return False
        return True

    await until(is_free)
    audit = AuditLogger(auto_export_path=tmp_path, registry=CollectorRegistry())
    assert (await audit.log_event("STORE")).sequence == 2


async def test_device_that_fails(
    device: Device, left: Callable[[], list[AuditEvent]], make_audit: Make
) -> None:
    """When a sync fails, that is counted, and what the device may have dropped is written to it
    again with the next event."""
    audit = make_audit(auto_export_path=device.directory, durability="disk")
    first = await audit.log_event("STORE")
    device.failing = 1
    second = await audit.log_event("STORE")
    assert audit.get_statistics()["failures"] == {"commit": 1}
    third = await audit.log_event("STORE")
    assert left() == [first, second, third]


async def test_device_that_fails_at_a_seal(
    device: Device, left: Callable[[], list[AuditEvent]], make_audit: Make
) -> None:
    """Nor is a journal believed that was not synced when it was to be sealed."""
    audit = make_audit(2, device.directory, durability="disk", on_failure="block")
    first = await audit.log_event("STORE")
    device.failing = 1
    with pytest.raises(AuditUnavailableError):
        await audit.log_event("STORE")
    assert audit.get_statistics()["failures"]["seal"] == 1
    third = await audit.log_event("STORE")
    assert (left()[0], left()[2]) == (first, third)


# --- operations that are refused if they cannot be recorded ------------------------------------


def _intents(directory: Path) -> str:
    return "".join(path.read_text() for path in directory.glob("*.intents"))


class _Watching(ListingAdapter):
    """Tells what power loss would leave when it is asked to do something."""

    def __init__(self, device: Device, directory: Path) -> None:
        super().__init__()
        self._device, self._directory = device, directory
        self.known: list[bool] = []
        self.refused = 0

    def _look(self, method: str) -> None:
        left = self._device.after_power_loss(self._directory / f"at{len(self.known)}")
        intents = _intents(left)
        self.known.append(f'"operation":"{method}"' in intents)
        assert len(intents.splitlines()) == len(self.known) + self.refused

    async def save(self, entry: Any) -> str:
        self._look("STORE")
        return await super().save(entry)

    async def delete(self, id: str) -> bool:
        self._look("FORGET")
        return await super().delete(id)

    def clear(self) -> None:
        self._look("FORGET")
        super().clear()


async def test_intents(device: Device, make_audit: Make, make_system: Any, tmp_path: Path) -> None:
    """An operation touches memory only when its intent is on stable storage, whether it comes
    from the system's method or from the adapter's own."""
    audit = make_audit(auto_export_path=device.directory, durability="disk", on_failure="block")
    adapter = _Watching(device, tmp_path)
    memory: MemorySystem = make_system(audit_logger=audit, persistent=adapter)
    entry_id = await memory.store("tea")
    await memory.store("coffee")
    await adapter.delete(entry_id)
    adapter.clear()
    assert adapter.known == [True] * 4
    device.failing = 1
    with pytest.raises(AuditUnavailableError):
        await memory.store("milk")
    assert adapter.list_ids() == []
    adapter.refused = 1
    await memory.store("milk")
    assert len(adapter.list_ids()) == 1


@pytest.mark.parametrize("way", ["store", "transaction", "delete", "clear"])
async def test_operations(
    device: Device,
    left: Callable[[], list[AuditEvent]],
    make_audit: Make,
    make_system: Any,
    way: str,
) -> None:
    """An operation's event is on stable storage when the operation returns, whatever it is."""
    audit = make_audit(auto_export_path=device.directory, durability="disk")
    adapter = ListingAdapter()
    memory = make_system(audit_logger=audit, persistent=adapter)
    entry_id = await memory.store("tea")
    if way == "transaction":
        async with memory.transaction():
            pass
    elif way == "delete":
        await adapter.delete(entry_id)
    elif way == "clear":
        adapter.clear()
    assert left() == audit.query_events()[::-1]
