"""The one place that calls prometheus_client: series that never raise, and count on without it.

A metric can fail at any moment: its files' directory (``PROMETHEUS_MULTIPROC_DIR``) is gone or
not writable, its registry was emptied, or somebody else has taken its name. So every number is
kept here, and what Prometheus could not be given it gets when that works again.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any, TypeVar
from weakref import WeakSet

from prometheus_client import CollectorRegistry, Metric

from ..core.turn import Turn
from .histogram import Observed
from .metric_spec import Spec
from .prometheus_gate import begin_after_fork, in_files, require_room, the_gate

__all__ = ["Count", "Group", "Level", "Timing"]

_RETRY_S = 1.0, 60.0  # how long what failed is left alone: longer each time
_AT_ONCE = 64  # what waits is done when it is so much, if nobody asks before
_OURS = "_axon_audit_otel"  # where a registry has our metrics; also for modules loaded again


_Read = TypeVar("_Read")


#: Whose turn it is to tell registries of our metrics. They have locks, and call foreign
#: collectors under them, which may ask for our numbers: so it is done without the gate.
_showing = Turn()
_to_show: deque[tuple[Group, CollectorRegistry]] = deque()

begin_after_fork(_showing)


# --- what a registry has -----------------------------------------------------------------------


class _Family:
    """A metric as a registry knows it; what is behind it can be made anew."""

    def __init__(self, spec: Spec, families: _Families) -> None:
        self.spec = spec
        self._families = families
        self.metric = spec.make()

    def describe(self) -> Iterable[Metric]:
        """Its name, so that nobody takes it."""
        found: Iterable[Metric] = self.metric.describe()
        return found

    def collect(self) -> Iterable[Metric]:
        """The samples for a scrape."""
        self._families.settle()
        with the_gate.alone():
            found: Iterable[Metric] = self.metric.collect()
        return found


class _Mark:
    """Says whether a registry was emptied: it has no names, so that no scrape misses it."""

    def collect(self) -> Iterable[Metric]:
        """Nothing."""
        return ()


class _Families:
    """The metrics in one registry, shared by all its trails."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self.by_name = {spec.name: _Family(spec, self) for spec in specs}
        self._hidden: list[_Family] = []
        self._mark = _Mark()
        self.groups: WeakSet[Group] = WeakSet()
        # Trails end in finalizers, which may run while this very thread holds one of the locks
        # of a metric. So they only say so, and it is done before the next scrape or trail.
        self.gone: deque[Group] = deque()

    @classmethod
    def of(cls, registry: CollectorRegistry, specs: Iterable[Spec]) -> _Families:
        """The metrics of *registry*, also if this module was loaded again since they were made."""
        known = getattr(registry, "__dict__", {})
        found: _Families = known.get(_OURS) or cls(specs)
        return known.setdefault(_OURS, found)  # type: ignore[no-any-return]

    def show(self, registry: CollectorRegistry) -> None:
        """Have *registry* show them; again, if it was emptied.

        Raises:
            ValueError: If somebody else has one of the names: all others are shown.
        """
        try:
            registry.unregister(self._mark)
        except KeyError:
            self._hidden = list(self.by_name.values())
        hidden, self._hidden, taken = self._hidden, [], None
        for family in hidden:
            try:
                registry.register(family)
            except ValueError as exc:
                self._hidden.append(family)
                taken = exc
        registry.register(self._mark)
        if taken is not None:
            raise taken

    def settle(self) -> None:
        """Have every number where a scrape finds it, at the latest for who is then `alone`."""
        the_gate.todo.append((self, self._settle, None))
        the_gate.work()

    def _settle(self, _: Any) -> None:
        for group in list(self.groups):
            group.run(group.settle)
        while self.gone:
            group = self.gone.popleft()
            group.run(group.take_out)

    def run(self, work: Callable[[Any], None], what: Any) -> None:
        """Call *work* with *what*, as `Group.run` does; nothing here raises."""
        work(what)

    def renew(self) -> None:
        """Make all anew: after a fork, a value whose file could not be opened stays dead."""
        for family in self.by_name.values():
            family.metric = family.spec.make()
        for group in list(self.groups):
            group.disconnect()


# --- the series of a trail ---------------------------------------------------------------------


