"""RaptorQ where it is misused or attacked: refused before anything is allocated or changed, or without consequence."""

from __future__ import annotations

import os
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from fountain.codes.api import slab_row_count
from fountain.codes.raptorq import RaptorQ
from fountain.limits import ESI_LIMIT

CODE = RaptorQ()


def block(seed: int, count: int, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size), dtype=np.uint8)


def symbols(source: NDArray[np.uint8], *esis: int) -> NDArray[np.uint8]:
    out = np.empty((len(esis), source.shape[1]), dtype=np.uint8)
    CODE.encoder(source).encode(np.array(esis, dtype=np.uint32), out)
    return out


def comes_back(seed: int, count: int, size: int) -> bool:
    source = block(seed, count, size)
    esis = range(count // 3, count + count // 3 + 2)
    decoder = CODE.decoder(count, size)
    names = np.array(esis, dtype=np.uint32)
    decoder.slab[decoder.reserve(names)] = symbols(source, *esis)
    decoder.commit(names, np.array([esi if esi < count else -1 for esi in esis], dtype=np.int32))
    names = names[names >= count]
    slots = decoder.reserve(names)
    decoder.slab[slots] = symbols(source, *names.tolist())
    decoder.commit(names, slots)
    return decoder.decode().need == 0 and bool((decoder.slab[:count] == source).all())


def test_the_largest_esi_is_a_symbol_and_the_next_is_none() -> None:
    source = block(1, 20, 16)
    assert symbols(source, ESI_LIMIT - 1).any()
    for esi in (ESI_LIMIT, 2**32 - 1):
        with pytest.raises(ValueError, match=r"outside 0\.\.16777215"):
            symbols(source, 3, esi)
    decoder = CODE.decoder(20, 16)
    names = np.array([ESI_LIMIT - 1, ESI_LIMIT, 2**32 - 1], dtype=np.uint32)
    assert (decoder.reserve(names) >= 0).tolist() == [True, False, False]


def test_no_symbols_asked_for_is_no_work() -> None:
    assert symbols(block(1, 20, 16)).shape == (0, 16)


@pytest.mark.parametrize("count", [0, 56_404, 1 << 40])
def test_a_block_that_cannot_be_allocates_nothing(count: int) -> None:
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"outside 1\.\.56403"):
        CODE.decoder(count, 65_535)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_block_without_symbols_or_octets_is_refused() -> None:
    with pytest.raises(ValueError, match=r"outside 1\.\.56403"):
        CODE.encoder(np.empty((0, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match="below 1"):
        CODE.encoder(np.empty((8, 0), dtype=np.uint8))
    with pytest.raises(ValueError, match="below 1"):
        CODE.decoder(8, 0)


def test_rows_of_another_size_are_refused() -> None:
    with pytest.raises(ValueError, match=r"out must be uint8\[1, 16\]"):
        CODE.encoder(block(1, 20, 16)).encode(np.array([25], dtype=np.uint32), np.empty((1, 15), dtype=np.uint8))
    with pytest.raises(ValueError, match="slab must be"):
        CODE.decoder(20, 16, np.empty((slab_row_count(20), 15), dtype=np.uint8))


def test_the_largest_symbols_of_a_small_block_come_back() -> None:
    assert comes_back(2, 7, 65_535)


def test_a_polluted_symbol_spoils_the_block_and_nothing_else() -> None:
    """The code cannot know: whoever holds the digest throws the block away, and the next decoder is unharmed."""
    source = block(3, 50, 64)
    names = np.arange(10, 60, dtype=np.uint32)
    rows = symbols(source, *names.tolist())
    rows[45] ^= 1
    decoder = CODE.decoder(50, 64)
    slots = decoder.reserve(names)
    decoder.slab[slots] = rows
    decoder.commit(names, slots)
    if decoder.decode().need == 0:
        assert (decoder.slab[10:50] == source[10:]).all()
        assert (decoder.slab[:10] != source[:10]).any()
    assert comes_back(3, 50, 64)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded.*:DeprecationWarning")
def test_a_forked_process_codes_as_its_parent_does() -> None:
    assert comes_back(4, 90, 40)
    child = os.fork()
    if child == 0:
        os._exit(0 if comes_back(4, 90, 40) and comes_back(5, 300, 40) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_blocks_of_many_shapes_come_back_on_many_threads() -> None:
    with ThreadPoolExecutor(6) as pool:
        assert all(pool.map(lambda seed: comes_back(seed, 5 + 61 * seed % 700, 1 + 37 * seed % 200), range(60)))
