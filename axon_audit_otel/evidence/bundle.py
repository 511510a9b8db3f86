"""The files of a report: a directory or a zip file, reproducible, whole or not there."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..archive.checkpoints import SigningKey
from ..core.errors import ArchiveError, shown
from ..core.files import make_directory, replacement, write_file

__all__ = ["NOTE", "SUMS", "Bundle", "check_output", "new_bundle"]

#: The list of digests, as `sha256sum --check` reads it; and the same list, signed.
SUMS, NOTE = "SHA256SUMS", "report.note"
_MADE = (1980, 1, 1, 0, 0, 0)  # of every file in a zip: the earliest time that it can have


class Bundle:
    """The files of a report, in a temporary directory until they are all there.

    Args:
        place: The temporary directory.
    """

    def __init__(self, place: Path) -> None:
        self._place = place
        self.digests: dict[str, str] = {}

    def add(self, name: str, content: Iterable[bytes]) -> None:
        """Write a file.

        Args:
            name: Its name; with a folder, if there is a ``/`` in it.
            content: Its content, in parts.

        Raises:
            ArchiveError: If it cannot be written.
        """
        digest = hashlib.sha256()

        def parts() -> Iterator[bytes]:
            for part in content:
                digest.update(part)
                yield part

        write_file(parts(), self._place / name)
        self.digests[name] = digest.hexdigest()

    def finish(self, head: str, key: SigningKey | None) -> None:
        """Write the list of digests; and with a *key* the same signed, with the digest of that
        list. *head* is its first line."""
        self.add(SUMS, [self._listed().encode()])
        if key is not None:
            self.add(NOTE, [key.sign(f"{head}\n{self._listed()}").encode()])

    def _listed(self) -> str:
        return "".join(f"{self.digests[name]}  {name}\n" for name in sorted(self.digests))


def check_output(output: Path, apart_from: Iterable[Path], force: bool) -> None:
    """Refuse an *output* that exists, or is a part of the archive, or of its keys (*apart_from*).

    Raises:
        ArchiveError: If so; with *force* only if it is a part of these, or is neither a file nor
            a report.
    """
    name, target = shown(str(output)), Path(os.path.realpath(output))
    for place in map(Path, map(os.path.realpath, apart_from)):
        if target == place or place in target.parents or target in place.parents:
            msg = f"{name} is not apart from the archive and its keys: write to another place"
            raise ArchiveError(msg)
    if not os.path.lexists(output):
        return
    if not force:
        raise ArchiveError(f"{name} exists: --force replaces it")
    if _is_zip(output) and not target.is_file():
        raise ArchiveError(f"{name} is not a regular file")
    if not _is_zip(output) and not _is_report(target):
        msg = f"{name} is not a directory with a report, and nothing else: only that is replaced"
        raise ArchiveError(msg)


def _is_zip(output: Path) -> bool:
    return output.suffix.lower() == ".zip"


def _is_report(place: Path) -> bool:
    """True if there is a directory with the files of a report and no others, or with none."""
    if not place.is_dir():
        return False
    there = {path.relative_to(place).as_posix() for path in place.rglob("*") if not path.is_dir()}
    listed: set[str] = set()
    with suppress(OSError, UnicodeDecodeError):
        lines = (place / SUMS).read_text("utf-8").splitlines()
        listed = {line.partition("  ")[2] for line in lines}
    return there <= listed | {SUMS, NOTE} and (not there or "report.json" in listed)


@contextmanager
def new_bundle(output: Path) -> Iterator[Bundle]:
    """Yield a `Bundle`, which becomes *output* when the block ends: a directory, or a file if its
    name ends in ``.zip``.

    Raises:
        ArchiveError: If it cannot be written; then there is nothing new at *output*.
    """
    is_zip, output = _is_zip(output), Path(os.path.realpath(output))
    # Nobody can guess the name, and so have the files written to a place of his.
    place = output.with_name(f".{output.name[:32]}.{secrets.token_hex(8)}.tmp")
    try:
        make_directory(place)
        bundle = Bundle(place)
        yield bundle
        if is_zip:
            _zip(place, sorted(bundle.digests), output)
        else:
            _move(place, output)
    except OSError as exc:
        why = exc.strerror or exc
        raise ArchiveError(f"cannot write {shown(str(output))}: {why}") from exc
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _zip(place: Path, names: list[str], output: Path) -> None:
    with (
        replacement(output, output.with_name(f"{place.name}.zip")) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name in names:
            info = zipfile.ZipInfo(name, _MADE)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = (place / name).stat().st_size  # is it for ZIP64?
            info.create_system, info.external_attr = 3, 0o600 << 16  # on every system the same
            with (place / name).open("rb") as source, archive.open(info, "w") as target:
                shutil.copyfileobj(source, target)


def _move(place: Path, output: Path) -> None:
    """Put a directory in the place of another, which is there until the new one is; also if
    Ctrl-C comes meanwhile."""
    old = place.with_name(f"{place.name}.old")
    try:
        with suppress(FileNotFoundError):
            output.rename(old)
        place.rename(output)
    except BaseException:
        with suppress(OSError):  # the new one is there
            old.rename(output)
        raise
    finally:
        if output.exists():
            shutil.rmtree(old, ignore_errors=True)
