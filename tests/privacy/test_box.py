"""Whose key opens which part of an event: the erasure of one person leaves the others' parts."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

import msgspec
import pytest
from axon import MemorySystem
from conftest import Cli, Make, MakeSystem
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditEvent, AuditLogger, AxonInstrumentor, audit_context, verify
from axon_audit_otel.events.draft import draft
from axon_audit_otel.privacy.box import ERASED, LEFT_OUT
from axon_audit_otel.privacy.readable import recorded

pytestmark = pytest.mark.usefixtures("without_start_record")

OLD = Path(__file__).parents[1] / "data" / "encrypted_together"
PEOPLE = [f"canary-{name}" for name in ("ann", "bob", "cyd", "dee", "用户")]
SINGLE = ("user_id", "subject_id", "agent_id", "on_behalf_of")


def _names(owner: str | tuple[str, ...] | None) -> tuple[str, ...]:
    return (owner,) if isinstance(owner, str) else owner or ()


@dataclass
class Said:
    """What an event is made of."""

    single: dict[str, str] = field(default_factory=dict)
    subjects: list[str] = field(default_factory=list)
    owners: list[Any] = field(default_factory=list)  # of each text: None, a name, or names
    note: str = "canary of whom the event is"

    @property
    def texts(self) -> list[str]:
        """The texts of entries in it."""
        return [f"canary text {n} of {owner}" for n, owner in enumerate(self.owners)]

    def record(self, audit: AuditLogger) -> None:
        """Record it as an operation does."""
        facts: dict[str, Any] = {"note": self.note, "altered": ["e1"]}
        if self.owners:
            facts["content"] = self.texts
        made = draft(
            "RECALL",
            "SUCCESS",
            session_id="canary-visit",
            entry_ids=["e1"],
            metadata=facts,
            error_message="canary message",
            purpose="canary purpose",
            subjects=self.subjects,
            trail=audit.trail,
            **self.single,  # type: ignore[arg-type]
        )
        made.text_owners = tuple(map(_names, self.owners))
        audit.trail.policy.event(made, own=True)
        audit.emit(made)

    def is_open(self, gone: set[str]) -> bool:
        """Whether the facts can be read when the keys of *gone* are destroyed."""
        if self.single:
            return gone.isdisjoint(self.single.values())
        return not self.subjects or not gone.issuperset(self.subjects)

    def shown(self, gone: set[str]) -> list[str]:
        """The texts as they are read then."""
        return [
            text if (gone.isdisjoint(_names(owner)) if owner else self.is_open(gone)) else ERASED
            for owner, text in zip(self.owners, self.texts)
        ]

    def check(self, event: AuditEvent, gone: set[str]) -> None:
        """*event* shows what can be read when the keys of *gone* are destroyed, and no more."""
        for name, given_id in self.single.items():
            assert (getattr(event, name) == given_id) is (given_id not in gone)
        assert [one if one in self.subjects else None for one in event.subjects] == [
            None if one in gone else one for one in self.subjects
        ]
        is_open = self.is_open(gone)
        assert event.metadata["altered"] == ["e1"]
        assert event.metadata.get("note") == (self.note if is_open else None)
        words = (event.session_id, event.error_message, event.purpose)
        told = ("canary-visit", "canary message", "canary purpose")
        assert words == (told if is_open else (None, None, None))
        shown = self.shown(gone)
        left = [] if not is_open and set(shown) <= {ERASED} else shown
        assert event.metadata.get("content", []) == left


@st.composite
def _events(draw: st.DrawFn) -> Said:
    someone = st.sampled_from(PEOPLE)
    single = draw(st.dictionaries(st.sampled_from(SINGLE), someone, max_size=3))
    subjects = draw(st.lists(someone, unique=True, max_size=4))
    owner = st.sampled_from([None, *subjects, *combinations(subjects, 2)])
    owners = draw(st.lists(owner, max_size=4))
    if not single and not subjects:  # of nobody: in clear, as it has no key
        single = {"user_id": draw(someone)}
    return Said(single, subjects, owners)


@contextmanager
def _logger(logs: Path) -> Iterator[AuditLogger]:
    with AuditLogger(
        auto_export_path=logs,
        erasable=True,
        logger_provider=LoggerProvider(shutdown_on_exit=False),
        registry=CollectorRegistry(),
    ) as audit:
        yield audit


def _of(audit: AuditLogger) -> list[AuditEvent]:
    """The events of the memory, from files too, in their order."""
    return audit.query_events(operation="RECALL", archived=True)[::-1]


def _written(place: Path) -> bytes:
    return b"".join(path.read_bytes() for path in place.rglob("*") if path.is_file())


@pytest.mark.slow
@given(events=st.lists(_events(), min_size=1, max_size=4), order=st.permutations(PEOPLE))
@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_each_part_is_readable_while_its_people_are_there(
    events: list[Said], order: list[str]
) -> None:
    """After each erasure, facts and texts are read by the rule, in memory and from files: nobody
    loses what is of others, and nothing of anybody is ever in clear."""
    with tempfile.TemporaryDirectory() as place:
        logs, gone = Path(place) / "logs", set[str]()
        with _logger(logs) as audit:
            for said in events:
                said.record(audit)
            hashes = [event.hash for event in _of(audit)]
            for person in [None, *order]:
                if person is not None and audit.erase_user(person):
                    gone.add(person)
                for said, event in zip(events, _of(audit), strict=True):
                    said.check(event, gone)
                assert b"canary" not in _written(Path(place))
        with _logger(logs) as again:
            found = _of(again)
        assert [event.hash for event in found] == hashes
        for said, event in zip(events, found, strict=True):
            said.check(event, gone)
        assert not verify(logs).findings


ANN, BOB, CYD = PEOPLE[:3]
THREE = [ANN, BOB, CYD]
QUERY = "a canary of a query"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(Said({"user_id": ANN}, [ANN], [ANN, None]), id="one person"),
        pytest.param(Said({}, [ANN], [ANN, None]), id="one owner"),
        pytest.param(Said({"user_id": ANN}, THREE), id="actor and others"),
        pytest.param(Said({"user_id": ANN}, THREE, [BOB, ANN, None, BOB, CYD]), id="texts"),
        pytest.param(Said({"user_id": ANN, "subject_id": BOB}, [BOB], [BOB]), id="about both"),
        pytest.param(Said({"agent_id": ANN, "on_behalf_of": CYD}, [BOB]), id="agent"),
        pytest.param(Said({}, THREE, [None, CYD, ANN]), id="nobody acts"),
        pytest.param(Said({}, THREE), id="nobody acts, no texts"),
        pytest.param(Said({"user_id": CYD}, THREE, [(BOB, ANN), BOB, (ANN, CYD)]), id="summaries"),
        pytest.param(Said({"user_id": ANN, "subject_id": BOB}, [BOB, ANN], [(ANN, BOB)]), id="two"),
        pytest.param(Said({"agent_id": CYD, "user_id": ANN}, [CYD, ANN]), id="both ways"),
    ],
)
def test_who_is_erased_takes_only_his_own(said: Said, make_audit: Make, tmp_path: Path) -> None:
    """Facts go with who acts, or with the last of several owners; each text goes with its owner."""
    audit, gone = make_audit(auto_export_path=tmp_path / "logs", erasable=True), set[str]()
    said.record(audit)
    for person in [None, BOB, ANN, CYD]:
        if person is not None and audit.erase_user(person):
            gone.add(person)
        (event,) = _of(audit)
        said.check(event, gone)
        assert b"canary" not in _written(tmp_path)


def test_with_pseudonyms(make_audit: Make, tmp_path: Path) -> None:
    """Texts have the keys of their owners also where hashes stand for these."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True, pseudonymize="s" * 32)
    Said({"user_id": ANN}, THREE, [BOB, ANN, None]).record(audit)
    assert audit.erase_user(BOB)
    (event,) = _of(audit)
    texts = event.metadata["content"]
    assert [text[:13] for text in texts] == [ERASED, "canary text 1", "canary text 2"]


