"""What the engine tells whoever watches: frozen events, handed to one method, never waited for.

Events of state (`ObjectServed`, `PeerJoined`, `Offered` ...) come once each; `PeersProgress` and `TransferProgress` are
snapshots that come about five times a second while there is something to show. All of them are handed over on
the thread that runs the engine; an observer must return at once. One that raises is told nothing more (`Shield`).
"""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fountain.engine.event import Event
from fountain.engine.fleet_events import (
    AirTime,
    Announced,
    AskedToLeave,
    GroupOpened,
    GroupSummary,
    HookFinished,
    HookReported,
    InterfaceChanged,
    Listening,
    OnewayProgress,
    ReceiverResult,
    Waiting,
)

__all__ = [
    "AirTime",
    "Announced",
    "AskedToLeave",
    "DigestComputed",
    "Event",
    "Fetched",
    "GroupOpened",
    "GroupSummary",
    "HookFinished",
    "HookReported",
    "InterfaceChanged",
    "LeftOut",
    "Listed",
    "Listening",
    "NullObserver",
    "ObjectServed",
    "Observer",
    "Offered",
    "OnewayProgress",
    "PeerFinished",
    "PeerGone",
    "PeerJoined",
    "PeerRefused",
    "PeerSnapshot",
    "PeersProgress",
    "Preparing",
    "ReceiverResult",
    "Reconnecting",
    "Resumed",
    "Searching",
    "Serving",
    "Shield",
    "Stopped",
    "TransferProgress",
    "Waiting",
    "Warned",
]


# --- Both roles --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Preparing(Event):
    """Something takes a moment before the transfer: reading a path to digest it, compiling on a first run.

    `what` is a phrase for people ("reading file.iso", "compiling kernels, first run only"); octets may be 0 of 0. While
    a tree is listed, `entry_count` entries were found so far.
    """

    what: str
    done_size: int = 0
    total_size: int = 0
    entry_count: int = 0


@dataclass(frozen=True)
class LeftOut(Event):
    """The server left out `count` entries of the object `name` that cannot travel; it alone knows `examples`."""

    name: str
    count: int
    examples: tuple[str, ...] = ()


@dataclass(frozen=True)
class Warned(Event):
    """Something a person should know but that stops nothing (a part of another object, a file that changed)."""

    message: str
    hint: str = ""


@dataclass(frozen=True)
class Stopped(Event):
    """The engine ends. `reason` is a phrase: "every expected peer is done", "idle", "interrupted"."""

    reason: str


# --- Server ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ObjectServed(Event):
    """One object is ready to be fetched."""

    name: str
    path: Path
    object_id: str  # hex
    size: int
    file_count: int
    block_count: int
    symbol_size: int


@dataclass(frozen=True)
class Serving(Event):
    """The sockets are open. `addresses` are those that another machine can use; ports are the real ones."""

    addresses: tuple[str, ...]
    port: int
    data_port: int
    open: bool
    rate_bps: int
    is_keyed: bool = False


@dataclass(frozen=True)
class PeerSnapshot:
    """One peer, now. `loss` is a fraction; `eta_s` is None while unknown; `state` is one of
    streaming, waiting (nothing wanted right now), silent, done, gone; a receiver of a group may also be
    leaving (asked to, served by itself) or failed."""

    session_id: str  # hex
    address: str
    host: str  # what the peer calls itself; may be empty
    name: str  # the object's
    fraction: float
    rate_bps: float
    loss: float
    state: str
    eta_s: float | None
    sent_count: int  # data packets


@dataclass(frozen=True)
class PeerJoined(Event):
    """A peer proved its address and asked for an object. `first_esi` is where its own lane of repair symbols starts;
    a receiver of a group has none, and 0 for both."""

    session_id: str
    address: str
    host: str
    name: str
    resumed_fraction: float
    first_source: int
    first_esi: int


@dataclass(frozen=True)
class PeersProgress(Event):
    """All peers of the last minute, and the whole server's rate in bits per second."""

    peers: tuple[PeerSnapshot, ...]
    rate_bps: float


@dataclass(frozen=True)
class PeerFinished(Event):
    """A peer reported Stop with the object verified on its disk."""

    session_id: str
    address: str
    host: str
    name: str
    duration_s: float
    sent_count: int
    loss: float


@dataclass(frozen=True)
class PeerGone(Event):
    """A peer left without the object. `reason` is a phrase: "interrupted", "silent for 30 s", "the file changed"."""

    session_id: str
    address: str
    host: str
    name: str
    fraction: float
    reason: str


@dataclass(frozen=True)
class PeerRefused(Event):
    """A request was turned down. At most one a second is told."""

    address: str
    reason: str


# --- Client ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Searching(Event):
    """Asking a host that has not answered yet; `is_waiting` without a limit of time."""

    host: str
    port: int
    is_waiting: bool = False


@dataclass(frozen=True)
class Listed(Event):
    """The server has several objects and no NAME was given: (name, size) of each."""

    objects: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Offered(Event):
    """The server has the object; the transfer is about to start."""

    name: str
    object_id: str
    size: int
    block_count: int
    address: str
    destination: Path
    sealed: bool


@dataclass(frozen=True)
class Resumed(Event):
    """A part of an earlier fetch is used."""

    verified_size: int
    total_size: int


@dataclass(frozen=True)
class TransferProgress(Event):
    """Where the fetch is. Symbols count towards `fraction` exactly; `state` is one of
    listing (what the object is made of comes, or is laid out), receiving, reconnecting, finishing."""

    symbol_count: int  # useful symbols held, verified blocks counted whole
    symbol_total: int
    verified_size: int
    total_size: int
    rate_bps: float  # of the object
    loss: float
    eta_s: float | None
    state: str
    received_count: int  # data packets
    duplicate_count: int
    damaged_count: int
    rejected_count: int  # packets that were none of this transfer, or damaged beyond telling
    kernel_drop_count: int  # times the system dropped a packet, or a train that it had joined, for want of buffer
    name: str = ""  # the object's


@dataclass(frozen=True)
class Reconnecting(Event):
    """The server fell silent or said goodbye; the fetch asks again. `reason` is a phrase."""

    reason: str


@dataclass(frozen=True)
class DigestComputed(Event):
    """One file of the object stands finished at `path`; `digest` is its BLAKE3 in hex."""

    digest: str
    path: Path
    size: int


@dataclass(frozen=True)
class Fetched(Event):
    """The whole object stands verified at `path`."""

    path: Path
    name: str
    object_id: str
    size: int
    duration_s: float
    rate_bps: float
    received_count: int
    overhead_count: int  # distinct symbols that blocks needed beyond K, summed over all blocks
    block_count: int
    loss: float


class Observer(Protocol):
    """Whoever watches an engine."""

    def handle(self, event: Event) -> None:
        """Take note of one event; return at once."""


class Shield:
    """Stands between an engine and an observer: whatever that raises is logged, and ends no transfer."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer
        self._lock = threading.Lock()  # Workers have something to say as well.

    def handle(self, event: Event) -> None:
        """Hand the event on, unless the observer has failed before."""
        try:
            with self._lock:
                self._observer.handle(event)
        except Exception:
            self._observer = NullObserver()
            logging.getLogger("fountain").exception("An observer failed, and is told nothing more.")


class NullObserver:
    """Watches nothing."""

    def handle(self, event: Event) -> None:
        """Ignore the event."""
