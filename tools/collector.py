#!/usr/bin/env python3
"""Build the OpenTelemetry Collector of ``collector-config/builder.yaml``, once.

    python3 tools/collector.py          build it if it is missing, and print its path
    python3 tools/collector.py --path   only print its path; exit code 1 if it is missing

The official builder compiles it (Go and its module proxy; 5 to 15 minutes the first time). It is
kept outside of the checkout, in the user's cache, under the hash of the manifest, so that only a
change of the manifest causes a new build.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MANIFEST = Path(__file__).resolve().parent.parent / "collector-config" / "builder.yaml"
BUILDER = "go.opentelemetry.io/collector/cmd/builder"
NAME = "axon-otelcol"


def path() -> Path:
    """The path of the collector of this manifest, built or not."""
    lines = (re.sub(r"(^|\s)#.*", "", line).rstrip() for line in manifest().splitlines())
    key = hashlib.sha256("\n".join(filter(None, lines)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "axon-audit-otel" / f"collector-{key}" / NAME


def manifest() -> str:
    """The text of the manifest."""
    return MANIFEST.read_text(encoding="utf-8")


def build() -> Path:
    """The path of the collector, which is built if it is missing.

    Raises:
        SystemExit: If Go is missing or the build fails, with the reason.
    """
    target = path()
    if target.is_file():
        return target
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        sys.exit("Go is not installed, and nothing else can build the collector: https://go.dev/dl")
    version = re.search(r"^  version: (\S+)$", manifest(), re.MULTILINE)
    if version is None:
        sys.exit(f"{MANIFEST}: no dist.version")
    print(f"Building {target}, once; 5 to 15 minutes ...", file=sys.stderr, flush=True)
    started = time.monotonic()
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as work:
        shutil.copy(MANIFEST, Path(work, MANIFEST.name))
        command = [go, "run", f"{BUILDER}@v{version[1]}", "--config", MANIFEST.name]
        code = subprocess.call(command, cwd=work, stdout=sys.stderr)  # noqa: S603 - ours
        if code:
            sys.exit(f"{' '.join(command)} failed with exit code {code}")
        Path(work, NAME, NAME).replace(target)  # in one step: never a part of it
    print(f"Built in {time.monotonic() - started:.0f} s", file=sys.stderr)
    return target


if __name__ == "__main__":
    if sys.argv[1:] == ["--path"]:
        print(path())
        sys.exit(not path().is_file())
    if sys.argv[1:]:
        sys.exit(__doc__)
    print(build())
