"""What an endpoint counted since it was opened."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Statistics"]


@dataclass
class Statistics:
    """Counters of one endpoint; they only grow. A train of n segments counts as n datagrams."""

    datagrams_sent: int = 0
    octets_sent: int = 0
    datagrams_received: int = 0
    octets_received: int = 0
    kernel_drops: int = 0  # times the system threw received data away because the receive buffer was full
    send_errors: int = 0  # datagrams that the system would not send: they are lost, like others on the way
    receive_errors: int = 0  # errors reported by the network (ICMP) or the system on receive
    would_block: int = 0  # sends put off because the send buffer was full
    segmentation_refused: int = 0  # segmented sends that the system or the device would not take
