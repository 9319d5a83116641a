"""How many packets of one stream may go now: a controller and its pacer, fed with what the Reports of its peer say."""

from __future__ import annotations

from collections import deque

from fountain.limits import NS
from fountain.protocol.rate.api import Controller
from fountain.protocol.rate.estimate import LossEstimate, RttEstimate, echoed_rtt_us
from fountain.protocol.rate.feedback import REPORT_WAIT_COUNT, REPORT_WAIT_NS, Feedback, is_near
from fountain.protocol.rate.pacing import Pacer, SteadyPacer
from fountain.wire.session import Report

__all__ = ["SendControl"]

_NEAR_RTT_NS = 2_000_000  # A peer of this network: its switches have buffers for ...
_NEAR_BURST_COUNT = 16  # ... trains of so many packets, which cost the server hardly more than trains of one.
_RTT_MAX_US = 60_000_000  # What seems so far away had waited somewhere, or is made up.


class SendControl:
    """The packets of one stream, from 0 on: `sequence` have gone, and those before `resolved` have arrived or are lost.

    `packet_size` is in octets on the wire.
    """

    def __init__(self, controller: Controller, packet_size: int, now_ns: int) -> None:
        self.controller = controller
        self.packet_size = packet_size
        self.pacer = (SteadyPacer if controller.is_steady else Pacer)(controller.rate_bps, now_ns)
        self.rtt = RttEstimate()
        self.loss = LossEstimate()
        self.sequence = 0
        self.resolved = 0
        self.sent_ns = now_ns  # when the latest train went
        self._feedback = Feedback(packet_size, now_ns)
        self._sends: deque[tuple[int, int]] = deque()  # (sequence after the train, when it went)
        self._due_count = self._missing_count = 0  # by the latest report
        self._came_count = 0  # packets of those that were due, when the loss was last judged
        self._controlled_ns = 0
        self._wait_count = 0  # packets that may go beyond the window, since no report may come before that many

    @property
    def lost_fraction(self) -> float:
        """Share of the packets that did not arrive, of all that the latest report could know of."""
        return self._missing_count / self._due_count if self._due_count else 0.0

    def record(self, count: int, now_ns: int) -> None:
        """`count` packets take the next sequence numbers and go out now."""
        self.sequence += count
        self.sent_ns = now_ns
        self._sends.append((self.sequence, now_ns))
        self._feedback.on_sent(self.sequence, count, now_ns)
        self.pacer.charge(count * self.packet_size)

    def room(self, now_ns: int) -> int | None:
        """How many packets may go now, by pace, window and the receiver's buffer; None for no limit but the pace."""
        if now_ns >= self.silence_ns:
            self._feedback.on_silence(self.sequence, now_ns)
            self.controller.on_silence(now_ns, self.sequence)
            self.pacer.change_rate(self.controller.rate_bps, now_ns)
        if not self.pacer.may_send(now_ns):
            return 0
        if self._feedback.is_misled:
            return None
        under_way = self._feedback.under_way(self.sequence)
        window = self.controller.window_count
        if window > 1:
            window += self._wait_count
        elif under_way >= window:
            self._feedback.note_full()
        return max(0, min(window, self._feedback.receiver_window_count()) - under_way)

    @property
    def silence_ns(self) -> int:
        """When the silence has lasted too long, if no report comes."""
        return self._feedback.silence_ns(self.sequence, self.rtt)

    def on_report(self, report: Report, now_ns: int) -> None:
        """Learn from an authentic report that is not older than the one before.

        A client that expects what was never sent was misled by a forged open packet: its sequence number and times are
        not believed, and packets under way are settled by time alone.
        """
        is_sound = 0 < report.expected_sequence <= self.sequence
        rtt_ns = self._measure(report, now_ns) if is_sound else 0
        resolved_before = self.resolved
        due_count = report.due_sequence if is_sound else 0
        self._resolve(due_count, now_ns)
        if is_sound:
            self._due_count, self._missing_count = due_count, report.missing_count
            if now_ns > self._controlled_ns:  # Of two reports taken in at once, the second reports no time at all.
                self._controlled_ns = now_ns
                self._control(report, rtt_ns, now_ns)
        elif report.received_count:
            self._feedback.settle(self.resolved, now_ns)
        newly_resolved = self.resolved - resolved_before
        if newly_resolved > 0:
            came_count = due_count - report.missing_count if is_sound else report.received_count
            self.loss.sample(newly_resolved, came_count - self._came_count)
            self._came_count = max(self._came_count, came_count)

    def _measure(self, report: Report, now_ns: int) -> int:
        """The round trip that the report's echo shows; 0 for none."""
        rtt_us = echoed_rtt_us(report.echo_timestamp_us, report.hold_us, now_ns)
        if not 0 <= rtt_us < _RTT_MAX_US:
            return 0
        rtt_ns = max(1_000, rtt_us * 1000)
        self.rtt.sample(rtt_ns)
        return rtt_ns

    def _control(self, report: Report, rtt_ns: int, now_ns: int) -> None:
        """Let the controller learn, and go on at the rate that it says."""
        rate_bps = self.controller.rate_bps
        sample = self._feedback.on_report(report, self.sequence, rtt_ns, self.rtt, rate_bps, now_ns)
        self.controller.on_report(now_ns, sample)
        self.pacer.burst_count_min = _NEAR_BURST_COUNT if self.rtt.minimum_ns < _NEAR_RTT_NS else 1
        self.pacer.change_rate(self.controller.rate_bps, now_ns)
        # A near client may wait with its next report until as much has come: this does not stop the stream.
        wait_count = self.controller.rate_bps * REPORT_WAIT_NS // (8 * NS * self.packet_size)
        may_wait = is_near(self.rtt.smoothed_ns, self.rtt.minimum_ns)
        self._wait_count = min(REPORT_WAIT_COUNT, wait_count) if may_wait else 0

    def _resolve(self, due_count: int, now_ns: int) -> None:
        """Packets are resolved once they were due at the client, or must have been by now."""
        self.resolved = max(self.resolved, due_count)
        counted_ns = self.rtt.counted_ns(now_ns)
        while self._sends and (self._sends[0][0] <= self.resolved or self._sends[0][1] < counted_ns):
            self.resolved = max(self.resolved, self._sends.popleft()[0])
