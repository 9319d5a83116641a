"""Parts that a listener keeps for objects that may be announced again, and how they make room for what comes now.

A sender of announcements could fill the disk with parts. So a listener's parts carry a mark, and those that nobody
writes are removed when they are old, when they are too much together, when a newer release of their product has been
taken, and, the oldest first, whenever an object would have no room beside them. Parts without the mark are somebody's
own, and stay.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fountain.errors import DiskFullError, IntegrityError, StorageError
from fountain.limits import NS
from fountain.storage.part import FinishedFiles, Part
from fountain.storage.paths import printable
from fountain.storage.workspace import JOURNAL_NAME, PART_NAME, Workspace, is_workspace_name, read_mark
from fountain.wire.manifest import Manifest

__all__ = ["PendingPart", "disk_size", "kept_free", "make_room", "tidy_parts"]

PART_AGE_NS_MAX = 7 * 86_400 * NS  # A server that wants to go on does so within a week.
PART_SHARE = 4  # All parts that nobody writes take at most this part of the file system, or are a single one.
KEEP_SHARE = 16  # A part of which less than this is here is not worth the room that it takes.
FREE_SHARE = 20  # This part of the file system is left free, ...
FREE_SIZE_MAX = 1 << 30  # ... but no more than so many octets.
_NONE_VERIFIED: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)


@dataclass(frozen=True)
class _Left:
    """A part that an earlier download left: where, when it was written last, and the disk that it takes."""

    path: Path
    written_ns: int
    size: int
    is_empty: bool  # A listener that was killed made it, and had not laid out anything in it.
    release: str  # product and version, or empty


def disk_size(directory: Path) -> int:
    """Octets that the file system of `directory` has: a listener takes no object with more, holes included."""
    return shutil.disk_usage(directory).total


def kept_free(directory: Path) -> int:
    """Octets that a listener leaves free on the file system of `directory` by default."""
    return min(FREE_SIZE_MAX, disk_size(directory) // FREE_SHARE)


def make_room(directory: Path) -> bool:
    """Remove the oldest part of a listener in `directory` that nobody writes; False when there is none."""
    return any(_remove(left) for left in _left_parts(directory))


def tidy_parts(directory: Path, now_ns: int, is_outdated: Callable[[str], bool] | None = None) -> list[str]:
    """Remove what is too old or too much at `now_ns` of the wall clock; the names of the parts that are gone.

    A workspace in which nothing was laid out holds nothing. A part of a release that `is_outdated` can never be taken.
    Both are removed and not named.
    """
    parts, gone = [], []
    for left in _left_parts(directory):
        if left.is_empty or (left.release and is_outdated is not None and is_outdated(left.release)):
            _remove(left)
        else:
            parts.append(left)
    total = sum(left.size for left in parts)
    with contextlib.suppress(OSError):
        limit = disk_size(directory) // PART_SHARE
        for number, left in enumerate(parts, 1):
            is_too_much = total > limit and number < len(parts)
            if (is_too_much or now_ns - left.written_ns > PART_AGE_NS_MAX) and _remove(left):
                total -= left.size
                gone.append(left.path.name)
    return gone


def _left_parts(directory: Path) -> list[_Left]:
    """A listener's parts, the oldest first."""
    found = []
    with contextlib.suppress(OSError):
        for entry in os.scandir(directory):
            path = Path(entry.path)
            is_workspace = is_workspace_name(entry.name) and entry.is_dir(follow_symlinks=False)
            if is_workspace and (release := read_mark(path)) is not None:
                with contextlib.suppress(OSError):
                    is_empty = not os.path.lexists(path / PART_NAME)
                    size = 0 if is_empty else _disk_size(path)
                    found.append(_Left(path, _written_ns(path), size, is_empty, release))
    return sorted(found, key=lambda left: left.written_ns)


def _written_ns(path: Path) -> int:
    """When a part was written last: its journal has an entry for each block."""
    times = [os.lstat(path).st_mtime_ns]
    with contextlib.suppress(OSError):
        times.append(os.lstat(path / JOURNAL_NAME).st_mtime_ns)
    return max(times)


