"""CUBIC's window (RFC 9438), in packets, for a sender that learns of arrivals in bunches."""

from __future__ import annotations

from fountain.limits import NS

__all__ = ["CubicCurve"]

_C = 0.4  # packets per cubic second
_BETA = 0.7
_ALPHA = 3.0 * (1.0 - _BETA) / (1.0 + _BETA)  # RFC 9438 section 4.3: as much as Reno on average
_GROWTH_MAX = 1.5  # per round trip


class CubicCurve:
    """Where the window goes after a cut: back to `limit` quickly, past it carefully at first."""

    def __init__(self) -> None:
        self.limit = 0.0  # the window at which the last congestion was met
        self._begin_ns = 0
        self._latest_ns = 0
        self._knee_s = 0.0  # from the cut to the limit
        self._reno = 0.0  # what Reno's window would be

    def limit_after(self, window: float, share: float) -> float:
        """The limit for a cut to `share` of `window`: lower where the last limit was not reached again."""
        return window * (1.0 + share) / 2.0 if window < self.limit else window

    def begin(self, window: float, limit: float, now_ns: int) -> None:
        """Start from `window` towards `limit`."""
        self.limit = limit
        self._begin_ns = self._latest_ns = now_ns
        self._knee_s = ((limit - window) / _C) ** (1.0 / 3.0) if limit > window else 0.0
        self._reno = window

    def pause(self, now_ns: int) -> None:
        """The window was not used: the time since it was last grown or paused does not count."""
        self._begin_ns += now_ns - self._latest_ns
        self._latest_ns = now_ns

    def grow(self, window: float, arrived: int, now_ns: int, rtt_ns: int) -> float:
        """The window after `arrived` more packets arrived."""
        # More than a window at once is no more than a round trip of growth per round trip.
        self._latest_ns = now_ns
        rounds = arrived / window
        self._reno += (_ALPHA if self._reno < self.limit else 1.0) * rounds
        elapsed_s = (now_ns - self._begin_ns + rtt_ns) / NS
        target = self.limit + _C * (elapsed_s - self._knee_s) ** 3
        if target <= self._reno:
            return max(window, self._reno)
        target = min(max(target, window), _GROWTH_MAX * window)
        return window + (target - window) * min(1.0, rounds)
