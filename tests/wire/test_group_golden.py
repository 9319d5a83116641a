"""docs/wire-groups.md against the code, both ways: its tables, its golden octets, its keys and tags."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import replace
from enum import IntEnum

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from fountain.integrity import Seal, derive
from fountain.limits import BLOCK_COUNT_MAX, CONTROL_SIZE_MAX, NAME_SIZE_MAX
from fountain.protocol.group.channel import GroupChannel
from fountain.wire import data as train
from fountain.wire import group
from fountain.wire.group import (
    Announce,
    AnnounceFlag,
    GroupHeader,
    GroupPacketType,
    GroupReport,
    MemberState,
    Plan,
    is_group_packet,
)
from fountain.wire.reject import Reject
from fountain.wire.session import HOST_SIZE_MAX, MANIFEST_BIT
from fountain.wire.signed import SIGNATURE_COUNT_MAX, SIGNATURE_SIZE, TEXT_SIZE_MAX, SignedText
from tests.pages import all_tables, page
from tests.wire import golden as single
from tests.wire.group_golden import (
    ALICE,
    ANNOUNCE,
    GOLDEN,
    PACKETS,
    PAGE,
    PLAN,
    RECORDS,
    REPORT,
    TABLES,
    VALUES,
    golden,
)
from tests.wire.layouts import assert_octets_stand_as_described, assert_table_has_formats, damaged
from tests.wire.packets import data_packet, has_sound_checksum, naive_unseal, parsed
from tests.wire.test_train import naive_crc32c

FORMATS: dict[str, list[struct.Struct | int]] = {
    "group header": [group._HEADER],
    "announce body": [group._ANNOUNCE],
    "plan body": [group._PLAN],
    "group report body": [group._REPORT],
    "server signature": [group.SERVER_KEY_SIZE, group.SERVER_SIGNATURE_SIZE],
}
KEYS: dict[str, bytes | None] = {"open": None, "keyed": VALUES["keyed group"]["key"]}
BOTH_MODES = pytest.mark.parametrize("mode", KEYS)

Record = Announce | Plan | GroupReport

# --- Tables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FORMATS)
def test_fields_of_a_table_are_those_of_the_struct_format(name: str) -> None:
    assert_table_has_formats(TABLES[name], FORMATS[name])


def test_every_table_has_its_struct_format_and_every_layout_its_golden_octets() -> None:
    assert set(TABLES) == set(FORMATS)
    assert set(GOLDEN) == {*TABLES, *(f"data {mode}" for mode in KEYS)}
    assert set(VALUES) == {*(f"{mode} group" for mode in KEYS), "signed group"}


@pytest.mark.parametrize("name", GOLDEN)
def test_golden_octets_stand_where_the_table_says(name: str) -> None:
    table = single.TABLES["data"] if name.startswith("data ") else TABLES[name]
    assert_octets_stand_as_described(list(GOLDEN[name]), table, {"T": single.SYMBOL_SIZE})


def test_sizes_of_entries_on_the_page_are_those_of_the_code() -> None:
    sizes = {row["field"]: row["size"].split()[0] for row in [*TABLES["plan body"], *TABLES["group report body"]]}
    forms = {"planned": group._PLANNED, "queued": group._RUN, "echoes": group._ECHO, "needs": group._NEED}
    told = {field: int(sizes[field]) for field in (*forms, "missing", "leaving", "acknowledged")}
    assert told == {field: form.size for field, form in forms.items()} | {
        "missing": group._RUN.size, "leaving": group.PEER_ID_SIZE, "acknowledged": group.PEER_ID_SIZE,
    }  # fmt: skip


def test_types_states_flags_and_limits_of_the_page_are_those_of_the_code() -> None:
    tables = {next(iter(table[0])): table for table in all_tables(PAGE)}
    assert {int(row["type"]): row["packet"] for row in tables["type"]} == {kind: kind.name for kind in GroupPacketType}
    assert [row["state"] for row in tables["state"]] == [state.name for state in MemberState]
    assert {row["reason"] for row in tables["reason"]} <= {reason.name for reason in Reject}

    def rule(table: str, field: str) -> str:
        return next(row["rule"] for row in TABLES[table] if row["field"].startswith(field))

    def numbered(kind: type[IntEnum] | type[AnnounceFlag]) -> str:
        return ", ".join(f"{member.value} {member.name}" for member in kind)

    assert rule("group report body", "state") == numbered(MemberState)
    assert rule("announce body", "flags").startswith(numbered(AnnounceFlag) + ";")
    assert rule("group report body", "host size").startswith(f"at most {HOST_SIZE_MAX};")
    for table, field, limit in (
        ("plan body", "planned count", group.PLANNED_COUNT_MAX),
        ("plan body", "queued count", group.QUEUED_COUNT_MAX),
        ("plan body", "echo count", group.ECHO_COUNT_MAX),
        ("plan body", "leaving count", group.LEAVING_COUNT_MAX),
        ("plan body", "acknowledged count", group.ACKNOWLEDGED_COUNT_MAX),
        ("group report body", "need count", group.GROUP_NEED_COUNT_MAX),
        ("group report body", "missing count", group.MISSING_COUNT_MAX),
    ):
        assert rule(table, field) == f"at most {limit}", field


# --- Records ------------------------------------------------------------------------------------------------


def read(name: str, octets: bytes) -> Record | Reject:
    """The record in a body, or why not."""
    if name == "announce body":
        return Announce.parse(octets, open=True)
    return Plan.parse(octets) if name == "plan body" else GroupReport.parse(octets)


@pytest.mark.parametrize("name", RECORDS)
def test_body_is_written_and_read_as_on_the_page(name: str) -> None:
    assert RECORDS[name].encode() == golden(name)
    assert read(name, golden(name)) == RECORDS[name]


@pytest.mark.parametrize("name", RECORDS)
def test_body_of_another_length_is_refused(name: str) -> None:
    octets = golden(name)
    for wrong in (*(octets[:end] for end in range(len(octets))), octets + b"\0"):
        assert read(name, wrong) is Reject.BAD_LENGTH, len(wrong)


@pytest.mark.parametrize("name", RECORDS)
def test_reserved_octets_must_be_zero(name: str) -> None:
    octets = golden(name)
    reserved = [(offset, data) for offset, data, field in GOLDEN[name] if field == "reserved"]
    assert len(reserved) == (2 if name == "plan body" else 0)
    for offset, data in reserved:
        for at in (offset, offset + len(data) - 1):
            assert read(name, octets[:at] + b"\x01" + octets[at + 1 :]) is Reject.RESERVED_NOT_ZERO


def test_unknown_flags_states_and_truth_values_are_refused() -> None:
    announce, report = golden("announce body"), golden("group report body")
    assert read("announce body", announce[:7] + b"\x20" + announce[8:]) is Reject.RESERVED_NOT_ZERO
    assert read("announce body", announce[:32] + bytes(2) + announce[34:]) is Reject.BAD_FIELD  # no control port
    for at, value in ((58, 9), (59, 2)):
        assert read("group report body", report[:at] + bytes([value]) + report[at + 1 :]) is Reject.BAD_FIELD


LAST = BLOCK_COUNT_MAX - 1


@pytest.mark.parametrize("bit", [0, MANIFEST_BIT])
def test_blocks_and_runs_end_with_the_largest_object(bit: int) -> None:
    inside = [
        replace(PLAN, planned=((LAST | bit, 1),)),
        replace(PLAN, queued=((LAST | bit, 1),)),
        replace(REPORT, needs=((LAST | bit, 1),)),
        replace(REPORT, missing=((bit, BLOCK_COUNT_MAX),)),
    ]
    outside = [
        replace(PLAN, planned=((LAST + 1 | bit, 1),)),
        replace(PLAN, queued=((LAST | bit, 2),)),
        replace(PLAN, queued=((bit, 0),)),
        replace(REPORT, needs=((LAST + 1 | bit, 1),)),
        replace(REPORT, needs=((bit, 1), (bit, 2))),
        replace(REPORT, missing=((1 | bit, BLOCK_COUNT_MAX),)),
    ]
    for record in inside:
        assert type(record).parse(record.encode()) == record
    for record in outside:
        assert type(record).parse(record.encode()) is Reject.BAD_FIELD, record


FULLEST = [
    replace(ANNOUNCE, offer=replace(ANNOUNCE.offer, name="n" * NAME_SIZE_MAX)),
    replace(
        PLAN, planned=tuple((block, 1) for block in range(group.PLANNED_COUNT_MAX)),
        queued=tuple((2 * block, 1) for block in range(group.QUEUED_COUNT_MAX)),
        echoes=((ALICE, 1),) * group.ECHO_COUNT_MAX, leaving=(ALICE,) * group.LEAVING_COUNT_MAX,
        acknowledged=(ALICE,) * group.ACKNOWLEDGED_COUNT_MAX,
    ),
    replace(
        REPORT, host="h" * HOST_SIZE_MAX, needs=tuple((block, 1) for block in range(group.GROUP_NEED_COUNT_MAX)),
        missing=tuple((2 * block, 1) for block in range(group.MISSING_COUNT_MAX)),
    ),
]  # fmt: skip


@pytest.mark.parametrize("record", FULLEST, ids=RECORDS)
def test_the_fullest_packet_fits_and_can_be_read(record: Record) -> None:
    octets = record.encode()
    assert len(octets) + group.GROUP_OVERHEAD_SIZE <= CONTROL_SIZE_MAX
    name = next(name for name, other in RECORDS.items() if type(other) is type(record))
    assert read(name, octets) == record


@pytest.mark.parametrize("field", ["planned", "queued", "echoes", "leaving", "acknowledged", "needs", "missing"])
def test_a_list_beyond_its_limit_is_refused(field: str) -> None:
    full = next(record for record in FULLEST[1:] if hasattr(record, field))
    entries = getattr(full, field)
    one_more = entries[0] if field in ("echoes", "leaving", "acknowledged") else (2 * len(entries), 1)
    more = replace(full, **{field: (*entries, one_more)})
    assert type(full).parse(more.encode()) is Reject.TOO_LARGE


def test_a_host_name_is_cut_between_characters_and_a_damaged_one_is_shown() -> None:
    long = replace(REPORT, host="h" * (HOST_SIZE_MAX - 1) + "\N{SNOWMAN}")
    assert GroupReport.parse(long.encode()) == replace(REPORT, host="h" * (HOST_SIZE_MAX - 1))
    octets = golden("group report body")
    report = GroupReport.parse(octets[:63] + b"\xff" + octets[64:])
    assert isinstance(report, GroupReport)
    assert report.host == "\N{REPLACEMENT CHARACTER}lice"


@pytest.mark.parametrize("name", RECORDS)
@given(data=st.data())
def test_damaged_body_is_a_reason_or_the_one_way_to_write_a_record(name: str, data: st.DataObject) -> None:
    octets = damaged(data, golden(name))
    record = read(name, octets)
    if isinstance(record, Reject) or "\N{REPLACEMENT CHARACTER}" in getattr(record, "host", ""):
        return
    assert record.encode() == octets


@given(octets=st.binary(max_size=CONTROL_SIZE_MAX))
def test_any_octets_are_a_record_or_a_reason(octets: bytes) -> None:
    for name in RECORDS:
        record = read(name, octets)
        assert isinstance(record, Reject) or record.encode() == octets or isinstance(record, GroupReport)


# --- Header and tag -----------------------------------------------------------------------------------------


def test_header_is_written_and_read_as_on_the_page() -> None:
    header = GroupHeader(GroupPacketType.ANNOUNCE, single.GROUP_SESSION, 1, open=False)
    assert header.encode() == golden("group header")
    assert GroupHeader.parse(header.encode() + bytes(16)) == header


def test_header_of_something_else_is_refused() -> None:
    packet = golden("group header") + bytes(16)
    wrong = {
        Reject.BAD_LENGTH: [packet[:-1], packet + bytes(CONTROL_SIZE_MAX), b""],
        Reject.BAD_MAGIC: [b"FNTM" + packet[4:]],
        Reject.BAD_VERSION: [packet[:4] + version + packet[5:] for version in (b"\x01", b"\x03")],
        Reject.BAD_TYPE: [packet[:5] + bytes([kind]) + packet[6:] for kind in (0, 15, 20, 255)],
        Reject.RESERVED_NOT_ZERO: [packet[:6] + flags + packet[8:] for flags in (b"\0\2", b"\x80\0")],
        Reject.BAD_FIELD: [packet[:16] + bytes(8) + packet[24:]],
    }
    for reason, packets in wrong.items():
        for octets in packets:
            assert GroupHeader.parse(octets) is reason


@given(data=st.data())
def test_damaged_header_is_a_reason_or_the_one_way_to_write_it(data: st.DataObject) -> None:
    octets = damaged(data, golden("group header") + bytes(16))
    header = GroupHeader.parse(octets)
    assert isinstance(header, Reject) or header.encode() == octets[:24]


def test_packets_of_a_group_are_reported_from_those_of_single_peers() -> None:
    assert is_group_packet(golden("group header"))
    assert not any(is_group_packet(record.encode()) for record in single.HANDSHAKE.values())
    assert not is_group_packet(b"FNTN\x01")


def naive_derived(key: bytes, label: bytes) -> bytes:
    return hashlib.blake2s(label + single.GROUP_SESSION.to_bytes(8, "big"), key=key).digest()


@BOTH_MODES
def test_keys_of_the_page_follow_from_the_group_key(mode: str) -> None:
    values = VALUES[f"{mode} group"]
    assert values["control key"] == naive_derived(values["key"], b"group control")
    if mode == "open":
        assert values["key"] == b"fountain 1 open group" + bytes(11)
    else:
        data = naive_derived(values["key"], b"group data")
        assert (values["data key"], values["data iv"]) == (data[:16], data[16:28])


@BOTH_MODES
@pytest.mark.parametrize("name", PACKETS)
def test_packet_has_the_tag_of_the_page(mode: str, name: str) -> None:
    kind, sequence, body_name = PACKETS[name]
    values, body = VALUES[f"{mode} group"], golden(body_name) if body_name else b""
    header, tag = values[f"{name} header"], values[f"{name} tag"]
    covered = (len(header) + len(body)).to_bytes(4, "big") + header + body
    assert hashlib.blake2s(covered, key=values["control key"], digest_size=16).digest() == tag
    channel = GroupChannel(single.GROUP_SESSION, KEYS[mode])
    assert channel.wrap(kind, sequence, body) == header + body + tag
    read_header = GroupHeader.parse(header + body + tag)
    assert read_header == GroupHeader(kind, single.GROUP_SESSION, sequence, open=mode == "open")
    assert channel.unwrap(read_header, header + body + tag) == body


def test_signed_announce_is_written_and_read_as_on_the_page() -> None:
    values, body, proof = VALUES["signed group"], golden("announce body"), golden("server signature")
    identity = Ed25519PrivateKey.from_private_bytes(values["private key"])
    covered = values["announce header"] + body + proof[: group.SERVER_KEY_SIZE]
    strings = (b"group@fountain-udp", b"", b"sha512", hashlib.sha512(covered).digest())
    to_sign = b"SSHSIG" + b"".join(len(octets).to_bytes(4, "big") + octets for octets in strings)
    assert proof == identity.public_key().public_bytes_raw() + identity.sign(to_sign)
    packet = covered + proof[group.SERVER_KEY_SIZE :] + values["announce tag"]
    channel = GroupChannel(single.GROUP_SESSION, VALUES["keyed group"]["key"])
    assert channel.wrap(GroupPacketType.ANNOUNCE, 1, body, identity) == packet
    header = GroupHeader.parse(packet)
    assert header == GroupHeader(GroupPacketType.ANNOUNCE, single.GROUP_SESSION, 1, open=False, identified=True)
    assert channel.unwrap(header, packet) == body


def test_no_report_is_signed_and_no_packet_is_shorter_than_its_signature() -> None:
    octets = VALUES["open group"]["report header"]
    assert GroupHeader.parse(octets[:7] + b"\x05" + octets[8:] + bytes(200)) is Reject.RESERVED_NOT_ZERO
    octets = VALUES["signed group"]["announce header"]
    shortest = group.GROUP_OVERHEAD_SIZE + group.SERVER_PROOF_SIZE
    assert isinstance(GroupHeader.parse(octets.ljust(shortest, b"\0")), GroupHeader)
    assert GroupHeader.parse(octets.ljust(shortest - 1, b"\0")) is Reject.BAD_LENGTH


def test_released_announce_has_a_flag_and_the_signed_text_behind_the_offer() -> None:
    octets = golden("announce body")[:6] + b"\0\x12" + golden("announce body")[8:] + single.golden("signed text")
    record = replace(ANNOUNCE, offer=replace(ANNOUNCE.offer, release=single.SIGNED_TEXT))
    assert record.encode() == octets
    assert Announce.parse(octets, open=True) == record
    for end in range(len(octets)):
        assert isinstance(Announce.parse(octets[:end], open=True), Reject)


def test_longest_announce_is_as_long_as_the_page_says() -> None:
    release = SignedText(bytes(TEXT_SIZE_MAX), (bytes(SIGNATURE_SIZE),) * SIGNATURE_COUNT_MAX)
    longest = replace(ANNOUNCE, offer=replace(ANNOUNCE.offer, name="n" * NAME_SIZE_MAX, release=release))
    size = len(longest.encode()) + group.GROUP_OVERHEAD_SIZE
    signed_size = size + group.SERVER_PROOF_SIZE
    assert f"the largest Announce has {size} octets, and {signed_size} with the server's signature" in page(PAGE)
    assert signed_size <= CONTROL_SIZE_MAX


def test_number_of_a_receiver_is_made_as_the_page_says() -> None:
    octets = hashlib.blake2s(b"number" + single.GROUP_SESSION.to_bytes(8, "big"), key=ALICE + bytes(24)).digest()
    assert derive(ALICE.ljust(32, b"\0"), b"number", single.GROUP_SESSION) == octets


# --- Data packets -------------------------------------------------------------------------------------------


def test_open_data_packet_is_written_and_read_as_on_the_page() -> None:
    octets, flags, symbol = golden("data open"), train.FLAG_OPEN | train.FLAG_MANIFEST, single.golden("manifest")[:64]
    assert data_packet(flags, 0, symbol, None, single.GROUP_SESSION) == octets
    assert parsed(octets, single.GROUP_SESSION).flags[0] == flags
    assert has_sound_checksum(octets)
    assert octets[-16:] == naive_crc32c(octets[:-16]).to_bytes(4, "big") + bytes(12)


def test_sealed_data_packet_is_written_and_read_as_on_the_page() -> None:
    octets, values, symbol = golden("data keyed"), VALUES["keyed group"], single.CONTENT[:64]
    seal = GroupChannel(single.GROUP_SESSION, values["key"]).data
    assert isinstance(seal, Seal)
    assert data_packet(0, 5, symbol, seal, single.GROUP_SESSION) == octets
    assert parsed(octets, single.GROUP_SESSION).flags[0] == 0
    assert naive_unseal(values["data key"], values["data iv"], 5, octets[:28], octets[28:]) == symbol
