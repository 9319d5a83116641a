"""One peer of a server: its keys, what it needs, how it fares. The server machine owns the sessions and the time."""

from __future__ import annotations

import enum
from dataclasses import dataclass

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
from fountain.protocol.session.pings import Pings
from fountain.protocol.session.report_spacing import ReportSpacing
from fountain.wire.control import OfferBody
from fountain.wire.group import SEQUENCE_LIMIT
from fountain.wire.session import ByeReason, Report, RequestBody, StopReason

__all__ = [
    "CLIENT_SILENT_NS",
    "GONE_NS",
    "ObjectRequest",
    "ServerSession",
    "SessionEnd",
    "SessionState",
    "Tombstone",
]

CLIENT_SILENT_NS = 2 * NS  # No report for so long: the stream pauses; Pings go on asking for an answer.
GONE_NS = 30 * NS  # RFC 7675 section 5.1: consent to send expires 30 s after the last authenticated answer.


class SessionState(enum.Enum):
    """Where a session is; it only ever moves down this list, but SILENT and STREAMING alternate."""

    STREAMING = "streaming"
    SILENT = "silent"
    ENDED = "ended"


@dataclass(frozen=True)
class ObjectRequest:
    """What a client asks for: an object, by its index among those that the server has, and what it holds of it."""

    object_index: int
    served: ServedObject
    body: RequestBody

    def needed_count(self, done_count: int) -> int:
        """How many packets it needs at least, with so many blocks done.

        A client that begins anew needs all symbols. What another one holds in part only it knows, unless it is all.
        """
        if self.body.has_manifest:
            return int(done_count < self.served.offer.geometry.block_count)
        return self.served.needed_count


@dataclass(frozen=True)
class SessionEnd:
    """Why and when a session ended: the reason of the client's Stop, or of the server's Bye."""

    reason: StopReason | ByeReason
    at_ns: int

    @property
    def is_done(self) -> bool:
        """Whether the client has the object, as it says."""
        return self.reason is StopReason.DONE


@dataclass(frozen=True)
class Tombstone:
    """What is left of an ended session: its id stays taken, and a client that missed the end is notified again."""

    channel: ControlChannel
    address: Address
    end: SessionEnd


class ServerSession:
    """State of one stream. `address` is where its data goes; `pings` prove that its client receives there."""

    def __init__(
        self, channel: ControlChannel, address: Address, asked: ObjectRequest, lane: Lane, controller: Controller,
        pings: Pings, now_ns: int,
    ) -> None:  # fmt: skip
        self.channel = channel
        self.address = address
        self.asked = asked
        self.lane = lane
        self.state = SessionState.STREAMING
        self.end: SessionEnd | None = None
        self.started_ns = now_ns
        self.heard_ns = now_ns
        self.received_count = 0  # as the client reports it
        self.pings = pings
        self.reports = ReportSpacing(now_ns)
        self.sending = SendControl(controller, asked.served.wire_size(self.part_count), now_ns)
        body = asked.body
        self.carousel = UnicastCarousel(
            self.offer.geometry, self.offer.manifest_geometry, lane, body.done, body.open_limit,
            has_manifest=body.has_manifest,
        )  # fmt: skip
        self.needed_count = asked.needed_count(self.carousel.done.count)

    @property
    def session_id(self) -> int:
        """Its 64-bit id."""
        return self.channel.session_id

    @property
    def keys(self) -> SessionKeys:
        """Of its data packets too."""
        return self.channel.keys

    @property
    def object_index(self) -> int:
        """Which of the server's objects it is of."""
        return self.asked.object_index

    @property
    def offer(self) -> OfferBody:
        """What was said of the object."""
        return self.asked.served.offer

    @property
    def part_count(self) -> int:
        """In how many parts each of its packets goes; 1: whole."""
        return self.asked.body.part_count

    @property
    def host(self) -> str:
        """What its client calls its host."""
        return self.asked.body.host

    @property
    def place(self) -> tuple[Address, str]:
        """Where its client is, and what that calls its host."""
        return self.address, self.host

    @property
    def peer_id(self) -> bytes:
        """The id of its client, which keeps it from session to session."""
        return self.asked.body.peer_id

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
            return SEQUENCE_LIMIT
        return sealed_count_max(self.offer.symbol_size + DATA_OVERHEAD_SIZE)

    @property
    def fraction(self) -> float:
        """Share of the object's blocks that the client has verified."""
        return 1.0 if self.end is not None and self.end.is_done else self.carousel.done_fraction

    def room_count(self, now_ns: int) -> int:
        """How many packets may go now, as far as pace, window, the receiver's buffer and what is proved allow."""
        room = self.sending.room(now_ns)
        return self.pings.proof.limit(self.packet_count_max if room is None else room, self.sent_count)

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
