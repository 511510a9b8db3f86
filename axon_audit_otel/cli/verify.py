"""The command line: verify."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from ..archive.directory import files_of
from ..core.errors import ArchiveError, AxonAuditError
from ..verification.report import EXIT_CODES, Verdict
from ..verification.verify import verify as run_verify
from .given_proof import check_proof, is_proof
from .options import erasable_option, json_option, reason
from .render import console, plain, print_json, reading_bar
from .shipping import verify_files
from .store import store_keeps_option, store_option, verify_with_store
from .trusted import checkpoint_option, key_option, quorum_of, texts_of, witness_options
from .verified import print_report

__all__ = ["verify"]


class _NotVerified(click.ClickException):
    """The verification could not be done."""

    exit_code = EXIT_CODES["not proved"]


@click.command()
@click.argument(
    "paths", metavar="PATH...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "--otlp-json",
    is_flag=True,
    help="PATH... are files that a collector wrote (file exporter, JSON).",
)
@click.option(
    "--partial",
    is_flag=True,
    help="With --otlp-json: what came before the oldest is not reported as missing.",
)
@click.option(
    "--archive",
    type=click.Path(path_type=Path),
    help="With --otlp-json: every event of this archive must be there.",
)
@store_option
@store_keeps_option
@key_option
@checkpoint_option
@erasable_option
@click.option(
    "--require-checkpoint",
    is_flag=True,
    help="Ask that a --checkpoint covers each trail; else exit code 2.",
)
@click.option(
    "--origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="A trail that must be there, as verify prints it (axon-audit/default/3f9a0c7be5d1824f);"
    " repeat it for each: no other may be there.",
)
@witness_options
@click.option(
    "--jobs",
    type=click.IntRange(min=1),
    metavar="N",
    help="Read a large archive in up to N processes. Default: one per processor, at most 8.",
)
@click.option(
    "--full",
    is_flag=True,
    help="Prove every line by itself, also in files whose digest a signed checkpoint covers.",
)
@json_option
@click.pass_context
def verify(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Verify that nothing in an archive was altered.

    PATH is its directory, or one of its files. Finds what was altered, removed, inserted, moved
    or cut off, names the file and the event, and says up to where signed checkpoints prove that
    nothing is missing. It prints the origin of each trail: keep it. With --origin, verify finds
    that an archive was exchanged for another.

    With --key, a file whose digest a signed checkpoint covers is as its writer sealed it, so
    its lines are not proved one by one. --full proves them as well: it finds what only the
    holder of the key could have done to them. It is implied without --key, and with --witness.

    PATH may also be a proof (of prove), a receipt, or the note of a report (*.json or *.note):
    with --key alone it is checked without any archive.

    With --otlp-json, what arrived at the far end of OpenTelemetry: finds the events that are
    missing or altered, and names those that came more than once. Give all files of a trail
    together, in any order. The checkpoints in them (checkpoint_to="otlp") are compared with
    the events; what arrived is proved only with --key. With --archive, a tail that never
    arrived is found as well.

    With --store, an archive is compared with a store that its events were sent to: it finds the
    events that the store lost or never had, those that it has twice, and those that differ.
    replay --store sends what is missing. With --full it reads each body in the store as well.

    Exit codes: 0, verified as asked; 1, damage, or events that the application found and did
    not record; 2, it could not be verified, or not what was asked for: with --key, a trail
    that no signed checkpoint covers; with --require-checkpoint, one that no checkpoint from
    elsewhere covers; with --witness, one that not enough witnesses cosigned: up to what they
    did, not even the owner of the key could write another history; a key that signed nothing.
    """
    try:
        verdict = _verify(as_json=as_json, **given)
    except (AxonAuditError, OSError) as exc:
        if isinstance(exc, BrokenPipeError):
            raise
        if as_json:
            said = {"verdict": "not proved", "exit": _NotVerified.exit_code, "error": reason(exc)}
            with suppress(OSError):  # standard error says it too
                print_json({"ok": False, **said})
        raise _NotVerified(reason(exc)) from exc
    ctx.exit(EXIT_CODES[verdict])


def _verify(
    paths: tuple[Path, ...],
    otlp_json: bool,
    partial: bool,
    archive: Path | None,
    store: str | None,
    store_keeps: float | None,
    keys: Any,
    notes: Any,
    erasable: Path | None,
    require_checkpoint: bool,
    origins: tuple[str, ...],
    witnesses: Any,
    needed: int | None,
    jobs: int | None,
    full: bool,
    as_json: bool,
) -> Verdict:
    quorum = quorum_of(witnesses, needed)
    given = [key for several in keys for key in several]
    texts = texts_of(notes)
    if store is not None:
        others = (otlp_json, partial, archive, len(paths) > 1, witnesses, jobs, origins)
        if any((*others, require_checkpoint, erasable)):
            words = "--store compares one archive; only --store-keeps, --key, --checkpoint, --full"
            raise click.UsageError(f"{words} and --json are for it")
        wanted: dict[str, Any] = {
            "keeps": store_keeps,
            "bodies": full,
            "keys": given,
            "checkpoints": texts,
        }
        return verify_with_store(paths[0], store, as_json, **wanted)
    if otlp_json:
        if witnesses or jobs is not None or full:
            raise click.UsageError("--witness, --witness-quorum, --jobs, --full are for archives")
        return verify_files(
            paths,
            archive,
            as_json,
            partial=partial,
            keys=given,
            checkpoints=texts,
            origins=origins,
            require_checkpoint=require_checkpoint,
        )
    if partial or archive is not None or len(paths) > 1:
        raise click.UsageError("several PATHs, --partial and --archive are for --otlp-json")
    (path,) = paths
    if is_proof(path):
        if texts or origins or require_checkpoint or quorum.needed or erasable or jobs or full:
            raise click.UsageError(f"{plain(path)} is a proof: only --key and --json are for it")
        return check_proof(path, given, as_json)
    asked = (given, texts, origins, require_checkpoint, quorum, erasable)
    return _verify_archive(path, as_json, asked, jobs, full)


def _verify_archive(
    path: Path, as_json: bool, asked: tuple[Any, ...], jobs: int | None, full: bool
) -> Verdict:
    """Verify an archive, and print the report."""
    given, texts, origins, required, quorum, erasable = asked
    files: list[Path] = []
    with suppress(ArchiveError):  # there is none: `run_verify` says so
        files = files_of(path)
    with reading_bar("verifying", files) as progress:
        report = run_verify(
            path, given, texts, progress, origins, required, quorum, erasable, jobs=jobs, full=full
        )
    if as_json:
        print_json(report.to_dict())
    else:
        print_report(report, console(), bool(texts))
    return report.verdict
