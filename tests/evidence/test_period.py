"""A period is read in a time zone: each moment is in one month and one day, whatever clocks do."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from conftest import Zone

from axon_audit_otel.core.errors import AuditConfigError
from axon_audit_otel.core.time import to_microseconds
from axon_audit_otel.evidence.period import Period

ZONES = [
    *("UTC", "Europe/Berlin", "America/St_Johns", "Asia/Kathmandu", "Pacific/Kiritimati"),
    *("Pacific/Apia", "Africa/Cairo", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Beirut"),
]
MICROSECOND = timedelta(microseconds=1)


def months(year: int, zone: str | None) -> list[Period]:
    return [Period.of(f"{year}-{month:02}", zone=zone) for month in range(1, 13)]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("year", [2006, 2011, 2025, 2026])
def test_months_follow_each_other(zone: str, year: int) -> None:
    """Each begins one microsecond after the one before; also where clocks change at midnight."""
    found = [*months(year, zone), Period.of(f"{year + 1}-01", zone=zone)]
    for one, following in pairwise(found):
        assert one.end_us + 1 == following.start_us
    for month, one in enumerate(found[:12], 1):
        assert datetime.fromisoformat(one.facts()["first_local"]).month == month


@pytest.mark.parametrize("name", ZONES)
def test_the_local_clock_reads_the_same(name: str, zone: Zone) -> None:
    """With ``TZ`` as with the name."""
    named = months(2025, name)
    zone(name)
    assert months(2025, None) == named


def test_known_months() -> None:
    """As the calendars of these places have them."""
    november = Period.of("2026-11", zone="Asia/Kathmandu").facts()
    assert november["first"] == "2026-10-31T18:15:00.000000Z"
    assert november["last"] == "2026-11-30T18:14:59.999999Z"
    assert november["first_local"] == "2026-11-01T00:00:00.000000+05:45"
    march = Period.of("2026-03", zone="Europe/Berlin")
    assert march.end_us - march.start_us + 1 == (31 * 24 - 1) * 3_600_000_000
    kiritimati = Period.of("2026-11", zone="Pacific/Kiritimati").facts()
    assert kiritimati["first"] == "2026-10-31T10:00:00.000000Z"
    st_johns = Period.of("2026-11", zone="America/St_Johns").facts()
    assert (st_johns["first"], st_johns["last"]) == (
        "2026-11-01T02:30:00.000000Z",
        "2026-12-01T03:29:59.999999Z",
    )


@pytest.mark.parametrize("zone", ZONES)
def test_days(zone: str) -> None:
    """The days of a year follow each other; each moment is in the day that the clock shows, but
    where it was set back over midnight."""
    year = Period.of("2011-01-01", "2011-12-31", zone=zone)
    moment = datetime(2011, 1, 1, tzinfo=ZoneInfo(zone)).astimezone(timezone.utc)
    before = ""
    while to_microseconds(moment) <= year.end_us:
        day = year.day_of(moment)
        assert day >= before
        of_day = Period.of(day, zone=zone)
        assert moment in of_day
        assert (moment - timedelta(microseconds=1) in of_day) == (
            year.day_of(moment - MICROSECOND) == day
        )
        before, moment = day, moment + timedelta(minutes=150)


def test_from_and_to() -> None:
    """Both are included, to their ends."""
    assert Period.of("2026-10", "2026-11", "UTC") == Period.of("2026-10-01", "2026-11-30", "UTC")
    one = Period.of("2026-11-01T10:30", "2026-11-01T10:30Z", "Europe/Berlin").facts()
    assert (one["first"], one["last"]) == (
        "2026-11-01T09:30:00.000000Z",
        "2026-11-01T10:30:00.000000Z",
    )


@pytest.mark.parametrize(
    ("first", "last", "zone", "words"),
    [
        ("2026-13", None, "UTC", "'2026-13' is not a time"),
        ("November", None, "UTC", "'November' is not a time"),
        ("2026-11", "2026-10", "UTC", "'2026-11' is after '2026-10'"),
        ("2026-11", None, "Europe/Atlantis", "no time zone 'Europe/Atlantis'"),
        ("2026-11", None, "../../etc/passwd", "no time zone"),
        ("2026-11", None, "", "no time zone"),
    ],
)
def test_what_is_no_period(first: str, last: str | None, zone: str, words: str) -> None:
    with pytest.raises(AuditConfigError, match=words):
        Period.of(first, last, zone)


def test_a_clock_without_a_name(zone: Zone) -> None:
    """A zone as POSIX writes it has no name; its days are right all the same."""
    zone("XYZ-5:45")
    period = Period.of("2026-11")
    assert period.facts()["timezone"] is None
    assert period.facts()["first"] == "2026-10-31T18:15:00.000000Z"
    assert period.day_of(datetime(2026, 11, 29, 20, tzinfo=timezone.utc)) == "2026-11-30"
