"""Sends OTLP log requests, and returns the answer of the receiver.

The exporters of OpenTelemetry's SDK take records, not requests. They do not report a refusal apart
from an outage, or a partial success. Shipping without loss needs all three.
Endpoint, headers, TLS, compression and timeout are those of the ``OTEL_EXPORTER_OTLP_*`` variables.
"""

from __future__ import annotations

import base64
import gzip
import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol
from urllib.parse import SplitResult, unquote, urlunsplit

from ..core.content import content_of
from ..core.errors import AuditConfigError, shown
from ..core.files import named
from ..core.log import logger
from .address import GRPC_PORT, parse_address
from .http_post import HttpPost, Reply, in_a_line, reason_of

__all__ = [
    *(
        "Answer",
        "Client",
        "Endpoint",
        "Headers",
        "connect",
        "headers_in",
        "load",
        "login_of",
        "sendable",
    ),
]


_PROTOCOLS = ("http/protobuf", "grpc")
_PATH = "/v1/logs"
_HTTP_PORT = 4318
_METHOD = "/opentelemetry.proto.collector.logs.v1.LogsService/Export"
_SECRET = 8  # characters that a secret has at least
_CUT = 4  # of one at the end of a text
_LONGEST_S = 300.0  # that a receiver's wish to be left alone is respected


class Answer(NamedTuple):
    """The receiver's answer to a request.

    Attributes:
        kind: ``accepted``; ``later``: send it again; ``refused``: send it again only in parts.
        why: The reason, if it was not accepted, or only in part.
        rejected: Records of an accepted request that the receiver dropped for good.
        wait: Seconds that the receiver asks to wait.
    """

    kind: Literal["accepted", "later", "refused"]
    why: str = ""
    rejected: int = 0
    wait: float = 0.0


class Client(Protocol):
    """A connection to a receiver; for one thread."""

    def send(self, request: bytes) -> Answer:
        """Send one request and wait for the answer; errors of the receiver become answers."""

    def close(self) -> None:
        """Close the connection."""


class Headers(Mapping[str, str]):
    """Headers of requests: often secrets, so that only their names are shown, and that they
    are never pickled."""

    __slots__ = ("__get",)

    def __init__(self, headers: Mapping[str, str]) -> None:
        self.__get = dict(headers).copy  # a function: nothing that shows attributes shows it

    def __getitem__(self, name: str) -> str:
        return self.__get()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.__get())

    def __len__(self) -> int:
        return len(self.__get())

    def __repr__(self) -> str:
        return f"<headers: {', '.join(self)}>"

    def __deepcopy__(self, memo: object) -> Headers:
        return self

    def __reduce__(self) -> str:
        raise TypeError("the headers of an OTLP endpoint are never pickled")


@dataclass(frozen=True)
class Endpoint:
    """An OTLP receiver, and how to send to it.

    Attributes:
        url: The URL, also for messages; for gRPC, the scheme ``https`` means TLS.
        protocol: ``http/protobuf`` or ``grpc``.
        headers: Sent with each request.
        timeout: Seconds to wait for an answer.
        compression: ``gzip`` or ``none``.
        certificate: File of the trusted authorities; None: the system's.
        client_certificate: File of our own certificate.
        client_key: File of its key.
    """

    url: str
    protocol: str = "http/protobuf"
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 10.0
    compression: str = "none"
    certificate: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "headers", Headers(self.headers))

    def __repr__(self) -> str:
        return f"Endpoint({self.place!r}, {self.protocol!r}, {self.headers!r})"

    @property
    def place(self) -> str:
        """The URL for messages: without its query, which may hold a key."""
        return self.url.partition("?")[0]

    def without_secrets(self, text: str) -> str:
        """*text* of a receiver, which may repeat what it was sent, without our headers' values."""
        secrets = {part for value in self.headers.values() for part in (value, *value.split())}
        for secret in sorted(secrets, key=len, reverse=True):
            if len(secret) >= _SECRET:
                text = text.replace(secret, "(a secret)")
                # Of a long text only the beginning was read, which may end within one.
                for size in range(len(secret) - 1, _CUT - 1, -1):
                    if text.endswith(secret[:size]):
                        text = f"{text[:-size]}(a secret)"
                        break
        return text

    @classmethod
    def resolve(
        cls,
        url: str | None = None,
        protocol: str | None = None,
        headers: Mapping[str, str] | None = None,
        environ: Mapping[str, str] = os.environ,
    ) -> Endpoint:
        """An endpoint from the arguments, else from the ``OTEL_EXPORTER_OTLP_*`` variables.

        Args:
            url: Address of the receiver, see `otlp.address`, with or without ``/v1/logs``.
            protocol: ``http/protobuf`` or ``grpc``. Default: gRPC if *url* says so
                (``grpc://``), else as the environment says, else gRPC for port 4317.
            headers: More headers than the environment has.
            environ: The environment.

        Raises:
            AuditConfigError: If a value is not valid; the message shows it.
        """

        def option(name: str) -> str | None:
            signal = environ.get(f"OTEL_EXPORTER_OTLP_LOGS_{name}")
            return signal or environ.get(f"OTEL_EXPORTER_OTLP_{name}") or None

        as_it_is = not url and environ.get("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT")
        given = url or option("ENDPOINT")
        wanted = protocol or option("PROTOCOL")
        if wanted not in (None, *_PROTOCOLS):
            words = f"OTLP protocol {shown(wanted)}: use {' or '.join(_PROTOCOLS)}"
            raise AuditConfigError(words)
        default = f"http://localhost:{GRPC_PORT if wanted == 'grpc' else _HTTP_PORT}"
        parts, is_grpc = parse_address(given or default, "OTLP endpoint", option("INSECURE"))
        if is_grpc and protocol == "http/protobuf":
            raise AuditConfigError("OTLP endpoint grpc://...: the protocol given is http/protobuf")
        if is_grpc or (wanted is None and parts.port == GRPC_PORT):
            wanted = "grpc"
        if wanted == "grpc":
            parts = parts._replace(path="", query="")
        else:
            parts = parts._replace(path=_http_path(parts.path, bool(as_it_is)))
        return cls(
            urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])),
            wanted or "http/protobuf",
            sendable(
                {
                    **login_of(parts),
                    **headers_in(option("HEADERS"), "OTEL_EXPORTER_OTLP_HEADERS"),
                    **(headers or {}),
                }
            ),
            _timeout(option("TIMEOUT")),
            _compression(option("COMPRESSION")),
            option("CERTIFICATE"),
            option("CLIENT_CERTIFICATE"),
            option("CLIENT_KEY"),
        )


