"""What a setting can be given as: a value, or text from the environment, made into what it is.

Each function raises `ValueError`, with what the value must be, if it cannot be meant.
"""

from __future__ import annotations

import hmac
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..archive import zstd
from ..archive.checkpoints import SigningKey
from ..archive.retention import LAWS, Retention
from ..core import semconv
from ..core.content import read_key
from ..core.errors import AuditConfigError
from ..core.units import seconds, size
from ..otlp.client import Endpoint, Headers, headers_in, sendable
from ..privacy.pseudonyms import Pseudonyms
from ..shipping.witnesses import Witness

__all__ = [
    "ContentCapture",
    *("one_of", "parse_compress", "parse_content", "parse_endpoint"),
    *("parse_event_bytes", "parse_fingerprints", "parse_flag", "parse_headers", "parse_hook"),
    *("parse_keys", "parse_name", "parse_path", "parse_positive"),
    *("parse_request_bytes", "parse_retention", "parse_secret", "parse_signing_key", "parse_sink"),
    *("parse_whole", "parse_witnesses"),
]


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


def parse_whole(value: Any, least: int = 0) -> int:
    number = int(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int) or number < least:
        raise ValueError(f"must be a whole number of at least {least}")
    return number


parse_positive = partial(parse_whole, least=1)


def parse_flag(value: Any) -> bool:
    if isinstance(value, str):
        text = value.strip().lower()
        if text in ("1", "true", "yes", "on"):
            return True
        if text in ("0", "false", "no", "off"):
            return False
    elif isinstance(value, bool):
        return value
    raise ValueError("must be true or false")


def parse_content(value: Any) -> ContentCapture:
    if isinstance(value, ContentCapture):
        return value
    known = _CONTENT.get(str(value).strip().lower())
    if known is None or not isinstance(value, (str, bool)):
        raise ValueError("must be true, false, NO_CONTENT, SPAN_ONLY, EVENT_ONLY or SPAN_AND_EVENT")
    return ContentCapture(*known)


def parse_path(value: Any) -> Path | None:
    if isinstance(value, (str, os.PathLike)):
        if not str(value):
            return None
        with suppress(RuntimeError, OSError):  # no such user; no working directory
            path = Path(value).expanduser()
            if "\0" not in str(path):
                return path.absolute()  # wherever the program goes from here
    raise ValueError("must be a path")


def one_of(*names: str) -> Callable[[Any], str]:
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
    path = parse_path(value)
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
        return parse_flag(value)
    return parse_path(value) or False


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
        return parse_flag(value)
    return hmac.digest(_secrets(value)[0] or b"", b"axon-audit trail", "sha256")


def _secrets(value: Any) -> list[bytes]:
    """A secret; those in a file, one a line, or all of it where it is no text."""
    if isinstance(value, bytes):
        return [value]
    if isinstance(value, str) and not value.startswith("@"):
        return [value.encode("utf-8", "surrogatepass")]
    if not isinstance(value, (str, os.PathLike)):
        raise ValueError("must be bytes, text, or the path of a file with it")
    path = parse_path(value[1:] if isinstance(value, str) else value)
    content = b"" if path is None else _content_of(path)
    try:
        return [line.strip().encode() for line in content.decode().splitlines() if line.strip()]
    except UnicodeDecodeError:
        return [content]


def parse_event_bytes(value: Any) -> int:
    wanted = size(value)
    if wanted < _LEAST_EVENT:
        raise ValueError(f"must be at least {_LEAST_EVENT} bytes")
    return wanted


_LEAST_EVENT = 16_384


def parse_request_bytes(value: Any) -> int:
    wanted = size(value)
    if wanted < _LEAST_REQUEST:
        raise ValueError(f"must be at least {_LEAST_REQUEST} bytes")
    return wanted


_LEAST_REQUEST = 4_096  # an event that is not large, and what a request begins with


def parse_headers(value: Any) -> Headers:
    if not isinstance(value, str):
        raise ValueError("must be text: name=value,...")
    try:
        return Headers(sendable(headers_in(value, semconv.ENV_PREFIX + "STORE_HEADERS")))
    except AuditConfigError as exc:
        raise ValueError(str(exc)) from None


def parse_sink(value: Any) -> Any:
    if isinstance(value, str) and value.strip().lower() == "otlp":
        return "otlp"  # a file of that name is "./otlp"
    return value if callable(value) else parse_path(value)


def parse_witnesses(value: Any) -> tuple[Witness, ...]:
    if isinstance(value, (str, os.PathLike, Witness)):
        value = re.split(r"[\n,]", value) if isinstance(value, str) else [value]
    if not isinstance(value, (list, tuple)):
        raise ValueError("must be `URL name+id+key`, a list of these, or files of such lines")
    found = [witness for one in value for witness in _witnesses_in(one)]
    if len({witness.key.public for witness in found}) < len(found):
        raise ValueError("two of them have the same key")
    return tuple(found)


def _witnesses_in(value: Any) -> list[Witness]:
    """A witness in its line, ``URL name+id+key``; those in a file, one a line, without comments."""
    if isinstance(value, Witness):
        return [value]
    lines = [value]
    if not isinstance(value, str) or not _is_witness(value):
        path = parse_path(value)
        lines = [] if path is None else _content_of(path).decode("utf-8", "replace").splitlines()
    stripped = (line.strip() for line in lines)
    return [Witness.parse(line) for line in stripped if line and line[0] != "#"]


def _is_witness(text: str) -> bool:
    return "://" in text or re.search(r"\s\S+\+[0-9a-f]{8}\+\S+\s*$", text) is not None


def parse_endpoint(value: Any) -> Endpoint:
    if isinstance(value, Endpoint):
        return value
    if not isinstance(value, str):
        raise ValueError("must be 'otlp', or a URL like http://localhost:4318")
    try:
        return Endpoint.resolve(None if value.strip().lower() == "otlp" else value.strip())
    except AuditConfigError as exc:
        raise ValueError(str(exc)) from None


def parse_retention(value: Any) -> Retention:
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


def parse_compress(value: Any) -> bool:
    wanted = parse_flag(value)
    if wanted and not zstd.available():
        raise ValueError("backports.zstd is missing: pip install 'axon-audit-otel[zstd]'")
    return wanted


def parse_name(value: Any) -> str:
    if isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", value):
        return value
    raise ValueError("must be 1 to 64 of A-Z a-z 0-9 . _ - and start with a letter or digit")


def parse_hook(value: Any) -> Callable[[str], str]:
    if not callable(value):
        raise ValueError("must be a function from text to text")
    function: Callable[[str], str] = value
    return function
