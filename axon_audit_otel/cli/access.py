"""Records in an archive who read it with a command: the trail of the trail."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import wraps
from itertools import chain
from pathlib import Path
from typing import Any

import click

from ..archive.checkpoints import SigningKey
from ..archive.directory import files_of
from ..archive.format import JOURNAL
from ..archive.manifest import MANIFEST
from ..archive.missing import Missing
from ..archive.search import search
from ..archive.writer_lock import has_begun
from ..core.errors import ArchiveError, AxonAuditError
from ..core.files import listed
from ..core.os_user import os_user
from ..core.time import format_time, to_microseconds
from ..events.draft import Draft, draft
from ..events.model import AuditEvent
from ..events.query import ACCESS, Query
from ..privacy.erased_tokens import keyring_of
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import is_pseudonym
from ..privacy.readable import recorded
from ..trail.setting_values import parse_signing_key
from ..trail.settings import Settings
from .admin_events import is_signed_archive, keys_for, recorder
from .asked_entries import AskedEntries
from .options import reason
from .privacy import reader

__all__ = ["Access", "recorded_reading"]

_TRAIL = "access"
#: Options that name a person, the one whose data is asked for first.
_PERSONS = ("subject", "user", "on_behalf_of", "agent")
#: Options of which only the name is recorded, since their text may name somebody.
_NAMED_ONLY = (*_PERSONS, "session", "purpose")
#: Options whose value is recorded as it is.
_VALUES = (
    *("operation", "status", "trace", "limit"),
    *("since", "until", "month", "first", "last", "zone"),
)
#: Signals that end a process: of `kill` and a service manager, and of a terminal that is closed.
_ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
_IN_FILE = 500  # events of a sealed file: each record reads those that are not sealed
_CHECKED = 100  # events at each end of the archive that are checked for hashed ids


def recorded_reading(*, always: bool = False, signs: bool = False) -> Callable[..., Any]:
    """A decorator: the command gets a `Access` as `reading`, which is recorded when it ends.

    It stands below the options, next to the function. That must have an argument ``path``. The
    directory of keys (``erasable``, else ``keys``), ``pseudonyms``, ``decrypt`` and the options
    of `filters` are taken note of if it has them. It gets an option ``--reason``, and
    ``--signing-key``.

    Args:
        always: What it shows is made for others, so that it is recorded although nothing is
            decrypted (unless it is switched off).
        signs: It has an option ``--signing-key`` of its own.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**given: Any) -> None:
            name = click.get_current_context().info_name or command.__name__
            key = given.get("signing_key") if signs else given.pop("record_key")
            why = given.pop("record_reason")
            with _ended_in_order(), Access(name, given, key, why, always) as reading:
                command(**given, reading=reading)

        return _reason_option(run if signs else _key_option(run))

    return decorate


_reason_option = click.option(
    "--reason",
    "record_reason",
    metavar="TEXT",
    help="Why you read the trail, for the record of this reading.",
)
#: Read only when there is something to record: a reader may have no right to the key.
_key_option = click.option(
    "--signing-key",
    "record_key",
    metavar="FILE",
    envvar=Settings.variable("signing_key"),
    show_envvar=True,
    help="Private key that signs the record of this reading; needed if checkpoints are signed.",
)


