"""How long the objects of a one-way stream are on the air: they take turns, packet by packet."""

from __future__ import annotations

from collections.abc import Sequence

from fountain.config import OnewayConfig
from fountain.events import AirTime, Warned
from fountain.limits import NS
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.schedule.oneway import CONFIDENCE, CYCLE_MIN_NS, OnewayBudget
from fountain.sentences import Notice, warning

__all__ = ["AirTimes"]


class AirTimes:
    """How long `objects` are on the air, which share `rate_bps`; methods take the index of an object."""

    def __init__(self, config: OnewayConfig, objects: Sequence[ServedObject], rate_bps: int) -> None:
        # An overhead is that of one pass.
        pass_count = 1 if config.overhead is not None else config.pass_count
        self.budget = OnewayBudget(config.plan_loss, config.overhead, pass_count)
        self._duration_s = config.duration_s
        self._objects = objects
        self._rate_bps = rate_bps
        needed = OnewayBudget(config.plan_loss)
        self._needed_counts = [_packet_count(needed, served) for served in objects]
        self._total_counts: list[int] | None = None  # None: until it is ended
        if pass_count is not None:
            self._total_counts = [pass_count * _packet_count(self.budget, served) for served in objects]

    def air_time(self, index: int) -> AirTime:
        """How long an object needs, while the others have their turns."""
        seconds = self._seconds(index, self._needed_counts[index], 1)
        name = self._objects[index].offer.name
        return AirTime(name, seconds, self.budget.loss, CONFIDENCE, self.budget.cycle_count)

    def planned_s(self, index: int) -> float | None:
        """When an object's stream ends; None until it is stopped."""
        if self._total_counts is None:
            return self._duration_s
        return self._seconds(index, self._total_counts[index], self.budget.cycle_count or 1)

    def warning(self, index: int) -> Warned | None:
        """What to say of an object whose stream ends too early."""
        needed_s, duration_s = self.air_time(index).seconds, self._duration_s
        if self.budget.overhead is not None:
            duration_s = self.planned_s(index)
        if duration_s is None or duration_s >= needed_s:
            return None
        name = self._objects[index].offer.name
        return warning(Notice.TOO_SHORT_ON_AIR, name=name, needed_s=needed_s, duration_s=duration_s)

    def _seconds(self, index: int, count: int, pass_count: int) -> float:
        """Until `count` packets of an object, so many passes, are sent; of each other one as many, or all it has."""
        totals = list(self._total_counts or [count] * len(self._objects))
        totals[index] = count  # What it needs may be more than it gets.
        bits = sum(min(total, count) * served.packet_size * 8 for total, served in zip(totals, self._objects))
        return max(bits / self._rate_bps, pass_count * CYCLE_MIN_NS / NS)


def _packet_count(budget: OnewayBudget, served: ServedObject) -> int:
    """Packets of a cycle, with the Announces in it, which are shorter."""
    geometry, manifest = served.offer.geometry, served.offer.manifest_geometry
    data_count = budget.packet_count(geometry, manifest)
    block_count = geometry.block_count + manifest.block_count
    return data_count + len(budget.announce_places(data_count, geometry.symbol_size, block_count))
