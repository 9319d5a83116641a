"""What proved keys, and a code, cost: processor time of the server, and the wait for the first data packet.

`python -m bench.identity` measures both, with keys of its own, against the same without keys, in turns; `--runs N` sets
how often. The processor time is that of a server's machine alone, from a Hello to the Pong that proves the port. The
wait is from a Hello, on loopback, to the first data packet that counts, of a `fountain-serve` that runs. Whole commands
are timed as well. A code is for one person: of that only the processor time is measured.
"""

from __future__ import annotations

import argparse
import socket
import statistics
import tempfile
import time
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from bench.commands import Serve
from bench.startup import FILE_SIZE, measure_fetch
from fountain.integrity import derive
from fountain.limits import NS
from fountain.protocol.base.blocks import BlockTable
from fountain.protocol.base.handshake import Identity
from fountain.protocol.base.served_object import ServedObject
from fountain.protocol.base.transmit import Port
from fountain.protocol.session.client import ClientMachine
from fountain.protocol.session.client_common import ClientConfig
from fountain.protocol.session.client_events import OfferReceived
from fountain.protocol.session.pairing import ClientPairing, ServerPairing
from fountain.protocol.session.server import ServerMachine
from fountain.trust.server_keys import ServerKeys
from fountain.trust.spake import client_exchanges, server_exchanges
from fountain.trust.sshsig import fingerprint
from fountain.wire.control import MAGIC, OfferBody, Want
from fountain.wire.session import StopReason

RUN_COUNT = 200
COMMAND_RUN_COUNT = 10
PATIENCE_S = 5.0
CODE = "a code that both know"
PAUSE_S = 0.03  # The server before has nothing to do any more; and each answers 20 Hellos a second of one address.
STEPS = ("Offer", "Request sent", "first packet of the session", "that taken", "data packet")
KINDS = ("without keys", "server key", "server and client keys")

