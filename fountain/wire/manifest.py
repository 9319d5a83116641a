"""The manifest: what an object is made of, in one canonical string of octets whose BLAKE3 digest is the object's id.

All integers are big-endian. Five tables follow a header of fixed size, each at an offset that the header fixes:

    offset                        size            field
    0                             4               magic "FTNM"
    4                             1               version, 2
    5                             3               reserved, zero
    8                             8               code profile id
    16                            4               symbol_size T
    20                            4               block_symbol_limit, the largest K
    24                            8               object_size
    32                            4               block_count Z = what the geometry of the three fields above gives
    36                            4               entry_count E, at least 1
    40                            4               extent_count X
    44                            4               left_out_count: entries of the tree that the server left out
    48                            4               names_size P
    52                            4               targets_size L
    56                            2               name_size N
    58                            6               reserved, zero
    64                            32 Z            BLAKE3 digests of the blocks, each over the block's octets unpadded
    64 + 32 Z                     28 E            entries
    ... + 28 E                    20 X            extents of sparse files
    ... + 20 X                    N               name of the object, UTF-8 in NFC
    ... + N                       P               names of the entries, one after the other
    ... + P                       L               targets of the symbolic links, one after the other

    offset in an entry            size            field
    0                             1               kind: `EntryKind`
    1                             1               name_size: 0 for the root alone
    2                             2               mode, at most 0o777
    4                             4               parent: the entry of the directory that holds this one
    8                             8               size of the file; of the target's text; or the entry linked to
    16                            8               mtime_s since 1970, signed
    24                            4               mtime_ns, below 10^9

    offset in an extent           size            field
    0                             4               entry, a sparse file
    4                             8               offset in it
    12                            8               size

Entry 0 is the root: a file, which is then the only entry, or a directory. The others stand level by level: parents
never descend, and names ascend strictly within one directory. So every directory stands before what it holds, all that
one directory holds stands together, and no path comes twice. Names are octets, as POSIX has them.

The object is the concatenation of the files in the order of their entries; of a sparse file only its extents, which
leave out its holes. Links hold no octets of the object. A hard link names an earlier entry that is a file.

At a million entries no Python object per entry can be afforded: the tables stay what they are on the wire, numpy reads
them in place, and the checks are done on whole columns.
"""

from __future__ import annotations

import enum
import struct
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fountain.geometry import Geometry
from fountain.limits import (
    BLOCK_COUNT_MAX,
    DIRECTORY_STEP_COUNT_MAX,
    FILE_SIZE_MAX,
    MANIFEST_ENTRY_COUNT_MAX,
    MANIFEST_EXTENT_COUNT_MAX,
    MANIFEST_SIZE_MAX,
    NAME_SIZE_MAX,
    OBJECT_SIZE_MAX,
    PATH_SIZE_MAX,
)
from fountain.wire.reject import Reject

__all__ = [
    "DIGEST_SIZE",
    "ENTRY_DTYPE",
    "EXTENT_DTYPE",
    "PROFILE_ID_SIZE",
    "DataExtents",
    "Entry",
    "EntryKind",
    "Manifest",
    "build",
    "encode",
    "pack_entry",
    "parse",
]

DIGEST_SIZE = 32
PROFILE_ID_SIZE = 8

_MAGIC = b"FTNM"
_VERSION = 2
_HEADER = struct.Struct(">4sB3s8sIIQIIIIIIH6s")
_ENTRY = struct.Struct(">BBHIQqI")
_EXTENT = struct.Struct(">IQQ")
ENTRY_DTYPE = np.dtype(
    [
        ("kind", "u1"), ("name_size", "u1"), ("mode", ">u2"), ("parent", ">u4"),
        ("size", ">u8"), ("mtime_s", ">i8"), ("mtime_ns", ">u4"),
    ]
)  # fmt: skip
EXTENT_DTYPE = np.dtype([("entry", ">u4"), ("offset", ">u8"), ("size", ">u8")])
_MODE_MAX = 0o777
_NS = 1_000_000_000
_STEP = 1 << 16  # Entries looked at as Python objects at a time.