def test_an_event_of_one_person_is_as_before(make_audit: Make, tmp_path: Path) -> None:
    """It has its facts and texts in one encrypted text, and nothing besides."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True)
    Said({"user_id": ANN}, [ANN], [ANN, None, ANN]).record(audit)
    (event,) = _of(audit)
    assert list(recorded(event).metadata) == ["altered", "erasable"]
    assert isinstance(recorded(event).metadata["erasable"], str)


def test_the_bytes_are_as_documented(make_audit: Make, tmp_path: Path) -> None:
    """What is recorded can be opened with the keys, the standard library and AES-GCM alone."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True)
    said = Said({}, [ANN, BOB], [BOB, None, ANN, (BOB, ANN)])
    said.record(audit)
    (event,) = _of(audit)
    parts, event_id = recorded(event).metadata["erasable"], event.event_id.encode()

    def opened(key: bytes, text: str, bound_to: bytes) -> bytes:
        data = b64decode(text)
        return AESGCM(key).decrypt(data[:12], data[12:], bound_to)

    def key_for(places: list[int]) -> bytes:
        together = b"".join(keys[place] for place in places)
        return together if len(places) == 1 else hashlib.sha256(together).digest()

    keys = [_key_of(tmp_path / "logs.keys", name) for name in recorded(event).subjects]
    box_keys = {opened(key, part, event_id + b" key") for key, part in zip(keys, parts["keys"])}
    facts = msgspec.json.decode(opened(box_keys.pop(), parts["box"], event_id))
    assert (box_keys, facts["metadata"]["content"]) == (
        set(),
        [ERASED, said.texts[1], ERASED, ERASED],
    )
    texts = [
        (places, msgspec.json.decode(opened(key_for(places), part, event_id + b" texts")))
        for places, part in parts["texts"]
    ]
    assert texts == [
        ([1], [4, {"0": said.texts[0]}]),
        ([0], [4, {"2": said.texts[2]}]),
        ([0, 1], [4, {"3": said.texts[3]}]),
    ]


