"""Bad input: what cannot be kept is marked, no event is lost, and every event can be read."""

from __future__ import annotations

import decimal
import fractions
import hashlib
import json
import math
import pathlib
from collections import OrderedDict, UserDict, defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import suppress
from datetime import date, datetime, time, timedelta, timezone
from enum import Enum, IntEnum, auto
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from amounts import examples
from axon import MemorySystem
from conftest import ListingAdapter, Make, MakeSystem, only_event
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry._logs import LogRecord
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import (
    AuditLogger,
    AxonAuditError,
    AxonInstrumentor,
    InvalidEventError,
    audit_context,
    verify,
)
from axon_audit_otel.events.model import decode

pytestmark = pytest.mark.usefixtures("without_start_record")


def _no_constant(name: str) -> Any:
    raise AssertionError(f"{name} is no JSON")


def readable(audit: AuditLogger) -> list[dict[str, Any]]:
    """Every event, read back by Python's own JSON and by ours; newest first."""
    events = audit.query_events()
    assert len(events) == audit.event_count
    result = []
    for event in events:
        raw = event.to_json()
        decoded = json.loads(raw.decode("utf-8"), parse_constant=_no_constant)
        assert decode(raw) == event
        assert json.loads(json.dumps(event.to_dict(), allow_nan=False)) == event.to_dict()
        result.append(decoded)
    return result


class Hostile:
    """Raises at whatever is asked of it."""

    def _refuse(self, *args: Any, **kwargs: Any) -> Any:
        raise RuntimeError("hostile on purpose")

    __str__ = __repr__ = __iter__ = __len__ = __bool__ = __int__ = __float__ = _refuse
    __getitem__ = __contains__ = __eq__ = __getattr__ = __format__ = __bytes__ = _refuse
    __lt__ = __le__ = __gt__ = __ge__ = __index__ = __call__ = __enter__ = _refuse
    __hash__ = None  # type: ignore[assignment]


