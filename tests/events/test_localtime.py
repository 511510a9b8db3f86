"""Local time: days of 23 and 25 hours, midnights that do not exist or come twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import msgspec
import pytest
from conftest import Cli, Make, Zone
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider

from axon_audit_otel import AuditEvent, AuditLogger
from axon_audit_otel.archive.checkpoints import new_key
from axon_audit_otel.events.localtime import earliest, latest

UTC = timezone.utc

#: Zones, and a day near which their clocks change.
CHANGES = [
    ("Africa/Cairo", "2025-10-30"),  # 24:00 is 23:00 again
    ("Africa/Cairo", "2025-04-25"),  # begins at 01:00
    ("Africa/Casablanca", "2025-04-06"),
    ("America/Asuncion", "2017-10-01"),  # a month that begins at 01:00
    ("America/Havana", "2015-11-01"),  # a month with two midnights
    ("America/Nuuk", "2024-10-26"),
    ("America/Santiago", "2025-09-07"),
    ("America/Sao_Paulo", "2018-11-04"),
    ("America/St_Johns", "2006-10-29"),  # a minute after midnight, an hour back
    ("America/Toronto", "1919-03-31"),  # from 23:30 to 00:30
    ("Asia/Beirut", "2025-10-26"),
    ("Asia/Kathmandu", "1986-01-01"),  # a quarter of an hour
    ("Atlantic/Azores", "2025-10-26"),
    ("Australia/Lord_Howe", "2025-04-06"),  # half an hour
    ("Europe/Berlin", "2025-03-30"),
    ("Pacific/Apia", "2011-12-30"),  # the day that was not
    ("UTC", "2025-01-01"),
    ("", "2025-01-01"),
    ("No/Such_Zone", "2025-01-01"),
    ("AAA3:07BBB,M3.2.0/0,M11.1.0/0", "2025-11-02"),
]


@pytest.fixture(name="trail")
def _trail(tmp_path: Path, audit: AuditLogger) -> Callable[[list[datetime]], Path]:
    """Makes a file with an event at each moment, numbered in their order."""

    def make(moments: list[datetime]) -> Path:
        events = [_event(number, moment) for number, moment in enumerate(moments, 1)]
        audit.export_events(events, tmp_path / "a.json")
        return tmp_path / "a.json"

    return make


def _event(number: int, moment: datetime, **fields: Any) -> AuditEvent:
    values = {
        "event_id": f"evt_{number}",
        "timestamp": moment,
        "operation": "EXPORT",
        "user_id": "alice",
        "session_id": None,
        "entry_ids": [],
        "metadata": {},
        "status": "SUCCESS",
        "duration_ms": 1.0,
        "sequence": number,
    }
    return msgspec.convert({**values, **fields}, AuditEvent)


def _found(cli: Cli, path: Path, *options: str) -> list[int]:
    lines = cli("query", path, "--json", *options).stdout.splitlines()
    return sorted(json.loads(line)["sequence"] for line in lines)


def _around(day: str, step: timedelta) -> list[datetime]:
    """Moments from two days before *day* to three days after."""
    first = datetime.fromisoformat(day).replace(hour=12, tzinfo=UTC) - timedelta(days=2)
    return [first + number * step for number in range(timedelta(days=5) // step)]


# --- days and months --------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "day"), CHANGES)
def test_every_event_is_in_one_day(cli: Cli, zone: Zone, trail: Any, name: str, day: str) -> None:
    """The reports of adjacent days have every event, and none twice; a day's are of that day."""
    zone(name)
    middle = datetime.fromisoformat(day)
    moments = _around(day, timedelta(minutes=10))
    path = trail(moments)
    days = [(middle + timedelta(days=n)).date().isoformat() for n in range(-3, 5)]
    found = [_found(cli, path, "--since", day, "--until", day) for day in days]
    assert [number for numbers in found for number in numbers] == list(range(1, len(moments) + 1))
    if name != "America/St_Johns":  # there a minute, and an hour, of two days take turns
        for day, numbers in zip(days, found):
            assert {str(moments[n - 1].astimezone().date()) for n in numbers} <= {day}