def _key_of(keys: Path, name: str) -> bytes:
    """The key that a name stands for, from the files of a keyring."""
    token = bytes.fromhex(name.split(":")[1])
    data = (keys / f"{token[-1]:02x}.keys").read_bytes()
    at = data.index(token)
    return data[at + 16 : at + 48]


def test_an_archive_of_before(cli: Cli, make_audit: Make, tmp_path: Path) -> None:
    """Events that were encrypted for all their persons together are read as they were, and still
    need the keys of all; new ones beside them do not."""
    shutil.copytree(OLD, tmp_path, dirs_exist_ok=True)
    for path in [tmp_path, *tmp_path.rglob("*")]:
        path.chmod(0o700 if path.is_dir() else 0o600)
    logs = tmp_path / "logs"
    assert not verify(logs).findings
    audit = make_audit(auto_export_path=logs, erasable=True)
    before = _of(audit)
    assert [event.metadata.get("k") for event in before] == [1, 2, None, 4, 5, None]
    texts = {"content": ["tea of ann", "milk of bob"], "query": "drinks"}
    assert (before[2].metadata, before[2].purpose, before[2].session_id) == (texts, "why", "s3")
    assert before[3].agent_id == "bot"
    Said({"user_id": "ann"}, ["ann", "cyd"]).record(audit)
    assert audit.erase_user("cyd")
    *after, new = _of(audit)
    assert [event.metadata.get("k") for event in after] == [1, 2, None, None, None, None]
    assert (after[3].user_id, new.metadata) == ("ann", {"altered": ["e1"], "note": Said.note})
    assert [event.hash for event in after] == [event.hash for event in before]
    audit.close()
    assert cli("query", logs, "--user", "ann", "--json").stdout.count('"metadata":{"k":') == 2
    assert not verify(logs).findings


HOSTILE: list[Any] = [
    *(None, 5, "", "é", [], {}, {"box": 5}, {"box": ""}, {"box": "x", "keys": [None]}),
    *({"box": "", "keys": "x"}, {"box": "", "texts": [5]}, {"box": "", "texts": [[[0], "é"]]}),
    *({"box": "", "texts": [[places, "AAAA"]]} for places in ([], [-1], [1, 7], ["0"], [1e9])),
    {"box": "", "keys": ["AAAA"] * 3, "texts": [[[0, 1], "AAAA"]]},
]


