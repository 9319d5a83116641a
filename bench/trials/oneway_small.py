"""One-way streams of small objects, to receivers that lose what was planned for: how many miss them.

    python -m bench.trials.oneway_small [--quick] [--runs N] [--commands N]

The world plays `--runs` streams of objects from 0 to 200,000 octets to 12 receivers each, in virtual time, and every
2nd to 16th packet lost instead. Then the real commands do the same in network namespaces (root) for `--commands` runs.
Every file that arrived is compared with its source.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from bench.lab import Link as LabLink
from bench.lab import Star
from fountain.limits import NS
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.schedule.oneway import OnewayBudget
from fountain.testing import GroupOptions, Link, World, payload

PLAN_LOSS, LOSS = 0.4, 0.35
RECEIVER_COUNT = 12
RATE_BPS = 20_000_000
SIZES = (0, 1, 100, 1408, 1409, 5_000, 14_080, 50_000, 100_000, 200_000)
GROUP = "239.91.7.1"


class PeriodicLink(Link):
    """Loses every so many-th packet of all."""

    def __init__(self, period: int, first: int) -> None:
        super().__init__()
        self.period, self.count = period, first

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        self.count += 1
        return [] if self.count % self.period == 0 else super().carry(datagram, now_ns, draw)


def play_world(seed: int, size: int, plan_loss: float, links: list[Link]) -> tuple[int, int]:
    """How many receivers missed an object, and how many have it."""
    world = World(seed)
    source = world.source(payload(size, seed), symbol_size=1408, block=1000)
    settings = GroupSettings(wait_count=0, oneway=OnewayBudget(loss=plan_loss, cycle_count=1))
    world.serve(source, rate_bps=RATE_BPS, group=GroupOptions(settings, "fixed"))
    listeners = []
    for index, link in enumerate(links):
        world.link("server", f"listener {index}", link)
        listeners.append(world.listen(name=f"listener {index}"))
    world.run(lambda: all(listener.is_done for listener in listeners), 8 * NS)
    done = [listener for listener in listeners if listener.is_done]
    assert all(listener.results == [source.content] for listener in done), "a wrong object"
    return len(listeners) - len(done), len(done)


def play_commands(seed: int, size: int, folder: Path) -> tuple[int, int]:
    """The same by the real commands, each receiver in a namespace of its own."""
    source = folder / "object"
    source.write_bytes(random.Random(seed).randbytes(size))
    missed = 0
    with Star(RECEIVER_COUNT, LabLink(loss=LOSS), name=f"longpaths-{os.getpid():x}-{seed}") as lab:
        fetches = []
        for index in range(RECEIVER_COUNT):
            argv = [sys.executable, "-m", "fountain", "fetch", "--quiet", "--group", GROUP, "--timeout", "20"]
            out = folder / f"copy {index}"
            fetches.append((lab.popen(f"r{index + 1}", [*argv, "-o", str(out)], env=environment()), out))
        wait_until_listening(lab)
        serve = [sys.executable, "-m", "fountain", "serve", "--quiet", "--group", GROUP, "--oneway", "--rate", "20M"]
        serve += ["--plan-loss", str(PLAN_LOSS), "--passes", "1", str(source)]
        lab.run("server", serve, env=environment(), check=True, capture_output=True)
        for process, out in fetches:
            if process.wait(60):
                missed += 1
            else:
                assert out.read_bytes() == source.read_bytes(), "a wrong file"
    return missed, RECEIVER_COUNT - missed


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}


def wait_until_listening(lab: Star) -> None:
    """Every receiver is a member of the group."""
    for index in range(RECEIVER_COUNT):
        for _ in range(600):
            listed = lab.run(
                f"r{index + 1}", ["ip", "maddr", "show"], capture_output=True, text=True, check=True
            ).stdout
            if GROUP in listed:
                break
            time.sleep(0.1)


def main() -> None:
    """Play it and print the figures."""
    parser = argparse.ArgumentParser(prog="python -m bench.trials.oneway_small", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs, in the world alone")
    parser.add_argument("--runs", type=int, default=100, help="of the world")
    parser.add_argument("--commands", type=int, default=10, help="of the real commands")
    options = parser.parse_args()
    run_count, command_count = (10, 0) if options.quick else (options.runs, options.commands)
    missed = total = 0
    for run in range(run_count):
        links = [Link(loss=LOSS) for _ in range(RECEIVER_COUNT)]
        bad, good = play_world(run, SIZES[run % len(SIZES)], PLAN_LOSS, links)
        missed, total = missed + bad, total + bad + good
    print(f"world, plan {PLAN_LOSS}, loss {LOSS}: {missed} of {total} missed it (2 of 1,200 are allowed)", flush=True)
    missed = total = 0
    for size in SIZES[:4] if options.quick else SIZES:
        for period in range(2, 17):
            links = [PeriodicLink(period, first) for first in range(period)]
            bad, good = play_world(period, size, 1 / period, links)
            missed, total = missed + bad, total + bad + good
    print(f"world, every 2nd to 16th packet lost, each phase: {missed} of {total} missed it", flush=True)
    missed = total = 0
    for run in range(command_count):
        with tempfile.TemporaryDirectory(prefix="fountain-trial-") as folder:
            bad, good = play_commands(run, SIZES[run % len(SIZES)], Path(folder))
        missed, total = missed + bad, total + bad + good
        print(f"commands, {SIZES[run % len(SIZES)]:,} octets: {bad} of {bad + good} missed it", flush=True)
    if command_count:
        print(f"commands in namespaces, plan {PLAN_LOSS}, loss {LOSS}: {missed} of {total} missed it")


if __name__ == "__main__":
    main()
