"""Who cannot keep up with a group, and should leave it: one slow receiver is not to slow down everybody."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.group.member import Member
from fountain.protocol.group.tfmcc import GroupRate

__all__ = ["LeastRate"]

SLOW_NS = NS * 3 // 10  # Below the least rate for so long, and for ten round trips.
SLOW_LIMITING_NS = 5 * NS  # The same where the rate is the receiver's doing: a rate that rises has to begin low.
_ROUND_COUNT = 10


class LeastRate:
    """`rate_bps` that every receiver has to be able to take; 0 asks for nothing."""

    def __init__(self, rate_bps: int) -> None:
        self._rate_bps = rate_bps

    def asks_to_leave(self, member: Member, controller: GroupRate, round_trip_ns: int, now_ns: int) -> bool:
        """Whether a receiver that has just reported is to leave, now or since before; it is marked so."""
        if member.is_leaving or not self._rate_bps:
            return member.is_leaving
        if not self._is_below(member, controller):
            member.slow_since_ns = None
            return False
        if member.slow_since_ns is None:
            member.slow_since_ns = now_ns
        patience_ns = SLOW_NS if controller.limiting is None else SLOW_LIMITING_NS
        member.is_leaving = now_ns - member.slow_since_ns >= max(patience_ns, _ROUND_COUNT * round_trip_ns)
        return member.is_leaving

    def _is_below(self, member: Member, controller: GroupRate) -> bool:
        """Whether it loses too much of the stream, or slows it down for all."""
        if controller.limiting is not None:
            return controller.limiting == member.peer_id and controller.rate_bps < self._rate_bps
        return (1.0 - member.likely_loss) * controller.rate_bps < self._rate_bps
