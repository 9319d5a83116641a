"""Chaos from one integer: whatever the network and the hosts do, a fetch ends with exactly the object, or with none.

Each seed is a test of its own. A failure prints the seed and all that was drawn from it; `python -m tests.world.replay
SEED` plays it again with a log, and `--seed N` moves the whole range of seeds to N and up.
"""

from __future__ import annotations

import pytest

from tests.world.chaos import Options, Play
from tests.world.scene import parametrize_seeds
from tests.world.traces import Trace, check_trace

SEED_COUNT = 120
SOAK_COUNT = 10_000
SOAK_GROUP_COUNT = 100


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_seeds(metafunc, count=SEED_COUNT, soak_count=SOAK_COUNT, soak_group_count=SOAK_GROUP_COUNT)


def test_the_object_arrives_whole_or_not_at_all(world_seed: int) -> None:
    play = Play(Options.drawn(world_seed))
    trace = Trace(play.world)
    play.run()
    check_trace("chaos", world_seed, trace)


@pytest.mark.slow
def test_the_object_arrives_whole_or_not_at_all_in_a_soak(world_seeds: range) -> None:
    for world_seed in world_seeds:
        Play(Options.drawn(world_seed)).run()
