"""Who may make the server work: limits, tokens, stateless cookies, and the server's rotating keys.

Until an address has proved that it receives there, the server keeps no state for it (but a slot in a bounded table of
rate limits), does no public-key work, and never sends it more octets than it sent (RFC 9000 section 8).

An attacker that forges source addresses uses up nothing that other clients need. A Hello without a token counts
against its network, and when that is used up it is answered by a Retry, whose token only the true address receives. A
Hello with a token counts against that address alone. What cookies were used for is remembered until they are stale, and
the public-key work of a network, of those around it and of all is limited, so that this memory has a bound.
"""

from __future__ import annotations

import enum
import functools
import hmac
from collections import OrderedDict
from dataclasses import dataclass
from ipaddress import IPv6Address

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from fountain.integrity import derive, key_pair, keyed_digest
from fountain.limits import NS
from fountain.protocol.base.bucket import Bucket
from fountain.protocol.base.stream import Address
from fountain.wire.control import COOKIE_SIZE, TOKEN_SIZE, RefusalReason, Request

__all__ = [
    "Admission",
    "CookieJar",
    "HelloGate",
    "HelloVerdict",
    "KeyRing",
    "Opening",
    "Openings",
    "Signatures",
    "TokenJar",
    "network_of",
]

COOKIE_PERIOD_NS = 10 * NS  # A cookie, or a token, is good for this period and the next.
KEY_PERIOD_NS = 120 * NS  # WireGuard's rekey time; an Offer is good for this period and the next.

# Hellos without a token. An Offer costs the loop some 10 microseconds, a Retry half of that.
HELLO_INTERVAL_NS = NS // 20  # 20 Hellos a second for one network ...
HELLO_BURST_COUNT = 20  # ... after so many at once: a lab behind one address may start together.
HELLO_GLOBAL_INTERVAL_NS = NS // 2_000  # From ever other addresses: beyond it, Retries for all.
HELLO_GLOBAL_BURST_COUNT = 2_000
RETRY_INTERVAL_NS = NS // 20_000  # It takes some 200 Mbit/s of Hellos to leave none for honest clients.
RETRY_BURST_COUNT = 2_000
# Hellos with a token, and answers to Requests with a cookie: of one address, and of all. Who plays back a neighbour's
# Hello with its nonce changed spends what both have: so it is what answers may cost the loop, a few hundredths of it.
PROVED_INTERVAL_NS = NS // 1_000
PROVED_BURST_COUNT = 500
PROVED_GLOBAL_INTERVAL_NS = NS // 10_000
PROVED_GLOBAL_BURST_COUNT = 2_000
# Refusals of Requests whose cookie does not fit: a hint that spares a client some seconds.
HINT_INTERVAL_NS = NS // 2_000
HINT_BURST_COUNT = 2_000
# Requests that cost public-key work, an eighth of a millisecond each: of one address, of its network, of the networks
# around that, of those of one provider, of all.
OPENING_INTERVAL_NS = NS // 20
OPENING_BURST_COUNT = 64
OPENING_NETWORK_INTERVAL_NS = NS // 100
OPENING_NETWORK_BURST_COUNT = 256
OPENING_WIDE_INTERVAL_NS = NS // 400
OPENING_WIDE_BURST_COUNT = 512
OPENING_PROVIDER_INTERVAL_NS = NS // 800
OPENING_PROVIDER_BURST_COUNT = 1_000
OPENING_GLOBAL_INTERVAL_NS = NS // 2_000
OPENING_GLOBAL_BURST_COUNT = 2_000
# Requests to a server with an identity: it signs, and may have to look at a signature, which costs twice as much again.
# Of all, and of each key in its list: anybody who knows a listed key can claim it, and takes nothing from the others.
PROOF_INTERVAL_NS = NS // 1_000
PROOF_BURST_COUNT = 1_000
CLAIM_INTERVAL_NS = NS // 100
CLAIM_BURST_COUNT = 400
OPENING_TRIES_MAX = 3  # Of one cookie, for bodies that do not open: one may have been damaged on its way.
OPENING_COUNT_MAX = OPENING_GLOBAL_BURST_COUNT + 2 * COOKIE_PERIOD_NS // OPENING_GLOBAL_INTERVAL_NS
ADDRESS_COUNT_MAX = 65_536  # In each table of limits. The oldest entry makes room: its address may ask once more.


