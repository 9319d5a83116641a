"""Addresses: one text form for each peer, whatever the family of the socket that saw it.

An `Address` is (host, port). IPv4 peers that reach a dual-stack socket are written as IPv4 (`192.0.2.1`, never
`::ffff:192.0.2.1`); link-local IPv6 hosts carry their numeric scope (`fe80::1%2`).
"""

from __future__ import annotations

import errno
import re
import socket
from ipaddress import ip_address
from typing import Any

from fountain.errors import NobodyAnsweredError, UsageError

__all__ = [
    "BROADCAST_ADDRESS",
    "UNSPECIFIED",
    "Address",
    "SocketAddress",
    "normalised",
    "resolve",
    "socket_address",
    "text",
]

Address = tuple[str, int]
SocketAddress = tuple[str, int] | tuple[str, int, int, int]

UNSPECIFIED: Address = ("", 0)

# The limited broadcast address reaches every machine of the network, whatever netmask it believes in.
BROADCAST_ADDRESS = "255.255.255.255"

_MAPPED = "::ffff:"

# What people paste: http://host/, host:6330, [2001:db8::1]:6330.
_MORE_THAN_A_HOST = re.compile(
    r"(?=.*[:/])(?:[a-z]+://)?(?:\[(?P<brackets>[^]]+)\]|(?P<host>[^:/\[\]]+))(?::(?P<port>\d+))?(?:/.*)?",
    re.IGNORECASE,
)


def normalised(raw: tuple[Any, ...]) -> Address:
    """The one form of an address that a socket reported."""
    host: str = raw[0]
    port: int = raw[1]
    if len(raw) == 2:
        return host, port
    if host.startswith(_MAPPED) and "." in host:
        return host[len(_MAPPED) :], port
    scope: int = raw[3]
    return (f"{host.partition('%')[0]}%{scope}", port) if scope else (host, port)


def socket_address(address: Address, family: int) -> SocketAddress:
    """`address` as a socket of `family` takes it.

    Raises:
        OSError: the family cannot reach such an address (EAFNOSUPPORT), or its scope is no interface here.
    """
    host, port = address
    if family == socket.AF_INET:
        if ":" in host:
            raise OSError(errno.EAFNOSUPPORT, "an IPv4 socket does not reach IPv6 addresses")
        return host, port
    if ":" not in host:
        return _MAPPED + host, port, 0, 0
    name, _, scope = host.partition("%")
    return name, port, 0, _scope_id(scope)


def resolve(host: str, port: int) -> list[Address]:
    """Every address of `host`, in the order in which the system prefers them; brackets around IPv6 are taken off.

    Raises:
        UsageError: it cannot be the name of a host, or stands for none that can be asked.
        NobodyAnsweredError: the name is not known, or could not be looked up.
    """
    bare = host[1:-1] if host.startswith("[") and host.endswith("]") and ":" in host else host
    try:
        found = socket.getaddrinfo(bare, port, type=socket.SOCK_DGRAM, proto=socket.IPPROTO_UDP)
    except socket.gaierror as error:
        more = _MORE_THAN_A_HOST.fullmatch(host)
        if more:
            port_words = f" and `port` {more['port']}" if more["port"] else ""
            hint = f"Give `host` {more['host'] or more['brackets']}{port_words}."
            raise UsageError(f"'{host}' is more than the name or address of a host.", hint, field="host") from error
        if error.errno == socket.EAI_AGAIN:
            message = f"The name '{host}' could not be looked up: no name server answered."
            hint = "Check the network connection, or give the address in numbers."
        else:
            message = f"The host '{host}' is not known."
            hint = "Check the spelling, or give the address in numbers (192.0.2.1 or 2001:db8::1)."
        raise NobodyAnsweredError(message, hint, field="host") from error
    except UnicodeError as error:
        hint = "Check the spelling, or give the address in numbers."
        raise UsageError(f"'{host}' is no host name.", hint, field="host") from error
    addresses = list(dict.fromkeys(normalised(entry[4]) for entry in found))
    faults = [_fault(address) for address in addresses]
    if all(faults):
        message, hint = faults[0]
        raise UsageError(f"{host} {message}", hint, field="host")
    return [address for address, fault in zip(addresses, faults) if not fault]


def _fault(address: Address) -> tuple[str, ...]:
    """Why no server can be asked at `address`, and what to do; empty where one could be."""
    host = address[0]
    parsed = ip_address(host.partition("%")[0])
    if parsed.is_unspecified:
        here = "::1" if parsed.version == 6 else "127.0.0.1"
        return "stands for all addresses of a machine, and none can be asked by it.", (
            f"Give the address of the server; on this machine that is {here}."
        )
    if parsed.is_multicast:
        return "is the address of a group, not of a machine.", f"Receive from the group: `group.address` {parsed}"
    if str(parsed) == BROADCAST_ADDRESS or _is_broadcast(address):
        return (
            "is the address of everybody on a network, not of one machine.",
            "Receive broadcasts: `group.is_broadcast`",
        )
    if parsed.version == 6 and parsed.is_link_local and "%" not in host:
        names = [name for _, name in socket.if_nameindex() if not name.startswith("lo")] or ["eth0"]
        return "is an address within one network, but does not say which network.", (
            f"Name the interface that leads there: {', or '.join(f'{parsed}%{name}' for name in names[:3])}"
        )
    return ()


def _is_broadcast(address: Address) -> bool:
    """Whether it is the broadcast address of one of this machine's networks: sockets need a permission for these."""
    if ":" in address[0]:
        return False
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:  # Connecting sends nothing.
        try:
            probe.connect((address[0], address[1] or 9))
        except PermissionError:
            return True
        except OSError:
            return False
    return False


def text(address: Address) -> str:
    """`address` for people: `192.0.2.1:6330`, `[2001:db8::1]:6330`."""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _scope_id(scope: str) -> int:
    if not scope:
        return 0
    return int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
