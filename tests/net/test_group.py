"""Groups: which addresses are any, and that every receiver hears what one sender sends to them."""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from fountain.errors import TransportError, UsageError
from fountain.net import Endpoint, Group, Interface, Train, interfaces, open_endpoint, open_group_receiver, parse_group
from fountain.net.address import BROADCAST_ADDRESS
from fountain.net.linux import LinuxEndpoint
from fountain.net.routes import ROUTE_COUNT_MAX
from tests.net.test_endpoints import drain, pattern
from tests.net.test_linux import StubbornSocket, segmented

IP_PKTINFO = 8
WIRED = Interface("eth0", 2, ("192.168.1.5/24", "fe80::1/64"))


def free_port() -> int:
    """A port of this test's own, also beside other tests."""
    with closing(open_endpoint()) as endpoint:
        return endpoint.local_address[1]


def loopback() -> str:
    """The name of the loopback interface."""
    return next(name for _, name in socket.if_nameindex() if name.startswith("lo"))


linux_only = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system chooses more by itself")


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interfaces, "list_interfaces", lambda: [WIRED])


# --- Addresses -------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize(
    ("address", "family"),
    [
        ("239.255.63.30", socket.AF_INET),
        ("224.0.1.1", socket.AF_INET),
        ("232.1.2.3", socket.AF_INET),
        ("ff02::6330", socket.AF_INET6),
        ("ff15::6330", socket.AF_INET6),
        ("FF35:0::6330", socket.AF_INET6),
    ],
)
def test_a_multicast_address_is_a_group(address: str, family: int) -> None:
    group = parse_group(address, 6331, ttl=3)
    assert (group.family, group.is_multicast, group.is_broadcast) == (family, True, False)
    assert (group.interface, group.ttl, group.port) == (WIRED, 3, 6331)
    assert group.target == (group.address, 6331)


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize("address", ["224.0.0.251", "ff02::1", "ff02::1:ff00:7", "ff00::6330"])
def test_an_address_that_is_reserved_is_refused_with_one_that_is_not(address: str) -> None:
    with pytest.raises(UsageError, match="reserved") as caught:
        parse_group(address, 6331)
    assert caught.value.hint
    assert caught.value.field == "group.address"


@pytest.mark.usefixtures("wired")
def test_a_broadcast_reaches_everybody_on_the_network() -> None:
    group = parse_group(BROADCAST_ADDRESS, 6331, broadcast=True)
    assert (group.address, group.is_broadcast, group.is_multicast) == ("255.255.255.255", True, False)
    assert parse_group("192.168.1.255", 6331, broadcast=True).is_broadcast


@pytest.mark.usefixtures("wired")
@pytest.mark.parametrize("address", ["192.168.1.5", "192.168.2.255"])
def test_a_broadcast_goes_to_a_broadcast_address_of_the_interface(address: str) -> None:
    with pytest.raises(UsageError, match="broadcast address") as caught:
        parse_group(address, 6331, broadcast=True)
    assert "Give 255.255.255.255" in caught.value.hint


# --- Loopback --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["linux", "portable"])
def portable(request: pytest.FixtureRequest) -> bool:
    if request.param == "linux" and sys.platform != "linux":
        pytest.skip("segmentation offload is a Linux system call")
    return bool(request.param == "portable")


@pytest.fixture
def opened() -> Iterator[Callable[[Endpoint], Endpoint]]:
    """Closes what passes through it after the test."""
    with ExitStack() as stack:
        yield lambda endpoint: stack.enter_context(closing(endpoint))


Opened = Callable[[Endpoint], Endpoint]

GROUPS = [
    pytest.param("239.255.63.30", "", False, id="multicast"),
    pytest.param("239.255.63.31", "127.0.0.1", False, id="multicast-of-a-source"),
    pytest.param("232.255.63.30", "127.0.0.1", False, id="source-specific"),
    pytest.param(BROADCAST_ADDRESS, "", True, id="broadcast"),
    pytest.param("127.255.255.255", "", True, id="directed-broadcast"),
]


