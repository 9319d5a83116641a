"""Questions to the operating system and to a path, each answered by trying: for the doctor, not for transfers.

None of these waits longer than its `patience_s`, and none sends to anyone but this machine and the address it is given.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import sys
import time
from dataclasses import dataclass

from fountain.net.address import Address, normalised, socket_address
from fountain.net.endpoint import open_endpoint

__all__ = [
    "Answer",
    "Segmentation",
    "exchange",
    "granted_buffer_sizes",
    "interface_address",
    "interface_names",
    "multicast_source",
    "route_source",
    "try_path_mtu",
    "try_segmentation",
]

_SOL_UDP = 17
_UDP_SEGMENT = 103
_UDP_GRO = 104
_IP_MTU_DISCOVER = 10
_IP_MTU = 14
_IPV6_MTU_DISCOVER = 23
_IPV6_MTU = 24
_PMTUDISC_DO = 2  # Set "don't fragment", and take to heart what routers answer.
_SIOCGIFADDR = 0x8915

_SEGMENT_SIZE = 1000
_SEGMENT_COUNT = 8
_LOOPBACK_PATIENCE_S = 0.2
_MTU_ROUND_COUNT_MAX = 4  # Each router on the way with a smaller MTU than the one before costs a round.
_MULTICAST_TARGETS = ((socket.AF_INET, "239.255.63.30"), (socket.AF_INET6, "ff15::6330"))
_UDP_HEADER_SIZE = 8
_IP_HEADER_SIZES = {socket.AF_INET: 20, socket.AF_INET6: 40}


@dataclass(frozen=True)
class Segmentation:
    """Whether the system takes a train in one call (`sends`), and gives one back in one call (`receives`)."""

    sends: bool
    receives: bool


@dataclass(frozen=True)
class Answer:
    """What came back from an address, and how long it took; `refused` when its host says that nobody listens."""

    data: bytes = b""
    round_trip_ns: int = 0
    refused: bool = False


def granted_buffer_sizes() -> tuple[int, int]:
    """Octets that the system grants a socket for receiving and for sending, when asked as a transfer asks.

    Raises:
        TransportError: no socket could be opened at all.
    """
    endpoint = open_endpoint("127.0.0.1")
    try:
        return endpoint.receive_buffer_size, endpoint.send_buffer_size
    finally:
        endpoint.close()


def try_segmentation() -> Segmentation:
    """Send a train to ourselves in one call, and see in how many calls it comes back."""
    if sys.platform != "linux":
        return Segmentation(False, False)
    with _udp_socket(socket.AF_INET) as receiving, _udp_socket(socket.AF_INET) as sending:
        coalesces = sends = False
        received = b""
        with contextlib.suppress(OSError):
            receiving.setsockopt(_SOL_UDP, _UDP_GRO, 1)
            coalesces = True
        with contextlib.suppress(OSError):
            receiving.bind(("127.0.0.1", 0))
            receiving.settimeout(_LOOPBACK_PATIENCE_S)
            sending.setsockopt(_SOL_UDP, _UDP_SEGMENT, _SEGMENT_SIZE)
            sending.sendto(bytes(_SEGMENT_COUNT * _SEGMENT_SIZE), receiving.getsockname())
            sends = True
            received = receiving.recv(1 << 16)
        return Segmentation(sends, coalesces and len(received) == _SEGMENT_COUNT * _SEGMENT_SIZE)


def route_source(address: Address) -> str:
    """The local address from which the system would send to `address`; empty where it has no route."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with contextlib.suppress(OSError), _udp_socket(family) as opened:
        opened.connect(socket_address(address, family))
        return normalised(opened.getsockname())[0]
    return ""


def multicast_source() -> dict[str, str]:
    """For "IPv4" and "IPv6" the local address that multicast leaves from; empty where there is no route for it."""
    return {
        "IPv6" if family == socket.AF_INET6 else "IPv4": route_source((group, 9))
        for family, group in _MULTICAST_TARGETS
    }


def interface_names() -> list[str]:
    """The network interfaces of this machine; none where the system does not report them."""
    try:
        return [name for _, name in socket.if_nameindex()]
    except (OSError, AttributeError):
        return []


def interface_address(name: str) -> str:
    """The first IPv4 address of an interface; empty where it has none, or where the system is not Linux."""
    if sys.platform != "linux":
        return ""
    import fcntl  # Windows has no such module.

    with contextlib.suppress(OSError), _udp_socket(socket.AF_INET) as opened:
        request = struct.pack("256s", name.encode()[:15])
        return socket.inet_ntoa(fcntl.ioctl(opened.fileno(), _SIOCGIFADDR, request)[20:24])
    return ""


def try_path_mtu(address: Address, patience_s: float = 0.15) -> int:
    """The largest IP packet in octets that reaches `address`, as far as routers report it; 0 where unknown.

    Sends datagrams of zeros that fill the supposed MTU of the path and must not be fragmented, until the system reports
    no other MTU. A router that drops large packets without an answer is not found.
    """
    if sys.platform != "linux":
        return 0
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    is_ipv6 = family == socket.AF_INET6
    level = socket.IPPROTO_IPV6 if is_ipv6 else socket.IPPROTO_IP
    known = 0
    with contextlib.suppress(OSError), _udp_socket(family) as opened:
        opened.setsockopt(level, _IPV6_MTU_DISCOVER if is_ipv6 else _IP_MTU_DISCOVER, _PMTUDISC_DO)
        opened.connect(socket_address(address, family))
        for _ in range(_MTU_ROUND_COUNT_MAX):
            mtu = opened.getsockopt(level, _IPV6_MTU if is_ipv6 else _IP_MTU)
            if mtu == known:
                break
            known = mtu
            _fill(opened, min(mtu, 65_535) - _IP_HEADER_SIZES[family] - _UDP_HEADER_SIZE, patience_s)
    return known


def exchange(address: Address, question: bytes, patience_s: float) -> Answer | None:
    """Send `question` to `address` and wait for the first datagram from there; None when none came in time."""
    family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
    with _udp_socket(family) as opened:
        try:
            opened.connect(socket_address(address, family))
            opened.settimeout(patience_s)
            start_ns = time.monotonic_ns()
            opened.send(question)
            data = opened.recv(1 << 16)
            return Answer(data, time.monotonic_ns() - start_ns)
        except (ConnectionRefusedError, ConnectionResetError):
            return Answer(refused=True)
        except OSError:
            return None


def _udp_socket(family: int) -> socket.socket:
    return socket.socket(family, socket.SOCK_DGRAM)


def _fill(opened: socket.socket, size: int, patience_s: float) -> None:
    """Send `size` zeros, and give a router the time to object, which ends the wait with an error."""
    opened.settimeout(patience_s)
    with contextlib.suppress(OSError):
        opened.send(bytes(size))
        opened.recv(1)
