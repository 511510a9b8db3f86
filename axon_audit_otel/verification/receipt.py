"""Receipts: signed statements about an erasure, each with the proof that the erasure is on record.

A receipt is for a person whose data was erased. Its statement is a signed note
(https://c2sp.org/signed-note) of two lines: ``axon-audit receipt 1``, which no checkpoint begins
with, and facts as JSON. Its proof is that of `inclusion_proof`; the event's fields that the
statement quotes are those in the proof. ``cli/data/verify_proof.py`` checks both.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..archive.checkpoints import Checkpoint, SigningKey
from ..archive.holds import in_force
from ..archive.manifest import deleted_in
from ..archive.missing import Missing
from ..core.errors import ArchiveError, AuditConfigError, InvalidEventError, shown
from ..core.semconv import ERASABLE_PREFIX, PSEUDONYM_PREFIX
from ..core.time import format_time, to_microseconds
from ..events.findings import texts_left
from ..events.identifiers import checked_id, is_digest
from ..events.model import AuditEvent, EventStatus, OperationType, decode
from ..privacy.box import BOX
from ..privacy.policy import PrivacyPolicy
from ..version import __version__
from .erasure import Aftermath, is_key_erasure
from .inclusion_proof import prove
from .verify import verify

__all__ = ["FORMAT", "facts_of", "is_read_again", "make_receipt", "open_points", "signers_of"]

#: The name of the format, and the first line of what is signed.
FORMAT = "axon-audit receipt 1"

#: The methods that read each entry again after its deletion.
_READ_AGAIN = frozenset(("MemorySystem.forget", "Router.route_forget"))
_QUOTED = (
    *("event_id", "sequence", "timestamp", "operation", "action", "status", "error_type"),
    *("user_id", "agent_id", "on_behalf_of", "purpose", "subject_id", "subjects", "entry_ids"),
)
_COUNTED = ("deleted", "remaining", "unlisted")
#: What no trail can know, whatever it says.
_NEVER_KNOWN = ("backups", "other_stores", "models_and_caches")
#: What is said without anybody having to act.
_MERELY_TOLD = frozenset(("trail_events", "older_events_deleted", *_NEVER_KNOWN))


def make_receipt(
    path: Path | str,
    event_id: str,
    policy: PrivacyPolicy,
    key: SigningKey | None = None,
    *,
    subject_id: str | None = None,
    decrypt: bool = False,
) -> dict[str, Any]:
    """A receipt for one erasure.

    Args:
        path: The archive's directory.
        event_id: The id of a FORGET, or of the AUDIT event of `AuditLogger.erase_user`.
        policy: Makes events readable, as far as it has keys.
        key: Signs the statement: the key that signs the trail's checkpoints. None: it is not
            signed.
        subject_id: The person whom the receipt is for. Default: whoever the event names.
        decrypt: Say who asked for the erasure, and why, in clear where that is encrypted.

    Returns:
        ``format``, ``statement`` (the note) and ``proof``, as JSON types.

    Raises:
        ArchiveError: If *path* is no directory, or there is no proof: see
            `inclusion_proof.prove`.
        InvalidEventError: If the event is no erasure, or is of other persons than *subject_id*.
        AuditConfigError: If *key* is not the one that signed the trail.
    """
    directory = Path(path)
    if directory.exists() and not directory.is_dir():
        msg = f"{str(directory)!r} is one file: a receipt needs the directory of the archive"
        raise ArchiveError(msg)
    proof = prove(directory, event_id)
    as_recorded = decode(proof["event"].encode())
    policy = policy.hiding_entries()  # a receipt has ids as they are recorded
    event = policy.reveal(as_recorded)
    if event.operation is not OperationType.FORGET and not is_key_erasure(event):
        msg = (
            f"event {shown(event_id)} is of the operation {shown(str(event.operation))}: there are"
            " receipts for a FORGET, and for the AUDIT event of erase_user"
        )
        raise InvalidEventError(msg)
    _check_key(key, proof["checkpoint"])
    facts = _facts(directory, as_recorded, event, policy, subject_id, decrypt)
    facts["unknown"][:0] = _damage(directory, key)  # what nobody recorded is not to be signed
    facts = {"trail": Checkpoint.parse(proof["checkpoint"]).origin, **facts}
    # Of ASCII alone: other programs may end a line at other characters.
    text = f"{FORMAT}\n{json.dumps(facts, separators=(',', ':'))}\n"
    return {
        "format": FORMAT,
        "statement": f"{text}\n" if key is None else key.sign(text),
        "proof": proof,
    }


def _check_key(key: SigningKey | None, note: str) -> None:
    """Refuse a key with which the receipt would not be verified."""
    if key is None:
        return
    try:
        Checkpoint.parse(note, [key.verifying])
    except InvalidEventError:
        msg = (
            f"the key of {key.verifying.name!r} did not sign the newest checkpoint of this trail:"
            " sign with the key of the trail, or without one"
        )
        raise AuditConfigError(msg) from None


# --- reading one -----------------------------------------------------------------------------


def facts_of(receipt: dict[str, Any]) -> dict[str, Any]:
    """The facts that the statement of a receipt of ours says; nothing is verified."""
    facts: dict[str, Any] = json.loads(receipt["statement"].split("\n")[1])
    return facts


def signers_of(receipt: dict[str, Any]) -> list[str]:
    """The names in the signatures of a receipt; nothing is verified."""
    signatures = receipt["statement"].partition("\n\n")[2]
    return [line.split(" ")[1] for line in signatures.splitlines()]


def open_points(receipt: dict[str, Any]) -> list[str]:
    """What of a receipt needs a person: names of points, in their order; [] if nothing does."""
    facts = facts_of(receipt)
    told = [point["kind"] for point in facts["remains"] + facts["unknown"]]
    points = [kind for kind in told if kind not in _MERELY_TOLD]
    if facts["event"]["status"] != EventStatus.SUCCESS.value:
        points.insert(0, "not_successful")
    if facts["verified"] == "not_verified":
        points.append("not_verified")
    if facts["seen_again"]["number"]:
        points.append("seen_again")
    if not signers_of(receipt):
        points.append("not_signed")
    return points


# --- the facts -------------------------------------------------------------------------------


def _facts(
    directory: Path,
    as_recorded: AuditEvent,
    event: AuditEvent,
    policy: PrivacyPolicy,
    subject_id: str | None,
    decrypt: bool,
) -> dict[str, Any]:
    person = None if subject_id is None else checked_id("subject_id", subject_id)
    names, is_confirmed = _names(as_recorded, event, policy, person)
    missing, after = Missing(), Aftermath(event, names)
    after.read(directory, policy, missing)
    facts = {
        "made_at": format_time(time.time_ns() // 1000),
        "made_by": f"axon-audit-otel {__version__}",
        "event": _quoted(as_recorded),
        "erased": "keys" if is_key_erasure(event) else "entries",
        "counted": {name: n for name in _COUNTED if (n := _number(event, name)) is not None},
        "requested": _request(event if decrypt else as_recorded),
        "verified": _verified(event, policy, after),
        "remains": list(_remains(event, directory, policy, after)),
        "unknown": list(_unknown(event, directory, policy, after, missing, is_confirmed)),
        "seen_again": {"until": after.until, **after.seen.facts()},
    }
    if isinstance(deleted := event.metadata.get("derived_deleted"), list):
        facts["derived_deleted"] = deleted
    if person is not None:
        facts["person"] = {"id": person, "confirmed": is_confirmed}
    return facts


def _names(
    as_recorded: AuditEvent, event: AuditEvent, policy: PrivacyPolicy, person: str | None
) -> tuple[list[str], bool]:
    """The recorded ids of the persons whom a receipt is about; and if they are those asked for.

    Raises:
        InvalidEventError: If it is certain that the event is not about *person*.
    """
    hidden = dict(zip(_subjects(as_recorded), _subjects(event)))
    if person is None:
        return list(hidden), True
    forms = policy.forms(person)
    found = [name for name, real in hidden.items() if real in forms or name in forms]
    if found:
        return found, True
    is_readable = (
        not real.startswith(ERASABLE_PREFIX)
        and not is_digest(real)
        and (len(forms) > 1 or not real.startswith(PSEUDONYM_PREFIX))
        for real in hidden.values()
    )
    if hidden and all(is_readable):
        msg = f"event {shown(event.event_id)} is not about {shown(person)}: no receipt for them"
        if any(name.startswith(PSEUDONYM_PREFIX) for name in hidden):
            msg += " (their ids are hashed: is it the secret that they were hashed with?)"
        raise InvalidEventError(msg)
    return [*hidden, *forms], False  # it may be in clear elsewhere


def _subjects(event: AuditEvent) -> list[str]:
    """The persons whose data *event* touched; as many, and in one order, readable or not."""
    return [*([event.subject_id] if event.subject_id is not None else []), *event.subjects]


def _quoted(event: AuditEvent) -> dict[str, Any]:
    """The fields of the event's line that the statement repeats, as they stand there."""
    fields = event.to_dict()
    return {name: fields[name] for name in _QUOTED if fields[name] or name == "entry_ids"}


