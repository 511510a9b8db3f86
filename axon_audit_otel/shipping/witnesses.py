"""Has witnesses cosign checkpoints: others, who remember how large a trail was, and its root.

Protocol: https://c2sp.org/tlog-witness. Who has the signing key and all files can write another
history; but a witness cosigns only what continues the history that it knows. It does not see the
events, only the checkpoint and hashes.
"""

from __future__ import annotations

import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlunsplit

from ..archive.checkpoints import Checkpoint
from ..archive.cosignatures import COSIGNED, WitnessKey
from ..archive.manifest import MANIFEST, read_manifest
from ..core.errors import AuditConfigError, shown_url
from ..core.faults import Faults
from ..core.files import DECODE_ERRORS, append
from ..core.merkle import consistency_path, leaf_hash, root_hash
from ..core.worker import Worker
from ..otlp.address import parse_address
from ..otlp.http_post import HttpPost, Reply, in_a_line

__all__ = ["Refusal", "Witness", "Witnesses"]

_TIMEOUT_S = 10.0
_RETRY_S = (1.0, 300.0)  # after a failure: the first wait, and the longest
_BODY = 16_384  # bytes of an answer, at most: a few lines
_TRIES = 3  # with the size that the witness says it knows
_OK, _CONFLICT, _UNPROVED = 200, 409, 422


@dataclass(frozen=True)
class Witness:
    """A witness: its submission prefix, and its public key."""

    url: str
    key: WitnessKey

    @classmethod
    def parse(cls, line: str) -> Witness:
        """A witness in its line ``URL name+id+key``.

        Raises:
            AuditConfigError: If *line* is not such a line.
        """
        url, _, key = line.strip().partition(" ")
        try:
            parts, is_grpc = parse_address(url, "witness")
        except AuditConfigError:
            is_witness = False
        else:
            is_witness = not is_grpc and "@" not in parts.netloc  # the protocol knows no login
        if not is_witness:
            raise AuditConfigError(f"witness {shown_url(url)}: must be URL name+id+key")
        return cls(urlunsplit(parts).rstrip("/"), WitnessKey.parse(key))


class Refusal(NamedTuple):
    """A witness knows another history of a trail than the one in its files.

    Attributes:
        witness: The witness's name.
        origin: The trail: ``axon-audit/<name>/<id>``.
        size: Number of manifest lines in the checkpoint that it refused.
        known: Number of those that it knows.
        reason: Why they do not fit.
    """

    witness: str
    origin: str
    size: int
    known: int
    reason: str


class _RefusedError(OSError):
    """The witness knows another history: how many lines of it, and why ours does not fit."""

    def __init__(self, witness: str, known: int, reason: str) -> None:
        super().__init__(f"{witness}: {reason}")
        self.known = known
        self.reason = reason


class _Submission:
    """A checkpoint on its way to the witnesses."""

    def __init__(self, path: Path, note: str) -> None:
        self.path = path
        self.note = note
        text, _, self.signatures = note.partition("\n\n")
        self.text = f"{text}\n"
        self.checkpoint = Checkpoint.parse(note)
        self._leaves: list[bytes] = []

    def proof_from(self, old: int) -> list[bytes]:
        """The hashes that prove that the first *old* lines are still as they were.

        Raises:
            OSError: If the manifest is not as the checkpoint says.
        """
        size = self.checkpoint.size
        if not self._leaves:
            manifest = self.path.with_name(f"{self.path.name}{MANIFEST}")
            try:
                leaves = [leaf_hash(line) for line, _ in read_manifest(manifest)][:size]
            except DECODE_ERRORS:
                leaves = []
            if root_hash(leaves) != self.checkpoint.root:
                raise OSError(f"{manifest.name} is not as the checkpoint says")
            self._leaves = leaves
        return consistency_path(self._leaves, old)


@dataclass
class _Link:
    """One writer's way to one witness."""

    witness: Witness
    post: HttpPost | None = None
    size: int = 0  # lines of the manifest that it knows
    answered: str = ""  # the newest note that it cosigned, or refused for good
    timeout: float = _TIMEOUT_S
    refuses: bool = False
    delay: float = 0.0
    due: float = 0.0  # when it may be asked again

    @property
    def name(self) -> str:
        """The witness's name."""
        return self.witness.key.name

    def cosign(self, submission: _Submission) -> str:
        """The lines of its cosignatures.

        Raises:
            _RefusedError: If it knows another history.
            OSError: If it does not answer as it should, or does not know the trail.
        """
        size = submission.checkpoint.size
        for _ in range(_TRIES):
            if self.size > size:
                reason = "it knows more lines: the archive was rolled back"
                raise _RefusedError(self.name, self.size, reason)
            reply = self._ask(submission)
            if reply.status == _OK:
                self.size = size
                return self._cosignatures(submission, reply.body)
            known = _size_in(reply)
            if (reply.status == _UNPROVED and self.size) or known == self.size == size:
                reason = "the lines that the witness knows were other ones"
                raise _RefusedError(self.name, self.size, reason)
            if known is None or known == self.size:
                raise OSError(f"{self.name}: {_words(reply)}")
            self.size = known
        raise OSError(f"{self.name}: it names one size after another")

    def _ask(self, submission: _Submission) -> Reply:
        if self.post is None:
            headers = {"Content-Type": "text/plain", "Accept-Encoding": "identity"}
            self.post = HttpPost(headers, self.timeout, _BODY)
        self.post.timeout = self.timeout
        steps = [b64encode(step).decode() for step in submission.proof_from(self.size)]
        body = "\n".join([f"old {self.size}", *steps, "", submission.note])
        url = f"{self.witness.url}/add-checkpoint"
        return self.post.send(url, body.encode(), (_OK, _CONFLICT))

    def _cosignatures(self, submission: _Submission, body: bytes) -> str:
        found = [
            line
            for line in body.decode("utf-8", "replace").splitlines()
            if self.witness.key.cosigned_at(submission.text, line) is not None
        ]
        if not found:
            raise OSError(f"{self.name}: it answered without a signature of its key")
        return "".join(f"{line}\n" for line in found)

    def failed(self) -> None:
        """Leave it alone for longer and longer."""
        self.delay = min(max(2 * self.delay, _RETRY_S[0]), _RETRY_S[1])
        self.due = time.monotonic() + self.delay


