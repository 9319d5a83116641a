"""What a laboratory is: names, links, the places of things; kept in a file in /run as long as it stands."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.lab.link import LabError, Link

__all__ = ["NAMESPACE_PREFIX", "STATE_FOLDER", "State", "mac", "process_started", "state_from"]

STATE_FOLDER = Path("/run/fountain-lab")
NAMESPACE_PREFIX = "fountain-"


@dataclass(frozen=True)
class State:
    """All that is needed to find a laboratory again and to take it down; kept in a file as long as it stands."""

    name: str
    kind: str
    hosts: tuple[str, ...]  # the first is near, the others far
    forward: Link
    back: Link
    mtu: int
    owner: int  # process that takes it down; 0 when it stays until `down`
    owner_started: int

    def namespace(self, host: str) -> str:
        return f"{NAMESPACE_PREFIX}{self.name}-{host}"

    @property
    def hub(self) -> str:
        return self.namespace("hub")

    @property
    def relayed(self) -> bool:
        return self.forward.needs_relay or self.back.needs_relay

    def index(self, host: str) -> int:
        if host not in self.hosts:
            raise LabError(f"there is no host {host!r}: {', '.join(self.hosts)}")
        return self.hosts.index(host)

    def address(self, host: str, family: int = 4) -> str:
        number = self.index(host) + 1
        return f"10.0.0.{number}" if family == 4 else f"fd00::{number:x}"

    def port(self, host: str) -> str:
        """The bridge's port towards the host, where its queue is."""
        index = self.index(host)
        return "relay1" if self.relayed and index == 0 else f"p{index}"

    def towards(self, host: str) -> Link:
        return self.forward if self.index(host) else self.back

    @property
    def file(self) -> Path:
        return STATE_FOLDER / f"{self.name}.json"

    @property
    def counters_file(self) -> Path:
        return STATE_FOLDER / f"{self.name}.relay"

    @property
    def log_file(self) -> Path:
        return STATE_FOLDER / f"{self.name}.log"


def state_from(fields: dict[str, Any]) -> State:
    """The state that `asdict` and JSON have made plain."""
    links = {"forward": Link(**fields["forward"]), "back": Link(**fields["back"])}
    return State(**{**fields, **links, "hosts": tuple(fields["hosts"])})


def mac(index: int) -> str:
    return f"02:00:00:00:00:{index + 1:02x}"


def process_started(pid: int) -> int:
    """When the process started, in ticks: a later one with the same number has another. 0: no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError):
        return 0
