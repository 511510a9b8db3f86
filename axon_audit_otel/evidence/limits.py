"""What a report cannot say, in words; and the README of its files."""

from __future__ import annotations

from typing import Any

__all__ = ["limits", "readme"]

_NOT_COVERED = (
    "What never went through the memory that is audited: other stores, backups, caches, prompts,"
    " models, and whoever reads the storage itself.",
    "Events that were lost without anything that tells of it: see completeness, unknown.",
    "What the application did not say: who acted for whom, and why, is as it told the trail.",
)
_NOT_CLAIMED = (
    "This report is no opinion and no certificate: it states facts of an archive, and no score.",
    "The time of an event is that of the clock of the machine that recorded it.",
    "The names of users are those that the application gave; nobody's identity was checked.",
)

_ENCRYPTED = (
    "purposes and other facts of {} are encrypted and were not read, so they are not in activity:"
    " give --decrypt, and the keys"
)


def limits(facts: dict[str, Any]) -> dict[str, Any]:
    """The part ``limits``, from the other parts."""
    complete = facts["completeness"]
    unknown = [complete["unknown"], complete["lost_keys"], *complete["not_proved"]]
    unknown += [trail["covered"]["uncovered"] for trail in complete["trails"]]
    if number := facts["activity"]["facts_encrypted"]:
        unknown.append(_ENCRYPTED.format(f"{number:,} {'event' if number == 1 else 'events'}"))
    return {
        "needs_a_person": _needs(complete),
        "not_covered": list(_NOT_COVERED),
        "not_claimed": list(_NOT_CLAIMED),
        "not_known": list(dict.fromkeys(words for words in unknown if words)),
        "is_signed": facts["proofs"]["signed_by"] is not None,
    }


def _needs(complete: dict[str, Any]) -> list[str]:
    """What of the completeness needs a person, in words; [] if nothing does."""
    words = [f"{one['file']}: {one['kind']}: {one['explanation']}" for one in complete["findings"]]
    if complete["more_findings"]:
        words.append(f"{complete['more_findings']} more findings")
    words += complete["not_proved"]
    for trail in complete["trails"]:
        for hole in trail["missing"]:
            if hole["why"] != "deleted":
                why = "lost, as the trail tells" if hole["why"] == "lost" else "missing"
                which = f"events {hole['first']} to {hole['last']}"
                words.append(f"{which} of {trail['trail']} are {why}")
        if trail["more_missing"]:
            words.append(f"{trail['more_missing']} more ranges of {trail['trail']} are missing")
    if complete["events_with_lost_keys"]:
        words.append(complete["lost_keys"])
    return words


_SIGNED = """It is signed by {}. With the public key of that name, from a source that
you trust:

    python3 verify_proof.py report.note KEY
"""
_NOT_SIGNED = """It is NOT SIGNED: nobody can be held to it. The digests only show that these files
belong together:

    sha256sum --check SHA256SUMS
"""


def readme(facts: dict[str, Any]) -> str:
    """The text of README.txt."""
    period, proofs = facts["scope"]["period"], facts["proofs"]
    by = proofs["signed_by"]
    signed = _NOT_SIGNED if by is None else _SIGNED.format(by.partition("+")[0])
    checks = "".join(f"    {command}\n" for command in proofs["commands"] if "proofs/" in command)
    return f"""REPORT OF AN AUDIT TRAIL
From {period["first"]} to {period["last"]}
Made with {facts["scope"]["made_by"]}

report.html       the report, for people; it needs no network
report.json       the same facts, for programs
csv/              the long lists in full: actors, exports, erasures, alerts and others
proofs/           checkpoints of the trails, and proofs of a sample of events
verify_proof.py   checks signature and proofs; needs Python and its package cryptography,
                  and nothing of the organisation that made this report
SHA256SUMS        the digests of all these files
report.note       the same list, signed (https://c2sp.org/signed-note); only if it is signed

HOW TO CHECK IT
{signed}
The proofs, each with the public key that signed the checkpoints of the trail:

{checks or "    (there are none: no signed checkpoint covers events of the period)" + chr(10)}
The command that makes the same report from the archive:

    {facts["scope"]["command"] or "(made by a program)"}
"""