class Access:
    """One run of a command that reads an archive: what it showed, and the record of that.

    It is a context: at its end the record is written.

    Args:
        command: The name of the command.
        given: Its arguments and options.
        key: The key that signs the record, or its file.
        why: The reason, in the reader's words.
        always: See `recorded_reading`.

    Attributes:
        events: How many events were shown, or what was shown was made of; None if nobody counts.
        revealed: How many of these were decrypted.
        decrypts: False if what the keys open serves to find events only.
        facts: Further facts for the record: nothing that names a person.
    """

    def __init__(
        self,
        command: str,
        given: Mapping[str, Any],
        key: SigningKey | str | None = None,
        why: str | None = None,
        always: bool = False,
    ) -> None:
        self._rule = Settings.one("record_reads")
        self._given = given
        self._path: Path = given["path"]
        self._keys: Path | None = given.get("erasable" if "erasable" in given else "keys")
        self._key = key
        self._why = why
        self._always = always
        self._began = time.monotonic()
        self._begun = self._told = False
        self._is_part = False
        self._counting = threading.Lock()
        self.events: int | None = 0
        self.revealed = 0
        self.decrypts: bool = given.get("decrypt", True)
        self.facts: dict[str, Any] = {"command": command}
        self._entries = AskedEntries(given.get("entry") or ())

    def shown(self, events: Iterable[AuditEvent]) -> Iterator[AuditEvent]:
        """*events*, as `PrivacyPolicy.read` yields them, counted as they are shown; several
        threads may do so."""
        for event in events:
            is_revealed = self.decrypts and recorded(event) is not event
            with self._counting:
                self.events = (self.events or 0) + 1
                self.revealed += is_revealed
                self._entries.learn(event)
            yield event

    def part(self, **given: Any) -> Access:
        """One of several readings of this command, with options of its own: a context, recorded
        if all readings are."""
        part = Access(self.facts["command"], {**self._given, **given}, self._key, self._why)
        part._is_part = True
        return part

    def begin(self) -> None:
        """Record that it begins, if it may last, or reveal what is encrypted.

        Raises:
            click.ClickException: If it must be recorded, and cannot be.
        """
        if self._is_wanted or (self.decrypts and self._rule != "off" and self._policy.encrypts):
            self._begun = True
            self._record("begun", "SUCCESS")

    def __enter__(self) -> Access:
        if self._rule == "required":
            self.begin()
        return self

    def __exit__(self, _kind: object, exc: BaseException | None, _traceback: object) -> None:
        error = None if exc is None or isinstance(exc, click.exceptions.Exit) else exc
        if self._is_to_be_recorded(error):
            self._end(error)

    def _is_to_be_recorded(self, error: BaseException | None) -> bool:
        if self._begun or self._rule in ("off", "all", "required"):
            return self._begun or (self._rule != "off" and not isinstance(error, click.UsageError))
        if self._is_part or (error is not None and not self.events):
            return False  # or it showed nothing
        return self._always or self.revealed > 0

    def _end(self, exc: BaseException | None) -> None:
        status = "SUCCESS"
        if exc is not None:
            status = "PARTIAL" if _is_interruption(exc) else "FAILURE"
        try:
            with _undisturbed():
                self._record("ended", status)
        except click.ClickException as failure:
            if exc is None:
                raise
            click.echo(failure.format_message(), err=True)

    @property
    def _is_wanted(self) -> bool:
        """True if it is recorded whatever it shows."""
        return self._rule in ("all", "required") or (self._always and self._rule != "off")

    @property
    def _directory(self) -> Path:
        return self._path if self._path.is_dir() else self._path.parent

    @property
    def _policy(self) -> PrivacyPolicy:
        return reader(self._path, self._keys, quiet=True)

    # --- the record ------------------------------------------------------------------------

    def _record(self, state: str, status: str) -> None:
        """Write the record, or say why there is none.

        Raises:
            click.ClickException: If there must be one.
        """
        try:
            self._write(state, status)
        except (AxonAuditError, OSError, ValueError) as exc:
            why = reason(exc) if isinstance(exc, OSError) else str(exc)
            if self._rule == "required":
                what = "nothing is shown: that" if state == "begun" else "the end of this reading"
                raise click.ClickException(f"{what} cannot be recorded: {why}") from None
            if not self._told:
                click.echo(f"this reading is not recorded: {why}", err=True)
            self._told = True

    def _write(self, state: str, status: str) -> None:
        directory = self._directory
        _check_writable(directory)
        key = self._signing_key(directory)
        name = _TRAIL if key is None else f"{_TRAIL}-{key.verifying.id.hex()}"
        keys = keys_for(directory, self._keys)
        hides = self._hides(keys)
        if hides:
            click.echo(f"recorded without a name: {hides}", err=True)
        settings = {
            "erasable": keys or False,
            "pseudonymize": self._given.get("pseudonyms"),
            "fingerprints": False,
            "max_events": _IN_FILE,
            "start_record": not hides,  # it names the user of the machine
        }
        with recorder(directory, name, key, _environment(), is_guest=True, **settings) as audit:
            trail = audit.trail
            event = self._event(state, status, trail, bool(hides))
            trail.policy.event(event, own=True, foreign=True)
            audit.emit(event)
            if not trail.is_kept:
                raise ArchiveError(trail.why or "the archive cannot be written")

    def _hides(self, keys: Path | None) -> str:
        """Why no person can be named in a record, since that would be in clear; "" if one can."""
        if keys is None and keyring_of(self._directory) is not None:
            return "the keys cannot be used (--keys)"
        if self._given.get("pseudonyms") is None and self._has_hashed_ids():
            secret = f"--pseudonymize @FILE, or {Settings.variable('pseudonymize')}"
            return f"ids in this archive are hashed ({secret})"
        return ""

    def _signing_key(self, directory: Path) -> SigningKey | None:
        """The key for a record in *directory*; None if nothing there is signed.

        Raises:
            ValueError: If there is none.
        """
        if not is_signed_archive(directory):
            return None
        if self._key is None:
            msg = "checkpoints of the archive are signed, so its record must be too (--signing-key)"
            raise ValueError(msg)
        return parse_signing_key(self._key)

    def _event(self, state: str, status: str, trail: Any, hides: bool) -> Draft:
        who, persons = os_user(), self._persons(trail.policy)
        user, ids, why = who.name, who.ids, self._why
        if hides:
            user, why, persons = None, None, list(filter(is_pseudonym, persons))
            numbers = () if keyring_of(self._directory) else ("uid",)
            ids = {name: ids[name] for name in numbers if name in ids}
        more: dict[str, Any] = {} if why is None else {"purpose": why}
        if state == "ended":
            more["duration_ms"] = (time.monotonic() - self._began) * 1000
        return draft(
            "AUDIT",
            status,
            user_id=user,
            subject_id=persons[0] if persons else None,
            subjects=tuple(persons),
            metadata=self._facts(state, trail.policy, hides) | ids,
            trail=trail,
            **more,
        )

    def _facts(self, state: str, policy: PrivacyPolicy, hides: bool) -> dict[str, Any]:
        given = self._given
        filters = {name: _value(given[name]) for name in _VALUES if given.get(name)}
        by = [name for name in _NAMED_ONLY if given.get(name)]
        entries, are_all = self._entries.named(None if hides else policy)
        if entries:
            filters["entry"] = entries
        if not are_all:
            by.append("entry")
        facts: dict[str, Any] = {"record": ACCESS, "state": state, **self.facts}
        if filters:
            facts["filters"] = filters
        if by:
            facts["by"] = by
        if not self._path.is_dir():
            facts["file"] = self._path.name
        if state == "ended" and self.events is not None:
            facts |= {"events": self.events, "revealed": self.revealed}
        with suppress(OSError):
            facts["host"] = socket.gethostname()
        return facts

    def _persons(self, policy: PrivacyPolicy) -> list[str]:
        """The persons who are asked for; of an encrypted archive, those who have a key: none is
        made for a name that somebody only asks for."""
        asked = dict.fromkeys(self._given.get(name) for name in _PERSONS)
        return [
            one
            for one in asked
            if isinstance(one, str) and (not policy.encrypts or policy.knows(one))
        ]

    def _has_hashed_ids(self) -> bool:
        """Return True if one of the newest or oldest events has a hashed id."""
        found = chain.from_iterable(
            search(
                self._directory,
                Query(limit=_CHECKED),
                oldest_first=oldest_first,
                missing=Missing(),
            )
            for oldest_first in (False, True)
        )
        return any(
            is_pseudonym(name)
            for event in self._policy.readable(found)
            for name in (event.user_id, event.subject_id, *event.subjects)
            if name is not None
        )


