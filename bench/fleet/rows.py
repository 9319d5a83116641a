"""What is measured beside other tools: the same file to the same group, in the same run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from bench.fleet.alone import measure_killed, measure_late, measure_many, measure_oneway
from bench.fleet.beside_tcp import measure_tcp
from bench.fleet.place import Group, stand
from bench.fleet.workplace import Workplace
from bench.peers.base import Tool
from bench.peers.group import FountainGroup
from bench.peers.norm import Norm
from bench.peers.udpcast import Udpcast
from bench.peers.uftp import Uftp

__all__ = ["ROWS"]

MIN_RATE = "80M"


def measure_beside(work: Workplace, name: str, group: Group, target: float) -> None:
    """All four tools; with one receiver far worse than the others, fountain also with a rate that nobody goes under."""
    with stand(group) as fleet:
        work.measure(name, fleet, FountainGroup(group.rate_bps), target=target)
        if group.odd_loss is not None:
            work.measure(name, fleet, FountainGroup(group.rate_bps, ("--min-rate", MIN_RATE)))
        others: list[Tool] = [Norm(), Uftp(group.rate_bps), Udpcast(group.rate_bps)]
        for tool in others:
            work.measure(name, fleet, tool)


def beside(name: str, group: Group, target: float) -> dict[str, Callable[[Workplace], None]]:
    return {name: partial(measure_beside, name=name, group=group, target=target)}


ROWS: dict[str, Callable[[Workplace], None]] = {
    **beside("3-5", Group(3, 0.05), 1.13),
    **beside("8-5", Group(8, 0.05), 1.13),
    **beside("8-20", Group(8, 0.20), 1.36),
    **beside("3-30", Group(3, 0.30), 1.56),
    **beside("uneven", Group(8, 0.01, odd_loss=0.40), 1.82),
    "many": measure_many,
    "late": measure_late,
    "killed": measure_killed,
    "oneway": measure_oneway,
    "tcp": measure_tcp,
}
