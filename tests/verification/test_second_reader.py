"""A second reader, in Go, written from docs/format.md: it finds in every test vector what the
`expected.json` beside it says, and in archives of this moment what this package finds."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import go_programs
import pytest
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import ArchiveError, AuditLogger, verify
from axon_audit_otel.archive.checkpoints import SigningKey, new_key
from axon_audit_otel.archive.directory import Directory
from axon_audit_otel.archive.manifest import DeleteRecord, Manifest
from axon_audit_otel.archive.missing import Missing
from axon_audit_otel.archive.reader import LineReader
from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.events.draft import Draft, draft
from axon_audit_otel.events.identifiers import identifiers
from axon_audit_otel.events.model import decode
from axon_audit_otel.privacy.encryption import Erasure
from axon_audit_otel.privacy.erased_tokens import keys_of
from axon_audit_otel.privacy.fingerprints import Fingerprints
from axon_audit_otel.privacy.keyring import Keyring
from axon_audit_otel.privacy.policy import PrivacyPolicy
from axon_audit_otel.privacy.pseudonyms import Pseudonyms
from axon_audit_otel.trail.setting_values import parse_fingerprints

pytestmark = pytest.mark.component  # Go

TESTS = Path(__file__).resolve().parents[1]
VECTORS = TESTS / "vectors"
ARCHIVES = sorted(path.parent.name for path in VECTORS.glob("*/archive"))
FIRST_EDITION = sorted((TESTS / "data" / "first_edition").glob("*/logs"))
#: For proofs of vectors: the signing key, which every vector has.
PRIVATE = json.loads((VECTORS / "derived" / "expected.json").read_bytes())[0]["private"]


def ask(*arguments: str | Path, given: str = "") -> Any:
    """What the second reader prints."""
    command = [go_programs.second_verifier(), *arguments]
    done = subprocess.run(command, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def read(archive: Path, key: str | None = None, witness: str | None = None) -> dict[str, Any]:
    options: list[str | Path] = []
    options += [] if key is None else ["-key", key]
    options += [] if witness is None else ["-witness", witness]
    keys = keys_of(archive)
    options += ["-keys", keys] if keys.is_dir() else []
    said: dict[str, Any] = ask("read", *options, archive)
    return said


# --- vectors -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHIVES)
def test_archive(name: str) -> None:
    """Events, hashes, writers, the verdict, and what keys attest."""
    archive = VECTORS / name / "archive"
    expected = json.loads((VECTORS / name / "expected.json").read_bytes())
    said = read(archive, expected["key"], expected.get("witness"))
    said |= {name: expected.get(name) for name in ("about", "key", "witness")}
    said["writers"] = [{key: one[key] for key in expected["writers"][0]} for one in said["writers"]]
    if expected["key"] is not None:
        said |= ask("attested", PRIVATE, archive)
    assert {name: said[name] for name in expected} == expected, said["problems"]


@pytest.mark.parametrize("name", ["inclusion", "consistency", "receipt", "receipt_of_keys"])
def test_proof(name: str, tmp_path: Path) -> None:
    """What a proof proves; and no other one is taken for it."""
    expected = json.loads((VECTORS / "proofs" / "expected.json").read_bytes())
    file = VECTORS / "proofs" / f"{name}.json"
    assert ask("proof", file, expected["key"]) == expected["proved"][name]
    text = file.read_text(encoding="utf-8")
    for old, new in (
        ('"index": 0', '"index": 1'),
        ("FORGET", "RECALL"),
        ("events 2 ", "events 3 "),
    ):
        if old in text:
            other = tmp_path / "other.json"
            other.write_text(text.replace(old, new), encoding="utf-8")
            command = [go_programs.second_verifier(), "proof", other, expected["key"]]
            assert subprocess.run(command, capture_output=True, check=False).returncode == 1


def test_derived() -> None:
    """Keys, pseudonyms, fingerprints, digests, and which lines are events in their one form."""
    expected = json.loads((VECTORS / "derived" / "expected.json").read_bytes())
    answers = ask("derive", given=json.dumps(expected))
    assert len(answers) == len(expected)
    for asked, answer in zip(expected, answers, strict=True):
        assert answer == asked["result"], asked


# --- damage --------------------------------------------------------------------------------------


def damage(archive: Path, chance: random.Random) -> str:
    """Change something in an archive; returns what."""
    endings = (".json", ".journal", ".manifest", ".checkpoint", ".checkpoints", ".hold", ".zst")
    file = chance.choice(sorted(path for path in archive.iterdir() if path.suffix in endings))
    content = file.read_bytes()
    at = chance.randrange(len(content))
    lines = content.splitlines(keepends=True)
    changed = {
        "removed": None,
        "cut": content[:at],
        "without a line": b"".join(lines[: at % len(lines)] + lines[at % len(lines) + 1 :]),
        "another byte": content[:at] + bytes([chance.choice(b'09af{",: \n\0')]) + content[at + 1 :],
    }
    how = chance.choice(list(changed))
    file.unlink()
    if (after := changed[how]) is not None:
        file.write_bytes(after)
    return f"{file.name}: {how}, {at}"


@pytest.mark.parametrize("name", ARCHIVES)
def test_agree_about_damage(name: str, tmp_path: Path) -> None:
    """Both say of the same archives that they are not sound, with a key and without one."""
    key = json.loads((VECTORS / name / "expected.json").read_bytes())["key"]
    for number in range(4):
        archive = Path(shutil.copytree(VECTORS / name / "archive", tmp_path / str(number)))
        what = damage(archive, random.Random(f"{name} {number}"))
        for asked in {None, key}:
            assert read(archive, asked)["ok"] == is_sound(archive, asked), what


def is_sound(archive: Path, key: str | None) -> bool:
    try:
        return verify(archive, [] if key is None else [key]).ok
    except ArchiveError:  # there is none any more
        return False


def test_deleted_on_hold(tmp_path: Path) -> None:
    """Both find that a file was deleted while a hold was in force, by who has the key."""
    archive = Path(shutil.copytree(VECTORS / "held" / "archive", tmp_path / "archive"))
    key = SigningKey(PRIVATE)
    manifest = Manifest(archive / "default.manifest")
    (seal,) = manifest.seals.values()
    record = DeleteRecord(
        file=seal.file,
        sha256=seal.sha256,
        reason="retention: 1 day",
        deleted_at="2025-01-15T10:01:30.000000Z",
        previous=manifest.last_hash,
    )
    record.signature = key.signature(record.text)
    manifest.add(record)
    (archive / seal.file).unlink()
    said = read(archive, str(key.verifying))
    assert [one["kind"] for one in said["problems"]] == ["on_hold"]
    assert [one.kind for one in verify(archive, [key.verifying]).findings] == ["on_hold"]


# --- archives of today ---------------------------------------------------------------------------


def recorded(archive: Path) -> Iterator[dict[str, Any]]:
    """Every event, as this package reads it."""
    policy, keys = PrivacyPolicy(), keys_of(archive)
    if keys.is_dir():
        policy = PrivacyPolicy.for_reading(archive, keys)
    with Directory(archive, Missing()) as here:
        for writer in sorted(here.writers.keys() | here.journals.keys()):
            files = here.writers[writer].files if writer in here.writers else []
            journals = [here.journals[writer]] if writer in here.journals else []
            for file in [*files, *journals]:
                with here.open(file) as opened:
                    for line in LineReader(opened, file.path).lines():
                        (readable,) = policy.readable([decode(line[1:-1])])
                        fields = json.loads(readable.to_json())
                        hashed = leaf_hash(line[1:-1]).hex()
                        yield {"file": file.name, "hash": hashed, "event": fields}


def agree(archive: Path, key: str | None = None) -> list[dict[str, Any]]:
    """Both readers find the same events, and no damage; returns the events."""
    said = read(archive, key)
    assert (said["ok"], said["problems"]) == (True, [])
    assert verify(archive, [] if key is None else [key]).ok
    assert said["events"] == list(recorded(archive))
    events: list[dict[str, Any]] = said["events"]
    return events


@pytest.mark.parametrize("archive", FIRST_EDITION, ids=lambda path: path.parent.name)
def test_first_edition(archive: Path) -> None:
    """Archives of before are read as well; an export has no manifest, and is not sound."""
    if archive.parent.name == "exported":
        assert read(archive)["ok"] is False
    else:
        assert agree(archive)


def text(chance: random.Random) -> str:
    """Any text: with quotes, controls, and characters of several bytes."""
    letters = [*map(chr, range(0x80)), "\u00eb", "\u2028", "\ufffe", "\U0001f600", "\u00df"]
    return "".join(chance.choices(letters, k=chance.randrange(1, 40)))


def value(chance: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    number = chance.getrandbits(64)
    scales = 10.0 ** chance.randrange(-30, 30)
    plain = [text(chance), number, -number, chance.random() * scales, None, True, 1e16, 1e-5]
    if depth < 3 and chance.random() < 0.4:
        items = [value(chance, depth + 1) for _ in range(chance.randrange(4))]
        return items if chance.random() < 0.5 else {text(chance): item for item in items}
    return chance.choice(plain)


SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "signed": {"signing_key": True, "checkpoint_events": 3},
    "compressed": {"compress": True},
    "erasable": {"erasable": True, "fingerprints": True, "max_event_bytes": 16_384},
    "erasable and hashed": {
        "max_event_bytes": 16_384,
        "erasable": True,
        "pseudonymize": "a secret that is long enough",
        "signing_key": True,
    },
}


@pytest.mark.parametrize("name", SETTINGS)
def test_agree_about_any_event(name: str, tmp_path: Path) -> None:
    """Events with whatever in them; of several persons, some of whom were erased since."""
    chance = random.Random(name)
    settings = dict(SETTINGS[name])
    key = new_key("auditor") if settings.pop("signing_key", False) else None
    archive = tmp_path / "archive"
    audit = AuditLogger(
        *(7, archive),
        name="default",
        registry=CollectorRegistry(),
        logger_provider=LoggerProvider(shutdown_on_exit=False),
        redact_pii=False,
        signing_key=None if key is None else key.line(),
        **settings,
    )
    people = ["alice", "bob", "zo\u00eb", "erasable:me", *(text(chance) for _ in range(150))]
    for number in range(60):
        count = chance.choice([0, 1, 1, 2, 3, len(people)])
        some = tuple(chance.sample(people[:6] if count < 4 else people, count))
        owners = [tuple(chance.sample(some, min(len(some), n % 3))) for n in range(4)]
        facts = {text(chance): value(chance) for _ in range(chance.randrange(4))}
        with_texts = some and chance.random() < 0.5
        if with_texts:
            facts["content"] = [text(chance) for _ in owners]
        event = draft(
            chance.choice(["STORE", "RECALL", "OF_TOMORROW"]),
            "SUCCESS",
            trail=audit.trail,
            user_id=chance.choice([None, *people[:6]]),
            session_id=chance.choice([None, text(chance)]),
            subjects=some,
            metadata=facts,
            duration_ms=chance.choice([None, chance.random() * 100]),
            entry_ids=[f"entry-{number}"],
        )
        if number % 2:
            _make_private(event, audit, identifiers([text(chance) for _ in range(3)]))
        event.text_owners = tuple(owners) if with_texts else ()
        audit.trail.policy.event(event)
        audit.emit(event)
    if "erasable" in settings:
        for one in people[:3]:
            audit.erase_user(one)
    audit.close()
    events = agree(archive, None if key is None else str(key.verifying))
    assert len(events) > 60
    if "erasable" in settings:
        said = [event["event"] for event in events]
        assert any(str(one["user_id"]).startswith("erasable:") for one in said)  # erased
        texts = [one["metadata"]["content"] for one in said if "content" in one["metadata"]]
        assert any("[erased]" in some and set(some) != {"[erased]"} for some in texts)
        assert any(one["subjects"][-1].startswith("~") for one in said if "subjects" in one)


def _make_private(event: Draft, audit: AuditLogger, ids: list[str]) -> None:
    """Let *event* name entries whose ids are hidden, where the trail hides any."""
    owner = (event.get("subjects") or (None,))[-1]
    event["entry_ids"], event["derived_from"] = ids[:2], tuple(ids[2:])
    event["metadata"]["altered"] = ids[:1]
    if audit.trail.policy.entry_names.are_hidden:
        event.private, event.namer = {}, audit.trail.entries.namer(owner)


def test_agree_about_any_text(tmp_path: Path) -> None:
    """Pseudonyms, and fingerprints by each kind of key, of whatever text and owner."""
    chance = random.Random(7)
    key, secret = new_key("auditor"), text(chance)
    ring = Erasure(Keyring(tmp_path / "keys"))
    hidden = Pseudonyms(secret.encode())
    makers = {
        ("keyring", str(tmp_path / "keys")): Fingerprints(lambda: b"", ring),
        ("secret", secret): Fingerprints(lambda: parse_fingerprints(secret.encode())),
        ("signing key", key.line()): Fingerprints(lambda: key.derived("fingerprints")),
        ("file", f"{bytes(32).hex()}\n"): Fingerprints(lambda: bytes(32).hex().encode()),
    }
    asked: list[dict[str, Any]] = []
    for _ in range(50):
        words, owner = text(chance), text(chance)
        for kind, make in (("user", hidden.user), ("session", hidden.session)):
            made = {"kind": kind, "id": owner, "secret": secret, "result": make(owner)}
            asked.append({"what": "pseudonym", **made})
        for (source, value), maker in makers.items():
            whose = owner if source == "keyring" else chance.choice([owner, None])
            made = {"key": {"from": source, "value": value}, "owner": whose, "text": words}
            asked.append({"what": "fingerprint", **made, "result": maker.of(words, whose)})
    answers = ask("derive", given=json.dumps(asked))
    assert answers == [one["result"] for one in asked]
