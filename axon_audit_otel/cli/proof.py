"""The commands of the command line that prove: keygen, verify, prove."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from importlib import resources
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import click
import msgspec
from rich.console import Console
from rich.text import Text

from ..archive.checkpoints import SigningKey, VerifyingKey, new_key
from ..archive.cosignatures import Quorum, WitnessKey
from ..archive.directory import files_of
from ..core import semconv
from ..core.errors import ArchiveError, AuditConfigError, AxonAuditError, InvalidEventError, shown
from ..core.files import content_of, named, open_owned, open_regular, write_file
from ..events.localtime import local
from ..verification.consistency_proof import prove_consistency
from ..verification.inclusion_proof import prove as make_proof
from ..verification.report import (
    EXIT_CODES,
    Finding,
    Verdict,
    VerifyReport,
    WriterReport,
    numbers,
)
from ..verification.verify import verify as run_verify
from .options import erasable_option, json_option, path_argument, reason
from .render import amount, console, plain, print_json, reading_bar
from .shipping import verify_files

__all__ = [
    "NOTES",
    "checkpoint_option",
    "key_option",
    "keygen",
    "prove",
    "quorum_of",
    "texts_of",
    "verify",
    "witness_options",
    "write_key",
]

#: Under this name a context has the files of `checkpoint_option`.
NOTES = "axon_audit_otel.checkpoints"
_LONGEST_KEYS = 1 << 20  # bytes of a file of public keys
_LONGEST_PIPE = 1 << 28  # bytes of checkpoints that come out of a pipe
_SHOWN = 5  # gaps and unclean ends of many


# --- keygen ----------------------------------------------------------------------------------


@click.command()
@click.argument("name")
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the private key; it must not exist. Default: NAME.key.",
)
@json_option
def keygen(name: str, output: Path | None, as_json: bool) -> None:
    """Make a key that signs checkpoints.

    The private key goes to a file that only you can read, for the application's
    signing_key (or AXON_AUDIT_SIGNING_KEY). Its public half is printed: one line, for
    whoever verifies. NAME says whose signature it is; no spaces, no plus signs.
    """
    key = new_key(name)
    target = output or Path(re.sub(r"[^A-Za-z0-9._-]", "_", name).lstrip(".") + ".key")
    try:
        write_key(key, target)
    except FileExistsError:
        msg = f"{str(target)!r} exists: a key is never overwritten"
        raise click.ClickException(msg) from None
    except OSError as exc:
        raise click.ClickException(f"cannot write {str(target)!r}: {exc.strerror}") from exc
    if as_json:
        print_json({"name": name, "path": str(target), "public_key": str(key.verifying)})
        return
    click.echo(f"private key written to {plain(target)}; the public key is", err=True)
    click.echo(str(key.verifying))


def write_key(key: SigningKey, path: Path) -> None:
    """Write a private key to a new file that only its owner reads, whole or not at all.

    Raises:
        OSError: If that failed, or there is a file already.
    """
    descriptor = open_owned(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(f"{key.line()}\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


# --- verify ----------------------------------------------------------------------------------


class _NotVerified(click.ClickException):
    """The verification could not be done."""

    exit_code = EXIT_CODES["not proved"]


class _Public(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Public keys: a line, or a file of such lines."""

    name = "file|line"

    def __init__(self, parse: Callable[[str], list[Any]]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: Any, ctx: Any) -> list[Any]:
        text = str(value)
        try:
            if os.path.isfile(text):  # noqa: PTH113 - of any text, and raises nothing
                text = content_of(Path(text), _LONGEST_KEYS, anywhere=True).decode()
            if "PRIVATE+KEY" in text:
                self.fail("that is a private key; verifying needs the public one", param, ctx)
            if "+" not in text:
                self.fail("no such file, and no key", param, ctx)
            return self._parse(text)
        except UnicodeDecodeError:
            self.fail("the file is no text", param, ctx)
        except OSError as exc:
            self.fail(f"cannot read the file: {exc.strerror or exc}", param, ctx)
        except AuditConfigError as exc:
            self.fail(str(exc), param, ctx)


def _keys_in(text: str) -> list[VerifyingKey]:
    return [VerifyingKey.parse(line) for line in text.splitlines() if line.strip()]


def _witnesses_in(text: str) -> list[WitnessKey]:
    """The keys of witnesses, also with their URLs and comments beside them."""
    lines = [line.split("#")[0].split() for line in text.splitlines()]
    return [WitnessKey.parse(word) for line in lines for word in line if "://" not in word]


