"""The indexes of a whole archive: made where they are missing, removed where their file is gone."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import ArchiveError, InvalidEventError
from ..directory import Directory, EventFile, sealed_in
from ..missing import Missing
from .building import index_steps, is_indexed, path_of
from .notes import Notes, begun_files, index_files, index_path

__all__ = ["Indexed", "index_archive", "remove_index", "tidy_indexes"]

_ABANDONED_S = 3600.0  # a file that nobody goes on writing for that long


@dataclass
class Indexed:
    """What was done.

    Attributes:
        files: Number of the sealed files that have an index now.
        made: How many of these were made.
        events: Number of the events in the files.
        bytes: Their size, as they are stored.
        index_bytes: The size of the indexes.
    """

    files: int = 0
    made: int = 0
    events: int = 0
    bytes: int = 0
    index_bytes: int = 0


def index_archive(
    path: Path,
    keys: Sequence[bytes],
    missing: Missing,
    progress: Callable[[int], object] = lambda size: None,
) -> Indexed:
    """Give each sealed file that a manifest lists an index that the owner of *keys* believes.

    Args:
        path: The archive.
        keys: Whose.
        missing: Takes files that cannot be read, or whose content is not the one that was sealed.
        progress: Called after each file with its size.

    Raises:
        OSError: If the directory cannot be read.
        ArchiveError: If an index cannot be written.
    """
    done = Indexed()
    notes = Notes(path, keys)
    with Directory(path, missing) as here:
        files = [
            file
            for writer in here.writers.values()
            for file in writer.files
            if file.seal is not None and file.state != "deleted"
        ]
        for file in files:
            progress(_index(here, file, notes, missing, done))
        # Others may have added notes meanwhile, which are read for that.
        tidy_indexes(path, Notes(path, keys), [file.name for file in files])
    return done


def _index(here: Directory, file: EventFile, notes: Notes, missing: Missing, done: Indexed) -> int:
    """Give one file an index, if it has none; returns its size."""
    assert file.seal is not None
    for is_last in (False, False, True):
        try:
            if not here.find(file):
                if why := file.why_absent():
                    missing.add(file.path, why)
                return 0
            is_made = _made(here, file, notes)
            size = file.path.stat().st_size
            index_size = index_path(here.path, file.name).stat().st_size
            break
        except ArchiveError:
            raise
        except (OSError, InvalidEventError) as exc:
            was_changed = isinstance(exc, BlockingIOError | FileNotFoundError)
            if was_changed and not is_last:
                continue  # it was compressed or deleted meanwhile
            missing.add(file.path, exc)
            return 0
    done.made += is_made
    done.index_bytes += index_size
    done.files += 1
    done.events += file.seal.events
    done.bytes += size
    return size


def _made(here: Directory, file: EventFile, notes: Notes) -> bool:
    """Make the index of a file, and return True, unless it has one."""
    assert file.seal is not None
    if file.state == "there":
        file.path = path_of(here.path, file.name)
    if is_indexed(here.path, file.seal, file.path, notes, whole=True):
        return False
    for _ in index_steps(here.path, file.seal, file.path, notes):
        pass
    return True


def tidy_indexes(path: Path, notes: Notes, files: Iterable[str]) -> None:
    """Remove the indexes of files that are gone, and what killed processes left.

    Args:
        path: The archive.
        notes: Its notes, as they are now.
        files: Files to keep the indexes of, besides those that are there under their names.
    """
    kept = {*files, *sealed_in(path)}
    wanted = {index_path(path, file).name for file in kept}
    for index in index_files(path):
        if index.name not in wanted:
            with suppress(OSError):  # it is no file
                index.unlink()
    for begun in begun_files(path):
        with suppress(OSError):
            if time.time() - begun.stat().st_mtime > _ABANDONED_S:
                begun.unlink()
    notes.tidy(kept)


def remove_index(directory: Path, file: str) -> None:
    """Remove the index of a sealed file, if there is one."""
    with suppress(OSError):  # it is no file
        index_path(directory, file).unlink()
