"""What this project asks of an operating system about files, and the plain way where a system lacks something.

Everything is relative to a `Directory`: on POSIX an open descriptor, so that no component can be swapped for a
symbolic link between a check and its use; elsewhere a path.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import re
import shutil
import stat
import sys
import threading
from collections.abc import Callable, Iterable
from enum import Enum, auto
from pathlib import Path

from fountain.errors import DiskFullError, StorageError
from fountain.limits import NAME_SIZE_MAX
from fountain.storage.paths import printable
from fountain.storage.system import read_system_text

__all__ = [
    "Directory",
    "Lock",
    "check_source",
    "copy_file",
    "descriptor_limit",
    "free_size",
    "has_file_system_sync",
    "name_size_max",
    "preallocate",
    "read_at",
    "read_limited",
    "read_start",
    "rename_new",
    "storage_error",
    "sync_data",
    "sync_file_system",
    "try_lock",
    "umask",
    "write_all",
    "write_at",
]

_HAS_DIR_FD = os.open in os.supports_dir_fd and os.mkdir in os.supports_dir_fd
_HAS_POSITIONAL_IO = hasattr(os, "preadv") and hasattr(os, "pwrite")
_ALWAYS = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
_DIRECTORY = getattr(os, "O_DIRECTORY", 0) | os.O_RDONLY
_UMASK = re.compile(r"^Umask:\s*([0-7]+)", re.MULTILINE)
_COPY_SIZE = 1 << 20
_AT_FDCWD = -100
_RENAME_NOREPLACE = 1

_seek_lock = threading.Lock()  # Where there is no positional I/O, a descriptor's one offset is shared.

_HINTS = {
    errno.EACCES: "Check the permissions and the owner.",
    errno.EPERM: "Check the permissions and the owner.",
    errno.EROFS: "The file system is read-only; choose another place.",
    errno.ENOENT: "Check the path; a directory that is missing must be created first.",
    errno.EISDIR: "A directory, or something else that is no file, stands there: give another path, or move it away.",
    errno.ENOTDIR: "Check the path; a part of it is not a directory.",
    errno.EIO: "The disk reports a fault; check it, then run the same command again.",
    errno.EFBIG: "The file system cannot hold a file of this size; choose another place.",
    errno.ENAMETOOLONG: "Choose a shorter path.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ELOOP: "A symbolic link stands where a file or directory is expected; remove it.",
}
_FULL = {errno.ENOSPC, errno.EDQUOT}
# What a file system says of an operation that it does not have, as opposed to one that failed.
_UNSUPPORTED = {errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENODEV, errno.ENOTTY}


def storage_error(error: OSError, doing: str, path: Path | str) -> StorageError:
    """The sentence for people about an OSError; `doing` completes "Cannot ...", as in "read" or "write in"."""
    shown = printable(str(path))
    if error.errno == errno.ENOSPC and _takes_no_file(Path(path).parent):
        return DiskFullError(
            f"The file system takes no more files: cannot {doing} {shown}.",
            "Its inodes are used up: remove some files, or choose another place.",
            path=shown,
        )
    if error.errno in _FULL:
        return DiskFullError(
            f"The disk is full: cannot {doing} {shown}.",
            "Free some space and run the same command again; what was received is kept.",
            path=shown,
        )
    reason = error.strerror or str(error)
    hint = _HINTS.get(error.errno or 0, "")
    if error.errno == errno.ENOENT and doing == "read":
        hint = "Check the path."
    return StorageError(f"Cannot {doing} {shown}: {reason}.", hint, path=shown)


def check_source(path: Path) -> os.stat_result:
    """What the system says of `path`, which is to be served.

    Raises:
        StorageError: there is no such thing, it cannot be looked at, or it is neither a file nor a directory.
    """
    try:
        status = os.stat(path)
    except FileNotFoundError as error:
        shown = printable(str(path))
        hint = "Check the path; it starts at the current directory."
        raise StorageError(
            f"There is no {shown}.", "Check the path." if path.is_absolute() else hint, field="paths", path=shown
        ) from error
    except OSError as error:
        raise storage_error(error, "read", path) from error
    if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
        shown = printable(str(path))
        hint = "Copy its contents into a file."
        raise StorageError(f"{shown} is neither a file nor a directory.", hint, field="paths", path=shown)
    return status


def _takes_no_file(directory: Path) -> bool:
    """Whether a file system has space, and no inode for another file; some count none."""
    try:
        room = os.statvfs(directory)
    except (AttributeError, OSError):
        return False
    return room.f_files > 0 and room.f_favail == 0 and room.f_bavail > 0


class Directory:
    """An open directory. Its methods take one component each and never follow a symbolic link."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self.path = path
        self._descriptor = descriptor

    @classmethod
    def open(cls, path: Path) -> Directory:
        """The directory at a path that the user of this machine chose; links on the way are followed."""
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR if path.exists() else errno.ENOENT, "no such directory", str(path))
        return cls(path, os.open(path, _DIRECTORY | getattr(os, "O_CLOEXEC", 0)) if _HAS_DIR_FD else None)

    def child(self, name: str) -> Directory:
        """The directory `name` in this one."""
        path = self.path / name
        if self._descriptor is not None:
            return Directory(path, os.open(name, _DIRECTORY | _ALWAYS, dir_fd=self._descriptor))
        if not stat.S_ISDIR(self.stat(name).st_mode):
            raise NotADirectoryError(errno.ENOTDIR, "not a directory", str(path))
        return Directory(path, None)

    def open_file(self, name: str, flags: int, mode: int = 0o600) -> int:
        """A descriptor of the regular file `name` in this directory."""
        if self._descriptor is not None:
            descriptor = os.open(name, flags | _ALWAYS, mode, dir_fd=self._descriptor)
        else:
            if self.exists(name) and not stat.S_ISREG(self.stat(name).st_mode):
                raise OSError(errno.EISDIR, "not a regular file", str(self.path / name))
            descriptor = os.open(self.path / name, flags | _ALWAYS, mode)
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.close(descriptor)
            raise OSError(errno.EISDIR, "not a regular file", str(self.path / name))
        return descriptor

    def read_file(self, name: str, size_max: int) -> bytes:
        """The first `size_max` octets of a file, or all where it has fewer."""
        descriptor = self.open_file(name, os.O_RDONLY)
        try:
            data = bytearray(min(os.fstat(descriptor).st_size, size_max))
            count = read_at(descriptor, memoryview(data), 0)
        finally:
            os.close(descriptor)
        return bytes(data[:count])

    def names(self) -> list[bytes]:
        """The names of what is in this directory, as the system has them."""
        with os.scandir(self.path if self._descriptor is None else self._descriptor) as entries:
            return [os.fsencode(entry.name) for entry in entries]

    def is_readable(self, name: str, how: int) -> bool:
        """Whether this process may do to `name` what `how` says (os.R_OK, os.X_OK); what is a link is followed."""
        is_effective = os.access in os.supports_effective_ids
        return os.access(self._at(name), how, dir_fd=self._descriptor, effective_ids=is_effective)

    def read_link(self, name: str) -> bytes:
        """The text of the symbolic link `name`."""
        return os.fsencode(os.readlink(self._at(name), dir_fd=self._descriptor))

    def make_symlink(self, name: str, target: bytes) -> None:
        """Create the symbolic link `name` with the text `target`."""
        os.symlink(os.fsdecode(target), self._at(name), dir_fd=self._descriptor)

    def make_hard_link(self, name: str, directory: Directory, file: str) -> None:
        """Create `name` as another name of `file` in `directory`."""
        os.link(
            directory._at(file), self._at(name), src_dir_fd=directory._descriptor, dst_dir_fd=self._descriptor,
            follow_symlinks=os.link not in os.supports_follow_symlinks,
        )  # fmt: skip

    def unlink(self, name: str) -> None:
        """Remove `name`, which is no directory."""
        os.unlink(self._at(name), dir_fd=self._descriptor)

    def stat(self, name: str) -> os.stat_result:
        """Status of `name` itself, links not followed."""
        return os.stat(self._at(name), dir_fd=self._descriptor, follow_symlinks=False)

    def exists(self, name: str) -> bool:
        """Whether anything is called `name` here, a dangling link included."""
        try:
            self.stat(name)
        except FileNotFoundError:
            return False
        return True

    def make_directory(self, name: str) -> bool:
        """Create the directory `name`, for its owner alone; False when a directory of that name stands here."""
        try:
            os.mkdir(self._at(name), 0o700, dir_fd=self._descriptor)
        except FileExistsError:
            if not stat.S_ISDIR(self.stat(name).st_mode):
                raise
            return False
        return True

    def set_mode(self, name: str, mode: int) -> None:
        """Permission bits of `name`, which is not a link."""
        if stat.S_ISLNK(self.stat(name).st_mode):
            raise OSError(errno.ELOOP, "a symbolic link", str(self.path / name))
        os.chmod(self._at(name), mode, dir_fd=self._descriptor)

    def set_mtime(self, name: str, mtime_ns: int) -> None:
        """Modification time of `name`, links not followed."""
        follow = os.utime not in os.supports_follow_symlinks
        os.utime(self._at(name), ns=(mtime_ns, mtime_ns), dir_fd=self._descriptor, follow_symlinks=follow)

    def set_own_attributes(self, mode: int, mtime_ns: int) -> None:
        """Permission bits and modification time of this directory itself."""
        target = self._descriptor if self._descriptor is not None else self.path
        os.utime(target, ns=(mtime_ns, mtime_ns))
        os.chmod(target, mode)

    def moved(self, path: Path) -> None:
        """This directory was renamed to `path`; where there are descriptors they go with it."""
        self.path = path

    def remove(self, name: str) -> None:
        """Remove `name`, a whole tree included; nothing happens when it does not exist."""
        try:
            if stat.S_ISDIR(self.stat(name).st_mode):
                _remove_tree(self.path / name)
            else:
                os.unlink(self._at(name), dir_fd=self._descriptor)
        except FileNotFoundError:
            return

    def replace_file(self, name: str, content: bytes) -> None:
        """Put `content` in the file `name`, whole and on the disk, or leave what was there."""
        temporary = name + ".new"
        self.remove(temporary)
        descriptor = self.open_file(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            write_at(descriptor, memoryview(content), 0)
            _sync(os.fsync, descriptor)
        finally:
            os.close(descriptor)
        os.replace(self._at(temporary), self._at(name), src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)

    def sync(self) -> None:
        """Make the names in this directory durable, where the system can."""
        if self._descriptor is not None:
            with contextlib.suppress(OSError):  # Some file systems refuse to sync a directory, and do not need it.
                os.fsync(self._descriptor)

    def sync_file_system(self) -> bool:
        """Put all that was written to this file system on the disk; false where there is no such call."""
        return self._descriptor is not None and sync_file_system(self._descriptor)

    def close(self) -> None:
        """Release the descriptor."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _at(self, name: str) -> str | Path:
        return name if self._descriptor is not None else self.path / name

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _remove_tree(path: Path) -> None:
    """Remove a tree, with directories in it that their owner cannot write."""
    with contextlib.suppress(PermissionError):
        shutil.rmtree(path)
        return
    os.chmod(path, 0o700)
    for parent, names, _ in os.walk(path):
        for name in names:
            if not os.path.islink(os.path.join(parent, name)):
                os.chmod(os.path.join(parent, name), 0o700)
    shutil.rmtree(path)


def read_limited(path: Path, size_max: int, field: str = "") -> bytes:
    """The contents of a file of at most `size_max` octets; `field` is the parameter that names it.

    Raises:
        StorageError: it cannot be read, or is longer.
    """
    shown = printable(str(path))
    try:
        octets = read_start(path, size_max + 1)
    except (OSError, ValueError) as raised:
        error = raised if isinstance(raised, OSError) else OSError(0, str(raised))
        known = storage_error(error, "read", path)
        raise StorageError(known.message, known.hint, field=field, path=shown) from raised
    if len(octets) > size_max:
        raise StorageError(f"{shown} is longer than {size_max:,} bytes.", "Is it the right file?", field=field)
    return octets


def read_start(path: Path, size: int) -> bytes:
    """The first `size` octets of a file, or all where it has fewer."""
    with path.open("rb") as file:
        return file.read(size)


def read_at(descriptor: int, view: memoryview, offset: int) -> int:
    """Fill `view` from `offset`; the octets read, fewer only at the end of the file."""
    done = 0
    while done < len(view):
        if _HAS_POSITIONAL_IO:
            count = os.preadv(descriptor, [view[done:]], offset + done)
        else:
            with _seek_lock:
                os.lseek(descriptor, offset + done, os.SEEK_SET)
                octets = os.read(descriptor, len(view) - done)
            count = len(octets)
            view[done : done + count] = octets
        if count == 0:
            break
        done += count
    return done


def write_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Write all of `view` at `offset`."""
    done = 0
    while done < len(view):
        if _HAS_POSITIONAL_IO:
            done += os.pwrite(descriptor, view[done:], offset + done)
        else:
            with _seek_lock:
                os.lseek(descriptor, offset + done, os.SEEK_SET)
                done += os.write(descriptor, view[done:])


def write_all(descriptor: int, octets: bytes) -> None:
    """Write all of `octets` where the descriptor is."""
    view = memoryview(octets)
    while view:
        view = view[os.write(descriptor, view) :]


def preallocate(descriptor: int, size: int, offset: int = 0) -> None:
    """Reserve the space of `size` octets at `offset`, where the file system can; the file reaches that far then."""
    if size and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, offset, size)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise


