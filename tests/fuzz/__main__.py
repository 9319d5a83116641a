"""Run many absurd inputs.

    python -m tests.fuzz [--parsers N] [--machines N] [--trains N] [--seed S]

Each kind runs in a process of its own, with NUMBA_BOUNDSCHECK=1 and machine code of its own, which is thrown away
afterwards. The first input that raises anything ends it, with the seed that plays it again.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

KINDS = {"parsers": 10_000_000, "machines": 1_000_000, "trains": 4_000_000}
ROOT = Path(__file__).resolve().parents[2]


def work(kind: str, count: int, seed: int) -> str:
    """Run so many inputs of one kind here; what to say of them."""
    if kind == "parsers":
        from tests.fuzz.parsers import run_parsers

        return f"{run_parsers(count, seed):,} accepted"
    if kind == "machines":
        from tests.fuzz.machines import run_machines

        run_machines(count, seed)
        return ""
    from tests.fuzz.trains import run_trains

    return f"{run_trains(count, seed):,} authentic and new"


def main() -> int:
    """Run what the command line asks for; 1 if anything was raised."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    for kind, count in KINDS.items():
        parser.add_argument(f"--{kind}", type=int, default=count, metavar="N", help=f"default {count:,}")
    parser.add_argument("--seed", type=int, default=6330)
    parser.add_argument("--here", choices=KINDS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.here:
        start_s = time.process_time()
        told = work(options.here, getattr(options, options.here), options.seed)
        count = getattr(options, options.here)
        print(f"{options.here}: {count:,} inputs, 0 exceptions, {told or 'all taken'}, "
              f"{time.process_time() - start_s:.0f} s of processor time", flush=True)  # fmt: skip
        return 0
    status = 0
    with tempfile.TemporaryDirectory(prefix="fountain-fuzz-") as cache:
        environment = os.environ | {"NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": cache}
        for kind in KINDS:
            count = getattr(options, kind)
            if count:
                words = ["--here", kind, f"--{kind}", str(count), "--seed", str(options.seed)]
                status |= subprocess.run(
                    [sys.executable, "-m", "tests.fuzz", *words], cwd=ROOT, env=environment, check=False
                ).returncode
    return status


if __name__ == "__main__":
    sys.exit(main())
