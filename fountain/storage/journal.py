"""The journal of a part: which blocks are known to be whole and on the disk.

    offset        size    field
    0             4       magic "FTNJ"
    4             1       version, 1
    5             3       reserved, zero
    8             32      object id
    40            4       block count
    44            16      reserved, zero
    60            4       CRC-32 of the 60 octets before
    64 + 8 i      4       block of record i
    68 + 8 i      4       CRC-32 of object id and block

Records are appended only after the data that they vouch for was synced, so a record that can be read can be believed.
One that is torn or foreign vouches for nothing; the part is then hashed instead.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from fountain.storage.files import Directory, sync_data, write_at

__all__ = ["Journal", "JournalContent", "encode_journal", "parse_journal"]

_MAGIC = b"FTNJ"
_VERSION = 1
_HEADER = struct.Struct(">4sB3s32sI16s")
_RECORD = struct.Struct(">II")
_CHECKSUM = struct.Struct(">I")
_HEADER_SIZE = _HEADER.size + _CHECKSUM.size

assert _HEADER_SIZE == 64


@dataclass(frozen=True)
class JournalContent:
    """What a journal vouches for; `is_clean` when it holds exactly that and can be appended to."""

    blocks: frozenset[int]
    is_clean: bool


def encode_journal(object_id: bytes, block_count: int, blocks: Iterable[int]) -> bytes:
    """A whole journal that vouches for `blocks`."""
    header = _HEADER.pack(_MAGIC, _VERSION, bytes(3), object_id, block_count, bytes(16))
    return header + _CHECKSUM.pack(zlib.crc32(header)) + _encode_records(object_id, blocks)


def parse_journal(data: bytes, object_id: bytes, block_count: int) -> JournalContent | None:
    """What `data` vouches for; None when it is no journal of this object. Never raises."""
    if data[:_HEADER_SIZE] != encode_journal(object_id, block_count, ()):
        return None
    end = len(data) - (len(data) - _HEADER_SIZE) % _RECORD.size
    known_crc = zlib.crc32(object_id)
    blocks = set()
    for block, checksum in _RECORD.iter_unpack(data[_HEADER_SIZE:end]):
        if block < block_count and zlib.crc32(block.to_bytes(4, "big"), known_crc) == checksum:
            blocks.add(block)
    return JournalContent(frozenset(blocks), len(data) == _HEADER_SIZE + _RECORD.size * len(blocks))


def _encode_records(object_id: bytes, blocks: Iterable[int]) -> bytes:
    known_crc = zlib.crc32(object_id)
    return b"".join(_RECORD.pack(block, zlib.crc32(block.to_bytes(4, "big"), known_crc)) for block in blocks)


class Journal:
    """The journal file `name` in `directory`. One thread at a time."""

    def __init__(self, directory: Directory, name: str, object_id: bytes, block_count: int) -> None:
        self._directory = directory
        self._name = name
        self._object_id = object_id
        self._block_count = block_count
        self._descriptor = -1
        self._end = 0

    def load(self) -> frozenset[int] | None:
        """Open the journal for appending; the blocks that it vouches for, or None when it had to be started anew.

        A journal with torn records is written again with the sound ones.
        """
        content = parse_journal(self._read(), self._object_id, self._block_count)
        if content is None or not content.is_clean:
            self.rewrite(content.blocks if content else ())
        else:
            self._open()
        return content.blocks if content else None

    def rewrite(self, blocks: Iterable[int]) -> None:
        """Replace the journal, in one step, by one that vouches for exactly `blocks`."""
        self.close()
        self._directory.replace_file(self._name, encode_journal(self._object_id, self._block_count, sorted(blocks)))
        self._directory.sync()
        self._open()

    def append(self, blocks: Iterable[int]) -> None:
        """Vouch for `blocks`, whose data the caller has synced. After an error the records count as not written."""
        records = _encode_records(self._object_id, blocks)
        write_at(self._descriptor, memoryview(records), self._end)
        sync_data([self._descriptor])
        self._end += len(records)

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        self._descriptor = self._directory.open_file(self._name, os.O_RDWR)
        self._end = os.fstat(self._descriptor).st_size

    def _read(self) -> bytes:
        """The file, or as much as a journal of this object can hold and one record more."""
        try:
            return self._directory.read_file(self._name, _HEADER_SIZE + _RECORD.size * (self._block_count + 1))
        except FileNotFoundError:
            return b""
