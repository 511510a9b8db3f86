"""The user of the operating system who runs this process, as its kernel says.

Variables such as USER, LOGNAME and SUDO_USER are not read where there is a kernel to ask:
everybody can set them.
"""

from __future__ import annotations

import getpass
import os
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

__all__ = ["OsUser", "os_user", "state_directory", "user_of"]

_NO_LOGIN = 2**32 - 1


@dataclass(frozen=True)
class OsUser:
    """A user of the operating system.

    Attributes:
        name: Who logged in, also after `sudo`; without a login, who runs the process. None
            where neither has a name.
        ids: ``uid``, ``gid`` and ``effective_uid`` of the process, and ``login_uid`` after a
            login; empty where the system has no such numbers.
    """

    name: str | None
    ids: dict[str, int] = field(default_factory=dict)


def os_user() -> OsUser:
    """The user who runs this process, and its numbers."""
    if not hasattr(os, "getuid"):
        return OsUser(user_of(None))
    ids = {"uid": os.getuid(), "gid": os.getgid(), "effective_uid": os.geteuid()}
    login = _login_uid()
    if login is not None:
        ids["login_uid"] = login
    uid = ids.get("login_uid", ids["uid"])
    return OsUser(user_of(uid) or f"uid {uid}", ids)


@cache
def user_of(uid: int | None) -> str | None:
    """The name of the user with that number (None: of a system without numbers), if it has one."""
    try:
        if uid is None:
            return getpass.getuser()
        import pwd  # not on Windows

        return pwd.getpwuid(uid).pw_name
    except (ImportError, KeyError, OSError):
        return None


def state_directory() -> Path:
    """Where this program keeps what is the user's own: ``~/.local/state/axon-audit``.

    ``XDG_STATE_HOME`` names another place for ``~/.local/state``. HOME is not read where there is
    a kernel to ask: `sudo` may leave that of another user.

    Raises:
        OSError: If the user has no home.
    """
    given = Path(os.environ.get("XDG_STATE_HOME", ""))
    if given.is_absolute():
        return given / "axon-audit"
    try:
        if hasattr(os, "geteuid"):
            import pwd

            home = pwd.getpwuid(os.geteuid()).pw_dir
        else:
            home = str(Path.home())
    except (KeyError, RuntimeError) as exc:
        raise FileNotFoundError(2, "the user has no home directory; set XDG_STATE_HOME") from exc
    return Path(home, ".local", "state", "axon-audit")


def _login_uid() -> int | None:
    """The number of the user whose login began this process (Linux); None without a login."""
    with suppress(OSError, ValueError):
        uid = int(Path("/proc/self/loginuid").read_text())
        return None if uid == _NO_LOGIN else uid
    return None
