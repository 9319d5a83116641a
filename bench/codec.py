"""How fast RaptorQ is on one core, beside the `raptorq` wheel in the same run: `python -m bench.codec --help`.

Every figure is Gbit/s of source data (K * T * 8), T = 1280, data in memory. Plans and generators are prebuilt, as for
every block of an object but the first. Decoding is timed from an empty decoder to the whole block: reserve rows, copy
the symbols in by batches of 40, commit, solve; "solve" beside it leaves out all but the last. The wheel gets its
packets as the bytes objects that its interface wants, made beforehand. Every result is compared with the source. Times
are the thread's own (median of the runs), so that other work on the machine counts less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fountain.codes.raptorq import RaptorQ
from fountain.codes.raptorq.parameters import parameters_for
from fountain.codes.raptorq.plan import make_plan
from fountain.field import aligned_rows
from fountain.field.product import ACTIVE, host_features
from fountain.field.tiers import TIERS

SYMBOL_SIZE = 1280
BATCH = 40
SPARE = 2  # repair symbols beyond the missing ones: a failure at K + 0 would time two attempts
CODE = RaptorQ()

Octets = NDArray[np.uint8]


class Work(NamedTuple):
    """One line of the table."""

    name: str
    kind: str  # "encode" or "decode"
    count: int
    fraction: float  # of K: repair symbols made, or source symbols lost
    goal: float


WORKS = [
    Work("K = 1000, produce 5 % repair symbols", "encode", 1000, 0.05, 25.0),
    Work("K = 1000, decode at 5 % loss", "decode", 1000, 0.05, 18.0),
    Work("K = 1000, decode at 20 % loss", "decode", 1000, 0.2, 8.0),
    Work("K = 1000, repair symbols only", "decode", 1000, 1.0, 6.0),
    Work("K = 10,000, decode at 5 % loss", "decode", 10_000, 0.05, 6.0),
    Work("K = 10,000, repair symbols only", "decode", 10_000, 1.0, 3.5),
    Work("K = 50,000, repair symbols only", "decode", 50_000, 1.0, 1.5),
    Work("K = 100, decode at 5 % loss", "decode", 100, 0.05, 18.0),
]
PORTABLE_WORK = Work("portable tier, K = 1000, decode at 5 % loss", "decode", 1000, 0.05, 2.5)
GRID_COUNTS = (10, 100, 1000, 10_000, 50_000)
GRID_LOSSES = (0.01, 0.05, 0.2, 0.5, 1.0)


def seconds(function: Callable[[], Any], repeats: int) -> list[float]:
    times = []
    for _ in range(repeats):
        start = time.thread_time()
        function()
        times.append(time.thread_time() - start)
    return sorted(times)


def gbits(work: Work, times: list[float]) -> float:
    """Of the median run."""
    return work.count * SYMBOL_SIZE * 8 / statistics.median(times) / 1e9


def block(count: int) -> Octets:
    rows = aligned_rows(count, SYMBOL_SIZE)
    rows[:] = np.random.default_rng(count).integers(0, 256, rows.shape, dtype=np.uint8)
    return rows


def esis_received(work: Work) -> NDArray[np.uint32]:
    """The source symbols that survive, then as many repair symbols as are missing, and a few more."""
    missing = max(1, round(work.count * work.fraction))
    kept = np.sort(np.random.default_rng(missing).permutation(work.count)[missing:])
    return np.concatenate((kept, np.arange(work.count, work.count + missing + SPARE))).astype(np.uint32)


def encode_ours(work: Work, source: Octets, repeats: int) -> dict[str, float]:
    esis = np.arange(work.count, work.count + max(1, round(work.count * work.fraction)), dtype=np.uint32)
    out = aligned_rows(len(esis), SYMBOL_SIZE)
    CODE.prepare(work.count)
    CODE.encoder(source).encode(esis, out)
    times = seconds(lambda: CODE.encoder(source).encode(esis, out), repeats)
    return {"gbits": gbits(work, times), "gbits_best": gbits(work, times[:1])}


def decode_ours(work: Work, source: Octets, repeats: int) -> dict[str, float]:
    esis = esis_received(work)
    CODE.prepare(work.count)
    rows = aligned_rows(len(esis), SYMBOL_SIZE)
    CODE.encoder(source).encode(esis, rows)
    slab = CODE.decoder(work.count, SYMBOL_SIZE).slab
    solving = []

    def whole() -> None:
        decoder = CODE.decoder(work.count, SYMBOL_SIZE, slab)
        for first in range(0, len(esis), BATCH):
            batch = esis[first : first + BATCH]
            slots = decoder.reserve(batch)
            slab[slots] = rows[first : first + BATCH]
            decoder.commit(batch, slots)
        start = time.thread_time()
        progress = decoder.decode()
        solving.append(time.thread_time() - start)
        assert progress.need == 0

    whole()
    slab[: work.count] = 0
    times = seconds(whole, repeats)
    assert (slab[: work.count] == source).all()
    solve = sorted(solving[1:])
    return {"gbits": gbits(work, times), "gbits_best": gbits(work, times[:1]), "gbits_solve": gbits(work, solve)}


def wheel(work: Work, source: Octets, repeats: int) -> dict[str, float]:
    import raptorq

    data = source.tobytes()
    missing = max(1, round(work.count * work.fraction))
    if work.kind == "encode":
        packets = raptorq.Encoder.with_defaults(data, SYMBOL_SIZE).get_encoded_packets(missing)
        out = np.empty((missing, SYMBOL_SIZE), dtype=np.uint8)
        CODE.encoder(source).encode(np.arange(work.count, work.count + missing, dtype=np.uint32), out)
        assert [packet[4:] for packet in packets[work.count :]] == [row.tobytes() for row in out]
        encoder = raptorq.Encoder
        times = seconds(lambda: encoder.with_defaults(data, SYMBOL_SIZE).get_encoded_packets(missing), repeats)
        return {"gbits": gbits(work, times), "gbits_best": gbits(work, times[:1])}
    packets = raptorq.Encoder.with_defaults(data, SYMBOL_SIZE).get_encoded_packets(missing + SPARE)
    kept = esis_received(work)
    packets = [packets[esi] for esi in kept.tolist()]

    def whole() -> None:
        decoder = raptorq.Decoder.with_defaults(len(data), SYMBOL_SIZE)
        result = None
        for packet in packets:
            result = decoder.decode(packet) or result
            if result is not None:
                break
        assert result == data

    times = seconds(whole, repeats)
    return {"gbits": gbits(work, times), "gbits_best": gbits(work, times[:1])}


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
    from fountain.codes.raptorq import generator

    parameters = parameters_for(count)
    isis = np.arange(parameters.K_prime, dtype=np.int64)
    plan = statistics.median(seconds(lambda: make_plan(parameters, isis), 5)) * 1e3
    if parameters.K_prime > generator.GENERATOR_SYMBOL_COUNT_MAX:
        return plan, 0.0
    return plan, statistics.median(seconds(lambda: generator.solve_identity(parameters), 5)) * 1e3


def failures(count: int, trials: int) -> list[int]:
    """How many of `trials` random sets of K + 0, K + 1, K + 2 distinct symbols cannot be solved (ranks, no data)."""
    parameters = parameters_for(count)
    generator = np.random.default_rng(count)
    padding = np.arange(count, parameters.K_prime)
    failed = [0, 0, 0]
    for _ in range(trials):
        esis = np.unique(generator.integers(0, 3 * count, 3 * count))
        esis = generator.permutation(esis)[: count + 2]
        isis = np.where(esis < count, esis, esis + parameters.K_prime - count)
        for extra in range(3):
            if make_plan(parameters, np.concatenate((padding, isis[: count + extra])))[0] is not None:
                break
            failed[extra] += 1
    return failed


def measure(work: Work, *, with_wheel: bool) -> dict[str, Any]:
    source = block(work.count)
    repeats = 31 if work.count <= 1000 else 11 if work.count <= 10_000 else 5
    ours = (encode_ours if work.kind == "encode" else decode_ours)(work, source, repeats)
    result: dict[str, Any] = {"work": work.name, "tier": ACTIVE.name, "goal": work.goal, "ours": ours}
    if with_wheel:
        result["wheel"] = wheel(work, source, max(3, repeats // 5) if work.count < 50_000 else 1)
    return result


def print_result(result: dict[str, Any]) -> None:
    ours, peer = result["ours"], result.get("wheel")
    solve = f"{ours['gbits_solve']:8.2f}" if "gbits_solve" in ours else " " * 8
    ratio = f"{peer['gbits']:8.2f} {ours['gbits'] / peer['gbits']:7.1f} x" if peer else ""
    print(f"{result['work']:46}{ours['gbits']:8.2f} {solve} {result['goal']:8.1f} {ratio}", flush=True)


def other_tier(tier: str, arguments: list[str]) -> list[dict[str, Any]]:
    """Results of this program under another tier, which is chosen when a process starts."""
    command = [sys.executable, "-m", "bench.codec", "--json", "-", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "FOUNTAIN_SIMD": tier}, capture_output=True, text=True, check=True
    )
    results: list[dict[str, Any]] = json.loads(done.stdout)["results"]
    return results


def table(*, with_wheel: bool) -> list[dict[str, Any]]:
    print(f"{'Gbit/s of source data':46}{'ours':>8} {'solve':>8} {'goal':>8} {'wheel' if with_wheel else '':>8}")
    results = []
    for work in WORKS:
        results.append(measure(work, with_wheel=with_wheel))
        print_result(results[-1])
    results += other_tier("portable", ["--portable-row"])
    print_result(results[-1])
    for count in (100, 1000, 10_000):
        print(f"K = {count}: one more repair symbol {repair_symbol_us(count):.3f} us (goal at 1000: 0.5)")
    for count in (100, 1000, 4000, 10_000, 50_000):
        plan, matrix = set_up_ms(count)
        print(f"K = {count}: plan {plan:.2f} ms, generator matrix {matrix:.2f} ms (goal at 1000: 50 together)")
    return results


def grid() -> list[dict[str, Any]]:
    results = []
    for count in GRID_COUNTS:
        for loss in GRID_LOSSES:
            for kind in ("encode", "decode"):
                work = Work(f"K = {count}, {kind}, {loss:.0%}", kind, count, loss, 0.0)
                results.append(measure(work, with_wheel=False))
                results[-1] |= {"kind": kind, "count": count, "loss": loss}
    return results


def print_grid(results: list[dict[str, Any]]) -> None:
    for kind in ("encode", "decode"):
        print(f"\n{results[0]['tier']}, {kind}, Gbit/s; repair symbols or losses as a part of K")
        print(f"{'K':>8}" + "".join(f"{loss:8.0%}" for loss in GRID_LOSSES))
        for count in GRID_COUNTS:
            line = [row["ours"]["gbits"] for row in results if row["kind"] == kind and row["count"] == count]
            print(f"{count:8}" + "".join(f"{value:8.2f}" for value in line))


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.codec", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--grid", action="store_true", help="K x loss on every tier that this processor runs")
    parser.add_argument("--failures", type=int, metavar="TRIALS", help="failure counts at K + 0, K + 1, K + 2")
    parser.add_argument("--no-wheel", action="store_true", help="leave out the peer")
    parser.add_argument("--json", metavar="PATH", help="write the results there (-: to stdout, and nothing else)")
    parser.add_argument("--portable-row", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one-grid", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.portable_row:
        results = [measure(PORTABLE_WORK, with_wheel=False)]
    elif options.one_grid:
        results = grid()
    elif options.grid:
        results = []
        for tier in TIERS:
            if all(host_features().get(feature) for feature in tier.features):
                part = other_tier(tier.name, ["--one-grid"])
                print_grid(part)
                results += part
    elif options.failures:
        results = []
        for count in (10, 100, 1000):
            failed = failures(count, options.failures)
            results.append({"count": count, "trials": options.failures, "failed": failed})
            print(f"K = {count}: of {options.failures} sets {failed} could not be solved from K + 0, + 1, + 2 symbols")
    else:
        print(f"{platform.processor() or platform.machine()}, tier {ACTIVE.name}")
        results = table(with_wheel=not options.no_wheel)
    if options.json:
        text = json.dumps({"tier": ACTIVE.name, "machine": platform.platform(), "results": results}, indent=1)
        if options.json == "-":
            print(text)
        else:
            with open(options.json, "w") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    main()
