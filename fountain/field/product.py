"""Matrix products over GF(256): the dense engine's workhorse, register-tiled and written as vector IR.

    target[i] (+)= sum over k of coefficient[i, k] * source[k]          rows of `size` octets

A tile holds R target rows x V registers in registers while it runs over k: one load of the source feeds R products,
one coefficient feeds V. Coefficients are packed tile by tile first, so that the R octets of one k lie together.
Sources are taken in runs of `_RUN` rows, which stay in the first cache while all tiles use them.

How one product is computed depends on the tier (see `fountain.field.tiers`), everything else is the same for all:

    affine    the coefficient's 8 x 8 bit matrix, one GF2P8AFFINEQB
    shuffle   two look-ups of 16 products, for the low and the high nibble
    mask      the source times 1, 2, 4 .. 128 (shared by the tile's rows), each ANDed with a mask of one coefficient bit

Kernels take addresses (int64), as in `fountain.field.combine`.
"""

from __future__ import annotations

import os
from typing import Any

import llvmlite.binding
import numba.extending
import numpy as np
from llvmlite import ir
from numba.core import cgutils as untyped_cgutils
from numba.core import config as untyped_config
from numba.core import types

from fountain._jit import inlined, kernel
from fountain.field.tiers import TIERS, Tier, choose

__all__ = ["ACTIVE", "emit_tile", "host_features", "invert", "product"]

cgutils: Any = untyped_cgutils
config: Any = untyped_config
intrinsic: Any = numba.extending.intrinsic

_BYTE = ir.IntType(8)
_INT = ir.IntType(64)
_RUN = 128  # Source rows that all tiles use before the next ones are read: 128 rows x 192 octets fit the first cache.

_TIER_OF_TAG = {len(tier.tag): tier for tier in TIERS}

_AFFINE = {32: "llvm.x86.vgf2p8affineqb.256", 64: "llvm.x86.vgf2p8affineqb.512"}
_SHUFFLE = {
    "avx2": "llvm.x86.avx2.pshuf.b",
    "ssse3": "llvm.x86.ssse3.pshuf.b.128",
    "neon": "llvm.aarch64.neon.tbl1.v16i8",
}


def host_features() -> dict[str, bool]:
    """What numba generates code for, by LLVM's names: this processor, unless numba is told otherwise."""
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


# --- Intrinsics: a tile, a row, and what kernels must know about the tier ----------------------------------


def emit_tile(builder: ir.IRBuilder, tier: Tier, registers: int, arguments: list[ir.Value]) -> None:
    """One tile: R rows x `registers` registers at `offset`, over `count` source rows."""
    table, packed, sources, count, targets, offset, accumulate = arguments
    zero = ir.Constant(_INT, 0)
    octets = [tier.register_size * v for v in range(registers)]
    starts = [builder.add(_load(builder, _offset(builder, targets, 8 * row), _INT), offset) for row in range(tier.rows)]
    totals = [[cgutils.alloca_once(builder, _vector(tier)) for _ in octets] for _ in starts]
    with builder.if_else(builder.icmp_signed("!=", accumulate, zero)) as (keep, clear):
        with keep:
            for row, start in enumerate(starts):
                for v, octet in enumerate(octets):
                    builder.store(_load(builder, _offset(builder, start, octet), _vector(tier)), totals[row][v])
        with clear:
            for row in range(tier.rows):
                for v in range(registers):
                    builder.store(_splat(tier, 0), totals[row][v])
    with cgutils.for_range(builder, count) as loop:
        address = builder.add(sources, builder.shl(loop.index, ir.Constant(_INT, 3)))
        source = builder.add(_load(builder, address, _INT), offset)
        coefficients = builder.add(packed, builder.mul(loop.index, ir.Constant(_INT, tier.rows)))
        parts = [
            _prepare_source(builder, tier, _load(builder, _offset(builder, source, octet), _vector(tier)))
            for octet in octets
        ]
        for row in range(tier.rows):
            factor = _prepare_factor(builder, tier, table, _load(builder, _offset(builder, coefficients, row), _BYTE))
            for v in range(registers):
                total = totals[row][v]
                builder.store(_accumulate(builder, tier, builder.load(total), parts[v], factor), total)
    for row, start in enumerate(starts):
        for v, octet in enumerate(octets):
            _store(builder, builder.load(totals[row][v]), _offset(builder, start, octet))


def _tile_intrinsic(registers: int) -> Any:
    @intrinsic
    def tile(typing, tag, table, packed, sources, count, targets, offset, accumulate):  # type: ignore[no-untyped-def]
        tier = _TIER_OF_TAG[tag.count]
        signature = types.void(tag, *([types.int64] * 7))

        def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: list[ir.Value]) -> ir.Value:
            if registers <= tier.registers:
                emit_tile(builder, tier, registers, arguments[1:])
            return context.get_dummy_value()

        return signature, codegen

    return tile


