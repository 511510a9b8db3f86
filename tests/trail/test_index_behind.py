"""The index gets events some at a time: whoever asks sees all of them, whenever he asks."""

from __future__ import annotations

import random
import sys
from itertools import count
from typing import Any

import pytest
from conftest import Make
from strikes import PACKAGE, Strike

from axon_audit_otel import AuditLogger

pytestmark = pytest.mark.usefixtures("without_start_record")

#: What is asked for, by what events have.
ASKED = {
    "operation": ["STORE", "RECALL"],
    "status": ["SUCCESS", "FAILURE"],
    "user_id": ["ann", "bob", "eve"],
    "session_id": ["s1", "s2"],
    "subject_id": ["ann", "bob", "dan"],
    "entry_id": ["e1", "e2", "e3"],
}
BUFFER = {f"{PACKAGE}/trail/buffer.py"}


def _event(chance: random.Random) -> dict[str, Any]:
    pick = chance.choice
    return {
        "operation": pick(ASKED["operation"]),
        "status": pick(ASKED["status"]),
        "user_id": pick([*ASKED["user_id"], None]),
        "session_id": pick([*ASKED["session_id"], None]),
        "subject_id": pick([*ASKED["subject_id"], None, None]),
        "subjects": chance.sample(ASKED["subject_id"], pick([0, 1, 2])),
        "entry_ids": chance.sample(ASKED["entry_id"], pick([0, 1, 2])),
    }


def _has(event: dict[str, Any], field: str, value: str) -> bool:
    if field == "entry_id":
        return value in event["entry_ids"]
    if field == "subject_id":
        return value in (event["subject_id"], *event["subjects"])
    return bool(event[field] == value)


def _check(audit: AuditLogger, held: list[dict[str, Any]], field: str, value: str) -> None:
    asked = {"entry_ids": [value]} if field == "entry_id" else {field: value}
    found = audit.query_events(**asked)
    numbers = [int(event.metadata["number"]) for event in reversed(found)]
    assert numbers == [event["number"] for event in held if _has(event, field, value)]


@pytest.mark.parametrize("most", [1, 63, 64, 65, 1500])
def test_every_answer_is_whole(make_audit: Make, most: int) -> None:
    """Whatever was asked before, and however many events wait for the index."""
    chance, audit = random.Random(most), make_audit(max_events=most)
    told: list[dict[str, Any]] = []
    for number in range(most + 1100):
        event = _event(chance)
        audit.record(**event, metadata={"number": number})
        told.append({**event, "number": number})
        if chance.random() < 0.02:
            field = chance.choice(list(ASKED))
            _check(audit, told[-most:], field, chance.choice(ASKED[field]))
    for field, values in ASKED.items():
        for value in values:
            _check(audit, told[-most:], field, value)


def test_ids_of_the_caller_may_change(make_audit: Make) -> None:
    """What is indexed is what was recorded, not what became of the list."""
    audit, ids = make_audit(), [f"e{number}" for number in range(300)]
    event = audit.record("STORE", entry_ids=ids)
    ids.clear()
    assert audit.query_events(entry_ids=["e299"]) == [event]


@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else traces: coverage, debugger")
@pytest.mark.usefixtures("no_finalizers")
def test_an_exception_while_it_is_made(make_audit: Make) -> None:
    """A query that a signal handler ended does not harm the next ones."""

    class Interrupted(BaseException):
        pass

    def strike() -> None:
        raise Interrupted

    for number in count(1):
        audit = make_audit(max_events=1000)
        told = [_event(random.Random(at)) for at in range(70)]  # the index gets 64
        for at, event in enumerate(told[:6]):
            audit.record(**event, metadata={"number": at})
            event["number"] = at
        try:
            with Strike(number, strike, BUFFER) as done:
                audit.query_events(user_id="ann")
        except Interrupted:
            pass
        _check(audit, told[:6], "user_id", "ann")
        for at, event in enumerate(told[6:], 6):
            audit.record(**event, metadata={"number": at})
            event["number"] = at
        for field, values in ASKED.items():
            _check(audit, told, field, values[0])
        if done.left:
            break


@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else traces: coverage, debugger")
@pytest.mark.usefixtures("no_finalizers")
def test_a_signal_handler_asks(make_audit: Make) -> None:
    """Also in the middle of the index: he sees every event that is recorded."""
    answers: list[int] = []
    for number in count(1):
        audit = make_audit(max_events=1000)
        for _ in range(4):
            audit.record("STORE", user_id="ann")

        def handler(audit: AuditLogger = audit) -> None:
            answers.append(len(audit.query_events(user_id="ann")))

        with Strike(number, handler, BUFFER) as done:
            audit.query_events(user_id="ann")
        if done.left:
            break
        assert len(audit.query_events(user_id="ann")) == 4
    assert set(answers) == {4}
