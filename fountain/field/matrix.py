"""Matrices over GF(256): products, the dense engine's workhorse, register-tiled and written as vector IR; inverses.

    target[i] (+)= sum over k of coefficient[i, k] * source[k]          rows of `size` octets

A tile holds R target rows x 2 registers in registers while it runs over k: one load of the source feeds R products,
one coefficient feeds 2. Coefficients are packed tile by tile first, so that the R octets of one k lie together.
The last rows use tiles of half the height, the last octets tiles of one register. Sources are taken in runs of `_RUN`
rows, which stay in the first cache while all tiles use them.

How one product is computed depends on the tier (see `fountain.field.tiers`), everything else is the same for all:

    affine    the coefficient's 8 x 8 bit matrix, one GF2P8AFFINEQB
    shuffle   two look-ups of 16 products, for the low and the high nibble
    mask      the source times 1, 2, 4 .. 128 (shared by the tile's rows), each ANDed with a mask of one coefficient bit

Kernels take addresses (int64), as in `fountain.field.combine`. All of them stand in this file, because they call each
other (see `fountain._jit`).
"""

from __future__ import annotations

import itertools
import os
from typing import Any

import llvmlite.binding
import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import cgutils as untyped_cgutils
from numba.core import config as untyped_config
from numba.core import types
from numpy.typing import NDArray

from fountain._jit import inlined, kernel
from fountain.field.tiers import TIERS, Tier, choose

__all__ = ["ACTIVE", "Arithmetic", "emit_tile", "host_features", "invert", "product", "solve"]

cgutils: Any = untyped_cgutils
config: Any = untyped_config
intrinsic: Any = numba.extending.intrinsic

_BYTE = ir.IntType(8)
_INT = ir.IntType(64)
_RUN = 192  # Source rows that all tiles use before the next ones are read: 192 rows x 128 octets fit the first cache.

_TIER_OF_TAG = {len(tier.tag): tier for tier in TIERS}

_AFFINE = {32: "llvm.x86.vgf2p8affineqb.256", 64: "llvm.x86.vgf2p8affineqb.512"}
_SHUFFLE = {
    "avx2": "llvm.x86.avx2.pshuf.b",
    "ssse3": "llvm.x86.ssse3.pshuf.b.128",
    "neon": "llvm.aarch64.neon.tbl1.v16i8",
}


def host_features() -> dict[str, bool]:
    """What numba generates code for, by LLVM's names: this processor, unless numba is configured for another."""
    if config.CPU_NAME or config.CPU_FEATURES is not None:
        return {name[1:]: name[0] == "+" for name in (config.CPU_FEATURES or "").split(",") if name}
    return dict(llvmlite.binding.get_host_cpu_features())


ACTIVE = choose(host_features(), os.environ.get("FOUNTAIN_SIMD", ""))


# --- IR for one register -----------------------------------------------------------------------------------


def _vector(tier: Tier) -> ir.VectorType:
    return ir.VectorType(_BYTE, tier.register_size)


def _splat(tier: Tier, value: int) -> ir.Constant:
    return ir.Constant(_vector(tier), [value] * tier.register_size)


def _load(builder: ir.IRBuilder, address: ir.Value, kind: ir.Type) -> ir.Value:
    return builder.load(builder.inttoptr(address, kind.as_pointer()), align=1)


def _store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value) -> None:
    builder.store(value, builder.inttoptr(address, value.type.as_pointer()), align=1)


def _offset(builder: ir.IRBuilder, address: ir.Value, octets: int) -> ir.Value:
    return builder.add(address, ir.Constant(_INT, octets))


def _broadcast(builder: ir.IRBuilder, value: ir.Value, count: int) -> ir.Value:
    """`count` copies of a scalar, or of a short vector."""
    if isinstance(value.type, ir.VectorType):
        lanes = [i % value.type.count for i in range(count * value.type.count)]
        return builder.shuffle_vector(value, value, ir.Constant(ir.VectorType(ir.IntType(32), len(lanes)), lanes))
    single = ir.VectorType(value.type, 1)
    return _broadcast(
        builder, builder.insert_element(ir.Constant(single, ir.Undefined), value, ir.Constant(_INT, 0)), count
    )


def _call(builder: ir.IRBuilder, name: str, result: ir.Type, *arguments: ir.Value) -> ir.Value:
    kind = ir.FunctionType(result, [argument.type for argument in arguments])
    return builder.call(cgutils.get_or_insert_function(builder.module, kind, name), arguments)


