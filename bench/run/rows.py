"""What is measured: one function for each row of the table."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.lab import Link
from bench.lab.link import parse_rate
from bench.peers.base import Tool
from bench.peers.fountain import Fountain
from bench.peers.group import FountainGroup
from bench.peers.rsync import Rsync
from bench.peers.tcp import Tcp
from bench.peers.udpcast import Udpcast
from bench.peers.uftp import Uftp
from bench.run.figures import Network
from bench.run.workplace import Workplace
from bench.scratch import MB
from fountain.limits import DATA_OVERHEAD_SIZE

__all__ = ["NEEDS_LABORATORY", "ROWS", "link_target_bps", "warm_up"]

GBPS = 1_000_000_000
SYMBOL_SIZE = 1408
IP_UDP_SIZE = 28
ETHERNET_SIZE = 14  # as the laboratory counts: no preamble, checksum or gap
PACKET_SIZE = SYMBOL_SIZE + DATA_OVERHEAD_SIZE + IP_UDP_SIZE  # what fountain's --rate counts
WIRE_SIZE = PACKET_SIZE + ETHERNET_SIZE
SHARE = 0.96  # of what arrives is to be file
LINK_RATE = "1G"
RTT_RATE = "100M"


def link_target_bps(rate_bps: int, loss: float) -> float:
    """What a perfect code would carry across a link, less 4 %: headers and lost packets take the rest."""
    return SHARE * (1.0 - loss) * rate_bps * SYMBOL_SIZE / WIRE_SIZE


def link_fountain(rate_bps: int) -> Fountain:
    """fountain at exactly the rate of a link: its --rate counts IP packets, the link Ethernet's."""
    return Fountain(open=True, rate_bps=rate_bps * PACKET_SIZE // WIRE_SIZE, fixed=True)


def warm_up(work: Workplace) -> None:
    """Compile all kernels and read all modules: a small transfer of each kind that nobody counts."""
    for number, tool in enumerate((Fountain(open=True, loss_test=0.1), Fountain(loss_test=0.1))):
        print(f"warming up ({number + 1} of 2): a transfer that does not count", flush=True)
        work.warm(work.loopback(), tool, 20 * MB)


def measure_loopback(work: Workplace) -> None:
    size, count = work.scale.loopback_size, work.scale.repeat_count
    targets = {(True, 0.0): 5.0, (True, 0.05): 4.0, (False, 0.0): 3.5, (False, 0.05): 3.0}
    for (is_open, loss), target in targets.items():
        place = work.loopback(loss)
        tool = Fountain(open=is_open, loss_test=loss)
        work.measure("loopback", place, tool, size, repeat_count=count, target_bps=target * GBPS)
        if not loss:  # on loopback nothing is lost, and TCP cannot be made to throw away
            work.measure("loopback", place, Tcp(tls=not is_open), size)


def measure_veth(work: Workplace) -> None:
    size, count = work.scale.veth_size, work.scale.repeat_count
    for loss, target in ((0.0, 2.2), (0.05, 2.0)):
        with work.pair(Network("veth", loss), Link(loss=loss)) as place:
            tool = Fountain(open=True)
            work.measure("veth", place, tool, size, repeat_count=count, target_bps=target * GBPS)
            work.measure("veth", place, Fountain(), size)
            work.measure_all("veth", place, others(work, loss), size)


def measure_link(work: Workplace) -> None:
    rate_bps = parse_rate(LINK_RATE)
    for loss in (0.0, 0.01, 0.05, 0.2, 0.4):
        network = Network("1 Gbit/s", loss, link_bps=rate_bps)
        with work.pair(network, Link(rate=LINK_RATE, loss=loss)) as place:
            target_bps = link_target_bps(rate_bps, loss)
            work.measure("link", place, link_fountain(rate_bps), work.scale.link_size, target_bps=target_bps)
            work.measure_all("link", place, tcp(work), work.scale.link_size)
            if loss in (0.0, 0.05):
                work.measure("link", place, Uftp(), work.scale.default_size)


def measure_default(work: Workplace) -> None:
    """Congestion control as it comes; nothing here knows the rate of the link."""
    for loss in (0.0, 0.01):
        network = Network("1 Gbit/s", loss, link_bps=parse_rate(LINK_RATE))
        with work.pair(network, Link(rate=LINK_RATE, loss=loss)) as place:
            work.measure_all("default", place, [Fountain(), Fountain(open=True), *tcp(work)], work.scale.default_size)


def measure_rtt(work: Workplace) -> None:
    """A slower link, which the relay carries with ease, farther and farther away."""
    rate_bps = parse_rate(RTT_RATE)
    for rtt_ms in (2, 20, 50, 100):
        delay = f"{rtt_ms * 500}us"
        network = Network("100 Mbit/s", 0.01, rtt_ms, link_bps=rate_bps)
        with work.pair(network, Link(rate=RTT_RATE, loss=0.01, delay=delay), Link(delay=delay)) as place:
            tools = [Fountain(), link_fountain(rate_bps), *tcp(work)]
            work.measure_all("rtt", place, tools, work.scale.rtt_size)


def measure_peers(work: Workplace) -> None:
    """Many at once, and one alone to compare what an octet costs the server."""
    size, tool = work.scale.peers_size, Fountain(rate_bps=GBPS, fixed=True)
    # So small a transfer takes a few ticks of the clock of processor time: it is measured several times.
    one = work.measure("peers", work.loopback(), tool, size, repeat_count=5, patience_s=240.0)
    for count in (work.scale.peer_count // 4, work.scale.peer_count):
        crowd = work.loopback(receiver_count=count)
        many = work.measure("peers", crowd, tool, size, patience_s=240.0)
        if one.rates_bps and many.rates_bps:
            ratio = many.sender_cpu_s_per_gb / one.sender_cpu_s_per_gb
            print(f"  CPU of the server for each octet that arrived: {ratio:.2f} x that of one peer", flush=True)
    work.measure("peers", crowd, Fountain(rate_bps=GBPS), size, patience_s=240.0)


def measure_receivers(work: Workplace) -> None:
    """The same file to several at once: fountain to a group, UFTP and udpcast by multicast, the others to each."""
    for count in work.scale.receiver_counts:
        with work.star(Network("veth", 0.0, receiver_count=count), Link()) as place:
            group = FountainGroup(GBPS, control="tfmcc")
            tools: list[Tool] = [group, Fountain(open=True), Tcp("cubic", cut_s=work.scale.cut_s), Uftp(), Udpcast()]
            work.measure_all("receivers", place, tools, work.scale.receivers_size)


def tcp(work: Workplace) -> Sequence[Tool]:
    """curl with both kinds of congestion control."""
    return [Tcp(control, cut_s=work.scale.cut_s) for control in ("cubic", "bbr")]


def others(work: Workplace, loss: float) -> Sequence[Tool]:
    """Every other tool; rsync goes by TCP and waits as long where packets are lost, so it is left out there."""
    return [*tcp(work), *([] if loss else [Rsync()]), Uftp(), Udpcast()]


ROWS: dict[str, Callable[[Workplace], None]] = {
    "loopback": measure_loopback,
    "veth": measure_veth,
    "link": measure_link,
    "default": measure_default,
    "rtt": measure_rtt,
    "peers": measure_peers,
    "receivers": measure_receivers,
}
NEEDS_LABORATORY = frozenset(ROWS) - {"loopback", "peers"}
