"""Foreign files among our files: no traceback, no waiting, no memory filled."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from amounts import thinned
from conftest import Cli, Make

from axon_audit_otel import ArchiveError, AuditLogger, verify
from axon_audit_otel.archive import zstd

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="no FIFOs"),
    pytest.mark.usefixtures("without_start_record"),
]

READERS = {
    "query": ["query", "{}"],
    "query of somebody": ["query", "{}", "--user", "ada", "--limit", "1"],
    "stats": ["stats", "{}", "--json"],
    "tail": ["tail", "{}"],
    "alerts": ["alerts", "{}"],
    "export": ["export", "{}", "{out}", "--force"],
    "export for OTLP": ["export", "{}", "{out}", "--force", "--format", "otlp"],
    "verify": ["verify", "{}"],
    "verify what arrived": ["verify", "--otlp-json", "{}"],
    "prove": ["prove", "{id}", "{}"],
    "replay": ["replay", "{}", "--endpoint", "http://127.0.0.1:1", "--patience", "0"],
}
DEPTH = 100_000
_DEEP = b'{"event_id":' + b'{"a":' * DEPTH + b"1" + b"}" * DEPTH + b"}"
_HEAD = b'{"events":[\n'


def _put(content: bytes) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        path.write_bytes(content)

    return put


def _loop(path: Path) -> None:
    path.symlink_to(path.name)


THINGS: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo if sys.platform != "win32" else lambda path: None,
    "a directory": Path.mkdir,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a loop of links": _loop,
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "nothing but depth": _put(b"[" * DEPTH),
    "a deep line": _put(_HEAD + b" " + _DEEP + b"\n],\n"),
    "deep lines": _put((_DEEP + b"\n") * 2),
    "no UTF-8": _put(_HEAD + b' {"event_id":"\xff"}\n'),
    "a manifest without UTF-8": _put(b'{"record":"seal","file":"\xff"}\n'),
}
FILES = {
    "journal": "default.journal",
    "manifest": "default.manifest",
    "checkpoints": "default.checkpoints",
    "sealed file": "audit_*.json",
    "another file": "audit_2025_01_01_000000.json",
}


def _log(audit: AuditLogger, **facts: Any) -> None:
    with pytest.raises(StopIteration):
        audit.log_event("STORE", user_id="ada", **facts).send(None)


@pytest.fixture(name="archive", scope="module")
def _archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One sealed file, its manifest, and a journal that was left behind."""
    directory = tmp_path_factory.mktemp("archive")
    audit = AuditLogger(max_events=2, auto_export_path=directory)
    for number in range(3):
        _log(audit, entry_ids=[str(number)])
    copy = tmp_path_factory.mktemp("copy") / "archive"
    shutil.copytree(directory, copy)
    audit.close()
    (copy / "default.checkpoints").write_text("")
    return copy


@pytest.fixture(name="hostile")
def _hostile(archive: Path, tmp_path: Path) -> Callable[[str, str], Path]:
    """A copy of the archive with *thing* in the place of *file*; where that is."""

    def make(file: str, thing: str) -> Path:
        directory = tmp_path / "hostile"
        shutil.copytree(archive, directory)
        path = next(directory.glob(FILES[file]), directory / FILES[file])
        path.unlink(missing_ok=True)
        THINGS[thing](path)
        return path

    return make


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("thing", thinned(THINGS, 3))
class TestAnything:
    """Anything in the place of any of our files."""

    def test_readers(
        self, cli: Cli, hostile: Callable[[str, str], Path], tmp_path: Path, file: str, thing: str
    ) -> None:
        """Every command reads what it can, or says in one line what it cannot, in no time."""
        path = hostile(file, thing)
        told = {"out": tmp_path / "out", "id": f"evt_{0:032x}"}
        for name, words in READERS.items():
            for place in (path.parent, path):
                said = cli(*(word.format(place, **told) for word in words), code=None)
                codes = (0, 1, 2) if words[0] in ("alerts", "verify") else (0, 1)
                assert said.exit_code in codes, name
                assert "Traceback" not in said.stderr
                if said.exit_code and not said.stdout:
                    assert said.stderr.splitlines()[-1].startswith("Error: ")

    def test_the_next_start(
        self, make_audit: Make, hostile: Callable[[str, str], Path], file: str, thing: str
    ) -> None:
        """A logger goes on beside it, or says what it cannot use; it never waits."""
        path = hostile(file, thing)
        try:
            audit = make_audit(max_events=2, auto_export_path=path.parent)
        except ArchiveError as exc:
            assert str(path.parent) in str(exc)  # noqa: PT017
            return
        _log(audit)
        audit.close()
        (found, *_) = audit.query_events(user_id="ada", limit=1)
        assert found.user_id == "ada"


