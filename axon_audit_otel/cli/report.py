"""The command `report`: the report of a period, for auditors."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..archive.checkpoints import SigningKey
from ..archive.directory import files_of
from ..core.errors import ArchiveError
from ..evidence.period import Period
from ..evidence.report import make_report
from ..privacy.pseudonyms import Pseudonyms
from ..trail.settings import Settings, parse_signing_key
from .options import (
    answering,
    erasable_option,
    json_option,
    parsed,
    secret_option,
)
from .privacy import reader
from .proof import checkpoint_option, key_option, quorum_of, texts_of, witness_options
from .render import plain, print_json, reading_bar

__all__ = ["report"]


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--month", metavar="MONTH", help="2026-11: the period is that month.")
@click.option("--from", "first", metavar="WHEN", help="2026-11-01, 2026-11, 2026-11-01T10:30.")
@click.option("--to", "last", metavar="WHEN", help="As --from; included, to a day's end.")
@click.option(
    "--timezone", "zone", metavar="NAME", help="Where that is: Europe/Berlin. Default: local."
)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    help="A new directory; or a file, if its name ends in .zip.",
)
@click.option("--force", is_flag=True, help="Replace a report at OUTPUT.")
@key_option
@checkpoint_option
@witness_options
@click.option(
    "--decrypt", is_flag=True, help="Show ids and purposes in clear where they are encrypted."
)
@click.option(
    "--signing-key",
    metavar="FILE",
    envvar=Settings.variable("signing_key"),
    callback=parsed(parse_signing_key),
    help="Private key that signs the report. Without it, it is not signed.",
)
@erasable_option
@secret_option
@json_option
@click.pass_context
def report(
    ctx: click.Context,
    path: Path,
    month: str | None,
    first: str | None,
    last: str | None,
    zone: str | None,
    output: Path,
    force: bool,
    keys: Any,
    notes: Any,
    witnesses: Any,
    needed: int | None,
    decrypt: bool,
    signing_key: SigningKey | None,
    erasable: Path | None,
    pseudonyms: Pseudonyms | None,
    as_json: bool,
) -> None:
    """Make the report of a period, for an auditor."""
    with answering():
        period = _period(month, first, last, zone)
        policy = reader(path, erasable, pseudonyms=pseudonyms)
        files: list[Path] = []
        with suppress(ArchiveError):  # there is none: `make_report` says so
            files = files_of(path)
        with reading_bar("reading", files) as progress:
            facts = make_report(
                path,
                period,
                output,
                keys=[key for several in keys for key in several],
                checkpoints=texts_of(notes),
                quorum=quorum_of(witnesses, needed),
                policy=policy,
                erasable=erasable,
                decrypt=decrypt,
                signing_key=signing_key,
                force=force,
                progress=progress,
            )
    if as_json:
        print_json(facts)
    else:
        click.echo(f"report written to {plain(output)}")


def _period(month: str | None, first: str | None, last: str | None, zone: str | None) -> Period:
    if month is not None and first is None and last is None:
        return Period.of(month, None, zone)
    if month is None and first is not None and last is not None:
        return Period.of(first, last, zone)
    raise click.UsageError("give --month, or --from and --to")
