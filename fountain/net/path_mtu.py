"""What the system knows of the largest packet that goes a way in one piece, without sending anything."""

from __future__ import annotations

import socket
import sys

from fountain.net.address import Address, socket_address

__all__ = ["route_datagram_size"]

_IP_MTU = 14
_IPV6_MTU = 24
_OVERHEAD_SIZES = {socket.AF_INET: 20 + 8, socket.AF_INET6: 40 + 8}


def route_datagram_size(address: Address) -> int:
    """Octets of UDP that the interface towards `address`, and every router that has complained, take in one packet.

    0 where there is no way, or the system does not say.
    """
    if sys.platform != "linux":
        return 0
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    level, option = (socket.IPPROTO_IPV6, _IPV6_MTU) if family == socket.AF_INET6 else (socket.IPPROTO_IP, _IP_MTU)
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect(socket_address(address, family))
            return max(0, probe.getsockopt(level, option) - _OVERHEAD_SIZES[family])
    except OSError:
        return 0
