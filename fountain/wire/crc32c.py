"""CRC-32C (Castagnoli) over many rows at once, fused with the copy of their octets: kernels and their choice of tier.

The processor's CRC instruction takes 8 octets per cycle but has a latency of three cycles, so three rows run side by
side. Packets of a train have one size, which makes that free: no checksums of parts have to be combined. A last group
of one or two rows repeats its last row, which is written twice with the same octets.

    crc(state, word) = state * x^64 + word * x^32  modulo the Castagnoli polynomial, bits reflected

Tiers: SSE4.2 (`crc32`), ARMv8 (`crc32cx`), and slicing by 8 with tables anywhere. Both kernels hold the hardware loop
and the portable one; `hardware` chooses. Callees live in this file with their kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from fountain._jit import inlined, kernel
from fountain.limits import DATA_HEADER_SIZE, DATA_OVERHEAD_SIZE, DATA_TAIL_SIZE

__all__ = ["HARDWARE", "TABLES", "check_and_scatter", "gather_and_sign"]

_POLYNOMIAL = 0x82F63B78  # RFC 3385, bits reflected.
_CHECKSUM_SIZE = 4


def _hardware_instruction() -> str:
    """The LLVM name of this processor's CRC-32C instruction for 64 bits; empty where there is none."""
    features = llvm.get_host_cpu_features()
    machine = llvm.get_process_triple().partition("-")[0]
    if machine == "x86_64" and features.get("sse4.2"):
        return "llvm.x86.sse42.crc32.64.64"
    if machine in ("aarch64", "arm64") and features.get("crc"):
        return "llvm.aarch64.crc32cx"
    return ""


_INSTRUCTION = _hardware_instruction()
HARDWARE = bool(_INSTRUCTION)


def _tables() -> NDArray[np.uint32]:
    """TABLES[k, b]: the checksum of octet b followed by k zero octets, without the final complement."""
    tables = np.zeros((8, 256), dtype=np.uint32)
    state = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        state = np.where(state & 1, (state >> 1) ^ np.uint32(_POLYNOMIAL), state >> 1).astype(np.uint32)
    tables[0] = state
    for step in range(1, 8):
        tables[step] = tables[0][tables[step - 1] & 0xFF] ^ (tables[step - 1] >> 8)
    tables.setflags(write=False)
    return tables


TABLES = _tables()


def _intrinsic(function: Callable[..., Any]) -> Any:
    """numba's decorator; the result is called with one argument fewer than `function` has, which no checker knows."""
    return intrinsic(function)