def _check_writable(directory: Path) -> None:
    """Refuse a place where a record would be wrong: it must be an archive, and ours.

    Raises:
        ArchiveError: If it is none.
    """
    if not has_begun(directory):
        files_of(directory)  # raises if nothing is there
        raise ArchiveError(f"{str(directory)!r} is not an archive that an application wrote")
    if not os.access(directory, os.W_OK | os.X_OK):
        raise ArchiveError(f"{str(directory)!r} cannot be written")
    if hasattr(os, "geteuid") and (us := os.geteuid()) != 0:
        files = [*listed(directory, f"*{MANIFEST}"), *listed(directory, f"*{JOURNAL}")]
        if files and us not in {file.stat().st_uid for file in files}:
            msg = f"{str(directory)!r} is of another user, who could not read the record"
            raise ArchiveError(msg)


def _environment() -> dict[str, str]:
    """What the environment says of the trail of readings: a second place for checkpoints.

    A reading deletes, compresses and ships nothing.
    """
    name = Settings.variable("checkpoint_to")
    place = os.environ.get(name, "")
    return {} if place.strip().lower() in ("", "otlp") else {name: place}


@contextmanager
def _ended_in_order() -> Iterator[None]:
    """Have the signals that end a process do it as Ctrl-C does: what was read is recorded, and
    temporary files are removed, before the process ends of the signal."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def end(number: int, _: object) -> None:
        came.append(number)
        raise KeyboardInterrupt

    ours = [one for one in _ENDING if signal.getsignal(one) is signal.SIG_DFL]
    for one in ours:
        signal.signal(one, end)
    try:
        yield
    finally:
        for one in ours:
            if signal.getsignal(one) is end:
                signal.signal(one, signal.SIG_DFL)
        for number in came[:1]:
            signal.raise_signal(number)


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Let Ctrl-C and other signals wait for the block: who presses the key twice is recorded as
    well."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        one: signal.signal(one, lambda number, _: came.append(number))
        for one in (signal.SIGINT, *_ENDING)
    }
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, signal.SIG_DFL if handler is None else handler)
        for number in came[:1]:
            signal.raise_signal(number)


def _is_interruption(exc: BaseException) -> bool:
    """True if somebody has seen enough: Ctrl-C, or `| head`."""
    if isinstance(exc, OSError):
        return exc.errno == errno.EPIPE
    return isinstance(exc, click.Abort) or not isinstance(exc, Exception)


def _value(value: Any) -> Any:
    """The value of an option as a fact."""
    if moment := getattr(value, "moment", None):
        return format_time(to_microseconds(moment))
    if isinstance(value, (tuple, list)):
        return [str(item) for item in value[:100]]
    return value if isinstance(value, int) else str(getattr(value, "value", value))
