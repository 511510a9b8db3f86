#!/usr/bin/env python3
"""Set everything up and run it: ``python3 dev.py demo`` or ``python3 dev.py test``.

Needs only Python 3.10 or newer. Makes a virtual environment in ``.venv`` (and makes it again
after a change of ``pyproject.toml``), and runs one command in it:

    demo [OPTIONS]   a recorded day of an AI agent (axon-audit demo --help)
    test [OPTIONS]   the tests that need no server, two to three minutes (pytest --help)
    check            ruff and mypy, strict
    docs             the documentation as a site, in site/
    preview          pictures of the dashboards (needs npm, prometheus and chromium)
    all              every test but the nightly ones, also slow ones and those with real servers
    run COMMAND ...  anything else, in the environment
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("AXON_AUDIT_VENV", ROOT / ".venv"))
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")


def main(arguments: list) -> int:
    """Run one of the commands, and return its exit code."""
    if sys.version_info < (3, 10):
        sys.exit(f"Python 3.10 or newer is needed, this is {sys.version.split()[0]}")
    command, options = (arguments[0], arguments[1:]) if arguments else ("", [])
    cores = os.cpu_count() or 1
    workers = min(8, cores + cores // 2)  # many tests wait for processes that they start
    tests = ["pytest", "-n", str(workers), "--dist", "worksteal"]
    commands = {
        "demo": [["axon-audit", "demo", *options]],
        "test": [[*tests, *options]],
        "check": [["ruff", "check", "."], ["ruff", "format", "--check", "."], ["mypy"]],
        "docs": [["mkdocs", "build", *options]],
        "preview": [["python", "-m", "dashboards.preview", *options]],
        "all": [[*tests, "-m", "not nightly", "--durations=10", *options]],
        "run": [options],
    }
    if command not in commands or commands[command] == [[]]:
        print(__doc__)
        return 2
    extras = "dev,components" if command in ("all", "check", "preview") else "dev"
    set_up("dev,docs" if command == "docs" else extras)
    for program, *rest in commands[command]:
        code = subprocess.call([str(BIN / program), *rest], env=environment())
        if code:
            return code
    return 0


def environment() -> dict:
    """The environment variables of the virtual environment, which also keeps the bytecode: the
    tests start Python a hundred times."""
    path = str(BIN) + os.pathsep + os.environ.get("PATH", "")
    bytecode = {"PYTHONPYCACHEPREFIX": str(VENV / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    quiet = {"NO_MKDOCS_2_WARNING": "1"}
    return {**os.environ, "VIRTUAL_ENV": str(VENV), "PATH": path, **bytecode, **quiet}


def set_up(extras: str) -> None:
    """Make the virtual environment, unless it is there and up to date."""
    project = hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest()
    stamp = VENV / "axon-audit-stamp"
    if stamp.is_file() and stamp.read_text().startswith(f"{project} {extras}"):
        return
    print(f"Setting up {VENV} (once, about a minute) ...", file=sys.stderr, flush=True)
    uv = shutil.which("uv")
    if uv:
        run([uv, "venv", "--quiet", "--allow-existing", "--python", sys.executable, str(VENV)])
        install = [uv, "pip", "install", "--quiet", "--python", str(BIN / "python")]
        run([*install, "-e", f".[{extras}]"])
    else:
        try:
            run([sys.executable, "-m", "venv", str(VENV)])
        except subprocess.CalledProcessError:
            sys.exit("Python's venv module is missing; on Debian: apt install python3-venv")
        pip = [str(BIN / "python"), "-m", "pip", "--disable-pip-version-check", "--quiet"]
        run([*pip, "install", "-e", f".[{extras}]"])
    stamp.write_text(f"{project} {extras}")


def run(command: list) -> None:
    """Run *command* in the project's directory; exit if it fails."""
    subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
