"""Who should leave a group, and fetch by itself: no receiver is to slow down, or to starve, all others."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.group.member import Member
from fountain.protocol.rate.tfmcc import GroupRate

__all__ = ["MinimumRate"]

SLOW_NS = NS * 3 // 10  # Below the least rate for so long, and for ten round trips.
SLOW_LIMITING_NS = 5 * NS  # The same where the rate is the receiver's doing: a rate that rises has to begin low.
NOTHING_COUNT = 20_000  # Packets of which not one came since it joined: its way carries none of that size.
DEAF_NS = 10 * NS  # One that heard data before, and hears none any more, may hear again meanwhile.
_ROUND_COUNT = 10


class MinimumRate:
    """`rate_bps` that every receiver has to be able to take; 0 asks for nothing."""

    def __init__(self, rate_bps: int) -> None:
        self._rate_bps = rate_bps

    def judge(self, member: Member, controller: GroupRate, sequence: int, round_trip_ns: int, now_ns: int) -> None:
        """Mark a receiver that has just reported as leaving if it is too slow, or hears nothing of all that is sent.

        `sequence` is that of the next packet. Who hears Plans but no data would have everything sent for ever.
        """
        if self._hears_nothing(member, sequence, now_ns):
            member.is_leaving = True
        elif not self._rate_bps or not self._is_below(member, controller):
            member.slow_since_ns = None
        else:
            if member.slow_since_ns is None:
                member.slow_since_ns = now_ns
            patience_ns = SLOW_NS if controller.clr is None else SLOW_LIMITING_NS
            member.is_leaving = now_ns - member.slow_since_ns >= max(patience_ns, _ROUND_COUNT * round_trip_ns)

    def _hears_nothing(self, member: Member, sequence: int, now_ns: int) -> bool:
        if member.reception.first_sequence >= 0 and not member.reception.received_count:
            return sequence - member.reception.first_sequence >= NOTHING_COUNT
        deaf_since_ns = member.reception.deaf_since_ns
        return deaf_since_ns is not None and now_ns - deaf_since_ns >= DEAF_NS

    def _is_below(self, member: Member, controller: GroupRate) -> bool:
        """Whether it gets too little of the stream, or slows it down for all."""
        rate_bps = controller.rate_bps
        if controller.clr == member.peer_id and rate_bps < self._rate_bps:
            return True
        loss = 1.0 if member.is_deaf else member.reception.likely_loss
        if controller.clr is not None and rate_bps < self._rate_bps:
            return False  # That is another one's doing.
        return (1.0 - loss) * rate_bps < self._rate_bps