def _size_in(reply: Reply) -> int | None:
    """The size in the body of a conflict; None if there is none."""
    text = reply.body.strip()
    is_size = reply.status == _CONFLICT and text.isdigit() and len(text) <= 18
    return int(text) if is_size else None


def _words(reply: Reply) -> str:
    words = f"HTTP {reply.status} {in_a_line(reply.words)}".strip()
    if reply.status in (403, 404):
        words += ": it must be told this trail's origin and public key"
    if 300 <= reply.status < 400:
        words += ": redirects are not followed"
    return words


class Witnesses:
    """Submits checkpoints to witnesses, from a background thread.

    What they answer is kept in a file beside the checkpoints. Of each writer only the newest
    checkpoint is submitted: it says all that the older ones say.

    Args:
        witnesses: The witnesses.
        faults: Takes what failed.
        refused: Called, in the thread, when a witness knows another history of a trail; once
            until it cosigns that again.
    """

    def __init__(
        self,
        witnesses: Iterable[Witness],
        faults: Faults,
        refused: Callable[[Refusal], object],
    ) -> None:
        self._witnesses = list(witnesses)
        self._faults = faults
        self._refused = refused
        self.begin()

    def begin(self) -> None:
        """Forget what waits; also called in a forked child."""
        self._links: dict[Path, list[_Link]] = {}
        self._newest: dict[Path, _Submission] = {}
        self._progress = threading.Condition()
        fault = partial(self._faults.fault, "witness")
        self._worker = Worker("axon-audit-witness", self._turn, fault)

    def add(self, path: Path, note: str) -> None:
        """Have a signed checkpoint cosigned.

        Args:
            path: The path of its writer's files, without an ending.
            note: The checkpoint.
        """
        with self._progress:
            self._newest[path] = _Submission(path, note)
            self._links.setdefault(path, [_Link(witness) for witness in self._witnesses])
        self._worker.wake()

    def wait(self, seconds: float) -> None:
        """Wait about *seconds* until each witness has answered, or failed."""
        if not self._waiting():
            return
        if not self._worker.wake():  # the interpreter ends
            for link in self._waiting():
                link.timeout = seconds
            self._turn()
        with self._progress:
            self._progress.wait_for(lambda: all(x.delay for x in self._waiting()), seconds)

    def _waiting(self) -> list[_Link]:
        """The ways on which a checkpoint is."""
        with self._progress:
            return [
                link
                for path, submission in self._newest.items()
                for link in self._links[path]
                if link.answered != submission.note
            ]

    # --- the thread ------------------------------------------------------------------------

    def _turn(self) -> float | None:
        """Submit what waits; returns in how many seconds to go on, None: when there is more."""
        from opentelemetry.instrumentation.utils import suppress_instrumentation

        with self._progress:
            newest = list(self._newest.items())
        with suppress_instrumentation():
            for path, submission in newest:
                self._submit(submission, self._links[path])
        with self._progress:
            self._progress.notify_all()
        due = min((link.due for link in self._waiting()), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def _submit(self, submission: _Submission, links: list[_Link]) -> None:
        """Ask those witnesses that have not answered, and keep their cosignatures."""
        now = time.monotonic()
        asked = [x for x in links if x.answered != submission.note and x.due <= now]
        lines = "".join([self._cosigned(link, submission) for link in asked])
        if lines:
            file = submission.path.with_name(f"{submission.path.name}{COSIGNED}")
            submission.signatures += lines
            try:
                append(file, f"{submission.text}\n{submission.signatures}".encode())
            except OSError as exc:
                self._faults.fault("witness", exc)

    def _cosigned(self, link: _Link, submission: _Submission) -> str:
        """The lines of a witness; "" if it refuses, or is to be asked again later."""
        lines, checkpoint = "", submission.checkpoint
        try:
            lines = link.cosign(submission)
            link.refuses = False
        except _RefusedError as exc:
            self._faults.fault("witness", exc)
            if not link.refuses:
                link.refuses = True
                told = link.name, checkpoint.origin, checkpoint.size
                self._refused(Refusal(*told, exc.known, exc.reason))
        except OSError as exc:
            self._faults.fault("witness", exc)
            link.failed()
            return ""
        link.answered = submission.note
        link.delay = link.due = 0.0
        return lines
