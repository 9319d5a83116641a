"""`fountain-serve`: serve files and directories to whoever asks, or to a whole group at once."""

from __future__ import annotations

import argparse
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from fountain.cli.arguments import CommandParser, named, nonempty
from fountain.cli.command import Output, run_engine, run_program
from fountain.cli.environment import Environment, ServeOutcome
from fountain.cli.exit_status import ExitStatus
from fountain.cli.group_options import add_group_options, read_group, refuse
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
)
from fountain.errors import PeersMissingError, UsageError
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
    ("fountain-serve --group 239.63.30.1 --expect 30 image.iso", "to thirty at once"),
    ("fountain-serve --group 239.63.30.1 --oneway image.iso", "where nothing comes back"),
)
MISSING_COUNT_MAX = 20  # Receivers that an error names; the summary has all.


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
    add = parser.add_argument
    add("--bind", metavar="ADDR", default="", help="serve on this address only (default: all)")
    add(
        "--port",
        type=named("--port", parse_integer),
        default=CONTROL_PORT_DEFAULT,
        help=f"UDP port that peers ask on, 0 for any that is free (default {CONTROL_PORT_DEFAULT})",
    )
    add(
        "--data-port",
        metavar="PORT",
        type=named("--data-port", parse_integer),
        help=f"UDP port that data comes from (default {DATA_PORT_DEFAULT}, or 0 with --port 0)",
    )
    _add_rate_options(parser)
    add(
        "--mtu",
        type=named("--mtu", parse_integer),
        default=MTU_DEFAULT,
        help=f"largest IP packet in octets (default {MTU_DEFAULT})",
    )
    add(
        "--skip-unportable",
        action="store_true",
        help="leave out of a directory what cannot travel (sockets, devices, unreadable files), and serve the rest",
    )
    add("--open", action="store_true", help="do not encrypt data packets; peers must say --open too")
    add("--expect", metavar="N", type=named("--expect", parse_integer), help="exit once N peers have the object")
    add(
        "--idle-exit",
        metavar="SECONDS",
        type=named("--idle-exit", parse_seconds),
        help="exit when nobody was served for so long",
    )
    add(
        "--max-peers",
        metavar="N",
        type=named("--max-peers", parse_integer),
        default=PEER_COUNT_MAX_DEFAULT,
        help=f"refuse more peers than this at once (default {PEER_COUNT_MAX_DEFAULT})",
    )
    add(
        "--code",
        metavar="NAME",
        type=named("--code", nonempty),
        default=CODE_DEFAULT,
        help=f"encode with this code: raptorq, lt, or an installed one (default {CODE_DEFAULT})",
    )
    parser.add_common_options()
    _add_fleet_options(parser)
    return parser


def _add_rate_options(parser: CommandParser) -> None:
    add = parser.add_argument
    add(
        "--rate",
        type=named("--rate", parse_rate),
        help=f"most bits per second for all peers together: 100M, 2.5G (default {format_rate(RATE_BPS_DEFAULT)}, "
        f"or {format_rate(GROUP_RATE_BPS_DEFAULT)} with a group); a group has as much again for itself",
    )
    add(
        "--cc",
        metavar="NAME",
        choices=(*CONTROL_NAMES, *(name for name in GROUP_CONTROL_NAMES if name not in CONTROL_NAMES)),
        help=f"congestion control: {' or '.join(CONTROL_NAMES)} (default {CONTROL_DEFAULT}), of the stream to a group "
        f"{' or '.join(GROUP_CONTROL_NAMES)} (default {GROUP_CONTROL_DEFAULT}); fixed sends at --rate whatever else is "
        "on the way",
    )
    add(
        "--loss-tolerance",
        metavar="FRACTION",
        type=named("--loss-tolerance", parse_fraction),
        default=LOSS_TOLERANCE_DEFAULT,
        help=f"most packets that the link itself may lose without slowing down (default {LOSS_TOLERANCE_DEFAULT:g})",
    )


