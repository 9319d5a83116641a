"""Who a fetch is to a server: the same peer when it is started again, and never the same as another one.

A machine's name, its id and its directories are copied with its image, and behind an address translator all its clones
have one address. So the id of a peer holds besides what no copy has: the hardware and the address of the interface that
leads to the server, when the system was started, and in which part of it (a container) the fetch runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fountain.config import FetchConfig
from fountain.errors import TransportError
from fountain.net.address import Address
from fountain.net.interfaces import list_interfaces
from fountain.net.probe import route_source
from fountain.protocol.group.server_proof import PinnedKeys
from fountain.protocol.session.client_common import ServerJudge
from fountain.storage.system import directory_number, read_link, read_system_text

__all__ = ["GroupServerKeys", "ReceiverIdentity", "group_peer_id", "single_peer_id"]

_MACHINE_IDS = ("/etc/machine-id", "/var/lib/dbus/machine-id")
_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NETWORK = "/proc/self/ns/net"  # differs from container to container
_DRAWN_NODE = 1 << 40  # RFC 4122 section 4.5: marks a node id that was drawn anew because no interface has one.


class GroupServerKeys(PinnedKeys, ServerJudge, Protocol):
    """What is known of the key of a group's server: in the group, and where it serves this receiver alone."""


@dataclass(frozen=True)
class ReceiverIdentity:
    """Who this receiver is, and what it draws chance and trust from: the group's key, and those of its server."""

    peer_id: bytes
    host: str
    secret: bytes
    key: bytes | None = None
    server_keys: GroupServerKeys | None = None


def single_peer_id(config: FetchConfig, targets: Sequence[Address]) -> bytes:
    """Eight octets that name a fetch from the server at `targets`.

    They stay the same when it is started again, until the system is: by then the server has long forgotten it.
    """
    address, hardware = _way_to(targets)
    return _peer_id(config, address, hardware, read_system_text(_BOOT_ID), read_link(_NETWORK), _directory(config))


def group_peer_id(config: FetchConfig, interface: str) -> bytes:
    """Eight octets that name a receiver that hears a group through `interface`.

    They stay the same when the system is started again as well: a server waits for its receivers. In one network no
    two interfaces have the same hardware address.
    """
    return _peer_id(config, _hardware(interface) or f"{uuid.getnode():x}")


def _peer_id(config: FetchConfig, *parts: str) -> bytes:
    place = os.path.abspath(config.out or Path.cwd())
    text = "\0".join((platform.node(), _machine_id(), place, config.name or "", *parts))
    return hashlib.blake2s(text.encode(errors="surrogateescape"), digest_size=8).digest()


def _way_to(targets: Sequence[Address]) -> tuple[str, str]:
    """The address and the hardware address of the interface that leads there; empty where none does (yet)."""
    address = next((source for target in targets if (source := route_source(target))), "").partition("%")[0]
    with contextlib.suppress(TransportError):
        for interface in list_interfaces():
            if address and any(each.partition("/")[0] == address for each in interface.addresses or ()):
                return address, _hardware(interface.name)
    return address, ""


def _hardware(interface: str) -> str:
    return read_system_text(f"/sys/class/net/{interface}/address")


def _directory(config: FetchConfig) -> str:
    """The destination as the file system numbers it: containers of one machine call theirs the same."""
    place = config.out or Path.cwd()
    return directory_number(place if place.is_dir() else place.parent)


def _machine_id() -> str:
    """What identifies this machine among those of its name, and is the same at each start; empty where nothing does."""
    for path in _MACHINE_IDS:
        text = read_system_text(path)
        if text:
            return text
    node = uuid.getnode()
    return "" if node & _DRAWN_NODE else f"{node:x}"
