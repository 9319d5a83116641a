"""What the engine is asked to do: frozen, checked on creation, free of any command line."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from fountain.errors import UsageError
from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT, MTU_DEFAULT, MTU_MAX, MTU_MIN
from fountain.protocol.congestion import CONTROL_DEFAULT, CONTROL_NAMES, LOSS_TOLERANCE_DEFAULT

__all__ = ["CODE_DEFAULT", "PEER_COUNT_MAX_DEFAULT", "RATE_BPS_DEFAULT", "FetchConfig", "ServeConfig"]

RATE_BPS_DEFAULT = 1_000_000_000
RATE_BPS_MIN = 8_000  # One symbol of the default size in 1.4 s; below that a transfer cannot be told from a dead one.
PEER_COUNT_MAX_DEFAULT = 256
LOSS_TOLERANCE_MAX = 0.5  # Beyond it two packets are sent for one that arrives, and nobody can say whose fault it is.
CODE_DEFAULT = "raptorq"


def _check_port(name: str, port: int, hint: str) -> None:
    if not 0 <= port <= 65_535:
        raise UsageError(f"{name} {port} is not a port number.", hint)


@dataclass(frozen=True, kw_only=True)
class ServeConfig:
    """A server: what it serves, where, and how fast.

    `rate_bps` caps all data packets together, in bits per second with their UDP, IPv4 and Ethernet headers. Below it
    `congestion_control` decides, which takes up to `loss_tolerance` of the packets to be lost by the link itself. Ports
    of 0 let the system choose.

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
    idle_exit_ns: int | None = None
    peer_count_max: int = PEER_COUNT_MAX_DEFAULT
    code: str = CODE_DEFAULT

    def __post_init__(self) -> None:
        hint = "Choose one between 1 and 65535, or 0 for any that is free."
        _check_port("The control port", self.port, hint)
        _check_port("The data port", self.data_port, hint)
        if self.port == self.data_port != 0:
            raise UsageError("The control port and the data port are the same.", "Give --data-port another number.")
        if not MTU_MIN <= self.mtu <= MTU_MAX:
            raise UsageError(f"An MTU of {self.mtu} cannot be used.", f"Choose one between {MTU_MIN} and {MTU_MAX}.")
        if self.rate_bps < RATE_BPS_MIN:
            raise UsageError(f"A rate of {self.rate_bps} bit/s is too low.", "Rates are bits per second: 100M, 2.5G.")
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
        if self.idle_exit_ns is not None and self.idle_exit_ns <= 0:
            raise UsageError("--idle-exit needs a time above zero.", "Give seconds, such as --idle-exit 60.")
        if self.peer_count_max < 1:
            raise UsageError("--max-peers needs at least one peer.", "Give a number of one or more.")
        if not self.paths:
            raise UsageError("There is nothing to serve.", "Name a file or a directory.")


@dataclass(frozen=True, kw_only=True)
class FetchConfig:
    """A fetch: from where, which object, to where.

    `out` names an existing directory to put the object in, or else the path that it gets; None is the current
    directory. `loss_test` is the fraction of data packets that the receiver throws away on purpose.

    Raises:
        UsageError: a value is out of range.
    """

    host: str
    name: str | None = None
    out: Path | None = None
    port: int = CONTROL_PORT_DEFAULT
    timeout_ns: int = 10_000_000_000
    wait: bool = False
    overwrite: bool = False
    open: bool = False
    loss_test: float = 0.0

    def __post_init__(self) -> None:
        _check_port("The port", self.port, "Choose one between 1 and 65535.")
        if self.port == 0:
            raise UsageError("Port 0 is not a port that a server has.", "Leave --port out, or give the server's.")
        if self.timeout_ns <= 0:
            raise UsageError("--timeout needs a time above zero.", "Give seconds, such as --timeout 10.")
        if not 0.0 <= self.loss_test < 1.0:
            raise UsageError(
                f"A loss of {self.loss_test:g} leaves nothing to receive.", "Give a fraction from 0 up to, but not, 1."
            )
