"""One peer of a server: its keys, what it needs, how it fares. The server machine owns the sessions and the time."""

from __future__ import annotations

import enum
from collections import deque

from fountain.integrity import SessionKeys, sealed_count_max
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import Address
from fountain.protocol.rate.api import Controller
from fountain.protocol.rate.estimate import LossEstimate, RttEstimate, echoed_rtt_us
from fountain.protocol.rate.feedback import REPORT_WAIT_COUNT, REPORT_WAIT_NS, Feedback, is_near
from fountain.protocol.rate.pacing import Pacer, SteadyPacer
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.unicast import UnicastCarousel
from fountain.protocol.session.channel import ControlChannel
from fountain.protocol.session.port_proof import PortProof
from fountain.protocol.session.report_spacing import ReportSpacing
from fountain.wire.session import ByeReason, Report, RequestBody, StopReason

__all__ = [
    "GONE_NS",
    "PING_INTERVAL_NS",
    "SILENT_NS",
    "ServerSession",
    "SessionState",
    "Tombstone",
]

SILENT_NS = 2 * NS  # No report for so long: the stream pauses; Pings go on asking for an answer.
GONE_NS = 30 * NS  # RFC 7675 section 5.1: consent to send expires 30 s after the last authenticated answer.
PING_INTERVAL_NS = NS // 2  # A client that waits for nothing still hears that the server lives.
_SEQUENCE_LIMIT = 1 << 62  # Beyond it no receiver could expand 32 bits to 64.
_NEAR_RTT_NS = 2_000_000  # A peer of this network: its switches have buffers for ...
_NEAR_BURST_COUNT = 16  # ... trains of so many packets, which cost the server hardly more than trains of one.
_REORDER_NS = 20_000_000  # A report that comes so much later than a packet's round trip would have counted the packet.


class SessionState(enum.Enum):
    """Where a session is; it only ever moves down this list, but SILENT and STREAMING alternate."""

    STREAMING = "streaming"
    SILENT = "silent"
    ENDED = "ended"


