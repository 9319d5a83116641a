"""One member of a group lies: how long the honest ones take, in each of the ways to lie.

    python -m bench.trials.group_liar [--quick] [--only LIE]

Eight members: seven fetch, and one reports what is not so, twenty times a second, with the group's key or without one:
false needs, false round trips, false losses, ever new names. The figure is the time until all honest ones have the
file, beside that of a run without the liar; the bound is twice as long. All files are compared. Needs root.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bench.lab import Lab
from bench.trials.group_forger import LIES
from bench.trials.group_stage import ADDRESS, Stage, start

HONEST_COUNT = 7
RATE = "8M"
LIMIT = 2.0
KEY = "0f1e2d3c4b5a6978" * 4


def lying(lie: str, key: Path | None) -> Callable[[Lab, Path, Sequence[subprocess.Popen[Any]]], Callable[[], None]]:
    """What lets the eighth member lie; with an empty `lie` it is not there."""

    def disturb(lab: Lab, folder: Path, _fetches: Sequence[subprocess.Popen[Any]]) -> Callable[[], None]:
        if not lie:
            return lambda: None
        words = [] if key is None else ["--key", key]
        host = lab.hosts[-1]
        forger = start(
            lab, host, folder / host, "bench.trials.group_forger", lie, ADDRESS, lab.address(host), *words
        )  # fmt: skip

        def end() -> None:
            forger.kill()
            forger.wait()

        return end

    return disturb


def main(argv: list[str] | None = None) -> int:
    """Play the trial; 1 if a figure is missed or a file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m bench.trials.group_liar", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="three lies alone, in an open group")
    parser.add_argument("--only", choices=LIES, help="this lie alone")
    parser.add_argument("--megabytes", type=int, default=20, help="size of the file (default 20)")
    options = parser.parse_args(argv)
    lies = [options.only] if options.only else ["needs", "far", "ever-new"] if options.quick else list(LIES)
    is_met = True
    with tempfile.TemporaryDirectory() as folder:
        key = Path(folder) / "group.key"
        key.write_text(KEY + "\n", "ascii")
        key.chmod(0o600)
        for cc in ("tfmcc", "fixed"):
            for is_keyed in (False,) if options.quick or options.only else (False, True):
                is_met &= series(cc, lies, options.megabytes * 1_000_000, key if is_keyed else None)
    return 0 if is_met else 1


def series(cc: str, lies: Sequence[str], size: int, key: Path | None) -> bool:
    """All lies under one congestion control; whether the honest ones took no more than twice the time."""
    where = () if key is None else ("--key", str(key))
    alone_s, is_met = 0.0, True
    for lie in ("", *lies):
        stage = Stage(HONEST_COUNT, size, RATE, "--cc", cc, more=1)
        times_s = stage.play(lying(lie, key), *where)
        called = f"{cc}, {'with the key' if key else 'open'}, {lie or 'nobody lies'}"
        if None in times_s:
            print(f"{called}: not all have the file: {times_s}", flush=True)
            is_met = False
            continue
        slowest_s = max(time_s for time_s in times_s if time_s is not None)
        alone_s = alone_s or slowest_s
        share = slowest_s / alone_s
        is_met &= share <= LIMIT
        print(f"{called}: {slowest_s:6.1f} s, {share:.2f} of the time without (at most {LIMIT})", flush=True)
    return is_met


if __name__ == "__main__":
    sys.exit(main())
