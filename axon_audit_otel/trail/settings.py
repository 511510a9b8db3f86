"""Settings: constructor argument, else ``AXON_AUDIT_*`` variable, else default."""

from __future__ import annotations

import hmac
import math
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from functools import partial
from pathlib import Path
from secrets import token_hex
from typing import Any

from ..archive import zstd
from ..archive.checkpoints import SigningKey
from ..archive.retention import LAWS, Retention
from ..core import semconv
from ..core.errors import AuditConfigError, shown, shown_url
from ..core.files import read_key
from ..core.log import logger
from ..core.units import seconds, size
from ..otlp.client import Endpoint
from ..privacy.fingerprints import key_of
from ..privacy.pseudonyms import Pseudonyms
from ..shipping.witnesses import Witness

__all__ = ["Described", "Settings"]


_CONTENT = {
    "true": (True, True),
    "1": (True, True),
    "span_and_event": (True, True),
    "span_only": (True, False),
    "event_only": (False, True),
    "no_content": (False, False),
    "false": (False, False),
    "0": (False, False),
    "": (False, False),
}


@dataclass(frozen=True)
class ContentCapture:
    """Says if the content of memories, queries and exceptions goes to spans and to events."""

    on_spans: bool
    on_events: bool


#: Variables that begin as ours do and are none: that of ``dev.py``, and those warned of already.
_known = {"VENV"}


# --- parsers: a value as given (or text from the environment) to a setting -----------------


