"""Parsing a command line: argparse, with our kind of errors and our streams."""

from __future__ import annotations

import argparse
import difflib
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn

from fountain._version import __version__
from fountain.cli.exit_status import EXIT_STATUS_MEANINGS
from fountain.cli.options import OPTIONS
from fountain.errors import UsageError

__all__ = ["CommandParser", "TextRequested", "add_flag", "add_value", "nonempty", "parse_path", "picked", "refuse"]

HELP_WIDTH_MAX = 100
_NEGATIVE = re.compile(r"-\.?[0-9]")  # No option of ours begins with a digit.


class TextRequested(Exception):
    """--help or --version: print `text` on stdout and be done."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class _HelpFormatter(argparse.RawDescriptionHelpFormatter):
    def __init__(self, prog: str) -> None:
        width = min(shutil.get_terminal_size().columns, HELP_WIDTH_MAX)
        super().__init__(prog, max_help_position=26, width=width)

    def _format_action_invocation(self, action: argparse.Action) -> str:
        """`-i, --interface IFACE`: older versions of Python repeat the value after each name."""
        value = "" if action.nargs == 0 else f" {self._format_args(action, action.dest.upper())}"
        return ", ".join(action.option_strings) + value


class _HelpAction(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_ignored: object, **_also_ignored: object) -> NoReturn:
        raise TextRequested(parser.format_help())


class _VersionAction(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_ignored: object, **_also_ignored: object) -> NoReturn:
        raise TextRequested(f"{parser.prog} {__version__}\n")


class CommandParser(argparse.ArgumentParser):
    """An argument parser that raises UsageError instead of leaving, and takes no abbreviated options.

    A script that relies on an abbreviation breaks on the day that a second option starts with the same letters.
    argparse sees the options alone: it would not take an optional argument behind an option (`HOST --open NAME`).

    `arguments` are (name, meaning) of what is not an option; the first must be given unless `is_first_optional`,
    the last may come several times when `is_last_repeated`.
    """

    def __init__(
        self,
        prog: str,
        *,
        description: str,
        usage: str,
        arguments: Sequence[tuple[str, str]],
        is_last_repeated: bool,
        is_first_optional: bool = False,
        examples: Sequence[tuple[str, str]],
    ) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description="\n".join([description, "", "arguments:", *_columns(arguments, gap="  ")]),
            epilog=_epilog(examples),
            formatter_class=_HelpFormatter,
            add_help=False,
            allow_abbrev=False,
        )
        self._first_name = "" if is_first_optional else arguments[0][0]
        self._count_max = None if is_last_repeated else len(arguments)

    def add_common_options(self, *, has_version: bool = True) -> None:
        """The options that commands end with; `has_version` says whether --version shows the version of fountain."""
        self.add_argument("--json", action="store_true", help="write one JSON object per event on stdout")
        self.add_argument("--quiet", action="store_true", help="show nothing but errors")
        if has_version:
            self.add_argument("--version", nargs=0, action=_VersionAction, help="show the version and exit")
        self.add_argument("-h", "--help", nargs=0, action=_HelpAction, help="show this text and exit")

    def parse(self, argv: Sequence[str]) -> tuple[Mapping[str, Any], list[str]]:
        """What the options of `argv` say, by field, where they are given, and its arguments; behind `--` everything is
        an argument.

        Raises:
            UsageError: an option or argument is wrong, missing or unknown.
            TextRequested: --help or --version was given.
        """
        words = list(argv)
        end = words.index("--") if "--" in words else len(words)
        options, arguments = self.parse_known_args(self._with_negative_values(words[:end]))
        for argument in arguments:
            if argument.startswith("-") and argument != "-":
                raise self._unknown(argument)
        for action in self._actions:
            if isinstance(getattr(options, action.dest, None), list):  # What argparse makes of `-o=--`.
                raise UsageError(f"{action.option_strings[0]} has no value.", self._help_hint)
        arguments += words[end + 1 :]
        if self._first_name and not arguments:
            raise UsageError(f"Missing: {self._first_name}.", self._help_hint)
        if self._count_max is not None and len(arguments) > self._count_max:
            raise UsageError(f"{arguments[self._count_max]!r} is one argument too many.", self._help_hint)
        return vars(options), [nonempty(argument) for argument in arguments]

    def _with_negative_values(self, words: Sequence[str]) -> list[str]:
        """`words` with `--rate -5M` as `--rate=-5M`: argparse takes the value for an option, and calls it missing."""
        joined: list[str] = []
        for word in words:
            before = self._option_string_actions.get(joined[-1]) if joined else None
            if before is not None and before.nargs is None and _NEGATIVE.match(word):
                joined[-1] += f"={word}" if joined[-1].startswith("--") else word
            else:
                joined.append(word)
        return joined

    def error(self, message: str) -> NoReturn:
        """Turn argparse's words for what is wrong into a sentence."""
        text = message.removeprefix("argument ")
        raise UsageError(text[:1].upper() + text[1:] + ".", self._help_hint)

    @property
    def _help_hint(self) -> str:
        return f"{self.prog} --help lists arguments and options."

    def _unknown(self, argument: str) -> UsageError:
        option = argument.partition("=")[0]
        alike = difflib.get_close_matches(option, self._option_string_actions, n=1, cutoff=0.75)
        hint = f"Did you mean {alike[0]}?" if alike else f"{self._help_hint} Write -- before a name that begins with -."
        return UsageError(f"There is no option {option}.", hint)


