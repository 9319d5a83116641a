"""How fast one stream may go: controllers behind one interface, fed from reports."""

from __future__ import annotations

import functools
from collections.abc import Callable

from fountain.protocol.rate.api import Controller, Sample
from fountain.protocol.rate.breaker import CircuitBreaker
from fountain.protocol.rate.fixed import FixedRate
from fountain.protocol.rate.tolerant import LOSS_TOLERANCE_DEFAULT, TolerantRate

__all__ = [
    "CONTROL_DEFAULT",
    "CONTROL_NAMES",
    "LOSS_TOLERANCE_DEFAULT",
    "CircuitBreaker",
    "ControlFactory",
    "Controller",
    "FixedRate",
    "Sample",
    "TolerantRate",
    "control_factory",
]

ControlFactory = Callable[[int, int], Controller]  # (octets of a packet on the wire, bits per second at most)

CONTROL_NAMES = ("tolerant", "fixed")
CONTROL_DEFAULT = "tolerant"


def control_factory(name: str = CONTROL_DEFAULT, loss_tolerance: float = LOSS_TOLERANCE_DEFAULT) -> ControlFactory:
    """What makes the controller of each new session; `name` is one of CONTROL_NAMES."""
    if name == "fixed":
        return FixedRate
    return functools.partial(TolerantRate, tolerance=loss_tolerance)
