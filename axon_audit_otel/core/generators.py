"""Which generator a ``with`` block is of, and whether that generator's own code runs.

A generator runs in the context of whoever asks it for the next item, and leaves there what it
has set. So what is to be true in its block only must be known by its frame, not by the context.
"""

from __future__ import annotations

import sys
from inspect import CO_ASYNC_GENERATOR, CO_GENERATOR
from opcode import opmap
from types import FrameType
from typing import Any
from weakref import ref

__all__ = ["Place", "entered", "innermost", "owner", "places"]

#: Functions of these names enter a block for who calls them.
_ENTERING = frozenset(("__enter__", "__aenter__", "enter_context", "enter_async_context"))
#: Packages that run generators as fixtures and hooks: what these set up is for others.
_LENDING = frozenset(("_pytest", "pluggy", "pytest_asyncio"))

_DELEGATES = {opmap.get("SEND"), opmap.get("YIELD_FROM")} - {None}  # the latter until 3.10
_RESUME = opmap.get("RESUME")
_CACHE = 0


class Place:
    """The frame of a generator, while blocks that are its own alone have not ended.

    Args:
        frame: Which frame. It leads back here through the blocks, so that nobody else may hold
            a place: a generator that was dropped must be found by Python.
    """

    __slots__ = ("__weakref__", "blocks", "frame")

    def __init__(self, frame: FrameType) -> None:
        self.frame = frame
        self.blocks: list[Any] = []

    @property
    def runs(self) -> bool:
        """Whether the generator is at work: in a call, or awaiting something for itself."""
        return self.frame.f_back is not None or _awaits(self.frame)


#: By the frame's id, since a frame has no weak references.
places: dict[int, ref[Place]] = {}


def owner(frame: FrameType | None) -> FrameType | None:
    """The frame of the generator that a block is of which begins in *frame*.

    None where it is of a function, or of a generator that lends it to others: one that is
    behind ``@contextmanager`` or ``@asynccontextmanager``, a fixture of pytest.
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
    """The place of a generator that begins a block; its caller keeps it for as long."""
    known = places.get(id(frame))
    place = None if known is None else known()
    if place is None:
        key, place = id(frame), Place(frame)
        places[key] = ref(place, lambda _: places.pop(key, None))
    return place


def innermost() -> Any:
    """The innermost block of the generators that this call comes from; None without one."""
    if not places:
        return None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        known = places.get(id(frame))
        place = None if known is None else known()
        if place is not None and place.blocks:
            return place.blocks[-1]
        frame = frame.f_back
    return None


def _driver(frame: FrameType) -> FrameType | None:
    """Who asks a generator for its next item, past those that ``yield from`` it."""
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
    """Whether who asks for an item, *by*, is what runs fixtures (anyio also reads data)."""
    package = str(by.f_globals.get("__name__", "")).partition(".")[0]
    return package in _LENDING or by.f_code.co_name == "_run_tests_and_fixtures"


if sys.version_info >= (3, 14):

    def _awaits(frame: FrameType) -> bool:
        """Whether an async generator's frame that is in no call waits inside, at an ``await``."""
        return bool(getattr(frame.f_generator, "ag_running", False))

else:

    def _awaits(frame: FrameType) -> bool:
        """Whether an async generator's frame that is in no call waits inside, at an ``await``."""
        if not frame.f_code.co_flags & CO_ASYNC_GENERATOR:
            return False
        code, at = frame.f_code.co_code, frame.f_lasti
        if _RESUME is None:  # until 3.10: the instruction is still to be done again
            return code[at + 2] in _DELEGATES
        if code[at] != _RESUME:  # until 3.12: the one before
            at += 2
        return code[at] == _RESUME and code[at + 1] & 3 > 1  # after a yield it is 1