assert _HEADER.size == 64
assert _ENTRY.size == ENTRY_DTYPE.itemsize == 28
assert _EXTENT.size == EXTENT_DTYPE.itemsize == 20

Rows = NDArray[np.void]
Indices = NDArray[np.int64]


class EntryKind(enum.IntEnum):
    """What an entry is; nothing else is ever sent (no devices, sockets, named pipes)."""

    FILE = 0
    DIRECTORY = 1
    SYMLINK = 2
    HARDLINK = 3
    SPARSE = 4  # a file with holes


@dataclass(frozen=True)
class Entry:
    """One entry as an object, for callers that have few of them. `size` is what the table of the module's page says."""

    kind: EntryKind
    mode: int = 0
    mtime_ns: int = 0
    size: int = 0
    name: bytes = b""
    parent: int = 0
    target: bytes = b""
    extents: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True)
class DataExtents:
    """Where the octets of the object lie, in its order: `size` octets at `offset` of the file that `entry` is."""

    entry: NDArray[np.int32]
    offset: Indices
    size: Indices


@dataclass(frozen=True, eq=False)
class Manifest:
    """Everything that a receiver must know to rebuild the object; `digests` holds 32 octets for each block."""

    profile_id: bytes
    symbol_size: int
    block_symbol_limit: int
    object_size: int
    name: str
    left_out_count: int
    digests: memoryview
    entries: Rows
    extents: Rows
    names: memoryview
    targets: memoryview

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Manifest) and self._tables() == other._tables()

    __hash__ = None  # type: ignore[assignment]

    @cached_property
    def geometry(self) -> Geometry:
        """How the object is cut."""
        return Geometry(self.object_size, self.symbol_size, self.block_symbol_limit)

    @property
    def is_tree(self) -> bool:
        """Whether the object is a directory tree; otherwise it is a single file."""
        return int(self.entries["kind"][0]) == EntryKind.DIRECTORY

    @cached_property
    def kinds(self) -> NDArray[np.uint8]:
        """`EntryKind` of every entry."""
        return np.ascontiguousarray(self.entries["kind"])

    @cached_property
    def parents(self) -> NDArray[np.int32]:
        """The directory of every entry."""
        return self.entries["parent"].astype(np.int32)

    @cached_property
    def name_ends(self) -> NDArray[np.int32]:
        """Where the name of every entry ends in `names`."""
        return np.cumsum(self.entries["name_size"], dtype=np.int32)

    @cached_property
    def _symlinks(self) -> tuple[Indices, Indices]:
        links = np.flatnonzero(self.kinds == EntryKind.SYMLINK)
        return links, np.cumsum(self.entries["size"][links].astype(np.int64))

    @cached_property
    def _extent_owners(self) -> Indices:
        return self.extents["entry"].astype(np.int64)

    def digest(self, block: int) -> bytes:
        """BLAKE3 digest of block `block`."""
        return bytes(self.digests[block * DIGEST_SIZE : (block + 1) * DIGEST_SIZE])

    def entry_name(self, entry: int) -> bytes:
        """The name of an entry in its directory; empty for the root."""
        end = int(self.name_ends[entry])
        return bytes(self.names[end - int(self.entries["name_size"][entry]) : end])

    def parent(self, entry: int) -> int:
        """The directory that holds `entry`."""
        return int(self.parents[entry])

    def path(self, entry: int) -> bytes:
        """The path of an entry below the root; empty for the root."""
        names = []
        while entry:
            names.append(self.entry_name(entry))
            entry = self.parent(entry)
        return b"/".join(reversed(names))

    def target(self, entry: int) -> bytes:
        """What the symbolic link `entry` points to."""
        links, ends = self._symlinks
        end = int(ends[np.searchsorted(links, entry)])
        return bytes(self.targets[end - int(self.entries["size"][entry]) : end])

    def mtime_ns(self, entry: int) -> int:
        """Nanoseconds since 1970."""
        row = self.entries[entry]
        return int(row["mtime_s"]) * _NS + int(row["mtime_ns"])

    @property
    def hole_size(self) -> int:
        """Octets of all holes together."""
        # As Python's integers: 64 bits overflow with the sizes of three files, and what is left would look like little.
        sizes = self.entries["size"][self.kinds == EntryKind.SPARSE]
        with_holes: int = sum(sizes.tolist())
        return with_holes - int(self.extents["size"].sum())

    def extents_of(self, entry: int) -> list[tuple[int, int]]:
        """(offset, size) of the data of the sparse file `entry`."""
        first, end = np.searchsorted(self._extent_owners, [entry, entry + 1])
        return [(int(row["offset"]), int(row["size"])) for row in self.extents[first:end]]

    @cached_property
    def file_entries(self) -> Indices:
        """The entries that are files, links not counted."""
        return np.flatnonzero((self.kinds == EntryKind.FILE) | (self.kinds == EntryKind.SPARSE))

    def _tables(self) -> tuple[object, ...]:
        return (
            self.profile_id, self.symbol_size, self.block_symbol_limit, self.object_size, self.name,
            self.left_out_count, self.digests, self.entries.tobytes(), self.extents.tobytes(), self.names, self.targets,
        )  # fmt: skip

    def data_extents(self) -> DataExtents:
        """Where the octets of the object lie."""
        sizes = self.entries["size"]
        whole = np.flatnonzero((self.kinds == EntryKind.FILE) & (sizes != 0)).astype(np.int32)
        extents = self.extents
        if not len(extents):
            return DataExtents(whole, np.zeros(len(whole), dtype=np.int64), sizes[whole].astype(np.int64))
        entry = np.concatenate((whole, extents["entry"].astype(np.int32)))
        offset = np.concatenate((np.zeros(len(whole), dtype=np.int64), extents["offset"].astype(np.int64)))
        size = np.concatenate((sizes[whole].astype(np.int64), extents["size"].astype(np.int64)))
        order = np.argsort(entry, kind="stable")
        return DataExtents(entry[order], offset[order], size[order])

    def describe(self) -> Iterator[Entry]:
        """Every entry as an object."""
        for entry in range(len(self.entries)):
            row, kind = self.entries[entry], EntryKind(int(self.kinds[entry]))
            yield Entry(
                kind, int(row["mode"]), self.mtime_ns(entry), int(row["size"]), self.entry_name(entry),
                int(row["parent"]), self.target(entry) if kind is EntryKind.SYMLINK else b"",
                tuple(self.extents_of(entry)),
            )  # fmt: skip


