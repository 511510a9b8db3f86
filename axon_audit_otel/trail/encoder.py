"""The JSON of an event, before it has its place in a trail."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..events import model as _event
from ..events.draft import Draft, shorten
from ..events.identifiers import DIGEST_BYTES
from ..privacy.policy import PrivacyPolicy, json_types

__all__ = ["Encoder"]


class Encoder:
    """Encodes events, as long as they may be.

    Args:
        policy: What of it is recorded in which form.
        max_event_bytes: Length of an event's line at most.
        fault: Called with the stage and the exception of what could not be encoded.
    """

    def __init__(
        self,
        policy: PrivacyPolicy,
        max_event_bytes: int,
        fault: Callable[[str, Exception], object],
    ) -> None:
        self._policy = policy
        self._fault = fault
        # Its place in the chain comes to it; what is encrypted is a third longer.
        self._most_bytes = max_event_bytes - 512
        self._encrypts = policy.encrypts
        if self._encrypts:
            self._most_bytes = self._most_bytes * 2 // 3

    def encoded(self, draft: Draft) -> tuple[bytes, Mapping[str, Any]]:
        """The JSON of *draft* without the brace at its end, and the fields that it has."""
        try:
            payload = _event.encode_fields(draft)
        except _event.ENCODE_ERRORS as exc:
            payload = self._in_json_types(draft, exc)
        size = len(payload)
        if "subjects" in draft:
            size += self._policy.growth(draft) + len(draft.further) * DIGEST_BYTES
        if size > self._most_bytes:
            payload = self._shortened(draft)
        fields: Mapping[str, Any] = draft
        if self._encrypts or draft.further:
            fields = self._policy.recorded(draft)
            payload = _event.encode_fields(fields)
        return payload[:-1], fields  # a copy: what the encoder gives keeps a third more memory

    def _shortened(self, draft: Draft) -> bytes:
        """The JSON of *draft*, made so short that the event has room in its line."""
        policy = self._policy
        if policy.leave_out_texts(draft):
            payload = self._payload(draft)
            further = len(draft.further) * DIGEST_BYTES
            if len(payload) + policy.growth(draft) + further <= self._most_bytes:
                return payload
        shorten(draft, self._most_bytes, policy.bytes_of_name(draft), policy.names)
        return self._payload(draft)

    def _payload(self, draft: Draft) -> bytes:
        try:
            return _event.encode_fields(draft)
        except _event.ENCODE_ERRORS as exc:
            return self._in_json_types(draft, exc)

    def _in_json_types(self, draft: Draft, exc: Exception) -> bytes:
        """The JSON of what has an id or a text that is no UTF-8, or a foreign type."""
        self._fault("encode", exc)
        json_types(draft)
        return _event.encode_fields(draft)
