"""What the doctor looks at in this machine's network: buffers, segmentation, ports, firewall, multicast."""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fountain.doctor.finding import Finding, fine, note, problem
from fountain.errors import TransportError
from fountain.net.endpoint import RECEIVE_BUFFER_SIZE, SEND_BUFFER_SIZE, open_endpoint
from fountain.net.probe import (
    granted_buffer_sizes,
    interface_address,
    interface_names,
    multicast_source,
    route_source,
    try_segmentation,
)
from fountain.storage.system import read_link, read_system_text, system_names

__all__ = ["check_buffers", "check_firewall", "check_multicast", "check_ports", "check_segmentation", "interface_of"]

_SOCKET_LISTS = ("/proc/net/udp", "/proc/net/udp6")
_INTERFACES = "/sys/class/net"
_SETTINGS = "/proc/sys/net/ipv4/conf"
_IFF_UP, _IFF_LOOPBACK, _IFF_MULTICAST = 0x1, 0x8, 0x1000
_STRICT = 1


# --- Buffers and segmentation -------------------------------------------------------------------------------


def check_buffers() -> Iterator[Finding]:
    """Whether sockets get the buffers that fountain asks for, and whether this machine ever ran out of them."""
    try:
        received, sent = granted_buffer_sizes()
    except TransportError as error:
        yield problem("sockets", error.message, error.hint)
        return
    yield _buffer_finding("receive buffer", received, RECEIVE_BUFFER_SIZE, "rmem_max")
    yield _buffer_finding("send buffer", sent, SEND_BUFFER_SIZE, "wmem_max")
    errors = _dropped_count(read_system_text("/proc/net/snmp"))
    if errors:
        yield note("dropped datagrams", f"{errors} since the start of this machine, because receive buffers were full")
    elif errors == 0:
        yield fine(
            "dropped datagrams", "no datagram was dropped because a receive buffer was full, since this machine started"
        )


def _buffer_finding(check: str, granted: int, wanted: int, setting: str) -> Finding:
    text = f"{granted >> 10} KiB of {wanted >> 10} KiB granted"
    if granted >= wanted:
        return fine(check, text)
    mend = "sudo sysctl -w kern.ipc.maxsockbuf=8388608" if sys.platform == "darwin" else ""
    if sys.platform == "linux":
        mend = f"sudo sysctl -w net.core.{setting}={wanted}"
    if granted < wanted // 4:
        return problem(check, f"{text}: short pauses lose packets", mend)
    return note(check, text, mend)


def _dropped_count(table: str) -> int | None:
    """RcvbufErrors of /proc/net/snmp, which has a line of names above each line of numbers."""
    lines = [line.split() for line in table.splitlines() if line.startswith("Udp:")]
    if len(lines) == 2 and "RcvbufErrors" in lines[0]:
        return int(lines[1][lines[0].index("RcvbufErrors")])
    return None


def check_segmentation() -> Iterator[Finding]:
    """Whether a train passes in one call, each way."""
    if sys.platform != "linux":
        yield note("segmentation", "this system has none: each packet costs a system call")
        return
    if not route_source(("127.0.0.1", 9)):
        yield problem("loopback", "it is down, so nothing can be tried on it", "sudo ip link set dev lo up")
        return
    done = try_segmentation()
    update = "the kernel refuses it, each packet costs a system call; Linux 5.0 or newer has it"
    yield fine("UDP_SEGMENT", "a train leaves in one call") if done.sends else note("UDP_SEGMENT", update)
    yield fine("UDP_GRO", "a train arrives in one call") if done.receives else note("UDP_GRO", update)


# --- Ports --------------------------------------------------------------------------------------------------


def check_ports(ports: Sequence[int]) -> Iterator[Finding]:
    """Whether a server could start here."""
    for port in ports:
        try:
            open_endpoint("", port).close()
        except TransportError as error:
            holder = _holder(port)
            who = f" by {holder}" if holder else ""
            text = f"taken{who}: fountain-serve needs it, fountain-fetch does not" if _is_taken(port) else error.message
            yield note(f"port {port}", text, f"sudo ss -ulpn 'sport = :{port}'" if sys.platform == "linux" else "")
        else:
            yield fine(f"port {port}", "free")


def _socket_numbers(port: int) -> list[str]:
    """The inodes of the UDP sockets that are bound to `port`."""
    found = []
    for path in _SOCKET_LISTS:
        for line in read_system_text(path).splitlines()[1:]:
            words = line.split()
            if int(words[1].rpartition(":")[2], 16) == port:
                found.append(words[9])
    return found


def _is_taken(port: int) -> bool:
    return sys.platform != "linux" or bool(_socket_numbers(port))


