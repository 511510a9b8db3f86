"""Events with whatever a reader of text, of tables or of JSON may stumble over."""

from __future__ import annotations

from typing import Any

from axon_audit_otel import AuditLogger

#: Texts that end a field, a line, a string, a table or a program somewhere.
TEXTS = [
    'with "quotes", commas; and a \\ backslash',
    "lines\nand\r\nmore\rof them\ttab",
    '\n],"total_events":0}\n',
    ' {"event_id":"evt_fake","sequence":1}',
    "ünï😀\u2028\u2029\x85\ufeff\u202e",
    "nul\x00bell\x07one\x01del\x7f",
    "'; DROP TABLE trail; --",
    "=HYPERLINK(1)",
    "null",
    "{}",
    "[]",
    "%s ${x} {{x}}",
    " ",
    "x" * 1000,
]

_DEEP: Any = "the end"
for _ in range(12):
    _DEEP = {"in": [_DEEP]}

FACTS: list[dict[str, Any]] = [
    {"deep": _DEEP},
    {"whole": 1, "half": 1.5, "negative": -3, "large": 2**53 - 1, "small": 1e-9, "no": None},
    {"deleted": True, "list": [1, "2", None, [3]], 'key "quoted"\n': ""},
    {"long": ["y" * 900] * 240},
]


async def record(audit: AuditLogger) -> None:
    """Record an event of each operation and each status, and one with each of the texts."""
    names = ["STORE", "RECALL", "FORGET", "COMPACT", "EXPORT", "IMPORT", "SYNC", "TRANSACTION"]
    names += ["BULK_STORE", "REINDEX", "AUDIT", "OTHER"]
    for number, name in enumerate(names):
        for status in ("SUCCESS", "FAILURE", "PARTIAL"):
            await audit.log_event(
                name,
                f"user {number % 3}",
                status=status,
                subjects=["alice"] if number % 2 else ["bob", "alice"],
                duration_ms=number + 0.125,
                entry_ids=["e1", f"e{number}"][: number % 3],
                error_type=None if status == "SUCCESS" else "builtins.OSError",
            )
    for text in TEXTS:
        await audit.log_event(
            "FORGET",
            text,
            text,
            entry_ids=[text],
            metadata={text: text},
            error_message=text,
            error_type=text,
            agent_id=text,
            on_behalf_of=text,
            purpose=text,
            subjects=[text, "alice"],
            derived_from=[text],
            fingerprints={text: text},
        )
    for facts in FACTS:
        await audit.log_event("FORGET", user_id="carol", metadata=facts, entry_ids=["e1", "e2"])
    for deleted in (0, 7, "7", 2.5, True, None):
        await audit.log_event("COMPACT", user_id="dan", metadata={"deleted": deleted})
        await audit.log_event("FORGET", user_id="dan", metadata={"deleted": deleted})
    for total in (3, "3"):
        facts = {"entry_ids_total": total}
        await audit.log_event("FORGET", user_id="dan", metadata=facts, entry_ids=["e1"])
