"""The memory that objects of strangers take at a listener: bounded for all of them together."""

from __future__ import annotations

from pathlib import Path

import pytest

from fountain.engine.receiving.collector import OPEN_BLOCK_COUNT_MAX
from fountain.limits import LISTENER_MEMORY_SIZE_MAX
from tests.engine.test_listener_flood import Listening, announce, listening

WORST = {"symbol_size": 16_000, "block": 1_000}  # Two slabs of such blocks have 66 MB.
USUAL = {"symbol_size": 1_408, "block": 1_002}
SMALL = {"symbol_size": 1_408, "block": 100}


def open_all(listener: Listening) -> int:
    """Open as many blocks of every object as may be; octets of all slabs."""
    collectors = [feed.fetch.assembly.collector for feed in listener.receiver.feeds.values() if feed.fetch.assembly]
    for collector in collectors:
        for block in range(OPEN_BLOCK_COUNT_MAX):
            collector.decoder(block)
    slabs = [slab for collector in collectors for slab in [*collector._slab_of.values(), *collector._slabs]]
    return sum(slab.nbytes for slab in slabs)


@pytest.mark.parametrize(
    "cuts",
    [
        [WORST] * 4, [USUAL] * 4, [USUAL, USUAL, WORST, USUAL], [WORST, USUAL, USUAL, USUAL],
        [SMALL, WORST, USUAL, WORST],
    ],
    ids=["all worst", "all usual", "worst among usual", "worst first", "small first"],
)  # fmt: skip
@pytest.mark.parametrize("at_once", [True, False])
def test_the_blocks_of_all_objects_fit_the_memory_of_a_listener(
    tmp_path: Path, cuts: list[dict[str, int]], at_once: bool
) -> None:
    """Four objects with symbols of 16 kB took 280 MB, and one that came alone kept what it had when others came."""
    with listening(tmp_path) as listener:
        listener.taking._warm_up._thread.join()
        for number, cut in enumerate(cuts, 1):
            listener.hear(announce(number, size=600_000_000, **cut))
            if not at_once:
                listener.step()
                assert 0 < open_all(listener) <= LISTENER_MEMORY_SIZE_MAX
        for _ in range(3):
            listener.step()
            assert 0 < open_all(listener) <= LISTENER_MEMORY_SIZE_MAX
        waiting = len(listener.receiver.idle)
        assert len(listener.receiver.feeds) + waiting == len(cuts)
