"""`python -m fountain code-report NAME`: how good a code is, as tables, as JSON, and as a plot."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fountain.cli.arguments import CommandParser, add_value, nonempty, picked
from fountain.cli.command import run_program
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.cli.units import format_loss, parse_integer

if TYPE_CHECKING:
    from fountain.doctor.code_report import CodeReport

__all__ = ["code_report_parser", "main"]

PROG = "python -m fountain code-report"
TRIAL_COUNT_DEFAULT = 200
EXAMPLES = (
    (f"{PROG} lt", "about a minute"),
    (f"{PROG} raptorq --blocks 1000 --trials 2000", "one size of block, more exactly"),
    (f"{PROG} lt --output report", "also a plot and JSON in report/"),
)


@dataclass(frozen=True)
class _Options:
    name: str
    is_json: bool
    is_quiet: bool
    symbol_counts: tuple[int, ...] | None = None
    trial_count: int = TRIAL_COUNT_DEFAULT
    output: Path | None = None


def code_report_parser() -> CommandParser:
    """The options of the report."""
    parser = CommandParser(
        PROG,
        usage=f"{PROG} [OPTIONS] NAME",
        description="Measure a code: how often K + h symbols are not enough, and how fast it encodes and decodes.",
        arguments=(("NAME", "raptorq, lt, or the code of an installed package"),),
        is_last_repeated=False,
        examples=EXAMPLES,
    )
    text = "symbols in a block: one number or several (default 10,100,1000)"
    add_value(parser, "symbol_counts", text, _parse_counts, "K,...")
    text = f"how many blocks of each size to decode, to count failures (default {TRIAL_COUNT_DEFAULT})"
    add_value(parser, "trial_count", text, parse_integer, "N")
    add_value(parser, "output", "write code-NAME.svg and code-NAME.json there", _parse_path, "DIR")
    parser.add_common_options()
    return parser


def _parse_path(text: str) -> Path:
    return Path(nonempty(text))


def _parse_counts(text: str) -> tuple[int, ...]:
    return tuple(sorted({parse_integer(word) for word in text.split(",")}))


def main(argv: Sequence[str] | None = None, env: Environment | None = None) -> int:
    """Run the command; returns its exit status."""
    environment = Environment.of_process() if env is None else env
    words = sys.argv[1:] if argv is None else argv
    return run_program(PROG, environment, lambda: _report(_read(words), environment))


def _read(argv: Sequence[str]) -> _Options:
    given, words = code_report_parser().parse(argv)
    values = picked(_Options, given)
    return _Options(name=words[0], is_json=given["json"], is_quiet=given["quiet"], **values)


def _report(options: _Options, env: Environment) -> ExitStatus:
    from fountain.engine.runtime.loading import check_can_load

    check_can_load()
    from fountain.codes.registry import code_by_name  # These load numpy and the kernels, which --help must not.
    from fountain.doctor.code_report import default_symbol_counts, measure_code

    def notify(text: str) -> None:
        if not options.is_quiet:
            env.stderr.write_line(text)

    code = code_by_name(options.name)
    counts = options.symbol_counts or default_symbol_counts(code)
    report = measure_code(code, counts, options.trial_count, notify)
    text = json.dumps(_as_dictionary(report), indent=2) + "\n"
    env.stdout.write(text if options.is_json else "\n".join(_tables(report)) + "\n")
    if options.output is not None:
        _write(report, text, options.output, notify)
    return ExitStatus.DONE


def _write(report: CodeReport, text: str, folder: Path, notify: Callable[[str], None]) -> None:
    from fountain.cli.code_report_plot import draw_code_report
    from fountain.storage.texts import write_text

    stem = "code-" + re.sub(r"[^\w.-]", "_", report.name)
    for suffix, content in ((".svg", draw_code_report(report)), (".json", text)):
        path = folder / (stem + suffix)
        write_text(path, content)
        notify(f"wrote {path}")


def _as_dictionary(report: CodeReport) -> dict[str, object]:
    values = asdict(report)
    for overhead, measured in zip(values["overheads"], report.overheads):
        overhead["intervals"] = [measured.interval(extra) for extra in range(len(measured.failure_counts))]
    return values


def _tables(report: CodeReport) -> list[str]:
    kind = "systematic" if report.systematic else "not systematic"
    extras = range(len(report.overheads[0].failure_counts))
    failures = [["K", "blocks", *(f"K + {extra}" for extra in extras)]]
    for overhead in report.overheads:
        cells = []
        for extra in extras:
            low, high = overhead.interval(extra)
            cells.append(f"{overhead.probability(extra):.1%} ({low:.1%}-{high:.1%})")
        failures.append([f"{overhead.symbol_count:,}", f"{overhead.trial_count:,}", *cells])
    speeds = [["K", "encode", *(f"decode, {format_loss(loss)}" for loss in report.losses)]]
    for speed in report.speeds:
        cells = [f"{rate / 1e9:.2f} ({share:.3f} K)" for rate, share in zip(speed.decode_bps, speed.received)]
        speeds.append([f"{speed.symbol_count:,}", f"{speed.encode_bps / 1e9:.2f}", *cells])
    return [
        f"{report.name}: profile {report.profile_id}, {kind}",
        "",
        "Share of blocks that so many different symbols leave unsolved, with 95 % confidence:",
        *_aligned(failures),
        "",
        f"Gbit/s of source data on one core, symbols of {report.symbol_size:,} bytes (and how many were needed):",
        *_aligned(speeds),
    ]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows]
