"""A long and lossy way: how much of its link a fetch has, from the command to the whole file.

    python -m bench.trials.long_path [--quick] [--world]

Root: two namespaces with a relay between them that delays (`bench.lab`). `--world` plays the same in virtual time.
Every file that arrived is compared with its source. "Of the link" counts what must cross it: the file's symbols with
their headers, IP, UDP and Ethernet's among them, over the time of the whole fetch, its two round trips of greeting
included.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.lab import Link as LabLink
from bench.lab import Pair
from fountain.limits import NS
from fountain.testing import Link, World, payload

SYMBOL_SIZE = 1408
PACKET_SIZE = SYMBOL_SIZE + 44 + 8 + 20 + 14
PATIENCE_S = 300
MBIT = 1_000_000


@dataclass(frozen=True)
class Case:
    """A link of `mbit` Mbit/s, with a queue of one bandwidth-delay product, and what goes over it."""

    rtt_ms: int
    loss: float
    mbit: int
    size: int

    @property
    def queue_size(self) -> int:
        """In octets."""
        return self.mbit * MBIT * self.rtt_ms // 8000


CASES = (
    Case(600, 0.01, 20, 40_000_000),
    Case(600, 0.0, 20, 40_000_000),
    Case(600, 0.05, 20, 40_000_000),
    Case(3000, 0.01, 4, 20_000_000),
    Case(600, 0.01, 20, 4_000_000),
)
QUICK = (Case(600, 0.01, 20, 10_000_000),)


def play_world(case: Case) -> float:
    """Seconds of virtual time until the object stands."""
    world = World(1)
    source = world.source(payload(case.size, 1), symbol_size=SYMBOL_SIZE, block=1002)
    world.serve(source, rate_bps=1_000 * MBIT)
    half_ns = case.rtt_ms * NS // 2000
    # The world's links carry no headers of IP, UDP and Ethernet: so much less for what they carry.
    rate_bps = case.mbit * MBIT * (SYMBOL_SIZE + 44) // PACKET_SIZE
    way = Link(loss=case.loss, delay_ns=half_ns, rate_bps=rate_bps, queue_size=case.queue_size)
    world.link("server", "client", way)
    world.link("client", "server", Link(delay_ns=half_ns))
    client = world.fetch()
    begun_ns = world.now_ns
    world.run(lambda: client.is_done, PATIENCE_S * NS)
    assert client.sink is not None
    assert client.sink.result == source.content, "a wrong object"
    return (world.now_ns - begun_ns) / NS


def play_commands(case: Case, folder: Path) -> float:
    """Seconds from the start of the fetch until it says that the file stands."""
    source, copy = folder / "object", folder / "copy"
    source.write_bytes(random.Random(1).randbytes(case.size))
    half = f"{case.rtt_ms // 2}ms"
    way = LabLink(rate=f"{case.mbit}M", queue=str(case.queue_size), delay=half, loss=case.loss)
    with Pair(way, LabLink(delay=half), name=f"longpaths-{os.getpid():x}") as lab:
        command = [sys.executable, "-m", "fountain"]
        options = {"env": {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}, "cwd": folder}
        lab.popen("left", [*command, "serve", "--quiet", str(source)], **options)
        time.sleep(10)  # It compiles, and opens its ports.
        begun = time.monotonic()
        fetch = [*command, "fetch", "--quiet", lab.address("left"), "-o", str(copy)]
        lab.run("right", fetch, check=True, timeout=PATIENCE_S, **options)
        seconds = time.monotonic() - begun
        assert filecmp.cmp(source, copy, shallow=False), "a wrong file"
        return seconds


def outcomes(cases: tuple[Case, ...], *, is_world: bool) -> Iterator[tuple[Case, float]]:
    """Each case with its seconds."""
    for case in cases:
        if is_world:
            yield case, play_world(case)
        else:
            with tempfile.TemporaryDirectory(prefix="fountain-trial-") as folder:
                yield case, play_commands(case, Path(folder))


def main() -> None:
    """Play it and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.trials.long_path", description="A long and lossy way.")
    parser.add_argument("--quick", action="store_true", help="one small file")
    parser.add_argument("--world", action="store_true", help="in virtual time, without root")
    options = parser.parse_args()
    print("| round trip | loss | link | file | seconds | of the link |\n" + "| --- " * 6 + "|", flush=True)
    for case, seconds in outcomes(QUICK if options.quick else CASES, is_world=options.world):
        share = -(-case.size // SYMBOL_SIZE) * PACKET_SIZE * 8 / seconds / (case.mbit * MBIT)
        figures = f"{case.rtt_ms} ms | {case.loss:.0%} | {case.mbit} Mbit/s | {case.size // MBIT} MB"
        print(f"| {figures} | {seconds:.1f} | {share:.2f} |", flush=True)


if __name__ == "__main__":
    main()
