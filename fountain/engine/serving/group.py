"""A group that a server sends to: its interface, its streams, and what is reported of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.config import FleetConfig
from fountain.engine.runtime.meter import RateMeter
from fountain.engine.runtime.standing import Standing
from fountain.engine.serving.air import AirTimes
from fountain.engine.serving.audience import Audience
from fountain.events import GroupOpened, Observer, OnewayProgress, Waiting
from fountain.limits import NS
from fountain.net.endpoint import Endpoint
from fountain.net.group import Group, parse_group
from fountain.protocol.base.handshake import Identity
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.group.api import GroupSettings, GroupTarget
from fountain.protocol.group.server import GroupServerMachine
from fountain.protocol.group.streams import GroupStreams
from fountain.protocol.rate.tfmcc import group_rate
from fountain.sentences import Notice, sentence, warning
from fountain.storage.key import read_key

__all__ = ["GroupPlace", "ServedGroup"]

WAITING_INTERVAL_NS = NS
PROGRESS_INTERVAL_NS = NS // 5


@dataclass(frozen=True)
class GroupPlace:
    """A group as it is configured and where it is, the key that all of it share, and the server's own."""

    config: FleetConfig
    group: Group
    key: bytes | None
    identity: Ed25519PrivateKey | None

    @classmethod
    def find(cls, config: FleetConfig, identity: Identity | None) -> GroupPlace:
        """The group that is meant, on the interface that fits.

        Raises:
            UsageError: the address is not a group's, no single interface fits, or the key is none.
            StorageError, TransportError: the key cannot be read, or the interface not be used.
        """
        where = config.group
        group = parse_group(
            where.address, where.port, where.interface, config.ttl or 1, where.source, broadcast=where.is_broadcast
        )
        key = read_key(where.key_path) if where.key_path is not None else None
        return cls(config, group, key, None if identity is None else identity.private_key)


