"""The blocks of a part: proved by digests, written in any order, made durable in groups, found again after a crash.

What may be believed of a part that an earlier run left:

* A record in the journal was appended after its block's data had been synced: the block counts, unread. `prove` reads
  it again at the end, so damage done meanwhile costs another collection, never a wrong file.
* A block without a record may stand there all the same (a killed process leaves its writes to the system). Whatever is
  not a hole in the file is hashed, and counts when it matches the manifest.
* Without a sound journal everything is hashed, and so are blocks that have octets of a file that is missing or has
  another size than it was left with.
* A block of zeros stands where its files are holes: it is known by its digest, and neither sent nor written.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fountain.errors import IncompleteError, StorageError
from fountain.limits import NS
from fountain.storage.digests import FileDigests
from fountain.storage.journal import Journal
from fountain.storage.layout import Progress, digest_blocks
from fountain.storage.octets import PartOctets
from fountain.storage.paths import printable
from fountain.storage.tree import PartTree
from fountain.storage.workspace import JOURNAL_NAME, Workspace, part_error
from fountain.storage.zeros import zero_blocks
from fountain.wire.manifest import Manifest

__all__ = ["PartBlocks"]

_COMMIT_SIZE = 64 << 20  # Octets, and
_COMMIT_INTERVAL_NS = NS  # time, after which verified blocks are made durable as one group.
_CATCH_UP_COUNT = 4  # Blocks read back for the file digests with each block written: faster than they come.
_READ_SIZE = 16 << 20  # Octets read at a time for the file digests at the end.
_FEED_HOLE_SIZE_MAX = 1 << 30  # With more of holes, files are digested at the end: a worker would be away too long.


@dataclass
class _Pending:
    """Blocks that were written and wait for the next commit to make them durable."""

    blocks: list[int] = field(default_factory=list)
    size: int = 0
    since_ns: int | None = None  # when somebody asked first whether a commit is due
    files: set[int] = field(default_factory=set)  # in which they are


class PartBlocks:
    """The blocks of one object. `write_block` and `commit` are thread-safe, the rest is for one thread."""

    def __init__(self, workspace: Workspace, tree: PartTree, manifest: Manifest, object_id: bytes) -> None:
        self.geometry = manifest.geometry
        self.verified: NDArray[np.bool_] = np.zeros(self.geometry.block_count, dtype=np.bool_)
        self._path = workspace.path
        self._manifest = manifest
        self._octets = PartOctets(tree)
        self._journal = Journal(workspace.directory, JOURNAL_NAME, object_id, self.geometry.block_count)
        self._lock = threading.Lock()  # Guards `verified` and what is pending.
        self._pending = _Pending()
        self._commit_lock = threading.Lock()
        self._unproven: set[int] = set()  # Believed because of the journal, not yet read.
        self._lost: StorageError | None = None  # A failed sync: data may be gone, and a second sync would hide it.
        self._digest_lock = threading.Lock()  # Guards the two fields below.
        self._digests = FileDigests(manifest)
        self._digested_count = 0
        self.has_received = False  # any block, in this run or an earlier one

    @property
    def lacks_digests(self) -> bool:
        """Whether files with holes get no digest, because there is too much of these."""
        return self._digests.skips_sparse

    def begin(self) -> None:
        """Start the journal of a part that holds nothing yet."""
        self._journal.rewrite(())
        self._take_zeros(zero_blocks(self._manifest))

    def recover(self, missing: NDArray[np.int64], progress: Progress | None) -> None:
        """Find out which blocks an earlier run left; `missing` files were not there with their sizes."""
        self.has_received = True
        vouched = self._journal.load() or frozenset()
        if vouched and len(missing):
            damaged = self._octets.blocks_of(missing, self.geometry)
            sound = frozenset(block for block in vouched if not damaged[block])
            if len(sound) < len(vouched):
                self._journal.rewrite(sound)
            vouched = sound
        self.verified[list(vouched)] = True
        self._unproven = set(vouched)
        offsets = ((block, self.geometry.block_offset(block)) for block in np.flatnonzero(~self.verified).tolist())
        candidates = [
            block for block, offset in offsets if self._octets.may_hold_data(offset, self.geometry.block_size(block))
        ]
        for block in self._matching(candidates, progress):
            self._record(block)
        holes = set(zero_blocks(self._manifest)) - set(candidates)
        self._take_zeros([block for block in sorted(holes) if not self.verified[block]])
        self.commit()

    def write_block(self, index: int, rows: NDArray[np.uint8]) -> bool:
        """Write block `index`, uint8[K, T], when it is what the manifest says; False when it is not.

        Raises:
            DiskFullError, StorageError: it could not be written; the part is kept.
        """
        size = self.geometry.block_size(index)
        octets = np.ascontiguousarray(rows).reshape(-1)[:size].data
        if len(octets) != size or blake3(octets).digest() != self._manifest.digest(index):
            return False
        if self.verified[index]:
            return True
        try:
            self._octets.write(self.geometry.block_offset(index), octets)
        except OSError as error:
            raise part_error(error, "write in", self._path, self._path) from error
        self.has_received = True
        self._record(index)
        self._feed_digests(index, octets)
        return True

    def commit_due(self, now_ns: int) -> bool:
        """Whether `commit` should be called, asked now and then with the time."""
        with self._lock:
            pending = self._pending
            if not pending.blocks:
                return False
            if pending.since_ns is None:
                pending.since_ns = now_ns
            return pending.size >= _COMMIT_SIZE or now_ns - pending.since_ns >= _COMMIT_INTERVAL_NS

    def commit(self) -> None:
        """Make the blocks written so far durable, then vouch for them in the journal.

        Raises:
            StorageError: a sync failed; the part is kept, but this run must end, for the data may be gone.
        """
        with self._commit_lock:
            if self._lost is not None:
                raise self._lost
            with self._lock:
                pending, self._pending = self._pending, _Pending()
            if not pending.blocks:
                return
            try:
                self._octets.sync(pending.files)
                self._journal.append(pending.blocks)
            except OSError as error:
                self._lost = part_error(error, "write in", self._path, self._path)
                raise self._lost from error

    def prove(self, progress: Progress | None = None) -> None:
        """Read the blocks that only the journal vouches for.

        Raises:
            IncompleteError: some are not what they were; they no longer count.
        """
        unproven = sorted(self._unproven)
        damaged = set(unproven) - set(self._matching(unproven, progress))
        self._unproven = set()
        if not damaged:
            return
        self.verified[list(damaged)] = False
        self._journal.rewrite(np.flatnonzero(self.verified).tolist())
        raise IncompleteError(
            f"{len(damaged)} blocks of {printable(self._manifest.name)} were damaged on this disk after they arrived.",
            "Run the same command again; only those blocks are fetched.",
        )

    def file_digests(self, progress: Progress | None = None) -> FileDigests:
        """Digests of the files; what did not go by in order is read back. All blocks must be verified."""
        object_size = self.geometry.object_size
        with self._digest_lock:
            digests, at = self._digests, self._digested_size()
            total = object_size + digests.hole_size

            def tick(hole_size: int) -> None:
                if progress is not None:
                    progress(at + hole_size, total)

            buffer = np.empty(min(_READ_SIZE, object_size - at), dtype=np.uint8)
            while at < object_size:
                view = buffer[: min(_READ_SIZE, object_size - at)].data
                if not self._octets.read(at, view):
                    shown = printable(str(self._path))
                    raise StorageError(f"The part in {shown} became shorter.", path=shown)
                digests.feed(view, tick)
                at += len(view)
                tick(0)
            digests.complete(tick)
            self._digested_count = self.geometry.block_count
            return digests

    def close(self) -> None:
        """Close the files, without a commit."""
        self._octets.close()
        self._journal.close()

    def _take_zeros(self, blocks: list[int]) -> None:
        """These blocks stand as soon as their files do, which read as zeros."""
        for block in blocks:
            self.verified[block] = True
            for file in self._octets.files(self.geometry.block_offset(block), self.geometry.block_size(block)):
                self._octets.touch(file)

    def _record(self, index: int) -> None:
        with self._lock:
            if self.verified[index]:
                return
            self.verified[index] = True
            size = self.geometry.block_size(index)
            self._pending.blocks.append(index)
            self._pending.size += size
            self._pending.files.update(self._octets.files(self.geometry.block_offset(index), size))

    def _matching(self, blocks: list[int], progress: Progress | None) -> Iterable[int]:
        """Those of `blocks` that stand in the part as the manifest says."""
        done, total = 0, sum(map(self.geometry.block_size, blocks))

        def read(block: int, scratch: NDArray[np.uint8]) -> memoryview:
            return self._read_block(block, scratch) or scratch[:0].data

        for run in digest_blocks(self.geometry, blocks, read):
            yield from (block for block, digest in run if digest == self._manifest.digest(block))
            done += sum(self.geometry.block_size(block) for block, _ in run)
            if progress is not None:
                progress(done, total)

    def _read_block(self, block: int, scratch: NDArray[np.uint8]) -> memoryview | None:
        view = scratch[: self.geometry.block_size(block)].data
        return view if self._octets.read(self.geometry.block_offset(block), view) else None

    def _feed_digests(self, index: int, octets: memoryview) -> None:
        """Feed the file digests with this block if it is the next, and with a few that came too early."""
        if self._digests.hole_size > _FEED_HOLE_SIZE_MAX:
            return
        if not self._digest_lock.acquire(blocking=False):
            return  # Another thread is at it; this block is read back later.
        try:
            if index == self._digested_count:
                self._digests.feed(octets)
                self._digested_count += 1
            for _ in range(_CATCH_UP_COUNT):
                block = self._digested_count
                if block >= self.geometry.block_count or not self.verified[block] or block in self._unproven:
                    return
                view = self._read_block(block, np.empty(self.geometry.block_size(block), dtype=np.uint8))
                if view is None:
                    return
                self._digests.feed(view)
                self._digested_count += 1
        except OSError:
            return  # What cannot be read now is read again at the end, and complained about there.
        finally:
            self._digest_lock.release()

    def _digested_size(self) -> int:
        if self._digested_count == self.geometry.block_count:
            return self.geometry.object_size
        return self.geometry.block_offset(self._digested_count)
