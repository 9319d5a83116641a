"""Who gets a place of a server when all are taken, who must give one up, and what a place is good for unproved."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.base.stream import Address
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_events import Interruption, StreamLost, StreamOpened
from fountain.protocol.session.places import UNPROVED_PATIENCE_NS
from fountain.protocol.session.port_proof import CHALLENGE_INTERVAL_NS, UNPROVED_NS, UNPROVED_PACKET_COUNT_MAX
from fountain.protocol.session.server import UNPROVED_COUNT_MAX
from fountain.protocol.session.server_events import HandshakeRefused
from fountain.protocol.session.server_session import ServerSession
from fountain.wire.control import PacketType, RefusalReason
from fountain.wire.session import ByeReason, Pong, Report
from tests.protocol.pair import HOME, MS, Pair

FEW_NS = NS // 20


def join(pair: Pair, count: int, host: str, first: int = 0) -> list[tuple[ClientMachine, ServerSession]]:
    """So many peers at one host, each with a port of its own, connected and proved."""
    peers = []
    for index in range(first, first + count):
        pair.now_ns += FEW_NS
        client = pair.client(index.to_bytes(8, "big"))
        address = (host, 40_000 + index)
        session = pair.connect(client, address)
        if session is not None:
            peers.append((client, session))
    return peers


def ask_in_vain(pair: Pair, host: str) -> bool:
    """Whether one more peer at `host` is refused, since the server is full."""
    list(iter(pair.server.poll_event, None))
    session = pair.connect(pair.client(b"one more"), (host, 50_000))
    told = list(iter(pair.server.poll_event, None))
    return session is None and told == [HandshakeRefused((host, 50_000), RefusalReason.SERVER_FULL)]


# --- Shares -------------------------------------------------------------------------------------------------


def test_forty_clones_behind_one_address_get_forty_places() -> None:
    pair = Pair(peer_count_max=40)
    assert len(join(pair, 40, "192.0.2.1")) == 40
    assert len(pair.server.sessions) == 40


def test_one_address_that_has_taken_all_places_gives_one_to_each_newcomer_down_to_its_share() -> None:
    pair = Pair(peer_count_max=16)
    assert len(join(pair, 16, "192.0.2.1")) == 16
    for index in range(12):
        assert len(join(pair, 1, f"198.51.100.{index}", first=100 + index)) == 1, index
    hosts = [session.address[0] for session in pair.server.sessions.values()]
    assert hosts.count("192.0.2.1") == 4
    assert ask_in_vain(pair, "203.0.113.1")


def test_the_youngest_session_of_the_address_that_has_most_gives_up_its_place_and_is_notified_why() -> None:
    pair = Pair(peer_count_max=8)
    peers = join(pair, 8, "192.0.2.1")
    client, session = peers[-1]
    newcomer = pair.client(b"newcomer")
    pair.deliver(pair.request(newcomer, ("198.51.100.1", 1)), ("198.51.100.1", 1))
    assert session.end.reason is ByeReason.PLACE_TAKEN
    assert session.session_id not in pair.server.sessions
    list(iter(pair.server.poll_event, None))
    pair.carry(client, session.address)
    told = list(iter(client.poll_event, None))
    assert told == [StreamOpened(), StreamLost(Interruption.PLACE_TAKEN)]
    # It asked again, and its address has more places than others.
    refused = HandshakeRefused(session.address, RefusalReason.SERVER_FULL)
    assert list(iter(pair.server.poll_event, None)) == [refused]
    assert len(pair.server.sessions) == 8


def test_an_address_that_has_most_gets_no_place_of_others() -> None:
    pair = Pair(peer_count_max=8)
    join(pair, 4, "192.0.2.1")
    join(pair, 4, "192.0.2.2", first=4)
    assert ask_in_vain(pair, "192.0.2.1")


def test_one_host_of_a_network_of_ipv6_keeps_its_neighbours_out_no_more_than_others() -> None:
    pair = Pair(peer_count_max=8)
    join(pair, 8, "2001:db8::1")
    assert len(join(pair, 1, "2001:db8::2", first=50)) == 1
    assert len(join(pair, 1, "2001:db8:0:1::1", first=60)) == 1
    assert len(pair.server.sessions) == 8


def test_a_host_that_would_then_have_more_than_its_neighbour_takes_no_place_from_it() -> None:
    pair = Pair(peer_count_max=9)
    join(pair, 5, "2001:db8::1")
    join(pair, 4, "2001:db8::2", first=50)
    assert ask_in_vain(pair, "2001:db8::2")


def test_a_peer_that_is_back_at_a_full_server_takes_its_own_place_alone() -> None:
    pair = Pair(peer_count_max=8)
    join(pair, 8, "192.0.2.1")
    session = pair.connect(pair.client((3).to_bytes(8, "big")), ("192.0.2.1", 999))
    assert session is not None
    assert len(pair.server.sessions) == 8


# --- Proof of the port --------------------------------------------------------------------------------------


def stream(pair: Pair, duration_ns: int) -> int:
    """How many data packets the server sends in so much time."""
    sent_count, end_ns = 0, pair.now_ns + duration_ns
    while pair.now_ns < end_ns:
        pair.now_ns += MS
        pair.server.handle_timeout(pair.now_ns)
        while (order := pair.server.poll_order(pair.now_ns)) is not None:
            sent_count += order.packet_count
    return sent_count


def open_at(pair: Pair, address: Address, peer_id: bytes = b"peer id.") -> tuple[ClientMachine, ServerSession]:
    """A session whose Request came from `address`, though its client receives at another port of that host."""
    client = pair.client(peer_id)
    pair.deliver(pair.request(client, (address[0], HOME[1])), address)
    return client, list(pair.server.sessions.values())[-1]


def take_pings(pair: Pair) -> list[bytes]:
    """The Pings that wait to be sent."""
    return [sent.datagram for sent in iter(pair.server.poll_datagram, None) if sent.datagram[5] == PacketType.PING]


def report_of(client: ClientMachine, count: int) -> bytes:
    """A Report of a client that says it has received so many packets, though it heard nothing."""
    assert client._common.sessions.candidate is not None
    report = Report(count, count, count, 0, 0, 0, 0, 0, 0, 0, 8, False, (), ())
    return client._common.sessions.candidate.channel.seal_packet(PacketType.REPORT, report.encode())


def test_a_port_that_is_not_proved_gets_a_few_packets_at_a_fixed_rate() -> None:
    pair = Pair()
    client, session = open_at(pair, (HOME[0], 9))
    assert stream(pair, NS) == UNPROVED_PACKET_COUNT_MAX
    for _ in range(5):  # Reports, and a Pong that repeats another token, prove nothing.
        pair.now_ns += 100 * MS
        candidate = client._common.sessions.candidate
        assert candidate is not None
        pong = candidate.channel.seal_packet(PacketType.PONG, Pong(session.pings.proof.challenge ^ 1).encode())
        for packet in (report_of(client, UNPROVED_PACKET_COUNT_MAX), pong):
            pair.server.handle_datagram(packet, HOME, pair.now_ns, port=Port.DATA)
        assert stream(pair, 10 * MS) == 0
    assert not session.pings.proof.is_given


def test_a_pong_that_repeats_the_challenge_proves_the_port_wherever_it_comes_from() -> None:
    pair = Pair()
    client, session = open_at(pair, (HOME[0], 40_999))  # as behind a translator with a port for each way
    (ping,) = take_pings(pair)
    client.handle_datagram(ping, pair.now_ns)
    pair.carry(client, HOME)
    assert session.pings.proof.is_given
    assert stream(pair, NS) > 5 * UNPROVED_PACKET_COUNT_MAX


def test_a_challenge_that_was_lost_comes_again() -> None:
    pair = Pair()
    _, session = open_at(pair, HOME)
    assert len(take_pings(pair)) == 1
    stream(pair, 4 * CHALLENGE_INTERVAL_NS)
    assert len(take_pings(pair)) >= 3
    assert not session.pings.proof.is_given


def test_a_report_before_the_proof_brings_the_challenge_again_at_once() -> None:
    pair = Pair()
    client, _ = open_at(pair, HOME)
    take_pings(pair)
    pair.now_ns += 10 * MS
    pair.server.handle_datagram(report_of(client, 0), HOME, pair.now_ns, port=Port.CONTROL)
    assert len(take_pings(pair)) == 1


def test_challenges_of_two_sessions_differ() -> None:
    pair = Pair()
    _, first = open_at(pair, HOME, b"first...")
    _, second = open_at(pair, HOME, b"second..")
    assert first.pings.proof.challenge != second.pings.proof.challenge


def test_a_session_that_never_proves_its_port_ends() -> None:
    pair = Pair()
    _, session = open_at(pair, (HOME[0], 9))
    while pair.now_ns - session.started_ns < UNPROVED_NS - NS // 4:
        pair.now_ns += NS // 4
        session.heard_ns = pair.now_ns  # It reports without end.
        pair.server.handle_timeout(pair.now_ns)
    assert pair.server.sessions
    pair.now_ns += NS // 2
    pair.server.handle_timeout(pair.now_ns)
    assert not pair.server.sessions
    assert session.end.reason is ByeReason.IDLE


def test_many_sessions_of_one_network_that_are_not_proved_send_no_data_but_a_challenge() -> None:
    pair = Pair(peer_count_max=64)
    for index in range(20):
        open_at(pair, (HOME[0], 9), index.to_bytes(8, "big"))
        pair.now_ns += 50 * MS
    assert stream(pair, NS) == UNPROVED_COUNT_MAX * UNPROVED_PACKET_COUNT_MAX


def test_sessions_that_are_not_proved_make_room_at_a_full_server() -> None:
    pair = Pair(peer_count_max=4)
    for index in range(4):
        open_at(pair, (f"192.0.2.{index}", 9), index.to_bytes(8, "big"))
    assert ask_in_vain(pair, "198.51.100.1")
    pair.now_ns += UNPROVED_PATIENCE_NS
    assert len(join(pair, 1, "198.51.100.1", first=70)) == 1
    assert len(pair.server.sessions) == 4
