"""The words of a dossier, for the person whom it is about."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

__all__ = ["BLANKS", "OPERATIONS", "OUTCOMES", "RECORDS", "SOURCES", "limit_words", "rule_words"]

#: What a person of the organisation must fill in.
BLANKS = {
    "controller": "Who is responsible for your data: name and address",
    "data_protection_officer": "How to reach the data protection officer",
    "purposes": "What your data is used for",
    "legal_basis": "On what legal basis",
    "categories": "What kinds of personal data the texts hold",
    "recipients_elsewhere": "Who has received your data, besides what this page lists",
    "third_countries": "Whether it went to other countries, and how it is protected there",
    "storage_period": "How long your data in the memory is kept",
    "source_elsewhere": "Where your data came from, if not from you",
    "automated_decisions": "Whether decisions about you are made by programs alone, and how",
    "supervisory_authority": "Where you can complain",
    "copy_of_the_data": "The texts themselves: this page names the entries, and has no text",
}

#: What an operation did, as it is said of somebody's data.
OPERATIONS = {
    "STORE": "stored",
    "RECALL": "read",
    "FORGET": "deleted",
    "COMPACT": "merged with others into a summary",
    "EXPORT": "copied out",
    "IMPORT": "brought in from a file",
    "SYNC": "copied within the memory",
    "TRANSACTION": "changed together with others",
    "BULK_STORE": "stored with others",
    "REINDEX": "sorted anew",
    "AUDIT": "record of the trail",
    "OTHER": "used in another way",
}
#: Where an entry came from.
SOURCES = {
    "STORE": "stored by itself",
    "BULK_STORE": "stored with others",
    "IMPORT": "from a file",
    "COMPACT": "a summary of entries",
    "SYNC": "copied within the memory",
    "TRANSACTION": "stored with others",
}
OUTCOMES = {
    "SUCCESS": ("ok", "done"),
    "PARTIAL": ("warning", "in part"),
    "FAILURE": ("bad", "failed"),
}
#: What the trail recorded about a person.
RECORDS = {
    "alert": "an alarm about unusual activity",
    "hold": "a legal hold",
    "unfinished": "an operation that did not end",
    "erasure": "destruction of the keys of your data",
    "access": "the audit trail itself was read",
    "other": "another record",
}


def amount(number: int, noun: str, nouns: str | None = None) -> str:
    """A number with its noun."""
    return f"{number:,} {noun if number == 1 else nouns or f'{noun}s'}"


def rule_words(kept: dict[str, Any]) -> str:
    """How long a trail keeps its events, as it says itself."""
    if kept["rule"] is not None:
        return str(kept["rule"])
    return "no rule deletes them by age" if kept["states_rule"] else "not on record"


def limit_words(point: dict[str, Any]) -> str:
    """A limit in words; of a kind that a later version adds, its name."""
    words = _LIMITS.get(point["kind"])
    return f"{point['kind'].replace('_', ' ')}." if words is None else words(point)


def _events(words: str) -> Callable[[dict[str, Any]], str]:
    return lambda point: words.format(amount(point["number"], "event"))


def _said(words: str) -> Callable[[dict[str, Any]], str]:
    return lambda point: words


def _older(point: dict[str, Any]) -> str:
    until = "" if point["newest"] is None else f", up to {point['newest'][:10]}"
    number = amount(point["number"], "older event")
    return f"{number}{until} were deleted by a rule on storage time: what they said is not known."


def _not_proved(point: dict[str, Any]) -> str:
    why = f" ({'; '.join(point['reasons'])})" if point["reasons"] else ""
    return f"Not all of the trail is covered by a signed checkpoint of the key given{why}."


_LIMITS: dict[str, Callable[[dict[str, Any]], str]] = {
    "archive_incomplete": lambda point: (
        f"A part of the trail could not be read: {'; '.join(point['problems'])}."
    ),
    "archive_damaged": lambda point: (
        f"The trail is not as it was recorded, in {amount(point['number'], 'place')}:"
        f" {'; '.join(point['findings'])}."
    ),
    "older_events_deleted": _older,
    "ids_hashed": _said(
        "Names in this trail are hashed, and the secret for that was not at hand: what is recorded"
        " under a hashed name was not found. This is not the same as nothing on record."
    ),
    "no_such_hash": _said(
        "Names in this trail are hashed. With the secret given, none of them is this one. If it was"
        " another secret, that says nothing."
    ),
    "keys_not_here": _said(
        "Personal data in this trail is encrypted, and the keys were not at hand: what is recorded"
        " under an encrypted name was not found. This is not the same as nothing on record."
    ),
    "keys_destroyed": _said(
        "The keys of this person's data in the trail were destroyed, at an erasure. What is left is"
        " what was never encrypted: what was done, when, with what result, and to which entries."
        " Names, purposes and details cannot be read any more, by anybody."
    ),
    "keys_lost": lambda point: (
        f"No key opens {amount(point['events'], 'event')} of {amount(point['persons'], 'person')},"
        " though no erasure of them is on record: whether they are about this person is not known."
    ),
    "maybe_erased": _said(
        "Keys of persons were destroyed in this trail, at erasures. If this person was one of them,"
        " the older events about him or her cannot be found by name any more."
    ),
    "others_erased": _said(
        "Keys of persons were destroyed in this trail, at erasures. If this person was one of them,"
        " the events from before that cannot be found by name any more."
    ),
    "facts_unreadable": _events(
        "Of {} about this person some details are encrypted with keys that are gone."
    ),
    "by_digest": _events(
        "In {} this person is one of very many, named by a short code only. That it means somebody"
        " else is possible, with a chance of one in 280 million million for each name."
    ),
    "persons_not_named": _events(
        "{} touched data of more persons than could be recorded: this person may be one of them."
    ),
    "without_facts": _events("Of {} about this person some details could not be recorded."),
    "deletions_not_named": _events(
        "{} deleted entries without naming all of them: what is shown as held may be gone."
    ),
    "no_subject": _events(
        "{} touched entries, and do not say whose: some may have been this person's."
    ),
    "groups_left_out": lambda point: (
        f"{amount(point['number'], 'reading')} are counted without saying by whom: there were too"
        " many different persons and purposes."
    ),
    "entries_left_out": _said(
        "This person has more entries than were followed: the list of entries is not whole."
    ),
    "events_lost": lambda point: (
        f"{amount(point['number'], 'event')} of the trail {point['trail']} were lost before they"
        " were written, as the trail itself says."
    ),
    "unclean_ends": lambda point: (
        f"The program that writes the trail {point['trail']} ended without notice"
        f" {amount(point['number'], 'time')}: what it did at that moment may not be recorded."
    ),
    "adopted": lambda point: (
        f"{amount(point['number'], 'event')} of the trail {point['trail']} were found there when"
        " the program started: nothing attests that it recorded them."
    ),
    "refused": lambda point: (
        "The program left files alone that it did not trust, as the trail"
        f" {point['trail']} says {amount(point['number'], 'time')}."
    ),
    "no_key_given": _said(
        "No public key was given to check the signatures of the trail: that nothing was removed"
        " from its end, or rewritten as a whole, is not proved here."
    ),
    "not_proved": _not_proved,
    "other_stores": _said("Data that never went through this memory, or is in other systems."),
    "backups": _said("Backups of the memory."),
    "models_and_caches": _said(
        "What was made of the data elsewhere: weights of models, caches, prompts, logs of others."
    ),
}
