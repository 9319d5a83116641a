"""What a fetch comes to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["FetchSummary"]


@dataclass(frozen=True)
class FetchSummary:
    """Where the object stands, and the digest and path of each of its files."""

    path: Path
    files: Sequence[tuple[str, Path]]
