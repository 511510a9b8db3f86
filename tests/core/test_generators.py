"""The acting user in and around generators, threads, tasks and copied contexts."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import (
    AsyncExitStack,
    ExitStack,
    aclosing,
    asynccontextmanager,
    closing,
    contextmanager,
    suppress,
)
from typing import Any

import pytest
from axon import MemorySystem
from conftest import ListingAdapter, MakeSystem, history
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from axon_audit_otel import AuditLogger, audit_context
from axon_audit_otel.core import generators

pytestmark = pytest.mark.usefixtures("instrumented")


@pytest.fixture(autouse=True, scope="module")
def _short_collections() -> None:
    """Collections leave out what was there before these tests, which collect after each."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _nothing_is_kept() -> Iterator[None]:
    """No generator is remembered when all have ended."""
    yield
    gc.collect()
    assert generators.places == {}


def who(audit: AuditLogger) -> list[str | None]:
    """The acting user of each event, oldest first."""
    return [event.user_id for event in history(audit)]


def act(memory: MemorySystem) -> None:
    """An operation from code that is not asynchronous, in the context of its caller."""
    with suppress(StopIteration):
        memory.store("tea").send(None)


async def answer(memory: MemorySystem, user: str, parts: int = 3) -> AsyncIterator[int]:
    """An answer in parts, each after a store by *user*."""
    with audit_context(user_id=user):
        for part in range(parts):
            await memory.store(user)
            yield part


def lines(memory: MemorySystem, user: str, parts: int = 3) -> Iterator[int]:
    with audit_context(user_id=user):
        for part in range(parts):
            act(memory)
            yield part


