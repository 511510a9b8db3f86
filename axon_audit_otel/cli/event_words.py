"""What an event tells in a few words, also one that a trail records about itself."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from ..core.semconv import ERASABLE_PREFIX
from ..core.units import short
from ..events.findings import few, findings
from ..events.localtime import local
from ..events.model import AuditEvent
from ..verification.report import numbers
from .render import amount, plain

__all__ = ["details", "found_words", "without_ciphers"]

_ENCRYPTED = re.compile(f"({ERASABLE_PREFIX}[0-9a-f]+:)[\\w+/=-]*", re.ASCII)


def without_ciphers(text: str) -> str:
    """*text* in which of each encrypted id only its token is left, and a mark."""
    return _ENCRYPTED.sub(r"\1…", text)


#: The most useful fact in the metadata of an operation, and its text.
_FACTS = {
    "STORE": "importance {importance}",
    "RECALL": "{result_count} found",
    "FORGET": "{deleted} deleted",
    "EXPORT": "{total_entries} entries",
    "IMPORT": "{imported} of {total_entries} imported",
    "SYNC": "{synced} synced",
    "COMPACT": "{entries_before} to {entries_after} entries",
    "TRANSACTION": "{outcome}",
    "BULK_STORE": "{total_entries} entries",
}


def found_words(numbers: Mapping[str, int]) -> list[str]:
    """How many entries need attention, by kind: ``altered: 2 entries``."""
    return [f"{kind.replace('_', ' ')}: {amount(n, 'entry')}" for kind, n in numbers.items()]


def details(event: AuditEvent) -> str:
    """A short text with the facts of an event that have no column."""
    facts, words = event.metadata, []
    if event.operation == "AUDIT" and "record" in facts:
        return plain(_record_text(event))
    if event.error_type:
        words.append(event.error_type.rpartition(".")[2])
    if event.status != "FAILURE":
        try:
            words.append(_FACTS[event.operation.value].format(**facts))
        except (KeyError, ValueError, TypeError, AttributeError, IndexError):
            if len(event.entry_ids) > 1:
                words.append(f"{len(event.entry_ids)} entries")
    words += found_words({kind: found.number for kind, found in findings(facts).items()})
    if facts.get("pii_detected") is True:
        words.append("personal data")
    for who, names in (("by", event.agent_id), ("for", event.on_behalf_of)):
        if names is not None:
            words.append(f"{who} {names}")
    if event.purpose:
        words.append(event.purpose)
    said = ", ".join(words)
    whose = dict.fromkeys((event.subject_id, *event.subjects))
    others = [one for one in whose if one is not None and one != event.user_id]
    if others:
        more = f" and {amount(len(others) - 1, 'other')}" if len(others) > 1 else ""
        said = f"{others[0]}{more}: {said}"
    return plain(said)


# --- events that a trail records about itself -------------------------------------------------


_UNREADABLE = (AttributeError, KeyError, OverflowError, TypeError, ValueError)


def _record_text(event: AuditEvent) -> str:
    """The text of an event that has a metadata["record"]."""
    facts, name = event.metadata, str(event.metadata["record"])
    try:
        told = _RECORDS[name](facts, event.subject_id)
        return f"{told}: {event.purpose}" if event.purpose else told
    except _UNREADABLE:  # of another version, or forged
        return name.replace("_", " ")


def _start(facts: dict[str, Any], _subject: str | None) -> str:
    user = facts["user"]
    who = user.get("name") or f"user {user['uid']}"
    versions = f"axon-audit-otel {facts['axon_audit_otel']}, Python {facts['python']}"
    return f"start: {facts['process']} (pid {facts['pid']}) on {facts['host']} by {who}, {versions}"


def _gap(facts: dict[str, Any], _subject: str | None) -> str:
    why = f" ({facts['reason']})" if facts["reason"] else ""
    return f"gap: {numbers(facts['first'], facts['last'])} lost{why}"


def _unclean_end(facts: dict[str, Any], _subject: str | None) -> str:
    words = [f"{amount(facts['events'], 'event')} recovered"]
    if facts["torn_bytes"]:
        words.append(f"{amount(facts['torn_bytes'], 'byte')} of a torn line cut away")
    if facts.get("damaged"):
        words.append(f"{amount(facts['damaged'], 'damaged line')} set aside")
    return f"unclean end of {facts['writer']}: {', '.join(words)}"


def _witness_refused(facts: dict[str, Any], _subject: str | None) -> str:
    sizes = f"{facts['size']:,} lines of the manifest here, {facts['known']:,} known there"
    return f"witness {facts['witness']} refused: {facts['reason']} ({sizes})"


def _adopted(facts: dict[str, Any], _subject: str | None) -> str:
    which = numbers(facts["first"], facts["last"])
    return f"adopted: {which} of {facts['writer']}, in {facts['file']}: nothing attests them"


def _refused(facts: dict[str, Any], _subject: str | None) -> str:
    return f"left alone: the files of {facts['writer']}: {facts['why']}"


def _unfinished(facts: dict[str, Any], _subject: str | None) -> str:
    user, subject = facts.get("user_id"), facts.get("subject_id")
    who = "" if user is None else f" by {user}"
    pairs = ("by", facts.get("agent_id")), ("for", facts.get("on_behalf_of"))
    who += "".join(f", {how} {one}" for how, one in pairs if one is not None)
    whose = "" if subject in (None, user) else f", data of {subject}"
    begun = local(datetime.fromisoformat(str(facts["time"]).replace("Z", "+00:00")))
    adopted = "; adopted: anybody may have written it" if facts.get("adopted") else ""
    return f"unfinished: {facts['operation']}{who}{whose}, begun {begun}{adopted}"


def _hold(facts: dict[str, Any], _subject: str | None) -> str:
    why = f": {facts['reason']}" if "reason" in facts else ""
    return f"hold {facts['hold']!r} {facts['state']}{why}"


def _erasure(facts: dict[str, Any], subject: str | None) -> str:
    why = f": {facts['reason']}" if "reason" in facts else ""
    keys = amount(len(facts["tokens"]), "key")
    if facts.get("state") == "failed":
        return f"erasure: {keys} could not be destroyed, of {subject}{why}"
    return f"erasure: {keys} destroyed, of {subject}{why}"


def _access(facts: dict[str, Any], subject: str | None) -> str:
    if "events" not in facts:
        shown = str(facts["state"])
    else:
        shown = amount(facts["events"], "event")
        shown += f", {facts['revealed']:,} decrypted" if facts["revealed"] else ""
    of = "" if subject is None else f" of {subject}"
    return f"read with {facts['command']}: {shown}{of}"


def _alert(facts: dict[str, Any], subject: str | None) -> str:
    who = "" if subject is None else f" by {subject}"
    limit = f"more than {facts['over']} in {short(timedelta(seconds=facts['window_s']))}"
    ids = facts.get("entry_ids")
    counted = amount(facts["count"], "entry" if ids else "event")
    if ids:
        counted += f" ({few(ids)})"
    return f"alert {facts['state']}: {facts['rule']}, {counted}{who}, {limit}"


def _reconcile(facts: dict[str, Any], _subject: str | None) -> str:
    found = {**facts["found"], **facts["unknown"]}
    words = [f"{number:,} {kind}" for kind, number in found.items()]
    return (
        f"reconcile: {facts['in_store']:,} entries in the store; {', '.join(words) or 'it agrees'}"
    )


_RECORDS: dict[str, Callable[[dict[str, Any], str | None], str]] = {
    "start": _start,
    "gap": _gap,
    "unclean_end": _unclean_end,
    "adopted": _adopted,
    "refused": _refused,
    "unfinished": _unfinished,
    "witness_refused": _witness_refused,
    "access": _access,
    "hold": _hold,
    "erasure": _erasure,
    "alert": _alert,
    "reconcile": _reconcile,
}
