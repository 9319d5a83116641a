"""A server's streams to a group: how they are set up, who receives them, and what is told of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fountain.config import FleetConfig
from fountain.engine.runtime.meter import RateMeter
from fountain.engine.runtime.standing import Standing
from fountain.engine.serving.air import AirPlan
from fountain.engine.serving.members import Members
from fountain.events import (
    OPEN_GROUP_WARNING,
    Event,
    GroupOpened,
    HookReported,
    Observer,
    OnewayProgress,
    PeerFinished,
    PeerGone,
    PeerJoined,
    PeerReason,
    Waiting,
    Warned,
)
from fountain.limits import NS
from fountain.net.address import text
from fountain.net.endpoint import Endpoint
from fountain.net.group import Group, parse_group
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.events import (
    MemberDone,
    MemberEvent,
    MemberFailed,
    MemberFellBack,
    MemberHookEnded,
    MemberJoined,
    MemberLeft,
    MemberReturned,
    MemberSilent,
)
from fountain.protocol.group.server import GroupServerMachine
from fountain.protocol.group.streams import GroupStreams
from fountain.protocol.rate.tfmcc import group_rate
from fountain.protocol.schedule.oneway import OnewayCarousel
from fountain.sentences import Notice, sentence
from fountain.storage.key import read_key
from fountain.wire.group import MemberState

__all__ = ["Fleet", "GroupPlace"]

TELL_INTERVAL_NS = NS
PROGRESS_INTERVAL_NS = NS // 5


@dataclass(frozen=True)
class GroupPlace:
    """Where a group is, and the key that all of it share."""

    group: Group
    key: bytes | None

    @classmethod
    def find(cls, config: FleetConfig) -> GroupPlace:
        """The group that is meant, on the interface that fits.

        Raises:
            UsageError: the address is not a group's, no single interface fits, or the key is none.
            StorageError, TransportError: the key cannot be read, or the interface not be used.
        """
        where = config.group
        group = parse_group(
            where.address, where.port, where.interface, config.ttl or 1, where.source, broadcast=where.is_broadcast
        )
        return cls(group, read_key(where.key_path) if where.key_path is not None else None)


class Fleet:
    """All receivers of a group, whatever object they take."""

    def __init__(
        self, config: FleetConfig, objects: Sequence[ServedObject], control: Endpoint, data: Endpoint, *,
        place: GroupPlace, secret: bytes, rate_bps: int, observer: Observer, now_ns: int,
    ) -> None:  # fmt: skip
        self._config = config
        self._observer = observer
        self._objects = list(objects)
        self._air = None if config.oneway is None else AirPlan(config.oneway, objects, rate_bps)
        settings = GroupSettings(
            config.wait_count or 1,
            config.wait_time_ns,
            config.min_rate_bps or 0,
            None if self._air is None else self._air.plan,
        )
        self._rate_bps = rate_bps
        self.group = place.group
        self._endpoints = (control, data)
        self._aim(self.group)
        self._standing = Standing(self.group, config.group.interface, observer, self._aim, now_ns=now_ns)
        self._is_keyed = place.key is not None
        self.streams = GroupStreams(
            objects, self.group.target, secret=secret, key=place.key,
            controller=lambda size: group_rate(config.control_name, size, rate_bps, now_ns),
            settings=settings, control_port=control.local_address[1], rate_bps=rate_bps, now_ns=now_ns,
        )  # fmt: skip
        self._machines = list(self.streams.machines.values())  # Their sessions may change; they stay.
        self.members = Members(self._machines, rate_bps)
        self._meter = RateMeter(now_ns)
        self._has_begun = False
        self._told_ns = now_ns - TELL_INTERVAL_NS
        self._progress_ns = now_ns
        self._meters = [RateMeter(now_ns) for _ in self._machines]

    # --- What is told --------------------------------------------------------------------------------------

    def announce(self) -> None:
        """Tell what goes to the group."""
        names = tuple(served.offer.name for served in self._objects)
        self._observer.handle(
            GroupOpened(
                group=self.group.address,
                interface=self.group.interface.name,
                port=self.group.port,
                names=names,
                is_keyed=self._is_keyed,
                is_oneway=self._config.oneway is not None,
                rate_bps=self._rate_bps,
            )
        )
        if not self._is_keyed:
            self._observer.handle(Warned(OPEN_GROUP_WARNING))
        if self._air is not None:
            for index in range(len(self._objects)):
                self._observer.handle(self._air.air_time(index))
            for index in range(len(self._objects)):
                if warning := self._air.warning(index):
                    self._observer.handle(Warned(warning))

    def tell(self, now_ns: int) -> bool:
        """Hand to the observer what happened, and now and then how it goes; whether anything happened."""
        has_happened = False
        while (event := self.streams.poll_event()) is not None:
            has_happened = True
            for told in _told(*event):
                self._observer.handle(told)
        if self._config.oneway is not None:
            self._end_oneway(now_ns)
            if now_ns >= self._progress_ns:
                self._progress_ns = now_ns + PROGRESS_INTERVAL_NS
                for machine, meter in zip(self._machines, self._meters):
                    self._observer.handle(self._oneway_progress(machine, meter, now_ns))
        else:
            self._tell_begin()
        if self._config.oneway is None and now_ns >= self._told_ns + TELL_INTERVAL_NS:
            self._told_ns = now_ns
            self._tell_waiting(now_ns)
        return has_happened

    def look(self, now_ns: int) -> None:
        """See to it that the group goes through its interface as that is now; while there is none, no data goes out."""
        self._standing.step(now_ns)
        self.streams.is_held = bool(self._standing.fault)

    def close(self) -> None:
        """Look after the interface no more."""
        self._standing.close()

    def rate_bps(self, now_ns: int) -> float:
        """What goes to the group, bits of packets per second."""
        self._meter.update(sum(machine.sequence * machine.packet_size for machine in self._machines), now_ns)
        return self._meter.rate_bps

    @property
    def is_busy(self) -> bool:
        """Whether anything is sent, or wanted by somebody who was heard lately."""
        return any(machine.is_busy and not machine.is_waiting for machine in self._machines)

    @property
    def is_over(self) -> bool:
        """Whether a one-way stream has ended."""
        return self._config.oneway is not None and all(machine.is_over for machine in self._machines)

    # --- Inside --------------------------------------------------------------------------------------------

    def _aim(self, group: Group) -> None:
        for endpoint in self._endpoints:
            endpoint.aim(group)

    def _tell_begin(self) -> None:
        """Once data goes out: whether that is without some that were waited for."""
        if self._has_begun or all(machine.is_waiting for machine in self._machines):
            return
        self._has_begun = True
        have_count = self.members.present_count
        want_count = self._config.wait_count or 1
        if have_count < want_count:
            message = sentence(Notice.STARTING_WITHOUT_ALL, have_count=have_count, want_count=want_count)
            self._observer.handle(Warned(message))

    def _tell_waiting(self, now_ns: int) -> None:
        for machine in self._machines:
            waited_for = machine.waited_for
            if waited_for is not None:
                limit_ns = self._config.wait_time_ns
                left_ns = None if limit_ns is None else max(0, limit_ns - (now_ns - machine.started_ns))
                left_s = None if left_ns is None else left_ns / NS
                self._observer.handle(Waiting(sentence(Notice.WAITING_FOR_RECEIVERS), *waited_for, left_s))
                return
        hooking_count = len(self.members.hooking)
        if hooking_count:
            what = sentence(Notice.WAITING_FOR_HOOKS, hosts=self.members.hooking_hosts)
            self._observer.handle(Waiting(what, 0, hooking_count, None))

    def _end_oneway(self, now_ns: int) -> None:
        oneway = self._config.oneway
        assert oneway is not None
        if oneway.duration_ns is not None and now_ns - self._machines[0].started_ns >= oneway.duration_ns:
            for machine in self._machines:
                assert isinstance(machine.carousel, OnewayCarousel)
                machine.carousel.end()

    def _oneway_progress(self, machine: GroupServerMachine, meter: RateMeter, now_ns: int) -> OnewayProgress:
        air, carousel = self._air, machine.carousel
        assert air is not None
        assert isinstance(carousel, OnewayCarousel)
        meter.update(machine.sequence * machine.packet_size, now_ns)
        return OnewayProgress(
            name=machine.stream.offer.name,
            pass_number=carousel.pass_number + carousel.has_work,
            pass_count=air.plan.pass_count,
            elapsed_s=(now_ns - machine.started_ns) / NS,
            planned_s=air.planned_s(machine.stream.object_index),
            rate_bps=meter.rate_bps,
        )


def _told(machine: GroupServerMachine, event: MemberEvent) -> list[Event]:
    """What is told of something that happened to a receiver."""
    member, name = event.member, machine.stream.offer.name
    session_id, address = member.peer_id.hex(), text(member.address)
    if isinstance(event, MemberJoined):
        return [PeerJoined(session_id, address, member.host, name, member.fraction, 0, 0)]
    if isinstance(event, MemberDone):
        seconds = (member.ended_ns - member.joined_ns) / NS
        sent_count = member.expected_sequence - max(0, member.first_sequence)
        return [PeerFinished(session_id, address, member.host, name, seconds, sent_count, member.total_loss)]
    if isinstance(event, MemberHookEnded):
        is_success = member.state is MemberState.HOOK_DONE
        return [HookReported(session_id, address, member.host, name, is_success)]
    if isinstance(event, MemberReturned):
        return []
    reason = {
        MemberFailed: PeerReason.FAILED,
        MemberLeft: PeerReason.INTERRUPTED,
        MemberSilent: PeerReason.SILENT,
        MemberFellBack: PeerReason.TOO_SLOW,
    }[type(event)]
    return [PeerGone(session_id, address, member.host, name, member.fraction, reason)]
