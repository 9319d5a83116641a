"""The commands as processes: a light start, real signals, real pipes."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fountain._version import __version__
from fountain.cli.environment import Environment, catch_interrupts

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {"numpy", "numba", "rich", "cryptography", "blake3", "asyncio"}
POSIX = pytest.mark.skipif(sys.platform == "win32", reason="signals to another process are POSIX")

# A fetch whose engine waits to be stopped; it says "ready" once it can be.
WAITING_FETCH = """
import sys
import time
from fountain.cli.environment import Environment
from fountain.cli.fetch import main
from fountain.errors import IncompleteError

def fetch(config, observer, stop):
    print("ready", file=sys.stderr, flush=True)
    while not (stop.is_set() and {is_obedient}):
        time.sleep(0.05)
    raise IncompleteError("The fetch was interrupted.", "What was received is kept.")

env = Environment.of_process()
env.fetch = fetch
sys.exit(main(["HOST"], env))
"""

# A fetch that finishes one file, whose path is the first argument.
FINISHED_FETCH = """
import os, sys
from pathlib import Path
from fountain.cli.environment import Environment
from fountain.cli.fetch import main
from fountain.events import DigestComputed, Searching

def fetch(config, observer, stop):
    observer.handle(DigestComputed("ab" * 32, Path(sys.argv[1]), 5))
    for _ in range(5000):
        observer.handle(Searching("HOST", 6330))

env = Environment.of_process()
env.fetch = fetch
sys.exit(main(["HOST", "--quiet", *sys.argv[2:]], env))
"""


def python(*argv: str | bytes, **options: object) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "0", "LC_ALL": "C.UTF-8"}
    options.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        [sys.executable, *argv], cwd=ROOT, env=environment, stderr=subprocess.PIPE, timeout=60, check=False, **options
    )


# --- A light start -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["serve", "fetch"])
@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["--no-such-option"]])
def test_help_version_and_usage_errors_load_nothing_heavy(command: str, argv: list[str]) -> None:
    probe = (
        f"import sys, json; from fountain.cli.{command} import main; status = main({argv!r});"
        "print(json.dumps(sorted(sys.modules)), file=sys.stderr)"
    )
    loaded = json.loads(python("-c", probe).stderr.splitlines()[-1])
    assert HEAVY.isdisjoint(loaded)
    assert "fountain.config" in loaded


def test_plain_output_does_without_rich() -> None:
    probe = FINISHED_FETCH.replace("sys.exit(", "status = (") + "\nassert status == 0 and 'rich' not in sys.modules\n"
    assert python("-c", probe.replace('"--quiet", ', ""), "image.iso").returncode == 0


def test_the_public_names_are_found_without_being_loaded() -> None:
    probe = (
        "import sys, fountain; assert 'fountain.errors' not in sys.modules;"
        "assert fountain.UsageError.__module__ == 'fountain.errors';"
        "assert fountain.GroupConfig.__module__ == 'fountain.config';"
        "assert {'serve', 'fetch', 'Server', '__version__'} <= set(dir(fountain))"
    )
    assert python("-c", probe).returncode == 0


# --- python -m fountain ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "status", "out", "err"),
    [
        (["--help"], 0, "usage: python -m fountain serve|fetch", ""),
        (["-h"], 0, "usage: python -m fountain serve|fetch", ""),
        (["--version"], 0, f"fountain {__version__}", ""),
        (["fetch", "--version"], 0, f"fountain-fetch {__version__}", ""),
        (["serve", "--help"], 0, "usage: fountain-serve [OPTIONS] PATH...", ""),
        (["fetch", "--help"], 0, "usage: fountain-fetch [OPTIONS] HOST [NAME]", ""),
        ([], 2, "", "python -m fountain: A command is missing."),
        (["push"], 2, "", "python -m fountain: There is no command 'push'."),
        (["fetch"], 2, "", "fountain-fetch: Missing: HOST."),
    ],
)
def test_the_module_runs_the_commands(argv: list[str], status: int, out: str, err: str) -> None:
    done = python("-m", "fountain", *argv)
    assert done.returncode == status
    assert done.stdout.decode().startswith(out)
    assert done.stderr.decode().startswith(err)
    assert bool(out) == bool(done.stdout)
    assert bool(err) == bool(done.stderr)


@pytest.mark.parametrize("command", ["serve", "fetch"])
def test_help_has_examples_and_every_exit_status(command: str) -> None:
    text = python("-m", "fountain", command, "--help").stdout.decode()
    assert f"  fountain-{command} " in text.split("examples:")[1]
    statuses = [line.split()[0] for line in text.split("exit status:\n")[1].splitlines()]
    assert statuses == ["0", "2", "3", "4", "5", "6", "7", "8", "9", "130"]
    assert all(len(line) <= 100 for line in text.splitlines())


# --- Signals -----------------------------------------------------------------------------------------------


def start_waiting(is_obedient: bool, before: str = "") -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", before + WAITING_FETCH.format(is_obedient=is_obedient)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stderr is not None
    assert process.stderr.readline() == b"ready\n"
    return process


# Sends the command itself a signal when it begins to load a module.
INTERRUPTED_START = """
import os, signal, sys

