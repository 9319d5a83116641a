"""Groups without a key, and somebody on their network who makes Announces and Plans of his own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from fountain.limits import DATA_OVERHEAD_SIZE, NS
from fountain.net.address import Address
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.channel import GroupChannel
from fountain.testing import GROUP
from fountain.wire.data import FLAG_OPEN, pack_headers, pack_open
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


ROGUE: Address = ("rogue", 6330)
NO_PLAN = Plan(
    timestamp_us=0, grtt_code=0, report_interval_ms=1000, poll_threshold=(1 << 32) - 1, group_size=1,
    rate_bps=1_000_000, next_sequence=0, suppress_rate_bps=0, clr=bytes(8), planned=(), queued=(), echoes=(),
    leaving=(),
    acknowledged=(),
)  # fmt: skip


class Rogue:
    """Announces the server's object from its own address, in sessions of its own, and sends at most useless data."""

    def __init__(
        self, stage: Stage, *, session_count: int = 6, waits: bool, data_ns: int = 0, plans: bool = False
    ) -> None:  # fmt: skip
        self._stage, self._waits, self._plans = stage, waits, plans
        self._channels = [GroupChannel(0xBAD0 + index, None) for index in range(session_count)]
        self._sequence = 0
        self._announce: Announce | None = None
        stage.world.taps.append(self._look)
        stage.world.at(0, self._speak)
        if data_ns:
            self._data_ns, self._data_count = data_ns, 0
            stage.world.at(0, self._send_data)

    def _look(self, datagram: bytes, source: Address, _: Address) -> None:
        if source[0] == self._stage.server.name and packet_type(datagram) is GroupPacketType.ANNOUNCE:
            header = GroupHeader.parse(datagram)
            assert isinstance(header, GroupHeader)
            body = GroupChannel(header.session, None).unwrap(header, datagram)
            assert isinstance(body, bytes)
            announce = Announce.parse(body, open=True)
            assert isinstance(announce, Announce)
            self._announce = announce

    def _say(self, datagram: bytes) -> None:
        for listener in self._stage.listeners:
            self._stage.world.deliver(datagram, ROGUE, (listener.name, GROUP[1]))

    def _speak(self) -> None:
        if self._announce is not None:
            self._sequence += 1
            flags = AnnounceFlag.WAITING if self._waits else AnnounceFlag(0)
            sent = 0 if self._waits else self._sequence * 100
            announce = replace(self._announce, flags=flags, next_sequence=sent)
            for channel in self._channels:
                self._say(channel.wrap(GroupPacketType.ANNOUNCE, 2 * self._sequence, announce.encode()))
                if self._plans:
                    body = replace(NO_PLAN, timestamp_us=announce.timestamp_us, next_sequence=sent).encode()
                    self._say(channel.wrap(GroupPacketType.PLAN, 2 * self._sequence + 1, body))
        self._stage.world.at(200 * MS, self._speak)

    def _send_data(self) -> None:
        if self._announce is not None:
            offer = self._announce.offer
            self._data_count += 1
            rows = np.zeros((1, DATA_OVERHEAD_SIZE + offer.symbol_size), dtype=np.uint8)
            pack_headers(
                rows, flags=FLAG_OPEN, rtt_hint=0, session=self._channels[0].session_id, sequence=self._data_count,
                timestamp_us=0, block=0, esis=np.array([self._data_count], dtype=np.uint32),
            )  # fmt: skip
            symbols = np.full((1, offer.symbol_size), self._data_count % 256, dtype=np.uint8)
            pack_open(rows, symbols, np.zeros(1, dtype=np.int64))
            self._say(rows.tobytes())
        self._stage.world.at(self._data_ns, self._send_data)


def waiting_stage(seed: int) -> Stage:
    """A server that waits for one receiver more than there is, for six seconds."""
    settings = GroupSettings(wait_count=3, wait_time_ns=6 * NS)
    return Stage(seed, size=1_500_000, symbol_size=256, rate_bps=2_000_000, settings=settings)


ROGUES = [
    (waits, begins_ns, once, data_ns)
    for waits in (False, True)
    for begins_ns in (0, 3 * NS, 8 * NS)
    for once in (False, True)
    for data_ns in (0, 10 * MS)
]
QUICK = {(False, 3 * NS, True, 0), (True, 0, False, 10 * MS), (True, 8 * NS, True, 0)}


@pytest.mark.parametrize(
    ("waits", "begins_ns", "once", "data_ns"),
    [pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow) for case in ROGUES],
)
def test_a_stream_that_others_announce_elsewhere_is_not_left_for_theirs(
    waits: bool, begins_ns: int, once: bool, data_ns: int, seed: int
) -> None:
    alone = waiting_stage(seed)
    for _ in range(2):
        alone.listen(once=once, gives_up=True)
    assert alone.world.run(alone.all_done, 60 * NS)
    stage = waiting_stage(seed)
    for _ in range(2):
        stage.listen(once=once, gives_up=True)
    stage.wait(begins_ns)
    Rogue(stage, waits=waits, data_ns=data_ns)
    assert stage.world.run(stage.all_done, 60 * NS)
    assert stage.all_exact()
    assert stage.world.now_ns <= 1.3 * alone.world.now_ns


def deaf_stage(seed: int) -> Stage:
    """Two receivers that hear nothing of the true server."""
    stage = waiting_stage(seed)
    for index in range(2):
        stage.path(f"listener {index}", loss=1.0)
        stage.listen(gives_up=True)
    return stage


def check_server_is_found(stage: Stage) -> None:
    """The true server is heard from now on, and everybody gets its object."""
    for index in range(2):
        stage.path(f"listener {index}")
    assert stage.world.run(stage.all_done, 45 * NS)
    assert stage.all_exact()


@pytest.mark.parametrize(
    ("waits", "data_ns"),
    [
        (True, 0),
        (False, 10 * MS),
        *(pytest.param(*case, marks=pytest.mark.slow) for case in ((True, 10 * MS), (False, 0))),
    ],
)
def test_who_heard_a_false_server_first_finds_the_true_one(waits: bool, data_ns: int, seed: int) -> None:
    stage = deaf_stage(seed)
    Rogue(stage, waits=waits, data_ns=data_ns)
    stage.wait(2 * NS)
    assert all(listener.feeds[0].machine.server == ROGUE for listener in stage.listeners)
    check_server_is_found(stage)


def test_a_false_server_that_names_data_which_never_comes_is_left_for_the_true_one(seed: int) -> None:
    """Its receivers left the group after a second, to ask nobody but the host that had sent nothing."""
    stage = deaf_stage(seed)
    Rogue(stage, waits=False, plans=True)
    stage.wait(2 * NS)
    assert all(listener.feeds[0].fallback is not None for listener in stage.listeners)
    check_server_is_found(stage)