def _whole(value: Any, least: int = 0) -> int:
    number = int(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(f"must be a whole number of at least {least}")
    return number


_positive = partial(_whole, least=1)


def _flag(value: Any) -> bool:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("1", "true", "yes", "on"):
            return True
        if text in ("0", "false", "no", "off"):
            return False
    elif isinstance(value, bool):
        return value
    raise ValueError("must be true or false")


def _content(value: Any) -> ContentCapture:
    if isinstance(value, ContentCapture):
        return value
    known = _CONTENT.get(str(value).strip().lower())
    if known is None or not isinstance(value, (str, bool)):
        raise ValueError("must be true, false, NO_CONTENT, SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT")
    return ContentCapture(*known)


def _path(value: Any) -> Path | None:
    if isinstance(value, (str, os.PathLike)):
        if not str(value):
            return None
        with suppress(RuntimeError, OSError):  # no such user; no working directory
            path = Path(value).expanduser()
            if "\0" not in str(path):
                return path.absolute()  # wherever the program goes from here
    raise ValueError("must be a path")


def _one_of(*names: str) -> Callable[[Any], str]:
    def parse(value: Any) -> str:
        if isinstance(value, str) and value.strip().lower() in names:
            return value.strip().lower()
        raise ValueError(f"must be {' or '.join(names)}")

    return parse


def parse_signing_key(value: Any) -> SigningKey:
    if isinstance(value, SigningKey):
        return value
    if isinstance(value, str) and "PRIVATE+KEY+" in value:
        return SigningKey(value)
    path = _path(value)
    try:
        return SigningKey("" if path is None else _content_of(path).decode())
    except UnicodeDecodeError:
        raise ValueError(f"{str(path)!r} is not a text file") from None


def _content_of(path: Path) -> bytes:
    """The content of a file with a secret.

    Raises:
        ValueError: If it cannot be read. A path that does not exist is not in the message: it
            may be the secret itself.
    """
    try:
        return read_key(path)
    except OSError as exc:
        place = path if os.path.lexists(path) else path.parent
        what = repr(str(path)) if place is path else "the file"
        if place is not path and place.is_dir():
            what += f" in {str(place)!r}"
        problem = f"{what} cannot be read: {exc.strerror or type(exc).__name__}"
    raise ValueError(problem)


def parse_keys(value: Any) -> Path | bool:
    with suppress(ValueError):
        return _flag(value)
    return _path(value) or False


def parse_secret(value: Any) -> Pseudonyms:
    if isinstance(value, Pseudonyms):
        return value
    keys = list(value) if isinstance(value, (list, tuple)) else [value]
    secrets = [secret for key in keys for secret in _secrets(key)]
    if not secrets or not all(secrets):
        raise ValueError("must not be empty")
    return Pseudonyms(*secrets)


def parse_fingerprints(value: Any) -> bytes | bool:
    with suppress(ValueError):
        return _flag(value)
    return hmac.digest(_secrets(value)[0] or b"", b"axon-audit trail", "sha256")


def _secrets(value: Any) -> list[bytes]:
    """A secret; those in a file, one a line, or all of it where it is no text."""
    if isinstance(value, bytes):
        return [value]
    if isinstance(value, str) and not value.startswith("@"):
        return [value.encode("utf-8", "surrogatepass")]
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError("must be bytes, text, or the path of a file with it")
    path = _path(value[1:] if isinstance(value, str) else value)
    content = b"" if path is None else _content_of(path)
    try:
        return [line.strip().encode() for line in content.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        return [content]


def _event_bytes(value: Any) -> int:
    wanted = size(value)
    if wanted < _LEAST_EVENT:
        raise ValueError(f"must be at least {_LEAST_EVENT} bytes")
    return wanted


_LEAST_EVENT = 16_384


def _sink(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lower() == "otlp":
        return "otlp"  # a file of that name is "./otlp"
    return value if callable(value) else _path(value)


def _witnesses(value: Any) -> tuple[Witness, ...]:
    if isinstance(value, (str, os.PathLike, Witness)):
        value = re.split(r"[\n,]", value) if isinstance(value, str) else [value]
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be `URL name+id+key`, a list of these, or files of such lines")
    found = [witness for one in value for witness in _witnesses_in(one)]
    if len({witness.key.public for witness in found}) < len(found):
        raise ValueError("two of them have the same key")
    return tuple(found)


def _witnesses_in(value: Any) -> list[Witness]:
    """A witness in its line; those in a file, one a line, without comments."""
    if isinstance(value, Witness):
        return [value]
    lines = [value]
    if not isinstance(value, str) or "://" not in value:
        path = _path(value)
        lines = [] if path is None else _content_of(path).decode("utf-8", "replace").splitlines()
    stripped = (line.strip() for line in lines)
    return [Witness.parse(line) for line in stripped if line and line[0] != "#"]


def _endpoint(value: Any) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    if not isinstance(value, str):
        raise ValueError("must be `otlp`, or a URL like http://localhost:4318")
    try:
        return Endpoint.resolve(None if value.strip().lower() == "otlp" else value.strip())
    except AuditConfigError as exc:
        raise ValueError(str(exc)) from None


def _retention(value: Any) -> Retention:
    if isinstance(value, Retention):
        return value
    known = LAWS.get(value.strip().lower()) if isinstance(value, str) else None
    if known is not None:
        return known
    try:
        length = seconds(value)
    except ValueError as exc:
        raise ValueError(f"{exc}; or {' or '.join(LAWS)}") from None
    return Retention.of(length)


def _compress(value: Any) -> bool:
    wanted = _flag(value)
    if wanted and not zstd.available():
        raise ValueError("backports.zstd is missing: pip install 'axon-audit-otel[zstd]'")
    return wanted


def _name(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        return value
    raise ValueError("must be 1 to 64 of A-Z a-z 0-9 . _ - and start with a letter or digit")


def _hook(value: Any) -> Callable[[str], str]:
    if not callable(value):
        raise ValueError("must be a function from text to text")
    function: Callable[[str], str] = value
    return function


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

    name: str = _setting("default", _name, "name of the trail: the `trail` label of its metrics")
    max_events: int = _setting(10_000, _positive, "events kept in memory; the oldest leave first")
    auto_export_path: Path | None = _setting(
        None, _path, "directory of the archive: a journal, sealed every `max_events` events"
    )
    enable_rotation: bool = _setting(True, _flag, "seal the journal when it is full")
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
        False, _compress, "compress sealed files (Zstandard; needs the extra `zstd`)"
    )
    index: bool = _of_files(
        False, _flag, "make an index of sealed files, so that queries by id are fast"
    )
    retention: Retention | None = _of_files(
        None,
        _retention,
        "delete sealed files when all in them is that old: seconds, `180d`, `hipaa`, `eu-ai-act`",
    )
    max_archive_bytes: int | None = _of_files(
        None, size, "delete the oldest sealed files when they are larger together: `10GB`"
    )
    durability: str = _of_files(
        "process",
        _one_of("memory", "process", "disk"),
        "what an event in the archive survives: `process` a killed process, `disk` power loss;"
        " `memory` writes in batches",
    )
    on_failure: str = _setting(
        "degrade",
        _one_of("degrade", "block"),
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
        _sink,
        "a second place for checkpoints: a file, a function of the note, or `otlp`: log records,"
        " by `ship_to` or else the logger provider",
    )
    witnesses: tuple[Witness, ...] = _of_files(
        (),
        _witnesses,
        "who cosigns checkpoints (C2SP `tlog-witness`): `URL name+id+key`, several, or files of"
        " such lines; needs `signing_key`",
    )
    checkpoint_interval: float | None = _setting(
        3600.0, seconds, "seconds between checkpoints when nothing is sealed"
    )
    checkpoint_events: int | None = _setting(
        None, _positive, "events between checkpoints, for more than one in each sealed file"
    )
    ship_to: Endpoint | None = _setting(
        None,
        _endpoint,
        "ship the events to a collector, at least once: `otlp` (as `OTEL_EXPORTER_OTLP_*` say),"
        " or its URL",
        shown=shown_url,
    )
    capture_content: ContentCapture = _setting(
        ContentCapture(False, False),
        _content,
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
        _flag,
        "the ids of all entries name people: record keyed hashes of them too (`pseudonymize`)",
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
        True, _flag, "replace personal data and secrets of a known shape (`docs/privacy.md`)"
    )
    redact: Callable[[str], str] | None = _setting(
        None,
        _hook,
        "function applied to every free text and fact's name that is recorded",
        variable=False,
    )
    max_event_bytes: int = _setting(
        262_144,
        _event_bytes,
        "length of an event's line at most: bytes, or `256KiB`; stores drop longer ones. Of what"
        " is cut, its metadata has number, digest or the marker `truncated`",
    )
    baggage_identity: bool = _setting(
        False,
        _flag,
        "let OpenTelemetry baggage (`user.id`, `session.id`) say who acts: any caller can send it",
    )
    start_record: bool = _setting(
        True,
        _flag,
        "begin each writer of the archive with an AUDIT event: host, process, user, versions,"
        " settings",
    )
    record_reads: str = _setting(
        "revealing",
        _one_of("off", "revealing", "all", "required"),
        "of the commands that read an archive, as AUDIT events: which readings are recorded."
        " `revealing`: of personal data that was encrypted, and what is made for others; `all`;"
        " `required`: as `all`, and nothing is shown that cannot be recorded",
        argument=False,
    )
    max_trace_events: int = _setting(
        1_000,
        _whole,
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
        if self.private_ids and self.pseudonymize is None:
            why = "" if keys is False else "; erasable= encrypts ids of persons, not of entries"
            msg = f"private_ids=True hides entry ids by a secret: give pseudonymize= too{why}"
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
        return not _flag(value)
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
        logger.warning("%s%s is no setting of this version%s", prefix, name, hint)
