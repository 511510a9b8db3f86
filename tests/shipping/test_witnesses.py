"""Witnesses cosign checkpoints: what is asked, kept, tried again and refused."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from amounts import slow
from conftest import Make, until
from cosigner import OTHER_TAIL, Cosigner
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditConfigError, AuditLogger
from axon_audit_otel.archive.checkpoints import Checkpoint, new_key
from axon_audit_otel.archive.cosignatures import WitnessKey
from axon_audit_otel.shipping.witnesses import Witness
from axon_audit_otel.trail.settings import Settings

KEY = new_key("auditor")
Run = Callable[..., Awaitable[tuple[int, list[dict[str, Any]]]]]
RunScript = Callable[..., str]
Then = Callable[[AuditLogger], Awaitable[None]]


@pytest.fixture(name="cosigner")
def _cosigner() -> Iterator[Cosigner]:
    witness = Cosigner()
    yield witness
    witness.close()


@pytest.fixture(name="second")
def _second() -> Iterator[Cosigner]:
    witness = Cosigner("witness.example/w2")
    yield witness
    witness.close()


@pytest.fixture(name="watched")
def _watched(make_audit: Make, tmp_path: Path, cosigner: Cosigner) -> AuditLogger:
    """A logger with a witness; a file has two events."""
    return make_audit(2, tmp_path / "logs", signing_key=KEY, witnesses=cosigner.line)


@pytest.fixture(name="run")
def _run(make_audit: Make, cosigner: Cosigner) -> Run:
    """Lets one logger after another write the same trail; returns the number of the witness's
    failures, and the events about its refusals."""

    async def run(
        directory: Path, count: int, then: Then | None = None, max_events: int = 2
    ) -> tuple[int, list[dict[str, Any]]]:
        registry = CollectorRegistry()
        audit = make_audit(
            max_events, directory, signing_key=KEY, witnesses=cosigner.line, registry=registry
        )
        await record(audit, count)
        if then is not None:
            await then(audit)
        audit.trail.seal()
        audit.trail.end()  # waits for the witness
        audit.trail.tick()  # records what it refused
        found = faults(audit), refusals(audit)
        audit.close()
        return found

    return run


def cosigned(directory: Path) -> list[str]:
    """The notes in the file of cosignatures."""
    file = directory / "default.cosigned"
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [f"axon-audit/{note}" for note in text.split("axon-audit/")[1:]]


def has_cosigned(directory: Path, checkpoint: str) -> bool:
    """True if the file of cosignatures has *checkpoint*."""
    text = checkpoint.partition("\n\n")[0]
    return any(text in note for note in cosigned(directory))


def is_cosigned(note: str, witness: Cosigner) -> bool:
    """True if *note* has the cosignature of *witness* and the signature of our key."""
    Checkpoint.parse(note, [KEY.verifying])
    text, _, signatures = note.partition("\n\n")
    return WitnessKey.parse(witness.public).cosigned_at(f"{text}\n", signatures) is not None


def faults(audit: AuditLogger) -> int:
    """How often the witnesses failed, as the metric says."""
    value = audit.trail.metrics.failures["witness"].total
    return int(value)


def has_failed(audit: AuditLogger, before: int) -> bool:
    return faults(audit) > before


def refusals(audit: AuditLogger) -> list[dict[str, Any]]:
    events = audit.query_events(operation="AUDIT")
    return [e.metadata for e in events if e.metadata.get("record") == "witness_refused"]


async def record(audit: AuditLogger, count: int) -> None:
    for _ in range(count):
        await audit.log_event("STORE", "zoë")


class TestCosigned:
    async def test_each_checkpoint(
        self, watched: AuditLogger, cosigner: Cosigner, tmp_path: Path
    ) -> None:
        """The witness gets each newest checkpoint with a proof that continues what it knows; the
        notes with both signatures are in a file that only its owner can read."""
        for _ in range(4):
            await record(watched, 3)
            watched.trail.seal()
            newest = (tmp_path / "logs" / "default.checkpoint").read_text()
            await until(partial(has_cosigned, tmp_path / "logs", newest))
        notes = cosigned(tmp_path / "logs")
        assert all(is_cosigned(note, cosigner) for note in notes)
        assert (tmp_path / "logs" / "default.cosigned").stat().st_mode & 0o777 == 0o600
        assert cosigner.requests[0].startswith("old 0\n\naxon-audit/default/")
        assert cosigner.known[Checkpoint.parse(newest).origin][0] == Checkpoint.parse(newest).size
        assert faults(watched) == 0

    async def test_at_the_end(
        self, watched: AuditLogger, cosigner: Cosigner, tmp_path: Path
    ) -> None:
        """Closing waits for the cosignature of the last checkpoint."""
        await record(watched, 1)
        watched.close()
        (*_, last) = cosigned(tmp_path / "logs")
        assert is_cosigned(last, cosigner)
        assert Checkpoint.parse(last).events == 2  # with the record `start`

    async def test_after_a_restart(self, run: Run, cosigner: Cosigner, tmp_path: Path) -> None:
        """A new process does not know which size the witness knows: the witness says it."""
        await run(tmp_path / "logs", 6)
        ((origin, (known, _)),) = cosigner.known.items()
        cosigner.requests.clear()
        assert await run(tmp_path / "logs", 3) == (0, [])
        assert cosigner.known[origin][0] > known
        assert cosigner.requests[0].startswith("old 0\n")
        assert cosigner.requests[1].startswith(f"old {known}\n")

    @pytest.mark.slow
    def test_at_the_end_of_the_program(
        self, run_script: RunScript, cosigner: Cosigner, tmp_path: Path
    ) -> None:
        """A program that ends without closing, when no thread can be started any more."""
        key = tmp_path / "key"
        key.write_text(KEY.line())
        run_script(
            "import asyncio\n"
            "from axon_audit_otel import AuditLogger\n"
            f"audit = AuditLogger(auto_export_path={str(tmp_path / 'logs')!r},"
            f" signing_key={str(key)!r}, witnesses={cosigner.line!r})\n"
            "asyncio.run(audit.log_event('STORE', 'zoë'))\n"
        )
        (*_, last) = cosigned(tmp_path / "logs")
        assert is_cosigned(last, cosigner)
        assert Checkpoint.parse(last).events == 2

    @pytest.mark.slow
    async def test_two_witnesses(
        self, make_audit: Make, cosigner: Cosigner, second: Cosigner, tmp_path: Path
    ) -> None:
        """The newest note has the cosignatures of both; one that fails does not hold up the
        other."""
        file = tmp_path / "witnesses"
        file.write_text(f"# ours\n{cosigner.line}\n\n{second.line}\n")
        audit = make_audit(2, tmp_path / "logs", signing_key=KEY, witnesses=str(file))
        second.answer = lambda body: (503, "")
        await record(audit, 3)
        audit.close()
        (*_, last) = cosigned(tmp_path / "logs")
        assert is_cosigned(last, cosigner)
        assert not is_cosigned(last, second)
        second.answer = lambda body: None
        await until(lambda: is_cosigned(cosigned(tmp_path / "logs")[-1], second))
        assert is_cosigned(cosigned(tmp_path / "logs")[-1], cosigner)

    async def test_not_in_the_caller(
        self, watched: AuditLogger, cosigner: Cosigner, tmp_path: Path
    ) -> None:
        """A witness that does not answer holds up nobody."""
        release = threading.Event()
        cosigner.answer = lambda body: release.wait(60) and None
        await record(watched, 9)
        watched.trail.tick()
        assert cosigned(tmp_path / "logs") == []
        release.set()
        await until(lambda: cosigned(tmp_path / "logs"))


class TestFaults:
    @pytest.mark.parametrize(
        "answer",
        [
            (403, ""),
            slow((404, "")),
            slow((400, "")),
            slow((500, "")),
            slow((409, "no number\n")),
            slow((409, "0\n")),
            slow((409, "")),
            slow((422, "")),
            slow((200, "")),
            slow((200, "\u2014 witness.example/w1 AAAA\n")),
            slow((200, "x" * 100_000)),
            slow((307, "", ("Location", "http://127.0.0.1:9/elsewhere"))),
        ],
    )
    @pytest.mark.slow
    async def test_answers(
        self, watched: AuditLogger, cosigner: Cosigner, tmp_path: Path, answer: Any
    ) -> None:
        """An answer that is no cosignature is counted, and the checkpoint submitted again; it is
        no sign of a rollback."""
        cosigner.answer = lambda body: answer
        await record(watched, 3)
        await until(lambda: faults(watched))
        assert cosigned(tmp_path / "logs") == []
        cosigner.answer = lambda body: None
        await until(lambda: cosigned(tmp_path / "logs"))
        assert refusals(watched) == []

    @pytest.mark.slow
    async def test_left_alone(self, watched: AuditLogger, cosigner: Cosigner) -> None:
        """A witness that fails is asked again after a while, not at once."""
        cosigner.answer = lambda body: (503, "")
        await record(watched, 3)
        await until(partial(has_failed, watched, 1))
        assert len(cosigner.requests) < 10

    @pytest.mark.slow
    async def test_a_trail_that_is_unknown(
        self, make_audit: Make, run_script: RunScript, cosigner: Cosigner, tmp_path: Path
    ) -> None:
        """A recovered writer's trail that the witness was not told of does not hold up ours."""
        key = tmp_path / "key"
        key.write_text(KEY.line())
        run_script(
            "import asyncio, os, sys\n"
            "from axon_audit_otel import AuditLogger\n"
            "audit = AuditLogger(2, sys.argv[1], name='killed', signing_key=sys.argv[2])\n"
            "asyncio.run(audit.log_event('STORE', 'zoë'))\n"
            "os._exit(0)\n",
            tmp_path / "logs",
            key,
        )
        cosigner.answer = lambda body: (404, "") if "axon-audit/killed/" in body else None
        audit = make_audit(2, tmp_path / "logs", signing_key=KEY, witnesses=cosigner.line)
        await until(lambda: cosigner.requests)
        assert "axon-audit/killed/" in cosigner.requests[0]
        await record(audit, 3)
        await until(lambda: cosigned(tmp_path / "logs"))
        assert not (tmp_path / "logs" / "killed.cosigned").exists()
        cosigner.answer = lambda body: None
        await until((tmp_path / "logs" / "killed.cosigned").exists)

    @pytest.mark.slow
    async def test_of_another_witness(
        self, watched: AuditLogger, cosigner: Cosigner, second: Cosigner, tmp_path: Path
    ) -> None:
        """A signature of another key, or of another text, is not kept."""
        second.name = cosigner.name
        answers = [
            lambda body: (200, second.cosignature(body.partition("\n\n")[2])),
            lambda body: (200, cosigner.cosignature("another text\n")),
        ]
        for answer in answers:
            cosigner.answer = answer
            before = faults(watched)
            await record(watched, 3)
            await until(partial(has_failed, watched, before))
        assert cosigned(tmp_path / "logs") == []


