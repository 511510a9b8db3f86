"""What a verification finds: one damage, and all of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import msgspec

__all__ = ["Finding", "Findings", "Kind"]

Kind = Literal[
    "altered",
    "removed",
    "inserted",
    "reordered",
    "truncated",
    "wrong_key",
    "unreadable",
    "unlisted",
    "on_hold",
    "adopted",
    "denied",
]


class Finding(msgspec.Struct, frozen=True):
    """One damage.

    Attributes:
        file: Name of the damaged file.
        sequence: Number of the (first) damaged event; None if it is not about an event.
        kind: ``altered``, ``removed``, ``inserted``, ``reordered``, ``truncated`` (cut off
            at its end), ``wrong_key`` (not signed by any of the keys), ``unreadable``,
            ``unlisted`` (a file in no manifest, or a trail that was not asked for), ``on_hold``
            (deleted or erased while a legal hold was in force), ``adopted`` (found in the
            directory by the application, which did not record it: anybody may have written it),
            or ``denied`` (this user may not read it).
        explanation: A sentence about it.
    """

    file: str
    sequence: int | None
    kind: Kind
    explanation: str


#: What may come from another key, or from rights that are missing.
_MILDER: Final = ("wrong_key", "denied")


class Findings:
    """Collects findings, each once, up to a limit."""

    LIMIT = 1000

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int | None, Kind, str], Finding] = {}
        self.left_out = 0
        self._milder = 0  # of those that are kept

    def add(self, file: str, sequence: int | None, kind: Kind, explanation: str) -> None:
        """Add a finding, unless it was added before."""
        # One finding per event and kind is enough; a file may have several.
        key = (file, sequence, kind, explanation if sequence is None else "")
        if key in self.kept:
            return
        if len(self.kept) >= self.LIMIT:
            self.left_out += 1
            if kind in _MILDER or not self._milder:
                return
            # Anybody can make a thousand files with bad signatures: they crowd out no damage.
            del self.kept[next(of for of in reversed(self.kept) if of[2] in _MILDER)]
            self._milder -= 1
        self._milder += kind in _MILDER
        self.kept[key] = Finding(file, sequence, kind, explanation)

    def add_unreadable(self, file: str, exc: OSError, after: int | None = None) -> None:
        """Add that a file cannot be read, or not after event *after*."""
        kind: Kind = "denied" if isinstance(exc, PermissionError) else "unreadable"
        where = "" if after is None else f" after event {after}"
        self.add(file, None, kind, f"cannot be read{where}: {exc.strerror or exc}")

    def compare_origins(self, here: Mapping[str, str], wanted: set[str]) -> None:
        """Add trails that were asked for and are not here, and those that were not.

        Args:
            here: The origins of the trails that are here, and the file to name for each.
            wanted: Those that were asked for.
        """
        for origin in sorted(wanted - here.keys()):
            name = f"{origin.split('/')[1]}.manifest"
            self.add(name, None, "removed", f"the trail {origin} is not here")
        for origin, file in here.items():
            if origin not in wanted:
                words = f"its trail is {origin}, which was not asked for"
                self.add(file, None, "unlisted", words)

    def count(self, file: str) -> int:
        """Number of findings in *file* so far."""
        return sum(key[0] == file for key in self.kept)
