"""Time in machines: integer nanoseconds that come in from outside."""

from __future__ import annotations

__all__ = ["LONG_AGO_NS", "NEVER_NS"]

NEVER_NS = 1 << 62  # later than anything
LONG_AGO_NS = -NEVER_NS  # earlier than anything
