"""SPAKE2 on edwards25519, by the library `spake2`, which is loaded only where two sides share a code.

The library is written in Python: one side of an exchange takes about ten milliseconds, and not always the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fountain.errors import UsageError
from fountain.integrity import derive

__all__ = ["SpakeExchange", "client_exchanges", "load_library", "server_exchanges"]

_CLIENT, _SERVER = b"client@fountain-udp", b"server@fountain-udp"


class SpakeExchange:
    """One side of one exchange; `own` is the library's. `other_side` is the octet that it puts before an element."""

    def __init__(self, own: Any, other_side: bytes) -> None:
        self._own, self._other_side = own, other_side
        self.element = bytes(own.start()[1:])

    def finish(self, element: bytes) -> bytes | None:
        """The key that comes of the other side's element, once; None where that is none."""
        try:
            return bytes(self._own.finish(self._other_side + element))
        except Exception:  # noqa: BLE001 (the library has no word for it: assertions, ValueErrors, and errors of its own)
            return None


def server_exchanges(code: str) -> Callable[[bytes], SpakeExchange]:
    """Begins exchanges of a server with this code, each with 32 random octets.

    Raises:
        UsageError: the library is not installed.
    """
    return _exchanges(load_library().SPAKE2_B, code, b"A")


def client_exchanges(code: str) -> Callable[[bytes], SpakeExchange]:
    """Begins exchanges of a client with this code, each with 32 random octets.

    Raises:
        UsageError: the library is not installed.
    """
    return _exchanges(load_library().SPAKE2_A, code, b"B")


def load_library() -> Any:
    """The library.

    Raises:
        UsageError: it is not installed.
    """
    try:
        import spake2
    except ImportError:
        raise UsageError(
            "`pair` needs the library spake2, which is not installed.",
            "Install it: pip install 'fountain-udp[pair]'",
            field="pair",
        ) from None
    return spake2


def _exchanges(side: Any, code: str, other_side: bytes) -> Callable[[bytes], SpakeExchange]:
    def begin(secret: bytes) -> SpakeExchange:
        own = side(code.encode(), idA=_CLIENT, idB=_SERVER, entropy_f=_Octets(secret).take)
        return SpakeExchange(own, other_side)

    return begin


class _Octets:
    """Ever more octets that follow from 32 random ones."""

    def __init__(self, secret: bytes) -> None:
        self._secret, self._count = secret, 0

    def take(self, size: int) -> bytes:
        """The next `size` octets."""
        octets = b""
        while len(octets) < size:
            octets += derive(self._secret, b"octets", self._count)
            self._count += 1
        return octets[:size]
