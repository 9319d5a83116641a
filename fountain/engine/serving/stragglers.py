"""When a server of a group that met `expect` may end: not while others still receive, and not for ever."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from fountain.limits import NS

__all__ = ["Stragglers"]

STANDSTILL_NS = 30 * NS  # Receivers that have gained nothing for so long hold up no end.
LOOK_NS = NS // 10  # There may be thousands to look at.
UNASKED_NS = NS  # Who did not ask for longer than this had not met `expect`.
WAIT_COUNT = 4  # Those that do gain are waited for as long as it takes to send all so many times, ...
WAIT_MIN_NS = 60 * NS  # ... and at least so long.


class Stragglers:
    """Receivers that still receive when as many as were expected have the object, of `size` octets on the wire.

    Who is done is what receivers say, and without a key anybody may say it. So others that still gain are waited for:
    nobody ends their stream by saying that it is done, however early. Neither does anybody keep it from its end by
    lies: the wait has a limit. A liar takes half of the rate at most, so the limit leaves enough for all others.
    """

    def __init__(self, size: int, start_ns: int) -> None:
        self._left_bits, self._left_ns = WAIT_COUNT * size * 8, WAIT_MIN_NS
        self._gained_ns = 0
        self._held = 0.0
        self._looked_ns = start_ns - 2 * UNASKED_NS

    def may_end(self, find: Callable[[], Sequence[float]], rate_bps: int, now_ns: int) -> bool:
        """Whether the server may end, now that `expect` is met; ask again until then.

        `find` gives the fraction of its object that each receiver holds that still receives. `rate_bps` may be sent.
        """
        time_ns = now_ns - self._looked_ns
        if time_ns < LOOK_NS:
            return False
        self._looked_ns = now_ns
        if time_ns > UNASKED_NS:
            self._gained_ns = now_ns
        else:
            self._left_bits -= rate_bps * time_ns // NS
            self._left_ns -= time_ns
        fractions = find()
        held, held_before = sum(fractions), self._held
        self._held = held
        if held > held_before:
            self._gained_ns = now_ns
        is_long = self._left_bits <= 0 and self._left_ns <= 0
        return not fractions or is_long or now_ns - self._gained_ns >= STANDSTILL_NS
