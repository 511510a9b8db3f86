"""Posts requests over HTTP, and reads answers of a limited length in a limited time."""

from __future__ import annotations

import time
import zlib
from collections.abc import Container, Iterator, Mapping
from http.client import HTTPException, HTTPResponse
from io import BufferedReader, RawIOBase
from typing import Any, BinaryIO, NamedTuple

from ..core.errors import harmless

__all__ = ["HttpPost", "Reply", "in_a_line", "reason_of"]

_WORDS = 300  # characters of a reason
_PIECE = 1 << 16  # bytes that are read at once of a long answer
_GZIP = 16 + zlib.MAX_WBITS  # as zlib names it


class Reply(NamedTuple):
    """A server's answer.

    Attributes:
        status: The status code.
        words: The status in words.
        headers: The headers, whose names are found in any case.
        body: The uncompressed body; empty where it was not to be read.
    """

    status: int
    words: str
    headers: Mapping[str, str]
    body: bytes


class _RefusedError(ConnectionError):
    """The server's answer says that it will not."""


class HttpPost:
    """Connections for requests that follow no redirects; for one thread.

    Args:
        headers: Sent with each request.
        timeout: Seconds to wait for an answer, to the end of its headers, and for all of its body.
        limit: Bytes of a body, at most.
        certificate: File of the trusted authorities; None: the system's.
        client: Files of our own certificate and its key, or of both in one.

    Attributes:
        timeout: As given; it can be changed between requests.
    """

    def __init__(
        self,
        headers: Mapping[str, str],
        timeout: float,
        limit: int,
        certificate: str | None = None,
        client: str | tuple[str, str] | None = None,
    ) -> None:
        import requests
        from urllib3.exceptions import HTTPError

        # Those of requests are OSErrors; while the answer is read, urllib3 and zlib raise theirs.
        self._errors = (OSError, ValueError, HTTPException, HTTPError, zlib.error)
        self.timeout = timeout
        self._limit, self._certificate = limit, certificate
        self._session = session = requests.Session()
        for scheme in ("http://", "https://"):
            session.mount(scheme, _adapter())
        session.headers.update(headers)
        session.cert = client

    def send(self, url: str, body: bytes, read: Container[int]) -> Reply:
        """Post *body*; the answer's body is read if its status is in *read*.

        Raises:
            ConnectionError: If no answer came, or it is none; the message says why.
        """
        try:
            with self._session.post(
                url,
                data=body,
                timeout=self.timeout,
                verify=self._certificate,  # the session's gives way to the environment
                allow_redirects=False,
                stream=True,
            ) as response:
                status = response.status_code
                answer = self._body_of(response) if status in read else b""
                return Reply(status, response.reason or "", response.headers, answer)
        except self._errors as exc:
            raise ConnectionError(reason_of(exc)) from exc

    def lines(self, url: str, body: bytes) -> Iterator[bytes]:
        """Post *body*, and yield the lines of the answer as they come, however many there are.

        Raises:
            ConnectionError: If no answer came, its status is not 200, it breaks off, or a line is
                longer than the limit; the message says why.
        """
        try:
            with self._session.post(
                url,
                data=body,
                timeout=self.timeout,
                verify=self._certificate,
                allow_redirects=False,
                stream=True,
            ) as response:
                if response.status_code != 200:
                    said = response.raw.read(_WORDS, decode_content=True).decode("utf-8", "replace")
                    why = f"HTTP {response.status_code} {response.reason or ''}: {said}"
                    raise _RefusedError(in_a_line(why))
                rest = b""
                for piece in response.raw.stream(_PIECE, decode_content=True):
                    *whole, rest = (rest + piece).split(b"\n")
                    yield from whole
                    if len(rest) > self._limit:
                        raise ValueError("a line of its answer is too long")
                if rest:
                    yield rest
        except _RefusedError:
            raise
        except self._errors as exc:
            raise ConnectionError(reason_of(exc)) from exc

    def _body_of(self, response: Any) -> bytes:
        """The body of a response.

        Raises:
            TimeoutError: If it does not come in time.
            ValueError: If it is too long.
            HTTPError: If the connection broke.
        """
        deadline = time.monotonic() + self.timeout
        body = bytearray()
        # Byte by byte, mostly of a buffer: a read of many waits for each of them anew.
        while byte := response.raw.read(1, decode_content=False):
            body += byte
            if len(body) > self._limit:
                raise ValueError("its answer is too long")
            if time.monotonic() > deadline:
                raise TimeoutError("its answer did not come in time")
        if response.headers.get("Content-Encoding", "").strip().lower() != "gzip":
            return bytes(body)
        packed = zlib.decompressobj(_GZIP)
        whole = packed.decompress(body, self._limit)
        if not packed.eof:
            raise ValueError("its answer is cut off, or too long")
        return whole

    def close(self) -> None:
        """Let go of the connections."""
        self._session.close()


class _InTime(RawIOBase):
    """A file of a socket, each read of which ends at a deadline, as long as there is one."""

    def __init__(self, file: BinaryIO, sock: Any) -> None:
        self._file, self._sock = file, sock
        self.deadline: float | None = None

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there, or wait for it."""
        if self.deadline is not None:
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("its answer did not begin in time")
            self._sock.settimeout(left)
        return self._file.readinto1(buffer)  # type: ignore[attr-defined, no-any-return]

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


class _Answer(HTTPResponse):
    """An answer whose headers come in the time that there is for one read: a server could send
    one byte after the other, or "100 Continue" again and again."""

    def __init__(self, sock: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self._sock = sock
        self._raw = _InTime(self.fp, sock)
        self.fp = BufferedReader(self._raw)

    def begin(self) -> None:
        """Read status and headers."""
        patience = self._sock.gettimeout()
        if patience is not None:
            self._raw.deadline = time.monotonic() + patience
        super().begin()
        if patience is not None:
            self._raw.deadline = None
            self._sock.settimeout(patience)


def _adapter() -> Any:
    """What connects a session of requests, which is imported only when there is one."""
    from requests.adapters import HTTPAdapter
    from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
    from urllib3.connection import HTTPConnection, HTTPSConnection

    class Plain(HTTPConnection):
        response_class = _Answer

    class Secure(HTTPSConnection):
        response_class = _Answer

    class PlainPool(HTTPConnectionPool):
        ConnectionCls = Plain

    class SecurePool(HTTPSConnectionPool):
        ConnectionCls = Secure

    pools = {"http": PlainPool, "https": SecurePool}

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = pools

        def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
            manager = super().proxy_manager_for(*args, **kwargs)
            manager.pool_classes_by_scheme = pools
            return manager

    return Adapter()


def reason_of(exc: BaseException) -> str:
    """The text of the innermost cause of an exception; of a refused connection it is four deep."""
    seen = {id(exc)}
    while (cause := exc.__cause__ or exc.__context__) is not None and id(cause) not in seen:
        exc = cause
        seen.add(id(exc))
    return in_a_line(f"{type(exc).__name__}: {exc}")


def in_a_line(text: str) -> str:
    """Foreign *text* as one short line, fit for a log."""
    seen = "".join(c if c.isprintable() else " " for c in text[:_WORDS])
    return harmless(" ".join(seen.split()))
