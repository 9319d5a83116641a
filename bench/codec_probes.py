"""What surrounds a work's throughput: set-up, compiling, where the time goes, several threads, failure counts."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from bench.codec_works import CODE, SYMBOL_SIZE, Collected, Work, block, seconds
from fountain.codes.raptorq import decoder as decoder_module
from fountain.codes.raptorq import generator
from fountain.codes.raptorq.parameters import parameters_for
from fountain.codes.raptorq.plan import make_plan
from fountain.field import aligned_rows

__all__ = ["compile_s", "failures", "parallel", "repair_symbol_us", "set_up_ms", "stages_us"]

# What the decoder calls, and the stage that its time counts for.
STAGES = {
    "generator_rows": "generator rows",
    "solve_rows": "inverse and products",
    "make_plan": "structure phase",
    "run_plan": "data phase",
    "sum_rows": "missing symbols",
}

ROUND_TRIP = """
import time
start = time.perf_counter()
import numpy as np
from fountain.codes.raptorq import RaptorQ
imported = time.perf_counter()
for first in (1, 32):
    esis = np.arange(first, first + 34, dtype=np.uint32)
    rows = np.empty((len(esis), 64), np.uint8)
    RaptorQ().encoder(np.zeros((32, 64), np.uint8)).encode(esis, rows)
    decoder = RaptorQ().decoder(32, 64)
    slots = decoder.reserve(esis)
    decoder.slab[slots] = rows
    decoder.commit(esis, slots)
    assert decoder.decode().need == 0
print(imported - start, time.perf_counter() - imported)
"""


def repair_symbol_us(count: int) -> float:
    """Microseconds for one more repair symbol of a block, once many have been asked for."""
    source = block(count)
    encoder = CODE.encoder(source)
    out = aligned_rows(200, SYMBOL_SIZE)
    encoder.encode(np.arange(count, 2 * count, dtype=np.uint32), aligned_rows(count, SYMBOL_SIZE))
    esis = np.random.default_rng(1).integers(count, 1 << 24, 200).astype(np.uint32)
    return statistics.median(seconds(lambda: encoder.encode(esis, out), 50)) / len(esis) * 1e6


def set_up_ms(count: int) -> tuple[float, float]:
    """Milliseconds to make the plan, and the generator matrix from it, of a K seen for the first time."""
    parameters = parameters_for(count)
    isis = np.arange(parameters.K_prime, dtype=np.int64)
    plan = statistics.median(seconds(lambda: make_plan(parameters, isis), 5)) * 1e3
    if parameters.K_prime > generator.GENERATOR_SYMBOL_COUNT_MAX:
        return plan, 0.0
    return plan, statistics.median(seconds(lambda: generator.solve_identity(parameters), 5)) * 1e3


def compile_s() -> dict[str, dict[str, float]]:
    """Seconds that a process needs to import the codec and to take a small block through both engines.

    "first" starts with an empty cache and compiles, "later" loads the machine code; "cpu" is the process's own time.
    """
    results = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in ("first", "later"):
            before = os.times()
            command = [sys.executable, "-c", ROUND_TRIP]
            environment = {**os.environ, "NUMBA_CACHE_DIR": folder}
            done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
            after = os.times()
            cpu = after.children_user + after.children_system - before.children_user - before.children_system
            imports, round_trip = map(float, done.stdout.split())
            results[name] = {"import": imports, "round_trip": round_trip, "cpu": cpu}
        results["cache"] = {"megabytes": sum(path.stat().st_size for path in Path(folder).rglob("*")) / 1e6}
    return results


def stages_us(work: Work, repeats: int = 15) -> dict[str, float]:
    """Microseconds of each stage of one decode, medians; what is left over is bookkeeping in Python."""
    symbols = Collected(work, block(work.count))
    runs: list[dict[str, float]] = []

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            start = time.thread_time()
            try:
                return function(*arguments, **options)
            finally:
                runs[-1][name] = runs[-1].get(name, 0.0) + time.thread_time() - start

        return call

    original = {name: getattr(decoder_module, name) for name in STAGES}
    try:
        for name, stage in STAGES.items():
            setattr(decoder_module, name, timed(stage, original[name]))
        for _ in range(repeats):
            runs.append({})
            start = time.thread_time()
            decoder = symbols.collect()
            collected = time.thread_time()
            assert decoder.decode().need == 0
            end = time.thread_time()
            within = sum(runs[-1].values())
            runs[-1] |= {
                "collect and copy": collected - start,
                "bookkeeping": end - collected - within,
                "all": end - start,
            }
    finally:
        for name, function in original.items():
            setattr(decoder_module, name, function)
    return {stage: statistics.median(run[stage] for run in runs) * 1e6 for stage in runs[-1]}


def parallel(work: Work, thread_count: int, blocks_each: int) -> dict[str, float]:
    """`blocks_each` collected blocks solved on each of some threads: blocks a second of wall time, CPU time of a block.

    As in a receiver, which collects on its loop and solves on its workers. Equal CPU time for a block means that
    threads do not get in each other's way; blocks a second then grow with the cores that the machine has to spare.
    """
    source = block(work.count)
    spent = [0.0] * thread_count
    barrier = threading.Barrier(thread_count + 1)
    everything = [Collected(work, source) for _ in range(thread_count)]

    def run(number: int) -> None:
        decoder = everything[number].collect()
        assert decoder.decode().need == 0
        assert (decoder.slab[: work.count] == source).all()
        barrier.wait()
        start = time.thread_time()
        for _ in range(blocks_each):
            decoder.solved = (
                False  # The same work again, on repair symbols that are used up: nobody looks at the result.
            )
            decoder.decode()
        spent[number] = time.thread_time() - start

    threads = [threading.Thread(target=run, args=(number,)) for number in range(thread_count)]
    for thread in threads:
        thread.start()
    barrier.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - start
    total = thread_count * blocks_each
    return {"blocks_s": total / wall, "cpu_us": sum(spent) / total * 1e6, "cores": sum(spent) / wall}


def failures(count: int, trials: int) -> list[int]:
    """How many of `trials` random sets of K + 0, K + 1, K + 2 distinct symbols cannot be solved (ranks, no data)."""
    parameters = parameters_for(count)
    randomness = np.random.default_rng(count)
    padding = np.arange(count, parameters.K_prime)
    failed = [0, 0, 0]
    for _ in range(trials):
        esis = np.unique(randomness.integers(0, 3 * count, 3 * count))
        esis = randomness.permutation(esis)[: count + 2]
        isis = np.where(esis < count, esis, esis + parameters.K_prime - count)
        for extra in range(3):
            if make_plan(parameters, np.concatenate((padding, isis[: count + extra])))[0] is not None:
                break
            failed[extra] += 1
    return failed
