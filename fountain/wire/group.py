"""Packets of a group: Announce, Plan and Preparing from the server to the group, GroupReport to the server.

     0  control header (8): magic, version, type, flags
     8  session id (8)
    16  sequence number (8), from 1; counted by each sender of such packets for itself
    24  body, in clear
    ..  with IDENTIFIED: the server's key (32), and its signature (64) of all before that
    ..  tag (16): a keyed digest of all that is before it. A group without a key of its own has a key that anybody can
        make: its tag finds damage, not malice

Offsets and golden octets: `docs/wire-groups.md`. Parsers return a record or a `Reject`; they never raise.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from fountain.limits import BLOCK_COUNT_MAX, CONTROL_SIZE_MAX
from fountain.wire.control import FLAG_IDENTIFIED, FLAG_OPEN, FLAG_RELEASED, MAGIC, VERSION, OfferBody
from fountain.wire.reject import Reject
from fountain.wire.session import HOST_SIZE_MAX, MANIFEST_BIT, Run

__all__ = [
    "ACKNOWLEDGED_COUNT_MAX",
    "ECHO_COUNT_MAX",
    "FRACTION_UNIT",
    "GROUP_HEADER_SIZE",
    "GROUP_NEED_COUNT_MAX",
    "GROUP_OVERHEAD_SIZE",
    "GROUP_TAG_SIZE",
    "LEAVING_COUNT_MAX",
    "MISSING_COUNT_MAX",
    "PEER_ID_SIZE",
    "PLANNED_COUNT_MAX",
    "QUEUED_COUNT_MAX",
    "SEQUENCE_LIMIT",
    "SERVER_KEY_SIZE",
    "SERVER_PROOF_SIZE",
    "SERVER_SIGNATURE_SIZE",
    "Announce",
    "AnnounceFlag",
    "GroupHeader",
    "GroupPacketType",
    "GroupReport",
    "MemberState",
    "Plan",
    "is_group_packet",
]

GROUP_HEADER_SIZE = 24
GROUP_TAG_SIZE = 16
GROUP_OVERHEAD_SIZE = GROUP_HEADER_SIZE + GROUP_TAG_SIZE
SERVER_KEY_SIZE = 32
SERVER_SIGNATURE_SIZE = 64
SERVER_PROOF_SIZE = SERVER_KEY_SIZE + SERVER_SIGNATURE_SIZE
PEER_ID_SIZE = 8

PLANNED_COUNT_MAX = 48
QUEUED_COUNT_MAX = 24
FRACTION_UNIT = 65_535  # of what a receiver holds: the whole object
ECHO_COUNT_MAX = 12
LEAVING_COUNT_MAX = 12
ACKNOWLEDGED_COUNT_MAX = 32
GROUP_NEED_COUNT_MAX = 40
MISSING_COUNT_MAX = 24

_HEADER = struct.Struct(">4sBBHQQ")
_ANNOUNCE = struct.Struct(">IHHQQQHHI")
_PLAN = struct.Struct(">IHHIIIQQQ8sBBBBB3s")
_PLANNED = struct.Struct(">IH")
_RUN = struct.Struct(">II")
_ECHO = struct.Struct(">8sH")
_REPORT = struct.Struct(">8sIIQQIQIIIHBBBBB")
_NEED = struct.Struct(">IH")

_COUNT_MAX = 0xFFFF
SEQUENCE_LIMIT = 1 << 62  # No number comes so far; the arithmetic of 64 bits goes a little further.
_FLAGS_ANNOUNCE = 0x001F

assert (
    GROUP_OVERHEAD_SIZE + SERVER_PROOF_SIZE + _PLAN.size
    + PLANNED_COUNT_MAX * _PLANNED.size + QUEUED_COUNT_MAX * _RUN.size
    + ECHO_COUNT_MAX * _ECHO.size + (LEAVING_COUNT_MAX + ACKNOWLEDGED_COUNT_MAX) * PEER_ID_SIZE <= CONTROL_SIZE_MAX
)  # fmt: skip
assert (
    GROUP_OVERHEAD_SIZE
    + _REPORT.size
    + HOST_SIZE_MAX
    + GROUP_NEED_COUNT_MAX * _NEED.size
    + MISSING_COUNT_MAX * _RUN.size
    <= CONTROL_SIZE_MAX
)


class GroupPacketType(enum.IntEnum):
    """Octet 5 of a packet of a group; the types of `fountain.wire.control` end below."""

    ANNOUNCE = 16
    PLAN = 17
    REPORT = 18
    PREPARING = 19  # The server still reads its files or compiles; it has no body, and a session id of its own.


class MemberState(enum.IntEnum):
    """What a receiver says of itself."""

    JOINING = 0  # it has heard an Announce, and makes room
    RECEIVING = 1
    DONE = 2  # the object stands verified on its disk
    HOOKING = 3  # the same, and its hook is running
    HOOK_DONE = 4  # the same, and its hook ended well
    HOOK_FAILED = 5  # the object stands; its hook did not end well
    FAILED = 6  # its disk is full, or what arrives does not verify
    LEFT = 7  # interrupted
    FALLBACK = 8  # asked to leave: it fetches the rest by itself


class AnnounceFlag(enum.IntFlag):
    """What an Announce says of its stream."""

    ONEWAY = 1  # nothing comes back: receivers never answer
    WAITING = 2  # data has not begun
    FINAL = 4  # the server is leaving
    CHANGED = 8  # and that because its file is not any more what it announced
    RELEASED = 16  # its offer has a signed release: set when it is written, and not kept in a record


def is_group_packet(data: bytes | memoryview) -> bool:
    """Whether octets, if they begin with the magic, belong to a group."""
    return len(data) > 5 and data[5] >= GroupPacketType.ANNOUNCE


@dataclass(frozen=True)
class GroupHeader:
    """The 24 octets that every packet of a group begins with."""

    packet_type: GroupPacketType
    session: int
    sequence: int
    open: bool
    identified: bool = False  # The server's key and signature follow the body.

    def encode(self) -> bytes:
        """GROUP_HEADER_SIZE octets."""
        flags = (FLAG_OPEN if self.open else 0) | (FLAG_IDENTIFIED if self.identified else 0)
        return _HEADER.pack(MAGIC, VERSION, self.packet_type, flags, self.session, self.sequence)

    @classmethod
    def parse(cls, data: bytes) -> GroupHeader | Reject:
        """The header of `data`, or why not; a caller with the key checks the tag."""
        if not GROUP_OVERHEAD_SIZE <= len(data) <= CONTROL_SIZE_MAX:
            return Reject.BAD_LENGTH
        magic, version, packet_type, flags, session, sequence = _HEADER.unpack_from(data)
        if magic != MAGIC:
            return Reject.BAD_MAGIC
        if version != VERSION:
            return Reject.BAD_VERSION
        if not GroupPacketType.ANNOUNCE <= packet_type <= GroupPacketType.PREPARING:
            return Reject.BAD_TYPE
        is_report = packet_type == GroupPacketType.REPORT
        if flags & ~(FLAG_OPEN | (0 if is_report else FLAG_IDENTIFIED)):
            return Reject.RESERVED_NOT_ZERO
        if flags & FLAG_IDENTIFIED and len(data) < GROUP_OVERHEAD_SIZE + SERVER_PROOF_SIZE:
            return Reject.BAD_LENGTH
        if not 0 < sequence < SEQUENCE_LIMIT:
            return Reject.BAD_FIELD
        is_open, is_identified = bool(flags & FLAG_OPEN), bool(flags & FLAG_IDENTIFIED)
        return cls(GroupPacketType(packet_type), session, sequence, is_open, is_identified)


@dataclass(frozen=True)
class Announce:
    """What a receiver must know to take part: the object, how it is sent, and where the server answers.

    `interval_ms` is how long until the next Announce at the latest. `control_port` takes GroupReports and the Hellos
    of receivers that leave the group. It is sent again and again, so that a late receiver learns all.
    """

    timestamp_us: int
    grtt_code: int  # group round-trip time, in the form of data packets' round trips
    flags: AnnounceFlag
    rate_bps: int
    min_rate_bps: int
    next_sequence: int  # of the next data packet
    control_port: int
    interval_ms: int
    cycle_overhead: int  # symbols beyond K that each block gets in a cycle, in thousandths of K
    offer: OfferBody

    def encode(self) -> bytes:
        """The body's octets."""
        flags = self.flags | (AnnounceFlag.RELEASED if self.offer.release is not None else 0)
        fixed = _ANNOUNCE.pack(
            self.timestamp_us, self.grtt_code, flags, self.rate_bps, self.min_rate_bps, self.next_sequence,
            self.control_port, self.interval_ms, self.cycle_overhead,
        )  # fmt: skip
        return fixed + self.offer.encode()

    @classmethod
    def parse(cls, data: bytes, *, open: bool) -> Announce | Reject:
        """The record in a body, or why not."""
        if len(data) < _ANNOUNCE.size:
            return Reject.BAD_LENGTH
        fields = list(_ANNOUNCE.unpack_from(data))
        if fields[2] & ~_FLAGS_ANNOUNCE:
            return Reject.RESERVED_NOT_ZERO
        if not fields[6] or fields[5] >= SEQUENCE_LIMIT:
            return Reject.BAD_FIELD
        flags = AnnounceFlag(fields[2])
        released = FLAG_RELEASED if flags & AnnounceFlag.RELEASED else 0
        offer = OfferBody.parse(data[_ANNOUNCE.size :], (FLAG_OPEN if open else 0) | released)
        if isinstance(offer, Reject):
            return offer
        fields[2] = flags & ~AnnounceFlag.RELEASED
        return cls(*(*fields, offer))


