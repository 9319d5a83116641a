"""Opening endpoints, looking names up, and what a person reads when that fails."""

from __future__ import annotations

import socket
import sys

import pytest

from fountain.errors import NobodyAnsweredError, TransportError, UsageError
from fountain.net import open_endpoint, resolve, text
from fountain.net.address import normalised, socket_address
from tests.net.conftest import has_ipv6


def test_a_port_in_use_is_named_with_its_option() -> None:
    endpoint = open_endpoint("127.0.0.1")
    port = endpoint.local_address[1]
    with pytest.raises(TransportError, match=f"port {port} is already in use") as caught:
        open_endpoint("127.0.0.1", port)
    assert "`port`" in caught.value.hint
    assert caught.value.address == f"127.0.0.1:{port}"
    endpoint.close()


def test_a_port_in_use_on_every_address_is_an_error_and_not_a_fall_back_to_ipv4() -> None:
    endpoint = open_endpoint()
    with pytest.raises(TransportError, match="already in use"):
        open_endpoint("", endpoint.local_address[1])
    endpoint.close()


def test_an_address_of_another_machine_cannot_be_bound() -> None:
    with pytest.raises(TransportError, match=r"192\.0\.2\.77 is not one of this machine") as caught:
        open_endpoint("192.0.2.77")
    assert caught.value.hint


def test_a_name_that_is_no_address_cannot_be_bound() -> None:
    with pytest.raises(TransportError, match="not known"):
        open_endpoint("no such host")


def test_missing_permission_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: socket.socket, address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(TransportError, match="No permission to use UDP port 80") as caught:
        open_endpoint("127.0.0.1", 80)
    assert "`port`" in caught.value.hint


def test_a_machine_without_ipv6_is_served_over_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    class OldSocket(socket.socket):
        def __init__(self, family: int = -1, *arguments: int) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *arguments)

    monkeypatch.setattr("fountain.net.endpoint.socket.socket", OldSocket)
    endpoint = open_endpoint()
    assert endpoint.local_address[0] == "0.0.0.0"
    endpoint.close()


@pytest.mark.skipif(sys.platform != "linux", reason="other systems may give any size")
def test_the_buffer_size_that_the_system_gave_is_read_back() -> None:
    endpoint = open_endpoint("127.0.0.1", buffer_size=100_000)
    assert endpoint.receive_buffer_size == 100_000
    assert endpoint.send_buffer_size == 100_000
    endpoint.close()


@pytest.mark.skipif(sys.platform != "linux", reason="segmentation offload is a Linux system call")
def test_a_kernel_without_segmentation_gets_the_portable_endpoint(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = socket.socket.setsockopt

    def refuse(self: socket.socket, level: int, option: int, value: int) -> None:
        if level == 17:
            raise OSError(92, "Protocol not available")
        plain(self, level, option, value)

    monkeypatch.setattr(socket.socket, "setsockopt", refuse)
    endpoint = open_endpoint("127.0.0.1")
    assert not endpoint.segmenting
    endpoint.close()


def test_numbers_resolve_to_themselves() -> None:
    assert resolve("192.0.2.1", 6330) == [("192.0.2.1", 6330)]
    assert resolve("2001:db8::1", 6330) == [("2001:db8::1", 6330)]


def test_brackets_around_an_ipv6_address_are_taken_off() -> None:
    assert resolve("[2001:db8::1]", 6330) == [("2001:db8::1", 6330)]


@pytest.mark.parametrize(
    ("host", "hint"),
    [
        ("192.0.2.1:6330", "`host` 192.0.2.1 and `port` 6330"),
        ("host.invalid:7000", "`host` host.invalid and `port` 7000"),
        ("[2001:db8::1]:6330", "`host` 2001:db8::1 and `port` 6330"),
        ("http://host.invalid/", "`host` host.invalid"),
        ("http://host.invalid:80/file", "`host` host.invalid and `port` 80"),
    ],
)
def test_more_than_a_host_is_answered_with_what_to_type(host: str, hint: str) -> None:
    with pytest.raises(UsageError, match="more than the name") as caught:
        resolve(host, 6330)
    assert caught.value.hint == f"Give {hint}."


@pytest.mark.parametrize(
    ("host", "said", "hint"),
    [
        ("0.0.0.0", "stands for all addresses", "127.0.0.1"),
        ("::", "stands for all addresses", "::1"),
        ("255.255.255.255", "everybody on a network", "`group.is_broadcast`"),
        ("127.255.255.255", "everybody on a network", "`group.is_broadcast`"),
        ("224.0.0.1", "address of a group", "`group.address` 224.0.0.1"),
        ("ff02::1", "address of a group", "`group.address` ff02::1"),
        ("fe80::1", "does not say which", "fe80::1%"),
    ],
)
def test_an_address_of_no_machine_is_refused_with_what_to_do(host: str, said: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        resolve(host, 6330)
    assert host in caught.value.message
    assert said in caught.value.message
    assert hint in caught.value.hint


def test_of_several_addresses_only_those_of_machines_are_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    entries = [(socket.AF_INET, 2, 17, "", (host, 6330)) for host in ("0.0.0.0", "192.0.2.1", "224.0.0.1")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **options: entries)
    assert resolve("host.invalid", 6330) == [("192.0.2.1", 6330)]


def test_an_unknown_name_is_no_more_than_a_host() -> None:
    with pytest.raises(NobodyAnsweredError) as caught:
        resolve("no-such-host.invalid", 6330)
    assert "`host`" not in caught.value.hint


def test_an_ipv4_address_in_ipv6_clothes_is_written_as_ipv4() -> None:
    assert resolve("::ffff:192.0.2.1", 1) == [("192.0.2.1", 1)]
    assert normalised(("::ffff:192.0.2.1", 1, 0, 0)) == ("192.0.2.1", 1)
    assert socket_address(("192.0.2.1", 1), socket.AF_INET6) == ("::ffff:192.0.2.1", 1, 0, 0)


def test_a_link_local_address_keeps_its_scope() -> None:
    assert normalised(("fe80::1", 7, 0, 3)) == ("fe80::1%3", 7)
    assert socket_address(("fe80::1%3", 7), socket.AF_INET6) == ("fe80::1", 7, 0, 3)


@pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")
def test_a_scope_may_be_the_name_of_an_interface() -> None:
    name = socket.if_indextoname(1)
    assert resolve(f"fe80::1%{name}", 7) == [("fe80::1%1", 7)]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a..b", "x" * 300])
def test_an_unknown_host_is_an_error_for_people(host: str) -> None:
    with pytest.raises((NobodyAnsweredError, UsageError)) as caught:
        resolve(host, 6330)
    assert host in caught.value.message
    assert caught.value.hint


def test_addresses_are_written_for_people() -> None:
    assert text(("192.0.2.1", 1)) == "192.0.2.1:1"
    assert text(("2001:db8::1", 1)) == "[2001:db8::1]:1"
