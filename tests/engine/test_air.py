"""How long one-way streams are on the air that take turns."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from fountain.config import OnewayConfig
from fountain.engine.serving.air import AirTimes
from fountain.geometry import Geometry
from fountain.limits import NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.schedule.oneway import CYCLE_MIN_NS, OnewayBudget

RATE = 8_000_000
PACKET_SIZE = 1000
EMPTY = Geometry(0, 900, 1000)


def served(name: str, size: int) -> ServedObject:
    offer = SimpleNamespace(name=name, geometry=Geometry(size, 900, 1000), manifest_geometry=EMPTY)
    return cast(ServedObject, SimpleNamespace(offer=offer, packet_size=PACKET_SIZE))


SMALL, LARGE = served("small", 90_000), served("large", 9_000_000)


def count(plan: OnewayBudget, entry: ServedObject) -> int:
    geometry = entry.offer.geometry
    data_count = plan.packet_count(geometry, entry.offer.manifest_geometry)
    return data_count + len(plan.announce_places(data_count, geometry.symbol_size, geometry.block_count))


def test_a_small_object_among_large_ones_is_over_when_each_has_sent_as_much() -> None:
    air = AirTimes(OnewayConfig(pass_count=2), [SMALL, LARGE], RATE)
    small, large = 2 * count(air.budget, SMALL), 2 * count(air.budget, LARGE)
    assert air.planned_s(0) == max(2 * small / 1000, 2 * CYCLE_MIN_NS / NS)
    assert air.planned_s(1) == pytest.approx((small + large) / 1000)


def test_an_object_shares_the_air_with_small_ones_only_while_these_are_sent() -> None:
    air = AirTimes(OnewayConfig(pass_count=1), [SMALL, LARGE, SMALL], RATE)
    assert air.air_time(1).seconds == pytest.approx((2 * count(air.budget, SMALL) + count(air.budget, LARGE)) / 1000)


def test_without_an_end_all_objects_have_equal_shares() -> None:
    air = AirTimes(OnewayConfig(), [SMALL, LARGE], RATE)
    assert air.planned_s(1) is None
    assert air.air_time(1).seconds == pytest.approx(2 * count(OnewayBudget(air.budget.loss), LARGE) / 1000)


def test_a_stream_that_ends_before_an_object_is_sure_to_be_there_is_warned_of() -> None:
    air = AirTimes(OnewayConfig(duration_s=5.0), [SMALL, LARGE], RATE)
    assert air.planned_s(0) == 5
    assert air.warning(0) is None
    warning = air.warning(1)
    assert warning is not None
    assert warning.message.startswith("large needs 2")
    assert warning.message.endswith("the stream ends after 5.0 s: a receiver may not get all of it.")


def test_a_small_object_takes_a_pass_of_the_minimum_time() -> None:
    air = AirTimes(OnewayConfig(pass_count=3), [served("tiny", 1)], RATE)
    assert air.air_time(0).seconds == CYCLE_MIN_NS / NS
    assert air.planned_s(0) == 3 * CYCLE_MIN_NS / NS


@pytest.mark.parametrize(("overhead", "is_warned"), [(0.01, True), (0.5, False)])
def test_an_overhead_that_is_too_little_for_the_planned_loss_is_warned_of(overhead: float, is_warned: bool) -> None:
    air = AirTimes(OnewayConfig(overhead=overhead), [LARGE], RATE)
    assert (air.warning(0) is not None) is is_warned
