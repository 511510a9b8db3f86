"""Lets something happen at a chosen line of the package, as a signal handler or finalizer."""

from __future__ import annotations

import linecache
import sys
from collections.abc import Callable, Collection
from pathlib import Path
from types import FrameType
from typing import Any

import axon_audit_otel

PACKAGE = str(Path(axon_audit_otel.__file__).parent)
#: Modules that change a trail; others, such as `errors`, only compute.
MODULES = (
    *("trail/trail", "trail/buffer", "trail/archive_keeper", "trail/internal_events"),
    *(
        "archive/writer",
        "archive/takeover",
        "archive/sealed_files",
        "archive/intents",
        "archive/journal",
    ),
    *("archive/publishing", "archive/manifest", "core/files", "core/fsync", "core/merkle"),
)
FILES = {f"{PACKAGE}/{name}.py" for name in MODULES}


class Strike:
    """Context manager that calls *what* at the *number*-th line that runs in *files*."""

    def __init__(
        self, number: int, what: Callable[[], None], files: Collection[str] = FILES
    ) -> None:
        self.left = number
        self._what = what
        self._files = files

    def __enter__(self) -> Strike:
        sys.settrace(self._trace)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if frame.f_code.co_filename not in self._files:
            return None
        # Python runs no signal handler between a `with` (or its end) and its block; a trace
        # function would run there.
        if event == "line" and self.left and not _line(frame).startswith(("with ", "try:")):
            self.left -= 1
            if not self.left:
                sys.settrace(None)
                self._what()
        return self._trace


def _line(frame: FrameType) -> str:
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
