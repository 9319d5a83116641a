"""What a group's server and receivers tell the application."""

from __future__ import annotations

from dataclasses import dataclass

from fountain.protocol.base.stream import Address
from fountain.protocol.group.member import HOLDING_STATES, Member
from fountain.wire.group import Announce, MemberState

__all__ = ["GroupEvent", "MemberEvent", "member_events"]

_KINDS = {
    MemberState.HOOK_DONE: "hook",
    MemberState.HOOK_FAILED: "hook",
    MemberState.FAILED: "failed",
    MemberState.LEFT: "left",
    MemberState.APART: "apart",
}


@dataclass(frozen=True)
class MemberEvent:
    """At the server: a receiver `joined`, is `done`, its `hook` ended, it `failed`, `left`, was asked to leave
    (`apart`), is `silent`, or is `back`."""

    kind: str
    member: Member


@dataclass(frozen=True)
class GroupEvent:
    """At a receiver: `announced` (announce, address), `leave` (asked to leave), `silent`, `back`, `final` (the server
    has left), `acknowledged` (it knows that all is here), `nobody` (no Announce within the time-out)."""

    kind: str
    announce: Announce | None = None
    address: Address | None = None


def member_events(member: Member, before: MemberState, *, is_new: bool, was_silent: bool) -> list[MemberEvent]:
    """What a report of a receiver tells, which was in the state `before`."""
    kinds = ["joined"] if is_new else ["back"] if was_silent else []
    if member.state is not before:
        if member.state in HOLDING_STATES and before not in HOLDING_STATES:
            kinds.append("done")
        if member.state in _KINDS:
            kinds.append(_KINDS[member.state])
    return [MemberEvent(kind, member) for kind in kinds]
