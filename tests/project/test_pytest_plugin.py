"""The fixture `audit_trail`: what a user's test says about what its memory did."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

_SYSTEM = """
from axon.core.templates import DEVELOPMENT_CONFIG
from axon_audit_otel.memory_system import MemorySystem

async def remember():
    memory = MemorySystem(DEVELOPMENT_CONFIG)
    key = await memory.store("tea", {"user_id": "alice"}, user_id="support-7")
    await memory.forget(key, user_id="alice")
"""


def _pytest(tmp_path: Path, test: str, *, code: int = 0, **environment: str) -> str:
    """Run a user's test in a pytest of its own, that knows the plugin as installed."""
    (tmp_path / "app.py").write_text(_SYSTEM)
    (tmp_path / "test_app.py").write_text("import asyncio, app\n" + textwrap.dedent(test))
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:axon-audit",  # which is the same, if an entry point names it
            "-p",
            "axon_audit_otel.pytest_plugin",
            "-p",
            "no:xdist",
        ],
        cwd=tmp_path,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


@pytest.mark.slow
def test_what_was_recorded(tmp_path: Path) -> None:
    """Memories that know nothing of it are recorded, each test has its own events, and no setting
    of the environment reaches it."""
    _pytest(
        tmp_path,
        """
        def test_one(audit_trail):
            asyncio.run(app.remember())
            (event,) = audit_trail.assert_recorded(operation="FORGET", user_id="alice", times=1)
            assert event.subjects == ("alice",)
            assert not audit_trail.logger.settings.capture_content.on_events
            audit_trail.assert_recorded(operation="store", subject_id="alice", user_id="support-7")
            audit_trail.assert_not_recorded(status="FAILURE")
            assert [e.operation for e in audit_trail.events()] == ["STORE", "FORGET"]

        def test_another(audit_trail):
            audit_trail.assert_not_recorded()
            assert audit_trail.logger.get_statistics()["total_events"] == 0

        def test_without():
            from axon import MemorySystem
            assert not hasattr(MemorySystem, "forget")
        """,
        AXON_AUDIT_AUTO_EXPORT_PATH=str(tmp_path / "logs"),
        OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT="true",
    )
    assert not (tmp_path / "logs").exists()


@pytest.mark.slow
def test_what_was_not(tmp_path: Path) -> None:
    """A failure says what was wanted, and what there is, without lines of this package."""
    said = _pytest(
        tmp_path,
        """
        def test_fails(audit_trail):
            asyncio.run(app.remember())
            audit_trail.assert_recorded(operation="EXPORT", user_id="bob")

        def test_fails_too(audit_trail):
            asyncio.run(app.remember())
            audit_trail.assert_not_recorded(subject_id="alice")

        def test_wrong_number(audit_trail):
            audit_trail.assert_recorded(times=1)
        """,
        code=1,
    )
    assert "expected an event with operation='EXPORT', user_id='bob', found 0; recorded:" in said
    assert "STORE SUCCESS by support-7, data of alice: 1 entry" in said
    assert "expected no event with subject_id='alice', found 2" in said
    assert "expected 1 event with no filter, found 0; recorded: none" in said
    assert "testing.py" not in said


@pytest.mark.slow
def test_an_application_that_instruments_itself(tmp_path: Path) -> None:
    """Its instrumentation stays; it can be given the trail's logger."""
    _pytest(
        tmp_path,
        """
        from axon_audit_otel import AuditLogger, AxonInstrumentor

        def test_both(audit_trail):
            pass

        def test_own(request):
            own = AuditLogger(name="own")
            AxonInstrumentor().instrument(audit_logger=own)
            audit_trail = request.getfixturevalue("audit_trail")
            asyncio.run(app.remember())
            audit_trail.assert_not_recorded()
            assert len(own.query_events()) == 2
            AxonInstrumentor().uninstrument()
        """,
    )


@pytest.mark.slow
def test_many_and_closed_twice(tmp_path: Path) -> None:
    """A failure shows the newest events; what is closed already stops nobody else's recording."""
    said = _pytest(
        tmp_path,
        """
        from axon_audit_otel.testing import AuditTrail

        def test_many(audit_trail):
            for number in range(100):
                audit_trail.logger.record("STORE", user_id=f"user-{number}")
            audit_trail.assert_not_recorded(operation="STORE")

        def test_twice():
            first = AuditTrail()
            first.close()
            second = AuditTrail()
            first.close()
            asyncio.run(app.remember())
            second.assert_recorded(times=2)
            second.close()
        """,
        code=1,
    )
    assert "1 failed, 1 passed" in said
    assert "recorded, after 50 others:" in said
    assert "by user-99:" in said
    assert "by user-49:" not in said