@pytest.mark.parametrize("box", HOSTILE, ids=str)
def test_what_is_no_box(box: Any, make_audit: Make, tmp_path: Path) -> None:
    """Whatever stands in its place, an event is read; its persons are, too."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True)
    Said({}, [ANN, BOB], [ANN]).record(audit)
    (event,) = _of(audit)
    forged = msgspec.structs.replace(
        AuditEvent(**msgspec.structs.asdict(recorded(event))), metadata={"erasable": box}
    )
    read = audit.trail.policy.reveal(forged)
    assert (read.subjects, read.metadata) == ((ANN, BOB), {"erasable": box})


@pytest.mark.parametrize(
    ("own", "stay"),
    [(True, ["altered", "derived", "derived_remaining"]), (False, ["derived"])],
)
def test_facts_that_name_entries(
    own: bool, stay: list[str], make_audit: Make, tmp_path: Path
) -> None:
    """What an operation noted of entries outlives its persons; a caller's fact of such a name does
    not, unless the event has its ids in clear anyway."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True)
    facts: dict[str, Any] = {
        "altered": ["her address"],
        "derived": {"e3": ["e1", "e2"]},
        "derived_remaining": ["e9"],
        "derived_deleted": "all of hers",
        "resurrected": [[5, None], {"a": {"b": 1.5}}] if not own else "hers",
        "k": 5,
    }
    ids: dict[str, Any] = {"entry_ids": ["e3"], "derived_from": ("e1", "e2")}
    made = draft("COMPACT", "SUCCESS", user_id=ANN, metadata=dict(facts), trail=audit.trail, **ids)
    audit.trail.policy.event(made, own=own)
    audit.emit(made)
    (event,) = audit.query_events()
    assert event.metadata == facts
    assert list(recorded(event).metadata) == [*stay, "erasable"]
    assert audit.erase_user(ANN)
    event = audit.query_events(operation="COMPACT", archived=True)[0]
    assert {name: event.metadata.get(name) for name in stay} == {n: facts[n] for n in stay}
    assert len(event.metadata) == len(stay) + 1


def test_parts_of_another_event_are_not_opened(make_audit: Make, tmp_path: Path) -> None:
    """Keys and texts are bound to their event, and to their place in it."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True)
    for _ in range(2):
        Said({}, [ANN, BOB], [ANN, BOB]).record(audit)
    one, other = (recorded(event) for event in _of(audit))
    theirs, ours = other.metadata["erasable"], one.metadata["erasable"]
    ours["texts"] = [[[1 - place], part] for [place], part in ours["texts"]]
    for parts in (
        theirs,
        {**ours, "keys": theirs["keys"], "texts": theirs["texts"]},
        {"box": theirs["box"], "keys": ours["keys"][::-1], "texts": ours["texts"]},
    ):
        metadata = {"altered": ["e1"], "erasable": parts}
        read = audit.trail.policy.reveal(msgspec.structs.replace(one, metadata=metadata))
        assert (read.subjects, read.metadata) == ((ANN, BOB), metadata)


def test_many_texts_fit(make_audit: Make, tmp_path: Path) -> None:
    """An event of many owners keeps to its size: their texts go before names of persons do."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True, max_event_bytes=16_384)
    people = [f"canary-{n}" for n in range(60)]
    Said({"user_id": ANN}, people, list(people)).record(audit)
    (event,) = _of(audit)
    assert len(recorded(event).to_json()) <= 16_384
    assert event.subjects == tuple(people)
    assert event.metadata["content"] == "[left out: too long]"
    few = [*people[:10]]
    Said({}, few, list(few)).record(audit)
    Said({}, few, few).check(_of(audit)[-1], set())


def test_texts_of_more_persons_than_it_names(make_audit: Make, tmp_path: Path) -> None:
    """Of a thousand and more, those who are named have their texts; of the others none is kept."""
    audit = make_audit(auto_export_path=tmp_path / "logs", erasable=True, max_event_bytes=1 << 20)
    people = [f"p{n}" for n in range(1_001)]
    said = Said({"user_id": ANN}, people, [people[0], people[-1]])
    said.record(audit)
    (event,) = _of(audit)
    assert event.metadata["content"] == [said.texts[0], LEFT_OUT]
    assert audit.erase_user(people[0])
    (event,) = _of(audit)
    assert event.metadata["content"] == [ERASED, LEFT_OUT]
    assert event.metadata["note"] == said.note