def _number(event: AuditEvent, name: str) -> int | None:
    value = event.metadata.get(name)
    return value if type(value) is int else None


def _request(event: AuditEvent) -> dict[str, Any]:
    """Who asked for the erasure, for whom and why, as far as *event* says."""
    said = {name: event.metadata.get(name) for name in ("request_id", "reason")}
    persons = ("user_id", "agent_id", "on_behalf_of", "purpose")
    who = {name: getattr(event, name) for name in persons}
    return {name: value for name, value in {**who, **said}.items() if isinstance(value, str)}


def _verified(event: AuditEvent, policy: PrivacyPolicy, after: Aftermath) -> str:
    """How it was checked that the data is gone: ``read_again``, ``no_key`` or ``not_verified``."""
    if is_key_erasure(event):
        is_gone = policy.encrypts and not _key_lives(event, policy, after)
        return "no_key" if is_gone else "not_verified"
    return "read_again" if is_read_again(event) else "not_verified"


def is_read_again(event: AuditEvent) -> bool:
    """True if the deletion that *event* is asked for each entry again afterwards, and says so."""
    return event.action in _READ_AGAIN and _number(event, "remaining") is not None


def _key_lives(event: AuditEvent, policy: PrivacyPolicy, after: Aftermath) -> bool:
    """True if a key at hand is one of those that an erasure destroyed."""
    tokens = event.metadata.get("tokens")
    told = [token for token in tokens if isinstance(token, str)] if isinstance(tokens, list) else []
    return after.named > 0 or any(map(policy.has_key, told))


