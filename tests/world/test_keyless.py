"""Listeners of a group with a key, and somebody without it who has recorded old sessions and plays them again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from fountain.engine.receiving.contenders import GRACE_NS, IDLE_NS
from fountain.engine.receiving.group_feed import GroupFeed
from fountain.engine.receiving.group_receiver import OBJECT_COUNT_MAX
from fountain.engine.receiving.outcome import Yielded
from fountain.limits import NS
from fountain.testing import GROUP, Link, Listener, payload
from fountain.wire.group import GroupPacketType, MemberState
from tests.world.groups import MS, Stage, packet_type

KEY = bytes(range(32))
STRANGER = ("stranger", 1)
RATE_BPS = 2_000_000
SIZE = 600_000  # about 3 s on the air
SYMBOL_SIZE = 256


def serve_several(stage: Stage, seed: int, name: str, count: int, size: int) -> None:
    """Let the stage's server have so many objects in the place of its one."""
    sources = [
        stage.world.source(payload(size, seed + at), name=f"{name} {at}", symbol_size=SYMBOL_SIZE)
        for at in range(count)
    ]
    if stage.server.alive:
        stage.world.kill(stage.server)
    stage.server = stage.world.serve(*sources, rate_bps=stage.rate_bps, group=stage.options)


def recordings(seed: int, count: int, time_ns: int = 2 * NS) -> list[list[bytes]]:
    """What `count` sessions of other objects sent to the group within that time, each from its first packet on."""
    stage = Stage(seed, key=KEY, rate_bps=4_000_000)
    serve_several(stage, seed, "old", count, 2_000_000)
    sent: dict[bytes, list[bytes]] = {}

    def record(datagram: bytes, _source: object, target: tuple[str, int]) -> None:
        if target[1] == GROUP[1]:
            session = datagram[8:16] if packet_type(datagram) is not None else datagram[4:12]
            sent.setdefault(session, []).append(datagram)

    stage.world.taps.append(record)
    stage.listen(once=False, key=KEY, name="recorded")
    stage.wait(time_ns)
    assert len(sent) == count
    return list(sent.values())


def control(session: Sequence[bytes]) -> list[bytes]:
    return [packet for packet in session if packet_type(packet) is not None]


def data(session: Sequence[bytes]) -> list[bytes]:
    return [packet for packet in session if packet_type(packet) is None]


def play(stage: Stage, listener: Listener, packets: Sequence[bytes], *, every_ns: int, start_ns: int = 0) -> None:
    """Send these to the listener, one after the other."""
    for number, packet in enumerate(packets):
        stage.world.at(
            start_ns + number * every_ns,
            lambda packet=packet: stage.world.deliver(packet, STRANGER, (listener.name, GROUP[1])),  # type: ignore[misc]
        )


def time_to_take(stage: Stage, listener: Listener) -> int:
    """Let the stage's object be served from now on; how long until the listener has it."""
    begin_ns = stage.world.now_ns
    stage.restart_server()
    assert stage.world.run(lambda: stage.source.content in listener.results, 60 * NS)
    return stage.world.now_ns - begin_ns


def a_listener(seed: int) -> tuple[Stage, Listener]:
    """A listener in a group where nothing is sent yet."""
    stage = Stage(seed, size=SIZE, symbol_size=SYMBOL_SIZE, rate_bps=RATE_BPS, key=KEY)
    stage.world.kill(stage.server)
    return stage, stage.listen(once=False, key=KEY)


def is_new(feed: GroupFeed) -> bool:
    """Whether it is not of an old session."""
    return feed.machine.offer.name.startswith("new")


@pytest.fixture
def undisturbed_ns(seed: int) -> int:
    """How long the object takes where nobody disturbs."""
    return time_to_take(*a_listener(seed))


def test_control_packets_of_old_sessions_hold_no_place(seed: int, undisturbed_ns: int) -> None:
    """A packet of each of four old sessions in three seconds used to keep every place for as long as they lasted."""
    stage, listener = a_listener(seed)
    for session in recordings(seed, OBJECT_COUNT_MAX):
        play(stage, listener, control(session)[:20], every_ns=3 * NS)
    stage.wait(10 * NS)
    assert len(listener.receiver.feeds) == OBJECT_COUNT_MAX
    assert time_to_take(stage, listener) <= 1.1 * undisturbed_ns


def test_old_data_at_a_tenth_of_the_rate_holds_no_place(seed: int, undisturbed_ns: int) -> None:
    stage, listener = a_listener(seed)
    old = recordings(seed, OBJECT_COUNT_MAX)
    packet_size = len(data(old[0])[0])
    every_ns = OBJECT_COUNT_MAX * packet_size * 8 * NS * 10 // RATE_BPS
    for session in old:
        play(stage, listener, control(session)[:20], every_ns=3 * NS)
        play(stage, listener, data(session)[:300], every_ns=every_ns, start_ns=NS)
    stage.wait(6 * NS)
    assert len(listener.receiver.feeds) == OBJECT_COUNT_MAX
    assert all(feed.pace.recent(stage.world.now_ns) > 10 for feed in listener.receiver.feeds.values())
    assert time_to_take(stage, listener) <= 1.1 * undisturbed_ns


