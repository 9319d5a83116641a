"""Who may make the server work: Hello rate limits, stateless cookies, and the server's rotating keys.

Until an address has proved that it receives there, the server keeps no state for it (but a slot in a bounded table of
rate limits), does no public-key work, and never sends it more octets than it sent (RFC 9000 section 8). A cookie that
came back is remembered until it is stale: it is good for one session.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from ipaddress import IPv6Address

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fountain.integrity import derive, digest, key_pair, keyed_digest
from fountain.limits import NS
from fountain.wire.control import COOKIE_SIZE, NONCE_SIZE

__all__ = ["Address", "CookieJar", "HelloLimiter", "KeyRing", "SpentCookies", "names_of"]

Address = tuple[str, int]

COOKIE_PERIOD_NS = 10 * NS  # A cookie is good for this period and the next.
KEY_PERIOD_NS = 120 * NS  # WireGuard's rekey time; an Offer is good for this period and the next.
HELLO_INTERVAL_NS = NS // 20  # 20 Hellos a second for one address ...
HELLO_BURST_COUNT = 20  # ... after so many at once: a lab behind one address may start together.
# An Offer costs the loop some 20 microseconds: a flood of Hellos takes a fifth of its time at most, and it takes about
# 100 Mbit/s of them, from ever other addresses, to leave none for honest clients.
HELLO_GLOBAL_INTERVAL_NS = NS // 10_000
HELLO_GLOBAL_BURST_COUNT = 2_000
SPENT_COOKIE_COUNT_MAX = 65_536  # Beyond it no cookie is taken until the oldest is stale: nothing is spent twice.
HELLO_TABLE_COUNT_MAX = 65_536  # The oldest entry makes room: an attacker with so many addresses gains one Offer each.


def names_of(client_public: bytes) -> tuple[bytes, int]:
    """The nonce and the session id of whoever has the private key of `client_public`.

    Both follow from the key, so nobody else can open a session of that id, whatever he saw of a Hello or a Request.
    """
    octets = digest(client_public)
    return octets[:NONCE_SIZE], int.from_bytes(octets[NONCE_SIZE : NONCE_SIZE + 8], "big")


class HelloLimiter:
    """Token buckets (as virtual finish times) per address and for all: true when a Hello may be answered."""

    def __init__(self) -> None:
        self._finish: OrderedDict[str, int] = OrderedDict()
        self._global_finish_ns = 0

    def admit(self, host: str, now_ns: int) -> bool:
        """Whether a Hello from `host` may be answered now. IPv6 hosts are limited by their /64."""
        key = _network(host) if ":" in host else host
        finish = max(self._finish.pop(key, 0), now_ns)
        ok = finish - now_ns <= HELLO_INTERVAL_NS * (HELLO_BURST_COUNT - 1)
        self._finish[key] = finish + HELLO_INTERVAL_NS if ok else finish
        if len(self._finish) > HELLO_TABLE_COUNT_MAX:
            self._finish.popitem(last=False)
        if not ok:
            return False
        global_finish = max(self._global_finish_ns, now_ns)
        if global_finish - now_ns > HELLO_GLOBAL_INTERVAL_NS * (HELLO_GLOBAL_BURST_COUNT - 1):
            return False
        self._global_finish_ns = global_finish + HELLO_GLOBAL_INTERVAL_NS
        return True


def _network(host: str) -> str:
    """The /64 of an IPv6 address, however it is written; an IPv4 address that is mapped into IPv6 stands for itself."""
    address = IPv6Address(host)
    return str(address.ipv4_mapped) if address.ipv4_mapped else address.packed[:8].hex()


class CookieJar:
    """Stateless cookies: epoch (4 octets) and a MAC (16) over host, nonce and object, keyed per epoch.

    The host alone, not its port: the Hello goes to the control port and the Request to the data port, and an address
    translator may give a socket another port for each.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def bake(self, address: Address, nonce: bytes, object_id: bytes, now_ns: int) -> bytes:
        """The cookie that only whoever receives at the host of `address` can know."""
        return self._bake(now_ns // COOKIE_PERIOD_NS, address, nonce, object_id)

    def accept(self, cookie: bytes, address: Address, nonce: bytes, object_id: bytes, now_ns: int) -> bool:
        """Whether `cookie` was baked for exactly this, in this period or the one before."""
        epoch = int.from_bytes(cookie[:4], "big")
        now_epoch = now_ns // COOKIE_PERIOD_NS
        if epoch not in (now_epoch & 0xFFFF_FFFF, (now_epoch - 1) & 0xFFFF_FFFF):
            return False
        return hmac.compare_digest(cookie, self._bake(epoch, address, nonce, object_id))

    def _bake(self, epoch: int, address: Address, nonce: bytes, object_id: bytes) -> bytes:
        epoch &= 0xFFFF_FFFF
        key = derive(self._secret, b"cookie", epoch)
        cookie = epoch.to_bytes(4, "big") + keyed_digest(key, address[0].encode(), nonce, object_id)
        assert len(cookie) == COOKIE_SIZE
        return cookie


class SpentCookies:
    """Which session each cookie was spent on, for as long as it lives: it buys no second one."""

    def __init__(self) -> None:
        self._spent: OrderedDict[bytes, tuple[int, int]] = OrderedDict()  # (session id, when), oldest first

    def spend(self, cookie: bytes, session_id: int, now_ns: int) -> bool:
        """Whether `cookie`, which fits, is good for `session_id`: it is new, or was spent on that very session."""
        while self._spent and now_ns - next(iter(self._spent.values()))[1] >= 2 * COOKIE_PERIOD_NS:
            self._spent.popitem(last=False)
        known = self._spent.get(cookie)
        if known is not None:
            return known[0] == session_id
        if len(self._spent) >= SPENT_COOKIE_COUNT_MAX:
            return False
        self._spent[cookie] = (session_id, now_ns)
        return True


class KeyRing:
    """The server's X25519 keys: a new one each KEY_PERIOD_NS, the last two kept.

    The secret of the next key is a one-way function of this one's, so a server that is broken into cannot open the
    streams of earlier periods.
    """

    def __init__(self, secret: bytes, now_ns: int) -> None:
        self._secret = secret
        self._period = now_ns // KEY_PERIOD_NS
        self._first_period = self._period
        self._keys: dict[int, tuple[X25519PrivateKey, bytes]] = {}
        self._turn()

    def current(self, now_ns: int) -> tuple[int, bytes]:
        """Index and public key for Offers made now."""
        self._advance(now_ns)
        index = self._period - self._first_period
        return index, self._keys[index][1]

    def private(self, index: int, now_ns: int) -> X25519PrivateKey | None:
        """The private key of an Offer's index; None when it is too old, or never was."""
        self._advance(now_ns)
        entry = self._keys.get(index)
        return entry[0] if entry else None

    def public(self, index: int) -> bytes:
        """The public key of an index that `private` knows."""
        return self._keys[index][1]

    def _advance(self, now_ns: int) -> None:
        period = now_ns // KEY_PERIOD_NS
        if period > self._period + 2:  # Nobody used the server for long: those keys were never seen.
            self._keys.clear()
        while self._period < period:
            self._period += 1
            self._turn(is_wanted=self._period > period - 2)

    def _turn(self, *, is_wanted: bool = True) -> None:
        index = self._period - self._first_period
        if is_wanted:
            self._keys[index] = key_pair(derive(self._secret, b"key"))
        self._secret = derive(self._secret, b"next")
        self._keys.pop(index - 2, None)
