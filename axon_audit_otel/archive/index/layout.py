"""The layout of an index: where in a sealed file the events are that have an id.

An index is made of the content of its file alone, so whoever makes it makes the same bytes::

    header     magic, SHA-256 and size of the file's content, number of events and of words
    top        the first word of each page of words; then the digest of each page
    words      64 bits each, sorted: 40 of the hash of an id (CRC-32, and
                8 of its length in bytes), 24 of the place of the event
    offsets    32 bits each: where the line of each event begins, and where the last one ends

Words and offsets are one sequence of pages of 4 KiB. A query reads the top and some pages. The
root, a hash over header and top, proves each of them: see `notes`.
"""

from __future__ import annotations

import hashlib
import struct
import sys
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from io import BufferedReader, FileIO
from typing import NamedTuple, cast
from zlib import crc32

from ...core.errors import InvalidEventError
from ...events.model import AuditEvent

__all__ = ["BadIndexError", "Content", "OpenIndex", "Words", "hash_of", "ids_of"]

MAGIC = b"AXAINDX1"
_HEADER = struct.Struct("<8s32sQII")
_PAGE = 4096
_DIGEST = 16  # bytes
_PLACE = 24  # bits
_EVERYWHERE = (1 << _PLACE) - 1  # the place of an id that is in too many lines to name them
_FEW = 16  # lines of a file that are always named
_OFTEN = 4  # bits: an id in more than a sixteenth of the lines is not worth it
_LARGEST = (1 << 32) - 1  # bytes of a file that can have an index
_TOP = 16 << 20  # bytes of header and top, at most


class BadIndexError(Exception):
    """An index that cannot be used: it is damaged, or not the one that was noted."""


class Content(NamedTuple):
    """Which file an index is about: the content that was sealed.

    Attributes:
        sha256: Its digest, 32 bytes.
        size: Its bytes, uncompressed.
        events: Its number of events.
    """

    sha256: bytes
    size: int
    events: int


def hash_of(value: str) -> int:
    """The word of an id in an index, without the place of an event.

    Two ids may have one: then lines are read that do not answer, and nothing else happens. So it
    need not be one that nobody can make collide, and this one is fast.
    """
    data = value.encode("utf-8", "surrogatepass")
    return (crc32(data) << 8 | len(data) & 0xFF) << _PLACE  # as `Words.add`


def ids_of(event: AuditEvent) -> set[str]:
    """The ids of an event that an index knows, as they are recorded: they may be pseudonyms."""
    found = {
        *(event.user_id, event.session_id, event.subject_id, event.agent_id),
        *(event.on_behalf_of, event.trace_id, *event.entry_ids, *(event.subjects or ())),
    }
    found.discard(None)
    return found  # type: ignore[return-value]


# --- made ------------------------------------------------------------------------------------


