"""Who runs a command is what the kernel says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from axon_audit_otel.core.os_user import os_user, user_of

pytestmark = pytest.mark.skipif(not hasattr(os, "getuid"), reason="needs user numbers")


def test_numbers() -> None:
    """The numbers of user, group, effective user, and of the login where there is one."""
    ids = os_user().ids
    assert (ids["uid"], ids["gid"]) == (os.getuid(), os.getgid())
    assert ids["effective_uid"] == os.geteuid()
    login = Path("/proc/self/loginuid")
    if login.exists() and int(login.read_text()) != 2**32 - 1:
        assert ids["login_uid"] == int(login.read_text())
    else:
        assert "login_uid" not in ids


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable changes the answer."""
    before = os_user()
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME", "SUDO_USER", "SUDO_UID"):
        monkeypatch.setenv(name, "mallory")
    assert os_user() == before
    assert before.name not in (None, "mallory")


def test_number_without_a_name() -> None:
    """A number that has no name in the system has none here."""
    assert user_of(4_242_424) is None
