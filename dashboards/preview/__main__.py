"""``python -m dashboards.preview`` writes a picture of each dashboard.

Two processes of a support desk work for a while, a Prometheus scrapes them, Chromium opens
the dashboards. Needs ``npm``, ``prometheus`` and ``chromium``; nothing of theirs stays in the
repository.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from .servers import DASHBOARDS
from .stage import Stage, missing

_PICTURES = DASHBOARDS / "pictures"


def main() -> int:
    """Read the arguments, and do it; the exit code is 1 if the browser complained."""
    parser = argparse.ArgumentParser(prog="dashboards.preview", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600, help="how long the load runs")
    parser.add_argument("--interval", type=int, default=5, help="seconds between two scrapes")
    parser.add_argument("--output", type=Path, default=_PICTURES, help="directory of the pictures")
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    arguments = parser.parse_args()
    if missing():
        parser.exit(1, f"not installed: {', '.join(missing())}\n")
    arguments.output.mkdir(parents=True, exist_ok=True)
    code = 0
    with (
        tempfile.TemporaryDirectory() as directory,
        Stage.run(Path(directory), arguments.interval) as stage,
    ):
        print(f"a load of {arguments.seconds:.0f} seconds ...", flush=True)
        stage.play(arguments.seconds)
        for dashboard in sorted(DASHBOARDS.glob("*.json")):
            drawn = stage.open(dashboard.name, arguments.theme)
            picture = arguments.output / f"{dashboard.stem}.png"
            drawn.picture(picture)
            print(f"{picture}, {picture.stat().st_size // 1024} KiB", flush=True)
            for complaint in drawn.complaints:
                print(f"  {complaint}")
                code = 1
    return code


if __name__ == "__main__":
    sys.exit(main())
