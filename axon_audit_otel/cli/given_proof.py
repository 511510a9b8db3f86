"""Checks a proof, a receipt or a report's note that somebody was given, without any archive."""

from __future__ import annotations

import runpy
from contextlib import suppress
from fnmatch import fnmatch
from importlib import resources
from pathlib import Path

import click
import msgspec

from ..archive.checkpoints import VerifyingKey
from ..archive.format import HEAD, SEALED
from ..core.files import DECODE_ERRORS, named, open_regular
from ..verification.report import Verdict
from .render import plain, print_json

__all__ = ["check_proof", "is_proof"]

_MOST = 1 << 26  # bytes of a proof
_REPORT = b"axon-audit report 1\n"
_NAMES = (".json", ".note")
_FIELDS = ({"checkpoint", "seal", "event"}, {"old", "new", "path"}, {"statement", "proof"})


def is_proof(path: Path) -> bool:
    """Whether *path* is a file that proves something by itself.

    Its name has to say that it is no archive: who can write there could leave a proof of one event
    in the place of all others.
    """
    names = path.name, named(path).name
    if any(Path(name).suffix not in _NAMES or fnmatch(name, SEALED) for name in names):
        return False
    with suppress(OSError), open_regular(named(path)) as file:
        content = file.read(len(HEAD))
        if content == HEAD or not content.startswith((b"{", _REPORT[: len(HEAD)])):
            return False
        content += file.read(_MOST)
        if content.startswith(_REPORT):
            return True
        with suppress(*DECODE_ERRORS):
            fields = msgspec.json.decode(content)
            return isinstance(fields, dict) and any(fields.keys() >= some for some in _FIELDS)
    return False


def check_proof(path: Path, keys: list[VerifyingKey], as_json: bool) -> Verdict:
    """Check a proof with the program that third parties have (`prove --script`), and print what it
    says; one of *keys* must have signed it."""
    if not keys:
        raise click.UsageError(f"{plain(path)} is a proof: give the public key with --key")
    script = resources.files(__package__).joinpath("data/verify_proof.py")
    with resources.as_file(script) as file:
        main = runpy.run_path(str(file))["main"]
    # A file here may have a key's line as its name, and another key in it.
    said = [main(str(path), str(key), is_line=True) for key in keys]
    answer = next((words for words in said if words.startswith("PROVED")), said[0])
    verdict: Verdict = "ok" if answer.startswith("PROVED") else "not proved"
    if as_json:
        print_json({"ok": verdict == "ok", "verdict": verdict, "proof": answer})
    else:
        click.echo(plain(answer))
    return verdict
