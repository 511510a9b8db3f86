"""No command shows a key or a password that was typed in the wrong place, or is malformed."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import Cli, Make

from axon_audit_otel import ArchiveError, verify
from axon_audit_otel.archive.checkpoints import new_key

LINE = new_key("prod").line()
SEED = LINE.split("+", 4)[4]
PASSWORD = "quetzal-1-quetzal"
MANGLED: dict[str, Callable[[], str]] = {
    "as it is": lambda: LINE,
    "quoted": lambda: f'"{LINE}"',
    "quoted once": lambda: f"'{LINE}",
    "of another name": lambda: LINE.replace("+prod+", "+other+"),
    "without its name": lambda: LINE.replace("+prod+", "++"),
    "without its end": lambda: LINE[:-1],
    "without its begin": lambda: LINE[1:],
    "after a name": lambda: f"KEY={LINE}",
    "as a path": lambda: f"@{LINE}",
    "as a file's URL": lambda: f"file://{LINE}",
    "percent-encoded": lambda: LINE.replace("+", "%2B"),
    "with spaces": lambda: LINE.replace("+", " ", 3),
    "in two lines": lambda: f"{LINE}\n{LINE}",
    "its seed": lambda: SEED,
    "a PEM": lambda: f"-----BEGIN PRIVATE KEY-----\n{SEED}\n-----END PRIVATE KEY-----",
    "a login": lambda: f"http://user:{PASSWORD}@127.0.0.1:x",
}
COMMANDS = [
    "verify {archive} --key {it}",
    "verify {archive} --checkpoint {it}",
    "verify {it}",
    "verify --otlp-json {it}",
    "verify --otlp-json {archive} --archive {it}",
    "verify {archive} --{it}",
    "query {it}",
    "query {archive} --limit {it}",
    "query {archive} --since {it}",
    "query {archive} --operation {it}",
    "query {archive} --keys {it}",
    "query {archive} {it}",
    "stats {archive} --status {it}",
    "tail {archive} -n {it}",
    "export {archive} {it}/x --format {it}",
    "prove {it} {archive}",
    "prove x {archive} --checkpoint {it}",
    "prove x {archive} --output {it}",
    "hold {archive} --reason x --signing-key {it}",
    "hold {archive} --reason x --name {it}",
    "hold {archive} --release --name {it}",
    "hold {archive} --reason x --keys {it} --signing-key {it}",
    "erase ann {archive} --signing-key {it}",
    "erase ann {archive} --keys {it}",
    "erase ann {archive} --pseudonymize @{it}",
    "pseudonym ann --pseudonymize @{it}",
    "keygen +{it}",
    "keygen x --output {it}/x/y",
    "replay {archive} --endpoint {it} --patience 0",
    "replay {archive} --endpoint http://127.0.0.1:1 --protocol {it}",
    "replay {archive} --endpoint http://127.0.0.1:1 --header {it} --patience 0",
    "replay {archive} --endpoint http://127.0.0.1:1 --header x={it}\0",
    "replay {archive} --endpoint http://127.0.0.1:1 --patience {it}",
    "demo --input {it}",
    "demo --port {it}",
    "{it}",
    "--{it}",
]


@pytest.fixture(name="archive", scope="module")
def _archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from opentelemetry.sdk._logs import LoggerProvider
    from prometheus_client import CollectorRegistry

    from axon_audit_otel import AuditLogger

    path = tmp_path_factory.mktemp("archive")
    provider = LoggerProvider(shutdown_on_exit=False)
    with AuditLogger(
        auto_export_path=path, registry=CollectorRegistry(), logger_provider=provider
    ) as audit:
        asyncio.run(audit.log_event("STORE", user_id="ann"))
    return path


def shows(text: str) -> bool:
    """True if a part of the key's seed, or the password, is in *text*."""
    parts = (SEED[at : at + 8] for at in range(len(SEED) - 8))
    return PASSWORD in text or any(part in text for part in parts)


QUICK = ("quoted", "without its end", "a login")


@pytest.mark.parametrize("words", COMMANDS)
@pytest.mark.parametrize("names", [QUICK, pytest.param([*MANGLED], marks=pytest.mark.slow)])
def test_commands(
    cli: Cli,
    archive: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: str,
    names: list[str],
) -> None:
    """Neither what the command says nor a file's name shows it, wherever it was typed."""
    monkeypatch.chdir(tmp_path)
    shown = []
    for name in names:
        told = {"archive": archive, "it": MANGLED[name]()}
        arguments = [word.format(**told) for word in words.split(" ")]
        said = cli(*arguments, code=None)
        assert "Traceback" not in said.output
        if shows(said.output + said.stderr):
            shown.append(name)
    assert shown == []


@pytest.mark.parametrize("name", MANGLED)
def test_errors(make_audit: Make, archive: Path, name: str) -> None:
    """Nor do the errors of the functions."""
    it = MANGLED[name]()
    with pytest.raises(ArchiveError) as caught:
        verify(it)
    assert not shows(str(caught.value))
    with pytest.raises(ValueError, match=r".") as told:
        verify(archive, [it])
    assert not shows(str(told.value))
    with pytest.raises(ValueError, match=r".") as told:
        verify(archive, checkpoints=[it])
    assert not shows(str(told.value))


@pytest.mark.slow
def test_the_end_of_a_program(tmp_path: Path) -> None:
    """A key that is written in the program, and refused, is not in what Python prints at its end;
    what another error is about is."""
    it = MANGLED["without its end"]()
    program = tmp_path / "program.py"
    start = f"from axon_audit_otel import AuditLogger\ntry:\n    AuditLogger(signing_key={it!r})"
    for rest, words in (
        ("\nfinally: pass", "AuditConfigError: signing_key=(a secret): no Ed25519 signing key"),
        ("\nexcept ValueError: pass\nwrong = 1 / 0", "wrong = 1 / 0"),
    ):
        program.write_text(start + rest)
        done = subprocess.run([sys.executable, program], capture_output=True, text=True)
        assert (done.returncode, words in done.stderr) == (1, True)
        assert f'File "{program}", line ' in done.stderr
        assert not shows(done.stderr)
