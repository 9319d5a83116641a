"""A member of a group that lies, for `bench.trials.group_liar`: it hears the Plans, and reports what is not so.

python -m bench.trials.group_forger LIE GROUP OWN_ADDRESS [--key FILE]
"""

from __future__ import annotations

import argparse
import socket
import struct
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fountain.integrity import digest
from fountain.limits import GROUP_PORT_DEFAULT
from fountain.protocol.group.channel import GroupChannel
from fountain.storage.key import read_key
from fountain.wire.control import MAGIC
from fountain.wire.group import Announce, GroupHeader, GroupPacketType, GroupReport, MemberState, Plan
from fountain.wire.reject import Reject
from fountain.wire.session import MANIFEST_BIT

__all__ = ["LIES", "main"]

SPACING_S = 0.05
RATE_UNIT = 1 << 32


def honest(plan: Plan) -> GroupReport:
    """What somebody reports who gets everything."""
    return GroupReport(
        peer_id=digest(b"forger")[:8], echo_timestamp_us=plan.timestamp_us, hold_us=0,
        expected_sequence=plan.next_sequence, received_count=plan.next_sequence, event_rate=0,
        receive_rate_bps=plan.rate_bps, kernel_drop_count=0, damaged_count=0, done_count=0, fraction=0,
        state=MemberState.RECEIVING, has_manifest=True, host="forger", needs=(), missing=(),
    )  # fmt: skip


def needs(plan: Plan, count: int, block_count: int) -> GroupReport:
    """It lacks all of forty blocks."""
    first = count * 40 % block_count
    return replace(honest(plan), needs=tuple((block, 65_535) for block in range(first, min(first + 40, block_count))))


def again(plan: Plan, _count: int, block_count: int) -> GroupReport:
    """It lacks the whole object, again and again."""
    return replace(honest(plan), missing=((0, block_count), (MANIFEST_BIT, 1)), has_manifest=False)


def far(plan: Plan, _count: int, _block_count: int) -> GroupReport:
    """Its round trip is 59 s."""
    return replace(honest(plan), echo_timestamp_us=(plan.timestamp_us - 59_000_000) & 0xFFFF_FFFF or 1)


def rather_far(plan: Plan, _count: int, _block_count: int) -> GroupReport:
    """Its round trip is 7 s: long, but not so long that it cannot be."""
    return replace(honest(plan), echo_timestamp_us=(plan.timestamp_us - 7_000_000) & 0xFFFF_FFFF or 1)


def far_and_gone(plan: Plan, count: int, block_count: int) -> GroupReport:
    """It leaves again and again, and was far away each time."""
    report = rather_far(plan, count, block_count)
    state = MemberState.LEFT if count % 2 else MemberState.RECEIVING
    return replace(report, peer_id=digest(b"gone %d" % (count // 2))[:8], state=state)


def losses(plan: Plan, _count: int, _block_count: int) -> GroupReport:
    """It loses nearly everything."""
    received = plan.next_sequence // 20
    return replace(honest(plan), event_rate=RATE_UNIT - 1, receive_rate_bps=1_000, received_count=received)


def deaf(plan: Plan, count: int, block_count: int) -> GroupReport:
    """Nothing ever arrives, and it needs everything."""
    return replace(needs(plan, count, block_count), expected_sequence=0, received_count=0, receive_rate_bps=0)


def ever_new(plan: Plan, count: int, block_count: int) -> GroupReport:
    """Somebody else each time, who loses everything and lacks everything."""
    wants = needs(plan, count, block_count).needs
    report = replace(losses(plan, count, block_count), needs=wants, missing=((0, block_count),))
    return replace(report, peer_id=digest(b"forger %d" % count)[:8])


LIES: dict[str, Callable[[Plan, int, int], GroupReport]] = {
    "needs": needs,
    "again": again,
    "far": far,
    "rather-far": rather_far,
    "far-and-gone": far_and_gone,
    "losses": losses,
    "deaf": deaf,
    "ever-new": ever_new,
}


class Forger:
    """What it has heard of the group so far."""

    def __init__(self, key: bytes | None) -> None:
        self._key = key
        self._channel: GroupChannel | None = None
        self._plan: tuple[int, Plan] | None = None
        self._announce: Announce | None = None
        self._count = 0

    def hear(self, data: bytes) -> None:
        """A datagram came for the group."""
        if data[:4] != MAGIC:
            return
        header = GroupHeader.parse(data)
        if isinstance(header, Reject):
            return
        if self._channel is None or self._channel.session_id != header.session:
            self._channel = GroupChannel(header.session, self._key)
        body = self._channel.unwrap(header, data)
        if isinstance(body, Reject):
            return
        if header.packet_type is GroupPacketType.PLAN:
            plan = Plan.parse(body)
            self._plan = None if isinstance(plan, Reject) else (header.sequence, plan)
        elif header.packet_type is GroupPacketType.ANNOUNCE:
            announce = Announce.parse(body, open=header.open)
            self._announce = self._announce if isinstance(announce, Reject) else announce

    def speak(self, lie: Callable[[Plan, int, int], GroupReport]) -> tuple[bytes, int] | None:
        """A false report, and the port for it; None before enough was heard."""
        if self._channel is None or self._plan is None or self._announce is None:
            return None
        sequence, plan = self._plan
        report = lie(plan, self._count, max(1, self._announce.offer.geometry.block_count))
        self._count += 1
        number = sequence << 32 | self._count
        return self._channel.wrap(GroupPacketType.REPORT, number, report.encode()), self._announce.control_port


def main(argv: list[str] | None = None) -> None:
    """Lie until somebody ends it."""
    parser = argparse.ArgumentParser(prog="python -m bench.trials.group_forger", description=__doc__)
    parser.add_argument("lie", choices=LIES)
    parser.add_argument("group")
    parser.add_argument("own")
    parser.add_argument("--key", type=Path)
    options = parser.parse_args(argv)
    forger = Forger(None if options.key is None else read_key(options.key))
    ear, mouth = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    with ear, mouth:
        ear.bind((options.group, GROUP_PORT_DEFAULT))
        place = struct.pack("4s4s", socket.inet_aton(options.group), socket.inet_aton(options.own))
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, place)
        ear.settimeout(SPACING_S)
        spoke_s = 0.0
        while True:
            try:
                data, server = ear.recvfrom(65_536)
                forger.hear(data)
            except TimeoutError:
                continue
            said = forger.speak(LIES[options.lie]) if time.monotonic() - spoke_s >= SPACING_S else None
            if said is not None:
                spoke_s = time.monotonic()
                mouth.sendto(said[0], (server[0], said[1]))


if __name__ == "__main__":
    main()
