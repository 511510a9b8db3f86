"""Instrumented methods and systems: copied, pickled, compared, mocked, reloaded as without us."""

from __future__ import annotations

import copy
import functools
import gc
import inspect
import logging
import pickle
import typing
import weakref
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from axon import MemorySystem
from axon.adapters.memory import InMemoryAdapter
from axon.core import memory_system
from conftest import ListingAdapter, Make, MakeSystem, Run, history, only_event

from axon_audit_otel import AuditLogger, AxonInstrumentor

SUPPLIED = ("forget", "import_data")
METHODS = ("store", "recall", "export", "import_from", "sync", "compact", "transaction")
COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "deepcopy in a tool": lambda method: copy.deepcopy({"tools": [method]})["tools"][0],
    "partial": functools.partial,
    "deepcopy of a partial": lambda method: copy.deepcopy(functools.partial(method)),
}


def operations(audit: AuditLogger) -> list[str]:
    return [event.operation.value for event in history(audit)]


def _fails(action: Callable[[], Any]) -> type[BaseException] | None:
    try:
        action()
    except Exception as exc:
        return type(exc)
    return None


class Labelled(MemorySystem):
    """Has an attribute that is not in its ``__dict__``."""

    __slots__ = ("label",)
    label: str


class Kept(InMemoryAdapter):
    """Can be pickled, as the SDK's own can."""