signal.signal({number}, signal.default_int_handler if {number} == signal.SIGINT else signal.SIG_DFL)

class Interrupter:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), {number})
            for _ in range(1000):  # Handlers run between two bytecodes.
                pass

sys.meta_path.insert(0, Interrupter())
sys.argv = ["fountain-fetch", "192.0.2.1", "--quiet"]
from fountain.cli.start import fetch
sys.exit(fetch())
"""


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
@pytest.mark.parametrize("module", ["argparse", "fountain.cli.fetch", "fountain.config", "fountain.storage.paths"])
def test_a_signal_while_the_command_is_loaded_ends_it_quietly(module: str, number: signal.Signals) -> None:
    done = python("-c", INTERRUPTED_START.format(module=module, number=int(number)))
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def test_the_first_module_of_a_command_loads_no_other() -> None:
    probe = "import sys; before = set(sys.modules); import fountain.cli.start; print(sorted(set(sys.modules) - before))"
    own = ["fountain", "fountain._version", "fountain.cli", "fountain.cli.start"]
    loaded = python("-c", probe).stdout.decode()
    assert [name for name in ast.literal_eval(loaded) if name.startswith("fountain")] == own
    assert {"typing", "argparse", "dataclasses"}.isdisjoint(ast.literal_eval(loaded))


def interrupt_until_it_ends(process: subprocess.Popen[bytes]) -> None:
    """Press Ctrl-C until that helps: two signals in the same instant may be delivered as one."""
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(0.2)


@POSIX
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_a_signal_ends_cleanly_with_130_and_says_that_the_part_is_kept(number: signal.Signals) -> None:
    process = start_waiting(is_obedient=True)
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert out == b""
    assert err.decode().splitlines() == [
        "fountain-fetch: The fetch was interrupted.",
        "  hint: What was received is kept.",
    ]


@POSIX
def test_a_command_that_nohup_started_outlives_its_terminal() -> None:
    ignoring = "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    process = start_waiting(is_obedient=True, before=ignoring)
    process.send_signal(signal.SIGHUP)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert process.returncode == 130


@POSIX
def test_signals_end_a_command_whose_engine_does_not_listen() -> None:
    process = start_waiting(is_obedient=False)
    interrupt_until_it_ends(process)
    process.communicate(timeout=60)
    assert process.returncode == 130


@POSIX
@pytest.mark.parametrize("is_obedient", [True, False])
def test_an_interrupted_terminal_has_its_cursor_back(is_obedient: bool) -> None:
    source = WAITING_FETCH.format(is_obedient=is_obedient).replace(
        'print("ready", file=sys.stderr, flush=True)', 'observer.handle(Searching("HOST", 6330))'
    )
    source = source.replace("import sys\n", "import sys\nfrom fountain.events import Searching\n", 1)
    ours, theirs = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", source],
        cwd=ROOT,
        env={**os.environ, "TERM": "xterm"},
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    )
    os.close(theirs)
    shown = b""
    while b"asking HOST" not in shown:
        shown += os.read(ours, 4096)
    assert b"\x1b[?25l" in shown
    if is_obedient:
        process.send_signal(signal.SIGINT)
        process.wait(60)
    else:
        interrupt_until_it_ends(process)
    with contextlib.suppress(OSError):  # Linux says EIO where others say that the stream ends.
        while octets := os.read(ours, 4096):
            shown += octets
    os.close(ours)
    assert process.returncode == 130
    assert shown.rfind(b"\x1b[?25h") > shown.rfind(b"\x1b[?25l")


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with catch_interrupts(lambda: None):
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] != before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# --- Streams -----------------------------------------------------------------------------------------------


@POSIX
def test_a_file_name_that_is_no_utf_8_leaves_as_it_is() -> None:
    done = python("-c", FINISHED_FETCH, b"caf\xe9.iso")
    assert done.returncode == 0
    assert done.stdout == b"ab" * 32 + b"  caf\xe9.iso\n"


def test_a_reader_that_leaves_early_changes_nothing() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = python("-c", FINISHED_FETCH, "image.iso", "--json", stdout=writing)
    os.close(writing)
    assert done.returncode == 0
    assert done.stderr == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("options", [["--json"], []])
def test_a_full_disk_behind_stdout_is_status_6(options: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = python("-c", FINISHED_FETCH, "image.iso", *options, stdout=full)
    assert done.returncode == 6
    assert done.stderr.decode().splitlines()[0] == (
        "fountain-fetch: Standard output could not be written: No space left on device."
    )
    assert len(done.stderr.splitlines()) == 2


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("argv", [["fetch", "--help"], ["serve", "--version"], ["sign", "-h"], ["--help"]])
def test_a_text_that_was_asked_for_and_cannot_be_written_is_status_6(argv: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = python("-m", "fountain", *argv, stdout=full)
    assert done.returncode == 6
    assert b"Standard output could not be written: No space left on device." in done.stderr.splitlines()[0]
    closing = f"{sys.executable} -m fountain {' '.join(argv)} >&-"
    closed = subprocess.run(["sh", "-c", closing], cwd=ROOT, timeout=60, check=False, stderr=subprocess.PIPE)
    assert closed.returncode == 6
    assert closed.stderr.splitlines()[0].endswith(b": Standard output is closed.")


@POSIX
def test_a_reader_of_a_text_may_leave_early() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = python("-m", "fountain", "--help", stdout=writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@POSIX
def test_a_process_without_standard_streams_still_works() -> None:
    closing = f"{sys.executable} -m fountain fetch >&- 2>&-"
    assert subprocess.run(["sh", "-c", closing], cwd=ROOT, timeout=60, check=False).returncode == 2


def test_the_environment_of_a_process_has_its_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    env = Environment.of_process()
    env.stdout.write_line("lost, but not missed")
    assert env.stdout.failure is None
    assert not env.stdout_is_terminal


# Opens the standard streams as a command does, then sockets; prints their smallest number, and what a child got.
LATE_SOCKETS = """
import os, socket, subprocess, sys
from fountain.cli.environment import Environment
Environment.of_process()
sockets = [socket.socket() for _ in range(2)]
child = subprocess.run(["sh", "-c", "echo lost >&2"], stdin=0, stdout=2)
os.write(int(sys.argv[1]), f"{min(each.fileno() for each in sockets)} {child.returncode}".encode())
"""


@POSIX
@pytest.mark.parametrize("closed", [(2,), (0, 1, 2)])
def test_what_is_opened_later_gets_no_number_of_a_standard_stream_that_is_closed(closed: tuple[int, ...]) -> None:
    reading, writing = os.pipe()
    script = f'exec "$0" -c "$1" {writing} ' + " ".join(f"{number}>&-" for number in closed)
    argv = ["sh", "-c", script, sys.executable, LATE_SOCKETS]
    subprocess.run(argv, pass_fds=[writing], cwd=ROOT, stderr=subprocess.DEVNULL, check=True)
    os.close(writing)
    with os.fdopen(reading) as told:
        least, status = map(int, told.read().split())
    assert least > 2
    assert status == 0
