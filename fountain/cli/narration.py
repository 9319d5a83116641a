"""Events in words: the lines that a person reads, the same on a terminal, in a pipe and in a log.

Displays show snapshots (progress). This module has a line for every event that happens once.
"""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address
from typing import Any

from fountain.cli.firewall import firewall_lines
from fountain.cli.fleet_narration import fleet_writers
from fountain.cli.labels import counted, peer_label
from fountain.cli.options import command_line
from fountain.cli.place import object_url
from fountain.cli.text import escape_controls
from fountain.cli.units import format_duration, format_loss, format_percent, format_rate, format_size
from fountain.events import (
    Event,
    Fetched,
    LeftOut,
    Listed,
    ObjectServed,
    Offered,
    PairCodeDrawn,
    PairCodeProved,
    PairCodeRefused,
    PeerFinished,
    PeerGone,
    PeerJoined,
    PeerRefused,
    Preparing,
    Reconnecting,
    Resumed,
    Searching,
    ServerProved,
    Serving,
    Stopped,
    Warned,
)
from fountain.limits import CONTROL_PORT_DEFAULT
from fountain.sentences import reason_of

__all__ = ["Narrator", "fetch_command", "left_out_lines"]

COMMAND_COUNT_MAX = 5  # Objects that get a command line of their own when serving starts.
ADDRESS_SHOWN_MAX = 6
RATE_DURATION_S_MIN = 0.1  # Below this, a rate shows how long an answer takes, and nothing about the link,
RATE_SIZE_MIN = 100_000  # as of fewer octets.
LISTED_COUNT_MAX = 50


def fetch_command(host: str, name: str | None, port: int, is_open: bool, *, is_paired: bool = False) -> str:
    """The command that fetches from a server, with just the options that it needs."""
    given: dict[str, object] = {"pair": True} if is_paired else {}
    if port != CONTROL_PORT_DEFAULT:
        given["port"] = port
    if is_open:
        given["open"] = True
    return command_line("fountain-fetch", given, host, *([] if name is None else [name]))


def left_out_lines(event: LeftOut) -> list[str]:
    """The lines about entries that are not in the object. Both commands print them, also with --quiet."""
    entries = "entry of" if event.count == 1 else "entries of"
    by_whom = "left out" if event.examples else "left out by the server"
    shown = [f"   {example}" for example in event.examples]
    more = event.count - len(event.examples)
    if event.examples and more:
        shown.append(f"   and {more:,} more")
    return [f"warning: {event.count:,} {entries} {event.name} {by_whom}", *shown]


def _is_loopback(address: str) -> bool:
    try:
        return ip_address(address.partition("%")[0]).is_loopback
    except ValueError:
        return False


