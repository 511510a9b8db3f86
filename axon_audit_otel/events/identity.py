"""The acting user and the running operation of a task, which follow its calls."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from contextlib import ContextDecorator, aclosing
from contextvars import ContextVar, Token
from typing import Any, NamedTuple, TypeVar
from weakref import ref

from opentelemetry import baggage

from ..core import generators, semconv
from ..core.generators import Place
from .draft import Acting
from .identifiers import checked_id, checked_text, identifier

__all__ = ["audit_context"]

_F = TypeVar("_F", bound=Callable[..., Any])


class Identity(NamedTuple):
    """The acting user and the session; the agent, on behalf of whom, and why: what is known."""

    user_id: str | None = None
    session_id: str | None = None
    acting: Acting = {}  # noqa: RUF012 - never changed; as `draft` takes them


NOBODY = Identity()


class _Block:
    """One ``with audit_context(...)``, from its beginning.

    Attributes:
        identity: What it says.
        outer: The one around it.
        below: The one that its context had before, which may be a generator's that waits.
        over: True if it has ended for code that still has it in its context.
        place: The generator that it is of, whose code alone it holds for.
    """

    __slots__ = ("below", "identity", "outer", "over", "place")
    over: bool

    def __init__(self, identity: Identity, outer: _Block | None, place: Place | None) -> None:
        self.identity = identity
        self.outer = outer
        self.below = _block.get()
        while self.below is not None and self.below.over:
            self.below = self.below.below
        self.over = False
        self.place = None if place is None else ref(place)

    @property
    def holds(self) -> bool:
        """True if it is valid for code that has it in its context."""
        if self.over or self.place is None:
            return not self.over
        place = self.place()
        return place is not None and place.runs

    def within(self, other: _Block) -> bool:
        """True if it began inside *other*, or is *other*."""
        block: _Block | None = self
        while block is not None and block is not other:
            block = block.outer
        return block is not None


_block: ContextVar[_Block | None] = ContextVar("axon_audit_identity", default=None)


#: The innermost audited operation of this task (an `Operation`), also after it has ended.
running: ContextVar[Any] = ContextVar("axon_audit_operation", default=None)


def active_operation() -> Any:
    """The innermost operation of this task that has not ended; None without one. One that is
    the block of a generator is that for the generator's own code alone."""
    operation = running.get()
    while operation is not None and not operation.holds:
        operation = operation.around
    return operation


class audit_context(ContextDecorator):  # noqa: N801 - it is called as a function
    """Name who acts for every memory operation inside the ``with`` block.

    An argument of the call itself goes before it; what is not given here stays as an
    enclosing `audit_context` said. Tasks and threads that are started inside with a copy of
    the context inherit it (`asyncio.create_task`, `TaskGroup`, `asyncio.to_thread`), also if
    they outlive it. As a decorator it holds for each call of a function or coroutine function,
    and for the items of a generator function, also an async one (which nothing can be sent to).

    In a generator, also an async one, it holds for the generator's own code, whoever asks for
    the next item and in which task, and for tasks that it started for as long as the generator
    is at work. It is never lent to the code that consumes the items. In a function behind
    `contextlib.contextmanager` or `asynccontextmanager`, or a fixture of pytest, it holds for
    the block that this is made for.

    What Python cannot do: a function that runs in a thread with a context of its own (as web
    frameworks run synchronous dependencies) changes nothing outside of that thread; a task that
    the consumer of an async generator starts between two items, and does not wait for, cannot be
    told from one that the generator started, while the generator is at work.

    Args:
        user_id: Who acts.
        session_id: In which session.
        agent_id: The agent (the program) that acts.
        on_behalf_of: The person for whom it is done.
        purpose: Why, in words.

    Raises:
        InvalidEventError: If an id is no text, number or UUID, or the purpose no text.
    """

    def __init__(
        self,
        *,
        user_id: str | None = None,
        session_id: str | None = None,
        agent_id: str | None = None,
        on_behalf_of: str | None = None,
        purpose: str | None = None,
    ) -> None:
        self._user_id = None if user_id is None else checked_id("user_id", user_id)
        self._session_id = None if session_id is None else checked_id("session_id", session_id)
        self._acting = acting_as(NOBODY.acting, agent_id, on_behalf_of, purpose)
        self._entered: list[tuple[_Block, Token[_Block | None], Place | None]] = []

    def __enter__(self) -> None:
        frame = generators.owner(sys._getframe(1))
        place = None if frame is None else generators.entered(frame)
        outer = _current()
        around = NOBODY if outer is None else outer.identity
        identity = Identity(
            around.user_id if self._user_id is None else self._user_id,
            around.session_id if self._session_id is None else self._session_id,
            {**around.acting, **self._acting} if self._acting else around.acting,
        )
        block = _Block(identity, outer, place)
        if place is not None:
            place.blocks.append(block)
        self._entered.append((block, _block.set(block), place))

    def __exit__(self, *exc_info: object) -> None:
        if not self._entered:
            return  # it has ended: a web framework may tear a request down twice
        entered = self._leaving()
        self._entered.remove(entered)
        block, token, place = entered
        newest = _block.get()
        if place is not None:
            place.blocks.remove(block)
            block.over = True
        else:
            newest = _holding(newest)  # what generators left in this context holds no more
        try:
            if newest is block:
                _block.reset(token)
                return
        except ValueError:
            pass  # in a copy of the context
        block.over = True  # in another context than it began in, or before one inside it

    def __del__(self) -> None:
        for block, _, place in getattr(self, "_entered", ()):  # dropped with the frame it was of
            block.over = True
            if place is not None:
                place.blocks.remove(block)

    def _leaving(self) -> tuple[_Block, Token[_Block | None], Place | None]:
        """The entry that ends now, where this object was entered more than once."""
        if len(self._entered) > 1:
            for wanted in (generators.innermost(), _block.get()):
                for entered in reversed(self._entered):
                    if entered[0] is wanted:
                        return entered
        return self._entered[-1]

    def _recreate_cm(self) -> audit_context:
        return audit_context(user_id=self._user_id, session_id=self._session_id, **self._acting)

    def __call__(self, func: _F) -> _F:
        if inspect.iscoroutinefunction(func):

            @functools.wraps(func)
            async def inner(*args: Any, **kwargs: Any) -> Any:
                with self._recreate_cm():
                    return await func(*args, **kwargs)

        elif inspect.isgeneratorfunction(func):

            @functools.wraps(func)
            def inner(*args: Any, **kwargs: Any) -> Any:
                with self._recreate_cm():
                    return (yield from func(*args, **kwargs))

        elif inspect.isasyncgenfunction(func):

            @functools.wraps(func)
            async def inner(*args: Any, **kwargs: Any) -> Any:
                with self._recreate_cm():
                    async with aclosing(func(*args, **kwargs)) as items:
                        async for item in items:
                            yield item

        else:
            return super().__call__(func)
        return inner  # type: ignore[return-value]


