"""Receivers of a group that stay: several objects apart at once, what strangers send, and what is reported to whom."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from fountain.engine.receiving import idle_members
from fountain.engine.receiving.assembly import Assembly
from fountain.engine.receiving.group_feed import GroupFeed
from fountain.engine.receiving.group_receiver import OBJECT_COUNT_MAX
from fountain.engine.receiving.kept import EARLY_SIZE_MAX, ENTRY_SIZE
from fountain.engine.receiving.object_fetch import Phase
from fountain.errors import FountainError
from fountain.integrity import digest
from fountain.limits import LISTENER_MEMORY_SIZE_MAX, NS
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.receiver import GroupReceiverMachine
from fountain.protocol.group.server import GroupServerMachine
from fountain.protocol.session.client_events import FetchFailed
from fountain.testing import GROUP, Link, Listener, payload
from fountain.wire.control import OfferBody
from fountain.wire.group import MemberState
from tests.world.groups import MS, Stage

RUNS = pytest.mark.parametrize("run", range(2))  # The seed depends on it.


def several(stage: Stage, seed: int, count: int, size: int) -> None:
    """Let the stage's server have so many objects in the place of its one."""
    sources = [stage.world.source(payload(size, seed + at), name=f"object {at}") for at in range(count)]
    stage.world.kill(stage.server)
    stage.server = stage.world.serve(*sources, rate_bps=stage.rate_bps, group=stage.options)


def slow_stage(seed: int, count: int) -> tuple[Stage, Listener]:
    """A server of `count` objects, and a listener that it asks to leave the group for each of them."""
    stage = Stage(seed, settings=GroupSettings(min_rate_bps=1_400_000), rate_bps=2_000_000)
    several(stage, seed, count, 200_000)
    stage.path("listener 0", loss=0.5, delay_ns=3 * MS, back=Link(delay_ns=3 * MS))
    slow = stage.listen(once=False)
    stage.listen(once=False)
    return stage, slow


@pytest.mark.parametrize(
    ("count", "run"),
    [(2, 0), *(pytest.param(*case, marks=pytest.mark.slow) for case in ((2, 1), (3, 0), (3, 1)))],
)
def test_several_objects_that_are_fetched_by_unicast_at_once_do_not_eat_each_others_packets(
    count: int, run: int, seed: int
) -> None:
    stage, slow = slow_stage(seed, count)
    assert stage.world.run(lambda: len(slow.feeds) == count and stage.all_ended(), 100 * NS)
    assert [feed.fetch.succeeded for feed in slow.feeds] == [True] * count
    apart = [feed.fallback for feed in slow.feeds if feed.fallback is not None]
    assert len(apart) >= 2
    assert not [event for event in slow.events if isinstance(event, FetchFailed)]


def test_a_hook_of_a_receiver_that_fell_back_is_reported(seed: int) -> None:
    stage, slow = slow_stage(seed, 1)
    slow.hook_ns, slow.hook_state = 3 * NS, MemberState.HOOK_FAILED
    assert stage.world.run(lambda: slow.is_done, 100 * NS)
    assert slow.feeds[0].fallback is not None
    stage.wait(NS)
    assert stage.member(slow).state is MemberState.HOOKING
    stage.wait(4 * NS)
    assert stage.member(slow).state is MemberState.HOOK_FAILED


def test_nothing_that_comes_for_the_answer_endpoint_stays_there(seed: int) -> None:
    stage = Stage(seed)
    listener = stage.listen()
    stage.begin(0.1)
    for _ in range(40):
        stage.world.deliver(b"x", ("stranger", 1), listener.answer.local_address)
    listener.answer.refuse(("server", 6330))
    assert stage.run()
    assert not listener.answer.pending
    assert not listener.answer.refused


def test_what_the_system_threw_away_before_a_session_is_no_loss_of_it(seed: int) -> None:
    stage = Stage(seed)
    listener = stage.listen()
    listener.endpoint.statistics.kernel_drops = 5
    assert stage.world.run(lambda: listener.is_done)
    assert listener.feeds[0].machine.measurements.losses.event_rate == 0.0
    assert listener.feeds[0].fetch.counters.kernel_drop_count == 0


