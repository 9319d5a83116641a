"""docs/wire.md against the code, both ways: its tables, its golden octets, its keys. The page cannot lie.

Records are written here as values; their octets stand in the page alone. Keys are derived once more by a twin made of
`hmac` and `hashlib`, from the X25519 vector of RFC 7748 section 6.1.
"""

from __future__ import annotations

import hmac
import struct
from dataclasses import replace
from enum import IntEnum
from hashlib import sha256

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st
from spake2.parameters.ed25519 import ParamsEd25519

from fountain.codes.raptorq import RaptorQ
from fountain.integrity import Seal, SessionKeys, key_pair, session_keys
from fountain.limits import CONTROL_SIZE_MAX, NAME_SIZE_MAX
from fountain.protocol.base.handshake import names_of, proof_message, transcript
from fountain.protocol.base.replay import expand_sequence
from fountain.trust.release import NAMESPACE, Release
from fountain.trust.spake import client_exchanges, server_exchanges
from fountain.trust.sshsig import Signature, parse_signature
from fountain.wire import control, manifest, pairing, session, signed
from fountain.wire import data as train
from fountain.wire.control import (
    FLAG_IDENTIFIED,
    FLAG_OPEN,
    FLAG_PAIRED,
    FLAG_RELEASED,
    PacketType,
    RefusalReason,
    Want,
    parse_handshake,
    parse_header,
)
from fountain.wire.parts import Joiner, part_size, split
from fountain.wire.reject import Reject
from fountain.wire.session import ByeReason, RequestBody, SessionHeader, StopReason
from fountain.wire.signed import SIGNATURE_COUNT_MAX, SIGNATURE_SIZE, TEXT_SIZE_MAX, SignedText
from tests.pages import all_tables, marked_tables, page, value_blocks
from tests.wire.golden import (
    BODIES,
    BODY,
    CONTENT,
    ENTRY,
    GOLDEN,
    HANDSHAKE,
    IDENTIFIED_OFFER,
    IDENTIFIED_REQUEST_BODY,
    KEYED,
    KEYS,
    MANIFEST,
    OFFER,
    PAGE,
    PAIRED,
    PAIRED_OFFER,
    PAIRED_REQUEST,
    PAIRING,
    PROFILE,
    PROOF,
    RELEASED_OFFER,
    REQUEST,
    SEALED,
    SESSION,
    SESSION_PACKETS,
    SIGNED_TEXT,
    SYMBOL_SIZE,
    TABLES,
    golden,
)
from tests.wire.layouts import assert_octets_stand_as_described, assert_table_has_formats, damaged
from tests.wire.packets import data_packet, has_sound_checksum, naive_unseal, parsed
from tests.wire.test_train import naive_crc32c

# --- Tables -------------------------------------------------------------------------------------------------

# The struct formats behind the fixed part of each table, and the sizes of what is written around them by hand.
FORMATS: dict[str, list[struct.Struct | int]] = {
    "control header": [control._HEADER],
    "hello": [8, control._HELLO, 1200 - 8 - control._HELLO.size],
    "offer": [8, control.NONCE_SIZE, control.COOKIE_SIZE, control._OFFER_BODY],
    "listing": [8, control._LISTING],
    "listing entry": [control._LISTING_ENTRY],
    "refusal": [8, control._REFUSAL],
    "retry": [8, control._RETRY],
    "request": [8, control._REQUEST],
    "request body": [session._REQUEST_BODY],
    "session header": [8, session._SESSION],
    "report body": [session._REPORT],
    "stop body": [session._STOP],
    "ping body": [session._PING],
    "pong body": [session._PONG],
    "bye body": [session._BYE],
    "proof body": [session._PROOF],
    "client identity": [session._CLIENT_IDENTITY],
    "signed text": [signed._HEADER],
    "pairing": [pairing._PAIRING],
    "part": [1, 1, 1, 1, 8, 4],
    "manifest": [manifest._HEADER],
    "manifest entry": [manifest._ENTRY],
    "manifest extent": [manifest._EXTENT],
}


@pytest.mark.parametrize("name", FORMATS)
def test_fields_of_a_table_are_those_of_the_struct_format(name: str) -> None:
    assert_table_has_formats(TABLES[name], FORMATS[name])


