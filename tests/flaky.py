"""Runs failed tests with servers, kills and loads a second time, and reports their names."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run a failed ``slow`` or ``component`` test once more; a second failure counts."""
    for item in items:
        if {"slow", "component"} & {mark.name for mark in item.iter_markers()}:
            item.add_marker(pytest.mark.flaky(reruns=1))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that failed and then passed, and why they failed: each is a defect."""
    stats = terminalreporter.stats
    failed = {report.nodeid for kind in ("failed", "error") for report in stats.get(kind, ())}
    flaky = [report for report in stats.get("rerun", ()) if report.nodeid not in failed]
    for report in flaky:
        terminalreporter.section(f"failed, then passed: {report.nodeid}")
        terminalreporter.write_line(report.longreprtext)
    for report in flaky:
        terminalreporter.write_line(f"FLAKY {report.nodeid}")
