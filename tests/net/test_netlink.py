"""Reading what the kernel says of interfaces: also when it says it badly."""

from __future__ import annotations

import socket
import struct
import sys

import pytest

from fountain.net import netlink

NEW_LINK, NEW_ADDRESS = 16, 20


def attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(value), kind) + value + bytes(-len(value) % 4)


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is of Linux")
def test_loopback_is_among_the_interfaces_with_its_address() -> None:
    [loopback] = [link for link in netlink.links() if link.flags & 0x08]
    assert (loopback.name, loopback.index) in [(name, index) for index, name in socket.if_nameindex()]
    assert netlink.LinkAddress(loopback.index, "127.0.0.1", 8) in netlink.link_addresses()


def test_an_answer_that_is_cut_off_ends_the_reading() -> None:
    bodies: list[bytes] = []
    assert not netlink._read(struct.pack("=IHHII", 0, NEW_ADDRESS, 0, 1, 0), NEW_ADDRESS, bodies)
    assert bodies == []
    assert netlink._link_address(struct.pack("=BBBBI", 2, 24, 0, 0, 1) + struct.pack("=HH", 0, 2)) is None


def test_only_the_messages_that_were_asked_for_are_read() -> None:
    bodies: list[bytes] = []
    answer = b"".join(struct.pack("=IHHII", 17, kind, 0, 1, 0) + b"%c\0\0\0" % kind for kind in (NEW_LINK, NEW_ADDRESS))
    assert netlink._read(answer, NEW_ADDRESS, bodies)
    assert bodies == [b"%c" % NEW_ADDRESS]


def test_an_interface_without_a_name_is_none() -> None:
    about = struct.pack("=BxHiII", 0, 1, 7, 0x1043, 0)
    assert netlink._link(about) is None
    assert netlink._link(about + attribute(3, b"eth0\0")) == netlink.NetworkLink(7, "eth0", 0x1043)


def test_an_address_that_is_still_being_tried_does_not_count() -> None:
    for flags, expected in ((0x40, None), (0x80, netlink.LinkAddress(7, "2001:db8::1", 64))):
        about = struct.pack("=BBBBI", socket.AF_INET6, 64, flags, 0, 7)
        octets = socket.inet_pton(socket.AF_INET6, "2001:db8::1")
        assert netlink._link_address(about + attribute(1, octets)) == expected