def _holder(port: int) -> str:
    """The program that has `port`, as `name (process 123)`; empty where we may not know."""
    links = {f"socket:[{number}]" for number in _socket_numbers(port)}
    for process in filter(str.isdecimal, system_names("/proc") if links else []):
        descriptors = f"/proc/{process}/fd"
        if any(read_link(f"{descriptors}/{name}") in links for name in system_names(descriptors)):
            return f"{read_system_text(f'/proc/{process}/comm')} (process {process})"
    return ""


def check_firewall(lines: Sequence[str]) -> Iterator[Finding]:
    """Which firewall stands here; `lines` are the commands that open it, by program."""
    if sys.platform != "linux":
        if lines:
            yield note("firewall", "a server here must be reachable from outside", lines[0])
        return
    if "ENABLED=yes" in read_system_text("/etc/ufw/ufw.conf"):
        name = "ufw"
    elif system_names("/run/firewalld"):
        name = "firewall-cmd"
    else:
        yield fine("firewall", "ufw and firewalld are off; only root can see other rules: sudo nft list ruleset")
        return
    mend = next((line for line in lines if name in line.split()), "")
    yield note("firewall", f"{name} is on: it must allow a server here; a client needs no rule", mend)


# --- Multicast ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Interface:
    name: str
    address: str
    flags: int

    @property
    def can_multicast(self) -> bool:
        wanted = _IFF_UP | _IFF_MULTICAST
        return self.flags & wanted == wanted and not self.flags & _IFF_LOOPBACK


def _interfaces() -> list[_Interface]:
    return [
        _Interface(name, interface_address(name), int(read_system_text(f"{_INTERFACES}/{name}/flags") or "0", 16))
        for name in interface_names()
    ]


def interface_of(source: str) -> str:
    """The interface that has the local address `source`; empty where the system does not report it."""
    if ":" not in source:
        return next((name for name in interface_names() if interface_address(name) == source), "")
    wanted = f"{int(ipaddress.IPv6Address(source.partition('%')[0])):032x}"
    for line in read_system_text("/proc/net/if_inet6").splitlines():
        words = line.split()
        if words[0] == wanted:
            return words[-1]
    return ""


def check_multicast() -> Iterator[Finding]:
    """Whether multicast has a way out of this machine and into it."""
    capable = [interface for interface in _interfaces() if interface.can_multicast]
    sources = multicast_source()
    if sys.platform == "linux" and not capable:
        yield note(
            "multicast", "no interface is up and capable of it", "sudo ip link set dev INTERFACE up multicast on"
        )
        return
    for family, source in sources.items():
        where = interface_of(source) if source else ""
        if source:
            yield fine(f"multicast {family}", f"leaves from {source}{f' on {where}' if where else ''}")
        elif family == "IPv4":
            name = capable[0].name if capable else "INTERFACE"
            mend = f"sudo ip route add 224.0.0.0/4 dev {name}"
            yield note(f"multicast {family}", "there is no route for it: not even a default route", mend)
        else:
            yield note(f"multicast {family}", "there is no route for it; IPv4 groups work without it")
    yield from _reverse_path_findings([interface.name for interface in capable])
    yield from _membership_findings(read_system_text("/proc/net/igmp"), [interface.name for interface in capable])


def _reverse_path_findings(names: list[str]) -> Iterator[Finding]:
    """Strict reverse-path filters drop what comes in on another interface than answers would leave from."""
    every = read_system_text(f"{_SETTINGS}/all/rp_filter")
    strict = [
        name
        for name in names
        if max(int(every or 0), int(read_system_text(f"{_SETTINGS}/{name}/rp_filter") or 0)) == _STRICT
    ]
    if not every:
        return
    if strict and len(names) > 1:
        text = f"strict on {', '.join(strict)}: multicast from beyond another interface is dropped silently"
        yield note("rp_filter", text, f"sudo sysctl -w net.ipv4.conf.{strict[0]}.rp_filter=2")
    else:
        yield fine("rp_filter", "strict, and there is but one interface" if strict else "not strict")


def _membership_findings(table: str, names: list[str]) -> Iterator[Finding]:
    """The version of IGMP that each interface speaks, from /proc/net/igmp."""
    versions = {}
    for line in table.splitlines()[1:]:
        if line[:1].isdigit():
            words = line.split()
            versions[words[1]] = words[-1]
    for name in names:
        version = versions.get(name, "")
        if version == "V3":
            yield fine("IGMP", f"version 3 on {name}")
        elif version:
            text = f"version {version[1:]} on {name}: sources cannot be chosen"
            forced = read_system_text(f"{_SETTINGS}/{name}/force_igmp_version") not in ("", "0")
            yield note("IGMP", text, f"sudo sysctl -w net.ipv4.conf.{name}.force_igmp_version=0" if forced else "")
