"""Checkpoints and keys: checked with the cryptography library and by the text of the C2SP."""

from __future__ import annotations

import base64
import hashlib
import pickle
import re
from pathlib import Path
from typing import Any

import pytest
from by_definition import by_definition
from conftest import Make
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from axon_audit_otel import AuditConfigError, InvalidEventError, verify
from axon_audit_otel.archive.checkpoints import Checkpoint, SigningKey, VerifyingKey, new_key

pytestmark = pytest.mark.usefixtures("without_start_record")

#: c2sp.org/signed-note: a text that ends with a newline, an empty line, signature lines;
#: c2sp.org/tlog-checkpoint: origin, size, root, extension lines that are not empty.
NOTE = re.compile(
    r"(?P<text>"
    r"(?P<origin>[^\n]+)\n"
    r"(?P<size>0|[1-9][0-9]*)\n"
    r"(?P<root>[A-Za-z0-9+/]{43}=)\n"
    r"(?:[^\n]+\n)*"
    r")\n"
    r"(?P<signatures>(?:\u2014 [^\s+]+ [A-Za-z0-9+/]+={0,2}\n)+)"
)
CHECKPOINT = Checkpoint(
    origin="axon-audit/default/0123456789abcdef",
    size=12,
    root=hashlib.sha256(b"a root").digest(),
    events=120_034,
    head=hashlib.sha256(b"an event").hexdigest(),
    time="2025-01-15T11:00:00.000000Z",
)
# A key made elsewhere: RFC 8032, section 7.1, test 1.
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")


def key_id(name: str, public: bytes) -> bytes:
    """The key id of c2sp.org/signed-note for Ed25519."""
    return hashlib.sha256(name.encode() + b"\n\x01" + public).digest()[:4]


def raw(line: str) -> bytes:
    """The key bytes of a key line (of either kind), without the algorithm's byte."""
    skipped = 4 if line.startswith("PRIVATE+KEY+") else 2
    data = base64.b64decode(line.split("+", skipped)[-1])
    assert data[:1] == b"\x01"
    return data[1:]


