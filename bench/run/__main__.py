"""Measure and print: `python -m bench.run [--quick] [--only ROW] [--json FILE]`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from bench.lab import LabError
from bench.peers.base import ToolError
from bench.run.figures import Figures, machine
from bench.run.rows import NEEDS_LABORATORY, ROWS, warm_up
from bench.run.workplace import FULL, QUICK, Workplace
from bench.scratch import scratch

__all__ = ["main"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.run", description="Whole transfers, beside other tools in the same run."
    )
    parser.add_argument("--quick", action="store_true", help="small files, one run of each")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--directory", type=Path, help="where files are written (default: /dev/shm)")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Measure the rows; 0 when every transfer succeeded."""
    options = parse(argv)
    started_s = time.monotonic()
    figures = Figures()
    try:
        with scratch(options.directory) as directory:
            print("; ".join(f"{name} {text}" for name, text in machine().items()), flush=True)
            work = Workplace(directory, QUICK if options.quick else FULL, figures)
            warm_up(work)
            for name in options.only or ROWS:
                try:
                    ROWS[name](work)
                except LabError as error:
                    if name not in NEEDS_LABORATORY:
                        raise
                    print(f"{name}: left out, {error}", flush=True)
    except ToolError as error:  # only the warming up lets it out: without that there is nothing to measure
        print(error, file=sys.stderr)
        return 1
    finally:
        if options.json:
            figures.write(options.json, started_s, options.quick)
    failed = [figure for figure in figures.all if figure.is_ours and not figure.rates_bps]
    print(f"{len(figures.all)} figures in {time.monotonic() - started_s:.0f} s", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
