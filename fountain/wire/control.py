"""The handshake's packets: Hello, Offer, Listing, Refusal, Retry, Request. Offsets and golden bytes: `docs/wire.md`.

Every control packet begins with the same 8 octets: magic, version, type, flags. All integers are big-endian, reserved
bits are zero, lengths are exact. `parse` returns a record, or the `Reject` reason; it never raises on hostile octets.
"""

from __future__ import annotations

import enum
import struct
from dataclasses import dataclass, replace
from functools import cached_property

from fountain.geometry import Geometry, is_limit_plausible
from fountain.limits import CONTROL_SIZE_MAX, HELLO_SIZE, LISTING_PAGE_COUNT_MAX, MANIFEST_SIZE_MAX, NAME_SIZE_MAX
from fountain.wire.pairing import PAIRING_SIZE, Pairing
from fountain.wire.reject import Reject
from fountain.wire.signed import SignedText

__all__ = [
    "COOKIE_SIZE",
    "FLAG_IDENTIFIED",
    "FLAG_OPEN",
    "FLAG_PAIRED",
    "FLAG_RELEASED",
    "HEADER_SIZE",
    "MAGIC",
    "NONCE_SIZE",
    "REQUEST_HEADER_SIZE",
    "TOKEN_SIZE",
    "VERSION",
    "Hello",
    "Listing",
    "Offer",
    "OfferBody",
    "PacketType",
    "Refusal",
    "RefusalReason",
    "Request",
    "Retry",
    "Want",
    "pack_header",
    "parse_handshake",
    "parse_header",
]

MAGIC = b"FNTN"
VERSION = 2
HEADER_SIZE = 8
NONCE_SIZE = 16
COOKIE_SIZE = 20
TOKEN_SIZE = 20
FLAG_OPEN = 0x0001
FLAG_RELEASED = 0x0002  # Of an Offer: a signed release follows the name.
FLAG_IDENTIFIED = 0x0004  # Of an Offer: the server will prove its identity before all else.
FLAG_PAIRED = 0x0008  # Of an Offer and a Request: both sides know one code, and show their elements of it.

_HEADER = struct.Struct(">4sBBH")
_HELLO = struct.Struct(">16sB3s32s20s")
_OFFER_BODY = struct.Struct(">32s32sI8sQIHHHBB")
_LISTING = struct.Struct(">16sHHH")
_LISTING_ENTRY = struct.Struct(">QB")
_REFUSAL = struct.Struct(">16sB3s")
_RETRY = struct.Struct(">16s20s")
_REQUEST = struct.Struct(">Q16s20sI32s32s")

REQUEST_HEADER_SIZE = HEADER_SIZE + _REQUEST.size
TAG_SIZE = 16
_PADDING = bytes(HELLO_SIZE - HEADER_SIZE - _HELLO.size)
_NO_TOKEN = bytes(TOKEN_SIZE)


class PacketType(enum.IntEnum):
    """Octet 5 of a control packet."""

    HELLO = 1
    OFFER = 2
    LISTING = 3
    REFUSAL = 4
    REQUEST = 5
    RETRY = 6
    REPORT = 7
    STOP = 8
    STOP_ACK = 9
    PING = 10
    PONG = 11
    BYE = 12
    PROOF = 13


class Want(enum.IntEnum):
    """What a Hello asks for."""

    ANY = 0  # the only object, or else the listing; `want` is the listing's page number
    NAME = 1  # `want` is the BLAKE3 digest of the object's name in UTF-8
    OBJECT = 2  # `want` is the object's id


class RefusalReason(enum.IntEnum):
    """Why a server says no."""

    NO_SUCH_OBJECT = 1
    SERVER_FULL = 2
    SEAL_MISMATCH = 3
    STALE_COOKIE = 4
    SOURCE_CHANGED = 5
    KEY_MISMATCH = 6
    PREPARING = 7
    NOT_ALLOWED = 8
    WRONG_CODE = 9


def pack_header(packet_type: PacketType, flags: int = 0) -> bytes:
    """The 8 octets that begin a control packet."""
    return _HEADER.pack(MAGIC, VERSION, packet_type, flags)


def parse_header(data: bytes) -> tuple[PacketType, int] | Reject:
    """Type and flags of a control packet."""
    if not HEADER_SIZE <= len(data) <= CONTROL_SIZE_MAX:
        return Reject.BAD_LENGTH
    magic, version, packet_type, flags = _HEADER.unpack_from(data)
    if magic != MAGIC:
        return Reject.BAD_MAGIC
    if version != VERSION:
        return Reject.BAD_VERSION
    if not PacketType.HELLO <= packet_type <= PacketType.PROOF:
        return Reject.BAD_TYPE
    if flags & ~(FLAG_OPEN | FLAG_RELEASED | FLAG_IDENTIFIED | FLAG_PAIRED):
        return Reject.RESERVED_NOT_ZERO
    return PacketType(packet_type), flags


