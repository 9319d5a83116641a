"""Who gets a session of a server, who loses one, and how long one lasts: both machines, without any network."""

from __future__ import annotations

import gc
import weakref
from dataclasses import replace

import pytest

from fountain.limits import NS
from fountain.protocol.base.transmit import Port
from fountain.protocol.session import server
from fountain.protocol.session.channel import ControlChannel
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_events import ClientState, Failure
from fountain.protocol.session.server_session import GONE_NS, ServerSession, SessionState
from fountain.wire.control import Hello, PacketType, Request, Retry, parse_header
from fountain.wire.reject import Reject
from fountain.wire.session import ByeReason, Ping, Pong, Report, SessionHeader, Stop, StopReason
from tests.protocol.pair import HOME, MS, Pair, connected, handshake_of


def sent_hello(client: ClientMachine) -> Hello:
    """The Hello that a client has just sent."""
    waiting = client.poll_datagram()
    assert waiting is not None
    return handshake_of(waiting.datagram, Hello)


# --- Places -------------------------------------------------------------------------------------------------


def test_a_peer_that_is_back_takes_its_own_place_at_a_full_server() -> None:
    pair = Pair(peer_count_max=1)
    first = pair.connect(pair.client())
    assert first is not None
    second = pair.connect(pair.client(), (HOME[0], 40_001))
    assert second is not None
    assert list(pair.server.sessions.values()) == [second]
    assert first.end.reason is StopReason.SUPERSEDED


def test_another_peer_takes_no_place_of_a_full_server() -> None:
    pair = Pair(peer_count_max=1)
    first = pair.connect(pair.client())
    assert pair.connect(pair.client(b"another.")) is None
    assert list(pair.server.sessions.values()) == [first]


def test_the_same_peer_id_at_another_host_is_another_peer() -> None:
    pair = Pair()
    first = pair.connect(pair.client())
    second = pair.connect(pair.client(), ("192.0.2.2", HOME[1]))
    assert list(pair.server.sessions.values()) == [first, second]


# --- Cookies ------------------------------------------------------------------------------------------------


def test_a_cookie_opens_one_session_and_a_copy_of_its_request_none() -> None:
    pair = Pair()
    octets = pair.request(pair.client())
    pair.deliver(octets)
    pair.deliver(octets)
    assert len(pair.server.sessions) == 1
    assert pair.server.rejects.total == 0
    request = handshake_of(octets, Request)
    pair.deliver(replace(request, session=request.session ^ 1).encode())
    assert len(pair.server.sessions) == 1
    assert pair.server.rejects.count(Reject.BAD_FIELD) == 1
    assert pair.refusals() == []


def test_a_retry_is_answered_at_once_with_its_token_and_once_for_each_hello_that_was_due() -> None:
    pair = Pair()
    client = pair.client()
    first = sent_hello(client)
    for token in (b"1" * 20, b"2" * 20):
        client.handle_datagram(Retry(first.nonce, token).encode(), pair.now_ns)
    assert sent_hello(client) == replace(first, token=b"1" * 20)
    assert client.poll_datagram() is None
    client.handle_datagram(Retry(bytes(16), b"3" * 20).encode(), pair.now_ns)
    assert client.poll_datagram() is None
    assert client.rejects.count(Reject.OUT_OF_PLACE) == 1
    client.handle_timeout(client.next_timeout(pair.now_ns))
    assert sent_hello(client) == replace(first, token=b"1" * 20)
    client.handle_datagram(Retry(first.nonce, b"4" * 20).encode(), pair.now_ns)
    assert sent_hello(client).token == b"4" * 20