def test_every_table_has_its_struct_format_and_every_layout_its_golden_octets() -> None:
    assert set(TABLES) == {*FORMATS, "data"}
    assert {name.split()[0] if name.startswith("data") else name for name in GOLDEN} | {"control header"} == set(TABLES)


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_octets_stand_where_the_table_says(name: str) -> None:
    fields = list(GOLDEN[name])
    if fields[-1][2] == "entries":
        fields.pop()
    table = TABLES[name.split()[0] if name.startswith("data ") else name]
    assert_octets_stand_as_described(fields, table, {"T": SYMBOL_SIZE})


def test_data_table_covers_header_and_tail() -> None:
    rows = [(row["offset"], row["size"], row["field"]) for row in TABLES["data"]]
    assert [int(size) for _, size, _ in rows[:-2]] == [1, 1, 2, 8, 4, 4, 4, 3, 1]
    assert rows[-2:] == [("28", "T", "symbol"), ("28 + T", "16", "tail")]


def test_types_and_reasons_of_the_page_are_those_of_the_code() -> None:
    tables = {next(iter(table[0])): table for table in all_tables(PAGE)}
    assert {int(row["type"]): row["packet"] for row in tables["type"]} == {kind: kind.name for kind in PacketType}
    reasons = next(table for table in all_tables(PAGE) if list(table[0])[:2] == ["reason", "name"])
    assert {int(row["reason"]): row["name"] for row in reasons} == {reason: reason.name for reason in RefusalReason}

    def named(table: str, field: str) -> str:
        return next(row["rule"] for row in TABLES[table] if row["field"] == field)

    def numbered(kind: type[IntEnum]) -> str:
        return ", ".join(f"{member.value} {member.name}" for member in kind)

    assert named("stop body", "reason") == numbered(StopReason)
    assert named("bye body", "reason") == numbered(ByeReason)
    assert named("hello", "want kind") == numbered(Want)
    flags = f"{train.FLAG_OPEN} OPEN, {train.FLAG_MANIFEST} MANIFEST"
    assert named("data", "flags").startswith(flags + ";")


def test_drop_reasons_of_the_page_are_those_of_the_code() -> None:
    rows = marked_tables(PAGE)["rejects"]
    assert {row["reason"]: row["meaning"] for row in rows} == {reason.name: reason.value for reason in Reject}


# --- Records ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", HANDSHAKE)
def test_handshake_packet_is_written_and_read_as_on_the_page(name: str) -> None:
    record, octets = HANDSHAKE[name], golden(name)
    assert record.encode() == octets
    header = parse_header(octets)
    assert not isinstance(header, Reject)
    assert parse_handshake(octets, *header) == record


@pytest.mark.parametrize("name", BODIES)
def test_body_is_written_and_read_as_on_the_page(name: str) -> None:
    record, octets = BODIES[name], golden(name)
    assert record.encode() == octets
    assert type(record).parse(octets) == record


@pytest.mark.parametrize("name", BODIES)
def test_body_of_another_length_is_refused(name: str) -> None:
    octets, kind = golden(name), type(BODIES[name])
    for wrong in (octets[:-1], octets + b"\0", b""):
        assert kind.parse(wrong) is Reject.BAD_LENGTH


@pytest.mark.parametrize("name", HANDSHAKE)
def test_handshake_packet_of_another_length_is_refused(name: str) -> None:
    octets = golden(name)
    for wrong in (octets + b"\0", octets[: 8 + 15]):
        header = parse_header(wrong)
        if name == "request" and len(wrong) > len(octets):
            continue  # The length of a Request's sealed body is proved by its tag alone.
        record = header if isinstance(header, Reject) else parse_handshake(wrong, *header)
        assert isinstance(record, Reject), name


@pytest.mark.parametrize("name", [*HANDSHAKE, *BODIES, "manifest"])
def test_reserved_octets_must_be_zero(name: str) -> None:
    octets = golden(name)
    for offset, data, field in GOLDEN[name]:
        if field not in ("reserved", "padding"):
            continue
        for at in (offset, offset + len(data) - 1):
            wrong = octets[:at] + b"\x01" + octets[at + 1 :]
            if name == "manifest":
                assert manifest.parse(wrong) is Reject.RESERVED_NOT_ZERO
            elif name in BODIES:
                assert type(BODIES[name]).parse(wrong) is Reject.RESERVED_NOT_ZERO
            else:
                header = parse_header(wrong)
                assert not isinstance(header, Reject)
                assert parse_handshake(wrong, *header) is Reject.RESERVED_NOT_ZERO


