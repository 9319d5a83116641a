"""Where others reach this machine: whatever its routes are, and never an address that nobody else has."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fountain.net import local
from fountain.net.local import local_addresses

ROOT = Path(__file__).resolve().parents[2]
PROBE = "import json; from fountain.net.local import local_addresses; print(json.dumps(local_addresses()))"


def addresses_after(*commands: str) -> list[str]:
    """What a machine says of itself on which these commands set up the network."""
    script = "set -e; ip link set lo up; " + "; ".join([*commands, f"exec {sys.executable} -c '{PROBE}'"])
    done = subprocess.run(["unshare", "-n", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    addresses: list[str] = json.loads(done.stdout)
    return addresses


WIRE = ("ip link add wire type veth peer name far", "ip link set far up", "ip link set wire up")


@pytest.mark.root("ip", "unshare")
def test_an_address_counts_without_a_default_route() -> None:
    v4, v6 = "ip addr add 10.9.8.7/24 dev wire", "ip addr add 2001:db8:1::7/64 dev wire nodad"
    assert addresses_after(*WIRE, v6, v4) == ["10.9.8.7", "2001:db8:1::7"]


@pytest.mark.root("ip", "unshare")
def test_where_the_routes_lead_comes_first() -> None:
    other = "ip link add other type veth peer name yonder; ip link set yonder up; ip link set other up"
    second = "ip addr add 10.1.1.1/24 dev other"
    first = "ip addr add 10.9.8.7/24 dev wire; ip route add default via 10.9.8.1"
    assert addresses_after(*WIRE, other, second, first) == ["10.9.8.7", "10.1.1.1"]


@pytest.mark.root("ip", "unshare")
def test_a_machine_alone_has_loopback() -> None:
    assert addresses_after("true") == ["127.0.0.1"]


def test_link_local_addresses_are_for_want_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    everything = ["127.0.0.1", "169.254.3.4", "fe80::1%eth0", "192.0.2.7", "::1"]
    monkeypatch.setattr(local, "_all_addresses", lambda: iter(everything))
    assert local_addresses() == ["192.0.2.7"]
    monkeypatch.setattr(local, "_all_addresses", lambda: iter(everything[:3]))
    assert local_addresses() == ["169.254.3.4", "fe80::1%eth0"]


def test_a_server_that_is_bound_says_so() -> None:
    assert local_addresses("192.0.2.5") == ["192.0.2.5"]


@pytest.mark.root("ip", "unshare")
def test_a_link_local_address_names_its_interface() -> None:
    bare = (
        "ip link set wire addrgenmode none",
        "ip link set far addrgenmode none",
        "ip addr add fe80::7/64 dev wire nodad",
    )
    add, *up = WIRE
    assert addresses_after(add, *bare[:2], *up, bare[2]) == ["fe80::7%wire"]
