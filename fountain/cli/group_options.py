"""The options that name a group, the same for both commands: what one sends to, the others listen to."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fountain.cli.arguments import CommandParser, add_flag, add_value, nonempty, picked, refuse
from fountain.cli.units import parse_integer
from fountain.config import BROADCAST_ADDRESS, GroupConfig
from fountain.errors import UsageError
from fountain.limits import GROUP_PORT_DEFAULT

__all__ = ["FLEET_TITLE", "GROUP_NEEDED", "add_group_options", "read_group"]

FLEET_TITLE = "fleet options"
GROUP_NEEDED = "needs `group.address` or `group.is_broadcast`", "Name the group: `group.address` 239.63.30.1."


def add_group_options(parser: CommandParser, interface_help: str) -> argparse._ArgumentGroup:
    """Give `parser` a section of options for groups; the command adds its own to what is returned."""
    fleet = parser.add_argument_group(FLEET_TITLE)
    add_value(fleet, "group.address", "a multicast group: 239.63.30.1, or one of IPv6", nonempty, "ADDR")
    add_flag(fleet, "group.is_broadcast", "use broadcast, where multicast does not work")
    text = f"the broadcast address of the network (default {BROADCAST_ADDRESS})"
    add_value(fleet, "broadcast_address", text, nonempty, "ADDR")
    add_value(fleet, "group.interface", interface_help, nonempty, "IFACE", "-i")
    text = f"UDP port of the group, the same for all (default {GROUP_PORT_DEFAULT})"
    add_value(fleet, "group.port", text, parse_integer, "PORT")
    text = "the file with the key of the group: 32 bytes, raw or in hex"
    add_value(fleet, "group.key_path", text, lambda typed: Path(nonempty(typed)), "FILE")
    return fleet


def read_group(given: Mapping[str, Any]) -> GroupConfig | None:
    """The group that the options name, if any.

    Raises:
        UsageError: options contradict each other, or belong to a group that is not named.
    """
    values = picked(GroupConfig, given, "group.")
    is_broadcast = "is_broadcast" in values
    if is_broadcast and "address" in values:
        raise UsageError("`group.address` and `group.is_broadcast` cannot go together.", "Leave one of them out.")
    if not is_broadcast:
        refuse(given, ["broadcast_address"], "needs `group.is_broadcast`", "Add it.")
    if not is_broadcast and "address" not in values:
        refuse(given, [f"group.{name}" for name in values], *GROUP_NEEDED)
        return None
    values.setdefault("address", given.get("broadcast_address", BROADCAST_ADDRESS))
    return GroupConfig(**values)
