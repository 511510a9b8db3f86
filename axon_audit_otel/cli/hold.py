"""The command of the command line that stops deletion: hold."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

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
@click.option("--reason", metavar="TEXT", help="Place a hold, and why.")
@click.option("--release", is_flag=True, help="Take the hold away.")
@click.option("--name", default="legal", show_default=True, help="Which hold, of several.")
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
    the applications' retention says. Who placed or released it, and why, is recorded there.
    Without --reason or --release: list the holds.
    """
    if reason is not None and release:
        raise click.UsageError("--reason places a hold, --release takes it away: which?")
    if reason is not None and not reason.strip():
        raise click.BadParameter("a hold needs one", param_hint="--reason")
    if reason is not None or release:
        check_archive(path)
        check_signing(path, signing_key)
        keys = keys_for(path, keys)
    if reason is not None:
        place_hold(path, reason, name)
        said: dict[str, Any] = {"state": "placed", "reason": reason.strip()}
        record(path, "hold", signing_key, keys, record="hold", hold=name, **said)
    elif release:
        do = partial(release_hold, path, name)
        if name not in holds(path):
            do()  # says so
        record(path, "hold", signing_key, keys, do, record="hold", hold=name, state="released")
    there = holds(path)
    if as_json:
        facts = {held: parts(why) for held, why in there.items()}
        print_json({"held": bool(there), "holds": facts})
        return
    if not there:
        click.echo("no hold: retention deletes what is due")
    for held, why in there.items():
        click.echo(f"held by {plain(held)!r}: {plain(_said(why))}")


def _said(text: str) -> str:
    """The text of a hold, with the time on the reader's clock."""
    told = parts(text)
    words = (told["reason"] or "no reason is given").splitlines()
    with suppress(ValueError):
        if told["placed_at"] is not None:
            at = datetime.fromisoformat(told["placed_at"].replace("Z", "+00:00"))
            words.append(f"placed {local(at)} by {told['placed_by']}")
    return "; ".join(words)
