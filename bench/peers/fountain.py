"""fountain itself: the installed commands, watched by their JSON events."""

from __future__ import annotations

import contextlib
import json
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.peers.base import Host, Job, Outcome, Process, free_port, wait_all

__all__ = ["Event", "Fountain", "events", "jain", "moment"]

BIN = Path(sys.executable).parent
Event = dict[str, Any]


@dataclass(frozen=True)
class Fountain:
    """fountain-serve and fountain-fetch. Its clock is that of the fetch's events: without the start of Python.

    With several receivers, all wait for the server before it comes, so that all begin at once.
    """

    open: bool = False
    rate_bps: int = 10_000_000_000
    fixed: bool = False  # no congestion control: the rate, whatever is lost
    loss_test: float = 0.0

    @property
    def name(self) -> str:
        return f"fountain, {'open' if self.open else 'sealed'}{', fixed rate' if self.fixed else ''}"

    @property
    def packages(self) -> Mapping[str, str]:
        return {"setpriv": "util-linux"}

    def transfer(self, job: Job) -> Outcome:
        port = free_port(socket.SOCK_DGRAM)
        with contextlib.ExitStack() as stack:
            if len(job.receivers) == 1:
                server, idle_cpu_s = self._serve(stack, job, port)
                clients = self._fetch(stack, job, port)
            else:
                clients = self._fetch(stack, job, port)
                for client in clients:
                    client.wait_text('"event": ?"searching"')
                server, idle_cpu_s = self._serve(stack, job, port)
            wait_all(clients)
            whole_s = max(client.ended_s for client in clients) - clients[0].started_s
            server.wait_text('"event": ?"peer_finished"', len(clients))
            server.stop()
        told = events(server)
        fetched = [event for client in clients for event in events(client) if event["event"] == "fetched"]
        return Outcome(
            tuple(int(event["size"]) for event in fetched),
            seconds_of(fetched, told),
            whole_s,
            server.cpu_s - idle_cpu_s,
            sum(client.cpu_s for client in clients),
            details(clients, fetched, told) | {"server_memory_mb": server.memory_size // 10**6},
        )

    def _serve(self, stack: contextlib.ExitStack, job: Job, port: int) -> tuple[Process, float]:
        argv: list[object] = [BIN / "fountain-serve", "--json", "--quiet", "--port", port, "--data-port", 0]
        argv += ["--rate", self.rate_bps, *(["--open"] if self.open else [])]
        if self.fixed:
            argv += ["--cc", "fixed"]
        server = stack.enter_context(self._process(job.sender, [*argv, job.file], job, "serve.log", 30))
        server.wait_text('"event": ?"serving"')
        return server, server.running_cpu_s

    def _fetch(self, stack: contextlib.ExitStack, job: Job, port: int) -> list[Process]:
        argv: list[object] = [BIN / "fountain-fetch", "--json", "--quiet", "--port", port]
        argv += [*(["--open"] if self.open else []), *(["--wait"] if len(job.receivers) > 1 else [])]
        if self.loss_test:
            argv += ["--loss-test", self.loss_test]
        return [
            stack.enter_context(
                self._process(host, [*argv, "-o", copy, job.sender.address], job, f"fetch-{number}.log", 0)
            )
            for number, (host, copy) in enumerate(zip(job.receivers, job.copies))
        ]

    def _process(self, host: Host, argv: list[object], job: Job, log: str, more_s: float) -> Process:
        return Process(host, argv, job.directory / log, job.patience_s + more_s)


def events(process: Process) -> list[Event]:
    """All events that a command has written."""
    return [json.loads(line) for line in process.log.read_text("utf-8").splitlines() if line.endswith("}")]


def moment(event: Event) -> float:
    return datetime.fromisoformat(event["time"].replace("Z", "+00:00")).timestamp()


def seconds_of(fetched: list[Event], told: list[Event]) -> tuple[float, ...]:
    """How long each fetch took: by its own clock when it is alone, and since the first joined when all waited."""
    if len(fetched) == 1:
        return (float(fetched[0]["duration_s"]),)
    began = min(moment(event) for event in told if event["event"] == "peer_joined")
    return tuple(moment(event) - began for event in fetched)


def details(clients: list[Process], fetched: list[Event], told: list[Event]) -> dict[str, float]:
    """What the other tools do not report: loss, packets, symbols beyond K, and how even the shares were."""
    last = [[event for event in events(client) if event["event"] == "transfer_progress"][-1:] for client in clients]
    finished = [event for event in told if event["event"] == "peer_finished"]
    found = {
        "loss": sum(event["loss"] for event in fetched) / len(fetched),
        "sent_count": sum(event["sent_count"] for event in finished),
        "received_count": sum(event["received_count"] for event in fetched),
        "overhead_per_block": sum(e["overhead_count"] for e in fetched) / sum(e["block_count"] for e in fetched),
        "kernel_drop_count": sum(event["kernel_drop_count"] for events in last for event in events),
    }
    if len(clients) > 1:
        found |= shares(told, len(clients))
    return found


def shares(told: list[Event], count: int) -> dict[str, float]:
    """Jain's index of the packets sent to each peer while all were streamed to, and how long that was."""
    full = [
        event
        for event in told
        if event["event"] == "peers_progress"
        and len(event["peers"]) == count
        and all(peer["state"] == "streaming" for peer in event["peers"])
    ]
    joined = [moment(event) for event in told if event["event"] == "peer_joined"]
    found = {"joined_within_s": max(joined) - min(joined)}
    if len(full) > 1:
        first, last = (
            {peer["session_id"]: peer["sent_count"] for peer in event["peers"]} for event in (full[0], full[-1])
        )
        sent = [float(last[name] - first[name]) for name in first if name in last]
        found |= {"jain": jain(sent), "all_streaming_s": moment(full[-1]) - moment(full[0])}
    return found


def sent_counts(event: Event) -> dict[str, int]:
    return {peer["session_id"]: peer["sent_count"] for peer in event["peers"]}


def jain(values: list[float]) -> float:
    """Jain's index of fairness: 1 when all are equal, 1/n when one has everything."""
    squares = len(values) * sum(value * value for value in values)
    return sum(values) ** 2 / squares if squares else 0.0
