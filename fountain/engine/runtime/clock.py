"""The clocks, in integer nanoseconds: a monotonic one for all that is timed, and the wall's for the age of files
and of releases."""

from __future__ import annotations

import time
from datetime import datetime, timezone

from fountain.limits import NS

__all__ = ["STOP_CHECK_NS", "now_ns", "now_utc", "wall_ns"]

STOP_CHECK_NS = NS // 10  # How often each loop looks whether it is to stop.


def now_ns() -> int:
    """Nanoseconds since some moment in the past; never goes back."""
    return time.monotonic_ns()


def wall_ns() -> int:
    """Nanoseconds since 1970, as file systems count; may jump."""
    return time.time_ns()


def now_utc() -> datetime:
    """The time of this machine, which may be wrong."""
    return datetime.now(timezone.utc)
