"""`fountain-fetch`: fetch an object from a server, or from a group that a server sends to."""

from __future__ import annotations

import shlex
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fountain.cli.arguments import CommandParser, add_flag, add_value, nonempty, parse_path, picked, refuse
from fountain.cli.command import Output, run_engine, run_program
from fountain.cli.environment import Environment
from fountain.cli.exit_status import ExitStatus
from fountain.cli.group_options import add_group_options, read_group
from fountain.cli.options import OPTIONS
from fountain.cli.pair import with_code
from fountain.cli.place import HostPlace, is_address, read_place
from fountain.cli.units import format_duration, parse_fraction, parse_integer, parse_seconds, parse_size
from fountain.cli.watchers import DigestLines
from fountain.config import FetchConfig, TrustConfig
from fountain.errors import NameClashError, UntrustedError, UsageError
from fountain.events import Event, Listed, Observer, Offered, Warned
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
    ("fountain-fetch 'fountain://192.168.1.5/image.iso#ID'", "only that object; the server prints ID"),
    ("fountain-fetch --pair 192.168.1.5", "with the code that its server shows"),
    ("fountain-fetch --group 239.63.30.1", "what a server sends to a group"),
    ("fountain-fetch --group 239.63.30.1 --listen", "each object that is sent to the group"),
)


def fetch_parser() -> CommandParser:
    """The options of fountain-fetch."""
    parser = CommandParser(
        PROG,
        usage=(
            f"{PROG} [OPTIONS] HOST [NAME]\n       {PROG} [OPTIONS] --group ADDR|--broadcast [NAME]\n"
            f"       {PROG} --status --product P [--state DIR] [--json]"
        ),
        description="Fetch an object over UDP from a machine that runs fountain-serve, even if many packets are lost.",
        arguments=(
            ("HOST", "name or address of the server"),
            ("NAME", "which object, when the server has several"),
        ),
        is_last_repeated=False,
        is_first_optional=True,  # with a group
        examples=EXAMPLES,
    )
    text = "an existing directory for the object, or the path of the object itself (default: here)"
    add_value(parser, "out", text, nonempty, "DIR|PATH")
    add_value(parser, "port", f"the server's control port (default {CONTROL_PORT_DEFAULT})", parse_integer)
    timeout = format_duration(FetchConfig.timeout_s)
    text = f"give up after this time without progress (default {timeout})"
    add_value(parser, "timeout_s", text, parse_seconds, "SECONDS")
    add_flag(parser, "wait", "never give up: wait until a server comes, or comes back")
    text = "replace an existing file or empty directory that NAME or -o names; with --listen, any"
    add_flag(parser, "overwrite", text)
    text = "the largest object to take, counted with the holes of its files: 4G (default: any that fits)"
    add_value(parser, "size_max", text, parse_size, "SIZE")
    add_flag(parser, "open", "accept data packets that are not encrypted, from a server with --open")
    add_value(parser, "object_id", "take only the object of this id, which fountain-serve prints", nonempty, "ID")
    text = "fetch only from a server that has this key: SHA256:..., as the server prints it, or a file of public keys"
    add_value(parser, "server_key", text, nonempty, "KEY|FILE")
    add_flag(parser, "strict", "fetch only from a server whose key is known, and learn no new one")
    text = "prove to a server whose key is known that this client has the key in this file"
    add_value(parser, "identity", text, parse_path, "FILE")
    text = "ask for the code that fountain-serve --pair shows, and take nothing from a server that has another"
    add_flag(parser, "pair", text)
    text = "take only releases signed by a key in this file (ssh-keygen's allowed_signers), and no older ones"
    add_value(parser, "signers", text, parse_path, "FILE")
    add_value(parser, "product", "the product that this machine takes; --signers needs it", nonempty, "P")
    text = "also take a new list of signers, if a key in this file signed it as a release of fountain-signers"
    add_value(parser, "root_signers", text, parse_path, "FILE")
    text = "where the last version is remembered (default: $STATE_DIRECTORY, or ~/.local/state/fountain)"
    add_value(parser, "state", text, parse_path, "DIR")
    add_flag(parser, "status", "show which release of --product was here last, and when it expires")
    text = "drop this share of data packets, to test the code: 0.1"
    add_value(parser, "loss_test", text, parse_fraction, "FRACTION")
    parser.add_common_options()
    fleet = add_group_options(parser, "name or address of the interface to listen on (default: the only one that fits)")
    add_value(fleet, "group.source", "listen to this sender only", nonempty, "ADDR")
    add_flag(fleet, "listen", "keep running, and take every new object once")
    text = "with --listen, keep this much of the disk free: 10G (default: a twentieth of it, at most 1G)"
    add_value(fleet, "free_size_min", text, parse_size, "SIZE")
    text = "run this for each object that --listen took, with its path in $FOUNTAIN_PATH"
    add_value(fleet, "hook", text, nonempty, "COMMAND")
    add_flag(fleet, "unsigned", "run --hook without --signers, for each object that anybody on the network announces")
    return parser


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


