"""Asks a VictoriaLogs what it has of a trail, in LogsQL."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from urllib.parse import urlencode

import msgspec

from ...core import semconv
from ...core.merkle import leaf_hash
from ...core.units import seconds
from .answers import Answers
from .store import BLOCK, Block, Place, StoredRecord, StoredStream

__all__ = ["VictoriaLogs"]

# Sums are made of 64-bit floats: 4096 numbers of 40 bits are added exactly.
_DIGITS = 10
_STREAM = f'"{semconv.AUDIT_SEQUENCE_STREAM_ID}"'
_NUMBER = f'"{semconv.AUDIT_SEQUENCE_NUMBER}"'
_HASH = f'"{semconv.AXON_AUDIT_HASH}"'
_TRAIL = f'"{semconv.AXON_AUDIT_TRAIL}"'
# Whoever may send to the store may send other numbers too, and durations count as numbers.
_IS_NUMBER = f'{_NUMBER}:~"^[1-9][0-9]{{0,17}}$"'


class _Row(msgspec.Struct):
    """A row of any answer here; VictoriaLogs leaves out what is empty, and all is text."""

    trail: str = ""
    stream: str = ""
    number: str = ""
    hash: str = ""
    first: str = ""
    last: str = ""
    block: str = ""
    events: str = ""
    records: str = ""
    total: str = ""
    body: str = msgspec.field(default="", name="_msg")


class VictoriaLogs:
    """A VictoriaLogs, single or cluster; see `Store`.

    Args:
        answers: Its address, and how to ask there.
    """

    hashes_bodies = False

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self.place = answers.place

    def streams(self) -> list[StoredStream]:
        found = self._ask(
            f"{_STREAM}:* {_IS_NUMBER} | stats by ({_STREAM}, {_TRAIL}) count() records,"
            f" min({_NUMBER}) first, max({_NUMBER}) last"
            f" | rename {_STREAM} as stream, {_TRAIL} as trail"
        )
        streams: dict[str, StoredStream] = {}
        for row in found:
            counts = map(self._whole, (row.records, row.first, row.last))
            stream = StoredStream(row.trail, row.stream, *counts)
            if other := streams.get(row.stream):  # its trail had another name
                stream = other._replace(
                    records=other.records + stream.records,
                    first=min(other.first, stream.first),
                    last=max(other.last, stream.last),
                )
            streams[row.stream] = stream
        return [*streams.values()]

    def blocks(self, stream: str, first: int, last: int, bodies: bool = False) -> dict[int, Block]:
        found = self._ask(
            f"{self._range(stream, first, last)} | stats by ({_NUMBER}, {_HASH}) count() copies"
            f' | extract_regexp "^(?P<head>[0-9a-f]{{{_DIGITS}}})" from {_HASH}'
            ' | format "<hexnumdecode:head>" as head'
            f" | math floor(({_NUMBER}-1)/{BLOCK}) as block"
            " | stats by (block) count() events, sum(copies) records, sum(head) total"
        )
        blocks = {}
        for row in found:
            counts = self._whole(row.events), self._whole(row.records)
            blocks[self._whole(row.block)] = Block(*counts, row.total)
        return blocks

    def fingerprint(self, places: Iterable[Place]) -> str:
        return str(sum(int(digest[:_DIGITS], 16) for _, digest in places))

    def records(
        self, stream: str, first: int, last: int, bodies: bool = False
    ) -> Iterator[StoredRecord]:
        asked = f"{self._range(stream, first, last)} {_IS_NUMBER}"
        if bodies:
            asked += f" | fields {_NUMBER}, {_HASH}, _msg"
        else:
            asked += f" | stats by ({_NUMBER}, {_HASH}) count() records"
        for row in self._ask(f"{asked} | rename {_NUMBER} as number, {_HASH} as hash"):
            number = self._whole(row.number)
            if bodies:
                own = leaf_hash(row.body.encode("utf-8", "replace")).hex()
                yield StoredRecord(number, row.hash, 1, own == row.hash)
            else:
                yield StoredRecord(number, row.hash, self._whole(row.records))

    def keeps(self) -> float | None:
        """As its flags say; None if these cannot be read, or its disk has a limit too."""
        flags = {}
        with suppress(ConnectionError):
            text = self._answers.text("/metrics")
            flags = dict(
                re.findall(r'^flag\{name="(retention[\w.]*)", value="([^"]*)"', text, re.MULTILINE)
            )
        limits = [value for name, value in flags.items() if name.startswith("retention.")]
        if any(value not in ("", "0") for value in limits):
            return None
        return _duration(flags.get("retentionPeriod", ""))

    def settle(self) -> None:
        with suppress(ConnectionError):  # it may be forbidden; then it takes a second
            self._answers.text("/internal/force_flush")

    def close(self) -> None:
        self._answers.close()

    def _range(self, stream: str, first: int, last: int) -> str:
        return f"{_STREAM}:={msgspec.json.encode(stream).decode()} {_NUMBER}:range[{first}, {last}]"

    def _ask(self, query: str) -> Iterator[_Row]:
        body = urlencode({"query": query}).encode()
        yield from self._answers.rows("/select/logsql/query", body, _Row)

    def _whole(self, text: str) -> int:
        """The number in *text*, which may be one of a float.

        Raises:
            ConnectionError: If it is none.
        """
        with suppress(ValueError, OverflowError):
            return int(text) if text.lstrip("-").isdecimal() else int(float(text))
        raise self._answers.wrong(f"a number, and not {text[:40]!r}")


def _duration(text: str) -> float | None:
    """The seconds of a duration of VictoriaMetrics, where a number alone is months."""
    years = re.fullmatch(r"(\d+(?:\.\d+)?)y", text)
    if text.replace(".", "", 1).isdecimal():
        years, months = None, float(text)
        return months * 31 * 86_400
    if years:
        return float(years[1]) * 365 * 86_400
    with suppress(ValueError):
        found = seconds(text)
        return found if math.isfinite(found) else None
    return None
