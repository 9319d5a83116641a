"""How the fetch of an object may end: a class for each end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fountain.errors import FountainError
from fountain.protocol.session.client_events import Trouble

__all__ = ["Failed", "GivenUp", "Outcome", "Succeeded", "Unserved", "Yielded"]


@dataclass(frozen=True)
class Succeeded:
    """The object stands verified in its place since `at_ns`: digest and path of each file."""

    files: Sequence[tuple[str, Path]]
    at_ns: int


@dataclass(frozen=True)
class Failed:
    """The object cannot be put together here."""

    error: FountainError


@dataclass(frozen=True)
class GivenUp:
    """Nothing of it came any more, for too long."""

    error: FountainError


@dataclass(frozen=True)
class Unserved:
    """Its server refused it, ended it, fell silent, or was never there."""

    trouble: Trouble


@dataclass(frozen=True)
class Yielded:
    """Another object got its place."""


Outcome = Succeeded | Failed | GivenUp | Unserved | Yielded
