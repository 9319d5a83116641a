"""What the engine reports to an observer: frozen events, handed to one method.

Events of state (`ObjectServed`, `PeerJoined`, `Offered` ...) come once each; `PeersProgress` and `TransferProgress` are
snapshots that come about five times a second while there is something to show. All of them are handed over on
the thread that runs the engine; an observer must return at once. One that raises gets no more events (`Shield`).
"""

from __future__ import annotations

import enum
import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from fountain.protocol.session.client_events import Interruption
from fountain.wire.control import RefusalReason

__all__ = [
    "AirTime",
    "Announced",
    "AskedToLeave",
    "DigestComputed",
    "EndReason",
    "Event",
    "Fetched",
    "GroupOpened",
    "GroupSummary",
    "HookFinished",
    "HookReported",
    "InterfaceChanged",
    "LeaveReason",
    "LeftOut",
    "Listed",
    "Listening",
    "NullObserver",
    "ObjectServed",
    "Observer",
    "Offered",
    "OnewayProgress",
    "PairCodeDrawn",
    "PairCodeProved",
    "PairCodeRefused",
    "PeerFinished",
    "PeerGone",
    "PeerJoined",
    "PeerReason",
    "PeerRefused",
    "PeerSnapshot",
    "PeerState",
    "PeersProgress",
    "Preparing",
    "ReceiverOutcome",
    "ReceiverResult",
    "Reconnecting",
    "Resumed",
    "Searching",
    "ServerProved",
    "Serving",
    "Shield",
    "Stopped",
    "TransferProgress",
    "TransferState",
    "Waiting",
    "Warned",
]

# --- States and reasons ------------------------------------------------------------------------------------
# The value of a state is its word in JSON. `fountain.sentences` has the sentences of reasons.


class EndReason(enum.Enum):
    """Why a server ends."""

    COMPLETE = enum.auto()
    ONEWAY_OVER = enum.auto()
    INTERRUPTED = enum.auto()
    IDLE = enum.auto()


class PeerState(enum.Enum):
    """How a peer fares; those that a person may have to look at come first."""

    FAILED = "failed"  # of a group: it could not store the object
    SILENT = "silent"  # it does not report, or receives nothing
    LEAVING = "leaving"  # of a group: it was asked to leave, or fetches by unicast
    STREAMING = "streaming"
    WAITING = "waiting"  # It wants nothing right now.
    GONE = "gone"
    DONE = "done"


class LeaveReason(enum.Enum):
    """Why a receiver leaves its group; the first three have the names of `Standstill`."""

    DEAF = enum.auto()  # The data of the group does not arrive.
    UNHEARD = enum.auto()  # The server hears nothing of this receiver.
    PASSED_OVER = enum.auto()  # Nothing that comes is missing here.
    TOO_LARGE = enum.auto()  # The data packets are larger than the path takes.
    NO_DATA = enum.auto()  # Small packets arrive, and none of many large ones.
    HOLDS_BACK = enum.auto()  # The server asks it to.
    POLLUTED = enum.auto()  # Somebody sends wrong symbols in the name of the server.


class TransferState(enum.Enum):
    """Where a fetch is."""

    LISTING = "listing"  # What the object is made of comes, or is laid out.
    RECEIVING = "receiving"
    RECONNECTING = "reconnecting"
    FINISHING = "finishing"


class ReceiverOutcome(enum.Enum):
    """What became of one object at one receiver of a group."""

    DONE = "done"
    FAILED = "failed"
    SILENT = "silent"
    LEFT = "left"
    INCOMPLETE = "incomplete"


class PeerReason(enum.Enum):
    """Why a peer has not got an object, or what else went wrong there."""

    INTERRUPTED = enum.auto()
    STORAGE = enum.auto()  # It could not write the object.
    INTEGRITY = enum.auto()  # The object did not verify there.
    SUPERSEDED = enum.auto()  # It started another session.
    NOT_SENT = enum.auto()  # It says that it has the object, and was sent less than that takes.
    STOPPING = enum.auto()  # The server stops.
    SOURCE_CHANGED = enum.auto()
    IDLE = enum.auto()  # Its session ended, since it did not report.
    KEYS_SPENT = enum.auto()
    CONGESTED = enum.auto()
    PLACE_TAKEN = enum.auto()  # Another network has fewer sessions.
    FAILED = enum.auto()  # of a group: it could not store or verify the object
    SILENT = enum.auto()
    DEAF = enum.auto()  # of a group: it reports, and receives no data
    TOO_SLOW = enum.auto()  # of a group: it leaves the group and fetches by unicast
    UNICAST = enum.auto()  # of a group: it is fetching by unicast
    UNFINISHED = enum.auto()  # It was still receiving.
    HOOK_FAILED = enum.auto()


@dataclass(frozen=True)
class Event:
    """Base of all events. `fountain.cli` writes each as a JSON object: the class name in snake_case is its `event`."""


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
    """The server ends."""

    reason: EndReason


@dataclass(frozen=True)
class InterfaceChanged(Event):
    """The interface of the group cannot be used, which is waited for, or can be used again. `reason` is a sentence,
    and empty once it can; `interface` may be empty while no one fits."""

    interface: str
    is_usable: bool
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
    release: str = ""  # product and version, where it is served as a signed release


