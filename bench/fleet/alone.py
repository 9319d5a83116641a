"""What is measured of fountain alone: many receivers, late ones, killed ones, and none that can be heard."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TextIO

from bench.fleet.figures import Claim, Figure
from bench.fleet.place import Fleet, Group, stand
from bench.fleet.workplace import START_S, Workplace, exact_count
from bench.peers.base import Job, Process, ToolError
from bench.peers.fountain import events
from bench.peers.group import (
    INTERFACE,
    FountainGroup,
    collect,
    end_server,
    serve,
    wait_ended,
    wait_joined,
    wait_settled,
    whole_files,
)

__all__ = ["measure_killed", "measure_late", "measure_many", "measure_oneway"]

OURS = "fountain"
SLOW_BPS = 20_000_000
FAST_BPS = 100_000_000
POLL_S = 0.02
PLAN = '"event": ?"air_time"'
BUSY_SHARE = 0.1  # of the rate: less is announcements, not the file
AFTER_S = 20.0  # how long receivers may decode after the last packet


def measure_many(work: Workplace) -> None:
    """More receivers than cores by far, so at a rate that leaves each its turn."""
    group = Group(work.scale.many_count, 0.10, SLOW_BPS)
    with stand(group) as fleet:
        tool, target = FountainGroup(SLOW_BPS), 1.04 * group.ideal
        work.measure("many", fleet, tool, target=target, is_timed=False, patience_s=150.0)


def measure_late(work: Workplace) -> None:
    """The last receiver comes when half of the transfer is over; the others were all there is to wait for."""
    group, size = Group(4, 0.05, SLOW_BPS), work.scale.file_size
    with stand(group) as fleet, work.noting("late", str(group), OURS, size), work.job(fleet, size, 120.0) as job:
        before = fleet.sent()
        with contextlib.ExitStack() as stack:
            clients = [collect(stack, job, host, number) for number, host in enumerate(job.receivers[:-1])]
            wait_joined(clients)
            wait_settled(clients)
            server = serve(stack, job, [*fixed(SLOW_BPS), "--expect", 4, "--wait", 3])
            half = 0.5 * group.ideal * size
            while (fleet.sent() - before).octets < half and not server.has_ended:
                time.sleep(POLL_S)
            clients.append(collect(stack, job, job.receivers[-1], 3))
            joined_s = wait_joined(clients[-1:]) - server.started_s
            wait_ended(clients)
            end_server(server)
        finished = whole_files(job, clients, server)
        if len(finished) < len(clients):
            raise ToolError(f"{len(finished)} of {len(clients)} receivers have the file: {clients[-1].text[-300:]}")
        sent = fleet.sent() - before
        needed_s = group.needed_s(size)
        figure = work.figure("late", fleet, job, OURS, sent, max(finished.values()))
        claims = (
            Claim("the late one / what its symbols need", (finished[3] - joined_s) / needed_s, 1.1),
            Claim("seconds of the others", max(finished[number] for number in range(3)), needed_s + START_S),
        )
        work.figures.add(replace(figure, claims=claims))


def measure_killed(work: Workplace) -> None:
    """Every receiver is killed once, in the middle of whatever it does, and started again."""
    count = work.scale.killed_count
    group, size = Group(count, 0.05, SLOW_BPS), work.scale.file_size
    with stand(group) as fleet, work.noting("killed", str(group), OURS, size), work.job(fleet, size, 150.0) as job:
        before = fleet.sent()
        with contextlib.ExitStack() as stack:
            clients = [collect(stack, job, host, number) for number, host in enumerate(job.receivers)]
            wait_joined(clients)
            wait_settled(clients)
            server = serve(stack, job, [*fixed(SLOW_BPS), "--expect", count, "--wait", count])
            needed_s = group.needed_s(size)
            moments = sorted((START_S + work.random.uniform(0.1, 0.9) * needed_s, number) for number in range(count))
            for after_s, number in moments:
                time.sleep(max(0.0, server.started_s + after_s - time.monotonic()))
                if clients[number].has_ended:
                    raise ToolError("a receiver ended before it was killed")
                clients[number].kill()
                clients[number] = collect(stack, job, job.receivers[number], number, try_number=2)
            wait_ended(clients)
            end_server(server)
        finished = whole_files(job, clients, server)
        if not finished:
            raise ToolError(f"no receiver has the file: {clients[0].text[-300:]}")
        figure = work.figure("killed", fleet, job, OURS, fleet.sent() - before, max(finished.values()))
        work.figures.add(replace(figure, claims=()))


def measure_oneway(work: Workplace) -> None:
    """Nothing comes back from any receiver: what was planned for is what there is."""
    size = work.scale.oneway_size
    for loss in (0.01, 0.05, 0.20):
        group = Group(3, loss, FAST_BPS)
        with stand(group) as fleet, work.noting("oneway", str(group), OURS, size):
            fleet.mute_receivers()
            figures, shares = [], []
            for _ in range(work.scale.run_count):
                with work.job(fleet, size, 120.0) as job:
                    figure, air_share = send_oneway(fleet, job)
                figures.append(figure)
                shares.append(air_share)
            claims = tuple(
                Claim(f"{which} air time / planned", share, 1.05, 0.95)
                for which, share in (("shortest", min(shares)), ("longest", max(shares)))
            )
            work.figures.add(
                replace(
                    figures[0],
                    exact_count=sum(figure.exact_count for figure in figures),
                    file_count=sum(figure.file_count for figure in figures),
                    ratio=sum(figure.ratio for figure in figures) / len(figures),
                    wall_s=max(figure.wall_s for figure in figures),
                    claims=claims,
                )
            )


def send_oneway(fleet: Fleet, job: Job) -> tuple[Figure, float]:
    """One pass to all; the figure, and how long the sender sent as a share of what it planned."""
    before = fleet.sent()
    plan = ["--rate", FAST_BPS, "--oneway", "--plan-loss", fleet.group.loss, "--passes", 1]
    with contextlib.ExitStack() as stack:
        clients = [collect(stack, job, host, number) for number, host in enumerate(job.receivers)]
        wait_joined(clients)
        wait_settled(clients)
        server = serve(stack, job, plan)
        air_s = air_time(server)
        server.wait()
        let_end(clients)
    finished = whole_files(job, clients, server)
    wall_s = max(finished.values(), default=0.0)
    figure = Figure(
        "oneway",
        str(fleet.group),
        f"{OURS} --oneway",
        job.size,
        exact_count(job),
        len(clients),
        (fleet.sent() - before).octets / job.size,
        wall_s,
    )
    return figure, air_s / planned_s(server)


def air_time(server: Process) -> float:
    """From the first to the last moment in which the server sent more than announcements; until it has ended."""
    server.wait_text(PLAN)
    first_s = last_s = 0.0
    with server.network_devices() as devices:
        before_s, octets = time.monotonic(), sent_octets(devices)
        ended = False
        while not ended:
            time.sleep(POLL_S)
            ended = server.has_ended  # asked before the octets, so that the last look has them all
            now_s, now_octets = time.monotonic(), sent_octets(devices)
            if 8 * (now_octets - octets) >= BUSY_SHARE * FAST_BPS * (now_s - before_s):
                first_s, last_s = first_s or before_s, now_s
            before_s, octets = now_s, now_octets
    return last_s - first_s


def sent_octets(devices: TextIO) -> int:
    """What the host has sent by its one interface so far, Ethernet headers included."""
    devices.seek(0)
    found = dict(line.split(":") for line in devices.read().splitlines() if ":" in line)
    return next(int(words.split()[8]) for name, words in found.items() if name.strip() == INTERFACE)


def planned_s(server: Process) -> float:
    """How long the server said that a pass takes."""
    return float(next(event["seconds"] for event in events(server) if event["event"] == "air_time"))


def let_end(clients: Sequence[Process]) -> None:
    """Nothing more will come: who has not finished soon never will."""
    limit = time.monotonic() + AFTER_S
    while not all(client.has_ended for client in clients) and time.monotonic() < limit:
        time.sleep(POLL_S)
    for client in clients:
        client.stop()


def fixed(rate_bps: int) -> list[object]:
    return ["--cc", "fixed", "--rate", rate_bps]
