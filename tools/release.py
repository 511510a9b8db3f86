"""Checks what a built wheel and sdist contain: ``python tools/release.py DIST``.

Nothing that only the builder's machine has, no secret, the licence, and all that the package needs.
"""

from __future__ import annotations

import re
import sys
import tarfile
import zipfile
from pathlib import Path

#: In neither of them. The keys of test vectors are published on purpose.
_NEVER = re.compile(
    r"(^|/)(__pycache__|\.git|\.venv|\.ci|\.[a-z]+_cache|node_modules|dist|build|site)/"
    r"|\.(pyc|pyo|so|log|key|pem|secret|sqlite|env)$"
)
_VECTORS = "tests/vectors/"
_IN_BOTH = ("axon_audit_otel/py.typed", "axon_audit_otel/memory_system.pyi")
_IN_THE_WHEEL = (
    *("grafana/memory-overview.json", "prometheus/alerts.yaml", "prometheus/recording.yaml"),
    *("alertmanager/alertmanager.yaml", "runbook/runbook.md", "collector/agent.yaml"),
    "collector/overlays/tls.yaml",
)


def check(dist: Path) -> list[str]:
    """What is wrong with the one wheel and the one sdist in *dist*."""
    (wheel,), (sdist,) = dist.glob("*.whl"), dist.glob("*.tar.gz")
    with zipfile.ZipFile(wheel) as zipped:
        in_wheel = [name for name in zipped.namelist() if not name.endswith("/")]
    with tarfile.open(sdist) as tar:
        in_sdist = [m.name.partition("/")[2] for m in tar.getmembers() if m.isfile()]
    wrong = [
        f"{file.name}: {name} does not belong there"
        for file, names in ((wheel, in_wheel), (sdist, in_sdist))
        for name in names
        if _NEVER.search(name) and not name.startswith(_VECTORS)
    ]
    wrong += [
        f"{wheel.name}: {name} does not belong there"
        for name in in_wheel
        if not re.match(r"axon_audit_otel(-[\d.]+(\w+)?\.dist-info)?/", name)
    ]
    needed = [*_IN_BOTH, *(f"axon_audit_otel/assets/{name}" for name in _IN_THE_WHEEL)]
    wrong += [f"{wheel.name}: {name} is missing" for name in needed if name not in in_wheel]
    needed = [*_IN_BOTH, "LICENSE", "README.md", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"]
    wrong += [f"{sdist.name}: {name} is missing" for name in needed if name not in in_sdist]
    if not any(name.endswith(".dist-info/licenses/LICENSE") for name in in_wheel):
        wrong.append(f"{wheel.name}: the licence is missing")
    return wrong


if __name__ == "__main__":
    problems = check(Path(sys.argv[1]))
    print(
        "\n".join(problems) or "the wheel and the sdist are complete, and nothing else is in them"
    )
    sys.exit(bool(problems))
