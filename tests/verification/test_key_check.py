"""`verify` tells of encrypted events that no key opens though nobody was erased."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from conftest import Cli, Make
from every_way import verify

from axon_audit_otel.verification.report import LostKeys


@pytest.fixture(name="archive")
async def _archive(make_audit: Make, tmp_path: Path) -> Path:
    """Three events of Alice, two of Bob, one of both; Carol is erased; one of nobody."""
    archive = tmp_path / "archive"
    with make_audit(auto_export_path=archive, erasable=True) as audit:
        for user in ("alice", "alice", "alice", "bob", "bob", "carol"):
            await audit.log_event("STORE", user_id=user, metadata={"note": "tea"})
        await audit.log_event("STORE", user_id="alice", subject_id="bob")
        await audit.log_event("STORE", user_id="carol", subject_id="bob")
        await audit.log_event("STORE")
        assert audit.erase_user("carol")
    return archive


def keys_of(archive: Path) -> Path:
    """The directory of its keys."""
    return archive.with_name(f"{archive.name}.keys")


def zero(archive: Path) -> None:
    """Overwrite all keys."""
    for path in keys_of(archive).glob("??.keys"):
        path.write_bytes(bytes(path.stat().st_size))


def test_nothing_lost(archive: Path) -> None:
    """Nothing is told while every key is there, but for those of users on record as erased."""
    assert verify(archive).lost_keys is None
    assert verify(archive, erasable=keys_of(archive)).lost_keys is None


@pytest.mark.parametrize("how", ["zeroed", "removed", "overwritten"])
def test_lost(archive: Path, cli: Cli, how: str) -> None:
    """Without their keys, the events of Alice and Bob are counted, in words too; `query` says
    it as well. The archive itself is whole."""
    zero(archive)
    for path in keys_of(archive).glob("??.keys"):
        if how == "removed":
            path.unlink()
        elif how == "overwritten":
            path.write_bytes(os.urandom(path.stat().st_size))
    report = verify(archive)
    assert report.ok
    assert report.lost_keys == LostKeys(events=7, users=2)
    words = "no key opens 7 events of 2 users, and no erasure of them is on record"
    assert words in " ".join(cli("verify", archive).stdout.split())
    lost = json.loads(cli("verify", archive, "--json").stdout)["lost_keys"]
    assert lost == {"events": 7, "users": 2, "why": ""}
    for command in (["query"], ["query", "--user", "alice"], ["stats"]):
        said = cli(command[0], archive, *command[1:]).stderr
        assert "no key opens at least 7 events of 2 users" in said


def test_one_of_them(archive: Path) -> None:
    """One key that is gone is told from the others."""
    for line in only_lines(archive):
        if line.get("user_id") and "subject_id" not in line:
            token = bytes.fromhex(line["user_id"].split(":")[1])
            break
    path = keys_of(archive) / f"{token[-1]:02x}.keys"
    content = path.read_bytes()
    at = content.index(token)
    path.write_bytes(content[: at + 16] + bytes(32) + content[at + 48 :])
    assert verify(archive).lost_keys == LostKeys(events=4, users=1)


def only_lines(archive: Path) -> list[dict[str, str]]:
    """The events of its only sealed file."""
    (path,) = archive.glob("audit_*.json")
    return [json.loads(line[1:]) for line in path.read_bytes().splitlines()[1:-1]]


def test_tokens_of_somebody(archive: Path, cli: Cli) -> None:
    """Lines in the archive's list of erasures that nobody with the keys wrote excuse nothing."""
    zero(archive)
    tokens = {line["user_id"].split(":")[1] for line in only_lines(archive) if line["user_id"]}
    with (archive / ".keyring").open("a") as file:
        file.writelines(f"{token}\n{token} {'0' * 32}\n" for token in tokens)
    assert verify(archive).lost_keys == LostKeys(events=7, users=2)
    assert "no key opens at least 7 events" in cli("query", archive).stderr


def test_out_of_reach(archive: Path, cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """If the keys cannot be looked at, that is said; their place can be named."""
    moved = keys_of(archive).rename(tmp_path / "moved")
    report = verify(archive)
    assert report.ok
    assert report.lost_keys is not None
    assert "archive.keys" in report.lost_keys.why
    said = cli("verify", archive).stdout
    assert "the keys could not be looked at" in said
    assert verify(archive, erasable=moved).lost_keys is None
    assert "keys" not in cli("verify", archive, "--keys", moved).stdout.replace("No key was", "")
    (moved / "keyring").write_bytes(b"garbage")
    lost = verify(archive, erasable=moved).lost_keys
    assert lost is not None
    assert "is not the file of a keyring" in lost.why


async def test_not_encrypted(make_audit: Make, tmp_path: Path) -> None:
    """Nothing is told of an archive that is not encrypted."""
    with make_audit(auto_export_path=tmp_path / "plain") as audit:
        await audit.log_event("STORE", user_id="alice", metadata={"note": "erasable:00"})
    assert verify(tmp_path / "plain").lost_keys is None