def test_after_the_first_retry_hellos_go_out_as_soon_as_the_first_ones() -> None:
    pair = Pair()
    client = pair.client()
    hello = sent_hello(client)
    for _ in range(3):
        now_ns = client.next_timeout(pair.now_ns)
        client.handle_timeout(now_ns)
        hello = sent_hello(client)
    for token in (b"1" * 20, b"2" * 20):
        client.handle_datagram(Retry(hello.nonce, token).encode(), now_ns)
        assert sent_hello(client).token == token
        waits = []
        for _ in range(3):
            waits.append(client.next_timeout(now_ns) - now_ns)
            now_ns += waits[-1]
            client.handle_timeout(now_ns)
            hello = sent_hello(client)
        assert waits == [w * NS // 4 for w in ((1, 2, 4) if token[:1] == b"1" else (8, 8, 8))]


def test_a_request_that_was_damaged_can_be_sent_again() -> None:
    pair = Pair()
    octets = pair.request(pair.client())
    pair.deliver(octets[:-1] + bytes([octets[-1] ^ 1]))
    assert not pair.server.sessions
    assert pair.server.rejects.count(Reject.BAD_SEAL) == 1
    pair.deliver(octets)
    assert len(pair.server.sessions) == 1


# --- Packets of a session -----------------------------------------------------------------------------------


@pytest.mark.parametrize("packet_type", [PacketType.PING, PacketType.PONG])
def test_an_echo_of_another_length_is_counted_and_keeps_nothing_alive(packet_type: PacketType) -> None:
    pair, client, session = connected()
    assert client.session is not None
    heard = client.patience.heard_ns, session.heard_ns
    pair.now_ns += MS
    client.handle_datagram(session.channel.seal_packet(packet_type, bytes(7)), pair.now_ns)
    pair.server.handle_datagram(
        client.session.channel.seal_packet(packet_type, bytes(9)), HOME, pair.now_ns, port=Port.DATA
    )
    assert client.rejects.count(Reject.BAD_LENGTH) == 1
    assert pair.server.rejects.count(Reject.BAD_LENGTH) == 1
    assert (client.patience.heard_ns, session.heard_ns) == heard


def test_a_stop_ack_with_a_body_acknowledges_nothing() -> None:
    pair, client, session = connected()
    client.stop(StopReason.DONE, pair.now_ns)
    client.handle_datagram(session.channel.seal_packet(PacketType.STOP_ACK, b"\0"), pair.now_ns)
    assert client.state is ClientState.STOPPING
    assert client.rejects.count(Reject.BAD_LENGTH) == 1
    client.handle_datagram(session.channel.seal_packet(PacketType.STOP_ACK, b""), pair.now_ns)
    assert client.state is ClientState.CLOSED


def test_packets_of_the_other_sides_kind_are_out_of_place() -> None:
    pair, client, session = connected()
    assert client.session is not None
    client.handle_datagram(session.channel.seal_packet(PacketType.STOP, Stop(StopReason.DONE, 0).encode()), pair.now_ns)
    assert client.rejects.count(Reject.OUT_OF_PLACE) == 1
    bye = client.session.channel.seal_packet(PacketType.STOP_ACK, b"")
    pair.server.handle_datagram(bye, HOME, pair.now_ns, port=Port.CONTROL)
    assert pair.server.rejects.count(Reject.OUT_OF_PLACE) == 1
    assert list(pair.server.sessions.values()) == [session]


def test_a_copy_and_a_forgery_are_counted_separately() -> None:
    pair, client, session = connected()
    ping = session.channel.seal_packet(PacketType.PING, Ping(1).encode())
    client.handle_datagram(ping, pair.now_ns)
    client.handle_datagram(ping, pair.now_ns)
    client.handle_datagram(ping[:-1] + bytes([ping[-1] ^ 1]), pair.now_ns)
    assert client.rejects.count(Reject.REPLAYED) == 1
    assert client.rejects.count(Reject.BAD_SEAL) == 1
    client.handle_datagram(SessionHeader(PacketType.PING, 1, 1).encode() + bytes(24), pair.now_ns)
    assert client.rejects.count(Reject.UNKNOWN_SESSION) == 1
    client.handle_datagram(SessionHeader(PacketType.PING, session.session_id, 0).encode() + bytes(24), pair.now_ns)
    assert client.rejects.count(Reject.BAD_FIELD) == 1


def test_a_report_that_expects_what_was_never_sent_still_shows_what_is_needed() -> None:
    pair, client, session = connected()
    assert client.session is not None
    sent_count = 0
    while sent_count < 40:
        pair.now_ns += MS
        order = pair.server.poll_order(pair.now_ns)
        assert order is not None
        sent_count += order.packet_count
    pair.now_ns += NS
    rtt_ns = session.rtt.smoothed_ns
    report = Report(1 << 20, 20, 1 << 20, (1 << 20) - 20, 1, 1, 0, 0, 0, 0, 8, True, ((0, 2),), ())
    packet = client.session.channel.seal_packet(PacketType.REPORT, report.encode())
    pair.server.handle_datagram(packet, HOME, pair.now_ns, port=Port.CONTROL)
    assert 0 in session.carousel.done
    assert 1 in session.carousel.done
    assert session.rtt.smoothed_ns == rtt_ns
    assert session.carousel.has_work


def test_a_report_that_comes_late_is_not_believed() -> None:
    pair, _, session = connected()
    session.sending.record(200, pair.now_ns)
    pair.now_ns += 20 * MS
    echo_us = (pair.now_ns - 20 * MS) // 1000 & 0xFFFF_FFFF
    session.handle_report(Report(150, 140, 150, 10, echo_us, 0, 0, 0, 0, 0, 8, True, ((0, 3),), ((4, 5),)), pair.now_ns)
    known = (session.rtt.smoothed_ns, session.lost_fraction, session.received_count)
    assert 0 < session.lost_fraction < 0.1
    pair.now_ns += 300 * MS
    session.handle_report(Report(120, 60, 120, 60, echo_us, 0, 0, 0, 0, 0, 2, True, ((7, 1),), ((4, 9),)), pair.now_ns)
    assert (session.rtt.smoothed_ns, session.lost_fraction, session.received_count) == known
    assert session.carousel.open_limit == 8
    assert 7 not in session.carousel.done


def test_the_time_for_which_a_client_held_an_echo_is_no_round_trip() -> None:
    pair, _, session = connected()
    session.sending.record(10, pair.now_ns)
    echo_us = pair.now_ns // 1000 & 0xFFFF_FFFF
    pair.now_ns += 70 * MS
    session.handle_report(Report(10, 10, 10, 0, echo_us, 50_000, 0, 0, 0, 0, 8, False, (), ()), pair.now_ns)
    assert session.rtt.smoothed_ns == 20 * MS


def learning(monkeypatch: pytest.MonkeyPatch) -> tuple[Pair, ControlChannel, list[int]]:
    """A session that has sent 100 packets, its client's channel, and the counts of the Reports that it learns from."""
    pair, client, session = connected()
    assert client.session is not None
    session.sending.record(100, pair.now_ns)
    learned: list[int] = []
    monkeypatch.setattr(session, "handle_report", lambda report, now_ns: learned.append(report.received_count))
    pair.now_ns += 10 * MS
    return pair, client.session.channel, learned


def test_a_report_that_overtook_another_is_not_replaced_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    pair, channel, learned = learning(monkeypatch)
    reports = [Report(count, count, count, 0, 0, 0, 0, 0, 0, 0, 8, False, (), ()) for count in (1, 2, 3)]
    first, second, third = (channel.seal_packet(PacketType.REPORT, report.encode()) for report in reports)
    for packet in (first, third, second):
        pair.server.handle_datagram(packet, HOME, pair.now_ns, port=Port.CONTROL)
    pair.now_ns += MS
    pair.server.handle_timeout(pair.now_ns)
    assert learned == [1, 3]


def test_of_reports_that_come_faster_than_clients_send_them_the_latest_is_learned_from(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pair, channel, learned = learning(monkeypatch)
    for count in range(1, 51):
        report = Report(count, count, count, 0, 0, 0, 0, 0, 0, 0, 8, False, (), ())
        packet = channel.seal_packet(PacketType.REPORT, report.encode())
        pair.server.handle_datagram(packet, HOME, pair.now_ns, port=Port.CONTROL)
        pair.server.handle_timeout(pair.now_ns)
    assert learned == [1]
    assert pair.server.next_timeout(pair.now_ns) <= pair.now_ns + MS
    pair.now_ns += MS
    pair.server.handle_timeout(pair.now_ns)
    assert learned == [1, 50]
    pair.now_ns += MS
    pair.server.handle_timeout(pair.now_ns)
    assert learned == [1, 50]


def test_a_client_pings_the_data_port_every_ten_seconds_to_keep_its_way_open() -> None:
    pair, client, session = connected()
    start_ns, times_ns = pair.now_ns, []
    while pair.now_ns < start_ns + 35 * NS:
        pair.now_ns += NS // 4
        client.handle_datagram(session.channel.seal_packet(PacketType.PONG, Pong(0).encode()), pair.now_ns)
        client.patience.advance(pair.now_ns, is_steady=True)  # as new symbols would
        client.handle_timeout(pair.now_ns)
        for sent in iter(client.poll_datagram, None):
            if sent.datagram[5] == PacketType.PING:
                assert sent.destination is Port.DATA
                times_ns.append(pair.now_ns - start_ns)
    assert times_ns == [10 * NS, 20 * NS, 30 * NS]


# --- Circuit breaker ----------------------------------------------------------------------------------------


def lost_stream() -> tuple[Pair, ClientMachine, ServerSession]:
    """A session of which nothing has arrived for too long; the Bye that says so is lost."""
    pair, client, session = connected()
    assert client.state is ClientState.RECEIVING
    for _ in range(30):
        session.sending.controller.on_silence(pair.now_ns, session.sending.sequence)
        pair.now_ns += 2 * NS
        session.heard_ns = pair.now_ns
    pair.server.handle_timeout(pair.now_ns)
    assert session.end.reason is ByeReason.CONGESTED
    assert not pair.server.sessions
    while pair.server.poll_datagram() is not None:
        pass
    return pair, client, session


def test_a_lost_bye_after_too_much_loss_is_said_again_to_a_report() -> None:
    pair, client, _ = lost_stream()
    client.handle_timeout(client.reporter.due_ns)
    pair.carry(client, HOME)
    assert client.state is ClientState.CLOSED
    assert list(iter(client.poll_event, None))[-1].failure is Failure.CONGESTED


def test_a_peer_that_connects_anew_does_not_close_the_breaker() -> None:
    pair = Pair()
    first = pair.connect(pair.client())
    assert first is not None
    second = pair.connect(pair.client(), (HOME[0], 40_001))
    stranger = pair.connect(pair.client(b"another."), (HOME[0], 40_002))
    assert second is not None
    assert stranger is not None
    assert second.sending.controller.breaker is first.sending.controller.breaker
    assert stranger.sending.controller.breaker is not first.sending.controller.breaker


# --- Time that nobody watched -------------------------------------------------------------------------------


def test_time_in_which_the_server_did_not_run_is_no_silence_of_its_peers() -> None:
    pair, _, session = connected()
    pair.server.handle_timeout(pair.now_ns)
    pair.now_ns += 60 * NS
    pair.server.handle_timeout(pair.now_ns)
    assert list(pair.server.sessions.values()) == [session]
    assert session.state is SessionState.STREAMING
    end_ns = pair.now_ns + GONE_NS
    while pair.now_ns < end_ns - NS:
        pair.now_ns += NS // 10
        pair.server.handle_timeout(pair.now_ns)
    assert session.state is SessionState.SILENT
    while pair.now_ns < end_ns + NS:
        pair.now_ns += NS // 10
        pair.server.handle_timeout(pair.now_ns)
    assert not pair.server.sessions


# --- What is left of a session ------------------------------------------------------------------------------


def test_an_ended_session_leaves_no_more_than_what_acknowledges_its_stop() -> None:
    pair = Pair()
    client = pair.client()
    session = pair.connect(client)
    assert session is not None
    client.handle_datagram(session.channel.seal_packet(PacketType.PING, Ping(1).encode()), pair.now_ns)
    client.stop(StopReason.DONE, pair.now_ns)
    pair.carry(client, HOME)
    assert client.state is ClientState.CLOSED
    assert pair.server.poll_order(pair.now_ns) is None
    assert pair.server.poll_preparation() is None
    while pair.server.poll_event() is not None:
        pass
    carousel = weakref.ref(session.carousel)
    assert client.session is not None
    again = client.session.channel.seal_packet(PacketType.STOP, Stop(StopReason.DONE, 0).encode())
    del session
    gc.collect()
    assert carousel() is None
    pair.server.handle_datagram(again, HOME, pair.now_ns, port=Port.CONTROL)
    answer = pair.server.poll_datagram()
    assert answer is not None
    header = parse_header(answer.datagram)
    assert not isinstance(header, Reject)
    assert header[0] is PacketType.STOP_ACK


def test_of_ended_sessions_no_more_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "TOMBSTONE_COUNT_MAX", 3)
    pair = Pair()
    clients = [pair.client(b"peer %d ." % index) for index in range(5)]
    for client in clients:
        assert pair.connect(client) is not None
    stops = [
        client.session.channel.seal_packet(PacketType.STOP, Stop(StopReason.DONE, 0).encode()) for client in clients
    ]  # type: ignore[union-attr]
    for stop in stops:
        pair.server.handle_datagram(stop, HOME, pair.now_ns, port=Port.CONTROL)
    pair.now_ns += NS
    pair.server.handle_timeout(pair.now_ns)
    list(iter(pair.server.poll_datagram, None))
    acknowledged = []
    for client in clients:
        again = client.session.channel.seal_packet(PacketType.STOP, Stop(StopReason.DONE, 0).encode())  # type: ignore[union-attr]
        pair.server.handle_datagram(again, HOME, pair.now_ns, port=Port.CONTROL)
        acknowledged.append(pair.server.poll_datagram() is not None)
    assert acknowledged == [False, False, True, True, True]
    assert pair.server.rejects.count(Reject.UNKNOWN_SESSION) == 2


def test_packets_that_are_still_under_way_at_the_end_are_not_lost() -> None:
    pair = Pair()
    session = pair.connect(pair.client())
    assert session is not None
    session.sending.record(100, pair.now_ns)
    session.handle_report(Report(90, 81, 90, 9, 0, 0, 0, 0, 0, 0, 8, False, (), ()), pair.now_ns)
    assert session.lost_fraction == pytest.approx(0.1)
