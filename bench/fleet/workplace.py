"""Where the rows are measured: a file in memory, one transfer after the other, every octet compared."""

from __future__ import annotations

import contextlib
import filecmp
import random
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from bench.fleet.figures import Claim, Figure, Figures
from bench.fleet.place import Fleet, Sent
from bench.lab import LabError
from bench.peers.base import Job, NeverStartedError, Tool, ToolError, missing
from bench.scratch import MB, source_file

__all__ = ["FULL", "QUICK", "START_S", "Scale", "Workplace", "exact_count"]

TRY_COUNT = 3  # of a tool that does not find its receivers
START_S = 1.0  # what a tool may take beside sending


@dataclass(frozen=True)
class Scale:
    """How much is measured: sizes in octets."""

    file_size: int
    many_count: int
    killed_count: int
    oneway_size: int
    run_count: int
    tcp_size: int
    tcp_s: float


FULL = Scale(20 * MB, 30, 10, 100 * MB, 3, 400 * MB, 30.0)
QUICK = Scale(5 * MB, 8, 3, 10 * MB, 1, 100 * MB, 10.0)


class Workplace:
    """Carries files and notes figures; a tool that is missing or fails is a figure that says so."""

    def __init__(self, directory: Path, scale: Scale, figures: Figures, seed: int) -> None:
        self.directory = directory
        self.scale = scale
        self.figures = figures
        self.random = random.Random(seed)

    @contextlib.contextmanager
    def job(self, fleet: Fleet, size: int, patience_s: float) -> Iterator[Job]:
        """A file to carry, and a directory that is gone afterwards."""
        directory = self.directory / "transfer"
        directory.mkdir()
        try:
            file = source_file(self.directory, size)
            yield Job(file, directory, fleet.sender, fleet.receivers, patience_s, fleet.group.rate_bps)
        finally:
            shutil.rmtree(directory)

    @contextlib.contextmanager
    def noting(self, row: str, network: str, tool: str, size: int) -> Iterator[None]:
        """A failure of what is done inside becomes a figure that says so."""
        try:
            yield
        except (ToolError, LabError) as error:
            self.figures.add(Figure(row, network, tool, size, problem=" ".join(str(error).split())[:300]))

    def measure(
        self,
        row: str,
        fleet: Fleet,
        tool: Tool,
        *,
        target: float | None = None,
        is_timed: bool = True,
        patience_s: float = 60.0,
    ) -> None:
        """Carry the file to the group with a tool, and note what that took, and if `is_timed` whether it had to."""
        with self.noting(row, str(fleet.group), tool.name, self.scale.file_size):
            if lacking := missing(tool):
                raise ToolError(f"not there: apt-get install {' '.join(lacking)}")
            for try_number in range(1, TRY_COUNT + 1):
                try:
                    figure = self._transfer(row, fleet, tool, patience_s)
                    break
                except NeverStartedError:
                    if try_number == TRY_COUNT:
                        raise
            targets = () if target is None else (Claim("octets", figure.ratio, target),)
            details = {**figure.details, "tries": float(try_number) if try_number > 1 else 0.0}
            self.figures.add(replace(figure, claims=(*targets, *(figure.claims if is_timed else ())), details=details))

    def _transfer(self, row: str, fleet: Fleet, tool: Tool, patience_s: float) -> Figure:
        with self.job(fleet, self.scale.file_size, patience_s) as job:
            before = fleet.sent()
            outcome = tool.transfer(job)
            figure = self.figure(row, fleet, job, tool.name, fleet.sent() - before, outcome.since_sender_s)
            details = {**figure.details, **outcome.details}
            if fleet.group.odd_loss is not None:  # what the others pay for the first, by the tool's own clock
                details["others_s"] = max(outcome.seconds[1:])
            return replace(figure, details=details)

    def figure(self, row: str, fleet: Fleet, job: Job, tool: str, sent: Sent, wall_s: float) -> Figure:
        """What every transfer to a group is judged by: the files, what was sent, and no more time than that takes."""
        bound_s = 8 * sent.octets / fleet.group.rate_bps + START_S
        return Figure(
            row,
            str(fleet.group),
            tool,
            job.size,
            exact_count(job),
            len(job.receivers),
            sent.octets / job.size,
            wall_s,
            (Claim("seconds", wall_s, bound_s),),
            details={"other_octets": float(sent.other_octets)},
        )


def exact_count(job: Job) -> int:
    """Receivers whose file is the one that was sent."""
    return sum(copy.exists() and filecmp.cmp(job.file, copy, shallow=False) for copy in job.copies)
