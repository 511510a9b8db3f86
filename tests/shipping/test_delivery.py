"""The one sender: parts, refusals, waiting, and what is acknowledged or dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import receiver as receivers
from conftest import Make
from receiver import Receiver

from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.delivery import Delivery, Outcome, Sender
from axon_audit_otel.shipping.sources import ArchiveFeed

pytestmark = pytest.mark.usefixtures("without_start_record")


@pytest.fixture(name="sender")
def _sender(http: Receiver) -> Iterator[Sender]:
    found = Sender(Endpoint.resolve(http.url, "http/protobuf", environ={}), {"service.name": "s"})
    yield found
    found.close()


@pytest.fixture(name="delivery")
async def _delivery(make_audit: Make, tmp_path: Path) -> Delivery:
    """The delivery of 20 events of an archive, none of which is taken yet."""
    audit = make_audit(auto_export_path=tmp_path)
    for _ in range(20):
        await audit.log_event("STORE")
    return Delivery(ArchiveFeed(tmp_path, "default"))


def _send(sender: Sender, delivery: Delivery) -> Outcome:
    outcome = sender.send([item.record for item in delivery.pending or delivery.take()])
    delivery.acknowledge(outcome)
    return outcome


def _refuses(*numbers: int, status: int = 400) -> Callable[[Any], int | None]:
    return lambda request: status if set(numbers) & set(receivers.numbers_in(request)) else None


def test_all_at_once(http: Receiver, sender: Sender, delivery: Delivery) -> None:
    """Accepted events are acknowledged, and no longer pending."""
    assert _send(sender, delivery) == Outcome(20)
    assert (sender.wait, delivery.pending, delivery.feed.acknowledged) == (0.0, [], 20)
    assert len(http.requests) == 1
    assert http.resources == [{"service.name": "s"}]
    assert delivery.take() == []


def test_too_large(http: Receiver, sender: Sender, delivery: Delivery) -> None:
    """A request that is too large is sent in parts, in order."""
    http.answer = lambda request: 413 if len(receivers.numbers_in(request)) > 6 else None
    assert _send(sender, delivery) == Outcome(20)
    assert http.numbers == list(range(1, 21))
    assert delivery.take_dropped() == {}


@pytest.mark.parametrize("bad", [(1,), (20,), (3, 4, 17), tuple(range(1, 21))])
def test_refused_for_good(
    http: Receiver, sender: Sender, delivery: Delivery, bad: tuple[int, ...]
) -> None:
    """Of a receiver that works, what it refuses alone is given up, and counted."""
    http.answer = _refuses(*bad)
    assert _send(sender, delivery) == Outcome(20, len(bad), "HTTP 400 Bad Request")
    assert http.numbers == [number for number in range(1, 21) if number not in bad]
    assert delivery.feed.acknowledged == 20
    assert delivery.take_dropped() == {"rejected": len(bad)}
    assert delivery.take_dropped() == {}


def test_a_receiver_at_fault(http: Receiver, sender: Sender, delivery: Delivery) -> None:
    """A receiver that refuses even a request without records is at fault: no event is given up."""
    http.answer = lambda request: 400
    assert _send(sender, delivery) == Outcome(0, 0, "HTTP 400 Bad Request")
    assert (len(delivery.pending), delivery.feed.acknowledged) == (20, 0)
    http.answer = lambda request: None
    assert _send(sender, delivery) == Outcome(20)
    assert http.numbers == list(range(1, 21))


def test_an_outage_in_the_middle(http: Receiver, sender: Sender, delivery: Delivery) -> None:
    """Events sent before the outage are acknowledged; the rest waits, in order."""
    refuse = _refuses(2)
    http.answer = lambda request: refuse(request) or _refuses(13, status=503)(request)
    outcome = _send(sender, delivery)
    assert (outcome.rejected, outcome.why) == (1, "HTTP 503 Service Unavailable")
    assert 1 < outcome.done < 13
    assert delivery.feed.acknowledged == outcome.done
    assert [item.number for item in delivery.pending] == list(range(outcome.done + 1, 21))
    http.answer = lambda request: None
    _send(sender, delivery)
    assert http.numbers == [1, *range(3, 21)]


def test_waiting(http: Receiver, sender: Sender, delivery: Delivery) -> None:
    """Longer after each failure, to a limit, and as long as the receiver wants; success ends it."""
    http.answer = lambda request: 503
    waits = []
    for _ in range(12):
        _send(sender, delivery)
        waits.append(sender.wait)
    assert 0.35 <= waits[0] <= 0.5
    assert waits[3] > waits[1] > waits[0]
    assert 10.5 <= min(waits[-3:]) <= max(waits[-3:]) <= 15
    http.answer = lambda request: (429, 77)
    _send(sender, delivery)
    assert sender.wait == 77
    http.answer = lambda request: None
    _send(sender, delivery)
    assert sender.wait == 0


def test_several_on_their_way(
    http: Receiver, delivery: Delivery, sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches may be sent at the same time; they are acknowledged in order."""
    monkeypatch.setattr("axon_audit_otel.shipping.sources.EVENTS", 8)
    batches = [delivery.take(), delivery.take(), delivery.take()]
    assert [len(batch) for batch in batches] == [8, 8, 4]
    assert len(delivery.pending) == 20
    threads = []
    for batch in reversed(batches):
        other = Sender(Endpoint.resolve(http.url, "http/protobuf", environ={}), {})
        records = [item.record for item in batch]
        threads.append(threading.Thread(target=lambda s=other, r=records: (s.send(r), s.close())))
        threads[-1].start()
    for thread in threads:
        thread.join()
    for batch, until in zip(batches, (8, 16, 20), strict=True):
        delivery.acknowledge(Outcome(len(batch)))
        assert delivery.feed.acknowledged == until
    assert delivery.pending == []
    assert sorted(http.numbers) == list(range(1, 21))
