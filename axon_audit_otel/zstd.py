"""Zstandard streams: of Python 3.14's own module, else of the package ``zstandard``."""

from __future__ import annotations

import importlib
import io
import os
import shutil
from functools import cache
from typing import Any, BinaryIO, cast

from .reading import LineLimit

__all__ = ["MAGIC", "available", "compress", "decompressed"]

MAGIC = b"\x28\xb5\x2f\xfd"  # what every frame begins with (RFC 8878)
_LEVEL = 3
_BLOCK = 1 << 20


@cache
def _module() -> Any:
    """Whichever module there is; None without one."""
    for name in ("compression.zstd", "zstandard"):
        try:
            return importlib.import_module(name)
        except ImportError:
            continue
    return None


def available() -> bool:
    """Whether there is a module for it."""
    return _module() is not None


def _zstd() -> Any:
    found = _module()
    if found is None:
        raise OSError(95, "Zstandard is missing: pip install 'axon-audit-otel[zstd]'")
    return found


def compress(source: BinaryIO, target: BinaryIO) -> None:
    """Write what *source* holds to *target*, as one frame with a checksum.

    Raises:
        OSError: If that failed, or there is no module for it.
    """
    zstd = _zstd()
    if hasattr(zstd, "ZstdFile"):
        options = {
            zstd.CompressionParameter.compression_level: _LEVEL,
            zstd.CompressionParameter.checksum_flag: 1,
        }
        with zstd.ZstdFile(target, "wb", options=options) as stream:
            shutil.copyfileobj(source, stream, _BLOCK)
    else:
        compressor = zstd.ZstdCompressor(level=_LEVEL, write_checksum=True)
        compressor.copy_stream(source, target, size=os.fstat(source.fileno()).st_size)


def decompressed(source: BinaryIO) -> BinaryIO:
    """What the frames in *source* hold; closes *source* with it.

    Raises:
        OSError: If there is no module for it; while reading, if a frame is damaged or a line
            longer than `reading.LINE_LIMIT`.
    """
    return cast(BinaryIO, io.BufferedReader(_Reader(source), _BLOCK))


class _Reader(io.RawIOBase):
    """Reads frames, and says what is wrong with them as an `OSError`."""

    def __init__(self, source: BinaryIO) -> None:
        zstd = _zstd()
        self._source = source
        self._limit = LineLimit()
        if hasattr(zstd, "ZstdFile"):
            self._stream = zstd.ZstdFile(source, "rb")
            self._faults: tuple[type[BaseException], ...] = (zstd.ZstdError, EOFError)
        else:
            decompressor = zstd.ZstdDecompressor()
            self._stream = decompressor.stream_reader(source, read_across_frames=True)
            self._faults = (zstd.ZstdError,)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            return self._limit.pass_on(buffer, self._stream.readinto(buffer))
        except self._faults as exc:
            raise OSError(5, f"damaged compression: {exc}") from exc

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()
