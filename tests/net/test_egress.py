"""On a machine with two interfaces a group goes through the chosen one, and is heard through the chosen one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.net.egress import GROUPS, OCTETS, SOURCES, TTL

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.root("ip", "unshare", "sysctl")


def namespaced(commands: list[str], *argv: str) -> str:
    """What a Python program prints on a machine on which these commands set up the network."""
    script = "; ".join(["set -e", *commands, 'exec "$@"'])
    done = subprocess.run(
        ["unshare", "-n", "sh", "-c", script, "sh", sys.executable, *argv],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def outcomes() -> list[dict[str, Any]]:
    """What `tests.net.egress` prints: every group, through either interface, from each kind of endpoint.

    The routing table leads everything through the first, and neither has tried its addresses for duplicates.
    """
    commands = ["ip link set lo up", "sysctl -qw net.ipv6.conf.default.accept_dad=0"]
    for number, name in ((1, "one"), (2, "two")):
        commands += [
            f"ip link add {name} type veth peer name far-{name}",
            f"ip link set {name} addrgenmode none",
            f"ip link set far-{name} addrgenmode none",
            f"ip addr add 10.{number}.0.1/16 brd + dev {name}",
            f"ip addr add fe80::{number}/64 dev {name} nodad",
            f"ip link set {name} up",
            f"ip link set far-{name} up",
        ]
    commands += ["ip route add default via 10.1.0.2", "ip route add 224.0.0.0/4 dev one"]
    found: list[dict[str, Any]] = json.loads(namespaced(commands, "-m", "tests.net.egress"))
    return found


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_goes_through_the_chosen_interface(outcomes: list[dict[str, Any]], group: str) -> None:
    mine = [outcome for outcome in outcomes if outcome["group"] == group]
    assert mine
    for outcome in mine:
        chosen = outcome["interface"]
        [other] = {"one", "two"} - {chosen}
        left = outcome["left"]
        if "segment_size" not in outcome:
            assert left[chosen]["octets"] == len(OCTETS), outcome
        assert left[chosen]["sources"] == [SOURCES[chosen, ":" in group]], outcome
        assert left[other]["octets"] == 0, outcome
        if group not in ("255.255.255.255", "directed"):
            assert left[chosen]["ttls"] == [TTL], outcome


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_is_heard_through_the_chosen_interface(outcomes: list[dict[str, Any]], group: str) -> None:
    for outcome in outcomes:
        if outcome["group"] == group:
            [other] = {"one", "two"} - {outcome["interface"]}
            assert outcome["heard"] == {outcome["interface"]: len(OCTETS), other: 0}, outcome


def test_trains_that_the_kernel_refuses_go_the_same_way_in_single_datagrams(outcomes: list[dict[str, Any]]) -> None:
    large = [outcome for outcome in outcomes if "segment_size" in outcome]
    assert {outcome["refused"] for outcome in large} == {1}
    assert all(outcome["left"][outcome["interface"]]["octets"] > 0 for outcome in large)


def test_trains_to_groups_leave_in_one_system_call(outcomes: list[dict[str, Any]]) -> None:
    assert {outcome["refused"] for outcome in outcomes if "segment_size" not in outcome} == {0}


LOOPBACK = """
import socket
from fountain.errors import TransportError
from fountain.net import open_endpoint, open_group_receiver, parse_group
from tests.net.test_endpoints import drain, pattern

for port, (address, source) in enumerate((("ff02::6330", ""), ("ff11::6330", ""), ("ff15::6330", ""),
                                          ("ff15::6331", "::1"), ("ff35::6330", "::1")), 7000):
    for portable in (False, True):
        group = parse_group(address, port, "lo", source=source)
        receivers = [open_group_receiver(group, portable=portable) for _ in range(3)]
        sender = open_endpoint(portable=portable)
        sender.aim(group)
        octets = pattern(64_000)
        assert sender.send(octets, len(octets), 1000, group.target) == len(octets)
        for receiver in receivers:
            datagrams = drain(receiver, len(octets))
            assert b"".join(datagram for datagram, _ in datagrams) == octets
            assert {source for _, source in datagrams} == {("::1", sender.local_address[1])}
        for endpoint in (sender, *receivers):
            endpoint.close()
print("all heard")
"""


def test_ipv6_groups_are_heard_on_loopback_with_a_route() -> None:
    commands = ["ip link set lo up", "ip -6 route add local ff00::/8 dev lo table local"]
    assert namespaced(commands, "-c", LOOPBACK) == "all heard\n"


UNREACHABLE = """
from fountain.errors import TransportError
from fountain.net import open_endpoint, parse_group
try:
    open_endpoint().aim(parse_group("ff15::6330", 7000, "lo"))
except TransportError as error:
    print(error.message, error.hint)
"""


def test_a_group_without_a_route_is_an_error_for_people() -> None:
    said = namespaced(["ip link set lo up"], "-c", UNREACHABLE)
    assert "No route leads to the group ff15::6330 through the interface lo." in said
    assert "IPv4 group" in said
