"""Whom a server serves: who counts as done, who is shown and for how long, and what became of receivers of a group."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fountain.cli.labels import missing_names
from fountain.engine.serving import audience as audience_module
from fountain.engine.serving.audience import (
    ENDED_COUNT_MAX,
    SESSION_COUNT_MAX,
    SHOWN_RECEIVER_COUNT_MAX,
    Audience,
    event_of_member,
)
from fountain.events import (
    Event,
    HookReported,
    PeerFinished,
    PeerGone,
    PeerJoined,
    PeerReason,
    PeerSnapshot,
    PeerState,
    ReceiverOutcome,
    ReceiverResult,
)
from fountain.limits import NS
from fountain.protocol.base.transmit import Port
from fountain.protocol.group.events import (
    MemberDone,
    MemberEvent,
    MemberFailed,
    MemberFellBack,
    MemberHookEnded,
    MemberJoined,
    MemberLeft,
    MemberReturned,
    MemberSilent,
)
from fountain.protocol.group.member import Member
from fountain.protocol.group.server import GroupServerMachine
from fountain.protocol.schedule.lane import Lane
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.server_events import HandshakeRefused, SessionOpened
from fountain.protocol.session.server_session import ServerSession, SessionEnd, SessionState
from fountain.wire.control import PacketType
from fountain.wire.group import GroupReport, MemberState
from fountain.wire.session import ByeReason, Stop, StopReason
from tests.protocol.pair import MS, Pair

HOST = "192.0.2.1"
RATE = 100_000_000


class Stage:
    """A server's machine and its audience; clients say what a test wants."""

    def __init__(self, *, peer_count_max: int = 512) -> None:
        self.pair = Pair(peer_count_max=peer_count_max)
        self.audience = Audience(RATE, self.pair.now_ns)
        self.told: list[PeerFinished | PeerGone] = []

    def join(
        self, number: int, *, has_manifest: bool = False, host: str = HOST, done_count: int | None = None
    ) -> tuple[ClientMachine, ServerSession]:  # fmt: skip
        self.pair.now_ns += 50 * MS
        client = self.pair.client(number.to_bytes(8, "big"))
        session = self.pair.connect(client, (host, 40_000 + number % 10_000), done_count=done_count)
        assert session is not None
        if has_manifest:
            session.needed_count = 1  # as its Request would have had it
        self.listen()
        return client, session

    def say_done(self, session: ServerSession, client: ClientMachine) -> PeerFinished | PeerGone:
        """A Stop that says DONE comes; what is reported to whoever watches the server."""
        channel = client.session or client._common.sessions.candidate
        assert channel is not None
        stop = channel.channel.seal_packet(PacketType.STOP, Stop(StopReason.DONE, 0).encode())
        self.pair.server.handle_datagram(stop, session.address, self.pair.now_ns, port=Port.CONTROL)
        self.listen()
        return self.told[-1]

    def listen(self) -> None:
        while (event := self.pair.server.poll_event()) is not None:
            assert not isinstance(event, HandshakeRefused)
            if isinstance(event, SessionOpened):
                self.audience.opened(event.session, self.pair.now_ns)
            else:
                self.told.append(self.audience.ended(event.session, self.pair.now_ns))


# --- Who counts as done -------------------------------------------------------------------------------------


def test_peers_that_say_they_are_done_and_were_sent_nothing_do_not_count() -> None:
    stage = Stage()
    for number in range(5):
        client, session = stage.join(number, has_manifest=number % 2 == 1)
        told = stage.say_done(session, client)
        assert isinstance(told, PeerGone)
        assert told.reason is PeerReason.NOT_SENT
    assert not stage.audience._done_peers
    assert not stage.audience._done_objects
    assert {peer.state for peer in stage.audience.progress(stage.pair.now_ns).peers} == {PeerState.GONE}


