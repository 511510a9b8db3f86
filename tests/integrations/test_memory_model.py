"""Whatever happens to a memory, each event says whose data it touched, and what is wrong there."""

from __future__ import annotations

import asyncio
from contextlib import nullcontext
from typing import Any

import pytest
from amounts import examples
from conftest import Make, MakeSystem
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_model import STEPS, World

from axon_audit_otel import audit_context

pytestmark = pytest.mark.usefixtures("instrumented", "without_start_record")

_SECRET = b"0123456789abcdef"
SETTINGS: Any = st.sampled_from(
    (
        {},
        {"fingerprints": False},
        {"erasable": True},
        {"pseudonymize": _SECRET},
        {"pseudonymize": _SECRET, "erasable": True},
        {"fingerprints": b"another secret, long enough"},
    )
)
ACTORS = st.sampled_from(("root", None))
SEQUENCES: Any = {
    "derandomize": True,  # a run of CI tells of the change, not of luck; by hand, switch it off
    "deadline": None,
    "suppress_health_check": [HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
}


def run(world: World, steps: list[Any], acting: str | None = None) -> None:
    """Do the *steps*, and see that everybody's events are found."""

    async def all_of_them() -> None:
        for step in steps:
            await world.do(*step)

    with nullcontext() if acting is None else audit_context(user_id=acting):
        asyncio.run(all_of_them())
    world.check()


@settings(max_examples=examples(150), **SEQUENCES)
@given(steps=st.lists(STEPS, min_size=10, max_size=20), acting=ACTORS, given=SETTINGS)
def test_any_sequence(
    make_audit: Make,
    make_system: MakeSystem,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[Any],
    acting: str | None,
    given: dict[str, Any],
) -> None:
    """Whatever is called, by whom, each event says the truth, and is found by its subjects."""
    directory = tmp_path_factory.mktemp("some") / "logs"
    run(World(make_system, make_audit, directory, **given), steps, acting)


@pytest.mark.slow
@settings(max_examples=250, **SEQUENCES)
@given(steps=st.lists(STEPS, min_size=20, max_size=60), acting=ACTORS, given=SETTINGS)
def test_many_sequences(
    make_audit: Make,
    make_system: MakeSystem,
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[Any],
    acting: str | None,
    given: dict[str, Any],
) -> None:
    """The same, five thousand times and more."""
    directory = tmp_path_factory.mktemp("some") / "logs"
    run(World(make_system, make_audit, directory, **given), steps, acting)
