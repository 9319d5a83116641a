"""Which Announces and Plans a receiver takes for new, in a group whose members all could make them."""

from __future__ import annotations

import pytest

from fountain.limits import NS
from fountain.protocol.group.server_signs import LOST_NS, RISE_COUNT_MAX, ServerSigns
from tests.wire.group_golden import ANNOUNCE

SPACING_NS = NS // 500  # of Plans at most
FIRST = 100


@pytest.fixture
def signs() -> ServerSigns:
    return ServerSigns(ANNOUNCE, FIRST, ("server", 6332), 0, is_open=False)


def all_come(signs: ServerSigns, first: int, count: int, from_ns: int = 0, spacing_ns: int = SPACING_NS) -> bool:
    return all(signs.accept(first + turn, from_ns + turn * spacing_ns) for turn in range(count))


def test_numbers_that_rise_as_fast_as_they_can_are_all_taken(signs: ServerSigns) -> None:
    assert all_come(signs, FIRST + 1, 20_000)


@pytest.mark.parametrize("leap", [RISE_COUNT_MAX, RISE_COUNT_MAX + 1, 100_000, 1 << 61])
def test_a_leap_of_one_packet_shuts_no_true_one_out(leap: int, signs: ServerSigns) -> None:
    assert all_come(signs, FIRST + 1, 10)
    assert signs.accept(FIRST + 10 + leap, 10 * SPACING_NS) == (leap <= RISE_COUNT_MAX)
    assert all_come(signs, FIRST + 11, 400, 10 * SPACING_NS)


def test_a_receiver_that_slept_goes_on_with_whatever_comes(signs: ServerSigns) -> None:
    assert not signs.accept(1 << 32, LOST_NS - 1)
    assert signs.accept(1 << 32, LOST_NS)
    assert all_come(signs, (1 << 32) + 1, 10, LOST_NS)


def test_numbers_are_taken_once(signs: ServerSigns) -> None:
    assert all_come(signs, FIRST + 1, 10)
    assert not any(signs.accept(FIRST + turn, NS) for turn in range(11))
