"""The page that draws a dashboard: built by npm, served with what takes Loki's place."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from .loki import LogStore

__all__ = ["Site", "build", "packages", "site"]

_SOURCE = Path(__file__).resolve().parent / "page"


def build(directory: Path) -> Path:
    """Build the page below *directory*.

    Its packages come from the npm registry, once for each ``package.json``, and are kept in the
    user's cache (about 500 MB).

    Returns:
        The directory of the built page.

    Raises:
        RuntimeError: If npm fails; with what it said.
    """
    page = directory / "page"
    shutil.copytree(_SOURCE, page, ignore=shutil.ignore_patterns("node_modules", "dist"))
    (page / "node_modules").symlink_to(packages(), target_is_directory=True)
    _npm(page, "run", "build")
    return page / "dist"


def packages() -> Path:
    """The directory ``node_modules`` of the page, installed if it is not there.

    Raises:
        RuntimeError: If npm fails; with what it said.
    """
    manifest = (_SOURCE / "package.json").read_bytes()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "axon-audit-otel"
    place = cache / f"preview-{hashlib.sha256(manifest).hexdigest()[:16]}"
    if not place.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as draft:
            (Path(draft) / "package.json").write_bytes(manifest)
            _npm(Path(draft), "install", "--no-package-lock", "--no-audit", "--no-fund")
            with contextlib.suppress(OSError):  # somebody else was faster
                Path(draft).rename(place)
            Path(draft).mkdir(exist_ok=True)  # for the end of the block
    return place / "node_modules"


def _npm(directory: Path, *arguments: str) -> None:
    done = subprocess.run(
        ["npm", *arguments], cwd=directory, capture_output=True, text=True, check=False
    )
    if done.returncode:
        msg = f"npm {' '.join(arguments)} failed:\n{done.stdout[-3000:]}{done.stderr[-3000:]}"
        raise RuntimeError(msg)


class Site:
    """The page, the dashboards, and what takes the places of a collector and of Loki.

    Attributes:
        url: Where it answers.
        logs: The log records that came by OTLP.
        victoria_logs: Address of a VictoriaLogs that gets them, too; none: empty.
        away: While that is True, nothing is taken by OTLP.
    """

    def __init__(self, victoria_logs: str = "") -> None:
        self.url = ""
        self.victoria_logs = victoria_logs
        self.logs = LogStore()
        self.away = False


class _Handler(http.server.SimpleHTTPRequestHandler):
    """Answers one connection."""

    def __init__(self, *args: Any, page: Path, dashboards: Path, site: Site) -> None:
        self._dashboards = dashboards
        self._site = site
        super().__init__(*args, directory=str(page))

    def translate_path(self, path: str) -> str:
        plain = urllib.parse.urlsplit(path).path
        if plain.startswith("/dashboards/"):
            return str(self._dashboards / plain.removeprefix("/dashboards/").replace("..", ""))
        return super().translate_path(path)

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        if not address.path.startswith("/loki/"):
            super().do_GET()
            return
        parameters = dict(urllib.parse.parse_qsl(address.query))
        try:
            answer = self._site.logs.get(address.path, parameters)
        except ValueError as exc:
            answer = {"status": "error", "error": str(exc)}
        self._answer(json.dumps(answer).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        if self.path == "/v1/logs" and not self._site.away:
            self._site.logs.add(body)
            self._pass_on(body)
        self._answer(b"", 503 if self._site.away else 200)

    def _pass_on(self, body: bytes) -> None:
        if self._site.victoria_logs:
            address = f"{self._site.victoria_logs}/insert/opentelemetry/v1/logs"
            kind = {"Content-Type": "application/x-protobuf"}
            with contextlib.suppress(OSError):  # at the end it may be gone first
                urllib.request.urlopen(urllib.request.Request(address, body, kind)).close()

    def _answer(self, body: bytes, code: int = 200) -> None:
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the browser reports what is missing."""


@contextmanager
def site(page: Path, dashboards: Path, victoria_logs: str = "") -> Iterator[Site]:
    """Serve the built *page* and the JSON in *dashboards*; take OTLP and answer as Loki."""
    made = Site(victoria_logs)
    handler = partial(_Handler, page=page, dashboards=dashboards, site=made)
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    made.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
