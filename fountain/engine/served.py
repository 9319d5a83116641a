"""An object as the sender holds it: its blocks, read when they are wanted, and the symbols made of them."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fountain.codes.api import BlockEncoder, Code
from fountain.geometry import Geometry
from fountain.protocol.server_session import ServedObject
from fountain.wire.control import OfferBody
from fountain.wire.session import MANIFEST_BIT

__all__ = ["BlockSource", "ObjectSymbols"]

# Blocks kept in memory, for all objects of a server together: peers at different places of one object, and top-ups for
# the last few blocks, are served without reading them again. 24 blocks of the default size are 34 MB.
BLOCK_CACHE_COUNT = 24


class BlockSource(Protocol):
    """What serves blocks: `fountain.storage.source.FileSource`, or memory in the simulated world."""

    name: str
    manifest_bytes: bytes
    object_id: bytes
    geometry: Geometry

    def read_block(self, index: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Block `index` as uint8[K, T], zero padded, in a view of `out`."""

    def close(self) -> None:
        """Release what is held open."""


class _CachedBlock:
    """One block in memory, with its encoder (made when a repair symbol is first wanted)."""

    def __init__(self, rows: NDArray[np.uint8], code: Code) -> None:
        self.rows = rows
        self._code = code
        self._encoder: BlockEncoder | None = None

    @property
    def encoder(self) -> BlockEncoder:
        if self._encoder is None:
            self._encoder = self._code.encoder(self.rows)
        return self._encoder


class ObjectSymbols:
    """Any symbol of any block of one object, and of its manifest (block numbers with MANIFEST_BIT)."""

    def __init__(self, source: BlockSource, code: Code, *, is_directory: bool, data_port: int, open: bool) -> None:
        self.source = source
        self.code = code
        geometry = source.geometry
        offer = OfferBody(
            object_id=source.object_id,
            server_public=bytes(32),
            key_index=0,
            profile_id=code.profile_id,
            object_size=geometry.object_size,
            manifest_size=len(source.manifest_bytes),
            symbol_size=geometry.symbol_size,
            block_symbol_limit=geometry.block_symbol_limit,
            data_port=data_port,
            is_directory=is_directory,
            name=source.name,
            open=open,
        )
        self.served = ServedObject(offer, code.systematic)
        self._manifest_geometry = offer.manifest_geometry
        self._cache: OrderedDict[int, _CachedBlock] = OrderedDict()

    def rows(self, block: int) -> NDArray[np.uint8]:
        """The source symbols of a block, uint8[K, T].

        Raises:
            StorageError: the files changed or cannot be read.
        """
        return self._block(block).rows

    def encode(self, block: int, esis: NDArray[np.uint32], out: NDArray[np.uint8]) -> None:
        """Encoding symbols of a block into `out`, uint8[n, T]."""
        self._block(block).encoder.encode(esis, out)

    def _block(self, block: int) -> _CachedBlock:
        cached = self._cache.get(block)
        if cached is not None:
            self._cache.move_to_end(block)
            return cached
        cached = _CachedBlock(self._load(block), self.code)
        self._cache[block] = cached
        if len(self._cache) > BLOCK_CACHE_COUNT:
            self._cache.popitem(last=False)
        return cached

    def _load(self, block: int) -> NDArray[np.uint8]:
        geometry = self._manifest_geometry if block & MANIFEST_BIT else self.source.geometry
        index = block & ~MANIFEST_BIT
        rows = np.empty((geometry.block_symbols(index), geometry.symbol_size), dtype=np.uint8)
        if not block & MANIFEST_BIT:
            return self.source.read_block(index, rows)
        start, size = geometry.block_offset(index), geometry.block_size(index)
        flat = rows.reshape(-1)
        flat[:size] = np.frombuffer(self.source.manifest_bytes, dtype=np.uint8, count=size, offset=start)
        flat[size:] = 0
        return rows
