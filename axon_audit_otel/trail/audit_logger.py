"""`AuditLogger`: the face of a trail."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from weakref import WeakValueDictionary, finalize

from prometheus_client import CollectorRegistry

from ..core.errors import ArchiveError, AuditConfigError, hide_source, shown
from ..core.log import logger
from ..events.draft import draft
from ..events.identity import named_or_current
from ..privacy.erased_tokens import check_in_clear
from .erasing import erase_user
from .otel_emitter import Emitter, checked_provider
from .recording import Recording
from .sdk_logger_interface import SdkLoggerInterface
from .settings import Settings
from .trail import Trail

__all__ = ["AuditLogger", "loggers"]

_trails: WeakValueDictionary[str, Trail] = WeakValueDictionary()
_loggers: WeakValueDictionary[str, AuditLogger] = WeakValueDictionary()

#: The module whose ``register`` gets every new `AuditLogger`, since a `MemorySystem` that is
#: given one must be recorded. It is above this one: imported only then, by name, here alone.
_INSTRUMENTOR = "axon_audit_otel.integrations.axon.instrumentor"
#: The module that compares a memory with a trail: it is above this one as well.
_RECONCILE = "axon_audit_otel.evidence.reconcile"


def _free_name(name: str) -> str:
    """*name*, or *name*-2, ...: two trails of one process never share their series."""
    taken, number = name, 1
    while taken in _trails:
        number += 1
        taken = f"{name}-{number}"
    return taken


def _one_that_gives_way(name: str) -> AuditLogger | None:
    """The logger that has the trail *name* and gives way, which has ended that; None if there is
    none, or if an operation has begun there: then both go on, which is said."""
    found = _loggers.get(name)
    if found is None or not found.gives_way:
        return None
    done = found.get_statistics()["by_operation"]
    has_recorded = any(number for operation, number in done.items() if operation != "AUDIT")
    if has_recorded or found.trail.metrics.running(done):
        logger.warning(
            "audit trail %r: instrument() has begun it as the environment says, so this"
            " AuditLogger has the trail %r. Make it before the first operation, or give it a name",
            *(name, _free_name(name)),
        )
        return None
    found._ending()
    found._emitter.leave()
    found.trail.give_up()
    _trails.pop(name, None)
    return found


def loggers() -> dict[str, AuditLogger]:
    """The loggers of this process, by their names."""
    return dict(_loggers)


def _of_this_process(name: str) -> AuditLogger:
    """The logger of that name, for what was pickled with it.

    Raises:
        AuditConfigError: If there is none: nothing may go unrecorded for that.
    """
    found = _loggers.get(name)
    if found is None:
        msg = f"no AuditLogger named {shown(name)} in this process: make it before unpickling"
        raise AuditConfigError(msg)
    return found


class AuditLogger(Recording, SdkLoggerInterface):
    """Records audit events, and answers what was recorded.

    Pass it to `axon.MemorySystem(config, audit_logger=...)` or to
    `AxonInstrumentor().instrument(audit_logger=...)`. It also has the methods of the SDK's
    own audit logger. Arguments that are not given come from ``AXON_AUDIT_*`` variables.

    Args:
        max_events: Events kept in memory; the oldest leave first. Default 10,000.
        auto_export_path: Directory of the archive. Every event is in its journal before
            the call that caused it returns; every *max_events* events the journal becomes
            a sealed file ``audit_2025_01_15_103045.json``. Default: no archive.
        enable_rotation: Seal a full journal. Default True.
        max_file_bytes: The journal is full also when it is that large: bytes, or ``"64MiB"``.
        max_file_age: It is full also when it is that old, and then sealed though nothing
            happens: seconds, a `timedelta`, or ``"15m"``, ``"24h"``.
        name: Name of the trail. Default "default".
        capture_content: Record texts, queries and exception messages: True, or
            ``"SPAN_ONLY"``, ``"EVENT_ONLY"``, ``"SPAN_AND_EVENT"``. Default: none.
        redact: A function from text to text for every free text that is recorded, and for
            the names of facts that you give.
        redact_pii: Replace personal data of a known shape in what is recorded. Default True.
        erasable: Encrypt personal data in the trail, so that `erase_user` can make it
            unreadable. True: with keys in a directory beside the archive, ``audit_logs.keys``;
            a path: with keys there. Default False.
        pseudonymize: A secret: bytes, text, or a `Path` (``"@FILE"``) of a file with one. Keyed
            hashes stand for user and session ids in whatever is recorded. Queries take the
            ids themselves. Of several, the first is used and the others were.
        private_ids: The ids of all entries name people: they are hidden too. It needs
            *pseudonymize* or *erasable*. Default False: only where an integration or an operation
            says so.
        fingerprints: Record keyed hashes of the content of entries, and notice those that were
            changed without the trail. True (the default): with a key made of *signing_key*, or
            one in the archive; a secret: bytes, text, or a `Path` (``"@FILE"``) of a file with
            one; False: none.
        compress: Compress sealed files: ``audit_....json.zst``. Needs the extra ``zstd``.
        index: Make an index of sealed files, so that queries by id are fast (docs/files.md).
        retention: Delete sealed files when everything in them is older: seconds, a
            `timedelta`, ``"180d"``, ``"hipaa"`` (six years) or ``"eu-ai-act"`` (six months).
        max_archive_bytes: Delete the oldest sealed files when all are larger together.
        durability: What an archived event survives when the call returns: ``"process"``
            (the default) a killed process, ``"disk"`` power loss; ``"memory"`` neither.
        on_failure: ``"degrade"`` (the default): an operation that cannot be recorded goes
            on, and is counted. ``"block"``: it is refused before it touches memory, with
            `AuditUnavailableError`.
        signing_key: The key (file, line or `SigningKey`) that signs checkpoints.
        checkpoint_to: Where checkpoints go besides the archive: a file, a function, or
            ``"otlp"``: log records, by *ship_to* or else *logger_provider*.
        witnesses: Who cosigns checkpoints, by the C2SP's protocol tlog-witness: lines
            ``URL name+id+key``, or files of them.
        checkpoint_interval: Seconds between them when nothing is sealed. Default 3,600.
        checkpoint_events: Events between them, for more than one in each sealed file.
        ship_to: Ship the events to an OpenTelemetry collector: ``"otlp"`` (as the
            ``OTEL_EXPORTER_OTLP_*`` variables say) or its URL. From the archive, so that an
            outage loses none; without one from memory. Then records do not go through the
            global logger provider as well: they would arrive twice.
        ship_request_bytes: Bytes of a request of it at most, uncompressed. Default ``"800kB"``.
        ship_event_bytes: Bytes of an event's log record at most. Default ``"800kB"``. A longer one
            is not sent, but named in the log, counted, and kept for `axon-audit replay`.
        start_record: Begin each writer of the archive with an AUDIT event: host, process, user,
            versions, settings. Default True; False where host and login name must not be kept.
        logger_provider: The OpenTelemetry provider that its records go through. Default:
            the global one if it is set (now or later); without one they go to the trail only.
        registry: The Prometheus registry of its metrics. Default: the default registry.
        max_event_bytes: Length of an event's line at most: bytes, or ``"256KiB"`` (the default).
            Of more ids it has number and digest, of more metadata the marker ``truncated``.
        baggage_identity: Let OpenTelemetry baggage (``user.id``, ``session.id``) say who acts,
            where nothing else does. Any caller of the service can send it. Default False.

    Raises:
        AuditConfigError: If an argument or variable cannot work.
        ArchiveError: If *auto_export_path* cannot be used.
    """

    _names_users = True  # what does not needs no keys
    _is_guest = False  # in an archive of others
    #: Made of the environment alone: one of its name that the application makes replaces it.
    gives_way = False
    _environ: Mapping[str, str] = os.environ
    _followed: AuditLogger | None = None

    def __init__(
        self,
        max_events: int | None = None,
        auto_export_path: Path | str | None = None,
        enable_rotation: bool | None = None,
        *,
        name: str | None = None,
        capture_content: bool | str | None = None,
        redact: Callable[[str], str] | None = None,
        redact_pii: bool | None = None,
        erasable: bool | Path | str | None = None,
        pseudonymize: Any = None,
        private_ids: bool | None = None,
        fingerprints: Any = None,
        max_file_bytes: int | str | None = None,
        max_file_age: timedelta | float | str | None = None,
        compress: bool | None = None,
        index: bool | None = None,
        retention: timedelta | float | str | None = None,
        max_archive_bytes: int | str | None = None,
        durability: str | None = None,
        on_failure: str | None = None,
        signing_key: Any = None,
        checkpoint_to: Any = None,
        witnesses: Any = None,
        checkpoint_interval: Any = None,
        checkpoint_events: int | None = None,
        ship_to: str | None = None,
        ship_request_bytes: int | str | None = None,
        ship_event_bytes: int | str | None = None,
        start_record: bool | None = None,
        logger_provider: Any = None,
        registry: CollectorRegistry | None = None,
        max_event_bytes: int | str | None = None,
        baggage_identity: bool | None = None,
    ) -> None:
        # Every argument by its name: those that are settings are described there, once.
        try:
            self.settings = Settings.resolve(locals(), self._environ)
        except AuditConfigError as exc:
            if any(
                isinstance(value, (str, bytes))
                for value in (signing_key, pseudonymize, fingerprints, ship_to)
            ):
                hide_source(exc)
            raise exc.with_traceback(None) from None  # its frames hold the secrets
        finally:
            del signing_key, pseudonymize, ship_to  # a traceback may show variables
        checked_provider(logger_provider)
        registry = _registry(registry)
        if self._names_users:
            self._check_in_clear()
        self._begin_alone(registry, logger_provider)

    def _begin_alone(self, registry: CollectorRegistry | None, logger_provider: Any) -> None:
        """Begin a trail, in place of the one of a logger that gives way, if there is one."""
        before = _one_that_gives_way(self.settings.name)
        if before is not None and logger_provider is None:
            logger_provider = before._emitter.given  # of `instrument`
        try:
            self._begin(registry, logger_provider)
            import_module(_INSTRUMENTOR).register(self)
        except BaseException:
            if before is not None:
                before.begin_again()
            raise
        if before is not None:
            before.follow(self)

    def _begin(self, registry: CollectorRegistry | None, logger_provider: Any) -> None:
        free_name = _free_name(self.settings.name)
        self.trail = Trail(self.settings, free_name, registry, self._is_guest)
        _trails[self.trail.name] = self.trail
        self._emitter = Emitter(self.trail, logger_provider)
        _loggers[self.trail.name] = self
        self._ending = finalize(self, _end, self.trail, self._emitter)

    def _check_in_clear(self) -> None:
        archive, erasable = self.settings.auto_export_path, self.settings.erasable
        if archive is not None and erasable is False:
            check_in_clear(archive)

    def __repr__(self) -> str:
        return f"AuditLogger(name={self.name!r}, events={self.event_count})"

    def __copy__(self) -> AuditLogger:
        """The logger itself: a copy of a system records to the same trail."""
        return self

    def __deepcopy__(self, memo: object) -> AuditLogger:
        return self

    def __reduce__(self) -> tuple[Callable[[str], AuditLogger], tuple[str]]:
        """Its name: files, locks and keys are of one process. Where a system is unpickled,
        that process's own logger of this name records it."""
        return _of_this_process, (self.name,)

    @property
    def name(self) -> str:
        """The trail's name: the value of the metrics' label ``trail``."""
        return self.trail.name

    def use(self, logger_provider: Any) -> None:
        """Send the records through *logger_provider* from now on.

        Raises:
            AuditConfigError: If it is none.
        """
        self._emitter.use(logger_provider)

    def follow(self, other: AuditLogger) -> None:
        """Record in the trail of *other* from now on; its own has ended."""
        _pass_on(self.trail, other.trail)
        self.settings, self._emitter, self.trail = other.settings, other._emitter, other.trail
        self._followed = other  # whose trail ends when nobody has either
        logger.info(
            "audit trail %r: the application's own logger; what it does not cover is recorded there"
            " as well",
            self.name,
        )

    def begin_again(self) -> None:
        """Have a trail as before, since the logger that it gave way to could not be made."""
        ended = self.trail
        try:
            self._begin(None, self._emitter.given)
        except Exception as exc:  # its caller has an error to see already
            ended.fault("record", exc)
        else:
            _pass_on(ended, self.trail)

    # --- erasure ---------------------------------------------------------------------------

    def erase_user(self, user_id: str, *, metadata: dict[str, Any] | None = None) -> bool:
        """Make a user's personal data in the trail unreadable for ever (GDPR Art. 17).

        Destroys the key that the ids, sessions, metadata and messages of that user's events
        are encrypted with, in this process and all others, in memory and in files. The files
        are not changed: `verify`, proofs and checkpoints hold. That it is done is an event,
        without the name, which is recorded first. It can be repeated if it was interrupted.

        Args:
            user_id: Whose data.
            metadata: Further facts of that event, such as the reason. They are encrypted with
                the key of the acting user; if nobody is named as such, they stay readable.

        Returns:
            True if there was anything to erase.

        Raises:
            AuditConfigError: If the trail is not `erasable`.
            InvalidEventError: If *user_id* is no text.
            ArchiveError: If the archive is on hold, or a key may still be there: try again.
            AuditUnavailableError: If it cannot be recorded: then nothing is erased.
        """
        return erase_user(self.trail, self.emit, user_id, metadata or {})

    def receipt(
        self, event_id: str, *, subject_id: str | None = None, decrypt: bool = False
    ) -> dict[str, Any]:
        """A signed receipt for a person whose data was erased, with the proof (docs/format.md).

        It says what was deleted, when and on whose request, how that was checked, what remains,
        what cannot be known, and if the entries were seen again. `signing_key` signs it; without
        one it is not signed. It reads and verifies the whole archive: in a coroutine, use
        `asyncio.to_thread`. ``axon-audit prove --script`` prints the program that verifies it.

        Args:
            event_id: The id of a FORGET, or of the AUDIT event of `erase_user`. It must be in a
                sealed file (`seal`) which a signed checkpoint covers.
            subject_id: The person whom it is for. Default: whoever the event names.
            decrypt: Say who asked for it, and why, in clear where that is encrypted.

        Returns:
            ``format``, ``statement`` and ``proof``: JSON types.

        Raises:
            AuditConfigError: If there is no archive, or *signing_key* has not signed it.
            InvalidEventError: If the event is no erasure, or is not about *subject_id*.
            ArchiveError: If there is no such event, or no proof of it.
        """
        from ..verification.receipt import make_receipt  # rarely needed, and slow to import

        archive, key = self.settings.auto_export_path, self.settings.signing_key
        if archive is None:
            raise AuditConfigError("receipt: there is no archive (auto_export_path)")
        policy = self.trail.policy
        return make_receipt(archive, event_id, policy, key, subject_id=subject_id, decrypt=decrypt)

    # --- the store -------------------------------------------------------------------------

    async def reconcile(self, memory: Any) -> Any:
        """Compare what lies in the store of *memory* with what is on record of it.

        Reads every entry of every tier through the storage adapters, which changes none, and all
        events of the archive, or of memory without one. The application may go on meanwhile.
        What was found is an AUDIT event.

        Args:
            memory: The `axon.MemorySystem`, which this logger records.

        Returns:
            The result: its ``findings`` (entries that are ``unrecorded``, ``missing``,
            ``altered``, ``forgotten_present`` or ``derived_orphaned``), its counts, and
            what cannot be known. ``agrees`` is True if nothing was found and everything could
            be read; ``to_dict()`` has all of it.

        Raises:
            AuditConfigError: If *memory* is no such system.
            AuditUnavailableError: If it could not be recorded, with ``on_failure="block"``.
            Exception: Of a storage adapter that gives nothing at all.
        """
        found = await import_module(_RECONCILE).reconcile(self.trail, memory)
        actor, session, acting = named_or_current(None, None)
        event = draft(
            "AUDIT",
            "SUCCESS" if found.agrees else "PARTIAL",
            user_id=actor,
            session_id=session,
            metadata=found.facts(),
            trail=self.trail,
            **acting,
        )
        self.trail.policy.event(event, own=True)
        recorded = self._recorded(event)
        await self.wait_durable()
        if self.trail.blocks:
            self._require_kept(recorded)
        return found

    # --- its end ---------------------------------------------------------------------------

    def seal(self) -> Path | None:
        """Seal the journal now; returns the file, None if there was nothing to seal.

        Raises:
            ArchiveError: If that failed; the events are still in the journal.
        """
        try:
            return self.trail.seal()
        except OSError as exc:
            msg = f"cannot seal in {str(self.settings.auto_export_path)!r}: {exc.strerror or exc}"
            raise ArchiveError(msg) from exc

    def close(self) -> None:
        """Seal the journal. Events can still be logged: they begin a new one.

        A failure is logged and counted; the events are then still in the journal. With
        *ship_to*, waits up to two seconds for what is not sent yet.
        """
        self.trail.end()

    def __enter__(self) -> AuditLogger:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _pass_on(ended: Trail, trail: Trail) -> None:
    """Have *trail* do what was asked of one that has *ended*."""
    for observe in ended.observers:
        trail.watch(observe)
    for system in ended.metrics.systems:
        trail.metrics.expect(system)


def _end(trail: Trail, emitter: Emitter) -> None:
    """Seal the journal when nobody has the logger any more; *emitter* sends what that places."""
    trail.end(program_ends=True)


def _registry(value: Any) -> CollectorRegistry | None:
    if value is None or isinstance(value, CollectorRegistry):
        return value
    msg = f"registry={shown(value)}: must be a prometheus_client.CollectorRegistry"
    raise AuditConfigError(msg)
