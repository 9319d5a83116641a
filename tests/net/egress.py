"""A program for a network namespace with the interfaces `one` and `two`: send to groups, and print where that arrived.

Everything that leaves an interface is seen on the other end of its cable (`far-one`, `far-two`) by a packet socket.
Prints a JSON list with an entry for each case.
"""

from __future__ import annotations

import json
import socket
import sys
from contextlib import ExitStack, closing
from typing import Any

from fountain.net import Endpoint, Group, Train, open_endpoint, open_group_receiver, parse_group, wait

INTERFACES = ("one", "two")
GROUPS = ("239.255.63.30", "232.255.63.30", "255.255.255.255", "directed", "ff02::6330", "ff15::6330", "ff35::6330")
DIRECTED = {"one": "10.1.255.255", "two": "10.2.255.255"}
SOURCES = {
    ("one", False): "10.1.0.1", ("two", False): "10.2.0.1", ("one", True): "fe80::1", ("two", True): "fe80::2",
}  # fmt: skip
TTL = 7
OCTETS = bytes(range(250)) * 40
SEGMENT_SIZE = 1000
LARGE_SEGMENT_SIZE = 2500  # More than the MTU: the kernel refuses such trains.
ETH_P_ALL = 3
UDP = 17
IPV6_PART = 44  # an extension header of 8 octets


def main() -> None:
    cases = [
        {"group": group, "interface": interface, "bind_host": bind_host, "portable": portable}
        for group in GROUPS
        for interface in INTERFACES
        for bind_host in ("", "0.0.0.0")
        for portable in (False, True)
        if not (":" in group and bind_host)
    ]
    for case in cases[:]:
        if not case["portable"]:
            cases.append(case | {"segment_size": LARGE_SEGMENT_SIZE})
    print(json.dumps([case | run(**case, port=7000 + number) for number, case in enumerate(cases)]))


def run(
    group: str, interface: str, bind_host: str, portable: bool, port: int, segment_size: int = SEGMENT_SIZE
) -> dict[str, Any]:
    """Send from an endpoint that is aimed at the group through `interface`, while both interfaces are listened on."""
    with ExitStack() as stack:
        taps = {name: stack.enter_context(tap(f"far-{name}")) for name in INTERFACES}
        receivers = {
            name: stack.enter_context(closing(open_group_receiver(named(group, port, name), portable=portable)))
            for name in INTERFACES
        }
        sender = stack.enter_context(closing(open_endpoint(bind_host, portable=portable)))
        aimed = named(group, port, interface)
        sender.aim(aimed)
        sender.send(OCTETS, len(OCTETS), segment_size, aimed.target)
        return {
            "left": {name: seen(each, port) for name, each in taps.items()},
            "heard": {name: heard(each) for name, each in receivers.items()},
            "refused": sender.statistics.segmentation_refused + sender.statistics.send_errors,
        }


def named(group: str, port: int, interface: str) -> Group:
    broadcast = group in ("255.255.255.255", "directed")
    address = DIRECTED[interface] if group == "directed" else group
    is_source_specific = group.startswith(("232.", "ff3"))
    source = SOURCES[interface, ":" in group] if is_source_specific else ""
    return parse_group(address, port, interface, 1 if broadcast else TTL, source, broadcast)


def tap(interface: str) -> socket.socket:
    opened = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(ETH_P_ALL))
    opened.bind((interface, ETH_P_ALL))
    opened.setblocking(False)
    return opened


def seen(tapped: socket.socket, port: int) -> dict[str, Any]:
    """Octets of UDP for `port` that came out of the cable, and the senders and TTLs of their packets."""
    found: dict[str, Any] = {"octets": 0, "sources": [], "ttls": []}
    while True:
        try:
            packet = tapped.recv(1 << 16)
        except BlockingIOError:
            return found
        if packet[0] >> 4 == 4:
            protocol, ttl, start = packet[9], packet[8], (packet[0] & 15) * 4
            source = socket.inet_ntop(socket.AF_INET, packet[12:16])
        else:
            protocol, ttl, start = packet[6], packet[7], 40
            source = socket.inet_ntop(socket.AF_INET6, packet[8:24])
            if protocol == IPV6_PART:
                protocol, start = packet[40], 48
        if protocol == UDP and int.from_bytes(packet[start + 2 : start + 4], "big") == port:
            found["octets"] += len(packet) - start - 8
            found["sources"] = sorted({*found["sources"], source})
            found["ttls"] = sorted({*found["ttls"], ttl})


def heard(receiver: Endpoint) -> int:
    """Octets that have come."""
    train = Train()
    octets = 0
    while wait([receiver], 0):
        while receiver.receive(train):
            octets += train.length
    return octets


if __name__ == "__main__":
    sys.exit(main())
