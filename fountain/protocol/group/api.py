"""What the machine of a group is asked to do."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.protocol.base.stream import Address
from fountain.protocol.schedule.oneway import OnewayBudget

__all__ = ["GroupSettings", "GroupTarget"]


@dataclass(frozen=True)
class GroupSettings:
    """How a group is served.

    Data waits for `wait_count` receivers, but no longer than `wait_time_ns` (None: without limit). A receiver that
    cannot keep `min_rate_bps` is asked to leave. With `oneway` no reports are expected.
    """

    wait_count: int = 1
    wait_time_ns: int | None = None
    min_rate_bps: int = 0
    oneway: OnewayBudget | None = None


@dataclass(frozen=True)
class GroupTarget:
    """Where a group is: its `address`, the server's port for its reports, and the key that all of it share, if any.

    With an `identity` the server signs what it announces and plans.
    """

    address: Address
    control_port: int
    key: bytes | None = None
    identity: Ed25519PrivateKey | None = None
