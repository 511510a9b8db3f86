"""Events for tests of the formats for SIEMs, and readers of these by their standards."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from axon_audit_otel import AuditEvent, EventStatus, OperationType
from axon_audit_otel.events.model import decode, encode, operation_named
from axon_audit_otel.evidence.siem.mapping import Row
from axon_audit_otel.evidence.siem.ocsf import VERSION
from axon_audit_otel.evidence.siem.origin import Origin

ORIGIN = Origin("demo", "c1979ac67c4f9535", "shop", "host-1", "app.py", 4711, "0.1.0")
NOWHERE = Origin()
NAMES = [*OperationType.__members__, "MERGE", "a|b\\c=d\n"]
STATUSES = list(EventStatus)

#: What every optional field may hold.
FULL: dict[str, Any] = {
    "user_id": "alice",
    "session_id": "morning",
    "entry_ids": ["e1", "e2"],
    "metadata": {"k": 3, "tags": ["x"], "nested": {"class_uid": 1}},
    "duration_ms": 12.25,
    "error_message": "no such entry",
    "error_type": "ValueError",
    "subject_id": "bob",
    "trace_id": "0af7651916cd43dd8448eb211c80319c",
    "span_id": "b7ad6b7169203331",
    "trace_flags": "01",
    "action": "MemorySystem.store",
    "system": "axon",
    "store": "persistent",
    "subjects": ("bob", "carol"),
    "agent_id": "planner",
    "on_behalf_of": "dave",
    "purpose": "billing",
    "fingerprints": {"e1": "q5WuatmIH2mygFSm5A7"},
    "derived_from": ("e0",),
    "sequence": 7,
    "previous_hash": "ab" * 32,
}
BARE: dict[str, Any] = {
    "user_id": None,
    "session_id": None,
    "entry_ids": [],
    "metadata": {},
    "duration_ms": None,
}


def event(operation: str = "STORE", status: str = "SUCCESS", **fields: Any) -> AuditEvent:
    """An event as an archive gives it: encoded, and decoded again."""
    given: dict[str, Any] = {
        "event_id": "evt_01a225da9cd5790293de0a371baaa84c",
        "timestamp": datetime(2026, 11, 29, 5, 50, 13, 717563, timezone.utc),
        **BARE,
        **fields,
    }
    made = AuditEvent(operation=operation_named(operation), status=EventStatus(status), **given)
    return decode(encode(made))


def record(name: str, status: str = "SUCCESS", **facts: Any) -> AuditEvent:
    """What a trail says of itself."""
    return event("AUDIT", status, metadata={"record": name, **facts})


#: Records of each kind that a trail makes of itself, some of them forged.
RECORDS = [
    record("start", host="h", pid=1, process="p", user={"uid": 0}, settings={"signed": None}),
    *(record("alert", severity=one, state="firing", rule="r") for one in ("info", "critical")),
    record("alert", severity=["no", {"text": 1}], state=3),
    record("alert", severity="critical", state="resolved", rule="r"),
    record("erasure", tokens=["00"], reason="asked"),
    record("hold", hold="case-1", state="placed"),
    record("hold", "FAILURE", hold="case-1", state="missing", reason="its file is gone"),
    record("gap", "FAILURE", first=1, last=2, events=2, reason="disk full"),
    record("unclean_end", "PARTIAL", writer="w", events=0, torn_bytes=3),
    record("clock", jump=-3.5),
    event("AUDIT", metadata={"record": {"start": 1}}),
    event("AUDIT", metadata={"record": "start", "host": 3, "pid": "x", "process": None}),
]

#: Texts that break out of a format whose writer is careless.
HOSTILE = [
    *("|", "\\", "\\\\", "=", "\n", "\r\n", "\0", "\x1b[2J", "\x7f", "\x85", "\u2028", "\u2029"),
    *("a=b suser=root", "x\\", "\\=", "a\nCEF:0|x|y|1|2|3|10|", '","class_uid":1,"x":"', "  ", ""),
    *("\u202eevil", "\ud7ff\ue000", "\U000e0001", "erasable:aa:bb", "hmac-sha256:00", "é" * 600),
]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=40)).map(str)
_keys = st.one_of(st.sampled_from(["class_uid", "event.kind", "@timestamp", "cs1", "a b"]), texts)
_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_keys, inner, max_size=3)),
    max_leaves=8,
)
_FACTS = st.dictionaries(_keys, _values, max_size=4)


def _maybe(some: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(st.none(), some)


#: Events in which everything that is anybody's is hostile.
hostile_events = st.builds(
    event,
    operation=st.one_of(st.sampled_from(NAMES), texts.filter(bool)),
    status=st.sampled_from([one.value for one in STATUSES]),
    event_id=texts,
    timestamp=st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1)).map(
        lambda moment: moment.replace(tzinfo=timezone.utc)
    ),
    entry_ids=st.lists(texts, max_size=4),
    metadata=_FACTS,
    duration_ms=_maybe(st.floats(allow_nan=False, allow_infinity=False)),
    subjects=st.lists(texts, max_size=4).map(tuple),
    derived_from=st.lists(texts, max_size=2).map(tuple),
    fingerprints=_maybe(st.dictionaries(_keys, texts, min_size=1, max_size=3)),
    sequence=st.integers(0, (1 << 63) - 1),
    **{
        name: _maybe(texts)
        for name in (
            *("user_id", "session_id", "error_message", "error_type", "subject_id", "trace_id"),
            *(
                "span_id",
                "trace_flags",
                "action",
                "system",
                "store",
                "agent_id",
                "on_behalf_of",
                "purpose",
            ),
        )
    },
)
origins = st.builds(
    Origin,
    texts,
    texts,
    _maybe(texts),
    _maybe(texts),
    _maybe(texts),
    _maybe(st.integers(0, 1 << 31)),
    texts,
)


# --- what a reader sees --------------------------------------------------------------------------


def one_line(line: bytes) -> str:
    """The text of a line, which is one for whatever takes what for the end of one."""
    text = line.decode()
    assert text.endswith("\n")
    assert len(text.splitlines()) == 1
    assert len(line.splitlines()) == 1
    assert text.count("\n") == 1
    assert "\0" not in text
    return text[:-1]


def paths(made: Any, at: str = "") -> Iterator[tuple[str, Any]]:
    """Every name of a field in an object, with dots, and its value; of lists of objects as well."""
    for name, value in made.items():
        path = f"{at}.{name}" if at else name
        if isinstance(value, dict):
            yield from paths(value, path)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for one in value:
                yield from paths(one, f"{path}[]")
        else:
            yield path, value


def targets(rows: Sequence[Row], *more: str) -> set[str]:
    """The fields that a table names, and *more*."""
    return {row.target for row in rows} | set(more)


# --- OCSF ----------------------------------------------------------------------------------------


@cache
def ocsf_schema() -> dict[str, Any]:
    """The published schema."""
    return dict(get_ocsf_schema(VERSION))


@cache
def _validator() -> Draft202012Validator:
    schema = OcsfJsonSchemaEmbedded(ocsf_schema()).get_class_schema("datastore_activity")
    return Draft202012Validator(schema)


def ocsf_faults(made: dict[str, Any]) -> list[str]:
    """What is wrong with an OCSF event: by its schema, and captions that are not those of ids."""
    faults = [f"{error.json_path}: {error.message}" for error in _validator().iter_errors(made)]
    attributes = ocsf_schema()["classes"]["datastore_activity"]["attributes"]
    for name, caption in [
        *(("activity_id", "activity_name"), ("severity_id", "severity"), ("status_id", "status")),
        *(("category_uid", "category_name"), ("class_uid", "class_name")),
        *(("type_uid", "type_name"), ("type_id", "type")),
    ]:
        known = attributes[name]["enum"][str(made[name])]["caption"]
        if known != "Other" and made[caption] != known:
            faults.append(f"{caption}: {made[caption]!r} for {name} {made[name]}, which is {known}")
    if made["type_uid"] != made["class_uid"] * 100 + made["activity_id"]:
        faults.append(f"type_uid: {made['type_uid']}")
    return faults


# --- CEF -----------------------------------------------------------------------------------------

_PART = re.compile(r"((?:[^\\|]|\\[\\|])*)\|")


def cef_fields(line: bytes) -> tuple[list[str], dict[str, str]]:
    """The header and the fields of a CEF line, by the standard: *Implementing ArcSight Common
    Event Format*, version 25, "Header information", "Extension" and "Character encoding"."""
    text = one_line(line)
    header, place = [], 0
    for _ in range(7):
        part = _PART.match(text, place)
        assert part, text
        header.append(re.sub(r"\\([\\|])", r"\1", part[1]))
        place = part.end()
    extension = text[place:]
    # A key is what stands before an equals sign that is not escaped.
    ends = [one.start() for one in re.finditer("=", extension) if not _escaped(extension, one)]
    begins = [extension.rfind(" ", 0, end) + 1 for end in ends]
    keys = [extension[begin:end] for begin, end in zip(begins, ends)]
    assert all(re.fullmatch("[A-Za-z][A-Za-z0-9]*", key) for key in keys), keys
    assert len(set(keys)) == len(keys), "a field is there twice"
    nexts = [begin - 1 for begin in begins[1:]] + [len(extension)]
    values = [_plain(extension[end + 1 : until]) for end, until in zip(ends, nexts)]
    return header, dict(zip(keys, values))


def _escaped(text: str, found: re.Match[str]) -> bool:
    before = text[max(found.start() - 200, 0) : found.start()]
    return (len(before) - len(before.rstrip("\\"))) % 2 == 1


_PLAIN = {"\\": "\\", "=": "=", "n": "\n", "r": "\r"}


def _plain(value: str) -> str:
    assert re.fullmatch(r"(?:[^\\=]|\\[\\=nr])*", value, re.DOTALL), value
    return re.sub(r"\\(.)", lambda found: _PLAIN[found[1]], value)


def as_json(text: str) -> Any:
    """What is in a text of JSON."""
    return msgspec.json.decode(text)
