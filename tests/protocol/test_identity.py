"""Both machines with keys: what is proved, what counts before that, and what is refused."""

from __future__ import annotations

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.handshake import Identity
from fountain.protocol.base.transmit import Port
from fountain.protocol.session import client_session
from fountain.protocol.session.admission import CLAIM_BURST_COUNT, PROOF_BURST_COUNT
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_events import ClientState, Failure, FetchFailed, FetchHindered
from fountain.protocol.session.client_session import ask
from fountain.protocol.session.patience import HINT_GRACE_NS
from fountain.protocol.session.port_proof import PROOF_COUNT_MAX
from fountain.protocol.session.server_session import ServerSession
from fountain.trust.server_keys import ServerKeys
from fountain.trust.sshsig import fingerprint
from fountain.wire.control import Offer, PacketType, RefusalReason, parse_handshake, parse_header
from fountain.wire.reject import Reject
from fountain.wire.session import PROOF_PACKET_SIZE, Bye, ByeReason, Ping, Proof, RequestBody
from tests.protocol.pair import HOME, MS, Pair

SERVER = Ed25519PrivateKey.from_private_bytes(b"server".ljust(32))
CLIENT = Ed25519PrivateKey.from_private_bytes(b"client".ljust(32))
OTHER = Ed25519PrivateKey.from_private_bytes(b"other".ljust(32))


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def known(key: Ed25519PrivateKey = SERVER) -> ServerKeys:
    """What a client knows that was given the key of its server."""
    return ServerKeys("server", 6330, [fingerprint(public(key))])


def unknown() -> ServerKeys:
    return ServerKeys("server", 6330)


def identified(*allowed: Ed25519PrivateKey) -> Pair:
    """A server with a key, that serves the clients with one of these, or all."""
    keys = set(map(public, allowed))
    return Pair(identity=Identity(SERVER, keys.__contains__ if allowed else None))


def asked(pair: Pair, client: ClientMachine) -> ServerSession:
    """The session that the client's Request opened; what the server sent then waits."""
    pair.deliver(pair.request(client))
    (session,) = pair.server.sessions.values()
    return session


def sent(pair: Pair) -> list[bytes]:
    """What the server sends now."""
    found = []
    while (waiting := pair.server.poll_datagram()) is not None:
        found.append(waiting.datagram)
    return found


def forged(session: ServerSession, proof: Proof) -> bytes:
    """A Proof as whoever has the session's keys may make it."""
    return session.channel.seal_packet(PacketType.PROOF, proof.encode())


def right_proof(session: ServerSession) -> Proof:
    kind, body = session.pings.take(0, 0)
    assert kind is PacketType.PROOF
    proof = Proof.parse(body)
    assert isinstance(proof, Proof)
    return proof


def wait(pair: Pair, client: ClientMachine, time_ns: int) -> None:
    """Let time pass for the client alone."""
    end_ns = pair.now_ns + time_ns
    while pair.now_ns < end_ns:
        pair.now_ns = min(end_ns, max(pair.now_ns + 1, client.next_timeout(pair.now_ns)))
        client.handle_timeout(pair.now_ns)
        while client.poll_datagram() is not None:
            pass


def failure_of(client: ClientMachine) -> Failure | None:
    failures = []
    while (event := client.poll_event()) is not None:
        if isinstance(event, FetchFailed | FetchHindered):
            failures.append(event.failure)
    return failures[0] if failures else None


@pytest.mark.parametrize("keys", [known(), unknown(), None], ids=["known", "unknown", "no matter"])
def test_the_proof_comes_first_and_its_pong_proves_the_port(keys: ServerKeys | None) -> None:
    pair = identified()
    client = pair.client(server_keys=keys)
    session = asked(pair, client)
    first = pair.server.poll_datagram()
    assert first is not None
    assert (len(first.datagram), first.datagram[5]) == (PROOF_PACKET_SIZE, PacketType.PROOF)
    client.handle_datagram(first.datagram, pair.now_ns)
    assert client.state is ClientState.RECEIVING
    pair.carry(client, HOME)
    assert session.pings.proof.is_given
    assert session.pings.take(0, 0)[0] is PacketType.PING
    if keys is not None:
        assert (keys.latest, keys.is_known) == (fingerprint(public(SERVER)), True)


