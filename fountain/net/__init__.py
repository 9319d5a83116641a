"""Batch <-> socket: the only package that opens sockets. Everything goes through `Endpoint`, a train at a time."""

from fountain.net.address import Address, resolve, text
from fountain.net.endpoint import Endpoint, open_endpoint
from fountain.net.statistics import Statistics
from fountain.net.train import SEGMENT_COUNT_MAX, Train
from fountain.net.waiting import Waker, wait

__all__ = [
    "SEGMENT_COUNT_MAX",
    "Address",
    "Endpoint",
    "Statistics",
    "Train",
    "Waker",
    "open_endpoint",
    "resolve",
    "text",
    "wait",
]
