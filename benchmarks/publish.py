"""``python -m benchmarks.publish``: the README's table and chart, made from ``results.json``."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import msgspec

from .chart import svg
from .report import footer, table

HERE = Path(__file__).resolve().parent
_MARK = "<!-- results: made by benchmarks.publish -->\n"
_TABLE = re.compile(f"({re.escape(_MARK)}).*?(<!-- end -->)", re.DOTALL)


def published() -> dict[Path, str]:
    """The text that each file should have."""
    results = msgspec.json.decode((HERE / "results.json").read_bytes())
    readme = HERE / "README.md"
    made = f"{table(results['lines'])}\n\n{footer(results)}\n"
    text = _TABLE.sub(lambda found: found[1] + made + found[2], readme.read_text(encoding="utf-8"))
    return {readme: text, HERE / "results.svg": svg(results)}


def main() -> int:
    """Write the files; with ``--check``, return 1 if one is not up to date."""
    stale = [
        path
        for path, text in published().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        print(f"{path.name} is not made from results.json", file=sys.stderr)
        if "--check" not in sys.argv[1:]:
            path.write_text(published()[path], encoding="utf-8")
    return len(stale) if "--check" in sys.argv[1:] else 0


if __name__ == "__main__":
    sys.exit(main())
