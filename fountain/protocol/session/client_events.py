"""Where a client is, and what it tells the application."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from fountain.wire.control import OfferBody, RefusalReason
from fountain.wire.session import ByeReason

__all__ = ["BYE_FAILURES", "BYE_PHRASES", "ClientEvent", "ClientState", "Failure"]


class ClientState(enum.Enum):
    """Where the client is."""

    SEARCHING = "searching"
    REQUESTING = "requesting"
    RECEIVING = "receiving"
    STOPPING = "stopping"
    CLOSED = "closed"


class Failure(enum.Enum):
    """Why a client gave up."""

    NOBODY = "nobody answered"
    UNREACHABLE = "the port is closed"
    PREPARING = "the server is not ready yet"
    NO_DATA = "the server answered, but nothing came from its data port"
    TOO_LARGE = "small packets came, but none with data, though some were sent"
    NOT_SENT = "the server is there, but has sent no data"
    SILENCE = "the server fell silent"
    CUT_OFF = "the server answers, but nothing comes from its data port any more"
    NOT_HEARD = "the server does not hear what is sent to it"
    STALLED = "the server answers, but nothing new comes"
    UNSTEADY = "the server ends each stream as soon as it has begun"
    STOPPED = "the server stopped"
    REPLACED = "the server does not have the object any more"
    REFUSED = "the server refused"
    LISTED = "the server has several objects, of which one has to be named"
    SOURCE_CHANGED = "the server's file changed"
    CONGESTED = "most of what the server sent was lost"
    SEAL = "one side wants sealed data, the other does not"


BYE_PHRASES = {
    ByeReason.STOPPING: "the server stopped",
    ByeReason.IDLE: "the server heard nothing from here",
    ByeReason.KEYS_SPENT: "the keys are worn",
    ByeReason.PLACE_TAKEN: "the server is full and gave this place to another network",
}

BYE_FAILURES = {
    ByeReason.SOURCE_CHANGED: Failure.SOURCE_CHANGED,
    ByeReason.CONGESTED: Failure.CONGESTED,
}


@dataclass(frozen=True)
class ClientEvent:
    """What happened.

    `offered` (offer), `listed` (entries), `preparing` (the server is not ready yet), `connected`, `reconnecting`
    (reason), `parts` (offer, part_count: the data packets are too large for the way here), `narrow` (offer: the same,
    and nothing helps), `failed` (failure, and what belongs to it), and `hindered`, for whoever waits without limit:
    what would have been the failure.
    """

    kind: str
    offer: OfferBody | None = None
    entries: tuple[tuple[str, int], ...] = ()
    reason: str = ""
    failure: Failure | None = None
    refusal: RefusalReason | None = None
    has_data: bool = False  # Some data came before the failure: something is kept.
    part_count: int = 1
