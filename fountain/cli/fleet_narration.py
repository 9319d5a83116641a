"""Events of groups in words, for `fountain.cli.narration`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from typing import Any

from fountain.cli.firewall import firewall_lines
from fountain.cli.labels import peer_label
from fountain.cli.options import command_line
from fountain.cli.units import format_duration, format_loss, format_percent, format_rate, format_size
from fountain.config import BROADCAST_ADDRESS
from fountain.events import (
    AirTime,
    Announced,
    AskedToLeave,
    Event,
    GroupOpened,
    GroupSummary,
    HookFinished,
    HookReported,
    InterfaceChanged,
    Listening,
    ReceiverOutcome,
    ReceiverResult,
)
from fountain.limits import GROUP_PORT_DEFAULT
from fountain.sentences import reason_of

__all__ = ["fleet_writers", "group_command"]

NAME_SHOWN_MAX = 5
DONE_COUNT_MAX = 8  # A summary lists the slowest of those that are done, and all that have a reason.


def fleet_writers(platform: str) -> dict[type[Event], Callable[[Any], list[str]]]:
    """For each event of groups, the function that writes its lines."""
    return {
        AirTime: _air_time,
        Announced: _announced,
        AskedToLeave: _asked_to_leave,
        GroupOpened: lambda event: _group_opened(event, platform),
        GroupSummary: _group_summary,
        HookFinished: _hook_finished,
        HookReported: _hook_reported,
        InterfaceChanged: _interface_changed,
        Listening: _listening,
    }


def group_command(event: GroupOpened) -> str:
    """The command that receives from a group, with just the options that it needs."""
    from fountain.net.group import Group  # Loads numpy, which --help must not.
    from fountain.net.interfaces import Interface

    given: dict[str, object] = {}
    if ip_address(event.group).is_multicast:
        given["group.address"] = event.group
        if Group(event.group, event.port, Interface(event.interface, 0)).is_source_specific:
            given["group.source"] = "ADDR"
    else:
        given["group.is_broadcast"] = True
        if event.group != BROADCAST_ADDRESS:
            given["broadcast_address"] = event.group
    if event.port != GROUP_PORT_DEFAULT:
        given["group.port"] = event.port
    if event.is_keyed:
        given["group.key_path"] = "FILE"
    return command_line("fountain-fetch", given, *["NAME"] * (len(event.names) > 1))


# --- Both roles --------------------------------------------------------------------------------------------


def _interface_changed(event: InterfaceChanged) -> list[str]:
    if event.is_usable:
        return [f"{event.interface} can be used again: continuing"]
    return [f"warning: {event.reason} Waiting for it."]


# --- Server ------------------------------------------------------------------------------------------------


def _group_opened(event: GroupOpened, platform: str) -> list[str]:
    more = len(event.names) - NAME_SHOWN_MAX
    names = ", ".join(event.names[:NAME_SHOWN_MAX]) + (f" and {more} more" if more > 0 else "")
    way = f"one-way at {format_rate(event.rate_bps)}bit/s, " if event.is_oneway else ""
    protection = "with a key" if event.is_keyed else "without a key"
    lines = [
        f"to group {event.group}, UDP port {event.port}, by {event.interface or 'the default interface'}: {names}",
        f"  {way}{protection}",
    ]
    firewall = firewall_lines(platform, event.port)
    if firewall:
        lines += ["", "If a firewall on a receiver blocks the group, run there the command for that firewall:"]
        lines += [f"    {line}" for line in firewall]
    return [*lines, "", "On each receiver:", f"    {group_command(event)}", ""]


def _air_time(event: AirTime) -> list[str]:
    sure = f"{event.confidence * 100:g}% sure"
    passes = ""  # That is for one; a stream may have more.
    if event.pass_count is not None:
        passes = "; one pass is sent" if event.pass_count == 1 else f"; {event.pass_count:,} passes are sent"
    needed = f"needs {format_duration(event.seconds)} of sending for {format_loss(event.loss)} loss ({sure})"
    return [f"{event.name} {needed}{passes}"]


def _hook_reported(event: HookReported) -> list[str]:
    how = "ran its hook" if event.is_success else "says that its hook failed"
    return [f"{peer_label(event)} {how} for {event.name}"]


def _group_summary(event: GroupSummary) -> list[str]:
    if not event.results:
        return [
            "no receiver of the group ever reported: if one shows that it fetches, a firewall here blocks its reports"
        ]
    counts = Counter(result.state for result in event.results)
    totals = ", ".join(f"{counts[state]:,} {state.value}" for state in ReceiverOutcome if counts[state])
    first_count = sum(map(_had_it, event.results))
    if first_count:  # Nothing shows that these were sent anything.
        totals += f"; {first_count:,} said so in the first report"
    others = [
        result
        for state in ReceiverOutcome
        for result in event.results
        if result.state is state and (state is not ReceiverOutcome.DONE or result.reason)
    ]
    done = sorted(
        (result for result in event.results if result.state is ReceiverOutcome.DONE and not result.reason),
        key=lambda result: result.duration_s or 0.0,
        reverse=True,
    )
    named = len({result.name for result in event.results}) > 1
    width = max(len(state.value) for state in counts)
    lines = [f"receivers: {totals}", *_rows(others, width, named)]
    if len(done) > DONE_COUNT_MAX:
        lines.append(f"  the slowest of {len(done):,} others that are done:")
    return lines + _rows(done[:DONE_COUNT_MAX], width, named)


def _rows(results: Sequence[ReceiverResult], width: int, is_named: bool) -> list[str]:
    return [f"  {result.state.value:<{width}}  {_row(result, is_named)}" for result in results]


def _had_it(result: ReceiverResult) -> bool:
    """Whether a receiver had the object when it was first heard: from before, or as it says."""
    return result.state is ReceiverOutcome.DONE and result.duration_s == 0


def _row(result: ReceiverResult, is_named: bool) -> str:
    name = f" {result.name}" if is_named else ""
    if result.state is not ReceiverOutcome.DONE:
        how = f" at {format_percent(result.fraction)},"
    elif _had_it(result):
        how = " in its first report,"
    else:
        how = "" if result.duration_s is None else f" after {format_duration(result.duration_s)},"
    reason = f": {reason_of(result)}" if result.reason else ""
    return f"{peer_label(result)}{name}{how} {format_loss(result.loss)} loss{reason}"


# --- Receiver ----------------------------------------------------------------------------------------------


def _listening(event: Listening) -> list[str]:
    return [f"listening to {event.group}, UDP port {event.port}, on {event.interface or 'the default interface'}"]


def _announced(event: Announced) -> list[str]:
    # What a server announces is its rate of the moment: with congestion control a small one, at the start.
    way = f", one-way at {format_rate(event.rate_bps)}bit/s" if event.is_oneway else ""
    return [f"{event.address} announces {event.name} ({format_size(event.size)}){way}"]


def _asked_to_leave(event: AskedToLeave) -> list[str]:
    return [f"leaving the group, continuing by unicast: {reason_of(event)}"]


def _hook_finished(event: HookFinished) -> list[str]:
    if event.exit_status == 0:
        return [f"hook done for {event.path}"]
    again = ", and is run again" if event.is_run_again else ""
    return [f"warning: the hook ended with status {event.exit_status} for {event.path}{again}: {event.command}"]
