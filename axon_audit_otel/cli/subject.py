"""The command `subject`: the dossier of one person."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timezone, tzinfo
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import click

from ..core.files import write_file
from ..evidence.dossier import Dossier, make_dossier
from ..evidence.dossier_files import as_csv, as_json
from ..evidence.dossier_limits import NEEDS_A_PERSON
from ..evidence.dossier_page import as_html
from ..evidence.dossier_reading import PARTS
from ..evidence.dossier_words import limit_words
from ..privacy.erased_tokens import keys_of
from ..privacy.pseudonyms import Pseudonyms
from .access import Access, recorded_reading
from .options import (
    NotAnswered,
    answering,
    check_ending,
    erasable_option,
    json_option,
    secret_option,
)
from .privacy import reader
from .render import amount, console, plain, print_json
from .trusted import checkpoint_option, key_option, texts_of

__all__ = ["subject"]

_FORMATS = {".html": "html", ".htm": "html", ".json": "json", ".csv": "csv"}


def _zone(_ctx: Any, _param: Any, value: str | None) -> tzinfo | None:
    if value is None:
        return None
    try:
        return ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        msg = f"{value!r} is not a time zone: use a name such as Europe/Berlin, or UTC"
        raise click.BadParameter(msg) from None


@click.command()
@click.argument("user")
@click.argument("path", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "out", metavar="FILE", required=True, help="Where to write it; - prints."
)
@click.option(
    "--format",
    "form",
    type=click.Choice(["html", "json", "csv"], case_sensitive=False),
    help="Default: what the name FILE ends with; html if it has no ending.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
@click.option("--show-actors", is_flag=True, help="Name who acted, instead of staff 1, staff 2.")
@click.option(
    "--timezone",
    "zone",
    metavar="NAME",
    callback=_zone,
    help="Time zone of the times shown, such as Europe/Berlin. Default: the local one. JSON"
    " has UTC.",
)
@key_option
@checkpoint_option
@erasable_option
@secret_option
@json_option
@recorded_reading(always=True)
def subject(
    user: str,
    path: Path,
    out: str,
    form: str | None,
    force: bool,
    show_actors: bool,
    zone: tzinfo | None,
    keys: Any,
    notes: Any,
    erasable: Path | None,
    pseudonyms: Pseudonyms | None,
    as_json: bool,
    reading: Access,
) -> None:
    """Make the dossier of one person.

    For a request of access (GDPR Art. 15), or an accounting of disclosures (HIPAA): what is on
    record in DIR, the directory of an archive, about USER: what is held, who read it, when and
    why, where it went, what was deleted, how long it is kept, and what cannot be known. It shows
    nobody else's data. A page shows the newest of long lists; JSON and CSV have all. With
    --json: what was written, and what could not be known (with FILE -, on standard error).

    Exit codes: 0, it is whole; 1, something could not be known that needs a person (standard
    error says what); 2, there is no dossier.
    """
    name = form or _form_of(out)
    target = None if out == "-" else _checked(Path(out), path, erasable, force)
    if not user:
        raise NotAnswered("USER is empty")
    with answering(), _progress() as progress:
        policy = reader(path, erasable, pseudonyms=pseudonyms)
        made = make_dossier(
            path,
            user,
            policy,
            [key for several in keys for key in several],
            texts_of(notes),
            erasable=erasable,
            show_actors=show_actors,
            zone=timezone.utc if name == "json" else zone,
            progress=progress,
        )
        with made:
            reading.events = _events(made)
            reading.revealed = reading.events if policy.encrypts else 0
            reading.facts |= {"format": name, "show_actors": show_actors}
            content = _content(made, name, zone)
            if target is not None:
                write_file(content, target)
            else:
                sys.stdout.buffer.writelines(content)
                sys.stdout.buffer.flush()
    if as_json:
        print_json({"path": out, "format": name, **_told(made)}, err=target is None)
    else:
        _tell(made, target)
    if made.needs_a_person():
        click.get_current_context().exit(1)


def _form_of(name: str) -> str:
    check_ending(name, _FORMATS, ", or --format")
    return _FORMATS.get(Path(name).suffix.lower(), "html")


def _content(made: Dossier, name: str, zone: tzinfo | None) -> Iterator[bytes]:
    if name == "json":
        return as_json(made)
    if name == "csv":
        return as_csv(made)
    clock = "the clock of the computer that made this page" if zone is None else str(zone)
    return iter([as_html(made, clock).encode()])


def _events(made: Dossier) -> int:
    """How many events it is made of."""
    numbers = made.facts["numbers"]
    return sum(number for part, number in numbers.items() if part in PARTS)


def _told(made: Dossier) -> dict[str, Any]:
    """What a program is told of a dossier."""
    facts = {name: made.facts[name] for name in ("person", "numbers", "limits")}
    return {**facts, "needs_a_person": made.needs_a_person()}


def _tell(made: Dossier, target: Path | None) -> None:
    """Say what was written, and what needs a person."""
    events = _events(made)
    if target is not None:
        who = plain(made.facts["person"]["id"])
        click.echo(f"dossier of {who}, of {amount(events, 'event')}, written to {plain(target)}")
    if not made.facts["person"]["on_record"]:
        click.echo("nothing that could be read is on record about this person", err=True)
    for point in made.facts["limits"]:
        if point["kind"] in NEEDS_A_PERSON:
            click.echo(f"needs a person: {plain(limit_words(point))}", err=True)


def _checked(out: Path, path: Path, keys: Path | None, force: bool) -> Path:
    """The file to write: none of the archive, and replaced only with *force*.

    Raises:
        NotAnswered: If *out* cannot be used.
    """
    target, name = Path(os.path.realpath(out)), repr(str(out))
    for place in (path, keys or keys_of(path)):
        if Path(os.path.realpath(place)) in target.parents:
            raise NotAnswered(
                plain(f"{name} would be inside of {str(place)!r}: write it elsewhere")
            )
    if target.exists() and not target.is_file():
        raise NotAnswered(plain(f"{name} is not a regular file"))
    if target.exists() and not force:
        raise NotAnswered(plain(f"{name} exists: --force replaces it"))
    return target


@contextmanager
def _progress() -> Iterator[Callable[[str, int], None]]:
    """Tells on a terminal how much is read."""
    to = console(stderr=True)
    if not to.is_interactive:
        yield lambda what, number: None
        return
    read = 0
    with to.status("verifying the archive") as status:

        def tell(what: str, number: int) -> None:
            nonlocal read
            if what == "bytes":
                read += number
                status.update(f"verifying: {read / 1e6:,.0f} MB")
            else:
                status.update(f"reading: {number:,} events")

        yield tell
