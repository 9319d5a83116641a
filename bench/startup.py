"""How soon a warm `fountain-fetch` is under way: the real commands on loopback, medians of several runs.

`python -m bench.startup` measures it; `--runs N` sets how often. A first server and a first fetch fill numba's cache
and are not counted. Times of a step count from the start of the process, by the clock of the JSON events (1 ms).
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

from bench.commands import ROOT, Command, Event, Serve

MB = 1_000_000
FILE_SIZE = MB
RUN_COUNT = 10
IMPORT_COUNT = 12  # lines of the list of modules


def time_of(event: Event) -> float:
    return datetime.fromisoformat(event["time"]).timestamp()


def measure_fetch(server: Serve, directory: Path, options: list[str]) -> dict[str, float]:
    """One fetch: when each step was reached, in seconds since the command was typed; memory in MB."""
    known = len(server.events("peer_joined"))
    started, ticked = time.time(), time.perf_counter()
    argv = ["127.0.0.1", "--port", str(server.port), "-o", "fetched", "--json", "--quiet", *options]
    command = Command("fetch", argv, directory)
    try:
        if command.wait() != 0:
            raise SystemExit(command.err)
        total = time.perf_counter() - ticked
    finally:
        command.kill()
    joined = server.wait_event("peer_joined", count=known + 1)
    return {
        "first event (Hello goes out)": time_of(command.event("searching")) - started,
        "Offer taken": time_of(command.event("offered")) - started,
        "first data packet": time_of(joined) - started,
        "file verified and in its place": time_of(command.event("fetched")) - started,
        "process ended": total,
        "client memory, MB": command.memory_size / MB,
    }


def measure_fetches(run_count: int, options: list[str]) -> tuple[list[dict[str, float]], int]:
    """So many fetches of one server, one after the other; and the server's memory."""
    with tempfile.TemporaryDirectory(prefix="fountain-startup-") as name:
        place = Path(name)
        source = place / "object.bin"
        source.write_bytes(random.Random(1).randbytes(FILE_SIZE))
        Serve([str(source), *options], place / "compile").interrupt()
        server = Serve([str(source), *options], place / "serve")
        try:
            measure_fetch(server, place / "first", options)
            runs = [measure_fetch(server, place / f"fetch-{number}", options) for number in range(run_count)]
        finally:
            server.interrupt()
        return runs, server.memory_size


def measure_command(argv: list[str], run_count: int) -> float:
    """Median seconds of a command that does nothing but start."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    seconds = []
    for _ in range(run_count):
        started = time.perf_counter()
        subprocess.run([sys.executable, *argv], env=environment, stdout=subprocess.DEVNULL, check=True)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def slowest_imports() -> list[tuple[float, str]]:
    """(milliseconds in the module's own body and below, name) of the modules that cost most, by -X importtime."""
    modules = "fountain.engine.receiving.fetch, fountain.engine.receiving.unicast_fetch"
    argv = [sys.executable, "-X", "importtime", "-c", f"import {modules}"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    lines = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True).stderr.splitlines()
    rows = [line.removeprefix("import time:").split("|") for line in lines[1:]]
    found = [(int(total) / 1000, name.strip()) for _, total, name in rows if name.strip().count(".") <= 1]
    return sorted(found, reverse=True)[:IMPORT_COUNT]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.startup", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=RUN_COUNT)
    run_count = parser.parse_args().runs
    for argv in (["-c", "pass"], ["-m", "fountain", "fetch", "--help"]):
        print(f"{measure_command(argv, run_count):8.3f} s  python {' '.join(argv)}")
    for options in ([], ["--open"]):
        runs, server_size = measure_fetches(run_count, options)
        kind = " ".join(options) or "sealed"
        print(f"\nfetch of {FILE_SIZE / MB:g} MB, {kind}: median (lowest to highest) of {run_count}")
        for what in runs[0]:
            values = sorted(run[what] for run in runs)
            print(f"{statistics.median(values):8.3f}  ({values[0]:.3f} to {values[-1]:.3f})  {what}")
        print(f"{server_size / MB:8.3f}  server memory, MB")
    print("\nimports, with what they import in turn:")
    for milliseconds, name in slowest_imports():
        print(f"{milliseconds:8.1f} ms  {name}")


if __name__ == "__main__":
    main()
