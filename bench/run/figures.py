"""What was measured: one record for each transfer, printed as it comes and written as JSON at the end."""

from __future__ import annotations

import json
import platform
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.peers.base import Outcome
from fountain._version import __version__

__all__ = ["Figure", "Figures", "Network", "machine"]

OURS = "fountain"
PACKAGES = ("nginx-light", "curl", "rsync", "uftp", "udpcast")


@dataclass(frozen=True)
class Network:
    """What the file crossed."""

    name: str  # loopback, veth, or a rate
    loss: float = 0.0
    rtt_ms: float = 0.0
    receiver_count: int = 1
    link_bps: int | None = None

    def __str__(self) -> str:
        words = [self.name]
        if self.rtt_ms:
            words.append(f"{self.rtt_ms:g} ms")
        if self.receiver_count > 1:
            words.append(f"{self.receiver_count} receivers")
        return ", ".join([*words, f"{self.loss:.0%} loss"])


@dataclass(frozen=True)
class Figure:
    """One tool on one network; several runs of the same are one figure, with their median."""

    row: str
    network: Network
    tool: str
    size: int
    rates_bps: list[float] = field(default_factory=list)  # empty: it did not finish
    whole_bps: float = 0.0  # with the start of every command
    sender_cpu_s_per_gb: float = 0.0  # for each GB that arrived, at all receivers together
    receiver_cpu_s_per_gb: float = 0.0
    target_bps: float | None = None
    cut_off: bool = False
    problem: str = ""
    details: Mapping[str, float] = field(default_factory=dict)

    @property
    def rate_bps(self) -> float:
        return statistics.median(self.rates_bps) if self.rates_bps else 0.0

    @property
    def is_ours(self) -> bool:
        return self.tool.startswith(OURS)

    def line(self) -> str:
        """The figure for a person."""
        head = f"  {self.tool:<34}"
        if not self.rates_bps:
            return f"{head} {self.problem}"
        spread = f" ({', '.join(f'{bps / 1e9:.2f}' for bps in self.rates_bps)})" if len(self.rates_bps) > 1 else ""
        words = [f"{self.rate_bps / 1e9:7.3f} Gbit/s{spread}", f"{self.whole_bps / 1e9:.3f} with its start"]
        words.append(f"CPU {self.sender_cpu_s_per_gb:.2f} + {self.receiver_cpu_s_per_gb:.2f} s/GB")
        words += [f"{name} {value:.4g}" for name, value in self.details.items() if value]
        if self.cut_off:
            words.append("cut off")
        if self.target_bps is not None:
            met = "met" if self.rate_bps >= self.target_bps else "MISSED"
            words.append(f"target {self.target_bps / 1e9:.3f}: {met}")
        return f"{head} {'; '.join(words)}"


def figure_of(
    row: str, network: Network, tool: str, size: int, outcomes: list[Outcome], target_bps: float | None
) -> Figure:
    """The figure of one or several outcomes: their rates, and what else the median one said."""
    middle = sorted(outcomes, key=lambda outcome: outcome.rate_bps)[len(outcomes) // 2]
    arrived = sum(middle.sizes)
    return Figure(
        row,
        network,
        tool,
        size,
        [outcome.rate_bps for outcome in outcomes],
        8 * arrived / len(middle.sizes) / middle.whole_s,
        middle.sender_cpu_s / arrived * 1e9,
        middle.receiver_cpu_s / arrived * 1e9,
        target_bps,
        cut_off=min(middle.sizes) < size,
        details=dict(middle.details),
    )


class Figures:
    """Everything that was measured so far."""

    def __init__(self) -> None:
        self.all: list[Figure] = []
        self._network: tuple[str, Network] | None = None

    def add(self, figure: Figure) -> None:
        """Keep and print a figure; what another tool did also as a ratio to each of ours on the same network."""
        if self._network != (figure.row, figure.network):
            self._network = (figure.row, figure.network)
            print(f"{figure.row}: {figure.network}, {figure.size // 1_000_000} MB", flush=True)
        self.all.append(figure)
        print(figure.line() + self._ratios(figure), flush=True)

    def _ratios(self, figure: Figure) -> str:
        ours = [
            other
            for other in self.all
            if other.is_ours and other.rates_bps and (other.row, other.network) == (figure.row, figure.network)
        ]
        if figure.is_ours or not figure.rates_bps or not ours:
            return ""
        return "; " + ", ".join(f"{other.tool} is {other.rate_bps / figure.rate_bps:.2f} x" for other in ours)

    def write(self, path: Path, started_s: float, quick: bool) -> None:
        """Everything as JSON."""
        records = [{**asdict(figure), "rate_bps": figure.rate_bps} for figure in self.all]
        whole = {"version": __version__, "quick": quick, "machine": machine(), "took_s": time.monotonic() - started_s}
        path.write_text(json.dumps({**whole, "figures": records}, indent=1) + "\n")


def machine() -> dict[str, str]:
    """What it was measured on."""
    processors = [line.partition(":")[2].strip() for line in lines("/proc/cpuinfo") if line.startswith("model name")]
    memory = [int(line.split()[1]) // 1000 for line in lines("/proc/meminfo") if line.startswith("MemTotal")]
    found = {
        "processor": f"{len(processors)} x {processors[0]}" if processors else platform.processor(),
        "memory": f"{memory[0] / 1000:.0f} GB" if memory else "",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": sys.version.split()[0],
    }
    if shutil.which("dpkg-query"):
        for package in PACKAGES:
            argv = ["dpkg-query", "-W", "-f", "${Version}", package]
            found[package] = subprocess.run(argv, capture_output=True, text=True, check=False).stdout
    return {name: text for name, text in found.items() if text}


def lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines() if Path(path).exists() else []
