"""Two people with one code in the seeded world: over bad links, and with somebody between them who guesses."""

from __future__ import annotations

import itertools

import pytest

from fountain.limits import NS
from fountain.protocol.session.client_events import Failure
from fountain.protocol.session.pairing import ClientPairing, ServerPairing
from fountain.protocol.session.server_events import HandshakeRefused
from fountain.testing.link import Link
from fountain.testing.world import Client, Server, World
from fountain.trust.pair_code import draw_code
from fountain.trust.spake import client_exchanges, server_exchanges
from fountain.wire.control import RefusalReason
from tests.interceptor import Attack
from tests.world.test_interceptor import CONTENT, Middle, failure_of

CODE, OTHER = draw_code(b"abc"), draw_code(b"xyz")
SEEDS = [*range(6), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(6, 50))]


def served(world: World) -> tuple[Server, ServerPairing]:
    pairing = ServerPairing(server_exchanges(CODE), world.draw_bytes(32))
    return world.serve(world.source(CONTENT), pairing=pairing, peer_count_max=1), pairing


def known(world: World, code: str = CODE) -> ClientPairing:
    return ClientPairing(client_exchanges(code), world.draw_bytes(32))


def bad_links(world: World, *names: str) -> None:
    """Links between neighbours that lose, delay and repeat."""
    for one, other in itertools.pairwise(names):
        for source, target in ((one, other), (other, one)):
            loss, delay_ns = world.draw.choice([0.0, 0.02, 0.1]), world.draw.randrange(1, 40) * NS // 1000
            world.link(source, target, Link(loss=loss, delay_ns=delay_ns, duplicate=world.draw.choice([0.0, 0.05])))


def is_empty(client: Client) -> bool:
    return client.sink is None or (client.sink.manifest is None and not any(client.sink.verified))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_right_code_brings_the_object_and_costs_no_guess(seed: int) -> None:
    world = World(seed)
    server, pairing = served(world)
    bad_links(world, "client", "server")
    client = world.fetch(pairing=known(world))
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert client.sink is not None
    assert client.sink.content == CONTENT
    assert pairing.wrong_count == 0
    assert not [event for event in server.events if isinstance(event, HandshakeRefused)]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_network_that_is_away_for_a_while_costs_no_guess(seed: int) -> None:
    """The server is silent, the client asks again and again, and goes on with the key that it has."""
    world = World(seed)
    _, pairing = served(world)
    bad_links(world, "client", "server")
    client = world.fetch(pairing=known(world), wait=True)
    assert world.run(lambda: client.sink is not None and client.sink.manifest is not None)
    links = dict(world.links)
    for way in links:
        world.link(*way, Link(loss=1.0))
    assert not world.run(lambda: client.has_ended, world.draw.randrange(3, 60) * NS)
    for way, link in links.items():
        world.link(*way, link)
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert pairing.wrong_count == 0


@pytest.mark.parametrize("seed", SEEDS)
def test_one_wrong_code_is_one_guess_whatever_is_lost(seed: int) -> None:
    world = World(seed)
    server, pairing = served(world)
    bad_links(world, "client", "server")
    client = world.fetch(pairing=known(world, OTHER), wait=bool(seed % 2))
    assert world.run(lambda: client.has_ended, 30 * NS)
    assert failure_of(client) is Failure.REFUSED
    assert is_empty(client)
    assert pairing.wrong_count == 1
    assert {event.reason for event in server.events if isinstance(event, HandshakeRefused)} == {
        RefusalReason.WRONG_CODE
    }


@pytest.mark.parametrize("seed", SEEDS)
def test_the_one_between_has_one_guess_and_is_noticed_on_both_sides(seed: int) -> None:
    world = World(seed)
    _, pairing = served(world)
    bad_links(world, "client", "middle")
    world._add(Middle(world, Attack.GUESSED, guess=OTHER))
    client = world.fetch(server="middle", pairing=known(world), wait=bool(seed % 2))
    assert world.run(lambda: client.has_ended, 30 * NS)
    assert failure_of(client) is Failure.REFUSED
    assert is_empty(client)
    assert pairing.wrong_count == 1


@pytest.mark.parametrize("seed", range(3))
def test_the_one_between_who_guesses_right_has_it_all(seed: int) -> None:
    """One time in 16 million: that the attack is a real one."""
    world = World(seed)
    _, pairing = served(world)
    bad_links(world, "client", "middle")
    world._add(Middle(world, Attack.GUESSED, guess=CODE))
    client = world.fetch(server="middle", pairing=known(world))
    assert world.run(lambda: client.has_ended)
    assert client.is_done
    assert pairing.wrong_count == 0


@pytest.mark.parametrize("seed", range(5))
def test_who_says_that_there_is_no_code_is_not_followed(seed: int) -> None:
    world = World(seed)
    _, pairing = served(world)
    bad_links(world, "client", "middle")
    world._add(Middle(world, Attack.CODELESS))
    client = world.fetch(server="middle", pairing=known(world))
    assert world.run(lambda: client.has_ended, 30 * NS)
    assert failure_of(client) is Failure.CODELESS
    assert is_empty(client)
    assert pairing.wrong_count == 0


def test_a_sink_that_lacks_nothing_is_not_finished_before_the_code_is_proved() -> None:
    world = World(1)
    other = world.serve(world.source(CONTENT), name="other")
    earlier = world.fetch(name="client", server="other")
    assert world.run(lambda: earlier.is_done)
    for host in (earlier, other):
        world.kill(host)
    assert earlier.sink is not None
    earlier.sink.result = None
    served(world)
    client = world.fetch(pairing=known(world, OTHER), sink=earlier.sink)
    assert world.run(lambda: client.has_ended)
    assert not client.is_done
    assert earlier.sink.result is None