def _columns(rows: Sequence[tuple[str, str]], gap: str) -> list[str]:
    width = max(len(left) for left, _ in rows)
    return [f"  {left:<{width}}{gap}{right}" for left, right in rows]


def _epilog(examples: Sequence[tuple[str, str]]) -> str:
    statuses = [(str(int(status)), meaning) for status, meaning in EXIT_STATUS_MEANINGS.items()]
    lines = ["examples:", *_columns(examples, gap="  # "), "", "exit status:", *_columns(statuses, gap="  ")]
    return "\n".join(lines) + "\n"


def add_flag(where: argparse._ActionsContainer, field: str, text: str) -> None:
    """Give `where` the option of `field`, which is True when it is given; `text` is for its help."""
    where.add_argument(OPTIONS[field], dest=field, action="store_true", default=argparse.SUPPRESS, help=text)


class _Collect(argparse.Action):
    """Puts the values of an option that comes several times in a tuple."""

    def __call__(
        self, _parser: object, namespace: argparse.Namespace, values: object, _option: str | None = None
    ) -> None:  # fmt: skip
        setattr(namespace, self.dest, (*getattr(namespace, self.dest, ()), values))


def add_value(
    where: argparse._ActionsContainer, field: str, text: str, parse: Callable[[str], object], metavar: str = "",
    *short: str, is_repeated: bool = False,
) -> None:  # fmt: skip
    """Give `where` the option of `field`, and `short` names of it; its value is what `parse` makes of it, or, with
    `is_repeated`, a tuple of what it makes of each that is given.

    An error of `parse` gets the option's name in front. `metavar` stands for the value in the help; it is the option
    in capitals where none is given.
    """
    option = OPTIONS[field]

    def parse_named(typed: str) -> object:
        try:
            return parse(typed)
        except UsageError as error:
            raise UsageError(f"`{field}`: {error.message}", error.hint, field=field) from None

    metavar = metavar or option.lstrip("-").upper()
    where.add_argument(
        *short, option, dest=field, metavar=metavar, type=parse_named, default=argparse.SUPPRESS, help=text,
        action=_Collect if is_repeated else "store",
    )  # fmt: skip


def picked(config: type[Any], given: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The fields of a class of `fountain.config` that are given, each under `prefix` and its name."""
    names = [field.name for field in fields(config)]
    return {name: given[prefix + name] for name in names if prefix + name in given}


def refuse(given: Mapping[str, Any], names: Iterable[str], what: str, hint: str) -> None:
    """Refuse the first of `names` that is given.

    Raises:
        UsageError: one is.
    """
    for field in names:
        if field in given:
            raise UsageError(f"`{field}` {what}.", hint, field=field)


def nonempty(text: str) -> str:
    """`text`, unless it is empty: an unset variable in a script must not silently mean something.

    Raises:
        UsageError: `text` is empty.
    """
    if not text:
        raise UsageError("An argument is empty.", "Is a variable unset? Leave the argument out, or give it a value.")
    return text


def parse_path(text: str) -> Path:
    """A path, unless `text` is empty.

    Raises:
        UsageError: it is.
    """
    return Path(nonempty(text))