class Joining:
    """A summarizer."""

    async def summarize(self, entries: Any, *args: Any, **kwargs: Any) -> str:
        return " and ".join(entry.text for entry in entries)


class TestOfTheInstrumentedSdk:
    """Two users' entries in one recall; then one of them is erased."""

    @pytest.fixture(name="logs")
    def _logs(self, tmp_path: Path) -> Path:
        return tmp_path / "logs"

    @pytest.fixture(name="audit")
    def _audit(self, make_audit: Make, logs: Path) -> AuditLogger:
        return make_audit(auto_export_path=logs, erasable=True, capture_content=True)

    @pytest.fixture(name="memory")
    def _memory(self, audit: AuditLogger, make_system: MakeSystem) -> Iterator[MemorySystem]:
        instrumentor = AxonInstrumentor()
        instrumentor.instrument(audit_logger=audit)
        yield make_system()
        instrumentor.uninstrument()

    @pytest.mark.parametrize("actor", [None, "ann", "eve"])
    async def test_recall(
        self,
        actor: str | None,
        memory: Any,
        audit: AuditLogger,
        make_audit: Make,
        logs: Path,
        cli: Cli,
    ) -> None:
        """His texts and his name are gone from everybody's events, and nothing else is: in
        memory, after a restart, and on the command line."""
        texts = {"ann": "canary tea of ann", "bob": "canary milk of bob"}
        for user, text in texts.items():
            await memory.store(text, metadata={"user_id": user})
        await memory.store("text of nobody")
        with audit_context(user_id=actor):
            found = [entry.text for entry in await memory.recall(QUERY, k=5)]
        assert set(found) == {*texts.values(), "text of nobody"}
        (event,) = _of(audit)
        assert (event.metadata["content"], event.metadata["query"]) == (found, QUERY)
        assert audit.erase_user("bob")
        left = [ERASED if text == texts["bob"] else text for text in found]

        def check(event: AuditEvent) -> None:
            assert (event.metadata["content"], event.metadata["query"]) == (left, QUERY)
            assert (event.user_id, event.metadata["k"]) == (actor, 5)
            assert [one for one in event.subjects if one in texts] == ["ann"]

        check(*_of(audit))
        audit.close()
        check(*_of(make_audit(auto_export_path=logs, erasable=True)))
        out = cli("query", logs, "--operation", "recall", "--json").stdout
        check(msgspec.json.decode(out, type=AuditEvent))
        assert "milk" not in cli("query", logs, "--json").stdout
        assert b"canary" not in _written(logs)
        assert not verify(logs).findings

    async def test_summary(self, memory: Any, audit: AuditLogger) -> None:
        """A summary of both has the text of both, whoever owns it: it goes with either of them."""
        for user in ("ann", "bob"):
            await memory.store(f"tea of {user}", metadata={"user_id": user})
        await memory.compact("persistent", threshold=1, summarizer=Joining())
        with audit_context(user_id="eve"):
            (summary,) = await memory.recall(QUERY)
        (event,) = _of(audit)
        assert (set(event.subjects), event.metadata["content"]) == ({"ann", "bob"}, [summary.text])
        other = "bob" if summary.metadata.user_id == "ann" else "ann"
        assert audit.erase_user(other)
        (event,) = _of(audit)
        assert event.metadata["content"] == [ERASED]
        assert summary.metadata.user_id in event.subjects

    async def test_store_for_another(self, memory: Any, audit: AuditLogger) -> None:
        """What Eve stores for Bob is his: of Eve's event nothing is left of it without him, and
        of Bob's text nothing is lost without her."""
        with audit_context(user_id="eve"):
            await memory.store("canary", metadata={"user_id": "bob"})
        event = audit.query_events(subject_id="bob")[0]
        assert event.metadata["content"] == ["canary"]
        assert audit.erase_user("eve")
        event = audit.query_events(subject_id="bob")[0]
        assert (event.metadata["content"], "importance" in event.metadata) == (["canary"], False)
        assert audit.erase_user("bob")
        event = audit.query_events(operation="STORE")[0]
        assert list(event.metadata) == ["erasable"]
