"""Where the rows are measured: files in memory, hosts, one transfer after the other, every octet compared."""

from __future__ import annotations

import contextlib
import filecmp
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.lab import Lab, LabError, Link, Pair, Star
from bench.peers.base import Host, Job, Outcome, Tool, ToolError, missing
from bench.run.figures import Figure, Figures, Network, figure_of
from bench.scratch import MB, RUN_SIZE, source_file

__all__ = ["FULL", "QUICK", "Place", "Scale", "Workplace"]


@dataclass(frozen=True)
class Scale:
    """How much is measured: sizes in octets."""

    loopback_size: int
    veth_size: int
    link_size: int
    default_size: int
    rtt_size: int
    peers_size: int
    peer_count: int
    receivers_size: int
    receiver_counts: tuple[int, ...]
    repeat_count: int
    cut_s: float  # how long TCP is given where loss slows it down


FULL = Scale(2_000 * MB, 500 * MB, 1_000 * MB, 500 * MB, 50 * MB, 50 * MB, 64, 200 * MB, (1, 2, 4, 8), 3, 8.0)
QUICK = Scale(200 * MB, 100 * MB, 250 * MB, 100 * MB, 20 * MB, 10 * MB, 8, 25 * MB, (1, 2), 1, 3.0)


@dataclass(frozen=True)
class Place:
    """A network that stands, and the hosts on it."""

    network: Network
    sender: Host
    receivers: tuple[Host, ...]


class Workplace:
    """Carries files and notes figures; a tool that is missing or fails is a figure that says so."""

    def __init__(self, directory: Path, scale: Scale, figures: Figures) -> None:
        self.directory = directory
        self.scale = scale
        self.figures = figures

    # --- Networks ------------------------------------------------------------------------------------------

    def loopback(self, loss: float = 0.0, receiver_count: int = 1) -> Place:
        """This machine as it is. Nothing is lost there: `loss` only says what the receiver throws away."""
        here = Host("127.0.0.1")
        return Place(Network("loopback", loss, receiver_count=receiver_count), here, (here,) * receiver_count)

    @contextlib.contextmanager
    def pair(self, network: Network, link: Link, back: Link | None = None) -> Iterator[Place]:
        """Two hosts of a laboratory."""
        with Pair(link, back) as lab:
            yield Place(network, host_of(lab, "left"), (host_of(lab, "right"),))

    @contextlib.contextmanager
    def star(self, network: Network, link: Link) -> Iterator[Place]:
        """A sending host and several receiving ones."""
        with Star(network.receiver_count, link) as lab:
            receivers = tuple(host_of(lab, name) for name in lab.hosts if name != "server")
            yield Place(network, host_of(lab, "server"), receivers)

    # --- Transfers -----------------------------------------------------------------------------------------

    def measure(
        self,
        row: str,
        place: Place,
        tool: Tool,
        size: int,
        *,
        repeat_count: int = 1,
        target_bps: float | None = None,
        patience_s: float = 60.0,
    ) -> Figure:
        """Carry a file of `size` octets, one time or several, and note what that took."""
        try:
            lacking = missing(tool)
            if lacking:
                raise ToolError(f"not there: apt-get install {' '.join(lacking)}")
            outcomes = [self._transfer(place, tool, size, patience_s) for _ in range(repeat_count)]
            figure = figure_of(row, place.network, tool.name, size, outcomes, target_bps)
        except ToolError as error:
            problem = " ".join(str(error).split())
            figure = Figure(row, place.network, tool.name, size, target_bps=target_bps, problem=problem)
        self.figures.add(figure)
        return figure

    def warm(self, place: Place, tool: Tool, size: int) -> None:
        """Carry a file without noting what that took."""
        self._transfer(place, tool, size, patience_s=180.0)

    def measure_all(self, row: str, place: Place, tools: Sequence[Tool], size: int, patience_s: float = 60.0) -> None:
        """Carry the file with each of the tools."""
        for tool in tools:
            self.measure(row, place, tool, size, patience_s=patience_s)

    def _transfer(self, place: Place, tool: Tool, size: int, patience_s: float) -> Outcome:
        file = source_file(self.directory, size)
        directory = self.directory / "transfer"
        directory.mkdir()
        try:
            job = Job(file, directory, place.sender, place.receivers, patience_s, place.network.link_bps)
            outcome = tool.transfer(job)
            for copy, arrived in zip(job.copies, outcome.sizes):
                if not is_same(file, copy, arrived):
                    raise ToolError(f"{tool.name} wrote other octets than it was given")
            return outcome
        except LabError as error:
            raise ToolError(str(error)) from error
        finally:
            shutil.rmtree(directory)


def host_of(lab: Lab, name: str) -> Host:
    return Host(lab.address(name), tuple(lab.command(name, [])))


def is_same(file: Path, copy: Path, size: int) -> bool:
    """Whether the first `size` octets, all that arrived, are the file's, and the copy has no others."""
    if copy.stat().st_size != size:
        return False
    if file.stat().st_size == size:
        return filecmp.cmp(file, copy, shallow=False)
    with file.open("rb") as left, copy.open("rb") as right:
        while run := right.read(RUN_SIZE):
            if run != left.read(len(run)):
                return False
    return True
