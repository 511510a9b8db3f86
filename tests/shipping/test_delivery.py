"""The one sender: parts, refusals, waiting, and what is acknowledged or dropped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import receiver as receivers
from conftest import Make
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceResponse,
)
from receiver import Receiver

from axon_audit_otel.otlp.client import Endpoint
from axon_audit_otel.shipping.delivery import Delivery, Limits, Outcome, Sender
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
    refused = tuple(number - 1 for number in bad)
    words = "HTTP 400 Bad Request"
    assert _send(sender, delivery) == Outcome(20, refused, words, (), words)
    assert http.numbers == [number for number in range(1, 21) if number not in bad]
    assert delivery.feed.acknowledged == 20
    assert delivery.take_dropped() == {"rejected": len(bad)}
    assert delivery.take_dropped() == {}


def test_a_receiver_at_fault(http: Receiver, sender: Sender, delivery: Delivery) -> None:
    """A receiver that refuses even a request without records is at fault: no event is given up."""
    http.answer = lambda request: 400
    assert _send(sender, delivery) == Outcome(0, (), "HTTP 400 Bad Request")
    assert (len(delivery.pending), delivery.feed.acknowledged) == (20, 0)
    http.answer = lambda request: None
    assert _send(sender, delivery) == Outcome(20)
    assert http.numbers == list(range(1, 21))


def test_an_outage_in_the_middle(http: Receiver, sender: Sender, delivery: Delivery) -> None:
    """Events sent before the outage are acknowledged; the rest waits, in order."""
    refuse = _refuses(2)
    http.answer = lambda request: refuse(request) or _refuses(13, status=503)(request)
    outcome = _send(sender, delivery)
    assert (outcome.refused, outcome.why) == ((1,), "HTTP 503 Service Unavailable")
    assert outcome.said == "HTTP 400 Bad Request"  # of what it refused, not of the outage
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


def test_requests_have_a_size(http: Receiver, delivery: Delivery) -> None:
    """No request is larger than the limit; all records are in some request, once, in order."""
    sender = Sender(Endpoint.resolve(http.url, "http/protobuf", environ={}), {}, Limits(4096, 4096))
    assert _send(sender, delivery) == Outcome(20)
    assert http.numbers == list(range(1, 21))
    sizes = [request.ByteSize() for request in http.requests]
    assert len(sizes) > 3
    assert 2048 < sizes[0] <= 4096
    assert max(sizes) <= 4096
    sender.close()


@pytest.mark.parametrize("large", [(1,), (20,), (4, 5, 11)])
async def test_a_record_that_is_too_large(
    http: Receiver,
    make_audit: Make,
    tmp_path: Path,
    large: tuple[int, ...],
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is not sent, but named and counted; the others are. It is remembered in the archive."""
    audit = make_audit(auto_export_path=tmp_path)
    for number in range(1, 21):
        await audit.log_event("STORE", metadata={"text": "x" * (9000 if number in large else 9)})
    feed = ArchiveFeed(tmp_path, "default")
    delivery = Delivery(feed)
    sender = Sender(Endpoint.resolve(http.url, "http/protobuf", environ={}), {}, Limits(8192, 6000))
    outcome = _send(sender, delivery)
    assert outcome == Outcome(20, too_large=tuple(number - 1 for number in large))
    assert http.numbers == [number for number in range(1, 21) if number not in large]
    assert delivery.take_dropped() == {"too_large": len(large)}
    aside = [*feed.aside()]
    assert [item.number for item in aside] == list(large)
    assert all(item.event_id in caplog.text for item in aside)
    assert f"({len(aside[0].record):,} bytes)" in caplog.text
    feed.taken(large)
    assert [*feed.aside()] == []
    assert not (tmp_path / "default.unsent").exists()
    feed.close()
    sender.close()


def test_a_part_is_refused(http: Receiver, sender: Sender, delivery: Delivery) -> None:
    """A receiver that takes a request but for some records: these are found out."""

    def judge(request: Any) -> Any:
        bad = len({5, 6, 18} & set(receivers.numbers_in(request)))
        partial = ExportLogsPartialSuccess(rejected_log_records=bad, error_message="too long")
        return ExportLogsServiceResponse(partial_success=partial)

    http.answer = judge
    assert _send(sender, delivery) == Outcome(20, (4, 5, 17), "too long", (), "too long")
    assert delivery.take_dropped() == {"rejected": 3}
