"""Somebody without the key against receivers that have it: by how much their time grows.

    python -m bench.trials.keyless [--quick]

In the seeded world, in virtual time: bad packets and recordings at a tenth of the rate, of any blocks, against
a receiver of a group with a key (one-way and answered) and against a sealed fetch. Every object is compared. Printed is
the time with the disturbance as a multiple of the time without, over so many seeds: the median and the largest.
"""

from __future__ import annotations

import argparse
import statistics
from functools import partial

from tests.world.test_hostile_data import time_of_fetch, time_of_group


def main() -> None:
    """Print a line for each kind."""
    parser = argparse.ArgumentParser(description="Somebody without the key against receivers that have it.")
    parser.add_argument("--quick", action="store_true", help="fewer seeds")
    seeds = range(3 if parser.parse_args().quick else 15)
    kinds = {
        f"{'one-way' if is_oneway else 'answered'} group, {block_count} blocks": partial(
            time_of_group, block_count=block_count, is_oneway=is_oneway
        )
        for is_oneway in (True, False)
        for block_count in (100, 300)
    }
    kinds["sealed fetch, 200 blocks"] = time_of_fetch
    for name, time_of in kinds.items():
        ratios = [time_of(seed, harassed=True) / time_of(seed, harassed=False) for seed in seeds]
        print(f"{name:32} median {statistics.median(ratios):.3f}, largest {max(ratios):.3f} x", flush=True)


if __name__ == "__main__":
    main()