@dataclass(frozen=True)
class Plan:
    """What the server is going to send, and what it wants to hear: what is planned need not be asked for.

    `planned` are symbols of a block that are yet to come from data packet `next_sequence` on; `queued` are runs of
    blocks that will be sent from the start to the end. Receivers whose number of 32 bits, another one in each session,
    is at most `poll_threshold` report at random, one half to three halves of `report_interval_ms` apart. `echoes` are
    (receiver, its round-trip code).
    """

    timestamp_us: int
    grtt_code: int
    report_interval_ms: int
    poll_threshold: int
    group_size: int
    rate_bps: int
    next_sequence: int
    suppress_rate_bps: int  # who could take at least so much need not say so
    clr: bytes  # current limiting receiver: whose rate is the group's; zeros for nobody
    planned: tuple[tuple[int, int], ...] = ()
    queued: tuple[Run, ...] = ()
    echoes: tuple[tuple[bytes, int], ...] = ()
    leaving: tuple[bytes, ...] = ()
    acknowledged: tuple[bytes, ...] = ()

    def encode(self) -> bytes:
        """The body's octets."""
        fixed = _PLAN.pack(
            self.timestamp_us, self.grtt_code, 0, self.report_interval_ms, self.poll_threshold, self.group_size,
            self.rate_bps, self.next_sequence, self.suppress_rate_bps, self.clr, len(self.planned),
            len(self.queued), len(self.echoes), len(self.leaving), len(self.acknowledged), bytes(3),
        )  # fmt: skip
        lists = (_pack(_PLANNED, self.planned), _pack(_RUN, self.queued), _pack(_ECHO, self.echoes))
        return b"".join((fixed, *lists, *self.leaving, *self.acknowledged))

    @classmethod
    def parse(cls, data: bytes) -> Plan | Reject:
        """The record in a body, or why not."""
        if len(data) < _PLAN.size:
            return Reject.BAD_LENGTH
        fields = _PLAN.unpack_from(data)
        counts, reserved = fields[10:15], fields[15]
        sizes = (_PLANNED.size, _RUN.size, _ECHO.size, PEER_ID_SIZE, PEER_ID_SIZE)
        if len(data) != _PLAN.size + sum(count * size for count, size in zip(counts, sizes)):
            return Reject.BAD_LENGTH
        if fields[2] or any(reserved):
            return Reject.RESERVED_NOT_ZERO
        limits = (
            PLANNED_COUNT_MAX, QUEUED_COUNT_MAX, ECHO_COUNT_MAX, LEAVING_COUNT_MAX, ACKNOWLEDGED_COUNT_MAX,
        )  # fmt: skip
        if any(count > limit for count, limit in zip(counts, limits)):
            return Reject.TOO_LARGE
        at = _PLAN.size
        lists = []
        for count, size in zip(counts, sizes):
            lists.append(data[at : at + count * size])
            at += count * size
        planned, queued = tuple(_PLANNED.iter_unpack(lists[0])), tuple(_RUN.iter_unpack(lists[1]))
        if not _sound(block for block, _ in planned) or not _sound_runs(queued) or fields[7] >= SEQUENCE_LIMIT:
            return Reject.BAD_FIELD
        leaving, acknowledged = (_ids(octets) for octets in lists[3:])
        echoes = tuple(_ECHO.iter_unpack(lists[2]))
        return cls(*(*fields[:2], *fields[3:10], planned, queued, echoes, leaving, acknowledged))