def _prepare_source(builder: ir.IRBuilder, tier: Tier, value: ir.Value) -> list[ir.Value]:
    """What all rows of a tile share of one source register."""
    if tier.method == "affine":
        return [value]
    if tier.method == "shuffle":
        return [builder.and_(value, _splat(tier, 15)), builder.lshr(value, _splat(tier, 4))]
    powers = [value]
    for _ in range(7):
        top = builder.and_(builder.ashr(powers[-1], _splat(tier, 7)), _splat(tier, 0x1D))
        powers.append(builder.xor(builder.shl(powers[-1], _splat(tier, 1)), top))
    return powers


def _prepare_factor(builder: ir.IRBuilder, tier: Tier, table: ir.Value, coefficient: ir.Value) -> list[ir.Value]:
    """What all registers of a tile's row share of one coefficient (an octet)."""
    number = builder.zext(coefficient, _INT)
    if tier.method == "affine":
        matrix = _load(builder, builder.add(table, builder.shl(number, ir.Constant(_INT, 3))), _INT)
        return [builder.bitcast(_broadcast(builder, matrix, tier.register_size // 8), _vector(tier))]
    if tier.method == "shuffle":
        row = builder.add(table, builder.shl(number, ir.Constant(_INT, 5)))
        sixteen = ir.VectorType(_BYTE, 16)
        halves = [_load(builder, _offset(builder, row, 16 * i), sixteen) for i in range(2)]
        return [_broadcast(builder, half, tier.register_size // 16) for half in halves]
    masks = []
    for bit in range(8):
        sign = builder.ashr(builder.shl(coefficient, ir.Constant(_BYTE, 7 - bit)), ir.Constant(_BYTE, 7))
        masks.append(_broadcast(builder, sign, tier.register_size))
    return masks


def _accumulate(
    builder: ir.IRBuilder, tier: Tier, total: ir.Value, source: list[ir.Value], factor: list[ir.Value]
) -> ir.Value:
    """total + coefficient * source."""
    if tier.method == "affine":
        name = _AFFINE[tier.register_size]
        term = _call(builder, name, _vector(tier), source[0], factor[0], ir.Constant(_BYTE, 0))
        return builder.xor(total, term)
    for part, look_up in zip(source, factor):
        if tier.method == "shuffle":
            part = _call(builder, _SHUFFLE[tier.name], _vector(tier), look_up, part)
        else:
            part = builder.and_(part, look_up)
        total = builder.xor(total, part)
    return total


def _emit_terms(builder: ir.IRBuilder, tier: Tier, table: ir.Value, totals: list[Any], terms: list[Any]) -> None:
    """totals += the products of one or two source rows: (address of the row's octets, address of its coefficients)."""
    parts = []
    for source, _ in terms:
        addresses = [_offset(builder, source, tier.register_size * v) for v in range(len(totals[0]))]
        parts.append([_prepare_source(builder, tier, _load(builder, place, _vector(tier))) for place in addresses])
    for number, row in enumerate(totals):
        addresses = [_offset(builder, coefficients, number) for _, coefficients in terms]
        factors = [_prepare_factor(builder, tier, table, _load(builder, place, _BYTE)) for place in addresses]
        for v, total in enumerate(row):
            value = _splat(tier, 0)
            for part, factor in zip(parts, factors):
                value = _accumulate(builder, tier, value, part[v], factor)
            builder.store(builder.xor(builder.load(total), value), total)


def emit_tile(builder: ir.IRBuilder, tier: Tier, rows: int, registers: int, arguments: list[ir.Value]) -> None:
    """One tile: `rows` rows x `registers` registers at `offset`, over `count` source rows.

    Two source rows a turn: their two products are added to a sum by one ternary instruction where there is one.
    """
    table, packed, sources, count, targets, offset, accumulate = arguments
    one = ir.Constant(_INT, 1)
    octets = [tier.register_size * v for v in range(registers)]
    starts = [builder.add(_load(builder, _offset(builder, targets, 8 * row), _INT), offset) for row in range(rows)]
    totals = [[cgutils.alloca_once(builder, _vector(tier)) for _ in octets] for _ in starts]
    addresses = [_offset(builder, start, octet) for start in starts for octet in octets]
    places = list(zip(itertools.chain(*totals), addresses))
    for total, _ in places:
        builder.store(_splat(tier, 0), total)
    with builder.if_then(builder.icmp_signed("!=", accumulate, ir.Constant(_INT, 0))):
        for total, address in places:
            builder.store(_load(builder, address, _vector(tier)), total)

    def term(index: ir.Value) -> tuple[ir.Value, ir.Value]:
        address = builder.add(sources, builder.shl(index, ir.Constant(_INT, 3)))
        coefficients = builder.add(packed, builder.mul(index, ir.Constant(_INT, tier.rows)))
        return builder.add(_load(builder, address, _INT), offset), coefficients

    with cgutils.for_range(builder, builder.lshr(count, one)) as loop:
        first = builder.shl(loop.index, one)
        _emit_terms(builder, tier, table, totals, [term(first), term(builder.or_(first, one))])
    with builder.if_then(builder.trunc(count, ir.IntType(1))):
        _emit_terms(builder, tier, table, totals, [term(builder.sub(count, one))])
    for total, address in places:
        _store(builder, builder.load(total), address)


# --- Intrinsics: a tile, a row, and what kernels must know about the tier ----------------------------------


@intrinsic
def _tile_code(typing, tag, table, packed, sources, count, targets, offset, accumulate, surplus, two):  # type: ignore[no-untyped-def]
    """A tile one register wide, or `two`; without its lower half where the last `surplus` rows are not wanted."""
    tier = _TIER_OF_TAG[tag.count]
    signature = types.void(tag, *([types.int64] * 8), types.boolean)

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: list[ir.Value]) -> ir.Value:
        half = tier.rows // 2
        is_half = builder.icmp_signed(">=", arguments[8], ir.Constant(_INT, tier.rows - half))
        with builder.if_else(is_half) as cases:
            for case, rows in zip(cases, (half, tier.rows)):
                with case, builder.if_else(arguments[9]) as widths:
                    for width, registers in zip(widths, (2, 1)):
                        with width:
                            emit_tile(builder, tier, rows, registers, arguments[1:8])
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _multiply_add(typing, tag, table, target, source, coefficient, size):  # type: ignore[no-untyped-def]
    """row(target) += coefficient * row(source); `size` is a multiple of 64."""
    tier = _TIER_OF_TAG[tag.count]
    signature = types.void(tag, types.int64, types.int64, types.int64, types.uint8, types.int64)

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: list[ir.Value]) -> ir.Value:
        _, table, target, source, coefficient, size = arguments
        factor = _prepare_factor(builder, tier, table, coefficient)
        step = ir.Constant(_INT, tier.register_size)
        with cgutils.for_range_slice(builder, ir.Constant(_INT, 0), size, step) as (offset, _):
            address = builder.add(target, offset)
            part = _prepare_source(builder, tier, _load(builder, builder.add(source, offset), _vector(tier)))
            total = _load(builder, address, _vector(tier))
            _store(builder, _accumulate(builder, tier, total, part, factor), address)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _copy(typing, target, source, size):  # type: ignore[no-untyped-def]
    """Copy `size` octets between addresses that do not overlap."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: list[ir.Value]) -> ir.Value:
        pointers = [builder.inttoptr(argument, _BYTE.as_pointer()) for argument in arguments[:2]]
        cgutils.raw_memcpy(builder, pointers[0], pointers[1], arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


# --- Kernels -----------------------------------------------------------------------------------------------


# How kernels multiply in one tier: its tag, the address of the table that it reads (`AFFINE` or `NIBBLES`), the octets
# in a register, and `INVERSE`. Plain tuples go to a kernel as fast as single arguments; named ones cost 0.7 us more.
Arithmetic = tuple[tuple[int, ...], int, int, NDArray[np.uint8]]


@inlined
def _tile(tag, table, packed, sources, count, targets, offset, accumulate, surplus, two):  # type: ignore[no-untyped-def]
    """One copy of the code for all callers, because it takes long to compile."""
    _tile_code(tag, table, packed, sources, count, targets, offset, accumulate, surplus, two)


@inlined
def _pack(coefficients, first, packed):  # type: ignore[no-untyped-def]
    """Columns `first` and on of the coefficients -> packed uint8[tiles, k, R], zeros below their rows."""
    rows = packed.shape[2]
    for tile in range(packed.shape[0]):
        for row in range(rows):
            number = tile * rows + row
            for k in range(packed.shape[1]):
                packed[tile, k, row] = coefficients[number, first + k] if number < coefficients.shape[0] else 0


@inlined
def _multiply_edges(tag, table, packed, sources, count, targets, first_octet, octets, accumulate, edges):  # type: ignore[no-untyped-def]
    """The last octets of each row: copied to registers' worth of scratch at edges[i], multiplied there, copied back."""
    terms, rows = packed.shape[1], packed.shape[2]
    start = edges.ctypes.data
    for i in range(terms):
        _copy(edges[i], sources[i] + first_octet, octets)
    for i in range(count):
        _copy(edges[terms + i], targets[i] + first_octet, octets)
    for tile in range(packed.shape[0]):
        target = start + 8 * (terms + tile * rows)
        packed_tile = packed.ctypes.data + tile * terms * rows
        surplus = (tile + 1) * rows - count
        _tile(tag, table, packed_tile, start, terms, target, np.int64(0), accumulate, surplus, False)
    for i in range(count):
        _copy(targets[i] + first_octet, edges[terms + i], octets)


@kernel
def product(arithmetic, coefficients, first_column, packed, sources, targets, size, accumulate, edges):  # type: ignore[no-untyped-def]
    """target (+)= coefficients . source; see the module's docstring.

    coefficients uint8[n, any], of which k columns from `first_column` on count; packed uint8[tiles, k, R]: scratch.
    sources int64[k], targets int64[tiles * R]: addresses of rows of `size` octets, where the surplus targets of the
    last tile name a row that is not read. edges int64[k + tiles * R or more]: addresses of 64 octets of zeros each,
    scratch for the last octets of rows whose size is not a multiple of 64 (empty where it is).
    """
    _pack(coefficients, first_column, packed)
    count, terms, rows = coefficients.shape[0], packed.shape[1], packed.shape[2]
    tag, table, width, _ = arithmetic
    whole = size - size % width
    for offset in range(0, whole, 2 * width):
        two = offset + width < whole
        for first in range(0, terms, _RUN):
            run = min(_RUN, terms - first)
            source = sources.ctypes.data + 8 * first
            for tile in range(packed.shape[0]):
                packed_tile = packed.ctypes.data + (tile * terms + first) * rows
                target = targets.ctypes.data + 8 * tile * rows
                surplus = (tile + 1) * rows - count
                _tile(tag, table, packed_tile, source, run, target, offset, accumulate + first, surplus, two)
    if size > whole:
        _multiply_edges(tag, table, packed, sources, count, targets, whole, size - whole, accumulate, edges)


@kernel
def invert(arithmetic, system, wanted, chosen):  # type: ignore[no-untyped-def]
    """Gauss-Jordan on system uint8[n, width]: identity in the first `wanted` columns as far as the rank goes.

    Returns the rank; when it is `wanted`, row chosen[c] (int32[wanted]) is the one with a one in column c. The width is
    a multiple of 64 and rows are contiguous.
    """
    tag, table, _, inverse = arithmetic
    count, width = system.shape
    start = system.ctypes.data
    rank = 0
    for column in range(wanted):
        pivot = -1
        for row in range(count):
            if system[row, column] != 0:
                free = True
                for earlier in range(rank):
                    if chosen[earlier] == row:
                        free = False
                        break
                if free:
                    pivot = row
                    break
        if pivot < 0:
            continue
        chosen[rank] = pivot
        rank += 1
        first = column & ~63
        source = start + pivot * width + first
        factor = inverse[system[pivot, column]] ^ 1
        _multiply_add(tag, table, source, source, factor, width - first)
        for row in range(count):
            factor = system[row, column]
            if row != pivot and factor != 0:
                _multiply_add(tag, table, start + row * width + first, source, factor, width - first)
    return rank


@kernel
def solve(arithmetic, coefficients, unknown, equations, known_count, rows, scratch):  # type: ignore[no-untyped-def]
    """rows[unknown], given that rows[equations[i]] = sum of coefficients[i, k] * rows[k] over k < known_count.

    Returns the rank of the system in the unknown rows; below len(unknown) nothing is changed but scratch. Then
    `coefficients` and rows[equations] are overwritten. coefficients uint8[n, known_count or more]; unknown int64[m],
    equations int64[n]; rows uint8[any, T]. scratch, in tiles of R rows: system uint8[n, a multiple of 64 >= m + n],
    zeros; chosen int32[m]; packed_known uint8[tiles, known_count, R], packed_unknown uint8[tiles, n, R];
    sources int64[known_count and R * tiles or more], targets int64[R * tiles]; spill uint8[T]; edges for both products.
    """
    system, chosen, packed_known, packed_unknown, sources, targets, spill, edges = scratch
    count, wanted = equations.shape[0], unknown.shape[0]
    for i in range(count):
        for c in range(wanted):
            system[i, c] = coefficients[i, unknown[c]]
        system[i, wanted + i] = 1
    rank = invert(arithmetic, system, wanted, chosen)
    if rank < wanted:
        return rank
    start, size = rows.ctypes.data, rows.shape[1]
    for k in range(known_count):
        sources[k] = start + k * size
    for i in range(targets.shape[0]):  # Loops here and below: assigning to slices takes a second longer to compile.
        targets[i] = spill.ctypes.data
    for i in range(count):
        targets[i] = start + equations[i] * size
        for c in range(wanted):
            coefficients[i, unknown[c]] = 0
    zero, one = np.int64(0), np.int64(1)
    product(arithmetic, coefficients, zero, packed_known, sources, targets, size, one, edges)
    for i in range(targets.shape[0]):
        sources[i] = targets[i]
        targets[i] = spill.ctypes.data
    for c in range(wanted):
        targets[chosen[c]] = start + unknown[c] * size
    product(arithmetic, system, np.int64(wanted), packed_unknown, sources, targets, size, zero, edges)
    return rank
