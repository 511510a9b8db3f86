"""Rows that may be many: in memory while they are few, then in a file without a name."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import msgspec

__all__ = ["Rows"]

_IN_MEMORY = 4 << 20  # bytes

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode


class Rows:
    """JSON objects in their order. Iterate over them once at a time, after the last `add`."""

    def __init__(self) -> None:
        # Closed, and gone from the disk, with this object.
        self._file = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, row: dict[str, Any]) -> None:
        """Add a row.

        Raises:
            OSError: If there is no room for it.
        """
        self._file.write(_encode(row) + b"\n")
        self._number += 1

    def __iter__(self) -> Iterator[dict[str, Any]]:
        self._file.seek(0)
        return map(_decode, self._file)