@linux_only
@pytest.mark.parametrize(("address", "source", "broadcast"), GROUPS)
@pytest.mark.parametrize("bind_host", ["", "0.0.0.0"])
def test_every_receiver_hears_whole_trains(
    opened: Opened, portable: bool, address: str, source: str, broadcast: bool, bind_host: str
) -> None:
    group = parse_group(address, free_port(), "lo", 1, source, broadcast)
    receivers = [opened(open_group_receiver(group, portable=portable)) for _ in range(3)]
    sender = opened(open_endpoint(bind_host, portable=portable))
    sender.aim(group)
    octets = pattern(64_000)
    for _ in range(3):
        assert sender.send(octets, len(octets), 1000, group.target) == len(octets)
    for receiver in receivers:
        datagrams = drain(receiver, 3 * len(octets))
        assert b"".join(datagram for datagram, _ in datagrams) == 3 * octets
        assert {source for _, source in datagrams} == {("127.0.0.1", sender.local_address[1])}
    assert sender.statistics.send_errors == sender.statistics.segmentation_refused == 0
    assert sender.segmenting is not portable


@linux_only
def test_a_receiver_of_a_group_answers_the_sender_from_another_endpoint(opened: Opened, portable: bool) -> None:
    group = parse_group("239.255.63.30", free_port(), "lo")
    receiver, sender = opened(open_group_receiver(group, portable=portable)), opened(open_endpoint(portable=portable))
    sender.aim(group)
    sender.send(b"news", 4, 4, group.target)
    [(_, source)] = drain(receiver, 4)
    opened(open_endpoint(portable=portable)).send(b"heard", 5, 5, source)
    assert [datagram for datagram, _ in drain(sender, 5)] == [b"heard"]


@linux_only
def test_what_another_source_sends_is_not_heard(opened: Opened, portable: bool) -> None:
    group = parse_group("232.255.63.32", free_port(), "lo", source="127.0.0.2")
    receiver = opened(open_group_receiver(group, portable=portable))
    for host in ("127.0.0.1", "127.0.0.2"):
        sender = opened(open_endpoint(host, portable=portable))
        sender.aim(group)
        sender.send(host.encode(), 9, 9, group.target)
    assert [datagram for datagram, _ in drain(receiver, 9)] == [b"127.0.0.2"]
    assert not receiver.receive(Train())


@linux_only
def test_only_the_groups_own_datagrams_reach_its_receiver(opened: Opened, portable: bool) -> None:
    port = free_port()
    group, other = parse_group("239.255.63.33", port, "lo"), parse_group("239.255.63.34", port, "lo")
    receiver, neighbour = (opened(open_group_receiver(each, portable=portable)) for each in (group, other))
    sender = opened(open_endpoint(portable=portable))
    for each in (other, group):
        sender.aim(each)
        sender.send(each.address.encode(), 13, 13, each.target)
    sender.send(b"to the machine", 14, 14, ("127.0.0.1", port))
    assert [datagram for datagram, _ in drain(receiver, 13)] == [b"239.255.63.33"]
    assert [datagram for datagram, _ in drain(neighbour, 13)] == [b"239.255.63.34"]
    assert not receiver.receive(Train())


@linux_only
def test_a_receiver_that_closed_has_left(opened: Opened) -> None:
    octets = (239, *os.getpid().to_bytes(4, "big")[1:])  # Nobody else's: what is looked at is the whole machine's.
    group = parse_group(".".join(map(str, octets)), free_port(), "lo")
    entry = bytes(reversed(octets)).hex().upper()
    memberships = Path("/proc/net/igmp")
    receiver = opened(open_group_receiver(group))
    assert entry in memberships.read_text()
    receiver.close()
    assert entry not in memberships.read_text()


def test_a_source_specific_group_needs_its_source_from_receivers_alone(opened: Opened) -> None:
    group = parse_group("232.255.63.36", free_port(), loopback())
    with pytest.raises(UsageError, match="source-specific") as caught:
        open_group_receiver(group)
    assert "`group.source`" in caught.value.hint
    opened(open_endpoint(family=socket.AF_INET)).aim(group)


