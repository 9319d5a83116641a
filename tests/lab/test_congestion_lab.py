"""Real streams over real links: what one takes alone, beside TCP, and when the link becomes narrow or a black hole.

Ratios only, and generous ones: the processors are shared with whoever else works on this machine. The seeded world
proves the same, and much more, to the packet (`tests/world/test_congestion.py`).
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.lab import Lab, Link, Pair

ROOT = Path(__file__).resolve().parent.parent.parent
RTT_S = 0.04
PACKET_SIZE = 20 + 8 + 1452  # of the default MTU, as the tally counts it
OBJECT_SIZE = 200_000_000
WINDOW_COUNT = 40  # The first that shows it is the last; in others, this machine may be busy with something else.
FIRST = ["nice", "-n", "-15"]  # The other tests take all processors, and what is measured here must not wait for them.
BEGIN_S = 240.0  # Kernels may have to be compiled first.
TALLY = """
table inet tally {{
    counter of_udp {{ }}
    counter of_tcp {{ }}
    chain pass {{
        type filter hook {hook} priority -300;
        meta l4proto udp counter name of_udp
        meta l4proto tcp counter name of_tcp
    }}
}}
"""
# Data packets are long, or come in parts, which begin with 1E.
NARROW = """table inet narrow { chain pass {
    type filter hook input priority -310; udp length > 1000 drop; @th,64,8 0x1e drop;
}; }"""

pytestmark = pytest.mark.root("ip", "tc", "bridge", "nft", "ethtool")


def nft(lab: Lab, host: str, script: str) -> None:
    lab.run(host, ["nft", "-f", "-"], input=script, text=True, check=True)


class Stage:
    """A server on the left, a fetch on the right, and how many octets have left and come, by protocol."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab = lab
        self.folder = folder
        nft(lab, "left", TALLY.format(hook="output"))
        nft(lab, "right", TALLY.format(hook="input"))

    def start(self, *options: str) -> None:
        """Stream, until data comes."""
        source = self.folder / "object"
        with source.open("wb") as stream:
            stream.write(bytes(range(1, 251)) * (OBJECT_SIZE // 250))  # Zeros would not be sent.
        quiet = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        command = [*FIRST, sys.executable, "-m", "fountain"]
        self.lab.popen("left", [*command, "serve", "--quiet", *options, str(source)], **quiet)
        copy = str(self.folder / "copy")
        words = ["fetch", "--quiet", "--wait", self.lab.address("left"), "-o", copy]
        self.lab.popen("right", [*command, *words], **quiet)
        self.wait("udp")

    def start_tcp(self) -> None:
        """One connection of CUBIC, until data comes."""
        here = [*FIRST, sys.executable, "-m", "bench.congestion"]
        quiet = {"cwd": ROOT, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        self.lab.popen("right", [*here, "tcp-receive", "7100"], **quiet)
        self.lab.popen("left", [*here, "tcp-send", self.lab.address("right"), "7100", "cubic"], **quiet)
        self.wait("tcp")

    def wait(self, protocol: str) -> None:
        limit = time.monotonic() + BEGIN_S
        while self.octets("right", protocol) < 20 * PACKET_SIZE:
            assert time.monotonic() < limit, "no data came"
            time.sleep(0.05)

    def octets(self, host: str, protocol: str) -> int:
        argv = ["nft", "-j", "list", "counter", "inet", "tally", f"of_{protocol}"]
        done = self.lab.run(host, argv, capture_output=True, text=True, check=True)
        return next(int(item["counter"]["bytes"]) for item in json.loads(done.stdout)["nftables"] if "counter" in item)

    def rate_bps(self, host: str, protocol: str, seconds: float) -> float:
        """Bits per second that leave or come at a host, from now on."""
        (rate,) = self.rates_bps(host, [protocol], seconds)
        return rate

    def rates_bps(self, host: str, protocols: list[str], seconds: float) -> list[float]:
        before = [self.octets(host, protocol) for protocol in protocols]
        begun = time.monotonic()
        time.sleep(seconds)
        after = [self.octets(host, protocol) for protocol in protocols]
        elapsed = time.monotonic() - begun
        return [(has - had) * 8 / elapsed for had, has in zip(before, after)]


@contextmanager
def stage(folder: Path, rate: str, loss: float = 0.0) -> Iterator[Stage]:
    half = f"{RTT_S * 500:g}ms"
    with Pair(Link(rate=rate, delay=half, loss=loss), Link(delay=half)) as lab:
        yield Stage(lab, folder)


def test_one_stream_fills_a_link_that_loses_one_packet_in_a_hundred(tmp_path: Path) -> None:
    with stage(tmp_path, "20M", loss=0.01) as stream:
        stream.start()
        assert any(stream.rate_bps("right", "udp", 1.5) >= 0.8 * 20e6 for _ in range(WINDOW_COUNT))


def test_a_link_that_becomes_narrow_is_obeyed_within_ten_round_trips(tmp_path: Path) -> None:
    with stage(tmp_path, "20M") as stream:
        stream.start()
        time.sleep(3)
        stream.lab.change_rate("right", "2M", queue=str(int(20e6 * RTT_S / 8)))
        time.sleep(10 * RTT_S)
        assert stream.rate_bps("left", "udp", 1.5) <= 2 * 2e6


def test_into_a_black_hole_go_ten_packets_after_three_seconds_though_the_client_lives(tmp_path: Path) -> None:
    with stage(tmp_path, "20M") as stream:
        stream.start()
        time.sleep(1)
        nft(stream.lab, "right", NARROW)  # What is short passes: the client hears Pings, and reports.
        time.sleep(3)
        before = stream.octets("left", "udp")
        reported = stream.octets("right", "udp")
        time.sleep(5)
        assert (stream.octets("left", "udp") - before) // PACKET_SIZE <= 10
        assert stream.octets("right", "udp") > reported


@pytest.mark.slow  # The seeded world shows it in each run.
def test_a_fixed_rate_is_unfair_to_tcp(tmp_path: Path) -> None:
    with stage(tmp_path, "5M") as stream:
        stream.start_tcp()
        stream.start("--cc", "fixed", "--rate", "7M")
        windows = (stream.rates_bps("right", ["udp", "tcp"], 1.5) for _ in range(WINDOW_COUNT))
        assert any(ours > 4 * theirs for ours, theirs in windows)
