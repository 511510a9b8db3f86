"""The proofs of a report: checkpoints, and inclusion proofs of a sample that nobody can choose."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib import resources
from typing import Any

import msgspec

from ..archive.checkpoints import SigningKey, VerifyingKey
from ..archive.format import position_of
from ..archive.manifest import MANIFEST, SealRecord, read_manifest
from ..archive.missing import Missing
from ..verification.inclusion_proof import prove_numbers
from .completeness import Archive

__all__ = ["Proofs", "verifier"]

_SAMPLE = 10
_TRIES = 200
_HOW = (
    "The numbers follow from the archive alone, so that whoever makes the report cannot choose"
    " them. The seed is the SHA-256 of a line for each trail with events that can be proved, in"
    " the order of the trails' names: trail, first number, last number, hash of the last event of"
    " the period, with a space between them and a newline after each. The place of try i (from 0)"
    " is SHA-256(seed, i as 8 bytes, big endian) as a number, modulo the number of these events;"
    " it counts through the trails in that order. Numbers that were tried before, that have no"
    " event, or an event of another time, are passed over, up to 200 tries."
)


def verifier() -> bytes:
    """The program that checks proofs, for third parties."""
    root = resources.files(__package__.partition(".")[0])
    return root.joinpath("cli/data/verify_proof.py").read_bytes()


class Proofs:
    """The checkpoints that reach into the period, and what they prove.

    Args:
        archive: The archive, after it was read.
        trails: The trails of the period.
    """

    def __init__(self, archive: Archive, trails: list[str]) -> None:
        self._archive = archive
        self._notes = {trail: note for trail in trails if (note := archive.reaching(trail))}
        self._last = {
            trail: self._sealed_in(trail, note[0].size) for trail, note in self._notes.items()
        }

    def _sealed_in(self, trail: str, size: int) -> int:
        """The number of the newest event in a sealed file that the first *size* lines list."""
        last, path = 0, self._archive.directory / f"{trail}{MANIFEST}"
        missing = Missing()
        with missing.caught(path):
            for place, (_, record) in enumerate(read_manifest(path, missing)):
                if place < size and isinstance(record, SealRecord):
                    last = max(last, record.last_sequence)
        return last

    def has(self, trail: str, number: int) -> bool:
        """True if a signed checkpoint covers that event, which is sealed: there is a proof."""
        return number <= self._last.get(trail, 0)

    def _provable(self) -> list[tuple[str, int, int]]:
        """The trails with events that can be proved, and the first and last of their numbers."""
        found = []
        for trail in sorted(self._last):
            here = self._archive.trails.get(trail)
            if here is not None and here.first is not None and here.last is not None:
                last = min(here.last.sequence, self._last[trail])
                if last >= here.first.sequence:
                    found.append((trail, here.first.sequence, last))
        return found

    def sample(self) -> Iterator[tuple[str, int, dict[str, Any]]]:
        """Yield trails, numbers of events, and inclusion proofs of these."""
        provable = self._provable()
        total = sum(last - first + 1 for _, first, last in provable)
        lines = [f"{t} {a} {b} {self._archive.trails[t].last_hash}\n" for t, a, b in provable]
        seed = hashlib.sha256("".join(lines).encode()).digest()
        tried: set[tuple[str, int]] = set()
        number = 0
        for turn in range(_TRIES if total else 0):
            at = int.from_bytes(hashlib.sha256(seed + turn.to_bytes(8, "big")).digest(), "big")
            trail, sequence = _placed(at % total, provable)
            if (trail, sequence) in tried:
                continue
            tried.add((trail, sequence))
            proof = self._proof(trail, sequence)
            if proof is not None:
                yield trail, sequence, proof
                number += 1
            if number == _SAMPLE or len(tried) == total:
                return

    def _proof(self, trail: str, sequence: int) -> dict[str, Any] | None:
        note = self._notes[trail][1]
        for proof in prove_numbers(self._archive.directory, trail, [sequence], note):
            if self._archive.period.has(position_of(proof["event"].encode()).timestamp):
                return proof
        return None

    def files(self, sample: list[tuple[str, int, dict[str, Any]]]) -> dict[str, bytes]:
        """The files for `proofs/`, by name."""
        found = {
            f"proofs/{trail}.checkpoint": note.encode() for trail, (_, note) in self._notes.items()
        }
        for trail, sequence, proof in sample:
            content = msgspec.json.format(msgspec.json.encode(proof), indent=2) + b"\n"
            found[_file(trail, sequence)] = content
        return found

    def facts(
        self,
        sample: list[tuple[str, int, dict[str, Any]]],
        keys: list[VerifyingKey],
        signing_key: SigningKey | None,
    ) -> dict[str, Any]:
        """The part ``proofs``, as JSON types."""
        provable = self._provable()
        return {
            "signed_by": None if signing_key is None else str(signing_key.verifying),
            "keys": [str(key) for key in keys],
            "checkpoints": [
                {
                    "trail": trail,
                    "file": f"proofs/{trail}.checkpoint",
                    "note": note,
                    "proves_until": self._last[trail],
                }
                for trail, (_, note) in sorted(self._notes.items())
            ],
            "events_that_can_be_proved": sum(last - first + 1 for _, first, last in provable),
            "sample": [
                {
                    "trail": trail,
                    "sequence": sequence,
                    "event_id": msgspec.json.decode(proof["event"])["event_id"],
                    "file": _file(trail, sequence),
                }
                for trail, sequence, proof in sample
            ],
            "how_chosen": _HOW,
            "verifier": "verify_proof.py",
            "commands": [
                *(["python3 verify_proof.py report.note KEY"] if signing_key else []),
                *(
                    f"python3 verify_proof.py {_file(trail, sequence)} KEY"
                    for trail, sequence, _ in sample
                ),
                "sha256sum --check SHA256SUMS",
            ],
        }


def _file(trail: str, sequence: int) -> str:
    return f"proofs/{trail}-{sequence}.json"


def _placed(at: int, provable: list[tuple[str, int, int]]) -> tuple[str, int]:
    """The trail and the number of place *at* among all."""
    for trail, first, last in provable:
        if at <= last - first:
            return trail, first + at
        at -= last - first + 1
    raise AssertionError(at)
