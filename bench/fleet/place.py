"""The network of a fleet: a star whose receivers each lose on their own, and a count of what its sender sends."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from bench.lab import Lab, LabError, Link, Star
from bench.peers.base import Host

__all__ = ["HEADER_TAX", "Fleet", "Group", "Sent", "Sink", "stand"]

MTU = 1500
HEADER_TAX = 1.0511  # octets of fountain's IP packets for each octet of the file
SENDER = "server"

# Behind the sender's interface, where trains have become packets; an IP packet is as long here as its header says.
COUNTERS = """table netdev fleet {{
    counter every {{ }}
    counter datagrams {{ }}
    counter giant {{ }}
    chain sent {{
        type filter hook ingress device "p0" priority 0;
        counter name every
        meta l4proto udp counter name datagrams
        meta length > {mtu} counter name giant
    }}
}}
"""
ARRIVALS = """table netdev arrivals {
    counter datagrams { }
    counter stream { }
    chain arrived {
        type filter hook ingress device "eth0" priority 10;
        meta l4proto udp counter name datagrams
        meta l4proto tcp counter name stream
    }
}
"""
MUTE = """table netdev mute {{
    chain heard {{
        type filter hook ingress device "{port}" priority 0; policy drop;
    }}
}}
"""

# Tools ask who an address is. There is nobody to answer in a laboratory, and they would wait for seconds: so that the
# answer is "nobody" at once, the system's name servers are hidden from the host, whose mounts are its own.
NAMELESS = ["sh", "-c", 'mount --bind /dev/null /etc/resolv.conf; exec "$@"', "sh"]


@dataclass(frozen=True)
class Group:
    """Receivers, what each of them loses, and the rate that a sender is allowed."""

    receiver_count: int
    loss: float
    rate_bps: int = 100_000_000
    odd_loss: float | None = None  # of the first receiver, when it is not the others'

    @property
    def losses(self) -> tuple[float, ...]:
        first = self.loss if self.odd_loss is None else self.odd_loss
        return (first, *(self.loss,) * (self.receiver_count - 1))

    @property
    def ideal(self) -> float:
        """Octets sent for each octet of the file when every packet that arrives is of use."""
        return HEADER_TAX / (1.0 - max(self.losses))

    def needed_s(self, size: int) -> float:
        """What a perfect code takes at the group's rate."""
        return 8 * size * self.ideal / self.rate_bps

    def __str__(self) -> str:
        odd = "" if self.odd_loss is None else f", one at {self.odd_loss:.0%}"
        return f"{self.receiver_count} receivers, {self.loss:.0%} loss{odd}, {self.rate_bps / 1e6:g} Mbit/s"


@dataclass(frozen=True)
class Sent:
    """What left the sender's host, as IP packets."""

    packets: int
    octets: int
    other_octets: int  # of these, what is no UDP: membership reports, neighbours

    def __sub__(self, earlier: Sent) -> Sent:
        return Sent(
            self.packets - earlier.packets, self.octets - earlier.octets, self.other_octets - earlier.other_octets
        )


class Fleet:
    """A star that stands."""

    def __init__(self, lab: Star, group: Group) -> None:
        self.lab = lab
        self.group = group
        self.sender = host_of(lab, SENDER)
        self.names = tuple(name for name in lab.hosts if name != SENDER)
        self.receivers = tuple(host_of(lab, name) for name in self.names)

    def sent(self) -> Sent:
        """What the sender's host has sent so far."""
        found = counted(self._hub_command("nft", "-j", "list", "counters"))
        if found["giant"][0]:
            raise LabError(f"{found['giant'][0]} packets are larger than the MTU: segmentation is left to the device")
        packets, octets = found["every"]
        return Sent(packets, octets, octets - found["datagrams"][1])

    def mute_receivers(self) -> None:
        """Throw away all that receivers send, from now on."""
        for index in range(1, len(self.lab.hosts)):
            rules(self._hub_command("nft", "-f", "-"), MUTE.format(port=f"p{index}").replace("mute", f"mute{index}"))

    def _hub_command(self, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self.lab.state.hub, *argv]


class Sink:
    """What arrives at one receiver, by protocol: octets of IP packets."""

    def __init__(self, lab: Lab, name: str) -> None:
        self._command = lab.command(name, ["nft", "-j", "list", "counters"])
        rules(lab.command(name, ["nft", "-f", "-"]), ARRIVALS)

    def octets(self) -> dict[str, int]:
        found = counted(self._command)
        return {name: found[name][1] for name in ("datagrams", "stream")}


@contextlib.contextmanager
def stand(group: Group, forward: Link | None = None, back: Link | None = None) -> Iterator[Fleet]:
    """A star with the losses of the group at every input, the sender's too, unless links are given."""
    feedback = back or Link(loss=group.loss)
    lab = Star(group.receiver_count, forward or Link(loss=group.loss), feedback, mtu=MTU)
    with lab:
        fleet = Fleet(lab, group)
        if group.odd_loss is not None:
            lab.change_loss(fleet.names[0], group.odd_loss)
        rules(fleet._hub_command("nft", "-f", "-"), COUNTERS.format(mtu=MTU))
        yield fleet


def host_of(lab: Lab, name: str) -> Host:
    return Host(lab.address(name), tuple(lab.command(name, NAMELESS)))


def rules(argv: list[str], text: str) -> None:
    done = subprocess.run(argv, input=text, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)} failed: {done.stderr.strip()}")


def counted(argv: list[str]) -> dict[str, tuple[int, int]]:
    """(packets, octets) of every counter of nft."""
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(argv)} failed: {done.stderr.strip()}")
    found = [item["counter"] for item in json.loads(done.stdout)["nftables"] if "counter" in item]
    return {item["name"]: (item["packets"], item["bytes"]) for item in found}
