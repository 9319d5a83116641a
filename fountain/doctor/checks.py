"""The doctor: every check of this machine, and of the way to a host, one after the other.

    machine_checks   versions, vector instructions, kernel cache, clock, ciphers, space
    network_checks   buffers, segmentation, ports, firewall, multicast
    path_checks      name, route, MTU, server

A check gives its findings as it goes, never raises, and never waits long: without a host all take about a second.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from fountain.doctor.finding import Finding
from fountain.doctor.machine_checks import check_cipher, check_clock, check_disk, check_kernels, check_versions
from fountain.doctor.network_checks import (
    check_buffers,
    check_firewall,
    check_multicast,
    check_ports,
    check_segmentation,
)
from fountain.doctor.path_checks import check_path
from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT

__all__ = ["Examination", "examine"]


@dataclass(frozen=True, kw_only=True)
class Examination:
    """What to look at: without a host, this machine alone. `firewall_lines` are commands that open the ports."""

    host: str | None = None
    port: int = CONTROL_PORT_DEFAULT
    data_port: int = DATA_PORT_DEFAULT
    firewall_lines: Sequence[str] = ()


def examine(examination: Examination) -> Iterator[Finding]:
    """Look at everything, in the order in which a person would."""
    yield from check_versions()
    yield from check_buffers()
    yield from check_segmentation()
    yield from check_kernels()
    yield from check_cipher()
    yield from check_clock()
    yield from check_disk()
    yield from check_ports((examination.port, examination.data_port))
    yield from check_firewall(examination.firewall_lines)
    yield from check_multicast()
    if examination.host is not None:
        yield from check_path(examination.host, examination.port)
