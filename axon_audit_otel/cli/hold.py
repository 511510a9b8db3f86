"""The command `hold`: stops retention from deleting files."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from functools import partial
from pathlib import Path

import click

from ..archive.checkpoints import SigningKey
from ..archive.holds import (
    holds,
    in_force,
    parts,
    periods,
    place_hold,
    recorded_holds,
    release_hold,
)
from ..core.errors import archive_errors
from ..events.localtime import local
from .admin_events import check_archive, check_signing, keys_for, record
from .options import archive_argument, json_option, keys_option, signing_option
from .render import plain, print_json

__all__ = ["hold"]


@click.command()
@archive_argument
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

    While PATH, a directory of audit files, has a hold, nothing in it is deleted or erased,
    whatever the retention of the applications says. Who placed or released it, and why, is
    recorded as an event. A hold lasts until its release is recorded, even if somebody removes
    its file. Without --reason or --release: list the holds.
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
        if name not in in_force(path):
            do()  # raises the error
        note(do, state="released")
    found = _found(path)
    if as_json:
        print_json({"held": bool(found), "holds": found})
        return
    if not found:
        click.echo("no hold: retention deletes what is due")
    for held, facts in found.items():
        click.echo(f"held by {plain(held)!r}: {plain(_in_words(facts))}")
        if held not in holds(path):
            click.echo("its file is gone; the hold is in force until --release", err=True)


def _found(path: Path) -> dict[str, dict[str, str | None]]:
    """The parts of the text of each hold in force; if its file is gone, as its record says."""
    found = {held: parts(text) for held, text in holds(path).items()}
    with archive_errors(path):
        records = recorded_holds(path)
    for placed in (period.placed for period in periods(records) if period.released is None):
        facts = {"reason": placed.reason or None, "placed_at": placed.time, "placed_by": None}
        found.setdefault(placed.name, facts)
    return found


def _in_words(facts: dict[str, str | None]) -> str:
    """The parts of a hold's text, with its time as local time."""
    words = (facts["reason"] or "no reason is given").splitlines()
    with suppress(ValueError):
        if facts["placed_at"] is not None:
            at = datetime.fromisoformat(facts["placed_at"].replace("Z", "+00:00"))
            by = "" if facts["placed_by"] is None else f" by {facts['placed_by']}"
            words.append(f"placed {local(at)}{by}")
    return "; ".join(words)