@pytest.mark.parametrize("missing", [0, 1])
def test_a_peer_that_comes_back_with_all_of_it_counts_though_nothing_is_sent(missing: int) -> None:
    stage = Stage()
    block_count = -(-1_563 // 16)
    told = stage.say_done(*reversed(stage.join(1, done_count=block_count - missing)))
    assert isinstance(told, PeerGone if missing else PeerFinished)


@pytest.mark.parametrize("missing", [0, 1])
def test_a_peer_that_begins_counts_when_it_was_sent_every_symbol(missing: int) -> None:
    stage = Stage()
    client, session = stage.join(1)
    session.sending.record(1_563 + 5 - missing, stage.pair.now_ns)  # 100,000 octets of object, 300 of manifest
    told = stage.say_done(session, client)
    assert isinstance(told, PeerGone if missing else PeerFinished)
    assert len(stage.audience._done_peers) == 1 - missing


def test_what_a_peer_was_sent_in_an_earlier_session_counts() -> None:
    stage = Stage()
    _, first = stage.join(1)
    first.sending.record(1_500, stage.pair.now_ns)
    client, second = stage.join(1)
    second.sending.record(68, stage.pair.now_ns)
    assert isinstance(stage.say_done(second, client), PeerFinished)
    assert stage.audience._done_peers == {(HOST, (1).to_bytes(8, "big"))}


def test_a_peer_that_resumes_counts_when_it_was_sent_anything() -> None:
    stage = Stage()
    client, session = stage.join(1, has_manifest=True)
    session.sending.record(1, stage.pair.now_ns)
    assert isinstance(stage.say_done(session, client), PeerFinished)


# --- What is forgotten --------------------------------------------------------------------------------------


def test_sessions_that_ended_are_shown_for_a_minute_and_no_more_than_the_latest() -> None:
    stage = Stage()
    ids = []
    for number in range(ENDED_COUNT_MAX + 20):
        client, session = stage.join(number, host=f"198.51.{number}.1")
        ids.append(f"{session.session_id:016x}")
        stage.say_done(session, client)
    shown = [peer.session_id for peer in stage.audience.progress(stage.pair.now_ns).peers]
    assert shown == ids[20:]
    assert len(stage.audience._ended) == ENDED_COUNT_MAX
    assert not stage.audience.progress(stage.pair.now_ns + 61 * NS).peers
    assert not stage.audience._ended


def test_more_sessions_than_anybody_looks_at_are_not_shown() -> None:
    stage = Stage()
    for number in range(SESSION_COUNT_MAX + 12):
        stage.join(number, host=f"10.0.{number % 256}.1")
    assert len(stage.audience._singles) == SESSION_COUNT_MAX + 12
    assert len(stage.audience.progress(stage.pair.now_ns).peers) == SESSION_COUNT_MAX


def test_peers_that_are_done_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audience_module, "PEER_COUNT_MAX", 10)
    stage = Stage()
    for number in range(25):
        client, session = stage.join(number, has_manifest=True)
        session.sending.record(1, stage.pair.now_ns)
        assert isinstance(stage.say_done(session, client), PeerFinished)
    assert len(stage.audience._done_peers) == len(stage.audience._done_objects) == 10
    assert len(stage.audience._sent_to) == 10


# --- Receivers of a group ------------------------------------------------------------------------------------