def test_before_the_proof_nothing_of_the_session_counts() -> None:
    pair = identified()
    client = pair.client(server_keys=known())
    session = asked(pair, client)
    proof = sent(pair)[0]
    for kind, body in (
        (PacketType.PING, Ping(7, 4).encode()),
        (PacketType.BYE, Bye(ByeReason.SOURCE_CHANGED).encode()),
    ):
        client.handle_datagram(session.channel.seal_packet(kind, body), pair.now_ns)
    assert client.state is ClientState.REQUESTING
    assert client.poll_datagram() is None
    assert client.find_session(session.session_id) is None
    assert client.rejects.count(Reject.OUT_OF_PLACE) == 2
    client.handle_datagram(proof, pair.now_ns)
    assert client.find_session(session.session_id) is not None


@pytest.mark.parametrize("at", range(PROOF_PACKET_SIZE))
def test_each_octet_of_the_proof_matters(at: int) -> None:
    """Changed on its way it does not open; made with the session's keys it is no signature of the key."""
    pair = identified()
    client = pair.client(server_keys=known())
    session = asked(pair, client)
    wrong = bytearray(sent(pair)[0])
    wrong[at] ^= 1
    client.handle_datagram(bytes(wrong), pair.now_ns)
    assert client.state is ClientState.REQUESTING
    body = bytearray(right_proof(session).encode())
    if at < len(body) and not 32 <= at < 40:  # The challenge is not signed: it proves the client's port alone.
        body[at] ^= 1
        parsed = Proof.parse(bytes(body))
        assert isinstance(parsed, Proof)
        client.handle_datagram(forged(session, parsed), pair.now_ns)
        assert client.state is ClientState.REQUESTING
    assert client.find_session(session.session_id) is None


@pytest.mark.parametrize("attack", ["another key", "of another session", "of another client", "of a client"])
def test_a_wrong_proof_ends_the_fetch_a_second_later(attack: str) -> None:
    pair = identified()
    earlier = right_proof(asked(pair, pair.client(peer_id=b"earlier.")))
    pair.server.close(pair.now_ns)
    sent(pair)
    client = pair.client(server_keys=known(), identity=CLIENT)
    session = asked(pair, client)
    right = right_proof(session)
    sent(pair)
    false = {
        "another key": replace(right, identity=public(OTHER)),
        "of another session": earlier,
        "of another client": replace(right, signature=earlier.signature),
        "of a client": Proof(public(CLIENT), right.challenge, session.asked.body.signature),
    }[attack]
    client.handle_datagram(forged(session, false), pair.now_ns)
    assert client.state is ClientState.REQUESTING
    wait(pair, client, HINT_GRACE_NS - 1)
    assert failure_of(client) is None
    wait(pair, client, 1)
    assert failure_of(client) is Failure.UNPROVED
    assert client.state is ClientState.CLOSED


def test_a_right_proof_of_another_key_is_named() -> None:
    pair = identified()
    keys = known(OTHER)
    client = pair.client(server_keys=keys)
    pair.connect(client)
    wait(pair, client, HINT_GRACE_NS)
    assert failure_of(client) is Failure.OTHER_KEY
    assert keys.refusal is not None
    assert fingerprint(public(SERVER)) in keys.refusal.message
    assert fingerprint(public(OTHER)) in keys.refusal.message


def test_who_waits_without_limit_is_told_and_waits_on() -> None:
    pair = identified()
    client = pair.client(server_keys=known(OTHER), wait=True)
    pair.connect(client)
    wait(pair, client, HINT_GRACE_NS)
    assert failure_of(client) is Failure.OTHER_KEY
    assert client.state is not ClientState.CLOSED


def test_without_a_proof_the_fetch_ends_with_its_patience() -> None:
    pair = identified()
    client = pair.client(server_keys=known())
    session = asked(pair, client)
    ping = session.channel.seal_packet(PacketType.PING, Ping(7, 4).encode())
    client.handle_datagram(ping, pair.now_ns)
    wait(pair, client, 10 * NS - 1)
    assert failure_of(client) is None
    wait(pair, client, 1)
    assert failure_of(client) is Failure.UNPROVED


@pytest.mark.parametrize("change", [{"identified": False}, {"open": True}, {"identified": False, "open": True}])
def test_who_knows_the_server_follows_no_lesser_offer(change: dict[str, bool]) -> None:
    pair = identified()
    client = pair.client(server_keys=known())
    hello = client.poll_datagram()
    assert hello is not None
    true = pair.server.catalogue.offer(0, pair.now_ns)
    lesser = Offer(hello.datagram[8:24], bytes(20), replace(true, **change))
    client.handle_datagram(lesser.encode(), pair.now_ns)
    assert client.poll_event() is None
    wait(pair, client, HINT_GRACE_NS)
    assert failure_of(client) is Failure.UNPROVED


