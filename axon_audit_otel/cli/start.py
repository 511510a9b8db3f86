"""The command `axon-audit`, from its first moment: loading all of it takes a second."""

from __future__ import annotations

__all__ = ["INTERRUPTED", "start"]

#: The exit code of a command that Ctrl-C ended, as of a shell's own.
INTERRUPTED = 130


def start() -> None:
    """Load the command line and run it; Ctrl-C ends it quietly also while it is loaded."""
    try:
        from .main import main

        main(prog_name="axon-audit")
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
