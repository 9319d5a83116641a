"""What happened at a group's server and at its receivers, for the application."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fountain.protocol.group.member import HOLDING_STATES, Member
from fountain.wire.group import MemberState

__all__ = [
    "GroupEvent",
    "MemberDone",
    "MemberEvent",
    "MemberFailed",
    "MemberFellBack",
    "MemberHookEnded",
    "MemberJoined",
    "MemberLeft",
    "MemberReturned",
    "MemberSilent",
    "member_events",
]


@dataclass(frozen=True)
class MemberEvent:
    """Base of what happened to a receiver, as its server knows it."""

    member: Member


class MemberJoined(MemberEvent):
    """Its first report came."""


class MemberReturned(MemberEvent):
    """It reports again after a silence."""


class MemberDone(MemberEvent):
    """It has the object."""


class MemberHookEnded(MemberEvent):
    """Its hook ended; `member.state` says how."""


class MemberFailed(MemberEvent):
    """It could not store the object."""


class MemberLeft(MemberEvent):
    """It was interrupted."""


class MemberFellBack(MemberEvent):
    """It leaves the group and fetches the rest by unicast."""


class MemberSilent(MemberEvent):
    """Its reports stopped."""


class GroupEvent(enum.Enum):
    """What happened at a receiver."""

    LEAVE = enum.auto()  # The server asks it to leave the group.
    SILENT = enum.auto()  # Nothing of the group is heard any more.
    HEARD = enum.auto()  # The group is heard again.
    FINAL = enum.auto()  # The server has left.


_EVENTS: dict[MemberState, type[MemberEvent]] = {
    MemberState.HOOK_DONE: MemberHookEnded,
    MemberState.HOOK_FAILED: MemberHookEnded,
    MemberState.FAILED: MemberFailed,
    MemberState.LEFT: MemberLeft,
    MemberState.FALLBACK: MemberFellBack,
}


def member_events(member: Member, before: MemberState, *, is_new: bool, was_silent: bool) -> list[MemberEvent]:
    """What a report of a receiver says has happened since it was in the state `before`."""
    events: list[MemberEvent] = []
    if is_new:
        events.append(MemberJoined(member))
    elif was_silent:
        events.append(MemberReturned(member))
    if member.state is not before:
        if member.state in HOLDING_STATES and before not in HOLDING_STATES:
            events.append(MemberDone(member))
        if member.state in _EVENTS:
            events.append(_EVENTS[member.state](member))
    return events