@pytest.mark.parametrize(
    ("name", "months"),
    [
        ("America/Asuncion", ["2017-09", "2017-10"]),
        ("America/Havana", ["2015-10", "2015-11"]),
        ("Africa/Cairo", ["2024-10", "2024-11"]),
    ],
)
def test_every_event_is_in_one_month(
    cli: Cli, zone: Zone, trail: Any, name: str, months: list[str]
) -> None:
    """A month alone means all of it; adjacent ones part where the second begins."""
    zone(name)
    moments = _around(f"{months[1]}-01", timedelta(minutes=10))
    first, second = (
        _found(cli, trail(moments), "--since", month, "--until", month) for month in months
    )
    assert first + second == list(range(1, len(moments) + 1))
    assert {str(moments[n - 1].astimezone())[:7] for n in second} == {months[1]}


def test_a_day_of_another_zone(cli: Cli, zone: Zone, trail: Any) -> None:
    """A day with an offset is that zone's day, whatever the clock here says."""
    zone("Asia/Tokyo")
    path = trail([datetime(2025, 1, 1, hour, tzinfo=UTC) for hour in range(24)])
    assert _found(cli, path, "--since", "2025-01-01Z", "--until", "2025-01-01Z") == [*range(1, 25)]
    assert _found(cli, path, "--until", "2024-12-31-02:00") == [1, 2]


@pytest.mark.parametrize("back", range(7))
def test_days_of_the_week(back: int) -> None:
    """A day's name is the newest such day, also today."""
    day = datetime.now() - timedelta(days=back)
    name = f"{day:%A}".lower()
    start = day.replace(hour=0, minute=0, second=0, microsecond=0)
    assert earliest(name) == earliest(f"{start:%Y-%m-%d}")
    assert latest(name) == latest(f"{start:%Y-%m-%d}")


def test_today_and_yesterday(cli: Cli, trail: Any) -> None:
    """They are days as dates are."""
    now = datetime.now(UTC)
    path = trail([now - timedelta(days=1), now])
    assert len(_found(cli, path, "--since", "yesterday", "--until", "today")) == 2
    assert _found(cli, path, "--since", "yesterday", "--until", "yesterday") == [1]


@pytest.mark.parametrize("text", ["2025", "202501", "20250131", "2025-W05", "2025-13", "x"])
def test_what_could_mean_a_moment_or_a_period(cli: Cli, trail: Any, text: str) -> None:
    """Text without the form of a day, month or time is refused, on every Python."""
    path = trail([datetime(2025, 1, 1, tzinfo=UTC)])
    assert "is not a time" in cli("query", path, "--until", text, code=2).stderr


# --- times ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "when", "since", "until"),
    [
        ("Africa/Cairo", "2025-10-30T23:30", "2025-10-30T20:30", "2025-10-30T21:30"),
        ("Australia/Lord_Howe", "2025-04-06T01:45", "2025-04-05T14:45", "2025-04-05T15:15"),
        ("Europe/Berlin", "2025-03-30T02:30", "2025-03-30T01:00", "2025-03-30T00:59:59.999999"),
        ("Europe/Berlin", "2025-03-30T03:30", "2025-03-30T01:30", "2025-03-30T01:30"),
    ],
)
def test_a_time_that_comes_twice_or_never(
    cli: Cli, zone: Zone, trail: Any, name: str, when: str, since: str, until: str
) -> None:
    """`--since` means the first of two, `--until` the last; one that is skipped, where the
    clock jumps."""
    zone(name)
    step = timedelta(microseconds=1)
    first, last = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in (since, until))
    path = trail([first - step, first])
    assert _found(cli, path, "--since", when) == [2]
    path = trail([last, last + step])
    assert _found(cli, path, "--until", when) == [1]


@pytest.mark.parametrize(
    ("wall", "fold", "utc"),
    [
        ("2025-10-30T23:30", 0, "2025-10-30T20:30"),  # twice
        ("2025-10-30T23:30", 1, "2025-10-30T21:30"),
        ("2025-04-25T00:00", 0, "2025-04-24T22:00"),  # never
        ("2025-04-25T00:30", 1, "2025-04-24T21:30"),
    ],
)
def test_naive_datetimes_by_their_fold(
    zone: Zone, audit: AuditLogger, logger_provider: LoggerProvider, wall: str, fold: int, utc: str
) -> None:
    """A naive time given to `query_events` means the moment that PEP 495 defines."""
    zone("Africa/Cairo")
    moment = datetime.fromisoformat(utc).replace(tzinfo=UTC)
    logger_provider.get_logger("other").emit(
        LogRecord(
            timestamp=int(moment.timestamp()) * 10**9,
            event_name="axon.memory.audit",
            body={"operation": "STORE"},
        )
    )
    asked = datetime.fromisoformat(wall).replace(fold=fold)
    assert [event.timestamp for event in audit.query_events(start_time=asked, end_time=asked)] == [
        moment
    ]


