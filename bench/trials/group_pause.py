"""A receiver of a group is stopped, as a laptop's lid or a snapshot of a virtual machine does: what that costs others.

    python -m bench.trials.group_pause [--quick]

Four receivers; after three seconds one is stopped (SIGSTOP) for 12 and for 60 seconds. The figure is the time until all
others have the file, beside that of a run in which nobody is stopped. All files are compared. Needs root.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.lab import Lab
from bench.trials.group_stage import Stage

COUNT = 4
RATE = "8M"
AFTER_S = 3.0
LIMIT = 1.05
PAUSES_S = (0, 12, 60)


def stopped(pause_s: int) -> Callable[[Lab, Path, Sequence[subprocess.Popen[Any]]], Callable[[], None]]:
    """What stops the first receiver for so long."""

    def disturb(_lab: Lab, _folder: Path, fetches: Sequence[subprocess.Popen[Any]]) -> Callable[[], None]:
        victim = fetches[0]
        timers = []
        if pause_s:
            for after_s, number in ((AFTER_S, signal.SIGSTOP), (AFTER_S + pause_s, signal.SIGCONT)):
                timers.append(threading.Timer(after_s, victim.send_signal, [number]))
        for timer in timers:
            timer.start()

        def end() -> None:
            for timer in timers:
                timer.cancel()
            victim.send_signal(signal.SIGCONT)

        return end

    return disturb


def main(argv: list[str] | None = None) -> int:
    """Play the trial; 1 if a figure is missed or a file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.trials.group_pause", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tfmcc and 12 s alone")
    parser.add_argument("--megabytes", type=int, default=50, help="size of the file (default 50)")
    options = parser.parse_args(argv)
    is_met = True
    for cc in ("tfmcc",) if options.quick else ("tfmcc", "fixed"):
        alone_s = 0.0
        for pause_s in PAUSES_S[: 2 if options.quick else 3]:
            times_s = Stage(COUNT, options.megabytes * 1_000_000, RATE, "--cc", cc).play(stopped(pause_s))
            if None in times_s:
                print(f"{cc}, stopped for {pause_s} s: not all have the file: {times_s}")
                is_met = False
                continue
            others_s = max(time_s for time_s in times_s[1:] if time_s is not None)
            alone_s = alone_s or others_s
            share = others_s / alone_s
            is_met &= share <= LIMIT
            print(
                f"{cc}, stopped for {pause_s:2} s: the others {others_s:6.1f} s, {share:.3f} of the time without "
                f"(at most {LIMIT}); the one itself {times_s[0]:6.1f} s",
                flush=True,
            )
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
