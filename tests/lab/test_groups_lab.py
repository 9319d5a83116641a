"""Groups between hosts: what a stream costs on the wire, which interface carries it, how far it goes, and one way only.

Each host is a network namespace, so that multicast takes the way it takes in a network.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.fleet.place import Fleet, Group, counted, rules, stand
from bench.lab import Star
from tests.lab.commands import QUICKLY, RATE_BPS, Command, Stage

SIZE = 5_000_000
SMALL_SIZE = 300_000
ADDRESS = "239.63.30.1"
ADDRESS_IPV6 = "ff15::63:30"
# What hosts say, where their cables end; and that nobody hears it.
MUTE = """table netdev mute {{
    counter said {{ }}
    chain heard {{
        type filter hook ingress device "{port}" priority 0; policy drop;
        meta l4proto udp counter name said
    }}
}}
"""
REACH = """table netdev reach {
    counter near { }
    counter far { }
    chain sent {
        type filter hook ingress device "p0" priority 0;
        ip daddr 224.0.0.0/4 meta l4proto udp ip ttl 1 counter name near
        ip daddr 224.0.0.0/4 meta l4proto udp ip ttl > 1 counter name far
        ip6 daddr ff00::/8 meta l4proto udp ip6 hoplimit 1 counter name near
        ip6 daddr ff00::/8 meta l4proto udp ip6 hoplimit > 1 counter name far
    }
}
"""

pytestmark = pytest.mark.root("ip", "tc", "bridge", "nft", "ethtool")


def hub_command(fleet: Fleet, *argv: str) -> list[str]:
    return ["ip", "netns", "exec", fleet.lab.state.hub, *argv]


def test_three_receivers_that_lose_five_percent_cost_a_fifth_more_than_the_file(tmp_path: Path) -> None:
    with stand(Group(3, 0.05, RATE_BPS)) as fleet:
        Stage(fleet.lab, tmp_path, SIZE, "--group", ADDRESS).transfer(count=3)
        assert fleet.sent().octets <= 1.2 * SIZE


def test_a_group_of_ipv6_does_the_same(tmp_path: Path) -> None:
    with stand(Group(2, 0.05, RATE_BPS)) as fleet:
        Stage(fleet.lab, tmp_path, SMALL_SIZE, "--group", ADDRESS_IPV6, "-i", "eth0").transfer(count=2)


def test_a_broadcast_reaches_all_hosts(tmp_path: Path) -> None:
    with stand(Group(2, 0.05, RATE_BPS)) as fleet:
        Stage(fleet.lab, tmp_path, SMALL_SIZE, "--broadcast", "-i", "eth0").transfer(count=2)


def test_a_receiver_hears_only_the_source_that_it_names(tmp_path: Path) -> None:
    with Star(2) as lab:
        stage = Stage(lab, tmp_path, SMALL_SIZE, "--group", "232.63.30.1")
        (right,) = stage.receive("--source", lab.address("server"))
        wrong = Command(
            lab, "r2", tmp_path / "r2", "fetch", *stage.where, "--source", lab.address("r1"), "--timeout", "2"
        )
        wrong.wait_event("listening")
        server = stage.serve(*QUICKLY, "--expect", "1")
        assert (right.wait(), wrong.wait(), server.wait()) == (0, 3, 0)
        assert stage.is_exact(right)
        assert "Nobody announced anything" in wrong.text


def test_one_way_needs_no_way_back_and_receivers_say_nothing(tmp_path: Path) -> None:
    with stand(Group(2, 0.05, RATE_BPS)) as fleet:
        for index in (1, 2):
            rules(hub_command(fleet, "nft", "-f", "-"), MUTE.format(port=f"p{index}").replace("mute", f"mute{index}"))
        stage = Stage(fleet.lab, tmp_path, SIZE, "--group", ADDRESS)
        fetches = stage.receive(count=2)
        server = stage.serve("--rate", str(RATE_BPS), "--oneway", "--passes", "1", "--plan-loss", "0.1")
        assert ([fetch.wait() for fetch in fetches], server.wait()) == ([0, 0], 0)
        assert all(stage.is_exact(fetch) for fetch in fetches)
        assert counted(hub_command(fleet, "nft", "-j", "list", "counters"))["said"] == (0, 0)


@pytest.mark.parametrize("address", [ADDRESS, ADDRESS_IPV6])
def test_a_group_stays_in_its_network_unless_a_ttl_is_given(address: str, tmp_path: Path) -> None:
    with stand(Group(1, 0.0, RATE_BPS)) as fleet:
        rules(hub_command(fleet, "nft", "-f", "-"), REACH)
        stage = Stage(fleet.lab, tmp_path, SMALL_SIZE, "--group", address, "-i", "eth0")
        oneway = ("--rate", str(RATE_BPS), "--oneway", "--passes", "1")
        assert stage.serve(*oneway).wait() == 0
        found = counted(hub_command(fleet, "nft", "-j", "list", "counters"))
        assert found["near"][0] > SMALL_SIZE // 1500
        assert found["far"][0] == 0
        assert stage.serve(*oneway, "--ttl", "4").wait() == 0
        again = counted(hub_command(fleet, "nft", "-j", "list", "counters"))
        assert again["far"][0] > SMALL_SIZE // 1500
        assert again["near"] == found["near"]


def test_of_two_interfaces_one_must_be_named(tmp_path: Path) -> None:
    with Star(1) as lab:
        script = (
            "ip link add eth1 type veth peer name other && ip link set eth1 up && ip link set other up"
            " && ip address add 10.1.0.1/24 dev eth1"
        )
        for host in lab.hosts:
            lab.run(host, ["sh", "-ec", script], check=True)
        stage = Stage(lab, tmp_path, SMALL_SIZE, "--group", ADDRESS)
        fetch = Command(lab, "r1", tmp_path / "r1", "fetch", *stage.where)
        server = stage.serve()
        assert (fetch.wait(), server.wait()) == (2, 2)
        for command, host in ((fetch, "r1"), (server, "server")):
            (failed,) = command.events("failed")
            names = f"eth0 ({lab.address(host)}), eth1 (10.1.0.1)"
            assert failed["message"] == f"Several interfaces could carry the group: {names}."
            assert failed["hint"] == "Choose one, for example --interface eth0."
        Stage(lab, tmp_path, SMALL_SIZE, "--group", ADDRESS, "-i", "eth0").transfer(count=1)