# --- what is shown ----------------------------------------------------------------------------

_TIMES = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:[+-]\d\d:\d\d)?"


@pytest.mark.parametrize("command", ["query", "tail -n 999", "stats", "alerts"])
def test_an_hour_that_comes_twice_is_told_apart(
    cli: Cli, zone: Zone, trail: Any, command: str
) -> None:
    """Each time that is shown has its offset, so that it is of one moment."""
    zone("Africa/Cairo")
    moments = [datetime(2025, 10, 30, hour, 30, tzinfo=UTC) for hour in (20, 21)]
    path = trail([moment + timedelta(seconds=n) for moment in moments for n in range(150)])
    said = cli(*command.split(), path, code=int(command == "alerts")).stdout
    shown = {datetime.fromisoformat(text) for text in re.findall(_TIMES, said)}
    assert shown
    assert all(moment.tzinfo is not None for moment in shown)
    assert moments[0] in shown or command == "alerts"


@pytest.mark.parametrize(
    ("name", "label", "row"),
    [
        ("UTC", "time (UTC)", "2025-01-01 12:00:00 "),
        ("Asia/Kathmandu", "time (UTC+05:45)", "2025-01-01 17:45:00 "),
        ("No/Such_Zone", "time (UTC)", "2025-01-01 12:00:00 "),
        ("Asia/Almaty", "time (UTC+05:00)", "2023-01-01 18:00:00+06:00"),  # changed in 2024
    ],
)
def test_a_clock_that_does_not_change_is_labelled_once(
    cli: Cli, zone: Zone, trail: Any, name: str, label: str, row: str
) -> None:
    """The header has the offset; a row only where it had another one then."""
    zone(name)
    moment = datetime(int(row[:4]), 1, 1, 12, tzinfo=UTC)
    header, line = cli("query", trail([moment])).stdout.splitlines()
    assert header.startswith(label)
    assert line.startswith(row)


def test_one_clock_in_one_output(cli: Cli, zone: Zone, audit: AuditLogger, tmp_path: Path) -> None:
    """All times in one output are shown by the same clock."""
    zone("Asia/Kathmandu")
    begun = {"record": "unfinished", "operation": "STORE", "time": "2025-01-15T09:59:00Z"}
    event = _event(1, datetime(2025, 1, 15, 10, tzinfo=UTC), operation="AUDIT", metadata=begun)
    audit.export_events([event], tmp_path / "a.json")
    line = cli("query", tmp_path / "a.json").stdout.splitlines()[1]
    assert line.startswith("2025-01-15 15:45:00")
    assert line.endswith("begun 2025-01-15 15:44:00+05:45")
    text = "Doe v. Acme\nplaced 2025-01-15T10:00:00.000000Z by ann\n"
    (tmp_path / "legal.hold").write_text(text)
    held = cli("hold", tmp_path).stdout
    assert held == "held by 'legal': Doe v. Acme; placed 2025-01-15 15:45:00+05:45 by ann\n"


def test_verify_has_one_clock(cli: Cli, zone: Zone, make_audit: Make, tmp_path: Path) -> None:
    """Also for what no checkpoint covers; --json is UTC."""
    zone("Asia/Kathmandu")
    key = new_key("acme")
    audit = make_audit(auto_export_path=tmp_path, signing_key=key)
    with audit, pytest.raises(StopIteration):
        audit.log_event("STORE").send(None)
    command = ["verify", tmp_path, "--key", str(key.verifying)]
    said = cli(*command).stdout
    assert re.search(r"events cut off after event 2 \(\S+ \S+\+05:45\)", said)
    assert not re.search(r"\dZ", said)
    assert re.search(r"after event 2 \(\S+Z\)", cli(*command, "--json").stdout)