@linux_only
@pytest.mark.parametrize(("address", "broadcast"), [("239.255.63.37", False), (BROADCAST_ADDRESS, True)])
def test_a_port_of_a_program_that_does_not_share_is_in_use(opened: Opened, address: str, broadcast: bool) -> None:
    port = opened(open_endpoint("0.0.0.0")).local_address[1]
    with pytest.raises(TransportError, match=f"port {port} is already in use") as caught:
        open_group_receiver(parse_group(address, port, "lo", broadcast=broadcast))
    assert "`group.port`" in caught.value.hint


@linux_only
def test_an_interface_that_is_gone_cannot_be_joined() -> None:
    gone = Interface("gone0", 999_999, ("192.0.2.9/24",))
    with pytest.raises(TransportError, match="gone0") as caught:
        open_group_receiver(Group("239.255.63.38", free_port(), gone))
    assert caught.value.hint
    with closing(open_endpoint()) as sender, pytest.raises(TransportError, match="gone0") as caught:
        sender.aim(Group("239.255.63.38", 6331, gone))
    assert caught.value.hint


def test_an_ipv4_socket_cannot_be_aimed_at_an_ipv6_group(opened: Opened) -> None:
    group = Group("ff15::6330", 6331, Interface("lo", 1, ("::1/128",), is_loopback=True))
    with pytest.raises(TransportError, match="cannot be reached from an IPv4 socket"):
        opened(open_endpoint("127.0.0.1")).aim(group)


def test_a_family_can_be_asked_for(opened: Opened) -> None:
    assert opened(open_endpoint(family=socket.AF_INET)).local_address[0] == "0.0.0.0"
    assert opened(open_endpoint("localhost", family=socket.AF_INET)).local_address[0] == "127.0.0.1"


@linux_only
def test_the_way_to_a_group_outlives_any_number_of_peers(opened: Opened) -> None:
    group = parse_group(BROADCAST_ADDRESS, free_port(), "lo", broadcast=True)
    sender = opened(open_endpoint())
    assert isinstance(sender, LinuxEndpoint)
    sender.aim(group)
    aimed = sender._routes.find(group.target)
    for number in range(ROUTE_COUNT_MAX + 1):
        sender._routes.heard(("192.0.2.1", number), [])
    sender._routes.heard(group.target, [])
    assert sender._routes.find(group.target) is aimed
    assert aimed.source, "the packet info that chooses the interface"


@linux_only
@pytest.mark.parametrize("refused", ["trains", "everything"])
def test_what_the_kernel_refuses_does_not_change_the_interface(opened: Opened, refused: str) -> None:
    asked: list[list[int]] = []

    def refuse(ancillary: list[tuple[int, int, bytes]], length: int) -> int | None:
        asked.append([kind for _, kind, _ in ancillary])
        return errno.EINVAL if segmented(ancillary) or refused == "everything" else None

    bound = StubbornSocket(socket.AF_INET, socket.SOCK_DGRAM)
    bound.refuse = refuse
    bound.bind(("0.0.0.0", 0))
    bound.setblocking(False)
    sender = LinuxEndpoint(bound)
    opened(sender)
    group = parse_group(BROADCAST_ADDRESS, free_port(), "lo", broadcast=True)
    sender.aim(group)
    assert sender.send(bytes(3000), 3000, 1000, group.target) == 3000
    assert len(asked) > 3
    assert all(IP_PKTINFO in kinds for kinds in asked)


@linux_only
def test_datagrams_of_changing_sizes_keep_their_borders_on_the_way_to_a_group(opened: Opened, portable: bool) -> None:
    group = parse_group("239.255.63.39", free_port(), "lo")
    receiver, sender = opened(open_group_receiver(group, portable=portable)), opened(open_endpoint(portable=portable))
    sender.aim(group)
    sizes = [1, 40, 100, 100, 100, 101, 1452, 9000, 1452, 1] * 10
    octets = pattern(sum(sizes))
    at = 0
    for size in sizes:
        assert sender.send(octets[at : at + size], size, size, group.target) == size
        at += size
    datagrams = [datagram for datagram, _ in drain(receiver, len(octets))]
    assert [len(datagram) for datagram in datagrams] == sizes
    assert b"".join(datagrams) == octets


