"""Every error that fountain raises on purpose.

The message is one sentence that says what happened; `hint` says what to do about it. `field` is the parameter that is
wrong, where one is: a field of a class of `fountain.config`, as `wait_count`, or `group.port` of a `GroupConfig`. The
texts of errors and events name parameters in this way, between backticks; `fountain.cli` alone knows their options.

Remote garbage is never an exception (it is counted), a shortage of symbols is a status, and a bug is an assertion.

    FountainError
    |-- UsageError                 a wrong parameter
    |-- NobodyAnsweredError        no server answered at that address
    |-- IncompleteError            the transfer ended early; what was received is kept and can be resumed
    |-- IntegrityError             the object cannot be what the server announced
    |-- LocalError                 this machine could not do its part
    |   |-- StorageError           a path could not be read or written (carries `path`)
    |   |   |-- DiskFullError      no space left where the object should go
    |   |   |-- NameClashError     the destination exists already, or is in use
    |   |   `-- HostileNameError   a name from the network that must not touch this disk
    |   `-- TransportError         a socket could not be opened or used (carries `address`)
    |-- RefusedError               the other side said no
    |-- UntrustedError             the wrong key, another object than was asked for, or not signed by who may
    `-- PeersMissingError          not every expected peer finished

`fountain.cli.exit_status` maps each of them to one exit code.
"""

from __future__ import annotations

__all__ = [
    "DiskFullError",
    "FountainError",
    "HostileNameError",
    "IncompleteError",
    "IntegrityError",
    "LocalError",
    "NameClashError",
    "NobodyAnsweredError",
    "PeersMissingError",
    "RefusedError",
    "StorageError",
    "TransportError",
    "UntrustedError",
    "UsageError",
]


class FountainError(Exception):
    """Base of all errors for people: `message` says what happened, `hint` what to do, `field` which parameter is wrong
    (both may be empty)."""

    def __init__(self, message: str, hint: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.field = field


class UsageError(FountainError):
    """A parameter is wrong, or does not go with another."""


class NobodyAnsweredError(FountainError):
    """No server answered at the address."""


class IncompleteError(FountainError):
    """The transfer ended before the object was whole; the part is kept."""


class IntegrityError(FountainError):
    """What was received contradicts what the server announced."""


class LocalError(FountainError):
    """This machine could not do its part."""


class StorageError(LocalError):
    """A path could not be read or written."""

    def __init__(self, message: str, hint: str = "", *, field: str = "", path: str = "") -> None:
        super().__init__(message, hint, field=field)
        self.path = path


class DiskFullError(StorageError):
    """No space is left where the object should go."""


class NameClashError(StorageError):
    """The destination exists already, or another process is writing it."""


class HostileNameError(StorageError):
    """A name from the network that must not be created on this disk."""


class TransportError(LocalError):
    """A socket could not be opened or used."""

    def __init__(self, message: str, hint: str = "", *, field: str = "", address: str = "") -> None:
        super().__init__(message, hint, field=field)
        self.address = address


class RefusedError(FountainError):
    """The other side understood and said no."""


class UntrustedError(FountainError):
    """The server has the wrong key, or it offers another object, or one that is not signed by who may and valid now."""


class PeersMissingError(FountainError):
    """Not every expected peer finished."""