class _UrlWords:
    """Hands events on to `observer`, and names the URL in warnings about an id that was typed there."""

    def __init__(self, observer: Observer) -> None:
        self._observer = observer

    def handle(self, event: Event) -> None:
        """Hand an event on."""
        if isinstance(event, Warned):
            event = replace(event, message=_with_url(event.message), hint=_with_url(event.hint))
        self._observer.handle(event)


def _with_url(text: str) -> str:
    return text.replace("`object_id`", "the URL")


def _fetch(argv: Sequence[str], env: Environment) -> ExitStatus:
    given, words = fetch_parser().parse(argv)
    if "status" in given:
        from fountain.cli.release_status import show_status

        return show_status(given, words, env)
    config, typed_out, output = _read(given, words, env)
    has_id_in_url = config.trust.object_id is not None and "object_id" not in given
    names, digests = _Names(), DigestLines(env, is_quiet=output.is_quiet)
    was_stopped = False

    def work(observer: Observer, stop: threading.Event) -> None:
        nonlocal was_stopped
        if has_id_in_url:
            observer = _UrlWords(observer)
        if typed_out is not None:
            check_out(typed_out, is_for_many=config.listen)
        try:
            env.fetch(config, observer, stop)
            was_stopped = config.listen and stop.is_set()
        except UsageError as error:
            if not names.listed:
                raise
            raise UsageError(error.message, f"Name one: {_command_with(argv, names.listed[0])}") from error
        except NameClashError as error:
            raise _with_typed_name(error, config, names.offered, argv) from error
        except UntrustedError as error:
            if not has_id_in_url:
                raise
            raise UntrustedError(_with_url(error.message), _with_url(error.hint)) from error

    status = run_engine(PROG, env, output, work, names, *[digests] * (not output.is_json))
    digests.write()
    return ExitStatus.INTERRUPTED if was_stopped else status


def _with_typed_name(
    error: NameClashError, config: FetchConfig, offered: Offered | None, argv: Sequence[str]
) -> NameClashError:
    """`error`, with the command that would replace it: --overwrite acts only on a name that was typed."""
    if offered is None or config.listen or is_typed(offered.destination, config.out, config.name):
        return error
    if not may_be_replaced(offered.destination):
        return error
    words = argv if config.overwrite else [OPTIONS["overwrite"], *argv]
    hint = f"Choose another place with `out`, or replace it by name: {_command_with(words, offered.name)}"
    return NameClashError(error.message, hint, path=error.path)


def _command_with(argv: Sequence[str], name: str) -> str:
    """The command that was typed, with `name` added."""
    guard = ["--"] if name.startswith("-") and "--" not in argv else []
    return shlex.join([PROG, *argv, *guard, name])


def _read(
    given: Mapping[str, Any], words: Sequence[str], env: Environment
) -> tuple[FetchConfig, str | None, Output]:  # fmt: skip
    """The configuration, -o as it was typed (a path forgets the slash at its end), and what to show."""
    group = read_group(given)
    if group is not None:
        place = _read_name(given, words)
    elif words:
        place = read_place(words, given.get("port"), given.get("object_id"))
    else:
        fetch_parser().error("Missing: HOST")
    values = picked(FetchConfig, given)
    if place.port is not None:
        values["port"] = place.port
    if place.name is not None:
        values["name"] = place.name.rstrip("/") or place.name  # A shell completes directories with a slash.
    if "out" in values:
        values["out"] = Path(values["out"])
    trust = picked(TrustConfig, given)
    if place.object_id is not None:
        trust["object_id"] = place.object_id
    is_paired = trust.pop("pair", False)
    values["trust"] = TrustConfig(**trust)
    config = FetchConfig(**{**values, "host": place.host, "group": group})
    if is_paired:
        config = with_code(config, env)
    return config, given.get("out"), Output(is_json=given["json"], is_quiet=given["quiet"])


def _read_name(given: Mapping[str, Any], words: Sequence[str]) -> HostPlace:
    """What to fetch from a group, which has no HOST."""
    if len(words) > 1:
        hint = "With a group there is no HOST: leave the first argument out."
        raise UsageError(f"{words[1]!r} is one argument too many.", hint)
    if words and is_address(words[0]):
        raise UsageError(f"With a group there is no HOST, and {words[0]} would be a NAME.", "Leave it out.")
    refuse(given, ["port"], "works only with `host`", "It is a port of `host`; the port of a group is `group.port`.")
    return HostPlace("", None, words[0] if words else None)
