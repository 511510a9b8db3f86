"""The command `receipt`: a signed statement for a person whose data was erased."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import click

from ..archive.checkpoints import SigningKey
from ..core.errors import AxonAuditError
from ..core.files import write_file
from ..evidence.receipt import as_html, as_text
from ..privacy.pseudonyms import Pseudonyms
from ..trail.setting_values import parse_signing_key
from ..trail.settings import Settings
from ..verification.receipt import facts_of, make_receipt, open_points
from .access import Access, recorded_reading
from .options import (
    NotAnswered,
    json_option,
    keys_option,
    parsed,
    path_argument,
    reason,
    secret_option,
)
from .privacy import reader
from .render import amount, console, plain, print_json

__all__ = ["receipt"]


@click.command()
@click.argument("event")
@path_argument
@click.option("--subject", metavar="ID", help="The person whom the receipt is for.")
@click.option(
    "--html",
    "page",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write it as a page for people to this new file.",
)
@click.option(
    "--decrypt", is_flag=True, help="Say who asked for it, and why, where that is encrypted."
)
@click.option(
    "--signing-key",
    metavar="FILE",
    envvar=Settings.variable("signing_key"),
    show_envvar=True,
    callback=parsed(parse_signing_key),
    help="Private key of the trail, to sign the receipt. Without it, it is not signed.",
)
@keys_option
@secret_option
@json_option
@recorded_reading(signs=True)
def receipt(
    event: str,
    path: Path,
    subject: str | None,
    page: Path | None,
    decrypt: bool,
    signing_key: SigningKey | None,
    keys: Path | None,
    pseudonyms: Pseudonyms | None,
    as_json: bool,
    reading: Access,
) -> None:
    """Make a receipt for a person whose data was erased.

    EVENT is the id of a FORGET, or of the AUDIT event of an erasure of keys, in PATH, the
    directory of the archive. The receipt says what was deleted, when and on whose request, how
    that was checked, what remains, and what cannot be known; the proof that it is on record
    belongs to it. With --json it is one object, which the program of `axon-audit prove
    --script` verifies:

    \b
    axon-audit receipt EVENT PATH --json > receipt.json
    python3 verify_proof.py receipt.json KEY

    Exit codes: 0, nothing remains; 1, something remains, or is not known, that needs a person
    (standard error says what); 2, no receipt could be made.
    """
    if page is not None and page.exists():
        raise NotAnswered(f"{str(page)!r} exists")
    try:
        policy = reader(path, keys, pseudonyms=pseudonyms)
        made = make_receipt(path, event, policy, signing_key, subject_id=subject, decrypt=decrypt)
        reading.events, reading.revealed = 1, int(decrypt and policy.encrypts)
        if page is not None:
            write_file([as_html(made).encode()], page)
        _print(made, page, as_json)
    except (AxonAuditError, OSError) as exc:
        if isinstance(exc, OSError) and exc.errno == errno.EPIPE:  # `| head`: click handles it
            raise
        raise NotAnswered(reason(exc)) from None
    points = _told(made)
    if points:
        click.echo(f"needs a person: {', '.join(points)}", err=True)
        click.get_current_context().exit(1)


def _print(made: dict[str, Any], page: Path | None, as_json: bool) -> None:
    if as_json:
        print_json(made)
    elif page is None:
        click.echo(as_text(made, console().width), nl=False)
    else:
        click.echo(f"receipt written to {plain(page)}")
    persons = len(set(facts_of(made)["event"].get("subjects", ())))
    if persons > 1:
        said = f"this receipt names {amount(persons, 'person')}, as its proof does"
        click.echo(f"{said}: look whom you give it to", err=True)


def _told(made: dict[str, Any]) -> list[str]:
    return [point.replace("_", " ") for point in open_points(made)]
