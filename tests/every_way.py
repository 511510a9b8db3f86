"""`verify` in every way: line by line, each file apart, and by digest where a key proves that.

All of them must give one report.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from axon_audit_otel import VerifyReport
from axon_audit_otel.verification import processes, reading_plan
from axon_audit_otel.verification import verify as module
from axon_audit_otel.verification.file_reading import Job, Reading, read_sealed
from axon_audit_otel.verification.key_check import KeyCheck
from axon_audit_otel.verification.verify import verify as _verify

__all__ = ["by_digest", "facts", "verify"]


class _Apart(processes.FileReader):
    """Reads each file as another process does, with the same messages."""

    def __init__(self, directory: Path, erasable: Path | None, *_: Any) -> None:
        super().__init__(directory, erasable, 0, 1)
        self._check = KeyCheck(directory, erasable)

    def read(self, jobs: Iterable[Job | None]) -> Iterator[Reading | None]:
        for job in jobs:
            if job is None:
                yield None
                continue
            try:
                given = processes._job_in(processes._encode(job))
            except UnicodeEncodeError:  # the name of its file
                yield None
            else:
                yield processes._reading_in(processes._encode(read_sealed(given, self._check)))


def facts(report: VerifyReport) -> dict[str, Any]:
    """All of a report but how its files were read."""
    found = msgspec.to_builtins(report)
    for writer in found["writers"]:
        del writer["by_digest"]
    return found  # type: ignore[no-any-return]


def by_digest(report: VerifyReport) -> int:
    """The number of files that were read by their digest alone."""
    return sum(writer.by_digest for writer in report.writers)


def verify(path: Path | str, *args: Any, **given: Any) -> VerifyReport:
    """As the package's; fails if the ways to verify do not agree.

    With *progress*, which may change the archive, it is verified in one way.
    """
    if "progress" in given:
        return _verify(path, *args, **given)
    report = _verify(path, *args, **given, full=True, jobs=1)
    assert not by_digest(report)
    kept = [list(one) if isinstance(one, Iterator) else one for one in args]
    wanted = facts(report)
    with pytest.MonkeyPatch.context() as patch:
        assert facts(_verify(path, *kept, **given, jobs=1)) == wanted
        # Archives without the record `start` as well.
        patch.setattr(reading_plan, "_begins_with_start", lambda *_: True)
        assert facts(_verify(path, *kept, **given, jobs=1)) == wanted
        patch.setattr(module, "FileReader", _Apart)
        assert facts(_verify(path, *kept, **given, full=True)) == wanted
        assert facts(_verify(path, *kept, **given)) == wanted
    return report