def _http_path(path: str, complete: bool) -> str:
    """The path for logs on a receiver; a *complete* one is taken as it is."""
    if complete:
        return path or "/"
    path = path.rstrip("/")
    return path if path.endswith(_PATH) else path + _PATH


def login_of(parts: SplitResult) -> dict[str, str]:
    """The header for the user and password of a URL, if it has any."""
    if parts.username is None:
        return {}
    user, password = unquote(parts.username), unquote(parts.password or "")
    return {"authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


def headers_in(text: str | None, variable: str) -> dict[str, str]:
    """The headers in a *variable* like ``OTEL_EXPORTER_OTLP_HEADERS``: ``name=value``, with commas
    between.

    OpenTelemetry's own parser writes what is malformed into the log; this one does not.
    """
    headers = {}
    for number, part in enumerate((text or "").split(","), 1):
        name, equals, value = part.partition("=")
        name = unquote(name).strip().lower()
        if equals and name:
            headers[name] = unquote(value).strip()
        elif part.strip():
            logger.warning("%s: part %d is not name=value", variable, number)
    return headers


def sendable(headers: dict[str, str]) -> dict[str, str]:
    """*headers*, if requests can carry them: a library's error would show them."""
    for number, (name, value) in enumerate(headers.items(), 1):
        if not re.fullmatch(r"[\w!#$%&'*+.^`|~-]+", name, re.ASCII):
            raise AuditConfigError(
                f"OTLP header {number}: its name has characters that cannot be sent"
            )
        if not re.fullmatch(r"[\t\x20-\x7e\xa0-\xff]*", value):
            msg = f"OTLP header {name!r}: its value has characters that cannot be sent"
            raise AuditConfigError(msg)
    return headers


def _timeout(text: str | None) -> float:
    try:
        seconds = float(text or 10)
        if 0 < seconds < float("inf"):
            return seconds
    except ValueError:
        pass
    raise AuditConfigError(f"OTEL_EXPORTER_OTLP_TIMEOUT={shown(text)}: must be seconds")


def _compression(text: str | None) -> str:
    name = (text or "none").strip().lower()
    if name not in ("none", "gzip"):
        raise AuditConfigError(f"OTEL_EXPORTER_OTLP_COMPRESSION={shown(text)}: use gzip or none")
    return name


def load(endpoint: Endpoint) -> None:
    """Import what `connect` needs for *endpoint*; that takes a moment."""
    import_module("grpc" if endpoint.protocol == "grpc" else "requests")
    import_module("opentelemetry.proto.collector.logs.v1.logs_service_pb2")


def connect(endpoint: Endpoint) -> Client:
    """A client for *endpoint*; connects when it sends.

    Raises:
        AuditConfigError: If a file of the TLS settings cannot be read.
    """
    for name in (endpoint.certificate, endpoint.client_certificate, endpoint.client_key):
        is_file = name and os.path.isfile(name)  # noqa: PTH113 - of any text, and raises nothing
        if name and not (is_file and os.access(name, os.R_OK)):
            raise AuditConfigError(f"{shown(name)}: no such file, or not readable (OTLP over TLS)")
    return _Grpc(endpoint) if endpoint.protocol == "grpc" else _Http(endpoint)


def _acknowledged(body: bytes) -> Answer:
    """The answer in the body of a successful response."""
    from google.protobuf.message import DecodeError
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse

    try:
        partial = ExportLogsServiceResponse.FromString(body).partial_success
    except DecodeError:
        return Answer("later", "its answer is no OTLP: that is no OTLP receiver")
    why = in_a_line(partial.error_message)
    return Answer("accepted", why, max(0, partial.rejected_log_records))


_PEMS = 1 << 24  # bytes of a file of certificates


# --- HTTP ----------------------------------------------------------------------------------------

_BODY = 65_536  # bytes of an answer, at most
_TAKEN = (200, 204)  # Loki answers 204
_REFUSED = (400, 413, 422)  # about the content; others may go away


class _Http:
    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        headers = {"Content-Type": _PROTOBUF, "Accept-Encoding": "gzip", **endpoint.headers}
        if endpoint.compression == "gzip":
            headers["Content-Encoding"] = "gzip"
        own, key = endpoint.client_certificate, endpoint.client_key
        client = (own, key) if own and key else own
        self._post = HttpPost(headers, endpoint.timeout, _BODY, endpoint.certificate, client)

    def send(self, request: bytes) -> Answer:
        if self._endpoint.compression == "gzip":
            request = gzip.compress(request, 1)
        try:
            reply = self._post.send(self._endpoint.url, request, _TAKEN)
        except ConnectionError as exc:
            return Answer("later", str(exc))
        if reply.status not in _TAKEN:
            return _failed(reply)
        kind = reply.headers.get("Content-Type", _PROTOBUF)
        if kind.partition(";")[0].strip().lower() != _PROTOBUF:
            words = f"HTTP {reply.status} with {in_a_line(kind)}"
            return Answer("later", f"{words}: that is no OTLP receiver")
        return _acknowledged(reply.body)

    def close(self) -> None:
        self._post.close()


_PROTOBUF = "application/x-protobuf"


def _failed(reply: Reply) -> Answer:
    why = f"HTTP {reply.status} {in_a_line(reply.words)}".strip()
    if 300 <= reply.status < 400:
        why += ": redirects are not followed"
    wait = _seconds(reply.headers.get("Retry-After"))
    return Answer("refused" if reply.status in _REFUSED else "later", why, 0, wait)


def _seconds(text: str | None) -> float:
    """The seconds in a ``Retry-After``; 0 without one, or if it is a date."""
    try:
        return min(max(0.0, float(text or 0)), _LONGEST_S)  # in this order also for nan
    except ValueError:
        return 0.0


# --- gRPC ----------------------------------------------------------------------------------------


class _Grpc:
    def __init__(self, endpoint: Endpoint) -> None:
        grpc: Any = import_module("grpc")
        self._grpc = grpc
        self._timeout = endpoint.timeout
        self._headers = tuple((key.lower(), value) for key, value in endpoint.headers.items())
        options = [
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 5000),
            ("grpc.max_receive_message_length", 1 << 20),
            ("grpc.use_local_subchannel_pool", 1),  # else clients of a process share a connection
        ]
        gzip_on = endpoint.compression == "gzip"
        compression = grpc.Compression.Gzip if gzip_on else grpc.Compression.NoCompression
        scheme, _, target = endpoint.url.partition("://")
        if scheme == "https":
            files = endpoint.certificate, endpoint.client_key, endpoint.client_certificate
            pems = [content_of(named(Path(name)), _PEMS) if name else None for name in files]
            credentials = grpc.ssl_channel_credentials(*pems)
            dial = partial(grpc.secure_channel, target, credentials, options, compression)
        else:
            dial = partial(grpc.insecure_channel, target, options, compression)
        self._dial: Callable[[], Any] = dial
        self._open()

    def _open(self) -> None:
        self._channel = self._dial()
        self._export = self._channel.unary_unary(_METHOD)  # bytes, both ways

    def send(self, request: bytes) -> Answer:
        try:
            return _acknowledged(
                self._export(request, timeout=self._timeout, metadata=self._headers)
            )
        except self._grpc.RpcError as exc:
            return self._failed(exc)
        except ValueError as exc:  # closed meanwhile
            return Answer("later", reason_of(exc))

    def _failed(self, exc: Any) -> Answer:
        status, details = exc.code(), exc.details() or ""
        code = self._grpc.StatusCode
        if status is code.DEADLINE_EXCEEDED:  # gRPC would keep a connection that died silently
            self.close()
            self._open()
        too_large = status is code.RESOURCE_EXHAUSTED and "larger than max" in details
        refused = too_large or status is code.INVALID_ARGUMENT
        why = in_a_line(f"gRPC {status.name}: {details}")
        return Answer("refused" if refused else "later", why, 0, self._wait(exc))

    def _wait(self, exc: Any) -> float:
        from google.protobuf.message import DecodeError
        from google.rpc.error_details_pb2 import RetryInfo

        for key, value in exc.trailing_metadata() or ():
            if key == "google.rpc.retryinfo-bin":
                with suppress(DecodeError):
                    info = RetryInfo.FromString(value)
                    delay: float = info.retry_delay.seconds + info.retry_delay.nanos / 1e9
                    return min(max(delay, 0.0), _LONGEST_S)
        return 0.0

    def close(self) -> None:
        self._channel.close()
