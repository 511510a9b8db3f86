"""The fixture ``audit_trail`` for pytest, found by its entry point."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import AuditTrail

__all__ = ["audit_trail"]


@pytest.fixture
def audit_trail(monkeypatch: pytest.MonkeyPatch) -> Iterator[AuditTrail]:
    """What the memories of this test did: `axon_audit_otel.testing.AuditTrail`.

    It is in memory, has metrics of its own, and takes no setting from the environment.
    """
    # Here: every run of pytest loads this module.
    from .core.semconv import ENV_CAPTURE_MESSAGE_CONTENT
    from .testing import AuditTrail

    for name in list(os.environ):
        if name.startswith("AXON_AUDIT_") or name == ENV_CAPTURE_MESSAGE_CONTENT:
            monkeypatch.delenv(name)
    trail = AuditTrail()
    yield trail
    trail.close()