def pack_entry(entry: Entry) -> bytes:
    """The row of an entry.

    Raises:
        ValueError: a number does not fit.
    """
    seconds, nanoseconds = divmod(entry.mtime_ns, _NS)
    try:
        return _ENTRY.pack(
            entry.kind, len(entry.name), entry.mode, entry.parent, entry.size, seconds, nanoseconds
        )  # fmt: skip
    except struct.error as error:
        raise ValueError(f"the entry {entry.name!r} has a number that does not fit") from error


def build(
    profile_id: bytes, symbol_size: int, block_symbol_limit: int, name: str, entries: Sequence[Entry],
    digests: bytes, left_out_count: int = 0,
) -> Manifest:  # fmt: skip
    """A manifest of a few entries. Nothing is checked; `encode` does."""
    rows = np.frombuffer(b"".join(map(pack_entry, entries)), dtype=ENTRY_DTYPE)
    packed = b"".join(_EXTENT.pack(at, *extent) for at, entry in enumerate(entries) for extent in entry.extents)
    extents = np.frombuffer(packed, dtype=EXTENT_DTYPE)
    size = sum(entry.size for entry in entries if entry.kind is EntryKind.FILE)
    size += sum(extent[1] for entry in entries for extent in entry.extents)
    names = b"".join(entry.name for entry in entries)
    targets = b"".join(entry.target for entry in entries)
    return Manifest(
        profile_id, symbol_size, block_symbol_limit, size, name, left_out_count, memoryview(digests), rows, extents,
        memoryview(names), memoryview(targets),
    )  # fmt: skip


