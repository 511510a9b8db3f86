"""Rules: how they are written, and which cannot work."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from axon_audit_otel import (
    DEFAULT_RULES,
    AuditConfigError,
    AuditLogger,
    Rule,
    SecurityMonitor,
)

PAGE = Path(__file__).resolve().parents[2] / "docs/alerts.md"


class TestRule:
    def test_defaults(self) -> None:
        """The default rules are those of the specification's security example, and no entry may
        be altered, resurrected or left."""
        assert [
            (
                *(rule.name, [str(o) for o in rule.operations], [str(s) for s in rule.statuses]),
                *(rule.over, rule.window, rule.per_user),
            )
            for rule in DEFAULT_RULES[:6]
        ] == [
            (name + suffix, operations, statuses, over, window, suffix == "_by_user")
            for name, operations, statuses, over, window in [
                ("excessive_deletions", ["FORGET"], [], 100, timedelta(hours=1)),
                ("repeated_failures", [], ["FAILURE"], 10, timedelta(minutes=15)),
                ("unusual_exports", ["EXPORT"], [], 5, timedelta(hours=24)),
            ]
            for suffix in ("", "_by_user")
        ]
        hour = timedelta(hours=1)
        assert [
            (r.name, r.counting, r.severity, r.over, r.window, r.per_user)
            for r in DEFAULT_RULES[6:]
        ] == [
            ("altered_entry", "altered", "critical", 0, hour, False),
            ("forgotten_entry_seen", "resurrected", "critical", 0, hour, False),
            ("incomplete_forget", "derived_remaining", "warning", 0, hour, False),
        ]

    @pytest.mark.parametrize("window", [5400, 5400.0, "90m", "1.5h", timedelta(minutes=90)])
    @pytest.mark.parametrize("operations", ["forget", ["FORGET"], {"Forget"}])
    def test_ways_to_write_one(self, window: Any, operations: Any) -> None:
        """Durations and names come as people write them."""
        rule = Rule("mine", over=1, window=window, operations=operations, statuses=["failure"])
        assert rule == Rule("mine", over=1, window="90m", operations="FORGET", statuses="FAILURE")
        assert hash(rule) == hash(Rule("mine", over=1, window="90m", operations="FORGET",
                                       statuses="FAILURE"))  # fmt: skip

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            ({"name": "two words"}, "name='two words': must be letters"),
            ({"name": None}, "name=None"),
            ({"over": -1}, "over=-1: must be a whole number from 0 to 1,000,000"),
            ({"over": True}, "over=True"),
            ({"over": 2.5}, "over=2.5"),
            ({"window": 0}, "window=0: must be a positive number of seconds"),
            ({"window": "soon"}, "window='soon'"),
            ({"window": 1e-9}, "window=1e-09: must be at least a microsecond"),
            ({"operations": ["FORGET", "EAT"]}, "unknown OperationType 'EAT': use one of STORE"),
            ({"statuses": "SAD"}, "unknown EventStatus 'SAD'"),
            ({"system": " "}, "system=' ': must be the name of a memory system, or None"),
            ({"system": ["mem0"]}, "system=['mem0']: must be the name"),
            ({"per_user": "yes"}, "per_user='yes': must be True or False"),
            ({"severity": "loud"}, "severity='loud': must be one of info, warning, critical"),
            ({"severity": []}, "severity=[]"),
            ({"summary": 7}, "summary=7: must be text"),
            ({"keep_firing_for": "a while"}, "keep_firing_for='a while'"),
            (
                {"counting": "calls"},
                "counting='calls': must be events, deleted, altered, resurrected or derived_",
            ),
            ({"counting": []}, "counting=[]"),
        ],
    )
    def test_what_cannot_work(self, wrong: dict[str, Any], said: str) -> None:
        """A rule that cannot work says which, what and why."""
        with pytest.raises(AuditConfigError) as caught:
            Rule(**{"name": "mine", "over": 1, "window": "1h", **wrong})
        assert said in str(caught.value)
        assert str(caught.value).startswith(f"rule {wrong.get('name', 'mine')!r}: ")


class TestFile:
    """Rules in a JSON file, for the monitor and for `axon-audit alerts`."""

    def test_example(self, audit: AuditLogger, tmp_path: Path) -> None:
        """The example of the documentation is the default rules and one more."""
        (text,) = re.findall(r"^```json\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
        file = tmp_path / "rules.json"
        file.write_text(text)
        monitor = SecurityMonitor(audit, file)
        mine = Rule(
            "mass_import",
            operations="IMPORT",
            over=1,
            window="10m",
            per_user=True,
            severity="critical",
            summary="Many imports by one user.",
        )
        assert monitor.rules == (*DEFAULT_RULES, mine)
        assert SecurityMonitor(audit, str(file)).rules == monitor.rules

    @pytest.mark.parametrize(
        ("text", "said"),
        [
            ("", "is not JSON"),
            ("[{]", "is not JSON"),
            ("\xff", "is not JSON"),
            ("{}", "must be a list of rules"),
            ('["defaults"]', "item 1: 'defaults': must be a rule"),
            ('["default", {"name": "a", "over": 1}]', "item 2: the field 'window' is missing"),
            (
                '[{"name": "a", "over": 1, "windw": "1h"}]',
                "no such field: 'windw'; a rule",
            ),
            (
                '[{"name": "a", "over": 1, "window": "1x"}]',
                "item 1: rule 'a': window='1x'",
            ),
            ('[{"name": "a", "over": 1, "window": 1, "operations": ["EAT"]}]', "use one of STORE"),
            ('["default", "default"]', "'excessive_deletions' is there twice: rename one"),
            (None, "cannot be read: No such file or directory"),
        ],
    )
    def test_refused(
        self,
        text: str | None,
        said: str,
        audit: AuditLogger,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        cli: Callable[..., Any],
    ) -> None:
        """What cannot work is named with its file and its place; the command ends with 2."""
        monkeypatch.chdir(tmp_path)
        file = Path("rules.json")
        if text is not None:
            file.write_text(text, encoding="latin-1")
        with pytest.raises(AuditConfigError) as caught:
            SecurityMonitor(audit, file)
        assert str(caught.value).startswith("'rules.json'")
        assert said in str(caught.value)
        assert said in cli("alerts", tmp_path, "--rules", file, code=2).stderr

    async def test_command(
        self, audit: AuditLogger, tmp_path: Path, cli: Callable[..., Any]
    ) -> None:
        """`axon-audit alerts` applies them alone; its exit code says if there are alerts."""
        events, rules = tmp_path / "audit_2026_01_05_000000.json", tmp_path / "rules.json"
        for _ in range(6):
            await audit.log_event("EXPORT", "eve")
        audit.export_to_file(events)
        rule = {"name": "any_export", "operations": "EXPORT", "over": 5, "window": "1h"}
        rules.write_text(json.dumps([rule]))
        said = cli("alerts", events, "--rules", rules, code=1)
        assert [line.split(": ")[1] for line in said.stdout.splitlines()] == ["any_export"]
        assert said.stderr == "1 alert\n"
        assert len(json.loads(cli("alerts", events, "--json", code=1).stdout)) == 2
        rules.write_text(json.dumps([{**rule, "over": 6}]))
        assert cli("alerts", events, "--rules", rules).stdout == ""
