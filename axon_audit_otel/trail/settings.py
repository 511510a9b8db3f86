"""Settings: constructor argument, else ``AXON_AUDIT_*`` variable, else default."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from ..archive.checkpoints import SigningKey
from ..archive.retention import LAWS, Retention
from ..core import semconv
from ..core.errors import AuditConfigError, shown, shown_url
from ..core.log import logger
from ..core.units import seconds, size
from ..otlp.client import Endpoint, Headers
from ..privacy.fingerprints import key_of
from ..privacy.pseudonyms import Pseudonyms
from ..shipping.witnesses import Witness
from .setting_values import (
    ContentCapture,
    one_of,
    parse_compress,
    parse_content,
    parse_endpoint,
    parse_event_bytes,
    parse_fingerprints,
    parse_flag,
    parse_headers,
    parse_hook,
    parse_keys,
    parse_name,
    parse_path,
    parse_positive,
    parse_request_bytes,
    parse_retention,
    parse_secret,
    parse_signing_key,
    parse_sink,
    parse_whole,
    parse_witnesses,
)

__all__ = ["Described", "Settings"]


#: Variables that begin as ours do and are none: that of ``dev.py``, and those warned of already.
_known = {"VENV"}


@dataclass(frozen=True)
class Described:
    """Describes one setting; its name, type and default are those of its field.

    Attributes:
        parse: Makes its value of an argument, or of a variable's text; `ValueError` if it cannot.
        doc: A line of Markdown on it.
        variable: True if it can be given by an environment variable too.
        argument: True if `AuditLogger` takes it as an argument.
        of_files: True if it has no effect without an archive.
        shown: Makes text of a value for messages, without the secrets in it.
    """

    parse: Callable[[Any], Any]
    doc: str
    variable: bool = True
    argument: bool = True
    of_files: bool = False
    shown: Callable[[object], str] = shown


def _secret(_value: object) -> str:
    return "(a secret)"


def _setting(default: Any, parse: Callable[[Any], Any], doc: str, **known: Any) -> Any:
    return field(default=default, metadata={"described": Described(parse, doc, **known)})


_of_files = partial(_setting, of_files=True)


@dataclass(frozen=True)
class Settings:
    """Everything that can be set for a trail, checked once.

    Raises:
        AuditConfigError: If a value cannot work; the message shows it and its source.
    """

    name: str = _setting(
        "default", parse_name, "name of the trail: the `trail` label of its metrics"
    )
    max_events: int = _setting(
        10_000, parse_positive, "events kept in memory; the oldest leave first"
    )
    auto_export_path: Path | None = _setting(
        None, parse_path, "directory of the archive: a journal, sealed every `max_events` events"
    )
    enable_rotation: bool = _setting(True, parse_flag, "seal the journal when it is full")
    max_file_bytes: int | None = _of_files(
        None, size, "seal the journal also when it is that large: bytes, or `64MiB`"
    )
    max_file_age: float | None = _of_files(
        None,
        seconds,
        "seal the journal also when it is that old: seconds, or `15m`, `24h`;"
        " with `retention` at the latest after a tenth of that",
    )
    compress: bool = _of_files(
        False, parse_compress, "compress sealed files (Zstandard; needs the extra `zstd`)"
    )
    index: bool = _of_files(
        False, parse_flag, "make an index of sealed files, so that queries by id are fast"
    )
    retention: Retention | None = _of_files(
        None,
        parse_retention,
        "delete a sealed file when all its events are that old: seconds, `180d`, `hipaa`,"
        " `eu-ai-act`",
    )
    max_archive_bytes: int | None = _of_files(
        None, size, "delete the oldest sealed files when all together are larger: `10GB`"
    )
    durability: str = _of_files(
        "process",
        one_of("memory", "process", "disk"),
        "what an event in the archive survives: `process` a killed process, `disk` power loss;"
        " `memory` writes in batches",
    )
    on_failure: str = _setting(
        "degrade",
        one_of("degrade", "block"),
        "when an operation cannot be recorded: `degrade` counts it, `block` refuses it",
    )
    signing_key: SigningKey | None = _setting(
        None,
        parse_signing_key,
        "file (or line) of the Ed25519 key that signs checkpoints",
        of_files=True,
        shown=_secret,
    )
    checkpoint_to: Any = _of_files(
        None,
        parse_sink,
        "a second place for checkpoints: a file, a function of the note, or `otlp`: log records,"
        " by `ship_to` or else the logger provider",
    )
    witnesses: tuple[Witness, ...] = _of_files(
        (),
        parse_witnesses,
        "who cosigns checkpoints (C2SP `tlog-witness`): `URL name+id+key`, several, or files of"
        " such lines; needs `signing_key`",
    )
    checkpoint_interval: float | None = _setting(
        3600.0, seconds, "seconds between checkpoints when nothing is sealed"
    )
    checkpoint_events: int | None = _setting(
        None, parse_positive, "events between checkpoints, for more than one in each sealed file"
    )
    ship_to: Endpoint | None = _setting(
        None,
        parse_endpoint,
        "ship the events to a collector, at least once: `otlp` (as `OTEL_EXPORTER_OTLP_*` say),"
        " or its address (`docs/shipping.md`)",
        shown=shown_url,
    )
    ship_request_bytes: int = _setting(
        800_000,
        parse_request_bytes,
        "bytes of a request of `ship_to` and `replay` at most, before compression: `800kB` (Kafka"
        " takes 1 MB)",
    )
    ship_event_bytes: int = _setting(
        800_000,
        parse_request_bytes,
        "bytes of an event's log record at most: a longer one is not sent, but named, counted and"
        " kept for a later `replay`",
    )
    store_headers: Headers | None = _setting(
        None,
        parse_headers,
        "of commands with `--store`: headers of requests to it, as `name=value,...`",
        argument=False,
        shown=_secret,
    )
    capture_content: ContentCapture = _setting(
        ContentCapture(False, False),
        parse_content,
        "record texts, queries and exception messages: `true`, `SPAN_ONLY`, `EVENT_ONLY`",
    )
    pseudonymize: Pseudonyms | None = _setting(
        None,
        parse_secret,
        "record keyed hashes of user and session ids: a secret, or `@FILE` of one",
        shown=_secret,
    )
    private_ids: bool = _setting(
        False,
        parse_flag,
        "hide entry ids too, since they name people (with `pseudonymize` or `erasable`)",
    )
    erasable: Path | bool = _setting(
        False,
        parse_keys,
        "encrypt personal data, so that `erase_user` can: `true`, or the keys' place",
    )
    fingerprints: bytes | bool = _setting(
        True,
        parse_fingerprints,
        "record keyed hashes of the content of entries, to notice what changed behind the trail's"
        " back: `false`, or a secret or `@FILE` of one (default: made of `signing_key`, else a"
        " key in the archive)",
        shown=_secret,
    )
    redact_pii: bool = _setting(
        True, parse_flag, "replace personal data and secrets of a known shape (`docs/privacy.md`)"
    )
    redact: Callable[[str], str] | None = _setting(
        None,
        parse_hook,
        "function applied to every free text and fact's name that is recorded",
        variable=False,
    )
    max_event_bytes: int = _setting(
        262_144,
        parse_event_bytes,
        "longest line of an event, since stores drop longer ones: bytes, or `256KiB`. Of what is"
        " cut, the metadata has the number, the digest or the marker `truncated`",
    )
    baggage_identity: bool = _setting(
        False,
        parse_flag,
        "let OpenTelemetry baggage (`user.id`, `session.id`) say who acts: any caller can send it",
    )
    start_record: bool = _setting(
        True,
        parse_flag,
        "begin each writer of the archive with an AUDIT event: host, process, user, versions,"
        " settings",
    )
    record_reads: str = _setting(
        "revealing",
        one_of("off", "revealing", "all", "required"),
        "which readings of an archive by commands are recorded, as AUDIT events: `off`;"
        " `revealing`: those that decrypt personal data, or make something for others; `all`;"
        " `required`: all, and nothing is shown that cannot be recorded",
        argument=False,
    )
    max_trace_events: int = _setting(
        1_000,
        parse_whole,
        "argument of `instrument`: how many of the SDK's own trace events a system keeps, the"
        " newest; `0`: none",
        argument=False,
    )

    @classmethod
    def resolve(cls, given: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Settings:
        """Settings from *given* (None means not given), then *environ*, then defaults."""
        _warn_of_unknown(environ)
        values = {name: cls._value(name, given, environ) for name in cls.described()}
        settings = cls(**{name: value for name, value in values.items() if value is not None})
        settings._check()
        return settings

    @classmethod
    def described(cls) -> dict[str, Described]:
        """Every setting by its name, in the order of the table."""
        return {item.name: item.metadata["described"] for item in fields(cls)}

    @classmethod
    def default(cls, name: str) -> Any:
        """The value of a setting that nobody gives."""
        return vars(cls)[name]

    @classmethod
    def _value(cls, name: str, given: Mapping[str, Any], environ: Mapping[str, str]) -> Any:
        """The value of one setting, parsed; None where it is not given."""
        setting = cls.described()[name]
        value, source = given.get(name), f"{name}="
        if value is None and setting.variable:
            for variable in cls._variables(name):
                # As everywhere in OpenTelemetry: empty is unset.
                if value := environ.get(variable) or None:
                    source = f"{variable}="
                    break
        if value is None:
            return None
        try:
            return setting.parse(value)
        except ValueError as exc:
            reason = "must be a whole number" if "invalid literal" in str(exc) else str(exc)
        # Raised here, so that it carries no exception whose frames hold the value.
        raise AuditConfigError(f"{source}{setting.shown(value)}: {reason}")

    @classmethod
    def one(cls, name: str, given: Any = None, environ: Mapping[str, str] = os.environ) -> Any:
        """The value of one setting; raises as `resolve` does, because of this one only."""
        value = cls._value(name, {name: given}, environ)
        return cls.default(name) if value is None else value

    @classmethod
    def usable(cls, environ: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
        """*environ* without the variables that cannot work, and what is wrong with each."""
        usable, wrong = dict(environ), []
        for name in cls.described():
            try:
                cls._value(name, {}, environ)
            except AuditConfigError as exc:
                wrong.append(str(exc))
                cls.leave_out(usable, name)
        return usable, wrong

    @classmethod
    def leave_out(cls, environ: dict[str, str], *settings: str) -> None:
        """Take *settings* out of *environ*. What was to be hidden stays hidden, by hashes whose
        secret nobody has, and what must not happen unrecorded does not."""
        for name in settings:
            given = [environ.pop(variable, "") for variable in cls._variables(name)]
            if name == "private_ids" and any(given) and not _is_off(given[0]):
                environ[cls.variable(name)] = "true"
                environ.setdefault(cls.variable("pseudonymize"), token_hex(32))
            elif any(given) and name in ("pseudonymize", "erasable"):
                environ.setdefault(cls.variable("pseudonymize"), token_hex(32))
            elif any(given) and name == "on_failure":
                environ[cls.variable(name)] = "block"

    @property
    def idle(self) -> list[str]:
        """Settings that were given, and mean nothing since there is no archive."""
        if self.auto_export_path is not None:
            return []
        of_files = [name for name, known in self.described().items() if known.of_files]
        return [name for name in of_files if getattr(self, name) != self.default(name)]

    def fingerprint_key(self) -> bytes:
        """The key of the fingerprints: the one given, or one made of the signing key, or that in
        the archive.

        Raises:
            OSError: If that cannot be read or made.
        """
        if isinstance(self.fingerprints, bytes):
            return self.fingerprints
        if self.signing_key is not None:
            return self.signing_key.derived("fingerprints")
        return key_of(self.auto_export_path)

    @property
    def file_age(self) -> float | None:
        """Seconds after which a journal is sealed: what is not sealed is never deleted."""
        if self.retention is None:
            return self.max_file_age
        return min(self.max_file_age or math.inf, self.retention.seconds / 10)

    def _check(self) -> None:
        """Raise `AuditConfigError` if settings contradict each other."""
        archive, keys = self.auto_export_path, self.erasable
        if keys is True and archive is None:
            msg = "erasable=True: keys lie beside the archive, and there is none; give their place"
            raise AuditConfigError(msg)
        if archive is not None and isinstance(keys, Path):
            path = Path(os.path.realpath(keys))
            if Path(os.path.realpath(archive)) in (path, *path.parents):
                msg = f"erasable={str(keys)!r}: is in the archive, and would be copied with it"
                raise AuditConfigError(msg)
        if self.private_ids and self.pseudonymize is None and keys is False:
            msg = "private_ids=True hides entry ids: give pseudonymize= or erasable= too"
            raise AuditConfigError(msg)
        if self.witnesses and archive is not None and self.signing_key is None:
            raise AuditConfigError("witnesses= cosign what is signed: give signing_key= too")
        most, kept = self.max_archive_bytes, self.retention
        if most is not None and most < (self.max_file_bytes or 0):
            msg = f"max_archive_bytes={most} has no room for a file of {self.max_file_bytes}"
            raise AuditConfigError(msg)
        if most is not None and kept in LAWS.values():
            assert kept is not None
            msg = (
                f"max_archive_bytes={most} would delete before the time of retention is over"
                f" ({kept.rule}): leave out one of them, or give the time in days"
            )
            raise AuditConfigError(msg)

    @staticmethod
    def variable(setting: str) -> str:
        """The environment variable of *setting*."""
        return semconv.ENV_PREFIX + setting.upper()

    @classmethod
    def _variables(cls, setting: str) -> list[str]:
        """Every variable that can say it, ours first."""
        shared = [semconv.ENV_CAPTURE_MESSAGE_CONTENT] if setting == "capture_content" else []
        return [cls.variable(setting), *shared]


def _is_off(value: str) -> bool:
    with suppress(ValueError):
        return not parse_flag(value)
    return False


def _warn_of_unknown(environ: Mapping[str, str]) -> None:
    """Warn of variables that are no setting: a typo would go unnoticed."""
    prefix = semconv.ENV_PREFIX
    known = [name.upper() for name, setting in Settings.described().items() if setting.variable]
    given = {name for name, value in environ.items() if value and name.startswith(prefix)}
    for name in sorted({variable.removeprefix(prefix) for variable in given} - {*known, *_known}):
        from difflib import get_close_matches  # takes its time

        _known.add(name)
        nearest = get_close_matches(name.upper(), known, 1)
        hint = f"; the nearest is {prefix}{nearest[0]}" if nearest else ""
        logger.warning("%s%s is not a setting of this version%s", prefix, name, hint)