def encode(manifest: Manifest) -> bytes:
    """The one octet string of this manifest.

    Raises:
        ValueError: the manifest breaks a rule, so that no receiver would take it.
    """
    name = manifest.name.encode("utf-8", "surrogatepass")
    tables = (
        manifest.digests, _octets(manifest.entries), _octets(manifest.extents), name, manifest.names, manifest.targets
    )  # fmt: skip
    size = _HEADER.size + sum(map(len, tables))
    if size > MANIFEST_SIZE_MAX:
        raise ValueError(f"the manifest of {manifest.name!r} has {size:,} octets, more than {MANIFEST_SIZE_MAX:,}")
    flaw = _flaw(manifest)
    if flaw is not None:
        raise ValueError(f"the manifest of {manifest.name!r} has {flaw.value}")
    header = _HEADER.pack(
        _MAGIC, _VERSION, bytes(3), manifest.profile_id, manifest.symbol_size, manifest.block_symbol_limit,
        manifest.object_size, len(manifest.digests) // DIGEST_SIZE, len(manifest.entries), len(manifest.extents),
        manifest.left_out_count, len(manifest.names), len(manifest.targets), len(name), bytes(6),
    )  # fmt: skip
    return b"".join((header, *tables))


def parse(data: bytes) -> Manifest | Reject:
    """The manifest in `data`, or why it is none. Never raises, and allocates nothing that `data` did not pay for."""
    if len(data) < _HEADER.size:
        return Reject.TRUNCATED
    if len(data) > MANIFEST_SIZE_MAX:
        return Reject.TOO_LARGE
    (
        magic, version, reserved, profile_id, symbol_size, block_symbol_limit, object_size, block_count, entry_count,
        extent_count, left_out_count, names_size, targets_size, name_size, reserved_too,
    ) = _HEADER.unpack_from(data)  # fmt: skip
    if magic != _MAGIC:
        return Reject.BAD_MAGIC
    if version != _VERSION:
        return Reject.BAD_VERSION
    if any(reserved) or any(reserved_too):
        return Reject.RESERVED_NOT_ZERO
    if not entry_count:
        return Reject.BAD_FIELD
    if block_count > BLOCK_COUNT_MAX:
        return Reject.TOO_LARGE
    sizes = [
        DIGEST_SIZE * block_count, _ENTRY.size * entry_count, _EXTENT.size * extent_count,
        name_size, names_size, targets_size,
    ]  # fmt: skip
    if len(data) != _HEADER.size + sum(sizes):
        return Reject.BAD_LENGTH
    digests, entries, extents, name_octets, names, targets = _cut(memoryview(data)[_HEADER.size :], sizes)
    name = _text(bytes(name_octets))
    if name is None:
        return Reject.BAD_NAME
    manifest = Manifest(
        profile_id, symbol_size, block_symbol_limit, object_size, name, left_out_count, digests,
        np.frombuffer(entries, dtype=ENTRY_DTYPE), np.frombuffer(extents, dtype=EXTENT_DTYPE), names, targets,
    )  # fmt: skip
    return _flaw(manifest) or manifest


def _octets(rows: Rows) -> memoryview:
    """The octets of a table, without a copy."""
    return memoryview(np.ascontiguousarray(rows).view(np.uint8).reshape(-1))  # type: ignore[arg-type]