@dataclass(frozen=True)
class Hello:
    """The first packet, padded to HELLO_SIZE so that no answer is longer than the question.

    `token` is what a Retry gave: it shows that the client receives at its address. Zeros: the client has none.
    """

    nonce: bytes
    want_kind: Want = Want.ANY
    want: bytes = bytes(32)
    token: bytes = _NO_TOKEN

    def encode(self) -> bytes:
        """HELLO_SIZE octets."""
        return (
            pack_header(PacketType.HELLO)
            + _HELLO.pack(self.nonce, self.want_kind, bytes(3), self.want, self.token)
            + _PADDING
        )

    @classmethod
    def parse(cls, data: bytes, flags: int) -> Hello | Reject:
        """The record in `data`, or why not."""
        if len(data) != HELLO_SIZE:
            return Reject.BAD_LENGTH
        nonce, want_kind, reserved, want, token = _HELLO.unpack_from(data, HEADER_SIZE)
        if flags or any(reserved) or data[HEADER_SIZE + _HELLO.size :] != _PADDING:
            return Reject.RESERVED_NOT_ZERO
        if want_kind > Want.OBJECT:
            return Reject.BAD_FIELD
        return cls(nonce, Want(want_kind), want, token)

    @property
    def has_token(self) -> bool:
        """Whether the client has been given a token."""
        return self.token != _NO_TOKEN


@dataclass(frozen=True)
class OfferBody:
    """The part of an Offer that is the same for everybody: the object, its geometry, the server's key, the release."""

    object_id: bytes
    server_public: bytes  # X25519
    key_index: int
    profile_id: bytes  # of the code
    object_size: int
    manifest_size: int
    symbol_size: int
    block_symbol_limit: int
    data_port: int
    is_directory: bool
    name: str
    open: bool
    release: SignedText | None = None
    identified: bool = False
    pairing: Pairing | None = None

    @property
    def flags(self) -> int:
        """Those of a packet with this body."""
        released = FLAG_RELEASED if self.release is not None else 0
        paired = FLAG_PAIRED if self.pairing is not None else 0
        return (FLAG_OPEN if self.open else 0) | released | (FLAG_IDENTIFIED if self.identified else 0) | paired

    @cached_property
    def geometry(self) -> Geometry:
        """How the object is cut."""
        return Geometry(self.object_size, self.symbol_size, self.block_symbol_limit)

    @cached_property
    def manifest_geometry(self) -> Geometry:
        """How the manifest is cut: as an object of its own, with the same symbols."""
        return Geometry(self.manifest_size, self.symbol_size, self.block_symbol_limit)

    def encode(self) -> bytes:
        """The body's octets; the handshake's transcript covers exactly these, led by the packet's flags."""
        return self._octets

    @cached_property
    def _octets(self) -> bytes:
        name = self.name.encode()
        return (
            _OFFER_BODY.pack(
                self.object_id,
                self.server_public,
                self.key_index,
                self.profile_id,
                self.object_size,
                self.manifest_size,
                self.symbol_size,
                self.block_symbol_limit,
                self.data_port,
                int(self.is_directory),
                len(name),
            )
            + name
            + (b"" if self.pairing is None else self.pairing.encode())
            + (b"" if self.release is None else self.release.encode())
        )

    @classmethod
    def parse(cls, data: bytes, flags: int) -> OfferBody | Reject:
        """The body in `data`, with every number checked against the limits."""
        if len(data) < _OFFER_BODY.size:
            return Reject.BAD_LENGTH
        fields = _OFFER_BODY.unpack_from(data)
        is_directory, name_size = fields[9:]
        name_octets, rest = data[_OFFER_BODY.size :][:name_size], data[_OFFER_BODY.size + name_size :]
        pairing = Pairing.parse(rest[:PAIRING_SIZE]) if flags & FLAG_PAIRED else None
        rest = rest[PAIRING_SIZE:] if flags & FLAG_PAIRED else rest
        if len(name_octets) != name_size or (rest and not flags & FLAG_RELEASED):
            return Reject.BAD_LENGTH
        name = _decode_name(name_octets)
        if name is None:
            return Reject.BAD_NAME
        release = SignedText.parse(rest) if flags & FLAG_RELEASED else None
        if isinstance(pairing, Reject):
            return pairing
        if isinstance(release, Reject):
            return release
        if flags & FLAG_PAIRED and flags & FLAG_OPEN:  # Nobody who shares a code sends in clear.
            return Reject.BAD_FIELD
        if is_directory > 1 or not 1 <= fields[5] <= MANIFEST_SIZE_MAX or not fields[8]:
            return Reject.BAD_FIELD
        body = cls(*(*fields[:9], bool(is_directory), name, bool(flags & FLAG_OPEN), release))
        body = replace(body, identified=bool(flags & FLAG_IDENTIFIED), pairing=pairing)
        try:
            _ = body.geometry, body.manifest_geometry
            is_plausible = is_limit_plausible(body.object_size, body.symbol_size, body.block_symbol_limit)
        except ValueError:
            return Reject.BAD_FIELD
        if not is_plausible:
            return Reject.BAD_FIELD
        return body


