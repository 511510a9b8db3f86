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

import pytest
import yaml
from prometheus import DASHBOARDS, boards, labels, panels, queries, replaced, selectors
from prometheus_client import Histogram

from axon_audit_otel.alerts.rules import DEFAULT_RULES
from axon_audit_otel.core import semconv
from axon_audit_otel.trail.metrics import SPECS

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
    return {name: found | {"job", "instance"} for name, found in names.items()}


KNOWN = known()


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

    def test_all_three_are_there(self) -> None:
        """Under fixed uids: links to them stay right."""
        assert set(BOARDS) == {"axon-memory-overview", "axon-audit-health", "axon-audit-security"}


class TestBoards:
    @every_board
    def test_panels_explain_themselves(self, board: dict[str, Any]) -> None:
        """Title, description, unit and thresholds on each; and each id once."""
        for panel in panels(board):
            defaults = panel["fieldConfig"]["defaults"]
            assert panel["title"]
            assert panel["description"].endswith((".", ")."))
            assert defaults["unit"]
            assert defaults["thresholds"]["steps"][0]["value"] is None
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
        """Data source, job, instance and trail are chosen; nothing is bound to one machine."""
        names = [variable["name"] for variable in board["templating"]["list"]]
        assert names[:4] == ["datasource", "job", "instance", "trail"]
        for panel in panels(board):
            for target in panel["targets"]:
                assert target["datasource"]["uid"] in ("${datasource}", "${loki}")
        used = set(re.findall(r"\$\{?(\w+)", json.dumps(board["panels"])))
        assert used <= {*names, "__rate_interval", "__range"}
        assert used >= set(names)

    @every_board
    def test_queries_follow_the_variables(self, board: dict[str, Any]) -> None:
        """Selected values apply to every query of our metrics."""
        for _, target in queries(board):
            for selector in selectors(target["expr"]):
                assert 'job=~"$job"' in selector
                assert 'trail=~"$trail"' in selector
                assert 'instance=~"$instance"' in selector or selector.startswith("job_trail:")
                of_systems = "system" in KNOWN[selector.partition("{")[0]]
                has_choice = board["uid"] != "axon-audit-health"
                assert ('system=~"$system"' in selector) == (of_systems and has_choice)

    def test_every_system(self) -> None:
        """With *All*, a process whose metrics have no such label yet is in sight too."""
        for uid in ("axon-memory-overview", "axon-audit-security"):
            (system,) = (v for v in BOARDS[uid]["templating"]["list"] if v["name"] == "system")
            assert re.fullmatch(system["allValue"], "")

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
            single = panel["type"] in ("stat", "gauge", "bargauge")
            assert (target["instant"], target["range"]) == (single, not single), panel["title"]

    def test_exemplars(self) -> None:
        """The latency panels ask for them, and others do not."""
        asked = {
            panel["title"]: target["expr"]
            for board in BOARDS.values()
            for panel, target in queries(board)
            if target["exemplar"]
        }
        assert len(asked) == 5
        assert all("_duration_seconds_bucket" in expression for expression in asked.values())

    def test_log_streams(self) -> None:
        """The events come from Loki by the names that the records really have."""
        board = BOARDS["axon-audit-security"]
        logs = [panel for panel in panels(board) if panel["type"] == "logs"]
        assert len(logs) == 2
        names = {value for value in vars(semconv).values() if isinstance(value, str)}
        in_loki = {name.replace(".", "_") for name in names if "." in name} | {"service_name"}
        for panel in logs:
            (target,) = panel["targets"]
            named = set(re.findall(r"(\w+)\s*(?:=~|!=|=)", target["expr"].partition("`")[0]))
            named |= set(re.findall(r"\{\{\.(\w+)", target["expr"]))
            assert named <= in_loki
            # What a trail says of itself names no system, and is never left out.
            (choice,) = re.findall(r'axon_system=~"([^"]*)"', target["expr"])
            for selected in ("mem0", "(axon|mem0)", ".*"):
                assert re.fullmatch(choice.replace("$system", selected), "")
        assert "{{.axon_system}}" in logs[0]["targets"][0]["expr"]
        assert "{{.gen_ai_memory_store_id}}" in logs[0]["targets"][0]["expr"]


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
