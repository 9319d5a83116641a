"""`python -m fountain`: picks the command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from fountain._version import __version__
from fountain.cli.arguments import TextRequested
from fountain.cli.code_report import main as code_report_main
from fountain.cli.command import run_program
from fountain.cli.doctor import main as doctor_main
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.cli.fetch import main as fetch_main
from fountain.cli.serve import main as serve_main
from fountain.cli.sign import main as sign_main
from fountain.errors import UsageError

__all__ = ["main"]

PROG = "python -m fountain"
COMMANDS: dict[str, Callable[[Sequence[str], Environment], int]] = {
    "serve": serve_main,
    "fetch": fetch_main,
    "sign": sign_main,
    "doctor": doctor_main,
    "code-report": code_report_main,
}
HELP = """\
usage: python -m fountain serve|fetch|sign|doctor|code-report ...

  serve PATH...      serve files and directories over UDP (also: fountain-serve)
  fetch HOST [NAME]  fetch an object from a server (also: fountain-fetch)
  sign PATH          sign a release, or check one (also: fountain-sign)
  doctor [HOST]      check this machine, and the way to a host, and say what mends it
  code-report NAME   measure a code: what it needs beyond K symbols, how fast it is

`python -m fountain serve --help` lists the options of a command.
"""


def main(argv: Sequence[str] | None = None, env: Environment | None = None) -> int:
    """Run the command that the first word names; returns its exit status."""
    environment = Environment.of_process() if env is None else env
    words = list(sys.argv[1:] if argv is None else argv)
    if words and words[0] in COMMANDS:
        return COMMANDS[words[0]](words[1:], environment)
    return run_program(PROG, environment, lambda: _answer(words))


def _answer(words: Sequence[str]) -> ExitStatus:
    if words and words[0] in ("-h", "--help"):
        raise TextRequested(HELP)
    if words and words[0] == "--version":
        raise TextRequested(f"fountain {__version__}\n")
    what = f"There is no command {words[0]!r}." if words else "A command is missing."
    raise UsageError(what, f"{PROG} --help lists the commands: serve, fetch, sign, doctor, code-report.")
