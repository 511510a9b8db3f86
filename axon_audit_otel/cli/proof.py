"""The command line: prove."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Any

import click
import msgspec

from ..core.content import content_of
from ..core.errors import shown
from ..core.files import write_file
from ..verification.consistency_proof import prove_consistency
from ..verification.inclusion_proof import prove as make_proof
from .options import json_option, path_argument
from .render import plain, print_json
from .trusted import LONGEST_PIPE, CheckpointText

__all__ = ["prove"]


def _print_script(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        script = resources.files(__package__).joinpath("data/verify_proof.py")
        click.echo(script.read_text("utf-8"), nl=False)
        ctx.exit()


@click.command()
@click.argument("about", metavar="EVENT_ID", nargs=-1)
@path_argument
@click.option(
    "--consistency",
    is_flag=True,
    help="Prove that the trail only grew: in place of EVENT_ID, OLD [NEW].",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the proof; it must not exist. Default: it is printed.",
)
@click.option(
    "--checkpoint",
    type=CheckpointText(),
    help="The signed checkpoint to prove it by. Default: the newest beside the archive.",
)
@click.option(
    "--script",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_script,
    help="Print the program that checks proofs (needs no axon-audit), and exit.",
)
@json_option
def prove(
    about: tuple[str, ...],
    path: Path,
    consistency: bool,
    output: Path | None,
    checkpoint: Any,
    as_json: bool,
) -> None:
    """Write a proof that one event is in the trail.

    The proof is JSON. A third party checks it without the archive, by the public key
    alone, with the program that --script prints:

    \b
    axon-audit prove --script > verify_proof.py
    python3 verify_proof.py PROOF KEY

    With --consistency, a proof that nothing of the trail was changed or removed between two
    checkpoints, for whoever has kept the older one: OLD and NEW are files with signed
    checkpoints, of which the newest counts; NEW can be left out, or `newest`: the newest beside
    the archive.

    \b
    axon-audit prove --consistency OLD [NEW] PATH
    """
    if output is not None and output.exists():
        raise click.ClickException(f"{str(output)!r} exists")
    if consistency:
        if checkpoint is not None or not 1 <= len(about) <= 2:
            raise click.UsageError("--consistency takes OLD [NEW] PATH, and no --checkpoint")
        old, *newer = [None if name == "newest" else _text_in(name) for name in about]
        if old is None:
            raise click.UsageError("OLD is a file with the checkpoint that was kept")
        proof = prove_consistency(path, old, *newer)
        what = {"old": about[0]}
    else:
        if len(about) != 1:
            raise click.UsageError("one EVENT_ID, and the PATH of the archive")
        proof = make_proof(path, about[0], None if checkpoint is None else checkpoint.read())
        what = {"event_id": about[0]}
    if output is None:
        print_json(proof)
        return
    write_file([msgspec.json.format(msgspec.json.encode(proof), indent=2), b"\n"], output)
    if as_json:
        print_json({"path": str(output), **what})
    else:
        click.echo(f"proof written to {plain(output)}")


def _text_in(name: str) -> str:
    """The text of a file of checkpoints."""
    try:
        content = content_of(Path(name), LONGEST_PIPE, anywhere=True)
    except OSError as exc:
        raise click.ClickException(f"cannot read {shown(name)}: {exc.strerror}") from exc
    return content.decode("utf-8", "replace")
