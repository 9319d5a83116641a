"""One file by NORM: multicast with negative acknowledgements, repaired with Reed-Solomon parity, blocks of 64 + 32."""

from __future__ import annotations

import contextlib
import ctypes
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from bench.peers.base import Job, Outcome, Process, ToolError, wait_all
from bench.peers.norm_node import LIBRARY

__all__ = ["Norm"]

NODE = Path(__file__).with_name("norm_node.py")
GROUP = "239.63.30.2"
INTERFACE = "eth0"
RATE_BPS = 1_000_000_000  # where no rate is given: NORM has a fixed one


class Norm:
    """libnorm in small programs of ours. Its clock starts with its sender; the receivers stand ready before."""

    name = "NORM"
    packages: Mapping[str, str] = {"setpriv": "util-linux"}

    def transfer(self, job: Job) -> Outcome:
        if not is_there():
            raise ToolError("not there: apt-get install libnorm1")
        with contextlib.ExitStack() as stack:
            receivers = []
            for number, (host, copy) in enumerate(zip(job.receivers, job.copies)):
                cache = copy.with_name(f"{copy.name}.d")
                cache.mkdir()
                take = [*node("receive", copy, number + 2), "--cache", cache]
                log = job.directory / f"norm-{number}.log"
                receivers.append(stack.enter_context(Process(host, take, log, job.patience_s + 10)))
            for receiver in receivers:
                receiver.wait_text("ready")
            send = [*node("send", job.file, 1), "--rate", job.link_bps or RATE_BPS]
            sender = stack.enter_context(Process(job.sender, send, job.directory / "norm.log", job.patience_s))
            wait_all(receivers)
            sender.stop()
        ended = [float(re.findall(r"completed ([\d.]+)", receiver.text)[0]) for receiver in receivers]
        whole_s = max(ended) - sender.started_s
        return Outcome(
            tuple(copy.stat().st_size for copy in job.copies),
            tuple(moment - sender.started_s for moment in ended),
            whole_s,
            sender.cpu_s,
            sum(receiver.cpu_s for receiver in receivers),
            since_sender_s=whole_s,
        )


def is_there() -> bool:
    with contextlib.suppress(OSError):
        ctypes.CDLL(LIBRARY)
        return True
    return False


def node(work: str, file: Path, number: int) -> list[object]:
    argv: list[object] = [sys.executable, "-I", NODE, work, file]
    return [*argv, "--group", GROUP, "--interface", INTERFACE, "--number", number]
