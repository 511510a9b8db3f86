"""The figures that are published are those that were measured, against a floor that sends the
same; a ratio that doubled is told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from opentelemetry.trace import NoOpTracerProvider

from axon_audit_otel import verify
from axon_audit_otel.archive.checkpoints import new_key
from benchmarks import growth, report
from benchmarks.archives import agent_events, write
from benchmarks.by_hand import ByHand, Seen, see
from benchmarks.cases import audit_logger, deletes, instrumented, logger_provider
from benchmarks.fleet.plan import Plan, costs, plan
from benchmarks.fleet.rehearsal import Found

ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)


@pytest.mark.slow
def test_what_is_published_was_measured() -> None:
    """The table and the chart are made from results.json."""
    done = _run("benchmarks.publish", "--check")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_guard_tells_a_ratio_that_doubled(tmp_path: Path) -> None:
    """It passes where ratios were ten times as high, and names those that were a tenth."""
    measured = tmp_path / "measured.json"
    once = ["benchmarks", "--quick", "--rounds", "1", "--only", "files"]
    assert _run(*once, "--json", str(measured)).returncode == 0
    content: dict[str, Any] = json.loads(measured.read_text())
    ratios = {line["name"]: line["median"] for line in content["lines"]}
    for factor in (10, 0.1):
        for line in content["lines"]:
            line["median"] = factor * ratios[line["name"]]
        reference = tmp_path / f"{factor}.json"
        reference.write_text(json.dumps(content))
        done = _run(*once, "--guard", str(reference))
        told = [name for name in ratios if f"{reference}: {name} |" in done.stdout]
        assert (done.returncode, told) == ((0, []) if factor > 1 else (1, list(ratios)))


def test_the_floor_sends_what_we_send_and_past_our_trail() -> None:
    """Span and record by hand have our names, attributes and body; no trail captures them."""
    sent, audit = Seen(), audit_logger(logger_provider=logger_provider())
    ours = asyncio.run(see(deletes))
    with instrumented(audit, NoOpTracerProvider()):
        before = audit.get_statistics()["total_events"]
        asyncio.run(ByHand(ours, watch=sent).run(3))
        assert audit.get_statistics()["total_events"] == before
    assert (sent.span.name, dict(sent.span.attributes or {})) == (
        ours.span.name,
        dict(ours.span.attributes or {}),
    )
    for name in ("body", "attributes", "event_name", "severity_number", "severity_text"):
        assert getattr(sent.record, name) == getattr(ours.record, name), name


@pytest.mark.slow
def test_growth_is_measured_on_a_sound_archive(tmp_path: Path) -> None:
    """Each job does its work on a written archive; a start takes up what a killed process left."""
    archive = tmp_path / "archive"
    write(archive, agent_events(1_000), each=100, key=new_key("benchmark"))
    assert verify(archive).ok
    for job in growth.JOBS:
        scratch = tmp_path / job
        scratch.mkdir()
        if job == report.START:
            killed = [growth.run_in_child(growth.KILLED, archive, tmp_path)]
            assert killed == [None]
        found = growth.run_here(job, archive, scratch)["found"]
        expected = {report.START: growth.UNSEALED, "query: the last hour": 1}
        every = 1_000 if "verify" in job else 999  # the record of the start is no memory event
        assert found == expected.get(job, 100 if "100" in job else every), job


def test_growth_is_told_as_an_exponent() -> None:
    """Ten times the cost for ten times the events is n^1; a target that is missed says so."""
    jobs = (report.USER, "verify", report.START)
    rows = [
        {
            "job": job,
            "events": n,
            "own": n * 1e-6,
            "kernel": 0.0,
            "wall": 1.0,
            "mb": 1,
            "grew_mb": 0,
        }
        for job in jobs
        for n in (1_000, 10_000)
    ]
    assert [power for _, power in report.exponents(rows)] == [None] * 3 + [pytest.approx(1)] * 3
    assert [met for *_, met in report.growth_targets(rows)] == [True, True, True, False]


def test_the_plan_of_a_fleet_is_of_what_was_measured() -> None:
    """The tables of docs/fleet.md and benchmarks/README.md are those of the rehearsal, after which
    nothing was missing and nothing twice."""
    measured = (ROOT / "benchmarks/fleet/measured.json").read_bytes()
    found = msgspec.json.decode(measured, type=Found)
    table = report.markdown(plan(costs(found), Plan()))
    for page in ("docs/fleet.md", "benchmarks/README.md"):
        assert table in (ROOT / page).read_text("utf-8")
    assert not found.unverified
    assert {(of.missing_after, of.seen_twice) for of in found.reconciled.values()} == {(0, 0)}
