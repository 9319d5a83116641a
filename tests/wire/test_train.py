"""Data packets: the kernels against a twin that writes one packet at a time with `struct`, octet by octet."""

from __future__ import annotations

import struct
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fountain.limits import DATA_OVERHEAD_SIZE
from fountain.wire import crc32c
from fountain.wire import data as train
from fountain.wire.reject import Reject

SESSION = 0xFEDCBA9876543210
TIERS = [pytest.param(True, id="hardware", marks=pytest.mark.skipif(not crc32c.HARDWARE, reason="no instruction"))]
TIERS += [pytest.param(False, id="portable")]

Rows = NDArray[np.uint8]

# --- The twin -----------------------------------------------------------------------------------------------


def naive_crc32c(octets: bytes) -> int:
    state = 0xFFFFFFFF
    for octet in octets:
        state ^= octet
        for _ in range(8):
            state = state >> 1 ^ (0x82F63B78 if state & 1 else 0)
    return state ^ 0xFFFFFFFF


def naive_header(flags: int, rtt: int, session: int, sequence: int, timestamp: int, block: int, esi: int) -> bytes:
    low = struct.pack(">BBHQIII", 0x1D, flags, rtt, session, sequence % 2**32, timestamp % 2**32, block)
    return low + esi.to_bytes(3, "big") + b"\0"


def naive_open_packet(header: bytes, symbol: bytes) -> bytes:
    return header + symbol + naive_crc32c(header + symbol).to_bytes(4, "big") + bytes(12)


def naive_verdict(packet: bytes, session: int) -> Reject | None:
    if packet[0] >> 4 != 1:
        return Reject.BAD_VERSION
    if packet[0] & 15 != 0xD:
        return Reject.BAD_TYPE
    if packet[1] > 3 or packet[27]:
        return Reject.RESERVED_NOT_ZERO
    return None if int.from_bytes(packet[4:12], "big") == session else Reject.UNKNOWN_SESSION


# --- Worlds -------------------------------------------------------------------------------------------------


def random_rows(*shape: int, seed: int = 1) -> Rows:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def open_train(count: int, size: int) -> tuple[Rows, Rows, NDArray[np.int64]]:
    """A packed open train, the source of its symbols, and where each was taken."""
    source = random_rows(50, size)
    places = np.random.default_rng(2).integers(0, 50, count)
    rows = random_rows(count, size + DATA_OVERHEAD_SIZE, seed=3)
    train.pack_headers(
        rows,
        flags=train.FLAG_OPEN,
        rtt_hint=0x1234,
        session=SESSION,
        sequence=2**33 - 1,
        timestamp_us=2**32 + 77,
        block=0xABCDEF01,
        esis=np.arange(count, dtype=np.uint32) + 0xFFFF00,
    )
    train.pack_open(rows, source, places)
    return rows, source, places


# --- Facts --------------------------------------------------------------------------------------------------


def test_the_checksum_is_the_one_of_the_standards() -> None:
    assert naive_crc32c(b"123456789") == 0xE3069283
    assert naive_crc32c(bytes(32)) == 0x8A9136AA  # RFC 3720 appendix B.4
    assert naive_crc32c(b"\xff" * 32) == 0x62A8AB43
    assert naive_crc32c(bytes(range(32))) == 0x46DD794E


def test_the_golden_packet_does_not_change() -> None:
    rows = np.zeros((1, 8 + DATA_OVERHEAD_SIZE), dtype=np.uint8)
    train.pack_headers(
        rows,
        flags=train.FLAG_OPEN | train.FLAG_MANIFEST,
        rtt_hint=train.rtt_code(20_000),
        session=0x0102030405060708,
        sequence=0x1_0A0B0C0D,
        timestamp_us=0x11121314,
        block=0x21222324,
        esis=np.array([0x313233], dtype=np.uint32),
    )
    train.pack_open(rows, np.arange(0x40, 0x48, dtype=np.uint8).reshape(1, 8), np.zeros(1, dtype=np.int64))
    assert rows.tobytes().hex(" ", 4) == (
        "1d039c43 01020304 05060708 0a0b0c0d 11121314 21222324 31323300 40414243 44454647 "
        "abbe9d18 00000000 00000000 00000000"
    )


