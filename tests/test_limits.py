"""The limits agree with the standards that they come from, and with what the rest makes of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fountain import limits
from fountain.geometry import block_symbol_limit, symbol_size_for_mtu

SOURCE = Path(limits.__file__).read_text()


def test_default_packet_fills_ethernet_exactly() -> None:
    symbol_size = symbol_size_for_mtu(limits.MTU_DEFAULT)
    assert symbol_size == 22 * 64
    assert symbol_size + limits.DATA_OVERHEAD_SIZE + limits.IP_UDP_OVERHEAD_SIZE == limits.MTU_DEFAULT


def test_default_block_fits_the_largest_block() -> None:
    symbol_size = symbol_size_for_mtu(limits.MTU_DEFAULT)
    assert limits.BLOCK_SYMBOL_COUNT_DEFAULT * symbol_size <= limits.BLOCK_SIZE_MAX


def test_every_symbol_of_the_largest_block_has_an_esi_and_room_for_repair() -> None:
    assert 100 * limits.BLOCK_SYMBOL_COUNT_MAX < limits.ESI_LIMIT


def test_largest_object_at_the_default_symbol_size_has_a_geometry() -> None:
    symbol_size = symbol_size_for_mtu(limits.MTU_DEFAULT)
    size = limits.BLOCK_COUNT_MAX * (limits.BLOCK_SIZE_MAX // symbol_size) * symbol_size
    assert block_symbol_limit(size, symbol_size) == limits.BLOCK_SIZE_MAX // symbol_size


def test_a_receiver_can_hold_several_of_the_largest_blocks() -> None:
    assert limits.RECEIVE_MEMORY_SIZE_MAX >= 4 * limits.BLOCK_SIZE_MAX


def test_control_data_and_group_ports_differ() -> None:
    assert len({limits.CONTROL_PORT_DEFAULT, limits.DATA_PORT_DEFAULT, limits.GROUP_PORT_DEFAULT}) == 3


def test_a_segmented_send_fits_one_ip_datagram_and_a_train_holds_any_datagram() -> None:
    assert limits.SEND_SIZE_MAX + limits.IP_UDP_OVERHEAD_SIZE <= 0xFFFF
    assert limits.TRAIN_SIZE_MAX > limits.DATAGRAM_SIZE_MAX


def test_names_say_their_unit() -> None:
    plain = {"NS", "ESI_LIMIT", "MTU_DEFAULT", "MTU_MAX", "MTU_MIN"}
    ports = {"CONTROL_PORT_DEFAULT", "DATA_PORT_DEFAULT", "GROUP_PORT_DEFAULT"}
    for name in set(limits.__all__) - plain - ports:
        assert re.search(r"_(SIZE|COUNT|NS|BPS)(_|$)", name), name


def test_limits_are_whole_numbers() -> None:
    for name in limits.__all__:
        assert type(getattr(limits, name)) is int, name


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("HELLO_SIZE = 1200", "HELLO_SIZE = 1233"),  # more than every path of IPv6 takes
        ("CONTROL_SIZE_MAX = 1200", "CONTROL_SIZE_MAX = 1201"),  # an answer is longer than a Hello
        ("BLOCK_COUNT_MAX = 1 << 18", "BLOCK_COUNT_MAX = (1 << 18) - 1"),  # The largest object has no geometry.
        ("MANIFEST_SIZE_MAX = 128 << 20", "MANIFEST_SIZE_MAX = 64 << 20"),  # The largest tree does not fit.
        ("PART_COUNT_MAX = 64", "PART_COUNT_MAX = 53"),  # The largest packet does not fit so many parts.
        ("BLOCK_SYMBOL_COUNT_DEFAULT = 1002", "BLOCK_SYMBOL_COUNT_DEFAULT = 56_404"),
        ("SYMBOL_SIZE_MAX = 65_535 - 8 - 40 - 44", "SYMBOL_SIZE_MAX = 65_535 - 8 - 40"),
    ],
)
def test_limits_that_contradict_each_other_stop_the_import(line: str, wrong: str) -> None:
    assert SOURCE.count(f"\n{line}") == 1
    with pytest.raises(AssertionError):
        exec(compile(SOURCE.replace(f"\n{line}", f"\n{wrong}"), "limits", "exec"), {"__name__": "limits"})
