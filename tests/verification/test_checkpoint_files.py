"""Files of checkpoints that somebody wrote into, or whose writer was killed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from conftest import Make
from every_way import verify

from axon_audit_otel import InvalidEventError
from axon_audit_otel.archive.checkpoints import new_key

KEY = new_key("auditor")
PUBLIC = str(KEY.verifying)


@pytest.fixture(name="archive")
def _archive(make_audit: Make, tmp_path: Path) -> Path:
    """Three sealed files, and a signed note for each."""
    with make_audit(1, tmp_path, signing_key=KEY, start_record=False) as audit:
        for _ in range(3):
            asyncio.run(audit.log_event("STORE"))
    return tmp_path


def _notes(archive: Path) -> list[bytes]:
    content = (archive / "default.checkpoints").read_bytes()
    return [b"axon-audit/" + note for note in content.split(b"axon-audit/")[1:]]


def _found(archive: Path, content: bytes) -> list[str]:
    """What is found of an archive that has only this file of checkpoints, and a later event."""
    (archive / "default.checkpoint").unlink(missing_ok=True)
    (archive / "default.checkpoints").write_bytes(content)
    report = verify(archive, [PUBLIC])
    assert {finding.file for finding in report.findings} <= {"default.checkpoints"}
    proved = report.writers[0].proved_until
    return [f"proved until {proved}", *(finding.kind for finding in report.findings)]


@pytest.mark.parametrize("junk", [b"x", b"\xff", b"# ", b"\0\0", b"\xe2\x80\x94 x y\nz"])
def test_before_the_first_line_of_a_note(archive: Path, junk: bytes) -> None:
    """The note before it counts all the same, and what is between them is told."""
    *_, note = _notes(archive)
    last = _found(archive, note)
    assert _found(archive, note + junk + note) == [*last, "unreadable"]
    assert _found(archive, note + junk) == [*last, "unreadable"]
    assert _found(archive, junk + b"\n" + note) == [*last, "unreadable"]


@pytest.mark.slow
def test_note_that_another_one_follows_on_its_line(archive: Path) -> None:
    """A writer was killed while it wrote a note, wherever: neither note beside it is lost, and
    nothing is damaged."""
    before, note, after = _notes(archive)
    (last, *_) = _found(archive, after)
    for cut in range(0, len(note), 5):
        assert _found(archive, after + note[:cut]) == [last], note[:cut]
        if note[:cut].endswith(b"\n\n"):
            continue  # it is whole, and nobody signed it
        assert _found(archive, after + note[:cut] + before) == [last], note[:cut]
        assert _found(archive, before + note[:cut] + after) == [last], note[:cut]


@pytest.mark.parametrize(
    "junk", ["junk", "junk\n", "\njunk\n", "\u2014 auditor\n", "\u2014\n", "\0", " x", "axon-audi!"]
)
def test_after_the_signature(archive: Path, junk: str) -> None:
    """What follows a signature and is none makes a given note no checkpoint, and is told of a
    note beside the archive."""
    *_, note = _notes(archive)
    with pytest.raises(InvalidEventError, match="not a checkpoint"):
        verify(archive, [PUBLIC], [note.decode() + junk])
    last = _found(archive, note)
    assert _found(archive, note + junk.encode() + b"\n" + note) == [*last, "unreadable"]


def test_further_signatures(archive: Path) -> None:
    """Signatures by others, and empty lines between the notes, are no damage."""
    *_, note = _notes(archive)
    (last,) = _found(archive, note)
    other = "\u2014 witness AAAAAAAA==\n".encode()
    assert _found(archive, note + other + b"\n\n" + note + b"\n") == [last]
    assert verify(archive, [PUBLIC], [(note + other).decode()]).ok


def test_note_without_an_end(archive: Path) -> None:
    """A text that goes on and on is no note, and hides none."""
    *_, note = _notes(archive)
    (last,) = _found(archive, note)
    junk = b"axon-audit/default/new\n" + b"junk\n" * 100_000
    first, *more = _found(archive, note + junk + note)
    assert first == last
    assert set(more) == {"unreadable"}