class ServerSession(ControlChannel):
    """State of one stream. `address` is where its data goes, and `proof` whether its client receives there."""

    def __init__(
        self, session_id: int, address: Address, keys: SessionKeys, served: ServedObject, object_index: int,
        lane: Lane, request: RequestBody, controller: Controller, challenge: int, now_ns: int,
    ) -> None:  # fmt: skip
        super().__init__(session_id, outgoing=keys.to_client, incoming=keys.to_server)
        self.address = address
        self.proof = PortProof(challenge, now_ns)
        self.reports = ReportSpacing(now_ns)
        self.pinged_ns = now_ns
        self.keys = keys
        self.object_index = object_index
        self.offer = served.offer
        self.part_count = request.part_count
        self.packet_size = served.wire_size(request.part_count)
        self.lane = lane
        self.host = request.host
        self.peer_id = request.peer_id
        self.state = SessionState.STREAMING
        self.stop_reason: StopReason | None = None
        self.bye_reason: ByeReason | None = None
        self.started_ns = now_ns
        self.heard_ns = now_ns
        self.ended_ns = 0
        self.last_sent_ns = now_ns
        self._pinged_count = 0  # packets that had been received by then
        self.sequence = 0
        self.packet_count_max = _SEQUENCE_LIMIT  # Open packets wear out no key.
        if not served.offer.open:
            self.packet_count_max = sealed_count_max(served.offer.symbol_size + DATA_OVERHEAD_SIZE)
        self.sent_count = 0
        self.received_count = 0  # as the client reports it
        self.controller = controller
        self.pacer = (SteadyPacer if controller.is_steady else Pacer)(controller.rate_bps, now_ns)
        self.feedback = Feedback(self.packet_size, now_ns)
        self.rtt = RttEstimate()
        self.loss = LossEstimate()
        geometry = served.offer.geometry
        self.carousel = UnicastCarousel(
            geometry,
            served.offer.manifest_geometry,
            lane,
            [run for run in request.done if run[0] + run[1] <= geometry.block_count],
            request.open_limit,
            has_manifest=request.has_manifest,
        )
        self.resumed_count = self.carousel.done.count
        # Whoever begins anew needs all symbols. What others hold in part nobody else can know, unless it is all.
        whole_count = geometry.symbol_count - served.zero_symbol_count + served.offer.manifest_geometry.symbol_count
        is_whole = self.resumed_count >= geometry.block_count
        self.needed_count = int(not is_whole) if request.has_manifest else whole_count
        self._block_count = geometry.block_count
        self._sends: deque[tuple[int, int]] = deque()  # (sequence after the train, when it went)
        self._resolved = 0
        self._due = self._missing_count = 0  # by the latest report
        self._came_count = 0  # packets of those that were due, when the loss was last judged
        self._controlled_ns = 0
        self._wait_count = 0  # packets that may go beyond the window, since no report may come before that many

    @property
    def lost_fraction(self) -> float:
        """Share of its packets that did not arrive, of all that the latest report could know of."""
        return self._missing_count / self._due if self._due else 0.0

    @property
    def fraction(self) -> float:
        """Share of the object's blocks that the client has verified."""
        if self.stop_reason is StopReason.DONE:
            return 1.0
        return self.carousel.done.count / self._block_count if self._block_count else 0.0

    def poll_ping(self, now_ns: int) -> bool:
        """Whether a Ping is due: the client waits for nothing, or of what is sent to it nothing more arrives."""
        has_arrived = self.received_count > self._pinged_count
        since_ns = max(self.pinged_ns, self.last_sent_ns) if has_arrived else self.pinged_ns
        if now_ns - since_ns < PING_INTERVAL_NS:
            return False
        self.pinged_ns, self._pinged_count = now_ns, self.received_count
        return True

    def record_train(self, count: int, now_ns: int) -> None:
        """`count` packets take the next sequence numbers and go out now."""
        self.sequence += count
        self.sent_count += count
        self.last_sent_ns = now_ns
        self._sends.append((self.sequence, now_ns))
        self.feedback.on_sent(self.sequence, count, now_ns)
        self.pacer.charge(count * self.packet_size)

    def room_count(self, now_ns: int) -> int:
        """How many packets may go now, as far as pace, window, the receiver's buffer and what is proved allow."""
        return self.proof.limit(self._window_room(now_ns), self.sent_count)

    def _window_room(self, now_ns: int) -> int:
        if now_ns >= self.feedback.silence_ns(self.sequence, self.rtt):
            self.feedback.on_silence(self.sequence, now_ns)
            self.controller.on_silence(now_ns, self.sequence)
            self.pacer.change_rate(self.controller.rate_bps, now_ns)
        if not self.pacer.may_send(now_ns):
            return 0
        if self.feedback.is_misled:
            return self.packet_count_max
        under_way = self.feedback.under_way(self.sequence)
        window = self.controller.window_count
        if window > 1:
            window += self._wait_count
        elif under_way >= window:
            self.feedback.note_full()
        return max(0, min(window, self.feedback.receiver_window_count()) - under_way)

    def ready_ns(self, now_ns: int) -> int:
        """When a session that may send nothing now may again, if nothing comes before."""
        if self.state is not SessionState.STREAMING:
            return NEVER_NS
        if self.carousel.has_work and not self.pacer.may_send(now_ns):
            return self.pacer.ready_ns
        return self.feedback.silence_ns(self.sequence, self.rtt)

    def handle_report(self, report: Report, now_ns: int) -> None:
        """Learn from an authentic report; one that comes late is ignored.

        A client that expects what was never sent was misled by a forged open packet: its needs are believed, its
        sequence number and times are not, and packets under way are settled by time alone.
        """
        if report.received_count < self.received_count:
            return
        self.received_count = report.received_count
        expected_sequence = report.expected_sequence if report.expected_sequence <= self.sequence else 0
        rtt_ns = 0
        if expected_sequence:
            rtt_us = echoed_rtt_us(report.echo_timestamp_us, report.hold_us, now_ns)
            if 0 <= rtt_us < 60_000_000:
                rtt_ns = max(1_000, rtt_us * 1000)
                self.rtt.sample(rtt_ns)
        resolved_before = self._resolved
        due_sequence = report.due_sequence if expected_sequence else 0
        self._resolve(due_sequence, now_ns)
        if expected_sequence:
            self._due, self._missing_count = due_sequence, report.missing_count
            if now_ns > self._controlled_ns:  # Of two reports taken in at once, the second tells of no time at all.
                self._controlled_ns = now_ns
                self._control(report, rtt_ns, now_ns)
        elif report.received_count:
            self.feedback.settle(self._resolved, now_ns)
        newly_expected = self._resolved - resolved_before
        if newly_expected > 0:
            came_count = due_sequence - report.missing_count if expected_sequence else report.received_count
            self.loss.sample(newly_expected, came_count - self._came_count)
            self._came_count = max(self._came_count, came_count)
        done = [run for run in report.done if run[0] + run[1] <= self._block_count]
        self.carousel.settle(
            done, report.needs, self._resolved, self.loss.fraction,
            has_manifest=report.has_manifest, open_limit=max(1, report.open_limit),
        )  # fmt: skip

    def _control(self, report: Report, rtt_ns: int, now_ns: int) -> None:
        """Let the controller learn, and go on at the rate that it says."""
        rate_bps = self.controller.rate_bps
        sample = self.feedback.on_report(report, self.sequence, rtt_ns, self.rtt, rate_bps, now_ns)
        self.controller.on_report(now_ns, sample)
        self.pacer.burst_count_min = _NEAR_BURST_COUNT if self.rtt.minimum_ns < _NEAR_RTT_NS else 1
        self.pacer.change_rate(self.controller.rate_bps, now_ns)
        # A near client may wait with its next report until as much has come: this does not stop the stream.
        wait_count = self.controller.rate_bps * REPORT_WAIT_NS // (8 * NS * self.packet_size)
        may_wait = is_near(self.rtt.smoothed_ns, self.rtt.minimum_ns)
        self._wait_count = min(REPORT_WAIT_COUNT, wait_count) if may_wait else 0

    def _resolve(self, due_sequence: int, now_ns: int) -> None:
        """Packets below `_resolved` have arrived or are lost: they were due at the client, or must have been."""
        self._resolved = max(self._resolved, due_sequence)
        old_ns = now_ns - self.rtt.upper_ns - _REORDER_NS
        while self._sends and (self._sends[0][0] <= self._resolved or self._sends[0][1] < old_ns):
            self._resolved = max(self._resolved, self._sends.popleft()[0])


class Tombstone(ControlChannel):
    """What is left of an ended session: its id stays taken, and whoever did not hear of the end is told again."""

    def __init__(self, session: ServerSession) -> None:
        super().__init__(session.session_id, outgoing=session._outgoing, incoming=session._incoming)
        self._replay = session._replay
        self._control_sequence = session._control_sequence
        self.address = session.address
        self.ended_ns = session.ended_ns
        self.bye_reason = session.bye_reason
