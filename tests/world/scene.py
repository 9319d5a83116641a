"""What all chaotic runs have in common: who comes and goes when, what lies on the ways, and how a failure is shown."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from fountain.limits import NS
from fountain.testing import Link, Server, World

if TYPE_CHECKING:
    import pytest

__all__ = ["ChaosError", "Drawn", "Fate", "Scene", "parametrize_seeds"]


class ChaosError(AssertionError):
    """An oracle was contradicted."""


@dataclass(kw_only=True)
class Fate:
    """When somebody comes, what lies between them and the server, and what befalls them."""

    join_ns: int
    out: Link
    back: Link
    restarts_ns: list[int] = field(default_factory=list)
    vanishes_ns: int | None = None


class Drawn(Protocol):
    """What is drawn from a seed, whatever else that is."""

    seed: int
    server_restarts: list[tuple[int, int]]  # (killed at, back after)


class Scene(ABC):
    """Plays the run of one seed; `run` raises ChaosError when an oracle is contradicted."""

    MODULE: ClassVar[str]  # plays a seed again
    FAULTS_NS: ClassVar[int]  # Faults happen in so many nanoseconds from the start; then all links are clean.

    def __init__(self, options: Drawn, world: World, fates: Sequence[tuple[str, Fate]], *, log: bool) -> None:
        self.world = world
        self._drawn = options
        self._fates = fates
        self._server: Server | None = None
        self._log = log
        self._start_ns = world.now_ns

    def run(self) -> None:
        """Everything, oracles included."""
        self._arrange()
        try:
            self.world.run(self._may_end_early, self.FAULTS_NS)
            self._check_liveness()
            self._check_quiet()
        except (AssertionError, RuntimeError) as error:
            again = f"python -m {self.MODULE} {self._drawn.seed}"
            raise ChaosError(f"{error}\nat {self.world!r}\nto play it again: {again}\n{self._drawn}") from error

    def _arrange(self) -> None:
        world = self.world
        self._start_server()
        for killed_ns, away_ns in self._drawn.server_restarts:
            world.at(killed_ns, self._kill_server)
            world.at(killed_ns + away_ns, self._start_server)
        for name, fate in self._fates:
            for link in (fate.out, fate.back):
                link.partitions = [(self._start_ns + start, self._start_ns + end) for start, end in link.partitions]
            world.link("server", name, fate.out)
            world.link(name, "server", fate.back)
            world.at(fate.join_ns, lambda name=name: self._start(name))
            for at_ns in fate.restarts_ns:
                world.at(at_ns, lambda name=name: self._restart(name))
            if fate.vanishes_ns is not None:
                world.at(fate.vanishes_ns, lambda name=name: self._vanish(name))

    def _say(self, text: str) -> None:
        if self._log:
            print(f"{(self.world.now_ns - self._start_ns) / NS:10.6f}  {text}")

    def _start_server(self) -> None:
        if self._server is None:
            self._say("server starts")
            self._server = self._serve()

    def _kill_server(self) -> None:
        if self._server is not None:
            self._say("server is killed")
            self.world.kill(self._server)
            self._server = None

    def _clean_links(self) -> None:
        """Faults stop; the ways remain as long as they were."""
        for (source, target), link in list(self.world.links.items()):
            self.world.link(source, target, Link(delay_ns=link.delay_ns))

    def _restart(self, name: str) -> None:
        if self._is_at_work(name):
            self._say(f"{name} is killed")
            self._remove(name)
            self._start(name)

    @abstractmethod
    def _serve(self) -> Server:
        """A server of the object."""

    @abstractmethod
    def _start(self, name: str) -> None:
        """Start whoever is not there and has not vanished."""

    @abstractmethod
    def _is_at_work(self, name: str) -> bool:
        """Whether somebody is there, and not done."""

    @abstractmethod
    def _remove(self, name: str) -> None:
        """Kill somebody who is there, and keep what they had."""

    @abstractmethod
    def _vanish(self, name: str) -> None:
        """Kill somebody for ever."""

    @abstractmethod
    def _may_end_early(self) -> bool:
        """Whether no fault to come can change anything."""

    @abstractmethod
    def _check_liveness(self) -> None:
        """Once faults stop, everybody finishes."""

    @abstractmethod
    def _check_quiet(self) -> None:
        """Nothing is sent for ever."""


def parametrize_seeds(metafunc: pytest.Metafunc, *, count: int, soak_count: int, soak_group_count: int) -> None:
    """Give each test a `world_seed` of `count`, or one of the ranges `world_seeds` that a soak is made of."""
    first: Any = metafunc.config.getoption("seed")
    if "world_seed" in metafunc.fixturenames:
        metafunc.parametrize("world_seed", range(first, first + count))
    if "world_seeds" in metafunc.fixturenames:
        starts = range(first, first + soak_count, soak_group_count)
        metafunc.parametrize("world_seeds", [range(at, at + soak_group_count) for at in starts], ids=str)