class Group:
    """Streams without packets, and receivers and sessions that are put into them by hand."""

    def __init__(self, *names: str) -> None:
        self.machines = {
            name: SimpleNamespace(
                members={}, sequence=0, packet_size=1400,
                stream=SimpleNamespace(
                    offer=SimpleNamespace(
                        name=name, object_id=name.encode(), object_size=1000,
                        geometry=SimpleNamespace(symbol_count=1000),
                    ),
                ),
            )
            for name in names
        }  # fmt: skip
        self.audience = Audience(RATE, 0, [cast(GroupServerMachine, machine) for machine in self.machines.values()])

    def join(self, name: str, number: int, state: MemberState, *, now_ns: int = 0, host: str = "") -> Member:
        peer_id = number.to_bytes(8, "big")
        member = Member(peer_id, ("10.0.0.1", 40_000 + number), now_ns)
        member.host, member.state = host, state
        if state is MemberState.DONE:
            member.hold(now_ns)
        self.machines[name].members[peer_id] = member
        return member

    def open(self, member: Member, name: str = "a", session_id: int = 1) -> Session:
        """A peer opens a session."""
        session = Session(session_id, member.peer_id, member.address, member.host)
        session.offer.name, session.offer.object_id = name, name.encode()
        self.audience.opened(cast(ServerSession, session), 0)
        return session

    def end(self, session: Session, stop_reason: StopReason | None, now_ns: int = 0) -> None:
        """A session ends: by a Stop of its peer, or, without one, since the server stops."""
        session.end = SessionEnd(ByeReason.STOPPING if stop_reason is None else stop_reason, now_ns)
        self.audience.ended(cast(ServerSession, session), now_ns)

    def fall_back(self) -> tuple[Member, Session]:
        """A receiver that has left the group, and whose session has begun."""
        member = self.join("a", 1, MemberState.FALLBACK, host="pc1")
        member.report = report(0.2)
        session = self.open(member)
        session.fraction, session.loss.fraction = 0.6, 0.1
        return member, session

    def shown(self) -> list[PeerSnapshot]:
        return list(self.audience.progress(0).peers)

    def result(self) -> ReceiverResult:
        return self.audience.results()[0]


def report(fraction: float, received_count: int = 0) -> GroupReport:
    """What the audience reads of a receiver's report."""
    read = SimpleNamespace(fraction=round(fraction * 65_535), receive_rate_bps=0, received_count=received_count)
    return cast(GroupReport, read)


@dataclass
class Session:
    """What a server's audience looks at of a session."""

    session_id: int
    peer_id: bytes
    address: tuple[str, int]
    host: str
    offer: Any = field(
        default_factory=lambda: SimpleNamespace(
            object_size=1000, symbol_size=100, geometry=SimpleNamespace(block_symbols_max=10)
        )
    )
    lane: Lane = field(default_factory=lambda: Lane(0, systematic=True))
    carousel: Any = field(default_factory=lambda: SimpleNamespace(has_work=True, is_complete=False))
    loss: Any = field(default_factory=lambda: SimpleNamespace(fraction=0.0))
    state: SessionState = SessionState.STREAMING
    end: SessionEnd | None = None
    started_ns: int = 0
    fraction: float = 0.0
    lost_fraction: float = 0.0
    sent_count: int = 1
    received_count: int = 0

    @property
    def place(self) -> tuple[tuple[str, int], str]:
        return self.address, self.host

    needed_count: int = 1


def test_with_one_object_a_receiver_counts_at_once() -> None:
    group = Group("a")
    group.join("a", 1, MemberState.DONE, now_ns=NS)
    assert group.audience.count_done(NS) == 1


def test_with_several_objects_a_receiver_counts_when_it_has_joined_nothing_for_a_while() -> None:
    group = Group("a", "b")
    count_done = group.audience.count_done
    group.join("a", 1, MemberState.DONE, now_ns=NS)
    assert count_done(3 * NS - 1) == 0
    assert count_done(3 * NS) == 1
    again = group.join("b", 1, MemberState.RECEIVING, now_ns=4 * NS)
    assert count_done(60 * NS) == 0
    again.state = MemberState.DONE
    again.hold(60 * NS)
    assert count_done(60 * NS) == 0
    assert count_done(62 * NS) == 1


def test_at_the_end_nobody_waits_for_what_a_receiver_might_join() -> None:
    group = Group("a", "b")
    group.join("a", 1, MemberState.DONE, now_ns=NS)
    assert group.audience.count_done(NS, is_ending=True) == 1


def test_who_has_one_object_by_unicast_still_lacks_what_else_it_joined() -> None:
    group = Group("a", "b")
    member = group.join("a", 1, MemberState.FALLBACK)
    group.join("b", 1, MemberState.RECEIVING)
    group.end(group.open(member), StopReason.DONE)
    assert group.audience.count_done(60 * NS) == 0
    group.end(group.open(member, "b", 2), StopReason.DONE)
    assert group.audience.count_done(60 * NS) == 1


