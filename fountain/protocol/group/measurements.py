"""What a receiver measures of its way: data packets, loss events, round trip, drops of its own system.

After a pause of the receiver packets had waited for it. Until one comes that had not, nothing is measured: what was
lost in that time was lost here, and not on the way.
"""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.inflow import GroupInflow
from fountain.protocol.rate.loss_events import LossEvents

__all__ = ["Measurements"]

LATE_NS = NS // 20  # What came later than this, beside what came before, had waited.
DOUBT_NS = 2 * NS  # Later than this after a pause nothing waits any more; the way itself may have become longer.


class Measurements:
    """Of one stream, from data packet `next_sequence` on. `kernel_drop_count` is what the system reports."""

    def __init__(self, channel: GroupChannel, next_sequence: int, packet_size: int, now_ns: int) -> None:
        self.inflow = GroupInflow(channel, next_sequence)
        self.losses = LossEvents(packet_size)
        self.kernel_drop_count = 0
        self.echo: tuple[int, int] = (0, now_ns)  # the server's time, and when it came here
        self._drop_count = 0  # drops that were looked at
        self._forgiven_count = 0  # drops while this receiver did not look
        self._doubt_until_ns = 0  # Until then what comes may have waited.
        self._has_own_rtt = False

    @property
    def reported_drop_count(self) -> int:
        """Drops that a report names."""
        return max(0, self.kernel_drop_count - self._forgiven_count)

    def restart(self, channel: GroupChannel, next_sequence: int) -> None:
        """Count anew from data packet `next_sequence` on."""
        self.inflow = GroupInflow(channel, next_sequence)
        self.losses = LossEvents(self.losses.packet_size)

    def resume(self, now_ns: int) -> None:
        """The receiver has not looked for a while: what comes now may have waited for it."""
        self._doubt_until_ns = now_ns + DOUBT_NS

    def note_data(self, timestamp_us: int, now_ns: int) -> bool:
        """Data packets came, the latest sent at `timestamp_us`; whether a loss event began."""
        fresh = self.inflow.counter.drain()
        if self._is_doubtful(timestamp_us, now_ns):
            self._forgive_drops()
            self.losses.skip_gap()
            if fresh:
                self.losses.count(fresh, now_ns)
            return False
        self.echo = (timestamp_us, now_ns)
        has_begun = False
        if fresh:
            transit_us = (now_ns // 1000 - timestamp_us) & 0xFFFF_FFFF
            has_begun = self.losses.on_packets(fresh, now_ns, transit_us * 1000)
        if self.kernel_drop_count != self._drop_count:
            self._drop_count = self.kernel_drop_count
            has_begun |= self.losses.on_drops(now_ns)
        return has_begun

    def note_plan(self, timestamp_us: int, now_ns: int) -> None:
        """A Plan came that was sent at `timestamp_us`."""
        if not self._is_doubtful(timestamp_us, now_ns):
            self.echo = (timestamp_us, now_ns)

    def learn_round_trip(self, own_us: int | None, group_us: int | None) -> None:
        """A Plan says the receiver's own round trip, or the group's, which stands for it until then, or None."""
        if own_us is not None:
            self._has_own_rtt = True
            self.losses.set_rtt(own_us * 1000)
        elif not self._has_own_rtt and group_us is not None:
            self.losses.set_rtt(group_us * 1000)

    def _is_doubtful(self, timestamp_us: int, now_ns: int) -> bool:
        """Whether a packet that comes now had waited here."""
        if now_ns >= self._doubt_until_ns:
            return False
        echo_us, echo_ns = self.echo
        if not echo_us:
            return True
        behind_us = ((now_ns - echo_ns) // 1000 - (timestamp_us - echo_us)) & 0xFFFF_FFFF
        if behind_us < LATE_NS // 1000 or behind_us >= 1 << 31:
            self._doubt_until_ns = 0
            self.losses.skip_gap()
            self._forgive_drops()
            return False
        return True

    def _forgive_drops(self) -> None:
        self._forgiven_count += self.kernel_drop_count - self._drop_count
        self._drop_count = self.kernel_drop_count