_tile_of_one, _tile_of_two, _tile_of_three = (_tile_intrinsic(registers) for registers in (1, 2, 3))


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
def _register_size(typing, tag):  # type: ignore[no-untyped-def]
    size = _TIER_OF_TAG[tag.count].register_size
    return types.int64(tag), lambda context, builder, signature, arguments: ir.Constant(_INT, size)


@intrinsic
def _tile_registers(typing, tag):  # type: ignore[no-untyped-def]
    count = _TIER_OF_TAG[tag.count].registers
    return types.int64(tag), lambda context, builder, signature, arguments: ir.Constant(_INT, count)


@intrinsic
def _octet(typing, address):  # type: ignore[no-untyped-def]
    """The octet at an address."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: list[ir.Value]) -> ir.Value:
        return _load(builder, arguments[0], _BYTE)

    return types.uint8(types.int64), codegen


@intrinsic
def _copy(typing, target, source, size):  # type: ignore[no-untyped-def]
    """Copy `size` octets between addresses that do not overlap."""

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: list[ir.Value]) -> ir.Value:
        pointers = [builder.inttoptr(argument, _BYTE.as_pointer()) for argument in arguments[:2]]
        cgutils.raw_memcpy(builder, pointers[0], pointers[1], arguments[2], 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


# --- Kernels -----------------------------------------------------------------------------------------------


@inlined
def _pack(address, stride, count, packed):  # type: ignore[no-untyped-def]
    """`count` rows of coefficients at `address` -> packed uint8[tiles, k, R], rows beyond `count` zero."""
    rows = packed.shape[2]
    for tile in range(packed.shape[0]):
        for row in range(rows):
            number = tile * rows + row
            start = address + number * stride
            for k in range(packed.shape[1]):
                packed[tile, k, row] = _octet(start + k) if number < count else 0


@inlined
def _multiply_edges(tag, table, packed, sources, targets, first_octet, octets, accumulate, edges):  # type: ignore[no-untyped-def]
    """The last octets of each row: copied to registers' worth of scratch at edges[i], multiplied there, copied back."""
    count = sources.shape[0]
    rows = packed.shape[2]
    for i in range(count):
        _copy(edges[i], sources[i] + first_octet, octets)
    for i in range(targets.shape[0]):
        _copy(edges[count + i], targets[i] + first_octet, octets)
    for tile in range(packed.shape[0]):
        target = edges.ctypes.data + 8 * (count + tile * rows)
        packed_tile = packed.ctypes.data + tile * count * rows
        _tile_of_one(tag, table, packed_tile, edges.ctypes.data, count, target, np.int64(0), accumulate)
    for i in range(targets.shape[0]):
        _copy(targets[i] + first_octet, edges[count + i], octets)


@kernel
def product(tag, table, coefficients, stride, count, packed, sources, targets, size, accumulate, edges):  # type: ignore[no-untyped-def]
    """target (+)= coefficients . source; see the module's docstring.

    coefficients: address of `count` rows, `stride` octets apart; packed uint8[tiles, k, R]: scratch. sources int64[k],
    targets int64[tiles * R]: addresses of rows of `size` octets, where the surplus targets of the last tile name a row
    that nobody reads. edges int64[k + tiles * R]: addresses of 64 octets of zeros each, scratch for the last octets of
    rows whose size is not a multiple of 64 (empty where it is).
    """
    _pack(coefficients, stride, count, packed)
    width = _register_size(tag)
    terms = packed.shape[1]
    rows = packed.shape[2]
    whole = size - size % width
    offset = np.int64(0)
    while offset < whole:
        left = (whole - offset) // width
        registers = min(left, _tile_registers(tag))
        if left == 4:
            registers = min(registers, 2)
        for first in range(0, terms, _RUN):
            run = min(_RUN, terms - first)
            keep = accumulate + first
            source = sources.ctypes.data + 8 * first
            for tile in range(packed.shape[0]):
                packed_tile = packed.ctypes.data + (tile * terms + first) * rows
                target = targets.ctypes.data + 8 * tile * rows
                if registers == 3:
                    _tile_of_three(tag, table, packed_tile, source, run, target, offset, keep)
                elif registers == 2:
                    _tile_of_two(tag, table, packed_tile, source, run, target, offset, keep)
                else:
                    _tile_of_one(tag, table, packed_tile, source, run, target, offset, keep)
        offset += registers * width
    if size > whole:
        _multiply_edges(tag, table, packed, sources, targets, whole, size - whole, accumulate, edges)


@kernel
def invert(tag, table, inverse, system, wanted, chosen):  # type: ignore[no-untyped-def]
    """Gauss-Jordan on system uint8[n, width]: identity in the first `wanted` columns as far as the rank goes.

    Returns the rank; when it is `wanted`, row chosen[c] (int32[wanted]) is the one with a one in column c. The width is
    a multiple of 64 and rows are contiguous. inverse uint8[256].
    """
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