# --- Receivers that leave a group ----------------------------------------------------------------------------


def test_a_receiver_that_left_the_group_is_shown_once_with_what_its_session_has() -> None:
    group = Group("a")
    member, session = group.fall_back()
    group.shown()
    session.received_count = 1_000
    (shown,) = group.audience.progress(NS).peers
    assert (shown.session_id, shown.state, shown.fraction) == (member.peer_id.hex(), PeerState.LEAVING, 0.6)
    assert shown.rate_bps == 8e5


def test_a_receiver_that_left_the_group_has_one_address_in_all_that_is_reported_of_it() -> None:
    group = Group("a")
    member = group.join("a", 1, MemberState.FALLBACK)
    session = Session(1, member.peer_id, ("10.0.0.1", 50_000), "")
    session.offer.name, session.offer.object_id = "a", b"a"
    joined = group.audience.opened(cast(ServerSession, session), 0)
    (shown,) = group.shown()
    session.end = SessionEnd(StopReason.DONE, NS)
    ended = group.audience.ended(cast(ServerSession, session), NS)
    addresses = {joined.address, shown.address, ended.address, group.result().address}
    assert addresses == {"10.0.0.1:40001"}


def test_a_receiver_whose_reports_come_and_that_hears_no_data_is_shown_as_silent_with_the_reason() -> None:
    group = Group("a")
    member = group.join("a", 1, MemberState.RECEIVING, host="pc1")
    member.reception.deaf_since_ns = NS
    (shown,) = group.shown()
    assert shown.state is PeerState.SILENT
    assert missing_names(group.audience.results()) == ["pc1 (hears no data)"]


def test_a_peer_that_is_no_receiver_of_the_group_is_shown_as_it_is() -> None:
    group = Group("a")
    member = group.join("a", 1, MemberState.RECEIVING)
    group.open(Member((9).to_bytes(8, "big"), ("10.0.0.9", 4), 0), session_id=0x0123456789ABCDEF)
    assert [peer.session_id for peer in group.shown()] == ["0123456789abcdef", member.peer_id.hex()]


def test_the_summary_has_what_the_session_of_a_receiver_came_to() -> None:
    group = Group("a")
    member, session = group.fall_back()
    group.shown()
    group.end(session, None, NS)
    result = group.result()
    assert (result.state, result.reason) == (ReceiverOutcome.INCOMPLETE, PeerReason.UNICAST)
    assert (result.fraction, result.loss) == (0.6, 0.1)
    again = group.open(member, session_id=2)
    again.lost_fraction = 0.04
    group.end(again, StopReason.DONE, 5 * NS)
    done = group.result()
    assert (done.state, done.fraction, done.duration_s, done.loss) == (ReceiverOutcome.DONE, 1.0, 5.0, 0.04)


def test_who_was_interrupted_or_fell_silent_by_itself_is_not_fetching() -> None:
    group = Group("a")
    member, session = group.fall_back()
    session.state = SessionState.SILENT
    group.shown()
    group.end(session, None, NS)
    assert (group.result().state, group.result().reason) == (ReceiverOutcome.SILENT, PeerReason.SILENT)
    group.end(group.open(member, session_id=2), StopReason.INTERRUPTED)
    assert (group.result().state, group.result().reason) == (ReceiverOutcome.LEFT, PeerReason.INTERRUPTED)
    assert missing_names(group.audience.results()) == ["pc1 (interrupted)"]
    assert [peer.state for peer in group.shown()] == [PeerState.GONE]