@dataclass(frozen=True)
class Offer:
    """The server's answer to a Hello: a stateless cookie and all that the client must know to ask and to receive."""

    nonce: bytes
    cookie: bytes
    body: OfferBody

    def encode(self) -> bytes:
        """The packet's octets, at most CONTROL_SIZE_MAX."""
        header = pack_header(PacketType.OFFER, self.body.flags)
        return header + self.nonce + self.cookie + self.body.encode()

    @classmethod
    def parse(cls, data: bytes, flags: int) -> Offer | Reject:
        """The record in `data`, or why not."""
        start = HEADER_SIZE + NONCE_SIZE + COOKIE_SIZE
        if len(data) < start:
            return Reject.BAD_LENGTH
        body = OfferBody.parse(data[start:], flags)
        if isinstance(body, Reject):
            return body
        return cls(data[HEADER_SIZE : HEADER_SIZE + NONCE_SIZE], data[HEADER_SIZE + NONCE_SIZE : start], body)


@dataclass(frozen=True)
class Listing:
    """The answer to a Hello that names nothing while there are several objects: one page of (name, size)."""

    nonce: bytes
    page: int
    page_count: int
    entries: tuple[tuple[str, int], ...]

    def encode(self) -> bytes:
        """The packet's octets."""
        parts = [
            pack_header(PacketType.LISTING),
            _LISTING.pack(self.nonce, self.page, self.page_count, len(self.entries)),
        ]
        for name, size in self.entries:
            octets = name.encode()
            parts.append(_LISTING_ENTRY.pack(size, len(octets)) + octets)
        return b"".join(parts)

    @classmethod
    def parse(cls, data: bytes, flags: int) -> Listing | Reject:
        """The record in `data`, or why not."""
        offset = HEADER_SIZE + _LISTING.size
        if len(data) < offset:
            return Reject.BAD_LENGTH
        nonce, page, page_count, count = _LISTING.unpack_from(data, HEADER_SIZE)
        if flags:
            return Reject.RESERVED_NOT_ZERO
        if page_count > LISTING_PAGE_COUNT_MAX:
            return Reject.TOO_LARGE
        if page >= page_count:
            return Reject.BAD_FIELD
        entries = []
        for _ in range(count):
            if len(data) < offset + _LISTING_ENTRY.size:
                return Reject.TRUNCATED
            size, name_size = _LISTING_ENTRY.unpack_from(data, offset)
            offset += _LISTING_ENTRY.size
            name = _decode_name(data[offset : offset + name_size])
            if name is None or len(data) < offset + name_size:
                return Reject.BAD_NAME
            entries.append((name, size))
            offset += name_size
        if offset != len(data):
            return Reject.BAD_LENGTH
        return cls(nonce, page, page_count, tuple(entries))

    @staticmethod
    def pages(entries: list[tuple[str, int]]) -> list[list[tuple[str, int]]]:
        """`entries` in pages of which each fits one packet."""
        room = CONTROL_SIZE_MAX - HEADER_SIZE - _LISTING.size
        pages: list[list[tuple[str, int]]] = [[]]
        left = room
        for name, size in entries:
            cost = _LISTING_ENTRY.size + len(name.encode(errors="surrogateescape"))
            if cost > left:
                pages.append([])
                left = room
            pages[-1].append((name, size))
            left -= cost
        return pages


