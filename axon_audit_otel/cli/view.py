"""The command `view`: a local page over an archive."""

from __future__ import annotations

import secrets
import signal
import threading
import webbrowser
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..archive.directory import files_of
from ..core.errors import ArchiveError
from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import Pseudonyms
from .export import export_events
from .options import erasable_option, path_argument, secret_option
from .privacy import reader
from .proof import checkpoint_option, key_option, texts_of
from .render import details, plain, without_ciphers

__all__ = ["view"]

_HOSTS = ("127.0.0.1", "localhost", "::1")


@click.command()
@path_argument
@click.option("--host", type=click.Choice(_HOSTS), default=_HOSTS[0], show_default=True)
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=0,
    help="Default: a free one.",
)
@click.option("--open/--no-open", "opens", default=True, help="Open it in the browser, or not.")
@click.option("--decrypt", is_flag=True, help="Decrypt personal data; needs --keys.")
@erasable_option
@secret_option
@key_option
@checkpoint_option
def view(
    path: Path,
    host: str,
    port: int,
    opens: bool,
    decrypt: bool,
    keys: Path | None,
    pseudonyms: Pseudonyms | None,
    verifying: Any,
) -> None:
    """Look at an archive in the browser.

    Serves pages over PATH on this machine, until Ctrl-C: a timeline, filters, each event with
    its chain, its trace and the lineage of its entries, and how far the archive is verified.
    Only the address that is printed opens them: it has a secret token. Nothing can be changed.

    With --key, signatures are checked. Personal data is shown as it was recorded; with
    --decrypt and --keys, as far as there are keys.
    """
    if decrypt and keys is None:
        raise click.UsageError("--decrypt needs --keys: the directory of the keys")
    with suppress(ArchiveError):
        files_of(path)
    if not path.exists():
        raise click.ClickException(f"no such file or directory: {plain(path)!r}")
    try:
        from ..viewer.app import Background, Words, application
        from ..viewer.background import Follow, GiveWay, Verification
        from ..viewer.reading import Reading
        from ..viewer.server import bound, server_of
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in ("flask", "werkzeug", "jinja2", "markupsafe"):
            raise
        msg = "the pages need Flask: pip install 'axon-audit-otel[view]'"
        raise click.ClickException(msg) from exc
    policy = reader(path, keys, pseudonyms=pseudonyms) if decrypt else _hashed(pseudonyms)
    at = bound(host, port)
    number = at.getsockname()[1]
    token = secrets.token_urlsafe(32)
    give_way = GiveWay()
    follow = Follow(path, policy, give_way)
    verification = Verification(
        path, [k for some in verifying for k in some], keys, follow, give_way
    )
    reading = Reading(path, policy, pseudonyms, follow)
    words = Words(details, without_ciphers, export_events)
    hosts = {f"{name}:{number}" for name in ("127.0.0.1", "localhost", "[::1]")}
    app = application(reading, Background(follow, verification, give_way), words, token, hosts)
    server = server_of(app, at)
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{number}/?token={token}"
    click.echo(url)
    click.echo("Ctrl-C ends it", err=True)
    follow.start()
    verification.start()
    if opens:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    server.serve_forever()


def _hashed(pseudonyms: Pseudonyms | None) -> PrivacyPolicy:
    return PrivacyPolicy(pseudonyms=pseudonyms)
