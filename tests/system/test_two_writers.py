"""Two writers in one directory: wherever the one is when the other starts, ends or is killed, no
event is lost, nobody takes the other's name, and `verify` finds nothing."""

from __future__ import annotations

import sys
import textwrap
from collections import Counter
from itertools import count
from pathlib import Path

import pytest
from calls import Calls
from conftest import Run, archived
from opentelemetry.sdk._logs import LoggerProvider
from prometheus_client import CollectorRegistry

from axon_audit_otel import AuditLogger, verify

pytestmark = pytest.mark.usefixtures("without_start_record")


class Writer:
    """A program on that archive, as its callable says; what it was told."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.told: list[str] = []

    def __call__(self) -> None:
        audit = AuditLogger(
            2,
            self.directory,
            name="shared",
            registry=CollectorRegistry(),
            logger_provider=LoggerProvider(shutdown_on_exit=False),
        )
        for _ in range(3):
            work = audit.log_event("STORE")
            try:
                work.send(None)
            except StopIteration as exc:
                self.told.append(exc.value.event_id)
        audit.close()


def judge(directory: Path, told: list[str]) -> None:
    """Everything that was acknowledged is there once, and nothing is wrong."""
    there = Counter(event.event_id for event in archived(directory))
    assert set(told) <= set(there)
    assert set(there.values()) == {1}
    assert verify(directory).findings == []


@pytest.mark.parametrize("step", [7, pytest.param(1, marks=pytest.mark.slow)])
def test_another_comes_and_goes(tmp_path: Path, step: int) -> None:
    """Before a call of the one, the other starts, records and ends."""
    for number in count(1, step):
        directory = tmp_path / str(number)
        one, other = Writer(directory), Writer(directory)

        def happens(now: int, wanted: int = number, other: Writer = other) -> None:
            if now == wanted:
                other()

        with Calls(happens) as calls:
            one()
        judge(directory, one.told + other.told)
        if number > len(calls.names):
            break
    assert number > 30


#: The one is a process that stops before a call, and says so. The other, before one of its own,
#: kills it (so that it finds a writer that ends while it starts), or lets it go on to its end.
SCRIPT = f"""
import os, signal, sys
sys.path[:0] = {[str(path) for path in Path(__file__).parents[:2]]!r}
from itertools import count
from pathlib import Path
from calls import Calls
from test_two_writers import Writer, judge

def pair(directory, first, second, kill):
    told, say = os.pipe()
    go, let_go = os.pipe()
    child = os.fork()
    one = Writer(directory)
    if not child:
        try:
            def happens(now):
                if now == first:
                    os.write(say, "\\n".join([*one.told, "stopped"]).encode())
                    os.close(let_go)
                    os.read(go, 1)
            with Calls(happens):
                one()
            os.write(say, "\\n".join(["", *one.told, "ended"]).encode())
        finally:
            os._exit(0)
    os.close(say)
    os.close(go)
    heard = os.read(told, 10_000).decode()
    other = Writer(directory)
    def happens(now):
        if now == second:
            if kill:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
            else:
                os.close(let_go)
                os.waitpid(child, 0)
    with Calls(happens) as calls:
        other()
    if len(calls.names) < second:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    elif not kill:
        while more := os.read(told, 10_000):
            heard += more.decode()
    os.close(told)
    if kill or len(calls.names) < second:
        os.close(let_go)
    Writer(directory)()  # whoever comes next finds what was left
    names = [line for line in heard.split() if line.startswith("evt_")]
    judge(directory, sorted({{*names, *other.told}}))
    return "ended" in heard.split("stopped")[0], len(calls.names) < second

root, first_step, second_step = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
pairs = 0
for kill in (True, False):
    for first in count(1, first_step):
        for second in count(1 + first % second_step, second_step):
            ended, over = pair(root / f"{{kill}}{{first}}-{{second}}", first, second, kill)
            pairs += 1
            if over or ended:
                break
        if ended:
            break
print(pairs)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
@pytest.mark.slow
@pytest.mark.parametrize("steps", [(23, 29), (4, 11)])
def test_one_ends_while_the_other_starts(
    run_script: Run, tmp_path: Path, steps: tuple[int, int]
) -> None:
    """The one is killed, or ends, at any time of the other's."""
    assert int(run_script(textwrap.dedent(SCRIPT), tmp_path, *steps)) > 20
