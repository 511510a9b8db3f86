"""What the command line needs of privacy: the key of pseudonyms, and the command pseudonym."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from .config import Settings, parse_secret
from .privacy import identifier
from .pseudonym import Pseudonyms

__all__ = ["pseudonym", "secret_option"]


def _secret(_ctx: Any, _param: Any, value: str | None) -> Pseudonyms | None:
    if not value:
        return None
    try:
        return parse_secret(value)
    except ValueError as exc:
        raise click.BadParameter(str(exc)) from None


#: The secret that ids were hashed with; `Query.under` takes it.
secret_option = click.option(
    "--pseudonymize",
    "pseudonyms",
    metavar="@FILE",
    envvar=Settings.variable("pseudonymize"),
    callback=_secret,
    help="The secret that the ids were hashed with.",
)


@click.command()
@click.argument("user")
@click.option("--session", is_flag=True, help="It is a session's id.")
@secret_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def pseudonym(user: str, session: bool, pseudonyms: Pseudonyms | None, as_json: bool) -> None:
    """Print what stands for a user's id: its user.hash.

    For whoever looks for a user in traces and logs: USER as it was given to the
    application, and the secret as in its setting pseudonymize.
    """
    if pseudonyms is None:
        msg = f"the secret is missing: give --pseudonymize or {Settings.variable('pseudonymize')}"
        raise click.UsageError(msg)
    real = identifier(user)
    hashed = pseudonyms.session(real) if session else pseudonyms.user(real)
    if as_json:
        click.echo(msgspec.json.encode({"user.hash" if not session else "session.id": hashed}))
    else:
        click.echo(hashed)
