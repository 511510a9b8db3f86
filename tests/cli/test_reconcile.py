"""The command `reconcile`, on a store in a file that several processes can open."""

from __future__ import annotations

import asyncio
import json
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from axon import MemoryEntry
from conftest import Cli, ListingAdapter, Make, MakeSystem, archived

from axon_audit_otel import AuditLogger, verify
from axon_audit_otel.archive.checkpoints import new_key

APP = """
import pickle
from contextlib import asynccontextmanager
from pathlib import Path
from axon import MemorySystem
from axon.adapters.memory import InMemoryAdapter
from axon.core.adapter_registry import AdapterRegistry
from axon.core.config import MemoryConfig
from axon.core.policies.persistent import PersistentPolicy

def memory():
    print("a line of the application")
    adapter = InMemoryAdapter()
    adapter._storage = pickle.loads(Path("store").read_bytes())
    registry = AdapterRegistry()
    registry.register("persistent", "memory", adapter_instance=adapter)
    policy = PersistentPolicy(
        adapter_type="memory", compaction_threshold=10_000, compaction_strategy="count"
    )
    config = MemoryConfig(persistent=policy, default_tier="persistent")
    return MemorySystem(config, registry=registry)

async def coroutine():
    return memory()

@asynccontextmanager
async def manager():
    yield memory()

class Systems:
    in_a_class = staticmethod(memory)

def broken():
    raise ValueError("no\\nserver")

def leaves():
    raise SystemExit(3)

def nothing():
    return None

number = 7
"""


