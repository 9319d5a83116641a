"""Where a receiver takes the server of an open stream to be, whoever else announces it."""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.group.whereabouts import MOVED_DATA_NS, MOVED_NS, Whereabouts

SERVER, FORGER = ("server", 6332), ("forger", 1)


def heard(whereabouts: Whereabouts, until_ns: int) -> None:
    """The forger announces the stream ten times a second, and the server once."""
    for now_ns in range(0, until_ns, NS // 10):
        if not now_ns % NS:
            whereabouts.hear(SERVER, now_ns)
        whereabouts.hear(FORGER, now_ns)


def test_who_announces_a_stream_beside_its_server_is_not_believed() -> None:
    whereabouts = Whereabouts(SERVER, 0, is_open=True)
    heard(whereabouts, 20 * NS)
    assert whereabouts.address == SERVER
    assert not whereabouts.hear(FORGER, 20 * NS)


def test_where_the_first_announce_was_forged_the_data_shows_where_the_server_is() -> None:
    whereabouts = Whereabouts(FORGER, 0, is_open=True)
    assert not whereabouts.hear(SERVER, NS)
    whereabouts.hear_data(SERVER, NS)
    assert whereabouts.hear(SERVER, NS)
    assert not whereabouts.hear(FORGER, NS)
    assert whereabouts.address == SERVER


def test_a_server_that_gets_another_address_is_found_there() -> None:
    moved = ("10.0.0.99", 6332)
    whereabouts = Whereabouts(SERVER, 0, is_open=True)
    whereabouts.hear_data(SERVER, 0)
    for now_ns in (NS // 2, MOVED_DATA_NS - 1):
        whereabouts.hear_data(moved, now_ns)
        assert not whereabouts.hear(moved, now_ns)
    assert whereabouts.hear(moved, MOVED_DATA_NS)
    assert whereabouts.address == moved


def test_without_data_a_server_that_falls_silent_is_given_up() -> None:
    whereabouts = Whereabouts(SERVER, 0, is_open=True)
    assert not whereabouts.hear(FORGER, MOVED_NS - 1)
    assert whereabouts.hear(FORGER, MOVED_NS)


def test_a_port_of_the_same_machine_is_no_other_place() -> None:
    whereabouts = Whereabouts(SERVER, 0, is_open=True)
    assert whereabouts.hear(("server", 7_000), 1)
    assert whereabouts.address == ("server", 7_000)


def test_with_a_key_each_word_is_the_servers() -> None:
    whereabouts = Whereabouts(SERVER, 0, is_open=False)
    assert whereabouts.hear(FORGER, 1)
    assert whereabouts.address == SERVER  # It moves with an Announce that is newer than those before.
    whereabouts.move(FORGER)
    assert whereabouts.address == FORGER
