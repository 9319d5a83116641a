"""What proves that the server of a group made an Announce or a Plan: its signature, by a key that no member has.

The signature covers the packet up to the signer's key, so also the session and the sequence number: nothing of it can
be sent again under another number. To verify one takes 0.2 ms. So forged packets are verified as seldom as is bearable,
and where true ones came from lately has a share of its own.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.integrity import is_signed, sign
from fountain.limits import NS
from fountain.protocol.base.bucket import Bucket
from fountain.protocol.base.stream import Address
from fountain.wire.group import SERVER_KEY_SIZE, SERVER_SIGNATURE_SIZE, GroupHeader
from fountain.wire.reject import Reject

__all__ = ["GROUP_NAMESPACE", "PinnedKeys", "ServerProofs", "signed"]

GROUP_NAMESPACE = b"group@fountain-udp"
PROVED_INTERVAL_NS, PROVED_COUNT = NS // 250, 500  # For each host that true packets came from: 5 % of a core.
OTHER_INTERVAL_NS, OTHER_COUNT = NS // 50, 50  # For all others together: 1 % of a core.
PROVED_HOST_COUNT_MAX = 4
SIGNED_COUNT_MAX = 64  # A packet may be looked at twice, and anybody may send a copy of one.


class PinnedKeys(Protocol):
    """Which keys the server of a group may have."""

    def lists(self, public_key: bytes) -> bool:
        """Whether a key is one of those; nothing is remembered."""

    def accept(self, public_key: bytes) -> bool:
        """Whether the right server has this key, which it has proved."""


def signed(octets: bytes, identity: Ed25519PrivateKey) -> bytes:
    """Header and body of a packet, with the server's key and signature behind them."""
    octets += identity.public_key().public_bytes_raw()
    return octets + sign(identity, octets, GROUP_NAMESPACE)


class ServerProofs:
    """Verifies what comes for a group, by the keys that its server may have."""

    def __init__(self, keys: PinnedKeys) -> None:
        self.refused_key: bytes | None = None  # the latest one that the server may not have; empty: there was none
        self._keys = keys
        self._hosts: OrderedDict[str, Bucket] = OrderedDict()  # where true packets came from, the latest last
        self._others = Bucket(OTHER_INTERVAL_NS, OTHER_COUNT)
        self._known: deque[bytes] = deque(maxlen=SIGNED_COUNT_MAX)

    def __contains__(self, host: str) -> bool:
        """Whether true packets came from a host lately: the data of others is not the server's."""
        return host in self._hosts

    def verify(self, header: GroupHeader, octets: bytes, address: Address, now_ns: int) -> Reject | None:
        """Why a packet from `address` is not the server's; its `octets` end with its signature, where it has one."""
        if not header.identified:
            self.refused_key = b""
            return Reject.UNPROVED
        if octets in self._known:
            return None
        covered, signature = octets[:-SERVER_SIGNATURE_SIZE], octets[-SERVER_SIGNATURE_SIZE:]
        public_key = covered[-SERVER_KEY_SIZE:]
        if not self._keys.lists(public_key):
            self.refused_key = public_key
            return Reject.UNPROVED
        host = address[0]
        if not self._hosts.get(host, self._others).admit(now_ns):
            return Reject.TOO_MANY
        if not is_signed(covered, GROUP_NAMESPACE, public_key, signature):
            return Reject.UNPROVED
        self._keys.accept(public_key)
        self._known.append(octets)
        if host not in self._hosts:
            self._hosts[host] = Bucket(PROVED_INTERVAL_NS, PROVED_COUNT)
        self._hosts.move_to_end(host)
        if len(self._hosts) > PROVED_HOST_COUNT_MAX:
            self._hosts.popitem(last=False)
        return None
