"""Measure and print: `python -m bench.fleet [--quick] [--only ROW] [--runs N] [--json FILE]`."""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

from bench.fleet.figures import Figures
from bench.fleet.rows import ROWS
from bench.fleet.workplace import FULL, QUICK, Workplace
from bench.lab import LabError
from bench.run.figures import machine
from bench.scratch import scratch

__all__ = ["main"]


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.fleet", description="One sender to many receivers, beside other tools in the same run."
    )
    parser.add_argument("--quick", action="store_true", help="small files, few receivers, one run of each")
    parser.add_argument("--only", action="append", choices=list(ROWS), metavar="ROW", help=f"of {', '.join(ROWS)}")
    parser.add_argument("--runs", type=int, metavar="N", help="of each one-way transfer (default: 3; 20 tells more)")
    parser.add_argument("--seed", type=int, default=6330, help="of the moments at which receivers are killed")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--directory", type=Path, help="where files are written (default: /dev/shm)")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Measure the rows; 0 when fountain reached everything."""
    options = parse(argv)
    started_s = time.monotonic()
    figures = Figures()
    scale = QUICK if options.quick else FULL
    try:
        with scratch(options.directory) as directory:
            print("; ".join(f"{name} {text}" for name, text in machine().items()), flush=True)
            scale = replace(scale, run_count=options.runs or scale.run_count)
            work = Workplace(directory, scale, figures, options.seed)
            for name in options.only or ROWS:
                ROWS[name](work)
    except LabError as error:  # only a network that cannot be made lets it out
        print(error, file=sys.stderr)
        return 1
    finally:
        if options.json:
            figures.write(options.json, started_s, options.quick)
    missed = [figure for figure in figures.all if figure.is_ours and not figure.met]
    print(f"{len(figures.all)} figures in {time.monotonic() - started_s:.0f} s", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
