"""Every file that a trail or a command opens, with anything hostile in its place."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from conftest import Cli, Make

from axon_audit_otel import ArchiveError, verify
from axon_audit_otel.archive.checkpoints import new_key

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="has no FIFOs"),
    pytest.mark.usefixtures("without_start_record"),
]

KEY = new_key("auditor")
SECRET = "what nobody may read here\n"
#: The files beside which an archive, its keys and its public key lie, by what they are.
FILES = {
    "journal": "archive/default.journal",
    "manifest": "archive/default.manifest",
    "sealed file": "archive/audit_*.json",
    "another sealed file": "archive/audit_2030_01_01_000000.json",
    "compressed file": "archive/audit_2030_01_01_000000.json.zst",
    "checkpoint": "archive/default.checkpoint",
    "checkpoints": "archive/default.checkpoints",
    "lock": "archive/.default.lock",
    "attested": "archive/default.attested",
    "intents": "archive/default.intents",
    "reserve": "archive/default.reserve",
    "acknowledgements": "archive/default.shipped",
    "hold": "archive/legal.hold",
    "mark of the keyring": "archive/.keyring",
    "another journal": "archive/other.journal",
    "another manifest": "archive/other.manifest",
    "lock of a command": "archive/.hold.lock",
    "manifest of a command": "archive/hold.manifest",
    "repaired journal": "archive/default.repaired",
    "replaced manifest": "archive/default.manifest.replaced",
    "keyring": "archive.keys/keyring",
    "keys": "archive.keys/*.keys",
    "public key": "public.key",
}


def _put(content: bytes, size: int = 0) -> Callable[[Path], None]:
    def put(path: Path) -> None:
        path.write_bytes(content)
        if size:
            os.truncate(path, size)

    return put


def _socket(path: Path) -> None:
    here = Path.cwd()
    os.chdir(path.parent)  # the path of a socket must be short
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(path.name)
    os.chdir(here)


def _link(path: Path) -> None:
    path.symlink_to(path.parents[1] / "secret")


def _stranger(path: Path) -> None:
    path.write_bytes(b"")
    if os.geteuid() == 0:
        os.chown(path, 4242, 4242)


_EVENT = (
    b' {"event_id":"e","timestamp":"2026-01-01T00:00:00.000000Z","operation":"STORE",'
    b'"user_id":null,"session_id":null,"entry_ids":[],"metadata":{},"status":"SUCCESS",'
    b'"duration_ms":null,"sequence":%d}\n'
)
THINGS: dict[str, Callable[[Path], None]] = {
    "a FIFO": os.mkfifo if sys.platform != "win32" else lambda path: None,
    "a link": _link,
    "a directory": Path.mkdir,
    "a socket": _socket,
    "an endless device": lambda path: path.symlink_to("/dev/zero"),
    "a link to nowhere": lambda path: path.symlink_to("nowhere"),
    "a terabyte": _put(b"", 1 << 40),
    "a terabyte after a line": _put(b'{"events":[\n', 1 << 40),
    "garbage": _put(bytes(range(256)) * 20),
    "empty lines": _put(b"\n" * 5000),
    "a large number": _put(b'{"events":[\n' + _EVENT % 10**30),
    "the largest number": _put(b'{"events":[\n' + _EVENT % (2**63 - 1)),
    "facts of other types": _put(b'{"event_id":"e","time":5,"record":"gap","kind":"seal"}\n'),
    "a stranger's file": _stranger,
}
QUICK = ("a link",)
COMMANDS = {
    "verify": ["verify", "{archive}", "--key", "{key}"],
    "query": ["query", "{archive}", "--user", "ann"],
    "stats": ["stats", "{archive}"],
    "tail": ["tail", "{archive}"],
    "alerts": ["alerts", "{archive}"],
    "export": ["export", "{archive}", "{out}", "--force", "--decrypt"],
    "export for OTLP": ["export", "{archive}", "{out}", "--force", "--format", "otlp"],
    "prove": ["prove", "{id}", "{archive}"],
    "holds": ["hold", "{archive}"],
    "replay": ["replay", "{archive}", "--endpoint", "http://127.0.0.1:1", "--patience", "0"],
    "hold": ["hold", "{archive}", "--reason", "x", "--name", "new", "--signing-key", "{private}"],
    "erase": ["erase", "ann", "{archive}", "--signing-key", "{private}"],
}


@pytest.fixture(name="made", scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive with its keys, as a writer that is killed leaves it."""
    from opentelemetry.sdk._logs import LoggerProvider
    from prometheus_client import CollectorRegistry

    from axon_audit_otel import AuditLogger

    place = tmp_path_factory.mktemp("made")
    audit = AuditLogger(
        max_events=2,
        auto_export_path=place / "archive",
        signing_key=KEY,
        erasable=True,
        on_failure="block",
        registry=CollectorRegistry(),
        logger_provider=LoggerProvider(shutdown_on_exit=False),
    )
    for _ in range(3):
        asyncio.run(audit.log_event("STORE", user_id="ann"))
    audit.trail.record_intent({"event_id": "evt_1", "time": "", "operation": "STORE"})
    copy = tmp_path_factory.mktemp("copy") / "place"
    shutil.copytree(place, copy)
    audit.close()
    (copy / "public.key").write_text(f"{KEY.verifying}\n")
    (copy / "private.key").write_text(f"{KEY.line()}\n")
    (copy / "private.key").chmod(0o600)
    (copy / "secret").write_text(SECRET)
    return copy