@dataclass(frozen=True)
class Refusal:
    """The server understood and says no."""

    nonce: bytes
    reason: RefusalReason

    def encode(self) -> bytes:
        """The packet's octets."""
        return pack_header(PacketType.REFUSAL) + _REFUSAL.pack(self.nonce, self.reason, bytes(3))

    @classmethod
    def parse(cls, data: bytes, flags: int) -> Refusal | Reject:
        """The record in `data`, or why not."""
        if len(data) != HEADER_SIZE + _REFUSAL.size:
            return Reject.BAD_LENGTH
        nonce, reason, reserved = _REFUSAL.unpack_from(data, HEADER_SIZE)
        if flags or any(reserved):
            return Reject.RESERVED_NOT_ZERO
        if not RefusalReason.NO_SUCH_OBJECT <= reason <= RefusalReason.WRONG_CODE:
            return Reject.BAD_FIELD
        return cls(nonce, RefusalReason(reason))


@dataclass(frozen=True)
class Retry:
    """The server has been asked too often from there: say Hello again with this token, which only its receiver has."""

    nonce: bytes
    token: bytes

    def encode(self) -> bytes:
        """The packet's octets."""
        return pack_header(PacketType.RETRY) + _RETRY.pack(self.nonce, self.token)

    @classmethod
    def parse(cls, data: bytes, flags: int) -> Retry | Reject:
        """The record in `data`, or why not."""
        if len(data) != HEADER_SIZE + _RETRY.size:
            return Reject.BAD_LENGTH
        nonce, token = _RETRY.unpack_from(data, HEADER_SIZE)
        if flags:
            return Reject.RESERVED_NOT_ZERO
        return cls(nonce, token) if token != _NO_TOKEN else Reject.BAD_FIELD


@dataclass(frozen=True)
class Request:
    """Sent to the data port from the socket that will receive. `sealed` is a `RequestBody` under the session's key."""

    session: int
    nonce: bytes
    cookie: bytes
    key_index: int
    object_id: bytes
    client_public: bytes
    open: bool
    sealed: bytes
    pairing: Pairing | None = None

    def header(self) -> bytes:
        """The octets before the sealed body: its associated data, and part of the transcript."""
        flags = (FLAG_OPEN if self.open else 0) | (FLAG_PAIRED if self.pairing is not None else 0)
        fields = (self.session, self.nonce, self.cookie, self.key_index, self.object_id, self.client_public)
        pairing = b"" if self.pairing is None else self.pairing.encode()
        return pack_header(PacketType.REQUEST, flags) + _REQUEST.pack(*fields) + pairing

    def encode(self) -> bytes:
        """The packet's octets."""
        return self.header() + self.sealed

    @classmethod
    def parse(cls, data: bytes, flags: int) -> Request | Reject:
        """The record in `data`, or why not."""
        is_paired = bool(flags & FLAG_PAIRED)
        sealed_at = REQUEST_HEADER_SIZE + (PAIRING_SIZE if is_paired else 0)
        if len(data) < sealed_at + TAG_SIZE:
            return Reject.BAD_LENGTH
        if flags & ~(FLAG_OPEN | FLAG_PAIRED):
            return Reject.RESERVED_NOT_ZERO
        if is_paired and flags & FLAG_OPEN:
            return Reject.BAD_FIELD
        fields = _REQUEST.unpack_from(data, HEADER_SIZE)
        pairing = Pairing.parse(data[REQUEST_HEADER_SIZE:sealed_at]) if is_paired else None
        if isinstance(pairing, Reject):
            return pairing
        return cls(*(*fields, bool(flags & FLAG_OPEN), data[sealed_at:], pairing))


Handshake = Hello | Offer | Listing | Refusal | Retry | Request


def parse_handshake(data: bytes, packet_type: PacketType, flags: int) -> Handshake | Reject:
    """The handshake record in `data`, whose header was parsed; BAD_TYPE for a packet of an established session."""
    match packet_type:
        case PacketType.HELLO:
            return Hello.parse(data, flags)
        case PacketType.OFFER:
            return Offer.parse(data, flags)
        case PacketType.LISTING:
            return Listing.parse(data, flags)
        case PacketType.REFUSAL:
            return Refusal.parse(data, flags)
        case PacketType.RETRY:
            return Retry.parse(data, flags)
        case PacketType.REQUEST:
            return Request.parse(data, flags)
        case _:
            return Reject.BAD_TYPE


def _decode_name(octets: bytes) -> str | None:
    """A name as text; None where it is empty, too long or not UTF-8. Whether it is safe to create is for storage."""
    if not 1 <= len(octets) <= NAME_SIZE_MAX:
        return None
    try:
        return octets.decode()
    except UnicodeDecodeError:
        return None