def test_whole_recordings_at_a_good_rate_hold_no_place(seed: int, undisturbed_ns: int) -> None:
    """Nothing is wrong with their data; but what was recorded answers no report."""
    stage, listener = a_listener(seed)
    every_ns = NS // 300
    for session in recordings(seed, OBJECT_COUNT_MAX, 13 * NS):
        assert len(data(session)) > 4_000
        play(stage, listener, control(session), every_ns=13 * NS * 4 // 3 // len(control(session)))
        play(stage, listener, data(session), every_ns=every_ns, start_ns=NS)
    stage.wait(4 * NS)
    assert len(listener.receiver.feeds) == OBJECT_COUNT_MAX
    assert time_to_take(stage, listener) <= undisturbed_ns + 10 * NS
    assert any(feed.pace.recent(stage.world.now_ns) > 200 for feed in listener.receiver.feeds.values())


def test_an_old_session_of_the_same_object_does_not_stand_before_the_new_one(seed: int, undisturbed_ns: int) -> None:
    stage, listener = a_listener(seed)
    sent: list[bytes] = []
    stage.world.taps.append(lambda datagram, *_: sent.append(datagram) if datagram[8:9] else None)
    stage.restart_server()
    stage.wait(NS // 2)
    stage.world.kill(stage.server)
    stage.world.kill(listener)
    told = [packet for packet in sent if packet_type(packet) in (GroupPacketType.ANNOUNCE, GroupPacketType.PLAN)]
    listener = stage.world.listen(name="fresh", once=False, key=KEY)
    play(stage, listener, told[:20], every_ns=3 * NS)
    stage.wait(5 * NS)
    assert len(listener.receiver.feeds) == 1
    assert time_to_take(stage, listener) <= 1.1 * undisturbed_ns


def test_an_old_session_takes_no_place_of_one_whose_data_comes(seed: int) -> None:
    stage = Stage(seed, size=SIZE, symbol_size=SYMBOL_SIZE, rate_bps=RATE_BPS, key=KEY)
    serve_several(stage, seed, "new", OBJECT_COUNT_MAX, 150_000)
    listener = stage.listen(once=False, key=KEY)
    for session in recordings(seed + 1, 2):
        play(stage, listener, control(session)[:200], every_ns=20 * MS)
        play(stage, listener, data(session)[:400], every_ns=20 * MS)
    assert stage.world.run(lambda: len(listener.results) == OBJECT_COUNT_MAX, 60 * NS)
    assert not any(isinstance(feed.fetch.outcome, Yielded) for feed in listener.feeds if is_new(feed))


def test_garbage_in_the_name_of_an_old_session_gives_it_no_place(seed: int) -> None:
    """Without the key nobody can make a stream look as if its data came."""
    stage = Stage(seed, size=SIZE, symbol_size=SYMBOL_SIZE, rate_bps=RATE_BPS, key=KEY)
    serve_several(stage, seed, "new", OBJECT_COUNT_MAX, 150_000)
    listener = stage.listen(once=False, key=KEY)
    (session,) = recordings(seed + 1, 1)
    play(stage, listener, control(session)[:200], every_ns=20 * MS)
    packets = enumerate(data(session), 9_000)
    forged = [packet[:12] + number.to_bytes(4, "big") + packet[16:] for number, packet in packets]
    play(stage, listener, forged, every_ns=MS)
    assert stage.world.run(lambda: len(listener.results) == OBJECT_COUNT_MAX, 60 * NS)
    assert not any(isinstance(feed.fetch.outcome, Yielded) for feed in listener.feeds if is_new(feed))


def test_who_gave_up_its_place_says_that_it_waits_and_goes_on_later(seed: int) -> None:
    stage, listener = a_listener(seed)
    sources = [
        stage.world.source(payload(100_000, seed + at), name=f"first {at}", symbol_size=SYMBOL_SIZE)
        for at in range(OBJECT_COUNT_MAX)
    ]
    stage.world.serve(*sources, name="first", rate_bps=RATE_BPS, group=stage.options)
    assert stage.world.run(lambda: len(listener.receiver.feeds) == OBJECT_COUNT_MAX, 10 * NS)
    assert stage.world.run(lambda: any(sink.written_block_count > 9 for sink in listener.sinks.values()), 10 * NS)
    held = dict(listener.sinks)
    pause = (stage.world.now_ns, stage.world.now_ns + max(IDLE_NS, GRACE_NS) + 3 * NS // 2)
    stage.world.link("first", listener.name, Link(partitions=[pause]))
    stage.wait(pause[1] - pause[0] - NS)
    stage.restart_server()
    assert stage.world.run(lambda: any(isinstance(feed.fetch.outcome, Yielded) for feed in listener.feeds), 3 * NS)
    assert stage.world.run(lambda: len(listener.results) == OBJECT_COUNT_MAX + 1, 60 * NS)
    assert all(listener.sinks[object_id] is sink for object_id, sink in held.items())
    assert {machine.state for machine in listener.receiver.idle.values()} <= {MemberState.DONE}


def test_what_is_over_is_forgotten_with_its_memory(seed: int) -> None:
    """A listener used to keep every fetch that it ever began, with the slabs of its blocks."""
    stage, listener = a_listener(seed)
    stage.world.kill(listener)
    listener = stage.world.listen(name="lasting", once=False, key=KEY)
    for at in range(6):
        source = stage.world.source(payload(20_000, seed + at), name=f"release {at}", symbol_size=SYMBOL_SIZE)
        server = stage.world.serve(source, rate_bps=20_000_000, group=stage.options)
        assert stage.world.run(lambda at=at: len(listener.results) == at + 1, 20 * NS)  # type: ignore[misc]
        assert stage.world.run(lambda: not listener.receiver.feeds, 20 * NS)
        stage.world.kill(server)
    assert [feed.fetch.assembly for feed in listener.feeds] == [None] * 6
    assert not hasattr(listener.receiver, "begun")
