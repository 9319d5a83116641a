"""One file by udpcast: UDP multicast in slices, each acknowledged by every receiver before the next."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from bench.peers.base import Job, NeverStartedError, Outcome, Process, ToolError, wait_all

__all__ = ["Udpcast"]

INTERFACE = "eth0"
PORT_BASE = 9000
SHARE = 0.97  # of the link's rate
START_TIMEOUT_S = 10  # all are connected within a second, or never


class Udpcast:
    """udp-sender and its receivers. The clock starts when all are connected, as its own statistics do.

    It sends at 97 % of the link's rate, where there is one, or at the rate that it is given.
    """

    name = "udpcast"
    packages: Mapping[str, str] = {"udp-sender": "udpcast", "udp-receiver": "udpcast"}

    def __init__(self, rate_bps: int | None = None) -> None:
        self.rate_bps = rate_bps

    def transfer(self, job: Job) -> Outcome:
        if not job.sender.prefix:
            raise ToolError("udpcast needs hosts with interfaces of their own")
        common = ["--interface", INTERFACE, "--portbase", PORT_BASE, "--nokbd", "--no-progress"]
        rate_bps = self.rate_bps or int((job.link_bps or 0) * SHARE)
        limit = ["--max-bitrate", rate_bps] if rate_bps else []
        send = ["udp-sender", "--file", job.file, "--min-receivers", len(job.receivers), *common, *limit]
        patience = ["--start-timeout", START_TIMEOUT_S, "--receive-timeout", 20]
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
            sender = stack.enter_context(
                Process(job.sender, [*send, "--start-timeout", START_TIMEOUT_S], log, job.patience_s)
            )
            try:
                sender.wait_text("Starting transfer")
            except ToolError as error:  # its request to connect is lost as any packet, and not sent again
                raise NeverStartedError(f"never started: {error}") from error
            started_s = time.monotonic()
            wait_all([sender, *receivers])
        return Outcome(
            tuple(copy.stat().st_size for copy in job.copies),
            tuple(receiver.ended_s - started_s for receiver in receivers),
            max(process.ended_s for process in (sender, *receivers)) - receivers[0].started_s,
            sender.cpu_s,
            sum(receiver.cpu_s for receiver in receivers),
            since_sender_s=max(process.ended_s for process in (sender, *receivers)) - sender.started_s,
        )