class HostileClass:
    """Lies about, or refuses to tell, its class."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("hostile on purpose")


class HostileText(str):
    """A text that raises when one looks at it."""

    __slots__ = ()

    def _refuse(self, *args: Any) -> Any:
        raise RuntimeError("hostile on purpose")

    __str__ = __repr__ = __len__ = __iter__ = __getitem__ = encode = isascii = _refuse
    lower = upper = strip = split = replace = __format__ = _refuse


class HostileNumber(int):
    """A number that raises when one looks at it."""

    def _refuse(self, *args: Any) -> Any:
        raise RuntimeError("hostile on purpose")

    __str__ = __repr__ = __int__ = __float__ = __lt__ = __le__ = __gt__ = __ge__ = _refuse
    __index__ = __neg__ = __bool__ = __format__ = _refuse


class HostileMapping(Mapping[str, Any]):
    """A mapping whose values cannot be had."""

    def __getitem__(self, key: str) -> Any:
        raise RuntimeError("hostile on purpose")

    def __iter__(self) -> Iterator[str]:
        yield "key"
        raise RuntimeError("hostile on purpose")

    def __len__(self) -> int:
        return 2


class HostileList(list[Any]):
    def __iter__(self) -> Iterator[Any]:
        raise RuntimeError("hostile on purpose")


class LyingLength(list[Any]):
    def __len__(self) -> int:
        return -1  # Python itself makes a ValueError of that


class Text(str):
    """A harmless subclass."""

    __slots__ = ()


class Colour(Enum):
    RED = "red"
    BLUE = (1, 2)
    ODD = object()


class Level(IntEnum):
    LOW = auto()


def _cycle() -> dict[str, Any]:
    cycle: dict[str, Any] = {"name": "cycle"}
    cycle["self"] = [cycle, {"again": cycle}]
    return cycle


def _deep(levels: int) -> Any:
    value: Any = "bottom"
    for level in range(levels):
        value = {"down": value} if level % 2 else [value]
    return value


def made(*values: Any) -> list[Any]:
    """Parameters that pytest does not look at: functions that return the values."""
    return [pytest.param(lambda value=value: value, id=type(value).__name__) for value in values]


async def tried(call: Awaitable[Any]) -> Exception | None:
    """The error that *call* raised; never an error of ours."""
    try:
        await call
    except Exception as exc:
        assert not isinstance(exc, AxonAuditError)  # noqa: PT017
        return exc
    return None


UTC = timezone.utc
#: Value, and how it is recorded (None: some marker).
VALUES: dict[str, tuple[Any, Any]] = {
    "datetime": (datetime(2025, 1, 15, 10, 30, tzinfo=UTC), "2025-01-15T10:30:00+00:00"),
    "naive datetime": (datetime(2025, 1, 15, 10, 30), "2025-01-15T10:30:00"),
    "date": (date(2025, 1, 15), "2025-01-15"),
    "time": (time(10, 30), "10:30:00"),
    "timedelta": (timedelta(minutes=1.5), 90.0),
    "uuid": (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    "decimal": (decimal.Decimal("1.10"), "1.10"),
    "decimal nan": (decimal.Decimal("NaN"), "NaN"),
    "path": (pathlib.PurePosixPath("/a/b"), "/a/b"),
    "bytes": (b"\xff\x00", "[bytes: 2]"),
    "bytearray": (bytearray(3), "[bytes: 3]"),
    "memoryview": (memoryview(b"abcd"), "[bytes: 4]"),
    "set": ({3, 1, 2}, [1, 2, 3]),
    "frozenset of mixed": (frozenset(["b", 1]), [1, "b"]),
    "tuple": ((1, (2,)), [1, [2]]),
    "nan": (math.nan, "[nan]"),
    "inf": (math.inf, "[inf]"),
    "-inf": (-math.inf, "[-inf]"),
    "nested nan": ([1.0, {"x": math.nan}], [1.0, {"x": "[nan]"}]),
    "largest": (2**63 - 1, 2**63 - 1),
    "smallest": (-(2**63), -(2**63)),
    "uint64": (2**64 - 1, str(2**64 - 1)),
    "huge": (10**100, str(10**100)),
    "unprintable": (10**5000, None),
    "complex": (1 + 2j, None),
    "fraction": (fractions.Fraction(1, 3), None),
    "range": (range(3), None),
    "generator": ((n for n in range(3)), None),
    "deque": (deque([1, 2]), None),
    "function": (len, None),
    "class": (dict, None),
    "module": (json, None),
    "exception": (ValueError("text"), None),
    "object": (object(), None),
    "namespace": (SimpleNamespace(a=1), None),
    "hostile": (Hostile(), None),
    "hostile class": (HostileClass(), None),
    "hostile number": (HostileNumber(5), None),
    "hostile mapping": (HostileMapping(), None),
    "hostile list": (HostileList([1]), None),
    "lying length": (LyingLength([1]), None),
    "subclass of str": (Text("text"), "text"),
    "true": (True, True),
    "enum": (Colour.RED, "red"),
    "enum of a tuple": (Colour.BLUE, [1, 2]),
    "enum of an object": (Colour.ODD, None),
    "int enum": (Level.LOW, 1),
    "ordered dict": (OrderedDict(a=1), {"a": 1}),
    "default dict": (defaultdict(list, a=[1]), {"a": [1]}),
    "user dict": (UserDict({"a": 1}), {"a": 1}),
    "cycle": (_cycle(), None),
    "100 levels": (_deep(100), None),
    "100,000 levels": (_deep(100_000), None),
    "numpy int": (np.int64(5), 5),
    "numpy uint64": (np.uint64(2**64 - 1), str(2**64 - 1)),
    "numpy float": (np.float32(0.5), 0.5),
    "numpy float64": (np.float64(0.25), 0.25),
    "numpy nan": (np.float32("nan"), "[nan]"),
    "numpy bool": (np.bool_(True), True),
    "numpy text": (np.str_("text"), "text"),
    "numpy bytes": (np.bytes_(b"abc"), "[bytes: 3]"),
    "numpy complex": (np.complex64(1j), None),
    "numpy time": (np.datetime64("2025-01-15T10:30:00"), "2025-01-15T10:30:00"),
    "numpy array": (np.zeros((3, 4)), "[array: 3x4]"),
    "numpy scalar array": (np.array(5), 5),
    "numpy empty array": (np.array([]), "[array: 0]"),
    "numpy objects": (np.array([object()], dtype=object), "[array: 1]"),
    "lone surrogate": ("a\ud800b", "a\\ud800b"),
    "nul": ("a\x00b", "a\x00b"),
    "emoji": ("\U0001f600", "\U0001f600"),
    "none": (None, None),
    "empty": ({"": {}}, {"": {}}),
}
#: Keys that are no text, and what becomes of them (None: some text).
KEYS: dict[str, tuple[Any, str | None]] = {
    "int": (1, "1"),
    "none": (None, None),
    "bool": (True, None),
    "float": (1.5, None),
    "nan": (math.nan, None),
    "tuple": ((1, 2), None),
    "bytes": (b"k", None),
    "enum": (Colour.RED, "red"),
    "uuid": (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
    "subclass": (Text("key"), "key"),
    "surrogate": ("a\ud800", "a\\ud800"),
    "object": (object(), None),
    "empty": ("", ""),
    "long": ("k" * 100_000, None),
}


class TestMetadata:
    @pytest.mark.parametrize("name", VALUES)
    async def test_value(self, audit: AuditLogger, name: str) -> None:
        """Any value is recorded as JSON or as a marker, alone and nested; what stands
        beside it is kept as it is."""
        value, expected = VALUES[name]
        for metadata, find in (
            ({"k": value, "n": 1}, lambda m: m["k"]),
            ({"k": [value], "n": 1}, lambda m: m["k"][0]),
            ({"k": {"deep": value}, "n": 1}, lambda m: m["k"]["deep"]),
        ):
            event = await audit.log_event("STORE", user_id="u", metadata=metadata)
            assert event.metadata["n"] == 1
            found = find(event.metadata)
            if expected is not None:
                assert found == expected
                assert type(found) is type(expected)
        assert len(readable(audit)) == 3

    @pytest.mark.parametrize("name", [name for name in VALUES if VALUES[name][1] is None])
    async def test_marker(self, audit: AuditLogger, name: str) -> None:
        """A value that cannot be kept leaves a marker, and never an address in memory."""
        value, _ = VALUES[name]
        text = (await audit.log_event("STORE", metadata={"k": value})).to_json().decode()
        if value is not None:
            assert '"[' in text.partition('"metadata":')[2]
        assert "0x" not in text

    @pytest.mark.parametrize("name", KEYS)
    async def test_key(self, audit: AuditLogger, name: str) -> None:
        """A key of any type becomes a text, and its value is kept."""
        key, expected = KEYS[name]
        for metadata in ({key: "value", "n": 1}, {"n": 1, key: "value"}):
            event = await audit.log_event("STORE", metadata=metadata)
            (found,) = event.metadata.keys() - {"n"}
            assert event.metadata[found] == "value"
            assert expected is None or found == expected
            assert len(found) < 2_000
        readable(audit)

    @pytest.mark.parametrize(
        "metadata",
        made(
            "text",
            5,
            [1, 2],
            [("k", "v")],
            b"bytes",
            {1, 2},
            True,
            object(),
            Hostile(),
            HostileMapping(),
            HostileClass(),
            SimpleNamespace(a=1),
            UserDict({"k": "v"}),
            np.zeros(3),
            (n for n in range(3)),
        ),
    )
    async def test_that_is_no_dict(self, audit: AuditLogger, metadata: Callable[[], Any]) -> None:
        """Metadata that is no mapping at all is kept as far as it can be."""
        event = await audit.log_event("STORE", metadata=metadata())
        assert event.metadata
        readable(audit)

    @pytest.mark.parametrize("metadata", [None, {}])
    async def test_none(self, audit: AuditLogger, metadata: Any) -> None:
        """No metadata is an empty mapping."""
        assert (await audit.log_event("STORE", metadata=metadata)).metadata == {}

    async def test_subclasses_become_plain(self, audit: AuditLogger) -> None:
        """A subclass of text whose methods all raise is text all the same, or a marker."""
        event = await audit.log_event("STORE", metadata={"k": HostileText("hostile text")})
        assert event.metadata["k"] in ("hostile text", "[unreadable: HostileText]")
        readable(audit)

    async def test_mutable_while_it_is_read(self, audit: AuditLogger) -> None:
        """Metadata that changes while it is read costs at most itself."""

        class Growing(dict[str, Any]):
            def items(self) -> Any:
                for number, item in enumerate(super().items()):
                    self[f"new{number}"] = 1
                    yield item

        event = await audit.log_event("STORE", user_id="u", metadata=Growing(a=1))
        assert event.user_id == "u"
        readable(audit)

    async def test_cycle_and_depth(self, audit: AuditLogger) -> None:
        """A cycle is cut where it closes, and deep nesting where it gets too deep; what is
        above is kept."""
        event = await audit.log_event("STORE", metadata={"c": _cycle(), "d": _deep(100)})
        assert event.metadata["c"]["name"] == "cycle"
        again = event.metadata["c"]["self"]
        assert again == ["[dropped: cycle]", {"again": "[dropped: cycle]"}]
        value, levels = event.metadata["d"], 0
        while not isinstance(value, str):
            value, levels = value[0] if isinstance(value, list) else value["down"], levels + 1
        assert value == "[dropped: nested too deeply]"
        assert 10 <= levels < 100

    async def test_shared_is_no_cycle(self, audit: AuditLogger) -> None:
        """An object in two places is recorded twice."""
        shared = {"x": 1}
        event = await audit.log_event("STORE", metadata={"a": shared, "b": [shared, shared]})
        assert event.metadata == {"a": shared, "b": [shared, shared]}

    @pytest.mark.parametrize(
        "metadata",
        [
            {1: "a", "1": "b"},
            {"a@example.com": "a", "b@example.com": "b"},
            {"k" * 2_000 + "1": "a", "k" * 2_000 + "2": "b"},
            {None: "a", (): "b", ("x",): "c", ("y",): "b"},
            {"1 (3)": "a", "1": "b", 1: "c"},
        ],
        ids=["int and text", "redacted", "cut", "marked", "taken"],
    )
    async def test_keys_that_become_the_same(
        self, audit: AuditLogger, metadata: dict[Any, str]
    ) -> None:
        """Keys that are the same once they are text, redacted or cut lose no value."""
        event = await audit.log_event("STORE", metadata={"sent": metadata})
        assert sorted(event.metadata["sent"].values()) == sorted(metadata.values())


class TestSize:
    @pytest.mark.parametrize(
        "metadata",
        [
            pytest.param({"k": "x" * 10_000_000}, id="10 MB text"),
            pytest.param({"k": "ü" * 10_000_000}, id="20 MB text"),
            pytest.param({"k": "\ud800" * 1_000_000}, id="surrogates"),
            pytest.param({"x" * 10_000_000: 1}, id="10 MB key"),
            pytest.param({"k": list(range(1_000_000))}, id="million items"),
            pytest.param({str(n): n for n in range(1_000_000)}, id="million keys"),
            pytest.param({"k": [[[0] * 100] * 100] * 100}, id="nested million"),
            pytest.param({"k": b"x" * 10_000_000}, id="10 MB bytes"),
        ],
    )
    async def test_of_a_value(self, audit: AuditLogger, metadata: Any) -> None:
        """However large the metadata, an event stays small, and says what was left out."""
        event = await audit.log_event("STORE", metadata=metadata)
        text = event.to_json().decode()
        assert len(text) < 200_000
        assert any(word in text for word in ("[truncated: ", "dropped", "[bytes: "))
        readable(audit)

    async def test_of_many_texts(self, audit: AuditLogger) -> None:
        """Many long texts make no huge event either."""
        metadata = {f"k{n}": ["x" * 8_000] * 100 for n in range(10)}
        event = await audit.log_event("STORE", metadata=metadata)
        assert len(event.to_json()) < 1_000_000

    async def test_of_ids(self, audit: AuditLogger) -> None:
        """A 1 MB id is cut, and found by the id it was logged with."""
        long = "u" * 1_000_000
        event = await audit.log_event("STORE", long, long, [long, "ü" * 1_000_000])
        assert len(event.to_json()) < 5_000
        assert event.user_id is not None
        assert event.user_id.startswith("uuuu")
        assert audit.query_events(user_id=long, session_id=long, entry_ids=[long]) == [event]
        readable(audit)

    @pytest.mark.parametrize(("count", "text"), [(1_000_000, "entry"), (20_000, "\0" * 511)])
    async def test_of_many_ids(
        self, make_audit: Make, tmp_path: Path, count: int, text: str
    ) -> None:
        """No event is longer than what readers take for a line; of all ids it has number and
        digest."""
        ids = [f"{text}{number}" for number in range(count)]
        with make_audit(auto_export_path=tmp_path) as audit:
            event = await audit.log_event("IMPORT", entry_ids=ids)
        assert 10 < len(event.entry_ids) < count
        digest = hashlib.sha256("\n".join(ids).encode()).hexdigest()
        assert event.metadata["entry_ids_total"] == count
        assert text != "entry" or event.metadata["entry_ids_sha256"] == digest
        assert len(event.to_json()) <= 256 << 10
        assert verify(tmp_path).ok
        (found,) = make_audit(auto_export_path=tmp_path).query_events(archived=True)
        assert found == event

    async def test_of_a_message(self, audit: AuditLogger) -> None:
        """A 10 MB message is cut."""
        event = await audit.log_event("STORE", status="FAILURE", error_message="x" * 10_000_000)
        assert len(event.to_json()) < 20_000


class TestArguments:
    """Through `log_event`: the caller asked for something impossible, or it is recorded."""

    @pytest.mark.parametrize("name", ["user_id", "session_id", "subject_id", "error_type"])
    @pytest.mark.parametrize(
        "value",
        made(
            *(b"x", 1.5, True, [], ["a"], {}, object(), math.nan, decimal.Decimal(1), Colour.ODD),
            *(Hostile(), HostileClass(), HostileMapping(), np.zeros(2), datetime(2025, 1, 1)),
        ),
    )
    async def test_no_id(self, audit: AuditLogger, name: str, value: Callable[[], Any]) -> None:
        """A value that is no id is refused with an error of ours, and nothing is recorded."""
        with pytest.raises(InvalidEventError):
            await audit.log_event("STORE", **{name: value()})
        assert audit.event_count == 0

    @pytest.mark.parametrize(
        ("value", "text"),
        [
            (7, "7"),
            (-7, "-7"),
            (0, "0"),
            (10**400, str(10**400)),
            (UUID(int=5), "00000000-0000-0000-0000-000000000005"),
            (Text("sub"), "sub"),
            (Level.LOW, "1"),
            ("a\ud800", "a\\ud800"),
            ("", ""),
            ("\x00", "\x00"),
            ("ü\U0001f600", "ü\U0001f600"),
            ("x" * 512, "x" * 512),
        ],
    )
    async def test_id(self, audit: AuditLogger, value: Any, text: str) -> None:
        """Numbers, UUIDs and any text are ids, and are found as they were given."""
        event = await audit.log_event("STORE", value, value, [value], subject_id=value)
        assert (event.user_id, event.session_id, event.subject_id) == (text, text, text)
        assert event.entry_ids == [text]
        found = audit.query_events(value, session_id=value, entry_ids=[value], subject_id=value)
        assert found == [event]
        readable(audit)

    @pytest.mark.parametrize("value", made(HostileText("u"), HostileNumber(5), 10**5000))
    async def test_id_that_cannot_be_read(
        self, audit: AuditLogger, value: Callable[[], Any]
    ) -> None:
        """An id of the right type that raises is marked or refused, never something else."""
        try:
            await audit.log_event("STORE", value(), entry_ids=[value()])
        except InvalidEventError:
            assert audit.event_count == 0
        else:
            readable(audit)

    @pytest.mark.parametrize(
        "value",
        made(
            Hostile(), HostileClass(), HostileMapping(), HostileList(["a"]), [Hostile()], [[]], 1.5
        ),
    )
    async def test_entry_ids(self, audit: AuditLogger, value: Callable[[], Any]) -> None:
        """Entry ids that cannot be had are refused with an error of ours."""
        with pytest.raises(InvalidEventError):
            await audit.log_event("STORE", entry_ids=value())
        assert audit.event_count == 0

    @pytest.mark.parametrize(
        "value",
        made(
            *(-1, -1e-9, math.inf, -math.inf, math.nan, True, False, "5", b"5", [5], {}, object()),
            *(10**400, -(10**400), 10**5000, decimal.Decimal(5), 5j, timedelta(1), Hostile()),
            *(HostileClass(), HostileNumber(5), np.float32("nan"), np.float64("inf"), np.zeros(2)),
        ),
    )
    async def test_no_duration(self, audit: AuditLogger, value: Callable[[], Any]) -> None:
        """A value that is no duration is refused with an error of ours, and nothing is recorded."""
        with pytest.raises(InvalidEventError):
            await audit.log_event("STORE", duration_ms=value())
        assert audit.event_count == 0

    @pytest.mark.parametrize(
        ("value", "milliseconds"),
        [
            (0, 0.0),
            (-0.0, 0.0),
            (5, 5.0),
            (1e300, 1e300),
            (np.float32(0.5), 0.5),
            (np.int64(5), 5.0),
            (fractions.Fraction(1, 4), 0.25),
            (None, None),
        ],
    )
    async def test_duration(self, audit: AuditLogger, value: Any, milliseconds: Any) -> None:
        """Any real number of at least 0 is a duration."""
        event = await audit.log_event("STORE", duration_ms=value)
        assert event.duration_ms == milliseconds
        readable(audit)

    @pytest.mark.parametrize(
        "value",
        made("", " STORE", "VACUUM", 5, None, b"STORE", ["STORE"], Colour.RED, Hostile(), 10**5000),
    )
    @pytest.mark.parametrize("name", ["operation", "status"])
    async def test_unknown_name(
        self, audit: AuditLogger, name: str, value: Callable[[], Any]
    ) -> None:
        """An operation or status that is none is refused with an error of ours, in a record
        and in a query."""
        with pytest.raises(InvalidEventError):
            await audit.log_event(**{"operation": "STORE", name: value()})
        if value() is not None:
            with pytest.raises(InvalidEventError):
                audit.query_events(**{name: value()})
        assert audit.event_count == 0

    @pytest.mark.parametrize(
        "value", made(5, b"x", ["a"], ValueError("v"), Hostile(), HostileText())
    )
    async def test_message(self, audit: AuditLogger, value: Callable[[], Any]) -> None:
        """A message that is no text is made one, marked or refused."""
        try:
            event = await audit.log_event("STORE", status="FAILURE", error_message=value())
        except InvalidEventError:
            assert audit.event_count == 0
        else:
            assert isinstance(event.error_message, str)
            readable(audit)

    @pytest.mark.parametrize("value", made(Hostile(), object(), b"x", ["a"], 10**5000))
    def test_query(self, audit: AuditLogger, value: Callable[[], Any]) -> None:
        """A query by an id that no event can have finds nothing or is refused."""
        for name in ("user_id", "session_id", "subject_id", "entry_ids"):
            try:
                assert audit.query_events(**{name: value()}) == []
            except InvalidEventError:
                continue


class HostileAdapter(ListingAdapter):
    """Raises what raises when one looks at it."""

    async def save(self, entry: Any) -> str:
        class Unprintable(Exception):  # noqa: N818
            def __str__(self) -> str:
                raise RuntimeError("hostile on purpose")

        raise Unprintable


@pytest.fixture(name="real")
def _real(make_system: MakeSystem, make_audit: Make) -> Iterator[Any]:
    """An instrumented system; after the test, every event it left can be read."""
    audit = make_audit(capture_content=True)
    AxonInstrumentor().instrument(audit_logger=audit)
    yield make_system(audit_logger=audit)
    readable(audit)


class TestOperations:
    """Through a real system: never an exception of ours, never a lost event."""

    @pytest.mark.parametrize(
        "given",
        made(
            *(7, UUID(int=5), b"bytes", 1.5, True, [], {}, object(), "a\ud800", "u" * 1_000_000),
            *(Hostile(), HostileClass(), HostileText("u"), HostileNumber(5), 10**5000, Colour.ODD),
            *(datetime(2025, 1, 1), np.int64(5), np.zeros(2), "", math.nan),
        ),
    )
    async def test_identity(self, real: Any, given: Callable[[], Any]) -> None:
        """Whatever is given as user or session, the operation works and is recorded."""
        audit, value = real.audit_logger, given()
        entry_id = await real.store("tea", user_id=value, session_id=value)
        await real.recall("tea", user_id=value)
        await real.export(user_id=value)
        with suppress(InvalidEventError), audit_context(user_id=value, session_id=value):
            pass
        await real.store("milk", user_id=value)
        async with real.transaction(user_id=value):
            pass
        await real.forget(entry_id, user_id=value)
        names = [event.operation.value for event in audit.query_events()]
        assert names == ["FORGET", "TRANSACTION", "STORE", "EXPORT", "RECALL", "STORE"]
        assert {event.status.value for event in audit.query_events()} == {"SUCCESS"}
        assert audit.get_statistics()["failures"] == {}

    @pytest.mark.parametrize(
        "metadata",
        [
            {"user_id": 5, "session_id": None},
            {"user_id": b"x", "session_id": object()},
            {"user_id": "a\ud800", "source": "app"},
            {"anything": datetime(2025, 1, 1), "else": {1, 2}},
            {"cycle": _cycle()},
            {"big": "x" * 1_000_000},
        ],
        ids=lambda metadata: next(iter(metadata)),
    )
    async def test_metadata_of_store(
        self, config: Any, audit: AuditLogger, metadata: dict[str, Any]
    ) -> None:
        """Metadata with which the SDK alone can store can be stored with us, and the event
        tells the same outcome."""
        outcome = await _outcome_without_us(config, metadata)
        AxonInstrumentor().instrument(audit_logger=audit)
        memory = MemorySystem(config)
        raised = await tried(memory.store("tea", metadata=dict(metadata)))
        assert type(raised) is type(outcome)
        status = only_event(audit).status.value
        assert status in (("SUCCESS",) if raised is None else ("FAILURE", "PARTIAL"))
        readable(audit)

    @pytest.mark.parametrize(
        "arguments",
        made(
            {"content": ""},
            {"content": None},
            {"content": 5},
            {"content": "tea", "importance": 5.0},
            {"content": "tea", "importance": math.nan},
            {"content": "tea", "importance": "high"},
            {"content": "tea", "importance": Hostile()},
            {"content": "tea", "tier": "nowhere"},
            {"content": "tea", "tier": 5},
            {"content": "tea", "tags": [object()]},
            {"content": "tea", "tags": Hostile()},
            {"content": "tea", "metadata": "text"},
            {"content": "tea", "metadata": Hostile()},
            {"content": "tea", "metadata": HostileMapping()},
            {"content": Hostile()},
            {"content": HostileText("tea")},
            {"content": "tea", "nonsense": 1},
            {},
        ),
    )
    async def test_arguments_of_store(
        self, make_system: Any, audit: AuditLogger, arguments: Callable[[], Any]
    ) -> None:
        """An impossible call ends as it does without us, and is recorded as it ended."""
        AxonInstrumentor().uninstrument()
        outcome = await tried(make_system().store(**arguments()))
        AxonInstrumentor().instrument(audit_logger=audit)
        raised = await tried(make_system().store(**arguments()))
        assert (type(raised), str(raised)) == (type(outcome), str(outcome))
        status = only_event(audit).status.value
        assert status in (("SUCCESS",) if raised is None else ("FAILURE", "PARTIAL"))
        readable(audit)

    @pytest.mark.parametrize(
        "query", made("", None, 5, "a\ud800", "x" * 1_000_000, Hostile(), HostileText("tea"), [0.1])
    )
    async def test_query_of_recall(self, real: Any, query: Callable[[], Any]) -> None:
        """Whatever is asked, the recall ends as without us, and is recorded once."""
        await tried(real.recall(query()))
        event = only_event(real.audit_logger)
        assert event.operation.value == "RECALL"

    @pytest.mark.parametrize(
        "data",
        made(
            None,
            {},
            {"entries": "text"},
            {"entries": [None, 5, {}, {"id": 5}]},
            {"entries": Hostile()},
            {"version": "1.0", "entries": [{"id": b"x", "text": 5}]},
            {"version": "1.0", "entries": [_cycle()]},
        ),
    )
    async def test_data_of_import(self, real: Any, data: Callable[[], Any]) -> None:
        """Nonsense to import ends as without us, and is recorded once."""
        await tried(real.import_from(data()))
        event = only_event(real.audit_logger)
        assert event.operation.value == "IMPORT"

    async def test_unprintable_exception(self, make_system: Any, make_audit: Make) -> None:
        """An exception whose text cannot be had reaches the caller, and is recorded by type."""
        audit = make_audit(capture_content=True)
        memory = make_system(audit_logger=audit, persistent=HostileAdapter())
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await memory.store("tea")
        event = only_event(audit)
        assert event.status.value == "FAILURE"
        assert event.error_type is not None
        if type(caught.value).__name__ == "Unprintable":
            assert event.error_type.endswith("Unprintable")
        readable(audit)

    async def test_hostile_tags_and_importance(self, real: Any) -> None:
        """Tags that are unusual texts are recorded."""
        await real.store("tea", tags=["a\ud800", "x" * 100_000, "ü"], importance=np.float64(0.5))
        event = only_event(real.audit_logger)
        assert event.metadata["importance"] == 0.5
        assert len(event.metadata["tags"]) == 3

    async def test_adapter_with_strange_ids(self, make_system: Any, audit: AuditLogger) -> None:
        """Ids that an adapter returns and that are no text are recorded."""

        class Strange(ListingAdapter):
            async def save(self, entry: Any) -> Any:
                await super().save(entry)
                return 5

        await make_system(audit_logger=audit, persistent=Strange()).store("tea")
        assert only_event(audit).status.value == "SUCCESS"
        readable(audit)

    async def test_direct_delete_of_a_strange_id(
        self, make_system: Any, audit: AuditLogger
    ) -> None:
        """A delete that goes to the adapter with something that is no id is recorded too."""
        adapter = ListingAdapter()
        memory = make_system(audit_logger=audit, persistent=adapter)
        await memory.store("tea")
        for key in (5, b"x", None, "a\ud800", ("t",), ["unhashable"], Hostile(), "plain"):
            before = audit.event_count
            raised = await tried(adapter.delete(key))  # type: ignore[arg-type]
            assert type(raised) in (type(None), TypeError)
            assert audit.event_count == before + 1
        readable(audit)


async def _outcome_without_us(config: Any, metadata: dict[str, Any]) -> Exception | None:
    AxonInstrumentor().uninstrument()
    return await tried(MemorySystem(config).store("tea", metadata=dict(metadata)))


class TestRecords:
    """Through a log record of another source: always one event, always readable."""

    @pytest.mark.parametrize(
        "body",
        [
            *("", "text", "{", "[1, 2]", "5", '"text"', "null", '{"operation": 5}', b"\xff", 5),
            *(1.5, True, None, [], [1], {}, {"operation": None}, {"operation": ["STORE"]}),
            {"operation": "store", "status": 5, "user_id": 5, "session_id": b"x"},
            {"operation": "STORE", "entry_ids": 5, "metadata": "text", "duration_ms": "5"},
            {"operation": "STORE", "entry_ids": [None, 5], "metadata": [1], "duration_ms": -5},
            {"operation": "STORE", "duration_ms": math.nan, "metadata": {"n": math.nan}},
            {"operation": "STORE", "duration_ms": math.inf, "error_message": 5},
            {"operation": "STORE", "duration_ms": True, "error_type": b"x"},
            {"operation": "STORE", "event_id": 5, "timestamp": "yesterday", "sequence": "x"},
            {"operation": "STORE", "user_id": "a\ud800", "entry_ids": {"a": 1}},
            '{"operation": "STORE", "duration_ms": 1e999}',
            '{"operation": "STORE", "metadata": {"n": 123456789012345678901234567890}}',
            '{"operation": "STORE", "user_id": "\\ud800"}',
            '{"operation":' * 100_000,
        ],
        ids=lambda body: repr(body)[:80],
    )
    def test_body(self, audit: AuditLogger, logger_provider: LoggerProvider, body: Any) -> None:
        """Whatever the body is, the record makes one event."""
        record = LogRecord(event_name="axon.memory.audit", body=body)
        logger_provider.get_logger("theirs").emit(record)
        assert len(readable(audit)) == 1
        assert audit.get_statistics()["total_events"] == 1

    @pytest.mark.parametrize(
        "timestamp", [0, 1, -1, -(10**18), -(10**20), 10**10, 2**63, 2**64 - 1, 10**21, 10**30]
    )
    async def test_time(
        self, audit: AuditLogger, logger_provider: LoggerProvider, timestamp: int
    ) -> None:
        """Whatever time a record claims, the event can be read, and so can all others."""
        logger_provider.get_logger("theirs").emit(
            LogRecord(
                timestamp=timestamp, event_name="axon.memory.audit", body={"operation": "STORE"}
            )
        )
        await audit.log_event("RECALL")
        assert len(readable(audit)) == 2
        assert len(audit.query_events(end_time=datetime.now(UTC))) >= 1

    @pytest.mark.parametrize(
        "attributes",
        [
            {"axon.operation": 5, "axon.status": True},
            {"axon.operation": ("STORE",), "audit.outcome": ("a", "b")},
            {"user.id": 5, "session.id": 1.5, "audit.target.id": ("a", "b")},
            {"user.id": "", "audit.outcome": "FAILURE"},
            {"gen_ai.operation.name": 5},
            {"gen_ai.operation.name": ("search_memory",)},
            {"axon.audit.trail": 5},
            {"error.type": ""},
            {"nested": {"deep": [1, None, b"x"]}, "nan": math.nan},
        ],
        ids=repr,
    )
    def test_attributes(
        self, audit: AuditLogger, logger_provider: LoggerProvider, attributes: Any
    ) -> None:
        """Attributes of unexpected types make an event that can be read; one for another
        trail makes none."""
        logger_provider.get_logger("theirs").emit(
            LogRecord(event_name="axon.memory.audit", attributes=attributes)
        )
        assert len(readable(audit)) == (0 if "axon.audit.trail" in attributes else 1)
        assert audit.get_statistics()["failures"] == {}


# --- anything at all ---------------------------------------------------------------------------

_anything = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.text(st.characters(), max_size=20),
        st.binary(max_size=5),
        st.datetimes(),
        st.uuids(),
        st.decimals(),
        st.timedeltas(),
        st.complex_numbers(),
        st.just(object()),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(
            st.one_of(st.text(st.characters(), max_size=8), st.integers(), st.none()),
            inner,
            max_size=4,
        ),
    ),
    max_leaves=12,
)


@settings(max_examples=examples(200), deadline=None)
@given(metadata=_anything, user=st.text(st.characters()), ids=st.lists(st.text(st.characters())))
def test_anything(metadata: Any, user: str, ids: list[str]) -> None:
    """Any value as metadata and any text as id make an event that can be read, found by its
    ids, and is the same bytes when it is encoded again."""
    provider = LoggerProvider(shutdown_on_exit=False)
    audit = AuditLogger(registry=CollectorRegistry(), logger_provider=provider)
    coroutine = audit.log_event("STORE", user_id=user, entry_ids=ids, metadata=metadata)
    with pytest.raises(StopIteration) as done:
        coroutine.send(None)  # it awaits nothing
    event = done.value.value
    readable(audit)
    assert audit.query_events(user_id=user) == [event]
    for one in ids:
        assert audit.query_events(entry_ids=[one]) == [event]
    assert audit.get_statistics()["failures"] == {}


async def test_endless_iterable_is_the_callers_business(audit: AuditLogger) -> None:
    """An async iterable is no iterable: refused, not awaited for ever."""

    async def endless() -> AsyncIterator[str]:
        while True:
            yield "e"

    ids = endless()
    with pytest.raises(InvalidEventError):
        await audit.log_event("STORE", entry_ids=ids)  # type: ignore[arg-type]
    await ids.aclose()  # type: ignore[attr-defined]
