"""Machines that hear well-sealed absurd records, damaged packets and garbage, in any state, at any time."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.geometry import Geometry
from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.handshake import Identity
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.transmit import Port
from fountain.protocol.group.api import GroupSettings, GroupTarget
from fountain.protocol.group.receiver import GroupReceiverMachine
from fountain.protocol.group.server import GroupServerMachine
from fountain.protocol.rate.tfmcc import group_rate
from fountain.protocol.session.client_events import OfferReceived
from fountain.protocol.session.client_session import ask
from fountain.protocol.session.pairing import GUESS_COUNT_MAX, ClientPairing, PairKey, ServerPairing
from fountain.trust.server_keys import ServerKeys
from fountain.trust.spake import client_exchanges, server_exchanges
from fountain.trust.sshsig import fingerprint
from fountain.wire.control import REQUEST_HEADER_SIZE, PacketType
from fountain.wire.group import Announce, GroupHeader, GroupPacketType, MemberState
from fountain.wire.pairing import Pairing
from fountain.wire.reject import Reject
from tests.fuzz.mutation import mutated
from tests.protocol.pair import HOME, Pair, connected
from tests.wire import golden, group_golden

__all__ = ["run_machines"]

_LIFE_COUNT = 400  # Inputs after which a machine is made anew.
_BODIES: dict[PacketType, list[bytes]] = {
    PacketType.REPORT: [golden.REPORT.encode()],
    PacketType.PING: [golden.PING.encode()],
    PacketType.PONG: [golden.PONG.encode()],
    PacketType.STOP: [golden.STOP.encode()],
    PacketType.STOP_ACK: [b"", b"\0"],
    PacketType.BYE: [golden.BYE.encode()],
    PacketType.PROOF: [golden.PROOF.encode()],
}
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
_HANDSHAKE = [record.encode() for record in golden.HANDSHAKE.values()]
_GROUP_BODIES = {
    GroupPacketType.ANNOUNCE: [group_golden.ANNOUNCE.encode()],
    GroupPacketType.PLAN: [group_golden.PLAN.encode()],
    GroupPacketType.REPORT: [group_golden.REPORT.encode()],
}
_GROUP: Address = ("239.1.2.3", 6332)
_SERVERS: tuple[Address, ...] = ("10.0.0.1", 6330), ("10.0.0.2", 6330)

Machine = Callable[[random.Random, int], None]


def _likely(draw: random.Random, types: list[PacketType]) -> PacketType:
    """Mostly a Report or a Ping: a Stop or a Bye ends the session."""
    return draw.choice(types) if draw.random() < 0.1 else types[0]


def _server(draw: random.Random) -> Machine:
    pair, client, session = connected()
    seen = [*_HANDSHAKE]

    def take(draw: random.Random, now_ns: int) -> None:
        kind = draw.random()
        if kind < 0.75 and client.session is not None:
            packet_type = _likely(draw, [PacketType.REPORT, PacketType.PING, PacketType.PONG, PacketType.STOP])
            octets = client.session.channel.seal_packet(packet_type, mutated(draw, _BODIES[packet_type]))
            seen.append(octets)
            del seen[30:]
        else:
            octets = mutated(draw, seen)
        pair.server.handle_datagram(octets, HOME, now_ns, port=Port.DATA if draw.random() < 0.8 else Port.CONTROL)
        pair.server.handle_timeout(now_ns)
        _serve(pair, now_ns)

    assert session.session_id in pair.server.sessions
    return take


def _serve(pair: Pair, now_ns: int) -> None:
    for _ in range(3):
        if pair.server.poll_order(now_ns) is None:
            break
    for poll in (pair.server.poll_datagram, pair.server.poll_event, pair.server.poll_preparation):
        while poll() is not None:
            pass
    assert pair.server.next_timeout(now_ns) >= 0


def _client(draw: random.Random) -> Machine:
    _, client, session = connected()
    seen = [*_HANDSHAKE]

    def take(draw: random.Random, now_ns: int) -> None:
        kind = draw.random()
        if kind < 0.6:
            packet_type = _likely(draw, [PacketType.PING, PacketType.PONG, PacketType.STOP_ACK, PacketType.BYE])
            octets = session.channel.seal_packet(packet_type, mutated(draw, _BODIES[packet_type]))
        elif kind < 0.7 and client.session is not None:
            client.handle_data(client.session, draw.getrandbits(32), draw.getrandbits(draw.randrange(1, 28)), now_ns)
            return
        else:
            octets = mutated(draw, seen)
        client.handle_datagram(octets, now_ns)
        client.handle_timeout(now_ns)
        while client.poll_datagram() is not None:
            pass
        while (event := client.poll_event()) is not None:
            if isinstance(event, OfferReceived):
                table = BlockTable(event.offer.geometry, event.offer.manifest_geometry, 8)
                client.request(table, now_ns)
        assert client.next_timeout(now_ns) >= 0

    return take


def _identified_client(draw: random.Random) -> Machine:
    """A client that knows its server, in a session with somebody who has its keys and not the server's."""
    pair = Pair(identity=Identity(_KEY))
    client = pair.client(server_keys=ServerKeys("server", 6330, [fingerprint(golden.PROOF.identity)]))
    pair.deliver(pair.request(client))
    (session,) = pair.server.sessions.values()

    def take(draw: random.Random, now_ns: int) -> None:
        packet_type = draw.choice([PacketType.PROOF, PacketType.PROOF, PacketType.PING, PacketType.BYE])
        octets = session.channel.seal_packet(packet_type, mutated(draw, _BODIES[packet_type]))
        client.handle_datagram(octets, now_ns)
        client.find_session(session.session_id)
        client.handle_timeout(now_ns)
        while client.poll_datagram() is not None or client.poll_event() is not None:
            pass
        assert client.session is None, "nobody proved anything"

    return take


