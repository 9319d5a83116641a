"""What a command's exit status says; the table in docs/reference/cli.md is this one."""

from __future__ import annotations

from enum import IntEnum

from fountain.errors import (
    FountainError,
    IncompleteError,
    IntegrityError,
    LocalError,
    NobodyAnsweredError,
    PeersMissingError,
    RefusedError,
    UntrustedError,
    UsageError,
)

__all__ = ["EXIT_STATUS_MEANINGS", "ExitStatus", "exit_status_of"]


class ExitStatus(IntEnum):
    """The exit statuses of all commands. 1 is left to Python: an unforeseen exception, which is a bug."""

    DONE = 0
    USAGE = 2
    NOBODY_ANSWERED = 3
    INCOMPLETE = 4
    INTEGRITY = 5
    LOCAL = 6
    REFUSED = 7
    PEERS_MISSING = 8
    UNTRUSTED = 9
    INTERRUPTED = 130  # 128 + SIGINT, as shells count


EXIT_STATUS_MEANINGS = {
    ExitStatus.DONE: "done",
    ExitStatus.USAGE: "wrong usage",
    ExitStatus.NOBODY_ANSWERED: "nobody answered, or the host is not known",
    ExitStatus.INCOMPLETE: "incomplete, the same command resumes",
    ExitStatus.INTEGRITY: "integrity: the data contradicts the offer",
    ExitStatus.LOCAL: "local trouble: no such file, disk full, permission, name clash, socket",
    ExitStatus.REFUSED: "the other side refused",
    ExitStatus.PEERS_MISSING: "not every expected peer finished",
    ExitStatus.UNTRUSTED: "untrusted: the wrong key, another object than was asked for, or no allowed signature",
    ExitStatus.INTERRUPTED: "interrupted",
}

_STATUS_OF_ERROR: dict[type[FountainError], ExitStatus] = {
    UsageError: ExitStatus.USAGE,
    NobodyAnsweredError: ExitStatus.NOBODY_ANSWERED,
    IncompleteError: ExitStatus.INCOMPLETE,
    IntegrityError: ExitStatus.INTEGRITY,
    LocalError: ExitStatus.LOCAL,
    RefusedError: ExitStatus.REFUSED,
    PeersMissingError: ExitStatus.PEERS_MISSING,
    UntrustedError: ExitStatus.UNTRUSTED,
}


def exit_status_of(error: FountainError) -> ExitStatus:
    """The status that `error` ends a command with: that of its nearest class in the table."""
    return next(_STATUS_OF_ERROR[ancestor] for ancestor in type(error).__mro__ if ancestor in _STATUS_OF_ERROR)
