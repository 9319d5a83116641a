"""Numbers of blocks: which there are, and how many symbols each has."""

from __future__ import annotations

import pytest

from fountain.geometry import Geometry
from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.wire.session import MANIFEST_BIT

NUMBERS = BlockNumbers(Geometry(25 * 16, 16, 10), Geometry(5 * 16 - 1, 16, 10))


@pytest.mark.parametrize(("block", "symbol_count"), [(0, 9), (1, 8), (2, 8), (MANIFEST_BIT, 5)])
def test_blocks_that_exist_have_their_symbols(block: int, symbol_count: int) -> None:
    assert block in NUMBERS
    assert NUMBERS.symbol_count(block) == symbol_count


@pytest.mark.parametrize("block", [3, MANIFEST_BIT - 1, MANIFEST_BIT | 1, 2 * MANIFEST_BIT - 1])
def test_others_do_not_exist(block: int) -> None:
    assert block not in NUMBERS
    with pytest.raises(ValueError, match="outside"):
        NUMBERS.symbol_count(block)


def test_an_empty_object_has_no_block_but_its_manifest_has() -> None:
    empty = BlockNumbers(Geometry(0, 16, 10), NUMBERS.manifest)
    assert (0 in empty, MANIFEST_BIT in empty) == (False, True)
    assert (empty.block_count(7), empty.block_count(MANIFEST_BIT | 7)) == (0, 1)
