"""One file by udpcast: UDP multicast in slices, each acknowledged by every receiver before the next."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from bench.peers.base import Job, Outcome, Process, ToolError, wait_all

__all__ = ["Udpcast"]

INTERFACE = "eth0"
PORT_BASE = 9000
SHARE = 0.97  # of the link's rate


class Udpcast:
    """udp-sender and its receivers. The clock starts when all are connected, as its own statistics do."""

    name = "udpcast"
    packages: Mapping[str, str] = {"udp-sender": "udpcast", "udp-receiver": "udpcast"}

    def transfer(self, job: Job) -> Outcome:
        if not job.sender.prefix:
            raise ToolError("udpcast needs hosts with interfaces of their own")
        common = ["--interface", INTERFACE, "--portbase", PORT_BASE, "--nokbd", "--no-progress"]
        limit = [] if job.link_bps is None else ["--max-bitrate", int(job.link_bps * SHARE)]
        send = ["udp-sender", "--file", job.file, "--min-receivers", len(job.receivers), *common, *limit]
        patience = ["--start-timeout", 20, "--receive-timeout", 20]
        with contextlib.ExitStack() as stack:
            receivers = [
                stack.enter_context(
                    Process(
                        host,
                        ["udp-receiver", "--file", copy, *common, *patience],
                        job.directory / f"udp-receiver-{number}.log",
                        job.patience_s,
                    )
                )
                for number, (host, copy) in enumerate(zip(job.receivers, job.copies))
            ]
            for receiver in receivers:
                receiver.wait_text("UDP receiver for")
            log = job.directory / "udp-sender.log"
            sender = stack.enter_context(Process(job.sender, [*send, "--start-timeout", 20], log, job.patience_s))
            sender.wait_text("Starting transfer")
            started_s = time.monotonic()
            wait_all([sender, *receivers])
        return Outcome(
            tuple(copy.stat().st_size for copy in job.copies),
            tuple(receiver.ended_s - started_s for receiver in receivers),
            max(process.ended_s for process in (sender, *receivers)) - receivers[0].started_s,
            sender.cpu_s,
            sum(receiver.cpu_s for receiver in receivers),
        )
