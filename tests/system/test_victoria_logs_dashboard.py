"""The security dashboard's queries in LogsQL, asked of a real VictoriaLogs as its plugin does."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from collector import wait
from conftest import Make
from prometheus import boards, panels
from victoria_logs_server import VictoriaLogs

from axon_audit_otel.archive.checkpoints import new_key

pytestmark = [pytest.mark.component, pytest.mark.usefixtures("without_start_record")]

BOARD = boards()["axon-audit-security-victorialogs"]
TARGETS = {
    panel["title"]: target
    for panel in panels(BOARD)
    for target in panel["targets"]
    if target["datasource"]["type"] == "victoriametrics-logs-datasource"
}
NOTABLE, EVERY = "Deletions, exports, imports and whatever did not succeed", "Every audit event"


@pytest.fixture(name="store")
def _store(tmp_path: Path) -> Iterator[VictoriaLogs]:
    server = VictoriaLogs(tmp_path / "victoria-logs")
    yield server
    server.stop()


def sent(title: str, **chosen: list[str] | str) -> str:
    """The query of a panel as the plugin sends it: lists of what is chosen, `*` for *All*."""

    def listed(match: re.Match[str]) -> str:
        values = chosen.get(match[1], "*")
        return f"in({values if values == '*' else ','.join(map(json.dumps, values))})"

    expression = re.sub(r"in\(\$(\w+)\)", listed, TARGETS[title]["expr"])
    expression = expression.replace('"$user"', f'"({chosen.get("user", ".*")})"')
    assert "$" not in expression
    return expression


def rows(store: VictoriaLogs, title: str, **chosen: list[str] | str) -> list[dict[str, Any]]:
    """The rows of a table, oldest first."""
    found = store.query(sent(title, **chosen), limit=200)
    return sorted(found, key=lambda row: row["_time"])


def values(store: VictoriaLogs, title: str, **chosen: list[str] | str) -> dict[str, float]:
    """The bars of a panel, or the sums of its series: a number by name."""
    legend = TARGETS[title]["legendFormat"].strip("{}")
    over_time = TARGETS[title]["queryType"] == "statsRange"
    now = int(time.time())
    more = {"start": now - 600, "end": now + 60, "step": "10s"} if over_time else {}
    path = "stats_query_range" if over_time else "stats_query"
    found = json.loads(store.ask(path, sent(title, **chosen), **more))["data"]["result"]
    return {
        series["metric"][legend]: sum(
            float(value) for _, value in series.get("values") or [series["value"]]
        )
        for series in found
    }


async def filled(store: VictoriaLogs, make_audit: Make, directory: Path) -> None:
    """Two trails, the second with hashed ids; the first also sends a checkpoint."""
    shipped = {"ship_to": store.otlp}
    plain = make_audit(
        name="plain",
        auto_export_path=directory / "plain",
        signing_key=new_key("plain"),
        checkpoint_to="otlp",
        **shipped,
    )
    for number in range(3):
        await plain.log_event(
            "STORE", user_id="alice", entry_ids=[f"e{number}"], agent_id="planner"
        )
    with plain.operation("FORGET", system="mem0", owner="alice", user_id="bob") as op:
        op.deleted("e0", "e1")
    await plain.log_event("EXPORT", user_id="bob", status="FAILURE", error_type="PermissionError")
    with plain.operation("RECALL") as op:
        op.found("e2", owner="alice")
        op.found("g1", owner="dora")
    plain.seal()
    plain.close()
    hashed = make_audit(
        name="hashed", auto_export_path=directory / "hashed", pseudonymize="a secret", **shipped
    )
    await hashed.log_event("IMPORT", user_id="carol", entry_ids=["f1"])
    hashed.close()

    def arrived() -> bool:
        store.flush()
        names = [row["event_name"] for row in store.query("*", limit=100)]
        return len(names) >= 8 and "axon.memory.audit.checkpoint" in names

    wait(arrived)


async def test_every_panel(store: VictoriaLogs, tmp_path: Path, make_audit: Make) -> None:
    """Who did what to whose entries: events, and nothing but events."""
    assert len(TARGETS) == 8
    await filled(store, make_audit, tmp_path)
    every = rows(store, EVERY)
    assert [row["operation"] for row in every] == [
        *["STORE"] * 3, "FORGET", "EXPORT", "RECALL", "IMPORT",
    ]  # fmt: skip
    forget = every[3]
    shown = [forget[name] for name in ("status", "who", "whose", "entries", "system")]
    assert shown == ["SUCCESS", "bob", "alice", "2", "mem0"]
    assert every[0]["agent"] == "planner"
    assert every[4]["error"] == "PermissionError"
    assert "who" not in every[5]
    assert every[5]["whose"] == "alice,dora"
    notable = rows(store, NOTABLE)
    assert [row["operation"] for row in notable] == ["FORGET", "EXPORT", "IMPORT"]

    hidden = every[-1]["who"]
    assert hidden.startswith("hmac-sha256:")
    assert values(store, "Busiest users") == {"alice": 3, "bob": 2, hidden: 1}
    assert values(store, "Busiest agents") == {"planner": 3}
    assert values(store, "Whose data") == {"alice": 2, "dora": 1}
    assert values(store, "Entries deleted, by who") == {"bob": 2}
    assert values(store, "Deletions, exports, imports, by who") == {"bob": 2, hidden: 1}
    assert values(store, "Not succeeded, by who") == {"bob": 1}


async def test_choices(store: VictoriaLogs, tmp_path: Path, make_audit: Make) -> None:
    """One user, also by the pseudonym; one trail; one system, and what names none."""
    await filled(store, make_audit, tmp_path)
    hidden = rows(store, EVERY)[-1]["who"]
    assert [row["who"] for row in rows(store, EVERY, user="bob")] == ["bob", "bob"]
    assert [row["operation"] for row in rows(store, EVERY, user=hidden)] == ["IMPORT"]
    assert [row["operation"] for row in rows(store, EVERY, trail=["hashed"])] == ["IMPORT"]
    assert len(rows(store, EVERY, trail=["hashed", "plain"])) == 7
    assert len(rows(store, EVERY, system=["mem0"])) == 7  # the others name no system
    assert len(rows(store, EVERY, system=["axon"])) == 6
    assert rows(store, EVERY, cluster=["elsewhere"]) == []
    assert values(store, "Busiest users", trail=["hashed"]) == {hidden: 1}


async def test_services(store: VictoriaLogs, tmp_path: Path, make_audit: Make) -> None:
    """The variable's values are there to be chosen."""
    await filled(store, make_audit, tmp_path)
    (asked,) = (v["query"] for v in BOARD["templating"]["list"] if v["name"] == "service")
    found = json.loads(store.ask("field_values", asked["query"], field=asked["field"]))
    (service,) = (one["value"] for one in found["values"])
    assert len(rows(store, EVERY, service=[service])) == 7
    assert rows(store, EVERY, service=["another"]) == []
