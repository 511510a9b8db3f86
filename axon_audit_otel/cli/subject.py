"""The command `subject`: the dossier of one person."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from ..core.files import write_file
from ..evidence.dossier import Dossier, make_dossier
from ..privacy.pseudonyms import Pseudonyms
from .options import NotAnswered, answering, keys_option, secret_option
from .privacy import reader
from .render import console, plain

__all__ = ["subject"]


@click.command()
@click.argument("user")
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--output", "out", metavar="FILE", required=True)
@click.option("--show-actors", is_flag=True)
@click.option("--key", "given", multiple=True)
@keys_option
@secret_option
@click.pass_context
def subject(ctx: click.Context, user: str, path: Path, out: str, show_actors: bool,
    given: tuple[str, ...], keys: Path | None, pseudonyms: Pseudonyms | None) -> None:
    """Make the dossier of one person."""
    with answering():
        policy = reader(path, keys, pseudonyms=pseudonyms)
        made = make_dossier(path, user, policy, given, show_actors=show_actors)
        if out == "-":
            sys.stdout.buffer.writelines(made.json_lines())
        else:
            write_file(made.json_lines(), Path(out))
    points = made.needs_a_person()
    if points:
        click.echo(f"needs a person: {', '.join(points)}", err=True)
        ctx.exit(1)
