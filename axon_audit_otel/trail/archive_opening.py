"""Opening of an archive: what its new writer finds, of itself and of others."""

from __future__ import annotations

from contextlib import suppress
from functools import partial

from ..archive.attested import Attestor
from ..archive.checkpointer import Checkpointer
from ..archive.holds import HoldWatch
from ..archive.other_writers import recover_others
from ..archive.writer import ArchiveWriter
from ..core.log import logger
from ..verification.report import numbers
from .afterwards import Afterwards
from .internal_events import InternalEvents
from .settings import Settings

__all__ = ["Opening"]


class Opening:
    """Opens the archive of a trail.

    Args:
        settings: See `Settings`; `auto_export_path` is set.
        attestor: Says which files are ours, where there is a key.
        afterwards: Where is noted what is to be said of it.
        found: What is to be recorded about the archive.
        checkpointer: Attests what was recovered.
        holds: Those of the archive.
        is_guest: Of others it touches nothing.
    """

    def __init__(
        self,
        settings: Settings,
        attestor: Attestor | None,
        afterwards: Afterwards,
        found: InternalEvents,
        checkpointer: Checkpointer,
        holds: HoldWatch,
        is_guest: bool,
    ) -> None:
        assert settings.auto_export_path is not None
        self._directory = settings.auto_export_path
        self._name = settings.name
        self._sync = settings.durability == "disk"
        self._attestor = attestor
        self._afterwards = afterwards
        self._found = found
        self._checkpointer = checkpointer
        self._holds = holds
        self._is_guest = is_guest

    def writer(self, fresh: bool) -> ArchiveWriter:
        """A writer of the archive, which goes on where the last one ended unless it is *fresh*.

        Raises:
            ArchiveError: If the directory cannot be used.
        """
        writer = ArchiveWriter(
            self._directory,
            self._name,
            fresh,
            sync=self._sync,
            changed=partial(_report_change, self._afterwards),
            attestor=self._attestor,
            continues=self._is_guest,
        )
        self._found.refused = [*writer.refused]
        return writer

    def look_around(self, writer: ArchiveWriter) -> None:
        """Recover what *writer* and others left, and note what is to be recorded of it."""
        found, manifest = self._found, writer.sealed.manifest
        if (last := manifest.last) is not None:
            found.clock.start_after(max(last.last_time, last.sealed_at))
        unfinished = writer.intents.unfinished(reversed(manifest.seals.values()))
        if writer.recovery is not None:
            self._checkpointer.attest(writer)  # we may be killed before the first that is due
        others = [] if self._is_guest else self._recover_others(writer)
        found.recoveries = [w.recovery for w in (writer, *others) if w.recovery is not None]
        found.adopted = [w.adopted for w in (writer, *others) if w.adopted is not None]
        self._warn_of_unattested()
        found.unfinished = unfinished
        if not self._is_guest:
            with suppress(OSError):  # retention looks again
                self._holds.look(self._directory)
            found.missing_holds += self._holds.take_missing()

    def _recover_others(self, writer: ArchiveWriter) -> list[ArchiveWriter]:
        """Recover the files of other writers that have ended; those are returned."""
        found, attest = self._found, self._checkpointer.attest_other
        others, refused = recover_others(
            self._directory, writer.name, attest, self._sync, self._attestor
        )
        names = {other.writer for other in found.refused}
        found.refused += [other for other in refused if other.writer not in names]
        return others

    def _warn_of_unattested(self) -> None:
        for refused in self._found.refused:
            warn = partial(logger.warning, "audit trail %r: %s", self._name, refused)
            self._afterwards.note(warn)
        for adopted in self._found.adopted:
            which = numbers(adopted.first, adopted.last)
            words = "audit trail %r: nothing attests %s in %s: adopted"
            self._afterwards.note(partial(logger.warning, words, self._name, which, adopted.file))


def _report_change(afterwards: Afterwards, exc: OSError) -> None:
    """Somebody changed a file, and it was put back."""
    afterwards.fault("journal", exc)
    afterwards.restored()
