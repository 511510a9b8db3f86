"""The command `replay`, and `verify --otlp-json`: sends events again, and checks what arrived."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import msgspec
from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from ..core.units import size
from ..events.localtime import local
from ..otlp.resource import resource_from_environment
from ..trail.settings import Settings
from ..verification.report import Verdict, numbers
from .options import json_option, parsed
from .render import amount, console, plain, print_json, reading_bar

__all__ = ["event_bar", "opened_store", "print_arrival", "replay", "verify_files"]

_Command = TypeVar("_Command", bound=Callable[..., Any])
_SHOWN = 5  # duplicates and gaps that are printed


def verify_files(
    paths: Sequence[Path], archive: Path | None, as_json: bool, **asked: Any
) -> Verdict:
    """Verify the files that a collector wrote, print the report, and return the verdict.

    Args:
        paths: The files.
        archive: The archive that they are compared with; None: none.
        as_json: Print it as JSON.
        asked: The further arguments of `verify_arrival`.
    """
    from ..shipping.received import verify_arrival

    with reading_bar("verifying", paths) as progress:
        report = verify_arrival(paths, archive=archive, progress=progress, **asked)
    if as_json:
        print_json(report.to_dict())
    else:
        print_arrival(report, archive is not None, console())
    return report.verdict


def _limit_option(setting: str, name: str, words: str) -> Callable[[_Command], _Command]:
    return click.option(
        name,
        metavar="SIZE",
        envvar=Settings.variable(setting),
        callback=parsed(size),
        help=f"{words} Default: {Settings.default(setting) // 1000}kB.",
    )


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option("--endpoint", metavar="URL", help="The collector: a URL, or HOST:PORT.")
@click.option(
    "--protocol",
    type=click.Choice(["http/protobuf", "grpc"]),
    help="Default: as OTEL_EXPORTER_OTLP_PROTOCOL says, else gRPC for port 4317.",
)
@click.option(
    "--header", "headers", metavar="NAME=VALUE", multiple=True, help="Header to send; repeatable."
)
@click.option("--all", "everything", is_flag=True, help="Send acknowledged events too.")
@click.option(
    "--store",
    metavar="URL",
    help="Send exactly what this store lacks, also if it was acknowledged; as verify --store.",
)
@_limit_option("ship_request_bytes", "--request-bytes", "Largest request, uncompressed.")
@_limit_option("ship_event_bytes", "--event-bytes", "Largest log record of an event.")
@click.option(
    "--patience",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    help="Seconds without progress before it gives up.",
)
@json_option
@click.pass_context
def replay(
    ctx: click.Context,
    directory: Path,
    endpoint: str | None,
    protocol: str | None,
    headers: tuple[str, ...],
    everything: bool,
    store: str | None,
    request_bytes: int | None,
    event_bytes: int | None,
    patience: float,
    as_json: bool,
) -> None:
    """Send to a collector what it missed.

    Sends the events in DIRECTORY, an archive, that no collector has acknowledged, and then
    remembers them as acknowledged. With --all it sends every event, for a new store. What a
    receiver had already, it gets twice, with the same log.record.uid. Without --endpoint, and
    for TLS, compression, timeout and further headers, the OTEL_EXPORTER_OTLP_* variables count;
    OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES name the source of the events. Exit code 1:
    not everything was sent; the next call continues there.

    What a receiver refused alone, or was too large, does not hold up the others: the archive
    keeps a list of it, and each call tries again.

    With --store it sends what is missing there, and nothing that is: after a store lost what it
    had acknowledged, for example. It can be stopped at any time; the next call compares again.
    """
    from ..otlp.client import Endpoint
    from ..shipping.delivery import Limits
    from ..shipping.replay import replay as run

    if store is not None and everything:
        raise click.UsageError("--all sends what --store would leave out: give one of them")

    target = Endpoint.resolve(endpoint, protocol, dict(map(_header, headers)))
    limits = Limits(
        Settings.one("ship_request_bytes", request_bytes),
        Settings.one("ship_event_bytes", event_bytes),
    )
    resource = resource_from_environment()
    compared = None if store is None else opened_store(store)
    try:
        with event_bar(f"sending to {target.place}") as progress:
            done = run(
                directory, target, resource, everything, patience, progress, limits, compared
            )
    finally:
        if compared is not None:
            compared.close()
    if as_json:
        print_json({"endpoint": target.place, **msgspec.to_builtins(done)})
    else:
        _print_replayed(done, target.place, store is not None)
    if done.why:
        click.echo(f"Error: not everything was sent: {plain(done.why)}", err=True)
    lacks = done.rejected or done.too_large or done.missing or done.unreadable
    ctx.exit(1 if done.why or lacks else 0)


def _print_replayed(done: Any, place: str, compared: bool) -> None:
    """Print what was sent, and what was not and why; *compared*: with a store."""
    click.echo(f"{amount(done.sent, 'event')} sent to {plain(place)}")
    known = "in the store already" if compared else "acknowledged before (--all sends them again)"
    for number, words in (
        (done.before, known),
        (done.too_old, "older than the store keeps"),
        (done.left, "left to the running application, which sends them"),
        (done.again, "of these had not been taken before"),
        (done.rejected, "refused by the collector for good"),
        (done.too_large, "not sent: too large (--event-bytes, --request-bytes)"),
        (done.deleted, "deleted by retention before they were sent"),
        (done.missing, "in files that are gone, cut off or cannot be read (axon-audit verify)"),
    ):
        if number:
            click.echo(f"{amount(number, 'event')} {words}", err=True)
    if done.unreadable:
        click.echo(f"{amount(done.unreadable, 'line')} of the archive: no event", err=True)
    for writer in done.unremembered:
        click.echo(f"{plain(writer)}: acknowledgements could not be remembered", err=True)


def opened_store(url: str) -> Any:
    """The store at *url*, with the headers of the environment.

    Raises:
        AuditConfigError: If it cannot be meant.
    """
    from ..shipping.stores.address import open_store

    return open_store(url, Settings.one("store_headers"))


def _header(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise click.BadParameter("not NAME=VALUE", param_hint="--header")
    return name.strip(), value.strip()


@contextmanager
def event_bar(what: str) -> Iterator[Callable[[int, int], None]]:
    """A progress bar on a terminal; its function takes the events done and the total."""
    to = console(stderr=True)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TimeRemainingColumn(),
    )
    with _Rated(*columns, console=to, disable=not to.is_interactive) as bar:
        task = bar.add_task(what, total=None, rate=0.0)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class _Rated(Progress):
    """A progress bar that shows 0 events a second while the speed is unknown."""

    def get_renderables(self) -> Iterable[RenderableType]:
        for task in self.tasks:
            task.fields["rate"] = task.speed or 0.0
        yield from super().get_renderables()


def print_arrival(report: Any, compared: bool, to: Console) -> None:
    """Print what arrived; *compared*: it was compared with an archive."""

    def say(text: str, style: str = "") -> None:
        to.print(Text(plain(text), style=style), soft_wrap=True)

    for stream in report.streams:
        which = f" ({stream.stream})" if stream.stream else ""
        head = f"{stream.trail or 'unnamed trail'}{which}: {amount(stream.events, 'event')}"
        if stream.last_sequence is not None:
            head += f", {stream.first_sequence:,} to {stream.last_sequence:,}"
        say(head, "bold")
        if stream.stream:
            say(f"  origin: {stream.origin}")
        if stream.duplicates:
            say(f"  {amount(stream.duplicates, 'duplicate')}, to be dropped by log.record.uid")
        if stream.out_of_order:
            say(f"  {amount(stream.out_of_order, 'event')} came out of order, which is no damage")
        for gap in stream.gaps[:_SHOWN]:
            why = f" ({gap.reason})" if gap.reason else ""
            reported = f"lost before it was sent{why}, as event {gap.told_by} reports"
            say(f"  gap: {numbers(gap.first, gap.last)} {reported}")
        if len(stream.gaps) > _SHOWN:
            say(f"  and {len(stream.gaps) - _SHOWN:,} more gaps")
        if stream.proved_until is not None:
            when = f"by the checkpoint of {local(stream.proved_at)}"
            say(f"  proved up to event {stream.proved_until:,}, {when}", "green")
            if stream.last_sequence is not None and stream.proved_until < stream.last_sequence:
                say(f"  what came after event {stream.proved_until:,} is not proved yet", "yellow")
        elif stream.checkpoints:
            say("  its checkpoints are not signed by a known key (--key)", "yellow")
    if report.duplicates:
        more = ", ..." if len(report.duplicates) > _SHOWN else ""
        say("duplicates: " + ", ".join(report.duplicates[:_SHOWN]) + more + " (--json: all)")
    for words in report.told:
        say(words)
    if report.other_records:
        say(f"{amount(report.other_records, 'other log record')} passed over")
    if report.torn_lines:
        say(f"{amount(report.torn_lines, 'line')} not finished: a collector was killed, probably")
    for words in report.unproved:
        say(f"Not proved: {words}.", "bold red")
    if compared and not report.keys:
        say("The archive is taken as it is: no key was given to verify it (--key).")
    if report.verdict == "ok":
        until = "of the archive" if compared else "up to the newest event"
        say(f"Nothing is missing {until}, and nothing was altered.", "green")
    if report.findings:
        say(f"{amount(len(report.findings) + report.left_out, 'finding')}:", "bold red")
    for finding in report.findings:
        where = "" if finding.sequence is None else f", event {finding.sequence}"
        say(f"  {finding.kind}: {finding.file}{where}", "red")
        say(f"    {finding.explanation}")
    if report.left_out:
        say(f"  and {report.left_out:,} more")
