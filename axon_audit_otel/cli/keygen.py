"""The command line: keygen."""

from __future__ import annotations

import os
import re
from pathlib import Path

import click

from ..archive.checkpoints import SigningKey, new_key
from ..core.files import open_owned
from .options import json_option
from .render import plain, print_json

__all__ = ["keygen", "write_key"]


@click.command()
@click.argument("name")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the private key; it must not exist. Default: NAME.key.",
)
@json_option
def keygen(name: str, output: Path | None, as_json: bool) -> None:
    """Make a key that signs checkpoints.

    The private key goes to a file that only you can read, for the application's
    signing_key (or AXON_AUDIT_SIGNING_KEY). Its public half is printed: one line, for
    whoever verifies. NAME says whose signature it is; no spaces, no plus signs.
    """
    key = new_key(name)
    target = output or Path(re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") + ".key")
    try:
        write_key(key, target)
    except FileExistsError:
        msg = f"{str(target)!r} exists: a key is never overwritten"
        raise click.ClickException(msg) from None
    except OSError as exc:
        raise click.ClickException(f"cannot write {str(target)!r}: {exc.strerror}") from exc
    if as_json:
        print_json({"name": name, "path": str(target), "public_key": str(key.verifying)})
        return
    click.echo(f"private key written to {plain(target)}; the public key is", err=True)
    click.echo(str(key.verifying))


def write_key(key: SigningKey, path: Path) -> None:
    """Write a private key to a new file that only its owner reads, whole or not at all.

    Raises:
        OSError: If that failed, or there is a file already.
    """
    descriptor = open_owned(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{key.line()}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise
