"""``python -m benchmarks.publish``: the README's tables and the chart, from ``results.json`` and
``growth.json``."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import msgspec

from . import report
from .chart import svg

HERE = Path(__file__).resolve().parent
_MADE = re.compile(r"(<!-- (\w+): made by benchmarks\.publish -->\n).*?(<!-- end -->)", re.DOTALL)


def published() -> dict[Path, str]:
    """The text that each file should have."""
    results, growth = _read("results.json"), _read("growth.json")
    made = {
        "targets": report.targets(results["lines"], growth["lines"]),
        "results": f"{report.table(results['lines'])}\n\n{report.footer(results)}",
        "growth": f"{report.growth_table(growth['lines'])}\n\n{report.footer(growth)}",
    }
    readme = HERE / "README.md"
    text = _MADE.sub(
        lambda found: f"{found[1]}{made[found[2]]}\n{found[3]}", readme.read_text(encoding="utf-8")
    )
    return {readme: text, HERE / "results.svg": svg(results)}


def _read(name: str) -> dict[str, Any]:
    content: dict[str, Any] = msgspec.json.decode((HERE / name).read_bytes())
    return content


def main() -> int:
    """Write the files; with ``--check``, return 1 if one is not up to date."""
    stale = [
        path
        for path, text in published().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        print(f"{path.name} is not made from the results", file=sys.stderr)
        if "--check" not in sys.argv[1:]:
            path.write_text(published()[path], encoding="utf-8")
    return len(stale) if "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
