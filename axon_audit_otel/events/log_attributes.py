"""An audit event as OpenTelemetry sees it: what its log record says besides its body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core import semconv

__all__ = ["ATTRIBUTES", "SEVERITY", "add_place", "attributes_of"]

_HIDDEN = (semconv.PSEUDONYM_PREFIX, semconv.ERASABLE_PREFIX)
#: Severity number and text (of OpenTelemetry's logs data model) by status.
SEVERITY = {"SUCCESS": (9, "INFO"), "PARTIAL": (13, "WARN"), "FAILURE": (17, "ERROR")}
# The draft knows success, failure and unknown; PARTIAL is neither of the first two.
_OUTCOME = {"SUCCESS": "success", "FAILURE": "failure", "PARTIAL": "unknown"}
#: The attribute of each optional field whose value it repeats unchanged.
ATTRIBUTES = {
    "error_type": semconv.ERROR_TYPE,
    "subject_id": semconv.AXON_SUBJECT_ID,
    "action": semconv.AXON_ACTION,
    "system": semconv.AXON_SYSTEM,
    "store": semconv.GEN_AI_MEMORY_STORE_ID,
    "subjects": semconv.AXON_SUBJECT_IDS,
    "agent_id": semconv.GEN_AI_AGENT_ID,
    "on_behalf_of": semconv.AXON_ON_BEHALF_OF,
    "purpose": semconv.AXON_PURPOSE,
    "derived_from": semconv.AXON_DERIVED_FROM,
}


def attributes_of(event: Mapping[str, Any], trail: str) -> dict[str, Any]:
    """The attributes of the record of *event*, to route and filter by; its body has all of it."""
    status, operation, user_id = event["status"], event["operation"], event["user_id"]
    attributes: dict[str, Any] = {
        semconv.LOG_RECORD_UID: event["event_id"],
        semconv.AXON_AUDIT_TRAIL: trail,
        semconv.AXON_OPERATION: operation,
        semconv.AXON_STATUS: status,
        semconv.AUDIT_RECORD_ID: event["event_id"],
        semconv.AUDIT_ACTION: operation,
        semconv.AUDIT_OUTCOME: _OUTCOME[status],
        semconv.AUDIT_ACTOR_TYPE: "user" if user_id else "system",
    }
    if user_id is not None:
        user = semconv.USER_HASH if user_id.startswith(_HIDDEN) else semconv.USER_ID
        attributes[user] = attributes[semconv.AUDIT_ACTOR_ID] = user_id
    if event["session_id"] is not None:
        attributes[semconv.SESSION_ID] = event["session_id"]
    for field, name in ATTRIBUTES.items():
        if field in event:
            attributes[name] = event[field]
    if len(event["entry_ids"]) == 1:
        attributes[semconv.AUDIT_TARGET_ID] = event["entry_ids"][0]
    if event["duration_ms"] is not None:
        attributes[semconv.AXON_DURATION_MS] = event["duration_ms"]
    return attributes


def add_place(
    attributes: dict[str, Any], sequence: int, previous_hash: str | None, own: str, stream: str
) -> None:
    """Say in *attributes* where the record stands in its trail.

    With that and the body, over which the hash *own* is, whoever has the records can check
    that none is missing and none was altered.
    """
    attributes[semconv.AUDIT_SEQUENCE_NUMBER] = sequence
    attributes[semconv.AXON_AUDIT_HASH] = own
    if previous_hash is not None:
        attributes[semconv.AUDIT_SEQUENCE_PREVIOUS_HASH] = previous_hash
    if stream:
        attributes[semconv.AUDIT_SEQUENCE_STREAM_ID] = stream