def reread(name: str, octets: bytes) -> tuple[object, bytes]:
    """The record or reason that `octets` are read as, and the octets that this is written as."""
    if name in BODIES:
        body = type(BODIES[name]).parse(octets)
        return body, octets if isinstance(body, Reject) else body.encode()
    if name == "manifest":
        whole = manifest.parse(octets)
        return whole, octets if isinstance(whole, Reject) else manifest.encode(whole)
    header = parse_header(octets)
    record = header if isinstance(header, Reject) else parse_handshake(octets, *header)
    return record, octets if isinstance(record, Reject) else record.encode()


@pytest.mark.parametrize("name", [*HANDSHAKE, *BODIES, "manifest"])
@given(data=st.data())
def test_damaged_octets_are_a_reason_or_the_one_way_to_write_a_record(name: str, data: st.DataObject) -> None:
    octets = damaged(data, golden(name))
    record, written = reread(name, octets)
    if isinstance(record, RequestBody) and "\N{REPLACEMENT CHARACTER}" in record.host:
        return  # The one text that is shown and never compared: a damaged one is no reason to refuse a client.
    assert written == octets


def test_manifest_is_written_and_read_as_on_the_page() -> None:
    assert manifest.encode(MANIFEST) == golden("manifest")
    assert manifest.parse(golden("manifest")) == MANIFEST
    assert golden("manifest entry") in golden("manifest")
    sparse = manifest.Entry(manifest.EntryKind.SPARSE, size=1 << 21, extents=((1 << 20, 4096),))
    extents = manifest.build(PROFILE, SYMBOL_SIZE, 1002, "image", [ENTRY] * 7 + [sparse], b"").extents
    assert extents.tobytes() == golden("manifest extent")


def test_profile_of_the_page_is_the_built_in_code() -> None:
    assert RaptorQ.profile_id == PROFILE


def test_longest_offer_is_as_long_as_the_page_says() -> None:
    longest = replace(BODY, name="n" * NAME_SIZE_MAX)
    release = SignedText(bytes(TEXT_SIZE_MAX), (bytes(SIGNATURE_SIZE),) * SIGNATURE_COUNT_MAX)
    sizes = [len(replace(OFFER, body=body).encode()) for body in (longest, replace(longest, release=release))]
    assert f"At most {sizes[0]} octets, and at most {sizes[1]} with a release" in page(PAGE)
    assert max(sizes) <= CONTROL_SIZE_MAX


def test_released_offer_is_the_offer_with_a_flag_and_the_signed_text() -> None:
    octets = golden("offer")[:6] + b"\0\2" + golden("offer")[8:] + golden("signed text")
    assert RELEASED_OFFER.encode() == octets
    assert parse_handshake(octets, PacketType.OFFER, FLAG_RELEASED) == RELEASED_OFFER
    assert isinstance(parse_handshake(octets, PacketType.OFFER, 0), Reject)
    assert isinstance(parse_handshake(golden("offer"), PacketType.OFFER, FLAG_RELEASED), Reject)


def test_identified_offer_is_the_offer_with_a_flag() -> None:
    octets = golden("offer")[:6] + b"\0\4" + golden("offer")[8:]
    assert IDENTIFIED_OFFER.encode() == octets
    assert parse_handshake(octets, PacketType.OFFER, FLAG_IDENTIFIED) == IDENTIFIED_OFFER


def test_identity_of_a_client_stands_behind_the_body() -> None:
    octets = golden("request body") + golden("client identity")
    assert IDENTIFIED_REQUEST_BODY.encode() == octets
    assert RequestBody.parse(octets) == IDENTIFIED_REQUEST_BODY
    for wrong in (octets[:-1], octets + b"\0", golden("request body") + bytes(32)):
        assert RequestBody.parse(wrong) is Reject.BAD_LENGTH