def _disk_size(path: Path) -> int:
    """Octets of disk that a part takes."""
    top = path / PART_NAME
    status = os.lstat(top)
    if not stat.S_ISDIR(status.st_mode):
        return _blocks(status)
    names = (os.path.join(parent, name) for parent, _, files in os.walk(top) for name in files)
    return sum(_blocks(os.lstat(name)) for name in names)


def _blocks(status: os.stat_result) -> int:
    return int(getattr(status, "st_blocks", -(-status.st_size // 512))) * 512


def _remove(left: _Left) -> bool:
    """Whether the part is gone: it stays while anybody writes it, and where there are no locks."""
    try:
        workspace = Workspace.take(left.path)
        if workspace is None or not workspace.is_locked:
            if workspace is not None:
                workspace.close()
            return False
        workspace.remove()
    except (OSError, StorageError):
        return False
    return True


class PendingPart:
    """A part that is made when its manifest is here and has proved to be the object's: before that nothing is created.

    `open_part` makes it. A listener's may be given up: where the disk is too full, `free` is asked for more, as long as
    it finds any, and what is worth less than its room is not kept. Without `free` the part is somebody's own.
    """

    def __init__(
        self, object_id: bytes, name: str, destination: Path, open_part: Callable[[], Part],
        free: Callable[[], bool] | None,
    ) -> None:  # fmt: skip
        self.destination = destination
        self._object_id = object_id
        self._name = name
        self._open_part = open_part
        self._make_room = free
        self._part: Part | None = None
        self._lock = threading.Lock()  # guards the two, for it may be closed while a worker makes the part
        self._is_closed = False

    @property
    def manifest(self) -> Manifest | None:
        """The manifest, once the part is made."""
        return None if self._part is None else self._part.manifest

    @property
    def verified(self) -> NDArray[np.bool_]:
        """For each block whether it stands; empty while there is no manifest."""
        return _NONE_VERIFIED if self._part is None else self._part.verified

    @property
    def complete(self) -> bool:
        """Whether every block stands."""
        return self._part is not None and self._part.complete

    @property
    def file_sizes(self) -> Iterable[int]:
        """As of `Part`."""
        return () if self._part is None else self._part.file_sizes

    @property
    def remarks(self) -> list[str]:
        """As of `Part`."""
        return [] if self._part is None else self._part.remarks

    def set_manifest(self, data: bytes) -> None:
        """Take the manifest, and make the part.

        Raises:
            IntegrityError: it is not the manifest of this object.
            StorageError: the part cannot be made.
        """
        if blake3(data).digest() != self._object_id:
            raise IntegrityError(f"The manifest of {printable(self._name)} is not the one that was announced.")
        while self._part is None:
            part = self._open_part()
            try:
                part.set_manifest(data)
            except DiskFullError:
                part.close()
                if self._make_room is None or not self._make_room():
                    raise
            except BaseException:
                part.close()
                raise
            else:
                self._keep(part)

    def write_block(self, index: int, rows: NDArray[np.uint8]) -> bool:
        """As of `Part`."""
        return self._made().write_block(index, rows)

    def commit_due(self, now_ns: int) -> bool:
        """As of `Part`."""
        return self._part is not None and self._part.commit_due(now_ns)

    def commit(self) -> None:
        """As of `Part`."""
        if self._part is not None:
            self._part.commit()

    def finish(self, progress: Callable[[int, int], None] | None = None) -> FinishedFiles:
        """As of `Part`."""
        return self._made().finish(progress)

    def close(self) -> None:
        """Keep what was received, unless that is too little for the room that it takes."""
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
        if self._part is None or was_closed:
            return
        verified = self._part.verified
        if self._make_room is not None and len(verified) and int(verified.sum()) * KEEP_SHARE < len(verified):
            with contextlib.suppress(StorageError):
                self._part.discard()
        else:
            self._part.close()

    def _keep(self, part: Part) -> None:
        """The part is made; where nobody wants it any more it must not stay locked."""
        with self._lock:
            if not self._is_closed:
                self._part = part
                return
        part.close()
        raise ValueError("the part is closed")

    def _made(self) -> Part:
        if self._part is None:
            raise ValueError("the part has no manifest yet")
        return self._part
