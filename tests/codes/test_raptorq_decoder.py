"""Decoding: whatever arrives, in whatever order, the block comes back exactly or the need is reported."""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import raptorq
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fountain.codes.api import BlockProgress, slab_row_count
from fountain.codes.raptorq import RaptorQ, generator
from fountain.codes.raptorq import decoder as decoder_module
from fountain.codes.raptorq import encoder as encoder_module
from fountain.codes.raptorq.decoder import RaptorQDecoder
from fountain.codes.raptorq.parameters import parameters_for
from fountain.codes.raptorq.plan import make_plan
from fountain.codes.raptorq.tables import SYSTEMATIC_INDICES
from fountain.limits import ESI_LIMIT
from tests.codes.vectors import rows_of

CODE = RaptorQ()
BOTH_ENGINES = pytest.mark.parametrize("engine", ["dense", "plan"])


def random_block(seed: int, count: int, size: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, size), dtype=np.uint8)


def symbols(source: NDArray[np.uint8], esis: list[int]) -> NDArray[np.uint8]:
    out = np.empty((len(esis), source.shape[1]), dtype=np.uint8)
    CODE.encoder(source).encode(np.array(esis, dtype=np.uint32), out)
    return out


def feed(decoder: RaptorQDecoder, esis: list[int], rows: NDArray[np.uint8]) -> BlockProgress:
    names = np.array(esis, dtype=np.uint32)
    slots = decoder.reserve(names)
    decoder.slab[slots[slots >= 0]] = rows[slots >= 0]
    return decoder.commit(names, slots)


def decode(source: NDArray[np.uint8], esis: list[int]) -> tuple[RaptorQDecoder, BlockProgress]:
    decoder = CODE.decoder(*source.shape)
    feed(decoder, esis, symbols(source, esis))
    return decoder, decoder.decode()


