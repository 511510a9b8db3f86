"""The command `index`: what makes queries of an archive fast."""

from __future__ import annotations

from pathlib import Path

import click

from ..archive.directory import files_of
from ..archive.index.archive import index_archive
from ..archive.index.notes import key_of_user
from ..archive.missing import Missing
from ..core.errors import ArchiveError
from .admin_events import check_archive
from .options import archive_argument, json_option, reads
from .render import amount, print_json, reading_bar

__all__ = ["index"]


@click.command()
@archive_argument
@json_option
@reads
def index(path: Path, as_json: bool, missing: Missing) -> None:
    """Make the index of an archive, so that queries by id are fast.

    Gives each sealed file in PATH, a directory of audit files, an index of the users, sessions,
    subjects, agents, entries and traces in it (audit_*.index), unless it has one that you made.
    Your queries then read only the lines that can answer; files without an index are read as
    before. Answers are the same with an index and without. An index that another user made is
    not believed: anyone who can write to PATH could leave events out of it. So each user runs
    this command, and again when there are new files.
    """
    check_archive(path)
    key = key_of_user(make=True)
    if key is None:
        raise ArchiveError("the key of indexes in your home cannot be used")
    with reading_bar("indexing", files_of(path)) as progress:
        done = index_archive(path, [key], missing, progress)
    share = done.index_bytes / done.bytes if done.bytes else 0.0
    if as_json:
        print_json(
            {
                "files": done.files,
                "made": done.made,
                "events": done.events,
                "bytes": done.bytes,
                "index_bytes": done.index_bytes,
            }
        )
        return
    have = "has" if done.files == 1 else "have"
    text = f"{amount(done.files, 'file')} with {amount(done.events, 'event')} {have} an index"
    click.echo(f"{text}, {done.made:,} made now; {share:.1%} of their size")
