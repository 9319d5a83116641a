"""Every limit of the project, with its reason; relations between limits are asserted at import.

Units stand in the names: `_ns`, `_size` (octets), `_count`, `_bps` (bits per second).
"""

from __future__ import annotations

__all__ = [
    "BLOCK_COUNT_MAX",
    "BLOCK_SIZE_MAX",
    "BLOCK_SYMBOL_COUNT_DEFAULT",
    "BLOCK_SYMBOL_COUNT_MAX",
    "CONTROL_PORT_DEFAULT",
    "CONTROL_SIZE_MAX",
    "DATAGRAM_SIZE_MAX",
    "DATAGRAM_SIZE_SAFE",
    "DATA_HEADER_SIZE",
    "DATA_OVERHEAD_SIZE",
    "DATA_PORT_DEFAULT",
    "DATA_TAIL_SIZE",
    "DIRECTORY_STEP_COUNT_MAX",
    "DURATION_NS_MAX",
    "ESI_LIMIT",
    "FILE_SIZE_MAX",
    "GROUP_PORT_DEFAULT",
    "HELLO_SIZE",
    "IP_UDP_OVERHEAD_SIZE",
    "LISTENER_MEMORY_SIZE_MAX",
    "LISTING_PAGE_COUNT_MAX",
    "MANIFEST_ENTRY_COUNT_MAX",
    "MANIFEST_EXTENT_COUNT_MAX",
    "MANIFEST_SIZE_MAX",
    "MTU_DEFAULT",
    "MTU_MAX",
    "MTU_MIN",
    "NAME_SIZE_MAX",
    "NS",
    "OBJECT_SIZE_MAX",
    "PART_COUNT_MAX",
    "PART_HEADER_SIZE",
    "PASS_COUNT_MAX",
    "PATH_SIZE_MAX",
    "PEER_COUNT_MAX",
    "RATE_BPS_MAX",
    "RATE_BPS_MIN",
    "RECEIVE_MEMORY_SIZE_MAX",
    "SEGMENT_COUNT_MAX",
    "SEND_SEGMENT_COUNT_MAX",
    "SEND_SIZE_MAX",
    "SYMBOL_SIZE_MAX",
    "TRAIN_SIZE_MAX",
]

NS = 1_000_000_000

# --- Specification: from RFC 6330, RFC 768 and docs/wire.md -------------------------------------------------

ESI_LIMIT = 1 << 24  # RFC 6330 section 3.2: the encoding symbol id has 24 bits.
BLOCK_SYMBOL_COUNT_MAX = 56_403  # RFC 6330 section 5.1.2: K'_max.
SYMBOL_SIZE_MAX = 65_535 - 8 - 40 - 44  # The largest that a UDP datagram over IPv6 carries beside our header.

CONTROL_PORT_DEFAULT = 6330
DATA_PORT_DEFAULT = 6331
GROUP_PORT_DEFAULT = 6332

DATA_HEADER_SIZE = 28
DATA_TAIL_SIZE = 16
DATA_OVERHEAD_SIZE = DATA_HEADER_SIZE + DATA_TAIL_SIZE
IP_UDP_OVERHEAD_SIZE = 40 + 8  # IPv6 header + UDP header; the same symbol size then fits both families.

HELLO_SIZE = 1200  # RFC 9000 section 14.1: the smallest datagram that every path must carry.
CONTROL_SIZE_MAX = 1200  # No control packet is longer, so an answer to a Hello never amplifies.
DATAGRAM_SIZE_MAX = 65_507
DATAGRAM_SIZE_SAFE = 1280 - IP_UDP_OVERHEAD_SIZE  # RFC 8200 section 5: every path of IPv6 takes it.
PART_HEADER_SIZE = 16
PART_COUNT_MAX = 64  # The largest data packets, where no larger datagrams arrive than those.
LISTING_PAGE_COUNT_MAX = 64  # A client asks for one page after the other, and keeps 75 kB of them at most.

# --- Implementation ----------------------------------------------------------------------------------------

MTU_DEFAULT = 1500
MTU_MIN = 256  # Leaves a symbol of 128 octets; below that headers eat the link.
MTU_MAX = 65_535

