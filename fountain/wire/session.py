"""Packets of an established session: a 24-octet header in clear, a sealed body, a 16-octet tag. See `docs/wire.md`.

     0  control header (8): magic, version, type, flags = 0
     8  session id (8)
    16  sequence number (8), counted per direction from 1: the nonce, and the key of the replay window
    24  body, sealed with the direction's key; the 24 octets before it are its associated data

Bodies: `RequestBody` (inside a Request), `Report`, `Stop`, `Bye`, `Ping`, `Pong`, `Proof`; a StopAck has none.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable
from dataclasses import dataclass

from fountain.limits import BLOCK_COUNT_MAX, CONTROL_SIZE_MAX, PART_COUNT_MAX
from fountain.wire.control import HEADER_SIZE, PacketType, pack_header
from fountain.wire.reject import Reject

__all__ = [
    "HOST_SIZE_MAX",
    "MANIFEST_BIT",
    "NEED_COUNT_MAX",
    "PROOF_PACKET_SIZE",
    "REQUEST_RUN_COUNT_MAX",
    "RUN_COUNT_MAX",
    "SESSION_HEADER_SIZE",
    "Bye",
    "ByeReason",
    "Ping",
    "Pong",
    "Proof",
    "Report",
    "RequestBody",
    "Run",
    "SessionHeader",
    "Stop",
    "StopAck",
    "StopReason",
    "parse_body",
]

SESSION_HEADER_SIZE = 24
MANIFEST_BIT = 1 << 31  # In needs: the block is one of the manifest's own.

_SESSION = struct.Struct(">QQ")
_REQUEST_BODY = struct.Struct(">8sHBBBB")
_RUN = struct.Struct(">II")
_REPORT = struct.Struct(">QQQQIIIIIIHBBB")
_STOP = struct.Struct(">B3sQ")
_BYE = struct.Struct(">B3s")
_PING = struct.Struct(">QQ")
_PONG = struct.Struct(">Q")
_PROOF = struct.Struct(">32sQ64s")
_CLIENT_IDENTITY = struct.Struct(">32s64s")

HOST_SIZE_MAX = 63  # RFC 1035 section 2.3.4: one label.
REQUEST_RUN_COUNT_MAX = 100
RUN_COUNT_MAX = 64
NEED_COUNT_MAX = 64
PROOF_PACKET_SIZE = SESSION_HEADER_SIZE + _PROOF.size + 16

assert SESSION_HEADER_SIZE + 16 + _REPORT.size + 8 * (RUN_COUNT_MAX + NEED_COUNT_MAX) <= CONTROL_SIZE_MAX
assert (
    120 + 16 + _REQUEST_BODY.size + HOST_SIZE_MAX + 8 * REQUEST_RUN_COUNT_MAX + _CLIENT_IDENTITY.size
    <= CONTROL_SIZE_MAX
)

Run = tuple[int, int]  # (first block, number of blocks)


class StopReason(enum.IntEnum):
    """Why a client ends its stream."""

    DONE = 0  # the object stands verified on its disk
    INTERRUPTED = 1
    STORAGE = 2  # disk full, no permission
    INTEGRITY = 3
    SUPERSEDED = 4  # the client opened a new session


class ByeReason(enum.IntEnum):
    """Why a server ends a stream."""

    STOPPING = 0
    SOURCE_CHANGED = 1
    IDLE = 2  # no report for too long
    KEYS_SPENT = 3  # as many packets as one key may seal: ask again, for new keys
    CONGESTED = 4  # most packets were lost for too long: asking again soon would do more harm
    PLACE_TAKEN = 5  # all places are taken, and somebody whose network has fewer of them came


@dataclass(frozen=True)
class SessionHeader:
    """The clear part of a session packet."""

    packet_type: PacketType
    session: int
    sequence: int

    def encode(self) -> bytes:
        """SESSION_HEADER_SIZE octets."""
        return pack_header(self.packet_type) + _SESSION.pack(self.session, self.sequence)

    @classmethod
    def parse(cls, data: bytes, packet_type: PacketType, flags: int) -> SessionHeader | Reject:
        """The header of `data`, whose control header was parsed."""
        if len(data) < SESSION_HEADER_SIZE + 16:
            return Reject.TRUNCATED
        if flags:
            return Reject.RESERVED_NOT_ZERO
        if packet_type < PacketType.REPORT:
            return Reject.BAD_TYPE
        header = cls(packet_type, *_SESSION.unpack_from(data, HEADER_SIZE))
        return header if header.sequence else Reject.BAD_FIELD  # 0 is the nonce of the Request.


def _pack_pairs(pairs: Iterable[tuple[int, int]]) -> bytes:
    return b"".join(_RUN.pack(*pair) for pair in pairs)


def _parse_pairs(data: bytes, count: int) -> tuple[tuple[int, int], ...]:
    return tuple(_RUN.unpack_from(data, 8 * index) for index in range(count))


def _sound_runs(runs: tuple[Run, ...]) -> bool:
    """Runs ascend, do not touch each other, and stay inside the largest object."""
    end = -1
    for first, count in runs:
        if first <= end or count < 1 or first + count > BLOCK_COUNT_MAX:
            return False
        end = first + count
    return True


@dataclass(frozen=True)
class RequestBody:
    """What a Request says under seal: who asks, how many blocks it can hold open, which it has already.

    `part_count` is in how many parts each data packet is to come, because none arrives whole; 1 is whole. `identity` is
    the public key of the client, and `signature` one by it; both are empty where the client has none, or shows none.
    """

    peer_id: bytes  # 8 octets, stable for one destination on one machine
    open_limit: int
    has_manifest: bool
    host: str
    done: tuple[Run, ...]
    part_count: int = 1
    identity: bytes = b""
    signature: bytes = b""

    def encode(self) -> bytes:
        """The body's octets."""
        host = self.host.encode(errors="replace")[:HOST_SIZE_MAX].decode(errors="ignore").encode()
        fixed = _REQUEST_BODY.pack(
            self.peer_id, self.open_limit, self.has_manifest, self.part_count, len(host), len(self.done)
        )
        return fixed + host + _pack_pairs(self.done) + self.identity + self.signature

    @classmethod
    def parse(cls, data: bytes) -> RequestBody | Reject:
        """The record in `data`, or why not."""
        if len(data) < _REQUEST_BODY.size:
            return Reject.BAD_LENGTH
        peer_id, open_limit, has_manifest, part_count, host_size, run_count = _REQUEST_BODY.unpack_from(data)
        runs_at = _REQUEST_BODY.size + host_size
        identity_at = runs_at + 8 * run_count
        if len(data) not in (identity_at, identity_at + _CLIENT_IDENTITY.size):
            return Reject.BAD_LENGTH
        done = _parse_pairs(data[runs_at:], run_count)
        if open_limit < 1 or has_manifest > 1 or host_size > HOST_SIZE_MAX or run_count > REQUEST_RUN_COUNT_MAX:
            return Reject.BAD_FIELD
        if not _sound_runs(done) or not 1 <= part_count <= PART_COUNT_MAX:
            return Reject.BAD_FIELD
        host = data[_REQUEST_BODY.size : runs_at].decode(errors="replace")
        has_identity = len(data) > identity_at
        identity, signature = _CLIENT_IDENTITY.unpack_from(data, identity_at) if has_identity else (b"", b"")
        return cls(peer_id, open_limit, bool(has_manifest), host, done, part_count, identity, signature)


