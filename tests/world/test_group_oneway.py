"""A stream that nobody answers: what it gives to whoever listens, and that nobody says a word."""

from __future__ import annotations

import random

import pytest

from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.schedule.oneway import OnewayBudget
from fountain.testing import Link
from fountain.wire.group import GroupPacketType, GroupReport, MemberState
from fountain.wire.reject import Reject
from tests.world.groups import MS, Stage, packet_type

RUNS = pytest.mark.parametrize("run", [0, 1, pytest.param(2, marks=pytest.mark.slow)])


def oneway(seed: int, plan: OnewayBudget, *, size: int = 60_000) -> tuple[Stage, list[str]]:
    """A one-way stage, and who else than the server sends anything."""
    stage = Stage(seed, size=size, settings=GroupSettings(wait_count=0, oneway=plan))
    speakers: list[str] = []

    def look(_datagram: bytes, source: Address, _target: Address) -> None:
        if source[0] != stage.server.name:
            speakers.append(source[0])

    stage.world.taps.append(look)
    return stage, speakers


@RUNS
def test_one_pass_is_enough_for_whoever_loses_no_more_than_was_planned_for(run: int, seed: int) -> None:
    stage, speakers = oneway(seed, OnewayBudget(loss=0.1, cycle_count=1))
    for index in range(4):
        stage.world.link("server", f"listener {index}", Link(loss=0.1 if index else 0.0, delay_ns=MS))
        stage.listen()
    assert stage.run(20 * NS)
    assert stage.all_exact()
    assert speakers == []


def test_a_report_steers_no_stream_that_nobody_answers(seed: int) -> None:
    stage, _ = oneway(seed, OnewayBudget(loss=0.1, cycle_count=1))
    listener = stage.listen()
    stage.wait(50 * MS)
    machine = stage.machine
    report = GroupReport(
        peer_id=bytes(8), echo_timestamp_us=0, hold_us=0, expected_sequence=0, received_count=0, event_rate=0,
        receive_rate_bps=0, kernel_drop_count=0, damaged_count=0, done_count=0, fraction=0,
        state=MemberState.RECEIVING, has_manifest=False, host="", needs=((0, 16),), missing=(),
    )  # fmt: skip
    datagram = machine.stream.keys.wrap(GroupPacketType.REPORT, 1 << 32 | 1, report.encode())
    stage.world.deliver(datagram, (listener.name, 4_000), (stage.server.name, 6330))
    stage.wait(MS)
    assert machine.rejects.count(Reject.OUT_OF_PLACE) == 1
    assert not machine.members
    assert stage.run(20 * NS)
    assert stage.all_exact()


@RUNS
def test_whoever_loses_more_has_it_after_some_passes(run: int, seed: int) -> None:
    stage, speakers = oneway(seed, OnewayBudget(loss=0.01))
    for index in range(3):
        stage.world.link("server", f"listener {index}", Link(loss=0.2 * index, delay_ns=MS, jitter_ns=MS))
        stage.listen()
    assert stage.run(30 * NS)
    assert stage.all_exact()
    assert speakers == []


@RUNS
def test_whoever_comes_late_has_it_after_the_next_pass(run: int, seed: int) -> None:
    stage, speakers = oneway(seed, OnewayBudget(loss=0.05))
    stage.wait(200 * MS)
    for _ in range(2):
        stage.listen()
    assert stage.run(30 * NS)
    assert stage.all_exact()
    assert speakers == []


@RUNS
def test_a_receiver_that_is_killed_goes_on_with_what_it_had(run: int, seed: int) -> None:
    stage, speakers = oneway(seed, OnewayBudget(loss=0.05))
    victim = stage.listen()
    assert stage.world.run(lambda: any(sink.written_block_count >= 20 for sink in victim.sinks.values()))
    stage.world.kill(victim)
    stage.listeners.remove(victim)
    again = stage.listen(name=victim.name, sinks=victim.sinks.values())
    assert stage.run(30 * NS)
    (sink,) = again.sinks.values()
    assert sink.result == stage.source.content
    assert sink.written_block_count == stage.source.geometry.block_count
    assert speakers == []


