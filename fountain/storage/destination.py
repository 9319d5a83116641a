"""What may be replaced where an object is to stand, and the one step that puts it there.

`overwrite` replaces a file by a file and an empty directory by a directory, nothing else: a directory that holds
something is never removed, and a device, a socket, a named pipe or a symbolic link is never taken for a file.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

from fountain.errors import NameClashError, StorageError
from fountain.storage.files import Directory, rename_new, storage_error, umask
from fountain.storage.paths import is_encodable, printable

__all__ = [
    "check_destination",
    "check_out",
    "check_place",
    "make_object_directory",
    "may_be_replaced",
    "object_directory",
    "put_in_place",
    "remove_object_directory",
    "stands",
]

_AWAY_HINT = "Move it away, or choose another place with `out`."
_OBJECT_DIRECTORY_MODE = 0o755
_REFUSALS = {errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR, errno.EISDIR}


def check_out(out: str, *, is_for_many: bool = False) -> None:
    """Refuse, before anybody is asked for an object, what was typed as its place and cannot be one.

    Raises:
        StorageError: it is no path, or names a directory that does not exist, or lies in one, or is no directory though
            it is for many objects.
    """
    if not out or "\0" in out or not is_encodable(out):
        hint = "Give a directory, or the path that the object gets."
        raise StorageError(f"`out` {out!r} is no path.", hint, field="out", path=printable(out))
    place = Path(out).absolute()
    if place.is_dir():
        return
    shown = printable(out)
    if out.endswith(("/", os.sep)):
        hint = "Create it first, or leave out the slash to give the object that path."
        raise StorageError(f"{shown} is not a directory.", hint, field="out", path=shown)
    try:
        is_directory = stat.S_ISDIR(os.stat(place.parent).st_mode)
    except OSError as error:
        raise storage_error(error, "write in", place.parent) from error
    if not is_directory:
        shown = printable(str(place.parent))
        hint = "Choose another place with `out`."
        raise StorageError(f"{shown} is not a directory.", hint, field="out", path=shown)
    if is_for_many:
        hint = "`listen` takes any number of objects: create the directory first, or leave `out` out."
        raise StorageError(f"{shown} is not a directory.", hint, field="out", path=shown)


def check_destination(destination: Path, *, overwrite: bool, is_tree: bool | None = None) -> None:
    """Refuse a destination where something stands that must stay; `is_tree` is None while that is not known.

    Raises:
        NameClashError: something stands there, and `overwrite` is not set or must not replace it.
        OSError: the place cannot be looked at.
    """
    try:
        mode = os.lstat(destination).st_mode
    except FileNotFoundError:
        return
    obstacle = _obstacle(destination, mode, is_tree)
    if obstacle:
        raise _clash(destination, obstacle, _AWAY_HINT)
    if not overwrite:
        raise _clash(destination, "exists already", "Choose another place with `out`, or add `overwrite`.")


def check_place(destination: Path, *, overwrite: bool) -> None:
    """As `check_destination`, for an object that may come to nothing.

    Raises:
        NameClashError, StorageError: something stands there that must stay, or the place cannot be looked at.
    """
    try:
        check_destination(destination, overwrite=overwrite)
    except OSError as error:
        raise storage_error(error, "write in", destination.parent) from error


def may_be_replaced(destination: Path) -> bool:
    """Whether something stands at `destination` that `overwrite` replaces."""
    try:
        return not _obstacle(destination, os.lstat(destination).st_mode, None)
    except OSError:
        return False


def put_in_place(source: Path, destination: Path, *, overwrite: bool) -> None:
    """Rename the finished `source` to `destination` in one step, with the rules of `check_destination`.

    Raises:
        NameClashError: something stands there that must stay.
        OSError: it cannot be renamed.
    """
    is_tree = source.is_dir()
    check_destination(destination, overwrite=overwrite, is_tree=is_tree)
    try:
        if not overwrite:
            rename_new(source, destination)
        elif is_tree:
            # Where a directory cannot be renamed over another, only an empty one can be removed before.
            if sys.platform == "win32" and destination.is_dir():
                os.rmdir(destination)
            os.rename(source, destination)  # The system itself refuses a directory that holds something by now.
        else:
            os.replace(source, destination)  # And here a directory of any kind.
    except OSError as error:
        if error.errno not in _REFUSALS:
            raise
        raise _clash(destination, "exists already", _AWAY_HINT) from error


def object_directory(directory: Path, object_id: bytes) -> Path:
    """The directory of its own that an object has in `directory`, where a hook is run for it.

    Nothing else ever goes there, so what a hook reads is what was verified, whatever comes under the same name.
    """
    return directory / object_id.hex()


def make_object_directory(path: Path) -> None:
    """Create what `object_directory` named; harmless when it is there.

    Raises:
        StorageError: it cannot be created, or something else has its name.
    """
    try:
        with Directory.open(path.parent) as parent:
            if parent.make_directory(path.name):
                parent.set_mode(path.name, _OBJECT_DIRECTORY_MODE & ~umask())
                parent.sync()
    except OSError as error:
        raise storage_error(error, "write in", path) from error


def remove_object_directory(path: Path) -> None:
    """Remove what `object_directory` named, if a hook has left it empty.

    Raises:
        OSError: it is not empty, or is not there.
    """
    os.rmdir(path)


def stands(path: Path) -> bool:
    """Whether anything is there, a dangling link included."""
    return os.path.lexists(path)


def _obstacle(destination: Path, mode: int, is_tree: bool | None) -> str:
    """Why not even `overwrite` replaces what stands there; empty when it may."""
    if stat.S_ISREG(mode):
        return "exists already, and a file is not replaced by a directory" if is_tree else ""
    if not stat.S_ISDIR(mode):
        return "exists already, and is neither a file nor a directory"
    if is_tree is False:
        return "exists already, and a directory is not replaced by a file"
    return "" if _is_empty(destination) else "exists already, and is a directory that is not empty"


def _is_empty(directory: Path) -> bool:
    try:
        with os.scandir(directory) as entries:
            return next(entries, None) is None
    except OSError:
        return False  # What cannot be looked into may hold something.


def _clash(destination: Path, obstacle: str, hint: str) -> NameClashError:
    shown = printable(str(destination))
    return NameClashError(f"{shown} {obstacle}.", hint, path=shown)
