"""Archives of the first edition of the event stay readable and verifiable, each as it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import receiver as receivers
from conftest import Cli
from receiver import Receiver

pytestmark = pytest.mark.usefixtures("without_start_record")

DATA = Path(__file__).parents[1] / "data" / "first_edition"
KINDS = sorted(path.parent.name for path in DATA.glob("*/expected.json"))

#: What the report of `verify` says of a writer.
_OF_WRITERS = (
    *("writer", "files", "events", "first_sequence", "last_sequence", "unsealed_events"),
    *("gaps", "unclean_ends", "proved_until"),
)


@pytest.fixture(name="receiver")
def _receiver() -> Iterator[Receiver]:
    found = receivers.over_http()
    yield found
    found.close()


def _copied(kind: str, to: Path) -> Path:
    """A copy as its owner had it: git keeps neither owners nor permissions."""
    shutil.copytree(DATA / kind, to)
    for path in to.rglob("*"):
        path.chmod(0o700 if path.is_dir() else 0o600)
    return to / "logs"


def _sha256(lines: list[bytes]) -> str:
    return hashlib.sha256(b"\n".join(lines)).hexdigest()


def facts(cli: Cli, logs: Path, receiver: Receiver) -> dict[str, Any]:
    """The answers of the commands on an archive."""
    secret, key, outside = (logs.with_name(n) for n in ("secret", "key.pub", "outside.checkpoints"))
    known = ["--pseudonymize", f"@{secret}"] if secret.exists() else []
    signed = ["--key", key, "--checkpoint", outside] if key.exists() else []
    asked = cli("query", logs, "--json", code=None)
    lines = asked.stdout.encode().splitlines()
    of_alice = cli("query", logs, "--user", "alice", *known, "--json", code=None)
    about_alice = cli("query", logs, "--subject", "alice", *known, "--json", code=None)
    stats = json.loads(cli("stats", logs, "--json").stdout)
    assert stats.pop("findings") == {}  # of the second edition, as the next
    assert [stats.pop("agents"), stats.pop("systems")] == [[], []]
    verified = cli("verify", logs, *signed, "--json", code=None)
    report = json.loads(verified.stdout)
    event_id = json.loads(lines[-2])["event_id"]
    proved = cli("prove", event_id, logs, code=None)
    replayed = cli("replay", logs, "--endpoint", receiver.url, "--json", code=None)
    sent = json.loads(replayed.stdout) if replayed.exit_code in (0, 1) and replayed.stdout else {}
    return {
        "query": {
            "exit": asked.exit_code,
            "events": len(lines),
            "sha256": _sha256(lines),
            "by_user": len(of_alice.stdout.splitlines()),
            "by_subject": len(about_alice.stdout.splitlines()),
        },
        "stats": stats,
        "verify": {
            "exit": verified.exit_code,
            "findings": [found["kind"] for found in report["findings"]],
            "writers": [{name: one[name] for name in _OF_WRITERS} for one in report["writers"]],
        },
        "prove": {
            "exit": proved.exit_code,
            "sha256": _sha256([proved.stdout.encode()]) if not proved.exit_code else None,
        },
        "replay": {
            "exit": replayed.exit_code,
            "sent": sent.get("sent"),
            "sha256": _sha256(sorted(r.body.string_value.encode() for r in receiver.records)),
        },
    }


@pytest.mark.parametrize("kind", KINDS)
def test_it_answers_as_it_did(kind: str, cli: Cli, receiver: Receiver, tmp_path: Path) -> None:
    """Events, counts, findings, proofs and what is sent are those of the first edition."""
    expected = json.loads((DATA / kind / "expected.json").read_text("utf-8"))
    ask = partial(cli, AXON_AUDIT_RECORD_READS="off")  # a record of each would be one more answer
    assert facts(ask, _copied(kind, tmp_path / kind), receiver) == expected
