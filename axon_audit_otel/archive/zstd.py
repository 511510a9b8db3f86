"""Zstandard streams, by Python 3.14's own module or its backport."""

from __future__ import annotations

import io
import shutil
import sys
from contextlib import suppress
from importlib import import_module
from typing import Any, BinaryIO, cast

from ..core.files import LineLimit

_zstd: Any = None
with suppress(ImportError):
    _zstd = import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

__all__ = ["MAGIC", "available", "compress", "decompressed"]

MAGIC = b"\x28\xb5\x2f\xfd"  # the beginning of every frame (RFC 8878)
_LEVEL = 3
_BLOCK = 1 << 20


def available() -> bool:
    """Return True if a module for it is installed."""
    return _zstd is not None


def _module() -> Any:
    if _zstd is None:
        raise OSError(95, "Zstandard is missing: pip install 'axon-audit-otel[zstd]'")
    return _zstd


def compress(source: BinaryIO, target: BinaryIO) -> None:
    """Write the content of *source* to *target*, as one frame with a checksum.

    Raises:
        OSError: If that failed, or no module for it is installed.
    """
    zstd = _module()
    parameters = zstd.CompressionParameter
    options = {parameters.compression_level: _LEVEL, parameters.checksum_flag: 1}
    with zstd.ZstdFile(target, "wb", options=options) as stream:
        shutil.copyfileobj(source, stream, _BLOCK)


def decompressed(source: BinaryIO) -> BinaryIO:
    """A reader of the decompressed content of *source*, which it closes with itself.

    Raises:
        OSError: If no module for it is installed; while reading, if a frame is damaged or a line
            is longer than `files.LINE_LIMIT`.
    """
    return cast(BinaryIO, io.BufferedReader(_Reader(source), _BLOCK))


class _Reader(io.RawIOBase):
    """Reads frames, and raises their errors as `OSError`."""

    def __init__(self, source: BinaryIO) -> None:
        self._source = source  # first: `close` needs it even if the rest fails
        zstd = _module()
        self._limit = LineLimit()
        self._stream = zstd.ZstdFile(source, "rb")
        self._faults: tuple[type[BaseException], ...] = (zstd.ZstdError, EOFError)

    def readable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._source.fileno()

    def readinto(self, buffer: Any) -> int:
        try:
            return self._limit.pass_on(buffer, self._stream.readinto(buffer))
        except self._faults as exc:
            raise OSError(5, f"damaged compression: {exc}") from exc

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()
