"""One peer of a server: its keys, what it needs, how it fares. The server machine owns the sessions and the time."""

from __future__ import annotations

import enum

from fountain.integrity import SessionKeys, sealed_count_max
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import Address
from fountain.protocol.rate.api import Controller
from fountain.protocol.rate.estimate import LossEstimate, RttEstimate
from fountain.protocol.rate.sending import SendControl
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
        self.sending = SendControl(controller, served.wire_size(request.part_count), now_ns)
        self.lane = lane
        self.host = request.host
        self.peer_id = request.peer_id
        self.state = SessionState.STREAMING
        self.stop_reason: StopReason | None = None
        self.bye_reason: ByeReason | None = None
        self.started_ns = now_ns
        self.heard_ns = now_ns
        self.ended_ns = 0
        self._pinged_count = 0  # packets that had been received by then
        self.received_count = 0  # as the client reports it
        geometry = served.offer.geometry
        self.carousel = UnicastCarousel(
            geometry, served.offer.manifest_geometry, lane, request.done, request.open_limit,
            has_manifest=request.has_manifest,
        )  # fmt: skip
        # Whoever begins anew needs all symbols. What others hold in part nobody else can know, unless it is all.
        whole_count = geometry.symbol_count - served.zero_symbol_count + served.offer.manifest_geometry.symbol_count
        is_whole = self.carousel.done.count >= geometry.block_count
        self.needed_count = int(not is_whole) if request.has_manifest else whole_count

    @property
    def rtt(self) -> RttEstimate:
        """The round trip to its client."""
        return self.sending.rtt

    @property
    def loss(self) -> LossEstimate:
        """The loss on the way to its client, of late."""
        return self.sending.loss

    @property
    def lost_fraction(self) -> float:
        """Share of its packets that did not arrive, of all that the latest report could know of."""
        return self.sending.lost_fraction

    @property
    def sent_count(self) -> int:
        """Data packets that went out."""
        return self.sending.sequence

    @property
    def packet_count_max(self) -> int:
        """How many packets may go in all: an open one uses up no key."""
        if self.offer.open:
            return _SEQUENCE_LIMIT
        return sealed_count_max(self.offer.symbol_size + DATA_OVERHEAD_SIZE)

    @property
    def fraction(self) -> float:
        """Share of the object's blocks that the client has verified."""
        return 1.0 if self.stop_reason is StopReason.DONE else self.carousel.done_fraction

    def poll_ping(self, now_ns: int) -> bool:
        """Whether a Ping is due: the client waits for nothing, or of what is sent to it nothing more arrives."""
        has_arrived = self.received_count > self._pinged_count
        since_ns = max(self.pinged_ns, self.sending.sent_ns) if has_arrived else self.pinged_ns
        if now_ns - since_ns < PING_INTERVAL_NS:
            return False
        self.pinged_ns, self._pinged_count = now_ns, self.received_count
        return True

    def room_count(self, now_ns: int) -> int:
        """How many packets may go now, as far as pace, window, the receiver's buffer and what is proved allow."""
        room = self.sending.room(now_ns)
        return self.proof.limit(self.packet_count_max if room is None else room, self.sent_count)

    def ready_ns(self, now_ns: int) -> int:
        """When a session that may send nothing now may again, if nothing comes before."""
        if self.state is not SessionState.STREAMING:
            return NEVER_NS
        if self.carousel.has_work and not self.sending.pacer.may_send(now_ns):
            return self.sending.pacer.ready_ns
        return self.sending.silence_ns

    def handle_report(self, report: Report, now_ns: int) -> None:
        """Learn from an authentic report; a late one is ignored. Its needs are believed, whatever it counts."""
        if report.received_count < self.received_count:
            return
        self.received_count = report.received_count
        self.sending.on_report(report, now_ns)
        self.carousel.settle(
            report.done, report.needs, self.sending.resolved, self.loss.fraction,
            has_manifest=report.has_manifest, open_limit=max(1, report.open_limit),
        )  # fmt: skip


class Tombstone(ControlChannel):
    """What is left of an ended session: its id stays taken, and whoever did not hear of the end is told again."""

    def __init__(self, session: ServerSession) -> None:
        super().__init__(session.session_id, outgoing=session._outgoing, incoming=session._incoming)
        self._replay = session._replay
        self._control_sequence = session._control_sequence
        self.address = session.address
        self.ended_ns = session.ended_ns
        self.bye_reason = session.bye_reason
