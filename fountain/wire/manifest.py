"""The manifest: what an object is made of, in one canonical string of octets whose BLAKE3 digest is the object's id.

All integers are big-endian. Four tables follow a header of fixed size, each at an offset that the header fixes:

    offset                        size            field
    0                             4               magic "FTNM"
    4                             1               version, 1
    5                             3               reserved, zero
    8                             8               code profile id
    16                            4               symbol_size T
    20                            4               block_symbol_limit, the largest K
    24                            8               object_size
    32                            4               block_count Z = what the geometry of the three fields above gives
    36                            4               entry_count E, at least 1
    40                            2               name_size N
    42                            2               reserved, zero
    44                            4               paths_size P
    48                            32 Z            BLAKE3 digests of the blocks, each over the block's octets unpadded
    48 + 32 Z                     24 E            entries
    48 + 32 Z + 24 E              N               name of the object, UTF-8 in NFC
    48 + 32 Z + 24 E + N          P               paths of the entries, UTF-8 in NFC, one after the other
    48 + 32 Z + 24 E + N + P                      end

    offset in an entry            size            field
    0                             1               kind: 0 file, 1 directory
    1                             1               reserved, zero
    2                             2               mode, at most 0o777
    4                             2               path_size
    6                             2               reserved, zero
    8                             8               size (0 for a directory)
    16                            8               mtime_ns since 1970, signed

The object is the concatenation of the files in the order of their entries. A single file is one entry whose path is
the object's name. A tree starts with the entry of its root, a directory with an empty path; the others follow,
strictly sorted by their path's components, every parent directory before what it holds. No two paths are equal after
case folding, so the tree can be written to any file system.

Which names may touch a disk is decided in `fountain.storage.paths`; here a path is only well formed.
"""

from __future__ import annotations

import enum
import struct
import unicodedata
from dataclasses import dataclass
from functools import cached_property

from fountain.geometry import Geometry
from fountain.limits import (
    BLOCK_COUNT_MAX,
    MANIFEST_FILE_COUNT_MAX,
    MANIFEST_SIZE_MAX,
    NAME_SIZE_MAX,
    PATH_SIZE_MAX,
)
from fountain.wire.reject import Reject

__all__ = ["DIGEST_SIZE", "PROFILE_ID_SIZE", "Entry", "EntryKind", "Manifest", "encode", "parse", "path_order"]

DIGEST_SIZE = 32
PROFILE_ID_SIZE = 8

_MAGIC = b"FTNM"
_VERSION = 1
_HEADER = struct.Struct(">4sB3s8sIIQIIH2sI")
_ENTRY = struct.Struct(">BBHHHQq")
_MODE_MAX = 0o777
_MTIME_LIMIT = 1 << 63

assert _HEADER.size == 48
assert _ENTRY.size == 24


class EntryKind(enum.IntEnum):
    """What an entry is; nothing else is ever sent (no links, devices, sockets)."""

    FILE = 0
    DIRECTORY = 1


@dataclass(frozen=True)
class Entry:
    """One file or directory of the object."""

    kind: EntryKind
    mode: int
    mtime_ns: int
    size: int
    path: str


@dataclass(frozen=True)
class Manifest:
    """Everything that a receiver must know to rebuild the object; `digests` holds 32 octets for each block."""

    profile_id: bytes
    symbol_size: int
    block_symbol_limit: int
    object_size: int
    name: str
    entries: tuple[Entry, ...]
    digests: bytes

    @cached_property
    def geometry(self) -> Geometry:
        """How the object is cut."""
        return Geometry(self.object_size, self.symbol_size, self.block_symbol_limit)

    @property
    def is_tree(self) -> bool:
        """Whether the object is a directory tree; otherwise it is a single file."""
        return self.entries[0].kind is EntryKind.DIRECTORY

    def digest(self, block: int) -> bytes:
        """BLAKE3 digest of block `block`."""
        return self.digests[block * DIGEST_SIZE : (block + 1) * DIGEST_SIZE]


def path_order(path: str) -> bytes:
    """Sort key of a path: by components, so that a directory stands right before what it holds."""
    return path.encode("utf-8", "surrogatepass").replace(b"/", b"\0")


def encode(manifest: Manifest) -> bytes:
    """The one octet string of this manifest.

    Raises:
        ValueError: the manifest breaks a rule, so that no receiver would take it.
    """
    flaw = _flaw(manifest)
    if flaw is not None:
        raise ValueError(f"the manifest of {manifest.name!r} has {flaw.value}")
    name = manifest.name.encode()
    paths = [entry.path.encode() for entry in manifest.entries]
    paths_size = sum(map(len, paths))
    header = _HEADER.pack(
        _MAGIC, _VERSION, bytes(3), manifest.profile_id, manifest.symbol_size, manifest.block_symbol_limit,
        manifest.object_size, len(manifest.digests) // DIGEST_SIZE, len(paths), len(name), bytes(2), paths_size,
    )  # fmt: skip
    entries = b"".join(
        _ENTRY.pack(entry.kind, 0, entry.mode, len(path), 0, entry.size, entry.mtime_ns)
        for entry, path in zip(manifest.entries, paths)
    )
    data = b"".join((header, manifest.digests, entries, name, *paths))
    if len(data) > MANIFEST_SIZE_MAX:
        raise ValueError(f"the manifest of {manifest.name!r} has {len(data)} octets, more than {MANIFEST_SIZE_MAX}")
    return data


