"""The one clock: monotonic, in integer nanoseconds."""

from __future__ import annotations

import time

__all__ = ["now_ns"]


def now_ns() -> int:
    """Nanoseconds since some moment in the past; never goes back."""
    return time.monotonic_ns()