class Group:
    """The series of one trail.

    Prometheus gets what has changed when it asks. Where metrics are in files, which another
    process may read at any moment, they are written at once.

    Args:
        registry: Where they are shown.
        specs: Every metric.
    """

    def __init__(self, registry: CollectorRegistry, specs: Iterable[Spec]) -> None:
        self._families = _Families.of(registry, specs)
        self._series: list[_Series] = []
        self.changed: deque[_Series] = deque()  # since Prometheus got them
        self._waiting: deque[tuple[Callable[[Any], None], Any]] = deque()  # see `later`
        self.works = False  # whether prometheus_client takes what it is given
        self._began = False
        self._in_files = in_files()
        self._retry_at, self._wait = 0.0, _RETRY_S[0]
        self._unreported: deque[Exception] = deque(maxlen=16)
        self._report: Callable[[Exception], object] | None = None
        self._families.settle()  # a trail that is gone may have had this name
        with the_gate.alone():
            self._families.groups.add(self)

    def report_faults(self, report: Callable[[Exception], object]) -> None:
        """Call *report* with what fails, and with what has failed so far."""
        self._report = report
        self._report_all()

    def _report_all(self) -> None:
        """Without the lock: it writes a line of log."""
        while self._report is not None and self._unreported:
            self._report(self._unreported.popleft())

    def do(self, work: Callable[[Any], None], what: Any = None) -> None:
        """Call *work* with *what*, alone, now or soon. Never raises: reports what *work* does."""
        gate = the_gate
        gate.todo.append((self, work, what))
        gate.work()
        if self._unreported and not gate.is_ours():
            self._report_all()

    def later(self, work: Callable[[Any], None], what: Any = None) -> None:
        """Do as `do`, at the latest when somebody asks for a number: much at once takes less time
        than each alone."""
        waiting = self._waiting
        waiting.append((work, what))
        if len(waiting) >= _AT_ONCE or self._in_files or not self.works:
            self.do(self.catch_up)

    def catch_up(self, _: Any = None) -> None:
        """Do what waits since `later`. In `run`."""
        waiting = self._waiting
        while waiting:
            work, what = waiting.popleft()
            try:
                work(what)
            except (RecursionError, MemoryError):  # no room here: for who comes next
                waiting.appendleft((work, what))
                raise
            except Exception as exc:  # as in `run`: what else waits is counted all the same
                self._failed(exc)

    def run(self, work: Callable[[Any], None], what: Any = None) -> None:
        """Call *work* with *what*, when the gate is ours; reports what it raises."""
        try:
            if not self.works:
                self._recover()
            work(what)
            if self._in_files and self.works:
                self.flush()
        except Exception as exc:  # prometheus_client and its registry may raise anything
            self._failed(exc)

    def read(self, work: Callable[[], _Read]) -> _Read:
        """Return the result of *work*, called while no number changes."""
        self.do(self.catch_up)
        with the_gate.alone():
            return work()

    def flush(self, _: Any = None) -> None:
        """Let Prometheus have what has changed; raises what prometheus_client does. In `run`."""
        changed = self.changed
        while changed and self.works:
            changed[0].push()
            changed.popleft()

    def settle(self, _: Any = None) -> None:
        """Have every number where a scrape finds it. In `run`."""
        self.catch_up()
        self.flush()

    def _failed(self, exc: Exception) -> None:
        """Leave prometheus_client alone for a moment."""
        self.works = False
        self._retry_at = time.monotonic() + self._wait
        self._wait = min(2 * self._wait, _RETRY_S[1])
        self._unreported.append(exc)

    def _recover(self) -> None:
        """Begin, or try again. Never raises."""
        if time.monotonic() < self._retry_at:
            return
        try:
            if self._in_files:
                require_room()
            if self._began and self._in_files:
                self._families.renew()
            self._began = self.works = True
            self.flush()
            self._wait = _RETRY_S[0]
        except Exception as exc:  # as in `run`
            self._failed(exc)

    def show(self, registry: Any) -> None:
        """Have *registry* show them, now or soon. Never raises."""
        self.do(_nothing)
        _to_show.append((self, registry))
        _showing.each(_to_show, _show)

    def show_in(self, registry: CollectorRegistry) -> None:
        """Have *registry* show them, when it is our turn. Never raises."""
        try:
            self._families.show(registry)
        except Exception as exc:  # they count all the same
            self._unreported.append(exc)

    def add(self, one: _Series) -> None:
        """Another series."""
        self._series.append(one)
        self.changed.append(one)

    def disconnect(self) -> None:
        """Their metrics were made anew. In `run`."""
        self.changed = deque(self._series)
        for one in self.changed:
            one.child = None

    def begin(self) -> None:
        """Begin at 0. In a forked child what is owed is owed by its parent."""
        self._waiting.clear()
        for one in self._series:
            one.begin()
        self.changed = deque(self._series)
        if self.works and self._in_files:
            self.works = self._began = False  # this process has no files yet
        self._retry_at = 0.0
        self.do(_nothing)

    def end(self) -> None:
        """The trail is gone: its levels are none any more. What it counted stays."""
        self._families.gone.append(self)

    def take_out(self, _: Any = None) -> None:
        """Take out the levels. In `run`."""
        self.settle()
        for one in self._series:
            if isinstance(one, Level) and one.child is not None:
                one.child.set(0)
                if not self._in_files:  # which cannot be taken out
                    self._families.by_name[one.name].metric.remove(*one.labels)

    def child(self, one: _Series) -> Any:
        """The object of prometheus_client for *one*; raises what prometheus_client raises."""
        if self._in_files:
            require_room()
        return self._families.by_name[one.name].metric.labels(*one.labels)


