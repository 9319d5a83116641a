"""Who gets what of a link: fountain alone on lossy links, beside TCP, beside itself, and when the capacity changes.

`python -m bench.congestion` (root, Linux) runs every case in the network laboratory, about a quarter of an hour; names
of groups (`alone`, `fair`, `step`, `fixed`) run only these, `--seconds` sets how long each case lasts. `--json FILE`
keeps the figures. TCP is the kernel's, with the congestion control that is named for each flow.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from bench.lab import Link, Pair
from bench.lab.link import parse_rate

__all__ = ["main"]

ROOT = Path(__file__).resolve().parents[1]
FOUNTAIN_PACKET_SIZE = 1452 + 8 + 20 + 14  # what one data packet of the default MTU is to the laboratory's queue
TCP_SHARE = 1514 / 1448  # the same for an octet of TCP with timestamps
OBJECT_SIZE = 1_000_000_000
TCP_PORT = 7100
SKIP_S = 8.0  # Start-up is not what is compared.
SAMPLE_S = 0.2
TCP_CONGESTION = 13  # linux/tcp.h
BEGIN_S = 120.0  # A flow that has not begun by then will not: kernels may have to be compiled first, on two cores.
TRY_COUNT = 2  # A case whose flows do not all begin is tried again.


@dataclass(frozen=True)
class Case:
    """One run: a link and the flows on it, "tolerant" and "fixed" from fountain, all others from TCP."""

    group: str
    flows: tuple[str, ...]
    rate: str
    rtt_ms: int
    queue: str = "1bdp"
    loss: float = 0.0
    cap: str = "1G"
    step: str = ""  # the link's rate for the second half


@dataclass(frozen=True)
class Outcome:
    """What each flow got of the link, in the order of the case's flows, and what the server's processor did."""

    case: Case
    shares: tuple[float, ...]
    server_cpu: float
    overflowed: int

    @property
    def ratio(self) -> float | None:
        """The share of fountain's flows over that of TCP's, each on average."""
        ours = [share for share, flow in zip(self.shares, self.case.flows) if is_fountain(flow)]
        theirs = [share for share, flow in zip(self.shares, self.case.flows) if not is_fountain(flow)]
        if not ours or not theirs or not sum(theirs):
            return None
        return sum(ours) / len(ours) / (sum(theirs) / len(theirs))

    @property
    def jain(self) -> float:
        """Jain's index of fairness among all flows (RFC 5166)."""
        squares = sum(share * share for share in self.shares)
        return sum(self.shares) ** 2 / (len(self.shares) * squares) if squares else 0.0


class FlowError(Exception):
    """A flow of a case did not begin; the message says which, and what its programs said."""


def is_fountain(flow: str) -> bool:
    return flow in ("tolerant", "fixed")


def cases() -> Iterator[Case]:
    for loss in (0.0, 0.01, 0.05):
        for flow in ("tolerant", "cubic", "bbr"):
            yield Case("alone", (flow,), "100M", 50, loss=loss)
    for rtt_ms in (10, 40, 100):
        yield Case("fair", ("tolerant", "cubic"), "20M", rtt_ms)
    yield Case("fair", ("tolerant", "cubic"), "100M", 2, "10ms")  # a network of one's own
    for queue in ("0.25bdp", "4bdp"):
        yield Case("fair", ("tolerant", "cubic"), "20M", 40, queue)
    yield Case("fair", ("tolerant", "bbr"), "20M", 40)
    yield Case("fair", ("cubic", "bbr"), "20M", 40)
    yield Case("fair", ("tolerant",) * 4, "20M", 40)
    yield Case("fair", ("tolerant", "tolerant", "cubic", "cubic"), "20M", 40)
    yield Case("fixed", ("fixed", "cubic"), "20M", 40, cap="18M")
    yield Case("fixed", ("fixed", "cubic"), "20M", 40, cap="30M")
    yield Case("step", ("tolerant",), "20M", 40, step="2M")
    yield Case("step", ("tolerant",), "2M", 40, step="20M")


# --- Flows ---------------------------------------------------------------------------------------------------------


class Program:
    """A process of a flow; its complaints are kept, and printed when the flow does not begin."""

    def __init__(
        self, lab: Pair, host: str, name: str, argv: Sequence[str], stdout: int = subprocess.DEVNULL
    ) -> None:  # fmt: skip
        self.name = name
        self.complaints = tempfile.TemporaryFile()  # noqa: SIM115 - it lives as long as the process
        self.process = lab.popen(
            host,
            argv,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=self.complaints,
        )

    def state(self) -> str:
        """How it is, and the last line that it wrote to stderr."""
        status = self.process.poll()
        self.complaints.seek(0)
        lines = self.complaints.read().decode(errors="replace").strip().splitlines()
        return f"{self.name} {'runs' if status is None else f'ended with status {status}'}: {(lines or ['silent'])[-1]}"


