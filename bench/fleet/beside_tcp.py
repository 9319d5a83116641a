"""What a group leaves to TCP: the stream with its own congestion control beside CUBIC on one bottleneck."""

from __future__ import annotations

import contextlib
import sys
import time
from pathlib import Path

from bench.fleet.figures import Claim, Figure
from bench.fleet.place import Group, Sink, stand
from bench.fleet.workplace import Workplace
from bench.lab import Link
from bench.peers.base import Host, Job, Process, ToolError
from bench.peers.group import collect, serve, wait_joined

__all__ = ["measure_tcp"]

ROOT = Path(__file__).resolve().parents[2]
TCP_PORT = 7100
SKIP_S = 8.0  # start-up is not what is compared
BEGIN_S = 30.0
BEGUN_OCTETS = 100_000


def measure_tcp(work: Workplace) -> None:
    """Two receivers behind links of their own; on the way to the first there is also a CUBIC flow."""
    group, size = Group(2, 0.0, 20_000_000), work.scale.tcp_size
    network = "2 receivers, 20 Mbit/s, round trip 40 ms, beside TCP CUBIC"
    links = Link(rate="20M", delay="20ms"), Link(delay="20ms")
    with stand(group, *links) as fleet, work.noting("tcp", network, "fountain", size):
        sink = Sink(fleet.lab, fleet.names[0])
        with work.job(fleet, size, BEGIN_S + SKIP_S + work.scale.tcp_s + 60.0) as job, contextlib.ExitStack() as stack:
            clients = [collect(stack, job, host, number) for number, host in enumerate(job.receivers)]
            wait_joined(clients)
            server = serve(stack, job, ["--rate", "100M", "--expect", 2, "--wait", 2])
            start_tcp(stack, job)
            wait_both(sink)
            time.sleep(SKIP_S)
            before = sink.octets()
            time.sleep(work.scale.tcp_s)
            after = sink.octets()
            if server.has_ended:
                raise ToolError(f"fountain-serve ended early: {server.text[-300:].strip()}")
        got = {name: 8 * (after[name] - before[name]) / work.scale.tcp_s / group.rate_bps for name in after}
        claim = Claim("fountain / TCP", got["datagrams"] / max(got["stream"], 1e-9), 10.0, 0.1)
        details = {"share": got["datagrams"], "tcp_share": got["stream"]}
        work.figures.add(Figure("tcp", network, "fountain", size, claims=(claim,), details=details))


def start_tcp(stack: contextlib.ExitStack, job: Job) -> None:
    """A CUBIC flow from the sender's host to the first receiver's."""
    taker = job.receivers[0]
    run_tcp(stack, job, taker, "tcp-receive", TCP_PORT)
    run_tcp(stack, job, job.sender, "tcp-send", taker.address, TCP_PORT, "cubic")


def run_tcp(stack: contextlib.ExitStack, job: Job, host: Host, work: str, *words: object) -> None:
    argv = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "bench.congestion", work, *words]
    stack.enter_context(Process(host, argv, job.directory / f"{work}.log", job.patience_s))


def wait_both(sink: Sink) -> None:
    """Until both flows have begun."""
    limit = time.monotonic() + BEGIN_S
    while min(octets := sink.octets().values()) < BEGUN_OCTETS:
        if time.monotonic() > limit:
            raise ToolError(f"a flow did not begin: fountain and TCP brought {list(octets)} octets")
        time.sleep(0.1)