def _identified_server(draw: random.Random) -> Machine:
    """A server that serves one client alone, and somebody who has not the key of that one."""
    pair = Pair(identity=Identity(_KEY, {golden.IDENTIFIED_REQUEST_BODY.identity}.__contains__))

    def take(draw: random.Random, now_ns: int) -> None:
        pair.now_ns = now_ns
        client = pair.client(peer_id=draw.randbytes(8))
        pair.carry(client, HOME)
        offer = client._common.offers.current
        if offer is not None:
            private, public = client._common.offers.pair(offer.nonce)
            made = ask(offer, golden.REQUEST_BODY, open=False, pair=(private, public))
            assert made is not None
            session, octets = made
            header = octets[:REQUEST_HEADER_SIZE]
            body = mutated(draw, [golden.IDENTIFIED_REQUEST_BODY.encode(), golden.REQUEST_BODY.encode()])
            pair.deliver(header + session.keys.to_server.seal(0, header, body))
        pair.server.handle_timeout(now_ns)
        _serve(pair, now_ns)
        assert not pair.server.sessions, "nobody proved anything"

    return take


def _paired_server(draw: random.Random) -> Machine:
    """A server with a code, and somebody who does not know it."""
    pairing = ServerPairing(server_exchanges("code"), draw.randbytes(32))
    pair = Pair(key=pairing)
    wrong_count = [0]

    def take(draw: random.Random, now_ns: int) -> None:
        pair.now_ns = now_ns
        client = pair.client(peer_id=draw.randbytes(8), pairing=ClientPairing(client_exchanges("guess"), b"s" * 32))
        pair.deliver_hello(client)
        answer = pair.server.poll_datagram()
        if answer is not None and draw.random() < 0.2:
            client.handle_datagram(answer.datagram, now_ns)
            offer = client._common.offers.current
            assert offer is not None
            assert offer.body.pairing is not None
            shown = Pairing.parse(mutated(draw, [offer.body.pairing.encode()]))
            if not isinstance(shown, Reject):
                pairs, key = client._common.offers.pair(offer.nonce), PairKey(shown, bytes(32))
                asked = ask(offer, golden.REQUEST_BODY, open=False, pair=pairs, key=key)
                assert asked is not None
                pair.deliver(mutated(draw, [asked[1]]) if draw.random() < 0.3 else asked[1])
        pair.server.handle_timeout(now_ns)
        _serve(pair, now_ns)
        assert not pair.server.sessions, "nobody knew the code"
        assert wrong_count[0] <= pairing.wrong_count <= GUESS_COUNT_MAX
        wrong_count[0] = pairing.wrong_count

    return take


def _paired_client(draw: random.Random) -> Machine:
    """A client with a code, and somebody who sees its Hellos and does not know it."""
    client = Pair().client(pairing=ClientPairing(client_exchanges("code"), draw.randbytes(32)), wait=True)

    def take(draw: random.Random, now_ns: int) -> None:
        for nonce in list(client._common.offers._pairs):
            offer = replace(golden.PAIRED_OFFER, nonce=nonce)
            client.handle_datagram(mutated(draw, [offer.encode()]) if draw.random() < 0.8 else offer.encode(), now_ns)
            while (event := client.poll_event()) is not None:
                if isinstance(event, OfferReceived):
                    client.request(BlockTable(event.offer.geometry, event.offer.manifest_geometry, 8), now_ns)
            refusal = replace(golden.REFUSAL, nonce=nonce)
            client.handle_datagram(mutated(draw, [refusal.encode()]), now_ns)
        client.handle_timeout(now_ns)
        while client.poll_datagram() is not None:
            pass
        assert client.session is None, "nobody knew the code"
        assert client.next_timeout(now_ns) >= 0

    return take


