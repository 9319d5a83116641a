"""What the engine is asked to do: frozen, and checked on creation. Each check of a value stands here, and here alone.

An error names the parameter that is wrong: by its field, or, of a `GroupConfig`, as `group.port`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from ipaddress import IPv4Address, IPv6Address, ip_address
from numbers import Integral, Real
from pathlib import Path
from typing import Any

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
from fountain.storage.paths import is_encodable

__all__ = [
    "BROADCAST_ADDRESS",
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
    "ServeTrustConfig",
    "TrustConfig",
    "check_port",
    "dependent_defaults",
]

RATE_BPS_DEFAULT = 1_000_000_000
GROUP_RATE_BPS_DEFAULT = 100_000_000  # A switch floods it to everybody, old and slow machines too.
PEER_COUNT_MAX_DEFAULT = 256
LOSS_TOLERANCE_MAX = 0.5  # Beyond it two packets are sent for one that arrives, and nobody can say whose fault it is.
CODE_DEFAULT = "raptorq"

BROADCAST_ADDRESS = "255.255.255.255"
GROUP_CONTROL_NAMES = ("tfmcc", "fixed")
GROUP_CONTROL_DEFAULT = "tfmcc"
PLAN_LOSS_DEFAULT = 0.05
OVERHEAD_MAX = float(PASS_COUNT_MAX)
PLAN_LOSS_MAX = 0.9  # Ten packets sent for one that arrives: what is planned beyond that is no link.
_OBJECT_ID = re.compile("[0-9A-Fa-f]{64}")


def check_port(field: str, port: int, *, can_be_any: bool = False) -> None:
    """Refuse what is no port number; 0 is one where the system may choose.

    Raises:
        UsageError: it is out of range.
    """
    hint = f"Choose one between 1 and 65535{', or 0 for any that is free' * can_be_any}."
    _check_range(field, port, 0 if can_be_any else 1, 65_535, hint)


def dependent_defaults(values: Mapping[str, object]) -> dict[str, Any]:
    """What a `ServeConfig` with these values has by default where that depends on them."""
    defaults: dict[str, Any] = {"data_port": 0} if values.get("port") == 0 else {}
    return defaults if values.get("fleet") is None else {**defaults, "rate_bps": GROUP_RATE_BPS_DEFAULT}


def _wrong(field: str, what: str, hint: str) -> UsageError:
    """An error about one parameter, of which `what` says what is wrong."""
    return UsageError(f"`{field}` {what}", hint, field=field)


# What a value may be, by the word of its field's annotation: its types, and what a person calls it.
_KINDS: dict[str, tuple[type, str]] = {
    "int": (Integral, "a whole number"),
    "float": (Real, "a number"),
    "bool": (bool, "True or False"),
    "str": (str, "text"),
    "Path": (Path, "a path"),
    "None": (type(None), "None"),
}


def _check_kinds(config: Any, prefix: str = "") -> None:
    """Refuse values that are of another kind than their fields.

    Raises:
        UsageError: one is.
    """
    for field in fields(config):
        value, words = getattr(config, field.name), str(field.type).split(" | ")
        named = [word for word in words if "[" not in word]
        kinds = [_KINDS[word] if word in _KINDS else (globals()[word], f"a {word}") for word in named]
        # A bool counts as a number in Python, and never is one here.
        fits = [isinstance(value, kind) and (kind is bool or not isinstance(value, bool)) for kind, _ in kinds]
        if kinds and not any(fits):
            raise _wrong(prefix + field.name, f"is {value!r}.", f"It takes {' or '.join(what for _, what in kinds)}.")
        for each in value if isinstance(value, tuple) else (value,):
            if isinstance(each, str | Path):
                _check_text(prefix + field.name, str(each))


def _check_text(field: str, text: str) -> None:
    """Refuse what no system takes as a name or a path."""
    if "\0" in text:
        raise _wrong(field, "has a null byte in it.", "No name and no path has one.")
    if not is_encodable(text):
        hint = "If that is a path with octets that are no UTF-8, use what os.fsdecode makes of it."
        raise _wrong(field, f"{text!r} has half a character in it.", hint)


def _check_range(field: str, value: float, low: float, high: float, hint: str) -> None:
    if not low <= value <= high:
        shown = f"{value}" if isinstance(value, int) else f"{value:g}"
        raise _wrong(field, f"{shown} is out of range.", hint)


def _check_count(field: str, count: int | None, most: int, noun: str, hint: str) -> None:
    """Refuse a number of things that is none, or that no one can mean; one that is not given is fine."""
    if count is not None and count < 1:
        raise _wrong(field, f"needs at least one {noun}.", hint)
    if count is not None and count > most:
        raise _wrong(field, "is too large.", f"Give at most {most}.")


def _check_duration(field: str, value_s: float | None, hint: str) -> None:
    if value_s is None:
        return
    if not value_s * NS >= 1.0:
        raise _wrong(field, "needs a time above zero.", hint)
    if value_s * NS > DURATION_NS_MAX:
        raise _wrong(field, "is too long.", f"Give at most ten years: {DURATION_NS_MAX // NS // 3600} hours.")


def _in_ns(value_s: float | None) -> int | None:
    return None if value_s is None else round(value_s * NS)


def _parse_address(field: str, name: str, text: str, example: str) -> IPv4Address | IPv6Address:
    if "%" in text:
        hint = "Leave out what follows the %, and name it with `group.interface`."
        raise UsageError(f"{name} {text!r} names an interface.", hint, field=field)
    try:
        return ip_address(text)
    except ValueError:
        hint = f"Give it in numbers: {example}."
        raise UsageError(f"{name} {text!r} is not an IP address.", hint, field=field) from None


def _check_bind(host: str) -> None:
    """Refuse an address that nobody can be asked at."""
    try:
        address = ip_address(host)
    except ValueError:
        return  # a name
    if address.is_multicast or host == BROADCAST_ADDRESS:
        group = f"`group.address` {host}" if address.is_multicast else "`group.is_broadcast`"
        hint = f"Leave `bind` out to serve on all of this machine's addresses. To send to many at once: {group}"
        raise _wrong("bind", f"{host} is no address of one machine.", hint)
    if isinstance(address, IPv6Address) and address.is_link_local and address.scope_id is None:
        hint = f"Name the interface that has it: `bind` {host}%eth0"
        raise _wrong("bind", f"{host} is an address within one network, but does not say which network.", hint)


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
        _check_kinds(self, "group.")
        field = "group.address"
        address = _parse_address(field, "The address", self.address, "239.63.30.1")
        if self.is_broadcast and (address.version != 4 or address.is_multicast):
            hint = "Give that of the network, for example 192.168.1.255, or leave it out. IPv6 has only groups."
            raise UsageError(f"{self.address} is not a broadcast address.", hint, field=field)
        if not self.is_broadcast and not address.is_multicast:
            hint = "Groups are 224.0.0.0 to 239.255.255.255, of which you may use 239.x.x.x freely, and ff00::/8."
            if self.address == BROADCAST_ADDRESS:
                hint = "Use `group.is_broadcast` instead."
            raise UsageError(f"{self.address} is not a multicast group.", hint, field=field)
        check_port("group.port", self.port)
        if self.source:
            self._check_source(address)

    def _check_source(self, group: IPv4Address | IPv6Address) -> None:
        field = "group.source"
        if self.is_broadcast:
            raise _wrong(
                field, "works only with a multicast group.", "A broadcast reaches every host, from any sender."
            )
        source = _parse_address(field, "The source", self.source, "192.0.2.1")
        is_of_one = not source.is_multicast and not source.is_unspecified and self.source != BROADCAST_ADDRESS
        if not is_of_one or source.version != group.version:
            hint = "Give the server's own address, of the same kind (IPv4 or IPv6) as the group's."
            raise UsageError(f"{self.source} cannot be the source of group {self.address}.", hint, field=field)


@dataclass(frozen=True, kw_only=True)
class OnewayConfig:
    """A stream that nothing comes back from, and when it ends: after a time, after passes, with enough overhead, or,
    when none of these is given, when it is stopped.

    `overhead` is the share of symbols sent beyond those that the object has; `plan_loss` is the loss that the air
    time assumes.

    Raises:
        UsageError: a value is out of range, or more than one end is given.
    """

    duration_s: float | None = None
    pass_count: int | None = None
    overhead: float | None = None
    plan_loss: float = PLAN_LOSS_DEFAULT

    def __post_init__(self) -> None:
        _check_kinds(self)
        ends = (self.duration_s, self.pass_count, self.overhead)
        if sum(end is not None for end in ends) > 1:
            hint = "Give one of `duration_s`, `pass_count` and `overhead`."
            raise UsageError("A one-way stream can have only one end.", hint, field="oneway")
        hint = "Leave it out to send until you stop the server."
        _check_duration("duration_s", self.duration_s, hint)
        _check_count("pass_count", self.pass_count, PASS_COUNT_MAX, "pass", hint)
        if self.overhead is not None:
            hint = f"Give a share from 0 to {OVERHEAD_MAX:.0f}: 0.3 sends 30 % more than the object."
            _check_range("overhead", self.overhead, 0.0, OVERHEAD_MAX, hint)
        hint = f"Give a fraction from 0 to {PLAN_LOSS_MAX:g}: the largest loss that you expect of the link."
        _check_range("plan_loss", self.plan_loss, 0.0, PLAN_LOSS_MAX, hint)

    @property
    def duration_ns(self) -> int | None:
        """`duration_s` as the engine counts it."""
        return _in_ns(self.duration_s)


@dataclass(frozen=True, kw_only=True)
class FleetConfig:
    """A server's stream to a group, beside what single peers fetch from it.

    A multicast group spans `ttl` networks (None: one). The stream starts with `wait_count` receivers (None: with the
    first), or, when `wait_time_s` is given, after that time with those that are there. Receivers that would hold it
    below `min_rate_bps` are asked to leave, and served by themselves. Its `congestion_control` is None for the one that
    fits: "tfmcc", or "fixed" one-way.

    Raises:
        UsageError: a value is out of range, or asks for answers in a one-way stream.
    """

    group: GroupConfig
    ttl: int | None = None
    congestion_control: str | None = None
    wait_count: int | None = None
    wait_time_s: float | None = None
    min_rate_bps: int | None = None
    oneway: OnewayConfig | None = None

    def __post_init__(self) -> None:
        _check_kinds(self)
        if self.ttl is not None:
            _check_range("ttl", self.ttl, 1, 255, "Give the number of networks to cross: 1 to 255.")
            if self.group.is_broadcast:
                raise _wrong("ttl", "works only with a multicast group.", "No router lets a broadcast through.")
        _check_count("wait_count", self.wait_count, PEER_COUNT_MAX, "receiver", "Leave it out to start with the first.")
        _check_duration("wait_time_s", self.wait_time_s, "Leave it out to wait without limit.")
        if self.min_rate_bps is not None and self.min_rate_bps < 0:
            raise _wrong("min_rate_bps", "cannot be below zero.", "Give bits per second.")
        if self.oneway is not None:
            _refuse_answers(self, "wait_count", "wait_time_s", "min_rate_bps")
        self._check_control()

    @property
    def wait_time_ns(self) -> int | None:
        """`wait_time_s` as the engine counts it."""
        return _in_ns(self.wait_time_s)

    @property
    def control_name(self) -> str:
        """The congestion control of the stream: one that nothing comes back from has the rate that was asked for."""
        return self.congestion_control or (GROUP_CONTROL_DEFAULT if self.oneway is None else "fixed")

    def _check_control(self) -> None:
        field, name = "congestion_control", self.control_name
        names = " or ".join(GROUP_CONTROL_NAMES)
        if name in CONTROL_NAMES and name not in GROUP_CONTROL_NAMES:
            hint = f"Choose {names} for the group; single peers have {name} anyway."
            raise _wrong(field, f"{name} is for single peers.", hint)
        if name not in GROUP_CONTROL_NAMES:
            raise UsageError(f"There is no congestion control {name!r} for a group.", f"Choose {names}.", field=field)
        if self.oneway is not None and name != "fixed":
            hint = "A one-way stream gets no reports: give the `rate_bps`."
            raise _wrong(field, f"{name} cannot go with `oneway`.", hint)


def _refuse_answers(config: object, *fields: str) -> None:
    """Refuse what a one-way stream cannot do."""
    for field in fields:
        if getattr(config, field) is not None:
            hint = "A one-way stream gets no reports, so the server knows no receivers."
            raise _wrong(field, "cannot go with `oneway`.", hint)


@dataclass(frozen=True, kw_only=True)
class ServeTrustConfig:
    """What a server shows that its objects come from somebody: `releases` are the records of signed releases. It proves
    that it has the key in the file `identity`, and serves, with a file `allow` of authorized keys, only who has one.
    With `pair` it draws a code, and gives its one object to the first who knows that.

    Raises:
        UsageError: a value needs another.
    """

    releases: tuple[Path, ...] = ()
    identity: Path | None = None
    allow: Path | None = None
    pair: bool = False

    def __post_init__(self) -> None:
        _check_kinds(self)
        if self.allow is not None and self.identity is None:
            hint = "Clients show their keys only to a server whose key they know."
            raise _wrong("allow", "needs `identity`.", hint)


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
    trust: ServeTrustConfig = ServeTrustConfig()

    def __post_init__(self) -> None:
        _check_kinds(self)
        check_port("port", self.port, can_be_any=True)
        check_port("data_port", self.data_port, can_be_any=True)
        if self.port == self.data_port != 0:
            hint = "Give `data_port` another number."
            raise UsageError("The control port and the data port are the same.", hint, field="data_port")
        _check_bind(self.bind)
        _check_range("mtu", self.mtu, MTU_MIN, MTU_MAX, f"Choose one between {MTU_MIN} and {MTU_MAX}.")
        low, high = f"{RATE_BPS_MIN} ({RATE_BPS_MIN // 1000}k)", f"{RATE_BPS_MAX} ({RATE_BPS_MAX // 10**9}G)"
        hint = f"Give bits per second, from {low} to {high}."
        _check_range("rate_bps", self.rate_bps, RATE_BPS_MIN, RATE_BPS_MAX, hint)
        self._check_control()
        hint = f"Give a fraction from 0 to {LOSS_TOLERANCE_MAX:g}: the loss of the link when nothing else uses it."
        _check_range("loss_tolerance", self.loss_tolerance, 0.0, LOSS_TOLERANCE_MAX, hint)
        _check_count("expect", self.expect, PEER_COUNT_MAX, "peer", "Leave it out to serve until you stop the server.")
        _check_duration("idle_exit_s", self.idle_exit_s, "Give seconds, for example 60.")
        _check_count("peer_count_max", self.peer_count_max, PEER_COUNT_MAX, "peer", "Give a number of one or more.")
        if not self.paths:
            raise UsageError("There is nothing to serve.", "Name a file or a directory.", field="paths")
        if self.fleet is not None:
            self._check_fleet(self.fleet)
        if self.trust.pair:
            self._check_pair()

    @property
    def expected_count(self) -> int | None:
        """How many peers the server waits for: a code is for one."""
        return 1 if self.trust.pair else self.expect

    @property
    def idle_exit_ns(self) -> int | None:
        """`idle_exit_s` as the engine counts it."""
        return _in_ns(self.idle_exit_s)

    def _check_control(self) -> None:
        field, name, names = "congestion_control", self.congestion_control, " or ".join(CONTROL_NAMES)
        if name in GROUP_CONTROL_NAMES and name not in CONTROL_NAMES:
            raise _wrong(field, f"{name} needs a group.", f"Choose {names}.")
        if name not in CONTROL_NAMES:
            raise UsageError(f"There is no congestion control {name!r}.", f"Choose {names}.", field=field)

    def _check_pair(self) -> None:
        if self.fleet is not None:
            raise _wrong("pair", "cannot go with a group.", "A code is for one person; a group has a key.")
        if self.open:
            raise _open_pair()
        if self.expect is not None:
            raise _wrong("expect", "cannot go with `pair`.", "The server ends when the one with the code is done.")
        if len(self.paths) > 1:
            hint = "Put them in one directory, and serve that."
            raise _wrong("pair", "serves one file or directory.", hint)

    def _check_fleet(self, fleet: FleetConfig) -> None:
        if self.open:
            raise _open_group()
        if fleet.group.port in (self.port, self.data_port):
            hint = "Give `group.port` another number."
            raise UsageError("The group port is also another port of the server.", hint, field="group.port")
        if fleet.min_rate_bps is not None and fleet.min_rate_bps > self.rate_bps:
            raise _wrong("min_rate_bps", "is above `rate_bps`.", "Give less than what the server may send.")
        if self.expect is not None and fleet.wait_time_s is None and (fleet.wait_count or 1) > self.expect:
            what = f"{fleet.wait_count} waits for more receivers than `expect` {self.expect} names."
            hint = "`wait_count` takes a number of receivers; `wait_time_s` takes seconds."
            raise _wrong("wait_count", what, hint)
        if fleet.oneway is not None:
            _refuse_answers(self, "expect", "idle_exit_s")


def _open_pair() -> UsageError:
    hint = "Leave `open` out: a code protects what is sent, and open data is not protected."
    return _wrong("pair", "cannot go with `open`.", hint)


def _open_group() -> UsageError:
    return _wrong("open", "cannot go with a group.", "Without a key (`group.key_path`) a group is not encrypted.")


@dataclass(frozen=True, kw_only=True)
class TrustConfig:
    """Which objects a receiver takes: with `signers` only releases of `product` that a key in that file signed, with
    `object_id` (64 hexadecimal digits) only that object. And from whom: `server_key` is the key that a server must
    prove to have (SHA256:..., or a file of public keys). Without it that is the one that is known of it; with `strict`
    a server that is not known is none. The client proves the key in the file `identity` to servers that it knows.
    `pair` is the code that the server shows: only one that knows it is the right one.
    In a group a key that is known signs what is announced, and none is learned.

    `state` is the directory that remembers which release was here last, so that no older one is taken; None is the
    usual one. A list of signers that a key in the file `root_signers` signed takes the place of `signers`. With
    `unsigned` a hook is run though nothing of this is checked.

    Raises:
        UsageError: a value needs another, or contradicts it.
    """

    signers: Path | None = None
    product: str | None = None
    state: Path | None = None
    root_signers: Path | None = None
    unsigned: bool = False
    object_id: str | None = None
    server_key: str | None = None
    strict: bool = False
    identity: Path | None = None
    pair: str | None = dataclasses.field(default=None, repr=False)

    def __post_init__(self) -> None:
        _check_kinds(self)
        if self.pair is not None:
            from fountain.trust.pair_code import parse_code  # Most fetches have none.

            parse_code(self.pair)
        if self.server_key is not None and not self.server_key:
            hint = "Give SHA256:..., as fountain-serve prints it, or a file of public keys."
            raise _wrong("server_key", "is empty.", hint)
        if self.object_id is not None and not _OBJECT_ID.fullmatch(self.object_id):
            hint = "It has 64 hexadecimal digits: copy all of what fountain-serve prints."
            raise UsageError(f"{self.object_id!r} is not the id of an object.", hint, field="object_id")
        if self.signers is None:
            for field in ("product", "state", "root_signers"):
                if getattr(self, field) is not None:
                    hint = "Give the file that says who may sign for which product."
                    raise _wrong(field, "needs `signers`.", hint)
        elif self.product is None:
            hint = "Name the product that this machine takes: a key may sign for several."
            raise _wrong("signers", "needs `product`.", hint)
        elif self.unsigned:
            raise _wrong("unsigned", "cannot go with `signers`.", "Leave one of them out.")
        if self.product is not None:
            self._check_product(self.product)

    def _check_product(self, product: str) -> None:
        from fountain.trust.release import is_product  # It loads cryptography, which most commands do without.

        if not is_product(product):
            hint = "It has 1 to 63 letters of a-z, digits, and . _ - after the first: gateway, sensor-2."
            raise UsageError(f"{product!r} is not the name of a product.", hint, field="product")


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
    trust: TrustConfig = TrustConfig()

    def __post_init__(self) -> None:
        _check_kinds(self)
        self._check_place()
        if self.trust.pair is not None and self.open:
            raise _open_pair()
        check_port("port", self.port)
        _check_duration("timeout_s", self.timeout_s, "Give seconds, for example 10.")
        if not 0.0 <= self.loss_test < 1.0:
            hint = "Give a fraction from 0 to less than 1: some packets must arrive."
            raise _wrong("loss_test", f"{self.loss_test:g} is out of range.", hint)
        for field in ("size_max", "free_size_min"):
            if (getattr(self, field) or 0) < 0:
                raise _wrong(field, "cannot be below zero.", "Give a number of bytes.")

    @property
    def timeout_ns(self) -> int:
        """`timeout_s` as the engine counts it."""
        return round(self.timeout_s * NS)

    def _check_place(self) -> None:
        """Whether what a host and what a group is asked do not contradict each other."""
        if self.group is None:
            if not self.host:
                raise UsageError("There is nobody to fetch from.", "Give `host`, or `group.address`.", field="host")
            if "://" in self.host:
                hint = "Give the host alone, and the other parts of the URL as `port`, `name` and `object_id`."
                raise _wrong("host", f"{self.host!r} is a URL.", hint)
            if self.listen:
                raise _wrong("listen", "needs a group.", "Add `group.address` or `group.is_broadcast`.")
        else:
            if self.host:
                raise _wrong("host", "cannot go with a group.", "Leave one of them out.")
            if self.open:
                raise _open_group()
            for field in ("identity", "pair"):
                if getattr(self.trust, field):
                    hint = "In a group each server and receiver has the key of the group (`group.key_path`), or none."
                    raise _wrong(field, "works only with `host`.", hint)
        for field, value in (("name", self.name), ("object_id", self.trust.object_id)):
            if self.listen and value is not None:
                raise _wrong("listen", f"takes every object, and no `{field}`.", f"Leave `{field}` or `listen` out.")
        if not self.listen:
            if self.free_size_min is not None:
                raise _wrong("free_size_min", "needs `listen`.", "Leave it out: only a listener keeps space free.")
            if self.hook is not None:
                raise _wrong("hook", "needs `listen`.", "Leave it out, and run the command after the fetch.")
        self._check_hook()

    def _check_hook(self) -> None:
        trust = self.trust
        if self.hook is None and trust.unsigned:
            raise _wrong("unsigned", "works only with `hook`.", "Leave it out: there is no hook to run.")
        if self.hook is not None and trust.signers is None and not trust.unsigned:
            hint = (
                "Give `signers` and `product`: then it runs only for what the publisher signed. To run it for what "
                "anybody on the network announces, add `unsigned`."
            )
            raise _wrong("hook", "needs `signers`.", hint)
