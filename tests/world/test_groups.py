"""A stream to a group: whoever listens gets exactly the object, whatever is lost, and whoever comes or goes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fountain.engine.receiving.object_fetch import Phase
from fountain.limits import NS
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.channel import GroupChannel
from fountain.protocol.group.events import MemberDone, MemberHookEnded, MemberJoined, MemberReturned, MemberSilent
from fountain.protocol.group.member import FINAL_STATES, HOLDING_STATES
from fountain.testing import GROUP, Link, Server, payload
from fountain.wire.control import MAGIC
from fountain.wire.group import Announce, AnnounceFlag, GroupHeader, GroupPacketType, MemberState
from fountain.wire.reject import Reject
from tests.world.groups import MS, Stage, packet_type

RUNS = pytest.mark.parametrize("run", [0, 1, pytest.param(2, marks=pytest.mark.slow)])  # The seed depends on it.


@RUNS
@pytest.mark.parametrize("cc", ["fixed", "tfmcc"])
def test_everybody_gets_the_object_whatever_is_lost_on_the_way_to_each(run: int, cc: str, seed: int) -> None:
    stage = Stage(seed, cc=cc, size=40_000)
    most = 0.3 if cc == "fixed" else 0.02
    for index in range(6):
        stage.path(f"listener {index}", loss=most * index / 5, delay_ns=(1 + 3 * index) * MS, jitter_ns=2 * MS)
        stage.listen()
    assert stage.run()
    assert stage.all_exact()
    assert {member.state for member in stage.machine.members.values()} == {MemberState.DONE}


@RUNS
def test_nothing_lost_costs_no_packet_more_than_the_object(run: int, seed: int) -> None:
    stage = Stage(seed, block=100)
    for _ in range(5):
        stage.listen()
    assert stage.run()
    assert stage.all_exact()
    assert stage.machine.sequence <= stage.symbol_count + 6  # a few more of the manifest


@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.slow)])
def test_little_more_is_sent_than_the_receiver_that_loses_most_needs(count: int, seed: int) -> None:
    sent = ideal = 0.0
    for run in range(count):
        stage = Stage(seed + run, size=320_000, block=200, rate_bps=2_000_000)
        for index in range(4):
            stage.path(f"listener {index}", loss=0.1, delay_ns=2 * MS)
            stage.listen()
        assert stage.run()
        assert stage.all_exact()
        sent += stage.machine.sequence
        ideal += stage.symbol_count / (1 - 0.1)
    assert sent <= 1.12 * ideal


@RUNS
def test_whoever_comes_late_gets_all_and_nobody_waits_for_that(run: int, seed: int) -> None:
    stage = Stage(seed)
    early = stage.listen()
    stage.begin(0.5)
    late = stage.listen()
    assert stage.world.run(lambda: early.is_done)
    assert stage.machine.sequence <= 1.25 * stage.symbol_count
    assert stage.run()
    assert stage.all_exact()
    assert stage.machine.sequence <= 2.1 * stage.symbol_count
    assert late.received_count <= 1.3 * stage.symbol_count


@RUNS
def test_whoever_comes_when_all_others_are_done_gets_all(run: int, seed: int) -> None:
    stage = Stage(seed, size=20_000)
    stage.listen()
    assert stage.run()
    stage.wait(20 * NS)
    stage.listen()
    assert stage.run()
    assert stage.all_exact()


@RUNS
def test_a_killed_receiver_goes_on_with_what_it_had(run: int, seed: int) -> None:
    stage = Stage(seed)
    stage.listen()
    victim = stage.listen()
    assert stage.world.run(lambda: any(sink.written_block_count >= 40 for sink in victim.sinks.values()))
    stage.world.kill(victim)
    stage.listeners.remove(victim)
    stage.wait(50 * MS)
    again = stage.listen(name=victim.name, sinks=victim.sinks.values())
    assert stage.run()
    assert stage.all_exact()
    (sink,) = again.sinks.values()
    assert sink.written_block_count == stage.source.geometry.block_count
    assert stage.member(again).state is MemberState.DONE


@RUNS
@pytest.mark.parametrize("away_ns", [10 * MS, 8 * NS])
def test_a_server_that_starts_again_goes_on_where_the_receivers_are(away_ns: int, run: int, seed: int) -> None:
    stage = Stage(seed)
    for index in range(3):
        stage.path(f"listener {index}", loss=0.1, delay_ns=2 * MS)
        stage.listen()
    stage.begin(0.4)
    stage.world.kill(stage.server)
    stage.wait(away_ns)
    stage.restart_server()
    assert stage.run()
    assert stage.all_exact()
    assert stage.machine.sequence <= 1.9 * stage.symbol_count  # blocks that nobody had


@RUNS
def test_two_servers_in_one_group_do_not_disturb_each_other(run: int, seed: int) -> None:
    stage = Stage(seed)
    other_source = stage.world.source(payload(50_000, seed + 1), name="other")
    other = stage.world.serve(other_source, name="other server", rate_bps=3_000_000, group=stage.options)
    both = stage.listen(once=False)
    one = stage.listen(names=["other"])
    assert stage.world.run(lambda: len(both.results) == 2 and one.is_done)
    assert sorted(both.results, key=len) == [other_source.content, stage.source.content]
    assert one.results == [other_source.content]
    (machine,) = other.groups.machines.values()
    assert len(machine.members) == 2
    assert len(stage.machine.members) == 1


@RUNS
def test_two_objects_of_one_server_reach_whoever_wants_them(run: int, seed: int) -> None:
    stage = Stage(seed)
    sources = [stage.world.source(payload(30_000, seed + at), name=f"object {at}") for at in range(2)]
    stage.world.kill(stage.server)
    server: Server = stage.world.serve(*sources, rate_bps=5_000_000, group=stage.options)
    for index in range(3):
        stage.world.link(server.name, f"listener {index}", Link(loss=0.1))
        stage.listen(once=False)
    assert stage.world.run(lambda: all(len(listener.results) == 2 for listener in stage.listeners))
    for listener in stage.listeners:
        assert set(listener.results) == {source.content for source in sources}


@RUNS
def test_data_that_comes_before_the_announce_is_used(run: int, seed: int) -> None:
    stage = Stage(seed, size=20_000, settings=GroupSettings(wait_count=0))

    class LateAnnounces(Link):
        def carry(self, datagram: bytes, now_ns: int, draw: object) -> list[tuple[int, bytes]]:
            late_ns = 200 * MS if datagram[:4] == MAGIC else 0
            return [(now_ns + MS + late_ns, datagram)]

    stage.world.link("server", "listener 0", LateAnnounces())
    listener = stage.listen()
    stage.listen()  # whoever asks for the data
    assert stage.world.run(lambda: stage.machine.sequence >= stage.symbol_count, 150 * MS)
    assert not listener.feeds
    assert stage.run()
    assert stage.all_exact()
    assert stage.machine.sequence <= stage.symbol_count + 20


@RUNS
def test_damaged_and_repeated_packets_change_nothing(run: int, seed: int) -> None:
    stage = Stage(seed)
    for index in range(3):
        stage.path(f"listener {index}", loss=0.05, corrupt=0.1, duplicate=0.2, jitter_ns=3 * MS)
        stage.listen()
    garbage = [stage.world.draw_bytes(stage.world.draw.randrange(1, 1400)) for _ in range(200)]
    for octets in garbage:
        for target in (("server", 6330), ("listener 0", GROUP[1])):
            at_ns = stage.world.draw.randrange(200 * MS)
            stage.world.at(at_ns, lambda o=octets, t=target: stage.world.deliver(o, ("stranger", 1), t))
    assert stage.run()
    assert stage.all_exact()


@RUNS
def test_a_receiver_whose_reports_are_lost_now_and_then_gets_all(run: int, seed: int) -> None:
    stage = Stage(seed)
    stage.path("listener 0", loss=0.1, back=Link(loss=0.7))
    stage.path("listener 1", loss=0.1)
    for _ in range(2):
        stage.listen()
    assert stage.run()
    assert stage.all_exact()


@RUNS
def test_every_end_is_acknowledged_however_much_is_lost(run: int, seed: int) -> None:
    stage = Stage(seed, size=20_000)
    for index in range(12):
        stage.path(f"listener {index}", loss=0.3, delay_ns=5 * MS)
        stage.listen()
    assert stage.run()
    assert stage.all_exact()
    told = [feed.machine.is_acknowledged for listener in stage.listeners for feed in listener.feeds]
    assert all(told)


@RUNS
def test_a_hook_is_reported_when_it_begins_and_when_it_has_ended(run: int, seed: int) -> None:
    stage = Stage(seed, size=20_000)
    listener = stage.listen()
    listener.hook_ns, listener.hook_state = 3 * NS, MemberState.HOOK_FAILED
    assert stage.world.run(lambda: listener.is_done)
    stage.wait(NS)
    assert stage.member(listener).state is MemberState.HOOKING
    stage.wait(3 * NS)
    assert stage.member(listener).state is MemberState.HOOK_FAILED
    assert [type(event) for event in stage.server.member_events] == [MemberJoined, MemberDone, MemberHookEnded]


@RUNS
def test_nobody_waits_for_one_that_is_silent(run: int, seed: int) -> None:
    stage = Stage(seed)
    gone = stage.listen()
    stay = stage.listen()
    stage.begin(0.3)
    stage.world.kill(gone)
    stage.listeners.remove(gone)
    assert stage.run(2 * NS)
    assert stage.machine.sequence <= stage.symbol_count + 20
    assert stage.machine.is_busy
    stage.wait(7 * NS)
    assert not stage.machine.is_busy
    assert stage.member(stay).state in HOLDING_STATES
    assert [type(event) for event in stage.server.member_events if event.member.host == gone.name][-1] is MemberSilent


@RUNS
def test_one_that_was_silent_may_come_back(run: int, seed: int) -> None:
    stage = Stage(seed)
    for _ in range(2):
        stage.listen()
    stage.begin(0.3)
    cut = [(stage.world.now_ns, stage.world.now_ns + 12 * NS)]
    for source, target in (("server", "listener 0"), ("listener 0", "server")):
        stage.world.link(source, target, Link(partitions=cut))
    assert stage.run(30 * NS)
    assert stage.all_exact()
    kinds = [type(event) for event in stage.server.member_events if event.member.host == "listener 0"]
    assert kinds == [MemberJoined, MemberSilent, MemberReturned, MemberDone]


@RUNS
def test_data_waits_for_as_many_as_were_asked_for(run: int, seed: int) -> None:
    stage = Stage(seed, settings=GroupSettings(wait_count=3))
    for index in range(2):
        stage.path(f"listener {index}", loss=0.2)
        stage.listen()
    stage.wait(10 * NS)
    assert stage.machine.sequence == 0
    assert stage.machine.waited_for == (2, 3)
    stage.listen()
    assert stage.run()
    assert stage.all_exact()


@RUNS
def test_data_waits_no_longer_than_it_was_asked_to(run: int, seed: int) -> None:
    stage = Stage(seed, settings=GroupSettings(wait_count=3, wait_time_ns=2 * NS))
    stage.listen()
    stage.wait(2 * NS - MS)
    assert stage.machine.sequence == 0
    assert stage.run(2 * NS)
    assert stage.all_exact()


@RUNS
def test_a_receiver_whose_disk_is_full_says_so_and_the_others_go_on(run: int, seed: int) -> None:
    stage = Stage(seed)
    full = stage.listen(capacity=20_000)
    other = stage.listen()
    assert stage.run()
    assert other.results == [stage.source.content]
    assert full.results == []
    assert stage.member(full).state is MemberState.FAILED
    assert full.feeds[0].machine.is_acknowledged
    assert stage.machine.sequence <= stage.symbol_count + 20


@RUNS
def test_a_receiver_that_is_interrupted_says_so(run: int, seed: int) -> None:
    stage = Stage(seed)
    stage.listen()
    leaver = stage.listen()
    stage.begin(0.3)
    leaver.stop(stage.world.now_ns)
    stage.wait(10 * MS)
    assert stage.member(leaver).state is MemberState.LEFT
    stage.listeners.remove(leaver)
    assert stage.run()
    assert stage.all_exact()
    assert all(member.state in FINAL_STATES for member in stage.machine.members.values())


@RUNS
def test_when_the_server_leaves_whoever_is_done_need_not_wait(run: int, seed: int) -> None:
    stage = Stage(seed, size=20_000)
    listener = stage.listen()
    stage.begin(0.3)
    stage.world.link("listener 0", "server", Link(loss=1.0))
    assert stage.world.run(lambda: listener.is_done)
    assert not listener.has_ended
    stage.server.leave_group(stage.world.now_ns)
    assert stage.run(50 * MS)
    assert not listener.feeds[0].machine.is_acknowledged


class TestKey:
    @RUNS
    def test_whoever_has_the_key_gets_the_object(self, run: int, seed: int) -> None:
        key = bytes(range(32))
        stage = Stage(seed, key=key)
        for index in range(3):
            stage.path(f"listener {index}", loss=0.1, corrupt=0.05)
            stage.listen(key=key)
        assert stage.run()
        assert stage.all_exact()

    @RUNS
    @pytest.mark.parametrize("wrong", [None, bytes(32)])
    def test_whoever_has_another_key_or_none_gets_nothing_and_disturbs_nobody(
        self, wrong: bytes | None, run: int, seed: int
    ) -> None:
        key = bytes(range(32))
        stage = Stage(seed, key=key)
        stage.listen(key=key)
        stranger = stage.world.listen(name="stranger", key=wrong)
        assert stage.run()
        assert stage.all_exact()
        assert stranger.feeds == []
        assert stranger.receiver.servers.foreign_count > 0
        assert len(stage.machine.members) == 1

    @RUNS
    def test_a_stream_without_a_key_means_nothing_to_whoever_wants_one(self, run: int, seed: int) -> None:
        stage = Stage(seed)
        stranger = stage.world.listen(name="stranger", key=bytes(32))
        stage.wait(2 * NS)
        assert stranger.feeds == []
        assert stranger.receiver.servers.foreign_count > 0


@pytest.mark.parametrize("run", [0, *(pytest.param(run, marks=pytest.mark.slow) for run in (1, 2))])
def test_a_receiver_below_the_minimum_rate_fetches_by_itself_and_the_others_go_on(run: int, seed: int) -> None:
    rate_bps = 2_000_000
    settings = GroupSettings(wait_count=4, min_rate_bps=int(0.7 * rate_bps))
    stage = Stage(seed, size=300_000, rate_bps=rate_bps, settings=settings)
    stage.path("listener 0", loss=0.45, delay_ns=3 * MS, back=Link(delay_ns=3 * MS))
    slow = stage.listen(timeout_ns=60 * NS)
    for index in range(1, 4):
        stage.path(f"listener {index}", loss=0.02, delay_ns=3 * MS)
        stage.listen()
    others = stage.listeners[1:]
    assert stage.world.run(lambda: all(listener.has_ended for listener in others), 10 * NS)
    group_count = stage.machine.sequence
    assert group_count <= 2.2 * stage.symbol_count
    assert slow.feeds[0].fallback is not None
    stage.wait(NS)
    assert stage.member(slow).state is MemberState.FALLBACK
    assert stage.world.run(lambda: slow.has_ended, 120 * NS)
    assert slow.feeds[0].fetch.phase is Phase.ENDED
    assert stage.all_exact()


@pytest.mark.parametrize("key", [None, bytes(32)])
def test_a_file_that_changes_while_it_goes_to_a_group_ends_its_receivers_with_the_reason(
    key: bytes | None, seed: int
) -> None:  # fmt: skip
    stage = Stage(seed, key=key)
    for _ in range(2):
        stage.listen(key=key)
    stage.begin(0.2)
    stage.server.groups.close(stage.world.now_ns, has_changed=True)
    assert stage.run(10 * NS)
    for listener in stage.listeners:
        (feed,) = listener.feeds
        assert feed.fetch.error is not None
        assert "changed" in feed.fetch.error.message


@pytest.mark.parametrize("flags", [AnnounceFlag.FINAL, AnnounceFlag.FINAL | AnnounceFlag.CHANGED])
def test_forged_words_of_an_end_end_nobody_to_whom_data_comes(flags: AnnounceFlag, seed: int) -> None:
    """The numbers of the forged Announces lie ahead, so that what the server announces seems to come late."""
    stage = Stage(seed, rate_bps=60_000)
    listener = stage.listen(gives_up=True)
    announces: list[bytes] = []
    made: set[bytes] = set()
    sequence = 0

    def look(octets: bytes, *_: object) -> None:
        nonlocal sequence
        header = GroupHeader.parse(octets)
        if octets not in made and not isinstance(header, Reject) and header.packet_type is not GroupPacketType.REPORT:
            sequence = max(sequence, header.sequence)
            announces.extend([octets] * (header.packet_type is GroupPacketType.ANNOUNCE))

    stage.world.taps.append(look)
    assert stage.world.run(lambda: listener.received_count > 10, 10 * NS)
    header, channel = GroupHeader.parse(announces[0]), stage.machine.stream.keys
    assert isinstance(channel, GroupChannel)
    assert not isinstance(header, Reject)
    body = channel.unwrap(header, announces[0])
    assert not isinstance(body, Reject)
    announce = Announce.parse(body, open=True)
    assert not isinstance(announce, Reject)
    forged = replace(announce, flags=flags).encode()
    for _ in range(48):
        datagram = channel.wrap(GroupPacketType.ANNOUNCE, sequence + 30, forged)
        made.add(datagram)
        stage.world.deliver(datagram, listener.feeds[0].machine.server, listener.endpoint.local_address)
        stage.wait(NS // 4)
    assert not listener.is_done
    assert stage.run(60 * NS)
    assert stage.all_exact()


def test_a_forged_word_of_a_change_ends_nobody_in_an_open_group_whose_server_goes_on(seed: int) -> None:
    stage = Stage(seed, rate_bps=500_000)
    listener = stage.listen()
    stage.begin(0.1)
    announces = []
    stage.world.taps.append(
        lambda octets, *_: announces.append(octets) if packet_type(octets) is GroupPacketType.ANNOUNCE else None
    )
    assert stage.world.run(lambda: bool(announces), 10 * NS)
    header = GroupHeader.parse(announces[0])
    assert not isinstance(header, Reject)
    channel = stage.machine.stream.keys
    announce = Announce.parse(channel.unwrap(header, announces[0]), open=True)  # type: ignore[arg-type]
    assert not isinstance(announce, Reject)
    forged = replace(announce, flags=AnnounceFlag.FINAL | AnnounceFlag.CHANGED)
    datagram = channel.wrap(GroupPacketType.ANNOUNCE, header.sequence + 1, forged.encode())
    stage.world.deliver(datagram, ("forger", 1), listener.endpoint.local_address)
    assert stage.run()
    assert stage.all_exact()
