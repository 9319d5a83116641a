"""The words for reasons and for what is waited for: one table, which people and JSON read, and nothing else.

Code decides by the members of the enums. A sentence may be reworded here, and changes nothing but itself.
"""

from __future__ import annotations

import enum
from typing import Any

from fountain.events import EndReason, LeaveReason, PeerReason, Warned
from fountain.protocol.session.client_events import Interruption
from fountain.wire.control import RefusalReason

__all__ = ["Notice", "reason_of", "sentence", "warning"]


class Notice(enum.Enum):
    """What the engine says to a person beside the reasons of events: what takes time, and what to look at."""

    READING = enum.auto()
    LISTING = enum.auto()
    CHECKING = enum.auto()
    LOADING = enum.auto()
    COMPILING = enum.auto()
    COMPILING_FIRST = enum.auto()
    WAITING_FOR_RECEIVERS = enum.auto()
    WAITING_FOR_HOOKS = enum.auto()
    STARTING_WITHOUT_ALL = enum.auto()
    TOO_SHORT_ON_AIR = enum.auto()
    OPEN_GROUP = enum.auto()
    KERNELS_NOT_KEPT = enum.auto()
    SERVER_PREPARING = enum.auto()
    PACKETS_IN_PARTS = enum.auto()
    PACKETS_TOO_LARGE = enum.auto()


_SENTENCES: dict[enum.Enum, str] = {
    EndReason.COMPLETE: "every expected peer is done",
    EndReason.ONEWAY_OVER: "the one-way stream is over",
    EndReason.INTERRUPTED: "interrupted",
    EndReason.IDLE: "idle",
    PeerReason.INTERRUPTED: "interrupted",
    PeerReason.STORAGE: "could not write the object",
    PeerReason.INTEGRITY: "the object did not verify",
    PeerReason.SUPERSEDED: "started again",
    PeerReason.NOT_SENT: "reported the object as complete, but the server did not send it",
    PeerReason.STOPPING: "the server stopped",
    PeerReason.SOURCE_CHANGED: "the file changed",
    PeerReason.IDLE: "silent for 30 s",
    PeerReason.KEYS_SPENT: "asked to get new keys",
    PeerReason.CONGESTED: "most packets were lost for 30 s",
    PeerReason.PLACE_TAKEN: "all places are taken, and another network has fewer",
    PeerReason.FAILED: "could not store the object",
    PeerReason.SILENT: "silent",
    PeerReason.DEAF: "hears no data",
    PeerReason.TOO_SLOW: "too slow for the group; fetches by unicast",
    PeerReason.UNICAST: "fetching by unicast",
    PeerReason.UNFINISHED: "at {fraction:.0%}",
    PeerReason.HOOK_FAILED: "the hook failed",
    Interruption.STOPPING: "the server stopped",
    Interruption.UNHEARD: "the server received nothing from this host",
    Interruption.KEYS_EXHAUSTED: "the keys are exhausted",
    Interruption.PLACE_TAKEN: "the server is full and gave this place to another network",
    Interruption.SILENCE: "the server is silent",
    Interruption.STALL: "nothing new arrives",
    Interruption.NO_DATA: "Pings arrive, but no data packets",
    Interruption.MANIFEST_DAMAGED: "the manifest was damaged",
    Interruption.GROUP_SILENT: "the group is silent",
    Interruption.GROUP_LEFT: "the server has left the group",
    LeaveReason.DEAF: "the group's data does not arrive",
    LeaveReason.UNHEARD: "the reports of this receiver do not reach the server",
    LeaveReason.PASSED_OVER: "the group sends nothing that is missing here",
    LeaveReason.TOO_LARGE: "the group's packets of {packet_size:,} bytes are too large for the path to this host",
    LeaveReason.NO_DATA: "none of the group's data packets arrives here",
    LeaveReason.HOLDS_BACK: "this receiver slows the group down",
    LeaveReason.POLLUTED: "somebody sends wrong data to the group, and two blocks were spoilt",
    **{reason: reason.name.lower().replace("_", " ") for reason in RefusalReason},
    Notice.READING: "reading {path}",
    Notice.LISTING: "listing {path}",
    Notice.CHECKING: "checking what was received before",
    Notice.LOADING: "loading kernels",
    Notice.COMPILING: "compiling kernels",
    Notice.COMPILING_FIRST: "compiling kernels, first run only",
    Notice.WAITING_FOR_RECEIVERS: "waiting for receivers",
    Notice.WAITING_FOR_HOOKS: "waiting for hooks to end on {hosts}",
    Notice.STARTING_WITHOUT_ALL: (
        "The time to wait is over: starting with {have_count:,} of {want_count:,} receivers."
    ),
    Notice.TOO_SHORT_ON_AIR: (
        "{name} needs {needed_s:,.1f} s of sending, but the stream ends after {duration_s:,.1f} s: a receiver may not "
        "get all of it."
    ),
    Notice.OPEN_GROUP: (
        "Without a key (`group.key_path`) the group is protected against accidents only: anybody on this network can "
        "disturb it or send false packets to it."
    ),
    Notice.KERNELS_NOT_KEPT: "Compiled kernels cannot be kept: {trouble}.",
    Notice.SERVER_PREPARING: "The server on {host} is still reading its files or compiling.",
    Notice.PACKETS_IN_PARTS: (
        "Data packets of {size:,} bytes are too large for the path to this host: each arrives in {part_count} parts."
    ),
    Notice.PACKETS_TOO_LARGE: (
        "Data packets of {size:,} bytes are too large for the path to this host: none of them will arrive."
    ),
}
_HINTS: dict[enum.Enum, str] = {
    Notice.KERNELS_NOT_KEPT: (
        "Set NUMBA_CACHE_DIR to a directory that this user can write. Until then each start compiles them again."
    ),
    Notice.SERVER_PREPARING: "Waiting until it is ready.",
    Notice.PACKETS_IN_PARTS: "This is slower. Serve with a lower `mtu`; 1280 works on every path.",
    Notice.PACKETS_TOO_LARGE: "Serve with a lower `mtu`; 1280 works on every path.",
}


def sentence(what: enum.Enum | None, /, **fields: object) -> str:
    """The sentence for `what`, with `fields` in their places; empty for None."""
    return "" if what is None else _SENTENCES[what].format(**fields)


def warning(what: Notice, /, **fields: object) -> Warned:
    """A warning with the sentence and the hint for `what`."""
    return Warned(sentence(what, **fields), _HINTS.get(what, ""))


def reason_of(event: Any) -> str:
    """The sentence for the `reason` of an event or a result."""
    return sentence(event.reason, **vars(event))
