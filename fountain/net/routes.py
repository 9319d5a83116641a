"""What an endpoint remembers of each peer that it sends to: a bounded table, the peers heard last stay."""

from __future__ import annotations

import threading
from collections import OrderedDict

from fountain.limits import DATAGRAM_SIZE_MAX
from fountain.net.address import Address, SocketAddress, socket_address

__all__ = ["ROUTE_COUNT_MAX", "Ancillary", "Route", "Routes"]

# A peer that falls out only loses the memory of which local address it talked to, until its next datagram.
ROUTE_COUNT_MAX = 4096

Ancillary = list[tuple[int, int, bytes]]


class Route:
    """How to reach one peer.

    `source` is the control message that makes the system answer from the local address that the peer talked to
    (empty: the system chooses); segments larger than `segment_limit` go out as single datagrams. An `is_aimed` route
    leads to a group: its source chooses the interface, and is never given up.
    """

    __slots__ = ("is_aimed", "segment_limit", "source", "target")

    def __init__(self, target: SocketAddress, source: Ancillary, *, is_aimed: bool = False) -> None:
        self.target = target
        self.source = source
        self.segment_limit = DATAGRAM_SIZE_MAX
        self.is_aimed = is_aimed


class Routes:
    """Routes by address. One thread may send while another receives."""

    def __init__(self, family: int) -> None:
        self._family = family
        self._routes: OrderedDict[Address, Route] = OrderedDict()
        self._aimed: dict[Address, Route] = {}  # groups: never forgotten
        self._lock = threading.Lock()

    def find(self, address: Address) -> Route:
        """The route to `address`, made when it is new.

        Raises:
            OSError: a socket of this family cannot reach such an address.
        """
        route = self._routes.get(address) or self._aimed.get(address)
        return self._keep(address, Route(socket_address(address, self._family), [])) if route is None else route

    def heard(self, address: Address, source: Ancillary) -> None:
        """The peer talked to the local address in `source`: answer from there, and forget this peer last."""
        route = self._routes.get(address) or self._aimed.get(address)
        if route is None:
            route = Route(socket_address(address, self._family), source)
        if not route.is_aimed:
            route.source = source
            self._keep(address, route)

    def aim(self, address: Address, source: Ancillary) -> None:
        """Send to the group `address` with `source`, for as long as the endpoint lives.

        Raises:
            OSError: a socket of this family cannot reach such an address.
        """
        with self._lock:
            self._routes.pop(address, None)
            self._aimed[address] = Route(socket_address(address, self._family), source, is_aimed=True)

    def _keep(self, address: Address, route: Route) -> Route:
        with self._lock:
            self._routes.pop(address, None)
            if len(self._routes) >= ROUTE_COUNT_MAX:
                self._routes.popitem(last=False)
            self._routes[address] = route
        return route
