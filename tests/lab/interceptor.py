"""`python -m tests.lab.interceptor ATTACK SERVER FILE [GUESS]`: a process between the server and clients that ask it.

It serves one client after the other. FILE keeps the Proof of the server's that it has seen last, for
"replayed"; GUESS is the code for "guessed".
"""

from __future__ import annotations

import os
import selectors
import socket
import sys
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT
from fountain.protocol.base.transmit import Port
from fountain.wire.reject import Reject
from fountain.wire.session import Proof
from tests.interceptor import Attack, Interceptor, Packet

__all__ = ["READY"]

READY = "ready"
NUMBERS = {Port.CONTROL: CONTROL_PORT_DEFAULT, Port.DATA: DATA_PORT_DEFAULT}
Address = tuple[str, int]


class Relay:
    """The sockets of an interceptor."""

    def __init__(self, attack: Attack, server: str, kept: Path, guess: str = "") -> None:
        recorded = Proof.parse(kept.read_bytes()) if attack is Attack.REPLAYED else None
        assert not isinstance(recorded, Reject)
        self._attack, self._server, self._kept, self._recorded = attack, server, kept, recorded
        self._guess = guess
        self._clients: dict[Address, Interceptor] = {}
        self._latest: Address = ("", 0)
        self._ports = {port: self._bound(number) for port, number in NUMBERS.items()}
        self._upstream = self._bound(0)

    def run(self) -> None:
        """Pass on, or not, what comes; until the process is ended."""
        selector = selectors.DefaultSelector()
        for port, sock in self._ports.items():
            selector.register(sock, selectors.EVENT_READ, port)
        selector.register(self._upstream, selectors.EVENT_READ)
        print(READY, flush=True)
        while True:
            for key, _ in selector.select():
                octets, address = key.fileobj.recvfrom(65_535)  # type: ignore[union-attr]
                self._take(octets, address, key.data)

    def _take(self, octets: bytes, address: Address, port: Port | None) -> None:
        if port is not None:
            self._latest = address
            if address not in self._clients:
                key = Ed25519PrivateKey.generate()
                self._clients[address] = Interceptor(self._attack, os.urandom(32), key, self._recorded, self._guess)
            self._send(self._clients[address].from_client(octets, port))
            return
        interceptor = self._clients[self._latest]
        port = next(port for port, number in NUMBERS.items() if number == address[1])
        self._send(interceptor.from_server(octets, port))
        if interceptor.seen is not None and self._attack is not Attack.REPLAYED:
            whole = self._kept.with_suffix(".new")  # This process is killed at any moment.
            whole.write_bytes(interceptor.seen.encode())
            whole.replace(self._kept)

    def _send(self, packets: Iterable[Packet]) -> None:
        for octets, is_for_server, port in packets:
            if is_for_server:
                self._upstream.sendto(octets, (self._server, NUMBERS[port]))
            else:
                self._ports[port].sendto(octets, self._latest)

    def _bound(self, number: int) -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.bind(("0.0.0.0", number))
        return sock


if __name__ == "__main__":
    Relay(Attack(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), *sys.argv[4:]).run()
