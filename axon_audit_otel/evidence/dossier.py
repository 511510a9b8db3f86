"""The dossier of one person: what a memory's trail knows of him, and what it cannot know.

For a request of access (GDPR Art. 15; CJEU C-579/21) or an accounting of disclosures (45 CFR
164.528). It holds data of that person alone: of other persons it says that they acted, under
labels, unless asked for their ids.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from datetime import datetime, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..archive.checkpoints import VerifyingKey
from ..archive.holds import in_force
from ..archive.missing import Missing
from ..core.errors import ArchiveError, InvalidEventError
from ..core.time import parse_time
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import masked
from ..verification.inclusion_proof import prove
from ..verification.report import VerifyReport, WriterReport
from ..verification.verify import verify
from ..version import __version__
from .dossier_limits import NEEDS_A_PERSON, limits
from .dossier_reading import PARTS, Reading, in_zone
from .dossier_words import BLANKS
from .held import Entry
from .person import Person, is_hidden

__all__ = ["FORMAT", "Dossier", "make_dossier"]

#: The name of the format.
FORMAT = "axon-audit dossier 1"
_TEXTS = ("purpose", "recipient", "request_id")
_MOST_MASKED = 100  # names that are looked for in all texts
_MOST_GROUPS = 1000  # actors, agents and purposes that are listed


class Dossier:
    """The facts of a dossier, and its rows. `close` it, or use it in a ``with`` block.

    Attributes:
        facts: Everything but the rows, as JSON types; see docs/dossier.md.
    """

    def __init__(
        self,
        facts: dict[str, Any],
        reading: Reading,
        stack: ExitStack,
        zone: tzinfo | None,
        shows_actors: bool,
    ) -> None:
        self.facts = facts
        self._reading = reading
        self._stack = stack
        self._zone = zone
        self._actors = _Labels(reading, shows_actors)
        facts["actors"] = "shown" if shows_actors else "masked"
        if not shows_actors:  # the name of a hold is that of a matter of others
            holds = facts["retention"]["holds"]
            facts["retention"]["holds"] = [f"hold {n}" for n in range(1, len(holds) + 1)]
        facts["summary"] = self._actors.summary()

    def __enter__(self) -> Dossier:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Remove the temporary files that hold the rows."""
        self._stack.close()

    def rows(self, part: str) -> Iterator[dict[str, Any]]:
        """The rows of a part, one of `PARTS`, oldest first. Of one part at a time."""
        return map(self._actors.row, self._reading.rows[part])

    def entries(self) -> Iterator[dict[str, Any]]:
        """The entries of the person, and those made of them, also deleted ones."""
        for which, some in (
            ("own", self._reading.held.own),
            ("derived", self._reading.held.derived),
        ):
            for key, entry in some.items():
                yield _entry(key, which, entry)

    def local(self, time: str) -> datetime:
        """A time of the facts on the clock that was asked for."""
        moment = parse_time(time)
        assert moment is not None  # `format_time` wrote it
        return in_zone(moment, self._zone)

    def needs_a_person(self) -> list[str]:
        """What could not be known, and needs a person: names of limits; [] if nothing does."""
        return [one["kind"] for one in self.facts["limits"] if one["kind"] in NEEDS_A_PERSON]


def make_dossier(
    path: Path | str,
    user_id: str,
    policy: PrivacyPolicy | None = None,
    keys: Iterable[VerifyingKey | str] = (),
    checkpoints: Iterable[str] = (),
    *,
    erasable: Path | None = None,
    show_actors: bool = False,
    zone: tzinfo | None = None,
    progress: Callable[[str, int], None] = lambda what, number: None,
) -> Dossier:
    """The dossier of one person.

    Reads the archive twice: to verify it, and for the person. What is recorded meanwhile may be
    in it or not; ``until`` says up to which event of each trail it goes.

    Args:
        path: The archive's directory.
        user_id: Whom it is about: the id as the application has it, or what stands for it in
            events.
        policy: Makes events readable, as far as it has keys and the secret of the ids.
        keys: Public keys, of which one must have signed each checkpoint.
        checkpoints: Notes that were kept elsewhere.
        erasable: The directory of the keys that personal data is encrypted with. Default: beside
            the archive.
        show_actors: Say who acted; else these have labels as ``staff 1``.
        zone: In which months begin; None: the local one.
        progress: Told what is read (``bytes`` or ``events``), and how much of it.

    Raises:
        ArchiveError: If *path* is no directory of an archive, or the keys cannot be read.
        InvalidEventError: If *user_id* is no id.
        AuditConfigError: If one of *keys* is no key.
        OSError: If there is no room for what was read.
    """
    directory = Path(path)
    if directory.exists() and not directory.is_dir():
        msg = f"{str(directory)!r} is one file: a dossier needs the directory of the archive"
        raise ArchiveError(msg)
    policy = PrivacyPolicy() if policy is None else policy
    report = verify(
        directory, keys, checkpoints, lambda size: progress("bytes", size), erasable=erasable
    )
    person, missing = Person(user_id, policy), Missing()
    with ExitStack() as stack:
        reading = Reading(person, policy, stack, zone, lambda n: progress("events", n))
        reading.read(directory, missing)
        facts = _facts(directory, policy, reading, missing, report)
        return Dossier(facts, reading, stack.pop_all(), zone, show_actors)


# --- the facts -----------------------------------------------------------------------------------


