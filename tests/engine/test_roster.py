"""What a server remembers of its peers: who counts as done, and for how long the others are shown."""

from __future__ import annotations

import pytest

from fountain.engine.serving import roster as roster_module
from fountain.engine.serving.roster import ENDED_COUNT_MAX, SHOWN_COUNT_MAX, Roster
from fountain.events import PeerFinished, PeerGone, PeerReason, PeerState
from fountain.limits import NS
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.server_events import HandshakeRefused, SessionOpened
from fountain.protocol.session.server_session import ServerSession
from fountain.wire.control import PacketType
from fountain.wire.session import Stop, StopReason
from tests.protocol.pair import MS, Pair

HOST = "192.0.2.1"


class Stage:
    """A server's machine and its roster; clients say what a test wants."""

    def __init__(self, *, peer_count_max: int = 512) -> None:
        self.pair = Pair(peer_count_max=peer_count_max)
        self.roster = Roster(self.pair.now_ns)
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
        """A Stop that says DONE comes; what whoever watches the server is told."""
        channel = client.session or client._candidate
        assert channel is not None
        stop = channel.seal_packet(PacketType.STOP, Stop(StopReason.DONE, 0).encode())
        self.pair.server.handle_datagram(stop, session.address, self.pair.now_ns, on_data_port=False)
        self.listen()
        return self.told[-1]

    def listen(self) -> None:
        while (event := self.pair.server.poll_event()) is not None:
            assert not isinstance(event, HandshakeRefused)
            if isinstance(event, SessionOpened):
                self.roster.joined(event.session, self.pair.now_ns)
            else:
                self.told.append(self.roster.ended(event.session))


# --- Who counts as done -------------------------------------------------------------------------------------


def test_peers_that_say_they_are_done_and_were_sent_nothing_do_not_count() -> None:
    stage = Stage()
    for number in range(5):
        client, session = stage.join(number, has_manifest=number % 2 == 1)
        told = stage.say_done(session, client)
        assert isinstance(told, PeerGone)
        assert told.reason is PeerReason.NOT_SENT
    assert not stage.roster.done_peers
    assert not stage.roster.done_objects
    assert {peer.state for peer in stage.roster.progress(stage.pair.now_ns).peers} == {PeerState.GONE}


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
    session.record_train(1_563 + 5 - missing, stage.pair.now_ns)  # 100,000 octets of object, 300 of manifest
    told = stage.say_done(session, client)
    assert isinstance(told, PeerGone if missing else PeerFinished)
    assert len(stage.roster.done_peers) == 1 - missing


def test_what_a_peer_was_sent_in_an_earlier_session_counts() -> None:
    stage = Stage()
    _, first = stage.join(1)
    first.record_train(1_500, stage.pair.now_ns)
    client, second = stage.join(1)
    second.record_train(68, stage.pair.now_ns)
    assert isinstance(stage.say_done(second, client), PeerFinished)
    assert stage.roster.done_peers == {(HOST, (1).to_bytes(8, "big"))}


def test_a_peer_that_resumes_counts_when_it_was_sent_anything() -> None:
    stage = Stage()
    client, session = stage.join(1, has_manifest=True)
    session.record_train(1, stage.pair.now_ns)
    assert isinstance(stage.say_done(session, client), PeerFinished)


# --- What is forgotten --------------------------------------------------------------------------------------


def test_sessions_that_ended_are_shown_for_a_minute_and_no_more_than_the_latest() -> None:
    stage = Stage()
    ids = []
    for number in range(ENDED_COUNT_MAX + 20):
        client, session = stage.join(number, host=f"198.51.{number}.1")
        ids.append(f"{session.session_id:016x}")
        stage.say_done(session, client)
    shown = [peer.session_id for peer in stage.roster.progress(stage.pair.now_ns).peers]
    assert shown == ids[20:]
    assert len(stage.roster._shown_ids) == ENDED_COUNT_MAX
    assert not stage.roster.progress(stage.pair.now_ns + 61 * NS).peers
    assert not stage.roster._shown_ids


def test_more_sessions_than_anybody_looks_at_are_not_shown() -> None:
    stage = Stage()
    for number in range(SHOWN_COUNT_MAX + 12):
        stage.join(number, host=f"10.0.{number % 256}.1")
    assert stage.roster.count == SHOWN_COUNT_MAX + 12
    assert len(stage.roster.progress(stage.pair.now_ns).peers) == SHOWN_COUNT_MAX


def test_peers_that_are_done_are_remembered_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roster_module, "PEER_COUNT_MAX", 10)
    stage = Stage()
    for number in range(25):
        client, session = stage.join(number, has_manifest=True)
        session.record_train(1, stage.pair.now_ns)
        assert isinstance(stage.say_done(session, client), PeerFinished)
    assert len(stage.roster.done_peers) == len(stage.roster.done_objects) == 10
    assert len(stage.roster._sent_to) == 10
