"""The clocks, in integer nanoseconds: a monotonic one for all that is timed, and the wall's for the age of files."""

from __future__ import annotations

import time

__all__ = ["now_ns", "wall_ns"]


def now_ns() -> int:
    """Nanoseconds since some moment in the past; never goes back."""
    return time.monotonic_ns()


def wall_ns() -> int:
    """Nanoseconds since 1970, as file systems count; may jump."""
    return time.time_ns()
