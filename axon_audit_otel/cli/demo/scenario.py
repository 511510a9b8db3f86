"""The day that the demo records: an agent's memory in use, on the real Axon SDK."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from functools import partial
from importlib import resources
from itertools import cycle
from random import Random
from typing import Any, NamedTuple

from axon import Filter, InMemoryAdapter, MemoryEntry, MemorySystem
from axon.core.adapter_registry import AdapterRegistry
from axon.core.config import MemoryConfig
from axon.core.policies.ephemeral import EphemeralPolicy
from axon.core.policies.persistent import PersistentPolicy
from axon.core.policies.session import SessionPolicy

from ...events.identity import audit_context
from ...trail.audit_logger import AuditLogger

__all__ = ["Day", "Line", "Phase", "dialogue", "make_memory", "personal", "spoken"]

_LOAD_MEMORIES = 200  # entries that the load keeps: a demo left running must not grow

_OFFICER = {"user_id": "privacy-officer", "session_id": "request-17"}

Step = Callable[[], Awaitable[Any]]


class Line(NamedTuple):
    """Words of one user."""

    user: str
    words: str


class Phase(NamedTuple):
    """A part of the day; a step is one operation, or a few that belong together."""

    title: str
    steps: list[Step]


# --- the text --------------------------------------------------------------------------------


def dialogue() -> list[str]:
    """The lines of the text that comes with the package."""
    text = resources.files(__package__).joinpath("tea_party.txt").read_text("utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]


def spoken(lines: Iterable[str], users: int) -> tuple[list[str], list[Line]]:
    """Distribute *lines* among *users* users: to the speaker that a line names, else in turns.

    Returns:
        The ids of the users, and their lines.
    """
    parsed = []
    for line in filter(None, map(str.strip, lines)):
        named = re.fullmatch(r"([^\W\d_][\w .'-]{0,30}):\s+(.+)", line)
        parsed.append((named[1], named[2]) if named else (None, line))
    speakers = list(dict.fromkeys(speaker for speaker, _ in parsed if speaker))
    ids = [re.sub(r"\W+", "-", speaker.lower()).strip("-") for speaker in speakers[:users]]
    ids += [f"user-{number}" for number in range(len(ids) + 1, users + 1)]
    given = [
        Line(ids[(speakers.index(speaker) if speaker else number) % users], words)
        for number, (speaker, words) in enumerate(parsed)
    ]
    return ids, given


def personal(user: str) -> Line:
    """A line with personal data; the telephone number is one reserved for fiction."""
    return Line(user, f"Write to me at {user}@example.org, or ring +44 20 7946 0958.")


# --- the memory ------------------------------------------------------------------------------


class DemoAdapter(InMemoryAdapter):  # type: ignore[misc]
    """The SDK's in-memory adapter, with one gap closed and faults on demand.

    `MemorySystem.compact` and `sync` get all entries of an adapter by a query with a vector of
    zeros. The SDK's in-memory adapter returns nothing then, or raises if entries have
    embeddings. This one returns all entries, as a vector database does.
    """

    mood = "up"  # or "down", or "stuck"

    async def query(
        self, vector: list[float] | str, k: int = 5, filter: Filter | None = None
    ) -> list[MemoryEntry]:
        """Query as the SDK's adapter does; for a vector of zeros, return all entries."""
        await self._respond()
        if isinstance(vector, str) or any(vector):
            found: list[MemoryEntry] = await super().query(vector, k, filter)
            return found
        entries = list(self._storage.values())
        return [entry for entry in entries if filter is None or filter.matches(entry)][:k]

    async def save(self, entry: MemoryEntry) -> str:
        """Save as the SDK's adapter does."""
        await self._respond()
        saved: str = await super().save(entry)
        return saved

    async def _respond(self) -> None:
        if self.mood == "down":
            raise ConnectionError("the store does not answer")
        if self.mood == "stuck":
            await asyncio.Event().wait()


def make_memory(
    audit: AuditLogger, adapter: type[DemoAdapter] = DemoAdapter
) -> tuple[Any, dict[str, DemoAdapter]]:
    """A `MemorySystem` of three tiers, all in this process, recorded by *audit*."""
    config = MemoryConfig(
        ephemeral=EphemeralPolicy(adapter_type="memory", ttl_seconds=3600),
        session=SessionPolicy(adapter_type="memory", ttl_seconds=None),
        persistent=PersistentPolicy(adapter_type="memory"),
        default_tier="session",
    )
    adapters = {tier: adapter() for tier in config.tiers}
    registry = AdapterRegistry()
    for tier, instance in adapters.items():
        registry.register(tier, "memory", adapter_instance=instance)
    memory = MemorySystem(config, registry=registry, audit_logger=audit)
    memory.enable_tracing(False)  # the SDK's own list of calls grows without bound
    return memory, adapters


