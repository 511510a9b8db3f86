"""Events that are readable, though what was recorded of them is not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from ..core.merkle import leaf_hash
from ..events.model import AuditEvent, encode

__all__ = ["as_readable", "decrypted", "recorded"]


class _Readable(AuditEvent, frozen=True, kw_only=True, omit_defaults=True, dict=True):
    """An event with its personal data readable. Its bytes and its hash are as recorded."""

    def __repr__(self) -> str:
        return super().__repr__().replace(type(self).__name__, AuditEvent.__name__, 1)

    def to_json(self) -> bytes:
        return encode(recorded(self))

    @property
    def hash(self) -> str:
        return leaf_hash(self.to_json()).hex()


def as_readable(event: AuditEvent, changes: Mapping[str, Any]) -> AuditEvent:
    """*event* with these fields; its bytes and its hash are as recorded."""
    readable = _Readable(**{**msgspec.structs.asdict(event), **changes})
    readable.__dict__["recorded"] = recorded(event)
    return readable


def recorded(event: AuditEvent) -> AuditEvent:
    """*event* as it was recorded, if `Erasure.reveal` made it readable."""
    kept: AuditEvent = getattr(event, "__dict__", {}).get("recorded", event)
    return kept


def decrypted(event: AuditEvent) -> AuditEvent:
    """*event* as an event of its own, whose bytes are readable too."""
    return event if recorded(event) is event else AuditEvent(**msgspec.structs.asdict(event))
