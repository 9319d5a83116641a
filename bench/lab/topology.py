"""Hosts that are network namespaces, joined by a bridge in a namespace of its own, the hub.

    near ── p0 ─────────────── bridge ── p1 ── far        one veth pair for each host; no relay
    near ── p0 = relay0 ── relay1 ── bridge ── p1 ── far  the relay carries packets between p0 and relay0

The queue and rate of a direction stand on the bridge's port towards the receiver. They are not on the sender's own
interface, because there a full queue would hold the sender back instead of dropping. Loss is on the receiver's
interface, behind the queue: what is lost has used the link. Neighbours and the bridge's addresses are fixed, so that no
ARP is lost and no unicast packet is flooded.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import TracebackType
from typing import Any

from bench.lab import relay
from bench.lab.link import LabError, Link
from bench.lab.script import host_script, hub_script, link_script, loss_rules, relay_settings, shaping
from bench.lab.state import STATE_FOLDER, State, process_started, state_from

__all__ = ["Lab", "Pair", "Star"]

HOST_COUNT_MAX = 200  # addresses 10.0.0.1 .. 10.0.0.200
TOOLS = {"ip": "iproute2", "tc": "iproute2", "bridge": "iproute2", "nft": "nftables", "ethtool": "ethtool"}

serial = itertools.count()


def check_machine() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        raise LabError("the laboratory needs root on Linux: it makes network namespaces")
    missing = {package for tool, package in TOOLS.items() if shutil.which(tool) is None}
    if missing:
        raise LabError(f"tools are missing: apt-get install {' '.join(sorted(missing))}")


def call(argv: Sequence[str], script: str = "") -> str:
    """Run a tool; its output, or a LabError with what it complained about."""
    done = subprocess.run(argv, input=script, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LabError(f"{' '.join(argv)} failed: {done.stderr.strip() or done.stdout.strip()}\n{script}".strip())
    return done.stdout


class Lab:
    """A laboratory that stands: made by `Pair` or `Star`, or found again by `Lab.find`. Use it with `with`."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.hosts = state.hosts
        self._children: list[subprocess.Popen[Any]] = []

    # --- Using it ------------------------------------------------------------------------------------------

    def address(self, host: str, family: int = 4) -> str:
        """The IPv4 or IPv6 address of a host."""
        return self.state.address(host, family)

    def command(self, host: str, argv: Sequence[str]) -> list[str]:
        """The command line that runs `argv` on a host."""
        self.state.index(host)
        return ["ip", "netns", "exec", self.state.namespace(host), *argv]

    def run(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.CompletedProcess[Any]:
        """`subprocess.run` on a host."""
        return subprocess.run(self.command(host, argv), **options)

    def popen(self, host: str, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """`subprocess.Popen` on a host; what still runs when the laboratory is taken down is ended."""
        child = subprocess.Popen(self.command(host, argv), **options)
        self._children.append(child)
        return child

    def change_rate(self, host: str, rate: str, queue: str | None = None) -> None:
        """Give the link towards `host` another rate and queue while packets flow; it must have begun with a rate."""
        link = self.state.towards(host)
        if link.rate is None:
            raise LabError("a link that began without a rate cannot be given one")
        changed = shaping(self.state, self.state.port(host), replace(link, rate=rate, queue=queue), "change")
        call(["ip", "netns", "exec", self.state.hub, *changed.split()])

    def change_loss(self, host: str, loss: float) -> None:
        """Give the link towards `host` another loss while packets flow; 1.0 is a black hole."""
        call(self.command(host, ["nft", "-f", "-"]), loss_rules(replace(self.state.towards(host), loss=loss)))

    def counters(self, host: str) -> dict[str, int]:
        """Packets towards `host`: `lost` on purpose, `overflowed` the queue, and `relay_...` in its direction."""
        rules = json.loads(call(self.command(host, ["nft", "-j", "list", "counters"])))["nftables"]
        found = {"lost": sum(item["counter"]["packets"] for item in rules if "counter" in item)}
        port = self.state.port(host)
        queues = json.loads(call(["tc", "-n", self.state.hub, "-s", "-j", "qdisc", "show", "dev", port]))
        found["overflowed"] = sum(queue["drops"] for queue in queues)
        if self.state.relayed:
            words = memoryview(self.state.counters_file.read_bytes()).cast("Q")
            row = 0 if self.state.index(host) else len(relay.COUNTERS)
            found |= {f"relay_{name}": words[row + i] for i, name in enumerate(relay.COUNTERS) if name != "ready"}
        return found

    def unplug(self, host: str) -> None:
        """Take the interface of a host away, as when an adapter is pulled out: nothing of it is left."""
        call(self.command(host, ["ip", "link", "delete", "eth0"]))

    def plug(self, host: str) -> None:
        """Give a host its interface back: the same name and addresses, but to the system another interface."""
        state = self.state
        if state.relayed:
            raise LabError("a link with a relay cannot be plugged in again")
        call(["ip", "netns", "exec", state.hub, "sh", "-e"], "\n".join(link_script(state, host)))
        call(self.command(host, ["sh", "-e"]), "\n".join(host_script(state, host)))
        call(self.command(host, ["nft", "-f", "-"]), loss_rules(state.towards(host)))

    # --- Making it and taking it down ----------------------------------------------------------------------

    def _build(self) -> None:
        state = self.state
        check_machine()
        for stale in Lab.all():
            if stale.state.owner and process_started(stale.state.owner) != stale.state.owner_started:
                stale.close()
        STATE_FOLDER.mkdir(exist_ok=True)
        state.file.write_text(json.dumps(asdict(state)))
        call(["ip", "netns", "add", state.hub])
        for host in state.hosts:
            call(["ip", "netns", "add", state.namespace(host)])
        call(["ip", "netns", "exec", state.hub, "sh", "-e"], "\n".join(hub_script(state)))
        for host in state.hosts:
            call(self.command(host, ["sh", "-e"]), "\n".join(host_script(state, host)))
            call(self.command(host, ["nft", "-f", "-"]), loss_rules(self.state.towards(host)))
        if state.relayed:
            self._start_relay()

    def _start_relay(self) -> None:
        state = self.state
        state.counters_file.write_bytes(bytes(2 * len(relay.COUNTERS) * relay.WORD_SIZE))
        job = {
            "interfaces": ["p0", "relay0"],
            "counters": str(state.counters_file),
            "seed": 6330,
            "forward": relay_settings(state.forward, state.mtu)._asdict(),
            "back": relay_settings(state.back, state.mtu)._asdict(),
        }
        argv = ["ip", "netns", "exec", state.hub, sys.executable, relay.__file__, json.dumps(job)]
        # Its own session and no stream of ours: it outlives the command that brings a laboratory up to stay.
        with state.log_file.open("wb") as log:
            child = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        self._children.append(child)
        for _ in range(1000):
            if state.counters_file.read_bytes()[-relay.WORD_SIZE * len(relay.COUNTERS)]:
                return
            if child.poll() is not None:
                break
            time.sleep(0.01)
        raise LabError(f"the relay did not start (status {child.returncode}): {state.log_file.read_text()}")

    def close(self) -> None:
        """End what runs in the namespaces and remove them. Harmless when it is down already."""
        state = self.state
        for number in (signal.SIGTERM, signal.SIGKILL):
            pids = [pid for host in ("hub", *state.hosts) for pid in processes(state.namespace(host))]
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, number)
            deadline = time.monotonic() + 2
            while any(process_started(pid) and not is_zombie(pid) for pid in pids) and time.monotonic() < deadline:
                time.sleep(0.005)
        for child in self._children:
            child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream is not None:
                    stream.close()
        self._children.clear()
        for host in (*state.hosts, "hub"):
            with contextlib.suppress(LabError):
                call(["ip", "netns", "delete", state.namespace(host)])
        state.counters_file.unlink(missing_ok=True)
        state.log_file.unlink(missing_ok=True)
        state.file.unlink(missing_ok=True)

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    # --- Finding those that stand --------------------------------------------------------------------------

    @staticmethod
    def all() -> list[Lab]:
        """Every laboratory on this machine."""
        found = []
        for path in sorted(STATE_FOLDER.glob("*.json")):
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):  # coming up, or going, right now
                found.append(Lab(state_from(json.loads(path.read_text()))))
        return found

    @staticmethod
    def find(name: str | None = None) -> Lab:
        """The laboratory of that name, or the only one."""
        found = [lab for lab in Lab.all() if name in (None, lab.state.name)]
        if len(found) != 1:
            names = ", ".join(lab.state.name for lab in Lab.all()) or "none"
            raise LabError(f"name one of the laboratories that are up: {names}")
        return found[0]


