"""Finds the generator that a ``with`` block belongs to, and tells if its own code runs.

A generator runs in the context of its consumer, and values that it sets there stay set between
items. So a value for the generator's own block must be tied to its frame, not to the context.
"""

from __future__ import annotations

import sys
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from opcode import opmap
from types import FrameType
from typing import Any
from weakref import ref

__all__ = ["Place", "entered", "innermost", "owner", "places"]

#: Functions with these names enter a block for their caller.
_ENTERING = frozenset(("__enter__", "__aenter__", "enter_context", "enter_async_context"))
#: Packages that run generators as fixtures and hooks: these set up things for other code.
_LENDING = frozenset(("_pytest", "pluggy", "pytest_asyncio"))

_DELEGATES = {opmap.get("SEND"), opmap.get("YIELD_FROM")} - {None}  # the latter until 3.10
_RESUME = opmap.get("RESUME")
_CACHE = 0


class Place:
    """The frame of a generator, and its own open blocks.

    Args:
        frame: The frame. It refers back to the place through the blocks. Nothing else may hold
            a place, or Python could not collect a dropped generator.
    """

    __slots__ = ("__weakref__", "blocks", "frame")

    def __init__(self, frame: FrameType) -> None:
        self.frame = frame
        self.blocks: list[Any] = []

    @property
    def runs(self) -> bool:
        """Return True if the generator's own code runs: it is in a call, or awaits something."""
        return self.frame.f_back is not None or _awaits(self.frame)


#: Places by the id of the frame, since frames cannot be weakly referenced.
places: dict[int, ref[Place]] = {}


def owner(frame: FrameType | None) -> FrameType | None:
    """The frame of the generator that owns a block which begins in *frame*.

    Returns None if a function owns it, or a generator that opens the block for other code: a
    fixture of pytest, or one decorated with ``@contextmanager`` or ``@asynccontextmanager``.
    """
    while frame is not None:
        if frame.f_code.co_name not in _ENTERING:
            if not frame.f_code.co_flags & (CO_GENERATOR | CO_ASYNC_GENERATOR):
                return None
            by = _driver(frame)
            if by is None or by.f_code.co_name not in _ENTERING:
                return None if by is not None and _lends(by) else frame
            frame = by
        frame = frame.f_back
    return None


def entered(frame: FrameType) -> Place:
    """The place of a generator that begins a block; the caller keeps it until the block ends."""
    place = _place_of(frame)
    if place is None:
        key, place = id(frame), Place(frame)
        places[key] = ref(place, lambda _: places.pop(key, None))
    return place


def innermost() -> Any:
    """The innermost open block of the generators on the call stack; None without one."""
    if not places:
        return None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        place = _place_of(frame)
        if place is not None and place.blocks:
            return place.blocks[-1]
        frame = frame.f_back
    return None


def _place_of(frame: FrameType) -> Place | None:
    known = places.get(id(frame))
    return None if known is None else known()


def _driver(frame: FrameType) -> FrameType | None:
    """The frame that consumes a generator; generators that ``yield from`` it are skipped."""
    by = frame.f_back
    while by is not None and by.f_code.co_flags & CO_GENERATOR:
        code, at = by.f_code.co_code, by.f_lasti
        while at > 0 and code[at] == _CACHE:  # behind the instruction, in 3.12
            at -= 2
        if code[at] not in _DELEGATES:
            break
        by = by.f_back
    return by


def _lends(by: FrameType) -> bool:
    """Return True if *by*, the consumer, runs fixtures (by function, as anyio also reads data)."""
    package = str(by.f_globals.get("__name__", "")).partition(".")[0]
    return package in _LENDING or by.f_code.co_name == "_run_tests_and_fixtures"


def _awaits(frame: FrameType) -> bool:
    """Return True if the frame, which is in no call, waits inside at an ``await``."""
    if sys.version_info >= (3, 14):
        return bool(getattr(frame.f_generator, "ag_running", False))
    if not frame.f_code.co_flags & CO_ASYNC_GENERATOR:
        return False
    code, at = frame.f_code.co_code, frame.f_lasti
    if _RESUME is None:  # until 3.10: the next instruction is the one to repeat
        return code[at + 2] in _DELEGATES
    if code[at] != _RESUME:  # until 3.12: `f_lasti` is the instruction before RESUME
        at += 2
    return code[at] == _RESUME and code[at + 1] & 3 > 1  # the argument is 1 after a yield
