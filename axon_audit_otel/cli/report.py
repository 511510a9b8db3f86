"""The command `report`: the report of a period, for auditors."""

from __future__ import annotations

import re
import shlex
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import click

from ..archive.checkpoints import SigningKey
from ..archive.directory import files_of
from ..core.errors import ArchiveError, escaped
from ..evidence.period import Period, month_named
from ..privacy.pseudonyms import Pseudonyms
from ..trail.setting_values import parse_signing_key
from ..trail.settings import Settings
from .access import Access, recorded_reading
from .options import (
    answering,
    check_ending,
    erasable_option,
    json_option,
    parsed,
    secret_option,
)
from .privacy import reader
from .render import amount, plain, print_json, reading_bar
from .trusted import NOTES, checkpoint_option, key_option, quorum_of, texts_of, witness_options

__all__ = ["report"]


def _output(_ctx: Any, _param: Any, output: Path) -> Path:
    if output.suffix[1:].isalpha() and not output.is_dir():  # it looks like a file
        check_ending(output.name, (".zip",), "; or name a new directory")
    return output


@click.command()
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--month", metavar="MONTH", help="The month to report: 2026-11, this or last.")
@click.option(
    "--from", "first", metavar="WHEN", help="Or from: 2026-11-01, 2026-11, 2026-11-01T10:30."
)
@click.option(
    "--to",
    "last",
    metavar="WHEN",
    help="Until then, inclusive: a day or a month counts to its end.",
)
@click.option(
    "--timezone",
    "zone",
    metavar="NAME",
    help="Time zone of the period, such as Europe/Berlin. Default: the local one.",
)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    callback=_output,
    help="Where to write it: a new directory, or a file whose name ends in .zip.",
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
    show_envvar=True,
    callback=parsed(parse_signing_key),
    help="Private key that signs the report. Without it, it is not signed.",
)
@erasable_option
@secret_option
@json_option
@recorded_reading(always=True, signs=True)
def report(
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
    reading: Access,
) -> None:
    """Make the report of a period, for an auditor.

    PATH is the directory of the archive. Verifies it, and writes what it says of the period to
    OUTPUT: a page, the same facts as JSON, tables, proofs of a sample, and a program that
    checks them. Give the public keys of the trail (--key), and checkpoints that were kept
    elsewhere (--checkpoint), so that completeness is proved, as `axon-audit verify` does.

    The same archive and arguments give the same bytes, and what is recorded after the period
    changes nothing.

    Exit codes: 0, the report is written and the period is complete; 1, it is written, and needs a
    person: damage, missing events, or not proved as it was asked for (standard error says
    what); 2, no report could be made.
    """
    from ..evidence.report import make_report  # slow to import

    ctx = click.get_current_context()
    with answering():
        period = _period(ctx.params, month, first, last, zone)
        policy = reader(path, erasable, pseudonyms=pseudonyms)
        with reading_bar("reading", _files(path)) as progress:
            facts = make_report(
                path,
                period,
                output,
                keys=[key for several in keys for key in several],
                checkpoints=texts_of(notes),
                quorum=quorum_of(witnesses, needed),
                policy=policy,
                erasable=erasable,
                knows_secret=pseudonyms is not None,
                decrypt=decrypt,
                signing_key=signing_key,
                command=_command(ctx, period),
                force=force,
                progress=progress,
                before_writing=partial(_count, reading, decrypt and policy.encrypts),
            )
    _print(facts, output, as_json)
    if _needs_a_person(facts, period):
        ctx.exit(1)


_SHOWN = 20


def _files(path: Path) -> list[Path]:
    """The files that will be read; none if there is no archive: `make_report` says so."""
    with suppress(ArchiveError):
        return files_of(path)
    return []


def _count(reading: Access, reveals: bool, facts: dict[str, Any]) -> None:
    """Count what was read: it counts, whatever happens from here on."""
    reading.events = facts["completeness"]["events"]
    reading.revealed = reading.events if reveals else 0


def _needs_a_person(facts: dict[str, Any], period: Period) -> bool:
    """Say on standard error what is not as it should be; return True if that needs a person."""
    if period.end_us > time.time() * 1e6:
        click.echo("the period is not over: what is recorded from now on is not in it", err=True)
    needs = facts["limits"]["needs_a_person"]
    for words in needs[:_SHOWN]:
        click.echo(f"needs a person: {plain(words)}", err=True)
    if len(needs) > _SHOWN:
        click.echo(f"and {len(needs) - _SHOWN:,} more: see completeness", err=True)
    return bool(needs)


def _period(
    given: dict[str, Any], month: str | None, first: str | None, last: str | None, zone: str | None
) -> Period:
    """The period that was asked for; *given* then names the month itself, for the report."""
    if month is not None:
        month = given["month"] = month_named(month, zone)
    if month is not None and first is None and last is None:
        if not re.fullmatch(r"\d{4}-\d\d", month):
            raise click.BadParameter(
                f"{month!r} is not a month: 2026-11, this, last", param_hint="--month"
            )
        return Period.of(month, None, zone)
    if month is None and first is not None and last is not None:
        return Period.of(first, last, zone)
    raise click.UsageError("give --month, or --from and --to")


def _command(ctx: click.Context, period: Period) -> str:
    """The command that makes the same report: no secret is in it, and not where it was written."""
    given = ctx.params
    words = ["axon-audit", "report", str(given["path"])]
    if given["month"] is not None:
        words += ["--month", given["month"]]
    else:
        said = period.facts()
        for name, moment in (("first", said["first"]), ("last", said["last"])):
            text = given[name].strip()  # "7d" means another time later
            option = "--from" if name == "first" else "--to"
            words += [option, text if re.match(r"\d{4}-", text) else moment]
    if period.zone_name is not None:
        words += ["--timezone", period.zone_name]
    for key in [key for several in given["keys"] for key in several]:
        words += ["--key", str(key)]
    for note in ctx.meta.get(NOTES, ()):
        words += ["--checkpoint", note]
    for witness in [witness for several in given["witnesses"] for witness in several]:
        words += ["--witness", str(witness)]
    if given["needed"] is not None:
        words += ["--witness-quorum", str(given["needed"])]
    if given["erasable"] is not None:
        words += ["--keys", str(given["erasable"])]
    words += ["--decrypt"] if given["decrypt"] else []
    line = shlex.join(map(escaped, words))
    line += " --pseudonymize @FILE" if given["pseudonyms"] is not None else ""
    line += " --signing-key FILE" if given["signing_key"] is not None else ""
    return f"{line} --output OUTPUT"


def _print(facts: dict[str, Any], output: Path, as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    complete, by = facts["completeness"], facts["proofs"]["signed_by"]
    signed = "NOT SIGNED (--signing-key)" if by is None else f"signed by {by.partition('+')[0]}"
    events, trails = complete["events"], len(complete["trails"])
    click.echo(f"report written to {plain(output)}; {signed}")
    click.echo(f"{amount(events, 'event')} of {amount(trails, 'trail')} in the period")
    if not complete["keys"]:
        click.echo("no key was given, so no signature was checked (--key)", err=True)