def _matrix() -> Iterator[object]:
    for file in FILES:
        for thing in THINGS:
            marks = () if thing in QUICK else pytest.mark.slow
            yield pytest.param(file, thing, marks=marks, id=f"{file}-{thing}")


@pytest.mark.slow
@pytest.mark.parametrize(("file", "thing"), [*_matrix()])
def test_anything(
    cli: Cli, make_audit: Make, made: Path, tmp_path: Path, file: str, thing: str
) -> None:
    """Every command reads what it can or says what it cannot, and so does the next start. None
    waits, fills memory, shows what a link leads to or writes there."""
    place = tmp_path / "place"
    shutil.copytree(made, place)
    path = next(place.glob(FILES[file]), place / FILES[file].replace("*", "00"))
    path.unlink(missing_ok=True)
    THINGS[thing](path)
    event = next((made / "archive").glob("audit_*.json")).read_bytes().splitlines()[1]
    told = {
        "archive": place / "archive",
        "id": json.loads(event)["event_id"],
        "key": place / "public.key",
        "private": place / "private.key",
        "out": tmp_path / "out",
    }
    for words in COMMANDS.values():
        said = cli(*(word.format(**told) for word in words), code=None)
        assert said.exit_code in (0, 1, 2), said.stderr
        assert "Traceback" not in said.stderr
        assert SECRET.strip() not in said.stdout + said.stderr
    try:
        audit = make_audit(2, place / "archive", signing_key=place / "private.key", erasable=True)
    except ArchiveError as exc:
        assert str(place) in str(exc)  # noqa: PT017
    else:
        asyncio.run(audit.log_event("STORE", user_id="ann"))
        with suppress(ArchiveError):  # the keys cannot be read
            audit.query_events(user_id="ann")
        audit.close()
    assert (place / "secret").read_text() == SECRET


NAMES = ["../secret", "/etc/passwd", "a\0b", ".", "..", "", "audit_/../../secret.json", "x" * 5000]


@pytest.mark.parametrize("name", [*NAMES, "audit_\n.json", "audit_x.json/", "legal.hold"])
def test_names_in_a_manifest(cli: Cli, made: Path, tmp_path: Path, name: str) -> None:
    """A sealed file has the name of one: nothing else is opened, deleted or compressed by it."""
    place = tmp_path / "place"
    shutil.copytree(made, place)
    manifest = place / "archive" / "default.manifest"
    lines = manifest.read_bytes().splitlines(keepends=True)
    seal = json.loads(lines[1])
    seal["file"] = name
    changed = json.dumps(seal, separators=(",", ":")).encode() + b"\n"
    manifest.write_bytes(b"".join([lines[0], changed, *lines[2:]]))
    report = verify(place / "archive", [KEY.verifying])
    assert ("default.manifest", "altered") in {(f.file, f.kind) for f in report.findings}
    for command in ("query", "stats", "export"):
        words = [place / "archive", *([tmp_path / "out"] if command == "export" else [])]
        said = cli(command, *words, code=1)
        assert "a line that is not a record" in said.stderr
        assert SECRET.strip() not in said.stdout + said.stderr