class TestRefused:
    async def test_rolled_back(self, run: Run, cosigner: Cosigner, tmp_path: Path) -> None:
        """An archive that was put back to an older state: the witness knows more. It is counted
        and recorded, once; what goes on from there is refused too."""
        logs, copy = tmp_path / "logs", tmp_path / "copy"
        await run(logs, 3)
        shutil.copytree(logs, copy)
        assert await run(logs, 9) == (0, [])
        ((origin, (known, _)),) = cosigner.known.items()
        before = len(cosigned(copy))
        failed, (told,) = await run(copy, 3)
        assert failed > 0
        assert (told["witness"], told["origin"], told["known"]) == (cosigner.name, origin, known)
        assert 0 < told["size"] < known
        assert "rolled back" in told["reason"]
        failed, (told,) = await run(copy, 24)
        assert failed > 1
        assert Checkpoint.parse((copy / "default.checkpoint").read_text()).size > known
        assert cosigner.known[origin][0] == known
        assert len(cosigned(copy)) == before

    @pytest.mark.parametrize("unseen", [0, 9])
    async def test_another_history(
        self, run: Run, make_audit: Make, cosigner: Cosigner, tmp_path: Path, unseen: int
    ) -> None:
        """Two histories that begin alike, signed by one key: only one of them is cosigned, also
        if the witness sees the other one only when that is longer."""
        logs, copy = tmp_path / "logs", tmp_path / "copy"
        await run(logs, 3)
        shutil.copytree(logs, copy)
        assert await run(logs, 5) == (0, [])
        audit = make_audit(2, copy, signing_key=KEY, registry=CollectorRegistry())
        await record(audit, unseen)
        audit.close()
        del audit
        failed, (told,) = await run(copy, 5)
        assert failed > 0
        assert cosigned(copy) == cosigned(logs)[: len(cosigned(copy))]
        assert len(cosigned(copy)) < len(cosigned(logs))
        assert told["origin"] == Checkpoint.parse(cosigned(logs)[-1]).origin
        assert (told["size"] > told["known"]) == bool(unseen)

    @pytest.mark.slow
    async def test_two_tails(
        self, run: Run, run_script: RunScript, cosigner: Cosigner, tmp_path: Path
    ) -> None:
        """Two tails of one archive, of the same length and not sealed: not both are cosigned."""
        logs, copy = tmp_path / "logs", tmp_path / "copy"
        await run(logs, 3, max_events=100)
        shutil.copytree(logs, copy)
        key = tmp_path / "key"
        key.write_text(KEY.line())

        async def tails(audit: AuditLogger) -> None:
            before = len(cosigned(logs))
            audit.trail.tick()  # makes a checkpoint of what is not sealed
            await until(lambda: len(cosigned(logs)) > before)
            assert run_script(OTHER_TAIL, copy, key, cosigner.line) == "1\n"
            notes = [(at / "default.checkpoint").read_text() for at in (logs, copy)]
            first, second = map(Checkpoint.parse, notes)
            assert (first.size, first.events) == (second.size, second.events)

        assert await run(logs, 2, tails, max_events=100) == (0, [])


