"""Objects in memory: what a server serves and where a client puts it, with the interfaces of `fountain.storage`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fountain.errors import IntegrityError, StorageError
from fountain.geometry import Geometry
from fountain.wire.manifest import Entry, EntryKind, Manifest, build, encode, parse

__all__ = ["MemorySink", "MemorySource"]


class MemorySource:
    """An object of one file, in memory; a `fountain.engine.serving.served.BlockSource`."""

    def __init__(
        self, name: str, content: bytes, *, symbol_size: int, block_symbol_limit: int, profile_id: bytes
    ) -> None:
        self.name = name
        self.content = content
        self.geometry = Geometry(len(content), symbol_size, block_symbol_limit)
        digests = b"".join(blake3(self._octets(block)).digest() for block in range(self.geometry.block_count))
        entry = Entry(EntryKind.FILE, 0o644, 0, len(content))
        self.manifest = build(profile_id, symbol_size, block_symbol_limit, name, (entry,), digests)
        self.manifest_bytes = encode(self.manifest)
        self.object_id = blake3(self.manifest_bytes).digest()
        self.changed = False  # set by a test: the file is not what it was

    def read_block(self, index: int, out: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Block `index` as uint8[K, T], zero padded, in a view of `out`."""
        if self.changed:
            raise StorageError(f"{self.name} changed while it was being served.", path=self.name)
        octets = self._octets(index)
        rows = out.reshape(-1)[: self.geometry.block_symbols(index) * self.geometry.symbol_size]
        rows[: len(octets)] = np.frombuffer(octets, dtype=np.uint8)
        rows[len(octets) :] = 0
        return rows.reshape(-1, self.geometry.symbol_size)

    def read_symbols(self, index: int, first: int, out: NDArray[np.uint8]) -> None:
        """Source symbols `first`, `first` + 1, ... of block `index` into `out`, uint8[n, T], zero padded."""
        whole = np.empty((self.geometry.block_symbols(index), self.geometry.symbol_size), dtype=np.uint8)
        out[:] = self.read_block(index, whole)[first : first + len(out)]

    def close(self) -> None:
        """Nothing is held open."""

    def _octets(self, block: int) -> bytes:
        start = self.geometry.block_offset(block)
        return self.content[start : start + self.geometry.block_size(block)]


class MemorySink:
    """Receives one file into memory; a `fountain.engine.receiving.collector.BlockSink`.

    It survives the client that fills it, as a part on a disk does: give it to another client to resume. `capacity` is
    the octets after which the "disk" is full.
    """

    def __init__(self, object_id: bytes, *, capacity: int | None = None) -> None:
        self.object_id = object_id
        self.content: bytearray | None = None
        self.result: bytes | None = None
        self.written_block_count = 0
        self.manifest: Manifest | None = None
        self.capacity = capacity
        self._geometry: Geometry | None = None
        self._verified: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)

    @property
    def verified(self) -> NDArray[np.bool_]:
        """For each block whether it stands; empty while there is no manifest."""
        return self._verified

    @property
    def complete(self) -> bool:
        """Whether every block stands."""
        return self.manifest is not None and bool(self._verified.all())

    def set_manifest(self, data: bytes) -> None:
        """Take the manifest.

        Raises:
            IntegrityError: it is not the object's.
        """
        manifest = parse(data)
        if blake3(data).digest() != self.object_id or not isinstance(manifest, Manifest):
            raise IntegrityError("The manifest is not the one that was announced.")
        if self.manifest is None:
            self.manifest = manifest
            self._geometry = Geometry(manifest.object_size, manifest.symbol_size, manifest.block_symbol_limit)
            self._verified = np.zeros(self._geometry.block_count, dtype=np.bool_)
            self.content = bytearray(manifest.object_size)

    def write_block(self, index: int, rows: NDArray[np.uint8]) -> bool:
        """Write a block if it is what the manifest says.

        Raises:
            StorageError: the capacity is used up.
        """
        assert self.manifest is not None
        assert self._geometry is not None
        assert self.content is not None
        size = self._geometry.block_size(index)
        octets = rows.tobytes()[:size]
        if blake3(octets).digest() != self.manifest.digest(index):
            return False
        if self.capacity is not None and (int(self._verified.sum()) + 1) * size > self.capacity:
            raise StorageError("No space is left.")
        start = self._geometry.block_offset(index)
        self.content[start : start + size] = octets
        self._verified[index] = True
        self.written_block_count += 1
        return True

    def commit_due(self, now_ns: int) -> bool:
        """Memory is as durable as it gets."""
        return now_ns < 0

    def commit(self) -> None:
        """Nothing to do."""

    def finish(self, progress: Callable[[int, int], None] | None = None) -> Sequence[tuple[str, Path]]:
        """The object is whole."""
        if progress is not None:
            progress(0, 0)
        assert self.manifest is not None
        assert self.complete
        self.result = bytes(self.content or b"")
        return [(blake3(self.result).hexdigest(), Path(self.manifest.name))]

    def close(self) -> None:
        """Keep what was received."""
