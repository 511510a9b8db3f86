"""The command `view`: a local page over an archive."""

from __future__ import annotations

import os
import signal
import sys
import threading
import webbrowser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..privacy.policy import PrivacyPolicy
from ..privacy.pseudonyms import Pseudonyms
from .access import Access, recorded_reading
from .event_words import details, without_ciphers
from .export import export_events
from .options import (
    NotAnswered,
    erasable_option,
    json_option,
    path_argument,
    reason,
    secret_option,
)
from .privacy import reader
from .render import plain, print_json
from .trusted import checkpoint_option, key_option, texts_of

if TYPE_CHECKING:
    from ..viewer.app import Words
    from ..viewer.viewer import Viewer

__all__ = ["view"]

_HOSTS = ("127.0.0.1", "localhost", "::1")
_FIRST_PAGE_S = 1.0  # until the browser has asked for it, and it is made
_OURS = ("flask", "werkzeug", "jinja2", "markupsafe")


@click.command()
@path_argument
@click.option(
    "--host",
    type=click.Choice(_HOSTS),
    default=_HOSTS[0],
    show_default=True,
    help="This machine only: no other machine can see the pages.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="0: a free one.")
@click.option(
    "--open/--no-open", "opens", default=True, help="Whether to open the page in the browser."
)
@click.option("--decrypt", is_flag=True, help="Show personal data decrypted; needs --keys.")
@erasable_option
@secret_option
@key_option
@checkpoint_option
@json_option
@recorded_reading()
def view(
    path: Path,
    host: str,
    port: int,
    opens: bool,
    decrypt: bool,
    erasable: Path | None,
    pseudonyms: Pseudonyms | None,
    keys: Any,
    notes: Any,
    as_json: bool,
    reading: Access,
) -> None:
    """Look at an archive in the browser.

    Serves pages over PATH on this machine until Ctrl-C: a timeline, filters, each event with
    its chain, its trace and the lineage of its entries, and how far the archive is verified.
    Only the printed address opens them: it has a secret token. Nothing can be changed there.

    With --key, the signatures of checkpoints are verified. Personal data is shown as it was
    recorded; with --decrypt and --keys, as far as there are keys.
    """
    if decrypt and erasable is None:
        raise click.UsageError("--decrypt needs --keys DIR")
    if not (path.is_dir() or path.is_file()):
        raise NotAnswered(f"{str(path)!r} is no archive, and no file of one")
    viewer_of, words_of = _loaded()
    policy = reader(path, erasable, pseudonyms=pseudonyms) if decrypt else None
    texts = texts_of(notes)
    try:
        viewer = viewer_of(
            path,
            words_of(details, without_ciphers, export_events),
            host,
            port,
            policy=policy or PrivacyPolicy(pseudonyms=pseudonyms),
            pseudonyms=pseudonyms,
            keys=[key for several in keys for key in several],
            checkpoints=texts,
            erasable=erasable,
            shown=reading.shown,
        )
    except OSError as exc:
        msg = f"cannot listen at {host}, port {port}: {plain(reason(exc))}"
        raise click.ClickException(msg) from exc
    reading.begin()
    if as_json:
        print_json({"url": viewer.url})
    else:
        click.echo(viewer.url)
        click.echo("(Ctrl-C ends it)", err=True)
    if opens and _has_screen():
        threading.Thread(target=webbrowser.open, args=(viewer.opening_url,), daemon=True).start()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    viewer.start(_FIRST_PAGE_S)
    viewer.serve()


def _loaded() -> tuple[type[Viewer], type[Words]]:
    try:
        from ..viewer.app import Words
        from ..viewer.viewer import Viewer
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] not in _OURS:
            raise
        msg = "the pages need Flask: pip install 'axon-audit-otel[view]'"
        raise click.ClickException(msg) from exc
    return Viewer, Words


def _has_screen() -> bool:
    """Return False where only a browser in this terminal could be opened."""
    names = ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")
    return sys.platform in ("win32", "darwin") or any(map(os.environ.get, names))
