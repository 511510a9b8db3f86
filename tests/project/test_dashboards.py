"""The committed dashboards and rules: as generated, complete, and about metrics that exist."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
import yaml
from prometheus import DASHBOARDS, boards, labels, panels, queries, replaced, selectors
from prometheus_client import Histogram

from axon_audit_otel.alerts.rules import DEFAULT_RULES
from axon_audit_otel.core import semconv
from axon_audit_otel.trail.metrics import SPECS
from dashboards.objectives import OBJECTIVES

BOARDS = boards()
RECORDING = yaml.safe_load((DASHBOARDS / "rules" / "recording.yaml").read_text())
ALERTS = yaml.safe_load((DASHBOARDS / "rules" / "alerts.yaml").read_text())
RECORDED = {rule["record"]: rule for group in RECORDING["groups"] for rule in group["rules"]}
ALERTING = [rule for group in ALERTS["groups"] for rule in group["rules"]]
CASES = [
    test
    for path in (DASHBOARDS / "rules" / "tests").glob("*.yaml")
    for case in yaml.safe_load(path.read_text())["tests"]
    for test in case.get("alert_rule_test", ())
]

SECURITY = ("axon-audit-security", "axon-audit-security-victorialogs")
#: What each table shows besides the time.
COLUMNS = (
    *("operation", "status", "who", "whose", "entries"),
    *("agent", "system", "error", "trace", "event"),
)

every_board = pytest.mark.parametrize("board", BOARDS.values(), ids=list(BOARDS))
every_alert = pytest.mark.parametrize(
    "alert", ALERTING, ids=lambda a: "-".join((a["alert"], *a["labels"].values()))
)


def known() -> dict[str, set[str]]:
    """Every sample name of ours with its labels, and what Prometheus adds."""
    names: dict[str, set[str]] = {"up": set(), "ALERTS": {"alertname", "alertstate"}}
    for spec in SPECS:
        own = set(spec.labels)
        names[spec.name] = names[f"{spec.name}_total"] = own
        if spec.kind is Histogram:
            names[f"{spec.name}_bucket"] = own | {"le"}
            names[f"{spec.name}_count"] = names[f"{spec.name}_sum"] = own
    names |= {name: {"trail"} for name in RECORDED}
    # What the scrape adds; the last two only where somebody has set them.
    added = {"job", "instance", "cluster", "namespace"}
    return {name: found | added for name, found in names.items()}


KNOWN = known()


def log_queries(board: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Every query of the log store with its panel."""
    return [
        (panel, target)
        for panel in panels(board)
        for target in panel["targets"]
        if target["datasource"]["type"] != "prometheus"
    ]


