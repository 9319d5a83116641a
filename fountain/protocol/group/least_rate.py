"""Who cannot keep up with a group, and should leave it: one slow receiver is not to slow down everybody."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.group.member import Member
from fountain.protocol.group.tfmcc import GroupRate

__all__ = ["LeastRate"]

SLOW_NS = NS * 3 // 10  # Below the least rate for so long, and for ten round trips.
SLOW_LIMITING_NS = 5 * NS  # The same where the rate is the receiver's doing: a rate that rises has to begin low.
DEAF_COUNT = 20_000  # Packets of which not one came: there is no such loss.
_ROUND_COUNT = 10


class LeastRate:
    """`rate_bps` that every receiver has to be able to take; 0 asks for nothing."""

    def __init__(self, rate_bps: int) -> None:
        self._rate_bps = rate_bps

    def judge(self, member: Member, controller: GroupRate, sequence: int, round_trip_ns: int, now_ns: int) -> None:
        """Mark a receiver that has just reported as leaving if it is too slow, or hears nothing of all that is sent.

        `sequence` is that of the next packet. Who hears Plans but no data (a way that carries no packets of that size)
        would have everything sent for ever.
        """
        is_counting = member.first_sequence >= 0
        if is_counting and not member.received_count and sequence - member.first_sequence >= DEAF_COUNT:
            member.is_leaving = True
        elif not self._rate_bps or not self._is_below(member, controller):
            member.slow_since_ns = None
        else:
            if member.slow_since_ns is None:
                member.slow_since_ns = now_ns
            patience_ns = SLOW_NS if controller.limiting is None else SLOW_LIMITING_NS
            member.is_leaving = now_ns - member.slow_since_ns >= max(patience_ns, _ROUND_COUNT * round_trip_ns)

    def _is_below(self, member: Member, controller: GroupRate) -> bool:
        """Whether it loses too much of the stream, or slows it down for all."""
        if controller.limiting is not None:
            return controller.limiting == member.peer_id and controller.rate_bps < self._rate_bps
        return (1.0 - member.likely_loss) * controller.rate_bps < self._rate_bps
