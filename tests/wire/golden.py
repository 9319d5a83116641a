"""The session of docs/wire.md as records: one small file, asked for, sent and stopped. Its octets stand in the page."""

from __future__ import annotations

import hashlib
from dataclasses import replace

from blake3 import blake3

from fountain.wire import session
from fountain.wire.control import (
    Hello,
    Listing,
    Offer,
    OfferBody,
    PacketType,
    Refusal,
    RefusalReason,
    Request,
    Retry,
    Want,
)
from fountain.wire.manifest import Entry, EntryKind, build
from fountain.wire.pairing import Pairing
from fountain.wire.session import Bye, ByeReason, Ping, Pong, Proof, Report, RequestBody, Stop, StopReason
from fountain.wire.signed import SIGNATURE_SIZE, SignedText
from tests.pages import golden_blocks, marked_tables, value_blocks

PAGE = "docs/wire.md"
TABLES = {name.removeprefix("table: "): table for name, table in marked_tables(PAGE).items() if ": " in name}
GOLDEN = golden_blocks(PAGE)
KEYS = value_blocks(PAGE)["keys"]
KEYED = KEYS | value_blocks(PAGE)["keyed keys"]  # the same exchange, at a server that has a key
SEALED = value_blocks(PAGE)["sealed"]

# --- The session of the page --------------------------------------------------------------------------------

CONTENT = bytes(range(100))
SYMBOL_SIZE = 64
GROUP_SESSION = 0x0123456789ABCDEF
_NAMES = blake3(KEYS["client public"]).digest()
NONCE, SESSION = _NAMES[:16], int.from_bytes(_NAMES[16:24], "big")
TOKEN = bytes([0, 0, 0, 7, *range(0xE0, 0xF0)])
COOKIE = bytes([0, 0, 0, 7, *range(0xC0, 0xD0)])
PROFILE = hashlib.sha256(b"fountain/raptorq/rfc6330/1").digest()[:8]

ENTRY = Entry(EntryKind.FILE, 0o644, 1_700_000_000_123_456_789, len(CONTENT))
MANIFEST = build(PROFILE, SYMBOL_SIZE, 1002, "hello.txt", (ENTRY,), blake3(CONTENT).digest())


def golden(name: str) -> bytes:
    return b"".join(data for _, data, _ in GOLDEN[name])


HELLO = Hello(NONCE, Want.NAME, blake3(b"hello.txt").digest(), TOKEN)
BODY = OfferBody(
    object_id=blake3(golden("manifest")).digest(),
    server_public=KEYS["server public"],
    key_index=3,
    profile_id=PROFILE,
    object_size=len(CONTENT),
    manifest_size=len(golden("manifest")),
    symbol_size=SYMBOL_SIZE,
    block_symbol_limit=1002,
    data_port=6331,
    is_directory=False,
    name="hello.txt",
    open=False,
)
OFFER = Offer(NONCE, COOKIE, BODY)
SIGNED_TEXT = SignedText(golden("signed text")[3:-SIGNATURE_SIZE], (golden("signed text")[-SIGNATURE_SIZE:],))
RELEASED_OFFER = Offer(NONCE, COOKIE, replace(BODY, release=SIGNED_TEXT))
LISTING = Listing(NONCE, 0, 1, (("hello.txt", 100), ("photos", 5_000_000_000)))
REFUSAL = Refusal(NONCE, RefusalReason.STALE_COOKIE)
RETRY = Retry(NONCE, TOKEN)
REQUEST = Request(
    SESSION, NONCE, COOKIE, 3, BODY.object_id, KEYS["client public"], open=False, sealed=golden("request")[120:]
)
REQUEST_BODY = RequestBody(bytes.fromhex("1122334455667788"), 40, False, "alice", ((3, 2), (6, 1)))
REPORT = Report(
    expected_sequence=4_294_967_302,
    received_count=4_294_967_000,
    due_sequence=4_294_967_300,
    missing_count=300,
    echo_timestamp_us=0x00ABCDEF,
    hold_us=1500,
    kernel_drop_count=7,
    damaged_count=2,
    arrival_timestamp_us=0x12345678,
    receive_buffer_size=4 << 20,
    open_limit=40,
    has_manifest=False,
    done=((0, 5), (9, 1)),
    needs=((5, 12), (session.MANIFEST_BIT, 1)),
)
STOP = Stop(StopReason.DONE, 4_294_967_100)
PING = Ping(0xFEEDFACECAFEBEEF, 4_294_967_302)
PONG = Pong(0xFEEDFACECAFEBEEF)
BYE = Bye(ByeReason.IDLE)
PROOF = Proof(golden("proof body")[:32], 0xFEEDFACECAFEBEEF, golden("proof body")[40:])
IDENTIFIED_OFFER = Offer(NONCE, COOKIE, replace(BODY, identified=True))
PAIRED = value_blocks(PAGE)["paired"]
PAIRING = Pairing(int.from_bytes(golden("pairing")[:8], "big"), golden("pairing")[8:])
PAIRED_OFFER = Offer(NONCE, COOKIE, replace(BODY, pairing=PAIRING))
PAIRED_REQUEST = replace(
    REQUEST, sealed=PAIRED["sealed body"], pairing=replace(PAIRING, element=PAIRED["client element"])
)
IDENTIFIED_REQUEST_BODY = replace(
    REQUEST_BODY, identity=golden("client identity")[:32], signature=golden("client identity")[32:]
)
FLAGGED = (RELEASED_OFFER, IDENTIFIED_OFFER, PAIRED_OFFER, PAIRED_REQUEST)

HANDSHAKE = {
    "hello": HELLO,
    "offer": OFFER,
    "listing": LISTING,
    "refusal": REFUSAL,
    "retry": RETRY,
    "request": REQUEST,
}
BODIES = {
    "signed text": SIGNED_TEXT,
    "pairing": PAIRING,
    "request body": REQUEST_BODY,
    "report body": REPORT,
    "stop body": STOP,
    "ping body": PING,
    "pong body": PONG,
    "bye body": BYE,
    "proof body": PROOF,
}
SESSION_PACKETS = {
    "report": (PacketType.REPORT, 1, "report body", "to-server"),
    "pong": (PacketType.PONG, 2, "pong body", "to-server"),
    "stop": (PacketType.STOP, 3, "stop body", "to-server"),
    "ping": (PacketType.PING, 1, "ping body", "to-client"),
    "stop ack": (PacketType.STOP_ACK, 2, "", "to-client"),
    "bye": (PacketType.BYE, 3, "bye body", "to-client"),
    "proof": (PacketType.PROOF, 4, "proof body", "to-client"),
}