def _show(what: tuple[Group, CollectorRegistry]) -> None:
    group, registry = what
    group.show_in(registry)


def _nothing(_: Any) -> None:
    """For who only wants done what waits."""


class _Series:
    """One series.

    Args:
        group: Of which group.
        name: Of which metric.
        labels: The values of its labels.
    """

    __slots__ = ("child", "group", "labels", "name")

    def __init__(self, group: Group, name: str, *labels: str) -> None:
        self.group = group
        self.name = name
        self.labels = labels
        self.child: Any = None  # what prometheus_client has
        self.begin()
        group.add(self)

    def begin(self) -> None:
        """At 0."""

    def push(self) -> None:
        """Let Prometheus have it; raises what prometheus_client does. In `Group.run`."""
        if self.child is None:
            self.child = self.group.child(self)


class Count(_Series):
    """A number that only grows. `total` is its growth in this process since its trail began."""

    __slots__ = ("owed", "total")

    def begin(self) -> None:
        self.total = 0
        self.owed = 0  # that Prometheus has not got yet

    def inc(self, amount: int = 1) -> None:
        """Count *amount* more. Never raises."""
        if amount > 0:
            self.group.do(self.add, amount)

    def add(self, amount: int) -> None:
        """Count *amount* more, inside `Group.run`."""
        self.total += amount
        if not self.owed:
            self.group.changed.append(self)
        self.owed += amount

    def push(self) -> None:
        super().push()
        if self.owed:
            self.child.inc(self.owed)
            self.owed = 0


class Level(_Series):
    """A number that goes up and down."""

    __slots__ = ("_waits", "value")

    def begin(self) -> None:
        self.value: float = 0
        self._waits = True  # among those that have changed

    def set(self, value: float) -> None:
        """It is *value* now. Never raises."""
        self.value = value
        if not self._waits:  # else it is told with what was to be told
            self.group.do(self._set, value)

    def inc(self) -> None:
        """One more. Never raises."""
        self.group.later(self._change, 1)

    def dec(self) -> None:
        """One less, of those that began in this process. Never raises."""
        self.group.later(self._change, -1)

    def _change(self, by: int) -> None:
        self._set(max(0, self.value + by))

    def _set(self, value: float) -> None:
        self.value = value
        if not self._waits:
            self._waits = True
            self.group.changed.append(self)

    def push(self) -> None:
        super().push()
        self._waits = False  # before, since another thread may set it meanwhile
        try:
            self.child.set(self.value)
        except Exception:  # raised again
            self._waits = True
            raise


class Timing(_Series):
    """Durations, in a histogram. Those of a time in which it does not work are not in it."""

    __slots__ = ()

    def observe(self, seconds: float, trace_id: str | None, at: float) -> None:
        """One more, *at* that Unix time, its exemplar names that trace; raises
        what prometheus_client does. In `Group.run`."""
        if self.child is None:
            self.push()
        if type(self.child) is Observed:
            self.child.observe(seconds, trace_id, at)
        else:  # in files
            self.child.observe(seconds, None if trace_id is None else {"trace_id": trace_id})