@_intrinsic
def _step_hardware(_typing: Any, _state: Any, _word: Any) -> Any:
    """One 64-bit word into the checksum, by the instruction of this processor."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        state_value, word_value = arguments
        wide, narrow = ir.IntType(64), ir.IntType(32)
        if not _INSTRUCTION:
            return state_value  # The kernels never choose this loop then.
        operand = wide if "x86" in _INSTRUCTION else narrow
        kind = ir.FunctionType(operand, [operand, wide])
        instruction = cgutils.get_or_insert_function(builder.module, kind, _INSTRUCTION)  # type: ignore[no-untyped-call]
        if operand is narrow:
            state_value = builder.trunc(state_value, narrow)
        return builder.zext(builder.call(instruction, [state_value, word_value]), wide)

    return types.uint64(types.uint64, types.uint64), generate


def _memory(bits: int) -> tuple[Any, Any]:
    """Unaligned load and store of `bits` at an address."""
    kind = ir.IntType(bits)

    @_intrinsic
    def load(_typing: Any, _address: Any) -> Any:
        def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], kind.as_pointer())
            return builder.zext(builder.load(pointer, align=1), ir.IntType(64))

        return types.uint64(types.int64), generate

    @_intrinsic
    def store(_typing: Any, _address: Any, _value: Any) -> Any:
        def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
            pointer = builder.inttoptr(arguments[0], kind.as_pointer())
            builder.store(builder.trunc(arguments[1], kind), pointer, align=1)
            return context.get_dummy_value()

        return types.void(types.int64, types.uint64), generate

    return load, store


_load_word, _store_word = _memory(64)
_load_octet, _store_octet = _memory(8)


@inlined
def _step_octet(state: Any, octet: Any) -> Any:
    mask, eight = np.uint64(0xFF), np.uint64(8)
    return np.uint64(TABLES[0, (state ^ octet) & mask]) ^ (state >> eight)


@inlined
def _step_portable(state: Any, word: Any) -> Any:
    """One 64-bit word by eight look-ups that do not wait for each other."""
    mask, mixed = np.uint64(0xFF), state ^ word
    low = TABLES[7, mixed & mask] ^ TABLES[6, (mixed >> np.uint64(8)) & mask]
    low ^= TABLES[5, (mixed >> np.uint64(16)) & mask] ^ TABLES[4, (mixed >> np.uint64(24)) & mask]
    high = TABLES[3, (mixed >> np.uint64(32)) & mask] ^ TABLES[2, (mixed >> np.uint64(40)) & mask]
    high ^= TABLES[1, (mixed >> np.uint64(48)) & mask] ^ TABLES[0, mixed >> np.uint64(56)]
    return np.uint64(low ^ high)


@inlined
def _copy_three(
    hardware: bool, size: int, source: tuple[int, int, int], target: tuple[int, int, int], state: tuple[int, int, int]
) -> tuple[int, int, int]:
    """Copy `size` octets from three addresses to three others and take them into the three checksums."""
    from_a, from_b, from_c = source
    to_a, to_b, to_c = target
    a, b, c = state
    whole = size - size % 8
    if hardware:
        for at in range(0, whole, 8):
            word_a, word_b, word_c = _load_word(from_a + at), _load_word(from_b + at), _load_word(from_c + at)
            a, b, c = _step_hardware(a, word_a), _step_hardware(b, word_b), _step_hardware(c, word_c)
            _store_word(to_a + at, word_a)
            _store_word(to_b + at, word_b)
            _store_word(to_c + at, word_c)
    else:
        for at in range(0, whole, 8):
            word_a, word_b, word_c = _load_word(from_a + at), _load_word(from_b + at), _load_word(from_c + at)
            a, b, c = _step_portable(a, word_a), _step_portable(b, word_b), _step_portable(c, word_c)
            _store_word(to_a + at, word_a)
            _store_word(to_b + at, word_b)
            _store_word(to_c + at, word_c)
    for at in range(whole, size):
        word_a, word_b, word_c = _load_octet(from_a + at), _load_octet(from_b + at), _load_octet(from_c + at)
        a, b, c = _step_octet(a, word_a), _step_octet(b, word_b), _step_octet(c, word_c)
        _store_octet(to_a + at, word_a)
        _store_octet(to_b + at, word_b)
        _store_octet(to_c + at, word_c)
    return a, b, c


@inlined
def _moved(addresses: tuple[int, int, int], by: int) -> tuple[int, int, int]:
    return addresses[0] + by, addresses[1] + by, addresses[2] + by


@inlined
def _sign(row: NDArray[np.uint8], state: Any) -> None:
    """Write the tail: the complement of the state, big-endian, then zeros."""
    tail = row.shape[0] - DATA_TAIL_SIZE
    checksum = ~state
    for octet in range(_CHECKSUM_SIZE):
        row[tail + octet] = np.uint8((checksum >> np.uint64(24 - 8 * octet)) & np.uint64(0xFF))
    row[tail + _CHECKSUM_SIZE :] = np.uint8(0)


@inlined
def _is_signed(row: NDArray[np.uint8], state: Any) -> Any:
    """Whether the tail is what `_sign` would write."""
    tail = row.shape[0] - DATA_TAIL_SIZE
    checksum = ~state
    wrong = np.uint8(0)
    for octet in range(_CHECKSUM_SIZE):
        wrong |= row[tail + octet] ^ np.uint8((checksum >> np.uint64(24 - 8 * octet)) & np.uint64(0xFF))
    for octet in range(tail + _CHECKSUM_SIZE, tail + DATA_TAIL_SIZE):
        wrong |= row[octet]
    return wrong == 0


@kernel
def gather_and_sign(
    rows: NDArray[np.uint8], source: NDArray[np.uint8], places: NDArray[np.int64], hardware: bool
) -> bool:
    """rows[i] = header (already there) | source[places[i]] | tail; False, with nothing written, for a place outside.

    `rows` is uint8[n, 28 + T + 16], `source` uint8[K, T], both C-contiguous.
    """
    count, width = rows.shape
    size = width - DATA_OVERHEAD_SIZE
    for index in range(count):
        if places[index] < 0 or places[index] >= source.shape[0]:
            return False
    base, source_base = np.int64(rows.ctypes.data), np.int64(source.ctypes.data)
    start = np.uint64(0xFFFFFFFF)
    for first in range(0, count, 3):
        second, third = min(first + 1, count - 1), min(first + 2, count - 1)
        packets = (base + first * width, base + second * width, base + third * width)
        symbols = (
            source_base + places[first] * size,
            source_base + places[second] * size,
            source_base + places[third] * size,
        )
        state = _copy_three(hardware, DATA_HEADER_SIZE, packets, packets, (start, start, start))
        state = _copy_three(hardware, size, symbols, _moved(packets, DATA_HEADER_SIZE), state)
        _sign(rows[first], state[0])
        _sign(rows[second], state[1])
        _sign(rows[third], state[2])
    return True


@kernel
def check_and_scatter(
    rows: NDArray[np.uint8],
    slab: NDArray[np.uint8],
    slots: NDArray[np.int64],
    good: NDArray[np.bool_],
    hardware: bool,
) -> bool:
    """slab[slots[i]] = symbol of rows[i], where a slot is >= 0, and good[i] = whether its tail is right.

    A slot is written before its tail is known, so the octets of a slot whose row is not good are worthless. False, with
    nothing written, for a slot beyond the slab. A row without a slot is copied onto itself, which keeps one loop.
    """
    count, width = rows.shape
    size = width - DATA_OVERHEAD_SIZE
    for index in range(count):
        if slots[index] >= slab.shape[0]:
            return False
    base, slab_base = np.int64(rows.ctypes.data), np.int64(slab.ctypes.data)
    start = np.uint64(0xFFFFFFFF)
    for first in range(0, count, 3):
        second, third = min(first + 1, count - 1), min(first + 2, count - 1)
        packets = (base + first * width, base + second * width, base + third * width)
        symbols = _moved(packets, DATA_HEADER_SIZE)
        state = _copy_three(hardware, DATA_HEADER_SIZE, packets, packets, (start, start, start))
        targets = (
            slab_base + slots[first] * size if slots[first] >= 0 else symbols[0],
            slab_base + slots[second] * size if slots[second] >= 0 else symbols[1],
            slab_base + slots[third] * size if slots[third] >= 0 else symbols[2],
        )
        state = _copy_three(hardware, size, symbols, targets, state)
        good[first] = _is_signed(rows[first], state[0])
        good[second] = _is_signed(rows[second], state[1])
        good[third] = _is_signed(rows[third], state[2])
    return True
