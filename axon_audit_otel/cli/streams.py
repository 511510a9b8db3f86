"""Standard streams as cron, pipes and full disks leave them: closed, full, without a character."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["standard_streams"]


@contextmanager
def standard_streams() -> Iterator[None]:
    """Runs a command, which ends with `SystemExit`, and says when its output went nowhere.

    Raises:
        SystemExit: With 1 instead of 0 if not all of the output could be written.
    """
    closed = _open_again()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # one that lacks a character is no error
            stream.reconfigure(errors="backslashreplace")
    if closed:
        _say("standard output is closed: nothing can be shown (if nothing should be: >/dev/null)")
        raise SystemExit(1)
    try:
        yield
    except SystemExit as exc:
        if (fault := _flushed(sys.stdout)) is not None and not exc.code:
            if fault.errno != errno.EPIPE:  # `| head` has what it wanted
                _say(f"{fault.strerror or fault}: standard output")
            raise SystemExit(1) from None
        raise
    except OSError as exc:  # of help, or of standard error itself
        _say(f"{exc.strerror or exc}")
        raise SystemExit(1) from None
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flushed(stream)


def _open_again() -> bool:
    """Put /dev/null where a stream is closed; returns whether standard output was.

    The next file that is opened would take its place: what is printed would go into that.
    """
    closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # in this order: each takes the lowest number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    return closed


def _flushed(stream: Any) -> OSError | None:
    """Write what waits in *stream*; what cannot be written is dropped, or Python would complain."""
    try:
        stream.flush()
    except ValueError:  # closed by whoever had it
        return None
    except OSError as exc:
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, stream.fileno())
            os.close(null)
        return exc
    return None


def _say(text: str) -> None:
    with suppress(OSError):
        sys.stderr.write(f"Error: {text}\n")