class TestNotes:
    def test_signature_by_another_library(self) -> None:
        """The signature over the text is the key's, as `cryptography` and the format say."""
        key = new_key("auditor-2025")
        found = NOTE.fullmatch(key.sign(CHECKPOINT.text()))
        assert found is not None
        dash, name, encoded = found["signatures"].rstrip("\n").split(" ")
        signature = base64.b64decode(encoded)
        public = raw(str(key.verifying))
        assert (dash, name) == ("\u2014", "auditor-2025")
        assert signature[:4] == key_id("auditor-2025", public)
        Ed25519PublicKey.from_public_bytes(public).verify(signature[4:], found["text"].encode())
        with pytest.raises(InvalidSignature):
            Ed25519PublicKey.from_public_bytes(public).verify(
                signature[4:], found["text"].encode()[:-1]
            )

    def test_text(self) -> None:
        """Origin, size, root and two extension lines, in this order and form."""
        root = base64.b64encode(CHECKPOINT.root).decode()
        assert CHECKPOINT.text().splitlines() == [
            "axon-audit/default/0123456789abcdef",
            "12",
            root,
            f"events 120034 {CHECKPOINT.head}",
            "time 2025-01-15T11:00:00.000000Z",
        ]

    def test_round_trip(self) -> None:
        """A signed checkpoint comes back, also before the first event."""
        key = new_key("k")
        empty = Checkpoint("axon-audit/t/new", 0, hashlib.sha256().digest(), 0, "", "now")
        for checkpoint in (CHECKPOINT, empty):
            note = key.sign(checkpoint.text())
            assert NOTE.fullmatch(note)
            assert Checkpoint.parse(note, [key.verifying]) == checkpoint
            assert Checkpoint.parse(note) == checkpoint

    def test_several_signatures(self) -> None:
        """One of the given keys among several signatures is enough; none is not."""
        ours, theirs, third = new_key("ours"), new_key("theirs"), new_key("third")
        note = theirs.sign(CHECKPOINT.text())
        note += ours.sign(CHECKPOINT.text()).rpartition("\n\n")[2]
        assert NOTE.fullmatch(note)
        assert Checkpoint.parse(note, [ours.verifying]) == CHECKPOINT
        assert Checkpoint.parse(note, [third.verifying, theirs.verifying]) == CHECKPOINT
        with pytest.raises(InvalidEventError, match="not signed by third"):
            Checkpoint.parse(note, [third.verifying])

    def test_another_key_of_the_same_name(self) -> None:
        """A name is no proof: the key must be the same."""
        note = new_key("auditor").sign(CHECKPOINT.text())
        with pytest.raises(InvalidEventError, match="not signed by auditor"):
            Checkpoint.parse(note, [new_key("auditor").verifying])

    @pytest.mark.parametrize("position", range(0, 260, 3))
    def test_every_changed_character(self, position: int) -> None:
        """A note with any character of its text or signature changed is not accepted."""
        key = SigningKey(_private_line("auditor-2025", SEED, PUBLIC))
        note = key.sign(CHECKPOINT.text())
        other = "B" if note[position] == "A" else "A"
        changed = note[:position] + other + note[position + 1 :]
        with pytest.raises(InvalidEventError):
            Checkpoint.parse(changed, [key.verifying])

    def test_signature_that_is_no_ascii(self) -> None:
        """A signature with a foreign letter is not by the key, and no other error."""
        key = new_key("auditor")
        note = key.sign(CHECKPOINT.text())
        with pytest.raises(InvalidEventError, match="not signed by auditor"):
            Checkpoint.parse(note[:-10] + "\u00e9" + note[-9:], [key.verifying])

    @pytest.mark.parametrize("position", [5, 30, 100])
    def test_text_that_is_no_unicode(self, position: int) -> None:
        """A note with half a character in it is not signed, and no other error."""
        key = new_key("auditor")
        note = key.sign(CHECKPOINT.text())
        with pytest.raises(InvalidEventError, match="not signed by auditor"):
            Checkpoint.parse(f"{note[:position]}\udcff{note[position:]}", [key.verifying])

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "\n\n",
            "no checkpoint",
            "axon-audit/t/1\n01\n" + "A" * 43 + "=\nevents 1\ntime t\n\n",
            "axon-audit/t/1\n-1\n" + "A" * 43 + "=\nevents 1\ntime t\n\n",
            "axon-audit/t/1\n1\n" + "A" * 40 + "\nevents 1\ntime t\n\n",
            "elsewhere/t/1\n1\n" + "A" * 43 + "=\nevents 1\ntime t\n\n",
            "axon-audit/t/1\n1\n" + "A" * 43 + "=\ntime t\n\n",
            "axon-audit/t/1\n" + "9" * 5000 + "\n" + "A" * 43 + "=\nevents 1\ntime t\n\n",
            "axon-audit/t/1\n1\n" + "A" * 43 + "=\nevents " + "9" * 5000 + "\ntime t\n\n",
        ],
    )
    def test_what_is_no_checkpoint(self, text: str) -> None:
        """A text that is none is refused with its beginning."""
        with pytest.raises(InvalidEventError, match="not a checkpoint"):
            Checkpoint.parse(text)


def _private_line(name: str, seed: bytes, public: bytes) -> str:
    encoded = base64.b64encode(b"\x01" + seed).decode()
    return f"PRIVATE+KEY+{name}+{key_id(name, public).hex()}+{encoded}"


