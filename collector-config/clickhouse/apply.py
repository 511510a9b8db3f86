"""Runs files of SQL in ClickHouse over HTTP, statement by statement; the database is made first.

python3 apply.py http://clickhouse:8123 schema.sql views.sql

Statements end with ; at the end of a line. CLICKHOUSE_DATABASE (otel), CLICKHOUSE_USERNAME
(default) and CLICKHOUSE_PASSWORD (empty) are those of the collector. It needs Python 3.10 and
nothing else.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path


def statements(sql: str) -> list[str]:
    """The statements of a file."""
    lines = [line for line in sql.split("\n") if not line.lstrip().startswith("--")]
    parts = re.split(r";[ \t]*(?:\n|$)", "\n".join(lines))
    return [part.strip() for part in parts if part.strip()]


def run(url: str, statement: str, database: str) -> None:
    """Run one statement.

    Raises:
        OSError: If ClickHouse refuses it, or does not answer.
    """
    request = urllib.request.Request(  # noqa: S310 - the operator's own URL
        f"{url.rstrip('/')}/?{urllib.parse.urlencode({'database': database})}",
        statement.encode(),
        {
            "X-ClickHouse-User": os.environ.get("CLICKHOUSE_USERNAME", "default"),
            "X-ClickHouse-Key": os.environ.get("CLICKHOUSE_PASSWORD", ""),
        },
    )
    with urllib.request.urlopen(request, timeout=600) as answer:  # noqa: S310
        answer.read()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="of ClickHouse's HTTP interface, http://clickhouse:8123")
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE.sql")
    options = parser.parse_args()
    database = os.environ.get("CLICKHOUSE_DATABASE", "otel")
    name = "`" + database.replace("\\", "\\\\").replace("`", "\\`") + "`"
    made = f"CREATE DATABASE IF NOT EXISTS {name}"
    jobs = [(made, "default")]
    for file in options.files:
        jobs += [(one, database) for one in statements(file.read_text(encoding="utf-8"))]
    for statement, where in jobs:
        try:
            run(options.url, statement, where)
        except OSError as exc:
            said = (
                exc.read().decode(errors="replace")
                if isinstance(exc, urllib.error.HTTPError)
                else exc
            )
            print(f"{statement.splitlines()[0]}: {said}", file=sys.stderr)
            return 1
    print(f"{len(jobs)} statements in {database}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
