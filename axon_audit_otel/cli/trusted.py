"""Options for what the caller trusts: public keys, witnesses, checkpoints kept elsewhere."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, TextIO

import click

from ..archive.checkpoints import VerifyingKey
from ..archive.cosignatures import Quorum, WitnessKey
from ..core import semconv
from ..core.content import content_of
from ..core.errors import AuditConfigError, InvalidEventError, shown
from ..core.files import named, open_regular

__all__ = [
    "LONGEST_PIPE",
    "NOTES",
    "CheckpointText",
    "checkpoint_option",
    "key_option",
    "quorum_of",
    "texts_of",
    "witness_options",
]

#: Under this name a context has the files of `checkpoint_option`.
NOTES = "axon_audit_otel.checkpoints"
#: Bytes of checkpoints that come out of a pipe, at most.
LONGEST_PIPE = 1 << 28
_LONGEST_KEYS = 1 << 20  # bytes of a file of public keys


class _Public(click.ParamType):  # type: ignore[type-arg,unused-ignore]
    """Public keys: a line, or a file of such lines."""

    name = "file|line"

    def __init__(self, parse: Callable[[str], list[Any]]) -> None:
        self._parse = parse

    def convert(self, value: Any, param: Any, ctx: Any) -> list[Any]:
        text = str(value)
        try:
            is_file = os.path.isfile(text)  # noqa: PTH113 - of any text, and raises nothing
            if is_file:
                text = content_of(Path(text), _LONGEST_KEYS, anywhere=True).decode()
            if "PRIVATE+KEY" in text:
                self.fail("that is a private key; verifying needs the public one", param, ctx)
            if "+" not in text:
                what = "no key is in the file" if is_file else "no such file, and not a key line"
                self.fail(f"{what} (name+id+key)", param, ctx)
            return self._parse(text)
        except UnicodeDecodeError:
            self.fail("the file is not text", param, ctx)
        except OSError as exc:
            self.fail(f"cannot read the file: {exc.strerror or exc}", param, ctx)
        except AuditConfigError as exc:
            self.fail(str(exc), param, ctx)


def _keys_in(text: str) -> list[VerifyingKey]:
    return [VerifyingKey.parse(line) for line in text.splitlines() if line.strip()]


def _witnesses_in(text: str) -> list[WitnessKey]:
    """The keys of witnesses, also with their URLs and comments beside them."""
    lines = [line.split("#")[0].split() for line in text.splitlines()]
    return [WitnessKey.parse(line[-1]) for line in lines if line and "://" not in line[-1]]


class CheckpointText(click.ParamType):  # type: ignore[type-arg,unused-ignore]
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
                content = content_of(path, LONGEST_PIPE, anywhere=True)
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
    help="Public key (a file or its line). Repeat it if keys changed: one of them must have"
    " signed each checkpoint.",
)

#: Checkpoints that were kept elsewhere.
checkpoint_option = click.option(
    "--checkpoint",
    "notes",
    type=CheckpointText(),
    multiple=True,
    help="File of checkpoints kept elsewhere: notes, or OTLP JSON that a collector wrote.",
)

_WITNESS = [
    click.option(
        "--witness",
        "witnesses",
        type=_Public(_witnesses_in),
        multiple=True,
        help="Public key of a witness (a file or its line) that must have cosigned a checkpoint.",
    ),
    click.option(
        "--witness-quorum",
        "needed",
        type=int,
        help="How many of the witnesses must have cosigned. Default: all.",
    ),
]


def witness_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """*command* with the options ``witnesses`` and ``needed``, for `quorum_of`."""
    return _WITNESS[0](_WITNESS[1](command))


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