@dataclass(frozen=True)
class GroupReport:
    """What a receiver has, needs and can take.

    `needs` are (block, symbols wanted beyond what is held) of open blocks, those of the manifest with MANIFEST_BIT;
    `missing` are runs of blocks of which nothing is held and that no Plan has. Times and rates are for the congestion
    control of RFC 4654: the loss event rate in units of 2^-32, the rate of arrivals over the last round trip.
    """

    peer_id: bytes
    echo_timestamp_us: int
    hold_us: int
    expected_sequence: int
    received_count: int
    event_rate: int
    receive_rate_bps: int
    kernel_drop_count: int
    damaged_count: int
    done_count: int  # blocks verified
    fraction: int  # of the object that is held, in units of 1 / FRACTION_UNIT
    state: MemberState
    has_manifest: bool
    host: str = ""  # now and then: it costs octets
    needs: tuple[tuple[int, int], ...] = ()
    missing: tuple[Run, ...] = ()

    def encode(self) -> bytes:
        """The body's octets."""
        host = self.host.encode(errors="replace")[:HOST_SIZE_MAX].decode(errors="ignore").encode()
        fixed = _REPORT.pack(
            self.peer_id, self.echo_timestamp_us, min(self.hold_us, 0xFFFF_FFFF), self.expected_sequence,
            self.received_count, self.event_rate, self.receive_rate_bps, self.kernel_drop_count & 0xFFFF_FFFF,
            self.damaged_count & 0xFFFF_FFFF, self.done_count, self.fraction, self.state, self.has_manifest, len(host),
            len(self.needs), len(self.missing),
        )  # fmt: skip
        needs = ((block, min(need, _COUNT_MAX)) for block, need in self.needs)
        return b"".join((fixed, host, _pack(_NEED, needs), _pack(_RUN, self.missing)))

    @classmethod
    def parse(cls, data: bytes) -> GroupReport | Reject:
        """The record in a body, or why not."""
        if len(data) < _REPORT.size:
            return Reject.BAD_LENGTH
        *fields, state, has_manifest, host_size, need_count, run_count = _REPORT.unpack_from(data)
        needs_at = _REPORT.size + host_size
        runs_at = needs_at + need_count * _NEED.size
        if len(data) != runs_at + run_count * _RUN.size:
            return Reject.BAD_LENGTH
        if need_count > GROUP_NEED_COUNT_MAX or run_count > MISSING_COUNT_MAX or host_size > HOST_SIZE_MAX:
            return Reject.TOO_LARGE
        needs = tuple(_NEED.iter_unpack(data[needs_at:runs_at]))
        missing = tuple(_RUN.iter_unpack(data[runs_at:]))
        if state > MemberState.FALLBACK or has_manifest > 1 or max(fields[3:5]) >= SEQUENCE_LIMIT:
            return Reject.BAD_FIELD
        blocks = {block for block, _ in needs}
        if not _sound_runs(missing) or not _sound(blocks) or len(blocks) < need_count:
            return Reject.BAD_FIELD
        host = data[_REPORT.size : needs_at].decode(errors="replace")
        return cls(*(*fields, MemberState(state), bool(has_manifest), host, needs, missing))


def _pack(form: struct.Struct, entries: Iterable[tuple[object, ...]]) -> bytes:
    return b"".join(form.pack(*entry) for entry in entries)


def _ids(octets: bytes) -> tuple[bytes, ...]:
    return tuple(octets[at : at + PEER_ID_SIZE] for at in range(0, len(octets), PEER_ID_SIZE))


def _sound(blocks: Iterable[int]) -> bool:
    return all(block & ~MANIFEST_BIT < BLOCK_COUNT_MAX for block in blocks)


def _sound_runs(runs: Iterable[Run]) -> bool:
    """Each run stays inside the largest object, or inside its manifest."""
    return all(count >= 1 and (first & ~MANIFEST_BIT) + count <= BLOCK_COUNT_MAX for first, count in runs)
