"""The pictures of pages in the docs: ``python tools/pictures.py`` takes them in Chromium, of the
demo's archive. Needs the extra `components`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from playwright.sync_api import Browser

from dashboards.preview.browser import chromium

__all__ = ["PICTURES", "pages", "take"]

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "pictures"
_WIDTH, _HEIGHT = 1000, 1280  # pixels


def pages(directory: Path) -> Iterator[Path]:
    """Make the demo's archive in *directory*, and of it each page that the docs show."""
    _run(directory, "demo", "--output", "audit_logs")
    key = _public_key(directory / "audit_logs.key")
    month = f"{datetime.now(timezone.utc):%Y-%m}"
    report = f"report audit_logs --month {month} --timezone UTC --output report"
    _run(directory, *report.split(), "--key", key, "--signing-key", "audit_logs.key")
    yield directory / "report" / "report.html"
    dossier = "subject dormouse audit_logs --timezone UTC --output dossier.html"
    _run(directory, *dossier.split(), "--key", key)
    yield directory / "dossier.html"


def _public_key(path: Path) -> str:
    from axon_audit_otel.trail.settings import parse_signing_key

    return str(parse_signing_key(str(path)).verifying)


def _run(directory: Path, *words: str) -> None:
    """Run a command of ours there: the page shows no path of this machine."""
    root = str(PICTURES.parent.parent)
    program = [sys.executable, "-m", "axon_audit_otel", *words]
    done = subprocess.run(  # noqa: S603 # our own commands
        program, cwd=directory, env={**os.environ, "PYTHONPATH": root}, capture_output=True
    )
    if done.returncode not in (0, 1):  # 1: something needs a person
        raise SystemExit(done.stderr.decode())


def take(browser: Browser, page: Path, picture: Path) -> None:
    """The begin of a page as PNG."""
    with browser.new_page(viewport={"width": _WIDTH, "height": _HEIGHT}) as shown:
        shown.goto(page.as_uri())
        shown.screenshot(path=picture)


def main() -> None:
    """Take all of them."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as directory, chromium() as browser:
        for page in pages(Path(directory)):
            picture = PICTURES / f"{page.stem}.png"
            take(browser, page, picture)
            print(f"{picture.name}: {picture.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
