"""How fast RaptorQ is on one core, beside the `raptorq` wheel in the same run: `python -m bench.codec --help`.

Every figure is Gbit/s of source data (K * T * 8), T = 1280, data in memory. Plans and generators are prebuilt, as for
every block of an object but the first. How a work is timed, ours and the wheel's: `bench.codec_works`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from bench.codec_probes import compile_s, failures, parallel, repair_symbol_us, set_up_ms, stages_us
from bench.codec_works import (
    GRID_COUNTS,
    GRID_LOSSES,
    PORTABLE_WORK,
    WORKS,
    Work,
    block,
    decode_ours,
    encode_ours,
    wheel,
)
from fountain.field.matrix import ACTIVE, host_features
from fountain.field.tiers import TIERS

PLOT = Path(__file__).resolve().parents[1] / "docs" / "plots" / "codec.svg"
THREAD_BLOCKS = 500
THREAD_ROUNDS = 8

Result = dict[str, Any]


def measure(work: Work, *, with_wheel: bool) -> Result:
    source = block(work.count)
    repeats = 31 if work.count <= 1000 else 11 if work.count <= 10_000 else 5
    ours = (encode_ours if work.kind == "encode" else decode_ours)(work, source, repeats)
    result: Result = {"work": work.name, "tier": ACTIVE.name, "goal": work.goal, "ours": ours}
    if with_wheel:
        result["wheel"] = wheel(work, source, max(3, repeats // 5) if work.count < 50_000 else 1)
    return result


def print_result(result: Result) -> None:
    ours, peer = result["ours"], result.get("wheel")
    solve = f"{ours['gbits_solve']:8.2f}" if "gbits_solve" in ours else " " * 8
    ratio = f"{peer['gbits']:8.2f} {ours['gbits'] / peer['gbits']:7.1f} x" if peer else ""
    print(f"{result['work']:46}{ours['gbits']:8.2f} {solve} {result['goal']:8.1f} {ratio}", flush=True)


def other_tier(tier: str, arguments: list[str]) -> list[Result]:
    """Results of this program under another tier, which is chosen when a process starts."""
    command = [sys.executable, "-m", "bench.codec", "--json", "-", *arguments]
    done = subprocess.run(
        command, env={**os.environ, "FOUNTAIN_SIMD": tier}, capture_output=True, text=True, check=True
    )
    results: list[Result] = json.loads(done.stdout)["results"]
    return results


def table(*, with_wheel: bool) -> list[Result]:
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
    print_profile(results)
    results.append(print_threads())
    results.append(print_compile())
    return results


def print_profile(results: list[Result]) -> None:
    """Where the time goes in the decodes, the one with the worst ratio to its peer first."""
    compared = [row for row in results if "wheel" in row]
    order = sorted(compared, key=lambda row: float(row["ours"]["gbits"] / row["wheel"]["gbits"]))
    works = {work.name: work for work in WORKS if work.kind == "decode"}
    names = [row["work"] for row in order if row["work"] in works] or list(works)
    print("\nwhere the time of a decode goes, the worst ratio to the wheel first")
    for name in names:
        stages = stages_us(works[name])
        total = stages.pop("all")
        shares = ", ".join(f"{stage} {100 * time / total:.0f} %" for stage, time in stages.items())
        print(f"{name}: {total:.0f} us: {shares}")


def print_threads() -> Result:
    """Blocks decoded on one and on two threads at once, the best of some rounds: other work only ever adds time."""
    work = WORKS[1]
    rounds: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    for _ in range(THREAD_ROUNDS):
        for threads, measured in rounds.items():
            measured.append(parallel(work, threads, THREAD_BLOCKS))
    best = {threads: max(measured, key=lambda one: one["blocks_s"]) for threads, measured in rounds.items()}
    print(f"\n{work.name}, several blocks at once ({os.cpu_count()} cores)")
    for threads, one in best.items():
        print(
            f"{threads} threads: {one['blocks_s']:.0f} blocks/s of wall time on {one['cores']:.2f} cores, "
            f"{one['cpu_us']:.0f} us of CPU time a block"
        )
    gain = best[2]["blocks_s"] / best[1]["blocks_s"]
    print(f"2 threads decode {gain:.2f} x the blocks of one")
    return {"threads": {str(threads): one for threads, one in best.items()}, "gain": gain}


def print_compile() -> Result:
    times = compile_s()
    for name, one in times.items():
        print(f"{name} run: " + ", ".join(f"{part} {value:.2f}" for part, value in one.items()))
    return {"compile": times}


def grid() -> list[Result]:
    results = []
    for count in GRID_COUNTS:
        for loss in GRID_LOSSES:
            for kind in ("encode", "decode"):
                work = Work(f"K = {count}, {kind}, {loss:.0%}", kind, count, loss, 0.0)
                results.append(measure(work, with_wheel=False))
                results[-1] |= {"kind": kind, "count": count, "loss": loss}
    return results


def print_grid(results: list[Result]) -> None:
    for kind in ("encode", "decode"):
        print(f"\n{results[0]['tier']}, {kind}, Gbit/s; repair symbols or losses as a part of K")
        print(f"{'K':>8}" + "".join(f"{loss:8.0%}" for loss in GRID_LOSSES))
        for count in GRID_COUNTS:
            line = [row["ours"]["gbits"] for row in results if row["kind"] == kind and row["count"] == count]
            print(f"{count:8}" + "".join(f"{value:8.2f}" for value in line), flush=True)


def all_grids() -> list[Result]:
    results = []
    for tier in TIERS:
        if all(host_features().get(feature) for feature in tier.features):
            part = other_tier(tier.name, ["--one-grid"])
            print_grid(part)
            results += part
    return results


def draw(results: list[Result], path: Path) -> None:
    """Encode and decode against loss, a line for each K; dashed: without any vector instruction."""
    import matplotlib  # here, so that everything else needs nothing

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "fountain", "svg.fonttype": "none"})  # same figures, same octets
    from matplotlib import pyplot

    figure, both = pyplot.subplots(1, 2, figsize=(8.4, 3.8), layout="constrained", sharey=True)
    for axes, kind, label in zip(both, ("encode", "decode"), ("repair symbols made", "source symbols lost")):
        for tier, style in ((results[0]["tier"], "-"), ("portable", "--")):
            for index, count in enumerate(GRID_COUNTS):
                rows = [row for row in results if (row["tier"], row["kind"], row["count"]) == (tier, kind, count)]
                points = [(100 * row["loss"], row["ours"]["gbits"]) for row in rows]
                axes.plot(*zip(*points), style, color=f"C{index}", marker=".", label=f"{tier}, K = {count:,}")
        axes.set(title=kind, xlabel=f"{label}, % of K", xscale="log", yscale="log")
        axes.set_xticks([100 * loss for loss in GRID_LOSSES], [f"{100 * loss:g}" for loss in GRID_LOSSES], minor=False)
        axes.grid(visible=True, alpha=0.3)
    both[0].set_ylabel("Gbit/s of source data, one core")
    both[1].legend(fontsize="x-small", ncols=2)
    path.parent.mkdir(exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.codec", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--grid", action="store_true", help="K x loss on every tier that this processor runs")
    parser.add_argument("--plot", action="store_true", help=f"with --grid: draw docs/plots/{PLOT.name}")
    parser.add_argument("--profile", action="store_true", help="where the time of each decode goes, and nothing else")
    parser.add_argument("--threads", action="store_true", help="several blocks at once, and nothing else")
    parser.add_argument("--compile", action="store_true", help="the first run and a later one, and nothing else")
    parser.add_argument("--failures", type=int, metavar="TRIALS", help="failure counts at K + 0, K + 1, K + 2")
    parser.add_argument("--no-wheel", action="store_true", help="leave out the peer")
    parser.add_argument("--json", metavar="PATH", help="write the results there (-: to stdout, and nothing else)")
    parser.add_argument("--portable-row", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--one-grid", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def run(options: argparse.Namespace) -> list[Result]:
    results: list[Result] = []
    if options.portable_row:
        results = [measure(PORTABLE_WORK, with_wheel=False)]
    elif options.one_grid:
        results = grid()
    elif options.grid:
        results = all_grids()
        if options.plot:
            draw(results, PLOT)
    elif options.failures:
        for count in (10, 100, 1000):
            failed = failures(count, options.failures)
            results.append({"count": count, "trials": options.failures, "failed": failed})
            print(f"K = {count}: of {options.failures} sets {failed} could not be solved from K + 0, + 1, + 2 symbols")
    elif options.profile:
        print_profile([])
    elif options.threads:
        results = [print_threads()]
    elif options.compile:
        results = [print_compile()]
    else:
        print(f"{platform.processor() or platform.machine()}, tier {ACTIVE.name}")
        results = table(with_wheel=not options.no_wheel)
    return results


def main() -> None:
    options = parse()
    results = run(options)
    if options.json:
        text = json.dumps({"tier": ACTIVE.name, "machine": platform.platform(), "results": results}, indent=1)
        if options.json == "-":
            print(text)
        else:
            with open(options.json, "w") as file:
                file.write(text + "\n")


if __name__ == "__main__":
    main()
