"""Who may read and write the files and directories that a trail uses and makes."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import Make

from axon_audit_otel import ArchiveError, AuditConfigError, AuditLogger
from axon_audit_otel.archive.checkpoints import new_key

MakeKey = Callable[[Path], dict[str, Any]]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has other rights")


@pytest.fixture(name="any_umask", params=[0o000, 0o022, 0o077], ids=oct)
def _any_umask(request: pytest.FixtureRequest) -> Iterator[None]:
    before = os.umask(request.param)
    yield
    os.umask(before)


@pytest.mark.usefixtures("any_umask")
def test_made(make_audit: Make, tmp_path: Path) -> None:
    """What a trail makes is its owner's alone."""
    directory = tmp_path / "logs" / "audit"
    with make_audit(auto_export_path=directory, erasable=True) as audit:
        asyncio.run(audit.log_event("STORE", user_id="ann"))
    made = [path for path in tmp_path.rglob("*") if "logs" in path.parts]
    assert {path.stat().st_mode & 0o777 for path in made if path.is_dir()} == {0o700}
    assert {path.stat().st_mode & 0o777 for path in made if path.is_file()} == {0o600}


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o1777], ids=oct)
def test_rights_stay(make_audit: Make, tmp_path: Path, mode: int) -> None:
    """The rights of a directory that exists are left alone."""
    tmp_path.chmod(mode)
    with make_audit(auto_export_path=tmp_path) as audit:
        asyncio.run(audit.log_event("STORE"))
    assert tmp_path.stat().st_mode & 0o7777 == mode


def test_writable_by_every_user(tmp_path: Path) -> None:
    """An archive or a keyring that every user can write to is refused."""
    tmp_path.chmod(0o777)
    with pytest.raises(ArchiveError, match="every user can write to the directory"):
        AuditLogger(auto_export_path=tmp_path)
    keys = tmp_path / "keys"
    keys.mkdir()
    keys.chmod(0o777)
    with pytest.raises(ArchiveError, match="every user can write to the directory"):
        AuditLogger(auto_export_path=tmp_path / "archive", erasable=keys)


def _signing(path: Path) -> dict[str, Any]:
    path.write_text(new_key("auditor").line())
    return {"signing_key": path}


def _secret(path: Path) -> dict[str, Any]:
    path.write_text("a secret of many characters, for pseudonyms")
    return {"pseudonymize": path}


@pytest.mark.parametrize("make", [_signing, _secret])
class TestKeys:
    def test_writable(self, tmp_path: Path, make: MakeKey) -> None:
        """A key that every user can write is refused."""
        options = make(tmp_path / "key")
        (tmp_path / "key").chmod(0o606)
        with pytest.raises(AuditConfigError, match="every user can write it"):
            AuditLogger(auto_export_path=tmp_path / "archive", **options)

    def test_readable(
        self, tmp_path: Path, make: MakeKey, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A key that every user can read is used, and warned of once."""
        options = make(tmp_path / "key")
        (tmp_path / "key").chmod(0o644)
        with caplog.at_level(logging.WARNING, "axon_audit_otel"):
            for _ in range(2):
                AuditLogger(auto_export_path=tmp_path / "archive", **options).close()
        assert [r.message for r in caplog.records if "readable by every user" in r.message] == [
            f"the key file {str(tmp_path / 'key')!r} is readable by every user: chmod 600 it"
        ]

    def test_private(self, tmp_path: Path, make: MakeKey, caplog: pytest.LogCaptureFixture) -> None:
        """Of a key that its owner alone can read, nothing is said."""
        options = make(tmp_path / "key")
        (tmp_path / "key").chmod(0o600)
        AuditLogger(auto_export_path=tmp_path / "archive", **options).close()
        assert "key file" not in caplog.text


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFOs")
def test_intents_that_are_a_fifo(tmp_path: Path) -> None:
    """A start ends with an error where it would wait for ever."""
    os.mkfifo(tmp_path / "default.intents")
    with pytest.raises(ArchiveError, match="not a regular file"):
        AuditLogger(auto_export_path=tmp_path)
