"""What the machine of a group is asked to do, and what it orders."""

from __future__ import annotations

from dataclasses import dataclass

from fountain.protocol.base.stream import Segment
from fountain.protocol.group.teller import GroupStream
from fountain.protocol.schedule.oneway import OnewayPlan

__all__ = ["GroupOrder", "GroupSettings"]


@dataclass(frozen=True)
class GroupSettings:
    """How a group is served.

    Data waits for `wait_count` receivers, but no longer than `wait_time_ns` (None: without limit). A receiver that
    cannot keep `min_rate_bps` is asked to leave. With `oneway` no reports are expected.
    """

    wait_count: int = 1
    wait_time_ns: int | None = None
    min_rate_bps: int = 0
    oneway: OnewayPlan | None = None


@dataclass(frozen=True)
class GroupOrder:
    """Packets to send now, as `fountain.protocol.base.stream.StreamOrder` describes them."""

    session: GroupStream
    sequence: int
    timestamp_us: int
    segments: list[Segment]
