"""A member of a group that lies: reports that nobody else would make, from an address of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from fountain.integrity import digest
from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.group.channel import GroupChannel
from fountain.wire.control import MAGIC
from fountain.wire.group import GroupHeader, GroupPacketType, GroupReport, MemberState, Plan
from fountain.wire.reject import Reject
from tests.world.groups import Stage

__all__ = ["LIES", "Liar", "Seen"]

RATE_UNIT = 1 << 32


@dataclass
class Seen:
    """What the liar knows of the stream: as much as everybody who listens."""

    sequence: int  # of the latest Announce or Plan
    plan: Plan
    block_count: int
    count: int  # reports that it made
    now_ns: int


def _report(seen: Seen) -> GroupReport:
    """A report of a receiver that gets everything."""
    return GroupReport(
        peer_id=digest(b"liar")[:8], echo_timestamp_us=seen.plan.timestamp_us, hold_us=0,
        expected_sequence=seen.plan.next_sequence, received_count=seen.plan.next_sequence, event_rate=0,
        receive_rate_bps=seen.plan.rate_bps, kernel_drop_count=0, damaged_count=0, done_count=0, fraction=0,
        state=MemberState.RECEIVING, has_manifest=True, host="liar", needs=(), missing=(),
    )  # fmt: skip


def _needs(seen: Seen) -> GroupReport:
    """It lacks all of forty blocks, though all arrives."""
    first = seen.count * 40 % max(1, seen.block_count)
    blocks = range(first, min(first + 40, seen.block_count))
    return replace(_report(seen), needs=tuple((block, 65_535) for block in blocks))


def _one_block(seen: Seen) -> GroupReport:
    """It lacks the same block for ever."""
    return replace(_report(seen), needs=((0, 65_535),))


def _again(seen: Seen) -> GroupReport:
    """It lacks the whole object and its manifest, again and again."""
    return replace(_report(seen), missing=((0, seen.block_count), (1 << 31, 1)), has_manifest=False)


def _far(seen: Seen) -> GroupReport:
    """Its round trip is a minute, and then no less than that."""
    return replace(_report(seen), echo_timestamp_us=(seen.plan.timestamp_us - 59_000_000) & 0xFFFF_FFFF or 1)


def _rather_far(seen: Seen) -> GroupReport:
    """Its round trip is long, but not so long that it cannot be."""
    return replace(_report(seen), echo_timestamp_us=(seen.plan.timestamp_us - 7_000_000) & 0xFFFF_FFFF or 1)


def _far_and_gone(seen: Seen) -> GroupReport:
    """It leaves again and again, and was far away each time."""
    state = MemberState.LEFT if seen.count % 2 else MemberState.RECEIVING
    return replace(_rather_far(seen), peer_id=digest(b"gone %d" % (seen.count // 2))[:8], state=state)


def _names(seen: Seen) -> GroupReport:
    """Whoever stands in a Plan has failed, left, or has the object."""
    plan = seen.plan
    names = [*plan.acknowledged, *(peer for peer, _ in plan.echoes), *([plan.clr] if any(plan.clr) else [])]
    state = (MemberState.FAILED, MemberState.LEFT, MemberState.DONE, MemberState.HOOK_DONE)[seen.count % 4]
    return replace(_report(seen), peer_id=names[seen.count % len(names)], state=state) if names else _report(seen)


def _losses(seen: Seen) -> GroupReport:
    """It loses nearly everything."""
    received = seen.plan.next_sequence // 20
    return replace(_report(seen), event_rate=RATE_UNIT - 1, receive_rate_bps=1_000, received_count=received)


def _deaf(seen: Seen) -> GroupReport:
    """Nothing ever arrives, and it needs everything."""
    return replace(_needs(seen), expected_sequence=0, received_count=0, receive_rate_bps=0)


def _ever_new(seen: Seen) -> GroupReport:
    """Somebody else each time, who loses everything and lacks everything."""
    report = replace(_losses(seen), needs=_needs(seen).needs, missing=_again(seen).missing)
    return replace(report, peer_id=digest(b"liar %d" % seen.count)[:8])


def _silent_end(seen: Seen) -> GroupReport:
    """It expects packets that nobody sent yet."""
    return replace(_needs(seen), expected_sequence=seen.plan.next_sequence + (1 << 40))


def _done(seen: Seen) -> GroupReport:
    """Two receivers, one after the other, have the object."""
    name = digest(b"done %d" % (seen.count % 2))[:8]
    return replace(_report(seen), peer_id=name, state=MemberState.DONE, fraction=65_535)


def _any_state(seen: Seen) -> GroupReport:
    """It is something else each time."""
    return replace(_report(seen), state=list(MemberState)[seen.count * 5 % len(MemberState)])


LIES: dict[str, Callable[[Seen], GroupReport]] = {
    "needs": _needs,
    "one block": _one_block,
    "everything again": _again,
    "far": _far,
    "rather far": _rather_far,
    "far and gone": _far_and_gone,
    "losses": _losses,
    "deaf": _deaf,
    "ever new": _ever_new,
    "the future": _silent_end,
    "done": _done,
    "any state": _any_state,
    "names": _names,
}


class Liar:
    """Hears the group's Plans, and reports what `lie` makes of them, each `spacing_ns`."""

    def __init__(
        self, stage: Stage, lie: str, *, spacing_ns: int = NS // 20, address: Address = ("liar", 4_000)
    ) -> None:  # fmt: skip
        self._stage, self._lie, self._spacing_ns, self._address = stage, LIES[lie], spacing_ns, address
        self._channel: GroupChannel | None = None
        self._heard: tuple[int, Plan] | None = None
        self.count = 0
        stage.world.taps.append(self._look)
        stage.world.at(0, self._speak)

    def _look(self, datagram: bytes, _source: Address, _target: Address) -> None:
        if datagram[:4] != MAGIC:
            return
        header = GroupHeader.parse(datagram)
        if isinstance(header, Reject) or header.packet_type is not GroupPacketType.PLAN:
            return
        if self._channel is None or self._channel.session_id != header.session:
            self._channel = GroupChannel(header.session, self._stage.options.key)
        body = self._channel.unwrap(header, datagram)
        plan = body if isinstance(body, Reject) else Plan.parse(body)
        if not isinstance(plan, Reject):
            self._heard = header.sequence, plan

    def _reports(self) -> Iterator[bytes]:
        if self._heard is None or self._channel is None:
            return
        sequence, plan = self._heard
        geometry = self._stage.source.geometry
        report = self._lie(Seen(sequence, plan, geometry.block_count, self.count, self._stage.world.now_ns))
        self.count += 1
        yield self._channel.wrap(GroupPacketType.REPORT, sequence << 32 | self.count, report.encode())

    def _speak(self) -> None:
        for datagram in self._reports():
            self._stage.world.deliver(datagram, self._address, (self._stage.server.name, 6330))
        self._stage.world.at(self._spacing_ns, self._speak)