def _remains(
    event: AuditEvent, directory: Path, policy: PrivacyPolicy, after: Aftermath
) -> Iterator[dict[str, Any]]:
    """Yield what is known to remain, and why: each with its ``kind``."""
    if event.operation is OperationType.FORGET:
        left = event.metadata.get("remaining_ids")
        ids = left if isinstance(left, list) else []
        if event.status is EventStatus.FAILURE:
            ids = ids or event.entry_ids
        number = max(_number(event, "remaining") or 0, len(ids))
        if number:
            yield {"kind": "not_deleted", "number": number, "entry_ids": ids}
        if derived := after.living_derived():
            yield {"kind": "derived", "number": len(derived), "entry_ids": derived}
        if texts := texts_left(event.metadata):
            yield {"kind": "texts_left", "number": sum(texts.values()), "places": texts}
    else:
        if _key_lives(event, policy, after):
            yield {"kind": "key_lives"}
        if after.clear:
            yield {"kind": "in_clear", "number": after.clear}
        if living := after.living_entries():
            yield {"kind": "entries", "number": len(living), "entry_ids": living}
    if held := in_force(directory):
        yield {"kind": "hold", "holds": held}
    if trails := dict(after.trail_events()):
        number = sum(trail["number"] for trail in trails.values())
        readable = {"in_clear": after.clear, "opened": after.opened, "closed": after.closed}
        yield {"kind": "trail_events", "number": number, **readable, "trails": trails}


def _unknown(
    event: AuditEvent,
    directory: Path,
    policy: PrivacyPolicy,
    after: Aftermath,
    missing: Missing,
    is_confirmed: bool,
) -> Iterator[dict[str, Any]]:
    """Yield what cannot be known: each with its ``kind``."""
    facts = event.metadata
    if hidden := _number(event, "unlisted"):
        yield {"kind": "unlisted", "number": hidden}
    if "dropped" in facts or (event.operation is OperationType.FORGET and BOX in facts):
        yield {"kind": "facts_unreadable"}
    total = _number(event, "entry_ids_total") or 0
    if total > len(event.entry_ids):
        yield {"kind": "entries_not_named", "number": total - len(event.entry_ids)}
    if not is_confirmed:
        yield {"kind": "person_not_confirmed"}
    if after.closed and not policy.encrypts:
        yield {"kind": "keys_not_here", "number": after.closed}
    if after.exports.number:
        yield {"kind": "exports", **after.exports.facts()}
    if missing:
        yield {"kind": "archive_incomplete", "problems": _problems(missing)}
    number, newest = deleted_in(directory)
    if number:
        until = None if newest is None else format_time(to_microseconds(newest))
        yield {"kind": "older_events_deleted", "number": number, "newest": until}
    for kind in _NEVER_KNOWN:
        yield {"kind": kind}


def _damage(directory: Path, key: SigningKey | None) -> Iterator[dict[str, Any]]:
    """Yield what makes later events, and what is counted of them, uncertain."""
    report = verify(directory, [] if key is None else [key.verifying], jobs=1)
    if report.findings:
        yield {"kind": "archive_damaged", **report.in_words()}


def _problems(missing: Missing) -> list[str]:
    """What is wrong, by file, without the place of the archive on its machine."""
    return [f"{path.name}: {why}" for path, why in missing.problems()[:20]]
