"""`fountain-fetch`: fetch an object from a server, or from a group that a server sends to."""

from __future__ import annotations

import argparse
import shlex
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from fountain.cli.arguments import CommandParser, named, nonempty
from fountain.cli.command import Output, run_engine, run_program
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.cli.group_options import add_group_options, read_group, refuse
from fountain.cli.place import Place, is_address, read_place
from fountain.cli.units import format_duration, parse_fraction, parse_integer, parse_seconds, parse_size
from fountain.cli.watchers import DigestLines
from fountain.config import FetchConfig, GroupConfig
from fountain.errors import NameClashError, StorageError, UsageError
from fountain.events import Event, Listed, Observer, Offered
from fountain.limits import CONTROL_PORT_DEFAULT
from fountain.storage.destination import check_out, may_be_replaced
from fountain.storage.paths import is_typed

__all__ = ["fetch_parser", "main"]

PROG = "fountain-fetch"
EXAMPLES = (
    ("fountain-fetch 192.168.1.5", "the only object of that server, or a list"),
    ("fountain-fetch 192.168.1.5 image.iso", "one object of several"),
    ("fountain-fetch 192.168.1.5 -o /srv/images", "into another directory"),
    ("fountain-fetch --wait 192.168.1.5", "as soon as the server is up"),
    ("fountain-fetch --group 239.63.30.1", "what a server sends to many at once"),
    ("fountain-fetch --group 239.63.30.1 --listen", "everything that it ever sends"),
)


def fetch_parser() -> CommandParser:
    """The options of fountain-fetch."""
    parser = CommandParser(
        PROG,
        usage=f"{PROG} [OPTIONS] HOST [NAME]\n       {PROG} [OPTIONS] --group ADDR|--broadcast [NAME]",
        description="Fetch an object from a machine that runs fountain-serve, over UDP, whatever the loss.",
        arguments=(
            ("HOST", "name or address of the server"),
            ("NAME", "which object, when the server has several"),
        ),
        is_last_repeated=False,
        is_first_optional=True,  # with a group
        examples=EXAMPLES,
    )
    add = parser.add_argument
    add(
        "-o",
        dest="out",
        metavar="DIR|PATH",
        type=nonempty,
        help="an existing directory to put the object in, or else the path that it gets (default: here)",
    )
    add(
        "--port",
        type=named("--port", parse_integer),
        help=f"the server's control port (default {CONTROL_PORT_DEFAULT})",
    )
    timeout_s = FetchConfig.timeout_s
    add(
        "--timeout",
        metavar="SECONDS",
        type=named("--timeout", parse_seconds),
        default=timeout_s,
        help=f"give up when nothing has advanced for so long (default {format_duration(timeout_s)})",
    )
    add("--wait", action="store_true", help="never give up: ask, or listen, until a server comes, or comes back")
    add(
        "--overwrite",
        action="store_true",
        help="replace a file, or an empty directory, that NAME or -o names, or with --listen any",
    )
    add(
        "--max-size",
        metavar="SIZE",
        type=named("--max-size", parse_size),
        help="take no object whose files are larger, with their holes: 4G (default: any that fits)",
    )
    add("--open", action="store_true", help="accept data packets that are not encrypted, from a server with --open")
    add(
        "--loss-test",
        metavar="FRACTION",
        type=named("--loss-test", parse_fraction),
        default=0.0,
        help="throw away this share of data packets, to watch the code work: 0.1",
    )
    parser.add_common_options()
    _add_fleet_options(parser)
    return parser


def _add_fleet_options(parser: CommandParser) -> None:
    fleet = add_group_options(parser, "name or address of what to listen on (default: the only one that fits)")
    add = fleet.add_argument
    add("--source", metavar="ADDR", type=nonempty, help="listen to this sender alone")
    add("--listen", action="store_true", help="stay, and take every new object once")
    add(
        "--keep-free",
        metavar="SIZE",
        type=named("--keep-free", parse_size),
        help="with --listen, leave so much of the disk free: 10G (default a twentieth, 1G at most)",
    )
    add(
        "--hook",
        metavar="COMMAND",
        type=nonempty,
        help="run this for each object that --listen took, with its path in $FOUNTAIN_PATH",
    )


def main(argv: Sequence[str] | None = None, env: Environment | None = None) -> int:
    """Run the command; returns its exit status."""
    environment = Environment.of_process() if env is None else env
    words = sys.argv[1:] if argv is None else argv
    return run_program(PROG, environment, lambda: _fetch(words, environment))


