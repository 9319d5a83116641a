"""Rates for people: smooth enough to read, quick enough to believe."""

from __future__ import annotations

import math

from fountain.limits import NS

__all__ = ["RateMeter"]

_TIME_CONSTANT_S = 1.5


class RateMeter:
    """Bits per second of a counter of octets, averaged over about a second and a half."""

    def __init__(self, now_ns: int, size: int = 0) -> None:
        self.rate_bps = 0.0
        self._last_ns = now_ns
        self._last_size = size
        self._age_s = 0.0

    def update(self, size: int, now_ns: int) -> None:
        """The counter stands at `size` octets now."""
        elapsed_s = (now_ns - self._last_ns) / NS
        if elapsed_s <= 0:
            return
        sample = max(0, size - self._last_size) * 8 / elapsed_s
        self._age_s += elapsed_s
        # A young meter averages over its whole life, so that the first figures are not too low.
        weight = 1.0 - math.exp(-elapsed_s / min(_TIME_CONSTANT_S, self._age_s))
        self.rate_bps += (sample - self.rate_bps) * (1.0 if self._age_s == elapsed_s else weight)
        self._last_ns, self._last_size = now_ns, size