class TestKeys:
    def test_a_key_made_elsewhere(self) -> None:
        """The key of RFC 8032 signs as `cryptography` does with it, and has its public half."""
        key = SigningKey(_private_line("rfc8032", SEED, PUBLIC) + "\n")
        assert key.verifying.public == PUBLIC
        found = NOTE.fullmatch(key.sign(CHECKPOINT.text()))
        assert found is not None
        signature = base64.b64decode(found["signatures"].split(" ")[2])[4:]
        other = Ed25519PrivateKey.from_private_bytes(SEED)
        assert signature == other.sign(CHECKPOINT.text().encode())

    def test_lines(self) -> None:
        """Both lines of a new key have the forms of signed notes, and lead back to it."""
        key = new_key("example.com/auditor")
        public = VerifyingKey.parse(f"  {key.verifying}\n")
        assert public == key.verifying
        assert str(public).startswith(
            f"example.com/auditor+{key_id(public.name, public.public).hex()}+"
        )
        assert raw(str(public)) == public.public
        assert SigningKey(key.line()).verifying == public
        seed = raw(key.line())
        assert Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw() == (
            public.public
        )

    def test_the_seed_is_not_shown(self) -> None:
        """`repr`, which ends up in logs, names the key and not the secret."""
        key = new_key("auditor")
        assert repr(key) == str(key) == "SigningKey('auditor')"
        assert key.line().split("+", 4)[4] not in repr(vars(key))
        with pytest.raises(TypeError, match="never pickled"):
            pickle.dumps(key)

    @pytest.mark.parametrize("name", ["", "a b", "a+b", "a\nb", "x" * 129])
    def test_names_that_cannot_be(self, name: str) -> None:
        """A name that would break a note is refused, and shown."""
        with pytest.raises(AuditConfigError, match="key name"):
            new_key(name)

    @pytest.mark.parametrize(
        "line",
        ["", "auditor", "auditor+00000000", "a+b+c", "auditor+00000000+!!!!", "a+00000000+AQID"],
    )
    def test_lines_that_are_no_public_key(self, line: str) -> None:
        """A line that is not a key is refused."""
        with pytest.raises(AuditConfigError, match="no Ed25519 verification key"):
            VerifyingKey.parse(line)

    def test_a_key_under_another_name(self) -> None:
        """A key line whose name was changed does not belong to its id any more."""
        line = str(new_key("auditor").verifying)
        with pytest.raises(AuditConfigError, match="does not belong"):
            VerifyingKey.parse(line.replace("auditor", "someone", 1))
        with pytest.raises(AuditConfigError, match="does not belong"):
            SigningKey(new_key("auditor").line().replace("auditor", "someone", 1))

    @pytest.mark.parametrize("line", ["", "PRIVATE+KEY+a", "PRIVATE+KEY+a+00000000+AQID"])
    def test_lines_that_are_no_private_key(self, line: str) -> None:
        """A line that is not a key is refused, and the message says how to get one."""
        with pytest.raises(AuditConfigError, match="axon-audit keygen"):
            SigningKey(line)


class TestOfATrail:
    """The checkpoints that an `AuditLogger` writes."""

    @pytest.fixture(name="notes")
    async def _notes(self, make_audit: Make, tmp_path: Path) -> list[Any]:
        """A key, and the notes of three seals."""
        key = new_key("auditor")
        notes: list[str] = []
        audit = make_audit(2, tmp_path, signing_key=key, checkpoint_to=notes.append)
        for _ in range(6):
            await audit.log_event("STORE")
        audit.close()
        return [key, *notes]

    async def test_form_and_signature(self, notes: list[Any]) -> None:
        """Each is a signed note of the C2SP, signed with the key that was given."""
        key, *written = notes
        assert written
        public = Ed25519PublicKey.from_public_bytes(key.verifying.public)
        for note in written:
            found = NOTE.fullmatch(note)
            assert found is not None
            signature = base64.b64decode(found["signatures"].split(" ")[2])
            public.verify(signature[4:], found["text"].encode())

    async def test_the_tree(self, notes: list[Any], tmp_path: Path) -> None:
        """Size and root are those of the manifest's lines then, by another implementation."""
        lines = (tmp_path / "default.manifest").read_bytes().splitlines()
        sizes = set()
        for note in notes[1:]:
            found = NOTE.fullmatch(note)
            assert found is not None
            size = int(found["size"])
            assert base64.b64decode(found["root"]) == by_definition(lines[:size])
            sizes.add(size)
        assert max(sizes) == len(lines)


async def test_every_few_events(make_audit: Make, tmp_path: Path) -> None:
    """With `checkpoint_events=` a checkpoint proves the newest events long before they are
    sealed, and none is made without news."""
    notes: list[str] = []
    key = new_key("auditor")
    options = {"signing_key": key, "checkpoint_to": notes.append, "checkpoint_events": 3}
    audit = make_audit(100, tmp_path, **options)
    for _ in range(8):
        await audit.log_event("STORE")
    report = verify(tmp_path, [key.verifying])
    assert (report.findings, report.writers[0].proved_until) == ([], 6)
    audit.close()
    assert [Checkpoint.parse(note).events for note in notes] == [3, 6, 8]