class _Names:
    """Remembers what the server calls its objects, for hints that can be pasted."""

    def __init__(self) -> None:
        self.listed: list[str] = []
        self.offered: Offered | None = None

    def handle(self, event: Event) -> None:
        """Keep the names of a listing, and the offer."""
        if isinstance(event, Listed):
            self.listed = [name for name, _ in event.objects]
        elif isinstance(event, Offered):
            self.offered = event


def _fetch(argv: Sequence[str], env: Environment) -> ExitStatus:
    config, typed_out, output = _read(argv)
    names, digests = _Names(), DigestLines(env, is_quiet=output.is_quiet)
    was_stopped = False

    def work(observer: Observer, stop: threading.Event) -> None:
        nonlocal was_stopped
        if typed_out is not None:
            _check_out(typed_out, is_for_many=config.listen)
        try:
            env.fetch(config, observer, stop)
            was_stopped = config.listen and stop.is_set()
        except UsageError as error:
            if not names.listed:
                raise
            raise UsageError(error.message, f"Name one: {_command_with(argv, names.listed[0])}") from error
        except NameClashError as error:
            raise _with_typed_name(error, config, names.offered, argv) from error

    status = run_engine(PROG, env, output, work, names, *[digests] * (not output.is_json))
    digests.write()
    return ExitStatus.INTERRUPTED if was_stopped else status


def _check_out(typed_out: str, is_for_many: bool) -> None:
    """Refuse, before anybody is asked for an object, a place that cannot be one."""
    check_out(typed_out)
    if is_for_many and not Path(typed_out).is_dir():
        hint = "--listen takes any number of objects: create the directory first, or leave -o out."
        raise StorageError(f"{typed_out} is not a directory.", hint, path=typed_out)


def _with_typed_name(
    error: NameClashError, config: FetchConfig, offered: Offered | None, argv: Sequence[str]
) -> NameClashError:
    """`error`, with the command that would replace it: --overwrite acts only on a name that was typed."""
    if offered is None or config.listen or is_typed(offered.destination, config.out, config.name):
        return error
    if not may_be_replaced(offered.destination):
        return error
    words = argv if config.overwrite else ["--overwrite", *argv]
    hint = f"Choose another place with -o, or replace it by name: {_command_with(words, offered.name)}"
    return NameClashError(error.message, hint, path=error.path)


def _command_with(argv: Sequence[str], name: str) -> str:
    """The command that was typed, with `name` added."""
    guard = ["--"] if name.startswith("-") and "--" not in argv else []
    return shlex.join([PROG, *argv, *guard, name])


def _read(argv: Sequence[str]) -> tuple[FetchConfig, str | None, Output]:
    """The configuration, -o as it was typed (a path forgets the slash at its end), and what to show."""
    parser = fetch_parser()
    options, words = parser.parse(argv)
    group = _read_group(options)
    if group is None and not words:
        parser.error("Missing: HOST")
    if group is not None and len(words) > 1:
        hint = "With a group there is no HOST: leave the first argument out."
        raise UsageError(f"{words[1]!r} is one argument too many.", hint)
    if group is not None and words and is_address(words[0]):
        raise UsageError(f"With a group there is no HOST, and {words[0]} would be a NAME.", "Leave it out.")
    place = Place("", None, words[0] if words else None) if group is not None else read_place(words, options.port)
    config = FetchConfig(
        host=place.host,
        name=place.name and (place.name.rstrip("/") or place.name),  # A shell completes directories with a slash.
        out=None if options.out is None else Path(options.out),
        port=CONTROL_PORT_DEFAULT if place.port is None else place.port,
        timeout_s=options.timeout,
        wait=options.wait,
        overwrite=options.overwrite,
        open=options.open,
        loss_test=options.loss_test,
        group=group,
        listen=options.listen,
        hook=options.hook,
        size_max=options.max_size,
        free_size_min=options.keep_free,
    )
    return config, options.out, Output(is_json=options.json, is_quiet=options.quiet)


def _read_group(options: argparse.Namespace) -> GroupConfig | None:
    group = read_group(options, options.source or "")
    if group is None:
        given = [("--source", options.source), ("--listen", options.listen), ("--hook", options.hook)]
        given.append(("--keep-free", options.keep_free))
        refuse("needs --group or --broadcast", "Name the group: --group 239.63.30.1.", given)
    else:
        hint = "It is a port of HOST; the port of a group is --group-port."
        refuse("goes with HOST only", hint, [("--port", options.port)])
    return group
