"""One sender, one bottleneck and a group of receivers behind it, each with a link of its own, in virtual time."""

from __future__ import annotations

from functools import partial

from fountain.limits import NS
from fountain.protocol.group.member import MEMBER_REPORT_SPACING_NS
from fountain.protocol.rate.loss_events import LossEvents
from fountain.protocol.rate.pacing import Pacer
from fountain.protocol.rate.tfmcc import TfmccRate
from fountain.testing import Link, World

MS = NS // 1000
MBIT = 1_000_000
SIZE = 1452
PACKET = bytes(SIZE)
WINDOW_ROUNDS = 6


class Receiver:
    """One receiver behind the bottleneck and a link of its own."""

    def __init__(self, group: Group, name: bytes, link: Link) -> None:
        self.group, self.name, self.link = group, name, link
        self.events = LossEvents(SIZE)
        self.arrived_count = 0
        self.is_here = True
        self._sent_ns = self._arrived_ns = -1
        self._reported_ns = 0
        group.world.at(0, self._take_turn)

    def take(self, sequences: list[int], sent_ns: int) -> None:
        now_ns = self._arrived_ns = self.group.world.now_ns
        self.arrived_count += len(sequences)
        self._sent_ns = sent_ns
        is_first = self.events.received_count == 0
        began = self.events.on_packets(sequences, now_ns, now_ns - sent_ns)
        is_clr = self.group.rate.clr == self.name
        waited_ns = now_ns - self._reported_ns
        if is_first or began or (is_clr and waited_ns >= max(MEMBER_REPORT_SPACING_NS, self.events.rtt_ns)):
            self._report()

    def _take_turn(self) -> None:
        """Once in each feedback window, at random: whoever allows less than the others says so."""
        group, now_ns = self.group, self.group.world.now_ns
        if self._arrived_ns >= 0 and self.events.allowed_bps(now_ns) < group.rate.suppress_rate_bps:
            self._report()
        window_ns = WINDOW_ROUNDS * max(MEMBER_REPORT_SPACING_NS, group.rate.group_rtt_ns)
        group.world.at(int(window_ns * group.world.draw.uniform(0.5, 1.5)), self._take_turn)

    def _report(self) -> None:
        if not self.is_here:
            return
        now_ns = self._reported_ns = self.group.world.now_ns
        hold_ns = now_ns - self._arrived_ns
        figures = (self.events.event_rate, self.events.receive_rate_bps(now_ns), self.events.has_lost)
        self.group.world.at(self.link.delay_ns, partial(self._deliver, self._sent_ns + hold_ns, *figures))

    def _deliver(self, echo_ns: int, event_rate: float, receive_rate_bps: int, has_lost: bool) -> None:
        group, now_ns = self.group, self.group.world.now_ns
        group.rate.on_report(
            now_ns, self.name, rtt_ns=now_ns - echo_ns, event_rate=event_rate, receive_rate_bps=receive_rate_bps,
            has_lost=has_lost,
        )  # fmt: skip
        group.pacer.change_rate(group.rate.rate_bps, now_ns)
        group.wake()
        group.world.at(self.link.delay_ns, partial(self.events.set_rtt, group.rate.rtt_ns(self.name)))


class Group:
    """A sender whose packets cross one bottleneck and reach each receiver over a link of its own."""

    def __init__(self, world: World, bottleneck: Link, links: list[Link], cap_bps: int = 1_000 * MBIT) -> None:
        self.world, self.bottleneck = world, bottleneck
        self.rate = TfmccRate(SIZE, cap_bps, world.now_ns)
        self.cap_bps = cap_bps
        self.pacer = Pacer(self.rate.rate_bps, world.now_ns)
        self.sent_count = 0
        self.receivers = [Receiver(self, b"receiver %d" % index, link) for index, link in enumerate(links)]
        world.at(0, self._send)
        world.at(0, self._watch)

    def wake(self) -> None:
        self.world.at(max(0, self.pacer.ready_ns - self.world.now_ns), self._send)

    def _send(self) -> None:
        if not self.pacer.may_send(self.world.now_ns):
            return
        assert self.pacer.rate_bps <= self.cap_bps
        count = self.pacer.train_packet_count(SIZE, 44)
        arrivals: dict[int, list[int]] = {}
        for sequence in range(self.sent_count, self.sent_count + count):
            for at_ns, _ in self.bottleneck.carry(PACKET, self.world.now_ns, self.world.draw):
                arrivals.setdefault(at_ns, []).append(sequence)
        for at_ns, sequences in arrivals.items():
            self.world.at(at_ns - self.world.now_ns, partial(self._branch, sequences, self.world.now_ns))
        self.sent_count += count
        self.pacer.charge(count * SIZE)
        self.wake()

    def _branch(self, sequences: list[int], sent_ns: int) -> None:
        world = self.world
        for receiver in self.receivers:
            arrivals: dict[int, list[int]] = {}
            for sequence in sequences:
                for at_ns, _ in receiver.link.carry(PACKET, world.now_ns, world.draw):
                    arrivals.setdefault(at_ns, []).append(sequence)
            for at_ns, arrived in arrivals.items():
                world.at(at_ns - world.now_ns, partial(receiver.take, arrived, sent_ns))

    def _watch(self) -> None:
        if self.rate.next_timeout() <= self.world.now_ns:
            self.rate.on_timeout(self.world.now_ns)
            self.pacer.change_rate(self.rate.rate_bps, self.world.now_ns)
        self.world.at(5 * MS, self._watch)

    def run(self, time_ns: int) -> float:
        """Let time pass; what was sent meanwhile, in bits per second."""
        before = self.sent_count
        self.world.run(lambda: False, time_ns)
        return (self.sent_count - before) * SIZE * 8 * NS / time_ns

    def leave(self, place: int) -> None:
        receiver = self.receivers[place]
        receiver.is_here = False
        self.rate.on_leave(receiver.name, self.world.now_ns)


def bottleneck(rate_bps: int, rtt_ms: int, *, bdp: float = 1.0, loss: float = 0.0) -> Link:
    """Half of the round trip without a queue; the other half is the receivers' own."""
    size = max(4 * SIZE, int(bdp * rate_bps * rtt_ms / 8000))
    return Link(loss=loss, delay_ns=rtt_ms * MS // 2, rate_bps=rate_bps, queue_size=size)


def tails(count: int, rtt_ms: int = 40, **options: float) -> list[Link]:
    return [Link(delay_ns=rtt_ms * MS // 4, **options) for _ in range(count)]  # type: ignore[arg-type]
