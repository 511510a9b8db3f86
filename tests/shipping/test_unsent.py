"""The list of events that no receiver took: damaged, full, and sent later."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
import receiver as receivers
from conftest import Make
from receiver import Receiver

from axon_audit_otel.archive.origin import source_of
from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.delivery import USUAL, Limits
from axon_audit_otel.shipping.replay import Replayed, replay
from axon_audit_otel.shipping.unsent import SetAside, Unsent

pytestmark = pytest.mark.usefixtures("without_start_record")


@pytest.fixture(name="unsent")
def _unsent(tmp_path: Path) -> Unsent:
    return Unsent(tmp_path, "default", "trail")


def _entry(number: int, said: str = "no") -> SetAside:
    return SetAside(number, f"{number:064x}", f"evt_{number}", 900, "rejected", said)


def test_a_line_that_a_power_loss_cut(unsent: Unsent, tmp_path: Path) -> None:
    """What is added after it is not lost with it."""
    unsent.add([_entry(1)])
    with (tmp_path / "default.unsent").open("ab") as file:
        file.write(b'{"number":2,"ha')
    unsent.add([_entry(3), _entry(4)])
    assert [*unsent.entries()] == [1, 3, 4]


def test_it_stays_readable(unsent: Unsent) -> None:
    """However long the receiver's words are, the list is never longer than what is read of it."""
    for first in range(0, 16_000, 4000):
        unsent.add(_entry(number, "\N{PILE OF POO}" * 300) for number in range(first, first + 4000))
        assert [*unsent.entries()][:4000] == [*range(4000)]
    assert 8000 <= len(unsent.entries()) <= 10_000


def test_a_list_that_cannot_be_read(unsent: Unsent, tmp_path: Path) -> None:
    """It is neither removed nor written to."""
    path = tmp_path / "default.unsent"
    (tmp_path / "elsewhere").write_bytes(b"")
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        unsent.add([_entry(1)])
    with pytest.raises(OSError, match="symbolic"):
        unsent.remove([1])
    assert path.is_symlink()
    assert unsent.entries() == {}
    assert (tmp_path / "elsewhere").read_bytes() == b""


async def _archive(make: Make, directory: Path, count: int, ids: int = 1) -> Unsent:
    audit = make(auto_export_path=directory)
    for _ in range(count):
        await audit.log_event("STORE", entry_ids=[f"{number:036}" for number in range(ids)])
    audit.close()
    return Unsent(directory, "default", source_of(directory, "default").stream)


def _replay(archive: Path, to: Receiver, limits: Limits = USUAL) -> Replayed:
    return replay(archive, Endpoint.resolve(to.url, "http/protobuf", environ={}), {}, limits=limits)


async def test_events_that_the_archive_lost(
    make_audit: Make, tmp_path: Path, http: Receiver
) -> None:
    """Numbers that no event has, of before a power loss, keep nobody waiting."""
    unsent = await _archive(make_audit, tmp_path, 30)
    assert _replay(tmp_path, http, Limits(800_000, 100)).too_large == 30
    unsent.add(_entry(10**15 + 10**6 * number) for number in range(2000))
    assert _replay(tmp_path, http).again == 30
    assert len(unsent.entries()) == 2000


async def test_many_large_events(make_audit: Make, tmp_path: Path, http: Receiver) -> None:
    """They are read one by one: memory never holds all."""
    unsent = await _archive(make_audit, tmp_path, 100, 5000)
    assert _replay(tmp_path, http, Limits(800_000, 10_000)).too_large == 100
    tracemalloc.start()
    try:
        size = sum(len(line) for line in unsent.lines())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert size > 10_000_000
    assert peak < size / 4
    done = _replay(tmp_path, http)
    assert (done.sent, done.again) == (100, 100)


async def test_an_outage_meanwhile(make_audit: Make, tmp_path: Path, http: Receiver) -> None:
    """What was taken before it is no longer on the list; the rest is sent by the next call."""
    unsent = await _archive(make_audit, tmp_path, 30)
    _replay(tmp_path, http, Limits(800_000, 100))
    http.answer = lambda request: 503 if receivers.numbers_in(request)[0] > 20 else None
    endpoint = Endpoint.resolve(http.url, "http/protobuf", environ={})
    done = replay(tmp_path, endpoint, {}, patience=0.0)
    assert (done.again, "503" in done.why) == (20, True)
    assert [*unsent.entries()] == [*range(21, 31)]
    http.answer = lambda request: None
    assert _replay(tmp_path, http).again == 10
    assert not (tmp_path / "default.unsent").exists()