SERVER, CLIENT = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def public(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


class Asker:
    """A client that goes as far as its first data packet; `kind` says what it knows and shows."""

    def __init__(self, kind: str, number: int, now_ns: int, port: int = 6330) -> None:
        keys = None if kind in (KINDS[0], CODE) else ServerKeys("127.0.0.1", port, [fingerprint(public(SERVER))])
        pairing = None if kind != CODE else ClientPairing(client_exchanges(CODE), number.to_bytes(32, "big"))
        config = ClientConfig(
            Want.ANY, bytes(32), open=False, wait=False, timeout_ns=10 * NS, peer_id=number.to_bytes(8, "big"), host="",
            server_keys=keys, identity=CLIENT if kind == KINDS[2] else None, pairing=pairing,
        )  # fmt: skip
        self.machine = ClientMachine(config, derive(bytes(32), kind.encode(), number), now_ns)
        self.machine.handle_timeout(now_ns)

    def answer_offer(self, now_ns: int) -> None:
        """Ask for what is offered, if anything is."""
        event = self.machine.poll_event()
        if isinstance(event, OfferReceived):
            table = BlockTable(event.offer.geometry, event.offer.manifest_geometry, 8)
            self.machine.request(table, now_ns)


def server_machine(kind: str) -> ServerMachine:
    offer = OfferBody(
        object_id=b"o" * 32, server_public=bytes(32), key_index=0, profile_id=b"p" * 8, object_size=10**9,
        manifest_size=300, symbol_size=1408, block_symbol_limit=1002, data_port=6331, is_directory=False, name="name",
        open=False,
    )  # fmt: skip
    allows = {public(CLIENT)}.__contains__ if kind == KINDS[2] else None
    return ServerMachine(
        secret=bytes(32), objects=[ServedObject(offer, systematic=True)], rate_bps=10**9, peer_count_max=100_000,
        now_ns=0, identity=None if kind in (KINDS[0], CODE) else Identity(SERVER, allows),
        key=ServerPairing(server_exchanges(CODE), bytes(32)) if kind == CODE else None,
    )  # fmt: skip


def handshake_s(server: ServerMachine, kind: str, number: int) -> float:
    """Processor seconds of the server for one session."""
    now_ns, address = number * NS, (f"10.0.{number >> 8 & 255}.{number & 255}", 4000)
    asker, spent = Asker(kind, number, now_ns), 0.0
    while True:
        waiting = asker.machine.poll_datagram()
        if waiting is None:
            break
        started = time.process_time()
        server.handle_datagram(waiting.datagram, address, now_ns, port=waiting.destination)
        answers = []
        while (answer := server.poll_datagram()) is not None:
            answers.append(answer.datagram)
        spent += time.process_time() - started
        for octets in answers:
            asker.machine.handle_datagram(octets, now_ns)
        asker.answer_offer(now_ns)
    (session,) = server.sessions.values()
    assert session.pings.proof.is_given
    server.close(now_ns)
    while server.poll_datagram() is not None or server.poll_event() is not None:
        pass
    return spent


def first_packet_s(port: int, data_port: int, kind: str, number: int) -> dict[str, float]:
    """Seconds from a Hello to its Offer, to the Request, to the first packet of the session, to its being taken, and to
    the first data packet that counts; then the stream is ended.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ours:
        ours.settimeout(PATIENCE_S)
        asker, steps = Asker(kind, number, time.monotonic_ns(), port), iter(STEPS)
        started, times = time.perf_counter(), {}

        def reach() -> None:
            times[next(steps)] = time.perf_counter() - started

        def send() -> None:
            while (waiting := asker.machine.poll_datagram()) is not None:
                ours.sendto(waiting.datagram, ("127.0.0.1", data_port if waiting.destination is Port.DATA else port))

        send()
        while len(times) < len(STEPS):
            octets = ours.recv(65_535)
            if octets.startswith(MAGIC):
                if len(times) < len(STEPS) - 1:
                    reach()
                asker.machine.handle_datagram(octets, time.monotonic_ns())
                asker.answer_offer(time.monotonic_ns())
                send()
                if len(times) < len(STEPS) - 1:
                    reach()
            elif asker.machine.find_session(int.from_bytes(octets[4:12], "big")) is not None:
                reach()
        asker.machine.stop(StopReason.INTERRUPTED, time.monotonic_ns())
        send()
        return times


def show(what: str, times: dict[str, list[float]]) -> None:
    """Median and lower quartile of each kind, and how they compare with those without keys."""
    print(f"\n{what}: median (lowest, lower quartile to highest) of {len(times[KINDS[0]])}; both / those without keys")
    base = statistics.median(times[KINDS[0]])
    for kind, values in times.items():
        median = statistics.median(values)
        quarter = sorted(values)[len(values) // 4]
        quiet = sorted(times[KINDS[0]])[len(values) // 4]
        span = f"({min(values) * 1e3:.3f}, {quarter * 1e3:.3f} to {max(values) * 1e3:.3f})"
        print(f"{median * 1e3:9.3f} ms  {span}  {median / base:5.2f} x  {quarter / quiet:5.2f} x  {kind}")


def write_keys(place: Path) -> dict[str, list[str]]:
    """Keys of the server and of its client, in files; and the options of servers of each kind."""
    for name, key in (("server_key", SERVER), ("client_key", CLIENT)):
        (place / name).write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()))
        (place / name).chmod(0o600)
    allowed = place / "authorized_keys"
    allowed.write_bytes(CLIENT.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH) + b"\n")
    identity = ["--identity", str(place / "server_key")]
    return {KINDS[0]: [], KINDS[1]: identity, KINDS[2]: [*identity, "--allow", str(allowed)]}


def client_options(place: Path) -> dict[str, list[str]]:
    """The options of clients of each kind, with the keys that `write_keys` wrote."""
    known = ["--server-key", fingerprint(public(SERVER))]
    return {KINDS[0]: [], KINDS[1]: known, KINDS[2]: [*known, "--identity", str(place / "client_key")]}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.identity", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=RUN_COUNT)
    parser.add_argument("--command-runs", type=int, default=COMMAND_RUN_COUNT)
    options = parser.parse_args()

    machines = {kind: server_machine(kind) for kind in (*KINDS, CODE)}
    times: dict[str, list[float]] = {kind: [] for kind in machines}
    for number in range(1, options.runs + 1):
        for kind in machines:
            times[kind].append(handshake_s(machines[kind], kind, number))
    show("processor time of the server for one session's handshake", times)

    with tempfile.TemporaryDirectory(prefix="fountain-identity-") as name:
        place = Path(name)
        source = place / "object.bin"
        source.write_bytes(bytes(FILE_SIZE - 1) + b"1")
        words = write_keys(place)
        servers = {
            kind: Serve(["--max-peers", "4096", *words[kind], str(source)], place / f"serve-{at}")
            for at, kind in enumerate(KINDS)
        }
        try:
            steps: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
            for number in range(options.runs):
                for at in range(len(KINDS)):
                    kind = KINDS[(number + at) % len(KINDS)]
                    server = servers[kind]
                    steps[kind].append(first_packet_s(server.port, server.data_port, kind, number))
                    time.sleep(PAUSE_S)
            for step in STEPS[:-1]:
                show(f"Hello to: {step}", {kind: [run[step] for run in found] for kind, found in steps.items()})
            times = {kind: [run[STEPS[-1]] for run in found] for kind, found in steps.items()}
            show("Hello to the first data packet that counts", times)
            more = client_options(place)
            times, later = {kind: [] for kind in KINDS}, {kind: [] for kind in KINDS}
            for number in range(options.command_runs + 1):
                for at in range(len(KINDS)):
                    kind = KINDS[(number + at) % len(KINDS)]
                    run = measure_fetch(servers[kind], place / f"fetch-{number}-{at}", more[kind])
                    if number:  # The first one is cold.
                        times[kind].append(run["first data packet"])
                        later[kind].append(run["first data packet"] - run["first event (Hello goes out)"])
            if options.command_runs:
                show("fountain-fetch, from its start to the first data packet", times)
                show("fountain-fetch, from its first Hello to the first data packet", later)
        finally:
            for server in servers.values():
                server.interrupt()


if __name__ == "__main__":
    main()
