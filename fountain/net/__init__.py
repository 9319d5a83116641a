"""Batch <-> socket: the only package that opens sockets. Everything goes through `Endpoint`, a train at a time."""

from fountain.net.address import Address, resolve, text
from fountain.net.endpoint import Endpoint, open_endpoint, open_group_receiver
from fountain.net.group import Group, parse_group
from fountain.net.interfaces import Interface, choose_interface, list_interfaces
from fountain.net.statistics import Statistics
from fountain.net.train import Train
from fountain.net.waiting import Waker, wait

__all__ = [
    "Address",
    "Endpoint",
    "Group",
    "Interface",
    "Statistics",
    "Train",
    "Waker",
    "choose_interface",
    "list_interfaces",
    "open_endpoint",
    "open_group_receiver",
    "parse_group",
    "resolve",
    "text",
    "wait",
]
