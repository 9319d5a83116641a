"""Clones behind one address translator: so many machines of one image fetch from one server, and each counts.

    python -m bench.trials.clones [--quick] [--count 40]

All have one host name, machine id and directory, and behind a masquerading router one address. The same number of
machines without a translator, each with a name of its own, fetch for comparison. The figure is the ratio of the times,
from the first start to the last end; every file is compared. Needs root, `ip` and `nft`.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
OBJECT_SIZE = 5_000_000
RATE = "40M"  # Slow enough that not the processors, of which all machines here have the same, are what is measured.
PATIENCE_S = 500.0
TRANSLATE = """table ip trial {
    chain out { type nat hook postrouting priority 100; oifname "outside" masquerade; }
}
"""


class Network:
    """A server, a router, and `count` machines behind it, each in a namespace of its own."""

    def __init__(self, count: int, *, translated: bool) -> None:
        self.count = count
        self._prefix = f"clones-{os.getpid():x}-"
        for name in ("server", "router", *self.machines):
            run("ip", "netns", "add", self.namespace(name))
            self.on(name, "ip", "link", "set", "lo", "up")
        self._link("server", "eth0", "router", "outside")
        self.on("server", "ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
        self.on("router", "ip", "addr", "add", "192.0.2.254/24", "dev", "outside")
        self.on("router", "sysctl", "-qw", "net.ipv4.ip_forward=1")
        self.on("router", "ip", "link", "add", "inside", "type", "bridge")
        self.on("router", "ip", "link", "set", "inside", "up")
        self.on("router", "ip", "addr", "add", "10.77.0.254/24", "dev", "inside")
        for number, machine in enumerate(self.machines):
            self._link(machine, "eth0", "router", f"port{number}")
            self.on("router", "ip", "link", "set", f"port{number}", "master", "inside")
            self.on(machine, "ip", "addr", "add", f"10.77.0.{number + 1}/24", "dev", "eth0")
            self.on(machine, "ip", "route", "add", "default", "via", "10.77.0.254")
        if translated:
            run(*self.command("router", "nft", "-f", "-"), script=TRANSLATE)
        else:
            self.on("server", "ip", "route", "add", "10.77.0.0/24", "via", "192.0.2.254")

    @property
    def machines(self) -> list[str]:
        return [f"m{number}" for number in range(self.count)]

    def namespace(self, name: str) -> str:
        return self._prefix + name

    def command(self, name: str, *argv: str) -> list[str]:
        return ["ip", "netns", "exec", self.namespace(name), *argv]

    def on(self, name: str, *argv: str) -> None:
        run(*self.command(name, *argv))

    def close(self) -> None:
        for name in ("server", "router", *self.machines):
            argv = ("ip", "netns", "pids", self.namespace(name))
            left = subprocess.run(argv, capture_output=True, text=True, check=False).stdout.split()
            for process_id in map(int, left):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process_id, signal.SIGKILL)
            with contextlib.suppress(subprocess.CalledProcessError):
                run("ip", "netns", "delete", self.namespace(name))

    def _link(self, one: str, its: str, other: str, theirs: str) -> None:
        ends = (self.namespace(one), self.namespace(other))
        run("ip", "link", "add", its, "netns", ends[0], "type", "veth", "peer", "name", theirs, "netns", ends[1])
        self.on(one, "ip", "link", "set", its, "up")
        self.on(other, "ip", "link", "set", theirs, "up")


def run(*argv: str, script: str = "") -> None:
    subprocess.run(argv, input=script, text=True, check=True, stdout=subprocess.DEVNULL)


@contextlib.contextmanager
def network(count: int, *, translated: bool) -> Iterator[Network]:
    made = Network(count, translated=translated)
    try:
        yield made
    finally:
        made.close()


def fetch_command(made: Network, machine: str, folder: Path, place: Path, host: str) -> list[str]:
    """A fetch on one of the machines, which sees `folder` at `place`, where all see theirs, and is called `host`."""
    fetch = f"exec {sys.executable} -m fountain fetch 192.0.2.1 --quiet --timeout 300"
    script = f"mount --bind {folder} {place} && cd {place} && hostname {host} && {fetch}"
    return made.command(machine, "unshare", "--uts", "sh", "-ec", script)


def trial(count: int, size: int, *, translated: bool) -> tuple[float, int, int]:
    """Seconds that all took together, how many have the exact file, and the server's exit status."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with network(count, translated=translated) as made, tempfile.TemporaryDirectory() as name:
        top = Path(name)
        path = top / "object.bin"
        path.write_bytes(os.urandom(size))
        place = top / "here"
        place.mkdir()
        server = serve(made, path, environment)
        started_s = time.monotonic()
        fetches = []
        for machine in made.machines:
            folder = top / machine
            folder.mkdir()
            host = "clone" if translated else f"machine-{machine}"
            argv = fetch_command(made, machine, folder, place, host)
            fetches.append(subprocess.Popen(argv, stdout=subprocess.DEVNULL, env=environment))
        for fetch in fetches:
            fetch.wait(PATIENCE_S)
        took_s = time.monotonic() - started_s
        status = server.wait(PATIENCE_S)
        exact = sum(is_exact(path, top / machine / path.name) for machine in made.machines)
    return took_s, exact, status


def serve(made: Network, path: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """A server that is ready for all machines."""
    argv = ("serve", "--json", "--quiet", "--rate", RATE, "--expect", str(made.count), "--idle-exit", "600", str(path))
    log = path.parent / "server.log"
    with log.open("wb") as opened:
        server = subprocess.Popen(
            made.command("server", sys.executable, "-m", "fountain", *argv), stdout=opened, env=environment
        )
    limit_s = time.monotonic() + PATIENCE_S
    while '"event": "serving"' not in log.read_text() and server.poll() is None and time.monotonic() < limit_s:
        time.sleep(0.05)
    return server


def is_exact(path: Path, copy: Path) -> bool:
    return copy.exists() and filecmp.cmp(path, copy, shallow=False)


def main(argv: Sequence[str] | None = None) -> int:
    """Both trials, and their figure."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="6 machines")
    parser.add_argument("--count", type=int, default=40)
    options = parser.parse_args(argv)
    if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nft", "unshare"))):
        parser.error("needs root, ip, nft and unshare")
    count = 6 if options.quick else options.count
    trial(1, 1_000_000, translated=False)  # Kernels are compiled once, by nobody whose time is taken.
    alone_s, exact, status = trial(count, OBJECT_SIZE, translated=False)
    print(f"{count} machines: {exact} exact, server's status {status}, {alone_s:.1f} s")
    clones_s, clones_exact, clones_status = trial(count, OBJECT_SIZE, translated=True)
    print(f"{count} clones, translated: {clones_exact} exact, server's status {clones_status}, {clones_s:.1f} s")
    print(f"ratio {clones_s / alone_s:.2f} (<= 1.2)")
    return 0 if exact == clones_exact == count and status == clones_status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
