"""The server's side of a stream to a group, without sockets, clocks or files.

Methods as in `fountain.protocol.session.server`: `handle_*`, plain verbs, `poll_*`, properties. One machine for each
object.

The rules
---------
1. Announces tell the group what is sent and how, again and again; receivers need no other address than the group's.
   Data waits for as many receivers as were asked for, or until the time for that is over.
2. Plans follow each other closely while anything goes on. They say what will be sent, so that nobody asks for it; which
   receivers may report, and how often (`Poll`); whose end the server has heard of; which receivers should leave.
3. A report adds what its receiver lacks beyond all that is planned or in flight (`GroupCarousel`).
4. A receiver that cannot keep `min_rate_bps` is asked to leave; its needs count no more. The same goes for a receiver
   that alone, at its address alone, holds all others back (`GroupRate.blames`), that goes on asking for what it must
   have (`Deficits.greedy`), or to which no data comes for long. Until then nobody waits for a receiver to which nothing
   comes (`Member.is_deaf`). A receiver that does not report for long is silent. Nobody waits for it; it may come back,
   and what it missed meanwhile says nothing of its way.
5. Of new receivers, of reports, and of what is owed, each address has a share (`Parties`, `AddressTurns`).
6. What a receiver says must follow from what it said before (`follows`) and from what was sent (`lacking_count`).
7. A one-way stream hears nothing, sends nothing but Announces and data, and ends when `OnewayCarousel` does.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping
from dataclasses import replace

from fountain.integrity import derive, sealed_count_max
from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import Address, BlockSymbols, StreamOrder, train_packet_count_max
from fountain.protocol.base.transmit import Transmit
from fountain.protocol.group.announcer import Announcer, GroupStream
from fountain.protocol.group.api import GroupSettings, GroupTarget
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.events import MemberEvent
from fountain.protocol.group.member import Member
from fountain.protocol.group.membership import Membership
from fountain.protocol.rate.pacing import SteadyPacer
from fountain.protocol.rate.tfmcc import GroupRate
from fountain.protocol.schedule.api import GroupSchedule, always
from fountain.protocol.schedule.group import GroupCarousel
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.schedule.oneway import CYCLE_MIN_NS, OnewayCarousel
from fountain.wire.group import SEQUENCE_LIMIT, AnnounceFlag, GroupHeader, GroupPacketType, GroupReport
from fountain.wire.reject import Reject, RejectCounter

__all__ = ["GroupServerMachine"]


class _Channels:
    """The keys of one session after another: each session seals as much as its key may, and has keys of its own."""

    def __init__(self, secret: bytes, object_index: int, key: bytes | None) -> None:
        self._secret, self._object_index, self._key = secret, object_index, key
        self._count = 0

    def next(self) -> GroupChannel:
        """The channel of the next session."""
        session_id = derive(self._secret, b"group session %d" % self._count, self._object_index)[:8]
        self._count += 1
        return GroupChannel(int.from_bytes(session_id, "big"), self._key)


class _Phase(enum.Enum):
    """What a stream does; it only ever moves down this list."""

    WAITING = enum.auto()  # Data waits for receivers.
    SENDING = enum.auto()
    CLOSED = enum.auto()
    CHANGED = enum.auto()  # as CLOSED, because the file changed


class GroupServerMachine:
    """One object's stream to the group at `target`. `cap_bps` is what Announces say that it sends at most.

    A stream has a `membership`, or it is `oneway` and has none.
    """

    def __init__(
        self, target: GroupTarget, served: ServedObject, object_index: int, settings: GroupSettings,
        *, secret: bytes, controller: GroupRate, now_ns: int, cap_bps: int = 0,
    ) -> None:  # fmt: skip
        offer = replace(served.offer, open=target.key is None)
        self._channels = _Channels(secret, object_index, target.key)
        channel = self._channels.next()
        self.stream = GroupStream(channel.session_id, object_index, target.address, offer, channel)
        self.controller = controller
        self._cap_bps = cap_bps or controller.rate_bps
        self.settings = settings
        self.rejects = RejectCounter()
        self.sequence = 0
        self.packet_size = served.packet_size
        self.pacer = SteadyPacer(controller.rate_bps, now_ns)
        self.started_ns = now_ns
        self._phase = _Phase.SENDING if settings.oneway is not None else _Phase.WAITING
        seed = int.from_bytes(derive(secret, b"group jitter", object_index)[:4], "big")
        self.announcer = Announcer(
            self.stream, target.control_port, settings.min_rate_bps, seed, now_ns, target.identity
        )
        lane = Lane(int.from_bytes(derive(secret, b"group lane", object_index)[:4], "big"), served.systematic)
        self.oneway: OnewayCarousel | None = None
        self.membership: Membership | None = None
        if settings.oneway is not None:
            self.oneway = OnewayCarousel(offer.geometry, offer.manifest_geometry, lane, settings.oneway)
            self.pacer.change_rate(self._oneway_rate_bps(self.oneway.cycle_packet_count), now_ns)
        else:
            self.membership = Membership(
                served, self.stream.rtt, GroupCarousel(offer.geometry, offer.manifest_geometry, lane, whole=False),
                controller, self.pacer, self.announcer, min_rate_bps=settings.min_rate_bps, now_ns=now_ns,
            )  # fmt: skip

    @property
    def carousel(self) -> GroupSchedule:
        """What is sent next."""
        if self.membership is not None:
            return self.membership.carousel
        assert self.oneway is not None
        return self.oneway

    @property
    def members(self) -> Mapping[bytes, Member]:
        """All receivers that have reported."""
        return {} if self.membership is None else self.membership.members

    @property
    def is_waiting(self) -> bool:
        """Whether data waits for receivers."""
        return self._phase is _Phase.WAITING

    @property
    def is_closed(self) -> bool:
        """Whether the stream has ended."""
        return self._phase in (_Phase.CLOSED, _Phase.CHANGED)

    # --- What the world did --------------------------------------------------------------------------------

    def handle_datagram(self, data: bytes, header: GroupHeader, address: Address, now_ns: int) -> None:
        """A packet of this session arrived, whose header was parsed. What is not a report of it is counted."""
        body = self.stream.keys.unwrap(header, data)
        record = body if isinstance(body, Reject) else GroupReport.parse(body)
        if header.packet_type is not GroupPacketType.REPORT:
            record = Reject.BAD_TYPE
        if isinstance(record, Reject):
            self.rejects.add(record)
        elif self.membership is None:
            self.rejects.add(Reject.OUT_OF_PLACE)
        elif reject := self.membership.handle_report(record, header.sequence, address, self.sequence, now_ns):
            self.rejects.add(reject)

    def handle_timeout(self, now_ns: int) -> None:
        """Let time pass: Announces and Plans, the end of waiting, receivers that fall silent."""
        if self.is_closed:
            return
        self._wait(now_ns)
        if self.is_over:
            self.close(now_ns)  # What will not be sent again is not announced either.
        elif now_ns >= self.announcer.announce_ns:
            self._announce(now_ns)
        if self.membership is None:
            return
        # While it waits it answers for the rate that it may have: congestion control has nothing to go by yet.
        rate_bps = self._cap_bps if self.is_waiting else self.controller.rate_bps
        is_flowing = self.carousel.has_work and not self.is_waiting
        if self.membership.handle_timeout(rate_bps, now_ns, is_idle=not is_flowing):
            is_flowing = self.carousel.has_work and not self.is_waiting
            self.membership.send_plan(self.sequence, now_ns, is_flowing=is_flowing, is_going_on=self.is_busy)
        self.membership.expect_receivers()

    # --- What the application asks -------------------------------------------------------------------------

    def close(self, now_ns: int, *, has_changed: bool = False) -> None:
        """Announce that the server leaves, and whether because its file changed."""
        if not self.is_closed:
            self._phase = _Phase.CHANGED if has_changed else _Phase.CLOSED
            for _ in range(2):  # One may be lost; without it receivers wait for a silence.
                self._announce(now_ns)

    # --- What must go out ----------------------------------------------------------------------------------

    def poll_datagram(self) -> Transmit[Address] | None:
        """A control packet for the group."""
        return self.announcer.datagrams.popleft() if self.announcer.datagrams else None

    def poll_event(self) -> MemberEvent | None:
        """What the application should know."""
        return self.membership.events.popleft() if self.membership is not None and self.membership.events else None

    def poll_preparation(self) -> BlockSymbols | None:
        """As in `Schedule`."""
        return self.carousel.poll_preparation()

    def poll_order(self, now_ns: int, is_ready: Callable[[int, int], bool] = always) -> StreamOrder | None:
        """Data packets to send now, as in `GroupStreams`; None while the pacer holds, or nothing is wanted."""
        if self.is_waiting or self.is_closed:
            self.pacer.idle(now_ns)
            return None
        if not self.pacer.may_send(now_ns):
            return None
        limit = train_packet_count_max(self.stream.offer.symbol_size)
        if self.sequence + limit > self._packet_count_max:
            self._renew(now_ns)
        limit = self.pacer.train_packet_count(self.packet_size, limit)
        if self.carousel.poll_announce():
            self._announce(now_ns)
            return None  # It goes before what follows.
        limit = min(limit, self.carousel.announce_left_count)
        blocks = self.carousel.take(limit, self.sequence, functools.partial(is_ready, self.stream.session_id))
        if not blocks:
            self.pacer.idle(now_ns)
            return None
        order = StreamOrder(self.stream, self.sequence, now_ns // 1000 & 0xFFFF_FFFF, blocks)
        self.sequence += order.packet_count
        if self.membership is not None:
            self.membership.note_sent(self.sequence, now_ns)
        self.pacer.charge(order.packet_count * self.packet_size)
        return order

    def next_timeout(self, now_ns: int) -> int:
        """When to come back at the latest."""
        return max(now_ns, min(self.control_due_ns(now_ns), self.ready_ns))

    def control_due_ns(self, now_ns: int) -> int:
        """When to come back at the latest for all but data packets."""
        if self.is_closed:
            return now_ns + NS
        due_ns = self.announcer.announce_ns
        return due_ns if self.membership is None else min(due_ns, self.membership.due_ns(now_ns))

    @property
    def ready_ns(self) -> int:
        """When the next data packets may go."""
        has_data = self.carousel.has_work and not (self.is_waiting or self.is_closed)
        return self.pacer.ready_ns if has_data else NEVER_NS

    @property
    def is_over(self) -> bool:
        """Whether a one-way stream has sent all that it was to send."""
        return self.oneway is not None and not self.oneway.has_work

    @property
    def is_busy(self) -> bool:
        """Whether data goes out, or a receiver that was heard lately still lacks something."""
        has_active = self.membership is not None and self.membership.active.total > 0
        return not self.is_closed and (self.carousel.has_work or has_active)

    def has_heard_all(self, now_ns: int) -> bool:
        """As in `Membership`; also where nobody is heard any more, or ever was to be."""
        return self.is_closed or self.membership is None or self.membership.has_heard_all(now_ns)

    @property
    def waited_for(self) -> tuple[int, int] | None:
        """(Receivers that are there, receivers that data waits for); None when it does not wait."""
        if self.membership is None or not self.is_waiting:
            return None
        return self.membership.present_count, self.settings.wait_count

    # --- Time ----------------------------------------------------------------------------------------------

    def _wait(self, now_ns: int) -> None:
        if self.membership is None or not self.is_waiting:
            return
        settings = self.settings
        is_late = settings.wait_time_ns is not None and now_ns - self.started_ns >= settings.wait_time_ns
        if self.membership.present_count >= settings.wait_count or is_late:
            self._phase = _Phase.SENDING
            self.membership.begin(now_ns)

    @property
    def _packet_count_max(self) -> int:
        """Packets that one session may have."""
        offer = self.stream.offer
        return SEQUENCE_LIMIT if offer.open else sealed_count_max(offer.symbol_size + DATA_OVERHEAD_SIZE)

    def _oneway_rate_bps(self, packet_count: int) -> int:
        """So slow that a cycle of so many packets takes CYCLE_MIN_NS; the rate allowed for all but small objects."""
        longest_bps = packet_count * self.packet_size * 8 * NS // CYCLE_MIN_NS
        return max(1, min(self.controller.rate_bps, longest_bps))

    def _renew(self, now_ns: int) -> None:
        """The key has sealed as much as it may: go on in another session, which has keys of its own."""
        self._announce(now_ns, is_final=True)
        channel = self._channels.next()
        self.stream = replace(self.stream, session_id=channel.session_id, keys=channel)
        self.sequence = 0
        self.announcer.renew(self.stream, now_ns)
        if self.membership is not None:
            self.membership.lose_track()

    def _announce(self, now_ns: int, *, is_final: bool = False) -> None:
        flags = AnnounceFlag(0)
        for flag, is_set in (
            (AnnounceFlag.ONEWAY, self.oneway is not None),
            (AnnounceFlag.WAITING, self.is_waiting),
            (AnnounceFlag.FINAL, self.is_closed or is_final),
            (AnnounceFlag.CHANGED, self._phase is _Phase.CHANGED),
        ):
            flags |= flag if is_set else 0
        self.announcer.announce(
            flags, self.controller.rate_bps, self._cap_bps, self.sequence, self.carousel.cycle_overhead, now_ns
        )
