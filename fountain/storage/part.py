"""The receiving side: a part that takes blocks in any order, survives every kind of end, and becomes the object."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import overload

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray

from fountain.errors import DiskFullError, IncompleteError, IntegrityError, StorageError
from fountain.storage.blocks import PartBlocks
from fountain.storage.destination import check_destination, put_in_place
from fountain.storage.digests import FileDigests
from fountain.storage.files import Directory, free_size, storage_error, umask
from fountain.storage.layout import Progress
from fountain.storage.paths import check_name, printable, resolve_destination
from fountain.storage.tree import PartTree, allowed_mode, check_names, finished_files, outward_count
from fountain.storage.workspace import PART_NAME, Workspace, part_error
from fountain.wire.manifest import Manifest, parse
from fountain.wire.reject import Reject

__all__ = ["FinishedFiles", "Part", "PartRules", "resolve_destination"]

_SPARE_SIZE = 1 << 20  # Octets of disk beyond the object: journal, manifest, directories.
_NONE_VERIFIED: NDArray[np.bool_] = np.zeros(0, dtype=np.bool_)


class _Door:
    """Who is at work in a part. Once it is closed, nobody comes in: a thread that was given up may still try."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._count = 0
        self._is_closed = False

    @contextlib.contextmanager
    def inside(self) -> Iterator[None]:
        """Be inside for a while; ValueError where the door is closed."""
        with self._changed:
            if self._is_closed:
                raise ValueError("the part is closed")
            self._count += 1
        try:
            yield
        finally:
            with self._changed:
                self._count -= 1
                self._changed.notify_all()

    def close(self) -> None:
        """Let nobody in any more, and wait for those who are inside."""
        with self._changed:
            self._is_closed = True
            self._changed.wait_for(lambda: self._count == 0)


class FinishedFiles(Sequence[tuple[str, Path]]):
    """Digest and path of each file of an object that stands; made when they are asked for, since they may be many."""

    def __init__(self, manifest: Manifest, digests: FileDigests, destination: Path) -> None:
        self._manifest = manifest
        self._digests = digests
        self._destination = destination

    def __len__(self) -> int:
        return len(self._digests)

    @overload
    def __getitem__(self, at: int) -> tuple[str, Path]: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[tuple[str, Path]]: ...

    def __getitem__(self, at: int | slice) -> tuple[str, Path] | Sequence[tuple[str, Path]]:
        return list(self)[at]

    def __iter__(self) -> Iterator[tuple[str, Path]]:
        for file, path in enumerate(finished_files(self._manifest, self._destination)):
            yield self._digests[file], path


@dataclass(frozen=True)
class PartRules:
    """Where a part lies, how much of the disk it takes, and who is notified of its end."""

    beside: Path | None = None  # It lies beside this path, as if that were the destination.
    free_size_min: int | None = None  # A listener's part: it carries a mark, and leaves so many octets free.
    size_max: int | None = None  # An object is refused whose files have more octets than this, holes included.
    placing: Callable[[Sequence[str], Path], None] | None = None  # See `Part.open`.
    release: str = ""  # Product and version, for the mark of a listener.

    @property
    def spare_size(self) -> int:
        """Octets of the disk that are to stay free."""
        return max(_SPARE_SIZE, self.free_size_min or 0)


