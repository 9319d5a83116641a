"""One file by UFTP: UDP with negative acknowledgements, to one receiver by unicast, to several by multicast."""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Mapping

from bench.peers.base import Job, Outcome, Process, ToolError

__all__ = ["Uftp"]

BUFFER_SIZE = 4 << 20
SYMBOL_SIZE = 1400
PACKET_SIZE = SYMBOL_SIZE + 24 + 28 + 14  # UFTP's, IP's and UDP's, Ethernet's
SHARE = 0.97  # of the link's rate: at all of it, its packets fill the queue and it repeats what it lost


class Uftp:
    """uftp and its receivers. Its clock starts with the file: the seconds in which it finds them do not count.

    It sends at 97 % of the link's rate, where there is one, or at the rate that it is given.
    """

    name = "UFTP"
    packages: Mapping[str, str] = {"uftp": "uftp", "uftpd": "uftp"}

    def __init__(self, rate_bps: int | None = None) -> None:
        self.rate_bps = rate_bps

    def transfer(self, job: Job) -> Outcome:
        rate = -1 if job.link_bps is None else int(job.link_bps * SHARE * SYMBOL_SIZE / PACKET_SIZE / 1000)
        rate = rate if self.rate_bps is None else self.rate_bps // 1000
        addresses = [host.address for host in job.receivers]
        group = ["-M", addresses[0]] if len(addresses) == 1 else []
        buffers = ["-B", BUFFER_SIZE]
        send = ["uftp", "-R", rate, "-b", SYMBOL_SIZE, *group, "-I", job.sender.address, "-H", ",".join(addresses)]
        with contextlib.ExitStack() as stack:
            receivers = []
            for number, (host, copy) in enumerate(zip(job.receivers, job.copies)):
                folder = copy.with_name(f"{copy.name}.d")
                folder.mkdir()
                take = ["uftpd", "-d", "-t", "-D", folder, "-I", host.address, *buffers]
                log = job.directory / f"uftpd-{number}.log"
                receivers.append(stack.enter_context(Process(host, take, log, job.patience_s + 10)))
            for receiver in receivers:
                receiver.wait_text("UFTP version")
            time.sleep(0.3)  # it says no more before it listens
            log = job.directory / "uftp.log"
            sender = stack.enter_context(Process(job.sender, [*send, *buffers, job.file], log, job.patience_s))
            sender.wait()
            told = re.findall(r"Host: (\S+)\s+Status: Completed\s+time:\s*([\d.]+) seconds", sender.text)
            for receiver in receivers:
                receiver.stop()
        seconds = {address: float(text) for address, text in told}
        if set(seconds) != set(addresses):
            raise ToolError(f"UFTP completed {len(seconds)} of {len(addresses)}: {sender.text[-500:]}")
        for copy in job.copies:
            copy.with_name(f"{copy.name}.d").joinpath(job.file.name).rename(copy)
        return Outcome(
            tuple(copy.stat().st_size for copy in job.copies),
            tuple(max(0.001, seconds[address]) for address in addresses),
            sender.ended_s - sender.started_s,
            sender.cpu_s,
            sum(receiver.cpu_s for receiver in receivers),
            since_sender_s=sender.ended_s - sender.started_s,
        )
