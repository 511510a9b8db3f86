"""The dashboard of events in ClickHouse, and the SQL of docs/clickhouse.md, on a real one."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hostile_events
import pytest
from clickhouse_server import ClickHouse, statements
from conftest import Cli, Make
from opentelemetry.sdk.trace import TracerProvider
from prometheus import DASHBOARDS, panels

pytestmark = pytest.mark.component  # chdb

BOARD = json.loads((DASHBOARDS / "clickhouse" / "audit-trail.json").read_text())
VIEWS = DASHBOARDS.parent / "collector-config" / "clickhouse"
PAGE = DASHBOARDS.parent / "docs" / "clickhouse.md"
_PANELS = [panel for panel in panels(BOARD) if panel["targets"]]
Row = dict[str, Any]


@pytest.fixture(name="store", scope="module")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse"))
    server.prepare("retention.sql")
    yield server
    server.stop()


@pytest.fixture(name="filled")
async def _filled(
    store: ClickHouse,
    make_audit: Make,
    tracer_provider: TracerProvider,
    cli: Cli,
    tmp_path: Path,
) -> ClickHouse:
    """With events of every kind, once for the whole file: as `export` writes them."""
    if not store.query("SELECT 1 FROM audit_events LIMIT 1"):
        with make_audit(name="shop", auto_export_path=tmp_path / "logs") as audit:
            await hostile_events.record(audit)
            with tracer_provider.get_tracer("shop").start_as_current_span("export"):
                await audit.log_event("EXPORT", "alice", agent_id="helper")
        cli("export", tmp_path / "logs", tmp_path / "events.jsonl", "--format", "otlp")
        store.insert_otlp(tmp_path / "events.jsonl")
    return store


def as_grafana_sends(sql: str, **chosen: str) -> str:
    """The query of a panel, with its variables and the macros of the data source's plugin."""
    values = {
        "trail:singlequote": "'shop'",
        "user:sqlstring": "''",
        "__from": "0",
        "system:singlequote": "'', 'axon'",
        "__to": "4102444800000",
        **chosen,
    }
    sql = re.sub(r"\$\{([\w:]+)\}", lambda match: values[match[1]], sql)
    begin, end = "toDateTime(0, 'UTC')", "toDateTime(4102444800, 'UTC')"
    sql = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 >= {begin} AND \1 <= {end}", sql)
    interval = r"toStartOfInterval(toDateTime(\1), INTERVAL 60 second)"
    sql = re.sub(r"\$__timeInterval\((\w+)\)", interval, sql)
    assert "$" not in sql
    return sql


def ask(store: ClickHouse, title: str, **chosen: str) -> list[Row]:
    (panel,) = (panel for panel in _PANELS if panel["title"] == title)
    (target,) = panel["targets"]
    return store.query(as_grafana_sends(target["rawSql"], **chosen))


def value(store: ClickHouse, title: str) -> int:
    ((found,),) = (row.values() for row in ask(store, title))
    return int(found)