def copy_file(source: Directory, source_name: str, directory: Directory, name: str) -> None:
    """Create `name` in `directory` with the contents of `source_name`, holes left as they are."""
    reading = source.open_file(source_name, os.O_RDONLY)
    try:
        writing = directory.open_file(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        try:
            size = os.fstat(reading).st_size
            os.ftruncate(writing, size)
            buffer = bytearray(_COPY_SIZE)
            for at in range(0, size, _COPY_SIZE):
                view = memoryview(buffer)[: read_at(reading, memoryview(buffer), at)]
                if any(view):
                    write_at(writing, view, at)
            sync_data([writing])
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def umask() -> int:
    """The permission bits that this process gives to nobody.

    The system call can only swap it, for all threads at once. Where there is no other way to read it, the mask is the
    strictest one for a moment.
    """
    found = _UMASK.search(read_system_text("/proc/self/status"))
    if found is not None:
        return int(found[1], 8)
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def sync_data(descriptors: Iterable[int]) -> None:
    """Put the contents of these files on the disk, where the file system supports that."""
    for descriptor in descriptors:
        _sync(getattr(os, "fdatasync", os.fsync), descriptor)


def _sync(function: Callable[[int], None], descriptor: int) -> None:
    """A sync that fails may have lost data and is an error; one that the file system does not have is none."""
    try:
        function(descriptor)
    except OSError as error:
        if error.errno not in _UNSUPPORTED:
            raise


def sync_file_system(descriptor: int) -> bool:
    """Put all that was written to the file system of `descriptor` on the disk; false where that cannot be asked for."""
    if not has_file_system_sync():
        return False
    library = ctypes.CDLL(None, use_errno=True)
    if library.syncfs(descriptor) == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code))