_NO_NETWORK = "0" * 16


def network_of(host: str) -> str:
    """What one subscriber has: an IPv4 address, the /64 of an IPv6 address, however it is written; a name itself."""
    return _networks(host)[0] if ":" in host else host


def _networks(host: str) -> tuple[str, str]:
    """The /64 and the /48 of an IPv6 address; an IPv4 address that is mapped into IPv6 stands for itself.

    Floods come from ever other addresses. Those that write out their first 64 bits are read in a fifteenth of the time.
    """
    groups = host.split(":", 4)
    if len(groups) == 5 and all(groups):
        network = f"{int(groups[0], 16):04x}{int(groups[1], 16):04x}{int(groups[2], 16):04x}{int(groups[3], 16):04x}"
        if network != _NO_NETWORK:
            return network, network[:12]
    return _read_networks(host)


@functools.lru_cache(maxsize=4096)
def _read_networks(host: str) -> tuple[str, str]:
    address = IPv6Address(host)
    if address.ipv4_mapped:
        mapped = str(address.ipv4_mapped)
        return mapped, mapped.rpartition(".")[0]
    return address.packed[:8].hex(), address.packed[:6].hex()


def _neighbourhood_of(host: str) -> str:
    """What many subscribers share: the /24 of an IPv4 address, the /48 of an IPv6 address; a name itself."""
    return _networks(host)[1] if ":" in host else host.rpartition(".")[0] or host


def _provider_of(host: str) -> str:
    """What one provider has: the /16 of an IPv4 address, the /32 of an IPv6 address; a name itself.

    Addresses of IPv6 cost those who have a provider's next to nothing, and are more than any table holds.
    """
    neighbourhood = _neighbourhood_of(host)
    return neighbourhood.rpartition(".")[0] or neighbourhood[:8] if ":" in host else host.rsplit(".", 2)[0]


class _Buckets:
    """A token bucket for each key, in a bounded table."""

    def __init__(self, interval_ns: int, burst_count: int) -> None:
        self._interval_ns = interval_ns
        self._slack_ns = interval_ns * (burst_count - 1)
        self._finish: OrderedDict[str, int] = OrderedDict()

    def admit(self, key: str, now_ns: int) -> bool:
        """Whether one more of `key` may pass now; it is counted if it may."""
        finish_ns = max(self._finish.pop(key, 0), now_ns)
        is_good = finish_ns - now_ns <= self._slack_ns
        self._finish[key] = finish_ns + self._interval_ns if is_good else finish_ns
        if len(self._finish) > ADDRESS_COUNT_MAX:
            self._finish.popitem(last=False)
        return is_good


