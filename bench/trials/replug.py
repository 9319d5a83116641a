"""Interfaces that are pulled out and put back: whoever loses one goes on when it is back, and every file is exact.

    python -m bench.trials.replug [--quick] [--runs 20] [--only CASE]

An interface is removed, and a second later made anew (another index, the same name and addresses), at a receiver, at
the server, and at a listener, of a single stream and of a group. The figure is how many of all runs ended with the
exact file, and the longest time from when the interface was back until the file stood. Needs root and the tools of the
laboratory.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.lab import Lab, Star
from bench.trials.hosts import Command

SIZE = 3_000_000
SLOWLY = ("--cc", "fixed", "--rate", "12M")  # 2 s
GROUP = ("--group", "239.63.30.1", "-i", "eth0")
LIMIT_S = 15.0
AWAY_S = 1.0


class Run:
    """One laboratory, one object, and what is pulled out when."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        self.path = folder / "object.bin"
        self.path.write_bytes(os.urandom(SIZE))
        self.back_s = 0.0

    def fetch(self, *argv: str) -> Command:
        """A receiver."""
        return Command(self.lab, "r1", self.folder / "r1", "fetch", *argv)

    def serve(self, *argv: str) -> Command:
        """A server, that is ready."""
        words = ("serve", *SLOWLY, "--expect", "1", *argv)
        server = Command(self.lab, "server", self.folder / "server", *words, self.path)
        server.wait_event("serving")
        return server

    def replug(self, host: str) -> None:
        """Pull an interface out, and put it back."""
        self.lab.unplug(host)
        time.sleep(AWAY_S)
        self.lab.plug(host)
        self.back_s = time.monotonic()

    def finish(self, fetch: Command) -> float:
        """Seconds from when the interface was back until the file was whole; it must be exact."""
        fetch.wait_event("fetched")
        took_s = time.monotonic() - self.back_s
        assert filecmp.cmp(self.path, fetch.folder / self.path.name, shallow=False), "the file is not exact"
        return took_s


def single(run: Run, host: str) -> float:
    """In the middle of a fetch from a host."""
    run.serve()
    fetch = run.fetch(run.lab.address("server"))
    fetch.wait_fraction()
    run.replug(host)
    return run.finish(fetch)


def group(run: Run, host: str, *argv: str) -> float:
    """In the middle of a fetch out of a group."""
    fetch = run.fetch(*GROUP, *argv)
    fetch.wait_event("listening")
    run.serve(*GROUP)
    fetch.wait_fraction()
    run.replug(host)
    return run.finish(fetch)


def listener(run: Run) -> float:
    """While a listener waits for the first object."""
    fetch = run.fetch(*GROUP, "--listen")
    fetch.wait_event("listening")
    run.replug("r1")
    run.serve(*GROUP)
    run.back_s = time.monotonic()  # What starting a server takes is not the listener's time.
    return run.finish(fetch)


CASES: dict[str, Callable[[Run], float]] = {
    "receiver, single": lambda run: single(run, "r1"),
    "server, single": lambda run: single(run, "server"),
    "receiver, group": lambda run: group(run, "r1", "--wait"),
    "server, group": lambda run: group(run, "server", "--wait"),
    "listener, waiting": listener,
    "listener, receiving": lambda run: group(run, "r1", "--listen"),
}


def trial(case: str) -> float | None:
    """Seconds from when the interface was back until the file stood; None where it went wrong."""
    with Star(1) as lab, tempfile.TemporaryDirectory() as folder:
        try:
            return CASES[case](Run(lab, Path(folder)))
        except AssertionError as error:
            print(f"{case}: {error}", file=sys.stderr)
            return None


def main(argv: Sequence[str] | None = None) -> int:
    """All cases, and their figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one run of each case")
    parser.add_argument("--runs", type=int, default=20, help="of each case")
    parser.add_argument("--only", choices=CASES)
    options = parser.parse_args(argv)
    runs = 1 if options.quick else options.runs
    all_times: list[float] = []
    cases = [options.only] if options.only else list(CASES)
    for case in cases:
        times = [took_s for _ in range(runs) if (took_s := trial(case)) is not None]
        all_times += times
        times.sort()
        told = f", {times[len(times) // 2]:.1f} s after it was back, the longest {times[-1]:.1f} s" if times else ""
        print(f"{case}: {len(times)} of {runs} exact{told}", flush=True)
    good = sum(took_s <= LIMIT_S for took_s in all_times)
    print(f"all: {good} of {runs * len(cases)} exact within {LIMIT_S:g} s")
    return 0 if good == runs * len(cases) else 1


if __name__ == "__main__":
    sys.exit(main())