def test_signatures_of_the_page_are_of_what_was_exchanged() -> None:
    exchanged = transcript(IDENTIFIED_OFFER.body, REQUEST.header())
    assert exchanged == b"\4" + KEYS["transcript"][1:]
    values = value_blocks(PAGE)["identified"]
    assert values["digest of the transcript"] == blake3(exchanged).digest()
    client, server = IDENTIFIED_REQUEST_BODY, PROOF
    message = blake3(b"proof" + blake3(exchanged).digest() + client.identity).digest()
    assert values["what the server signs"] == message == proof_message(blake3(exchanged).digest(), client.identity)
    for public_key, signature, text, namespace in (
        (client.identity, client.signature, blake3(exchanged).digest(), b"client@fountain-udp"),
        (server.identity, server.signature, message, b"server@fountain-udp"),
    ):
        Signature(public_key, namespace, signature).verify(text, namespace)
    assert server.identity.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    assert client.identity.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"


def test_pairing_stands_behind_the_name_and_the_clear_part() -> None:
    offer, request = golden("offer"), golden("request")
    octets = offer[:6] + b"\0\x08" + offer[8:] + golden("pairing")
    assert PAIRED_OFFER.encode() == octets
    assert parse_handshake(octets, PacketType.OFFER, FLAG_PAIRED) == PAIRED_OFFER
    shown = golden("pairing")[:8] + PAIRED["client element"]
    asked = request[:6] + b"\0\x08" + request[8:120] + shown + PAIRED["sealed body"]
    assert PAIRED_REQUEST.encode() == asked
    assert parse_handshake(asked, PacketType.REQUEST, FLAG_PAIRED) == PAIRED_REQUEST
    both = replace(PAIRED_OFFER, body=replace(PAIRED_OFFER.body, release=SIGNED_TEXT))
    assert parse_handshake(both.encode(), PacketType.OFFER, FLAG_PAIRED | FLAG_RELEASED) == both
    for wrong in (octets[:-1], octets + b"\0", offer):
        assert parse_handshake(wrong, PacketType.OFFER, FLAG_PAIRED) is Reject.BAD_LENGTH
    assert parse_handshake(asked[: 160 + 15], PacketType.REQUEST, FLAG_PAIRED) is Reject.BAD_LENGTH
    for packet, kind in ((octets, PacketType.OFFER), (asked, PacketType.REQUEST)):
        assert parse_handshake(packet, kind, FLAG_PAIRED | FLAG_OPEN) is Reject.BAD_FIELD


def test_key_of_the_pairing_follows_from_the_code_of_the_page() -> None:
    """The library's points and scalars, put together here as the page says."""
    group, code = ParamsEd25519.group, PAIRED["code"]
    w = int.from_bytes(naive_hkdf(b"", code, b"SPAKE2 pw", 48), "big") % group.order()
    assert (ParamsEd25519.M.to_bytes(), ParamsEd25519.N.to_bytes()) == (PAIRED["M"], PAIRED["N"])
    x, y = (int.from_bytes(PAIRED[name], "big") for name in "xy")
    ours, theirs = (
        group.Base.scalarmult(scalar).add(point.scalarmult(w))
        for scalar, point in ((x, ParamsEd25519.M), (y, ParamsEd25519.N))
    )
    assert (ours.to_bytes(), theirs.to_bytes()) == (PAIRED["client element"], PAIRED["server element"])
    assert PAIRED["server element"] == PAIRING.element
    point = theirs.add(ParamsEd25519.N.scalarmult(-w)).scalarmult(x).to_bytes()
    parts = [sha256(part).digest() for part in (code, b"client@fountain-udp", b"server@fountain-udp")]
    elements = PAIRED["client element"] + PAIRED["server element"]
    assert PAIRED["key"] == sha256(b"".join(parts) + elements + point).digest()
    server, client = (begin(code.decode())(bytes(32)) for begin in (server_exchanges, client_exchanges))
    key = server.finish(client.element)
    assert key is not None
    assert key == client.finish(server.element)


