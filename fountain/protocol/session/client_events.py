"""Where a client is, and what happens to it, for the application."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fountain.wire.control import OfferBody, RefusalReason
from fountain.wire.session import ByeReason

__all__ = [
    "BYE_FAILURES",
    "BYE_INTERRUPTIONS",
    "ClientEvent",
    "ClientState",
    "Failure",
    "FetchFailed",
    "FetchHindered",
    "Interruption",
    "ListingReceived",
    "OfferReceived",
    "PacketsTooLarge",
    "PartsRequested",
    "ServerPreparing",
    "StreamLost",
    "StreamOpened",
    "Trouble",
]


class ClientState(enum.Enum):
    """Where the client is."""

    SEARCHING = "searching"
    REQUESTING = "requesting"
    RECEIVING = "receiving"
    STOPPING = "stopping"
    CLOSED = "closed"


class Failure(enum.Enum):
    """Why a client gave up."""

    NOBODY = enum.auto()  # Nobody answered.
    UNREACHABLE = enum.auto()  # The port is closed.
    PREPARING = enum.auto()  # The server is not ready yet.
    NO_DATA = enum.auto()  # The server answered, but nothing came from its data port.
    TOO_LARGE = enum.auto()  # Small packets came, but none with data, though some were sent.
    NOT_SENT = enum.auto()  # The server is there, but has sent no data.
    SILENCE = enum.auto()  # The server fell silent.
    CUT_OFF = enum.auto()  # The server answers, but nothing comes from its data port any more.
    NOT_HEARD = enum.auto()  # The server does not hear what is sent to it.
    STALLED = enum.auto()  # The server answers, but nothing new comes.
    UNSTEADY = enum.auto()  # The server ends each stream as soon as it has begun.
    STOPPED = enum.auto()  # The server stopped.
    REPLACED = enum.auto()  # The server does not have the object any more.
    REFUSED = enum.auto()  # The server refused.
    LISTED = enum.auto()  # The server has several objects, of which one has to be named.
    SOURCE_CHANGED = enum.auto()  # The server's file changed.
    CONGESTED = enum.auto()  # Most of what the server sent was lost.
    SEAL = enum.auto()  # One side wants sealed data, the other does not.
    UNTRUSTED = enum.auto()  # What the server offers may not be taken.
    UNPROVED = enum.auto()  # The server did not prove to have the key that it should have.
    OTHER_KEY = enum.auto()  # The server proved another key than the expected one.
    CODELESS = enum.auto()  # The server has no code, and the client was given one.
    CODE_NEEDED = enum.auto()  # The server serves only who gives its code.
    OTHER_CODE = enum.auto()  # The server has another code than before, or too many answered that had another one.
    OTHER_OBJECT = enum.auto()  # The server offers another object than the one of the id that is wanted.


class Interruption(enum.Enum):
    """Why a stream is lost, for another one is asked for."""

    STOPPING = enum.auto()  # The server said that it stops.
    UNHEARD = enum.auto()  # The server said that it hears nothing of this client.
    KEYS_EXHAUSTED = enum.auto()
    PLACE_TAKEN = enum.auto()  # The server is full, and another network has fewer sessions.
    SILENCE = enum.auto()
    STALL = enum.auto()  # Nothing comes that is missing.
    NO_DATA = enum.auto()  # Pings come, and none of the data packets of which they say that they were sent.
    MANIFEST_DAMAGED = enum.auto()
    GROUP_SILENT = enum.auto()
    GROUP_LEFT = enum.auto()  # The server of the group has left it.


BYE_INTERRUPTIONS = {
    ByeReason.STOPPING: Interruption.STOPPING,
    ByeReason.IDLE: Interruption.UNHEARD,
    ByeReason.KEYS_SPENT: Interruption.KEYS_EXHAUSTED,
    ByeReason.PLACE_TAKEN: Interruption.PLACE_TAKEN,
}

BYE_FAILURES = {
    ByeReason.SOURCE_CHANGED: Failure.SOURCE_CHANGED,
    ByeReason.CONGESTED: Failure.CONGESTED,
}


@dataclass(frozen=True)
class OfferReceived:
    """The server has the object; the application says whether it wants that."""

    offer: OfferBody


@dataclass(frozen=True)
class ListingReceived:
    """The server has several objects, (name, size) each, and none was named. The client has ended."""

    entries: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class ServerPreparing:
    """The server is there, and not ready yet."""


@dataclass(frozen=True)
class StreamOpened:
    """An authentic packet of a session came."""


@dataclass(frozen=True)
class StreamLost:
    """The session is over, and the client asks for another one."""

    reason: Interruption


@dataclass(frozen=True)
class PartsRequested:
    """The data packets of `offer` are too large for the path: the client asks for each in `part_count` parts."""

    offer: OfferBody
    part_count: int


@dataclass(frozen=True)
class PacketsTooLarge:
    """The data packets of `offer` are too large for the path, and nothing helps."""

    offer: OfferBody


@dataclass(frozen=True)
class Trouble:
    """What keeps a client from its object.

    `offer` is what the server has, if that is known; with `has_data` some of it came, and is kept.
    """

    failure: Failure
    refusal: RefusalReason | None = None
    offer: OfferBody | None = None
    has_data: bool = False


class FetchFailed(Trouble):
    """The client gave up, and has ended."""


class FetchHindered(Trouble):
    """The client would have given up, and waits without limit."""


ClientEvent = (
    OfferReceived
    | ListingReceived
    | ServerPreparing
    | StreamOpened
    | StreamLost
    | PartsRequested
    | PacketsTooLarge
    | FetchFailed
    | FetchHindered
)
