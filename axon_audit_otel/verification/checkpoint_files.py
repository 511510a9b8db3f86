"""The checkpoints that a verification goes by: those beside the archive, and those given."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from io import TextIOWrapper
from pathlib import Path
from typing import NamedTuple

from ..archive.checkpoints import Checkpoint, VerifyingKey
from ..core.errors import InvalidEventError
from ..core.files import open_regular
from ..otlp.checkpoint_records import notes_in_otlp
from .report import Findings

__all__ = ["SUFFIXES", "Statement", "Witnesses", "notes_in"]

SUFFIXES = (".checkpoint", ".checkpoints")
_START = "axon-audit/"
# Its first line, not at the beginning of one; a writer or a key may have that word in its name.
_after_a_cut = re.compile(r"(?<=.)axon-audit/[^/\s]+/(?:[0-9a-f]{16}|new)\n$").search
# Some of its lines, and not the empty one after them.
_is_cut_off = re.compile(
    r"axon-audit/\S+\n(?:[0-9]+\n(?:[A-Za-z0-9+/]{43}=\n(?:events [0-9]+(?: [0-9a-f]{64})?\n"
    r"(?:time \S+\n)?)?)?)?"
).fullmatch


class Statement(NamedTuple):
    """A checkpoint.

    Attributes:
        checkpoint: What it says.
        source: Where it was found.
        outside: Whether the caller gave it.
        proves: Whether an attacker could not have made it: signed by a given key, or, where
            no key was given, kept elsewhere.
    """

    checkpoint: Checkpoint
    source: str
    outside: bool
    proves: bool

    def __str__(self) -> str:
        return f"the checkpoint of {self.checkpoint.time}"

    @property
    def writer(self) -> str:
        """The writer it speaks of."""
        return self.checkpoint.origin.split("/")[1]

    @property
    def id(self) -> str:
        """The trail it speaks of; "new" before that had a manifest."""
        return self.checkpoint.origin.split("/")[-1]


def notes_in(lines: Iterable[str]) -> Iterator[str]:
    """The notes in a text. What a kill left of one is passed over, as if it had not been begun:
    cut off in the middle of a line, where the next begins, or after one of its text."""
    note: list[str] = []
    for line in lines:
        if begins := _after_a_cut(line):
            note, line = [], begins[0]
        elif line.startswith(_START) and note:
            if not _is_cut_off("".join(note)):
                yield "".join(note)
            note = []
        if note or line.strip():
            note.append(line)
    if note and note[-1].endswith("\n") and not _is_cut_off("".join(note)):
        yield "".join(note)


class Witnesses:
    """Collects checkpoints, each state of a trail once.

    Args:
        keys: If any are given, one of them must have signed every checkpoint.
        findings: Takes those that are not signed, or cannot be read.
    """

    def __init__(self, keys: list[VerifyingKey], findings: Findings) -> None:
        self._keys = keys
        self._findings = findings
        self._statements: dict[tuple[object, ...], Statement] = {}

    def given(self, texts: Iterable[str]) -> None:
        """Take what the caller kept elsewhere: notes, or lines of OTLP JSON that hold them.

        Raises:
            InvalidEventError: If there is no checkpoint in one of *texts*.
        """
        for text in texts:
            ended = text if text.endswith("\n") else f"{text}\n"
            lines = ended.splitlines(keepends=True)
            if ended.lstrip().startswith("{"):  # anybody can send a record of that name
                notes = [note for note in notes_in_otlp(lines) if self._is_good(note, [])]
            else:
                notes = self._finished(notes_in(lines), text == ended)
            for note in notes or [ended]:
                self._take(Checkpoint.parse(note), note, "the given checkpoint", True)

    def found(self, path: Path) -> None:
        """Take what lies beside the archive."""
        try:
            # A damaged byte is no reason to pass over the other notes.
            with open_regular(path) as file:
                lines = TextIOWrapper(file, "utf-8", errors="replace", newline="\n")
                for note in self._finished(notes_in(lines)):
                    try:
                        self._take(Checkpoint.parse(note), note, path.name, False)
                    except InvalidEventError:
                        words = "a note in it is no checkpoint"
                        self._findings.add(path.name, None, "unreadable", words)
        except FileNotFoundError:
            return
        except OSError as exc:
            words = f"cannot be read: {exc.strerror or exc}"
            self._findings.add(path.name, None, "unreadable", words)

    def _take(self, checkpoint: Checkpoint, note: str, source: str, outside: bool) -> None:
        signed = bool(self._keys) and self._is_good(note, self._keys)
        if self._keys and not signed:
            names = " or ".join(key.name for key in self._keys)
            words = f"a checkpoint in it is not signed by {names}"
            self._findings.add(source, None, "wrong_key", words)
            return
        statement = Statement(checkpoint, source, outside, signed or (outside and not self._keys))
        state = (checkpoint.origin, checkpoint.size, checkpoint.root, checkpoint.events)
        key = (*state, checkpoint.head)
        known = self._statements.get(key)
        if known is None or (statement.proves, checkpoint.time) > (
            known.proves,
            known.checkpoint.time,
        ):
            self._statements[key] = statement

    def _finished(self, found: Iterable[str], ended: bool = True) -> list[str]:
        """*found* without the last of several, if a kill cut that off before its signature.

        Args:
            found: Notes.
            ended: Whether the text ended with a newline.
        """
        notes = list(found)
        if len(notes) > 1 and not self._is_good(notes[-1], self._keys):
            unsigned = "\u2014" not in notes[-1] and self._is_good(notes[-1], [])
            return notes[:-1] if unsigned or not ended else notes
        return notes

    @staticmethod
    def _is_good(note: str, keys: list[VerifyingKey]) -> bool:
        """Whether it is a checkpoint, signed by one of *keys* if there are any."""
        try:
            Checkpoint.parse(note, keys)
        except InvalidEventError:
            return False
        return True

    def about(self, writer: str, trail: str | None) -> list[Statement]:
        """Those of one trail, by the number of their newest event."""
        found = [
            statement
            for statement in self._statements.values()
            if statement.id == trail
            or (statement.writer == writer and (trail is None or statement.id == "new"))
        ]
        return sorted(found, key=lambda s: (s.checkpoint.events, s.checkpoint.size))

    def others(self, known: Iterable[Statement]) -> list[Statement]:
        """Those that are none of *known*."""
        seen = {id(statement) for statement in known}
        return [s for s in self._statements.values() if id(s) not in seen]

    def sizes(self) -> set[int]:
        """Of the manifests that they speak of."""
        return {statement.checkpoint.size for statement in self._statements.values()}
