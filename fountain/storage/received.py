"""Which objects a listener has received before, and how far the hook of each is: a line for each change, in a file.

    ID                                   it was received; no hook is to run, or its hook has ended well
    hook COUNT PROCESS DIGEST NAME ID    its hook is to run, or to run again: COUNT times it was begun, the last time as
                                         PROCESS; what the hook learns is DIGEST ("-" for none) and NAME (escaped as in
                                         URLs); the object stands in the directory ID
    failed ID                            its hook has failed as often as it may

ID is the object's id in hex, and ends each line, so a line that was cut short says nothing. The last line of an object
counts. The file is never written through a link, and only its owner may read it.
"""

from __future__ import annotations

import enum
import os
import re
import stat
import threading
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

from fountain.errors import StorageError
from fountain.integrity import DIGEST_SIZE
from fountain.storage.files import Directory, read_at, write_all
from fountain.storage.paths import fold
from fountain.storage.workspace import is_workspace_name

__all__ = ["RECEIVED_NAME", "PendingHook", "ReceivedList", "ReceivedState", "is_own_name"]

RECEIVED_NAME = ".fountain-received"
_HINT = "Choose another directory with `out`, or move that file away."
_ID = f"[0-9a-f]{{{2 * DIGEST_SIZE}}}"
_LINE = re.compile(rf"(?:(?P<failed>failed )|hook (?P<hook>[0-9]{{1,9}} [\w.-]+ [\w-]+ [\w.%~/-]+) )?(?P<id>{_ID})")


class ReceivedState(enum.Enum):
    """How far a listener is with an object that it has received."""

    DONE = "done"
    HOOK_PENDING = "its hook is to run"
    HOOK_FAILED = "its hook has failed for good"


@dataclass(frozen=True)
class PendingHook:
    """What a hook gets, and how often it was started; `process` is the last one that did, or empty."""

    object_id: bytes
    name: str
    digest: str
    begun_count: int = 0
    process: str = ""


def is_own_name(name: str) -> bool:
    """Whether an object of this name could be taken for a file of a listener's own, on some file system."""
    folded = fold(name)
    return folded.startswith(fold(RECEIVED_NAME)) or is_workspace_name(folded)


class ReceivedList:
    """The list in a directory. Threads may share it.

    Raises:
        StorageError: the list is there and cannot be read.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory if directory.is_dir() else directory.parent
        self._path = self.directory / RECEIVED_NAME
        self._lock = threading.Lock()
        self._entries: dict[bytes, ReceivedState | PendingHook] = {}
        try:
            text = self._read().decode("ascii", "replace")
        except OSError as error:
            raise self._error("read", error) from error
        for line in text.split("\n"):
            self._learn(line.strip())
        # What was cut short is an object that will be taken again, and must not spoil the line behind it.
        self._is_cut = bool(text) and not text.endswith("\n")

    def __contains__(self, object_id: bytes) -> bool:
        return object_id in self._entries

    def state_of(self, object_id: bytes) -> ReceivedState | None:
        """How far an object is; None for one that was not received."""
        entry = self._entries.get(object_id)
        return ReceivedState.HOOK_PENDING if isinstance(entry, PendingHook) else entry

    @property
    def pending(self) -> list[PendingHook]:
        """The hooks that are to run, or to run again."""
        return [entry for entry in self._entries.values() if isinstance(entry, PendingHook)]

    def add(self, object_id: bytes) -> None:
        """Remember an object that needs nothing more, on the disk as well.

        Raises:
            StorageError: the list cannot be written.
        """
        if self._entries.get(object_id) is not ReceivedState.DONE:
            self._put(object_id, ReceivedState.DONE, object_id.hex())

    def expect_hook(self, hook: PendingHook) -> None:
        """Remember that an object's hook is to run, on the disk as well: before it stands, and before each attempt.

        Raises:
            StorageError: the list cannot be written.
        """
        name = quote(os.fsencode(hook.name), safe="")
        fields = hook.begun_count, hook.process or "-", hook.digest or "-", name, hook.object_id.hex()
        self._put(hook.object_id, hook, "hook {} {} {} {} {}".format(*fields))

    def give_up_hook(self, object_id: bytes) -> None:
        """Remember that an object's hook has failed for good, on the disk as well.

        Raises:
            StorageError: the list cannot be written.
        """
        self._put(object_id, ReceivedState.HOOK_FAILED, f"failed {object_id.hex()}")

    def forget(self, object_id: bytes) -> None:
        """Take an object again that was to be put in its place, and was not."""
        entry = self._entries.get(object_id)
        if isinstance(entry, PendingHook) and not entry.begun_count:
            del self._entries[object_id]

    def _learn(self, line: str) -> None:
        found = _LINE.fullmatch(line)
        if found is None:
            return
        object_id = bytes.fromhex(found["id"])
        if found["hook"]:
            count, process, digest, name = found["hook"].split(" ")
            self._entries[object_id] = PendingHook(
                object_id, os.fsdecode(unquote_to_bytes(name)), "" if digest == "-" else digest, int(count),
                "" if process == "-" else process,
            )  # fmt: skip
        else:
            self._entries[object_id] = ReceivedState.HOOK_FAILED if found["failed"] else ReceivedState.DONE

    def _read(self) -> bytes:
        with Directory.open(self.directory) as directory:
            if not directory.exists(RECEIVED_NAME):
                return b""
            # Looked at first: to open a named pipe would wait for a writer.
            if not stat.S_ISREG(directory.stat(RECEIVED_NAME).st_mode):
                raise OSError(0, "it is no regular file")
            descriptor = directory.open_file(RECEIVED_NAME, os.O_RDONLY)
            try:
                octets = bytearray(os.fstat(descriptor).st_size)
                count = read_at(descriptor, memoryview(octets), 0)
            finally:
                os.close(descriptor)
        return bytes(octets[:count])

    def _put(self, object_id: bytes, entry: ReceivedState | PendingHook, line: str) -> None:
        with self._lock:
            self._entries[object_id] = entry
            try:
                with Directory.open(self.directory) as directory:
                    is_new = not directory.exists(RECEIVED_NAME)
                    descriptor = directory.open_file(RECEIVED_NAME, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
                    try:
                        octets = f"\n{line}\n" if self._is_cut else f"{line}\n"
                        self._is_cut = True  # Until it is known that all of it was written.
                        write_all(descriptor, octets.encode("ascii"))
                        os.fsync(descriptor)
                    finally:
                        os.close(descriptor)
                    if is_new:
                        directory.sync()
            except OSError as error:
                raise self._error("written", error) from error
            self._is_cut = False

    def _error(self, verb: str, error: OSError) -> StorageError:
        return StorageError(f"{self._path} cannot be {verb}: {error.strerror}.", _HINT, path=str(self._path))