# About 1,000 symbols: K * T (1.4 MB) stays in the last-level cache, and plan and inverse are built in milliseconds.
BLOCK_SYMBOL_COUNT_DEFAULT = 1002  # A row of RFC 6330 Table 2, so that full blocks need no padding symbols.
BLOCK_SIZE_MAX = 16 << 20  # A receiver must hold whole blocks in memory; 16 MiB bounds what a server may ask of it.
BLOCK_COUNT_MAX = 1 << 18

# Two million entries with names of some 30 octets fill the largest manifest. A server that makes a receiver hold
# one must have sent as much: a manifest is never compressed.
MANIFEST_SIZE_MAX = 128 << 20
MANIFEST_ENTRY_COUNT_MAX = 1 << 21
MANIFEST_EXTENT_COUNT_MAX = 1 << 20  # Pieces of data between holes: of an image of 1 TB one for each megabyte.
PATH_SIZE_MAX = 4095  # Linux's PATH_MAX without the zero octet at its end.
NAME_SIZE_MAX = 255  # The limit of common file systems for one path component.
FILE_SIZE_MAX = (1 << 63) - 1  # Of a file with its holes: what an offset of the system can say.
# Directories to pass through on the way to each directory of a tree, all together: a million directories 16 deep, and
# seconds of work for a tree that was made to be slow.
DIRECTORY_STEP_COUNT_MAX = 1 << 24
OBJECT_SIZE_MAX = 1 << 42  # BLOCK_COUNT_MAX blocks of the largest size.

# Slabs of open blocks in a receiver, which stays below 300 MB with them: 23 blocks of the default size, two of the
# largest. A slab is touched only where symbols lie, so this is an upper bound.
RECEIVE_MEMORY_SIZE_MAX = 64 << 20
LISTENER_MEMORY_SIZE_MAX = 80 << 20  # The same for all objects that a listener takes at once.

# One segmented send must fit one IP datagram's 16-bit length, headers included, and have no more segments than every
# Linux kernel that knows UDP_SEGMENT takes (UDP_MAX_SEGMENTS; newer ones take more).
SEND_SIZE_MAX = 65_000
SEND_SEGMENT_COUNT_MAX = 64
# A train is several of them: what is done once for a train then costs each packet less. Four, with the rows that they
# are packed from, are half a megabyte, which stays in a core's cache.
TRAIN_SIZE_MAX = 4 * SEND_SIZE_MAX
SEGMENT_COUNT_MAX = 4 * SEND_SEGMENT_COUNT_MAX

# What a person may ask for. Beyond these a number is a slip of the finger, and no arithmetic of ours has to bear it.
RATE_BPS_MIN = 8_000  # One symbol of the default size in 1.4 s; below that a transfer looks like a dead one.
RATE_BPS_MAX = 10**12  # A thousand times what one core sends.
DURATION_NS_MAX = 3_650 * 86_400 * NS  # Ten years; twenty of them still fit the 64 bits of a time in nanoseconds.
PASS_COUNT_MAX = 10**6
PEER_COUNT_MAX = 65_536  # So many receivers a group's server knows, and so many sessions would fill 10 GB.

assert BLOCK_COUNT_MAX * 32 < MANIFEST_SIZE_MAX // 2
assert MANIFEST_ENTRY_COUNT_MAX * 28 + MANIFEST_EXTENT_COUNT_MAX * 20 < MANIFEST_SIZE_MAX
assert BLOCK_COUNT_MAX * BLOCK_SIZE_MAX >= OBJECT_SIZE_MAX
assert CONTROL_SIZE_MAX <= HELLO_SIZE <= DATAGRAM_SIZE_SAFE
assert PART_COUNT_MAX * (DATAGRAM_SIZE_SAFE - PART_HEADER_SIZE) >= DATAGRAM_SIZE_MAX
assert BLOCK_SYMBOL_COUNT_DEFAULT <= BLOCK_SYMBOL_COUNT_MAX
assert SYMBOL_SIZE_MAX + DATA_OVERHEAD_SIZE <= DATAGRAM_SIZE_MAX
