"""A fleet whose every part is killed under load: what its stores lost is sent again, once."""

from __future__ import annotations

import json
from pathlib import Path

import go_programs
import pytest
from collector import binary
from conftest import Cli

pytest.importorskip("psutil")

from benchmarks.fleet.plan import Plan, checked, costs, plan
from benchmarks.fleet.rehearsal import STAGES, Options, Rehearsal

pytestmark = [pytest.mark.component, pytest.mark.slow]

SMALL = Options(processes=6, agents=2, rate=60, tenth=0, seconds=3, down=1, around=2)


def test_nothing_is_missing_and_nothing_twice(tmp_path: Path, cli: Cli) -> None:
    """Six applications, two agents, a gateway and both stores; one kill of each kind."""
    binary()
    go_programs.victoria_logs()
    with Rehearsal(tmp_path, SMALL) as rehearsal:
        found = rehearsal.run()
        assert found.calls > 200
        assert found.unverified == []  # archives; and each call that returned is in one
        assert [kill.what for kill in found.kills] == [
            "applications",
            "agent",
            "gateway",
            "ClickHouse",
            "VictoriaLogs",
        ]
        for name, of in found.reconciled.items():
            lost = sum(kill.missing[name] for kill in found.kills)
            assert (of.missing, of.sent) == (lost, lost)
            assert (of.missing_after, of.seen_twice) == (0, 0)
            assert of.records >= found.recorded
        assert all("ship failed" in words for words in found.said), found.said
        assert max(found.said.values(), default=0) <= SMALL.processes + 2  # once a process
        archive = rehearsal.fleet.applications[0].archive
        for url in rehearsal.fleet.stores().values():
            told = json.loads(cli("verify", archive, "--store", url, "--json").stdout)
            assert (told["ok"], told["findings"]) == (True, [])
    one = costs(found)
    assert set(one.cpu) == set(STAGES)
    assert all(size > 0 for size in (*one.queue.values(), *one.disk.values()))
    assert len(plan(one, Plan())) == 7
    assert checked(found) == []
