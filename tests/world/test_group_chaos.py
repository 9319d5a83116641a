"""Chaos in a group, from one integer: once faults stop, everybody who is there has exactly the object.

Each seed is a test of its own. `python -m tests.world.group_chaos SEED` plays one again with a log; `--seed N` moves
the whole range of seeds to N and up.
"""

from __future__ import annotations

import pytest

from tests.world.group_chaos import GroupOptionsDrawn, GroupPlay
from tests.world.scene import parametrize_seeds
from tests.world.traces import Trace, check_trace

SEED_COUNT = 30
SOAK_COUNT = 2_000
SOAK_GROUP_COUNT = 50


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    parametrize_seeds(metafunc, count=SEED_COUNT, soak_count=SOAK_COUNT, soak_group_count=SOAK_GROUP_COUNT)


def test_everybody_in_a_group_gets_the_object(world_seed: int) -> None:
    play = GroupPlay(GroupOptionsDrawn.drawn(world_seed))
    trace = Trace(play.world)
    play.run()
    check_trace("group", world_seed, trace)


@pytest.mark.slow
def test_everybody_in_a_group_gets_the_object_in_a_soak(world_seeds: range) -> None:
    for world_seed in world_seeds:
        GroupPlay(GroupOptionsDrawn.drawn(world_seed)).run()


def test_a_receiver_that_left_its_group_goes_on_where_a_server_starts_again() -> None:
    """Its host answers that nobody listens, a quarter of a second after the group was heard from there."""
    GroupPlay(GroupOptionsDrawn.drawn(2242)).run()
