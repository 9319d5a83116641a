"""Sums of rows: the data phase's two workhorses, written as vector IR on raw addresses.

`combine` is the gather form of a schedule: each target row is the XOR of an initial row and of a list of rows, read
once each, held in registers, stored once. `fold` is the recursion g = 2 g + x over rows that builds the HDPC sums.

Kernels here take addresses (int64) and strides instead of arrays: rows then may lie in writable, read-only or mapped
memory with any stride and alignment without another compiled signature. The caller keeps the arrays alive.
The vectors are plain LLVM vectors as wide as this host's registers; nothing here depends on a SIMD tier.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import llvmlite.binding
import numba.extending
from llvmlite import ir
from numba.core import cgutils as untyped_cgutils
from numba.core import types

from fountain._jit import kernel

__all__ = ["combine", "fold"]

cgutils: Any = untyped_cgutils
intrinsic: Any = numba.extending.intrinsic

_BYTE = ir.IntType(8)
_INT = ir.IntType(64)
_INDEX = ir.IntType(32)


def _register_size() -> int:
    features = llvmlite.binding.get_host_cpu_features()
    return 64 if features.get("avx512bw") else 32 if features.get("avx2") else 16


_REGISTER_SIZE = _register_size()


def _element(count: int) -> ir.Type:
    return ir.VectorType(_BYTE, count) if count > 1 else _BYTE


def _load(builder: ir.IRBuilder, address: ir.Value, count: int) -> ir.Value:
    pointer = builder.inttoptr(address, _element(count).as_pointer())
    return builder.load(pointer, align=1)


def _store(builder: ir.IRBuilder, value: ir.Value, address: ir.Value, count: int) -> None:
    pointer = builder.inttoptr(address, _element(count).as_pointer())
    builder.store(value, pointer, align=1)


def _constant(count: int, value: int) -> ir.Constant:
    return ir.Constant(_element(count), [value] * count if count > 1 else value)


def _double(builder: ir.IRBuilder, value: ir.Value, count: int) -> ir.Value:
    """Each octet times 2 in GF(256): shifted, and reduced by 0x1D where the top bit was set."""
    top = builder.ashr(value, _constant(count, 7))
    return builder.xor(builder.shl(value, _constant(count, 1)), builder.and_(top, _constant(count, 0x1D)))


def _index(builder: ir.IRBuilder, pointer: ir.Value, position: ir.Value) -> ir.Value:
    return builder.sext(builder.load(builder.gep(pointer, [position])), _INT)


def _for_each_strip(
    builder: ir.IRBuilder, size: ir.Value, strips: list[tuple[int, int]], emit: Callable[[ir.Value, int, int], None]
) -> None:
    """Cover octets 0..size - 1: `emit(offset, registers, octets a register)` for each strip size, largest first."""
    offset = cgutils.alloca_once_value(builder, ir.Constant(_INT, 0))
    for registers, octets in strips:
        step = ir.Constant(_INT, registers * octets)
        test = builder.append_basic_block("strip.test")
        body = builder.append_basic_block("strip.body")
        done = builder.append_basic_block("strip.done")
        builder.branch(test)
        builder.position_at_end(test)
        here = builder.load(offset)
        builder.cbranch(builder.icmp_signed("<=", builder.add(here, step), size), body, done)
        builder.position_at_end(body)
        emit(here, registers, octets)
        builder.store(builder.add(here, step), offset)
        builder.branch(test)
        builder.position_at_end(done)


_STRIPS = [(8, _REGISTER_SIZE), (2, _REGISTER_SIZE), (1, 16), (1, 1)]


@intrinsic
def _xor_rows(typing, target, initial, base, stride, entries, begin, end, size):  # type: ignore[no-untyped-def]
    """row(target) = row(initial) (0: nothing) XOR row(base + stride * entries[i]) for begin <= i < end."""
    signature = types.void(
        types.int64, types.int64, types.int64, types.int64, types.int64, types.int64, types.int64, types.int64
    )

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: list[ir.Value]) -> ir.Value:
        target, initial, base, stride, entries, begin, end, size = arguments
        list_pointer = builder.inttoptr(entries, _INDEX.as_pointer())
        has_initial = builder.icmp_signed("!=", initial, ir.Constant(_INT, 0))

        def emit(offset: ir.Value, registers: int, octets: int) -> None:
            sums = [cgutils.alloca_once(builder, _element(octets)) for _ in range(registers)]
            steps = [ir.Constant(_INT, i * octets) for i in range(registers)]
            with builder.if_else(has_initial) as (some, none):
                with some:
                    start = builder.add(initial, offset)
                    for total, step in zip(sums, steps):
                        builder.store(_load(builder, builder.add(start, step), octets), total)
                with none:
                    for total in sums:
                        builder.store(_constant(octets, 0), total)
            with cgutils.for_range_slice(builder, begin, end, ir.Constant(_INT, 1)) as (position, _):
                row = builder.mul(_index(builder, list_pointer, position), stride)
                start = builder.add(builder.add(base, offset), row)
                for total, step in zip(sums, steps):
                    value = _load(builder, builder.add(start, step), octets)
                    builder.store(builder.xor(builder.load(total), value), total)
            start = builder.add(target, offset)
            for total, step in zip(sums, steps):
                _store(builder, builder.load(total), builder.add(start, step), octets)

        _for_each_strip(builder, size, _STRIPS, emit)
        return context.get_dummy_value()

    return signature, codegen


@intrinsic
def _fold_rows(typing, sums, sum_stride, base, stride, indices, first, second, count, size):  # type: ignore[no-untyped-def]
    """g = 2 g + row(indices[j]) (nothing where -1); sums[first[j]] += g; sums[second[j]] += g (no second: all of them).

    For j < count - 1 as above; for the last j, sums[h] += 2^h g for all h; `second` holds the number of sums there.
    """
    signature = types.void(
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.int64,
        types.int64,
    )

    def codegen(context: Any, builder: ir.IRBuilder, _signature: Any, arguments: list[ir.Value]) -> ir.Value:
        sums, sum_stride, base, stride, indices, first, second, count, size = arguments
        pointers = [builder.inttoptr(value, _INDEX.as_pointer()) for value in (indices, first, second)]
        one = ir.Constant(_INT, 1)
        last = builder.sub(count, one)

        def emit(offset: ir.Value, registers: int, octets: int) -> None:
            running = [cgutils.alloca_once(builder, _element(octets)) for _ in range(registers)]
            steps = [ir.Constant(_INT, i * octets) for i in range(registers)]
            for value in running:
                builder.store(_constant(octets, 0), value)

            def double_all() -> None:
                for value in running:
                    builder.store(_double(builder, builder.load(value), octets), value)

            def add_row(position: ir.Value) -> None:
                index = _index(builder, pointers[0], position)
                with builder.if_then(builder.icmp_signed(">=", index, ir.Constant(_INT, 0))):
                    start = builder.add(builder.add(base, offset), builder.mul(index, stride))
                    for value, step in zip(running, steps):
                        loaded = _load(builder, builder.add(start, step), octets)
                        builder.store(builder.xor(builder.load(value), loaded), value)

            def add_to_sum(number: ir.Value) -> None:
                start = builder.add(builder.add(sums, offset), builder.mul(number, sum_stride))
                for value, step in zip(running, steps):
                    address = builder.add(start, step)
                    total = builder.xor(_load(builder, address, octets), builder.load(value))
                    _store(builder, total, address, octets)

            with cgutils.for_range(builder, last) as loop:
                double_all()
                add_row(loop.index)
                add_to_sum(_index(builder, pointers[1], loop.index))
                add_to_sum(_index(builder, pointers[2], loop.index))
            double_all()
            add_row(last)
            with cgutils.for_range(builder, _index(builder, pointers[2], last)) as loop:
                add_to_sum(loop.index)
                double_all()

        _for_each_strip(builder, size, _STRIPS, emit)
        return context.get_dummy_value()

    return signature, codegen


@kernel
def combine(  # type: ignore[no-untyped-def]
    target, target_stride, target_rows, initial, initial_stride, initial_rows, initial_count, source, source_stride,
    begin, end, entries, size,
):  # fmt: skip
    """target[target_rows[i]] = initial[initial_rows[i]] XOR source[entries[j]] for begin[i] <= j < end[i].

    Rows of `size` octets are processed in order, so a row may read targets of earlier rows. An initial row outside
    0..initial_count - 1 counts as zero. target_rows, initial_rows, begin, end, entries: int32.
    """
    list_address = entries.ctypes.data
    for i in range(target_rows.shape[0]):
        row = initial_rows[i]
        start = 0
        if 0 <= row < initial_count:
            start = initial + row * initial_stride
        _xor_rows(
            target + target_rows[i] * target_stride, start, source, source_stride, list_address, begin[i], end[i], size
        )


@kernel
def fold(sums, sum_stride, source, source_stride, indices, targets, size):  # type: ignore[no-untyped-def]
    """The HDPC rows over known symbols, added to sums[0..H - 1]; indices int32[n]: row of column j, or -1 for zero.

    targets int32[2, n]: the two sums that column j < n - 1 goes to; targets[1, n - 1] is H.
    """
    _fold_rows(
        sums, sum_stride, source, source_stride, indices.ctypes.data, targets[0].ctypes.data, targets[1].ctypes.data,
        indices.shape[0], size,
    )  # fmt: skip