@pytest.mark.parametrize("hardware", TIERS)
@pytest.mark.parametrize(("count", "size"), list(product([1, 2, 3, 4, 5, 44], [1, 7, 8, 64, 100, 131])))
def test_open_packets_are_what_the_twin_writes(hardware: bool, count: int, size: int) -> None:
    rows, source, places = open_train(count, size)
    rows[:, 28:] = 0xEE
    assert crc32c.gather_and_sign(rows, source, places, hardware)
    for index in range(count):
        header = naive_header(1, 0x1234, SESSION, 2**33 - 1 + index, 77, 0xABCDEF01, 0xFFFF00 + index)
        assert rows[index].tobytes() == naive_open_packet(header, source[places[index]].tobytes())


@pytest.mark.parametrize("hardware", TIERS)
@pytest.mark.parametrize(("count", "size"), list(product([1, 2, 3, 4, 7], [1, 8, 99, 136])))
def test_good_symbols_land_in_their_slots_and_nothing_else_is_touched(hardware: bool, count: int, size: int) -> None:
    rows, source, places = open_train(count, size)
    packed = rows.copy()
    slab = random_rows(20, size, seed=9)
    expected = slab.copy()
    slots = np.random.default_rng(4).permutation(20)[:count].astype(np.int64)
    slots[::3] = -1
    expected[slots[slots >= 0]] = source[places[slots >= 0]]
    good = np.zeros(count, dtype=np.bool_)
    assert crc32c.check_and_scatter(rows, slab, slots, good, hardware)
    assert good.all()
    assert np.array_equal(slab, expected)
    assert np.array_equal(rows, packed)


