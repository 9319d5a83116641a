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
    NO_DATA = "the server answered, but no data came"
    SILENCE = "the server fell silent"
    STOPPED = "the server stopped"
    REFUSED = "the server refused"
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
    """`offered` (offer), `listed` (entries), `connected`, `reconnecting` (reason), `failed` (failure, refusal)."""

    kind: str
    offer: OfferBody | None = None
    entries: tuple[tuple[str, int], ...] = ()
    reason: str = ""
    failure: Failure | None = None
    refusal: RefusalReason | None = None
