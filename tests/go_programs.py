"""Programs in Go that tests use, each built once and kept in the user's cache.

python3 tests/go_programs.py        build what is missing, and print the paths
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["litewitness", "prometheus_3", "second_verifier", "victoria_logs"]

_TESTS = Path(__file__).resolve().parent
_NO_GO = "Go is not installed (https://go.dev/dl; Debian, Ubuntu: apt-get install golang-go)"


def second_verifier() -> Path:
    """The second verifier of archives."""
    return _built("second-verifier", _TESTS / "second_verifier", ".")


def litewitness() -> Path:
    """A witness of the C2SP: https://github.com/FiloSottile/torchwood."""
    return _built("litewitness", _TESTS / "litewitness", "filippo.io/torchwood/cmd/litewitness")


def victoria_logs() -> Path:
    """A store of log records: https://docs.victoriametrics.com/victorialogs."""
    package = "github.com/VictoriaMetrics/VictoriaLogs/app/victoria-logs"
    return _built("victoria-logs", _TESTS / "victoria_logs", package)


def prometheus_3() -> Path:
    """The newest Prometheus, without the pages for people and without finding targets in clouds,
    which is half of the time of its compilation."""
    package = "github.com/prometheus/prometheus/cmd/prometheus"
    flags = ("-tags", "remove_all_sd,netgo", "-ldflags", "-s -w")
    return _built("prometheus-3", _TESTS / "prometheus3", package, *flags)


def _built(name: str, sources: Path, package: str, *flags: str) -> Path:
    """The program, built if it is not in the cache yet, under the hash of its *sources* and
    *flags*."""
    parts = [file.read_bytes() for file in sorted(sources.iterdir())]
    parts += [flag.encode() for flag in flags]
    digest = hashlib.sha256(b"\0".join(parts)).hexdigest()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "axon-audit-otel"
    target = cache / f"{name}-{digest[:16]}"
    if target.is_file():
        return target
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        import pytest

        if os.environ.get("CI") == "true":
            pytest.fail(f"{_NO_GO}; in CI that is no reason to skip")
        pytest.skip(_NO_GO)
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # other processes of the same test run
        if target.is_file():
            return target
        built = target.with_suffix(".new")
        command = [go, "build", "-trimpath", "-buildvcs=false", *flags, "-o", str(built), package]
        subprocess.run(command, cwd=sources, check=True)
        built.replace(target)
    return target


if __name__ == "__main__":
    for build in (second_verifier, litewitness, victoria_logs, prometheus_3):
        print(build())
