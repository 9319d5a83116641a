"""Whoever is between a client that knows its server and that server can end the fetch, and have nothing stored."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT, NS
from fountain.net.train import Train
from fountain.protocol.base.clock import NEVER_NS
from fountain.protocol.base.handshake import Identity
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client_events import Failure, FetchFailed
from fountain.testing.host import Host
from fountain.testing.link import Link
from fountain.testing.world import Client, Server, World
from fountain.trust.server_keys import ServerKeys
from fountain.trust.sshsig import fingerprint
from fountain.wire.session import Proof
from tests.interceptor import CODE_ATTACKS, Attack, Interceptor

SERVER = Ed25519PrivateKey.from_private_bytes(b"server".ljust(32))
CLIENT = Ed25519PrivateKey.from_private_bytes(b"client".ljust(32))
ATTACKER = Ed25519PrivateKey.from_private_bytes(b"attacker".ljust(32))
CONTENT = bytes(range(256)) * 40
SEEDS = [*range(8), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(8, 50))]
ATTACKS = [attack for attack in Attack if attack not in (Attack.NONE, *CODE_ATTACKS)]
EXPECTED = {Attack.OWN_KEY: Failure.OTHER_KEY}  # all others: UNPROVED
PORTS = {CONTROL_PORT_DEFAULT: Port.CONTROL, DATA_PORT_DEFAULT: Port.DATA}


def name_of(key: Ed25519PrivateKey) -> str:
    return fingerprint(key.public_key().public_bytes_raw())


def known() -> ServerKeys:
    return ServerKeys("middle", CONTROL_PORT_DEFAULT, [name_of(SERVER)])


class Middle(Host):
    """The host of an interceptor: clients take it for the server."""

    def __init__(self, world: World, attack: Attack, recorded: Proof | None = None, guess: str = "") -> None:
        super().__init__("middle")
        self.interceptor = Interceptor(attack, world.draw_bytes(32), ATTACKER, recorded, guess)
        self._ports = {port: world.network.attach((self.name, number)) for number, port in PORTS.items()}
        self._upstream = world.network.attach((self.name, world.draw_port()))
        self._client = ("", 0)
        self._train = Train()

    def step(self, now_ns: int) -> int:
        """Take what has come, and send what becomes of it."""
        for port, endpoint in self._ports.items():
            while endpoint.receive(self._train):
                self._client = self._train.address
                for segment in list(map(bytes, self._train.segments())):
                    self._send(self.interceptor.from_client(segment, port))
        while self._upstream.receive(self._train):
            port = PORTS[self._train.address[1]]
            for segment in list(map(bytes, self._train.segments())):
                self._send(self.interceptor.from_server(segment, port))
        return NEVER_NS

    def _send(self, packets: object) -> None:
        for octets, is_for_server, port in packets:  # type: ignore[attr-defined]
            number = next(number for number, known_port in PORTS.items() if known_port is port)
            endpoint = self._upstream if is_for_server else self._ports[port]
            endpoint.send(octets, len(octets), len(octets), ("server", number) if is_for_server else self._client)

    def close(self) -> None:
        """Vanish without a word."""
        for endpoint in (*self._ports.values(), self._upstream):
            endpoint.close()


def between(world: World, attack: Attack, recorded: Proof | None = None, *, is_open: bool = False) -> Server:
    """A server with a key, and somebody before it; the links lose a little."""
    for source, target in (("client", "middle"), ("middle", "client")):
        world.link(
            source,
            target,
            Link(loss=world.draw.choice([0.0, 0.02, 0.1]), delay_ns=world.draw.randrange(1, 40) * NS // 1000),
        )
    server = world.serve(world.source(CONTENT), identity=Identity(SERVER), open=is_open)
    world._add(Middle(world, attack, recorded))
    return server


def recorded(seed: int) -> Proof:
    """A Proof of the server's in a session of an earlier world."""
    world = World(seed)
    between(world, Attack.OTHER_SESSION)
    middle = world.hosts[-1]
    assert isinstance(middle, Middle)
    world.fetch(server="middle")
    assert world.run(lambda: middle.interceptor.seen is not None)
    assert middle.interceptor.seen is not None
    return middle.interceptor.seen


def failure_of(client: Client) -> Failure | None:
    failed = [event for event in client.events if isinstance(event, FetchFailed)]
    return failed[0].failure if failed else None


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("attack", ATTACKS)
def test_who_knows_the_server_takes_nothing_from_anybody_between(attack: Attack, seed: int) -> None:
    world = World(seed)
    proof = recorded(seed + 1000) if attack is Attack.REPLAYED else None
    between(world, attack, proof)
    identity = CLIENT if seed % 2 else None
    client = world.fetch(server="middle", server_keys=known(), identity=identity)
    assert world.run(lambda: client.has_ended, 30 * NS)
    assert not client.is_done
    assert failure_of(client) is EXPECTED.get(attack, Failure.UNPROVED)
    assert client.sink is None or (client.sink.manifest is None and not any(client.sink.verified))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("is_open", [False, True])
def test_who_changes_nothing_is_not_noticed(seed: int, is_open: bool) -> None:
    world = World(seed)
    between(world, Attack.NONE, is_open=is_open)
    client = world.fetch(server="middle", server_keys=known(), identity=CLIENT, open=is_open)
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert client.sink is not None
    assert client.sink.content == CONTENT


@pytest.mark.parametrize("attack", [Attack.OWN_KEY, Attack.BARE])
@pytest.mark.parametrize("seed", range(5))
def test_without_a_key_that_is_known_the_one_between_is_the_server(attack: Attack, seed: int) -> None:
    """First use trusts the network: this is what a key that is known is for, and that the attack is a real one."""
    world = World(seed)
    between(world, attack)
    keys = ServerKeys("middle", CONTROL_PORT_DEFAULT)
    client = world.fetch(server="middle", server_keys=keys, identity=CLIENT)
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert keys.latest == (name_of(ATTACKER) if attack is Attack.OWN_KEY else "")


def test_a_sink_that_lacks_nothing_is_not_finished_before_the_proof() -> None:
    world = World(1)
    server = world.serve(world.source(CONTENT), name="other")
    earlier = world.fetch(name="client", server="other")
    assert world.run(lambda: earlier.is_done)
    world.kill(earlier)
    assert earlier.sink is not None
    assert earlier.sink.complete
    earlier.sink.result = None
    world.kill(server)
    between(world, Attack.OWN_KEY)
    client = world.fetch(server="middle", server_keys=known(), sink=earlier.sink)
    assert world.run(lambda: client.has_ended)
    assert failure_of(client) is Failure.OTHER_KEY
    assert not client.is_done
    assert earlier.sink.result is None
