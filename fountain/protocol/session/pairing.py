"""One code that two people know, and nobody else: what both machines make of it, and how many guesses it stands.

Each side shows an element, and computes a key from its own and the other's: the same one only if both know the same
code (SPAKE2, RFC 9382). That key is the salt of the session's keys. An attacker who does not know the code can try one
guess with each element of the other side, and learns from the answer whether it was right, and nothing more.

The rules
---------
1. The server shows one element in all its Offers, until a Request for it is wrong; a Request for an older one is stale.
   So a Hello costs nothing more than without a code, and each computation is either right, or one of the
   GUESS_COUNT_MAX wrong ones that a code stands. An attacker gets one answer for each element.
2. The element of a client that was right stays good: its next Requests cost no computation, and are no guess.
3. The client computes for GUESS_COUNT_MAX elements at most. Once an authentic packet has come, its element and its key
   stay the same, whatever is offered, and it follows the Offers of this code alone: nobody can guess any more.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fountain.integrity import derive
from fountain.wire.pairing import Pairing

__all__ = ["GUESS_COUNT_MAX", "ClientPairing", "Exchange", "PairKey", "ServerPairing"]

GUESS_COUNT_MAX = 3  # Of a code: as many people mistype it, or the odds of 3 in 16 million for an attacker who guesses.
RIGHT_COUNT_MAX = 16  # Clients with the right code that the server remembers: one person starts a fetch again.
NUMBER_COUNT_MAX = 1 << 16  # Elements of one code, from the first number on.


class Exchange(Protocol):
    """One side of one exchange."""

    @property
    def element(self) -> bytes:
        """The 32 octets that the other side gets."""

    def finish(self, element: bytes) -> bytes | None:
        """The key of 32 octets that comes of the other side's element; None where that is none. Once only."""


Begin = Callable[[bytes], Exchange]  # Begins an exchange with a code; the randomness is 32 octets.


class ServerPairing:
    """The code of a server: its current element, the guesses that were wrong, and the clients that were right."""

    def __init__(self, begin: Begin, secret: bytes) -> None:
        self.wrong_count = 0
        self._begin, self._secret = begin, derive(secret, b"pairing")
        self._number = int.from_bytes(derive(self._secret, b"number")[:7], "big")
        self._exchange = begin(derive(self._secret, b"exchange", self._number))
        self._right: OrderedDict[bytes, bytes] = OrderedDict()  # the key of each client's element that was right

    @property
    def offered(self) -> Pairing:
        """What Offers show."""
        return Pairing(self._number, self._exchange.element)

    @property
    def left_count(self) -> int:
        """How many wrong guesses the code still stands."""
        return GUESS_COUNT_MAX - self.wrong_count

    @property
    def is_spent(self) -> bool:
        """Whether nobody new is let in any more."""
        return self.wrong_count >= GUESS_COUNT_MAX

    def is_current(self, shown: Pairing) -> bool:
        """Whether a Request answers the Offer of now."""
        return shown.number == self._number

    def knows(self, shown: Pairing) -> bool:
        """Whether the client with this element was right before."""
        return shown.element in self._right

    def key(self, shown: Pairing) -> bytes | None:
        """The key of a client; None where its element is none. Of a client that is new `settle` must follow."""
        known = self._right.get(shown.element)
        return self._exchange.finish(shown.element) if known is None else known

    def settle(self, shown: Pairing, key: bytes | None, *, is_right: bool) -> None:
        """What a client that is new sealed with `key` does open, or does not: then the next one gets another element.

        After a right one it stays the same: a client that hears nothing, behind a firewall, asks again with its own.
        """
        if is_right and key is not None:
            self._right[shown.element] = key
            if len(self._right) > RIGHT_COUNT_MAX:
                self._right.popitem(last=False)
        else:
            self.wrong_count += 1
            self._number += 1
        if not self.is_spent:
            self._exchange = self._begin(derive(self._secret, b"exchange", self._number))


@dataclass(frozen=True)
class PairKey:
    """What a client shows in a Request, and the key that it shares with the sender of the Offer."""

    shown: Pairing
    key: bytes


class ClientPairing:
    """The code that a client was given, and what came of it."""

    def __init__(self, begin: Begin, secret: bytes) -> None:
        self.is_refused = False  # Somebody says that the code is wrong, and nobody has proved that it is right.
        self._begin, self._secret = begin, derive(secret, b"pairing")
        self._tried: dict[bytes, tuple[bytes, bytes | None]] = {}  # our element and the key, by the server's element
        self._right: PairKey | None = None

    def may_follow(self, offered: Pairing) -> bool:
        """Whether an Offer may be followed: that costs no guess, or one is left."""
        if self._right is not None:
            return 0 <= offered.number - self._right.shown.number < NUMBER_COUNT_MAX
        if offered.element in self._tried:
            return not self.is_refused
        return len(self._tried) < GUESS_COUNT_MAX

    def answer(self, offered: Pairing) -> PairKey | None:
        """What to ask with; None where the Offer may not be followed, or its element is none."""
        if not self.may_follow(offered):
            return None
        if self._right is not None:
            return PairKey(Pairing(offered.number, self._right.shown.element), self._right.key)
        if offered.element not in self._tried:
            exchange = self._begin(derive(self._secret, b"exchange", len(self._tried)))
            self._tried[offered.element] = exchange.element, exchange.finish(offered.element)
        element, key = self._tried[offered.element]
        return None if key is None else PairKey(Pairing(offered.number, element), key)

    def refuse(self) -> None:
        """Somebody says that the code is wrong: from now on nobody is asked but those who have answered already."""
        self.is_refused = self._right is None

    def confirm(self, key: PairKey) -> None:
        """An authentic packet came of a session that was asked for with `key`: its sender knows the code."""
        self.is_refused = False
        if self._right is None:
            self._right = key
