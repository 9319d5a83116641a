"""What the engine tells of groups, beside what `fountain.engine.observer` has for single peers.

Receivers of a group that answer are peers as well: `PeerJoined`, `PeersProgress`, `PeerFinished` and `PeerGone` tell of
them, with the receiver's id as `session_id`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fountain.engine.event import Event

__all__ = [
    "OPEN_GROUP_WARNING",
    "AirTime",
    "Announced",
    "AskedToLeave",
    "GroupOpened",
    "GroupSummary",
    "HookFinished",
    "HookReported",
    "InterfaceChanged",
    "Listening",
    "OnewayProgress",
    "ReceiverResult",
    "Waiting",
]

OPEN_GROUP_WARNING = (
    "Without --key a group is protected against accidents only: anybody on this network can disturb it or put false "
    "packets into it."
)

# --- Both roles --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InterfaceChanged(Event):
    """The interface of the group cannot be used, which is waited for, or can be used again. `reason` is a sentence,
    and empty once it can; `interface` may be empty while no one fits."""

    interface: str
    is_usable: bool
    reason: str


# --- Server ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GroupOpened(Event):
    """The objects `names` go to a group; `interface` is the one that they leave by."""

    group: str
    interface: str
    port: int
    names: tuple[str, ...]
    is_keyed: bool
    is_oneway: bool
    rate_bps: int


@dataclass(frozen=True)
class Waiting(Event):
    """Nothing is sent yet. `what` is a phrase ("waiting for receivers"); told at once, then about each second.

    `left_s` is when it ends at the latest; None waits without limit.
    """

    what: str
    have_count: int
    want_count: int
    left_s: float | None


@dataclass(frozen=True)
class AirTime(Event):
    """How long an object has to be sent one-way, so that a receiver with this loss has it, this surely."""

    name: str
    seconds: float
    loss: float
    confidence: float
    pass_count: int | None  # of those that were asked for


@dataclass(frozen=True)
class OnewayProgress(Event):
    """Where the one-way stream of an object is; a snapshot. `planned_s` is None while it ends only when stopped."""

    name: str
    pass_number: int  # from 1
    pass_count: int | None
    elapsed_s: float
    planned_s: float | None
    rate_bps: float


@dataclass(frozen=True)
class HookReported(Event):
    """A receiver ran its hook for an object that it has."""

    session_id: str
    address: str
    host: str
    name: str
    is_success: bool


@dataclass(frozen=True)
class ReceiverResult:
    """What became of one object at one receiver. `state` is one of done, failed, silent, left, incomplete."""

    session_id: str
    address: str
    host: str
    name: str
    state: str
    fraction: float
    duration_s: float | None  # since it joined until it was done; None when it is not
    loss: float
    reason: str  # why it is not done, or what else went wrong; may be empty


@dataclass(frozen=True)
class GroupSummary(Event):
    """All receivers that a group has had, when the server ends."""

    results: tuple[ReceiverResult, ...]


# --- Receiver ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Listening(Event):
    """A receiver has joined a group, and waits for an announce."""

    group: str
    interface: str
    port: int


@dataclass(frozen=True)
class Announced(Event):
    """An announce of an object was heard, from `address`."""

    name: str
    object_id: str  # hex
    size: int
    address: str
    rate_bps: int
    is_oneway: bool


@dataclass(frozen=True)
class AskedToLeave(Event):
    """This receiver leaves the group, and fetches by itself: the server asks it to, or none of the group's data packets
    arrives here. `reason` is a phrase."""

    reason: str


@dataclass(frozen=True)
class HookFinished(Event):
    """The hook ended that was run for the object at `path`, the `attempt`th time; `is_run_again` where it will be."""

    command: str
    path: Path
    exit_status: int
    attempt: int = 1
    is_run_again: bool = False
