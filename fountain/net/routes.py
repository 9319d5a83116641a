"""What an endpoint remembers of each peer that it sends to: a bounded table, the peers heard last stay."""

from __future__ import annotations

import threading

from fountain.limits import DATAGRAM_SIZE_MAX
from fountain.net.address import Address, SocketAddress, socket_address

__all__ = ["ROUTE_COUNT_MAX", "Ancillary", "Route", "Routes"]

# A peer that falls out only loses the memory of which local address it talked to, until its next datagram.
ROUTE_COUNT_MAX = 4096

Ancillary = list[tuple[int, int, bytes]]


class Route:
    """How to reach one peer.

    `source` is the control message that makes the system answer from the local address that the peer talked to
    (empty: the system chooses); segments larger than `segment_limit` go out as single datagrams.
    """

    __slots__ = ("segment_limit", "source", "target")

    def __init__(self, target: SocketAddress) -> None:
        self.target = target
        self.source: Ancillary = []
        self.segment_limit = DATAGRAM_SIZE_MAX


class Routes:
    """Routes by address. One thread may send while another receives."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._routes: dict[Address, Route] = {}
        self._lock = threading.Lock()

    def find(self, address: Address) -> Route:
        """The route to `address`, made when it is new.

        Raises:
            OSError: a socket of this family cannot reach such an address.
        """
        route = self._routes.get(address)
        return self._keep(address, Route(socket_address(address, self._family))) if route is None else route

    def heard(self, address: Address, source: Ancillary) -> None:
        """The peer talked to the local address in `source`: answer from there, and forget this peer last."""
        route = self.find(address)
        route.source = source
        self._keep(address, route)

    def _keep(self, address: Address, route: Route) -> Route:
        with self._lock:
            self._routes.pop(address, None)
            if len(self._routes) >= ROUTE_COUNT_MAX:
                del self._routes[next(iter(self._routes))]
            self._routes[address] = route
        return route
