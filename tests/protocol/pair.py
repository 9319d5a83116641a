"""Both machines of a fetch without any network: a server and its clients, whose packets are handed over at once."""

from __future__ import annotations

from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.geometry import Geometry
from fountain.integrity import derive
from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.handshake import Identity
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.stream import Address
from fountain.protocol.base.transmit import Port
from fountain.protocol.rate import control_factory
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig, ServerJudge
from fountain.protocol.session.client_events import ClientState
from fountain.protocol.session.pairing import ClientPairing, ServerPairing
from fountain.protocol.session.server import ServerMachine
from fountain.protocol.session.server_session import ServerSession
from fountain.wire.control import (
    Hello,
    Offer,
    OfferBody,
    PacketType,
    RefusalReason,
    Request,
    Want,
    parse_handshake,
    parse_header,
)
from fountain.wire.reject import Reject
from fountain.wire.session import Ping

__all__ = ["HOME", "MS", "Pair", "connected", "handshake_of"]

Record = TypeVar("Record", Hello, Offer, Request)

MS = NS // 1000
HOME: Address = ("192.0.2.1", 40_000)


def handshake_of(octets: bytes, kind: type[Record]) -> Record:
    """The record of a handshake's datagram, which must be one of this kind."""
    header = parse_header(octets)
    assert not isinstance(header, Reject)
    record = parse_handshake(octets, *header)
    assert isinstance(record, kind)
    return record


class Pair:
    """A server, and as many clients as a test makes; what goes between them is handed over at once."""

    def __init__(
        self, *, peer_count_max: int = 8, open: bool = False, key: bytes | ServerPairing | None = None,
        identity: Identity | None = None,
    ) -> None:  # fmt: skip
        body = OfferBody(
            object_id=b"o" * 32, server_public=bytes(32), key_index=0, profile_id=b"p" * 8, object_size=100_000,
            manifest_size=300, symbol_size=64, block_symbol_limit=16, data_port=6331, is_directory=False, name="name",
            open=open,
        )  # fmt: skip
        self.now_ns = 50 * NS
        self.open = open
        self.server = ServerMachine(
            secret=bytes(32), objects=[ServedObject(body, systematic=True)], rate_bps=10**9,
            peer_count_max=peer_count_max, now_ns=self.now_ns, congestion=control_factory("fixed"), key=key,
            identity=identity,
        )  # fmt: skip
        self._client_count = 0

    def client(
        self, peer_id: bytes = b"peer id.", key: bytes | None = None, server_keys: ServerJudge | None = None,
        identity: Ed25519PrivateKey | None = None, pairing: ClientPairing | None = None, *, wait: bool = False,
    ) -> ClientMachine:  # fmt: skip
        """A client that has said Hello."""
        self._client_count += 1
        config = ClientConfig(
            Want.ANY, bytes(32), open=self.open, wait=wait, timeout_ns=10 * NS, peer_id=peer_id, host="host", key=key,
            server_keys=server_keys, identity=identity, pairing=pairing,
        )  # fmt: skip
        machine = ClientMachine(config, derive(bytes(32), b"client", self._client_count), self.now_ns)
        machine.handle_timeout(self.now_ns)
        return machine

    def request(self, client: ClientMachine, address: Address = HOME, *, done_count: int | None = None) -> bytes:
        """The octets of the client's Request, not sent yet; it has the manifest and so many blocks, or nothing."""
        self.carry(client, address)
        event = client.poll_event()
        assert event is not None
        assert event.offer is not None
        geometry = Geometry(event.offer.object_size, 64, 16)
        table = BlockTable(geometry, event.offer.manifest_geometry, 8)
        if done_count is not None:
            table.know_manifest([(0, done_count)])
        client.request(table, self.now_ns)
        waiting = client.poll_datagram()
        assert waiting is not None
        assert waiting.destination is Port.DATA
        return waiting.datagram

    def connect(
        self, client: ClientMachine, address: Address = HOME, *, done_count: int | None = None
    ) -> ServerSession | None:  # fmt: skip
        """The session that the client got, if it got one."""
        before = set(self.server.sessions)
        self.deliver(self.request(client, address, done_count=done_count), address)
        self.carry(client, address)
        new = set(self.server.sessions) - before
        return self.server.sessions[new.pop()] if new else None

    def deliver_hello(self, client: ClientMachine, address: Address = HOME) -> None:
        """The client's Hello comes to the control port."""
        hello = client.poll_datagram()
        assert hello is not None
        self.server.handle_datagram(hello.datagram, address, self.now_ns, port=hello.destination)

    def carry(self, client: ClientMachine, address: Address) -> None:
        """Hand over what waits on either side."""
        is_quiet = False
        while not is_quiet:
            is_quiet = True
            while (sent := client.poll_datagram()) is not None:
                self.server.handle_datagram(sent.datagram, address, self.now_ns, port=sent.destination)
            while (answer := self.server.poll_datagram()) is not None:
                is_quiet = False
                if answer.destination == address:
                    client.handle_datagram(answer.datagram, self.now_ns)

    def deliver(self, request: bytes, address: Address = HOME) -> None:
        """A Request comes to the data port."""
        self.server.handle_datagram(request, address, self.now_ns, port=Port.DATA)

    def refusals(self) -> list[RefusalReason]:
        """Why the server said no, since the last call."""
        found = []
        while (answer := self.server.poll_datagram()) is not None:
            header = parse_header(answer.datagram)
            assert not isinstance(header, Reject)
            if header[0] is PacketType.REFUSAL:
                record = parse_handshake(answer.datagram, *header)
                found.append(record.reason)  # type: ignore[union-attr]
        return found


def connected() -> tuple[Pair, ClientMachine, ServerSession]:
    pair = Pair()
    client = pair.client()
    session = pair.connect(client)
    assert session is not None
    ping = session.channel.seal_packet(PacketType.PING, Ping(1).encode())
    client.handle_datagram(ping, pair.now_ns)
    assert client.state is ClientState.RECEIVING
    return pair, client, session
