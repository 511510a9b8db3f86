"""Makes the standard streams usable if they are closed or full, or lack characters."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

__all__ = ["INTERRUPTED", "standard_streams"]

#: The exit code of a command that Ctrl-C ended, as of a shell's own.
INTERRUPTED = 130


@contextmanager
def standard_streams(unwritten: int = 1) -> Iterator[None]:
    """Run a command, which ends with `SystemExit`, and report output that could not be written.

    Raises:
        SystemExit: With *unwritten* instead of 0 if not all of the output could be written.
    """
    closed = _open_again()
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # escape characters that the encoding lacks
            stream.reconfigure(errors="backslashreplace")
    if closed:
        _say("standard output is closed: nothing can be shown (if nothing should be: >/dev/null)")
        raise SystemExit(unwritten)
    try:
        yield
    except SystemExit as exc:
        if (fault := _flushed(sys.stdout)) is not None and not exc.code:
            if fault.errno != errno.EPIPE:  # `| head` stops reading: no error
                _say(f"{fault.strerror or fault}: standard output")
            raise SystemExit(unwritten) from None
        raise
    except OSError as exc:  # from printing the help, or from standard error
        _say(f"{exc.strerror or exc}")
        raise SystemExit(unwritten) from None
    finally:
        for stream in (sys.stdout, sys.stderr):
            _flushed(stream)


def _open_again() -> bool:
    """Open /dev/null for each closed stream; return True if standard output was closed.

    Otherwise the next file that is opened would get the stream's number, and the output.
    """
    closed = sys.stdout is None
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # in this order: each gets the lowest free number
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115
    return closed


def _flushed(stream: Any) -> OSError | None:
    """Flush *stream*; return the error if that fails.

    The buffered rest goes to /dev/null then, or Python would report it again at exit.
    """
    try:
        stream.flush()
    except ValueError:  # closed
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
