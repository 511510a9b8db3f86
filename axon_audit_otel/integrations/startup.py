"""Start of `instrument`: finds the logger of the process, or makes the one that the environment
describes, and logs where its events go."""

from __future__ import annotations

import os
import sys
from typing import Any
from weakref import WeakSet, WeakValueDictionary

from opentelemetry import trace

from ..core.errors import AuditConfigError, AxonAuditError, shown
from ..core.log import logger
from ..trail.audit_logger import AuditLogger, loggers
from ..trail.otel_emitter import exports
from ..trail.settings import Settings

__all__ = ["announce", "blocks", "is_automatic", "logger_of"]


_LIMIT = "max_archive_bytes"
_FILES = (
    *("auto_export_path", "max_file_bytes", "max_file_age", "compress", "index", _LIMIT),
    *("retention", "durability", "erasable", "signing_key", "checkpoint_to", "witnesses"),
)
#: Settings to leave out, attempt by attempt, if settings conflict or a directory is unusable.
_ATTEMPTS = (
    (),
    ("private_ids",),
    *(
        (*names, "private_ids")
        for names in (("witnesses",), (_LIMIT,), (_LIMIT, "erasable"), _FILES)
    ),
)


def is_automatic() -> bool:
    """Return True if ``opentelemetry-instrument`` has started this program."""
    return "opentelemetry.instrumentation.auto_instrumentation" in sys.modules


#: The logger that the environment described: one for all libraries.
_shared: WeakValueDictionary[str, AuditLogger] = WeakValueDictionary()


def logger_of(given: Any, logger_provider: Any) -> AuditLogger:
    """The logger *given* to `instrument`; else the application's own, if it has one of the name
    that the environment gives; else the one that the environment describes. All instrumentors of
    the process share that.

    Under ``opentelemetry-instrument``, whose user does not see errors, wrong settings are left
    out.

    Raises:
        AuditConfigError: If *given* is no `AuditLogger`.
        AxonAuditError: If the settings are wrong.
    """
    if given is None and not _shared:
        given = _of_application()
    if given is None:
        shared = _shared.get("")
        if shared is None:
            _shared[""] = shared = _of_environment(logger_provider)
            shared.gives_way = True
        return shared
    if not isinstance(given, AuditLogger):
        msg = f"audit_logger={shown(given)}: must be an axon_audit_otel.AuditLogger"
        raise AuditConfigError(msg)
    if logger_provider is not None:
        given.use(logger_provider)
    return given


def _of_application() -> AuditLogger | None:
    try:
        name = Settings.one("name")
    except AuditConfigError:
        return None
    return loggers().get(name)


def _of_environment(logger_provider: Any) -> AuditLogger:
    try:
        return AuditLogger(logger_provider=logger_provider)
    except AxonAuditError:
        if blocks() or not is_automatic():
            raise
        return _nearest_logger(logger_provider)


def blocks() -> bool:
    """Return True if the environment asks to refuse what cannot be recorded."""
    return os.environ.get(Settings.variable("on_failure"), "").strip().lower() == "block"


def _nearest_logger(logger_provider: Any) -> AuditLogger:
    """A logger with all settings of the environment that work; wrong settings are logged.

    Used where nobody sees what `instrument` raises: a misspelt value must not leave the program
    without an audit trail.

    Raises:
        AxonAuditError: If not even a trail in memory can be made.
    """
    usable, wrong = Settings.usable(os.environ)
    for names in _ATTEMPTS:
        environ = dict(usable)
        Settings.leave_out(environ, *names)
        makeshift = type("AuditLogger", (AuditLogger,), {"_environ": environ})
        try:
            audit: AuditLogger = makeshift(logger_provider=logger_provider)
        except AxonAuditError as exc:
            wrong.append(str(exc))
            error = exc
            continue
        for reason in dict.fromkeys(wrong):
            logger.error("%s. Recording goes on without that: correct it and start again", reason)
        return audit
    raise error


#: The loggers of which that was said: several libraries may share one.
_announced: WeakSet[AuditLogger] = WeakSet()


def announce(audit: AuditLogger) -> None:
    """Log one line about where the events go, and what to set next; once for each logger.

    Also warn if ``opentelemetry-instrument`` started the program and they are in memory only, or
    if it exports nothing.
    """
    if audit in _announced:
        return
    _announced.add(audit)
    told = f"memory operations are recorded {_places(audit)}"
    hint = _next(audit.settings)
    logger.info("audit trail %r: %s%s", audit.name, told, hint and f". {hint}")
    if not is_automatic():
        return
    disabled = os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    settings, provider = audit.settings, audit.trail.outlet.provider
    if not (disabled or hasattr(trace.get_tracer_provider(), "add_span_processor")):
        logger.warning(
            "opentelemetry-instrument exports nothing, since no OpenTelemetry distro is"
            " installed: pip install opentelemetry-distro. M%s%s",
            *(told[1:], hint and f". {hint}"),
        )
    elif not (settings.auto_export_path or settings.ship_to or exports(provider)):
        logger.warning(
            "M%s: they are gone when the program ends. %s (unless the application makes an"
            " AuditLogger of its own)",
            *(told[1:], hint),
        )


def _places(audit: AuditLogger) -> str:
    """The places where a logger keeps its events and sends them, in words."""
    settings = audit.settings
    kept = f"in memory (the newest {settings.max_events:,})"
    if settings.auto_export_path is not None:
        kept += f" and in files in {str(settings.auto_export_path)!r}"
    if settings.ship_to is not None:
        return f"{kept}, and sent to the collector {settings.ship_to.place}"
    provider = audit.trail.outlet.provider
    if exports(provider):
        return f"{kept}, and given to OpenTelemetry's logger provider"
    if hasattr(provider, "add_log_record_processor"):
        return f"{kept}; OpenTelemetry's logger provider has no exporter"
    return f"{kept}; no OpenTelemetry logger provider is set that exports them"


def _next(settings: Settings) -> str:
    """What to set next, in words; nothing where all is."""
    for name, value, effect in _STEPS:
        if getattr(settings, name) is None:
            return f"Set {name} ({settings.variable(name)}={value}) to {effect}"
    return ""


_STEPS = (
    ("auto_export_path", "DIRECTORY", "keep them in files"),
    ("signing_key", "FILE", "have the files signed (axon-audit keygen)"),
    ("ship_to", "otlp", "send them to a collector, at least once"),
)
