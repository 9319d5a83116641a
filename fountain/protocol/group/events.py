"""What a group's server and receivers tell the application."""

from __future__ import annotations

from dataclasses import dataclass

from fountain.protocol.admission import Address
from fountain.protocol.group.member import Member
from fountain.wire.group import Announce

__all__ = ["GroupEvent", "MemberEvent"]


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
