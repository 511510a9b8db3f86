"""Intercepts every call into the file system that the package makes: to let it fail, or stop."""

from __future__ import annotations

import gc
import linecache
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import axon_audit_otel

#: Functions of ``posix`` and ``fcntl``, and methods of files.
_CALLS = {
    *("open", "close", "dup", "read", "pread", "write", "pwrite", "ftruncate", "truncate"),
    *("fsync", "fdatasync", "flock", "link", "unlink", "remove", "rename", "replace", "mkdir"),
    *("stat", "lstat", "fstat", "scandir", "listdir"),
    *("readall", "readinto", "readline", "writelines", "flush", "peek", "seek"),
}
_OPENS = {"open", "dup", "scandir"}
_MODULES = {"posix", "fcntl", "_io", "io"}
_FILES = {"BufferedReader", "BufferedWriter", "BufferedRandom", "FileIO", "TextIOWrapper"}
#: The callers that count: the package, and modules that it uses for files.
_OURS = f"{Path(axon_audit_otel.__file__).parent}/"
_HELPERS = tuple(
    str(Path(os.__file__).with_name(name)) for name in ("os.py", "pathlib", "shutil", "genericpath")
)


def _is_one(call: Any) -> bool:
    if call.__name__ not in _CALLS:
        return False
    of = getattr(call, "__self__", None)
    if of is None:
        return call.__module__ in _MODULES
    return getattr(of, "__name__", None) in _MODULES or type(of).__name__ in _FILES


class Calls:
    """Context manager that calls *happens* before each call of the package into the file system.

    Only calls in this thread count; they are numbered from 1. An exception of *happens* is
    raised in place of the call.

    Args:
        happens: Called with the number of the call.
        after: Call *happens* after the call, which raises then although it was done.

    Attributes:
        names: The calls, and the places in the code that made them.
    """

    def __init__(self, happens: Callable[[int], object], after: bool = False) -> None:
        self.names: list[str] = []
        self._happens = happens
        self._after = after

    def __enter__(self) -> Calls:
        gc.disable()  # it crashes Python 3.11 at times
        sys.setprofile(self._hook)
        return self

    def __exit__(self, *exc_info: object) -> None:
        sys.setprofile(None)
        gc.enable()

    def _hook(self, frame: FrameType, kind: str, call: Any) -> None:
        if kind not in ("c_call", "c_return") or not _is_one(call):
            return
        # A failed close has closed the file; a failed open has not opened it.
        after = call.__name__ == "close" or (self._after and call.__name__ not in _OPENS)
        if (kind == "c_return") != after:
            return
        if not frame.f_code.co_filename.startswith((_OURS, *_HELPERS)):
            return
        if call.__name__ == "flock" and "LOCK_UN" in _line(frame):
            return  # cannot fail
        caller: FrameType | None = frame
        while caller is not None and caller.f_code.co_filename.startswith(_HELPERS):
            caller = caller.f_back
        if caller is None or not caller.f_code.co_filename.startswith(_OURS):
            return
        where = f"{Path(caller.f_code.co_filename).name}:{caller.f_lineno}"
        self.names.append(f"{call.__name__} at {where} in {caller.f_code.co_name}")
        self._happens(len(self.names))


def _line(frame: FrameType) -> str:
    return linecache.getline(frame.f_code.co_filename, frame.f_lineno)


def copy(source: Path, target: Path) -> None:
    """Copy a directory with its times, and with hard links as hard links."""
    known: dict[int, Path] = {}
    target.mkdir()
    for path in source.iterdir():
        status, new = path.stat(), target / path.name
        if path.is_dir():
            copy(path, new)
        elif status.st_ino in known:
            new.hardlink_to(known[status.st_ino])
        else:
            shutil.copy2(path, new)
            known[status.st_ino] = new