# --- What is no broadcast --------------------------------------------------------------------------------------


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere nothing tells a broadcast from other datagrams")
@pytest.mark.parametrize("portable", [False, True], ids=["linux", "portable"])
@pytest.mark.parametrize("address", [BROADCAST_ADDRESS, "127.255.255.255"], ids=["limited", "directed"])
def test_a_receiver_of_broadcasts_hears_nothing_that_is_for_its_machine_alone(address: str, portable: bool) -> None:
    """One datagram that was routed here from another network used to announce an object."""
    group = parse_group(address, free_port(), "lo", broadcast=True)
    endpoint = open_group_receiver(group, portable=portable)
    train = Train()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"lo")
        targets = ("127.0.0.1", "127.255.255.255", "127.0.0.1", "255.255.255.255", "127.0.0.1", "127.255.255.255")
        for number, target in enumerate(targets):
            sender.sendto(bytes([number]) * 8, (target, group.port))
    heard: list[bytes] = []
    while bytes([5]) * 8 not in heard:
        assert select.select([endpoint], [], [], 30)[0], "the last broadcast does not come"
        while endpoint.receive(train):
            heard += [bytes(segment) for segment in train.segments()]
    endpoint.close()
    # They have two source addresses, one for each kind of broadcast: their trains may come in any order.
    assert sorted(heard) == [bytes([number]) * 8 for number in (1, 3, 5)]


@pytest.mark.root("ip")
@pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are of Linux")
def test_a_broadcast_on_a_wire_is_heard_and_a_datagram_for_the_machine_is_not() -> None:
    code = """
import os, select, subprocess, sys, time
from fountain.net.endpoint import open_group_receiver
from fountain.net.group import parse_group
from fountain.net.train import Train

def ip(*words):
    subprocess.run(["ip", *words], check=True)

ip("link", "set", "lo", "up")
ip("link", "add", "here0", "type", "veth", "peer", "name", "there0")
ip("addr", "add", "10.77.0.1/24", "broadcast", "+", "dev", "here0")
ip("link", "set", "here0", "up")
sleeper = subprocess.Popen(["unshare", "-n", "sleep", "60"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
while os.readlink(f"/proc/{sleeper.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
    time.sleep(0.01)  # Until it has a namespace of its own.
ip("link", "set", "there0", "netns", str(sleeper.pid))
inside = ["nsenter", "-n", "-t", str(sleeper.pid)]
for words in ("addr add 10.77.0.2/24 broadcast + dev there0", "link set there0 up"):
    subprocess.run([*inside, "ip", *words.split()], check=True)
while "LOWER_UP" not in subprocess.run(["ip", "link", "show", "here0"], capture_output=True, text=True).stdout:
    time.sleep(0.01)  # Until the other end is up.
endpoint = open_group_receiver(parse_group("255.255.255.255", 6332, "here0", broadcast=True))
# Its address changes afterwards: what comes as a broadcast on the wire is one all the same.
ip("addr", "del", "10.77.0.1/24", "dev", "here0")
ip("addr", "add", "10.77.1.1/24", "broadcast", "+", "dev", "here0")
for words in ("addr add 10.77.1.2/24 broadcast + dev there0", "route add default dev there0"):
    subprocess.run([*inside, "ip", *words.split()], check=True)
send = (
    "import socket, sys; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
    "s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1); "
    "[s.sendto(target.encode(), (target, 6332)) for target in sys.argv[1:]]"
)
targets = ("10.77.1.1", "10.77.1.255", "10.77.1.1", "255.255.255.255")
subprocess.run([*inside, sys.executable, "-c", send, *targets], check=True)
heard, train = [], Train()
while "255.255.255.255" not in heard and select.select([endpoint], [], [], 30)[0]:
    while endpoint.receive(train):
        heard += [bytes(segment).decode() for segment in train.segments()]
sleeper.kill()
print(heard)
"""
    ended = subprocess.run(
        ["unshare", "-n", sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.stdout.strip() == "['10.77.1.255', '255.255.255.255']", ended.stderr
