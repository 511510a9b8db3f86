"""The privacy policy that the settings of a trail ask for, and what they do not do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from ..archive.holds import in_force
from ..core.log import logger
from ..privacy.encryption import Erasure
from ..privacy.fingerprints import Fingerprints
from ..privacy.policy import PrivacyPolicy
from ..privacy.redaction import Privacy
from .settings import Settings

__all__ = ["policy_of", "warn_of_idle"]


def policy_of(
    settings: Settings,
    name: str,
    note: Callable[[str, Exception], None],
    on_found: Callable[[str], None],
) -> PrivacyPolicy:
    """The policy of the trail *name*.

    Args:
        settings: Its settings.
        name: Its name.
        note: Called with the stage and the exception of each failure.
        on_found: Called with the kind of each piece of personal data that is replaced.

    Raises:
        ArchiveError: If the keys cannot be used.
    """
    redaction = Privacy(settings.redact, settings.redact_pii, partial(note, "redact"), on_found)
    pseudonyms = settings.pseudonymize
    if pseudonyms is not None and pseudonyms.weak:
        words = "audit trail %r: pseudonymize= is short enough to be guessed"
        logger.warning(words, name)
    erasure = _erasure_of(settings, partial(note, "keys"))
    fingerprints: Fingerprints | None = None
    if settings.fingerprints is not False:
        fingerprints = Fingerprints(settings.fingerprint_key, erasure)
    return PrivacyPolicy(redaction, pseudonyms, erasure, partial(note, "record"), fingerprints)


def _erasure_of(settings: Settings, fault: Callable[[Exception], None]) -> Erasure | None:
    if settings.erasable is False:
        return None
    place = settings.erasable if isinstance(settings.erasable, Path) else None
    archive = settings.auto_export_path
    held = archive is not None and bool(in_force(archive))
    return Erasure.for_writing(archive, place, settings.durability == "disk", fault, held)


def warn_of_idle(settings: Settings, name: str) -> None:
    """Warn of *settings* that mean nothing, since the trail *name* has no files."""
    if settings.idle:
        words = "audit trail %r has no files: %s mean nothing without auto_export_path"
        logger.warning(words, name, ", ".join(f"{key}=" for key in settings.idle))