def use_engine(monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    monkeypatch.setattr(decoder_module, "dense_decode_is_cheaper", lambda *_: engine == "dense")
    monkeypatch.setattr(encoder_module, "dense_encode_is_cheaper", lambda *_: engine == "dense")


@BOTH_ENGINES
@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 26, 101, 257])
def test_a_block_comes_back_from_any_mixture(
    count: int, engine: str, monkeypatch: pytest.MonkeyPatch, rng: random.Random
) -> None:
    use_engine(monkeypatch, engine)
    for size in (1, 5, 8, 63, 64, 65, 200):
        for lost in {0, 1, count // 2, count}:
            source = random_block(rng.getrandbits(32), count, size)
            kept = rng.sample(range(count), count - lost)
            # Two more than are missing: fewer than one set in a million is then not solvable.
            esis = kept + rng.sample(range(count, 1 << 24), lost + 2)
            rng.shuffle(esis)
            decoder, progress = decode(source, esis)
            assert progress.need == 0
            assert (decoder.slab[:count] == source).all()


@pytest.mark.parametrize("rows", rows_of(len(SYSTEMATIC_INDICES)))
def test_extended_block_sizes_survive_a_round_trip(rows: range, rng: random.Random) -> None:
    for row in rows:
        k_prime = SYSTEMATIC_INDICES[row][0]
        count = k_prime - rng.randrange(2)
        source = random_block(k_prime, count, 2)
        kept = sorted(rng.sample(range(count), count * rng.choice((0, 50, 90)) // 100))
        decoder, progress = decode(source, kept + rng.sample(range(count, 1 << 24), count - len(kept) + 2))
        assert progress.need == 0, f"K = {count}"
        assert (decoder.slab[:count] == source).all(), f"K = {count}"


@settings(max_examples=60)
@given(st.data())
def test_symbols_of_the_wheel_decode_here_and_ours_decode_there(data: st.DataObject) -> None:
    count = data.draw(st.one_of(st.integers(1, 40), st.integers(1, 1300)), "K")
    size = data.draw(st.one_of(st.integers(1, 63), st.integers(8, 60).map(lambda n: 8 * n)), "T")
    seed = data.draw(st.integers(0, 2**32 - 1), "seed")
    generator = random.Random(seed)
    source = random_block(seed, count, size)
    lost = data.draw(st.integers(0, count), "lost")
    kept = generator.sample(range(count), count - lost)
    repair = generator.sample(range(count, count + 3 * lost + 10), lost + 2)
    esis = kept + repair
    generator.shuffle(esis)

    packets = raptorq.Encoder.with_defaults(source.tobytes(), size).get_encoded_packets(3 * lost + 10)
    by_esi = {int.from_bytes(packet[1:4], "big"): packet[4:] for packet in packets}
    rows = symbols(source, esis)
    for esi, row in zip(esis, rows):
        assert by_esi[esi] == row.tobytes()

    decoder, progress = decode(source, esis)
    assert progress.need == 0
    assert (decoder.slab[:count] == source).all()

    foreign = raptorq.Decoder.with_defaults(source.size, size)
    results = [foreign.decode(esi.to_bytes(4, "big") + row.tobytes()) for esi, row in zip(esis, rows)]
    assert source.tobytes() in results


@BOTH_ENGINES
def test_too_few_independent_symbols_report_the_need_and_change_nothing(
    engine: str, monkeypatch: pytest.MonkeyPatch, rng: random.Random
) -> None:
    use_engine(monkeypatch, engine)
    count, size = 26, 16
    parameters = parameters_for(count)
    source = random_block(1, count, size)
    found = 0
    while found < 5:
        esis = rng.sample(range(count, 3 * count), count)
        if make_plan(parameters, np.array(esis, dtype=np.int64))[0] is not None:
            continue
        found += 1
        decoder, progress = decode(source, esis)
        assert progress.have == count
        assert progress.need >= 1
        for row, esi in enumerate(decoder.row_esi.tolist()):
            if esi >= 0:
                assert (decoder.slab[row] == symbols(source, [esi])[0]).all()
        assert feed(decoder, [3000], symbols(source, [3000])).need == progress.need - 1
        fresh = 4000
        while decoder.decode().need:
            feed(decoder, [fresh], symbols(source, [fresh]))
            fresh += 1
        assert (decoder.slab[:count] == source).all()
        assert fresh < 4003


@pytest.mark.parametrize("count", [10, 20, 101])
def test_failure_probability_is_within_the_bounds_of_the_rfc(count: int, rng: random.Random) -> None:
    parameters = parameters_for(count)
    failed = [0, 0, 0]
    trials = 4000
    for _ in range(trials):
        isis = np.array(rng.sample(range(3 * count), count + 2), dtype=np.int64)
        for extra in range(3):
            if make_plan(parameters, isis[: count + extra])[0] is not None:
                break
            failed[extra] += 1
    assert failed[0] <= trials // 50  # The bound is 1 in 100, and chance has some room.
    assert failed[1] <= 4  # 1 in 10,000
    assert failed[2] == 0  # 1 in 1,000,000


def test_decoding_waits_until_enough_is_held() -> None:
    source = random_block(2, 30, 10)
    decoder = CODE.decoder(30, 10)
    assert decoder.progress == BlockProgress(0, 30)
    assert decoder.decode() == BlockProgress(0, 30)
    assert feed(decoder, list(range(29)), source[:29]) == BlockProgress(29, 1)
    assert decoder.decode() == BlockProgress(29, 1)
    assert feed(decoder, [29], source[29:]) == BlockProgress(30, 0)
    assert decoder.decode() == BlockProgress(30, 0)
    assert (decoder.slab[:30] == source).all()


def test_a_solved_block_wants_nothing_more() -> None:
    source = random_block(3, 12, 10)
    decoder, progress = decode(source, list(range(12)))
    assert progress.need == 0
    assert decoder.reserve(np.array([12, 13, 3], dtype=np.uint32)).tolist() == [-1, -1, -1]
    assert (decoder.slab[:12] == source).all()


def test_a_larger_slab_at_any_alignment_serves(rng: random.Random) -> None:
    count, size = 40, 37
    source = random_block(4, count, size)
    rows = slab_row_count(count) + 9
    for shift in range(3):
        memory = np.empty(rows * size + 3, dtype=np.uint8)
        slab = memory[shift : shift + rows * size].reshape(rows, size)
        decoder = CODE.decoder(count, size, slab)
        esis = rng.sample(range(count, 4000), count + 2)
        feed(decoder, esis, symbols(source, esis))
        assert decoder.decode().need == 0
        assert (slab[:count] == source).all()


@pytest.mark.parametrize(
    "slab",
    [
        np.empty((slab_row_count(8) - 1, 4), dtype=np.uint8),
        np.empty((slab_row_count(8), 5), dtype=np.uint8),
        np.empty((slab_row_count(8), 4), dtype=np.uint16),
        np.empty((slab_row_count(8), 8), dtype=np.uint8)[:, ::2],
        np.frombuffer(bytes(slab_row_count(8) * 4), dtype=np.uint8).reshape(-1, 4),
    ],
    ids=["too short", "other size", "other type", "not contiguous", "read-only"],
)
def test_a_slab_that_cannot_serve_is_refused(slab: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="slab must be"):
        CODE.decoder(8, 4, slab)


@pytest.mark.parametrize("count", [0, -1, 56404])
def test_a_block_that_the_code_cannot_have_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"outside 1\.\.56403"):
        parameters_for(count)


def test_encoding_takes_any_order_and_a_read_only_source(rng: random.Random) -> None:
    source = random_block(5, 60, 33)
    frozen = np.frombuffer(source.tobytes(), dtype=np.uint8).reshape(60, 33)
    esis = [rng.randrange(200) for _ in range(150)]
    rows = symbols(frozen, esis)
    for esi, row in zip(esis, rows):
        assert (row == symbols(source, [esi])[0]).all()
    wide = np.zeros((150, 50), dtype=np.uint8)
    CODE.encoder(source).encode(np.array(esis, dtype=np.uint32), wide[:, 10:43])
    assert (wide[:, 10:43] == rows).all()
    assert not wide[:, :10].any()
    assert not wide[:, 43:].any()


@pytest.mark.parametrize("wrong", [-1, ESI_LIMIT, 2**32 - 1])
def test_an_esi_out_of_range_is_refused_beside_others_and_alone(wrong: int) -> None:
    encoder = CODE.encoder(random_block(1, 10, 8))
    for esis in ([wrong], [0, wrong, 12], [ESI_LIMIT - 1, wrong]):
        with pytest.raises(ValueError, match=r"outside 0\.\.16777215"):
            encoder.encode(np.array(esis, dtype=np.int64), np.empty((len(esis), 8), dtype=np.uint8))  # type: ignore[arg-type]
    encoder.encode(np.array([ESI_LIMIT - 1, 0, 11], dtype=np.uint32), np.empty((3, 8), dtype=np.uint8))


def test_both_engines_make_the_same_symbols_while_one_encoder_changes_over() -> None:
    source = random_block(6, 300, 64)
    encoder = CODE.encoder(source)
    for first in range(300, 3000, 90):
        esis = np.arange(first, first + 90, dtype=np.uint32)
        rows = np.empty((90, 64), dtype=np.uint8)
        encoder.encode(esis, rows)
        assert (rows == symbols(source, esis.tolist())).all()


def test_the_matrix_of_the_size_used_longest_ago_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()
    monkeypatch.setattr(generator, "_cache", kept)
    sizes = [parameters_for(count) for count in (10, 12, 18)]
    ten, twelve, _ = (generator.prepare_generator(size) for size in sizes)
    assert generator.prepare_generator(sizes[0]) is ten
    monkeypatch.setattr(generator, "_CACHE_SIZE_MAX", sum(matrix.nbytes for matrix in kept.values()))
    generator.prepare_generator(parameters_for(20))
    assert list(kept) == [18, 10, 20][-len(kept) :]
    assert sum(matrix.nbytes for matrix in kept.values()) <= generator._CACHE_SIZE_MAX
    assert generator.prepare_generator(sizes[1]) is not twelve


def test_an_output_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"out must be uint8\[2, 8\]"):
        CODE.encoder(random_block(1, 4, 8)).encode(np.array([1, 2], dtype=np.uint32), np.empty((3, 8), dtype=np.uint8))


def test_threads_share_encoders_plans_and_generators() -> None:
    source = random_block(7, 333, 100)
    encoder = CODE.encoder(source)
    barrier = threading.Barrier(4)

    def work(number: int) -> bool:
        barrier.wait()
        for turn in range(8):
            esis = np.arange(1000 * number + 100 * turn + 333, 1000 * number + 100 * turn + 433, dtype=np.uint32)
            rows = np.empty((100, 100), dtype=np.uint8)
            encoder.encode(esis, rows)
            other = random_block(number, 50 * turn + 20 + number, 30)
            wanted = list(range(len(other) // 2, len(other) + len(other) // 2 + 2))
            decoder, progress = decode(other, wanted)
            if progress.need or not (decoder.slab[: len(other)] == other).all():
                return False
            if not (rows == symbols(source, esis.tolist())).all():
                return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(4)))
