"""The register of erasures of a period: what was asked for, what was done, and what remains."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

from ..core.time import format_time, to_microseconds
from ..events.findings import texts_left
from ..events.model import AuditEvent, OperationType, deleted_entries
from ..privacy.box import BOX
from ..privacy.policy import PrivacyPolicy
from ..privacy.readable import recorded
from ..verification.erasure import is_key_erasure
from ..verification.receipt import is_read_again
from .tally import Spool

__all__ = ["Erasures"]

_LISTED = 200  # in the report's JSON; all are in a table
_NAMED = 20  # ids of many
_FORGET, _AUDIT = OperationType.FORGET, OperationType.AUDIT
_COLUMNS = (
    *("trail", "sequence", "event_id", "timestamp", "erased", "action", "status", "error_type"),
    *("user_id", "agent_id", "on_behalf_of", "purpose", "request_id", "reason", "subject_id"),
    *("subjects", "entries", "deleted", "remaining", "unlisted", "derived_deleted"),
    *("derived_remaining", "texts_left", "verified", "receipt"),
)


class Erasures:
    """Registers each FORGET, and each erasure of keys.

    Args:
        policy: Makes facts readable.
        decrypt: Say who asked for it, and why, in clear, as far as there are keys.
        stack: Removes temporary files.
    """

    def __init__(self, policy: PrivacyPolicy, decrypt: bool, stack: ExitStack) -> None:
        self._policy = policy
        self._decrypt = decrypt
        self._rows = Spool(stack)
        self._by_status: Counter[str] = Counter()
        self._verified: Counter[str] = Counter()
        self._sums: Counter[str] = Counter()

    def take(self, writer: str, events: list[AuditEvent]) -> None:
        """Take events of the period, of one trail."""
        for event in events:
            if event.operation is _FORGET:
                self._take(writer, event, "entries")
            elif event.operation is _AUDIT and is_key_erasure(event):
                self._take(writer, event, "keys")

    def _take(self, writer: str, event: AuditEvent, erased: str) -> None:
        readable = self._policy.reveal(event)
        shown = readable if self._decrypt else recorded(event)
        facts = readable.metadata
        verified = self._how_verified(readable, erased)
        row: dict[str, Any] = {
            "trail": writer,
            "sequence": event.sequence,
            "event_id": event.event_id,
            "timestamp": format_time(to_microseconds(event.timestamp)),
            "erased": erased,
            "action": event.action,
            "status": event.status.value,
            "error_type": event.error_type,
            **{name: getattr(shown, name) for name in _WHO},
            **{name: _text(shown.metadata.get(name)) for name in ("request_id", "reason")},
            "subjects": list(shown.subjects[:_NAMED]),
            "subjects_number": len(shown.subjects),
            "entry_ids": event.entry_ids[:_NAMED],
            "entries": _number(facts.get("entry_ids_total")) or len(event.entry_ids),
            "deleted": None if erased == "keys" else deleted_entries(readable),
            "remaining": _number(facts.get("remaining")),
            "unlisted": _number(facts.get("unlisted")),
            "derived_deleted": _ids(facts.get("derived_deleted")),
            "derived_remaining": _ids(facts.get("derived_remaining")),
            "texts_left": sum(texts_left(facts).values()),
            "verified": verified,
            "facts_unreadable": BOX in facts or "dropped" in facts,
            "facts_encrypted": BOX in shown.metadata,
        }
        self._rows.add(row)
        self._by_status[row["status"]] += 1
        self._verified[verified] += 1
        self._sums["keys"] += erased == "keys"
        self._sums["asked_for"] += isinstance(facts.get("request_id"), str)
        self._sums["facts_unreadable"] += row["facts_unreadable"]
        for name in ("deleted", "remaining", "unlisted", "texts_left"):
            self._sums[name] += row[name] or 0
        for name in ("derived_deleted", "derived_remaining"):
            self._sums[name] += row[name]["number"]

    def _how_verified(self, event: AuditEvent, erased: str) -> str:
        """How it was checked, or is now: ``read_again``, ``no_key`` or ``not_verified``."""
        if erased == "entries":
            return "read_again" if is_read_again(event) else "not_verified"
        tokens = event.metadata.get("tokens")
        known = [one for one in tokens if isinstance(one, str)] if isinstance(tokens, list) else []
        is_gone = self._policy.encrypts and not any(map(self._policy.has_key, known))
        return "no_key" if is_gone else "not_verified"

    # --- the answers -----------------------------------------------------------------------------

    @property
    def remains(self) -> list[str]:
        """What needs a person: names of points."""
        names = ("remaining", "derived_remaining", "texts_left", "unlisted")
        points = [f"erasures_with_{name}" for name in names if self._sums[name]]
        if self._by_status.keys() - {"SUCCESS"}:
            points.append("erasures_not_successful")
        return points

    def facts(self, has_proof: Callable[[str, int], bool]) -> dict[str, Any]:
        """The part ``erasures``, as JSON types.

        Args:
            has_proof: Tells of a trail and a number if a signed checkpoint covers that event.
        """
        sums = self._sums
        return {
            "number": self._rows.count,
            "by_status": {name: self._by_status[name] for name in sorted(self._by_status)},
            "of_keys": sums["keys"],
            "with_request_id": sums["asked_for"],
            "deleted_entries": sums["deleted"],
            "remaining_entries": sums["remaining"],
            "unlisted_entries": sums["unlisted"],
            "derived_deleted": sums["derived_deleted"],
            "derived_remaining": sums["derived_remaining"],
            "texts_left": sums["texts_left"],
            "by_verification": {name: self._verified[name] for name in sorted(self._verified)},
            "facts_unreadable": sums["facts_unreadable"],
            "first": list(itertools.islice(self._registered(has_proof), _LISTED)),
            "not_known": [
                "backups of the memory's storage",
                "data in other stores, in models, caches, prompts and logs",
                "what was seen again later: a receipt says so (axon-audit receipt)",
            ],
        }

    def _registered(self, has_proof: Callable[[str, int], bool]) -> Iterator[dict[str, Any]]:
        for row in self._rows:
            yield {**row, "receipt_possible": has_proof(row["trail"], row["sequence"])}

    def table(
        self, has_proof: Callable[[str, int], bool]
    ) -> tuple[tuple[str, ...], Iterator[list[Any]]]:
        """All of them: the names of the columns, and the rows."""
        return _COLUMNS, map(_cells, self._registered(has_proof))


_WHO = ("user_id", "agent_id", "on_behalf_of", "purpose", "subject_id")


def _cells(row: dict[str, Any]) -> list[Any]:
    short = {
        "subjects": row["subjects_number"],
        "derived_deleted": row["derived_deleted"]["number"],
        "derived_remaining": row["derived_remaining"]["number"],
        "receipt": "possible" if row["receipt_possible"] else "no proof",
    }
    return [{**row, **short}.get(name) for name in _COLUMNS]


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _number(value: Any) -> int | None:
    return value if type(value) is int and value >= 0 else None


def _ids(value: Any) -> dict[str, Any]:
    """How many ids a fact has, and the first of them."""
    ids = [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
    return {"number": len(ids), "first": ids[:_NAMED]}
