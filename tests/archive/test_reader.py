"""The one reader of lines: forwards, backwards, and on while a file grows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from axon_audit_otel import InvalidEventError
from axon_audit_otel.archive.format import HEAD, laid_out, parse_closing, tail
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.reader import LineReader, closing_of, first_number, last_number

pytestmark = pytest.mark.usefixtures("without_start_record")

CLOSING = tail(2)


def _event(number: int, size: int = 0) -> bytes:
    text = "x" * size
    return (
        f'{{"event_id":"{text}","timestamp":"2025-01-15T10:30:45.000000Z","operation":"STORE",'
        f'"sequence":{number}}}'
    ).encode()


def _split(block: bytes) -> list[bytes]:
    return block.split(b"\n")[:-1]


@pytest.fixture(name="path")
def _path(tmp_path: Path) -> Path:
    return tmp_path / "default.journal"


@pytest.fixture(name="file")
def _file(path: Path) -> Iterator[BinaryIO]:
    path.touch()
    with path.open("rb") as file:
        yield file


def _write(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)


class TestGrowing:
    """A file to which its writer appends."""

    def test_each_line_once(self, path: Path, file: BinaryIO) -> None:
        """Each line comes once, whatever part of it is there at each read."""
        reader, content = LineReader(file), HEAD + b" one\n,two\n,three\n"
        found: list[bytes] = []
        for byte in content:
            _write(path, bytes([byte]))
            found += reader.lines()
        assert found == [b" one\n", b",two\n", b",three\n"]
        assert (reader.head, reader.first, reader.size) == (HEAD, b" one\n", len(content))
        _write(path, CLOSING)
        assert list(reader.lines()) == []
        assert reader.closing == CLOSING

    def test_first_line_read_alone(self, path: Path, file: BinaryIO) -> None:
        """The first line is no event, also if the file was empty before it was looked at."""
        reader = LineReader(file)
        assert list(reader.lines()) == []
        _write(path, HEAD + b" one\n")
        assert reader.start()
        assert list(reader.lines()) == [b" one\n"]

    def test_left_off(self, path: Path, file: BinaryIO) -> None:
        """Lines that were not taken come the next time."""
        _write(path, HEAD + b" one\n,two\n,three\n")
        reader = LineReader(file)
        assert next(reader.lines()) == b" one\n"
        _write(path, b",four\n")
        assert list(reader.lines()) == [b",two\n", b",three\n", b",four\n"]

    def test_taken_back(self, path: Path, file: BinaryIO) -> None:
        """A writer that could not rename the file takes its last line back, and goes on."""
        _write(path, HEAD + b" one\n")
        size = path.stat().st_size
        reader = LineReader(file)
        _write(path, CLOSING)
        assert list(reader.lines()) == [b" one\n"]
        os.truncate(path, size)
        _write(path, b",two\n")
        assert list(reader.lines()) == [b",two\n"]
        assert reader.closing == b""

    def test_finished_while_it_is_read(self, path: Path) -> None:
        """A line that gets its end between two looks is one line."""
        _write(path, HEAD + b" one\n,tw")

        with path.open("rb", buffering=0) as raw:

            class _File:
                """Gets the rest of a line when it has been read to its end."""

                def __getattr__(self, name: str) -> object:
                    return getattr(raw, name)

                def read(self, size: int) -> bytes:
                    data = raw.read(size) or b""
                    if data and not data.endswith(b"\n"):
                        _write(path, b"o\n")
                    return data

            reader = LineReader(_File())  # type: ignore[arg-type]
            assert [*reader.lines(), *reader.lines()] == [b" one\n", b",two\n"]


class TestWhole:
    """A file that is read once."""

    @pytest.mark.parametrize("size", [0, 1000, 70_000])
    def test_both_ways(self, tmp_path: Path, size: int) -> None:
        """Backwards, and in blocks, there are the same lines."""
        path = tmp_path / "audit.json"
        lines = [_event(number, size) for number in range(1, 300 if size < 70_000 else 9)]
        path.write_bytes(b"".join(laid_out(lines)))
        digest, missing = hashlib.sha256(), Missing()
        with path.open("rb") as file:
            reader = LineReader(file, path, missing, digest)
            assert [line[1:-1] for line in reader.lines()] == lines
            assert b"".join(reader.rest()) == b""
        assert parse_closing(reader.closing, exact=False) is not None
        digest.update(reader.closing)
        assert digest.digest() == hashlib.sha256(path.read_bytes()).digest()
        for newest in (False, True):
            with path.open("rb") as file:
                reader = LineReader(file, path, missing)
                assert reader.is_ours()
                found = [line[1:] for line in reader.passing(_split, newest)]
            assert found[:: -1 if newest else 1][:-1] == lines
        with path.open("rb") as file:
            assert (first_number(file), last_number(path)) == (1, len(lines))
        assert not missing

    def test_behind_the_end(self, tmp_path: Path) -> None:
        """Nothing there is an event; nothing is passed over."""
        path, more = tmp_path / "audit.json", b",three\n" * 20_000 + b"torn"
        path.write_bytes(HEAD + b" one\n,two\n" + CLOSING + more)
        with path.open("rb") as file:
            reader = LineReader(file)
            assert list(reader.batches()) == [[b" one\n", b",two\n"]]
            assert b"".join(reader.rest()) == more
        assert closing_of(path) is None

    @pytest.mark.parametrize("newest", [False, True])
    @pytest.mark.parametrize("gap", [0, 10, 70_000])
    def test_behind_the_end_in_blocks(self, tmp_path: Path, newest: bool, gap: int) -> None:
        """Nor when they are filtered, wherever the end is; it is told."""
        path, missing = tmp_path / "audit.json", Missing()
        path.write_bytes(HEAD + b" %b\n" % (b"1" * gap) + CLOSING + b",three\n" + CLOSING)
        size = path.stat().st_size - len(CLOSING)  # as it would be with the first end only
        with path.open("rb") as file:
            reader = LineReader(file, path, missing)
            assert reader.start()
            assert list(reader.passing(_split, newest, size)) == [b" " + b"1" * gap]
        assert reader.after == 2
        assert "lines follow its last one" in str(missing)

    @pytest.mark.parametrize("newest", [False, True])
    def test_half(self, tmp_path: Path, newest: bool) -> None:
        """A missing end is reported once; that of a journal, never."""
        for name, told in (("audit.json", 1), ("default.journal", 0)):
            path, missing = tmp_path / name, Missing()
            path.write_bytes(HEAD + b" one\n,two")
            with path.open("rb") as file:
                reader = LineReader(file, path, missing)
                assert reader.start()
                assert list(reader.passing(_split, newest)) == [b" one"]
                assert len(missing.lines()) == told

    def test_damage_is_told_or_raised(self, tmp_path: Path) -> None:
        """As whoever reads has it."""
        path, missing = tmp_path / "audit.json", Missing()
        path.write_bytes(HEAD + b" {}\n" + CLOSING)
        with path.open("rb") as file:
            assert list(LineReader(file, path, missing).events()) == []
        assert "a line is not an audit event" in str(missing)
        with path.open("rb") as file, pytest.raises(InvalidEventError):
            list(LineReader(file).events())

    def test_without_its_first_line(self, path: Path, file: BinaryIO) -> None:
        """An event in its place is one."""
        line = b" " + _event(1) + b"\n"
        _write(path, line + CLOSING)
        reader = LineReader(file)
        assert list(reader.lines()) == [line]
        assert reader.size == len(line)
