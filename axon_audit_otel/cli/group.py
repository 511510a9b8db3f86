"""What all commands have in common: how they end, and that no error shows a key."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ..core.errors import AxonAuditError, harmless
from ..verification.report import EXIT_CODES
from .options import NOT_ANSWERED, NotAnswered, reason
from .streams import INTERRUPTED, standard_streams

__all__ = ["Commands"]

#: The exit code if the answer cannot be written, of commands whose 1 is an answer.
_UNWRITTEN = {
    "verify": EXIT_CODES["not proved"],
    **dict.fromkeys(
        ("alerts", "influence", "lineage", "receipt", "reconcile", "report", "subject"),
        NOT_ANSWERED,
    ),
}

#: Every command, by what it is for.
_GROUPS = {
    "Ask": ("query", "stats", "tail", "alerts", "view"),
    "Prove": ("verify", "prove", "keygen", "hold"),
    "Hand over": ("report", "subject", "receipt", "export"),
    "What became of an entry": ("lineage", "influence", "reconcile"),
    "Privacy": ("erase", "pseudonym"),
    "Run": ("assets", "demo", "index", "mcp-proxy", "replay"),
}


class Commands(click.Group):
    """A group of commands that turns our errors into one line and an exit code."""

    def main(self, args: Any = None, *further: Any, **kwargs: Any) -> Any:
        words = list(sys.argv[1:] if args is None else args)
        with standard_streams(_UNWRITTEN.get(words[0] if words else "", 1)):
            return super().main(words, *further, **kwargs)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by what they are for."""
        for title, names in _GROUPS.items():
            with formatter.section(title):
                commands = [(name, self.commands[name]) for name in names]
                formatter.write_dl([(name, one.get_short_help_str(80)) for name, one in commands])

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        with _harmless_errors():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        with _harmless_errors(ctx):
            return super().invoke(ctx)


@contextmanager
def _harmless_errors(ctx: click.Context | None = None) -> Iterator[None]:
    """Turn errors of ours, and of the system, into those of click, and make these `harmless`:
    they show what was typed, which may be a key. Ctrl-C ends a command without a word."""
    try:
        yield
    except KeyboardInterrupt:
        raise click.exceptions.Exit(INTERRUPTED) from None
    except click.ClickException as exc:
        said = exc.format_message()
        text = "\n".join(map(harmless, said.split("\n")))
        if text == said:
            raise
        if isinstance(exc, click.UsageError):
            raise click.UsageError(text, exc.ctx) from None
        is_plain = type(exc).__init__ is click.ClickException.__init__
        raise (type(exc) if is_plain else click.ClickException)(text) from None
    except (AxonAuditError, OSError) as exc:
        if isinstance(exc, OSError) and exc.errno == errno.EPIPE:  # `| head`: click handles it
            raise
        is_answer = ctx is not None and ctx.invoked_subcommand in _UNWRITTEN  # that 1 is one
        kind = NotAnswered if is_answer else click.ClickException
        raise kind(harmless(reason(exc))) from None