def test_an_offer_whose_flag_was_stripped_opens_no_session() -> None:
    """Who knows no key takes it for the Offer of a server without one; but it is not what the server offered."""
    pair = identified()
    client = pair.client(server_keys=unknown())
    pair.deliver_hello(client)
    answer = pair.server.poll_datagram()
    assert answer is not None
    stripped = bytearray(answer.datagram)
    stripped[7] &= ~4
    client.handle_datagram(bytes(stripped), pair.now_ns)
    event = client.poll_event()
    assert event is not None
    table = BlockTable(event.offer.geometry, event.offer.manifest_geometry, 8)  # type: ignore[union-attr]
    client.request(table, pair.now_ns)
    pair.carry(client, HOME)
    assert not pair.server.sessions
    assert pair.server.rejects.count(Reject.BAD_SEAL) == 1


def test_a_copy_of_the_request_brings_the_proof_again_until_it_has_come() -> None:
    pair = identified()
    client = pair.client(server_keys=known())
    request = pair.request(client)
    pair.deliver(request)
    assert len(sent(pair)) == 1
    for _ in range(3):
        pair.deliver(request)
        (again,) = sent(pair)
        assert again[5] == PacketType.PROOF
    client.handle_datagram(again, pair.now_ns)
    pair.carry(client, HOME)
    pair.deliver(request)
    assert not sent(pair)


def test_until_the_port_is_proved_at_most_three_times_what_came_is_sent() -> None:
    pair = identified()
    request = pair.request(pair.client())
    pair.deliver(request)
    (session,) = pair.server.sessions.values()
    came, size, count = 1200 + len(request), 0, 0
    for _ in range(1000):
        pair.server.handle_timeout(pair.now_ns)
        for datagram in sent(pair):
            size, count = size + len(datagram), count + 1
        while (order := pair.server.poll_order(pair.now_ns)) is not None:
            size += order.packet_count * session.sending.packet_size
        pair.now_ns += 20 * MS
    assert count == PROOF_COUNT_MAX + 1  # and the Bye
    assert came < size <= 3 * came


def test_the_right_offer_has_its_turn_after_a_false_one() -> None:
    """Somebody who sees the Hello is faster, and has a key of his own."""
    pair = identified()
    false = Pair(identity=Identity(OTHER))
    client = pair.client(server_keys=known())
    hello = client.poll_datagram()
    assert hello is not None
    for one in (false, pair):
        one.server.handle_datagram(hello.datagram, HOME, pair.now_ns, port=Port.CONTROL)
    false.now_ns = pair.now_ns
    false.connect(client)
    assert client.state is ClientState.REQUESTING
    pair.carry(client, HOME)
    for _ in range(100):
        client.handle_timeout(pair.now_ns)
        pair.carry(client, HOME)
        event = client.poll_event()
        if event is not None and hasattr(event, "offer"):
            client.request(BlockTable(event.offer.geometry, event.offer.manifest_geometry, 8), pair.now_ns)  # type: ignore[union-attr]
        pair.now_ns += 10 * MS
    assert client.state is ClientState.RECEIVING
    assert failure_of(client) is None


# --- Clients ------------------------------------------------------------------------------------------------


def test_a_client_that_is_listed_is_served() -> None:
    pair = identified(CLIENT, OTHER)
    client = pair.client(server_keys=known(), identity=CLIENT)
    session = pair.connect(client)
    assert session is not None
    assert session.asked.body.identity == public(CLIENT)
    assert client.state is ClientState.RECEIVING


@pytest.mark.parametrize("key", [OTHER, None])
def test_one_that_is_not_is_refused_and_displaces_nobody(key: Ed25519PrivateKey | None) -> None:
    pair = identified(CLIENT)
    session = pair.connect(pair.client(server_keys=known(), identity=CLIENT))
    assert session is not None
    stranger = pair.client(server_keys=known(), identity=key)  # of the same host and peer id
    request = pair.request(stranger)
    pair.deliver(request)
    assert pair.refusals() == [RefusalReason.NOT_ALLOWED]
    assert list(pair.server.sessions.values()) == [session]
    pair.deliver(request)
    assert pair.refusals() == [RefusalReason.NOT_ALLOWED]