class Pair(Lab):
    """Two hosts, `left` and `right`: `forward` is the link from left to right, `back` the other (default: perfect)."""

    def __init__(
        self,
        forward: Link | None = None,
        back: Link | None = None,
        *,
        mtu: int = 1500,
        name: str | None = None,
        keep: bool = False,
    ) -> None:
        super().__init__(new_state("pair", ("left", "right"), forward, back, mtu, name, keep=keep))
        build(self)


class Star(Lab):
    """A `server` and `receivers` hosts r1, r2 ...: each has its own `forward` link; `back` is the server's one."""

    def __init__(
        self,
        receivers: int,
        forward: Link | None = None,
        back: Link | None = None,
        *,
        mtu: int = 1500,
        name: str | None = None,
        keep: bool = False,
    ) -> None:
        if not 1 <= receivers < HOST_COUNT_MAX:
            raise LabError(f"{receivers} receivers: choose 1 to {HOST_COUNT_MAX - 1}")
        hosts = ("server", *(f"r{number}" for number in range(1, receivers + 1)))
        super().__init__(new_state("star", hosts, forward, back, mtu, name, keep=keep))
        build(self)


def new_state(
    kind: str,
    hosts: tuple[str, ...],
    forward: Link | None,
    back: Link | None,
    mtu: int,
    name: str | None,
    *,
    keep: bool,
) -> State:
    pid = os.getpid()
    name = name or f"{pid:x}-{next(serial)}"
    if (STATE_FOLDER / f"{name}.json").exists():
        raise LabError(f"a laboratory named {name} is up already: take it down, or choose another name")
    owner = (0, 0) if keep else (pid, process_started(pid))
    return State(name, kind, hosts, forward or Link(), back or Link(), mtu, *owner)


def build(lab: Lab) -> None:
    try:
        lab._build()
    except BaseException:  # also Ctrl-C: what was made so far goes before the reason is printed
        lab.close()
        raise


def processes(namespace: str) -> list[int]:
    with contextlib.suppress(LabError):
        return [int(pid) for pid in call(["ip", "netns", "pids", namespace]).split()]
    return []


def is_zombie(pid: int) -> bool:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    return True
