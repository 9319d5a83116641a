"""What happened at a server, for the application."""

from __future__ import annotations

from dataclasses import dataclass

from fountain.protocol.base.stream import Address
from fountain.protocol.session.server_session import ServerSession
from fountain.wire.control import RefusalReason

__all__ = ["HandshakeRefused", "ServerEvent", "SessionEnded", "SessionOpened"]


@dataclass(frozen=True)
class SessionOpened:
    """A peer has proved its address, and gets a session."""

    session: ServerSession


@dataclass(frozen=True)
class SessionEnded:
    """A session has ended; its `end` says why."""

    session: ServerSession


@dataclass(frozen=True)
class HandshakeRefused:
    """A Hello or a Request was answered by a Refusal."""

    address: Address
    reason: RefusalReason


ServerEvent = SessionOpened | SessionEnded | HandshakeRefused