@pytest.mark.parametrize(
    ("reason", "outcome"),
    [
        (StopReason.INTERRUPTED, ReceiverOutcome.LEFT),
        (StopReason.STORAGE, ReceiverOutcome.FAILED),
        (StopReason.INTEGRITY, ReceiverOutcome.FAILED),
        (StopReason.DONE, ReceiverOutcome.INCOMPLETE),  # It says so, and was not sent the object.
        (ByeReason.IDLE, ReceiverOutcome.SILENT),
        (ByeReason.PLACE_TAKEN, ReceiverOutcome.INCOMPLETE),
    ],
)
def test_what_ended_the_session_of_a_receiver_says_what_became_of_it(
    reason: StopReason | ByeReason, outcome: ReceiverOutcome
) -> None:
    group = Group("a")
    _, session = group.fall_back()
    group.shown()
    session.end, session.sent_count = SessionEnd(reason, NS), 0
    told = group.audience.ended(cast(ServerSession, session), NS)
    assert isinstance(told, PeerGone)
    assert (group.result().state, group.result().reason) == (outcome, told.reason)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (MemberJoined, PeerJoined),
        (MemberDone, PeerFinished),
        (MemberHookEnded, HookReported),
        (MemberReturned, None),
        (MemberFailed, PeerReason.FAILED),
        (MemberLeft, PeerReason.INTERRUPTED),
        (MemberSilent, PeerReason.SILENT),
        (MemberFellBack, PeerReason.TOO_SLOW),
    ],
)
def test_observers_are_notified_of_what_happens_to_a_receiver(
    event: type[MemberEvent], told: type[Event] | PeerReason | None
) -> None:
    group = Group("a")
    member = group.join("a", 1, MemberState.RECEIVING, host="pc1")
    found = event_of_member(event(member), group.machines["a"].stream.offer)
    assert (found.reason if isinstance(found, PeerGone) else found and type(found)) == told
    assert found is None or (found.session_id, found.host) == (member.peer_id.hex(), "pc1")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("received_share", "resumed_fraction"), [(0.0, 0.25), (0.2, 0.25), (0.251, 0.0), (0.4, 0.0)]
)  # fmt: skip
def test_a_receiver_whose_symbols_all_came_from_the_stream_resumes_nothing(
    received_share: float, resumed_fraction: float
) -> None:  # fmt: skip
    """A receiver that had just begun was shown as resuming at 0.2 %."""
    group = Group("a")
    member, offer = group.join("a", 1, MemberState.RECEIVING), group.machines["a"].stream.offer
    member.report = report(0.25, math.ceil(received_share * offer.geometry.symbol_count))
    joined = event_of_member(MemberJoined(member), offer)
    assert isinstance(joined, PeerJoined)
    assert joined.resumed_fraction == pytest.approx(resumed_fraction, abs=1e-4)


# --- Who is named --------------------------------------------------------------------------------------------


def test_receivers_of_one_name_are_distinguished_by_their_addresses() -> None:
    group = Group("a")
    group.join("a", 1, MemberState.LEFT, host="pc")
    group.join("a", 2, MemberState.LEFT, host="pc")
    group.join("a", 3, MemberState.LEFT, host="other")
    assert missing_names(group.audience.results()) == [
        "pc (10.0.0.1:40001, interrupted)",
        "pc (10.0.0.1:40002, interrupted)",
        "other (interrupted)",
    ]


def test_three_hosts_are_named_whose_hooks_are_running() -> None:
    group = Group("a")
    for number in range(5):
        group.join("a", number, MemberState.HOOKING, host=f"pc{number}")
    assert group.audience.hooking_hosts == "pc0, pc1, pc2 and 2 more"


def test_of_too_many_receivers_those_in_trouble_and_the_slow_ones_are_shown() -> None:
    group = Group("a")
    for number in range(SHOWN_RECEIVER_COUNT_MAX + 100):
        state = MemberState.DONE if number % 2 else MemberState.RECEIVING
        group.join("a", number, state).report = report(number / 1000)
    group.join("a", 10_000, MemberState.FAILED).report = report(0.9)
    shown = group.shown()
    assert len(shown) == SHOWN_RECEIVER_COUNT_MAX
    assert shown[0].state is PeerState.FAILED
    receiving = [peer.fraction for peer in shown if peer.state is PeerState.STREAMING]
    assert receiving == sorted(receiving)
    assert len(receiving) == SHOWN_RECEIVER_COUNT_MAX // 2 + 50