class TestSettings:
    def test_lines(self, cosigner: Cosigner) -> None:
        """URL and key of a line; a slash at its end means nothing."""
        witness = Witness.parse(f" https://w.example/prefix/ {cosigner.public}\n")
        assert witness.url == "https://w.example/prefix"
        assert str(witness.key) == cosigner.public

    @pytest.mark.parametrize(
        ("given", "words"),
        [
            ("https://w.example {auditor}", "no Ed25519 key of a witness"),
            ("ftp://w.example {public}", "must be URL"),
            ("https://user:secret@w.example {public}", "must be URL"),
            ("https://w.example", "no Ed25519 key"),
            ("nowhere", "cannot be read"),
            (["https://w.example {public}", "https://v.example {public}"], "the same key"),
            (7, "a list of these"),
        ],
    )
    def test_refused(
        self, make_audit: Make, cosigner: Cosigner, tmp_path: Path, given: Any, words: str
    ) -> None:
        """What is no witness, or the same one twice."""
        keys = {"auditor": str(KEY.verifying), "public": cosigner.public}
        filled = [one.format(**keys) for one in given] if isinstance(given, list) else given
        filled = filled.format(**keys) if isinstance(filled, str) else filled
        with pytest.raises(AuditConfigError, match=words):
            make_audit(auto_export_path=tmp_path, signing_key=KEY, witnesses=filled)

    def test_of_the_environment(self, cosigner: Cosigner, second: Cosigner, tmp_path: Path) -> None:
        """Lines with commas between, or a file of lines."""
        file = tmp_path / "witnesses"
        file.write_text(f"# two\n{cosigner.line}\n{second.line}\n")
        for value in (f"{cosigner.line}, {second.line}", str(file)):
            found = Settings.one("witnesses", None, {"AXON_AUDIT_WITNESSES": value})
            assert [str(witness.key) for witness in found] == [cosigner.public, second.public]

    def test_needs_a_key(self, make_audit: Make, cosigner: Cosigner, tmp_path: Path) -> None:
        """There is nothing to cosign without a signing key."""
        with pytest.raises(AuditConfigError, match="give signing_key="):
            make_audit(auto_export_path=tmp_path, witnesses=cosigner.line)
