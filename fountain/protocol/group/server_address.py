"""Where the server of a stream is, as far as a receiver can know that without a key.

In an open group anybody can make an Announce or a Plan. So control packets are believed from one address alone, the
one that the stream's data comes from, or the first one that was heard, until nothing comes from there any more.
"""

from __future__ import annotations

from fountain.limits import NS
from fountain.protocol.base.clock import LONG_AGO_NS
from fountain.protocol.base.stream import Address

__all__ = ["MOVED_DATA_NS", "MOVED_NS", "ServerAddress"]

MOVED_DATA_NS = 2 * NS  # Data comes from another address, and for so long none from this one: the server is there now.
MOVED_NS = 6 * NS  # Nothing at all was heard from this address for so long, more than Announces are apart: the same.


class ServerAddress:
    """The address of one stream's server; `is_open`: there is no key that proves who speaks."""

    def __init__(self, address: Address, now_ns: int, *, is_open: bool) -> None:
        self.address = address
        self._is_open = is_open
        self._heard_ns = now_ns  # control packets, from this address
        self._data_ns = LONG_AGO_NS  # data, from this address
        self._other = ("", LONG_AGO_NS)  # the latest other address that data came from, and when

    def hear(self, address: Address, now_ns: int) -> bool:
        """A control packet came from `address`; whether the server is there, as far as is known."""
        if not self._is_open:
            return True
        if address[0] != self.address[0]:
            if self._is_elsewhere(address[0], now_ns):
                return False
            host, data_ns = self._other
            self._data_ns = data_ns if host == address[0] else LONG_AGO_NS
        self.address, self._heard_ns = address, now_ns
        return True

    def hear_data(self, address: Address, now_ns: int) -> None:
        """Data of the stream came from `address`."""
        if address[0] == self.address[0]:
            self._data_ns = now_ns
        else:
            self._other = address[0], now_ns

    def move(self, address: Address) -> None:
        """An Announce that is newer than all before says where the server is; one of an open group was heard first."""
        self.address = address

    def _is_elsewhere(self, host: str, now_ns: int) -> bool:
        """Whether the server is still where it was, and not at `host`."""
        if now_ns - self._data_ns < MOVED_DATA_NS:
            return True
        other, data_ns = self._other
        if other == host and now_ns - data_ns < MOVED_DATA_NS:
            return False
        return now_ns - self._heard_ns < MOVED_NS
