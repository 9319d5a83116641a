"""The code of --pair: asked for on a terminal, else read from standard input or a variable. Never an argument: those
are shown to everybody on the machine, and kept in a shell's history.
"""

from __future__ import annotations

from dataclasses import replace

from fountain.cli.environment import Environment
from fountain.cli.options import with_options
from fountain.cli.text import escape_controls
from fountain.config import FetchConfig
from fountain.errors import UsageError

__all__ = ["VARIABLE", "with_code"]

VARIABLE = "FOUNTAIN_PAIR"
_ANSWER_SIZE_MAX = 1 << 10


def with_code(config: FetchConfig, env: Environment) -> FetchConfig:
    """`config` with the code that the user has for the server. On a terminal it is asked for until it can be one.

    Raises:
        UsageError: it cannot be one, there is none, a library is missing, or `config` takes no code.
    """
    from fountain.trust.pair_code import CODE_OCTETS, draw_code
    from fountain.trust.spake import load_library

    load_library()
    replace(config, trust=replace(config.trust, pair=draw_code(bytes(CODE_OCTETS))))  # Refused before a question.
    return replace(config, trust=replace(config.trust, pair=_read_code(env)))


def _read_code(env: Environment) -> str:
    from fountain.trust.pair_code import parse_code

    if given := env.variables.get(VARIABLE):
        return parse_code(given)
    is_terminal = env.stdin.isatty()
    while True:
        if is_terminal:
            env.stderr.write("The code that fountain-serve shows: ")
            env.stderr.flush()
        try:
            typed = env.stdin.readline(_ANSWER_SIZE_MAX)
        except KeyboardInterrupt:
            env.stderr.write_line("")  # The shell goes on in a line of its own.
            raise
        if not typed.strip() and not (is_terminal and typed):
            hint = f"Write it to standard input, or set {VARIABLE}. It is never an argument, which others could see."
            raise UsageError("There is no code.", hint, field="pair")
        try:
            return parse_code(typed)
        except UsageError as error:
            if not is_terminal:
                raise
            env.stderr.write_line(escape_controls(with_options(f"{error.message} {error.hint}")))
