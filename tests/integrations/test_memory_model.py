"""Whatever happens to a memory, each event says whose data it touched, and what is wrong there."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from pathlib import Path
from random import Random
from typing import Any

import pytest
from conftest import Make, MakeSystem
from memory_model import NAMES, TIERS, USERS, World

from axon_audit_otel import audit_context

pytestmark = pytest.mark.usefixtures("instrumented", "without_start_record")

_SECRET = b"0123456789abcdef"
SETTINGS: Any = (
    {},
    {"fingerprints": False},
    {"erasable": True},
    {"pseudonymize": _SECRET},
    {"pseudonymize": _SECRET, "erasable": True},
    {"fingerprints": b"another secret, long enough"},
)
ACTORS = ("root", None)


def run(world: World, steps: list[Any], acting: str | None = None) -> None:
    """Do the *steps*, and see that everybody's events are found."""

    async def all_of_them() -> None:
        for step in steps:
            await world.do(*step)

    with nullcontext() if acting is None else audit_context(user_id=acting):
        asyncio.run(all_of_them())
    world.check()


def of_seed(
    seed: int, count: int, make_audit: Make, make_system: MakeSystem, directory: Path
) -> None:
    """Do *count* random steps, the same in every run with that *seed*."""
    random = Random(seed)
    steps = [tuple(map(random.choice, (NAMES, USERS, TIERS, range(10)))) for _ in range(count)]
    world = World(make_system, make_audit, directory / "logs", **random.choice(SETTINGS))
    run(world, steps, random.choice(ACTORS))


@pytest.mark.parametrize("seed", range(100))
def test_any_sequence(make_audit: Make, make_system: MakeSystem, tmp_path: Path, seed: int) -> None:
    """Whatever is called, by whom, each event says the truth, and is found by its subjects."""
    of_seed(seed, 15, make_audit, make_system, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1_000, 1_120))
def test_many_sequences(
    make_audit: Make, make_system: MakeSystem, tmp_path: Path, seed: int
) -> None:
    """The same, five thousand times and more."""
    of_seed(seed, 50, make_audit, make_system, tmp_path)
