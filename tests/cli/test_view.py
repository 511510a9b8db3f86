"""The command `view`: it starts, prints its address, and ends."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
from collections.abc import Iterator
from contextlib import contextmanager
from http.cookiejar import CookieJar
from pathlib import Path
from urllib.request import HTTPCookieProcessor, build_opener

import pytest
from conftest import Cli, Make

pytest.importorskip("flask", reason="it comes with the extra `view`")


@contextmanager
def _running(*arguments: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, and the address that it printed."""
    command = [sys.executable, "-m", "axon_audit_otel", "view", *map(str, arguments)]
    environment = {n: v for n, v in os.environ.items() if n not in ("DISPLAY", "BROWSER")}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    assert process.stdout is not None
    try:
        yield process, process.stdout.readline().strip()
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
async def test_it_is_reached_by_its_address_and_ends(
    make_audit: Make, tmp_path: Path, ending: signal.Signals
) -> None:
    """The printed address gives the page; Ctrl-C ends the command with exit code 0, quietly."""
    audit = make_audit(auto_export_path=tmp_path)
    await audit.log_event("STORE", user_id="alice")
    audit.close()
    with _running(tmp_path, "--no-open") as (process, url):
        opener = build_opener(HTTPCookieProcessor(CookieJar()))
        with opener.open(url) as answer:
            assert "token" not in answer.url
            assert b"alice" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="403"):
            build_opener().open(url.partition("?")[0])
        process.send_signal(ending)
        _, errors = process.communicate(timeout=60)
        assert (process.returncode, errors) == (0, "(Ctrl-C ends it)\n")


@pytest.mark.slow
async def test_what_is_decrypted_is_recorded(make_audit: Make, tmp_path: Path, cli: Cli) -> None:
    """Who looked at personal data is in the archive: when it began, and how much was shown."""
    path, keys = tmp_path / "archive", tmp_path / "keys"
    audit = make_audit(auto_export_path=path, erasable=keys)
    await audit.log_event("STORE", user_id="alice")
    audit.close()
    with _running(path, "--no-open", "--decrypt", "--keys", keys) as (process, url):
        with build_opener(HTTPCookieProcessor(CookieJar())).open(url) as answer:
            assert b"alice" in answer.read()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
        assert process.returncode == 0
    said = cli("query", path, "--operation", "AUDIT", "--json", "--keys", keys).stdout
    facts = [json.loads(line)["metadata"] for line in said.splitlines()]
    read = [one for one in facts if one.get("command") == "view"]
    assert [one["state"] for one in read] == ["ended", "begun"]
    assert read[0]["revealed"] == 1


def test_what_cannot_be_served(cli: Cli, tmp_path: Path) -> None:
    """Each wrong argument is one line that says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cases = {
            ("--host", "0.0.0.0"): (2, "'0.0.0.0' is not one of '127.0.0.1'"),
            ("--port", str(port)): (1, f"cannot listen at 127.0.0.1, port {port}"),
            ("--decrypt",): (2, "--decrypt needs --keys DIR"),
        }
        for options, (code, words) in cases.items():
            result = cli("view", tmp_path, "--no-open", *options, code=code)
            assert words in result.stderr, options
    missing = tmp_path / "nothing"
    assert "no such file or directory" in cli("view", missing, "--no-open", code=2).stderr
