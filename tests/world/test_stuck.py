"""Everything arrives but nothing advances: kinds of packets are dropped for ever, and each wait ends with a true word.

Each seed is a test of its own. A failure prints all that was drawn; `python -m tests.world.stuck SEED` (or
`tests.world.stuck_group`) plays it again with a log.
"""

from __future__ import annotations

import pytest

from tests.world import stuck, stuck_group

SEED_COUNT, GROUP_SEED_COUNT = 48, 12
SOAK_COUNT, GROUP_SOAK_COUNT, SOAK_STEP = 1_500, 500, 50


def ranges(count: int) -> list[range]:
    return [range(at, at + SOAK_STEP) for at in range(0, count, SOAK_STEP)]


@pytest.mark.parametrize("stuck_seed", range(SEED_COUNT))
def test_a_fetch_of_which_packets_are_dropped_for_ever_ends_with_a_true_word(stuck_seed: int) -> None:
    stuck.play(stuck.Drawn.drawn(stuck_seed))


@pytest.mark.parametrize("stuck_seed", range(GROUP_SEED_COUNT))
def test_a_receiver_of_a_group_of_which_packets_are_dropped_for_ever_ends_with_a_true_word(stuck_seed: int) -> None:
    stuck_group.play(stuck_group.DrawnGroup.drawn(stuck_seed))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", ranges(SOAK_COUNT), ids=str)
def test_many_fetches_of_which_packets_are_dropped_for_ever_end_with_true_words(seeds: range) -> None:
    for seed in seeds:
        stuck.play(stuck.Drawn.drawn(seed))


@pytest.mark.slow
@pytest.mark.parametrize("seeds", ranges(GROUP_SOAK_COUNT), ids=str)
def test_many_receivers_of_groups_of_which_packets_are_dropped_for_ever_end_with_true_words(seeds: range) -> None:
    for seed in seeds:
        stuck_group.play(stuck_group.DrawnGroup.drawn(seed))
