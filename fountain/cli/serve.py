"""`fountain-serve`: serve files and directories to each peer that asks, or to a whole group at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fountain.cli.arguments import CommandParser, add_flag, add_value, nonempty, parse_path, picked, refuse
from fountain.cli.command import Output, run_engine, run_program
from fountain.cli.environment import Environment, ServeOutcome
from fountain.cli.exit_status import ExitStatus
from fountain.cli.group_options import GROUP_NEEDED, add_group_options, read_group
from fountain.cli.labels import missing_names
from fountain.cli.results import ResultLines
from fountain.cli.units import format_rate, parse_fraction, parse_integer, parse_rate, parse_seconds
from fountain.config import (
    CODE_DEFAULT,
    GROUP_CONTROL_DEFAULT,
    GROUP_CONTROL_NAMES,
    GROUP_RATE_BPS_DEFAULT,
    PEER_COUNT_MAX_DEFAULT,
    PLAN_LOSS_DEFAULT,
    RATE_BPS_DEFAULT,
    FleetConfig,
    OnewayConfig,
    ServeConfig,
    ServeTrustConfig,
    dependent_defaults,
)
from fountain.errors import PeersMissingError
from fountain.events import Observer
from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT, MTU_DEFAULT
from fountain.protocol.rate import CONTROL_DEFAULT, CONTROL_NAMES, LOSS_TOLERANCE_DEFAULT

__all__ = ["main", "serve_parser"]

PROG = "fountain-serve"
EXAMPLES = (
    ("fountain-serve image.iso", "until Ctrl-C"),
    ("fountain-serve photos/ notes.txt", "several objects, fetched by name"),
    ("fountain-serve --expect 3 image.iso", "until three peers have it"),
    ("fountain-serve --rate 200M image.iso", "at most 200 Mbit/s in all"),
    ("fountain-serve --pair image.iso", "to one person, who types its code"),
    ("fountain-serve --group 239.63.30.1 --expect 30 image.iso", "to thirty receivers at once"),
    ("fountain-serve --group 239.63.30.1 --oneway image.iso", "over a link without a way back"),
)
MISSING_SHOWN_MAX = 20  # Receivers that an error names; the summary has all.


def serve_parser() -> CommandParser:
    """The options of fountain-serve."""
    parser = CommandParser(
        PROG,
        usage=f"{PROG} [OPTIONS] PATH...",
        description="Serve files and directories over UDP to every peer that runs fountain-fetch.",
        arguments=(("PATH", "a file or a directory tree; each becomes one object"),),
        is_last_repeated=True,
        examples=EXAMPLES,
    )
    add_value(parser, "bind", "serve on this address only (default: all)", str, "ADDR")
    text = f"UDP port for requests of peers, 0 for any free port (default {CONTROL_PORT_DEFAULT})"
    add_value(parser, "port", text, parse_integer)
    text = f"UDP port that data comes from (default {DATA_PORT_DEFAULT}, or 0 with --port 0)"
    add_value(parser, "data_port", text, parse_integer, "PORT")
    _add_rate_options(parser)
    add_value(parser, "mtu", f"largest IP packet in bytes (default {MTU_DEFAULT})", parse_integer)
    add_flag(
        parser,
        "skip_unportable",
        "leave out entries of a directory that cannot be sent (sockets, devices, unreadable files), and serve the rest",
    )
    add_flag(parser, "open", "do not encrypt data packets; peers must use --open too")
    add_value(parser, "expect", "exit once N peers have the object", parse_integer, "N")
    add_value(parser, "idle_exit_s", "exit when no peer was served for this time", parse_seconds, "SECONDS")
    text = f"refuse more peers than this at once (default {PEER_COUNT_MAX_DEFAULT})"
    add_value(parser, "peer_count_max", text, parse_integer, "N")
    text = f"encode with this code: raptorq, lt, or an installed one (default {CODE_DEFAULT})"
    add_value(parser, "code", text, nonempty, "NAME")
    text = "serve PATH as the release that fountain-sign made of it: PATH.release; give it once for each release"
    add_value(parser, "releases", text, parse_path, "FILE", is_repeated=True)
    text = "prove to each peer that this server has the key in this file, which ssh-keygen made"
    add_value(parser, "identity", text, parse_path, "FILE")
    text = "serve only peers that prove a key in this file (ssh's authorized_keys); it needs --identity"
    add_value(parser, "allow", text, parse_path, "FILE")
    text = "draw a code, and serve PATH to the one who types it; it cannot go with --open, --expect or a group"
    add_flag(parser, "pair", text)
    parser.add_common_options()
    _add_fleet_options(parser)
    return parser


def _add_rate_options(parser: CommandParser) -> None:
    text = (
        f"most bits per second for all peers together: 100M, 2.5G (default {format_rate(RATE_BPS_DEFAULT)}, "
        f"or {format_rate(GROUP_RATE_BPS_DEFAULT)} with a group); "
        "with a group, the group may use it, and all single peers may use it once more"
    )
    add_value(parser, "rate_bps", text, parse_rate)
    text = (
        f"congestion control: {' or '.join(CONTROL_NAMES)} (default {CONTROL_DEFAULT}), for the stream to a group "
        f"{' or '.join(GROUP_CONTROL_NAMES)} (default {GROUP_CONTROL_DEFAULT}); fixed always "
        "sends at --rate"
    )
    add_value(parser, "congestion_control", text, nonempty, "NAME")
    text = (
        f"share of packets that the link may lose without slowing the stream down (default {LOSS_TOLERANCE_DEFAULT:g})"
    )
    add_value(parser, "loss_tolerance", text, parse_fraction, "FRACTION")


def _add_fleet_options(parser: CommandParser) -> None:
    fleet = add_group_options(parser, "name or address of the interface to send by (default: the only one that fits)")
    add_value(fleet, "ttl", "how many networks a group may span (default 1)", parse_integer, "N")
    add_value(fleet, "wait_count", "start when N receivers are there (default 1)", parse_integer, "N")
    text = "after this time start without the missing receivers"
    add_value(fleet, "wait_time_s", text, parse_seconds, "SECONDS")
    text = "ask receivers below this rate to leave the group, and serve them by unicast"
    add_value(fleet, "min_rate_bps", text, parse_rate, "RATE")
    add_flag(fleet, "oneway", "send without any answers, until you stop it or one of these ends it")
    add_value(fleet, "duration_s", "end the one-way stream after this time", parse_seconds, "SECONDS")
    add_value(fleet, "pass_count", "end it after N passes over all blocks", parse_integer, "N")
    text = "end it after the object and this share of repair symbols: 0.3"
    add_value(fleet, "overhead", text, parse_fraction, "FRACTION")
    text = f"the loss that the printed air time assumes (default {PLAN_LOSS_DEFAULT:g})"
    add_value(fleet, "plan_loss", text, parse_fraction, "FRACTION")


def main(argv: Sequence[str] | None = None, env: Environment | None = None) -> int:
    """Run the command; returns its exit status."""
    environment = Environment.of_process() if env is None else env
    words = sys.argv[1:] if argv is None else argv
    return run_program(PROG, environment, lambda: _serve(words, environment))


def _serve(argv: Sequence[str], env: Environment) -> ExitStatus:
    config, output = _read(argv)
    has_results = config.fleet is not None and config.fleet.oneway is None and not output.is_json
    results = ResultLines(env, is_quiet=output.is_quiet)
    was_stopped = False

    def work(observer: Observer, stop: threading.Event) -> None:
        nonlocal was_stopped
        outcome = env.serve(config, observer, stop)
        missing = _missing(outcome)
        was_stopped = stop.is_set() and not _is_complete(outcome)
        if missing:
            raise PeersMissingError(missing, "Serve again; receivers that are missing continue where they stopped.")

    status = run_engine(PROG, env, output, work, *[results] * has_results)
    results.write()
    return ExitStatus.INTERRUPTED if was_stopped else status


def _is_complete(outcome: ServeOutcome) -> bool:
    return outcome.expected_count is not None and outcome.done_count >= outcome.expected_count


def _missing(outcome: ServeOutcome) -> str:
    """Who should have the object and has it not, in a sentence; empty when nobody is missing."""
    missing = missing_names(outcome.results)
    if _is_complete(outcome) or (outcome.expected_count is None and not missing):
        return ""
    shown = ", ".join(missing[:MISSING_SHOWN_MAX])
    more = len(missing) - MISSING_SHOWN_MAX
    names = f"{shown} and {more} more" if more > 0 else shown
    if outcome.expected_count is None:
        return f"Some receivers do not have everything; not done: {names}."
    counted = f"{outcome.done_count} of {outcome.expected_count} expected peers have the object"
    return f"{counted}; not done: {names}." if names else f"{counted}."


def _read(argv: Sequence[str]) -> tuple[ServeConfig, Output]:
    given, paths = serve_parser().parse(argv)
    fleet = _read_fleet(given)
    values = {**picked(ServeConfig, given), "paths": tuple(map(Path, paths)), "fleet": fleet}
    values["trust"] = ServeTrustConfig(**picked(ServeTrustConfig, given))
    if fleet is not None:
        values.pop("congestion_control", None)  # It is for the group; single peers have theirs.
    config = ServeConfig(**{**dependent_defaults(values), **values})
    return config, Output(is_json=given["json"], is_quiet=given["quiet"])


def _read_fleet(given: Mapping[str, Any]) -> FleetConfig | None:
    group, oneway = read_group(given), picked(OnewayConfig, given)
    values = picked(FleetConfig, given)
    if group is None:
        refuse({**values, **oneway}, [name for name in given if name != "congestion_control"], *GROUP_NEEDED)
        return None
    if "oneway" not in given:
        refuse(given, oneway, "needs `oneway`", "Receivers that answer end the stream by themselves: `expect` N.")
    values["oneway"] = OnewayConfig(**oneway) if "oneway" in given else None
    return FleetConfig(**{**values, "group": group})