def _group_server(draw: random.Random) -> Machine:
    offer = group_golden.ANNOUNCE.offer
    machine = GroupServerMachine(
        GroupTarget(_GROUP, 6330, draw.choice([None, bytes(32)])), ServedObject(offer, systematic=True), 0,
        GroupSettings(), secret=draw.randbytes(32),
        controller=group_rate(draw.choice(["fixed", "tfmcc"]), 108, 10**7, 50 * NS), now_ns=50 * NS,
    )  # fmt: skip
    sequence = [0]

    def take(draw: random.Random, now_ns: int) -> None:
        sequence[0] += draw.choice([1, 1, 1, 3, 1 << 20])
        body = mutated(draw, _GROUP_BODIES[GroupPacketType.REPORT])
        octets = machine.stream.keys.wrap(GroupPacketType.REPORT, sequence[0], body)
        header = GroupHeader.parse(octets)
        assert not isinstance(header, Reject)
        machine.handle_datagram(octets, header, (f"10.0.0.{draw.randrange(4)}", 5), now_ns)
        machine.handle_timeout(now_ns)
        machine.poll_order(now_ns)
        for poll in (machine.poll_datagram, machine.poll_event, machine.poll_preparation):
            while poll() is not None:
                pass
        assert machine.next_timeout(now_ns) >= 0

    return take


def _group_client(draw: random.Random) -> Machine:
    announce: Announce = group_golden.ANNOUNCE
    server = GroupServerMachine(
        GroupTarget(_GROUP, 6330), ServedObject(announce.offer, systematic=True), 0, GroupSettings(),
        secret=draw.randbytes(32), controller=group_rate("fixed", 108, 10**7, 50 * NS), now_ns=50 * NS,
    )  # fmt: skip
    channel = server.stream.keys
    machine = GroupReceiverMachine(
        secret=draw.randbytes(32), announce=announce, server=("10.0.0.1", 6330), channel=channel,
        peer_id=group_golden.ALICE, host="alice", now_ns=50 * NS,
    )  # fmt: skip
    machine.adopt(BlockTable(announce.offer.geometry, Geometry(300, 64, 1002), 8), 50 * NS)
    sequence = [0]

    def take(draw: random.Random, now_ns: int) -> None:
        sequence[0] += draw.choice([1, 1, 1, 3, 1 << 20])
        packet_type = draw.choice([GroupPacketType.PLAN, GroupPacketType.PLAN, GroupPacketType.ANNOUNCE])
        octets = channel.wrap(packet_type, sequence[0], mutated(draw, _GROUP_BODIES[packet_type]))
        header = GroupHeader.parse(octets)
        assert not isinstance(header, Reject)
        machine.handle_datagram(octets, header, _SERVERS[draw.random() < 0.1], now_ns)
        if draw.random() < 0.1:
            machine.inflow.counter.accept(draw.getrandbits(draw.randrange(1, 40)))
            machine.handle_data(draw.getrandbits(32), draw.choice(_SERVERS), now_ns)
        if draw.random() < 0.01:
            machine.change_state(draw.choice(list(MemberState)), now_ns)
        machine.handle_timeout(now_ns)
        while machine.poll_datagram() is not None or machine.poll_event() is not None:
            pass
        assert machine.next_timeout(now_ns) >= 0

    return take


MACHINES: list[tuple[str, Callable[[random.Random], Machine]]] = [
    ("server", _server),
    ("client", _client),
    ("identified client", _identified_client),
    ("identified server", _identified_server),
    ("paired server", _paired_server),
    ("paired client", _paired_client),
    ("group server", _group_server),
    ("group client", _group_client),
]


def _lives(count: int) -> Iterator[int]:
    for begin in range(0, count, _LIFE_COUNT):
        yield min(_LIFE_COUNT, count - begin)


def run_machines(count: int, seed: int) -> None:
    """Let the machines, one life after the other, take so many inputs."""
    for number, length in enumerate(_lives(count)):
        name, make = MACHINES[number % len(MACHINES)]
        draw = random.Random(f"{seed} {number}")
        take = make(draw)
        now_ns = 50 * NS
        for at in range(length):
            now_ns += int(10 ** draw.uniform(3, 9.5))
            try:
                take(draw, now_ns)
            except Exception as error:
                raise AssertionError(f"{name}, life {number}, input {at} (seed {seed})") from error
