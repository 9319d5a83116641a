"""When a server of a group that met `expect` may end: not while others still receive, and not for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fountain.limits import NS

__all__ = ["Stragglers"]

STANDSTILL_NS = 10 * NS  # Receivers that have gained nothing for so long hold up no end.
LOOK_NS = NS // 10  # There may be thousands to look at.
WAIT_MIN_NS = 30 * NS  # Receivers that do gain are waited for so long, or as long as it took to meet `expect`.


class Stragglers:
    """Receivers that still receive when as many as were expected have the object.

    Who is done is what receivers say, and without a key anybody may say it. So others that still gain are waited for:
    nobody ends their stream by saying that it is done. Neither does anybody keep it from its end by lies: the wait has
    a limit.
    """

    def __init__(self, start_ns: int) -> None:
        self._start_ns = start_ns
        self._met_ns: int | None = None  # when `expect` was met
        self._gained_ns = start_ns
        self._held = 0.0
        self._look_ns = start_ns

    def may_end(self, find: Callable[[], Sequence[float]], now_ns: int) -> bool:
        """Whether the server may end, now that `expect` is met.

        `find` gives the fraction of its object that each receiver holds that still receives.
        """
        if self._met_ns is None:
            self._met_ns = self._gained_ns = now_ns
        if now_ns < self._look_ns:
            return False
        self._look_ns = now_ns + LOOK_NS
        fractions = find()
        held, held_before = sum(fractions), self._held
        self._held = held
        if held > held_before:
            self._gained_ns = now_ns
        limit_ns = self._met_ns + max(WAIT_MIN_NS, self._met_ns - self._start_ns)
        return not fractions or now_ns >= min(limit_ns, self._gained_ns + STANDSTILL_NS)