class TestDashboard:
    def test_every_query_runs(self, filled: ClickHouse) -> None:
        """Each panel shows something, but for those of damage, of which there is none."""
        empty = {panel["title"] for panel in _PANELS if not ask(filled, panel["title"])}
        assert empty == {"What does not fit", "What is missing"}
        for title in ("Missing events", "Altered events", "Checkpoints that do not fit"):
            assert value(filled, title) == 0

    def test_variables(self, filled: ClickHouse) -> None:
        """What can be chosen is what there is."""
        asked = {v["name"]: v["query"] for v in BOARD["templating"]["list"] if v["type"] == "query"}
        found = {name: [*map(dict.values, filled.query(sql))] for name, sql in asked.items()}
        assert [list(values) for values in found["trail"]] == [["shop"]]
        used = set(re.findall(r"\$\{(\w+)", json.dumps(BOARD["panels"])))
        names = {variable["name"] for variable in BOARD["templating"]["list"]}
        assert used - {"__from", "__to", "__value"} == names

    def test_persons(self, filled: ClickHouse) -> None:
        """As the events say; of one person, also what others did with her data."""
        events = [json.loads(row["body"]) for row in filled.query("SELECT body FROM audit_events")]
        events = [event for event in events if event["operation"] != "AUDIT"]
        expected = Counter(event["user_id"] for event in events)
        found = {row["user_id"]: row["events"] for row in ask(filled, "Persons")}
        assert found == dict(expected.most_common(50))
        of_alice = ask(filled, "Persons", **{"user:sqlstring": "'alice'"})
        touched = [e for e in events if e["user_id"] == "alice" or "alice" in e.get("subjects", [])]
        assert sum(row["events"] for row in of_alice) == len(touched) > 10

    def test_traces(self, filled: ClickHouse) -> None:
        """Rows with a trace link to it."""
        rows = ask(filled, "Exports, deletions and failures")
        (trace,) = {row["trace_id"] for row in rows if row["operation"] == "EXPORT"} - {""}
        assert len(trace) == 32
        for panel in _PANELS:
            if "trace_id" in panel["targets"][0]["rawSql"]:
                overrides = {
                    one["matcher"]["options"]: one["properties"]
                    for one in panel["fieldConfig"]["overrides"]
                }
                ((link,),) = (one["value"] for one in overrides["trace_id"])
                assert "${__value.raw}" in link["url"]
                assert "${tempo}" in link["url"]

    def test_panels_explain_themselves(self) -> None:
        """As those of the other dashboards do; and they fill the page."""
        cells: Counter[tuple[int, int]] = Counter()
        for panel in BOARD["panels"]:
            at = panel["gridPos"]
            for x in range(at["x"], at["x"] + at["w"]):
                cells.update((x, y) for y in range(at["y"], at["y"] + at["h"]))
        assert set(cells.values()) == {1}
        assert len(cells) % 24 == 0
        for panel in _PANELS:
            assert panel["description"].endswith(".")
            assert panel["datasource"]["uid"] == "${clickhouse}"


def sections() -> dict[str, list[str]]:
    """The statements of the SQL blocks of the page, by section."""
    found: dict[str, list[str]] = {}
    section = ""
    for heading, block in re.findall(
        r"^## (.+?)$|^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL
    ):
        section = heading or section
        if block:
            found.setdefault(section, []).extend(statements(block))
    return found


class TestPage:
    """The SQL of docs/clickhouse.md."""

    def test_questions(self, filled: ClickHouse) -> None:
        """Each runs, and has an answer; but for the two about ids that are examples."""
        answers = [filled.query(sql) for sql in sections()["Questions"]]
        assert [len(rows) for rows in answers].count(0) == 2
        assert len(answers) == 9

    def test_whose_data(self, filled: ClickHouse) -> None:
        """As the events say it."""
        bodies = [json.loads(row["body"]) for row in filled.query("SELECT body FROM audit_events")]
        (asked,) = (sql for sql in sections()["Questions"] if "subject_id = 'alice'" in sql)
        expected = {body["event_id"] for body in bodies if "alice" in body.get("subjects", [])}
        assert {row["event_id"] for row in filled.query(asked)} == expected

    def test_a_whole_copy(self, filled: ClickHouse) -> None:
        for sql in sections()["Is it whole?"]:
            assert filled.query(sql) == []

    def test_every_finding_is_explained(self) -> None:
        """Each that the view can have, and no other."""
        view = (VIEWS / "views.sql").read_text()
        chain = view[view.index("audit_chain_between AS") : view.index("AS finding")]
        found = set(re.findall(r"'(\w+ [\w ]+)'", chain))
        explained = re.findall(r"^\| `([a-z ]+)` \|", PAGE.read_text(), re.MULTILINE)
        assert found == set(explained) - {"audit_events"}

    def test_a_hold(self, filled: ClickHouse) -> None:
        """Placed and released, as the page says."""
        names = []
        for sql in sections()["Retention and holds"]:
            if sql.startswith("SELECT"):
                filled.query(sql)
            else:
                filled.send(sql)
                found = filled.query("SELECT name FROM audit_holds_in_force")
                names.append([row["name"] for row in found])
        assert names == [["case-17"], ["case-17"], [], [], []]

    def test_every_view_is_named(self, filled: ClickHouse) -> None:
        """The page names each table and view that people ask."""
        tables = {row["name"] for row in filled.query("SHOW TABLES")}
        inside = {name for name in tables if name.endswith(("_stored", "_arrive"))}
        assert {name for name in tables - inside if f"`{name}" not in PAGE.read_text()} <= {
            *("audit_holds", "audit_holds_in_force", "audit_holds_ranges"),
        }
