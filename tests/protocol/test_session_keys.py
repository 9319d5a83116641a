"""Keys of a session: who gets them, and for how long they are good."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fountain.integrity import sealed_count_max
from fountain.limits import NS
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.admission import PROVED_BURST_COUNT
from fountain.protocol.session.client_events import ClientState, Failure
from fountain.wire.control import Offer, PacketType, RefusalReason
from fountain.wire.reject import Reject
from fountain.wire.session import ByeReason, Ping
from tests.protocol.pair import HOME, MS, Pair, connected, handshake_of

KEY = bytes(range(32))

# --- A key of both sides ------------------------------------------------------------------------------------


def test_a_server_with_a_key_serves_whoever_has_it() -> None:
    pair = Pair(key=KEY)
    client = pair.client(key=KEY)
    session = pair.connect(client)
    assert session is not None
    client.handle_datagram(session.channel.seal_packet(PacketType.PING, Ping(1).encode()), pair.now_ns)
    assert client.state is ClientState.RECEIVING


@pytest.mark.parametrize("key", [None, KEY[::-1]], ids=["none", "another"])
def test_a_server_with_a_key_refuses_whoever_has_another_or_none(key: bytes | None) -> None:
    pair = Pair(key=KEY)
    client = pair.client(key=key)
    assert pair.connect(client) is None
    while pair.now_ns < client.patience.end_ns:
        pair.now_ns = client.next_timeout(pair.now_ns)
        client.handle_timeout(pair.now_ns)
    assert client.state is ClientState.CLOSED
    event = list(iter(client.poll_event, None))[-1]
    assert (event.failure, event.refusal) == (Failure.REFUSED, RefusalReason.KEY_MISMATCH)
    assert pair.server.rejects.count(Reject.BAD_SEAL) == 1


def test_a_server_without_a_key_gives_nothing_to_whoever_wants_one() -> None:
    pair = Pair()
    client = pair.client(key=KEY)
    assert pair.connect(client) is None
    assert client.state is ClientState.REQUESTING


def test_requests_under_another_key_are_refused_no_more_often_than_hellos_are_answered() -> None:
    pair = Pair(key=KEY)
    octets = pair.request(pair.client())
    for _ in range(PROVED_BURST_COUNT + 10):
        pair.deliver(octets)
    assert pair.refusals() == [RefusalReason.KEY_MISMATCH] * PROVED_BURST_COUNT
    pair.now_ns += NS
    pair.deliver(octets)
    assert pair.refusals() == [RefusalReason.KEY_MISMATCH]


@pytest.mark.parametrize(
    "change",
    [{}, {"name": "other"}, {"is_directory": True}, {"manifest_size": 301}, {"profile_id": b"q" * 8}, {"data_port": 9}],
    ids=str,
)
def test_whoever_changes_an_offer_on_its_way_keeps_the_session_from_being_opened(change: dict[str, Any]) -> None:
    pair = Pair()
    client = pair.client()
    hello = client.poll_datagram()
    assert hello is not None
    pair.server.handle_datagram(hello.datagram, HOME, pair.now_ns, port=Port.CONTROL)
    answer = pair.server.poll_datagram()
    assert answer is not None
    offer = handshake_of(answer.datagram, Offer)
    client.handle_datagram(replace(offer, body=replace(offer.body, **change)).encode(), pair.now_ns)
    pair.deliver(pair.request(client))
    assert len(pair.server.sessions) == (0 if change else 1)
    assert pair.server.rejects.count(Reject.BAD_SEAL) == (1 if change else 0)


# --- Worn keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("packet_size", "count"), [(1452, 1 << 28), (2048, 1 << 28), (2049, 1 << 23)])
def test_one_key_seals_as_many_packets_as_rfc_9001_allows(packet_size: int, count: int) -> None:
    assert sealed_count_max(packet_size) == count


def test_a_session_whose_key_is_exhausted_ends_before_one_more_packet_is_sealed() -> None:
    pair, client, session = connected()
    session.sending.sequence = session.packet_count_max - 1
    pair.now_ns += 10 * MS
    assert pair.server.poll_order(pair.now_ns) is None
    assert not pair.server.sessions
    assert session.end.reason is ByeReason.KEYS_SPENT
    pair.carry(client, HOME)
    (renewed,) = pair.server.sessions.values()
    assert renewed.keys is not session.keys
    assert pair.server.poll_order(pair.now_ns) is not None


def test_open_packets_wear_out_no_key() -> None:
    pair = Pair(open=True)
    session = pair.connect(pair.client())
    assert session is not None
    assert session.packet_count_max > 1 << 60