class _Digest:
    """A summariser without a language model: it takes the beginning of every entry."""

    async def summarize(
        self, entries: list[Any], context: str | None = None, max_length: int | None = None
    ) -> str:
        """The summary, as the SDK expects it."""
        return " / ".join(entry.text[:40] for entry in entries)


# --- the day ---------------------------------------------------------------------------------


class Day:
    """The operations of a day, from morning to night.

    Args:
        memory: The memory system.
        adapters: Its adapters, by tier.
        users: The ids of the users.
        lines: Their words.
    """

    def __init__(
        self, memory: Any, adapters: dict[str, DemoAdapter], users: list[str], lines: list[Line]
    ) -> None:
        self._memory = memory
        self._adapters = adapters
        self._users = users
        self._lines = lines
        self._stored: list[tuple[str, str]] = []  # user, entry id
        speakers = {line.user for line in lines}
        #: The user whose memories are deleted at the end.
        self.subject = next(user for user in reversed(users) if user in speakers)

    def phases(self) -> list[Phase]:
        """The phases of the day, in order."""
        first = self._users[0]
        morning = [*self._lines, personal(first)]
        return [
            Phase(
                "Morning: what is said is remembered",
                [partial(self._say, line, "morning") for line in morning],
            ),
            Phase("Noon: everybody asks", [*self._questions()]),
            Phase(
                "Afternoon: housekeeping",
                [
                    self._transact,
                    self._sync,
                    self._compact,
                    self._restore,
                    self._bulk,
                    self._behind_the_back,
                ],
            ),
            Phase("Evening: some things go wrong", self._mishaps()),
            Phase(
                "Night: the right to be forgotten",
                [
                    self._forget_one,
                    partial(self._read_of, first),
                    self._erase,
                    self._erase_what_was_made_of_it,
                    partial(self._read_of, first),
                ],
            ),
        ]

    # --- morning and noon ------------------------------------------------------------------

    async def _say(self, line: Line, session: str) -> None:
        """Store a line; the longer, the more important, and importance decides the tier."""
        entry_id = await self._memory.store(
            line.words,
            importance=min(0.95, round(0.2 + len(line.words) / 120, 2)),
            tags=["question"] if line.words.endswith("?") else ["remark"],
            user_id=line.user,
            session_id=f"{line.user}-{session}",
        )
        self._stored.append((line.user, entry_id))

    def _questions(self) -> Iterable[Step]:
        """Each user searches for a word of three lines."""
        for number, user in enumerate(self._users):
            for turn in range(3):
                line = self._lines[(7 * number + 5 * turn) % len(self._lines)]
                yield partial(
                    self._memory.recall,
                    _telling_word(line),
                    k=3,
                    user_id=user,
                    session_id=f"{user}-noon",
                )

    # --- evening ---------------------------------------------------------------------------

    def _mishaps(self) -> list[Step]:
        memory = self._memory
        users = cycle(self._users)

        def who() -> dict[str, str]:
            user = next(users)
            return {"user_id": user, "session_id": f"{user}-evening"}

        return [
            partial(_refused, memory.store, "   ", **who()),
            partial(_refused, memory.recall, "tea", k=0, **who()),
            partial(_refused, memory.export, tier="attic", **who()),
            partial(self._with, "session", "down", _refused, memory.store, "It is lost", **who()),
            # The SDK skips a tier that fails: nothing is raised, but the answer is incomplete.
            partial(self._with, "persistent", "down", memory.recall, "time", **who()),
            partial(self._with, "session", "stuck", _given_up, memory.recall, "time", **who()),
            partial(self._roll_back, next(users)),
        ]

    async def _with(self, tier: str, mood: str, call: Any, *args: Any, **kwargs: Any) -> None:
        """Await *call* while the adapter of *tier* is in that *mood*."""
        adapter = self._adapters[tier]
        adapter.mood = mood
        try:
            await call(*args, **kwargs)
        finally:
            adapter.mood = "up"

    async def _roll_back(self, user: str) -> None:
        with suppress(LookupError), audit_context(user_id=user, session_id=f"{user}-evening"):
            async with self._memory.transaction():
                raise LookupError("no clean cup")

    # --- afternoon -------------------------------------------------------------------------

    async def _transact(self) -> None:
        user = self._users[0]
        with audit_context(user_id=user, session_id=f"{user}-afternoon"):
            async with self._memory.transaction():
                await self._say(Line(user, "The tea-party is on the fourth."), "afternoon")
                await self._say(Line(user, "It begins at six o'clock, as always."), "afternoon")

    async def _sync(self) -> None:
        with audit_context(user_id="night-shift", session_id="nightly"):
            await self._memory.sync(
                "session", "persistent", Filter(min_importance=0.6), conflict_resolution="source"
            )

    async def _compact(self) -> None:
        count = self._adapters["session"].count()
        with audit_context(user_id="night-shift", session_id="nightly"):
            await self._memory.compact(
                "session", threshold=max(1, count * 2 // 3), summarizer=_Digest()
            )

    async def _restore(self) -> None:
        """Import a backup twice; the second time one of its entries is damaged."""
        with audit_context(user_id="night-shift", session_id="nightly"):
            backup = await self._memory.export()
            await self._memory.import_from(backup, overwrite=True)
            backup["entries"][0]["metadata"]["created_at"] = "yesterday, at tea-time"
            await self._memory.import_from(backup, overwrite=True)

    async def _bulk(self) -> None:
        """Use the storage adapter directly, as a script may do."""
        entries = [MemoryEntry(text=f"Cup {number} is clean") for number in range(1, 6)]
        adapter = self._adapters["ephemeral"]
        with audit_context(user_id="import-script"):
            await adapter.bulk_save(entries)
            await adapter.reindex()

    async def _behind_the_back(self) -> None:
        """Delete an entry without the `MemorySystem`."""
        adapter = self._adapters["ephemeral"]
        with audit_context(user_id="cleanup-script"):
            await adapter.delete(adapter.list_ids()[-1])

    # --- night -----------------------------------------------------------------------------

    async def _forget_one(self) -> None:
        user, entry_id = self._stored[-1]
        await self._memory.forget(entry_id, user_id=user, session_id=f"{user}-night")

    async def _read_of(self, user: str) -> None:
        """*user* searches for the words of another user."""
        line = next(line for line in reversed(self._lines) if line.user == self.subject)
        await self._memory.recall(
            _telling_word(line),
            filter=Filter(user_id=self.subject),
            user_id=user,
            session_id=f"{user}-night",
        )

    async def _erase(self) -> None:
        """Another user deletes all entries of the subject. A summary made of them stays."""
        await self._memory.forget(filter=Filter(user_id=self.subject), **_OFFICER)

    async def _erase_what_was_made_of_it(self) -> None:
        await self._memory.forget(filter=Filter(user_id=self.subject), derived="delete", **_OFFICER)

    # --- the load --------------------------------------------------------------------------

    async def carry_on(self, random: Random) -> None:
        """Do one more operation, chosen by *random*: mostly stores and recalls, a few failures."""
        user = random.choice(self._users)
        who = {"user_id": user, "session_id": f"{user}-load"}
        line = random.choice(self._lines)
        memory = self._memory
        if len(self._stored) > _LOAD_MEMORIES:
            owner, entry_id = self._stored.pop(0)
            await memory.forget(entry_id, user_id=owner, session_id=f"{owner}-load")
            return
        choice = random.choices(
            ("say", "recall", "export", "sync", "compact", "refused", "down"),
            (45, 40, 2, 3, 2, 4, 4),
        )[0]
        if choice == "say":
            await self._say(Line(user, line.words), "load")
        elif choice == "recall":
            await memory.recall(_telling_word(line), k=3, **who)
        elif choice == "export":
            await memory.export(filter=Filter(user_id=user), **who)
        elif choice == "sync":
            await self._sync()
        elif choice == "compact":
            await self._compact()
        elif choice == "refused":
            await _refused(memory.recall, "tea", k=0, **who)
        else:
            await self._with("session", "down", memory.recall, "time", **who)


def _telling_word(line: Line) -> str:
    """The longest word of a line, as somebody might search for it."""
    words: list[str] = re.findall(r"\w+", line.words)
    return max(words or ["tea"], key=len)


async def _refused(call: Any, *args: Any, **kwargs: Any) -> None:
    """Await a call that is expected to fail."""
    with suppress(ValueError, ConnectionError):
        await call(*args, **kwargs)


async def _given_up(call: Any, *args: Any, **kwargs: Any) -> None:
    """Give up waiting for a call."""
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(call(*args, **kwargs), timeout=0.05)
