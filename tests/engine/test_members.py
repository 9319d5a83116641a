"""Receivers of a group at the server: who counts as done, how those that left it are shown, who is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

from fountain.cli.labels import missing_names
from fountain.engine.serving.members import SNAPSHOT_COUNT_MAX, Members
from fountain.events import (
    PeerFinished,
    PeerGone,
    PeerJoined,
    PeerReason,
    PeerSnapshot,
    PeerState,
    ReceiverOutcome,
    ReceiverResult,
)
from fountain.limits import NS
from fountain.protocol.group.member import Member
from fountain.protocol.group.server import GroupServerMachine
from fountain.wire.group import MemberState

RATE = 100_000_000


class Group:
    """Streams without packets, and receivers that are put into them by hand."""

    def __init__(self, *names: str) -> None:
        self._machines = {
            name: SimpleNamespace(
                members={}, stream=SimpleNamespace(offer=SimpleNamespace(name=name, object_size=1000))
            )
            for name in names
        }
        self.members = Members([cast(GroupServerMachine, machine) for machine in self._machines.values()], RATE)

    def join(self, name: str, number: int, state: MemberState, *, now_ns: int = 0, host: str = "") -> Member:
        peer_id = number.to_bytes(16, "big")
        member = Member(peer_id, ("10.0.0.1", 40_000 + number), now_ns)
        member.host, member.state = host, state
        member.ended_ns = now_ns if state is MemberState.DONE else 0
        self._machines[name].members[peer_id] = member
        return member

    def done(self, now_ns: int, **options: Any) -> int:
        return len(self.members.done_peers(set(), now_ns, **options))

    def apart(self, name: str) -> Member:
        """A receiver that has left the group, and whose single session has begun."""
        member = self.join(name, 1, MemberState.APART, host="pc1")
        member.fraction = 0.2
        self.members.note(PeerJoined(member.peer_id.hex(), "10.0.0.1:40001", "pc1", name, 0.2, 0, 0), 0)
        return member

    def result(self) -> ReceiverResult:
        return self.members.results(set())[0]


def single(member: Member, state: PeerState, fraction: float) -> PeerSnapshot:
    return PeerSnapshot(member.peer_id.hex(), "10.0.0.1:40001", "pc1", "a", fraction, 5e6, 0.1, state, 9.0, 77)


def gone(member: Member, reason: PeerReason) -> PeerGone:
    return PeerGone(member.peer_id.hex(), "10.0.0.1:40001", "pc1", "a", 0.6, reason)


# --- Who is done ---------------------------------------------------------------------------------------------


def test_with_one_object_a_receiver_counts_at_once() -> None:
    group = Group("a")
    group.join("a", 1, MemberState.DONE, now_ns=NS)
    assert group.done(NS) == 1


def test_with_several_objects_a_receiver_counts_when_it_has_joined_nothing_for_a_while() -> None:
    group = Group("a", "b")
    group.join("a", 1, MemberState.DONE, now_ns=NS)
    assert group.done(3 * NS - 1) == 0
    assert group.done(3 * NS) == 1
    again = group.join("b", 1, MemberState.RECEIVING, now_ns=4 * NS)
    assert group.done(60 * NS) == 0
    again.state, again.ended_ns = MemberState.DONE, 60 * NS
    assert group.done(60 * NS) == 0
    assert group.done(62 * NS) == 1


def test_at_the_end_nobody_waits_for_what_a_receiver_might_join() -> None:
    group = Group("a", "b")
    group.join("a", 1, MemberState.DONE, now_ns=NS)
    assert group.done(NS, is_ending=True) == 1


def test_who_has_one_object_as_a_single_peer_still_lacks_what_else_it_joined() -> None:
    group = Group("a", "b")
    member = group.join("a", 1, MemberState.APART)
    group.join("b", 1, MemberState.RECEIVING)
    has_one = {(member.address[0], member.peer_id, "a")}
    assert group.members.done_peers(has_one, 60 * NS) == set()
    assert group.members.done_peers(has_one | {(member.address[0], member.peer_id, "b")}, 60 * NS)


# --- Who fetches by itself -----------------------------------------------------------------------------------


def test_a_receiver_that_left_the_group_is_shown_once_with_what_its_single_session_has() -> None:
    group = Group("a")
    member = group.apart("a")
    (shown,) = group.members.snapshots([single(member, PeerState.STREAMING, 0.6)])
    assert (shown.state, shown.fraction, shown.rate_bps) == (PeerState.LEAVING, 0.6, 5e6)


def test_a_receiver_whose_reports_come_and_that_hears_no_data_is_shown_as_silent_with_the_reason() -> None:
    group = Group("a")
    member = group.join("a", 1, MemberState.RECEIVING, host="pc1")
    member.deaf_since_ns = NS
    (shown,) = group.members.snapshots([])
    assert shown.state is PeerState.SILENT
    assert missing_names(group.members.results(set())) == ["pc1 (hears no data)"]


def test_a_single_peer_that_is_no_receiver_of_the_group_is_shown_as_it_is() -> None:
    group = Group("a")
    member = group.join("a", 1, MemberState.RECEIVING)
    other = PeerSnapshot("0123456789abcdef", "10.0.0.9:4", "", "a", 0.5, 1.0, 0.0, PeerState.STREAMING, None, 1)
    assert [peer.session_id for peer in group.members.snapshots([other])] == [other.session_id, member.peer_id.hex()]


def test_the_summary_has_what_the_single_session_came_to() -> None:
    group = Group("a")
    member = group.apart("a")
    group.members.snapshots([single(member, PeerState.STREAMING, 0.6)])
    group.members.note(gone(member, PeerReason.STOPPING), NS)
    result = group.result()
    assert (result.state, result.reason) == (ReceiverOutcome.INCOMPLETE, PeerReason.UNICAST)
    assert (result.fraction, result.loss) == (0.6, 0.1)
    group.members.note(PeerFinished(member.peer_id.hex(), "", "pc1", "a", 3.0, 9, 0.04), 5 * NS)
    (done,) = group.members.results({(member.address[0], member.peer_id, "a")})
    assert (done.state, done.fraction, done.duration_s, done.loss) == (ReceiverOutcome.DONE, 1.0, 5.0, 0.04)


def test_who_was_interrupted_or_fell_silent_by_itself_is_not_fetching() -> None:
    group = Group("a")
    member = group.apart("a")
    group.members.snapshots([single(member, PeerState.SILENT, 0.6)])
    group.members.note(gone(member, PeerReason.STOPPING), NS)
    assert (group.result().state, group.result().reason) == (ReceiverOutcome.SILENT, PeerReason.SILENT)
    group.members.note(gone(member, PeerReason.INTERRUPTED), NS)
    assert (group.result().state, group.result().reason) == (ReceiverOutcome.LEFT, PeerReason.INTERRUPTED)
    assert missing_names(group.members.results(set())) == ["pc1 (interrupted)"]
    (shown,) = group.members.snapshots([single(member, PeerState.GONE, 0.6)])
    assert shown.state is PeerState.GONE


# --- Who is named --------------------------------------------------------------------------------------------


def test_receivers_of_one_name_are_told_apart_by_their_addresses() -> None:
    group = Group("a")
    group.join("a", 1, MemberState.LEFT, host="pc")
    group.join("a", 2, MemberState.LEFT, host="pc")
    group.join("a", 3, MemberState.LEFT, host="other")
    assert missing_names(group.members.results(set())) == [
        "pc (10.0.0.1:40001, interrupted)",
        "pc (10.0.0.1:40002, interrupted)",
        "other (interrupted)",
    ]


def test_three_hosts_are_named_whose_hooks_are_running() -> None:
    group = Group("a")
    for number in range(5):
        group.join("a", number, MemberState.HOOKING, host=f"pc{number}")
    assert group.members.hooking_hosts == "pc0, pc1, pc2 and 2 more"


def test_of_too_many_receivers_those_in_trouble_and_the_slow_ones_are_shown() -> None:
    group = Group("a")
    for number in range(SNAPSHOT_COUNT_MAX + 100):
        state = MemberState.DONE if number % 2 else MemberState.RECEIVING
        group.join("a", number, state).fraction = number / 1000
    group.join("a", 10_000, MemberState.FAILED).fraction = 0.9
    shown = group.members.snapshots([])
    assert len(shown) == SNAPSHOT_COUNT_MAX
    assert shown[0].state is PeerState.FAILED
    receiving = [peer.fraction for peer in shown if peer.state is PeerState.STREAMING]
    assert receiving == sorted(receiving)
    assert len(receiving) == SNAPSHOT_COUNT_MAX // 2 + 50