def has_file_system_sync() -> bool:
    """Whether `sync_file_system` can do anything."""
    return sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "syncfs")


def name_size_max(path: Path) -> int:
    """Octets of the longest name on the file system of `path`."""
    limit = os.statvfs(path).f_namemax if hasattr(os, "statvfs") else 0
    return limit or NAME_SIZE_MAX


def descriptor_limit() -> int:
    """How many descriptors this process may have."""
    if sys.platform == "win32":
        return 512  # What its C library starts with.
    import resource

    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


def free_size(path: Path) -> int:
    """Octets that this user may still write on the file system of `path`."""
    return shutil.disk_usage(path).free


class Lock(Enum):
    """What became of the wish to have a file for this process alone."""

    HELD = auto()
    TAKEN = auto()  # by another process
    UNKNOWN = auto()  # the file system has no locks


def try_lock(descriptor: int) -> Lock:
    """Lock the file for this process until the descriptor closes or the process ends."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return Lock.TAKEN
        return Lock.HELD
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return Lock.TAKEN
    except OSError:  # NFS without a lock daemon, Lustre, some of FUSE and CIFS: each has a code of its own for it.
        return Lock.UNKNOWN
    return Lock.HELD


def rename_new(source: Path, destination: Path) -> None:
    """Rename, atomically, unless something is called `destination`.

    Raises:
        FileExistsError: something is.
    """
    if sys.platform == "win32":
        os.rename(source, destination)  # There it refuses an existing destination by itself.
        return
    if _renameat2(source, destination, _RENAME_NOREPLACE):
        return
    if source.is_dir():
        # Without the system call a file or a filled directory is still refused; an empty directory is replaced.
        if os.path.lexists(destination):
            raise FileExistsError(errno.EEXIST, "exists", str(destination))
        os.rename(source, destination)
        return
    try:
        os.link(source, destination)
    except FileExistsError:
        raise
    except OSError:  # A file system without hard links.
        if os.path.lexists(destination):
            raise FileExistsError(errno.EEXIST, "exists", str(destination)) from None
        os.rename(source, destination)
        return
    with contextlib.suppress(OSError):  # The object has its name; the other one goes with the workspace.
        os.unlink(source)


def _renameat2(source: Path, destination: Path, flags: int) -> bool:
    """Linux's renameat2; False where the system or the file system does not know it or the flag."""
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        return False
    result = function(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(destination), flags)
    if result == 0:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED or code == errno.EPERM:  # A sandbox that does not know the call says EPERM.
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(destination))