class ServedGroup:
    """The streams of `objects` to the group at `place`, which leave by the endpoints `control` and `data`."""

    def __init__(
        self, place: GroupPlace, objects: Sequence[ServedObject], control: Endpoint, data: Endpoint, *,
        secret: bytes, rate_bps: int, observer: Observer, now_ns: int,
    ) -> None:  # fmt: skip
        config = self._config = place.config
        self._observer = observer
        self._objects = list(objects)
        self._rate_bps = rate_bps
        self._air = None if config.oneway is None else AirTimes(config.oneway, objects, rate_bps)
        self._endpoints = (control, data)
        self._aim(place.group)
        self._standing = Standing(place.group, config.group.interface, observer, self._aim, now_ns=now_ns)
        budget = None if self._air is None else self._air.budget
        self.streams = GroupStreams(
            objects, GroupTarget(place.group.target, control.local_address[1], place.key, place.identity),
            GroupSettings(config.wait_count or 1, config.wait_time_ns, config.min_rate_bps or 0, budget), secret=secret,
            controller=lambda size: group_rate(config.control_name, size, rate_bps, now_ns),
            rate_bps=rate_bps, now_ns=now_ns,
        )  # fmt: skip
        self.machines = list(self.streams.machines.values())  # Their sessions may change; they stay.
        self._meters = [RateMeter(now_ns) for _ in self.machines]
        self._has_begun = False
        self._due_ns = now_ns  # when the next snapshot is

    # --- What is reported ----------------------------------------------------------------------------------

    def announce(self) -> None:
        """Report what goes to the group."""
        group = self._standing.group
        is_keyed = self._config.group.key_path is not None
        names = tuple(served.offer.name for served in self._objects)
        self._observer.handle(
            GroupOpened(
                group=group.address,
                interface=group.interface.name,
                port=group.port,
                names=names,
                is_keyed=is_keyed,
                is_oneway=self.is_oneway,
                rate_bps=self._rate_bps,
            )
        )
        if not is_keyed:
            self._observer.handle(warning(Notice.OPEN_GROUP))
        if self._air is not None:
            for index in range(len(self._objects)):
                self._observer.handle(self._air.air_time(index))
            for index in range(len(self._objects)):
                if (too_short := self._air.warning(index)) is not None:
                    self._observer.handle(too_short)

    def report(self, audience: Audience, now_ns: int) -> None:
        """Report how the streams go, when it is time to; `audience` are those who receive them."""
        if self.is_oneway:
            self._end_oneway(now_ns)
        else:
            self._report_begin(audience)
        if now_ns < self._due_ns:
            return
        if self.is_oneway:
            self._due_ns = now_ns + PROGRESS_INTERVAL_NS
            for machine, meter in zip(self.machines, self._meters):
                self._observer.handle(self._oneway_progress(machine, meter, now_ns))
        else:
            self._due_ns = now_ns + WAITING_INTERVAL_NS
            self._report_waiting(audience, now_ns)

    def look(self, now_ns: int) -> None:
        """See to it that the group goes through its interface as that is now; while there is none, no data goes out."""
        self._standing.step(now_ns)
        self.streams.is_held = bool(self._standing.fault)

    def close(self) -> None:
        """Look after the interface no more."""
        self._standing.close()

    @property
    def is_oneway(self) -> bool:
        """Whether nothing comes back."""
        return self._config.oneway is not None

    @property
    def is_busy(self) -> bool:
        """Whether anything is sent, or wanted by somebody who was heard lately."""
        return any(machine.is_busy and not machine.is_waiting for machine in self.machines)

    @property
    def is_over(self) -> bool:
        """Whether a one-way stream has ended."""
        return self.is_oneway and all(machine.is_over for machine in self.machines)

    # --- Inside --------------------------------------------------------------------------------------------

    def _aim(self, group: Group) -> None:
        for endpoint in self._endpoints:
            endpoint.aim(group)

    def _report_begin(self, audience: Audience) -> None:
        """Once data goes out: whether that is without some that were waited for. A stream may end before it begins."""
        if self._has_begun or all(machine.is_waiting or machine.is_closed for machine in self.machines):
            return
        self._has_begun = True
        have_count = audience.present_count
        want_count = self._config.wait_count or 1
        if have_count < want_count:
            late = warning(Notice.STARTING_WITHOUT_ALL, have_count=have_count, want_count=want_count)
            self._observer.handle(late)

    def _report_waiting(self, audience: Audience, now_ns: int) -> None:
        for machine in self.machines:
            waited_for = machine.waited_for
            if waited_for is not None:
                limit_ns = self._config.wait_time_ns
                left_ns = None if limit_ns is None else max(0, limit_ns - (now_ns - machine.started_ns))
                left_s = None if left_ns is None else left_ns / NS
                self._observer.handle(Waiting(sentence(Notice.WAITING_FOR_RECEIVERS), *waited_for, left_s))
                return
        hooking_count = len(audience.hooking)
        if hooking_count:
            what = sentence(Notice.WAITING_FOR_HOOKS, hosts=audience.hooking_hosts)
            self._observer.handle(Waiting(what, 0, hooking_count, None))

    def _end_oneway(self, now_ns: int) -> None:
        oneway = self._config.oneway
        assert oneway is not None
        if oneway.duration_ns is not None and now_ns - self.machines[0].started_ns >= oneway.duration_ns:
            for machine in self.machines:
                assert machine.oneway is not None
                machine.oneway.end()

    def _oneway_progress(self, machine: GroupServerMachine, meter: RateMeter, now_ns: int) -> OnewayProgress:
        air, carousel = self._air, machine.oneway
        assert air is not None
        assert carousel is not None
        meter.update(machine.sequence * machine.packet_size, now_ns)
        return OnewayProgress(
            name=machine.stream.offer.name,
            pass_number=carousel.cycle_number + carousel.has_work,
            pass_count=air.budget.cycle_count,
            elapsed_s=(now_ns - machine.started_ns) / NS,
            planned_s=air.planned_s(machine.stream.object_index),
            rate_bps=meter.rate_bps,
        )