def _facts(
    directory: Path,
    policy: PrivacyPolicy,
    reading: Reading,
    missing: Missing,
    report: VerifyReport,
) -> dict[str, Any]:
    numbers = {part: rows.count for part, rows in reading.rows.items()}
    held = sum(entry.gone is None for entry in reading.held.own.values())
    derived = sum(entry.gone is None for entry in reading.held.derived.values())
    back = sum(
        entry.seen_again is not None
        for some in (reading.held.own, reading.held.derived)
        for entry in some.values()
    )
    is_on_record = any(numbers.values())
    trails = {
        trail: known.facts(reading.newest.get(trail))
        for trail, known in sorted(reading.trails.items())
        if known.number
    }
    found = limits(directory, policy, reading.unknown, is_on_record, missing, report)
    return {
        "format": FORMAT,
        "made_by": f"axon-audit-otel {__version__}",
        "person": {"id": reading.person.id, "on_record": is_on_record},
        "until": dict(sorted(reading.until.items())),
        "numbers": {"held": held, "derived": derived, "seen_again": back, **numbers},
        "collectors": list(reading.collectors),
        "retention": {"trails": trails, "holds": in_force(directory)},
        "proved": {
            "verdict": report.verdict,
            "keys": report.keys,
            "trails": {one.writer: _proved(one) for one in report.writers if not one.is_empty},
        },
        "receipts": _receipts(directory, reading),
        "limits": list(found),
        "blanks": list(BLANKS),
    }


def _receipts(directory: Path, reading: Reading) -> list[dict[str, Any]]:
    """Of the newest deletions, the commands that make a receipt; or why there can be none."""
    return [
        {
            "event_id": event_id,
            "command": shlex.join(
                ["axon-audit", "receipt", event_id, str(directory), "--subject", reading.person.id]
            ),
            "why_not": _why_not(directory, event_id),
        }
        for event_id in reading.deletions
    ]


def _why_not(directory: Path, event_id: str) -> str | None:
    try:
        prove(directory, event_id)
    except (ArchiveError, InvalidEventError) as exc:
        return str(exc).replace(repr(str(directory)), "the archive")
    return None


def _proved(writer: WriterReport) -> dict[str, Any]:
    """How far signed checkpoints cover a trail."""
    return {
        "events": writer.events,
        "first": writer.first_sequence,
        "last": writer.last_sequence,
        "proved_until": writer.proved_until,
        "deleted": sum(one.last - one.first + 1 for one in writer.deletions),
        "deleted_by": sorted({one.rule for one in writer.deletions}),
    }


def _entry(key: str, which: str, entry: Entry) -> dict[str, Any]:
    return {
        "entry_id": key,
        "kind": which,
        "state": "held" if entry.gone is None else "deleted",
        "since": entry.since,
        "source": entry.source,
        "event_id": entry.event_id,
        "first_seen": entry.seen,
        "deleted_at": entry.gone,
        "deleted_by": entry.gone_by,
        "seen_again": entry.seen_again,
        "consulted": entry.consulted,
        "made_of": entry.made_of,
        "holds_data_of_others": entry.of_others,
    }


# --- who acted -----------------------------------------------------------------------------------


class _Labels:
    """What rows show of who acted: their ids, or labels in the order of their first events."""

    def __init__(self, reading: Reading, shows: bool) -> None:
        person, self._reading = reading.person, reading
        others = [name for name in reading.actors if not person.has_name(name)]
        labels = {name: f"staff {number}" for number, name in enumerate(others, 1)}
        shown = {
            name: person.id if name not in labels else name if shows else labels[name]
            for name in reading.actors
        }
        programs: list[str] = []
        for name in reading.agents:
            hidden = name in shown or name in reading.persons or is_hidden(name)
            if person.has_name(name):
                programs.append(person.id)
            elif shows or not hidden:
                programs.append(name)
            else:
                programs.append(shown.get(name) or f"program {len(programs) + 1}")
        self._actors, self._programs = list(shown.values()), programs
        masked_ids = [name for name in reading.agents if name not in programs]
        if not shows:
            masked_ids += [name for name in others if not is_hidden(name)]
        masks = [(name, "[another person]") for name in masked_ids[:_MOST_MASKED]]
        self._text = lru_cache(4096)(lambda text: masked({"": text}, masks)[""])

    def row(self, row: dict[str, Any]) -> dict[str, Any]:
        """A row with names in place of numbers."""
        texts = {name: self._text(row[name]) for name in _TEXTS if row.get(name)}
        return {
            **row,
            **texts,
            "actor": self._actor(row["actor"]),
            "agent": self._program(row["agent"]),
            "on_behalf_of": self._actor(row["on_behalf_of"]),
        }

    def _actor(self, place: int | None) -> str | None:
        return None if place is None else self._actors[place]

    def _program(self, place: int | None) -> str | None:
        return None if place is None else self._programs[place]

    def summary(self) -> dict[str, Any]:
        """How much there is by month; and who consulted or exported, by number."""
        months = self._reading.months
        groups = sorted(self._reading.groups.items(), key=lambda one: -one[1][0])
        return {
            "by_month": [
                {"month": month, **{part: months[month][part] for part in PARTS}}
                for month in sorted(months)
            ],
            "by_actor": [
                {
                    "actor": self._actor(actor),
                    "agent": self._program(agent),
                    "purpose": purpose and self._text(purpose),
                    "number": number,
                    "first": first,
                    "last": last,
                }
                for (actor, agent, purpose), (number, first, last) in groups[:_MOST_GROUPS]
            ],
            "actors": len(groups),
        }
