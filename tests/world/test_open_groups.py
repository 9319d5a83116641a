"""Groups without a key, and somebody on their network who makes Announces and Plans of his own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from fountain.net.address import Address
from fountain.protocol.group.channel import GroupChannel
from fountain.testing import GROUP
from fountain.wire.group import (
    Announce,
    AnnounceFlag,
    GroupHeader,
    GroupPacketType,
    Plan,
)
from fountain.wire.reject import Reject
from tests.world.groups import MS, Stage, packet_type

FORGER: Address = ("forger", 9)
Forge = Callable[[Announce, Plan], Announce | Plan]


class Forger:
    """Hears the group, and sends what `forge` makes of the latest Announce and Plan, numbered as the next ones."""

    def __init__(self, stage: Stage, forge: Forge, *, spacing_ns: int = 20 * MS) -> None:
        self._stage, self._forge, self._spacing_ns = stage, forge, spacing_ns
        self._channel: GroupChannel | None = None
        self._sequence = 0
        self._announce: Announce | None = None
        self._plan: Plan | None = None
        self.heard_count = 0  # reports that came to it
        stage.world.taps.append(self._look)
        stage.world.at(0, self._speak)

    def _look(self, datagram: bytes, source: Address, target: Address) -> None:
        self.heard_count += target[0] == FORGER[0]
        if source[0] != self._stage.server.name or packet_type(datagram) is None:
            return
        header = GroupHeader.parse(datagram)
        assert not isinstance(header, Reject)
        self._channel = self._channel or GroupChannel(header.session, None)
        body = self._channel.unwrap(header, datagram)
        assert not isinstance(body, Reject)
        self._sequence = max(self._sequence, header.sequence)
        if header.packet_type is GroupPacketType.ANNOUNCE:
            announce = Announce.parse(body, open=True)
            assert not isinstance(announce, Reject)
            self._announce = announce
        else:
            plan = Plan.parse(body)
            assert not isinstance(plan, Reject)
            self._plan = plan

    def _speak(self) -> None:
        if self._channel is not None and self._announce is not None and self._plan is not None:
            record = self._forge(self._announce, self._plan)
            is_plan = isinstance(record, Plan)
            kind = GroupPacketType.PLAN if is_plan else GroupPacketType.ANNOUNCE
            self._sequence += 1
            datagram = self._channel.wrap(kind, self._sequence, record.encode())
            for listener in self._stage.listeners:
                self._stage.world.deliver(datagram, FORGER, (listener.name, GROUP[1]))
        self._stage.world.at(self._spacing_ns, self._speak)


def to_me(announce: Announce, _plan: Plan) -> Announce:
    """Reports are to go to the forger."""
    return replace(announce, control_port=9)


def gone(announce: Announce, _plan: Plan) -> Announce:
    """The server is about to leave, and its file has changed."""
    return replace(announce, flags=AnnounceFlag.FINAL | AnnounceFlag.CHANGED)


def be_loud(_announce: Announce, plan: Plan) -> Plan:
    """Everybody reports as often as it can."""
    return replace(plan, poll_threshold=(1 << 32) - 1, report_interval_ms=1, group_size=1)


def stage_of(seed: int) -> Stage:
    stage = Stage(seed, size=300_000, symbol_size=256, rate_bps=2_000_000)
    for index in range(2):
        stage.path(f"listener {index}", loss=0.05)
        stage.listen()
    return stage


def needed_ns(stage: Stage) -> int:
    """How long it takes until all have the object, and the server knows it."""
    began_ns = stage.world.now_ns
    assert stage.run()
    assert stage.all_exact()
    return stage.world.now_ns - began_ns


@pytest.mark.parametrize("forge", [to_me, gone, be_loud])
def test_who_speaks_from_another_address_than_the_server_changes_nothing(forge: Forge, seed: int) -> None:
    """Reports used to go wherever the latest Announce came from, and to be sent as the latest Plan said."""
    alone = stage_of(seed)
    alone.begin(0.05)
    alone_ns = needed_ns(alone)
    stage = stage_of(seed)
    stage.begin(0.05)
    forger = Forger(stage, forge)
    assert needed_ns(stage) <= 1.05 * alone_ns
    assert forger.heard_count == 0
    assert len(stage.reported) <= 1.5 * len(alone.reported)


def test_who_speaks_from_another_address_sends_nobody_out_of_the_group(seed: int) -> None:
    stage = stage_of(seed)
    stage.begin(0.05)
    ids = list(stage.machine.members)[:2]
    Forger(stage, lambda _announce, plan: replace(plan, leaving=tuple(ids), acknowledged=tuple(ids)))
    assert stage.run()
    assert stage.all_exact()
    assert not any(feed.leave_reason for listener in stage.listeners for feed in listener.feeds)