@dataclass(frozen=True)
class Report:
    """What a client has: the heartbeat that keeps its stream alive, and the needs that steer it.

    `expected_sequence` is one above the highest data sequence number seen. Packets below `due_sequence` have had the
    time to come on a way that reorders: `missing_count` of them have not. `done` is a page of the runs of verified
    blocks (a client with many sends them in turn). `needs` names open blocks, those of the manifest with MANIFEST_BIT,
    and how many symbols each still wants, by all packets that arrived.

    `arrival_timestamp_us` is the client's time, modulo 2^32, when the packet of the echoed timestamp arrived: the rate
    of arrivals is measured by one clock alone. `receive_buffer_size` bounds what may be under way beyond what the wire
    holds.
    """

    expected_sequence: int
    received_count: int
    due_sequence: int
    missing_count: int
    echo_timestamp_us: int
    hold_us: int
    kernel_drop_count: int
    damaged_count: int
    arrival_timestamp_us: int
    receive_buffer_size: int
    open_limit: int
    has_manifest: bool
    done: tuple[Run, ...]
    needs: tuple[tuple[int, int], ...]

    def encode(self) -> bytes:
        """The body's octets."""
        return (
            _REPORT.pack(
                self.expected_sequence,
                self.received_count,
                self.due_sequence,
                self.missing_count,
                self.echo_timestamp_us,
                min(self.hold_us, 0xFFFF_FFFF),
                self.kernel_drop_count & 0xFFFF_FFFF,
                self.damaged_count & 0xFFFF_FFFF,
                self.arrival_timestamp_us,
                min(self.receive_buffer_size, 0xFFFF_FFFF),
                self.open_limit,
                self.has_manifest,
                len(self.done),
                len(self.needs),
            )
            + _pack_pairs(self.done)
            + _pack_pairs(self.needs)
        )

    @classmethod
    def parse(cls, data: bytes) -> Report | Reject:
        """The record in `data`, or why not."""
        if len(data) < _REPORT.size:
            return Reject.BAD_LENGTH
        *fields, has_manifest, run_count, need_count = _REPORT.unpack_from(data)
        if len(data) != _REPORT.size + 8 * (run_count + need_count):
            return Reject.BAD_LENGTH
        if run_count > RUN_COUNT_MAX or need_count > NEED_COUNT_MAX:
            return Reject.TOO_LARGE
        done = _parse_pairs(data[_REPORT.size :], run_count)
        needs = _parse_pairs(data[_REPORT.size + 8 * run_count :], need_count)
        expected_sequence, _, due_sequence, missing_count, *_ = fields
        if has_manifest > 1 or not _sound_runs(done) or not missing_count <= due_sequence <= expected_sequence:
            return Reject.BAD_FIELD
        if any(block & ~MANIFEST_BIT >= BLOCK_COUNT_MAX for block, _ in needs):
            return Reject.BAD_FIELD
        if len({block for block, _ in needs}) < need_count:
            return Reject.BAD_FIELD
        return cls(*(*fields, bool(has_manifest), done, needs))


