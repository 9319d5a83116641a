"""The tables of docs/benchmarks.md, from what a run wrote: `python -m bench.run.tables FILE`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.run.figures import Network

__all__ = ["tables"]

Record = dict[str, Any]
GBPS = 1_000_000_000


def tables(told: Record) -> Iterator[str]:
    """Markdown: what it was measured on, and then a table for each row of the benchmark."""
    yield from ("## Machine", "", "| what | which |", "| --- | --- |")
    yield from (f"| {name} | {text} |" for name, text in told["machine"].items())
    for row in dict.fromkeys(record["row"] for record in told["figures"]):
        yield from (
            "",
            f"### {row}",
            "",
            "| network | tool | Gbit/s | target | with its start | CPU, s/GB | fountain is |",
        )
        yield "| --- | --- | --- | --- | --- | --- | --- |"
        records = [record for record in told["figures"] if record["row"] == row]
        yield from (line(record, records) for record in records)


def line(record: Record, records: list[Record]) -> str:
    network = str(Network(**record["network"]))
    if not record["rates_bps"]:
        return f"| {network} | {record['tool']} | {record['problem'].split(':')[0]} | | | | |"
    ratios = [
        f"{ours['rate_bps'] / record['rate_bps']:.2f} x ({ours['tool'].removeprefix('fountain, ')})"
        for ours in records
        if ours["network"] == record["network"] and ours["tool"].startswith("fountain") and ours["rates_bps"]
    ]
    target = "" if record["target_bps"] is None else f"{record['target_bps'] / GBPS:.3g}"
    cells = [
        network,
        record["tool"],
        f"{record['rate_bps'] / GBPS:.3f}{', cut off' if record['cut_off'] else ''}",
        target,
        f"{record['whole_bps'] / GBPS:.3f}",
        f"{record['sender_cpu_s_per_gb']:.2f} + {record['receiver_cpu_s_per_gb']:.2f}",
        "" if record["tool"].startswith("fountain") else ", ".join(ratios),
    ]
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print("\n".join(tables(json.loads(Path(sys.argv[1]).read_text()))))