class Narrator:
    """Turns events into lines. Remembers just what later lines need: the objects, and what was said last."""

    def __init__(self, platform: str) -> None:
        self._platform = platform
        self._objects: list[ObjectServed] = []
        self._preparing = ""
        self._code = ""
        self._writers: dict[type[Event], Callable[[Any], list[str]]] = {
            PairCodeDrawn: self._code_drawn,
            PairCodeProved: self._code_proved,
            PairCodeRefused: self._code_refused,
            Fetched: self._fetched,
            LeftOut: self._left_out,
            Listed: self._listed,
            ObjectServed: self._object_served,
            Offered: self._offered,
            PeerFinished: self._peer_finished,
            PeerGone: self._peer_gone,
            PeerJoined: self._peer_joined,
            PeerRefused: self._peer_refused,
            Preparing: self._prepared,
            Reconnecting: self._reconnecting,
            Resumed: self._resumed,
            Searching: self._searching,
            ServerProved: self._server_proved,
            Serving: self._serving,
            Stopped: self._stopped,
            Warned: self._warned,
            **fleet_writers(platform),
        }

    def lines(self, event: Event) -> list[str]:
        """The lines for `event`, safe to show. Snapshots and repeated events have none."""
        write = self._writers.get(type(event))
        return [] if write is None else [escape_controls(line) for line in write(event)]

    # --- Both roles ----------------------------------------------------------------------------------------

    def _prepared(self, event: Preparing) -> list[str]:
        if event.what == self._preparing:
            return []
        self._preparing = event.what
        return [event.what]

    def _warned(self, event: Warned) -> list[str]:
        return [f"warning: {event.message}", *([f"   hint: {event.hint}"] if event.hint else [])]

    def _left_out(self, event: LeftOut) -> list[str]:
        return left_out_lines(event)

    def _stopped(self, event: Stopped) -> list[str]:
        return [f"stopped: {reason_of(event)}"]

    # --- Server --------------------------------------------------------------------------------------------

    def _object_served(self, event: ObjectServed) -> list[str]:
        self._objects.append(event)
        files = "" if event.file_count == 1 else f" in {counted(event.file_count, 'file')}"
        release = f" as {event.release}" if event.release else ""
        return [f"serving {event.name}{release} ({format_size(event.size)}{files})"]

    def _serving(self, event: Serving) -> list[str]:
        shown = ", ".join(event.addresses[:ADDRESS_SHOWN_MAX])
        more = len(event.addresses) - ADDRESS_SHOWN_MAX
        protection = "open: packets are checked, not encrypted" if event.open else "sealed"
        lines = [
            f"     on {shown}" + (f" and {more} more" if more > 0 else ""),
            f"  UDP ports {event.port} (control) and {event.data_port} (data), {protection}",
            f"  at most {format_rate(event.rate_bps)}bit/s",
        ]
        if event.server_key:
            lines.append(f"  server key {event.server_key}")
        is_local = bool(event.addresses) and all(map(_is_loopback, event.addresses))
        firewall = firewall_lines(self._platform, event.port, event.data_port)
        if firewall and not is_local:
            lines += ["", "If a firewall on this machine blocks these ports, run the command for your firewall:"]
            lines += [f"    {line}" for line in firewall]
        if event.is_keyed:  # Nobody gets it without the group's command, which follows.
            return [*lines, ""]
        lines += ["", "In another terminal:" if is_local else "On the other machine:"]
        lines += [f"    {line}" for line in self._commands(event)]
        if self._code:
            lines += ["and there type this code, which is good for one person and one transfer:", f"    {self._code}"]
        if event.addresses and "%" in event.addresses[0]:
            lines.append("    (behind the %: the interface by which that machine reaches this one)")
        urls = self._urls(event)
        if urls:
            lines += ["Or with a URL that takes only this object, from any server:"]
            lines += [f"    {line}" for line in urls]
        return [*lines, ""]

    def _commands(self, event: Serving) -> list[str]:
        host = event.addresses[0] if event.addresses else "HOST"
        names: list[str | None] = [None]
        if len(self._objects) > COMMAND_COUNT_MAX:
            names = ["NAME"]
        elif len(self._objects) > 1:
            names = [served.name for served in self._objects]
        is_paired = bool(self._code)
        return [fetch_command(host, name, event.port, event.open, is_paired=is_paired) for name in names]

    def _urls(self, event: Serving) -> list[str]:
        """Commands that take an object by its id; none where there are so many objects that nobody would read them."""
        host = event.addresses[0] if event.addresses else "HOST"
        given = {"open": True} if event.open else {}
        objects = self._objects if len(self._objects) <= COMMAND_COUNT_MAX and not self._code else []
        return [
            command_line("fountain-fetch", given, object_url(host, event.port, served.name, served.object_id))
            for served in objects
        ]

    def _name_of(self, name: str) -> str:
        """The object's name, where there are several objects."""
        return f" {name}" if len(self._objects) > 1 else ""

    def _peer_joined(self, event: PeerJoined) -> list[str]:
        resumed = f", resuming at {format_percent(event.resumed_fraction)}" if event.resumed_fraction > 0 else ""
        code = "knows the code, and " if self._code else ""
        return [f"{peer_label(event)} {code}fetches{self._name_of(event.name) or ' the object'}{resumed}"]

    def _peer_finished(self, event: PeerFinished) -> list[str]:
        what = self._name_of(event.name) or " the object"
        after = f"after {format_duration(event.duration_s)}, {format_loss(event.loss)} loss"
        return [f"{peer_label(event)} has{what}, verified, {after}"]

    def _peer_gone(self, event: PeerGone) -> list[str]:
        where = f"{self._name_of(event.name)} at {format_percent(event.fraction)}"
        return [f"{peer_label(event)} left{where}: {reason_of(event)}"]

    def _peer_refused(self, event: PeerRefused) -> list[str]:
        count = f" ({event.count:,} so far)" if event.count > 1 else ""
        return [f"{event.address} refused: {reason_of(event)}{count}"]

    def _code_drawn(self, event: PairCodeDrawn) -> list[str]:
        self._code = event.code  # Shown with the command that asks for it.
        return []

    def _code_refused(self, event: PairCodeRefused) -> list[str]:
        left = f"{event.left_count} more, and the code is void" if event.left_count else "the code is void now"
        return [f"{event.address} gave a wrong code: {left}"]

    # --- Client --------------------------------------------------------------------------------------------

    def _searching(self, event: Searching) -> list[str]:
        return [f"asking {event.host}, port {event.port}{', until it answers' if event.is_waiting else ''}"]

    def _server_proved(self, event: ServerProved) -> list[str]:
        if not event.kept_in:
            return []  # It is the one that was expected, or nobody needs to know it again.
        return [f"the server key {event.key} of {event.host} is new, and is kept in {event.kept_in}"]

    def _code_proved(self, event: PairCodeProved) -> list[str]:
        return [f"{event.host} knows the code: nobody else can read or change what comes"]

    def _listed(self, event: Listed) -> list[str]:
        shown, more = event.objects[:LISTED_COUNT_MAX], len(event.objects) - LISTED_COUNT_MAX
        width = max((len(format_size(size)) for _, size in shown), default=0)
        lines = [f"  {format_size(size):>{width}}  {name}" for name, size in shown]
        return lines if more <= 0 else [*lines, f"  and {more:,} more"]

    def _offered(self, event: Offered) -> list[str]:
        protection = "sealed" if event.sealed else "open"
        what = f"{event.name} ({format_size(event.size)})"
        lines = [f"fetching {what} from {event.address} ({protection}) to {event.destination}"]
        return [*lines, f"  {event.release}, signed by the key {event.signer}"] if event.release else lines

    def _resumed(self, event: Resumed) -> list[str]:
        return [f"resuming: {format_size(event.verified_size)} of {format_size(event.total_size)} are here already"]

    def _reconnecting(self, event: Reconnecting) -> list[str]:
        return [f"reconnecting: {reason_of(event)}"]

    def _fetched(self, event: Fetched) -> list[str]:
        what = f"{event.path} ({format_size(event.size)})"
        fetched_size = event.rate_bps * event.duration_s / 8  # Without what stood there already.
        is_telling = event.duration_s >= RATE_DURATION_S_MIN and fetched_size >= RATE_SIZE_MIN
        rate = f" at {format_rate(event.rate_bps)}bit/s" if is_telling else ""
        return [f"fetched {what} in {format_duration(event.duration_s)}{rate}, {format_loss(event.loss)} loss"]