@pytest.fixture(name="place")
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A working directory with the application."""
    (tmp_path / "application.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("application", None)


class Store:
    """What the application has stored, and what others do to it behind its back."""

    def __init__(self, system: Any, adapter: Any, logger: AuditLogger) -> None:
        self.system, self.adapter, self.logger = system, adapter, logger

    def fill(self, *texts: str, **more: Any) -> list[str]:
        return [asyncio.run(self.system.store(text, **more)) for text in texts]

    def write(self) -> None:
        Path("store").write_bytes(pickle.dumps(self.adapter._storage))


Fill = Callable[..., Store]


@pytest.fixture(name="make_store")
def _make_store(place: Path, make_system: MakeSystem, make_audit: Make) -> Fill:
    """Makes a store, recorded in the directory ``audit``; keyword arguments are settings."""

    def make(**settings: Any) -> Store:
        adapter = ListingAdapter()
        logger = make_audit(auto_export_path=place / "audit", **settings)
        return Store(make_system(audit_logger=logger, persistent=adapter), adapter, logger)

    return make


FIRST_EDITION = Path(__file__).parent.parent / "data" / "first_edition"
RUN = ("reconcile", "audit", "--memory", "application:memory")


def test_agreeing(make_store: Fill, cli: Cli) -> None:
    """Where all agrees the exit code is 0, and the run is on record."""
    store = make_store()
    store.fill("tea", "milk", user_id="bob")
    store.write()
    said = cli(*RUN)
    assert said.stdout == (
        "in the store: 2 entries (persistent 2)\n"
        "on record:    2 entries\n"
        "same text:    2 entries\n"
        "\n"
        "store and trail agree\n"
    )
    assert "a line of the application" in said.stderr
    store.fill("the application goes on")
    records = [e for e in archived(Path("audit")) if e.metadata.get("record") == "reconcile"]
    assert [(e.status, e.metadata["in_store"]) for e in records] == [("SUCCESS", 2)]
    assert "it agrees" in cli("query", "audit", "--operation", "AUDIT").stdout
    assert verify(Path("audit")).ok


def test_findings(make_store: Fill, cli: Cli) -> None:
    """What is found is printed with whose it is and by which event that is known: exit code 1;
    --json is one object, with ids as they are recorded."""
    store = make_store()
    lost, changed, _ = store.fill("a", "b", "c", user_id="bob")
    del store.adapter._storage[lost]
    entry = store.adapter._storage[changed]
    store.adapter._storage[changed] = entry.model_copy(update={"text": "evil"})
    store.adapter._storage["a\nb\x1b"] = MemoryEntry(id="a\nb\x1b", text="new")
    store.write()
    said = cli(*RUN, code=1).stdout
    assert (
        f"missing: 1 entry (on record stored and not deleted, and not in the store)\n  {lost}"
        in said
    )
    assert f"\n  {changed} of bob in persistent (STORE " in said
    assert "\n  a\\nb\\x1b in persistent (created " in said
    told = json.loads(cli(*RUN, "--json", code=1).stdout)
    assert (told["agrees"], told["whole"], told["in_store"]) == (False, True, 3)
    assert [one["entry_id"] for one in told["unrecorded"]] == ["a\nb\x1b"]
    assert [one["entry_id"] for one in told["missing"]] == [lost]
    assert told["altered"][0]["owner"] == "bob"
    assert (told["forgotten_present"], told["unlisted"], told["lacking"]) == ([], {}, [])
    assert "1 unrecorded" in cli("query", "audit", "--operation", "AUDIT").stdout


@pytest.mark.parametrize("name", ["coroutine", "manager", "Systems.in_a_class"])
def test_functions(make_store: Fill, cli: Cli, name: str) -> None:
    """The function may be a coroutine function, give a context manager, or be in a class."""
    store = make_store()
    store.fill("tea")
    store.write()
    assert "1 entry" in cli("reconcile", "audit", "--memory", f"application:{name}").stdout


def test_the_system_itself(make_store: Fill, cli: Cli, place: Path) -> None:
    """A module may have made it already."""
    store = make_store()
    store.fill("tea")
    store.write()
    (place / "already_made.py").write_text("from application import memory\nsystem = memory()\n")
    said = cli("reconcile", "audit", "--memory", "already_made:system")
    sys.modules.pop("already_made")
    assert "1 entry" in said.stdout


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("application:broken", "ValueError: no server"),
        ("application:leaves", "SystemExit: 3"),
        ("application:nothing", "it gave None, no MemorySystem"),
        ("application:number", "it gave 7, no MemorySystem"),
        ("application:absent", "AttributeError: "),
        ("absent:memory", "ModuleNotFoundError: No module named 'absent'"),
        ("application", "must be MODULE:NAME"),
        (":", "must be MODULE:NAME"),
    ],
)
def test_functions_that_fail(make_store: Fill, cli: Cli, name: str, words: str) -> None:
    """Errors of the application are one line, and exit code 2."""
    store = make_store()
    store.fill("tea")
    said = cli("reconcile", "audit", "--memory", name, code=2)
    assert said.stdout == ""
    assert words in said.stderr.splitlines()[-1]
    assert "Traceback" not in said.stderr


def test_no_archive(place: Path, cli: Cli) -> None:
    """A directory that is none, or has no audit files, is exit code 2."""
    (place / "empty").mkdir()
    for name in ("empty", "absent", "application.py"):
        cli("reconcile", name, "--memory", "application:memory", code=2)


def test_older_entries(make_store: Fill, cli: Cli) -> None:
    """Of entries that are older than the trail it cannot be known: exit code 1, or 0 if that is
    allowed; what else is found is exit code 1 all the same."""
    store = make_store()
    store.fill("tea")
    old = MemoryEntry(id="old", text="milk")
    old.metadata.created_at = old.metadata.created_at.replace(year=2020)
    store.adapter._storage["old"] = old
    store.write()
    said = cli(*RUN, code=1)
    assert "unknown_before: 1 entry (older than what is left of the trail" in said.stderr
    assert "in what can be known, they agree" in said.stdout
    cli(*RUN, "--allow-unknown")
    store.adapter._storage["new"] = MemoryEntry(id="new", text="milk")
    store.write()
    cli(*RUN, "--allow-unknown", code=1)


def test_secrets(make_store: Fill, cli: Cli, place: Path) -> None:
    """With the secrets of the application texts are compared; with others that is refused, or
    said."""
    (place / "secret").write_text("the secret of the application")
    (place / "other").write_text("another secret of somebody")
    store = make_store(pseudonymize=place / "secret", fingerprints=place / "secret")
    store.fill("tea", user_id="bob")
    store.write()
    whose = ("--pseudonymize", "@secret")
    told = json.loads(cli(*RUN, *whose, "--fingerprints", "@secret", "--json").stdout)
    assert (told["matching"], told["not_comparable"]) == (1, 0)
    said = cli(*RUN, *whose, code=1)
    assert "there is no key of fingerprints in the archive" in said.stderr
    assert "same text:    0 entries; 1 cannot be compared" in said.stdout
    assert "in what can be known, they agree, except for 1 text that cannot be" in said.stdout
    assert not (place / "audit" / ".fingerprints.key").exists()
    for wrong in ((), ("--pseudonymize", "@other")):
        assert "hashed" in cli(*RUN, "--fingerprints", "@secret", *wrong, code=2).stderr


def test_encrypted(make_store: Fill, cli: Cli, place: Path) -> None:
    """With the keys texts are compared; without them, and of who was erased, that cannot be."""
    store = make_store(erasable=True)
    store.fill("tea", user_id="bob")
    store.fill("milk", user_id="alice")
    store.write()
    assert "same text:    2 entries\n" in cli(*RUN).stdout
    store.logger.erase_user("bob")
    assert "same text:    1 entry; 1 cannot be compared\n" in cli(*RUN).stdout
    (place / "audit.keys").rename(place / "elsewhere")
    said = cli(*RUN, code=1)
    assert "same text:    0 entries; 2 cannot be compared\n" in said.stdout
    assert "personal data stays encrypted" in said.stderr


def test_signed(make_store: Fill, cli: Cli, place: Path) -> None:
    """Beside signed checkpoints the record must be signed, too."""
    key = new_key("test")
    (place / "signing.key").write_text(key.line())
    store = make_store(signing_key=key)
    store.fill("tea")
    store.logger.seal()
    store.write()
    assert "--signing-key" in cli(*RUN, code=2).stderr
    assert "same text:    1 entry\n" in cli(*RUN, "--signing-key", "signing.key").stdout
    assert verify(place / "audit", [key.verifying]).ok


def test_that_cannot_be_recorded(make_store: Fill, cli: Cli, place: Path) -> None:
    """If the run cannot be recorded that is said, after what was found: exit code 1."""
    store = make_store()
    store.fill("tea", user_id="bob")
    store.write()
    (place / "audit" / ".reconcile.lock").mkdir()
    said = cli(*RUN, code=1)
    assert "store and trail agree" in said.stdout
    assert "not recorded: " in said.stderr


@pytest.mark.parametrize("kind", ["plain", "compressed", "two_writers", "exported"])
def test_the_first_edition(place: Path, cli: Cli, kind: str) -> None:
    """An archive of the first edition is read: it knows of entries, and not of their texts."""
    shutil.copytree(FIRST_EDITION / kind / "logs", place / "audit")
    Path("store").write_bytes(pickle.dumps({}))
    told = json.loads(cli(*RUN, "--json", code=1).stdout)
    assert (told["in_store"], told["matching"]) == (0, 0)
    assert len(told["missing"]) == told["on_record"] > 0
