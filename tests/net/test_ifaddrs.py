"""Reading what getifaddrs says, in the layout of Linux and in that of BSD."""

from __future__ import annotations

import ctypes
import socket
import sys

import pytest

from fountain.net import ifaddrs


def placed(octets: bytes) -> tuple[ctypes.Array[ctypes.c_char], int]:
    """Octets in memory, and where; the memory lives as long as the buffer."""
    buffer = ctypes.create_string_buffer(octets, len(octets))
    return buffer, ctypes.addressof(buffer)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no getifaddrs")
def test_loopback_has_its_address() -> None:
    found = [each for each in ifaddrs.named_addresses() if each.address == "127.0.0.1"]
    assert [each.prefix_length for each in found] == [8]
    assert found[0].flags & 0x8


def test_a_netmask_that_bsd_cut_short_is_filled_with_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifaddrs, "_HAS_LENGTH", True)
    kept, address = placed(bytes([16, socket.AF_INET, 0, 0, 192, 168, 1, 5]) + bytes(8))
    kept_too, netmask = placed(bytes([7, 0, 0, 0, 255, 255, 255]))
    assert ifaddrs._address(address, netmask) == ("192.168.1.5", 24)
    assert ifaddrs._address(address, None) == ("192.168.1.5", 32)
    del kept, kept_too


def test_the_interface_that_bsd_hides_in_an_address_is_taken_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifaddrs, "_HAS_LENGTH", True)
    octets = socket.inet_pton(socket.AF_INET6, "fe80:4::1")
    kept, address = placed(bytes([28, socket.AF_INET6]) + bytes(6) + octets + bytes(4))
    kept_too, netmask = placed(bytes([16, 0]) + bytes(6) + b"\xff" * 8)
    assert ifaddrs._address(address, netmask) == ("fe80::1", 64)
    del kept, kept_too


def test_what_is_no_address_of_ip_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ifaddrs, "_HAS_LENGTH", True)
    kept, address = placed(bytes([20, 18]) + bytes(18))  # AF_LINK
    assert ifaddrs._address(address, None) == ("", 0)
    assert ifaddrs._address(None, None) == ("", 0)
    del kept
