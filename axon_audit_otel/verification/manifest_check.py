"""Checks a manifest: its lines must be complete, in order, and unaltered."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import msgspec

from ..archive.manifest import (
    DeleteRecord,
    HeadRecord,
    OtherWriter,
    Record,
    SealRecord,
    TrailRecord,
    WritersRecord,
    manifest_lines,
)
from ..core.merkle import Tree, leaf_hash
from .findings import Findings, Kind

__all__ = ["CheckedManifest", "Line", "Seal"]

_encode = msgspec.json.Encoder().encode


class Line:
    """One line of a manifest.

    Attributes:
        number: From 1.
        record: Its content; None if it cannot be read.
        hash: Its own hash, hex.
        state: "sound" if a later line or a checkpoint confirms it, else "altered"; for the newest
            line "unknown".
    """

    __slots__ = ("hash", "number", "record", "state")

    def __init__(self, number: int, data: bytes, record: Record | None) -> None:
        self.number = number
        self.record = record
        self.hash = leaf_hash(data).hex()
        is_canonical = record is not None and _encode(record) == data
        self.state = "unknown" if is_canonical else "altered"

    @property
    def previous(self) -> str | None:
        """The hash of the line before, from this line."""
        return None if self.record is None else self.record.previous

    def about(self) -> str:
        """A description of it, for messages."""
        if isinstance(self.record, SealRecord):
            return f"line {self.number}, the seal of {self.record.file}"
        if isinstance(self.record, DeleteRecord):
            return f"line {self.number}, the deletion of {self.record.file}"
        if isinstance(self.record, HeadRecord):
            return f"line {self.number}, which states event {self.record.number}"
        return f"line {self.number}"


@dataclass
class Seal:
    """A sealed file in a manifest.

    Attributes:
        record: Its record.
        line: The line of that record.
        deletion: The record of its deletion by retention, and the number of that line; None
            without one. After a deletion, its name may be used again.
    """

    record: SealRecord
    line: Line
    deletion: tuple[DeleteRecord, int] | None = None


class CheckedManifest:
    """A manifest that was read and checked.

    Attributes:
        lines: All lines, in the order of the file.
        seals: All seals, in the order in which they were made.
        names: The seals of files that are not deleted, by file name.
        file_roots: The Merkle roots of the files.
        heads: The lines about events that were not sealed yet.
        others: The lines about other writers.
        begins: True if it begins with the trail's first line.
        damaged: True if anything is wrong with it.

    Args:
        path: The file.
        findings: Takes the damage.
        sizes: The numbers of lines for which its Merkle root is needed.
    """

    def __init__(self, path: Path, findings: Findings, sizes: set[int]) -> None:
        self.path = path
        self.name = path.name
        self.exists = os.path.lexists(path)
        self.id: str | None = None
        self.roots: dict[int, bytes] = {0: Tree().root()}
        self.lines: list[Line] = []
        self.begins = not self.exists
        self.seals: list[Seal] = []
        self.names: dict[str, Seal] = {}
        self.file_roots: set[str] = set()
        self.heads: list[tuple[Line, HeadRecord]] = []
        self.others: list[tuple[Line, OtherWriter]] = []
        self.damaged = False
        self._findings = findings
        self._size_then = self._size()
        try:
            self._read(sizes)
        except OSError as exc:
            findings.add_unreadable(self.name, exc)
            return
        before = findings.count(self.name)
        order = self._in_order()
        self._judge(order)
        self._take(order)
        self.damaged = findings.count(self.name) > before

    def _read(self, sizes: set[int]) -> None:
        if not self.exists:
            return
        tree = Tree()
        for number, (data, record) in enumerate(manifest_lines(self.path), 1):
            line = Line(number, data, record)
            self.lines.append(line)
            tree.add(bytes.fromhex(line.hash))
            if number in sizes:
                self.roots[number] = tree.root()

    def _size(self) -> int:
        """The number of bytes in the file now; 0 if that is not known."""
        with suppress(OSError):
            return self.path.stat().st_size
        return 0

    def _add_finding(self, kind: Kind, words: str) -> None:
        self._findings.add(self.name, None, kind, words)

    # --- the order of the lines --------------------------------------------------------------

    def _in_order(self) -> list[Line]:
        """The lines in the order in which they were written, by their hashes."""
        seen: set[str] = set()
        lines = []
        for line in self.lines:
            if line.hash in seen:
                self._add_finding("inserted", f"{line.about()}, stands there twice")
                line.state = "altered"
            else:
                seen.add(line.hash)
                lines.append(line)
        order = _joined(lines)
        newest = 0
        for line in order:
            if line.number < newest:
                self._add_finding("reordered", f"{line.about()}, is out of its place")
            newest = max(newest, line.number)
        return order

    def _judge(self, order: list[Line]) -> None:
        for line in order:
            if line.state == "altered":
                self._add_finding("altered", f"{line.about()}, is not as it was written")
        if order and order[0].state != "altered":
            if not isinstance(order[0].record, TrailRecord):
                self._add_finding("removed", "its first lines are missing")
            elif order[0].previous is not None:
                order[0].state = "altered"
                self._add_finding(
                    "altered", f"{order[0].about()}, continues nothing that was before it"
                )
        before, after = _about_files(order), _about_files(order[::-1])[::-1]
        for index, (line, follower) in enumerate(pairwise(order)):
            if follower.previous == line.hash:
                if line.state != "altered":
                    line.state = "sound"
            elif line.state != "altered" and follower.state != "altered":
                self._judge_break(order, index, _is_hole(before[index], after[index + 1]))

    def _judge_break(self, order: list[Line], index: int, is_hole: bool) -> None:
        """Find out which of two lines that do not match was altered, or if lines are missing."""
        line, follower = order[index : index + 2]
        after = order[index + 2] if index + 2 < len(order) else None
        assert follower.record is not None
        repaired = msgspec.structs.replace(follower.record, previous=line.hash)
        if after is not None and after.previous == leaf_hash(_encode(repaired)).hex():
            follower.state = "altered"
            self._add_finding("altered", f"{follower.about()}, no longer says what it continues")
        elif is_hole:
            line.state = "sound"  # it may be unaltered
            self._add_finding("removed", f"lines are missing before {follower.about()}")
        else:
            line.state = "altered"
            self._add_finding(
                "altered", f"{line.about()}, is not the one that the next line continues"
            )

    # --- its content -------------------------------------------------------------------------

    def _take(self, order: list[Line]) -> None:
        is_altered = any(line.state == "altered" for line in order)
        for line in order:
            record = line.record
            if isinstance(record, TrailRecord):
                if line is order[0]:
                    self.begins = True
                    self.id = None if line.state == "altered" else record.id
                    if record.writer != self.path.stem:
                        self._add_finding("altered", f"it is the manifest of {record.writer!r}")
                else:
                    self._add_finding("inserted", f"{line.about()}, begins another trail")
            elif isinstance(record, SealRecord):
                if record.file in self.names:
                    self._add_finding("inserted", f"{line.about()}, of which there is one already")
                else:
                    seal = self.names[record.file] = Seal(record, line)
                    self.seals.append(seal)
                    self.file_roots.add(record.root)
                if record.first_sequence > record.last_sequence:
                    self._add_finding("inserted", f"{line.about()}, is of no events")
            elif isinstance(record, HeadRecord):
                self.heads.append((line, record))
                if self.seals and record.number <= self.seals[-1].record.last_sequence:
                    self._add_finding("inserted", f"{line.about()}, is of an event that was sealed")
            elif isinstance(record, WritersRecord):
                self.others += [(line, other) for other in record.writers]
            elif isinstance(record, DeleteRecord):
                sealed = self.names.pop(record.file, None)
                if sealed is not None and sealed.record.sha256 == record.sha256:
                    sealed.deletion = record, line.number
                elif not is_altered:
                    self._add_finding("inserted", f"{line.about()}, is of no file that was sealed")

    def seals_now(self, name: str) -> bool:
        """Return True if the manifest has a seal of that name in lines added since it was read."""
        return any(isinstance(record, SealRecord) for record in self._new_lines(name))

    def look_again(self, seal: Seal) -> None:
        """Take the deletion of a file from lines added since the manifest was read."""
        for record in self._new_lines(seal.record.file):
            if isinstance(record, DeleteRecord) and record.sha256 == seal.record.sha256:
                seal.deletion = record, len(self.lines) + 1  # after what was read

    def _new_lines(self, name: str) -> list[Record | None]:
        """The records about a file that its writer added since the manifest was read."""
        if self._size() == self._size_then:  # many files may be asked for
            return []
        try:
            records = [record for _, record in manifest_lines(self.path, len(self.lines))]
        except OSError:
            return []
        return [record for record in records if getattr(record, "file", None) == name]


def _joined(lines: list[Line]) -> list[Line]:
    """The lines, each after the one that it continues, if that is there."""
    runs: list[list[Line]] = []
    for line in lines:
        if runs and line.previous == runs[-1][-1].hash:
            runs[-1].append(line)
        else:
            runs.append([line])
    places: dict[str | None, deque[int]] = {}  # of the runs, by what they continue
    for place, run in enumerate(runs):
        if run[0].record is not None:
            places.setdefault(run[0].previous, deque()).append(place)
    order: list[Line] = []
    left, in_order = set(range(len(runs))), iter(range(len(runs)))
    while left:
        following = places.get(order[-1].hash if order else None, deque())
        while following and following[0] not in left:
            following.popleft()
        place = following[0] if following else next(at for at in in_order if at in left)
        left.remove(place)
        order += runs[place]
    return order


def _is_hole(last: Record | None, first: Record | None) -> bool:
    """Return True if events are missing between the records about files around a place."""
    if not isinstance(last, (TrailRecord, SealRecord)) or not isinstance(first, SealRecord):
        return False
    return first.first_sequence > (last.last_sequence if isinstance(last, SealRecord) else 0) + 1


def _about_files(lines: Iterable[Line]) -> list[Record | None]:
    """Of each line the newest record, its own or one before, that is not there for a checkpoint
    only; None where that line cannot be read."""
    newest: Record | None = None
    found = []
    for line in lines:
        if not isinstance(line.record, (HeadRecord, WritersRecord)):
            newest = line.record
        found.append(newest)
    return found
