"""Commands with arguments that nobody would type, run whole: no draw may end with a traceback.

    python -m tests.cli.odd_arguments 10000 [SEED]

It needs root: the commands run in a network namespace of their own, with an interface that carries groups, so that
nothing that an argument names is ever sent to.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import io
import os
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from fountain.cli.doctor import doctor_parser
from fountain.cli.environment import Environment
from fountain.cli.fetch import fetch_parser
from fountain.cli.fetch import main as fetch_main
from fountain.cli.serve import main as serve_main
from fountain.cli.serve import serve_parser
from fountain.cli.streams import OutputStream
from fountain.config import ServeConfig
from fountain.events import NullObserver

CLONE_NEWNET = 0x40000000
PATIENCE_S = 0.03  # Then the command is interrupted, as by Ctrl-C.
STATUSES = {0, 2, 3, 4, 5, 6, 7, 8, 130}
PORT = 7330

NUMBERS = ("0", "1", "-1", "2", "65535", "65536", "256", "1500", "9000", "4294967296", "999999999999999")
ODD = (
    "",
    " ",
    "-",
    "--",
    "\udce9",
    "ü",
    "e\u0301",
    "\u202e",
    "\u0661",
    "nan",
    "inf",
    "1e9",
    "0x10",
    "x" * 5000,
    "a\nb",
    "%",
)
AMOUNTS = tuple(f"{number}{unit}" for number in ("0", "1", ".5", "0.01", "999999999999999") for unit in "kMGsmh")
FRACTIONS = ("0", "0.1", "0.5", "0.9999999", "1", "1.5", "-0.1", "5000000", "999999999999999.9")
ADDRESSES = (
    "127.0.0.1", "::1", "localhost", "239.63.30.1", "224.0.0.1", "ff02::63:30", "255.255.255.255", "0.0.0.0", "::",
    "fe80::1", "fe80::1%lo", "10.99.0.255", "10.99.0.1", "odd0", "lo", "no-such-host", "1.2.3.4.5", "a..b",
)  # fmt: skip
HOSTS = (
    f"127.0.0.1:{PORT}", f"[::1]:{PORT}", f"fountain://127.0.0.1:{PORT}/small", f"fountain://127.0.0.1:{PORT}/%E9/",
    "fountain://", "http://127.0.0.1/", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:99999", "[::1", "::1]", "[]:1",
    "fountain://u@h/", "127.0.0.1/small", "h:p:q",
)  # fmt: skip
PATHS = (
    b"small", b"empty", b"tree", b"latin\xe9", b"co:lon", b"aux", b"new\nline", b"link", b"broken", b"missing", b".",
    b"..", b"/dev/null", b"/proc/self/status", b"tree/", b"x" * 300, b"small/below", b"\xf0\x9f\xab\xa8",
)  # fmt: skip
NAMES = (b"small", b"tree", b"tree/", b"\xe9", b"../small", b"/", b"x" * 5000, b"SMALL")
FREE = {"hook": ("true", "exit 3", "\udce9")}


def values(action: argparse.Action) -> st.SearchStrategy[str]:
    """What an option may be given: what fits it now and then, and all that does not."""
    if action.choices:
        return st.sampled_from([*map(str, action.choices), *ODD])
    if action.dest in FREE:
        return st.sampled_from([*FREE[action.dest], *ODD])
    paths = tuple(map(os.fsdecode, PATHS))
    fitting = {
        "SECONDS": AMOUNTS, "RATE": AMOUNTS, "SIZE": AMOUNTS, "FRACTION": FRACTIONS, "ADDR": ADDRESSES,
        "IFACE": ADDRESSES,
    }  # fmt: skip
    fits = st.sampled_from(fitting.get(action.metavar or action.dest.upper(), (*NUMBERS, *NUMBERS, *paths)))
    odd = st.one_of(*map(st.sampled_from, (NUMBERS, ODD, AMOUNTS, FRACTIONS, ADDRESSES, paths)))
    return st.one_of(fits, fits, fits, odd)


def options(parser: argparse.ArgumentParser, most: int) -> st.SearchStrategy[list[str]]:
    """Up to `most` options of `parser`, each with a value where it takes one, joined to it or not."""
    given_once = []
    for action in parser._actions:
        if action.dest in ("help", "version"):
            continue  # They end a command before anything else is looked at.
        name = st.sampled_from(action.option_strings)
        if action.nargs == 0:
            given_once.append(name.map(lambda text: [text]))
        else:
            apart = st.tuples(name, values(action)).map(list)
            given_once.append(st.one_of(apart, apart.map(lambda pair: ["=".join(pair)])))
    return st.lists(st.one_of(given_once), max_size=most).map(
        lambda groups: [word for group in groups for word in group]
    )


GROUP = ["--group", "239.63.30.1", "-i", "odd0"]
ONEWAY = [*GROUP, "--oneway", "--rate", "10M"]
SERVING = (
    [], ["--open"], ["--bind", "127.0.0.1"], ["--port", "0"], GROUP, [*GROUP, "--wait-time", "0.01"], ONEWAY,
    [*ONEWAY, "--passes", "1"], [*ONEWAY, "--duration", "0.01"], ["--broadcast", "-i", "odd0"],
)  # fmt: skip
FETCHING = (
    [f"127.0.0.1:{PORT}"], [f"127.0.0.1:{PORT}", "small"], [f"fountain://[::1]:{PORT}/tree"], ["127.0.0.1:9"], GROUP,
    ["--port", str(PORT), "localhost", "small", "-o", "other"], [*GROUP, "--listen"], [*GROUP, "--wait"],
    [*GROUP, "--listen", "--unsigned", "--hook", "true"], ["--broadcast", "-i", "odd0", "--listen", "--overwrite"],
)  # fmt: skip


def command_lines() -> st.SearchStrategy[tuple[str, list[str]]]:
    """(command, arguments): one that works with up to two options more, or anything at all."""

    def joined(*parts: st.SearchStrategy[list[str]]) -> st.SearchStrategy[list[str]]:
        return st.tuples(*parts).map(lambda words: [word for part in words for word in part])

    paths = st.lists(st.sampled_from(PATHS).map(os.fsdecode), min_size=1, max_size=3)
    hosts = st.sampled_from([*ADDRESSES, *HOSTS, *ODD]).map(lambda host: [host])
    names = st.lists(st.sampled_from(NAMES).map(os.fsdecode), max_size=2)
    sound = st.sampled_from([["small"], ["empty"], ["tree"], ["small", "tree"]])
    anything = joined(
        st.one_of(*(options(parser(), 4) for parser in (serve_parser, fetch_parser, doctor_parser))), names
    )
    served = joined(st.sampled_from(SERVING), options(serve_parser(), 2), st.one_of(sound, sound, paths))
    fetched = joined(st.sampled_from(FETCHING), options(fetch_parser(), 2))
    asked = joined(options(fetch_parser(), 1), hosts, names)
    return st.one_of(
        st.tuples(st.just("serve"), served), st.tuples(st.just("fetch"), st.one_of(fetched, fetched, asked)),
        st.tuples(st.sampled_from(["serve", "fetch"]), anything),
    )  # fmt: skip


@contextlib.contextmanager
def interrupt_soon(handle: Callable[[], None]) -> Iterator[None]:
    """A person who waits for a moment and then types Ctrl-C."""
    timer = threading.Timer(PATIENCE_S, handle)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()


def run(command: str, argv: list[str], is_terminal: bool = False) -> int:
    """Run one command in this process; returns its status."""
    env = Environment(
        stdout=OutputStream(io.StringIO()),
        stderr=OutputStream(io.StringIO()),
        stderr_is_terminal=is_terminal,
        terminal_width=80,
        catch_interrupts=interrupt_soon,
        leave=lambda status: None,
    )
    return {"serve": serve_main, "fetch": fetch_main}[command](argv, env)


def _lay_out(place: Path) -> None:
    (place / "small").write_bytes(b"content" * 1000)
    (place / "empty").touch()
    (place / "tree" / "below").mkdir(parents=True)
    (place / "tree" / "below" / "file").write_bytes(b"x")
    for name in (b"latin\xe9", b"co:lon", b"aux", b"new\nline", b"\xf0\x9f\xab\xa8"):
        (place / os.fsdecode(name)).write_bytes(name)
    (place / "link").symlink_to("small")
    (place / "broken").symlink_to("nowhere")


def _enter_namespace() -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "cannot make a network namespace")
    for words in (
        "link set lo up", "link add odd0 type veth peer name odd1", "addr add 10.99.0.1/24 dev odd0",
        "link set odd0 up", "link set odd1 up",
    ):  # fmt: skip
        subprocess.run(["ip", *words.split()], check=True)


def play(count: int, number: int) -> None:
    """Draw and run `count` command lines; what raises is shown with the smallest command line that raises it."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _lay_out(place)
        sink = place / "sink"
        sink.mkdir()
        from fountain.engine.serving.serve import serve

        stop = threading.Event()
        config = ServeConfig(paths=(place / "small", place / "tree"), port=PORT, data_port=PORT + 1)
        server = threading.Thread(target=serve, args=(config, NullObserver(), stop), daemon=True)
        server.start()
        statuses: dict[int, int] = {}

        @seed(number)
        @settings(max_examples=count, deadline=None, database=None, suppress_health_check=list(HealthCheck))
        @given(command_lines(), st.booleans())
        def ends_with_a_status(drawn: tuple[str, list[str]], is_terminal: bool) -> None:
            command, argv = drawn
            os.chdir(place if command == "serve" else sink)
            status = run(command, argv, is_terminal)
            assert status in STATUSES, (command, argv, status)
            statuses[status] = statuses.get(status, 0) + 1

        ends_with_a_status()
        stop.set()
        server.join(10)
        os.chdir("/")
    print(f"{sum(statuses.values())} command lines, 0 tracebacks; by status: {dict(sorted(statuses.items()))}")


def main() -> int:
    """Play as many as the first argument says, by the seed in the second."""
    threads: list[str] = []
    threading.excepthook = lambda raised: threads.append("".join(traceback.format_exception(raised.exc_value)))
    _enter_namespace()
    play(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 6330)
    print("\n".join(threads), file=sys.stderr)
    return 1 if threads else 0


if __name__ == "__main__":
    sys.exit(main())