class _EpochMac:
    """An epoch (4 octets) and a MAC (16) over what the caller gives, keyed per epoch: good for that and the next."""

    def __init__(self, secret: bytes, label: bytes) -> None:
        self._secret, self._label = secret, label
        self._keys: dict[int, bytes] = {}

    def bake(self, now_ns: int, *parts: bytes) -> bytes:
        """20 octets that nobody else can make."""
        return self._bake(now_ns // COOKIE_PERIOD_NS & 0xFFFF_FFFF, *parts)

    def accept(self, baked: bytes, now_ns: int, *parts: bytes) -> bool:
        """Whether `baked` was made for exactly this, in this period or the one before."""
        epoch, now_epoch = int.from_bytes(baked[:4], "big"), now_ns // COOKIE_PERIOD_NS
        if epoch not in (now_epoch & 0xFFFF_FFFF, (now_epoch - 1) & 0xFFFF_FFFF):
            return False
        return hmac.compare_digest(baked, self._bake(epoch, *parts))

    def _bake(self, epoch: int, *parts: bytes) -> bytes:
        key = self._keys.get(epoch)
        if key is None:
            if len(self._keys) > 2:
                self._keys.clear()
            key = self._keys[epoch] = derive(self._secret, self._label, epoch)
        return epoch.to_bytes(4, "big") + keyed_digest(key, *parts)


class CookieJar:
    """Stateless cookies over host, nonce and object.

    The host alone, not its port: the Hello goes to the control port and the Request to the data port, and an address
    translator may give a socket another port for each. The port is proved by the first Pong (`ServerSession`).
    """

    def __init__(self, secret: bytes) -> None:
        self._mac = _EpochMac(secret, b"cookie")

    def bake(self, address: Address, nonce: bytes, object_id: bytes, now_ns: int) -> bytes:
        """The cookie that only a client that receives at the host of `address` can know."""
        cookie = self._mac.bake(now_ns, address[0].encode(), nonce, object_id)
        assert len(cookie) == COOKIE_SIZE
        return cookie

    def accept(self, cookie: bytes, address: Address, nonce: bytes, object_id: bytes, now_ns: int) -> bool:
        """Whether `cookie` was baked for exactly this, in this period or the one before."""
        return self._mac.accept(cookie, now_ns, address[0].encode(), nonce, object_id)


class TokenJar:
    """Stateless tokens over a host: what a Retry gives, and a Hello shows."""

    def __init__(self, secret: bytes) -> None:
        self._mac = _EpochMac(secret, b"token")

    def bake(self, host: str, now_ns: int) -> bytes:
        """The token that only a client that receives at `host` can know."""
        token = self._mac.bake(now_ns, host.encode())
        assert len(token) == TOKEN_SIZE
        return token

    def accept(self, token: bytes, host: str, now_ns: int) -> bool:
        """Whether `token` was baked for `host`, in this period or the one before."""
        return self._mac.accept(token, now_ns, host.encode())


class HelloVerdict(enum.Enum):
    """What becomes of a Hello."""

    ANSWER = "answer"
    RETRY = "retry"
    DROP = "drop"


class HelloGate:
    """Which Hellos are answered, which are asked for a token first, and which answers to Requests may go."""

    def __init__(self, secret: bytes) -> None:
        self._tokens = TokenJar(secret)
        self._networks = _Buckets(HELLO_INTERVAL_NS, HELLO_BURST_COUNT)
        self._all = Bucket(HELLO_GLOBAL_INTERVAL_NS, HELLO_GLOBAL_BURST_COUNT)
        self._retries = Bucket(RETRY_INTERVAL_NS, RETRY_BURST_COUNT)
        self._proved = _Buckets(PROVED_INTERVAL_NS, PROVED_BURST_COUNT)
        self._all_proved = Bucket(PROVED_GLOBAL_INTERVAL_NS, PROVED_GLOBAL_BURST_COUNT)
        self._hints = Bucket(HINT_INTERVAL_NS, HINT_BURST_COUNT)

    def judge(self, token: bytes | None, host: str, now_ns: int) -> HelloVerdict:
        """What becomes of a Hello from `host` with this token, or with none."""
        if token is not None and self._tokens.accept(token, host, now_ns):
            return HelloVerdict.ANSWER if self.admit_proved(host, now_ns) else HelloVerdict.DROP
        if self._networks.admit(network_of(host), now_ns) and self._all.admit(now_ns):
            return HelloVerdict.ANSWER
        return HelloVerdict.RETRY if self._retries.admit(now_ns) else HelloVerdict.DROP

    def token(self, host: str, now_ns: int) -> bytes:
        """What a Retry to `host` carries."""
        return self._tokens.bake(host, now_ns)

    def admit_proved(self, host: str, now_ns: int) -> bool:
        """Whether `host`, which has proved that it receives there, may be answered once more."""
        return self._proved.admit(host, now_ns) and self._all_proved.admit(now_ns)

    def admit_hint(self, now_ns: int) -> bool:
        """Whether somebody whose cookie does not fit gets an answer: it may go to an address that is not theirs."""
        return self._hints.admit(now_ns)


@dataclass
class Opening:
    """What a cookie was used for: how often in vain, and in the end."""

    since_ns: int
    failed_count: int = 0
    has_session: bool = False  # a session was opened by it
    refusal: RefusalReason | None = None

    @property
    def is_used_up(self) -> bool:
        """Whether nothing more comes of the cookie."""
        return self.failed_count >= OPENING_TRIES_MAX


class Openings:
    """What became of each cookie that came back, until it is stale: copies of a Request cost nothing more.

    There are no more of them than the limit of public-key work lets come while a cookie lives.
    """

    def __init__(self) -> None:
        self._openings: OrderedDict[bytes, Opening] = OrderedDict()  # by cookie, oldest first
        self._hosts = _Buckets(OPENING_INTERVAL_NS, OPENING_BURST_COUNT)
        self._networks = _Buckets(OPENING_NETWORK_INTERVAL_NS, OPENING_NETWORK_BURST_COUNT)
        self._wide = _Buckets(OPENING_WIDE_INTERVAL_NS, OPENING_WIDE_BURST_COUNT)
        self._providers = _Buckets(OPENING_PROVIDER_INTERVAL_NS, OPENING_PROVIDER_BURST_COUNT)
        self._all = Bucket(OPENING_GLOBAL_INTERVAL_NS, OPENING_GLOBAL_BURST_COUNT)

    def __len__(self) -> int:
        return len(self._openings)

    def find(self, cookie: bytes, now_ns: int) -> Opening | None:
        """What is known of a cookie that fits."""
        while self._openings and now_ns - next(iter(self._openings.values())).since_ns >= 2 * COOKIE_PERIOD_NS:
            self._openings.popitem(last=False)
        return self._openings.get(cookie)

    def begin(self, cookie: bytes, host: str, now_ns: int) -> Opening | None:
        """Public-key work for `cookie`, which `host` has shown; None when there has been too much of it."""
        is_allowed = (
            self._hosts.admit(host, now_ns)
            and self._networks.admit(network_of(host), now_ns)
            and self._wide.admit(_neighbourhood_of(host), now_ns)
            and self._providers.admit(_provider_of(host), now_ns)
            and self._all.admit(now_ns)
        )
        if not is_allowed:
            return None
        opening = self._openings.get(cookie)
        if opening is None:
            opening = self._openings[cookie] = Opening(now_ns)
        return opening


class Signatures:
    """How many signatures a server makes and looks at."""

    def __init__(self) -> None:
        self._claims = _Buckets(CLAIM_INTERVAL_NS, CLAIM_BURST_COUNT)
        self._all = Bucket(PROOF_INTERVAL_NS, PROOF_BURST_COUNT)

    def admit(self, claimed: bytes, now_ns: int) -> bool:
        """Whether the client with the listed key `claimed`, or with any (empty), may cost signatures now."""
        return (not claimed or self._claims.admit(claimed.hex(), now_ns)) and self._all.admit(now_ns)


class Admission:
    """Who gets an answer of a server, and whose Request is good."""

    def __init__(self, secret: bytes) -> None:
        self.gate = HelloGate(derive(secret, b"tokens"))
        self.jar = CookieJar(derive(secret, b"cookies"))
        self.openings = Openings()
        self.signatures = Signatures()

    def look_at(self, request: Request, address: Address, now_ns: int) -> tuple[bool, Opening | None]:
        """Whether the cookie of a Request is good for anything, and what it was used for."""
        if not self.jar.accept(request.cookie, address, request.nonce, request.object_id, now_ns):
            return False, None
        opening = self.openings.find(request.cookie, now_ns)
        is_good = opening is None or not opening.is_used_up or opening.refusal is not None
        return is_good, opening


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
