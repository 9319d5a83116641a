"""One file by rsync from its daemon, whole: over TCP, without encryption, checked by rsync's own digest."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping

from bench.peers.base import Job, Outcome, Process, free_port, wait_all

__all__ = ["Rsync"]

SETTINGS = """use chroot = no
reverse lookup = no
uid = 0
gid = 0
[bench]
path = {root}
read only = yes
"""


class Rsync:
    """rsync's daemon and one client for each receiver."""

    name = "rsync daemon"
    packages: Mapping[str, str] = {"rsync": "rsync"}

    def transfer(self, job: Job) -> Outcome:
        port = free_port()
        settings = job.directory / "rsyncd.conf"
        settings.write_text(SETTINGS.format(root=job.file.parent))
        serve = ["rsync", "--daemon", "--no-detach", "--config", settings, "--port", port]
        url = f"rsync://{job.sender.address}:{port}/bench/{job.file.name}"
        with contextlib.ExitStack() as stack:
            log = job.directory / "rsyncd.log"
            server = stack.enter_context(Process(job.sender, serve, log, job.patience_s + 10))
            server.wait_port(port)
            clients = [
                stack.enter_context(
                    Process(
                        host,
                        ["rsync", "--whole-file", "--inplace", url, copy],
                        job.directory / f"rsync-{number}.log",
                        job.patience_s,
                    )
                )
                for number, (host, copy) in enumerate(zip(job.receivers, job.copies))
            ]
            wait_all(clients)
            whole_s = time.monotonic() - clients[0].started_s
            server.stop()
        return Outcome(
            tuple(copy.stat().st_size for copy in job.copies),
            tuple(client.ended_s - client.started_s for client in clients),
            whole_s,
            server.cpu_s,
            sum(client.cpu_s for client in clients),
        )
