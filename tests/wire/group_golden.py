"""The session of docs/wire-groups.md as records: the file of docs/wire.md, to a group. Its octets stand in the page."""

from __future__ import annotations

from dataclasses import replace

from fountain.wire.group import Announce, AnnounceFlag, GroupPacketType, GroupReport, MemberState, Plan
from fountain.wire.session import MANIFEST_BIT
from tests.pages import golden_blocks, marked_tables, value_blocks
from tests.wire.golden import BODY

PAGE = "docs/wire-groups.md"
TABLES = {name.removeprefix("table: "): table for name, table in marked_tables(PAGE).items() if ": " in name}
GOLDEN = golden_blocks(PAGE)
VALUES = value_blocks(PAGE)

ALICE, BOB, CAROL = (bytes.fromhex(digits * 8) for digits in ("a1", "b0", "ca"))
ROUND_TRIP = 0x9C43  # 20 ms
TIMESTAMP = 0x00ABCDEF


def golden(name: str) -> bytes:
    return b"".join(data for _, data, _ in GOLDEN[name])


ANNOUNCE = Announce(
    timestamp_us=TIMESTAMP,
    grtt_code=ROUND_TRIP,
    flags=AnnounceFlag.WAITING,
    rate_bps=100_000_000,
    min_rate_bps=10_000_000,
    next_sequence=0,
    control_port=6330,
    interval_ms=200,
    cycle_overhead=50,
    offer=replace(BODY, server_public=bytes(32), key_index=0, open=True),
)
PLAN = Plan(
    timestamp_us=TIMESTAMP,
    grtt_code=ROUND_TRIP,
    report_interval_ms=1500,
    poll_threshold=1 << 20,
    group_size=30,
    rate_bps=100_000_000,
    next_sequence=1,
    suppress_rate_bps=90_000_000,
    clr=ALICE,
    planned=((MANIFEST_BIT, 3),),
    queued=((0, 1),),
    echoes=((ALICE, ROUND_TRIP),),
    leaving=(BOB,),
    acknowledged=(CAROL,),
)
REPORT = GroupReport(
    peer_id=ALICE,
    echo_timestamp_us=TIMESTAMP,
    hold_us=1500,
    expected_sequence=6,
    received_count=4,
    event_rate=(1 << 32) // 6,
    receive_rate_bps=66_000_000,
    kernel_drop_count=7,
    damaged_count=2,
    done_count=0,
    fraction=0x7FFF,
    state=MemberState.RECEIVING,
    has_manifest=False,
    host="alice",
    needs=((MANIFEST_BIT, 1),),
    missing=((0, 1),),
)
RECORDS = {"announce body": ANNOUNCE, "plan body": PLAN, "group report body": REPORT}
PACKETS = {
    "announce": (GroupPacketType.ANNOUNCE, 1, "announce body"),
    "plan": (GroupPacketType.PLAN, 2, "plan body"),
    "report": (GroupPacketType.REPORT, 0x00C0FFEE_00000001, "group report body"),
    "preparing": (GroupPacketType.PREPARING, 1, ""),
}
