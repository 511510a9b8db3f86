"""The pictures of pages in the docs: ``python tools/pictures.py`` takes them in Chromium, of the
demo's archive. Needs the extra `components`."""

from __future__ import annotations

import os
import shutil
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
    _run(directory, "audit_logs", "demo --output audit_logs")
    key = _public_key(directory / "audit_logs.key")
    of_month = f"--month {datetime.now(timezone.utc):%Y-%m} --timezone UTC --key {key}"
    shutil.copy(directory / "audit_logs" / "demo.checkpoints", directory / "kept.checkpoints")
    proved = f"{of_month} --checkpoint kept.checkpoints --signing-key audit_logs.key"
    report = f"report audit_logs {proved} --output report"
    yield _run(directory, "report/report.html", report)
    dossier = f"subject alice audit_logs --timezone UTC --key {key} --output dossier.html"
    yield _run(directory, "dossier.html", dossier)


def _public_key(path: Path) -> str:
    from axon_audit_otel.trail.setting_values import parse_signing_key

    return str(parse_signing_key(str(path)).verifying)


def _run(directory: Path, output: str, command: str) -> Path:
    """Run a command of ours there, so that a page shows no path of this machine."""
    program = [sys.executable, "-m", "axon_audit_otel", *command.split()]
    environment = {**os.environ, "PYTHONPATH": str(PICTURES.parent.parent)}
    done = subprocess.run(  # noqa: S603 # our own commands
        program, cwd=directory, env=environment, capture_output=True
    )
    if not (directory / output).exists():
        raise SystemExit(f"{command}\n{done.stderr.decode()}")
    return directory / output


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
