"""The command `hold`: stops retention from deleting files."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import click

from ..archive.checkpoints import SigningKey
from ..archive.holds import holds, parts, place_hold, release_hold
from ..events.localtime import local
from .admin_events import check_archive, check_signing, keys_for, record
from .options import json_option, keys_option, path_argument, signing_option
from .render import plain, print_json

__all__ = ["hold"]


@click.command()
@path_argument
@click.option("--reason", metavar="TEXT", help="Place a hold for this reason.")
@click.option("--release", is_flag=True, help="Remove the hold.")
@click.option("--name", default="legal", show_default=True, help="Name of the hold.")
@signing_option
@keys_option
@json_option
def hold(
    path: Path,
    reason: str | None,
    release: bool,
    name: str,
    signing_key: SigningKey | None,
    keys: Path | None,
    as_json: bool,
) -> None:
    """Stop retention from deleting anything (a legal hold).

    While PATH, a directory of audit files, has a hold, nothing in it is deleted, whatever
    the applications' retention says. An event in it records who placed or released the hold,
    and why. Without --reason or --release: list the holds.
    """
    if reason is not None and release:
        raise click.UsageError("--reason places a hold, --release removes it: give one of them")
    if reason is not None and not reason.strip():
        raise click.BadParameter("a hold needs a reason", param_hint="--reason")
    if reason is not None or release:
        check_archive(path)
        check_signing(path, signing_key)
        keys = keys_for(path, keys)
    note = partial(record, path, "hold", signing_key, keys, record="hold", hold=name)
    if reason is not None:
        place_hold(path, reason, name)
        note(state="placed", reason=reason.strip())
    elif release:
        do = partial(release_hold, path, name)
        if name not in holds(path):
            do()  # raises the error
        note(do, state="released")
    found = holds(path)
    if as_json:
        described = {held: parts(text) for held, text in found.items()}
        print_json({"held": bool(found), "holds": described})
        return
    if not found:
        click.echo("no hold: retention deletes what is due")
    for held, text in found.items():
        click.echo(f"held by {plain(held)!r}: {plain(_in_words(text))}")


def _in_words(text: str) -> str:
    """The text of a hold, with its time as local time."""
    held = parts(text)
    words = (held["reason"] or "no reason is given").splitlines()
    with suppress(ValueError):
        if held["placed_at"] is not None:
            at = datetime.fromisoformat(held["placed_at"].replace("Z", "+00:00"))
            words.append(f"placed {local(at)} by {held['placed_by']}")
    return "; ".join(words)