def tables(board: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables of a dashboard."""
    return [panel for panel in panels(board) if panel["type"] == "table"]


def assert_known(expression: str) -> None:
    """No query names a metric or a label that is not there."""
    named = selectors(expression)
    assert named, expression
    allowed = set()
    for selector in named:
        metric, _, matchers = selector.partition("{")
        assert metric in KNOWN, f"{metric} in {expression}"
        assert labels("{" + matchers) <= KNOWN[metric], selector
        allowed |= KNOWN[metric]
    assert labels(expression) <= allowed, expression


class TestGenerated:
    @pytest.mark.skipif(
        importlib.util.find_spec("grafana_foundation_sdk") is None,
        reason="grafana-foundation-sdk needs Python 3.11",
    )
    def test_as_committed(self) -> None:
        """The committed files are what the generator writes: nothing was edited by hand."""
        command = [sys.executable, "-m", "dashboards", "--check"]
        done = subprocess.run(
            command, cwd=DASHBOARDS.parent, capture_output=True, text=True, check=False
        )
        assert (done.stdout, done.returncode) == ("all as generated\n", 0), done.stderr

    def test_all_are_there(self) -> None:
        """Under fixed uids: links to them stay right."""
        assert set(BOARDS) == {
            "axon-memory-overview",
            "axon-audit-health",
            "axon-audit-security",
            "axon-audit-security-victorialogs",
        }


class TestBoards:
    @every_board
    def test_panels_explain_themselves(self, board: dict[str, Any]) -> None:
        """Title, description, unit, thresholds and what is said without data; each id once."""
        for panel in panels(board):
            defaults = panel["fieldConfig"]["defaults"]
            assert panel["title"]
            assert panel["description"].endswith((".", ")."))
            assert defaults["unit"]
            assert defaults["thresholds"]["steps"][0]["value"] is None
            assert len(defaults["noValue"]) > 5
        assert max(Counter(panel["id"] for panel in board["panels"]).values()) == 1

    @every_board
    def test_panels_fill_the_page(self, board: dict[str, Any]) -> None:
        """No two overlap, and each row reaches from edge to edge."""
        cells: Counter[tuple[int, int]] = Counter()
        for panel in board["panels"]:
            at = panel["gridPos"]
            for x in range(at["x"], at["x"] + at["w"]):
                cells.update((x, y) for y in range(at["y"], at["y"] + at["h"]))
        assert set(cells.values()) == {1}
        assert {x for x, _ in cells} == set(range(24))
        assert len(cells) % 24 == 0

    @every_board
    def test_variables(self, board: dict[str, Any]) -> None:
        """Everything is chosen; nothing is bound to one machine."""
        names = [variable["name"] for variable in board["templating"]["list"]]
        assert names[:6] == ["datasource", "cluster", "namespace", "job", "instance", "trail"]
        sources = {f"${{{name}}}" for name in ("datasource", "loki", "victorialogs")}
        for panel in panels(board):
            for target in panel["targets"]:
                assert target["datasource"]["uid"] in sources
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
        given = {
            "rate_interval",
            "range",
            "interval",
            "value",
            "from",
            "to",
            "org",
            "url_time_range",
        }
        assert used <= {*names, *(f"__{name}" for name in given)}
        assert used >= set(names)

    @every_board
    def test_labels_that_are_not_there(self, board: dict[str, Any]) -> None:
        """*All* selects also what has no such label: not every scrape has a cluster or namespace,
        and a process of an older version no system."""
        for variable in board["templating"]["list"]:
            if "allValue" in variable and variable["name"] != "service":
                assert re.fullmatch(variable["allValue"], ""), variable["name"]

    @every_board
    def test_queries_follow_the_variables(self, board: dict[str, Any]) -> None:
        """Selected values apply to every query of our metrics."""
        for _, target in queries(board):
            for selector in selectors(target["expr"]):
                assert 'job=~"$job"' in selector
                assert 'trail=~"$trail"' in selector
                assert 'cluster=~"$cluster",namespace=~"$namespace"' in selector
                assert 'instance=~"$instance"' in selector or selector.startswith("job_trail:")
                of_systems = "system" in KNOWN[selector.partition("{")[0]]
                has_choice = board["uid"] != "axon-audit-health"
                assert ('system=~"$system"' in selector) == (of_systems and has_choice)

    @every_board
    def test_queries_name_what_is_there(self, board: dict[str, Any]) -> None:
        """Every metric and label of every query is one of ours."""
        for _, target in queries(board):
            assert_known(replaced(target["expr"], board))

    @every_board
    def test_counters_are_never_shown_raw(self, board: dict[str, Any]) -> None:
        """A counter begins anew with its process: only its increase means something."""
        for _, target in queries(board):
            for match in re.finditer(r"\w+_total\{", target["expr"]):
                assert re.search(r"(?:rate|increase)\($", target["expr"][: match.start()])

    @every_board
    def test_what_is_now(self, board: dict[str, Any]) -> None:
        """A panel of one value asks for that of now: of a range it would show the last that was,
        long after everything has died."""
        for panel, target in queries(board):
            single = panel["type"] in ("stat", "gauge", "bargauge", "table")
            assert (target["instant"], target["range"]) == (single, not single), panel["title"]

    def test_exemplars(self) -> None:
        """The latency panels ask for them, and others do not."""
        asked = {
            panel["title"]: target["expr"]
            for board in BOARDS.values()
            for panel, target in queries(board)
            if target["exemplar"]
        }
        assert len(asked) == 4
        assert all("_duration_seconds_bucket" in expression for expression in asked.values())

    @every_board
    def test_no_series_is_nameless(self, board: dict[str, Any]) -> None:
        """A legend has words: a label's value, or what it is."""
        for panel in panels(board):
            for target in panel["targets"]:
                if panel["type"] != "table":
                    assert target["legendFormat"] not in ("", "__auto"), panel["title"]

    @every_board
    def test_units(self, board: dict[str, Any]) -> None:
        """In words at the axis, or one of Grafana's that everybody reads; never `c/s`."""
        for panel in panels(board):
            defaults = panel["fieldConfig"]["defaults"]
            assert defaults["unit"].partition(":")[0] in (
                *("s", "percentunit", "short", "string", "suffix"),
            )
            if panel["type"] == "timeseries" and defaults["unit"] == "short":
                assert defaults["custom"]["axisLabel"], panel["title"]

    def test_latency_is_on_a_log_scale(self) -> None:
        """A hundred microseconds and a second are both seen; and 99.5 % from 99.9 %."""
        graphs = {
            panel["title"]: panel["fieldConfig"]["defaults"]
            for panel in panels(BOARDS["axon-memory-overview"])
            if panel["type"] == "timeseries"
        }
        latency = [shown for title, shown in graphs.items() if title.startswith("Latency")]
        assert len(latency) == 3
        for shown in latency:
            assert shown["custom"]["scaleDistribution"] == {"type": "log", "log": 10}
            assert "min" not in shown
        for title in ("Success rate", "Fast enough"):
            assert graphs[title]["custom"]["axisSoftMin"] >= 0.98
            assert "min" not in graphs[title]

    def test_error_budget(self) -> None:
        """It never is less than -100 %, and words say what that means."""
        (panel,) = (
            panel
            for panel in panels(BOARDS["axon-memory-overview"])
            if panel["title"] == "Error budget left"
        )
        assert re.fullmatch(r"clamp\(.*, -1, 1\)", panel["targets"][0]["expr"])
        (mapping,) = panel["fieldConfig"]["defaults"]["mappings"]
        assert mapping["options"]["to"] == -1
        assert "-100 %: twice as many" in panel["description"]

    def test_what_is_tried_again_is_not_red(self) -> None:
        """An attempt to ship that failed loses nothing."""
        for panel in panels(BOARDS["axon-audit-health"]):
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            asked = " ".join(target["expr"] for target in panel["targets"])
            if "axon_audit_failures" in asked and "red" in json.dumps(steps):
                assert 'stage=~"record|encode|journal|commit"' in asked, panel["title"]


class TestLinks:
    @every_board
    def test_between_dashboards(self, board: dict[str, Any]) -> None:
        """To each other with time and choices, and to the runbook."""
        others, runbook = board["links"]
        assert (others["type"], others["tags"]) == ("dashboards", ["axon-audit"])
        assert others["keepTime"]
        assert others["includeVars"]
        assert "axon-audit" in board["tags"]
        assert runbook["url"] == "${runbook}"
        (address,) = (v["query"] for v in board["templating"]["list"] if v["name"] == "runbook")
        assert address == OBJECTIVES.runbook

    @every_board
    def test_to_the_runbook(self, board: dict[str, Any]) -> None:
        """Each leads to a section that there is; and each alert's section is led to by a panel."""
        headings = re.findall(r"(?m)^## (\w+)$", (DASHBOARDS / "runbook.md").read_text())
        sections = {heading.lower() for heading in headings}
        for panel in panels(board):
            for link in panel.get("links", ()):
                page, _, section = link["url"].partition("#")
                assert page == "${runbook}"
                assert section in sections
                assert link["title"].lower().endswith(section)

    def test_every_alert_has_a_panel(self) -> None:
        """Whoever is woken by it finds where to look."""
        led = {
            link["title"].removeprefix("Runbook: ")
            for board in BOARDS.values()
            for panel in panels(board)
            for link in panel.get("links", ())
        }
        assert {alert["alert"] for alert in ALERTING} == led

    @pytest.mark.parametrize("uid", SECURITY)
    def test_of_a_row(self, uid: str) -> None:
        """A trace opens in the trace store, an event's id all of the record, a user's name the same
        dashboard with everything else as it was chosen."""
        board = BOARDS[uid]
        names = {variable["name"] for variable in board["templating"]["list"]}
        (kind,) = (v["query"] for v in board["templating"]["list"] if v["name"] == "traces")
        for panel in tables(board):
            links = {
                override["matcher"]["options"]: properties["value"][0]["url"]
                for override in panel["fieldConfig"]["overrides"]
                for properties in override["properties"]
                if properties["id"] == "links"
            }
            assert set(links) == {"who", "trace", "event"}
            for column in ("trace", "event"):
                address = links[column].replace("${__value.raw}", "ID%3A1")
                (panes,) = parse_qs(urlsplit(address).query)["panes"]
                (pane,) = json.loads(panes).values()
                (asked,) = pane["queries"]
                assert "ID:1" in asked.get("query", asked.get("expr"))
                assert asked["datasource"]["uid"] == pane["datasource"]
            assert asked["datasource"]["type"] == panel["datasource"]["type"]
            assert f'"type":"{kind}"' in unquote(links["trace"])
            assert links["who"].startswith(f"/d/{uid}?var-user=")
            kept = set(re.findall(r"\$\{(\w+):queryparam\}", links["who"]))
            assert kept == names - {"user", "runbook"}


class TestLogStores:
    """The events, users and agents come from the log store by the names that records have."""

    @pytest.mark.parametrize("uid", SECURITY)
    def test_only_audit_events(self, uid: str) -> None:
        """A checkpoint is a record as well, and no event; what names no system is of any."""
        asked = log_queries(BOARDS[uid])
        assert len(asked) == 8
        for _, target in asked:
            expression = target["expr"]
            assert semconv.EVENT_NAME in expression
            if uid == "axon-audit-security":
                # An older Loki does not keep the name: then a checkpoint lacks an operation.
                assert f'event_name=~"{semconv.EVENT_NAME}|" | axon_operation!=""' in expression
                (choice,) = re.findall(r'axon_system=~"([^"]*)"', expression)
                for selected in ("mem0", "(axon|mem0)", ".*"):
                    assert re.fullmatch(choice.replace("$system", selected), "")
            else:
                assert f'event_name:="{semconv.EVENT_NAME}"' in expression
                assert '("axon.system":in($system) or "axon.system":"")' in expression

    def test_names_in_loki(self) -> None:
        """Every label of every query is an attribute of a record, or made by the query itself."""
        values = {value for value in vars(semconv).values() if isinstance(value, str)}
        known = {name.replace(".", "_") for name in values if "." in name}
        known |= {"service_name", "event_name", "trace_id", "k8s_cluster_name"}
        known |= {"k8s_namespace_name", "entry_ids", "entries", *COLUMNS}
        for _, target in log_queries(BOARDS["axon-audit-security"]):
            expression = target["expr"]
            named = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", expression))
            named |= set(re.findall(r"[ (]\.(\w+)", expression))
            named |= set(re.findall(r"\{\{\.(\w+)", expression))
            assert named <= known, named - known

    @pytest.mark.parametrize("uid", SECURITY)
    def test_who_is_always_there(self, uid: str) -> None:
        """Users are told by `audit.actor.id`: where ids are hashed there is no `user.id`."""
        text = json.dumps([target["expr"] for _, target in log_queries(BOARDS[uid])])
        assert "audit_actor_id" in text.replace(".", "_")
        assert "user_id" not in text.replace(".", "_")

    @pytest.mark.parametrize("uid", SECURITY)
    def test_a_row_has_columns(self, uid: str) -> None:
        """Time, operation, status, who, whose, entries, agent, trace: no raw JSON."""
        for panel in tables(BOARDS[uid]):
            shown = ["Time", *COLUMNS]
            extract, keep, arrange = panel["transformations"]
            assert (extract["id"], extract["options"]["source"]) == ("extractFields", "labels")
            assert keep["options"]["include"]["names"] == shown
            places = arrange["options"]["indexByName"]
            assert sorted(places, key=places.__getitem__) == shown
            assert {*shown} >= {"operation", "status", "who", "whose", "entries", "agent", "trace"}
            assert all(name in panel["targets"][0]["expr"] for name in COLUMNS)
        assert not [panel for panel in panels(BOARDS[uid]) if panel["type"] == "logs"]


class TestRules:
    @pytest.mark.parametrize("rule", [*RECORDED.values(), *ALERTING], ids=str)
    def test_name_what_is_there(self, rule: dict[str, Any]) -> None:
        """Every metric and label of every rule is one of ours, or recorded by another rule."""
        assert_known(rule["expr"])

    @every_alert
    def test_alerts_say_what_to_do(self, alert: dict[str, Any]) -> None:
        """Severity, summary, a description with the value, and a section of the runbook."""
        assert alert["labels"]["severity"] in ("critical", "warning", "info")
        said = alert["annotations"]
        assert said["summary"]
        assert (
            "$value" in said["description"]
            or "AxonNoTraffic" in alert["alert"]
            or (
                alert["alert"]
                in ("AxonAuditAbsent", "AxonTargetDown")  # there is no number to tell
            )
        )
        page, _, anchor = said["runbook_url"].partition("#")
        assert page.startswith("https://")
        assert page.endswith("/dashboards/runbook.md")
        headings = re.findall(r"(?m)^## (\w+)$", (DASHBOARDS / "runbook.md").read_text())
        assert [heading for heading in headings if heading.lower() == anchor] == [alert["alert"]]

    @every_alert
    def test_alerts_are_tested(self, alert: dict[str, Any]) -> None:
        """There is a promtool case in which it fires and one in which it does not."""
        fires = silent = False
        for test in CASES:
            if test["alertname"] == alert["alert"]:
                expected = [
                    found["exp_labels"].items() >= alert["labels"].items()
                    for found in test["exp_alerts"]
                ]
                fires |= any(expected)
                silent |= not any(expected)
        assert fires
        assert silent

    def test_thresholds_of_the_security_monitor(self) -> None:
        """The monitor's default rules and the Prometheus alerts have the same numbers."""
        found = {
            alert["alert"]: int(alert["expr"].rpartition("> ")[2])
            for alert in ALERTING
            if alert["labels"].get("category") == "security"
        }
        assert found == {
            "Axon" + "".join(word.capitalize() for word in rule.name.split("_")): rule.over
            for rule in DEFAULT_RULES
            if not rule.per_user
        }
        assert found == {
            "AxonExcessiveDeletions": 100,
            "AxonRepeatedFailures": 10,
            "AxonUnusualExports": 5,
            "AxonAlteredEntry": 0,
            "AxonForgottenEntrySeen": 0,
            "AxonIncompleteForget": 0,
        }


class TestRunbook:
    def test_commands_exist(self, cli: Any) -> None:
        """Every command that the runbook gives is one of the program, with its options."""
        text = (DASHBOARDS / "runbook.md").read_text()
        commands = re.findall(r"(?m)^(?:\$ )?axon-audit (\w+)([^\n#]*)", text)
        assert commands
        for name, rest in commands:
            shown = cli(name, "--help").stdout
            for option in re.findall(r"--[\w-]+", rest):
                assert option in shown, f"axon-audit {name} {option}"


class TestProvisioning:
    def test_data_sources(self) -> None:
        """A dot in a graph and a line of the log both lead to the trace."""
        path = DASHBOARDS / "provisioning" / "datasources" / "axon.yaml"
        sources = {one["uid"]: one for one in yaml.safe_load(path.read_text())["datasources"]}
        metrics = next(one for one in sources.values() if one["type"] == "prometheus")
        (exemplar,) = metrics["jsonData"]["exemplarTraceIdDestinations"]
        assert exemplar["name"] == "trace_id"
        assert sources[exemplar["datasourceUid"]]["type"] == "tempo"
        logs = next(one for one in sources.values() if one["type"] == "loki")
        (derived,) = logs["jsonData"]["derivedFields"]
        assert sources[derived["datasourceUid"]]["type"] == "tempo"

    def test_dashboards(self) -> None:
        """The provider reads a directory of JSON files."""
        path = DASHBOARDS / "provisioning" / "dashboards" / "axon.yaml"
        (provider,) = yaml.safe_load(path.read_text())["providers"]
        assert provider["type"] == "file"
        assert Path(provider["options"]["path"]).is_absolute()
