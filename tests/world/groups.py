"""What the tests of groups share: a stage with a server, and listeners behind links of their own."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from fountain.integrity import digest
from fountain.limits import NS
from fountain.net.address import Address
from fountain.protocol.base.handshake import Identity
from fountain.protocol.group.api import GroupSettings
from fountain.protocol.group.member import Member
from fountain.protocol.group.server import GroupServerMachine
from fountain.testing import GroupOptions, Link, Listener, MemorySource, Server, World, payload
from fountain.wire.control import MAGIC
from fountain.wire.group import GroupHeader, GroupPacketType
from fountain.wire.reject import Reject

__all__ = ["MS", "Stage", "packet_type"]

MS = NS // 1000


def packet_type(datagram: bytes) -> GroupPacketType | None:
    """What a packet of a group is; None for data and for what is no group's."""
    if datagram[:4] != MAGIC:
        return None
    header = GroupHeader.parse(datagram)
    return None if isinstance(header, Reject) else header.packet_type


class Stage:
    """A server that streams one object to a group, and whoever listens."""

    def __init__(
        self, seed: int, *, size: int = 100_000, symbol_size: int = 64, block: int = 16, rate_bps: int = 5_000_000,
        settings: GroupSettings | None = None, cc: str = "fixed", key: bytes | None = None,
        identity: Ed25519PrivateKey | None = None,
    ) -> None:  # fmt: skip
        self.world = World(seed)
        self.options = GroupOptions(settings or GroupSettings(), cc, key, identity=identity)
        self._identity = None if identity is None else Identity(identity)
        self.rate_bps = rate_bps
        self.source: MemorySource = self.world.source(payload(size, seed), symbol_size=symbol_size, block=block)
        self.server: Server = self._serve()
        self.listeners: list[Listener] = []
        self.reported: list[tuple[int, str]] = []  # when, by whom
        self.world.taps.append(self._look)

    @property
    def machine(self) -> GroupServerMachine:
        """The server's side of the stream."""
        (machine,) = self.server.groups.machines.values()
        return machine

    @property
    def symbol_count(self) -> int:
        """Symbols of the object and of its manifest."""
        manifest_count = -(-len(self.source.manifest_bytes) // self.source.geometry.symbol_size)
        return self.source.geometry.symbol_count + manifest_count

    def member(self, listener: Listener) -> Member:
        """A listener as the server knows it."""
        return self.machine.members[digest(listener.name.encode())[:8]]

    def path(self, name: str, *, back: Link | None = None, **trouble: float) -> None:
        """What is on the way to a listener, and the same on the way back unless that is given."""
        out = Link(**trouble)  # type: ignore[arg-type]
        self.world.link(self.server.name, name, out)
        self.world.link(name, self.server.name, back or Link(**trouble))  # type: ignore[arg-type]

    def listen(self, **options: object) -> Listener:
        """One more listener."""
        name = f"listener {len(self.listeners)}"
        listener = self.world.listen(**{"name": name, **options})  # type: ignore[arg-type]
        self.listeners.append(listener)
        return listener

    def restart_server(self) -> None:
        """A server of the same object with other secrets, at the same address."""
        self.server = self._serve()

    def all_done(self) -> bool:
        """Whether every listener has the object."""
        return all(listener.is_done for listener in self.listeners)

    def all_ended(self) -> bool:
        """Whether every listener has ended: the server knows that it has the object, or has left."""
        return all(listener.has_ended for listener in self.listeners)

    def all_exact(self) -> bool:
        """Whether every listener has the object, octet by octet."""
        return all(listener.results == [self.source.content] for listener in self.listeners)

    def run(self, limit_ns: int = 60 * NS) -> bool:
        """Let time pass until everybody has ended."""
        return self.world.run(self.all_ended, limit_ns)

    def begin(self, share: float) -> None:
        """Let time pass until everybody was heard, and so much of the object was sent."""

        def has_begun() -> bool:
            is_sent = self.machine.sequence >= share * self.symbol_count
            return is_sent and len(self.machine.members) >= len(self.listeners)

        assert self.world.run(has_begun, 10 * NS)

    def wait(self, time_ns: int) -> None:
        """Let time pass."""
        self.world.run(lambda: False, time_ns)

    def _serve(self) -> Server:
        return self.world.serve(
            self.source, rate_bps=self.rate_bps, group=self.options, identity=self._identity
        )  # fmt: skip

    def _look(self, datagram: bytes, source: Address, target: Address) -> None:
        if packet_type(datagram) is GroupPacketType.REPORT:
            self.reported.append((self.world.now_ns, source[0]))
