"""fountain to a group: one fountain-serve that sends each packet once, and a fountain-fetch on every receiver."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.peers.base import Host, Job, Outcome, Process, ToolError, wait_all
from bench.peers.fountain import Event, events, moment

__all__ = ["GROUP", "INTERFACE", "FountainGroup", "collect", "serve", "wait_joined", "wait_settled", "whole_files"]

BIN = Path(sys.executable).parent
GROUP = "239.63.30.1"
INTERFACE = "eth0"
SETTLED_S = 0.03  # processor time of all receivers in half a second: they wait
FAREWELL_S = 15.0  # how long a server may take to end once every receiver has


@dataclass(frozen=True)
class FountainGroup:
    """Every receiver stands in the group before the server comes, and the server waits for all of them.

    Its clock starts with the server's command. A receiver that fails counts as one without a file.
    """

    rate_bps: int
    options: tuple[str, ...] = ()
    control: str = "fixed"

    @property
    def name(self) -> str:
        control = [] if self.control == "fixed" else [f"group, {self.control}"]
        return " ".join(["fountain", *control, *self.options])

    @property
    def packages(self) -> Mapping[str, str]:
        return {"setpriv": "util-linux"}

    def transfer(self, job: Job) -> Outcome:
        count = len(job.receivers)
        asked = ["--cc", self.control, "--rate", self.rate_bps, "--expect", count, "--wait", count]
        with contextlib.ExitStack() as stack:
            clients = [collect(stack, job, host, number) for number, host in enumerate(job.receivers)]
            wait_joined(clients)
            wait_settled(clients)
            server = serve(stack, job, [*asked, *self.options])
            wait_ended(clients)
            stopped = end_server(server)
        finished = whole_files(job, clients, server)
        if not finished:
            raise ToolError(f"no receiver has the file: {(clients[0].text + server.text)[-500:]}")
        since_sender_s = max(finished.values())
        return Outcome(
            tuple(copy.stat().st_size if copy.exists() else 0 for copy in job.copies),
            tuple(finished.get(number, since_sender_s) for number in range(count)),
            since_sender_s,
            server.cpu_s,
            sum(client.cpu_s for client in clients),
            details_of(clients, server, stopped),
            since_sender_s,
        )


def collect(stack: contextlib.ExitStack, job: Job, host: Host, number: int, try_number: int = 1) -> Process:
    """A fetch that waits for the group's announcement; a second try goes on with what the first left."""
    folder = job.copies[number].with_name(f"copy-{number}.d")
    folder.mkdir(exist_ok=True)
    argv = [BIN / "fountain-fetch", "--json", "--quiet", "--group", GROUP, "-i", INTERFACE, "--wait", "-o", folder]
    log = job.directory / f"fetch-{number}-{try_number}.log"
    return stack.enter_context(Process(host, argv, log, job.patience_s))


def serve(stack: contextlib.ExitStack, job: Job, options: Sequence[object]) -> Process:
    """The server of the group, just started."""
    argv = [BIN / "fountain-serve", job.file, "--json", "--quiet", "--group", GROUP, "-i", INTERFACE, *options]
    return stack.enter_context(Process(job.sender, argv, job.directory / "serve.log", job.patience_s))


def wait_joined(clients: Sequence[Process]) -> float:
    """Until every host is in the group, by the kernel's word; when that was."""
    wanted = "".join(f"{int(part):02X}" for part in reversed(GROUP.split(".")))
    limit = time.monotonic() + clients[0].patience_s
    for client in clients:
        while wanted not in client.memberships():
            if client.has_ended:
                raise ToolError(f"{client.name} ended before it joined the group: {client.text[-500:].strip()}")
            if time.monotonic() > limit:
                raise ToolError(f"{client.name} did not join the group")
            time.sleep(0.01)
    return time.monotonic()


def wait_settled(clients: Sequence[Process]) -> None:
    """Until nobody is loading any more: a receiver joins first and loads its kernels afterwards.

    UFTP's daemons likewise stand ready when their clock begins.
    """
    limit = time.monotonic() + clients[0].patience_s
    before = -1.0
    while (spent := sum(client.running_cpu_s for client in clients)) > before + SETTLED_S:
        before = spent
        if time.monotonic() > limit:
            raise ToolError("the receivers do not come to rest")
        time.sleep(0.5)


def wait_ended(clients: Sequence[Process]) -> None:
    """Until all have ended, with or without the file."""
    for client in clients:
        try:
            wait_all([client])
        except ToolError:
            if client.status is None:
                raise


def end_server(server: Process) -> bool:
    """Let the server end by itself; whether it had to be stopped."""
    limit = time.monotonic() + FAREWELL_S
    while not server.has_ended and time.monotonic() < limit:
        time.sleep(0.01)
    stopped = not server.has_ended
    server.stop()
    return stopped


def whole_files(job: Job, clients: Sequence[Process], server: Process) -> dict[int, float]:
    """When each receiver had the file verified, in seconds since the server's start; the file is put in its place."""
    found = {}
    for number, client in enumerate(clients):
        told = [event for event in events(client) if event["event"] == "fetched"]
        arrived = job.copies[number].with_name(f"copy-{number}.d") / job.file.name
        if told and arrived.exists():
            arrived.rename(job.copies[number])
            found[number] = moment(told[-1]) - server.started_at
    return found


def details_of(clients: Sequence[Process], server: Process, stopped: bool) -> dict[str, float]:
    """What a reader needs to know beside the figures: faults of the ends, packets that this machine dropped."""
    last: list[Event] = []
    for client in clients:
        last += [event for event in events(client) if event["event"] == "transfer_progress"][-1:]
    fetched = [event for client in clients for event in events(client) if event["event"] == "fetched"]
    blocks = sum(event["block_count"] for event in fetched)
    return {
        "server_status": float(server.status or 0),
        "server_stopped": float(stopped),
        "overhead_per_block": sum(event["overhead_count"] for event in fetched) / max(1, blocks),
        "kernel_drop_count": float(sum(event["kernel_drop_count"] for event in last)),
    }
