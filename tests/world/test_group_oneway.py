"""A stream that nobody answers: what it gives to whoever listens, and that nobody says a word."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.oneway import OnewayPlan
from fountain.testing import Link
from tests.world.groups import MS, Stage

RUNS = pytest.mark.parametrize("run", range(3))


def oneway(seed: int, plan: OnewayPlan, *, size: int = 60_000) -> tuple[Stage, list[str]]:
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
    stage, speakers = oneway(seed, OnewayPlan(loss=0.1, pass_count=1))
    for index in range(4):
        stage.world.link("server", f"listener {index}", Link(loss=0.1 if index else 0.0, delay_ns=MS))
        stage.listen()
    assert stage.run(20 * NS)
    assert stage.all_exact()
    assert speakers == []


@RUNS
def test_whoever_loses_more_has_it_after_some_passes(run: int, seed: int) -> None:
    stage, speakers = oneway(seed, OnewayPlan(loss=0.01))
    for index in range(3):
        stage.world.link("server", f"listener {index}", Link(loss=0.2 * index, delay_ns=MS, jitter_ns=MS))
        stage.listen()
    assert stage.run(30 * NS)
    assert stage.all_exact()
    assert speakers == []


@RUNS
def test_whoever_comes_late_has_it_after_the_next_pass(run: int, seed: int) -> None:
    stage, speakers = oneway(seed, OnewayPlan(loss=0.05))
    stage.wait(200 * MS)
    for _ in range(2):
        stage.listen()
    assert stage.run(30 * NS)
    assert stage.all_exact()
    assert speakers == []


@RUNS
def test_a_receiver_that_is_killed_goes_on_with_what_it_had(run: int, seed: int) -> None:
    stage, speakers = oneway(seed, OnewayPlan(loss=0.05))
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
    plan = OnewayPlan(overhead=0.5, pass_count=2)
    stage, _ = oneway(seed, plan)
    geometry = stage.source.geometry
    offer = stage.machine.stream.offer
    stage.wait(30 * NS)
    assert stage.machine.is_over
    assert stage.machine.sequence >= 2 * plan.packet_count(geometry, offer.manifest_geometry) - 4


@RUNS
def test_nobody_answers_a_stream_whose_server_has_left(run: int, seed: int) -> None:
    stage, speakers = oneway(seed, OnewayPlan(loss=0.0, pass_count=1))
    stage.world.link("server", "listener 0", Link(loss=0.3))
    listener = stage.listen()
    stage.wait(3 * NS)
    stage.server.leave_group(stage.world.now_ns)
    stage.wait(30 * NS)
    assert not listener.is_done
    assert all(download.silent_ns is not None for download in listener.downloads)
    assert speakers == []
