"""Cosignatures of checkpoints: a witness states that it saw a trail grow, and only grow.

Format: https://c2sp.org/tlog-cosignature, algorithm Ed25519 (type 0x04). The file
``<writer>.cosigned`` has each checkpoint that witnesses cosigned, as a signed note with the
signatures of the trail and of the witnesses.
"""

from __future__ import annotations

from .checkpoints import VerifyingKey

__all__ = ["COSIGNED", "WitnessKey"]

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
        times = [
            time
            for made in self.signatures_in(signatures)
            for time in [int.from_bytes(made[:_TIME], "big")]
            if self.signed(f"cosignature/v1\ntime {time}\n{text}", made[_TIME:])
        ]
        return max(times, default=None)
