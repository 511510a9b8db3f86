"""Erasure of what a trail has of a user."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from ..archive.holds import in_force
from ..core.errors import ArchiveError, AuditConfigError, AuditUnavailableError
from ..events.draft import Draft
from ..events.identifiers import checked_id
from ..events.identity import named_or_current, or_from_baggage
from .settings import Settings
from .trail import Trail

__all__ = ["erase_user"]


def erase_user(
    trail: Trail, emit: Callable[[Draft], object], user_id: str, facts: Mapping[str, Any]
) -> bool:
    """Destroy a user's key, after the event that *emit* records; see `AuditLogger.erase_user`."""
    user, settings = checked_id("user_id", user_id), trail.settings
    _require_erasable(settings)

    def record(draft: Draft) -> None:
        draft.trail = trail
        emit(draft)
        try:
            trail.require_files()
            if trail.storage is not None:
                trail.storage.wait_now()
        except OSError as exc:
            msg = f"the erasure cannot be recorded: {exc.strerror or exc}"
            raise AuditUnavailableError(msg) from exc

    actor, session, _ = named_or_current(None, None)
    if settings.baggage_identity:
        actor, _ = or_from_baggage(actor, session)
    try:
        done = trail.policy.erase(user, actor, facts, record)
    except OSError as exc:
        msg = f"the erasure is not complete: {exc.strerror or exc}; try again"
        raise ArchiveError(msg) from exc
    trail.entries.disown(trail.policy.forms(user))
    return done


def _require_erasable(settings: Settings) -> None:
    """Raise `AuditConfigError` or `ArchiveError` if nothing can or may be erased."""
    archive = settings.auto_export_path
    if settings.erasable is False:
        msg = "erase_user: without erasable=True, personal data is not encrypted"
        raise AuditConfigError(msg)
    if archive is not None and (held := in_force(archive)):
        msg = f"{str(archive)!r} is on hold ({', '.join(held)}): nothing in it is erased"
        raise ArchiveError(msg)
