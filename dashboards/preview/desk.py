"""The load behind the pictures: ``python -m dashboards.preview.desk``, a support desk's memory.

A real Axon memory with the delays of one behind a network; twelve users, three agents, two more
memories that are recorded by hand. What is unusual happens once at the begin, and again now and
then: deletions of all that a user has, exports, an entry changed past the memory, one that comes
back. With ``--incident`` one of the stores fails and is slow for a tenth of the time.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import math
import signal
import time
from pathlib import Path
from random import Random
from typing import Any

from axon import Filter

from axon_audit_otel import AuditLogger, audit_context, serve_metrics
from axon_audit_otel.cli.demo.scenario import DemoAdapter, dialogue, make_memory, personal
from axon_audit_otel.otel_setup import configure

_USERS = (
    *("amira", "bruno", "chiara", "dmitri", "emeka", "farah", "goran"),
    *("hana", "ivo", "jun", "kofi", "lena"),
)
_AGENTS = ("support-agent", "planner", "summarizer")
_WORKERS = 5  # what goes on at the same time
_KEPT = 900  # entries; a load that goes on must not grow


class _Remote(DemoAdapter):
    """The demo's adapter, as far away as a store behind a network."""

    random = Random(7)
    far = 1.0

    async def _respond(self) -> None:
        await asyncio.sleep(0.012 * self.far * self.random.lognormvariate(0, 0.8))
        await super()._respond()


class _Digest:
    """A summariser without a language model: it takes the beginning of every entry."""

    async def summarize(
        self, entries: list[Any], context: str | None = None, max_length: int | None = None
    ) -> str:
        return " / ".join(entry.text[:40] for entry in entries)


class _Desk:
    """What the load does, an operation at a time."""

    def __init__(self, audit: AuditLogger, seed: int) -> None:
        self._audit = audit
        self._memory, self._tiers = make_memory(audit, _Remote)
        self._random = Random(seed)
        self._lines = [line.partition(": ")[2] or line for line in dialogue()]
        self._stored: list[tuple[str, str]] = []  # user, entry

    def _user(self) -> str:
        """The first ones are busier by far."""
        return _USERS[min(int(self._random.expovariate(0.35)), len(_USERS) - 1)]

    async def _store(self, user: str) -> None:
        often = self._random.random() < 0.03
        words = personal(user).words if often else self._random.choice(self._lines)
        entry = await self._memory.store(
            words, importance=round(self._random.random(), 2), user_id=user
        )
        self._stored.append((user, entry))

    async def _recall(self, user: str) -> None:
        line = self._random.choice(self._lines)
        await self._memory.recall(max(line.split(), key=len), k=3)

    async def _forget(self, user: str) -> None:
        if len(self._stored) > 10:
            _, entry = self._stored.pop(0)
            await self._memory.forget(entry, derived="delete")

    async def _erase(self, user: str) -> None:
        """All that a user has; a summary that was made of it stays."""
        await self._memory.forget(filter=Filter(user_id=user))

    async def _export(self, user: str) -> None:
        await self._memory.export(filter=Filter(user_id=user))

    async def _import(self, user: str) -> None:
        await self._memory.import_from(await self._memory.export(tier="session"), overwrite=True)

    async def _compact(self, user: str) -> None:
        most = max(1, self._tiers["session"].count() * 2 // 3)
        await self._memory.compact("session", threshold=most, summarizer=_Digest())

    async def _sync(self, user: str) -> None:
        await self._memory.sync("session", "persistent", Filter(min_importance=0.8))

    async def _elsewhere(self, user: str) -> None:
        """The other memories, which are recorded by hand."""
        system = self._random.choice(("notes", "notes", "wiki"))
        async with self._audit.operation(
            self._random.choice(("STORE", "RECALL", "RECALL")), system=system
        ) as op:
            await asyncio.sleep(0.004 * self._random.lognormvariate(0, 0.6))
            op.found(f"{system}-{self._random.randrange(500)}")

    async def _refused(self, user: str) -> None:
        await self._memory.recall("tea", k=0)

    async def _tampered(self, user: str) -> None:
        """Somebody changes one entry in the store, and puts back another; both are then read."""
        held = self._tiers["session"]._storage
        if len(held) > 2:
            changed, back = list(held.values())[:2]
            await self._memory.forget(back.id)
            held[back.id] = back
            held[changed.id] = changed.model_copy(update={"text": "All is well."})
            await self._memory.export(tier="session")
            held[changed.id] = changed
            del held[back.id]

    async def _one(self) -> None:
        steps = {
            self._recall: 62, self._elsewhere: 24, self._store: 12, self._forget: 0.3,
            self._export: 0.04, self._compact: 0.12, self._sync: 0.3, self._refused: 0.1,
            self._erase: 0.03, self._import: 0.03, self._tampered: 0.02,
        }  # fmt: skip
        (step,) = self._random.choices(list(steps), list(steps.values()))
        if len(self._stored) > _KEPT:
            step = self._forget
        await self._as_somebody(step)

    async def _as_somebody(self, step: Any) -> None:
        user = self._user()
        agent = self._random.choices(_AGENTS, (6, 3, 1))[0]
        who = audit_context(user_id=user, session_id=f"{user}-desk", agent_id=agent)
        with contextlib.suppress(ValueError, ConnectionError), who:
            await step(user)

    async def begin(self) -> None:
        """Everything once: whoever looks soon sees each of its kinds."""
        for step in (*[self._store] * 30, self._compact, self._erase, self._forget, self._export):
            await self._as_somebody(step)
        for step in (self._import, self._sync, self._elsewhere, self._refused, self._tampered):
            await self._as_somebody(step)

    async def work(self, stop: asyncio.Event, seconds: float, incident: bool) -> None:
        """One of the workers, until *stop*; the day has *seconds*."""
        began = time.monotonic()
        while not stop.is_set():
            passed = (time.monotonic() - began) / seconds
            broken = incident and 0.55 < passed < 0.65
            for tier in self._tiers.values():
                tier.far = 25.0 if broken and self._random.random() < 0.3 else 1.0
            failing = broken and self._random.random() < 0.4
            self._tiers["session"].mood = "down" if failing else "up"
            await self._one()
            busy = 1 + 0.5 * math.sin(7 * passed) + 0.2 * math.sin(31 * passed)
            pause = self._random.expovariate(busy / 0.55)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)


async def _run(desk: _Desk, seconds: float, incident: bool) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await desk.begin()
    await asyncio.gather(*(desk.work(stop, seconds, incident) for _ in range(_WORKERS)))


def main() -> None:
    """Read the arguments, and work until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="where metrics are served")
    parser.add_argument("--output", type=Path, required=True, help="the directory of the archive")
    parser.add_argument("--seconds", type=float, required=True, help="length of the day")
    parser.add_argument("--incident", action="store_true", help="a store fails for a while")
    given = parser.parse_args()
    logging.getLogger("axon").handlers = [logging.NullHandler()]
    providers = configure(service_name="support-desk")
    with (
        serve_metrics(given.port),
        AuditLogger(10_000, given.output, True, name="desk", capture_content=True) as audit,
    ):
        asyncio.run(_run(_Desk(audit, given.port), given.seconds, given.incident))
    providers.shutdown()


if __name__ == "__main__":
    main()