def _add_fleet_options(parser: CommandParser) -> None:
    fleet = add_group_options(parser, "name or address of what to send by (default: the only one that fits)")
    add = fleet.add_argument
    add("--ttl", metavar="N", type=named("--ttl", parse_integer), help="how many networks a group may span (default 1)")
    add(
        "--wait",
        metavar="N",
        type=named("--wait", parse_integer),
        help="start once so many receivers are there (default 1)",
    )
    add(
        "--wait-time",
        metavar="SECONDS",
        type=named("--wait-time", parse_seconds),
        help="wait no longer than that, and start with those that are there",
    )
    add(
        "--min-rate",
        metavar="RATE",
        type=named("--min-rate", parse_rate),
        help="below that, ask the slowest to leave the group, and serve them by themselves",
    )
    add("--oneway", action="store_true", help="nothing comes back: send until stopped, or until one of these ends it")
    add(
        "--duration",
        metavar="SECONDS",
        type=named("--duration", parse_seconds),
        help="end the one-way stream after that",
    )
    add("--passes", metavar="N", type=named("--passes", parse_integer), help="end it after so many times all blocks")
    add(
        "--overhead",
        metavar="FRACTION",
        type=named("--overhead", parse_fraction),
        help="end it with this share more than the object: 0.3",
    )
    add(
        "--plan-loss",
        metavar="FRACTION",
        type=named("--plan-loss", parse_fraction),
        help=f"the loss that the air time is told for (default {PLAN_LOSS_DEFAULT:g})",
    )


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
            raise PeersMissingError(missing, "Serve again; whoever is missing goes on where it stopped.")

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
    shown = ", ".join(missing[:MISSING_COUNT_MAX])
    more = len(missing) - MISSING_COUNT_MAX
    names = f"{shown} and {more} more" if more > 0 else shown
    if outcome.expected_count is None:
        return f"Not everybody has everything; not done: {names}."
    told = f"{outcome.done_count} of {outcome.expected_count} expected peers have the object"
    return f"{told}; not done: {names}." if names else f"{told}."


def _read(argv: Sequence[str]) -> tuple[ServeConfig, Output]:
    options, paths = serve_parser().parse(argv)
    data_port = DATA_PORT_DEFAULT if options.port else 0
    fleet = _read_fleet(options)
    if fleet is None and options.cc not in (None, *CONTROL_NAMES):
        raise UsageError(f"--cc {options.cc} needs a group.", f"Choose {' or '.join(CONTROL_NAMES)}.")
    rate_bps_default = RATE_BPS_DEFAULT if fleet is None else GROUP_RATE_BPS_DEFAULT
    config = ServeConfig(
        paths=tuple(map(Path, paths)),
        bind=options.bind,
        port=options.port,
        data_port=data_port if options.data_port is None else options.data_port,
        rate_bps=rate_bps_default if options.rate is None else options.rate,
        mtu=options.mtu,
        open=options.open,
        congestion_control=CONTROL_DEFAULT if fleet is not None or options.cc is None else options.cc,
        loss_tolerance=options.loss_tolerance,
        expect=options.expect,
        idle_exit_s=options.idle_exit,
        peer_count_max=options.max_peers,
        code=options.code,
        fleet=fleet,
        skip_unportable=options.skip_unportable,
    )
    return config, Output(is_json=options.json, is_quiet=options.quiet)


def _read_fleet(options: argparse.Namespace) -> FleetConfig | None:
    group = read_group(options)
    single = [("--wait", options.wait), ("--wait-time", options.wait_time), ("--min-rate", options.min_rate)]
    ends = [("--duration", options.duration), ("--passes", options.passes), ("--overhead", options.overhead)]
    oneway_only = [*ends, ("--plan-loss", options.plan_loss)]
    if group is None:
        of_group = [("--ttl", options.ttl), *single, ("--oneway", options.oneway), *oneway_only]
        refuse("needs --group or --broadcast", "Name the group: --group 239.63.30.1.", of_group)
        return None
    if group.is_broadcast:
        refuse("goes with --group only", "No router lets a broadcast through.", [("--ttl", options.ttl)])
    if options.oneway:
        hint = "Nothing comes back one-way, so the server knows of no receiver."
        answers = [*single, ("--expect", options.expect), ("--idle-exit", options.idle_exit)]
        refuse("cannot go with --oneway", hint, answers)
    else:
        refuse("needs --oneway", "Receivers that answer end the stream by themselves: --expect N.", oneway_only)
    return FleetConfig(
        group=group,
        ttl=1 if options.ttl is None else options.ttl,
        congestion_control=_read_group_control(options),
        wait_count=1 if options.wait is None else options.wait,
        wait_time_s=options.wait_time,
        min_rate_bps=options.min_rate or 0,
        oneway=_read_oneway(options) if options.oneway else None,
    )


def _read_group_control(options: argparse.Namespace) -> str:
    """What the stream to a group goes by; one that nothing comes back from has the rate that was asked for."""
    control: str = options.cc or ("fixed" if options.oneway else GROUP_CONTROL_DEFAULT)
    if control not in GROUP_CONTROL_NAMES:
        hint = f"Choose {' or '.join(GROUP_CONTROL_NAMES)} for the group; single peers have {control} anyway."
        raise UsageError(f"--cc {control} is for single peers.", hint)
    if options.oneway and control != "fixed":
        raise UsageError(f"--cc {control} cannot go with --oneway.", "Nothing comes back one-way: give the --rate.")
    return control


def _read_oneway(options: argparse.Namespace) -> OnewayConfig:
    return OnewayConfig(
        duration_s=options.duration,
        pass_count=options.passes,
        overhead=options.overhead,
        plan_loss=PLAN_LOSS_DEFAULT if options.plan_loss is None else options.plan_loss,
    )