@dataclass(frozen=True)
class Stop:
    """The client ends its stream; repeated until a StopAck comes."""

    reason: StopReason
    received_count: int

    def encode(self) -> bytes:
        """The body's octets."""
        return _STOP.pack(self.reason, bytes(3), self.received_count)

    @classmethod
    def parse(cls, data: bytes) -> Stop | Reject:
        """The record in `data`, or why not."""
        if len(data) != _STOP.size:
            return Reject.BAD_LENGTH
        reason, reserved, received_count = _STOP.unpack(data)
        if any(reserved):
            return Reject.RESERVED_NOT_ZERO
        if reason > StopReason.SUPERSEDED:
            return Reject.BAD_FIELD
        return cls(StopReason(reason), received_count)


@dataclass(frozen=True)
class StopAck:
    """The server has ended the stream."""

    def encode(self) -> bytes:
        """No octets."""
        return b""

    @classmethod
    def parse(cls, data: bytes) -> StopAck | Reject:
        """The record, unless there are octets."""
        return Reject.BAD_LENGTH if data else cls()


@dataclass(frozen=True)
class Bye:
    """The server ends a stream."""

    reason: ByeReason

    def encode(self) -> bytes:
        """The body's octets."""
        return _BYE.pack(self.reason, bytes(3))

    @classmethod
    def parse(cls, data: bytes) -> Bye | Reject:
        """The record in `data`, or why not."""
        if len(data) != _BYE.size:
            return Reject.BAD_LENGTH
        reason, reserved = _BYE.unpack(data)
        if any(reserved):
            return Reject.RESERVED_NOT_ZERO
        if reason > ByeReason.PLACE_TAKEN:
            return Reject.BAD_FIELD
        return cls(ByeReason(reason))


@dataclass(frozen=True)
class Ping:
    """One side asks whether the other is there, and says how many data packets it has sent in this session so far.

    A server that has sent none yet, or few, is busy or slow; where many were sent and none came, none can pass.
    """

    token: int
    sent_count: int = 0  # A client sends none.

    def encode(self) -> bytes:
        """The body's octets."""
        return _PING.pack(self.token, self.sent_count)

    @classmethod
    def parse(cls, data: bytes) -> Ping | Reject:
        """The record in `data`, or why not."""
        if len(data) != _PING.size:
            return Reject.BAD_LENGTH
        return cls(*_PING.unpack(data))


@dataclass(frozen=True)
class Pong:
    """The answer to a Ping: it repeats the token."""

    token: int

    def encode(self) -> bytes:
        """The body's octets."""
        return _PONG.pack(self.token)

    @classmethod
    def parse(cls, data: bytes) -> Pong | Reject:
        """The record in `data`, or why not."""
        if len(data) != _PONG.size:
            return Reject.BAD_LENGTH
        return cls(*_PONG.unpack(data))


@dataclass(frozen=True)
class Proof:
    """The server shows its public key, and a signature by it of what was exchanged. The client answers with a Pong
    that repeats `challenge`."""

    identity: bytes
    challenge: int
    signature: bytes

    def encode(self) -> bytes:
        """The body's octets."""
        return _PROOF.pack(self.identity, self.challenge, self.signature)

    @classmethod
    def parse(cls, data: bytes) -> Proof | Reject:
        """The record in `data`, or why not."""
        if len(data) != _PROOF.size:
            return Reject.BAD_LENGTH
        return cls(*_PROOF.unpack(data))


Body = Report | Stop | StopAck | Ping | Pong | Bye | Proof

_BODIES: dict[PacketType, type[Body]] = {
    PacketType.REPORT: Report,
    PacketType.STOP: Stop,
    PacketType.STOP_ACK: StopAck,
    PacketType.PING: Ping,
    PacketType.PONG: Pong,
    PacketType.BYE: Bye,
    PacketType.PROOF: Proof,
}


def parse_body(packet_type: PacketType, body: bytes) -> Body | Reject:
    """The record in the opened body of a session packet, or why not."""
    return _BODIES[packet_type].parse(body)