def _cut(data: memoryview, sizes: Iterable[int]) -> Iterator[memoryview]:
    at = 0
    for size in sizes:
        yield data[at : at + size]
        at += size


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
    if not len(manifest.entries):
        return Reject.BAD_FIELD
    if len(manifest.entries) > MANIFEST_ENTRY_COUNT_MAX or len(manifest.extents) > MANIFEST_EXTENT_COUNT_MAX:
        return Reject.TOO_LARGE
    if not _is_object_name(manifest.name):
        return Reject.BAD_NAME
    if int(manifest.kinds.max()) > max(EntryKind):
        return Reject.BAD_TYPE
    for find in (_field_flaw, _link_flaw, _extent_flaw, _tree_flaw):
        flaw = find(manifest)
        if flaw is not None:
            return flaw
    is_file = manifest.kinds == EntryKind.FILE
    size = int(manifest.entries["size"][is_file].sum(dtype=np.uint64)) + int(manifest.extents["size"].sum())
    return None if size == manifest.object_size else Reject.BAD_FIELD


def _is_object_name(name: str) -> bool:
    """One component, encodable, in NFC, and of a length that file systems take."""
    try:
        octets = name.encode()
    except UnicodeEncodeError:
        return False
    if not 1 <= len(octets) <= NAME_SIZE_MAX or name in (".", "..") or not unicodedata.is_normalized("NFC", name):
        return False
    return "/" not in name and "\0" not in name


def _field_flaw(manifest: Manifest) -> Reject | None:
    """Numbers of single entries that are out of range."""
    rows, kinds = manifest.entries, manifest.kinds
    if int(rows["mode"].max()) > _MODE_MAX or int(rows["mtime_ns"].max()) >= _NS:
        return Reject.BAD_FIELD
    is_link = (kinds == EntryKind.HARDLINK) | (kinds == EntryKind.SYMLINK)
    if rows["mode"][is_link].any():
        return Reject.BAD_FIELD
    is_hard = kinds == EntryKind.HARDLINK
    if rows["mtime_s"][is_hard].any() or rows["mtime_ns"][is_hard].any():
        return Reject.BAD_FIELD
    sizes = rows["size"]
    if sizes[kinds == EntryKind.DIRECTORY].any() or (sizes[kinds == EntryKind.FILE] > OBJECT_SIZE_MAX).any():
        return Reject.BAD_FIELD
    return Reject.BAD_FIELD if (sizes[kinds == EntryKind.SPARSE] > FILE_SIZE_MAX).any() else None


def _link_flaw(manifest: Manifest) -> Reject | None:
    """Links to what is no earlier file, and targets that no link could have."""
    rows, kinds = manifest.entries, manifest.kinds
    sizes = rows["size"][kinds == EntryKind.SYMLINK]
    if len(sizes) and not 1 <= int(sizes.min()) <= int(sizes.max()) <= PATH_SIZE_MAX:
        return Reject.BAD_NAME
    if int(sizes.sum()) != len(manifest.targets):
        return Reject.BAD_LENGTH
    if not np.frombuffer(manifest.targets, dtype=np.uint8).all():
        return Reject.BAD_NAME
    links = np.flatnonzero(kinds == EntryKind.HARDLINK)
    targets = rows["size"][links]
    if (targets >= links.astype(np.uint64)).any():
        return Reject.BAD_FIELD
    linked = kinds[targets.astype(np.int64)]
    return None if ((linked == EntryKind.FILE) | (linked == EntryKind.SPARSE)).all() else Reject.BAD_FIELD


