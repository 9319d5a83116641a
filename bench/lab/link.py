"""One direction of a link: what a person asks for, and the numbers that the kernel's tools are given.

A packet passes the queue and the rate (`tc tbf`), the relay's delay, jitter, reordering and duplication, and then the
loss on arrival (`nft`). Towards the far hosts the relay comes before the queue, on the way back behind it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["LabError", "Link", "burst_size", "loss_per_million", "parse_rate", "parse_time", "queue_size"]

ETHERNET_SIZE = 14  # the kernel counts Ethernet headers in rates and queues, but not preamble, checksum and gap
QUEUE_NS_DEFAULT = 10_000_000  # what a switch holds, for a link without delay
BURST_NS = 500_000
NS = 1_000_000_000
RATE_UNITS = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}
TIME_UNITS = {"s": NS, "ms": NS // 10**3, "us": NS // 10**6, "ns": 1}
SIZE_UNITS = {"": 1, "k": 10**3, "M": 10**6}


class LabError(Exception):
    """The laboratory cannot do what it was asked for; the message says why, and what to do."""


def parse_rate(text: str) -> int:
    """Bits per second: "100M", "2.5G", "64k"."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", text)
    if not match or not (rate := round(float(match[1]) * RATE_UNITS[match[2]])):
        raise LabError(f"{text!r} is not a rate: write bits per second as 100M or 2.5G")
    return rate


def parse_time(text: str) -> int:
    """Nanoseconds: "20ms", "1.5s", "300us"; a plain 0 needs no unit."""
    if text == "0":
        return 0
    match = re.fullmatch(r"(\d+(?:\.\d+)?)(s|ms|us|ns)", text)
    if not match:
        raise LabError(f"{text!r} is not a time: write 20ms, 1.5s or 300us")
    return round(float(match[1]) * TIME_UNITS[match[2]])


@dataclass(frozen=True)
class Link:
    """One direction of a link. Rates, times and queues read as on the command line.

    `rate`       bits per second of whole Ethernet packets; None leaves it as fast as the kernel goes.
    `queue`      room before packets are dropped at the tail: octets ("64k"), a time at the rate ("10ms"), or multiples
                 of rate x round trip ("1bdp"). None: 1bdp on a link with delay, 10ms on one without.
    `loss`       fraction of packets dropped at random on arrival.
    `delay`      time on the wire; `jitter` is added to it, uniformly, without changing the order.
    `reorder`    fraction of packets that are held back for `reorder_delay` longer.
    `duplicate`  fraction of packets that arrive twice.
    """

    rate: str | None = None
    queue: str | None = None
    loss: float = 0.0
    delay: str = "0"
    jitter: str = "0"
    reorder: float = 0.0
    reorder_delay: str = "5ms"
    duplicate: float = 0.0

    def __post_init__(self) -> None:
        for name in ("loss", "reorder", "duplicate"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise LabError(f"{name} {getattr(self, name)} is not a fraction: write 0.05 for 5 %")
        for text in (self.delay, self.jitter, self.reorder_delay):
            parse_time(text)
        if self.rate is not None:
            parse_rate(self.rate)
        elif self.queue is not None:
            raise LabError("a queue needs a rate: without one there is nothing to wait for")

    @property
    def needs_relay(self) -> bool:
        """Whether the kernel alone cannot do this."""
        return bool(parse_time(self.delay) or parse_time(self.jitter) or self.reorder or self.duplicate)


def loss_per_million(link: Link) -> int:
    """The loss as nft compares it with a random number below 1,000,000."""
    return round(link.loss * 1_000_000)


def burst_size(rate_bps: int, mtu: int) -> int:
    """Octets that tbf may send at once: half a millisecond, so that timers keep up, and at least two packets."""
    return max(2 * (mtu + ETHERNET_SIZE), rate_bps * BURST_NS // (8 * NS))


def queue_size(link: Link, round_trip_ns: int, mtu: int) -> int:
    """Octets of the queue of a link with a rate; at least two packets."""
    assert link.rate is not None
    rate_bps = parse_rate(link.rate)
    text = link.queue
    if text is None:
        text = "1bdp" if round_trip_ns else f"{QUEUE_NS_DEFAULT}ns"
    if match := re.fullmatch(r"(\d+(?:\.\d+)?)bdp", text):
        if not round_trip_ns:
            raise LabError("a queue in bdp needs a delay: without one, rate x round trip is nothing; write 10ms or 64k")
        size = round(float(match[1]) * rate_bps * round_trip_ns / (8 * NS))
    elif match := re.fullmatch(r"(\d+(?:\.\d+)?)([kM]?)", text):
        size = round(float(match[1]) * SIZE_UNITS[match[2]])
    elif re.fullmatch(r"[\d.]+(s|ms|us|ns)", text):
        size = rate_bps * parse_time(text) // (8 * NS)
    else:
        raise LabError(f"{text!r} is not a queue: write 1bdp, 10ms or 64k")
    return max(size, 2 * (mtu + ETHERNET_SIZE))
