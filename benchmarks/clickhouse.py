"""``python -m benchmarks.clickhouse``: what an event costs in ClickHouse, and what questions cost.

The tables and views are those of ``collector-config/clickhouse``; ClickHouse is chdb, in this
process. The events are those of an instrumented SDK with random ids, sessions, traces and hashes,
written by processes of their own into a scratch directory, which is deleted.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from base64 import b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory, gettempdir
from time import perf_counter, process_time, time
from typing import Any

from axon_audit_otel.core.merkle import leaf_hash
from axon_audit_otel.core.time import format_time
from axon_audit_otel.events.model import decode

from . import report
from .archives import RARE_ENTRY, RARE_USER, SECONDS

_FILES = Path(__file__).resolve().parent.parent / "collector-config" / "clickhouse"
DEFAULT, LARGE = 1_000_000, 10_000_000
TRAILS = 8
_OFTEN = 5  # runs of a question; the median counts


# --- events --------------------------------------------------------------------------------------


def events(count: int, trail: int, rare: int) -> Iterator[bytes]:
    """The events of one of `TRAILS` trails: stores of one entry, recalls of three.

    Args:
        count: Of this trail.
        trail: Its number.
        rare: Each so many events one is of `RARE_USER`.
    """
    chance = Random(trail)
    start_us = int((time() - SECONDS) * 1e6)
    step, users = SECONDS * 1_000_000 / count, max(100, count * TRAILS // 100)
    sessions: dict[str, str] = {}
    previous = ""
    for number in range(1, count + 1):
        time_us = start_us + int(number * step) + chance.randrange(1000)
        is_rare, is_store = number % rare == rare // 2, number % 2 == 0
        user = RARE_USER if is_rare else f"user_{int(chance.random() * users):06}"
        if user not in sessions or chance.random() < 0.1:
            sessions[user] = chance.randbytes(16).hex()
        entries = [_uuid(chance.randbytes(16).hex()) for _ in range(1 if is_store else 3)]
        if is_rare:
            entries[0] = RARE_ENTRY
        prints = (f'"{one}":"{b64encode(chance.randbytes(14)).decode()[:19]}"' for one in entries)
        what, facts = _STORE if is_store else _RECALL
        trace = chance.randbytes(36).hex()
        line = (
            f'{{"event_id":"evt_{time_us // 1000:012x}7{trace[:3]}8{trace[3:18]}"'
            f',"timestamp":"{format_time(time_us)}","operation":"{what.upper()}"'
            f',"user_id":"{user}","session_id":"{sessions[user]}"'
            f',"entry_ids":["{_COMMA.join(entries)}"],"metadata":{facts}'
            f',"status":"{"FAILURE" if number % 101 == 0 else "SUCCESS"}"'
            f',"duration_ms":{round(chance.lognormvariate(1, 1), 3) + 0.001:.3f}5'
            f',"trace_id":"{trace[18:50]}","span_id":"{trace[50:66]}","trace_flags":"01"'
            f',"action":"MemorySystem.{what}","system":"axon","subjects":["{user}"]'
            f',"fingerprints":{{{",".join(prints)}}},"sequence":{number}{previous}}}'
        ).encode()
        previous = f',"previous_hash":"{leaf_hash(line).hex()}"'
        yield line


_COMMA = '","'
_STORE = "store", '{"importance":0.5,"privacy_level":"public","has_embedding":false}'
_RECALL = "recall", '{"k":3,"tiers":["all"],"has_filter":false,"result_count":3}'


def _uuid(text: str) -> str:
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def _write(path: Path, count: int, trail: int, rare: int) -> tuple[Path, int]:
    """Write one trail's events into a file, one a line; returns the file and its bytes."""
    with path.open("wb") as file:
        for number, line in enumerate(events(count, trail, rare)):
            if number < 100:  # they are what the package writes
                assert decode(line).to_json() == line, line
            file.write(line + b"\n")
    return path, path.stat().st_size


# --- ClickHouse ----------------------------------------------------------------------------------

_INSERT = """
INSERT INTO audit_records
    (Timestamp, ServiceName, Body, ResourceAttributes, LogAttributes, EventName)
WITH JSONExtract(line, 'Tuple(event_id String, operation String, status String, user_id String,
    session_id String, sequence UInt64, previous_hash String)') AS event
SELECT now64(9), 'shop', line, map('service.name', 'shop', 'service.instance.id', '{trail}'),
    map('axon.audit.trail', 'trail-{trail}', 'audit.sequence.stream_id', '{trail:016x}',
        'log.record.uid', event.event_id, 'axon.operation', event.operation,
        'axon.status', event.status, 'user.id', event.user_id, 'session.id', event.session_id,
        'audit.sequence.number', toString(event.sequence),
        'audit.sequence.previous_hash', event.previous_hash,
        'axon.audit.hash', lower(hex(SHA256(concat(char(0), line))))), 'axon.memory.audit'
FROM file('{path}', LineAsString, 'line String')
SETTINGS min_insert_block_size_rows = 1000000, min_insert_block_size_bytes = 0
"""

