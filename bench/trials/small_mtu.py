"""Receivers that cannot get packets of the default size: how soon the first data comes.

    python -m bench.trials.small_mtu [--quick] [--runs 5]

The receiver's own interface has an MTU of 1280, or routers on its way drop what is larger and say nothing; it fetches
from a host by IPv4 and IPv6, and out of a group, all with default options. The figure is the time from the Offer
(from the group's Announce) until the first data, at most 3 s; every file is compared. Needs root and the tools of the
laboratory.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

from bench.lab import Lab, Star
from bench.trials.hosts import Command

SIZE = 3_000_000
GROUP = ("--group", "239.63.30.1")
LIMIT_S = 3.0
BLACK_HOLE = """table netdev narrow {
    chain heard { type filter hook ingress device "eth0" priority -1; meta length > 1280 drop; }
}
"""
WAYS = ("interface", "routers")
FROM = ("host", "host, IPv6", "group")


def narrow(lab: Lab, way: str) -> None:
    """Let no larger packet come to the receiver."""
    if way == "interface":
        lab.run("r1", ["ip", "link", "set", "eth0", "mtu", "1280"], check=True)
    else:
        lab.run("r1", ["nft", "-f", "-"], input=BLACK_HOLE, text=True, check=True)


def seconds(event: dict[str, str]) -> float:
    """When an event was written."""
    return datetime.fromisoformat(event["time"]).timestamp()


def trial(way: str, source: str) -> float:
    """Seconds from the start of the fetch, or from the Announce, until the first data."""
    with Star(1) as lab, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = folder / "object.bin"
        path.write_bytes(os.urandom(SIZE))
        narrow(lab, way)
        is_group = source == "group"

        def serve() -> None:
            words = GROUP if is_group else ()
            Command(lab, "server", folder / "server", "serve", *words, "--expect", "1", path).wait_event("serving")

        def fetch(*argv: str) -> Command:
            return Command(lab, "r1", folder / "r1", "fetch", *argv)

        receiver = in_group(fetch, serve) if is_group else alone(fetch, serve, lab, 6 if "IPv6" in source else 4)
        assert receiver.wait() == 0, receiver.text
        assert filecmp.cmp(path, receiver.folder / path.name, shallow=False), "the file is not exact"
        begun_s = seconds(receiver.events("announced" if is_group else "offered")[0])
        came = [event for event in receiver.events("transfer_progress") if event["received_count"]]
        return seconds((came or receiver.events("fetched"))[0]) - begun_s


def in_group(fetch: Callable[..., Command], serve: Callable[[], None]) -> Command:
    """A receiver that is there before its server."""
    receiver = fetch(*GROUP)
    receiver.wait_event("listening")
    serve()
    return receiver


def alone(fetch: Callable[..., Command], serve: Callable[[], None], lab: Lab, family: int) -> Command:
    """A fetch from a server that is there."""
    serve()
    return fetch(lab.address("server", family))


def main(argv: Sequence[str] | None = None) -> int:
    """All ways, and their figures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one run of each")
    parser.add_argument("--runs", type=int, default=5, help="of each")
    options = parser.parse_args(argv)
    worst_s = 0.0
    for way in WAYS:
        for source in FROM:
            times = sorted(trial(way, source) for _ in range(1 if options.quick else options.runs))
            worst_s = max(worst_s, times[-1])
            told = f"first data after {times[0]:.1f} to {times[-1]:.1f} s"
            print(f"{way} at MTU 1280, {source}: {told}, {len(times)} of {len(times)} exact", flush=True)
    print(f"worst: {worst_s:.1f} s (<= {LIMIT_S:g} s)")
    return 0 if worst_s <= LIMIT_S else 1


if __name__ == "__main__":
    sys.exit(main())
