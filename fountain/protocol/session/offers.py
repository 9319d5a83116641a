"""The Offers that a client has to choose from.

Anybody who sees a Hello can answer it, so a false Offer takes no true one's place: the others that come are kept, and
have their turn when it leads nowhere.
"""

from __future__ import annotations

from collections import OrderedDict, deque

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fountain.integrity import derive, key_pair
from fountain.protocol.base.handshake import names_of
from fountain.wire.control import Offer

__all__ = ["Offers"]

NONCE_COUNT_MAX = 4  # Hellos whose answers may still be on their way.
RIVAL_COUNT_MAX = 4  # Offers that wait for their turn; more are dropped.
DECLINED_COUNT_MAX = 16

KeyPair = tuple[X25519PrivateKey, bytes]


class Offers:
    """The keys of the latest Hellos, the Offer that is being followed, and its rivals."""

    def __init__(self, secret: bytes) -> None:
        self.current: Offer | None = None
        self._secret, self._draw_count = secret, 0
        self._pairs: OrderedDict[bytes, KeyPair] = OrderedDict()  # by the nonce that comes from them
        self._rivals: deque[Offer] = deque()
        self._declined: deque[Offer] = deque(maxlen=DECLINED_COUNT_MAX)
        self._is_used_up = True  # The next Hello needs other keys.

    @property
    def has_rivals(self) -> bool:
        """Whether another Offer waits."""
        return bool(self._rivals)

    def knows(self, nonce: bytes) -> bool:
        """Whether a packet with this nonce answers a Hello of ours."""
        return nonce in self._pairs

    def pair(self, nonce: bytes) -> KeyPair:
        """The keys that the nonce of a Hello of ours came from."""
        return self._pairs[nonce]

    def ask(self) -> bytes:
        """The nonce of a Hello that goes out now. A pair of keys is good for one Request; then new ones are drawn."""
        if self._is_used_up:
            self._draw_count += 1
            pair = key_pair(derive(self._secret, b"private", self._draw_count))
            nonce, _ = names_of(pair[1])
            self._pairs[nonce] = pair
            self._is_used_up = False
            if len(self._pairs) > NONCE_COUNT_MAX:
                oldest, _ = self._pairs.popitem(last=False)
                self._rivals = deque(offer for offer in self._rivals if offer.nonce != oldest)
        self.current = None
        return next(reversed(self._pairs))

    def take(self, offer: Offer) -> bool:
        """An Offer came: whether to follow it now. Otherwise it waits, unless it is known."""
        if offer in self._declined:
            return False
        if self.current is None:
            self._follow(offer)
            return True
        if offer != self.current and offer not in self._rivals and len(self._rivals) < RIVAL_COUNT_MAX:
            self._rivals.append(offer)
        return False

    def next(self) -> Offer | None:
        """The current Offer led nowhere: the next one to follow, if there is one."""
        if self.current is not None:
            self._declined.append(self.current)
        self.current = None
        if self._rivals:
            self._follow(self._rivals.popleft())
        return self.current

    def clear(self) -> None:
        """The search begins anew."""
        self.current = None
        self._rivals.clear()
        self._pairs.clear()
        self._is_used_up = True

    def _follow(self, offer: Offer) -> None:
        self.current = offer
        self._is_used_up = True
