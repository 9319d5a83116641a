"""Questions that are answered by trying: on loopback, with and without somebody who answers."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fountain.net import probe
from fountain.net.endpoint import open_endpoint
from fountain.net.probe import (
    Answer,
    Segmentation,
    exchange,
    granted_buffer_sizes,
    interface_address,
    interface_names,
    multicast_source,
    route_source,
    try_path_mtu,
    try_segmentation,
)

ROOT = Path(__file__).resolve().parents[2]
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the system tells this on Linux only")
PATIENCE_S = 30.0


@contextlib.contextmanager
def answering(answer: Callable[[bytes], bytes]) -> Iterator[tuple[str, int]]:
    """Somebody on loopback who answers one datagram."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))

        def serve() -> None:
            question, address = opened.recvfrom(1 << 16)
            opened.sendto(answer(question), address)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield opened.getsockname()
        thread.join(PATIENCE_S)
        assert not thread.is_alive()


class ObstinateSocket(socket.socket):
    """A socket of a system that has no segmentation."""

    def setsockopt(self, *arguments: Any) -> None:
        if arguments[0] == 17:
            raise OSError(errno.ENOPROTOOPT, os.strerror(errno.ENOPROTOOPT))
        super().setsockopt(*arguments)


def test_an_answer_comes_with_its_round_trip() -> None:
    with answering(lambda question: question[::-1]) as address:
        answer = exchange(address, b"abc", PATIENCE_S)
    assert answer is not None
    assert answer.data == b"cba"
    assert answer.round_trip_ns > 0
    assert not answer.refused


@LINUX
def test_a_port_where_nobody_listens_is_refused() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        address = opened.getsockname()
    assert exchange(address, b"abc", PATIENCE_S) == Answer(refused=True)


def test_silence_is_not_waited_for_longer_than_asked() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        assert exchange(opened.getsockname(), b"abc", 0.01) is None


def test_an_address_without_an_interface_gives_no_answer_and_no_route() -> None:
    address = ("fe80::1%63063", 9)
    assert exchange(address, b"abc", 0.01) is None
    assert route_source(address) == ""
    assert try_path_mtu(address) == 0


def test_buffers_are_those_that_an_endpoint_gets() -> None:
    endpoint = open_endpoint("127.0.0.1")
    assert granted_buffer_sizes() == (endpoint.receive_buffer_size, endpoint.send_buffer_size)
    endpoint.close()


@LINUX
def test_segmentation_is_what_the_endpoint_finds() -> None:
    endpoint = open_endpoint("127.0.0.1")
    assert try_segmentation().sends == endpoint.segmenting
    endpoint.close()


def test_a_system_without_segmentation_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_udp_socket", lambda family: ObstinateSocket(family, socket.SOCK_DGRAM))
    assert try_segmentation() == Segmentation(False, False)


def test_loopback_is_reached_from_loopback() -> None:
    assert route_source(("127.0.0.1", 9)) == "127.0.0.1"


@LINUX
def test_the_path_to_oneself_takes_what_the_interface_takes() -> None:
    with answering(lambda question: b"") as (host, port):
        assert 1500 <= try_path_mtu((host, port)) <= 65_536


@LINUX
def test_interfaces_have_names_and_addresses() -> None:
    assert "lo" in interface_names()
    assert interface_address("lo") in ("127.0.0.1", "")  # A namespace may have its loopback down.
    assert interface_address("nosuchinterface") == ""


def test_multicast_is_asked_for_both_families() -> None:
    assert set(multicast_source()) == {"IPv4", "IPv6"}


# --- A path with a narrow place -----------------------------------------------------------------------------


@pytest.fixture
def narrow_path() -> Iterator[tuple[str, str]]:
    """A namespace, and an address that is reached from it through a router and then a link of 1400 octets."""
    near, router, far = (f"fountain-{os.getpid()}-{place}" for place in ("near", "router", "far"))
    commands = [
        *(f"netns add {space}" for space in (near, router, far)),
        f"link add near netns {near} type veth peer name left netns {router}",
        f"link add far netns {far} type veth peer name right netns {router}",
        f"-n {router} link set right mtu 1400",
        f"-n {far} link set far mtu 1400",
        f"-n {near} addr add 10.63.1.1/24 dev near",
        f"-n {router} addr add 10.63.1.2/24 dev left",
        f"-n {router} addr add 10.63.2.2/24 dev right",
        f"-n {far} addr add 10.63.2.1/24 dev far",
        f"-n {near} link set near up",
        f"-n {router} link set left up",
        f"-n {router} link set right up",
        f"-n {far} link set far up",
        f"-n {near} route add default via 10.63.1.2",
        f"-n {far} route add default via 10.63.2.2",
        f"netns exec {router} sysctl -qw net.ipv4.ip_forward=1",
    ]
    try:
        for command in commands:
            subprocess.run(["ip", *command.split()], check=True, capture_output=True)
        yield near, "10.63.2.1"
    finally:
        for space in (near, router, far):
            subprocess.run(["ip", "netns", "delete", space], check=False, capture_output=True)


@pytest.mark.root("ip", "sysctl")
def test_a_narrow_place_behind_a_router_is_found(narrow_path: tuple[str, str]) -> None:
    space, host = narrow_path
    program = f"from fountain.net.probe import try_path_mtu; print(try_path_mtu(({host!r}, 6330), 2.0))"
    command = ["ip", "netns", "exec", space, sys.executable, "-c", program]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1400"