@pytest.mark.usefixtures("instrumented")
class TestCopies:
    @pytest.mark.parametrize("how", COPIES)
    async def test_bound_method(self, memory: MemorySystem, audit: AuditLogger, how: str) -> None:
        """A copy of a bound method stores once and is recorded once."""
        await COPIES[how](memory.store)("tea", user_id="ada")
        assert (operations(audit), only_event(audit).user_id) == (["STORE"], "ada")

    @pytest.mark.parametrize("name", [*METHODS, *SUPPLIED])
    def test_functions(self, name: str) -> None:
        """Functions of a class copy to themselves and are pickled by name."""
        function = getattr(MemorySystem, name)
        assert function is getattr(MemorySystem, name)
        assert copy.copy(function) is copy.deepcopy(function) is function
        assert pickle.loads(pickle.dumps(function)) is function

    def test_pickles_of_adapters_methods(self) -> None:
        """A bound method of an adapter is pickled and found again by its name."""
        adapter = Kept()
        method = pickle.loads(pickle.dumps(Kept.delete))
        assert method is Kept.delete
        assert isinstance(adapter.delete.__self__, Kept)  # type: ignore[attr-defined]

    def test_systems(self, memory: MemorySystem, instrumented: AxonInstrumentor) -> None:
        """Every use of a system, a method or a transaction succeeds or fails as without this
        package."""
        actions: list[Callable[[], Any]] = [
            lambda: pickle.dumps(memory),
            lambda: pickle.dumps(memory.store),
            lambda: copy.deepcopy(memory),
            lambda: copy.copy(memory.transaction()),
            lambda: copy.deepcopy(memory.transaction()),
            lambda: pickle.dumps(memory.transaction()),
            lambda: weakref.ref(memory.transaction()),
        ]
        with_us = [_fails(action) for action in actions]
        instrumented.uninstrument()
        assert with_us == [_fails(action) for action in actions]

    @pytest.mark.parametrize("how", ["copy", "deepcopy", "pickle"])
    async def test_parts_of_a_copied_system(
        self, config: Any, audit: AuditLogger, make_audit: Make, how: str
    ) -> None:
        """Calls of a copy's adapters are recorded for the copy, also with slots."""

        own = make_audit(name="own")
        copies: dict[str, Callable[[Any], Any]] = {
            "copy": copy.copy,
            "deepcopy": copy.deepcopy,
            "pickle": lambda system: pickle.loads(pickle.dumps(system)),
        }
        memory = Labelled(config, audit_logger=own)
        memory.label = "mine"
        copied = copies[how](memory)
        assert copied.label == "mine"
        adapter = await copied.registry.get_adapter("persistent")
        await adapter.delete("nothing")
        assert (operations(own), operations(audit)) == (["FORGET"], [])
        del copied
        await (await memory.registry.get_adapter("persistent")).delete("nothing")
        assert (operations(own), operations(audit)) == (["FORGET", "FORGET"], [])

    @pytest.mark.slow
    async def test_pickled_with_its_logger(
        self, config: Any, make_audit: Make, run_script: Run
    ) -> None:
        """A system with an audit logger is pickled: the logger by its name, which must be known
        to the process that unpickles it."""
        audit = make_audit(name="kept")
        pickled = pickle.dumps(MemorySystem(config, audit_logger=audit).store)
        await pickle.loads(pickled)("tea")
        assert operations(audit) == ["STORE"]
        said = run_script(
            f"""
            import asyncio, logging, pickle
            logging.disable()
            from axon_audit_otel import AuditConfigError, AuditLogger
            try:
                pickle.loads({pickled!r})
            except AuditConfigError as exc:
                print(exc)
            audit = AuditLogger(name="kept")
            asyncio.run(pickle.loads({pickled!r})("tea"))
            print(audit.event_count)
            """
        )
        assert said == (
            "no AuditLogger named 'kept' in this process: make it before unpickling\n1\n"
        )

    async def test_copied_transaction(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A copy of a transaction that has not begun is one, and is recorded."""
        async with copy.copy(memory.transaction()):
            pass
        assert operations(audit) == ["TRANSACTION"]

    async def test_weak_method(self, memory: MemorySystem, audit: AuditLogger) -> None:
        """A weak reference on a bound method is alive as long as its system."""
        reference = weakref.WeakMethod(memory.store)
        found = reference()
        assert found is not None
        await found("tea")
        assert operations(audit) == ["STORE"]

    def test_equality(self, make_system: MakeSystem) -> None:
        """Bound methods are equal and hash as those of one object and one function do."""
        one, other = make_system(), make_system()
        assert one.store == one.store
        assert one.store != other.store
        assert one.store != one.recall
        assert len({one.store, one.store, other.store, one.recall}) == 3
        assert one.store.__func__ is MemorySystem.store

    @pytest.mark.slow
    async def test_spawned_process(self, run_script: Run) -> None:
        """A bound method that was pickled here works in a process that knows nothing of us."""
        pickled = pickle.dumps(MemorySystem.store)
        said = run_script(
            f"""
            import pickle, sys
            method = pickle.loads({pickled!r})
            print(method.__qualname__, "axon_audit_otel" in sys.modules)
            """
        )
        assert said == "MemorySystem.store False\n"


@pytest.mark.usefixtures("instrumented")
class TestLooks:
    @pytest.mark.parametrize("name", METHODS)
    def test_inspection(self, name: str, instrumented: AxonInstrumentor) -> None:
        """Inspection says of a method what it says without us."""

        def said() -> list[Any]:
            method = getattr(MemorySystem, name)
            return [
                inspect.signature(method),
                inspect.iscoroutinefunction(method),
                inspect.isfunction(method),
                inspect.getsource(method),
                inspect.getdoc(method),
                typing.get_type_hints(method, vars(memory_system)),
                (method.__module__, method.__qualname__, method.__name__),
                type(method),
            ]

        with_us = said()
        instrumented.uninstrument()
        assert said() == with_us
        assert inspect.signature(MemorySystem).parameters.keys() >= {"config", "audit_logger"}

    async def test_specs(self, memory: MemorySystem) -> None:
        """Mocks that are made after the class or a system have its methods, awaited or not."""
        for stand_in in (mock.create_autospec(MemorySystem), mock.MagicMock(spec=memory)):
            assert inspect.iscoroutinefunction(stand_in.store)
            await stand_in.store("tea")
        with pytest.raises(TypeError, match="k2"):
            await mock.create_autospec(MemorySystem)(None).recall("tea", k2=5)

    @pytest.mark.parametrize("autospec", [True, False])
    async def test_mocked_for_a_while(
        self, memory: MemorySystem, audit: AuditLogger, make_audit: Make, autospec: bool
    ) -> None:
        """A mock over an instrumented method is called and not recorded; then calls are again."""
        with mock.patch.object(MemorySystem, "store", autospec=autospec or None) as m:
            await memory.store("tea")
            make_audit(name="other")
        m.assert_called_once()
        assert audit.event_count == 0
        await memory.store("tea")
        assert operations(audit) == ["STORE"]


async def fake(self: Any, content: str, **kwargs: Any) -> str:
    return "fake"


class Patching:
    """The ways to put something in place of `MemorySystem.store` for the time of a block."""

    def __init__(self, how: str) -> None:
        self._how = how
        self._patch = pytest.MonkeyPatch()

    def __enter__(self) -> None:
        if self._how == "monkeypatch":
            self._patch.setattr(MemorySystem, "store", fake)
            return
        given: dict[str, Any] = {"autospec": {"autospec": True}, "new": {"new": fake}}
        self._mock = mock.patch.object(MemorySystem, "store", **given.get(self._how, {}))
        self._mock.start()

    def __exit__(self, *exc_info: object) -> None:
        self._patch.undo() if self._how == "monkeypatch" else self._mock.stop()


WAYS = ("mock", "autospec", "new", "monkeypatch")


@pytest.fixture(name="store")
def _store() -> Iterator[Any]:
    """The SDK's own `store`; it must be there again at the end."""
    bare = vars(MemorySystem)["store"]
    yield bare
    AxonInstrumentor().uninstrument()
    assert vars(MemorySystem)["store"] is bare


@pytest.mark.usefixtures("store")
class TestMockWhileInstrumenting:
    @pytest.mark.parametrize("how", WAYS)
    @pytest.mark.parametrize("comes", ["a new system", "a new logger", "another call", "the call"])
    async def test_put_right(
        self, make_system: MakeSystem, make_audit: Make, how: str, comes: str
    ) -> None:
        """A method that was mocked when it was to be wrapped is wrapped when the mock has gone:
        at the next system, logger or call."""
        memory = make_system()
        await memory.recall("its adapters are there")
        with Patching(how):
            audit = make_audit()
            AxonInstrumentor().instrument(audit_logger=audit)
            await memory.store("mocked")
        first = audit.event_count
        if comes == "a new system":
            memory = make_system()
        elif comes == "a new logger":
            make_audit(name="other")
        elif comes == "another call":
            await memory.recall("tea")
        else:
            await memory.store("it is noticed where this reaches the adapter")
        await memory.store("tea")
        assert operations(audit)[first:][-1] == "STORE"

    @pytest.mark.parametrize("autospec", [True, False])
    async def test_left_alone(self, make_audit: Make, config: Any, autospec: bool) -> None:
        """A mock that is active is not wrapped: its own assertions work."""
        with mock.patch.object(MemorySystem, "store", autospec=autospec or None) as m:
            audit = make_audit()
            AxonInstrumentor().instrument(audit_logger=audit)
            assert MemorySystem.store is m
            await MemorySystem(config).store("tea")
            make_audit(name="other")
            m.assert_called_once()
        assert audit.event_count == 0

    async def test_class_mocked(self, make_audit: Make, config: Any) -> None:
        """A mock of the whole class fails nothing; when it has gone, systems are recorded."""
        with mock.patch.object(memory_system, "MemorySystem"):
            audit = make_audit()
            AxonInstrumentor().instrument(audit_logger=audit)
        make_audit(name="other")
        await MemorySystem(config).store("tea")
        assert operations(audit) == ["STORE"]

    async def test_supplied_method(self, make_audit: Make, config: Any) -> None:
        """`forget` is supplied after a mock that had its place."""
        with mock.patch.object(MemorySystem, "forget", create=True):
            audit = make_audit()
            AxonInstrumentor().instrument(audit_logger=audit)
        memory: Any = MemorySystem(config)
        await memory.forget("nothing")
        assert operations(audit) == ["FORGET"]
        AxonInstrumentor().uninstrument()
        assert not hasattr(MemorySystem, "forget")

    async def test_adapter(self, make_audit: Make, make_system: MakeSystem) -> None:
        """The methods of adapters likewise."""
        with mock.patch.object(InMemoryAdapter, "delete", autospec=True):
            audit = make_audit()
            AxonInstrumentor().instrument(audit_logger=audit)
        memory = make_system()
        entry_id = await memory.store("tea")
        await InMemoryAdapter().delete("nothing")
        await (await memory.registry.get_adapter("persistent")).delete(entry_id)
        assert operations(audit) == ["STORE", "FORGET", "FORGET"]

    @pytest.mark.parametrize("how", WAYS)
    async def test_uninstrumented_under_it(
        self, make_audit: Make, make_system: MakeSystem, how: str
    ) -> None:
        """A mock that puts our wrapper back after `uninstrument`: it passes on, and the next
        `instrument` records once."""
        first, second = make_audit(name="first"), make_audit(name="second")
        AxonInstrumentor().instrument(audit_logger=first)
        with Patching(how):
            AxonInstrumentor().uninstrument()
        memory = make_system()
        await memory.store("tea")
        AxonInstrumentor().instrument(audit_logger=second)
        await memory.store("tea")
        assert (operations(first), operations(second)) == ([], ["STORE"])


@pytest.mark.usefixtures("store")
class TestOthersWrapToo:
    async def test_before_us(self, make_audit: Make, config: Any) -> None:
        """A method that was wrapped before is recorded, and its wrapper stays after `undo`."""
        bare = MemorySystem.store

        @functools.wraps(bare)
        async def theirs(self: Any, *args: Any, **kwargs: Any) -> str:
            return await bare(self, *args, **kwargs)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(MemorySystem, "store", theirs)
            audit = make_audit()
            AxonInstrumentor().instrument(audit_logger=audit)
            await MemorySystem(config).store("tea")
            AxonInstrumentor().uninstrument()
            assert MemorySystem.store is theirs
        assert operations(audit) == ["STORE"]

    @pytest.mark.parametrize("known", [True, False])
    async def test_after_us(
        self, make_audit: Make, config: Any, caplog: pytest.LogCaptureFixture, known: bool
    ) -> None:
        """A method that is wrapped later is recorded once, and its wrapper stays. If that does
        not visibly lead to ours, there is one warning."""
        audit = make_audit()
        AxonInstrumentor().instrument(audit_logger=audit)
        ours = MemorySystem.store

        async def theirs(self: Any, *args: Any, **kwargs: Any) -> str:
            return await ours(self, *args, **kwargs)

        if known:
            theirs = functools.wraps(ours)(theirs)
        with pytest.MonkeyPatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(MemorySystem, "store", theirs)
            for _ in range(2):
                await MemorySystem(config).store("tea")
            assert MemorySystem.store is theirs
        assert operations(audit) == ["STORE", "STORE"]
        said = [r.getMessage() for r in caplog.records if r.name == "axon_audit_otel"]
        assert [text.split(" was ")[0] for text in said] == [] if known else ["MemorySystem.store"]


@pytest.mark.slow
def test_reload(run_script: Run) -> None:
    """A module of the SDK that is loaded again has new classes, and they are recorded: those
    made before the next logger or system as well as the old ones."""
    said = run_script(
        """
        import asyncio, importlib
        import axon.core.memory_system as module
        from axon.core.config import MemoryConfig
        from axon.core.policies.persistent import PersistentPolicy
        from axon_audit_otel import AuditLogger, AxonInstrumentor

        policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
        config = MemoryConfig(persistent=policy, default_tier="persistent")
        audit = AuditLogger()
        AxonInstrumentor().instrument(audit_logger=audit)
        old = module.MemorySystem(config)
        importlib.reload(module)
        new = module.MemorySystem(config)
        assert type(new) is not type(old)
        for memory in (old, new):
            asyncio.run(memory.store("tea"))
            asyncio.run(memory.forget("nothing"))
        print(*(event.operation.value for event in audit.query_events()))
        AxonInstrumentor().uninstrument()
        print(any(hasattr(type(memory), "forget") for memory in (old, new)))
        """
    )
    assert said.splitlines() == ["FORGET STORE FORGET STORE", "False"]


@pytest.mark.slow
def test_reload_before_the_first_logger(run_script: Run) -> None:
    """A module that was loaded twice before there was any logger is wrapped as it is now."""
    said = run_script(
        """
        import asyncio, importlib
        import axon.core.memory_system as module
        importlib.reload(module)
        from axon.core.config import MemoryConfig
        from axon.core.policies.persistent import PersistentPolicy
        from axon_audit_otel import AuditLogger

        policy = PersistentPolicy(adapter_type="memory", compaction_threshold=10_000)
        config = MemoryConfig(persistent=policy, default_tier="persistent")
        audit = AuditLogger()
        asyncio.run(module.MemorySystem(config, audit_logger=audit).store("tea"))
        print(audit.event_count)
        """
    )
    assert said == "1\n"


@pytest.mark.usefixtures("no_finalizers")
async def test_classes_that_come_and_go(make_audit: Make, make_system: MakeSystem) -> None:
    """Classes that a program makes for a call are not kept alive: those of filters, of adapters
    that are there for one request, and those whose methods use ``super()``."""
    system = make_system(audit_logger=make_audit())
    await system.store("tea")
    kept: list[weakref.ref[type]] = []
    for _ in range(200):

        class OfOneCall:
            def matches(self, entry: object) -> bool:
                return super().__eq__(entry) is not None

        class OfOneRequest(ListingAdapter):
            async def save(self, entry: Any) -> str:
                return await super().save(entry)

        kept += [weakref.ref(OfOneCall), weakref.ref(OfOneRequest)]
        await system.recall("tea", filter=OfOneCall())  # type: ignore[arg-type]
        await make_system(persistent=OfOneRequest(), audit_logger=system.audit_logger).store("x")
        del OfOneCall, OfOneRequest
    gc.collect()
    assert sum(one() is not None for one in kept) < 200  # what metrics wait for has some
