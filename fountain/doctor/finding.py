"""What the doctor finds: a verdict, a sentence, and the command that mends it."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["Command", "Finding", "Verdict", "fine", "note", "problem"]


class Verdict(enum.Enum):
    """OK needs nothing, a NOTE may matter, a PROBLEM costs speed or keeps transfers from working."""

    OK = "ok"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True)
class Command:
    """A command of fountain itself: the program, its parameters by their fields in `fountain.config`, and arguments."""

    program: str
    given: Mapping[str, object]
    arguments: tuple[str, ...]


@dataclass(frozen=True)
class Finding:
    """The result of one check. `mend` is a command to type, or empty; `is_remote` says that it is about the host."""

    check: str
    verdict: Verdict
    text: str
    mend: str | Command = ""
    is_remote: bool = False


def fine(check: str, text: str, *, is_remote: bool = False) -> Finding:
    """Nothing to do."""
    return Finding(check, Verdict.OK, text, is_remote=is_remote)


def note(check: str, text: str, mend: str | Command = "", *, is_remote: bool = False) -> Finding:
    """Something that may matter."""
    return Finding(check, Verdict.NOTE, text, mend, is_remote)


def problem(check: str, text: str, mend: str | Command = "", *, is_remote: bool = False) -> Finding:
    """Something that costs speed or keeps transfers from working."""
    return Finding(check, Verdict.PROBLEM, text, mend, is_remote)