class _Text(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """A text without an endless line: of a file, a link to one, a pipe, or standard input (-).

    What was typed is in ``ctx.meta[NOTES]``.
    """

    name = "filename"

    def convert(self, value: Any, param: Any, ctx: Any) -> TextIO:
        ctx.meta.setdefault(NOTES, []).append(str(value))
        path = Path(value)
        try:
            if value == "-":
                return click.open_file("-", encoding="utf-8", errors="replace")  # type: ignore[return-value,unused-ignore]
            if path.is_fifo():
                content = content_of(path, _LONGEST_PIPE, anywhere=True)
                return StringIO(content.decode("utf-8", "replace"))
            file = TextIOWrapper(open_regular(named(path)), "utf-8", errors="replace")
            ctx.call_on_close(file.close)
            return file
        except (OSError, ValueError) as exc:
            self.fail(f"{shown(value)}: {getattr(exc, 'strerror', None) or exc}", param, ctx)


#: Public keys that must have signed the checkpoints.
key_option = click.option(
    "--key",
    "keys",
    type=_Public(_keys_in),
    multiple=True,
    help="Public key (file or line); any of several must have signed each checkpoint.",
)

#: Checkpoints that were kept elsewhere.
checkpoint_option = click.option(
    "--checkpoint",
    "notes",
    type=_Text(),
    multiple=True,
    help="Checkpoints that were kept elsewhere: notes, or OTLP JSON that a collector wrote.",
)

_WITNESS = [
    click.option(
        "--witness",
        "witnesses",
        type=_Public(_witnesses_in),
        multiple=True,
        help="Public key of a witness (file or line), which must have cosigned a checkpoint.",
    ),
    click.option(
        "--witness-quorum",
        "needed",
        type=int,
        help="How many of the witnesses must have. Default: all.",
    ),
]


def witness_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """*command* with the options ``witnesses`` and ``needed``, for `quorum_of`."""
    return _WITNESS[0](_WITNESS[1](command))


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
    "--partial", is_flag=True, help="With --otlp-json: what is before the oldest is not missed."
)
@click.option(
    "--archive",
    type=click.Path(path_type=Path),
    help="With --otlp-json: the archive of which every event must be there.",
)
@key_option
@checkpoint_option
@erasable_option
@click.option(
    "--require-checkpoint",
    is_flag=True,
    help="Each trail must be covered by one of --checkpoint.",
)
@click.option(
    "--origin",
    "origins",
    metavar="ORIGIN",
    multiple=True,
    help="A trail that must be there, as verify prints it; no other may be there."
    " Such as axon-audit/default/3f9a0c7be5d1824f.",
)
@witness_options
@json_option
@click.pass_context
def verify(ctx: click.Context, /, as_json: bool, **given: Any) -> None:
    """Verify that nothing in an archive was altered.

    PATH is its directory, or one sealed file. Finds what was altered, removed, inserted,
    moved or cut off, names the file and the event, and says up to where signed checkpoints
    prove that nothing is missing. Note down the origin of each trail that is printed: with
    --origin, an archive that was exchanged for another is found.

    With --otlp-json, what arrived at the far end of OpenTelemetry: finds the events that are
    missing or altered, and names those that came more than once. Give all files of a trail
    together, in any order. The checkpoints in them (checkpoint_to="otlp") are compared with
    the events; what arrived is proved only with --key. With --archive, a tail that never
    arrived is found as well.

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
    keys: Any,
    notes: Any,
    erasable: Path | None,
    require_checkpoint: bool,
    origins: tuple[str, ...],
    witnesses: Any,
    needed: int | None,
    as_json: bool,
) -> Verdict:
    quorum = quorum_of(witnesses, needed)
    given = [key for several in keys for key in several]
    texts = texts_of(notes)
    if otlp_json:
        if witnesses:
            raise click.UsageError("--witness and --witness-quorum are for archives")
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
    files: list[Path] = []
    with suppress(ArchiveError):  # there is none: `run_verify` says so
        files = files_of(path)
    with reading_bar("verifying", files) as progress:
        report = run_verify(
            path, given, texts, progress, origins, require_checkpoint, quorum, erasable
        )
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report, console(), bool(texts))
    return report.verdict


def quorum_of(witnesses: Any, needed: int | None) -> Quorum:
    """The quorum that `witness_options` asks for."""
    given = tuple(witness for several in witnesses for witness in several)
    try:
        return Quorum(given, len(given) if needed is None else needed)
    except AuditConfigError as exc:
        raise click.UsageError(str(exc)) from None


def texts_of(notes: Any) -> list[str]:
    """The checkpoints in the files of `checkpoint_option`.

    Raises:
        InvalidEventError: If there is none in one of them.
    """
    return [_text_of(note) for note in notes]


def _text_of(file: TextIO) -> str:
    """The checkpoints in *file*; of OTLP JSON, which may be large, the lines that have one."""
    name = semconv.CHECKPOINT_EVENT_NAME
    text = "".join(line for line in file if not line.startswith("{") or name in line)
    if not text.strip():
        raise InvalidEventError("there is no checkpoint in the file of --checkpoint")
    return text


class _Lines:
    """Prints paragraphs in the width of the terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(max(console.width, 40), 100)

    def print(self, text: str, indent: int = 0, style: str = "") -> None:
        """One paragraph, its further lines indented more."""
        wrapped = textwrap.wrap(
            plain(text),
            self._width,
            initial_indent=" " * indent,
            subsequent_indent=" " * (indent + 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
        for line in wrapped or [""]:
            self._console.print(Text(line, style=style), soft_wrap=True)


def _print(report: VerifyReport, to: Console, outside: bool) -> None:
    lines = _Lines(to)
    for writer in report.writers:
        _print_writer(writer, lines)
        if writer.cosigned_until is not None:
            _print_cosigned(writer, writer.cosigned_until, lines)
    if not report.keys:
        what = "no signature" if report.quorum is None else "no signature but those of witnesses"
        said = f"No key was given, so {what} was checked"
        said += ": the checkpoints given are taken as they are." if outside else " (--key)."
        lines.print(said)
    if report.lost_keys is not None:
        lines.print(report.lost_keys.words, style="yellow")
    for index in report.wrong_indexes:
        words = f"{plain(index.file)}: {plain(index.explanation)}; queries do not use it"
        lines.print(f"{words} (axon-audit index)", style="yellow")
    if report.unknown is not None:
        lines.print(report.unknown, style="yellow")
    lines.print("")
    for words in report.unproved:
        lines.print(f"Not proved: {words}.", style="bold red")
    if report.verdict == "ok":
        lines.print("No damage was found.", style="green")
    if report.ok:
        return
    count = len(report.findings) + report.left_out
    lines.print(f"{amount(count, 'finding')}:", style="bold red")
    for finding in report.findings:
        _print_finding(finding, lines)
    if report.left_out:
        lines.print(f"and {report.left_out:,} more", 2)


def _print_writer(writer: WriterReport, lines: _Lines) -> None:
    head = f"{writer.writer}: {amount(writer.events, 'event')}"
    if writer.first_sequence is not None and writer.last_sequence is not None:
        head += f", {writer.first_sequence:,} to {writer.last_sequence:,}"
    lines.print(f"{head}, in {amount(writer.files, 'sealed file')}", style="bold")
    if writer.origin is not None:
        lines.print(f"origin: {writer.origin}", 2)
    if writer.first_time is not None:
        lines.print(f"from {local(writer.first_time)} to {local(writer.last_time)}", 2)
    if writer.unsealed_events:
        lines.print(f"{amount(writer.unsealed_events, 'event')} in the journal, not sealed yet", 2)
    if writer.torn_bytes:
        lines.print(f"{writer.torn_bytes:,} bytes of a line that was never finished", 2)
    if writer.unfinished_seal is not None:
        lines.print(
            f"{writer.unfinished_seal} is not in the manifest yet: its writer was killed", 2
        )
    for deletion in writer.deletions[:_SHOWN]:
        which = numbers(deletion.first, deletion.last)
        said = f"deleted: {which}, {amount(deletion.files, 'file')} ({deletion.rule})"
        said += "" if deletion.proved else ", as the manifest says; no signed checkpoint covers it"
        lines.print(said, 2)
    for gap in writer.gaps[:_SHOWN]:
        why = f" ({gap.reason})" if gap.reason else ""
        lines.print(f"gap: {numbers(gap.first, gap.last)} lost{why}, says event {gap.told_by}", 2)
    for end in writer.unclean_ends[:_SHOWN]:
        said = f"unclean end of {end.writer}: {amount(end.events, 'event')} recovered"
        lines.print(f"{said}, says event {end.told_by}", 2)
    for adopted in writer.adopted[:_SHOWN]:
        which = numbers(adopted.first, adopted.last)
        lines.print(f"adopted: {which}, in {adopted.file}: nothing attests them", 2)
    for refusal in writer.refusals[:_SHOWN]:
        said = f"left alone: the files of {refusal.writer}, says event {refusal.told_by}"
        lines.print(f"{said}: {refusal.why}", 2)
    told = (
        *(writer.deletions, writer.gaps, writer.unclean_ends),
        *(writer.adopted, writer.refusals),
    )
    more = sum(max(0, len(found) - _SHOWN) for found in told)
    if more:
        lines.print(f"and {more:,} more of these", 2)
    _print_steps_back(writer, lines)
    if writer.proved_until is not None:
        said = f"proved up to event {writer.proved_until:,}"
        lines.print(f"{said}, by the checkpoint of {local(writer.proved_at)}", 2, "green")
    if writer.outside_until is not None:
        lines.print(
            f"covered up to event {writer.outside_until:,} by a checkpoint given", 2, "green"
        )
    lines.print(writer.uncovered_by(local), 2, "yellow")


def _print_cosigned(writer: WriterReport, until: int, lines: _Lines) -> None:
    said = f"cosigned up to event {until:,}, by {', '.join(writer.cosigned_by)}"
    lines.print(f"{said}, at {local(writer.cosigned_at)}", 2, "green")
    if writer.last_sequence is not None and writer.last_sequence > until:
        which = numbers(until + 1, writer.last_sequence)
        lines.print(f"{which}: not cosigned", 2, "yellow")


def _print_steps_back(writer: WriterReport, lines: _Lines) -> None:
    for step in writer.steps_back[:_SHOWN]:
        by = timedelta(milliseconds=round(step.seconds * 1000))
        said = f"time runs backwards: event {step.sequence} is dated {by} before the one before it"
        lines.print(f"{said} ({step.file})", 2, "yellow")
    more = len(writer.steps_back[_SHOWN:]) + writer.more_steps_back
    if more:
        lines.print(f"time runs backwards {more:,} more times", 2, "yellow")


def _print_finding(finding: Finding, lines: _Lines) -> None:
    where = "" if finding.sequence is None else f", event {finding.sequence}"
    lines.print(f"{finding.kind.replace('_', ' ')}: {finding.file}{where}", 2, "red")
    lines.print(finding.explanation, 4)


# --- prove -----------------------------------------------------------------------------------


def _print_script(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        script = resources.files(__package__).joinpath("data/verify_proof.py")
        click.echo(script.read_text("utf-8"), nl=False)
        ctx.exit()


@click.command()
@click.argument("about", metavar="EVENT_ID", nargs=-1)
@path_argument
@click.option(
    "--consistency",
    is_flag=True,
    help="Prove that the trail only grew: in place of EVENT_ID, OLD [NEW].",
)
@click.option(
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File for the proof; it must not exist. Default: it is printed.",
)
@click.option(
    "--checkpoint",
    type=_Text(),
    help="The signed checkpoint to prove it by. Default: the newest beside the archive.",
)
@click.option(
    "--script",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_script,
    help="Print the program that checks proofs (needs no axon-audit), and exit.",
)
@json_option
def prove(
    about: tuple[str, ...],
    path: Path,
    consistency: bool,
    output: Path | None,
    checkpoint: Any,
    as_json: bool,
) -> None:
    """Write a proof that one event is in the trail.

    The proof is JSON. A third party checks it without the archive, by the public key
    alone, with the program that --script prints:

    \b
    axon-audit prove --script > verify_proof.py
    python3 verify_proof.py PROOF KEY

    With --consistency, a proof that nothing of the trail was changed or removed between two
    checkpoints, for whoever has kept the older one: OLD and NEW are files with signed
    checkpoints, of which the newest counts; NEW can be left out, or `newest`: the newest beside
    the archive.

    \b
    axon-audit prove --consistency OLD [NEW] PATH
    """
    if output is not None and output.exists():
        raise click.ClickException(f"{str(output)!r} exists")
    if consistency:
        if checkpoint is not None or not 1 <= len(about) <= 2:
            raise click.UsageError("--consistency takes OLD [NEW] PATH, and no --checkpoint")
        old, *newer = [None if name == "newest" else _text_in(name) for name in about]
        if old is None:
            raise click.UsageError("OLD is a file with the checkpoint that was kept")
        proof = prove_consistency(path, old, *newer)
        what = {"old": about[0]}
    else:
        if len(about) != 1:
            raise click.UsageError("one EVENT_ID, and the PATH of the archive")
        proof = make_proof(path, about[0], None if checkpoint is None else checkpoint.read())
        what = {"event_id": about[0]}
    if output is None:
        print_json(proof)
        return
    write_file([msgspec.json.format(msgspec.json.encode(proof), indent=2), b"\n"], output)
    if as_json:
        print_json({"path": str(output), **what})
    else:
        click.echo(f"proof written to {plain(output)}")


def _text_in(name: str) -> str:
    """The text of a file of checkpoints."""
    try:
        content = content_of(Path(name), _LONGEST_PIPE, anywhere=True)
    except OSError as exc:
        raise click.ClickException(f"cannot read {shown(name)}: {exc.strerror}") from exc
    return content.decode("utf-8", "replace")