def test_request_of_a_pairing_is_sealed_under_its_key() -> None:
    exchanged = transcript(PAIRED_OFFER.body, PAIRED_REQUEST.header())
    assert exchanged == b"\x08" + PAIRED_OFFER.encode()[44:] + PAIRED_REQUEST.encode()[:160]
    assert PAIRED["digest"] == blake3(exchanged).digest()
    keys = session_keys(key_pair(KEYS["client private"])[0], KEYS["server public"], exchanged, PAIRED["key"])
    assert keys is not None
    assert keys.to_server.open(0, PAIRED_REQUEST.header(), PAIRED["sealed body"]) == golden("request body")
    okm = naive_hkdf(PAIRED["key"], KEYS["shared"], b"fountain 1 session" + PAIRED["digest"], 84)
    assert keys.to_server.iv == okm[44:56]


def test_release_of_the_page_is_of_its_object_and_signed_by_its_key() -> None:
    text, (octets,) = SIGNED_TEXT.text, SIGNED_TEXT.signatures
    release, signature = Release.parse(text), parse_signature(octets)
    assert (release.product, release.version, release.object_id) == ("hello", 42, BODY.object_id)
    assert signature.public_key.hex() == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
    signature.verify(text, NAMESPACE)


@pytest.mark.parametrize("flag", [1, 2, 4, 8])
@pytest.mark.parametrize("name", ["hello", "listing", "refusal", "retry", "request"])
def test_only_an_offer_may_be_released_or_identified(name: str, flag: int) -> None:
    octets = golden(name)
    if name == "request" and flag in (FLAG_OPEN, FLAG_PAIRED):
        return
    assert HANDSHAKE[name].parse(octets, flag) is Reject.RESERVED_NOT_ZERO


@pytest.mark.parametrize(
    ("octets", "reason"),
    [
        (b"\0\0\1" + bytes(190), Reject.BAD_FIELD),
        (b"\0\1\0" + bytes(1), Reject.BAD_FIELD),
        (b"\1\1\1" + bytes(257 + 190), Reject.TOO_LARGE),
        (b"\0\1\3" + bytes(1 + 3 * 190), Reject.TOO_LARGE),
        (b"\0\1", Reject.BAD_LENGTH),
        (b"\0\1\2" + bytes(1 + 190), Reject.BAD_LENGTH),
    ],
)
def test_sizes_of_a_signed_text_are_bounded(octets: bytes, reason: Reject) -> None:
    assert SignedText.parse(octets) is reason


# --- Keys ---------------------------------------------------------------------------------------------------


def naive_hkdf(salt: bytes, secret: bytes, info: bytes, size: int) -> bytes:
    """RFC 5869 with SHA-256."""
    key = hmac.digest(salt, secret, "sha256")
    out, last, count = b"", b"", 0
    while len(out) < size:
        count += 1
        last = hmac.digest(key, last + info + bytes([count]), "sha256")
        out += last
    return out[:size]


def page_keys() -> SessionKeys:
    return SessionKeys(*(Seal(KEYS[f"{name} key"], KEYS[f"{name} iv"]) for name in ("data", "to-server", "to-client")))


def test_nonce_and_session_id_of_the_page_follow_from_the_public_key() -> None:
    assert names_of(KEYS["client public"]) == (golden("hello")[8:24], SESSION)
    assert golden("request")[8:16] == SESSION.to_bytes(8, "big")
    assert blake3(KEYS["client public"]).digest()[:24] == golden("hello")[8:24] + golden("request")[8:16]


def test_key_schedule_of_the_page_follows_from_the_private_keys() -> None:
    private, public = key_pair(KEYS["client private"])
    other, other_public = key_pair(KEYS["server private"])
    assert (public, other_public) == (KEYS["client public"], KEYS["server public"])
    assert private.exchange(other.public_key()) == KEYS["shared"]
    assert KEYS["transcript"] == b"\0" + golden("offer")[44:] + golden("request")[:120]
    assert KEYS["digest of it"] == blake3(KEYS["transcript"]).digest()
    assert KEYS["info"] == b"fountain 1 session" + KEYS["digest of it"]
    names = ["data key", "data iv", "to-server key", "to-server iv", "to-client key", "to-client iv"]
    for keys in (KEYS, KEYED):
        okm = naive_hkdf(keys["salt"], keys["shared"], keys["info"], 84)
        assert okm == b"".join(keys[name] for name in names)
    assert KEYS["salt"] == bytes(32)
    assert KEYED["salt"] == value_blocks("docs/wire-groups.md")["keyed group"]["key"]