def test_a_key_is_shown_to_a_server_that_was_known_before_alone() -> None:
    for keys, is_shown in ((known(), True), (unknown(), False), (None, False)):
        pair = identified()
        session = asked(pair, pair.client(server_keys=keys, identity=CLIENT))
        assert bool(session.asked.body.identity) is is_shown
    pair = Pair()
    assert not asked(pair, pair.client(server_keys=unknown(), identity=CLIENT)).asked.body.identity


def test_each_octet_of_a_request_matters() -> None:
    pair = identified(CLIENT)
    request = pair.request(pair.client(server_keys=known(), identity=CLIENT))
    for at in range(len(request)):
        wrong = bytearray(request)
        wrong[at] ^= 1
        pair.deliver(bytes(wrong))
        assert not pair.server.sessions, at
        sent(pair)
        pair.now_ns += 20 * MS
    # Of what the cookie was shown for, three bodies that do not open use it up.
    pair.deliver(request)
    assert not pair.server.sessions


def test_each_octet_of_a_listed_identity_and_its_signature_matters() -> None:
    """Whoever has a session's keys cannot make up who the client is, nor take it from another session."""
    pair = identified(CLIENT)
    borrowed = asked(pair, pair.client(server_keys=known(), identity=CLIENT)).asked.body
    for at in range(97):
        pair.server.close(pair.now_ns)
        sent(pair)
        client = pair.client(server_keys=known(), identity=CLIENT)
        pair.carry(client, HOME)
        offer = client._common.offers.current
        assert offer is not None
        octets = bytearray(borrowed.identity + borrowed.signature)
        if at < 96:
            octets[at] ^= 1
        body = RequestBody(bytes(8), 8, False, "host", (), 1, bytes(octets[:32]), bytes(octets[32:]))
        made = ask(offer, body, open=False, pair=client._common.offers.pair(offer.nonce))
        assert made is not None
        pair.deliver(made[1])
        assert not pair.server.sessions
        assert pair.refusals() == [RefusalReason.NOT_ALLOWED]
        pair.now_ns += 60 * MS


def knock(pair: Pair, count: int, first: int = 0, **options: object) -> tuple[int, int]:
    """Requests of so many clients from as many networks: how many were refused, and how many got no answer."""
    refused, unanswered = 0, pair.server.rejects.count(Reject.TOO_MANY)
    for number in range(first, first + count):
        address = f"10.{number >> 8}.{number & 255}.7", 4000
        client = pair.client(peer_id=number.to_bytes(8, "big"), **options)
        pair.deliver(pair.request(client, address), address)
        refused += len(pair.refusals())
    return refused, pair.server.rejects.count(Reject.TOO_MANY) - unanswered


def test_signatures_for_all_are_limited() -> None:
    pair = identified()
    refused, unanswered = knock(pair, PROOF_BURST_COUNT + 100)
    assert unanswered >= 90
    assert len(pair.server.sessions) + refused <= PROOF_BURST_COUNT + 10


def test_clients_that_are_not_listed_cost_no_signature_and_take_none_from_those_that_are() -> None:
    pair = identified(CLIENT)
    assert knock(pair, PROOF_BURST_COUNT + 100) == (PROOF_BURST_COUNT + 100, 0)
    assert knock(pair, 1, PROOF_BURST_COUNT + 100, server_keys=known(), identity=CLIENT) == (0, 0)
    assert len(pair.server.sessions) == 1


def test_who_claims_a_listed_key_takes_nothing_from_other_listed_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = identified(CLIENT, OTHER)
    with monkeypatch.context() as patched:
        patched.setattr(client_session, "sign", lambda *_: bytes(64))
        refused, unanswered = knock(pair, CLAIM_BURST_COUNT + 100, server_keys=known(), identity=CLIENT)
    assert refused <= CLAIM_BURST_COUNT + 10
    assert unanswered >= 90
    assert knock(pair, 1, 60_000, server_keys=known(), identity=OTHER) == (0, 0)
    assert len(pair.server.sessions) == 1


def test_a_request_of_a_client_without_a_key_has_no_octet_more() -> None:
    sizes = []
    for identity in (None, CLIENT):
        pair = identified()
        sizes.append(len(pair.request(pair.client(server_keys=known(), identity=identity))))
    assert sizes[1] - sizes[0] == 96
    header = parse_header(pair.request(pair.client()))
    assert not isinstance(header, Reject)
    assert parse_handshake(b"", *header) is not None
