"""Asks a store over HTTP, and reads its answers: rows of JSON, one a line."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from ...core.errors import harmless
from ...core.files import DECODE_ERRORS
from ...otlp.client import Endpoint
from ...otlp.http_post import HttpPost

__all__ = ["Answers"]

_LINE = 1 << 24  # bytes of a row: an event and its attributes
_TEXT = 1 << 22  # characters of an answer that is text
_Row = TypeVar("_Row")


class Answers:
    """The answers of one store; for one thread.

    Args:
        endpoint: Its base URL, and the headers of requests.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self.place = endpoint.place
        self._post = HttpPost(
            {"Content-Type": "application/x-www-form-urlencoded", **endpoint.headers},
            endpoint.timeout,
            _LINE,
            endpoint.certificate,
        )

    def rows(self, path: str, body: bytes, kind: type[_Row]) -> Iterator[_Row]:
        """Yield the rows of an answer, decoded as *kind*.

        Raises:
            ConnectionError: If it does not answer, or not with such rows; the message has its
                address and its words, without secrets.
        """
        decoder = msgspec.json.Decoder(kind, strict=False).decode

        def decode(line: bytes) -> _Row:
            try:
                return decoder(line)
            except DECODE_ERRORS:  # no Unicode, perhaps, of a stranger's record
                return decoder(line.decode("utf-8", "replace"))

        for line in self._lines(path, body):
            if line.strip():
                try:
                    row = decode(line)
                except DECODE_ERRORS:
                    raise self.wrong(
                        f"a row of JSON, and not {harmless(repr(line[:80]))}"
                    ) from None
                yield row

    def text(self, path: str) -> str:
        """The answer as text.

        Raises:
            ConnectionError: If it does not answer.
        """
        found, size = [], 0
        for line in self._lines(path, b""):
            found.append(line.decode("utf-8", "replace"))
            size += len(line) + 1
            if size > _TEXT:
                raise self.wrong("a shorter answer")
        return "\n".join(found)

    def wrong(self, wanted: str) -> ConnectionError:
        """An error: the store's answer is not what was *wanted*."""
        return self.failed(f"its answer is wrong: wanted was {wanted}")

    def failed(self, why: str) -> ConnectionError:
        """An error, in the store's own words."""
        return ConnectionError(f"{self.place}: {self._endpoint.without_secrets(why)}")

    def _lines(self, path: str, body: bytes) -> Iterator[bytes]:
        base, question, query = self._endpoint.url.partition("?")
        try:
            yield from self._post.lines(f"{base.rstrip('/')}{path}{question}{query}", body)
        except ConnectionError as exc:
            raise self.failed(str(exc)) from None

    def close(self) -> None:
        """Let go of the connections."""
        self._post.close()