@dataclass(frozen=True)
class Serving(Event):
    """The sockets are open. `addresses` are those that another machine can use; ports are the real ones."""

    addresses: tuple[str, ...]
    port: int
    data_port: int
    open: bool
    rate_bps: int
    is_keyed: bool = False
    server_key: str = ""  # that it proves to have, as `ssh-keygen -l` shows it


@dataclass(frozen=True)
class PairCodeDrawn(Event):
    """The server has drawn the code that the person who fetches must type. It comes before `Serving`."""

    code: str


@dataclass(frozen=True)
class PairCodeRefused(Event):
    """Somebody at `address` had a wrong code; so many more, and the server ends."""

    address: str
    left_count: int


@dataclass(frozen=True)
class PeerSnapshot:
    """One peer, now. `loss` is a fraction; `eta_s` is None while unknown."""

    session_id: str  # hex
    address: str
    host: str  # what the peer calls itself; may be empty
    name: str  # the object's
    fraction: float
    rate_bps: float
    loss: float
    state: PeerState
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
    """The peers of the last minute, the whole server's rate in bits per second, and how many distinct peers have
    got all that they take since the server started."""

    peers: tuple[PeerSnapshot, ...]
    rate_bps: float
    done_count: int = 0


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
    """A peer left without the object."""

    session_id: str
    address: str
    host: str
    name: str
    fraction: float
    reason: PeerReason


@dataclass(frozen=True)
class PeerRefused(Event):
    """A request was turned down. At most one a second is reported, and the same again after ten seconds; `count` have
    been turned down for this reason so far.
    """

    address: str
    reason: RefusalReason
    count: int = 1


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
    """Nothing is sent yet. `what` is a phrase ("waiting for receivers"); it comes at once, then about each second.

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
    """What became of one object at one receiver. `reason` says why it is not done, or what else went wrong."""

    session_id: str
    address: str
    host: str
    name: str
    state: ReceiverOutcome
    fraction: float
    duration_s: float | None  # since it joined until it was done; None when it is not
    loss: float
    reason: PeerReason | None


@dataclass(frozen=True)
class GroupSummary(Event):
    """All receivers that a group has had, when the server ends."""

    results: tuple[ReceiverResult, ...]


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
    release: str = ""  # product and version, where only signed releases are taken
    signer: str = ""  # the key that signed it


@dataclass(frozen=True)
class ServerProved(Event):
    """The server has proved that it has `key`, as `ssh-keygen -l` shows it. It `is_new` where it was not known before;
    then it stands in the file `kept_in` from now on, or nowhere, where that is empty."""

    host: str
    port: int
    key: str
    is_new: bool
    kept_in: str


@dataclass(frozen=True)
class PairCodeProved(Event):
    """The server has proved that it knows the code."""

    host: str
    port: int


@dataclass(frozen=True)
class Resumed(Event):
    """A part of an earlier fetch is used."""

    verified_size: int
    total_size: int


@dataclass(frozen=True)
class TransferProgress(Event):
    """Where the fetch is. Symbols count towards `fraction` exactly."""

    symbol_count: int  # useful symbols held, verified blocks counted whole
    symbol_total: int
    verified_size: int
    total_size: int
    rate_bps: float  # of the object
    loss: float
    eta_s: float | None
    state: TransferState
    received_count: int  # data packets
    duplicate_count: int
    damaged_count: int
    rejected_count: int  # packets that were none of this transfer, or damaged beyond recognition
    kernel_drop_count: int  # times the system dropped a packet, or a train that it had joined, for want of buffer
    name: str = ""  # the object's


@dataclass(frozen=True)
class Reconnecting(Event):
    """The stream is lost; the fetch asks for another one."""

    reason: Interruption


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
    # The hex digest and path of each file. They may be a million: they are made when asked for, and no part of JSON.
    files: Sequence[tuple[str, Path]] = field(default=(), repr=False)
    release: str = ""  # product and version, where only signed releases are taken
    signer: str = ""  # the key that signed it

    @property
    def digest(self) -> str:
        """The BLAKE3 of an object that is one file, in hex; empty for a directory, and for a file of many holes."""
        return self.files[0][0] if len(self.files) == 1 and self.files[0][1] == self.path else ""


class Observer(Protocol):
    """Gets the events of an engine."""

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
        except (Exception, SystemExit):  # sys.exit in a callback is the callback's mistake, not the end of a thread.
            self._observer = NullObserver()
            logging.getLogger("fountain").exception("An observer failed, and gets no more events.")


class NullObserver:
    """Watches nothing."""

    def handle(self, event: Event) -> None:
        """Ignore the event."""


# --- Receiver -------------------------------------------------------------------------------------------------


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
    """This receiver leaves the group, whose data packets have `packet_size` octets, and fetches the rest by unicast."""

    reason: LeaveReason
    packet_size: int


@dataclass(frozen=True)
class HookFinished(Event):
    """The hook ended that was run for the object at `path`, the `attempt`th time; `is_run_again` where it will be."""

    command: str
    path: Path
    exit_status: int
    attempt: int = 1
    is_run_again: bool = False
