"""`verify --store`: compares an archive with a store that its events were sent to."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..core.units import seconds
from ..trail.settings import Settings
from ..verification.report import Verdict
from .options import parsed
from .render import console, print_json
from .shipping import event_bar, opened_store, print_arrival

__all__ = ["store_keeps_option", "store_option", "verify_with_store"]

store_option = click.option(
    "--store",
    metavar="URL",
    help="Compare with this store: victorialogs+http://HOST:9428,"
    " clickhouse+http://HOST:8123/DATABASE?table=TABLE, or +https.",
)
store_keeps_option = click.option(
    "--store-keeps",
    metavar="TIME",
    callback=parsed(seconds),
    help="How long the store keeps an event (30d). Default: what the store says.",
)


def verify_with_store(directory: Path, url: str, as_json: bool, **asked: Any) -> Verdict:
    """Compare an archive with the store at *url*, print the report, and return the verdict.

    Args:
        directory: The archive.
        url: The store.
        as_json: Print the report as JSON.
        asked: The further arguments of `verify_store`.
    """
    from ..shipping.store_report import verify_store

    store = opened_store(url)
    largest = Settings.one("ship_event_bytes")
    try:
        with event_bar(f"comparing with {store.place}") as progress:
            report = verify_store(directory, store, largest=largest, progress=progress, **asked)
    finally:
        store.close()
    if as_json:
        print_json(report.to_dict())
    else:
        print_arrival(report, True, console())
        if not asked["bodies"]:
            click.echo("Compared were the hashes that the store names; with --full, bodies too.")
    return report.verdict
