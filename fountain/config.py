"""What the engine is asked to do: frozen, checked on creation, free of any command line."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from fountain.errors import UsageError
from fountain.limits import (
    CONTROL_PORT_DEFAULT,
    DATA_PORT_DEFAULT,
    DURATION_NS_MAX,
    GROUP_PORT_DEFAULT,
    MTU_DEFAULT,
    MTU_MAX,
    MTU_MIN,
    NS,
    PASS_COUNT_MAX,
    PEER_COUNT_MAX,
    RATE_BPS_MAX,
    RATE_BPS_MIN,
)
from fountain.protocol.rate import CONTROL_DEFAULT, CONTROL_NAMES, LOSS_TOLERANCE_DEFAULT

__all__ = [
    "BROADCAST_ADDRESS_DEFAULT",
    "CODE_DEFAULT",
    "GROUP_CONTROL_DEFAULT",
    "GROUP_CONTROL_NAMES",
    "GROUP_RATE_BPS_DEFAULT",
    "PEER_COUNT_MAX_DEFAULT",
    "PLAN_LOSS_DEFAULT",
    "RATE_BPS_DEFAULT",
    "FetchConfig",
    "FleetConfig",
    "GroupConfig",
    "OnewayConfig",
    "ServeConfig",
]

RATE_BPS_DEFAULT = 1_000_000_000
GROUP_RATE_BPS_DEFAULT = 100_000_000  # A switch floods it to everybody, old and slow machines too.
PEER_COUNT_MAX_DEFAULT = 256
LOSS_TOLERANCE_MAX = 0.5  # Beyond it two packets are sent for one that arrives, and nobody can say whose fault it is.
CODE_DEFAULT = "raptorq"

BROADCAST_ADDRESS_DEFAULT = "255.255.255.255"
GROUP_CONTROL_NAMES = ("tfmcc", "fixed")
GROUP_CONTROL_DEFAULT = "tfmcc"
PLAN_LOSS_DEFAULT = 0.05
OVERHEAD_MAX = float(PASS_COUNT_MAX)
PLAN_LOSS_MAX = 0.9  # Ten packets sent for one that arrives: what is planned beyond that is no link.


def _check_port(name: str, port: int, hint: str) -> None:
    if not 0 <= port <= 65_535:
        raise UsageError(f"{name} {port} is not a port number.", hint)


def _check_most(what: str, value: float | None, most: float) -> None:
    """Refuse a number that no one can mean; one that is not given is fine."""
    if value is not None and not value <= most:
        raise UsageError(f"{what} is too large.", f"Give at most {most:g}.")


def _check_duration(what: str, value_s: float | None, hint: str) -> None:
    if value_s is None:
        return
    if not value_s * NS >= 1.0:
        raise UsageError(f"{what} needs a time above zero.", hint)
    if value_s * NS > DURATION_NS_MAX:
        raise UsageError(f"{what} is too long.", f"Give at most ten years: {DURATION_NS_MAX // NS // 3600}h.")


def _in_ns(value_s: float | None) -> int | None:
    return None if value_s is None else round(value_s * NS)


def _parse_address(name: str, text: str) -> IPv4Address | IPv6Address:
    if "%" in text:
        raise UsageError(f"{name} {text!r} names an interface.", "Name that with -i: ff02::63:30 -i eth0.")
    try:
        return ip_address(text)
    except ValueError:
        raise UsageError(f"{name} {text!r} is not an IP address.", "Groups have addresses: 239.63.30.1.") from None


def _check_bind(host: str) -> None:
    """Refuse an address that nobody can be asked at."""
    try:
        address = ip_address(host)
    except ValueError:
        return  # a name
    if address.is_multicast or host == BROADCAST_ADDRESS_DEFAULT:
        option = f"--group {host}" if address.is_multicast else "--broadcast"
        raise UsageError(
            f"--bind {host} is no address of one machine.",
            f"Leave --bind out to serve on all of this machine's addresses. To send to many at once: {option}",
        )
    if isinstance(address, IPv6Address) and address.is_link_local and address.scope_id is None:
        raise UsageError(
            f"--bind {host} is an address within one network, and does not say which.",
            f"Name the interface that has it: --bind {host}%eth0",
        )


@dataclass(frozen=True, kw_only=True)
class GroupConfig:
    """Where many listen at once: a multicast group, or everybody on a network.

    `address` is that of the group, or a broadcast address. `interface` is a name or an address of this machine; "" is
    the one that the system would take. `source` is the only sender to listen to; "" listens to all. The file at
    `key_path` has the key that all members share.

    Raises:
        UsageError: a value is out of range.
    """

    address: str
    is_broadcast: bool = False
    interface: str = ""
    port: int = GROUP_PORT_DEFAULT
    source: str = ""
    key_path: Path | None = None

    def __post_init__(self) -> None:
        address = _parse_address("The address", self.address)
        if self.is_broadcast and (address.version != 4 or address.is_multicast):
            raise UsageError(
                f"{self.address} is not a broadcast address.",
                "Leave --broadcast-address out, or give that of the network: 192.168.1.255. IPv6 has groups alone.",
            )
        if not self.is_broadcast and not address.is_multicast:
            raise UsageError(
                f"{self.address} is not a multicast group.",
                "Groups are 224.0.0.0 to 239.255.255.255, of which 239.x.x.x are yours to use, and ff00::/8.",
            )
        _check_port("The group port", self.port, "Choose one between 1 and 65535, the same for all.")
        if self.port == 0:
            raise UsageError("The group port cannot be 0.", "Choose one between 1 and 65535, the same for all.")
        if self.source:
            self._check_source(address)

    def _check_source(self, address: IPv4Address | IPv6Address) -> None:
        if self.is_broadcast:
            raise UsageError("--source goes with --group only.", "A broadcast reaches everybody, whoever sent it.")
        source = _parse_address("The source", self.source)
        if source.is_multicast or source.version != address.version:
            raise UsageError(
                f"{self.source} cannot be the source of group {self.address}.",
                "Give the server's own address, of the same kind (IPv4 or IPv6) as the group's.",
            )


@dataclass(frozen=True, kw_only=True)
class OnewayConfig:
    """A stream that nothing comes back from, and when it ends: after a time, after passes, with enough overhead, or,
    when none of these is given, when it is stopped.

    `overhead` is the share of symbols sent beyond those that the object has; `plan_loss` is the loss that the air time
    is told for.

    Raises:
        UsageError: a value is out of range, or more than one end is given.
    """

    duration_s: float | None = None
    pass_count: int | None = None
    overhead: float | None = None
    plan_loss: float = PLAN_LOSS_DEFAULT

    def __post_init__(self) -> None:
        ends = (self.duration_s, self.pass_count, self.overhead)
        if sum(end is not None for end in ends) > 1:
            raise UsageError("A one-way stream has one end.", "Give one of --duration, --passes and --overhead.")
        _check_duration("--duration", self.duration_s, "Leave it out to send until you stop the server.")
        if self.pass_count is not None and self.pass_count < 1:
            raise UsageError("--passes needs at least one pass.", "Leave it out to send until you stop the server.")
        if self.overhead is not None and self.overhead < 0.0:
            raise UsageError("--overhead cannot be below zero.", "Give a share: 0.3 sends 30 % more than the object.")
        _check_most("--passes", self.pass_count, PASS_COUNT_MAX)
        _check_most("--overhead", self.overhead, OVERHEAD_MAX)
        if not 0.0 <= self.plan_loss <= PLAN_LOSS_MAX:
            raise UsageError(
                f"A planned loss of {self.plan_loss:g} is out of range.",
                f"Give a fraction from 0 to {PLAN_LOSS_MAX:g}: the worst that you expect of the link.",
            )

    @property
    def duration_ns(self) -> int | None:
        """`duration_s` as the engine counts it."""
        return _in_ns(self.duration_s)


@dataclass(frozen=True, kw_only=True)
class FleetConfig:
    """A server's stream to a group, beside what single peers fetch from it.

    It starts with `wait_count` receivers, or, when `wait_time_s` is given, after that time with those that are there.
    Receivers that would hold the stream below `min_rate_bps` are asked to leave, and served by themselves.

    Raises:
        UsageError: a value is out of range, or asks for answers in a one-way stream.
    """

    group: GroupConfig
    ttl: int = 1
    congestion_control: str = GROUP_CONTROL_DEFAULT
    wait_count: int = 1
    wait_time_s: float | None = None
    min_rate_bps: int = 0
    oneway: OnewayConfig | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.ttl <= 255:
            raise UsageError(f"A TTL of {self.ttl} is out of range.", "Give the number of networks to cross: 1 to 255.")
        if self.ttl != 1 and self.group.is_broadcast:
            raise UsageError("--ttl goes with --group only.", "No router lets a broadcast through.")
        if self.congestion_control not in GROUP_CONTROL_NAMES:
            names = " or ".join(GROUP_CONTROL_NAMES)
            raise UsageError(
                f"There is no congestion control {self.congestion_control!r} for a group.", f"Choose {names}."
            )
        if self.wait_count < 1:
            raise UsageError("--wait needs at least one receiver.", "Leave it out to start with the first.")
        _check_most("--wait", self.wait_count, PEER_COUNT_MAX)
        _check_duration("--wait-time", self.wait_time_s, "Leave it out to wait without limit.")
        if self.min_rate_bps < 0:
            raise UsageError("--min-rate cannot be below zero.", "Rates are bits per second: 10M.")
        if self.oneway is not None:
            for option, is_given in (
                ("--wait", self.wait_count != 1),
                ("--wait-time", self.wait_time_s is not None),
                ("--min-rate", self.min_rate_bps != 0),
            ):
                _check_answers(option, is_given)

    @property
    def wait_time_ns(self) -> int | None:
        """`wait_time_s` as the engine counts it."""
        return _in_ns(self.wait_time_s)


def _check_answers(option: str, is_given: bool) -> None:
    """Refuse what a one-way stream cannot do."""
    if is_given:
        raise UsageError(
            f"{option} cannot go with --oneway.", "Nothing comes back one-way, so the server knows of no receiver."
        )


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """A server: what it serves, where, and how fast.

    `rate_bps` caps all data packets together, in bits per second with their UDP, IPv4 and Ethernet headers. Below it
    `congestion_control` decides, which takes up to `loss_tolerance` of the packets to be lost by the link itself. Ports
    of 0 let the system choose. With a `fleet` the objects go to a group as well; the group has the cap of `rate_bps`,
    and all single peers together have it once more.

    Raises:
        UsageError: a value is out of range.
    """

    paths: tuple[Path, ...]
    bind: str = ""  # "" is every address of this machine
    port: int = CONTROL_PORT_DEFAULT
    data_port: int = DATA_PORT_DEFAULT
    rate_bps: int = RATE_BPS_DEFAULT
    mtu: int = MTU_DEFAULT
    open: bool = False
    congestion_control: str = CONTROL_DEFAULT
    loss_tolerance: float = LOSS_TOLERANCE_DEFAULT
    expect: int | None = None
    idle_exit_s: float | None = None
    peer_count_max: int = PEER_COUNT_MAX_DEFAULT
    code: str = CODE_DEFAULT
    fleet: FleetConfig | None = None
    skip_unportable: bool = False  # leave out of a tree what cannot travel

    def __post_init__(self) -> None:
        hint = "Choose one between 1 and 65535, or 0 for any that is free."
        _check_port("The control port", self.port, hint)
        _check_port("The data port", self.data_port, hint)
        if self.port == self.data_port != 0:
            raise UsageError("The control port and the data port are the same.", "Give --data-port another number.")
        _check_bind(self.bind)
        if not MTU_MIN <= self.mtu <= MTU_MAX:
            raise UsageError(f"An MTU of {self.mtu} cannot be used.", f"Choose one between {MTU_MIN} and {MTU_MAX}.")
        if self.rate_bps < RATE_BPS_MIN:
            raise UsageError(f"A rate of {self.rate_bps} bit/s is too low.", "Rates are bits per second: 100M, 2.5G.")
        if self.rate_bps > RATE_BPS_MAX:
            raise UsageError("The rate is above what any link carries.", "Rates are bits per second: 100M, 2.5G.")
        if self.congestion_control not in CONTROL_NAMES:
            names = " or ".join(CONTROL_NAMES)
            raise UsageError(f"There is no congestion control {self.congestion_control!r}.", f"Choose {names}.")
        if not 0.0 <= self.loss_tolerance <= LOSS_TOLERANCE_MAX:
            raise UsageError(
                f"A loss tolerance of {self.loss_tolerance:g} is out of range.",
                f"Give a fraction from 0 to {LOSS_TOLERANCE_MAX:g}: the loss of the link when nothing else uses it.",
            )
        if self.expect is not None and self.expect < 1:
            raise UsageError("--expect needs at least one peer.", "Leave it out to serve until you stop the server.")
        _check_most("--expect", self.expect, PEER_COUNT_MAX)
        _check_duration("--idle-exit", self.idle_exit_s, "Give seconds, such as --idle-exit 60.")
        if self.peer_count_max < 1:
            raise UsageError("--max-peers needs at least one peer.", "Give a number of one or more.")
        _check_most("--max-peers", self.peer_count_max, PEER_COUNT_MAX)
        if not self.paths:
            raise UsageError("There is nothing to serve.", "Name a file or a directory.")
        if self.fleet is not None:
            self._check_fleet(self.fleet)

    @property
    def idle_exit_ns(self) -> int | None:
        """`idle_exit_s` as the engine counts it."""
        return _in_ns(self.idle_exit_s)

    def _check_fleet(self, fleet: FleetConfig) -> None:
        if self.open:
            raise UsageError("--open cannot go with a group.", "A group is open unless it has a --key.")
        if fleet.group.port in (self.port, self.data_port):
            raise UsageError("The group port is another port of the server too.", "Give --group-port another number.")
        if fleet.min_rate_bps > self.rate_bps:
            raise UsageError("--min-rate is above --rate.", "Give a --min-rate below what the server may send.")
        if self.expect is not None and fleet.wait_time_ns is None and fleet.wait_count > self.expect:
            raise UsageError(
                f"--wait {fleet.wait_count} waits for more receivers than --expect {self.expect} names.",
                "--wait takes a number of receivers; --wait-time takes seconds.",
            )
        if fleet.oneway is not None:
            _check_answers("--expect", self.expect is not None)
            _check_answers("--idle-exit", self.idle_exit_s is not None)


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """A fetch: from where, which object, to where.

    It comes from a `host`, or from a `group`. There `wait` is for an announce, without limit, and `listen` stays and
    takes every new object once, running `hook` for each, and leaves `free_size_min` octets of the disk free (None: a
    share of it). An object above `size_max` octets is not taken. `out` names an existing directory to put the object
    in, or else the path that it gets; None is the current directory. `loss_test` is the fraction of data packets that
    the receiver throws away on purpose.

    Raises:
        UsageError: a value is out of range.
    """

    host: str = ""
    name: str | None = None
    out: Path | None = None
    port: int = CONTROL_PORT_DEFAULT
    timeout_s: float = 10.0
    wait: bool = False
    overwrite: bool = False
    open: bool = False
    loss_test: float = 0.0
    group: GroupConfig | None = None
    listen: bool = False
    hook: str | None = None
    size_max: int | None = None
    free_size_min: int | None = None

    def __post_init__(self) -> None:
        self._check_place()
        _check_port("The port", self.port, "Choose one between 1 and 65535.")
        if self.port == 0:
            raise UsageError("Port 0 is not a port that a server has.", "Leave --port out, or give the server's.")
        _check_duration("--timeout", self.timeout_s, "Give seconds, such as --timeout 10.")
        if not 0.0 <= self.loss_test < 1.0:
            raise UsageError(
                f"A loss of {self.loss_test:g} leaves nothing to receive.", "Give a fraction from 0 up to, but not, 1."
            )

    @property
    def timeout_ns(self) -> int:
        """`timeout_s` as the engine counts it."""
        return round(self.timeout_s * NS)

    def _check_place(self) -> None:
        """Whether what a host and what a group is asked are kept apart."""
        if self.group is None:
            if not self.host:
                raise UsageError("There is nobody to fetch from.", "Name a HOST, or a --group.")
            if self.listen:
                raise UsageError("--listen needs a group.", "Add --group ADDR or --broadcast.")
        else:
            if self.host:
                raise UsageError("A HOST and a group cannot go together.", "Leave one of them out.")
            if self.open:
                raise UsageError("--open cannot go with a group.", "A group is open unless it has a --key.")
        if self.listen and self.name is not None:
            raise UsageError("--listen takes every object, and no NAME.", "Leave NAME or --listen out.")
        if self.free_size_min is not None and not self.listen:
            raise UsageError("--keep-free needs --listen.", "Leave it out: a fetch by hand takes what is there.")
        if self.hook is not None and not self.listen:
            raise UsageError("--hook needs --listen.", "Without it the command ends; let the shell go on: && COMMAND.")
