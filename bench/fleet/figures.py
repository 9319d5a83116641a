"""What was measured: a record for each transfer, printed as it comes and written as JSON at the end."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.run.figures import machine
from fountain._version import __version__

__all__ = ["Claim", "Figure", "Figures"]


@dataclass(frozen=True)
class Claim:
    """Something to reach, and whether it was."""

    what: str
    measured: float
    bound: float
    floor: float | None = None  # where too little is as wrong as too much

    @property
    def met(self) -> bool:
        return (self.floor is None or self.measured >= self.floor) and self.measured <= self.bound

    def __str__(self) -> str:
        asked = "at most " if self.floor is None else f"asked {self.floor:.3g} to "
        return f"{self.what} {self.measured:.4g} ({asked}{self.bound:.4g}: {'met' if self.met else 'MISSED'})"


@dataclass(frozen=True)
class Figure:
    """One transfer, or what several of them came to."""

    row: str
    network: str
    tool: str
    size: int
    exact_count: int = 0  # files that are what was sent, octet for octet
    file_count: int = 0
    ratio: float = 0.0  # octets that the sender's host sent, as IP packets, for each octet of the file
    wall_s: float = 0.0  # from the start of the sender's command to the last whole file
    claims: tuple[Claim, ...] = ()
    problem: str = ""
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def is_ours(self) -> bool:
        return self.tool.startswith("fountain")

    @property
    def met(self) -> bool:
        return not self.problem and self.exact_count == self.file_count and all(claim.met for claim in self.claims)

    def line(self) -> str:
        """The figure for a person."""
        head = f"  {self.tool:<28}"
        if self.problem and not self.file_count:
            return f"{head} {self.problem}"
        words = [f"{self.ratio:.3f} x the file"] if self.ratio else []
        words += [f"{self.wall_s:.2f} s"] if self.wall_s else []
        words += [f"{self.exact_count} of {self.file_count} exact"] if self.file_count else []
        words += [str(claim) for claim in self.claims]
        words += [f"{name} {value:.4g}" for name, value in self.details.items() if value]
        words += [self.problem] if self.problem else []
        return f"{head} {'; '.join(words)}"


class Figures:
    """Everything that was measured so far."""

    def __init__(self) -> None:
        self.all: list[Figure] = []
        self._heading = ("", "", 0)

    def add(self, figure: Figure) -> None:
        """Keep and print a figure."""
        heading = (figure.row, figure.network, figure.size)
        if heading != self._heading:
            self._heading = heading
            print(f"{figure.row}: {figure.network}, {figure.size / 1e6:g} MB", flush=True)
        self.all.append(figure)
        print(figure.line(), flush=True)

    def write(self, path: Path, started_s: float, quick: bool) -> None:
        """Everything as JSON."""
        records = []
        for figure in self.all:
            record = asdict(figure)
            for told, claim in zip(record["claims"], figure.claims):
                told["met"] = claim.met
            records.append(record)
        whole = {"version": __version__, "quick": quick, "machine": machine(), "took_s": time.monotonic() - started_s}
        path.write_text(json.dumps({**whole, "figures": records}, indent=1) + "\n")