@pytest.mark.parametrize("octets", [b"\x1d" * 44, b"\x1c" * 1400, b"x"], ids=["short", "other", "octet"])
def test_nothing_is_kept_for_later_that_can_be_no_data_packet(octets: bytes, seed: int) -> None:
    stage = Stage(seed)
    listener = stage.listen()
    for _ in range(100):
        stage.world.deliver(octets, ("stranger", 1), ("listener 0", GROUP[1]))
    stage.wait(MS)
    assert listener.receiver.early.size == 0
    assert listener.receiver.rejects.total == 100


def test_packets_that_wait_for_their_announce_cost_no_more_than_the_bound(seed: int) -> None:
    stage = Stage(seed)
    listener = stage.listen()
    for session in range(EARLY_SIZE_MAX // ENTRY_SIZE + 100):
        packet = b"\x1d" + bytes(3) + session.to_bytes(8, "big") + bytes(33)
        stage.world.deliver(packet, ("stranger", 1), ("listener 0", GROUP[1]))
        if session % 50 == 0:
            stage.wait(MS)
    stage.wait(MS)
    assert 0 < listener.receiver.early.size <= EARLY_SIZE_MAX
    assert stage.run()
    assert stage.all_exact()


# --- What is reported to whom -------------------------------------------------------------------------------


def knows(machine: GroupServerMachine, listener: Listener) -> MemberState | None:
    """What the server of a stream takes a listener's state to be; None where it never heard of it."""
    member = machine.members.get(digest(listener.name.encode())[:8])
    return None if member is None else member.state


@RUNS
@pytest.mark.parametrize("is_new", [False, True], ids=["same listener", "listener started again"])
def test_a_server_that_is_started_again_learns_who_has_its_object(is_new: bool, run: int, seed: int) -> None:
    stage = Stage(seed, size=20_000)
    stage.path("listener 0", loss=0.2)
    listener = stage.listen(once=False)
    assert stage.run()
    stage.world.kill(stage.server)
    if is_new:
        stage.world.kill(listener)
        listener = stage.world.listen(name=listener.name, once=False, sinks=listener.sinks.values())
    stage.restart_server()
    assert stage.world.run(lambda: knows(stage.machine, listener) is MemberState.DONE, 10 * NS)
    stage.wait(5 * NS)
    assert stage.machine.sequence == 0
    assert not stage.machine.is_busy
    assert not listener.receiver.idle  # Its server has acknowledged it, and it says no more.


@RUNS
def test_an_object_that_waits_for_room_is_known_to_its_server_and_comes_when_there_is_room(run: int, seed: int) -> None:
    count = OBJECT_COUNT_MAX + 2
    stage = Stage(seed, rate_bps=10_000_000)
    several(stage, seed, count, 60_000)
    listener = stage.listen(once=False)
    machines = stage.server.groups.machines.values()
    assert stage.world.run(lambda: all(knows(machine, listener) is not None for machine in machines), 3 * NS)
    states = [knows(machine, listener) for machine in machines]
    assert states.count(MemberState.JOINING) >= 2
    assert len(listener.feeds) <= OBJECT_COUNT_MAX
    assert stage.world.run(lambda: len(listener.results) == count, 60 * NS)
    assert stage.world.run(lambda: all(knows(machine, listener) is MemberState.DONE for machine in machines), 5 * NS)


def test_a_listener_that_stops_says_so_of_what_waits_for_room(seed: int) -> None:
    stage = Stage(seed)
    several(stage, seed, OBJECT_COUNT_MAX + 1, 60_000)
    listener = stage.listen(once=False)
    machines = stage.server.groups.machines.values()
    assert stage.world.run(lambda: all(knows(machine, listener) is not None for machine in machines), 3 * NS)
    listener.stop(stage.world.now_ns)
    stage.wait(10 * MS)
    assert {knows(machine, listener) for machine in machines} == {MemberState.LEFT}


def test_no_more_streams_are_stood_by_than_the_bound(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle_members, "IDLE_MEMBER_COUNT_MAX", 8)
    stage = Stage(seed, size=2_000, rate_bps=50_000_000)
    several(stage, seed, 8 + OBJECT_COUNT_MAX + 8, 2_000)
    listener = stage.listen(once=False)
    listener.hook_ns = 600 * NS  # Nothing makes room.
    stage.wait(5 * NS)
    assert len(listener.receiver.idle) == 8


@RUNS
def test_what_fell_silent_is_taken_again_when_the_same_server_speaks_again(run: int, seed: int) -> None:
    stage = Stage(seed)
    listener = stage.listen(once=False)
    stage.begin(0.3)
    cut = [(stage.world.now_ns, stage.world.now_ns + 20 * NS)]
    for source, target in (("server", "listener 0"), ("listener 0", "server")):
        stage.world.link(source, target, Link(partitions=cut))
    assert stage.world.run(lambda: listener.feeds[0].silent_ns is not None, 10 * NS)
    listener.give_up(stage.world.now_ns)
    assert stage.world.run(lambda: listener.feeds[-1].fetch.succeeded, 60 * NS)
    assert listener.results == [stage.source.content]
    assert [feed.fetch.succeeded for feed in listener.feeds] == [False, True]


# --- What nobody foresaw -------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["take", "settle", "handle_datagram", "open"])
def test_what_one_stream_raises_ends_that_stream_alone(where: str, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(seed, rate_bps=10_000_000)
    several(stage, seed, 3, 20_000)
    listener = stage.listen(once=False)
    bad = stage.server.groups.machines
    victim = next(iter(bad.values())).stream.offer.object_id

    def failing(original: Callable[..., object], offer_of: Callable[[Any], OfferBody]) -> Callable[..., object]:
        def call(target: Any, *arguments: object, **options: object) -> object:
            if offer_of(target).object_id == victim:
                raise OverflowError("nobody foresaw this")
            return original(target, *arguments, **options)

        return call

    if where == "take":
        monkeypatch.setattr(GroupFeed, "take", failing(GroupFeed.take, lambda feed: feed.machine.offer))
    elif where == "settle":
        monkeypatch.setattr(Assembly, "settle", failing(Assembly.settle, lambda assembly: assembly.offer))
    elif where == "handle_datagram":
        handle = GroupReceiverMachine.handle_datagram
        monkeypatch.setattr(GroupReceiverMachine, "handle_datagram", failing(handle, lambda machine: machine.offer))
    else:
        monkeypatch.setattr(GroupFeed, "begin", failing(GroupFeed.begin, lambda feed: feed.machine.offer))
    assert stage.world.run(lambda: len(listener.results) == 2, 20 * NS)
    assert listener.receiver.unforeseen_count > 0
    broken = [feed for feed in listener.feeds if feed.fetch.unforeseen is not None]
    assert all(isinstance(feed.fetch.error, FountainError) for feed in broken)
    assert len({feed.machine.offer.object_id for feed in broken}) <= 1
    assert stage.world.run(lambda: not listener.receiver.feeds, 20 * NS)


def test_objects_that_come_at_once_share_the_memory_for_blocks(seed: int) -> None:
    stage = Stage(seed, rate_bps=20_000_000)
    sources = [
        stage.world.source(payload(1_400_000, seed + at), name=f"object {at}", symbol_size=1408, block=1_000)
        for at in range(3)
    ]
    stage.world.kill(stage.server)
    stage.server = stage.world.serve(*sources, rate_bps=stage.rate_bps, group=stage.options)
    listener = stage.listen(once=False)
    assert stage.world.run(lambda: len(listener.receiver.feeds) == 3, 10 * NS)
    stage.wait(10 * MS)
    tables = [feed.fetch.assembly.table for feed in listener.receiver.feeds.values() if feed.fetch.assembly]
    assert sum(table.open_limit for table in tables) * 2_064 * 1408 <= LISTENER_MEMORY_SIZE_MAX
    first = next(iter(listener.receiver.feeds.values()))
    before = first.fetch.assembly
    assert before is not None
    workers = first.fetch.workers
    first.fetch.assembly = Assembly(before.collector._code, before.sink, before.offer, workers, loss=0.0, seed=0)
    stage.wait(200 * MS)
    limit = first.fetch.assembly.table.open_limit
    assert limit == before.table.open_limit  # One that has taken another's place as well.
    first.fetch.assembly = before
    assert stage.world.run(lambda: len(listener.results) == 3, 20 * NS)


def test_what_is_raised_after_an_object_stands_takes_nothing_from_it(seed: int) -> None:
    stage = Stage(seed)
    listener = stage.listen()
    assert stage.run()
    (feed,) = listener.feeds
    feed.break_off(RuntimeError("in a display"), stage.world.now_ns)
    assert feed.fetch.error is None
    assert feed.fetch.succeeded
    assert feed.fetch.phase is Phase.ENDED
