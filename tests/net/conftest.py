"""Pairs of endpoints of every kind, behind one fixture."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterator

import pytest

from fountain.net import Endpoint, open_endpoint
from fountain.net.address import Address
from fountain.net.memory import MemoryNetwork

Opener = Callable[[], Endpoint]


def has_ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


KINDS = [
    pytest.param((kind, host), id=f"{kind}-{name}")
    for kind in ("linux", "portable", "memory")
    for name, host in (("ipv4", "127.0.0.1"), ("ipv6", "::1"), ("wildcard", ""))
]


@pytest.fixture(params=KINDS)
def opener(request: pytest.FixtureRequest) -> Iterator[Opener]:
    """Opens endpoints of one kind that can reach each other; they are closed after the test."""
    kind, host = request.param
    if kind == "linux" and sys.platform != "linux":
        pytest.skip("segmentation offload is a Linux system call")
    if host == "::1" and kind != "memory" and not has_ipv6():
        pytest.skip("this machine has no IPv6")
    network = MemoryNetwork()
    opened: list[Endpoint] = []

    def open_one() -> Endpoint:
        endpoint: Endpoint
        if kind == "memory":
            endpoint = network.attach((host or "192.0.2.1", 5000 + len(opened)))
        else:
            endpoint = open_endpoint(host, portable=kind == "portable")
        opened.append(endpoint)
        return endpoint

    yield open_one
    for endpoint in opened:
        endpoint.close()


def reachable(endpoint: Endpoint) -> Address:
    """Where others on this machine reach an endpoint, also one bound to the wildcard."""
    host, port = endpoint.local_address
    return ("127.0.0.1", port) if host in ("::", "0.0.0.0") else (host, port)
