"""The facts of the record `start`: which program on which host began to write a trail."""

from __future__ import annotations

import os
import platform
import socket
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import urlsplit

from ..core.os_user import user_of
from ..events.query import START
from ..version import __version__
from .settings import Settings

__all__ = ["look_up", "start_facts"]

_LONGEST = 256  # characters of a text


def look_up() -> None:
    """Look up what is read from files, once in a process, so that `start_facts` reads none."""
    _versions()
    _user(hides=False)


def start_facts(settings: Settings, name: str) -> dict[str, Any]:
    """The metadata of the record `start`: JSON types, texts of at most 256 characters.

    No argument of the program, no key, header, or password of a URL is in it. Where the trail
    hides user ids (`pseudonymize`, `erasable`), the login name and paths are left out as well.

    Args:
        settings: Of the trail.
        name: The trail's.
    """
    hides = settings.pseudonymize is not None or settings.erasable is not False
    facts = {
        "record": START,
        "host": _host(),
        "pid": os.getpid(),
        "process": os.path.basename(str((getattr(sys, "argv", None) or [""])[0])),  # noqa: PTH119
        "user": _user(hides),
        "python": platform.python_version(),
        **_versions(),
        "trail": name,
        "settings": _settings(settings, hides),
    }
    return {key: _bounded(value) for key, value in facts.items()}


def _settings(settings: Settings, hides: bool) -> dict[str, Any]:
    """The settings that say how far the trail can be trusted, and what it holds."""
    content, key = settings.capture_content, settings.signing_key
    told = {
        "durability": settings.durability,
        "on_failure": settings.on_failure,
        "max_events": settings.max_events,
        "capture_content": [
            place
            for place, captured in (("spans", content.on_spans), ("events", content.on_events))
            if captured
        ],
        "redact_pii": settings.redact_pii,
        "pseudonymize": settings.pseudonymize is not None,
        "erasable": settings.erasable is not False,
        "retention": None if settings.retention is None else settings.retention.rule,
        "signed": None if key is None else key.verifying.name,
        "checkpoint_to": _sink(settings.checkpoint_to, hides),
        "witnesses": [witness.key.name for witness in settings.witnesses],
        "ship_to": None if settings.ship_to is None else _host_of(settings.ship_to.url),
    }
    return {name: _bounded(value) for name, value in told.items()}


def _sink(sink: Any, hides: bool) -> str | bool:
    """The path of the second place for checkpoints, or ``otlp``; else if there is one."""
    named = isinstance(sink, (str, os.PathLike)) and (sink == "otlp" or not hides)
    return str(sink) if named else sink is not None


def _host_of(url: str) -> str | None:
    with suppress(ValueError):
        return urlsplit(url).hostname
    return None


def _host() -> str | None:
    with suppress(OSError):
        return socket.gethostname()
    return None


def _user(hides: bool) -> dict[str, Any]:
    """The id and the name under which the operating system knows who runs this process."""
    uid = os.getuid() if hasattr(os, "getuid") else None
    return {"uid": uid} if hides else {"uid": uid, "name": _bounded(user_of(uid))}


@cache
def _versions() -> dict[str, str | None]:
    return {
        "axon_audit_otel": __version__,
        "axon_sdk": _version("axon-sdk"),
        "opentelemetry": _version("opentelemetry-api"),
    }


def _version(distribution: str) -> str | None:
    with suppress(PackageNotFoundError, OSError, KeyError, ValueError):
        return version(distribution)
    return None


def _bounded(value: Any) -> Any:
    """A text short enough, and one that is Unicode; anything else as it is."""
    if not isinstance(value, str):
        return value
    return value[:_LONGEST].encode("utf-8", "replace").decode()
