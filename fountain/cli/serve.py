"""`fountain-serve`: serve files and directories to whoever asks."""

from __future__ import annotations

import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from fountain.cli.arguments import CommandParser, named, nonempty
from fountain.cli.command import Output, run_engine, run_program
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.cli.units import format_rate, parse_fraction, parse_integer, parse_rate, parse_seconds_ns
from fountain.engine.config import CODE_DEFAULT, PEER_COUNT_MAX_DEFAULT, RATE_BPS_DEFAULT, ServeConfig
from fountain.engine.observer import Observer
from fountain.errors import PeersMissingError
from fountain.limits import CONTROL_PORT_DEFAULT, DATA_PORT_DEFAULT, MTU_DEFAULT
from fountain.protocol.congestion import CONTROL_DEFAULT, CONTROL_NAMES, LOSS_TOLERANCE_DEFAULT

__all__ = ["main", "serve_parser"]

PROG = "fountain-serve"
EXAMPLES = (
    ("fountain-serve image.iso", "until Ctrl-C"),
    ("fountain-serve photos/ notes.txt", "several objects, fetched by name"),
    ("fountain-serve --expect 3 image.iso", "until three peers have it"),
    ("fountain-serve --rate 200M image.iso", "at most 200 Mbit/s in all"),
)


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
    add("--open", action="store_true", help="do not encrypt data packets; peers must say --open too")
    add("--expect", metavar="N", type=named("--expect", parse_integer), help="exit once N peers have the object")
    add(
        "--idle-exit",
        metavar="SECONDS",
        type=named("--idle-exit", parse_seconds_ns),
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
    return parser


def _add_rate_options(parser: CommandParser) -> None:
    add = parser.add_argument
    add(
        "--rate",
        type=named("--rate", parse_rate),
        default=RATE_BPS_DEFAULT,
        help=f"most bits per second for all peers together: 100M, 2.5G (default {format_rate(RATE_BPS_DEFAULT)})",
    )
    add(
        "--cc",
        metavar="NAME",
        choices=CONTROL_NAMES,
        default=CONTROL_DEFAULT,
        help=f"congestion control: {' or '.join(CONTROL_NAMES)} (default {CONTROL_DEFAULT}); fixed sends at --rate"
        " whatever else is on the way",
    )
    add(
        "--loss-tolerance",
        metavar="FRACTION",
        type=named("--loss-tolerance", parse_fraction),
        default=LOSS_TOLERANCE_DEFAULT,
        help=f"most packets that the link itself may lose without slowing down (default {LOSS_TOLERANCE_DEFAULT:g})",
    )


def main(argv: Sequence[str] | None = None, env: Environment | None = None) -> int:
    """Run the command; returns its exit status."""
    environment = Environment.of_process() if env is None else env
    words = sys.argv[1:] if argv is None else argv
    return run_program(PROG, environment, lambda: _serve(words, environment))


def _serve(argv: Sequence[str], env: Environment) -> ExitStatus:
    config, output = _read(argv)
    was_stopped = False

    def work(observer: Observer, stop: threading.Event) -> None:
        nonlocal was_stopped
        outcome = env.serve(config, observer, stop)
        is_complete = outcome.expected_count is not None and outcome.done_count >= outcome.expected_count
        was_stopped = stop.is_set() and not is_complete
        if outcome.expected_count is not None and not is_complete:
            raise PeersMissingError(
                f"{outcome.done_count} of {outcome.expected_count} expected peers have the object.",
                "Serve again; whoever is missing goes on where it stopped.",
            )

    status = run_engine(PROG, env, output, work)
    return ExitStatus.INTERRUPTED if was_stopped else status


def _read(argv: Sequence[str]) -> tuple[ServeConfig, Output]:
    options, paths = serve_parser().parse(argv)
    data_port = DATA_PORT_DEFAULT if options.port else 0
    config = ServeConfig(
        paths=tuple(map(Path, paths)),
        bind=options.bind,
        port=options.port,
        data_port=data_port if options.data_port is None else options.data_port,
        rate_bps=options.rate,
        mtu=options.mtu,
        open=options.open,
        congestion_control=options.cc,
        loss_tolerance=options.loss_tolerance,
        expect=options.expect,
        idle_exit_ns=options.idle_exit,
        peer_count_max=options.max_peers,
        code=options.code,
    )
    return config, Output(is_json=options.json, is_quiet=options.quiet)
