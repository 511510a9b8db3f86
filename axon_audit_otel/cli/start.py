"""The command `axon-audit`, from its first moment: loading all of it takes a second."""

from __future__ import annotations

from .streams import INTERRUPTED

__all__ = ["start"]


def start() -> None:
    """Load the command line and run it; Ctrl-C ends it quietly also while it is loaded."""
    try:
        from .main import main

        main(prog_name="axon-audit")
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
