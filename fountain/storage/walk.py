"""The directories of a tree by number, reached component by component, with few of them open at once."""

from __future__ import annotations

from typing import Protocol

from fountain.storage.files import Directory
from fountain.storage.paths import local_name

__all__ = ["DirectoryTree", "Walker"]

OPEN_LEVEL_COUNT_MAX = 8  # Directories kept open on the way down; those further below are opened again when needed.


class DirectoryTree(Protocol):
    """Which directory lies where: a manifest, or a scan in the making."""

    def parent(self, entry: int) -> int:
        """The directory that holds `entry`."""

    def entry_name(self, entry: int) -> bytes:
        """The name of `entry` in its directory."""


class Walker:
    """Opens directories of `tree` below `root`, which is its entry 0. One thread at a time.

    Entries that are asked for in the order of the tree, or in the opposite one, share the way to them.
    """

    def __init__(self, root: Directory, tree: DirectoryTree) -> None:
        self._root = root
        self._tree = tree
        self._way: list[tuple[int, Directory]] = []
        self._deep: tuple[int, Directory] | None = None  # the last one that lies below what `_way` may hold

    def directory(self, entry: int) -> Directory:
        """The directory that `entry` is; open until the next call. No link is followed on the way.

        Raises:
            OSError: it is not there, or a link stands in its place.
        """
        if not entry:
            return self._root
        if self._way and self._way[-1][0] == entry:
            return self._way[-1][1]
        if self._deep is not None and self._deep[0] == entry:
            return self._deep[1]
        return self._descend(entry)

    def close(self) -> None:
        """Close all but the root."""
        self._close_deep()
        self._shorten(0)

    def _descend(self, entry: int) -> Directory:
        lineage = []
        at = entry
        while at:
            lineage.append(at)
            at = self._tree.parent(at)
        lineage.reverse()
        self._close_deep()
        shared = 0
        while shared < min(len(self._way), len(lineage)) and self._way[shared][0] == lineage[shared]:
            shared += 1
        self._shorten(shared)
        directory = self._way[-1][1] if self._way else self._root
        for at in lineage[shared:OPEN_LEVEL_COUNT_MAX]:
            directory = directory.child(local_name(self._tree.entry_name(at)))
            self._way.append((at, directory))
        for at in lineage[OPEN_LEVEL_COUNT_MAX:]:
            child = directory.child(local_name(self._tree.entry_name(at)))
            self._close_deep()
            self._deep = at, child
            directory = child
        return directory

    def _shorten(self, count: int) -> None:
        while len(self._way) > count:
            self._way.pop()[1].close()

    def _close_deep(self) -> None:
        if self._deep is not None:
            self._deep[1].close()
            self._deep = None
