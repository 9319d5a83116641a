"""The code of a server that gives its object to one person."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from fountain.protocol.session.pairing import ServerPairing
from fountain.trust.pair_code import CODE_OCTETS, draw_code
from fountain.trust.spake import server_exchanges

__all__ = ["ServedCode", "draw_served_code"]


@dataclass(frozen=True)
class ServedCode:
    """A code as a person types it, and as the machine knows it."""

    code: str
    pairing: ServerPairing


def draw_served_code() -> ServedCode:
    """A code that was never used before.

    Raises:
        UsageError: a library is missing.
    """
    code = draw_code(secrets.token_bytes(CODE_OCTETS))
    return ServedCode(code, ServerPairing(server_exchanges(code), secrets.token_bytes(32)))
