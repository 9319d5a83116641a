"""What is sent in a run of the seeded world, octet for octet: where behaviour stays the same, so does each trace.

`python -m tests.world.traces record` plays the seeds of both kinds and writes their digests down; do so after a change
of behaviour that was meant. `python -m tests.world.traces print chaos SEED` prints a line for each datagram, so that
`diff` shows where two versions part. The digests hold on x86-64 with glibc, where they were recorded: elsewhere the
last place of a logarithm may differ, and a rate with it.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import blake3

from fountain.net.address import Address
from fountain.testing import World
from tests.world.chaos import Options, Play
from tests.world.group_chaos import GroupOptionsDrawn, GroupPlay
from tests.world.scene import Scene

__all__ = ["RECORDED", "Trace", "check_trace"]

PAGE = Path(__file__).parent.parent / "vectors" / "traces.txt"
PLAYS: dict[str, tuple[int, Callable[[int], Scene]]] = {
    "chaos": (140, lambda seed: Play(Options.drawn(seed))),
    "group": (60, lambda seed: GroupPlay(GroupOptionsDrawn.drawn(seed))),
}


def _recorded() -> dict[tuple[str, int], str]:
    words = (line.split() for line in PAGE.read_text().splitlines()) if PAGE.exists() else ()
    return {(kind, int(seed)): digest for kind, seed, digest in words}


RECORDED = _recorded()
IS_COMPARABLE = platform.machine() == "x86_64" and platform.libc_ver()[0] == "glibc"


class Trace:
    """The digest of each datagram that a world sends: when, from where, to where, and its octets."""

    def __init__(self, world: World, write: Callable[[str], object] | None = None) -> None:
        self._world = world
        self._write = write
        self._digest = blake3.blake3()
        world.taps.append(self._see)

    @property
    def digest(self) -> str:
        """Of all that was sent up to now, in hexadecimal."""
        return self._digest.hexdigest(16)

    def _see(self, datagram: bytes, source: Address, target: Address) -> None:
        head = f"{self._world.now_ns} {source[0]}:{source[1]} {target[0]}:{target[1]} {len(datagram)}"
        self._digest.update(f"{head}\n".encode() + datagram)
        if self._write is not None:
            self._write(f"{head} {blake3.blake3(datagram).hexdigest(8)}\n")


def check_trace(kind: str, seed: int, trace: Trace) -> None:
    """The datagrams of this seed are those that were recorded, if any were."""
    recorded = RECORDED.get((kind, seed))
    assert recorded is None or not IS_COMPARABLE or trace.digest == recorded, (
        f"{kind} {seed}: other datagrams than recorded. If that is meant, record them: python -m {__name__} record"
    )


def _play(one: tuple[str, int]) -> str:
    kind, seed = one
    scene = PLAYS[kind][1](seed)
    trace = Trace(scene.world)
    scene.run()
    return f"{kind} {seed} {trace.digest}\n"


def record() -> None:
    """Play all seeds and write their digests down."""
    seeds = [(kind, seed) for kind, (count, _) in PLAYS.items() for seed in range(count)]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        PAGE.write_text("".join(pool.map(_play, seeds, chunksize=4)))


def print_one(kind: str, seed: int) -> None:
    """Print the datagrams of one seed."""
    scene = PLAYS[kind][1](seed)
    Trace(scene.world, sys.stdout.write)
    scene.run()


if __name__ == "__main__":
    if sys.argv[1:] == ["record"]:
        record()
    else:
        print_one(sys.argv[2], int(sys.argv[3]))