@RUNS
def test_a_stream_of_so_many_passes_ends(run: int, seed: int) -> None:
    plan = OnewayBudget(overhead=0.5, cycle_count=2)
    stage, _ = oneway(seed, plan)
    geometry = stage.source.geometry
    offer = stage.machine.stream.offer
    stage.wait(30 * NS)
    assert stage.machine.is_over
    assert stage.machine.sequence >= 2 * plan.packet_count(geometry, offer.manifest_geometry) - 4


@RUNS
def test_nobody_answers_a_stream_whose_server_has_left(run: int, seed: int) -> None:
    stage, speakers = oneway(seed, OnewayBudget(loss=0.0, cycle_count=1))
    stage.world.link("server", "listener 0", Link(loss=0.3))
    listener = stage.listen()
    stage.wait(3 * NS)
    stage.server.leave_group(stage.world.now_ns)
    stage.wait(30 * NS)
    assert not listener.is_done
    assert all(feed.silent_ns is not None for feed in listener.feeds)
    assert speakers == []


class Counting(Link):
    """Loses every so many-th packet of all."""

    def __init__(self, period: int, first: int) -> None:
        super().__init__(delay_ns=MS)
        self.period, self.count = period, first

    def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
        self.count += 1
        return [] if self.count % self.period == 0 else super().carry(datagram, now_ns, draw)


@pytest.mark.parametrize("size", [0, 1, 100, 5_000])
def test_small_objects_arrive_though_every_so_many_packets_are_lost(size: int, seed: int) -> None:
    stage, _ = oneway(seed, OnewayBudget(loss=0.5, cycle_count=1), size=size)
    for period in (2, 3, 4, 8):
        for first in range(period):
            name = f"listener {len(stage.listeners)}"
            stage.world.link("server", name, Counting(period, first))
            stage.listen()
    assert stage.run(5 * NS)
    assert stage.all_exact()


@pytest.mark.parametrize("size", [0, 1, 5_000])
def test_a_plan_for_more_loss_than_there_is_gives_small_objects_to_all(size: int, seed: int) -> None:
    stage, _ = oneway(seed, OnewayBudget(loss=0.4, cycle_count=1), size=size)
    for index in range(24):
        stage.world.link("server", f"listener {index}", Link(loss=0.35, delay_ns=MS))
        stage.listen()
    stage.run(5 * NS)
    assert sum(listener.is_done for listener in stage.listeners) >= 23
    assert all(listener.results == [stage.source.content] for listener in stage.listeners if listener.is_done)


def test_a_pass_over_a_small_object_is_stretched_over_a_short_outage(seed: int) -> None:
    stage, _ = oneway(seed, OnewayBudget(loss=0.3, cycle_count=1), size=100)
    start_ns = stage.world.now_ns
    stage.world.link("server", "listener 0", Link(partitions=[(start_ns + 50 * MS, start_ns + 90 * MS)], delay_ns=MS))
    stage.listen()
    assert stage.run(5 * NS)
    assert stage.all_exact()


def test_the_last_word_of_a_stream_is_enough_for_who_has_kept_its_packets(seed: int) -> None:
    stage, _ = oneway(seed, OnewayBudget(loss=0.1, cycle_count=1), size=500)

    class Deaf(Link):
        def carry(self, datagram: bytes, now_ns: int, draw: random.Random) -> list[tuple[int, bytes]]:
            is_early = packet_type(datagram) is GroupPacketType.ANNOUNCE and not stage.machine.is_closed
            return [] if is_early else super().carry(datagram, now_ns, draw)

    stage.world.link("server", "listener 0", Deaf(delay_ns=MS))
    listener = stage.listen()
    stage.world.run(lambda: listener.is_done, 5 * NS)
    assert listener.results == [stage.source.content]