class Words:
    """Takes the events of one file, in order, and makes its index."""

    def __init__(self) -> None:
        self._words = array("Q")
        self._offsets = array("L" if array("I").itemsize != 4 else "I")

    def add(self, events: Iterable[AuditEvent], lengths: Iterable[int], begin: int) -> int:
        """Add *events*, whose lines of these *lengths* begin at *begin*; return where they end."""
        place, add = len(self._offsets), self._words.append
        for event, length in zip(events, lengths):
            for data in map(str.encode, ids_of(event)):  # as `hash_of`, whose call takes as long
                add((crc32(data) << 8 | len(data) & 0xFF) << _PLACE | place)
            if begin > _LARGEST or place >= _EVERYWHERE:
                raise InvalidEventError("it is too large for an index")
            self._offsets.append(begin)
            begin += length
            place += 1
        return begin

    def made(self, sha256: bytes, size: int, end: int) -> tuple[list[bytes], bytes]:
        """The index of a file with these events, in parts; and its root.

        Args:
            sha256: Digest of the file's content.
            size: Its bytes.
            end: Where the line of its last event ends.
        """
        if size > _LARGEST:
            raise InvalidEventError("it is too large for an index")
        events = len(self._offsets)
        words = _shortened(array("Q", sorted(self._words)), events)
        self._offsets.append(end)
        firsts = words[:: _PAGE // 8]
        body = _little(words) + _little(self._offsets)
        pages = [body[at : at + _PAGE] for at in range(0, len(body), _PAGE)]
        header = _HEADER.pack(MAGIC, sha256, size, events, len(words))
        top = _little(firsts) + b"".join(map(_digest, pages))
        if len(header) + len(top) > _TOP:
            raise InvalidEventError("it has too many ids for an index")
        return [header, top, body], _root(header, top)


def _shortened(words: array[int], events: int) -> array[int]:
    """*words*, in which an id that is in very many lines has one word, which says so."""
    most = max(events >> _OFTEN, _FEW)
    kept, begin, at = array("Q"), 0, 0
    while at + most < len(words):  # `at` is where the words of an id begin
        value = words[at + most] >> _PLACE
        start = bisect_left(words, value << _PLACE, at, at + most)
        if start == at:
            kept += words[begin:at]
            kept.append(value << _PLACE | _EVERYWHERE)
            begin = start = bisect_left(words, (value + 1) << _PLACE, at)
        at = start
    return kept + words[begin:]


def _little(numbers: array[int]) -> bytes:
    if sys.byteorder == "big":
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def _array(kind: str, data: bytes) -> array[int]:
    numbers = array(kind, data)
    if sys.byteorder == "big":
        numbers.byteswap()
    return numbers


def _digest(page: bytes) -> bytes:
    return hashlib.blake2b(page, digest_size=_DIGEST).digest()


def _root(header: bytes, top: bytes) -> bytes:
    return hashlib.blake2b(header + top, digest_size=32).digest()


# --- read ------------------------------------------------------------------------------------


class OpenIndex:
    """An index that is open for reading; what it says of its file is proved by its root.

    Args:
        file: The file.
        root: Its root, if somebody noted it. Default: whatever it is.

    Attributes:
        content: What it is about.
        root: Its root.

    Raises:
        BadIndexError: If it is damaged, or has another root.
        OSError: If it cannot be read.
    """

    def __init__(self, file: BufferedReader, root: bytes | None = None) -> None:
        self._file = cast(
            FileIO, file.raw
        )  # its pages are far from each other: a buffer would be in vain
        begin = self._read(0, 2 * _PAGE)
        header = begin[: _HEADER.size]
        if len(header) < _HEADER.size or not header.startswith(MAGIC):
            raise BadIndexError("it is not an index")
        _, sha256, size, events, self._words = _HEADER.unpack(header)
        self.content = Content(sha256, size, events)
        firsts = -(-self._words // (_PAGE // 8))
        self._body = 8 * self._words + 4 * (events + 1)
        self._pages = -(-self._body // _PAGE)
        self._start = len(header) + 8 * firsts + _DIGEST * self._pages
        if len(begin) < self._start <= _TOP:
            begin += self._read(len(begin), self._start - len(begin))
        if self._start > len(begin):
            raise BadIndexError("its end is missing")
        top = begin[len(header) : self._start]
        self.root = _root(header, top)
        if root is not None and root != self.root:
            raise BadIndexError("it is not the one that was noted")
        self._firsts = _array("Q", top[: 8 * firsts])
        self._digests = top[8 * firsts :]

    def _read(self, start: int, size: int) -> bytes:
        self._file.seek(start)
        return self._file.read(size) or b""

    def _page(self, number: int) -> bytes:
        size = min(_PAGE, self._body - number * _PAGE)
        page = self._read(self._start + number * _PAGE, size)
        if _digest(page) != self._digests[_DIGEST * number : _DIGEST * (number + 1)]:
            raise BadIndexError("a page of it is damaged")
        return page

    def check(self) -> None:
        """Read all of it.

        Raises:
            BadIndexError: If it is damaged.
            OSError: If it cannot be read.
        """
        for number in range(self._pages):
            self._page(number)
        if self._read(self._start + self._body, 1):
            raise BadIndexError("something follows its end")

    def places(self, value: str) -> set[int] | None:
        """The places of the events that may have the id *value*; None: of too many to name them.

        Raises:
            BadIndexError: If it is damaged.
            OSError: If it cannot be read.
        """
        low = hash_of(value)
        last = low | _EVERYWHERE
        found: set[int] = set()
        for number in range(max(0, bisect_left(self._firsts, low) - 1), len(self._firsts)):
            if self._firsts[number] > last:
                break
            page = self._page(number)[: 8 * (self._words - number * (_PAGE // 8))]
            words = _array("Q", page)
            begin = bisect_left(words, low)
            found.update(word & _EVERYWHERE for word in words[begin : bisect_left(words, last + 1)])
        return None if _EVERYWHERE in found else found

    def lines(self, places: list[int]) -> Iterator[tuple[int, int]]:
        """Yield for each of *places* where its line begins, and where it ends.

        Raises:
            BadIndexError: If it is damaged.
            OSError: If it cannot be read.
        """
        kept: tuple[int, bytes] = -1, b""
        for place in places:
            numbers = []
            for offset in (8 * self._words + 4 * place, 8 * self._words + 4 * (place + 1)):
                number, at = divmod(offset, _PAGE)
                if kept[0] != number:
                    kept = number, self._page(number)
                numbers.append(int.from_bytes(kept[1][at : at + 4], "little"))
            yield numbers[0], numbers[1]