def current_identity() -> Identity:
    """The identity that `audit_context` sets here."""
    block = _block.get()
    if generators.places or (block is not None and (block.over or block.place is not None)):
        block = _current()
    return NOBODY if block is None else block.identity


def _current() -> _Block | None:
    """The innermost block that holds for the code that asks."""
    block = _holding(_block.get())
    inner: _Block | None = generators.innermost()  # of the generator that runs
    return block if inner is None or (block is not None and block.within(inner)) else inner


def _holding(block: _Block | None) -> _Block | None:
    """*block*, or the nearest below it that holds."""
    while block is not None and not block.holds:
        block = block.below
    return block


def _as_id(_field: str, value: Any) -> str:
    return identifier(value)


def named_or_current(
    user_id: Any, session_id: Any, as_id: Callable[[str, Any], str] = _as_id
) -> tuple[str | None, str | None, Acting]:
    """The acting user and the session that a call names, else those of `audit_context`; and what
    else this says.

    Args:
        user_id: The user that the call names, or None.
        session_id: The session that the call names, or None.
        as_id: Makes text of an id, given the name of its field; may raise.
    """
    here = current_identity()
    return (
        here.user_id if user_id is None else as_id("user_id", user_id),
        here.session_id if session_id is None else as_id("session_id", session_id),
        here.acting,
    )


def acting_as(around: Acting, agent_id: Any, on_behalf_of: Any, purpose: Any) -> Acting:
    """*around*, with what is given instead of what it says; as `draft` takes it.

    Raises:
        InvalidEventError: If an id is no text, number or UUID, or the purpose no text.
    """
    acting = around.copy()
    if agent_id is not None:
        acting["agent_id"] = checked_id("agent_id", agent_id)
    if on_behalf_of is not None:
        acting["on_behalf_of"] = checked_id("on_behalf_of", on_behalf_of)
    if purpose is not None:
        acting["purpose"] = checked_text("purpose", purpose)
    return acting


def or_from_baggage(user_id: str | None, session_id: str | None) -> tuple[str | None, str | None]:
    """The user and the session; one that is None is taken from the OpenTelemetry baggage."""
    if user_id is not None and session_id is not None:
        return user_id, session_id
    carried = baggage.get_all()
    if user_id is None and (user := carried.get(semconv.USER_ID)) is not None:
        user_id = identifier(user)
    if session_id is None and (session := carried.get(semconv.SESSION_ID)) is not None:
        session_id = identifier(session)
    return user_id, session_id