class Part:
    """An object that is being received: first `set_manifest`, then blocks, then `finish`; `close` in any case.

    `write_block`, `commit_due` and `commit` may be called by several threads, the rest by one.
    """

    def __init__(
        self, workspace: Workspace, destination: Path, object_id: bytes, name: str, object_size: int, overwrite: bool,
        rules: PartRules,
    ) -> None:  # fmt: skip
        self.destination = destination
        self.object_id = object_id
        self.name = name
        self.object_size = object_size
        self.manifest: Manifest | None = None
        self._workspace = workspace
        self._overwrite = overwrite
        self._rules = rules
        self._tree: PartTree | None = None
        self._blocks: PartBlocks | None = None
        self._is_closed = False
        self._door = _Door()
        self._is_resumed = workspace.directory.exists(PART_NAME)

    @classmethod
    def open(
        cls,
        destination: Path,
        object_id: bytes,
        name: str,
        object_size: int,
        *,
        overwrite: bool,
        progress: Progress | None = None,
        rules: PartRules | None = None,
    ) -> Part:
        """Begin to receive the object, or continue with an earlier part; `progress` reports while it is hashed.

        The part lies beside the destination, unless `rules` say otherwise. Their `placing` is called with the hex
        digests of the files and with where the object lies, on the thread of `finish`, right before the object gets its
        place. Their `size_max` counts holes as well, because a program that reads the files, such as a backup, reads as
        many octets.

        Raises:
            NameClashError: something stands at the destination that is not to be replaced (the rules of `overwrite` are
                in `fountain.storage.destination`), or another process is writing there.
            HostileNameError: a name that must not touch this disk.
            StorageError: the directory cannot be used.
        """
        check_name(name)
        rules = rules or PartRules()
        destination = Path(os.path.abspath(destination))
        try:
            check_destination(destination, overwrite=overwrite)  # Before anything is created.
        except OSError as error:
            raise storage_error(error, "write in", destination.parent) from error
        beside = destination if rules.beside is None else Path(os.path.abspath(rules.beside))
        workspace = Workspace.open(beside, object_id)
        part = cls(workspace, destination, object_id, name, object_size, overwrite, rules)
        try:
            # Check again: the process that had the workspace until now may have finished.
            check_destination(destination, overwrite=overwrite)
            if rules.free_size_min is not None:
                workspace.mark_as_listeners(rules.release)
            saved = part._workspace.load_manifest(object_id)
            if saved is not None:
                part._adopt(saved, progress)
        except BaseException as error:
            part.close()
            if isinstance(error, OSError):
                raise storage_error(error, "read", part._workspace.path) from error
            raise
        return part

    @property
    def verified(self) -> NDArray[np.bool_]:
        """For each block whether it stands, proved, in the part (a live view); empty while there is no manifest."""
        return self._blocks.verified if self._blocks is not None else _NONE_VERIFIED

    @property
    def is_locked(self) -> bool:
        """Whether no other process can write the part meanwhile; False where the file system has no locks."""
        return self._workspace.is_locked

    @property
    def complete(self) -> bool:
        """Whether every block is verified, so that `finish` can be called."""
        return self._blocks is not None and bool(self._blocks.verified.all())

    def set_manifest(self, data: bytes) -> None:
        """Take the manifest, and lay out the files that it describes. Nothing happens when it is known already.

        Raises:
            IntegrityError: it is not the manifest of this object, or contradicts what was announced.
            HostileNameError: a name in it must not touch this disk.
            DiskFullError, StorageError: there is no room, or the files cannot be created.
        """
        if blake3(data).digest() != self.object_id:
            raise IntegrityError(f"The manifest of {printable(self.name)} is not the one that was announced.")
        with self._door.inside():
            if self.manifest is not None:
                return
            try:
                self._adopt(data, None)
            except OSError as error:
                raise part_error(error, "write in", self._workspace.path, self._workspace.path) from error

    @property
    def file_sizes(self) -> Iterable[int]:
        """Octets of each file, in the order of what `finish` gives; empty while there is no manifest."""
        manifest = self.manifest
        return () if manifest is None else map(int, manifest.entries["size"][manifest.file_entries])

    @property
    def remarks(self) -> list[str]:
        """What a user should know about a finished tree."""
        if self.manifest is None or self._tree is None:
            return []
        remarks, name = [], printable(self.name)
        outward, copied = outward_count(self.manifest), self._tree.copied_count
        if outward:
            links = "link" if outward == 1 else "links"
            remarks.append(f"{name} has {outward:,} symbolic {links} to places outside of it.")
        if copied:
            remarks.append(f"This file system has no hard links: hard links of {name} that became copies: {copied:,}.")
        if self._blocks is not None and self._blocks.lacks_digests:
            remarks.append(f"{name} has files with holes that are too long to digest: no digest is printed for them.")
        return remarks

    def write_block(self, index: int, rows: NDArray[np.uint8]) -> bool:
        """Write block `index`, uint8[K, T], when it is what the manifest says; False, and nothing written, when not.

        Raises:
            DiskFullError, StorageError: it could not be written; the part is kept.
        """
        with self._door.inside():
            return self._known_blocks().write_block(index, rows)

    def commit_due(self, now_ns: int) -> bool:
        """Whether `commit` should be called: ask every now and then."""
        return self._blocks is not None and self._blocks.commit_due(now_ns)

    def commit(self) -> None:
        """Make the blocks written so far durable. Waits for the disk: for a worker thread.

        Raises:
            StorageError: a sync failed; the part is kept, but this run must end, for the data may be gone.
        """
        with self._door.inside():
            if self._blocks is not None:
                self._blocks.commit()

    def finish(self, progress: Progress | None = None) -> FinishedFiles:
        """Put the object in its place, whole and durable; the BLAKE3 hex digest and final path of each file.

        `progress` reports what is read for that; what it raises ends the work before anything is in its place.

        What stands at the destination is replaced only with `overwrite`, in one step: a file by a file, an empty
        directory by a directory.

        Raises:
            IncompleteError: blocks are missing, or were damaged on this disk after they had been verified.
            NameClashError: something took the name meanwhile that is not to be replaced.
            StorageError: this machine could not do it. In every case the part is kept.
        """
        with self._door.inside():
            return self._finish(progress)

    def _finish(self, progress: Progress | None) -> FinishedFiles:
        blocks, manifest, tree = self._known_blocks(), self.manifest, self._tree
        assert manifest is not None
        assert tree is not None
        if not self.complete:
            missing = int((~blocks.verified).sum())
            raise IncompleteError(f"{missing} blocks of {printable(self.name)} are still missing.")
        try:
            blocks.commit()
            blocks.prove(progress)
            digests = blocks.file_digests(progress)
            check_destination(self.destination, overwrite=self._overwrite, is_tree=manifest.is_tree)
            tree.finish(progress)
            blocks.close()
            if self._rules.placing is not None:
                self._rules.placing(digests, self._workspace.part_path)
            self._put_in_place(manifest)
            self._is_closed = True
        except OSError as error:
            raise part_error(error, "finish", self.destination, self._workspace.path) from error
        with contextlib.suppress(OSError):  # The object stands; what is left beside it takes nothing from that.
            self._workspace.remove()
        return FinishedFiles(manifest, digests, self.destination)

    def close(self) -> None:
        """Keep what was received for a later resume; a new part that received nothing leaves nothing behind.

        Whatever is being written has its end first, and nothing can be written afterwards, by whatever thread.
        """
        self._door.close()
        if self._is_closed:
            return
        try:
            with contextlib.suppress(Exception):  # Best effort: what is not vouched for is hashed at the next start.
                if self._blocks is not None:
                    self._blocks.commit()
        finally:
            if self._is_resumed or (self._blocks is not None and self._blocks.has_received):
                self._release()
                self._workspace.close()
            else:
                self.discard()

    def discard(self) -> None:
        """Throw everything away."""
        self._door.close()
        if self._is_closed:
            return
        self._release()
        try:
            self._workspace.remove()
        except OSError as error:
            raise storage_error(error, "remove", self._workspace.path) from error

    def _put_in_place(self, manifest: Manifest) -> None:
        """The rename. A tree's root gets its attributes behind it, by a descriptor from before.

        By then its name may be another's.
        """
        with contextlib.ExitStack() as stack:
            root = self._workspace.directory.child(PART_NAME) if manifest.is_tree else None
            if root is not None:
                stack.callback(root.close)
            put_in_place(self._workspace.part_path, self.destination, overwrite=self._overwrite)
            with Directory.open(self.destination.parent) as parent:
                parent.sync()
            if root is not None:
                root.moved(self.destination)
                mode = allowed_mode(int(manifest.entries["mode"][0]), umask())
                with contextlib.suppress(OSError, OverflowError):
                    root.set_own_attributes(mode, manifest.mtime_ns(0))

    def _release(self) -> None:
        self._is_closed = True
        if self._blocks is not None:
            self._blocks.close()
        if self._tree is not None:
            self._tree.close()

    def _known_blocks(self) -> PartBlocks:
        if self._blocks is None or self._is_closed:
            raise ValueError("the part has no manifest yet, or is closed")
        return self._blocks

    def _adopt(self, data: bytes, progress: Progress | None) -> None:
        manifest = parse(data)
        if isinstance(manifest, Reject):
            raise IntegrityError(f"The manifest of {printable(self.name)} is malformed: {manifest.value}.")
        if manifest.name != self.name or manifest.object_size != self.object_size:
            raise IntegrityError(f"The manifest of {printable(self.name)} contradicts what was announced.")
        self._check_size(manifest)
        check_names(manifest)
        check_destination(self.destination, overwrite=self._overwrite, is_tree=manifest.is_tree)
        tree = PartTree(self._workspace.directory, manifest)
        tree.check_place()
        self._check_space(manifest.object_size - (tree.allocated_size() if self._is_resumed else 0))
        if not self._is_resumed:
            self._workspace.save_manifest(data)
        try:
            missing = tree.create()
        except OSError:
            tree.close()
            if not self._is_resumed:
                self._workspace.directory.remove(PART_NAME)  # Reserved space that nothing was received into.
            raise
        blocks = PartBlocks(self._workspace, tree, manifest, self.object_id)
        try:
            if self._is_resumed:
                blocks.recover(missing, progress)
            else:
                blocks.begin()
        except BaseException:
            blocks.close()
            tree.close()
            raise
        self.manifest, self._tree, self._blocks = manifest, tree, blocks

    def _check_size(self, manifest: Manifest) -> None:
        size = manifest.object_size + manifest.hole_size
        size_max = self._rules.size_max
        if size_max is not None and size > size_max:
            raise StorageError(
                f"The files of {printable(self.name)} have {size:,} bytes with their holes, and no more than "
                f"{size_max:,} are accepted.",
                "Raise `size_max` to take it.",
                field="size_max",
            )

    def _check_space(self, wanted: int) -> None:
        free = free_size(self._workspace.path)
        # What an earlier run reserved is there, however full the disk is.
        spare = self._rules.spare_size
        if wanted > 0 and wanted + spare > free:
            stay = f", and {spare:,} are to stay so" if spare > _SPARE_SIZE else ""
            place = printable(str(self.destination.parent))
            raise DiskFullError(
                f"{printable(self.name)} needs {wanted:,} more bytes in {place}, where {free:,} are free{stay}.",
                "Free some space, or choose another place with `out`.",
                path=place,
            )
