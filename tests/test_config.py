"""A configuration refuses what is out of range or does not go together, and its error names the parameter."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from fountain import config
from fountain.config import FetchConfig, FleetConfig, GroupConfig, OnewayConfig, ServeConfig
from fountain.errors import UsageError
from fountain.net import address as net_address

PATHS = (Path("a"),)
ADDRESS = "239.63.30.1"
GROUP = GroupConfig(address=ADDRESS)
YEARS = 11 * 365 * 86_400


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: ServeConfig(paths=()), "paths"),
        (lambda: ServeConfig(paths=PATHS, port=-1), "port"),
        (lambda: ServeConfig(paths=PATHS, port=65_536), "port"),
        (lambda: ServeConfig(paths=PATHS, data_port=70_000), "data_port"),
        (lambda: ServeConfig(paths=PATHS, port=7000, data_port=7000), "data_port"),
        (lambda: ServeConfig(paths=PATHS, bind="239.1.1.1"), "bind"),
        (lambda: ServeConfig(paths=PATHS, bind="fe80::1"), "bind"),
        (lambda: ServeConfig(paths=PATHS, rate_bps=999), "rate_bps"),
        (lambda: ServeConfig(paths=PATHS, rate_bps=10**13), "rate_bps"),
        (lambda: ServeConfig(paths=PATHS, mtu=100), "mtu"),
        (lambda: ServeConfig(paths=PATHS, mtu=70_000), "mtu"),
        (lambda: ServeConfig(paths=PATHS, congestion_control="fast"), "congestion_control"),
        (lambda: ServeConfig(paths=PATHS, loss_tolerance=0.51), "loss_tolerance"),
        (lambda: ServeConfig(paths=PATHS, loss_tolerance=-0.01), "loss_tolerance"),
        (lambda: ServeConfig(paths=PATHS, expect=0), "expect"),
        (lambda: ServeConfig(paths=PATHS, expect=10**6), "expect"),
        (lambda: ServeConfig(paths=PATHS, idle_exit_s=0), "idle_exit_s"),
        (lambda: ServeConfig(paths=PATHS, idle_exit_s=YEARS), "idle_exit_s"),
        (lambda: ServeConfig(paths=PATHS, peer_count_max=0), "peer_count_max"),
        (lambda: ServeConfig(paths=PATHS, open=True, fleet=FleetConfig(group=GROUP)), "open"),
        (lambda: ServeConfig(paths=PATHS, port=6332, fleet=FleetConfig(group=GROUP)), "group.port"),
        (lambda: FleetConfig(group=GROUP, ttl=0), "ttl"),
        (lambda: FleetConfig(group=GROUP, ttl=256), "ttl"),
        (lambda: FleetConfig(group=GROUP, wait_count=0), "wait_count"),
        (lambda: FleetConfig(group=GROUP, wait_time_s=0), "wait_time_s"),
        (lambda: FleetConfig(group=GROUP, min_rate_bps=-1), "min_rate_bps"),
        (lambda: FleetConfig(group=GROUP, oneway=OnewayConfig(), min_rate_bps=0), "min_rate_bps"),
        (lambda: FleetConfig(group=GROUP, congestion_control="fast"), "congestion_control"),
        (lambda: OnewayConfig(pass_count=0), "pass_count"),
        (lambda: OnewayConfig(duration_s=0), "duration_s"),
        (lambda: OnewayConfig(overhead=-0.1), "overhead"),
        (lambda: OnewayConfig(plan_loss=0.91), "plan_loss"),
        (lambda: OnewayConfig(pass_count=1, overhead=0.1), "oneway"),
        (lambda: FetchConfig(host="h", port=0), "port"),
        (lambda: FetchConfig(host="h", port=65_536), "port"),
        (lambda: FetchConfig(host="h", timeout_s=0), "timeout_s"),
        (lambda: FetchConfig(host="h", loss_test=1.0), "loss_test"),
        (lambda: FetchConfig(host="h", free_size_min=1), "free_size_min"),
        (lambda: FetchConfig(host="h", hook="x"), "hook"),
        (lambda: FetchConfig(group=GROUP, listen=True, name="n"), "listen"),
        (lambda: FetchConfig(host="h", size_max=-1), "size_max"),
        (lambda: FetchConfig(host="h", port="6330"), "port"),  # type: ignore[arg-type]
        (lambda: FetchConfig(host="h", port=1.5), "port"),  # type: ignore[arg-type]
        (lambda: FetchConfig(host="h", port=True), "port"),
        (lambda: FetchConfig(host="h", wait="yes"), "wait"),  # type: ignore[arg-type]
        (lambda: FetchConfig(host="h", name="a\0b"), "name"),
        (lambda: FetchConfig(host="h", out="a"), "out"),  # type: ignore[arg-type]
        (lambda: FetchConfig(group=5), "group"),  # type: ignore[arg-type]
        (lambda: GroupConfig(address=5), "group.address"),  # type: ignore[arg-type]
        (lambda: ServeConfig(paths=PATHS, fleet=5), "fleet"),  # type: ignore[arg-type]
    ],
)
def test_a_value_that_cannot_be_is_refused_by_its_name(make: Callable[[], object], field: str) -> None:
    with pytest.raises(UsageError) as caught:
        make()
    assert caught.value.field == field
    assert caught.value.hint.endswith((".", "%eth0", "239.1.1.1"))


@pytest.mark.parametrize("port", [0, 65_536])
def test_a_group_has_a_port_of_its_own(port: int) -> None:
    with pytest.raises(UsageError, match="is out of range") as caught:
        GroupConfig(address=ADDRESS, port=port)
    assert caught.value.field == "group.port"
    assert "65535" in caught.value.hint


@pytest.mark.parametrize("address", ["192.168.1.5", "fe80::1", "255.255.255.255", "fleet.example", "", "239.255.1"])
def test_an_address_that_is_no_group_is_refused(address: str) -> None:
    with pytest.raises(UsageError, match=r"is not a multicast group|is not an IP address") as caught:
        GroupConfig(address=address)
    assert caught.value.field == "group.address"
    assert caught.value.hint


def test_an_address_does_not_name_the_interface() -> None:
    with pytest.raises(UsageError, match="names an interface") as caught:
        GroupConfig(address="ff02::6330%eth0")
    assert "`group.interface`" in caught.value.hint


@pytest.mark.parametrize("address", ["239.255.1.1", "ff02::6330", "fe80::1"])
def test_a_broadcast_has_a_broadcast_address(address: str) -> None:
    with pytest.raises(UsageError, match="is not a broadcast address") as caught:
        GroupConfig(address=address, is_broadcast=True)
    assert caught.value.field == "group.address"


@pytest.mark.parametrize(
    ("address", "source"),
    [
        ("232.1.1.1", "fe80::2"),
        ("232.1.1.1", "232.1.1.2"),
        ("232.1.1.1", "sender.example"),
        ("232.1.1.1", "0.0.0.0"),
        ("232.1.1.1", "255.255.255.255"),
        ("ff35::1", "::"),
        ("255.255.255.255", "192.168.1.7"),
    ],
)
def test_a_source_is_one_machine_of_the_same_family(address: str, source: str) -> None:
    with pytest.raises(UsageError) as caught:
        GroupConfig(address=address, source=source, is_broadcast=address == "255.255.255.255")
    assert caught.value.field == "group.source"
    assert caught.value.hint


def test_a_stream_to_a_group_has_the_control_that_fits() -> None:
    assert FleetConfig(group=GROUP).control_name == "tfmcc"
    assert FleetConfig(group=GROUP, oneway=OnewayConfig()).control_name == "fixed"
    assert FleetConfig(group=GROUP, congestion_control="fixed").control_name == "fixed"


def test_the_broadcast_address_is_the_one_that_packets_go_to() -> None:
    assert config.BROADCAST_ADDRESS == net_address.BROADCAST_ADDRESS


def test_what_is_given_cannot_be_changed() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        GROUP.port = 7000  # type: ignore[misc]
