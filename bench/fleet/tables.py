"""The tables of docs/benchmarks.md, from what a run wrote: `python -m bench.fleet.tables FILE`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

__all__ = ["tables"]

Record = dict[str, Any]


def tables(told: Record) -> Iterator[str]:
    """Markdown: the tools beside each other, and then what fountain was measured at alone."""
    shared = [record for record in told["figures"] if not is_alone(record, told["figures"])]
    alone = [record for record in told["figures"] if is_alone(record, told["figures"])]
    yield from ("| group | tool | octets sent / file | target | seconds | exact |", "| --- " * 6 + "|")
    yield from map(shared_line, shared)
    yield from ("", "| row | group | octets sent / file | exact | asked | measured |", "| --- " * 6 + "|")
    for record in alone:
        yield from alone_lines(record)


def is_alone(record: Record, records: list[Record]) -> bool:
    return all(other["tool"].startswith("fountain") for other in records if other["row"] == record["row"])


def shared_line(record: Record) -> str:
    if not record["file_count"]:
        return f"| {record['network']} | {record['tool']} | {problem(record)} | | | |"
    targets = {claim["what"]: claim["bound"] for claim in record["claims"]}
    target = f"{targets['octets']:.2f}" if "octets" in targets else ""
    seconds = f"{record['wall_s']:.1f} (at most {targets['seconds']:.1f})"
    return (
        f"| {record['network']} | {record['tool']} | {record['ratio']:.3f} | {target} | {seconds} | {exact(record)} |"
    )


def alone_lines(record: Record) -> Iterator[str]:
    ratio = f"{record['ratio']:.3f}" if record["ratio"] else ""
    head = f"| {record['row']} | {record['network']} | {ratio} | {exact(record)} |"
    if record["problem"]:
        yield f"{head} | {problem(record)} |"
    for claim in record["claims"]:
        least = "" if claim["floor"] is None else f"{claim['floor']:.3g} to "
        yield f"{head} {claim['what']}: {least}{claim['bound']:.3g} | {claim['measured']:.3g} |"
    if not record["claims"] and not record["problem"]:
        yield f"{head} | |"


def exact(record: Record) -> str:
    return f"{record['exact_count']} of {record['file_count']}" if record["file_count"] else ""


def problem(record: Record) -> str:
    return str(record["problem"]).split(":")[0]


if __name__ == "__main__":
    print("\n".join(tables(json.loads(Path(sys.argv[1]).read_text()))))
