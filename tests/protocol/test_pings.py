"""When a server pings a client."""

from __future__ import annotations

import pytest

from fountain.protocol.session.pings import PING_INTERVAL_NS, Pings
from fountain.protocol.session.port_proof import CHALLENGE_INTERVAL_NS, CHALLENGE_SPACING_NS, PortProof

CHALLENGE = 7


@pytest.fixture
def pings() -> Pings:
    """Pings of a session whose port is proved."""
    pings = Pings(PortProof(CHALLENGE, 0), 0)
    assert pings.proof.accept(CHALLENGE)
    return pings


def test_until_the_port_is_proved_a_ping_asks_often_and_answers_soon() -> None:
    pings = Pings(PortProof(CHALLENGE, 0), 0)
    assert not pings.is_answer_due(CHALLENGE_SPACING_NS - 1)
    assert pings.is_answer_due(CHALLENGE_SPACING_NS)
    assert not pings.poll(0, 0, CHALLENGE_INTERVAL_NS - 1)
    assert pings.poll(0, 0, CHALLENGE_INTERVAL_NS)


def test_a_ping_that_goes_out_puts_the_next_one_off() -> None:
    pings = Pings(PortProof(CHALLENGE, 0), 0)
    assert pings.take(3, CHALLENGE_INTERVAL_NS)
    assert not pings.is_answer_due(CHALLENGE_INTERVAL_NS)
    assert not pings.poll(0, 0, 2 * CHALLENGE_INTERVAL_NS - 1)


def test_a_client_whose_port_is_proved_is_asked_no_more(pings: Pings) -> None:
    assert not pings.is_answer_due(10 * PING_INTERVAL_NS)
    assert not pings.poll(0, 0, PING_INTERVAL_NS - 1)


def test_data_that_arrives_takes_the_place_of_a_ping(pings: Pings) -> None:
    assert not pings.poll(1, 10, PING_INTERVAL_NS)
    assert pings.poll(1, 10, PING_INTERVAL_NS + 10)


def test_data_of_which_nothing_more_arrives_does_not(pings: Pings) -> None:
    assert pings.poll(1, 0, PING_INTERVAL_NS)
    pings.take(1, PING_INTERVAL_NS)
    assert pings.poll(1, 2 * PING_INTERVAL_NS - 1, 2 * PING_INTERVAL_NS)
