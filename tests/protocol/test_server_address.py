"""Where a receiver takes the server of an open stream to be, whoever else announces it."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.group.server_address import MOVED_DATA_NS, MOVED_NS, ServerAddress

SERVER, FORGER = ("server", 6332), ("forger", 1)


def heard(server: ServerAddress, until_ns: int) -> None:
    """The forger announces the stream ten times a second, and the server once."""
    for now_ns in range(0, until_ns, NS // 10):
        if not now_ns % NS:
            server.hear(SERVER, now_ns)
        server.hear(FORGER, now_ns)


def test_who_announces_a_stream_beside_its_server_is_not_believed() -> None:
    server = ServerAddress(SERVER, 0, is_open=True)
    heard(server, 20 * NS)
    assert server.address == SERVER
    assert not server.hear(FORGER, 20 * NS)


def test_where_the_first_announce_was_forged_the_data_shows_where_the_server_is() -> None:
    server = ServerAddress(FORGER, 0, is_open=True)
    assert not server.hear(SERVER, NS)
    server.hear_data(SERVER, NS)
    assert server.hear(SERVER, NS)
    assert not server.hear(FORGER, NS)
    assert server.address == SERVER


def test_a_server_that_gets_another_address_is_found_there() -> None:
    moved = ("10.0.0.99", 6332)
    server = ServerAddress(SERVER, 0, is_open=True)
    server.hear_data(SERVER, 0)
    for now_ns in (NS // 2, MOVED_DATA_NS - 1):
        server.hear_data(moved, now_ns)
        assert not server.hear(moved, now_ns)
    assert server.hear(moved, MOVED_DATA_NS)
    assert server.address == moved


def test_without_data_a_server_that_falls_silent_is_given_up() -> None:
    server = ServerAddress(SERVER, 0, is_open=True)
    assert not server.hear(FORGER, MOVED_NS - 1)
    assert server.hear(FORGER, MOVED_NS)


def test_a_port_of_the_same_machine_is_no_other_place() -> None:
    server = ServerAddress(SERVER, 0, is_open=True)
    assert server.hear(("server", 7_000), 1)
    assert server.address == ("server", 7_000)


def test_with_a_key_each_word_is_the_servers() -> None:
    server = ServerAddress(SERVER, 0, is_open=False)
    assert server.hear(FORGER, 1)
    assert server.address == SERVER  # It moves with an Announce that is newer than those before.
    server.move(FORGER)
    assert server.address == FORGER
