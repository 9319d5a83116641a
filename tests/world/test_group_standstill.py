"""A receiver that hears its group but gets nothing of it goes on alone, or says so; nobody waits without a word."""

from __future__ import annotations

import random

from fountain.limits import NS
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.receiver import LINGER_NS_MAX
from fountain.protocol.group.standstill import Standstill
from fountain.protocol.schedule.oneway import OnewayBudget
from fountain.protocol.session.client_events import Failure, FetchFailed, FetchHindered
from fountain.testing import Link
from fountain.wire.control import MAGIC
from fountain.wire.group import MemberState
from tests.world.groups import Stage
from tests.world.test_offers import is_offer, with_another_size

PORT = 6331  # of the group


class DeafToGroup(Link):
    """Drops data of the group, or, as a firewall, everything else as well that is not the group's."""

    def __init__(self, *, alone: bool = False) -> None:
        super().__init__()
        self.alone = alone
        self.is_mended = False

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        is_group = self.target[1] == PORT
        is_lost = datagram[:4] != MAGIC if is_group else self.alone
        return [] if is_lost and not self.is_mended else super().carry(datagram, now_ns, draw)


class Deceived(DeafToGroup):
    """Besides changes the announced size in the first two Offers of its server alone."""

    changed_count = 0

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        if self.target[1] != PORT and is_offer(datagram) and self.changed_count < 2:
            self.changed_count += 1
            datagram = with_another_size(datagram)
        return super().carry(datagram, now_ns, draw)


def begun(seed: int, count: int = 2, **options: object) -> Stage:
    stage = Stage(seed, rate_bps=2_000_000, **options)  # type: ignore[arg-type]
    for _ in range(count):
        stage.listen(gives_up=True)
    stage.begin(0.3)
    return stage


def test_a_receiver_that_no_longer_hears_the_data_fetches_the_rest_alone(seed: int) -> None:
    stage = begun(seed)
    stage.world.link("server", "listener 0", DeafToGroup())
    assert stage.run(30 * NS)
    assert stage.all_exact()
    deaf, other = (listener.feeds[0] for listener in stage.listeners)
    assert deaf.standstill is Standstill.DEAF
    assert other.fallback is None


def test_a_false_offer_takes_nothing_from_a_receiver_that_goes_on_alone(seed: int) -> None:
    stage = begun(seed)
    link = Deceived()
    stage.world.link("server", "listener 0", link)
    (deaf,) = stage.listeners[0].feeds
    assembly = deaf.fetch.assembly
    assert stage.run(30 * NS)
    assert stage.all_exact()
    assert link.changed_count == 2
    assert deaf.fallback is not None
    assert deaf.fetch.assembly is assembly


def test_a_receiver_that_can_fetch_nothing_alone_either_ends_soon(seed: int) -> None:
    stage = begun(seed)
    stage.world.link("server", "listener 0", DeafToGroup(alone=True))
    assert stage.run(21 * NS)
    deaf = stage.listeners[0]
    assert deaf.feeds[0].standstill is Standstill.DEAF
    assert [event.failure for event in deaf.events if isinstance(event, FetchFailed)] == [Failure.NOBODY]


def test_a_receiver_that_waits_takes_part_again_when_its_network_is_mended(seed: int) -> None:
    stage = Stage(seed, rate_bps=2_000_000)
    stage.listen(wait=True)
    stage.begin(0.3)
    link = DeafToGroup(alone=True)
    stage.world.link("server", "listener 0", link)
    assert not stage.run(60 * NS)
    (listener,) = stage.listeners
    assert {event.failure for event in listener.events if isinstance(event, FetchHindered)} == {Failure.NOBODY}
    link.is_mended = True
    assert stage.run(40 * NS)
    assert stage.all_exact()


def test_a_receiver_whose_reports_are_lost_fetches_alone(seed: int) -> None:
    stage = Stage(seed, rate_bps=2_000_000)

    class Mute(Link):
        def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
            is_report = datagram[:4] == MAGIC and datagram[5] == 18
            return [] if is_report else super().carry(datagram, now_ns, draw)

    stage.world.link("listener 0", "server", Mute())
    stage.listen(gives_up=True)
    assert stage.run(30 * NS)
    assert stage.all_exact()
    assert stage.listeners[0].feeds[0].standstill is Standstill.UNHEARD


def test_a_receiver_that_is_heard_while_the_group_waits_for_others_waits_as_well(seed: int) -> None:
    stage = Stage(seed, settings=GroupSettings(wait_count=2))
    stage.listen(gives_up=True)
    stage.wait(60 * NS)
    (feed,) = stage.listeners[0].feeds
    assert feed.fallback is None
    assert feed.machine.state is MemberState.RECEIVING
    stage.listen(gives_up=True)
    assert stage.run(30 * NS)
    assert stage.all_exact()


def test_a_deaf_receiver_of_a_one_way_stream_ends_with_the_reason(seed: int) -> None:
    stage = Stage(seed, rate_bps=200_000, settings=GroupSettings(wait_count=0, oneway=OnewayBudget(loss=0.05)))
    stage.listen(gives_up=True)
    assert stage.world.run(lambda: stage.listeners[0].received_count > 100, 20 * NS)
    stage.world.link("server", "listener 0", DeafToGroup())
    assert stage.run(15 * NS)
    (feed,) = stage.listeners[0].feeds
    assert feed.standstill is Standstill.DEAF
    assert feed.fetch.error is not None
    assert feed.fallback is None


def test_nobody_who_is_done_waits_for_ever_for_a_plan_that_lets_it_say_so(seed: int) -> None:
    stage = begun(seed, 1)
    (listener,) = stage.listeners
    assert stage.world.run(lambda: listener.is_done, 20 * NS)
    machine = listener.feeds[0].machine
    machine.change_state(MemberState.DONE, stage.world.now_ns)
    assert machine._plan is not None
    assert not machine.may_leave(stage.world.now_ns + LINGER_NS_MAX - 1)
    assert machine.may_leave(stage.world.now_ns + LINGER_NS_MAX)


def test_a_needy_other_holds_nobody_up_for_ever(seed: int) -> None:
    """Two passes of packets went by, and nothing of what is missing here was among them."""
    stage = begun(seed, 1)
    (listener,) = stage.listeners
    (feed,) = listener.feeds
    machine = feed.machine
    table = machine.blocks
    assert table is not None
    now_ns = stage.world.now_ns
    assert machine.standstill(10 * NS, now_ns) is None
    passes = 2 * stage.symbol_count + 64
    for step in range(1, 13):
        machine._watch.note_data(machine.inflow.counter.expected + passes * step // 12, now_ns + step * NS)
        machine._watch.note_echo(now_ns + step * NS)
    assert machine.standstill(10 * NS, now_ns + 12 * NS) is Standstill.PASSED_OVER
