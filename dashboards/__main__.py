"""``python -m dashboards`` writes what is generated; ``--check`` only compares."""

from __future__ import annotations

import sys
from pathlib import Path

from . import clickhouse_events, health, overview, rules, security

HERE = Path(__file__).resolve().parent


def generated() -> dict[str, str]:
    """Every generated file, by its path in this directory."""
    return {
        "memory-overview.json": overview.build(),
        "audit-trail-health.json": health.build(),
        "security-compliance.json": security.build(),
        "clickhouse/audit-trail.json": clickhouse_events.build(),
        **{f"rules/{name}": content for name, content in rules.files().items()},
    }


def main(arguments: list[str]) -> int:
    """Write the files, or say which ones differ (exit code 1)."""
    differ = []
    for name, content in generated().items():
        path = HERE / name
        if not path.is_file() or path.read_text(encoding="utf-8") != content:
            differ.append(name)
            if "--check" not in arguments:
                path.parent.mkdir(exist_ok=True)
                path.write_text(content, encoding="utf-8")
    print("\n".join(differ) or "all as generated")
    return 1 if differ and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
