"""Private entry ids: where an id names somebody, a keyed hash stands for it everywhere."""

from __future__ import annotations

import hashlib
import hmac
from pathlib import Path

from conftest import Make

KEY = b"0123456789abcdef0123456789abcdef"
ENTRY = "memories/alice-7f3e/k1"


def _hash(entry_id: str, key: bytes = KEY) -> str:
    """What stands for an entry as docs/format.md defines it."""
    mac = hmac.new(key, b"entry:" + entry_id.encode(), hashlib.sha256)
    return "entry-hmac-sha256:" + mac.hexdigest()[:32]


def _content(directory: Path) -> bytes:
    return b"".join(file.read_bytes() for file in directory.rglob("*") if file.is_file())


async def test_found_by_the_real_id(make_audit: Make, tmp_path: Path) -> None:
    """The archive has the hash alone, and whoever has the secret finds it by the id."""
    audit = make_audit(auto_export_path=tmp_path, pseudonymize=KEY)
    with audit.operation("STORE", system="notes", owner="alice-7f3e", private_ids=True) as op:
        op.saved(ENTRY)
    for archived in (False, True):
        [event] = audit.query_events(entry_ids=[ENTRY], archived=archived)
        assert event.entry_ids == [_hash(ENTRY)]
    audit.close()
    assert b"alice-7f3e" not in _content(tmp_path)
