"""Asks a ClickHouse what it has of a trail, in SQL."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import msgspec

from ...core import semconv
from ...core.errors import AuditConfigError, shown
from ...otlp.client import Endpoint
from ...otlp.http_post import in_a_line
from .answers import Answers
from .store import BLOCK, Block, Place, StoredRecord, StoredStream

__all__ = ["ClickHouse"]

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_TABLES = ("audit_events_stored", "audit_events")  # of our schema; of the exporter's
_HOLDS = "audit_holds_ranges"  # of retention.sql, whose rule asks it


class _Columns(NamedTuple):
    """SQL of what a comparison needs; *digits* of the hash are in the table."""

    stream: str
    trail: str
    number: str
    hash: str
    body: str
    digits: int = 64

    @property
    def own(self) -> str:
        """The hash of the body."""
        return f"lower(hex(SHA256(concat(char(0), {self.body}))))"


#: Of collector-config/clickhouse/schema.sql, which keeps half of the hash that the body had.
_OURS = _Columns("stream", "trail", "toInt64(sequence)", "lower(hex(digest))", "body", 32)
#: Of the collector's exporter, with its own table.
_EXPORTERS = _Columns(
    f"LogAttributes['{semconv.AUDIT_SEQUENCE_STREAM_ID}']",
    f"LogAttributes['{semconv.AXON_AUDIT_TRAIL}']",
    f"toInt64OrZero(LogAttributes['{semconv.AUDIT_SEQUENCE_NUMBER}'])",
    f"LogAttributes['{semconv.AXON_AUDIT_HASH}']",
    "Body",
)


class _Row(msgspec.Struct):
    trail: str = ""
    stream: str = ""
    number: int = 0
    # No name of a column: in the rest of a statement ClickHouse would take it for that.
    hash: str = msgspec.field(default="", name="known_as")
    first: int = 0
    last: int = 0
    block: int = 0
    events: int = 0
    records: int = 0
    fingerprint: str = ""
    intact: bool = True
    name: str = ""
    create_table_query: str = ""
    exception: str = ""  # instead of the rest: it failed when some of its answer was out


class ClickHouse:
    """A ClickHouse; see `Store`.

    Args:
        endpoint: Its address: the database is the path, the table ``?table=``.

    Raises:
        AuditConfigError: If database or table is not a name.
    """

    hashes_bodies = True

    def __init__(self, endpoint: Endpoint) -> None:
        parts = urlsplit(endpoint.url)
        given = dict(parse_qsl(parts.query))
        self._database = parts.path.strip("/") or "otel"
        self._table = given.pop("table", "")
        for name in filter(None, (self._database, self._table, *given)):
            if not _NAME.fullmatch(name) or name in given:
                words = "use clickhouse+http://HOST:8123/DATABASE?table=TABLE"
                raise AuditConfigError(f"store: {shown(name)} cannot be meant: {words}")
        base = urlunsplit(parts._replace(path="", query=""))
        self._answers = Answers(Endpoint(base, headers=endpoint.headers, timeout=endpoint.timeout))
        self.place = f"{self._answers.place}/{self._database}"
        self._known: _Columns | None = None

    def streams(self) -> list[StoredStream]:
        of = self._columns()
        found = self._ask(
            f"SELECT {of.stream} AS stream, any({of.trail}) AS trail, count() AS records,"
            f" min({of.number}) AS first, max({of.number}) AS last FROM {self._from}"
            f" WHERE {of.stream} != '' AND {of.number} > 0 GROUP BY stream ORDER BY stream"
        )
        return [StoredStream(r.trail, r.stream, r.records, r.first, r.last) for r in found]

    def blocks(self, stream: str, first: int, last: int, bodies: bool = False) -> dict[int, Block]:
        of = self._columns()
        named = f"substring({of.own}, 1, {of.digits})" if bodies else of.hash
        found = self._ask(
            "SELECT intDiv(number - 1, {block:Int64}) AS block, count() AS events,"
            " sum(copies) AS records, lower(hex(SHA256(arrayStringConcat("
            "arrayMap(place -> place.2, arraySort(groupArray((number, known_as))))))))"
            " AS fingerprint"
            f" FROM (SELECT {of.number} AS number, {named} AS known_as, count() AS copies"
            f" FROM {self._from} WHERE {self._range(of)} GROUP BY number, known_as)"
            " GROUP BY block",
            block=BLOCK,
            stream=stream,
            first=first,
            last=last,
        )
        return {row.block: Block(row.events, row.records, row.fingerprint) for row in found}

    def fingerprint(self, places: Iterable[Place]) -> str:
        digits = self._columns().digits
        hashes = (digest[:digits] for _, digest in places)
        return hashlib.sha256("".join(hashes).encode()).hexdigest()

    def records(
        self, stream: str, first: int, last: int, bodies: bool = False
    ) -> Iterator[StoredRecord]:
        of = self._columns()
        intact = f"startsWith({of.own}, {of.hash})" if bodies or of.digits < 64 else "true"
        whole = f"if({intact}, {of.own}, {of.hash})" if of.digits < 64 else of.hash
        found = self._ask(
            f"SELECT {of.number} AS number, {whole} AS known_as, {intact} AS intact,"
            f" count() AS records FROM {self._from} WHERE {self._range(of)}"
            " GROUP BY number, known_as, intact",
            stream=stream,
            first=first,
            last=last,
        )
        for row in found:
            yield StoredRecord(row.number, row.hash, row.records, row.intact if bodies else None)

    def keeps(self) -> float | None:
        """As the table's TTL says, if that is of one age for all; or for all without a hold."""
        self._columns()
        with suppress(ConnectionError):
            for row in self._ask(
                "SELECT name, create_table_query FROM system.tables"
                " WHERE database = {database:String} AND name = {name:String}",
                database=self._database,
                name=self._table,
            ):
                _, ttl, rule = row.create_table_query.partition(" TTL ")
                found = re.findall(r"toInterval(Day|Hour|Month|Year|Week)\((\d+)\)", rule)
                _, condition, of = rule.partition(" WHERE ")
                known = not condition or _HOLDS in of  # what is held, and lost, then counts as old
                if ttl and len(found) == 1 and known:
                    return float(found[0][1]) * _SECONDS[found[0][0]]
                return None if ttl else float(100 * _SECONDS["Year"])
        return None

    def settle(self) -> None:
        """It answers an insert when its rows can be read."""

    def close(self) -> None:
        self._answers.close()

    @property
    def _from(self) -> str:
        return f"`{self._database}`.`{self._table}`"

    @staticmethod
    def _range(of: _Columns) -> str:
        numbers = "{first:Int64} AND {last:Int64}"
        return f"{of.stream} = {{stream:String}} AND {of.number} BETWEEN {numbers}"

    def _columns(self) -> _Columns:
        """The columns of the table, which is looked up once."""
        if self._known is None:
            rows = self._ask(
                "SELECT table AS stream, name FROM system.columns"
                " WHERE database = {database:String} AND table IN {tables:Array(String)}",
                database=self._database,
                tables=[self._table] if self._table else list(_TABLES),
            )
            tables: dict[str, set[str]] = {}
            for row in rows:
                tables.setdefault(row.stream, set()).add(row.name)
            for table in (self._table, *_TABLES):
                names = tables.get(table, set())
                known = _OURS if {"stream", "sequence", "digest", "body"} <= names else None
                if known is None and {"Body", "LogAttributes"} <= names:
                    known = _EXPORTERS
                if known is not None:
                    self._known, self._table = known, table
                    return known
            wanted = f"a table with audit events in {self._database} (?table=NAME)"
            raise self._answers.wrong(wanted)
        return self._known

    def _ask(self, sql: str, **parameters: str | int | list[str]) -> Iterator[_Row]:
        named = {f"param_{name}": _parameter(value) for name, value in parameters.items()}
        settings = {
            "default_format": "JSONEachRow",
            "output_format_json_quote_64bit_integers": "0",
        }
        path = f"/?{urlencode({**settings, **named})}"
        for row in self._answers.rows(path, sql.encode(), _Row):
            if row.exception:
                raise self._answers.failed(in_a_line(row.exception))
            yield row


_SECONDS = {
    "Hour": 3600,
    "Day": 86_400,
    "Week": 7 * 86_400,
    "Month": 31 * 86_400,
    "Year": 366 * 86_400,
}


def _parameter(value: str | int | list[str]) -> str:
    """A parameter of a query, as ClickHouse reads it: names of tables need no escapes."""
    if isinstance(value, list):
        return "[" + ",".join(f"'{name}'" for name in value) + "]"
    return str(value).replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n")
