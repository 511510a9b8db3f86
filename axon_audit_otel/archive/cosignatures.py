"""Cosignatures of checkpoints: a witness states that it saw a trail grow, and only grow.

Format: https://c2sp.org/tlog-cosignature, algorithm Ed25519 (type 0x04). The file
``<writer>.cosigned`` has each checkpoint that witnesses cosigned, as a signed note with the
signatures of the trail and of the witnesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timezone

from ..core.errors import AuditConfigError
from .checkpoints import VerifyingKey

__all__ = ["COSIGNED", "Quorum", "WitnessKey"]

COSIGNED = ".cosigned"
_TIME = 8  # bytes of a signature's time


class WitnessKey(VerifyingKey):
    """The public key of a witness."""

    algorithm = b"\x04"
    words = "Ed25519 key of a witness"

    def cosigned_at(self, text: str, signatures: str) -> int | None:
        """The newest time, in seconds since 1970, at which it cosigned *text*; None if it did not.

        Args:
            text: The text of a checkpoint.
            signatures: The lines of its signatures.
        """
        newest: int | None = None
        for made in self.signatures_in(signatures):
            time = int.from_bytes(made[:_TIME], "big")
            signed = f"cosignature/v1\ntime {time}\n{text}"
            if (newest is None or time > newest) and self.signed(signed, made[_TIME:]):
                newest = time
        return newest


@dataclass(frozen=True)
class Quorum:
    """How many of which witnesses must have cosigned a checkpoint.

    Raises:
        AuditConfigError: If there are not that many, or two have the same key.
    """

    witnesses: tuple[WitnessKey, ...] = ()
    needed: int = 0

    def __post_init__(self) -> None:
        if len({witness.public for witness in self.witnesses}) < len(self.witnesses):
            raise AuditConfigError("two witnesses have the same key")
        if not min(1, len(self.witnesses)) <= self.needed <= len(self.witnesses):
            msg = f"a quorum of {self.needed}: there are {len(self.witnesses)} witnesses"
            raise AuditConfigError(msg)

    def __str__(self) -> str:
        names = ", ".join(witness.name for witness in self.witnesses)
        of = "" if self.needed == len(self.witnesses) == 1 else f"{self.needed} of "
        return f"{of}{names}"

    def cosigned(self, note: str) -> dict[WitnessKey, int]:
        """The witnesses that cosigned *note*, and when, in seconds since 1970."""
        text, _, signatures = note.partition("\n\n")
        times = {one: one.cosigned_at(f"{text}\n", signatures) for one in self.witnesses}
        return {witness: time for witness, time in times.items() if time is not None}

    def reached_at(self, cosigned: Mapping[WitnessKey, int]) -> datetime | None:
        """The newest time by which enough had *cosigned*; None if they have not, or none must."""
        times = sorted(cosigned.values(), reverse=True)
        if not 0 < self.needed <= len(times):
            return None
        return datetime.fromtimestamp(times[self.needed - 1], timezone.utc)