def _extent_flaw(manifest: Manifest) -> Reject | None:
    """Extents that are empty, touch each other, are not in order, or lie outside their sparse file."""
    extents = manifest.extents
    if not len(extents):
        return None
    owners, offsets, sizes = extents["entry"].astype(np.int64), extents["offset"], extents["size"]
    if int(owners.max()) >= len(manifest.entries) or (manifest.kinds[owners] != EntryKind.SPARSE).any():
        return Reject.BAD_FIELD
    if not 1 <= int(sizes.min()) <= int(sizes.max()) <= OBJECT_SIZE_MAX or int(offsets.max()) > FILE_SIZE_MAX:
        return Reject.BAD_FIELD
    ends = offsets + sizes
    if (ends > manifest.entries["size"][owners]).any():
        return Reject.BAD_FIELD
    step = np.diff(owners)
    is_disjoint = (step > 0) | ((step == 0) & (offsets[1:] > ends[:-1]))
    return None if is_disjoint.all() else Reject.BAD_FIELD


def _tree_flaw(manifest: Manifest) -> Reject | None:
    """A tree whose entries are not in order, hang on what is no directory, or have names that are none."""
    rows, kinds, count = manifest.entries, manifest.kinds, len(manifest.entries)
    if rows["name_size"][0] or rows["parent"][0]:
        return Reject.BAD_NAME
    if not manifest.is_tree:
        is_file = int(kinds[0]) in (EntryKind.FILE, EntryKind.SPARSE)
        return None if is_file and count == 1 and not len(manifest.names) else Reject.BAD_NAME
    parents = rows["parent"]
    if (parents[1:] >= np.arange(1, count, dtype=np.uint32)).any() or (parents[1:] < parents[:-1]).any():
        return Reject.BAD_NAME
    if (kinds[parents] != EntryKind.DIRECTORY).any() or not rows["name_size"][1:].all():
        return Reject.BAD_NAME
    if int(manifest.name_ends[-1]) != len(manifest.names):
        return Reject.BAD_LENGTH
    return None if _are_names(manifest) and _is_reachable(manifest) and _is_ascending(manifest) else Reject.BAD_NAME


def _are_names(manifest: Manifest) -> bool:
    """Whether no name is `.` or `..`, or holds a slash or a zero octet."""
    octets = np.frombuffer(manifest.names, dtype=np.uint8)
    if not len(octets):
        return True
    if not octets.all() or (octets == ord("/")).any():
        return False
    sizes, dot = manifest.entries["name_size"], ord(".")
    ends = manifest.name_ends
    single, double = ends[sizes == 1], ends[sizes == 2]
    is_dot = (octets[single - 1] == dot).any()
    return not is_dot and not ((octets[double - 1] == dot) & (octets[double - 2] == dot)).any()


def _is_reachable(manifest: Manifest) -> bool:
    """Whether no path is longer than a system takes, and the way to all directories together is not too long."""
    parents, count = manifest.parents, len(manifest.entries)
    path_sizes = manifest.entries["name_size"].astype(np.int32)
    is_directory = manifest.kinds == EntryKind.DIRECTORY
    start, end, depth, step_count = 0, 1, 0, 0
    while end < count:
        # Parents never descend, so that the next level is what hangs on this one, and stands right behind it.
        start, end = end, 1 + int(np.searchsorted(parents[1:], end))
        depth += 1
        above = path_sizes[parents[start:end]]
        path_sizes[start:end] += above + (above > 0)
        step_count += depth * int(np.count_nonzero(is_directory[start:end]))
        if int(path_sizes[start:end].max()) > PATH_SIZE_MAX or step_count > DIRECTORY_STEP_COUNT_MAX:
            return False
    return True


def _is_ascending(manifest: Manifest) -> bool:
    """Whether the names in each directory ascend strictly."""
    names, count = manifest.names, len(manifest.entries)
    ends, sizes, parents = manifest.name_ends, manifest.entries["name_size"], manifest.parents
    before, directory = b"", -1
    for first in range(1, count, _STEP):
        part = slice(first, min(first + _STEP, count))
        for end, size, parent in zip(ends[part].tolist(), sizes[part].tolist(), parents[part].tolist()):
            name = bytes(names[end - size : end])
            if parent == directory and name <= before:
                return False
            before, directory = name, parent
    return True