class TestConsumer:
    """Operations of a generator's consumer never get the generator's identity."""

    @pytest.mark.parametrize("outer", [None, "bob"])
    async def test_between_items(
        self, memory: MemorySystem, audit: AuditLogger, outer: str | None
    ) -> None:
        """Neither between two items nor after the last one."""
        with audit_context(user_id=outer):
            async for _ in answer(memory, "alice", 2):
                await memory.store("mine")
            await memory.store("mine")
        await memory.store("nobody's")
        assert who(audit) == ["alice", outer, "alice", outer, outer, None]

    def test_between_items_of_a_plain_one(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A generator that is not asynchronous behaves in the same way."""
        for _ in lines(memory, "alice", 2):
            act(memory)
        act(memory)
        assert who(audit) == ["alice", None, "alice", None, None]

    async def test_what_it_waits_for(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Nor is what it does in tasks and threads between two items."""
        async for _ in answer(memory, "alice", 2):
            await asyncio.gather(memory.store("mine"), asyncio.to_thread(act, memory))
        assert who(audit) == ["alice", None, None, "alice", None, None]

    @pytest.mark.parametrize("ends", ["left", "closed", "dropped", "raised", "closed elsewhere"])
    async def test_abandoned(self, memory: MemorySystem, audit: AuditLogger, ends: str) -> None:
        """A generator that is left early lends nothing, before it is closed and afterwards."""
        generator: Any = answer(memory, "alice")
        if ends == "left":
            async for _ in generator:
                break
        else:
            await anext(generator)
        if ends == "closed":
            await generator.aclose()
        elif ends == "raised":
            with pytest.raises(KeyError):
                await generator.athrow(KeyError("mine"))
        elif ends == "closed elsewhere":
            await asyncio.create_task(generator.aclose())
        await memory.store("at once")
        del generator
        gc.collect()
        await asyncio.sleep(0)  # asyncio closes what was dropped in a task of its own
        await asyncio.sleep(0)
        await memory.store("later")
        await asyncio.create_task(memory.store("in a task"))
        with audit_context(user_id="bob"):
            await memory.store("bob's")
        assert who(audit) == ["alice", None, None, None, "bob"]

    def test_abandoned_plain_one(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """The identity also ends if Python closes the generator, in any thread or context."""
        for close in (
            lambda generator: None,
            lambda generator: generator.close(),
            lambda generator: contextvars.copy_context().run(generator.close),
            lambda generator: ThreadPoolExecutor(1).submit(generator.close).result(),
        ):
            generator: Any = lines(memory, "alice")
            next(generator)
            close(generator)
            act(memory)
            del generator
            act(memory)
        assert who(audit) == ["alice", None, None] * 4

    def test_loop_that_was_closed(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A generator whose loop has ended is never closed, only freed; it lends nothing either."""
        kept: list[Any] = []

        async def begin() -> contextvars.Context:
            kept.append(answer(memory, "alice"))
            await anext(kept[0])
            return contextvars.copy_context()

        loop = asyncio.new_event_loop()
        context = loop.run_until_complete(begin())
        loop.close()
        context.run(act, memory)
        kept.clear()
        gc.collect()
        context.run(act, memory)
        assert who(audit) == ["alice", None, None]

    def test_shutdown_of_generators(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """`asyncio.run` closes what is left, after its main task."""
        kept: list[Any] = []

        async def main() -> None:
            kept.append(answer(memory, "alice"))
            await anext(kept[0])
            await memory.store("mine")

        asyncio.run(main())
        act(memory)
        assert who(audit) == ["alice", None, None]


class TestInterleaved:
    async def test_async_ones(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Generators of different users that are consumed in turn keep to their own."""
        one, two = answer(memory, "alice", 2), answer(memory, "bob", 3)
        with suppress(StopAsyncIteration):
            while True:
                await anext(one)
                await anext(two)
                await memory.store("mine")
        await anext(two)
        await two.aclose()
        await memory.store("mine")
        assert who(audit) == ["alice", "bob", None, "alice", "bob", None, "bob", None]

    def test_plain_ones(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Plain generators that `zip` consumes in turn keep to their own users, too."""
        for _ in zip(lines(memory, "alice", 2), lines(memory, "bob", 2)):
            act(memory)
        act(memory)
        assert who(audit) == ["alice", "bob", None, "alice", "bob", None, None]

    async def test_one_inside_another(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A generator that consumes another's items acts as its own user, that one as its own."""

        async def both() -> AsyncIterator[int]:
            with audit_context(user_id="alice"):
                async for part in answer(memory, "bob", 2):
                    await memory.store("alice's")
                    yield part

        async for _ in both():
            await memory.store("mine")
        assert who(audit) == ["bob", "alice", None, "bob", "alice", None]

    async def test_tasks_of_interleaved_ones(
        self, memory: MemorySystem, audit: AuditLogger
    ) -> None:
        """The tasks that each starts and waits for are its own as well."""

        async def gathering(user: str) -> AsyncIterator[None]:
            with audit_context(user_id=user):
                while True:
                    await asyncio.gather(memory.store(user), asyncio.to_thread(act, memory))
                    yield

        async with aclosing(gathering("alice")) as one, aclosing(gathering("bob")) as two:
            for _ in range(2):
                await anext(one)
                await anext(two)
        assert who(audit) == ["alice", "alice", "bob", "bob"] * 2

    async def test_tasks_after_a_block(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A task of a generator does not act as a block of it says that has ended."""

        async def parts() -> AsyncIterator[None]:
            over = asyncio.Event()

            async def later() -> None:
                await over.wait()
                await memory.store("tea")

            with audit_context(user_id="alice"):
                with audit_context(user_id="bob"):
                    task = asyncio.create_task(later())
                over.set()
                await task
                yield

        async for _ in parts():
            pass
        assert who(audit) == ["alice"]

    def test_nested_blocks_of_one(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Blocks inside blocks of one generator end one by one, over its items."""

        def steps() -> Iterator[None]:
            with audit_context(user_id="alice"):
                with audit_context(user_id="bob"):
                    yield
                    act(memory)
                    yield
                act(memory)
                yield
            act(memory)

        for _ in steps():
            act(memory)
        assert who(audit) == [None, "bob", None, "alice", None, None]


class TestWhereverItIsResumed:
    """A block holds for its generator's code, in whichever task, thread or context that runs."""

    async def test_each_item_in_a_task(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """As `asyncio.wait_for` does it before Python 3.12."""
        generator: Any = answer(memory, "alice", 2)
        for _ in range(2):
            await asyncio.create_task(anext(generator))
            await memory.store("mine")
        await generator.aclose()
        assert who(audit) == ["alice", None, "alice", None]

    async def test_each_item_in_a_thread(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """As web frameworks iterate over a body that is a plain generator."""
        with closing(lines(memory, "alice", 2)) as generator:
            for _ in range(2):
                await asyncio.to_thread(next, generator)
                await memory.store("mine")
        assert who(audit) == ["alice", None, "alice", None]

    async def test_under_another_user(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Also where the consumer acts for somebody: who asks for an item does not act in it."""
        generator: Any = answer(memory, "alice", 3)
        for user in ("bob", "carol", None):
            with audit_context(user_id=user):
                await anext(generator)
                await memory.store("mine")
        await generator.aclose()
        await memory.store("mine")
        assert who(audit) == ["alice", "bob", "alice", "carol", "alice", None, None]

    async def test_session_of_the_consumer(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Parts that the generator does not set are as they were when its block began."""
        with audit_context(session_id="s1"):
            generator: Any = answer(memory, "alice", 2)
            await anext(generator)
        await anext(generator)
        await generator.aclose()
        assert [event.session_id for event in history(audit)] == ["s1", "s1"]


@contextmanager
def acting(user: str) -> Iterator[None]:
    with audit_context(user_id=user):
        yield


@contextmanager
def acting_by(user: str) -> Iterator[None]:
    def inner() -> Iterator[None]:
        with audit_context(user_id=user):
            yield

    yield from inner()


@asynccontextmanager
async def acting_async(user: str) -> AsyncIterator[None]:
    await asyncio.sleep(0)
    with acting(user):
        yield


class Acting:
    """A context manager of somebody's own."""

    def __init__(self, user: str) -> None:
        self._context = audit_context(user_id=user)

    def __enter__(self) -> None:
        self._context.__enter__()

    def __exit__(self, *exc_info: Any) -> None:
        self._context.__exit__(*exc_info)


@contextmanager
def stacked(user: str) -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(audit_context(user_id=user))
        yield


MANAGERS: dict[str, Callable[[str], Any]] = {
    "plain": lambda user: audit_context(user_id=user),
    "contextmanager": acting,
    "yield from": acting_by,
    "its own class": Acting,
    "ExitStack": stacked,
}


class TestContextManagers:
    """An identity inside a context manager applies to the block of that context manager."""

    @pytest.mark.parametrize("kind", MANAGERS)
    async def test_in_a_function(self, memory: MemorySystem, audit: AuditLogger, kind: str) -> None:
        """In a coroutine: to the end of the block, and for the tasks that it starts."""
        with MANAGERS[kind]("alice"):
            await memory.store("tea")
            await asyncio.gather(memory.store("tea"), memory.store("tea"))
        await memory.store("mine")
        assert who(audit) == ["alice"] * 3 + [None]

    @pytest.mark.parametrize("kind", MANAGERS)
    async def test_in_a_generator(
        self, memory: MemorySystem, audit: AuditLogger, kind: str
    ) -> None:
        """In a generator it is that one's own, as if it said so itself."""

        async def parts() -> AsyncIterator[None]:
            with MANAGERS[kind]("alice"):
                while True:
                    await memory.store("tea")
                    yield

        async for _ in parts():
            await memory.store("mine")
            break
        await asyncio.sleep(0)
        await memory.store("mine")
        assert who(audit) == ["alice", None, None]

    async def test_async_ones(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Generators with `asynccontextmanager`, entered in either way."""
        async with acting_async("alice"):
            await memory.store("tea")
        async with AsyncExitStack() as stack:  # as web frameworks enter dependencies
            await stack.enter_async_context(acting_async("bob"))
            await memory.store("tea")
        await memory.store("mine")
        assert who(audit) == ["alice", "bob", None]

    async def test_sync_dependency(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A synchronous dependency of a web framework is entered and left in threads: what it
        says stays there, and none of it is left behind."""
        dependency = acting("alice")
        await asyncio.to_thread(dependency.__enter__)
        await memory.store("mine")
        await asyncio.to_thread(dependency.__exit__, None, None, None)
        await memory.store("mine")
        assert who(audit) == [None, None]

    async def test_left_in_another_context(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A block that ends elsewhere than it began has ended where it began, too."""
        manager = audit_context(user_id="alice")
        manager.__enter__()
        await memory.store("tea")

        async def leave() -> None:
            manager.__exit__(None, None, None)

        await asyncio.create_task(leave())
        await memory.store("mine")
        assert who(audit) == ["alice", None]

    def test_ended_in_the_wrong_order(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Blocks that end in the order in which they began: each holds to its own end."""
        outer, inner = audit_context(user_id="alice"), audit_context(user_id="bob")
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        act(memory)
        inner.__exit__(None, None, None)
        act(memory)
        assert who(audit) == ["bob", None]

    def test_dropped(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A block whose context manager is gone has ended."""
        audit_context(user_id="alice").__enter__()
        act(memory)
        assert who(audit) == [None]

    async def test_one_object_many_times(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """One object is entered inside itself, by tasks at a time and by generators in turn."""
        alice = audit_context(user_id="alice")
        barrier = asyncio.Event()

        async def work(first: bool) -> None:
            with alice:
                await barrier.wait() if first else barrier.set()
                await memory.store("tea")
            await memory.store("mine")

        def parts() -> Iterator[None]:
            with alice:
                act(memory)
                yield
                act(memory)
            act(memory)

        with alice:
            with alice:
                await memory.store("tea")
            await memory.store("tea")
        await memory.store("mine")
        await asyncio.gather(work(True), work(False))
        one, two = parts(), parts()
        for generator in (one, two, one, two):
            next(generator, None)
        assert who(audit)[:3] == ["alice", "alice", None]
        assert sorted(map(str, who(audit)[3:7])) == ["None", "None", "alice", "alice"]
        assert who(audit)[7:] == ["alice", "alice", "alice", None, "alice", None]

    def test_ended_twice(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A second end of the block, as of a request that is torn down, ends nothing else."""
        alice = audit_context(user_id="alice")
        with audit_context(user_id="bob"):
            with alice:
                act(memory)
            alice.__exit__()
            act(memory)
        act(memory)
        assert who(audit) == ["alice", "bob", None]

    async def test_decorator(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """As a decorator it holds for each call, also of a coroutine function."""

        @audit_context(user_id="alice")
        def plain() -> None:
            act(memory)

        @audit_context(user_id="bob")
        async def later() -> None:
            await asyncio.sleep(0)
            await memory.store("tea")

        plain()
        await asyncio.gather(later(), later())
        await memory.store("mine")
        assert who(audit) == ["alice", "bob", "bob", None]

    def test_decorated_generator(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Of a generator function it holds for the generator's own code, which takes and
        returns what it does without."""

        @audit_context(user_id="alice")
        def parts() -> Generator[int, str, str]:
            act(memory)
            sent = yield 1
            act(memory)
            return sent

        items = parts()
        assert next(items) == 1
        act(memory)
        with pytest.raises(StopIteration, match="tea"):
            items.send("tea")
        act(memory)
        assert who(audit) == ["alice", None, "alice", None]

    @pytest.mark.parametrize("whole", [True, False])
    async def test_decorated_async_generator(
        self, memory: MemorySystem, audit: AuditLogger, whole: bool
    ) -> None:
        """So also of an async one, which ends when it is closed early."""

        @audit_context(user_id="alice")
        async def parts() -> AsyncGenerator[int, None]:
            try:
                yield 1
            finally:
                await memory.store("tea")

        async with aclosing(parts()) as items:
            async for _ in items:
                await memory.store("mine")
                if not whole:
                    break
        await memory.store("mine")
        assert who(audit) == [None, "alice", None]

    async def test_decorated_context_manager(
        self, memory: MemorySystem, audit: AuditLogger
    ) -> None:
        """Behind a context manager it holds for the block that this is made for."""

        @asynccontextmanager
        @audit_context(user_id="alice")
        async def signed_in() -> AsyncIterator[None]:
            yield

        async with signed_in():
            await memory.store("tea")
        await memory.store("mine")
        assert who(audit) == ["alice", None]


@pytest.fixture(name="fixture_user")
def _fixture_user() -> Iterator[None]:
    with audit_context(user_id="fixture"):
        yield


@pytest.fixture(name="async_fixture_user")
async def _async_fixture_user() -> AsyncIterator[None]:
    with audit_context(user_id="async fixture"):
        yield


class TestFixtures:
    """An identity in a fixture applies to the test."""

    @pytest.mark.usefixtures("fixture_user")
    def test_plain_one(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A generator of pytest's own."""
        act(memory)
        assert who(audit) == ["fixture"]

    @pytest.mark.usefixtures("async_fixture_user")
    async def test_async_one(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """One of pytest-asyncio's."""
        await memory.store("tea")
        assert who(audit) == ["async fixture"]

    def test_afterwards(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """And not for the next."""
        act(memory)
        assert who(audit) == [None]


class TestTasksAndThreads:
    """Tasks and threads started in a block with a copy of the context have its identity."""

    async def test_started_inside(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Also if it outlives the block."""
        over = asyncio.Event()

        async def later() -> None:
            await over.wait()
            await memory.store("tea")

        with audit_context(user_id="alice"):
            task = asyncio.create_task(later())
            context = contextvars.copy_context()
            asyncio.get_running_loop().call_soon(act, memory)
            await asyncio.sleep(0)
        over.set()
        await task
        context.run(act, memory)
        await memory.store("mine")
        assert who(audit) == ["alice"] * 3 + [None]

    @pytest.mark.parametrize("left_behind", [False, True])
    async def test_around_a_generator(
        self, memory: MemorySystem, audit: AuditLogger, left_behind: bool
    ) -> None:
        """Also where a generator was consumed in that block, to its end or not."""
        generator = answer(memory, "bob", 1)
        with audit_context(user_id="alice"):
            await anext(generator)
            if not left_behind:
                await anext(generator, None)
            task = asyncio.create_task(memory.store("tea"))
        await task
        await generator.aclose()
        await memory.store("mine")
        assert who(audit) == ["bob", "alice", None]

    @pytest.mark.skipif(sys.version_info < (3, 11), reason="asyncio.TaskGroup")
    async def test_task_group(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """In a function, and in a generator; a context of one's own choice is taken as it is."""

        async def parts() -> AsyncIterator[None]:
            with audit_context(user_id="bob"):
                async with asyncio.TaskGroup() as group:
                    group.create_task(memory.store("tea"))
                yield

        empty = contextvars.copy_context()
        with audit_context(user_id="alice"):
            async with asyncio.TaskGroup() as group:
                group.create_task(memory.store("tea"))
                group.create_task(memory.store("mine"), context=empty)
            async for _ in parts():
                async with asyncio.TaskGroup() as group:
                    group.create_task(memory.store("tea"))
        assert who(audit) == ["alice", None, "bob", "alice"]

    def test_thread_pool(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A thread has it with a copy of the context, and none without."""
        with ThreadPoolExecutor(1) as pool, audit_context(user_id="alice"):
            pool.submit(act, memory).result()
            pool.submit(contextvars.copy_context().run, act, memory).result()
            pool.submit(act, memory).result()
        assert who(audit) == [None, "alice", None]

    def test_threads_side_by_side(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """Generators in many threads, each dropped in another one, do not mix."""
        kept: list[Any] = []

        def work(user: str) -> None:
            for _ in range(5):
                kept.append(lines(memory, user))
                next(kept[-1])
                act(memory)

        threads = [threading.Thread(target=work, args=(f"u{n}",)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        kept.clear()
        act(memory)
        counted = {user: who(audit).count(user) for user in who(audit)}
        assert counted == {"u0": 5, "u1": 5, "u2": 5, "u3": 5, None: 21}


class TestOperations:
    async def test_transaction_over_items(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A transaction that a generator holds open takes no operation of its consumer."""

        async def parts() -> AsyncIterator[int]:
            with audit_context(user_id="alice"):
                async with memory.transaction():
                    yield 1
                    await memory.store("hers")
                    yield 2

        async for _ in parts():
            await memory.store("mine")
        assert [(e.operation.value, e.user_id) for e in history(audit)] == [
            ("STORE", None),
            ("STORE", "alice"),
            ("STORE", None),
            ("TRANSACTION", "alice"),
        ]

    def test_ended_in_another_context(
        self,
        make_system: MakeSystem,
        audit: AuditLogger,
        span_exporter: InMemorySpanExporter,
    ) -> None:
        """An operation that ended elsewhere takes no later one into its event or its trace."""

        class Waiting(ListingAdapter):
            async def save(self, entry: Any) -> str:
                if entry.text == "waits":
                    await asyncio.sleep(0)
                return await super().save(entry)

        memory = make_system(persistent=Waiting())

        def ends_elsewhere() -> None:
            call: Any = memory.store("waits")
            call.send(None)
            contextvars.copy_context().run(call.close)
            act(memory)

        contextvars.copy_context().run(ends_elsewhere)  # the span stays in that one
        assert [event.status.value for event in history(audit)] == ["FAILURE", "SUCCESS"]
        assert [span.parent for span in span_exporter.get_finished_spans()] == [None, None]


def test_cost_of_what_is_over(memory: MemorySystem) -> None:
    """A context that saw many generators come and go keeps none of them."""
    for _ in range(100):
        next(lines(memory, "alice"))
    gc.collect()
    blocks = [thing for thing in gc.get_objects() if type(thing).__name__ == "_Block"]
    assert len(blocks) < 10
