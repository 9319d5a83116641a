"""Trains of data packets, `uint8[n, 28 + T + 16]`: headers packed and parsed, symbols gathered and scattered, at once.

    offset  size  field, big-endian
    0       1     version (high nibble, 1) and type (low nibble, 0xD)
    1       1     flags: OPEN 1, MANIFEST 2; the others are zero
    2       2     round-trip time in microseconds: mantissa (12 bits) << exponent (4 bits); 0 is unknown
    4       8     session id
    12      4     sequence number, the low 32 bits of 64
    16      4     time of sending, in microseconds modulo 2^32
    20      4     block index, among the manifest's own blocks with MANIFEST
    24      3     ESI
    27      1     zero
    28      T     symbol
    28 + T  16    tail. Sealed: AES-128-GCM tag; OPEN: CRC-32C of header and symbol (4 octets), then zeros

A packet never becomes a Python object. Sealing is done elsewhere, packet by packet, over the header as associated data.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fountain._jit import inlined, kernel
from fountain.limits import DATA_HEADER_SIZE, DATA_OVERHEAD_SIZE, ESI_LIMIT, SEGMENT_COUNT_MAX
from fountain.wire.crc32c import HARDWARE, check_and_scatter, gather_and_sign
from fountain.wire.reject import Reject

__all__ = [
    "FLAGS_KNOWN",
    "FLAG_MANIFEST",
    "FLAG_OPEN",
    "GOOD",
    "REASONS",
    "SEAL_NONCE_SIZE",
    "Columns",
    "check_open",
    "expand_sequences",
    "is_data",
    "nonces",
    "pack_headers",
    "pack_open",
    "packet_views",
    "parse_headers",
    "rows_of",
    "rtt_code",
    "rtt_from_code",
    "scatter_open",
    "session_counts",
    "session_of",
]

Rows = NDArray[np.uint8]

FLAG_OPEN = 1
FLAG_MANIFEST = 2
FLAGS_KNOWN = FLAG_OPEN | FLAG_MANIFEST
SEAL_NONCE_SIZE = 12

_FIRST_OCTET = 0x1D
_SESSION = slice(4, 12)
_RTT_MANTISSA_MAX = (1 << 12) - 1
_RTT_EXPONENT_MAX = 15
_UINT32_MASK = 0xFFFFFFFF
_HALF = 1 << 31

# A verdict is 0 or an index here.
GOOD = 0
_BAD_VERSION, _BAD_TYPE, _RESERVED, _UNKNOWN_SESSION, _BAD_LENGTH = range(1, 6)
REASONS: tuple[Reject | None, ...] = (
    None,
    Reject.BAD_VERSION,
    Reject.BAD_TYPE,
    Reject.RESERVED_NOT_ZERO,
    Reject.UNKNOWN_SESSION,
    Reject.BAD_LENGTH,
)


class Columns:
    """What `parse_headers` found, field by field, in arrays that are used again and again; entry i is packet i."""

    def __init__(self, capacity: int) -> None:
        self.verdict = np.zeros(capacity, dtype=np.uint8)  # GOOD, or an index into REASONS
        self.flags = np.zeros(capacity, dtype=np.uint8)
        self.rtt_hint = np.zeros(capacity, dtype=np.uint16)
        self.sequence = np.zeros(capacity, dtype=np.uint32)
        self.timestamp_us = np.zeros(capacity, dtype=np.uint32)
        self.block = np.zeros(capacity, dtype=np.uint32)
        self.esi = np.zeros(capacity, dtype=np.uint32)
        self.uniform = False  # all are GOOD, of one block, with the same flags, and numbered upwards


# --- Kernels ------------------------------------------------------------------------------------------------


@inlined
def _put(row: Rows, offset: int, size: int, value: int) -> None:
    for octet in range(size):
        row[offset + octet] = np.uint8((value >> np.uint64(8 * (size - 1 - octet))) & np.uint64(0xFF))


@inlined
def _get(row: Rows, offset: int, size: int) -> Any:
    value = np.uint64(0)
    for octet in range(size):
        value = (value << np.uint64(8)) | np.uint64(row[offset + octet])
    return value


@kernel
def _pack(
    rows: Rows,
    flags: int,
    rtt_hint: int,
    session: int,
    sequence: int,
    timestamp_us: int,
    blocks: NDArray[np.uint32],
    esis: NDArray[np.uint32],
) -> None:
    """Headers with consecutive sequence numbers; all integers are uint64."""
    for index in range(rows.shape[0]):
        row = rows[index]
        row[0] = np.uint8(_FIRST_OCTET)
        row[1] = np.uint8(flags)
        _put(row, 2, 2, rtt_hint)
        _put(row, 4, 8, session)
        _put(row, 12, 4, sequence + np.uint64(index))
        _put(row, 16, 4, timestamp_us)
        _put(row, 20, 4, np.uint64(blocks[index]))
        _put(row, 24, 3, np.uint64(esis[index]))
        row[27] = np.uint8(0)


@inlined
def _verdict(row: Rows, session: int) -> int:
    if row[0] >> 4 != _FIRST_OCTET >> 4:
        return _BAD_VERSION
    if row[0] != _FIRST_OCTET:
        return _BAD_TYPE
    if row[1] & ~FLAGS_KNOWN or row[27]:
        return _RESERVED
    return GOOD if _get(row, 4, 8) == session else _UNKNOWN_SESSION


@kernel
def _parse(
    rows: Rows,
    session: int,
    verdict: NDArray[np.uint8],
    flags: NDArray[np.uint8],
    rtt_hint: NDArray[np.uint16],
    sequence: NDArray[np.uint32],
    timestamp_us: NDArray[np.uint32],
    block: NDArray[np.uint32],
    esi: NDArray[np.uint32],
) -> bool:
    """Every field of every header, and the verdict on it; `session` is uint64. Whether the train is uniform."""
    uniform = True
    for index in range(rows.shape[0]):
        row = rows[index]
        verdict[index] = np.uint8(_verdict(row, session))
        flags[index] = row[1]
        rtt_hint[index] = np.uint16(_get(row, 2, 2))
        sequence[index] = np.uint32(_get(row, 12, 4))
        timestamp_us[index] = np.uint32(_get(row, 16, 4))
        block[index] = np.uint32(_get(row, 20, 4))
        esi[index] = np.uint32(_get(row, 24, 3))
        uniform &= verdict[index] == GOOD and flags[index] == flags[0] and block[index] == block[0]
        uniform &= index == 0 or sequence[index] > sequence[index - 1]
    return uniform


# --- Pack ---------------------------------------------------------------------------------------------------


def pack_headers(
    rows: Rows,
    *,
    flags: int,
    rtt_hint: int,
    session: int,
    sequence: int,
    timestamp_us: int,
    block: int | NDArray[np.uint32],
    esis: NDArray[np.uint32],
) -> None:
    """Write the headers of `rows`, uint8[n, 28 + T + 16] C-contiguous, numbered from `sequence` (64 bits) on.

    `block` is one index for all, or uint32[n]; `esis` is uint32[n].

    Raises:
        ValueError: a shape does not fit, or a flag is unknown.
    """
    count = len(rows)
    _check_rows(rows)
    blocks = np.full(count, block, dtype=np.uint32) if isinstance(block, int) else block
    if len(esis) != count or len(blocks) != count:
        raise ValueError(f"{count} packets need {count} blocks and ESIs, not {len(blocks)} and {len(esis)}")
    if flags & ~FLAGS_KNOWN:
        raise ValueError(f"flags {flags:#x} are not all known")
    _pack(
        rows,
        np.uint64(flags),
        np.uint64(rtt_hint),
        np.uint64(session),
        np.uint64(sequence),
        np.uint64(timestamp_us & _UINT32_MASK),
        blocks,
        esis,
    )


def pack_open(rows: Rows, source: Rows, places: NDArray[np.signedinteger]) -> None:
    """Complete open packets whose headers stand: rows[i] gets symbol source[places[i]] and the checksum of both.

    `source` is uint8[K, T], C-contiguous and perhaps read-only: a block itself, so that its symbols are copied once.

    Raises:
        ValueError: a shape does not fit, or a place is outside the source.
    """
    _check_rows(rows)
    if (
        source.shape[1] != rows.shape[1] - DATA_OVERHEAD_SIZE
        or not source.flags.c_contiguous
        or len(places) != len(rows)
    ):
        raise ValueError(f"symbols {source.shape} at {len(places)} places do not fit packets {rows.shape}")
    if not gather_and_sign(rows, source, places.astype(np.int64, copy=False), HARDWARE):
        raise ValueError(f"a place is outside the {len(source)} symbols")


# --- Parse --------------------------------------------------------------------------------------------------


def parse_headers(rows: Rows, session: int, columns: Columns) -> int:
    """Parse `rows`, uint8[n, stride] C-contiguous, into the first n entries of `columns`; returns n.

    A packet of another session, version or type, or with reserved bits, gets a verdict other than GOOD. Its other
    columns mean nothing.

    Raises:
        ValueError: the rows are not C-contiguous, or more than the columns hold.
    """
    count = len(rows)
    if count > len(columns.verdict) or not rows.flags.c_contiguous:
        raise ValueError(f"{rows.shape} is not a train that {len(columns.verdict)} columns hold")
    if rows.shape[1] <= DATA_OVERHEAD_SIZE or not count:
        columns.verdict[:count] = _BAD_LENGTH
        columns.uniform = False
        return count
    columns.uniform = _parse(
        rows,
        np.uint64(session),
        columns.verdict,
        columns.flags,
        columns.rtt_hint,
        columns.sequence,
        columns.timestamp_us,
        columns.block,
        columns.esi,
    )
    return count


def is_data(packet: memoryview) -> bool:
    """Whether octets have the first octet and the least size of a data packet."""
    return len(packet) > DATA_OVERHEAD_SIZE and packet[0] == _FIRST_OCTET


def session_of(packet: memoryview) -> int:
    """The session id of a data packet, or of a part of one."""
    return int.from_bytes(packet[_SESSION], "big")


def session_counts(rows: Rows) -> dict[int, int]:
    """The session ids in `rows`, uint8[n, stride], and how many packets of each there are; nearly always one id."""
    ids = rows[:, _SESSION]
    if not len(ids) or ids.shape[1] < 8:
        return {}
    if (ids == ids[0]).all():
        return {session_of(rows[0].data): len(ids)}
    found, counts = np.unique(ids, axis=0, return_counts=True)
    return {int.from_bytes(row.tobytes(), "big"): int(count) for row, count in zip(found, counts)}


def rows_of(rows: Rows, session: int) -> Rows:
    """Those of `rows`, uint8[n, stride], that have this session id, of data packets or of parts."""
    is_its = (rows[:, _SESSION] == np.frombuffer(session.to_bytes(8, "big"), dtype=np.uint8)).all(axis=1)
    return rows if is_its.all() else rows[is_its]


def check_open(rows: Rows) -> NDArray[np.bool_]:
    """bool[n]: which open packets have the right checksum."""
    return scatter_open(rows, rows[:0, DATA_OVERHEAD_SIZE:], np.full(len(rows), -1, dtype=np.int64))


def scatter_open(rows: Rows, slab: Rows, slots: NDArray[np.signedinteger]) -> NDArray[np.bool_]:
    """bool[n]: which open packets have the right checksum; in the same pass slab[slots[i]] gets the symbol of rows[i].

    A slot of -1 is skipped (the packet is still checked). The slot of a packet that turns out damaged is written all
    the same: it must not count as filled.

    Raises:
        ValueError: a shape does not fit, or a slot is beyond the slab.
    """
    _check_rows(rows)
    if slab.shape[1] != rows.shape[1] - DATA_OVERHEAD_SIZE or len(slots) != len(rows):
        raise ValueError(f"packets {rows.shape} do not fit {len(slots)} slots of a slab {slab.shape}")
    if not slab.flags.c_contiguous:
        raise ValueError("the slab is not C-contiguous")
    good = np.empty(len(rows), dtype=np.bool_)
    if not check_and_scatter(rows, slab, slots.astype(np.int64, copy=False), good, HARDWARE):
        raise ValueError(f"a slot is beyond the {len(slab)} rows of the slab")
    return good


# --- Numbers ------------------------------------------------------------------------------------------------


def rtt_code(rtt_us: int) -> int:
    """The 16-bit code of a round-trip time in microseconds, rounded down; 0 is unknown."""
    exponent = max(0, rtt_us.bit_length() - 12)
    if exponent > _RTT_EXPONENT_MAX:
        return _RTT_MANTISSA_MAX << 4 | _RTT_EXPONENT_MAX
    return max(0, rtt_us) >> exponent << 4 | exponent


def rtt_from_code(code: int) -> int:
    """Microseconds; 0 is unknown."""
    return code >> 4 << (code & 15)


def nonces(iv: bytes, sequences: NDArray[np.uint64]) -> Rows:
    """uint8[n, 12]: the nonce of each packet, `iv` XOR its sequence number in the last 8 octets, big-endian."""
    out = np.empty((len(sequences), SEAL_NONCE_SIZE), dtype=np.uint8)
    out[:, :4] = np.frombuffer(iv, dtype=np.uint8, count=4)
    mixed = sequences ^ np.uint64(int.from_bytes(iv[4:12], "big"))
    out[:, 4:] = mixed.astype(">u8").view(np.uint8).reshape(-1, 8)
    return out


def expand_sequences(truncated: NDArray[np.uint32], expected: int) -> NDArray[np.uint64]:
    """The sequence numbers closest to `expected` (the largest seen, plus one) with these low 32 bits.

    RFC 9000 appendix A.3, for numbers below 2^62. None is negative, whatever came; whether it is too large, the caller
    sees to.
    """
    ahead = (truncated.astype(np.int64) - (expected & _UINT32_MASK) + _HALF - 1) & _UINT32_MASK
    sequences = expected + ahead - (_HALF - 1)
    return np.where(sequences < 0, sequences + (1 << 32), sequences).astype(np.uint64)


def _check_rows(rows: Rows) -> None:
    if rows.ndim != 2 or rows.shape[1] <= DATA_OVERHEAD_SIZE or not rows.flags.c_contiguous or not rows.flags.writeable:
        raise ValueError(
            f"a train is C-contiguous, writable uint8[n, more than {DATA_OVERHEAD_SIZE}], not {rows.shape}"
        )


assert DATA_HEADER_SIZE == 24 + 3 + 1
assert ESI_LIMIT == 1 << 24
assert len(REASONS) == _BAD_LENGTH + 1


def packet_views(train: memoryview, packet_size: int) -> list[tuple[memoryview, memoryview]]:
    """Views of the header and of the body with its tail, for each packet of `packet_size` octets in a train."""
    count = min(SEGMENT_COUNT_MAX, len(train) // packet_size)
    starts = range(0, count * packet_size, packet_size)
    return [
        (train[start : start + DATA_HEADER_SIZE], train[start + DATA_HEADER_SIZE : start + packet_size])
        for start in starts
    ]