def test_damage_is_found(archive: Path, tmp_path: Path) -> None:
    """A line that is nested too deeply is damage, wherever it is, and not the end of verifying."""
    for name in ("default.journal", "default.manifest", "audit_*.json"):
        copy = tmp_path / name.replace("*", "x")
        shutil.copytree(archive, copy)
        path = next(copy.glob(name))
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join([*lines[:1], b"," + _DEEP + b"\n", *lines[1:]]))
        report = verify(copy)
        assert not report.ok
        assert path.name in {finding.file for finding in report.findings}


def test_path_that_cannot_be_one(cli: Cli, tmp_path: Path) -> None:
    """A name that no file can have."""
    for words in READERS.values():
        told = {"out": tmp_path / "out", "id": f"evt_{0:032x}"}
        code = 2 if words[0] in ("alerts", "verify") else 1
        said = cli(*(word.format("x" * 5000, **told) for word in words), code=code)
        assert said.stderr.splitlines()[-1].startswith("Error: ")


def _compressed(path: Path) -> Path:
    if not zstd.available():
        pytest.skip("no module for Zstandard")
    target = path.with_name("audit_2025_01_01_000000.json.zst")
    with path.open("rb") as source, target.open("wb") as file:
        zstd.compress(source, file)
    path.unlink()
    return target


class TestLineWithoutEnd:
    """A file with one line that is larger than memory: a few bytes on the disk."""

    SAID = "it has a line of more than 64 MiB"

    def _sparse(self, path: Path, head: bytes = b"", end: bytes = b"", size: int = 1 << 30) -> Path:
        path.write_bytes(head)
        os.truncate(path, size)
        with path.open("ab") as file:
            file.write(end)
        return path

    @pytest.mark.parametrize("head", [b"", _HEAD], ids=["none of ours", "ours"])
    def test_plain(self, cli: Cli, archive: Path, tmp_path: Path, head: bytes) -> None:
        """It is not read to its end."""
        copy = tmp_path / "archive"
        shutil.copytree(archive, copy)
        path = self._sparse(copy / "audit_2025_01_01_000000.json", head)
        assert self.SAID in cli("verify", path, code=2).stderr
        if not head:
            assert self.SAID in cli("query", path, code=1).stderr

    @pytest.mark.slow
    def test_compressed(self, cli: Cli, tmp_path: Path) -> None:
        """A compressed file with such a line is refused as well."""
        path = _compressed(self._sparse(tmp_path / "bomb", size=100 << 20))
        for command in ("query", "stats", "tail", "verify"):
            code = 2 if command == "verify" else 1
            assert self.SAID in cli(command, path, code=code).stderr

    @pytest.mark.slow
    @pytest.mark.parametrize("file", ["default.journal", "default.manifest", "default.checkpoints"])
    def test_where_we_write(self, archive: Path, tmp_path: Path, file: str) -> None:
        """`verify` names the file; the others are verified."""
        copy = tmp_path / "archive"
        shutil.copytree(archive, copy)
        self._sparse(copy / file, (archive / file).read_bytes())
        report = verify(copy)
        assert any(f.file == file and self.SAID in f.explanation for f in report.findings)

    def test_read_from_its_end(self, cli: Cli, tmp_path: Path) -> None:
        """The newest first: the line is met from behind."""
        path = self._sparse(tmp_path / "audit_2025_01_01_000000.json", _HEAD, b"\n],\n")
        assert self.SAID in cli("query", path, code=1).stderr


@pytest.mark.slow
def test_large_file_that_is_not_in_lines(cli: Cli, tmp_path: Path) -> None:
    """Nothing of more than 256 MiB is read whole."""
    path = tmp_path / "bomb"
    path.write_bytes(b"[" + (b" " * 1023 + b"\n") * (300 << 10))
    assert "more than 256 MiB" in cli("query", _compressed(path), code=1).stderr
