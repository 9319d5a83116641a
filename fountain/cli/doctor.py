"""`python -m fountain doctor`: what keeps this machine, or the way to a host, from doing its best."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fountain.cli.arguments import CommandParser, add_value
from fountain.cli.command import run_program
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.cli.firewall import firewall_lines
from fountain.cli.options import command_line, with_options
from fountain.cli.place import HostPlace, read_place
from fountain.cli.text import escape_controls
from fountain.cli.units import parse_integer
from fountain.config import check_port
from fountain.doctor.finding import Finding, Verdict
from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT

__all__ = ["doctor_parser", "main"]

PROG = "python -m fountain doctor"
EXAMPLES = (
    (f"{PROG}", "this machine"),
    (f"{PROG} 192.168.1.5", "also the path to a server"),
    (f"{PROG} --json", "for a script"),
)
CHECK_WIDTH = 19
MEND_INDENT = " " * 9


@dataclass(frozen=True)
class _Options:
    host: str | None
    port: int
    data_port: int
    is_json: bool
    is_quiet: bool


def doctor_parser() -> CommandParser:
    """The options of the doctor."""
    parser = CommandParser(
        PROG,
        usage=f"{PROG} [OPTIONS] [HOST]",
        description="Check this machine, and the path to HOST if you give one; print commands that repair problems.",
        arguments=(("HOST", "name or address of a server"),),
        is_last_repeated=False,
        is_first_optional=True,
        examples=EXAMPLES,
    )
    add_value(parser, "port", f"control port, here and at HOST (default {CONTROL_PORT_DEFAULT})", parse_integer)
    add_value(parser, "data_port", f"data port (default {DATA_PORT_DEFAULT})", parse_integer, "PORT")
    parser.add_common_options()
    return parser


def main(argv: Sequence[str] | None = None, env: Environment | None = None) -> int:
    """Run the command; returns its exit status."""
    environment = Environment.of_process() if env is None else env
    words = sys.argv[1:] if argv is None else argv
    return run_program(PROG, environment, lambda: _doctor(words, environment))


def _doctor(argv: Sequence[str], env: Environment) -> ExitStatus:
    options = _read(argv)
    found = []
    for finding in _findings(options, env):
        found.append(finding)
        if options.is_json:
            env.stdout.write_line(_as_json(finding))
        elif not options.is_quiet or finding.verdict is not Verdict.OK:
            for line in _as_lines(finding):
                env.stdout.write_line(line)
    if not options.is_json and not options.is_quiet:
        env.stdout.write_line(_sum(found))
    return _status(found)


def _findings(options: _Options, env: Environment) -> Iterable[Finding]:
    from fountain.engine.runtime.loading import check_can_load

    check_can_load()
    from fountain.doctor.checks import Examination, examine  # Loads numpy, which --help must not.

    lines = firewall_lines(env.platform, options.port, options.data_port)
    return examine(Examination(host=options.host, port=options.port, data_port=options.data_port, firewall_lines=lines))


def _as_lines(finding: Finding) -> list[str]:
    """The line of a finding, and under it the command that mends it, alone, ready to be copied."""
    line = f"{finding.verdict.value:<8} {finding.check:<{CHECK_WIDTH}} {with_options(finding.text)}"
    mend = _mend(finding)
    return [escape_controls(line), *([MEND_INDENT + escape_controls(mend)] if mend else [])]


def _mend(finding: Finding) -> str:
    """The command that mends it, as it is typed."""
    mend = finding.mend
    return with_options(mend) if isinstance(mend, str) else command_line(mend.program, mend.given, *mend.arguments)


def _as_json(finding: Finding) -> str:
    return json.dumps(
        {
            "check": finding.check,
            "verdict": finding.verdict.value,
            "text": with_options(finding.text),
            "mend": _mend(finding),
            "is_remote": finding.is_remote,
        }
    )


def _sum(found: Sequence[Finding]) -> str:
    counts = Counter(finding.verdict for finding in found)
    parts = [
        f"{counts[verdict]} {verdict.value}{'s' if counts[verdict] > 1 else ''}"
        for verdict in (Verdict.PROBLEM, Verdict.NOTE)
        if counts[verdict]
    ]
    return f"{' and '.join(parts)} among {len(found)} checks." if parts else f"All {len(found)} checks are fine."


def _status(found: Sequence[Finding]) -> ExitStatus:
    """DONE without a problem; LOCAL where this machine has one; NOBODY_ANSWERED where only the way to HOST has."""
    problems = [finding for finding in found if finding.verdict is Verdict.PROBLEM]
    if any(not finding.is_remote for finding in problems):
        return ExitStatus.LOCAL
    return ExitStatus.NOBODY_ANSWERED if problems else ExitStatus.DONE


def _read(argv: Sequence[str]) -> _Options:
    given, words = doctor_parser().parse(argv)
    place = read_place(words, given.get("port")) if words else HostPlace("", given.get("port"))
    port = CONTROL_PORT_DEFAULT if place.port is None else place.port
    data_port = given.get("data_port", DATA_PORT_DEFAULT)
    check_port("port", port)
    check_port("data_port", data_port)
    return _Options(place.host or None, port, data_port, given["json"], given["quiet"])