@pytest.mark.parametrize("hardware", TIERS)
def test_every_single_changed_bit_is_noticed(hardware: bool) -> None:
    rows, _, _ = open_train(1, 21)
    slab, slots, good = np.zeros((1, 21), dtype=np.uint8), np.zeros(1, dtype=np.int64), np.ones(1, dtype=np.bool_)
    for bit in range(rows.size * 8):
        rows[0, bit // 8] ^= 1 << bit % 8
        crc32c.check_and_scatter(rows, slab, slots, good, hardware)
        assert not good[0], bit
        rows[0, bit // 8] ^= 1 << bit % 8
    assert train.check_open(rows).tolist() == [True]


def test_a_damaged_packet_is_distinguished_from_its_neighbours() -> None:
    for damaged in range(10):
        rows, _, _ = open_train(10, 64)
        rows[damaged, 40] ^= 1
        assert np.flatnonzero(~train.check_open(rows)).tolist() == [damaged]


def test_the_wrapper_scatters_what_the_wrapper_packed() -> None:
    rows, source, places = open_train(44, 1408)
    slab = np.zeros((60, 1408), dtype=np.uint8)
    slots = np.arange(44, dtype=np.int32) + 10
    assert train.scatter_open(rows, slab, slots).all()
    assert np.array_equal(slab[10:54], source[places])
    assert not slab[:10].any()
    assert not slab[54:].any()


def test_symbols_are_taken_from_read_only_memory_too() -> None:
    rows, source, places = open_train(5, 64)
    packed = rows.copy()
    source.setflags(write=False)
    train.pack_open(rows, source, places)
    assert np.array_equal(rows, packed)


def test_each_packet_may_have_its_own_block() -> None:
    rows = np.zeros((3, 100), dtype=np.uint8)
    blocks, esis = np.array([5, 2**32 - 1, 0], dtype=np.uint32), np.array([2**24 - 1, 0, 9], dtype=np.uint32)
    train.pack_headers(rows, flags=0, rtt_hint=0, session=1, sequence=0, timestamp_us=0, block=blocks, esis=esis)
    columns = train.Columns(3)
    train.parse_headers(rows, 1, columns)
    assert columns.block.tolist() == blocks.tolist()
    assert columns.esi.tolist() == esis.tolist()


def test_headers_are_written_without_touching_symbol_and_tail() -> None:
    rows = random_rows(4, 100)
    before = rows.copy()
    train.pack_headers(
        rows, flags=2, rtt_hint=0, session=1, sequence=0, timestamp_us=0, block=1, esis=np.zeros(4, dtype=np.uint32)
    )
    assert np.array_equal(rows[:, 28:], before[:, 28:])


def test_parsing_gives_back_what_was_packed() -> None:
    rows, _, _ = open_train(44, 64)
    columns = train.Columns(64)
    assert train.parse_headers(rows, SESSION, columns) == 44
    assert not columns.verdict[:44].any()
    assert set(columns.flags[:44].tolist()) == {1}
    assert set(columns.rtt_hint[:44].tolist()) == {0x1234}
    assert columns.sequence[:44].tolist() == [(2**33 - 1 + index) % 2**32 for index in range(44)]
    assert set(columns.timestamp_us[:44].tolist()) == {77}
    assert set(columns.block[:44].tolist()) == {0xABCDEF01}
    assert columns.esi[:44].tolist() == list(range(0xFFFF00, 0xFFFF00 + 44))


def test_every_first_octet_flag_and_reserved_octet_gets_the_verdict_of_the_twin() -> None:
    good, _, _ = open_train(1, 8)
    columns = train.Columns(256)
    for offset in (0, 1, 4, 11, 27):
        rows = np.repeat(good, 256, axis=0)
        rows[:, offset] = np.arange(256)
        train.parse_headers(rows, SESSION, columns)
        reasons = [train.REASONS[code] for code in columns.verdict]
        assert reasons == [naive_verdict(row.tobytes(), SESSION) for row in rows]


@given(st.binary(min_size=45, max_size=45 * 6), st.integers(0, 2**64 - 1))
def test_no_octets_upset_the_parser(octets: bytes, session: int) -> None:
    rows = np.frombuffer(octets, dtype=np.uint8)[: len(octets) // 45 * 45].reshape(-1, 45).copy()
    columns = train.Columns(6)
    assert train.parse_headers(rows, session, columns) == len(rows)
    assert [train.REASONS[code] for code in columns.verdict[: len(rows)]] == [
        naive_verdict(row.tobytes(), session) for row in rows
    ]
    assert train.check_open(rows).tolist() == [
        naive_open_packet(row[:28].tobytes(), row[28:29].tobytes()) == row.tobytes() for row in rows
    ]


@pytest.mark.parametrize("width", [1, 28, 44])
def test_packets_without_room_for_a_symbol_are_rejected_by_length(width: int) -> None:
    columns = train.Columns(2)
    assert train.parse_headers(random_rows(2, width), SESSION, columns) == 2
    assert [train.REASONS[code] for code in columns.verdict] == [Reject.BAD_LENGTH] * 2


def test_an_empty_train_is_packed_and_parsed() -> None:
    rows, source, places = open_train(0, 8)
    train.pack_open(rows, source, places)
    assert train.parse_headers(rows, SESSION, train.Columns(1)) == 0
    assert train.check_open(rows).tolist() == []


def test_misuse_raises_and_writes_nothing() -> None:
    rows, source, places = open_train(4, 64)
    packed = rows.copy()
    slab, esis = np.zeros((4, 64), dtype=np.uint8), np.zeros(4, dtype=np.uint32)
    slots = np.arange(4)
    with pytest.raises(ValueError, match="outside"):
        train.pack_open(rows, source, places + 50)
    with pytest.raises(ValueError, match="outside"):
        train.pack_open(rows, source, places - 51)
    with pytest.raises(ValueError, match="do not fit"):
        train.pack_open(rows, source[:, :60], places)
    with pytest.raises(ValueError, match="do not fit"):
        train.pack_open(rows, source, places[:3])
    with pytest.raises(ValueError, match="beyond"):
        train.scatter_open(rows, slab, slots + 1)
    with pytest.raises(ValueError, match="do not fit"):
        train.scatter_open(rows, slab[:, :60], slots)
    with pytest.raises(ValueError, match="contiguous"):
        train.scatter_open(rows, np.zeros((8, 64), dtype=np.uint8)[::2], slots)
    with pytest.raises(ValueError, match="contiguous"):
        train.check_open(rows[::2])
    with pytest.raises(ValueError, match="columns hold"):
        train.parse_headers(rows, SESSION, train.Columns(3))
    for wrong in ({"flags": 4}, {"esis": esis[:3]}, {"block": esis[:2]}):
        fields = {"flags": 0, "rtt_hint": 0, "session": 1, "sequence": 0, "timestamp_us": 0, "block": 0, "esis": esis}
        with pytest.raises(ValueError, match=r"packets need|flags"):
            train.pack_headers(rows, **(fields | wrong))  # type: ignore[arg-type]
    assert np.array_equal(rows, packed)
    assert not slab.any()


# --- Numbers ------------------------------------------------------------------------------------------------


@given(st.integers(0, 4095 << 15))
def test_a_round_trip_time_survives_its_code_to_one_part_in_two_thousand(rtt_us: int) -> None:
    coded = train.rtt_from_code(train.rtt_code(rtt_us))
    assert coded <= rtt_us < coded + max(1, rtt_us / 2048)
    assert 0 <= train.rtt_code(rtt_us) < 1 << 16


def test_an_absurd_round_trip_time_is_the_largest_code() -> None:
    assert train.rtt_code(10**12) == 0xFFFF
    assert train.rtt_code(0) == train.rtt_code(-5) == 0


def test_nonces_are_the_iv_mixed_with_the_sequence_number() -> None:
    iv = bytes(range(100, 112))
    sequences = np.array([0, 1, 2**32, 2**64 - 1], dtype=np.uint64)
    expected = [(int.from_bytes(iv, "big") ^ int(sequence)).to_bytes(12, "big") for sequence in sequences]
    assert [row.tobytes() for row in train.nonces(iv, sequences)] == expected


def naive_expand(truncated: int, expected: int) -> int:
    """RFC 9000 appendix A.3, as printed there."""
    candidate = (expected & ~0xFFFFFFFF) | truncated
    if candidate <= expected - 2**31 and candidate < 2**62 - 2**32:
        return candidate + 2**32
    if candidate > expected + 2**31 and candidate >= 2**32:
        return candidate - 2**32
    return candidate


@given(st.integers(0, 2**61), st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5))
def test_sequence_numbers_expand_as_in_the_rfc(expected: int, truncated: list[int]) -> None:
    near = [(expected + delta) % 2**32 for delta in (-(2**31), 1 - 2**31, -1, 0, 1, 2**31 - 1, 2**31)]
    values = np.array(truncated + near, dtype=np.uint32)
    assert train.expand_sequences(values, expected).tolist() == [naive_expand(int(v), expected) for v in values]


def test_sequence_numbers_near_the_start_do_not_become_negative() -> None:
    values = np.array([0, 5, 2**31, 2**32 - 1], dtype=np.uint32)
    for expected in (0, 1, 2**31 - 1, 2**31, 2**32):
        assert train.expand_sequences(values, expected).tolist() == [naive_expand(int(v), expected) for v in values]


def test_sessions_are_counted_before_anything_else_is_known_of_a_packet() -> None:
    rows = random_rows(5, 60)
    rows[:, 4:12] = np.frombuffer(SESSION.to_bytes(8, "big"), dtype=np.uint8)
    assert train.session_counts(rows) == {SESSION: 5}
    rows[3, 11] ^= 1
    assert train.session_counts(rows) == {SESSION: 4, SESSION ^ 1: 1}
    assert train.session_of(rows[3].data) == SESSION ^ 1
    assert train.session_counts(rows[:, :11]) == train.session_counts(rows[:0]) == {}