QUESTIONS = {
    "one user's events (*)": f"SELECT * FROM audit_events WHERE user_id = '{RARE_USER}'",
    "one user's days": f"SELECT * FROM audit_activity WHERE user_id = '{RARE_USER}'",
    "one entry's events": f"SELECT event_id FROM audit_events WHERE has(entry_ids, '{RARE_ENTRY}')",
    "the last hour, by operation": (
        "SELECT operation, status, count() FROM audit_events"
        " WHERE timestamp > now64(6) - INTERVAL 1 HOUR GROUP BY operation, status"
    ),
    "every user's days, the busiest 20": (
        "SELECT user_id, sum(events) AS n FROM audit_activity GROUP BY user_id ORDER BY n DESC"
        " LIMIT 20"
    ),
    "gaps": "SELECT count() FROM audit_gaps",
    "hashes and chain": "SELECT count() FROM audit_chain WHERE finding != ''",
}
_ONCE = ("hashes and chain", "gaps")  # long


def _schema() -> list[str]:
    """The statements of our files."""
    spec = importlib.util.spec_from_file_location("apply", _FILES / "apply.py")
    assert spec is not None
    assert spec.loader is not None
    apply = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(apply)
    texts = [(_FILES / name).read_text("utf-8") for name in ("schema.sql", "views.sql")]
    return [statement for text in texts for statement in apply.statements(text)]


def _timed(job: Callable[[], Any]) -> tuple[float, float, Any]:
    wall, cpu = perf_counter(), process_time()
    found = job()
    return perf_counter() - wall, process_time() - cpu, found


def measured(count: int, where: Path) -> list[str]:
    """The lines of the table."""
    rare = max(1, count // 100)
    with TemporaryDirectory(prefix="axon-audit-bench-", dir=where) as scratch:
        session: Any = importlib.import_module("chdb.session").Session(f"{scratch}/data")

        def ask(sql: str) -> str:
            return str(session.query(sql, "TabSeparated")).strip()

        for statement in ["CREATE DATABASE otel", "USE otel", *_schema()]:
            ask(statement)
        json_bytes, wall, cpu = 0, 0.0, 0.0
        with ProcessPoolExecutor(min(TRAILS, os.cpu_count() or 1)) as pool:
            jobs = {
                pool.submit(
                    _write, Path(scratch, f"{trail}.jsonl"), count // TRAILS, trail, rare
                ): trail
                for trail in range(1, TRAILS + 1)
            }
            for job in as_completed(jobs):
                path, size = job.result()
                json_bytes += size
                insert = _INSERT.format(path=path, trail=jobs[job])
                took = _timed(lambda sql=insert: ask(sql))  # type: ignore[misc]
                wall, cpu = wall + took[0], cpu + took[1]
                path.unlink()
                say = f"{json_bytes / 1e6:,.0f} MB of JSON inserted, {cpu:.0f} CPU s"
                print(say, file=sys.stderr, flush=True)
        rows = [
            _size(ask, json_bytes),
            f"| insert and sort in, with what was merged meanwhile | {wall:.0f} s / {cpu:.0f} s"
            f" | {count / cpu:,.0f} events a CPU second |",
        ]
        for name, sql in QUESTIONS.items():
            runs = [_timed(lambda sql=sql: ask(sql)) for _ in range(1 if name in _ONCE else _OFTEN)]  # type: ignore[misc]
            wall, cpu = (median(run[at] for run in runs) for at in (0, 1))
            found = runs[0][2]
            if name in _ONCE:
                assert found == "0", (name, found)
                note = f"{count / wall:,.0f} events a second"
            else:
                note = f"{len(found.splitlines())} rows"
            rows.append(f"| {name} | {wall:.2f} s / {cpu:.2f} s | {note} |")
            print(rows[-1], file=sys.stderr, flush=True)
        session.close()
    return rows


def _size(ask: Callable[[str], str], json_bytes: int) -> str:
    asked = "SELECT sum(rows), sum(bytes_on_disk), count() FROM system.parts WHERE active AND "
    number, size, parts = map(int, ask(f"{asked} table = 'audit_events_stored'").split())
    columns = ask(
        "SELECT column, sum(column_bytes_on_disk) AS bytes FROM system.parts_columns WHERE active"
        " AND table = 'audit_events_stored' GROUP BY column ORDER BY bytes DESC LIMIT 6 FORMAT CSV"
    )
    print(columns, file=sys.stderr)
    return (
        f"| an event of {json_bytes / number:.0f} bytes of JSON | {size / number:.0f} bytes"
        f" | {size / 1e6:,.0f} MB in {parts} parts |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clickhouse", description=__doc__)
    parser.add_argument(
        "--events", type=int, default=DEFAULT, metavar="N", help="default 1,000,000"
    )
    parser.add_argument("--large", action="store_true", help="10,000,000: 5 GB of scratch")
    parser.add_argument("--where", type=Path, default=Path(gettempdir()), metavar="DIR")
    options = parser.parse_args()
    count = (LARGE if options.large else options.events) // TRAILS * TRAILS
    facts = report.facts(1)
    rows = measured(count, options.where)
    facts["load"] += report.load()
    print(f"| {count:,} events | wall / CPU | |\n| --- | --- | --- |")
    print("\n".join(rows))
    print(f"\n{report.footer(facts)}")


if __name__ == "__main__":
    main()
