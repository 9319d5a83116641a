"""The options that name a group, the same for both commands: what one sends to, the others listen to."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

from fountain.cli.arguments import CommandParser, named, nonempty
from fountain.cli.units import parse_integer
from fountain.config import BROADCAST_ADDRESS_DEFAULT, GroupConfig
from fountain.errors import UsageError
from fountain.limits import GROUP_PORT_DEFAULT

__all__ = ["FLEET_TITLE", "add_group_options", "read_group", "refuse"]

FLEET_TITLE = "fleet options"


def add_group_options(parser: CommandParser, interface_help: str) -> argparse._ArgumentGroup:
    """Give `parser` a section of options for groups; the command adds its own to what is returned."""
    fleet = parser.add_argument_group(FLEET_TITLE)
    add = fleet.add_argument
    add("--group", metavar="ADDR", type=nonempty, help="a multicast group: 239.63.30.1, or one of IPv6")
    add("--broadcast", action="store_true", help="everybody on the network, where it has no multicast")
    add(
        "--broadcast-address",
        metavar="ADDR",
        type=nonempty,
        help=f"the broadcast address of the network (default {BROADCAST_ADDRESS_DEFAULT})",
    )
    add("-i", "--interface", metavar="IFACE", type=nonempty, help=interface_help)
    add(
        "--group-port",
        metavar="PORT",
        type=named("--group-port", parse_integer),
        help=f"UDP port of the group, the same for all (default {GROUP_PORT_DEFAULT})",
    )
    add("--key", metavar="FILE", type=nonempty, help="a key that all have: 32 octets, raw or in hex")
    return fleet


def read_group(options: argparse.Namespace, source: str = "") -> GroupConfig | None:
    """The group that the options name, if any.

    Raises:
        UsageError: options contradict each other, or belong to a group that is not named.
    """
    if options.broadcast and options.group is not None:
        raise UsageError("--group and --broadcast cannot go together.", "Leave one of them out.")
    if not options.broadcast:
        refuse("needs --broadcast", "Add it.", [("--broadcast-address", options.broadcast_address)])
    if not options.broadcast and options.group is None:
        refuse(
            "needs --group or --broadcast",
            "Name the group: --group 239.63.30.1.",
            [("--interface", options.interface), ("--group-port", options.group_port), ("--key", options.key)],
        )
        return None
    return GroupConfig(
        address=options.group or options.broadcast_address or BROADCAST_ADDRESS_DEFAULT,
        is_broadcast=options.broadcast,
        interface=options.interface or "",
        port=GROUP_PORT_DEFAULT if options.group_port is None else options.group_port,
        source=source,
        key_path=None if options.key is None else Path(options.key),
    )


def refuse(what: str, hint: str, given: Iterable[tuple[str, object]]) -> None:
    """Refuse the first of `given` (option, value) that has a value.

    Raises:
        UsageError: one has.
    """
    for option, value in given:
        if value is not None and value is not False:
            raise UsageError(f"{option} {what}.", hint)
