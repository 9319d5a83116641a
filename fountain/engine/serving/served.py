"""An object as the sender holds it: its blocks, read when they are wanted, and the symbols made of them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fountain.codes.api import BlockEncoder, Code
from fountain.geometry import Geometry
from fountain.protocol.base.block_numbers import BlockNumbers
from fountain.protocol.base.served_object import ServedObject
from fountain.storage.zeros import zero_blocks
from fountain.wire.control import OfferBody
from fountain.wire.manifest import Manifest
from fountain.wire.session import MANIFEST_BIT
from fountain.wire.signed import SignedText

__all__ = ["BlockCache", "BlockSource", "ObjectSymbols"]

# Whole blocks are read for the sake of repair symbols alone, and kept for the next top-up: this many octets of them for
# all objects of a server together.
BLOCK_CACHE_SIZE_MAX = 16 << 20


class BlockSource(Protocol):
    """What serves blocks: `fountain.storage.source.FileSource`, or memory in the simulated world."""

    name: str
    manifest: Manifest
    manifest_bytes: bytes
    object_id: bytes
    geometry: Geometry

    def read_block(self, index: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Block `index` as uint8[K, T], zero padded, in a view of `out`."""

    def read_symbols(self, index: int, first: int, out: NDArray[np.uint8]) -> None:
        """Source symbols `first`, `first` + 1, ... of block `index` into `out`, uint8[n, T], zero padded."""

    def close(self) -> None:
        """Release what is held open."""


class BlockCache:
    """Encoders of the blocks used last, each with the block that it encodes. Safe to share between threads."""

    def __init__(self, size_max: int = BLOCK_CACHE_SIZE_MAX) -> None:
        self._size_max = size_max
        self._entries: OrderedDict[tuple[bytes, int], tuple[BlockEncoder, int]] = OrderedDict()
        self._size = 0
        self._lock = threading.Lock()

    def encoder(self, key: tuple[bytes, int], load: Callable[[], NDArray[np.uint8]], code: Code) -> BlockEncoder:
        """The encoder of `key` (object id, block); `load` reads the block when it is not here."""
        with self._lock:
            entry = self._entries.get(key)
            if entry is not None:
                self._entries.move_to_end(key)
                return entry[0]
        rows = load()
        encoder = code.encoder(rows)
        with self._lock:
            if key not in self._entries:
                self._entries[key] = (encoder, rows.nbytes)
                self._size += rows.nbytes
            while self._size > self._size_max and len(self._entries) > 1:
                self._size -= self._entries.popitem(last=False)[1][1]
        return encoder


class ObjectSymbols:
    """Any symbol of any block of one object, and of its manifest (block numbers with MANIFEST_BIT)."""

    def __init__(
        self, source: BlockSource, code: Code, cache: BlockCache, *, is_directory: bool, data_port: int, open: bool,
        release: SignedText | None = None,
    ) -> None:  # fmt: skip
        self.source = source
        self.code = code
        self._cache = cache
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
            release=release,
        )
        zeros = sum(map(geometry.block_symbols, zero_blocks(source.manifest)))
        self.served = ServedObject(offer, code.systematic, zeros)
        self._numbers = BlockNumbers(source.geometry, offer.manifest_geometry)
        self._manifest = np.frombuffer(source.manifest_bytes, dtype=np.uint8)  # No copy: there may be 128 MiB of it.

    def symbol_count(self, block: int) -> int:
        """K of a block."""
        return self._numbers.symbol_count(block)

    def source_symbols(self, block: int, first: int, out: NDArray[np.uint8]) -> None:
        """Source symbols `first`, `first` + 1, ... of a block into `out`, uint8[n, T]; all of them must exist.

        Raises:
            StorageError: the files changed or cannot be read.
        """
        if block & MANIFEST_BIT:
            self._read_manifest(block, first, out)
        else:
            self.source.read_symbols(block, first, out)

    def encode(self, block: int, esis: NDArray[np.uint32], out: NDArray[np.uint8]) -> None:
        """Encoding symbols of a block into `out`, uint8[n, T].

        Raises:
            StorageError: the files changed or cannot be read.
        """
        encoder = self._cache.encoder((self.source.object_id, block), lambda: self._load(block), self.code)
        encoder.encode(esis, out)

    def _load(self, block: int) -> NDArray[np.uint8]:
        rows = np.empty((self.symbol_count(block), self.source.geometry.symbol_size), dtype=np.uint8)
        if not block & MANIFEST_BIT:
            return self.source.read_block(block, rows)
        self._read_manifest(block, 0, rows)
        return rows

    def _read_manifest(self, block: int, first: int, out: NDArray[np.uint8]) -> None:
        """Symbols `first`, `first` + 1, ... of a block of the manifest into `out`, zero padded."""
        manifest = self._numbers.manifest
        start = manifest.block_offset(block & ~MANIFEST_BIT) + first * manifest.symbol_size
        flat = out.reshape(-1)
        octets = self._manifest[start : start + len(flat)]
        flat[: len(octets)] = octets
        flat[len(octets) :] = 0