@pytest.mark.parametrize(("values", "key"), [(KEYS, None), (KEYED, KEYED["salt"])], ids=["without a key", "with a key"])
def test_both_sides_derive_the_keys_of_the_page(values: dict[str, bytes], key: bytes | None) -> None:
    assert transcript(BODY, REQUEST.header()) == values["transcript"]
    for own, peer in (("client", "server"), ("server", "client")):
        keys = session_keys(key_pair(values[f"{own} private"])[0], values[f"{peer} public"], values["transcript"], key)
        assert keys is not None
        for name, seal in (("data", keys.data), ("to-server", keys.to_server), ("to-client", keys.to_client)):
            assert seal.iv == values[f"{name} iv"]
            expected = Seal(values[f"{name} key"], values[f"{name} iv"])
            assert seal.seal(9, b"header", b"body") == expected.seal(9, b"header", b"body")


def naive_open(name: str, sequence: int, header: bytes, sealed: bytes) -> bytes:
    return naive_unseal(KEYS[f"{name} key"], KEYS[f"{name} iv"], sequence, header, sealed)


def test_request_carries_its_body_under_number_zero() -> None:
    octets = golden("request")
    assert naive_open("to-server", 0, octets[:120], octets[120:]) == golden("request body")
    assert page_keys().to_server.seal(0, octets[:120], golden("request body")) == octets[120:]


@pytest.mark.parametrize("name", SESSION_PACKETS)
def test_session_packet_is_sealed_and_opened_as_on_the_page(name: str) -> None:
    kind, sequence, body_name, direction = SESSION_PACKETS[name]
    octets, body = SEALED[name], golden(body_name) if body_name else b""
    header = SessionHeader(kind, SESSION, sequence)
    assert octets[:24] == header.encode()
    assert SessionHeader.parse(octets, kind, 0) == header
    assert naive_open(direction, sequence, octets[:24], octets[24:]) == body
    assert getattr(page_keys(), direction.replace("-", "_")).seal(sequence, octets[:24], body) == octets[24:]


def test_page_seals_no_two_packets_with_one_key_and_number() -> None:
    used = [(direction, sequence) for _, sequence, _, direction in SESSION_PACKETS.values()]
    assert len(set(used)) == len(used) == len(SEALED)
    assert set(SEALED) == set(SESSION_PACKETS)
    assert golden("session header") == SEALED["report"][:24]


# --- Data packets -------------------------------------------------------------------------------------------


def test_sealed_data_packet_is_written_and_read_as_on_the_page() -> None:
    octets, sequence = golden("data sealed"), 2**32 + 5
    assert data_packet(0, sequence, CONTENT[:64], page_keys().data) == octets
    columns = parsed(octets)
    assert columns.flags[0] == 0
    assert expand_sequence(int(columns.sequence[0]), sequence - 3) == sequence
    assert naive_open("data", sequence, octets[:28], octets[28:]) == CONTENT[:64]


def test_part_is_cut_and_joined_as_on_the_page() -> None:
    whole = golden("data sealed")
    out = np.full((2, part_size(len(whole), 2)), 0xAA, dtype=np.uint8)
    split(np.frombuffer(whole, dtype=np.uint8).reshape(1, -1), 2, out)
    assert out[1].tobytes() == golden("part")
    assert out[0, 16:].tobytes() + out[1, 16:].tobytes() == whole
    assert Joiner(len(whole)).join(out).tobytes() == whole


def test_open_data_packet_is_written_and_read_as_on_the_page() -> None:
    octets, flags = golden("data open"), train.FLAG_OPEN | train.FLAG_MANIFEST
    assert data_packet(flags, 6, golden("manifest")[:64], None) == octets
    columns = parsed(octets)
    assert (columns.flags[0], columns.sequence[0]) == (flags, 6)
    assert has_sound_checksum(octets)
    assert octets[28:-16] == golden("manifest")[:64]
    assert octets[-16:] == naive_crc32c(octets[:-16]).to_bytes(4, "big") + bytes(12)
