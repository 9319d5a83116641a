"""What the tools get: shell commands for each namespace, rates for tc, loss for nft, a job for the relay."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bench.lab import relay
from bench.lab.link import Link, burst_size, loss_per_million, parse_rate, parse_time, queue_size
from bench.lab.state import State, mac

__all__ = ["host_script", "hub_script", "link_script", "loss_rules", "relay_settings", "shaping"]

RELAY_MEMORY_SIZE_MAX = 256 << 20
RELAY_SLOT_RATE_BPS = 1_000_000_000  # what the relay is dimensioned for where a link has no rate
OFFLOADS = "gso off tso off gro off tx-udp-segmentation off"


def hub_script(state: State) -> Iterator[str]:
    """Shell commands for the hub's namespace: links to the hosts, the bridge, queues."""
    yield "if [ -d /proc/sys/net/ipv6 ]; then echo 1 > /proc/sys/net/ipv6/conf/default/disable_ipv6; fi"
    # Where the kernel has bridges ask the firewall, every packet would pay for rules that are not there.
    yield 'for file in /proc/sys/net/bridge/bridge-nf-call-*; do if [ -w "$file" ]; then echo 0 > "$file"; fi; done'
    yield f"ip link add bridge mtu {state.mtu} type bridge mcast_snooping 0 stp_state 0 forward_delay 0"
    yield "ip link set bridge up"
    if state.relayed:
        yield f"ip link add relay0 mtu {state.mtu} type veth peer name relay1 mtu {state.mtu}"
        yield from up_script("relay0")
        yield from up_script("relay1")
    for host in state.hosts:
        yield from link_script(state, host)


def link_script(state: State, host: str) -> Iterator[str]:
    """Shell commands for the hub's namespace: the link to one host, and its port of the bridge."""
    index, port, towards = state.index(host), state.port(host), state.towards(host)
    yield (
        f"ip link add p{index} mtu {state.mtu} type veth peer name eth0 "
        f"mtu {state.mtu} address {mac(index)} netns {state.namespace(host)}"
    )
    yield from up_script(f"p{index}")
    yield f"ip link set {port} master bridge"
    yield f"bridge fdb replace {mac(index)} dev {port} master static"
    if towards.rate is not None:
        yield shaping(state, port, towards, "add")


def up_script(link: str) -> Iterator[str]:
    """Shell commands that bring one link of the hub up."""
    yield f"ethtool -K {link} {OFFLOADS}"
    yield f"ip link set {link} up"


def host_script(state: State, host: str) -> Iterator[str]:
    """Shell commands for a host's namespace: its interface, addresses and neighbours."""
    yield "if [ -d /proc/sys/net/ipv6 ]; then for name in accept_ra accept_dad router_solicitations; do"
    yield "  echo 0 > /proc/sys/net/ipv6/conf/eth0/$name; done; fi"
    # The relay sees packets as they are in the kernel: checksums must be in them and not left to the device.
    yield f"ethtool -K eth0 {OFFLOADS}{' tx off' if state.relayed else ''}"
    yield "ip link set lo up"
    yield "ip link set eth0 up"
    yield f"ip address add {state.address(host)}/24 broadcast + dev eth0"
    yield "ip route add default dev eth0"
    has_ipv6 = Path("/proc/sys/net/ipv6").exists()
    if has_ipv6:
        yield f"ip address add {state.address(host, 6)}/64 dev eth0 nodad"
    for index, other in enumerate(state.hosts):
        if other != host:
            yield f"ip neighbour replace {state.address(other)} lladdr {mac(index)} dev eth0 nud permanent"
            if has_ipv6:
                yield f"ip neighbour replace {state.address(other, 6)} lladdr {mac(index)} dev eth0 nud permanent"


def shaping(state: State, port: str, link: Link, verb: str) -> str:
    """The tc command for a link's rate and queue."""
    assert link.rate is not None
    rate_bps = parse_rate(link.rate)
    size = queue_size(link, parse_time(state.forward.delay) + parse_time(state.back.delay), state.mtu)
    burst = burst_size(rate_bps, state.mtu)
    return f"tc qdisc {verb} dev {port} root tbf rate {rate_bps}bit burst {burst} limit {size + burst}"


def loss_rules(link: Link) -> str:
    """The nft rules for loss on arrival; they replace earlier ones and keep what was counted."""
    share = loss_per_million(link)
    drop = f"ether type {{ ip, ip6 }} numgen random mod 1000000 <= {share - 1} counter name lost drop" if share else ""
    return f"""table netdev lab {{
    counter lost {{ }}
    chain wire {{
        type filter hook ingress device "eth0" priority 0;
    }}
}}
flush chain netdev lab wire
{f"add rule netdev lab wire {drop}" if drop else ""}
"""


def relay_settings(link: Link, mtu: int) -> relay.Settings:
    """The link's faults, with room for all that is on the wire at its rate, twice."""
    slot_size = -(-(mtu + 32) // 64) * 64
    hold_ns = parse_time(link.delay) + parse_time(link.jitter)
    rate_bps = parse_rate(link.rate) if link.rate is not None else RELAY_SLOT_RATE_BPS
    wanted = 2 * rate_bps * hold_ns // (8 * 10**9 * mtu)
    slot_count = min(max(relay.SLOT_COUNT_MIN, wanted), RELAY_MEMORY_SIZE_MAX // slot_size)
    return relay.Settings(
        delay_ns=parse_time(link.delay),
        jitter_ns=parse_time(link.jitter),
        reorder=link.reorder,
        reorder_delay_ns=parse_time(link.reorder_delay),
        duplicate=link.duplicate,
        slot_count=slot_count,
        slot_size=slot_size,
    )