def parse(data: bytes) -> Manifest | Reject:
    """The manifest in `data`, or why it is none. Never raises, and allocates nothing that `data` did not pay for."""
    if len(data) < _HEADER.size:
        return Reject.TRUNCATED
    if len(data) > MANIFEST_SIZE_MAX:
        return Reject.TOO_LARGE
    (
        magic, version, reserved, profile_id, symbol_size, block_symbol_limit,
        object_size, block_count, entry_count, name_size, reserved_too, paths_size,
    ) = _HEADER.unpack_from(data)  # fmt: skip
    if magic != _MAGIC:
        return Reject.BAD_MAGIC
    if version != _VERSION:
        return Reject.BAD_VERSION
    if any(reserved) or any(reserved_too):
        return Reject.RESERVED_NOT_ZERO
    if block_count > BLOCK_COUNT_MAX or not 1 <= entry_count <= MANIFEST_FILE_COUNT_MAX:
        return Reject.TOO_LARGE if entry_count else Reject.BAD_FIELD
    entries_at = _HEADER.size + DIGEST_SIZE * block_count
    name_at = entries_at + _ENTRY.size * entry_count
    paths_at = name_at + name_size
    if len(data) != paths_at + paths_size:
        return Reject.BAD_LENGTH
    name = _text(data[name_at:paths_at])
    entries = _parse_entries(data[entries_at:name_at], data[paths_at:])
    if isinstance(entries, Reject):
        return entries
    if name is None:
        return Reject.BAD_NAME
    manifest = Manifest(
        profile_id, symbol_size, block_symbol_limit, object_size, name, entries, data[_HEADER.size : entries_at]
    )
    return _flaw(manifest) or manifest


def _parse_entries(table: bytes, paths: bytes) -> tuple[Entry, ...] | Reject:
    entries = []
    path_at = 0
    for kind, reserved, mode, path_size, reserved_too, size, mtime_ns in _ENTRY.iter_unpack(table):
        if reserved or reserved_too:
            return Reject.RESERVED_NOT_ZERO
        if kind > EntryKind.DIRECTORY:
            return Reject.BAD_TYPE
        path = _text(paths[path_at : path_at + path_size])
        path_at += path_size
        if path_at > len(paths):
            return Reject.BAD_LENGTH
        if path is None:
            return Reject.BAD_NAME
        entries.append(Entry(EntryKind(kind), mode, mtime_ns, size, path))
    return tuple(entries) if path_at == len(paths) else Reject.BAD_LENGTH


def _text(octets: bytes) -> str | None:
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return None


def _flaw(manifest: Manifest) -> Reject | None:
    """The first rule of the module's page that `manifest` breaks; None when it is sound."""
    try:
        geometry = manifest.geometry
    except ValueError:
        return Reject.BAD_FIELD
    if len(manifest.profile_id) != PROFILE_ID_SIZE or len(manifest.digests) != DIGEST_SIZE * geometry.block_count:
        return Reject.BAD_FIELD
    if not 1 <= len(manifest.entries) <= MANIFEST_FILE_COUNT_MAX:
        return Reject.TOO_LARGE if manifest.entries else Reject.BAD_FIELD
    if not _is_well_formed(manifest.name) or "/" in manifest.name:
        return Reject.BAD_NAME
    if sum(entry.size for entry in manifest.entries) != manifest.object_size:
        return Reject.BAD_FIELD
    for entry in manifest.entries:
        if not 0 <= entry.mode <= _MODE_MAX or not -_MTIME_LIMIT <= entry.mtime_ns < _MTIME_LIMIT or entry.size < 0:
            return Reject.BAD_FIELD
        if entry.kind is EntryKind.DIRECTORY and entry.size:
            return Reject.BAD_FIELD
    return None if (_is_sound_tree if manifest.is_tree else _is_sound_file)(manifest) else Reject.BAD_NAME


def _is_sound_file(manifest: Manifest) -> bool:
    return len(manifest.entries) == 1 and manifest.entries[0].path == manifest.name


def _is_sound_tree(manifest: Manifest) -> bool:
    if manifest.entries[0].path:
        return False
    directories = {""}
    folded: set[str] = set()
    before = b""
    for entry in manifest.entries[1:]:
        order = path_order(entry.path)
        if not _is_well_formed(entry.path) or order <= before:
            return False
        if entry.path.rpartition("/")[0] not in directories:
            return False
        before = order
        if entry.kind is EntryKind.DIRECTORY:
            directories.add(entry.path)
        folded.add(unicodedata.normalize("NFC", entry.path.casefold()))
    return len(folded) == len(manifest.entries) - 1


def _is_well_formed(path: str) -> bool:
    """Relative, in NFC, encodable, with components and a length that file systems take."""
    try:
        size = len(path.encode())
    except UnicodeEncodeError:
        return False
    if not 1 <= size <= PATH_SIZE_MAX or "\0" in path or not unicodedata.is_normalized("NFC", path):
        return False
    return all(_is_component(component) for component in path.split("/"))


def _is_component(component: str) -> bool:
    return component not in ("", ".", "..") and len(component.encode()) <= NAME_SIZE_MAX
