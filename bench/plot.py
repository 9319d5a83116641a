"""Draws what `bench.run --json FILE` measured: goodput against loss, round trip and number of receivers, as SVG."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["main"]

Record = dict[str, Any]
FOLDER = Path(__file__).resolve().parents[1] / "docs" / "plots"
COLOURS = {"fountain": "C0", "CUBIC": "C1", "BBR": "C2", "UFTP": "C3", "udpcast": "C4", "rsync": "C5"}
MBPS = 1_000_000


def by_loss(record: Record) -> float:
    return 100 * float(record["network"]["loss"])


def by_rtt(record: Record) -> float:
    return float(record["network"]["rtt_ms"])


def by_receivers(record: Record) -> float:
    return float(record["network"]["receiver_count"])


# The row of the table, what the axis says, where a figure stands on it, and whether both axes are logarithmic.
PLOTS: dict[str, tuple[str, str, Callable[[Record], float], bool]] = {
    "loss": ("link", "loss, %", by_loss, False),
    "rtt": ("rtt", "round trip, ms", by_rtt, True),
    "receivers": ("receivers", "receivers", by_receivers, True),
}


def draw(name: str, records: list[Record], path: Path, quick: bool) -> None:
    """One line for each tool."""
    import matplotlib  # here, so that `--help` needs nothing

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "fountain"  # the same figures are the same octets
    from matplotlib import pyplot

    _, label, place, logarithmic = PLOTS[name]
    figure, axes = pyplot.subplots(figsize=(6.4, 4.0), layout="constrained")
    for tool in dict.fromkeys(record["tool"] for record in records):
        points = sorted((place(record), record["rate_bps"] / MBPS) for record in records if record["tool"] == tool)
        colour = next((shade for word, shade in COLOURS.items() if word in tool), "C6")
        dashed = "--" if tool.startswith("fountain") and "fixed" not in tool and name == "rtt" else "-"
        axes.plot(*zip(*points), dashed, marker="o", color=colour, label=tool)
    axes.set_xlabel(label)
    axes.set_ylabel("file, Mbit/s of the slowest receiver")
    if logarithmic:
        axes.set_xscale("log")
        ticks = sorted({place(record) for record in records})
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        axes.minorticks_off()
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter("")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    network = records[0]["network"]["name"]
    axes.set_title(f"{network}, {records[0]['size'] // MBPS} MB{' (quick run)' if quick else ''}")
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)


def main(argv: list[str]) -> int:
    """Draw every plot that the figures suffice for."""
    parser = argparse.ArgumentParser(prog="python -m bench.plot", description=__doc__)
    parser.add_argument("figures", type=Path, metavar="FILE", help="what `python -m bench.run --json FILE` wrote")
    parser.add_argument("--to", type=Path, default=FOLDER, metavar="DIR", help="default: docs/plots")
    options = parser.parse_args(argv)
    told = json.loads(options.figures.read_text())
    options.to.mkdir(parents=True, exist_ok=True)
    for name, (row, *_) in PLOTS.items():
        records = [record for record in told["figures"] if record["row"] == row and record["rates_bps"]]
        if records:
            path = options.to / f"goodput-{name}.svg"
            draw(name, records, path, told["quick"])
            print(path)
        else:
            print(f"no figures of {row}: goodput-{name}.svg is not drawn", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
