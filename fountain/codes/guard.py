"""A code of somebody else's package, watched: whatever it does wrong becomes an error that names it.

What it returns decides where kernels write, so slots and slabs are checked before anybody believes them. That a block
has the right octets is for digests to say.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fountain.codes.api import BlockDecoder, BlockEncoder, BlockProgress, Code
from fountain.errors import FountainError, LocalError

__all__ = ["GuardedCode"]

T = TypeVar("T")
Rows = NDArray[np.uint8]
EsiArray = NDArray[np.uint32]
SlotArray = NDArray[np.int32]


class _Wrong(Exception):
    """What a code returned is not what `fountain.codes.api` asks for."""


class GuardedCode:
    """`code`, with every call checked; `origin` says where it comes from. See `fountain.codes.api.Code`."""

    def __init__(self, code: Code, origin: str) -> None:
        self.name = code.name
        self.profile_id = code.profile_id
        self.systematic = bool(code.systematic)
        self.symbol_count_max = operator.index(code.symbol_count_max)
        self._code = code
        self._origin = origin

    def prepare(self, symbol_count: int) -> None:
        self.call("prepare", lambda: self._code.prepare(symbol_count))

    def encoder(self, source: Rows) -> BlockEncoder:
        self._check_count(len(source))
        return _GuardedEncoder(self, self.call("encoder", lambda: self._code.encoder(source)))

    def decoder(self, symbol_count: int, symbol_size: int, slab: Rows | None = None) -> BlockDecoder:
        self._check_count(symbol_count)
        decoder = self.call("decoder", lambda: self._code.decoder(symbol_count, symbol_size, slab))
        return _GuardedDecoder(self, decoder, symbol_count, symbol_size)

    def call(self, what: str, function: Callable[[], T]) -> T:
        """The result of `function`.

        Raises:
            LocalError: it raised anything, or what it returned is wrong.
        """
        try:
            return function()
        except FountainError:
            raise
        except _Wrong as wrong:
            raise self._error(f"{what} returned {wrong}") from wrong
        except Exception as error:  # Foreign code may raise anything; the person must learn whose fault it is.
            raise self._error(f"{what} raised {error!r}") from error

    def _check_count(self, symbol_count: int) -> None:
        if symbol_count > self.symbol_count_max:
            raise LocalError(
                f"The code {self.name!r} takes blocks of at most {self.symbol_count_max} symbols, not {symbol_count}.",
                "Serve with another code, such as `code` raptorq.",
            )

    def _error(self, what: str) -> LocalError:
        return LocalError(
            f"The code {self.name!r} ({self._origin}) is broken: {what}.",
            "Report it to its authors, or serve with another code, such as `code` raptorq.",
        )


class _GuardedEncoder:
    """`encoder`, with every call checked."""

    def __init__(self, code: GuardedCode, encoder: BlockEncoder) -> None:
        self._call = code.call
        self._encoder = encoder

    def encode(self, esis: EsiArray, out: Rows) -> None:
        self._call("encode", lambda: self._encoder.encode(esis, out))


class _GuardedDecoder:
    """`decoder`, with every call checked."""

    def __init__(self, code: GuardedCode, decoder: BlockDecoder, symbol_count: int, symbol_size: int) -> None:
        self._call = code.call
        self._decoder = decoder
        self.slab: Rows = self._call("decoder", lambda: _checked_slab(decoder.slab, symbol_count, symbol_size))

    @property
    def progress(self) -> BlockProgress:
        return self._call("progress", lambda: _checked_progress(self._decoder.progress))

    @property
    def has_room(self) -> bool:
        return self._call("has_room", lambda: bool(self._decoder.has_room))

    def reserve(self, esis: EsiArray) -> SlotArray:
        return self._call("reserve", lambda: _checked_slots(self._decoder.reserve(esis), len(esis), len(self.slab)))

    def commit(self, esis: EsiArray, slots: SlotArray) -> BlockProgress:
        return self._call("commit", lambda: _checked_progress(self._decoder.commit(esis, slots)))

    def decode(self) -> BlockProgress:
        return self._call("decode", lambda: _checked_progress(self._decoder.decode()))


def _checked_slab(slab: Any, symbol_count: int, symbol_size: int) -> Rows:
    is_right = isinstance(slab, np.ndarray) and slab.dtype == np.uint8 and slab.ndim == 2
    if not is_right or slab.shape[1] != symbol_size or len(slab) < symbol_count:
        raise _Wrong(f"a decoder whose slab is not uint8[{symbol_count} or more, {symbol_size}]")
    if not slab.flags.c_contiguous or not slab.flags.writeable:
        raise _Wrong("a decoder whose slab is not C-contiguous and writable")
    rows: Rows = slab
    return rows


def _checked_slots(slots: Any, count: int, row_count: int) -> SlotArray:
    is_right = isinstance(slots, np.ndarray) and slots.shape == (count,) and slots.dtype.kind == "i"
    if not is_right or (count and (slots.min() < -1 or slots.max() >= row_count)):
        raise _Wrong(f"something else than {count} slab rows from -1 to {row_count - 1}")
    checked: SlotArray = slots.astype(np.int32, copy=False)
    return checked


def _checked_progress(progress: Any) -> BlockProgress:
    have, need = progress
    checked = BlockProgress(operator.index(have), operator.index(need))
    if checked.have < 0 or checked.need < 0:
        raise _Wrong(f"{progress!r} instead of what it has and what it needs")
    return checked