class Flow:
    """Something that sends from left to right, and a record of (time, octets on the link that arrived)."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.samples: list[tuple[float, float]] = []
        self.programs: list[Program] = []

    def follow(self, program: Program) -> None:
        """Take in the JSON lines of `program` as they come."""
        self.programs.append(program)
        assert program.process.stdout is not None
        stream = program.process.stdout
        threading.Thread(target=lambda: [self.take(line) for line in stream], daemon=True).start()

    def take(self, line: bytes) -> None:
        raise NotImplementedError

    def rate_bps(self, start: float, end: float) -> float:
        """What arrived between two times, in bits per second."""
        inside = [sample for sample in self.samples if start <= sample[0] <= end]
        if len(inside) < 2:
            return 0.0
        (first, had), (last, has) = inside[0], inside[-1]
        return (has - had) * 8 / (last - first)


class Fetch(Flow):
    """One fountain-fetch on the right; fountain-serve on the left is shared by all of them."""

    def __init__(self, lab: Pair, name: str, port: int, out: Path, server: Program) -> None:
        super().__init__(name)
        words = ["fetch", "--json", "--quiet", "--wait", "--port", str(port), lab.address("left"), "-o", str(out)]
        self.follow(Program(lab, "right", "fountain-fetch", command(words), subprocess.PIPE))
        self.programs.append(server)

    def take(self, line: bytes) -> None:
        event = json.loads(line)
        if event["event"] == "transfer_progress":
            at = datetime.fromisoformat(event["time"]).timestamp()
            self.samples.append((at, event["received_count"] * FOUNTAIN_PACKET_SIZE))


class Tcp(Flow):
    """One TCP connection, as fast as its congestion control lets it."""

    def __init__(self, lab: Pair, control: str, port: int) -> None:
        super().__init__(control)
        here = [sys.executable, "-m", "bench.congestion"]
        self.follow(Program(lab, "right", "tcp-receive", [*here, "tcp-receive", str(port)], subprocess.PIPE))
        words = [*here, "tcp-send", lab.address("right"), str(port), control]
        self.programs.append(Program(lab, "left", "tcp-send", words))

    def take(self, line: bytes) -> None:
        at, size = json.loads(line)
        self.samples.append((at, size * TCP_SHARE))


def command(words: Sequence[str]) -> list[str]:
    return [sys.executable, "-m", "fountain", *words]


def tcp_send(host: str, port: int, control: str) -> None:
    """Send zeros until killed."""
    with socket.socket() as opened:
        opened.setsockopt(socket.IPPROTO_TCP, TCP_CONGESTION, control.encode())
        limit = time.monotonic() + BEGIN_S
        while opened.connect_ex((host, port)):  # The other side starts at the same time, and may be slower.
            if time.monotonic() > limit:
                sys.exit(f"no connection to {host} port {port}")
            time.sleep(0.05)
        octets = bytes(1 << 16)
        while True:
            opened.sendall(octets)


def tcp_receive(port: int) -> None:
    """Take what comes; write time and total now and then."""
    with socket.create_server(("", port)) as listening:
        opened, _ = listening.accept()
        total, due = 0, 0.0
        buffer = bytearray(1 << 18)
        while size := opened.recv_into(buffer):
            total += size
            now = time.time()
            if now >= due:
                due = now + SAMPLE_S
                print(json.dumps([now, total]), flush=True)


# --- Running -------------------------------------------------------------------------------------------------------


def run(case: Case, seconds: float, source: Path, directory: Path) -> Outcome:
    half = f"{case.rtt_ms * 500}us"
    forward = Link(rate=case.rate, queue=case.queue, loss=case.loss, delay=half)
    with ExitStack() as stack, Pair(forward, Link(delay=half)) as lab:
        flows, server = start(case, lab, source, directory, stack)
        begun = wait_for_all(flows)
        time.sleep(seconds / 2 if case.step else seconds)
        changed = time.time()
        if case.step:
            lab.change_rate("right", case.step, str(queue_octets(case)))
            time.sleep(seconds / 2)
        end = time.time()
        start_s, rate = (changed + 2.0, case.step) if case.step else (begun + SKIP_S, case.rate)
        shares = tuple(flow.rate_bps(start_s, end) / parse_rate(rate) for flow in flows)
        busy = processor_s(server.process) / (end - begun) if server else 0.0
        return Outcome(case, shares, busy, lab.counters("right")["overflowed"])


def queue_octets(case: Case) -> int:
    """The queue stays what it was, in octets."""
    return int(parse_rate(case.rate) * case.rtt_ms / 8000)


def start(
    case: Case, lab: Pair, source: Path, directory: Path, stack: ExitStack
) -> tuple[list[Flow], Program | None]:  # fmt: skip
    # TCP first: the first packet of a connection that finds the queue full comes again after seconds, many times.
    flows: dict[int, Flow] = {}
    for index, flow in enumerate(case.flows):
        if not is_fountain(flow):
            flows[index] = Tcp(lab, flow, TCP_PORT + index)
    wait_for_all(list(flows.values()))
    if len(flows) == len(case.flows):
        return list(flows.values()), None
    control = next(filter(is_fountain, case.flows))
    words = ["serve", "--quiet", "--cc", control, "--rate", case.cap, "--port", "7330", "--data-port", "7331"]
    server = Program(lab, "left", "fountain-serve", command([*words, str(source)]))
    for index, flow in enumerate(case.flows):
        if is_fountain(flow):
            out = directory / f"copy-{index}"
            stack.callback(shutil.rmtree, out, ignore_errors=True)
            out.mkdir()
            flows[index] = Fetch(lab, flow, 7330, out, server)
    return [flows[index] for index in range(len(case.flows))], server


def wait_for_all(flows: list[Flow]) -> float:
    """When the last flow began.

    Raises:
        FlowError: one of its programs ended, or it took too long.
    """
    limit = time.monotonic() + BEGIN_S
    while waiting := [flow for flow in flows if len(flow.samples) < 2]:
        has_ended = any(program.process.poll() is not None for flow in waiting for program in flow.programs)
        if has_ended or time.monotonic() > limit:
            states = "; ".join(f"{flow.name}: {program.state()}" for flow in waiting for program in flow.programs)
            raise FlowError(f"did not begin {'at all' if has_ended else f'within {BEGIN_S:.0f} s'}: {states}")
        time.sleep(0.05)
    return time.time()


def run_again(case: Case, seconds: float, source: Path, directory: Path) -> Outcome | None:
    """The outcome of a case; None, with the reasons printed, when its flows do not begin however often it is tried."""
    for _ in range(TRY_COUNT):
        try:
            return run(case, seconds, source, directory)
        except FlowError as error:
            print(f"{case}: {error}", file=sys.stderr, flush=True)
    return None


def processor_s(process: subprocess.Popen[bytes]) -> float:
    words = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def row(outcome: Outcome) -> str:
    case = outcome.case
    link = f"{case.rate} {case.rtt_ms} ms {case.queue}" + (f" loss {case.loss:g}" if case.loss else "")
    link += f" then {case.step}" if case.step else ""
    flows = " + ".join(f"{flow} {case.cap}" if flow == "fixed" else flow for flow in case.flows)
    shares = " ".join(f"{share:.2f}" for share in outcome.shares)
    ratio = "" if outcome.ratio is None else f"{outcome.ratio:.2f}"
    jain = f"{outcome.jain:.2f}" if len(case.flows) > 2 else ""
    return f"| {link} | {flows} | {shares} | {ratio} | {jain} | {outcome.server_cpu * 100:.0f} % |"


def main(argv: list[str]) -> None:
    """Run the cases that are asked for."""
    if argv[:1] == ["tcp-send"]:
        tcp_send(argv[1], int(argv[2]), argv[3])
    if argv[:1] == ["tcp-receive"]:
        tcp_receive(int(argv[1]))
        return
    top = argparse.ArgumentParser(prog="python -m bench.congestion", description="Shares of a link.")
    top.add_argument("groups", nargs="*", metavar="GROUP", help="alone, fair, fixed, step; default: all")
    top.add_argument("--seconds", type=float, default=30.0, help="how long each case lasts")
    top.add_argument("--json", type=Path, metavar="FILE", help="keep the figures")
    options = top.parse_args(argv)
    outcomes = []
    print(
        "| link | flows | of the link, as delivered | ours / TCP | Jain | server CPU |\n" + "| --- " * 6 + "|",
        flush=True,
    )
    with tempfile.TemporaryDirectory(prefix="fountain-bench-") as place:
        directory = Path(place)
        source = directory / "object"
        with source.open("wb") as stream:
            for _ in range(OBJECT_SIZE // 10**7):
                stream.write(os.urandom(10**7))
        for case in cases():
            if not options.groups or case.group in options.groups:
                outcome = run_again(case, options.seconds, source, directory)
                if outcome is not None:
                    outcomes.append(outcome)
                    print(row(outcome), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))


if __name__ == "__main__":
    main(sys.argv[1:])
