"""The laboratory does what it says, measured from inside: loss, rate, queue, delay, order, and leaving nothing behind.

Bounds are on what a slow machine cannot change: shares of packets, rates that are never exceeded, delays that are
never undercut.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.lab import Lab, LabError, Link, Pair, Star
from bench.lab.state import NAMESPACE_PREFIX, STATE_FOLDER

ROOT = Path(__file__).resolve().parent.parent.parent
ETHERNET_IP_UDP_SIZE = 14 + 20 + 8
OTHER_PACKET_COUNT = 20  # IPv6 announces itself with a few packets, which the faults befall as well

pytestmark = pytest.mark.root("ip", "tc", "bridge", "nft", "ethtool")


def program(*argv: str) -> list[str]:
    return [sys.executable, "-m", "bench.lab.traffic", *argv]


def transfer(lab: Lab, count: int, *options: str, size: int = 1000, way: tuple[str, str] = ("left", "right")) -> Any:
    """Send numbered packets from one host to the other; what the receiver saw of them."""
    sender, taker = way
    receiver = lab.popen(taker, program("receive"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert receiver.stdout is not None
    assert receiver.stdout.readline() == "ready\n"
    argv = program("send", lab.address(taker), "--count", str(count), "--size", str(size), *options)
    lab.run(sender, argv, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
    return json.loads(receiver.stdout.read())


def round_trips(lab: Lab) -> Any:
    echo = lab.popen("right", program("echo"), cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert echo.stdout is not None
    assert echo.stdout.readline() == "ready\n"
    done = lab.run("left", program("ping", lab.address("right")), cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def near(found: float, share: float, total: int) -> bool:
    """Whether `found` of `total` agrees with independent events of probability `share` (six standard deviations)."""
    return bool(abs(found - share * total) <= 6 * (share * (1 - share) * total) ** 0.5)


def namespaces() -> str:
    return subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout


def test_a_perfect_link_loses_nothing() -> None:
    with Pair() as lab:
        found = transfer(lab, 2000, "--rate", "20M")
        assert (found["distinct"], found["late"], found["twice"]) == (2000, 0, 0)


def test_loss_has_the_rate_and_the_direction_that_was_asked_for() -> None:
    with Pair(Link(loss=0.2)) as lab:
        there = transfer(lab, 5000, "--rate", "40M")
        back = transfer(lab, 1000, "--rate", "40M", way=("right", "left"))
        assert near(5000 - there["packets"], 0.2, 5000)
        assert 0 <= lab.counters("right")["lost"] - (5000 - there["packets"]) <= OTHER_PACKET_COUNT
        assert back["packets"] == 1000


def test_loss_can_change_while_the_link_is_up() -> None:
    with Pair() as lab:
        lab.change_loss("right", 1.0)
        argv = program("send", lab.address("right"), "--count", "100")
        lab.run("left", argv, cwd=ROOT, stdout=subprocess.DEVNULL, check=True)
        assert 0 <= lab.counters("right")["lost"] - 100 <= OTHER_PACKET_COUNT
        lab.change_loss("right", 0.0)
        assert transfer(lab, 100, "--rate", "20M")["packets"] == 100


@pytest.mark.parametrize("rate_bps", [8_000_000, 80_000_000])
def test_the_rate_is_never_exceeded_and_the_queue_drops_at_its_tail(rate_bps: int) -> None:
    with Pair(Link(rate=str(rate_bps), queue="50ms")) as lab:
        count = rate_bps // 8000  # a second's worth, sent at once
        found = transfer(lab, count)
        packet_bits = 8 * (1000 + ETHERNET_IP_UDP_SIZE)
        queue_bits, burst_bits = rate_bps * 0.05, rate_bps * 0.001 + 4 * 12_112
        assert 0 <= found["packets"] + lab.counters("right")["overflowed"] - count <= OTHER_PACKET_COUNT
        assert lab.counters("right")["overflowed"] > 0
        assert found["packets"] * packet_bits <= rate_bps * found["s"] * 1.05 + queue_bits + burst_bits
        assert found["packets"] * packet_bits >= 0.9 * queue_bits


def test_the_rate_can_change_while_the_link_is_up() -> None:
    with Pair(Link(rate="80M", queue="20ms")) as lab:
        lab.change_rate("right", "2M", queue="20ms")
        found = transfer(lab, 500)
        assert found["packets"] * 8 * 1042 <= 2_000_000 * (found["s"] * 1.05 + 0.05) + 4 * 12_112


def test_delay_is_added_in_both_directions() -> None:
    with Pair(Link(delay="30ms"), Link(delay="10ms")) as lab:
        found = round_trips(lab)
        assert found["answers"] == 20
        assert 40 <= found["min_ms"] < 80


def test_the_relay_keeps_order_and_loses_nothing_by_itself() -> None:
    with Pair(Link(delay="20ms", jitter="10ms", rate="100M", queue="200ms"), Link(delay="1ms")) as lab:
        found = transfer(lab, 3000, "--rate", "20M")
        assert (found["distinct"], found["late"], found["twice"]) == (3000, 0, 0)
        assert lab.counters("right")["relay_dropped"] == 0


def test_packets_are_reordered_and_duplicated_as_often_as_asked() -> None:
    with Pair(Link(reorder=0.1, duplicate=0.05)) as lab:
        found = transfer(lab, 4000, "--rate", "40M")
        counters = lab.counters("right")
        assert found["distinct"] == 4000
        assert 0 <= counters["relay_duplicated"] - found["twice"] <= OTHER_PACKET_COUNT
        assert near(found["twice"], 0.05, 4000)
        assert near(counters["relay_held_back"], 0.1, 4000)
        assert 0 < found["late"] <= counters["relay_held_back"]


def test_tcp_crosses_the_relay() -> None:
    listen = "import socket; s = socket.create_server(('', 7001)); print('ready', flush=True); c = s.accept()[0]; n = 0"
    listen += "\nwhile octets := c.recv(65536): n += len(octets)\nprint(n)"
    give = "import socket; s = socket.create_connection(('10.0.0.2', 7001)); s.sendall(bytes(1_000_000)); s.close()"
    with Pair(Link(delay="2ms"), Link(delay="2ms")) as lab:
        taker = lab.popen("right", [sys.executable, "-c", listen], stdout=subprocess.PIPE, text=True)
        assert taker.stdout is not None
        taker.stdout.readline()
        lab.run("left", [sys.executable, "-c", give], check=True)
        assert taker.stdout.read() == "1000000\n"


def test_one_packet_to_everybody_reaches_every_receiver() -> None:
    give = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM);"
        "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1);"
        "[s.sendto(bytes(8), (to, 7000)) for to in ('10.0.0.255', '239.1.2.3')]"
    )
    take = (
        "import socket; s = socket.socket(type=socket.SOCK_DGRAM); s.bind(('', 7000)); s.settimeout(20);"
        "s.setsockopt(0, socket.IP_ADD_MEMBERSHIP, socket.inet_aton('239.1.2.3') + socket.inet_aton('{}'));"
        "print('ready', flush=True); s.recv(9), s.recv(9); print('both')"
    )
    with Star(3) as lab:
        takers = []
        for host in lab.hosts[1:]:
            argv = [sys.executable, "-c", take.format(lab.address(host))]
            takers.append(lab.popen(host, argv, stdout=subprocess.PIPE, text=True))
        for taker in takers:
            assert taker.stdout is not None
            assert taker.stdout.readline() == "ready\n"
        lab.run("server", [sys.executable, "-c", give], check=True)
        assert [taker.stdout.read() for taker in takers if taker.stdout] == ["both\n"] * 3


def test_a_packet_to_one_reaches_nobody_else() -> None:
    with Star(2) as lab:
        transfer(lab, 100, way=("server", "r1"))
        statistics = json.loads(lab.run("r2", ["ip", "-s", "-j", "link", "show", "eth0"], capture_output=True).stdout)
        assert statistics[0]["stats64"]["rx"]["packets"] < 100


def test_ipv6_crosses_the_link() -> None:
    if not Path("/proc/sys/net/ipv6").exists():
        pytest.skip("this kernel has no IPv6")
    send = "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.sendto(b'x', ('fd00::2', 7000))"
    take = "import socket; s = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM); s.bind(('fd00::2', 7000))"
    take += "; s.settimeout(20); print('ready', flush=True); print(s.recv(9))"
    with Pair(Link(delay="1ms")) as lab:
        taker = lab.popen("right", [sys.executable, "-c", take], stdout=subprocess.PIPE, text=True)
        assert taker.stdout is not None
        assert taker.stdout.readline() == "ready\n"
        lab.run("left", [sys.executable, "-c", send], check=True)
        assert taker.stdout.read() == "b'x'\n"


# --- Leaving nothing behind --------------------------------------------------------------------------------


def remains(name: str) -> bool:
    return f"{NAMESPACE_PREFIX}{name}-" in namespaces() or any(STATE_FOLDER.glob(f"{name}.*"))


def test_what_still_runs_is_ended_and_nothing_remains() -> None:
    with Pair(Link(delay="1ms")) as lab:
        name = lab.state.name
        child = lab.popen("left", ["sleep", "1000"])
        assert remains(name)
    assert child.returncode == -signal.SIGTERM
    assert not remains(name)


def test_an_exception_inside_takes_the_laboratory_down() -> None:
    with pytest.raises(KeyboardInterrupt), Pair() as lab:
        raise KeyboardInterrupt
    assert not remains(lab.state.name)


def test_a_laboratory_that_cannot_be_built_leaves_nothing() -> None:
    with pytest.raises(LabError, match="needs a delay"):
        Pair(Link(rate="1M", queue="1bdp"), name="test-broken")
    assert not remains("test-broken")


def test_a_laboratory_whose_owner_was_killed_is_removed_by_the_next() -> None:
    code = "import time; from bench.lab import *; lab = Pair(); print(lab.state.name, flush=True); time.sleep(1000)"
    owner = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    name = owner.stdout.readline().strip()
    assert remains(name)
    owner.kill()
    owner.communicate()
    with Pair():
        assert not remains(name)


def test_the_machine_itself_gets_no_interface() -> None:
    before = set(os.listdir("/sys/class/net"))
    with Pair(Link(delay="1ms")):
        assert set(os.listdir("/sys/class/net")) == before


def test_the_commands_bring_up_use_show_and_take_down() -> None:
    def command(*argv: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "bench.lab", *argv], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    name = f"test-{os.getpid()}"
    try:
        assert "right" in command("up", "pair", "--name", name, "--rate", "10M", "--loss", "0.5", "--back-delay", "2ms")
        assert name in command("status")
        assert "10.0.0.1" in command("exec", f"{name}/left", "--", "ip", "address", "show", "eth0")
    finally:
        command("down", name)
    assert not remains(name)


def test_a_name_that_is_taken_is_refused_and_the_first_stands() -> None:
    with Pair() as lab:
        with pytest.raises(LabError, match="is up already"):
            Pair(name=lab.state.name)
        assert remains(lab.state.name)
