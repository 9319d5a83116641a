"""A first start on a slow machine: nothing is compiled yet, and a fifth of a core is all there is.

    python -m bench.trials.cold_start [--quick]

Each case starts real commands on the loopback of a namespace of its own, with `--timeout 2` (the resumed part: 1) and
an empty NUMBA_CACHE_DIR for whoever is cold, who runs on one core and is stopped for 80 of each 100 ms. It must end
with 0 and the exact file, however long compiling, reading or hashing take. The figure is the exit status. Needs root.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
COMMANDS = Path(sys.executable).parent
SIZE, HASHED_SIZE = 2_000_000, 1_500_000_000
RUN_S, STOP_S = 0.02, 0.08  # a fifth of a core
PATIENCE_S = 550.0


def main(argv: Sequence[str] | None = None) -> int:
    """Play each case, print one line for it, and say whether all was well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the cold receiver alone")
    quick = parser.parse_args(argv).quick
    if os.geteuid():
        print("This trial needs root.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as place, namespace() as inside:
        directory = Path(place)
        results = [cold_receiver(directory / "receiver", inside)]
        if not quick:
            results += [cold_server(directory / "server", inside), resumed_part(directory / "part", inside)]
    return 0 if all(results) else 1


def cold_receiver(place: Path, inside: Sequence[str]) -> bool:
    """The receiver compiles everything."""
    source = made(place, SIZE)
    with started([*inside, *serve(source)]) as server:
        ready(server)
        return told("cold receiver", place, [*inside, *fetch(place, "2")], source, cold=place / "cache")


def cold_server(place: Path, inside: Sequence[str]) -> bool:
    """The server compiles everything, and the receiver asks from the start."""
    source = made(place, SIZE)
    with started([*inside, *serve(source)], cold=place / "cache") as server, throttled(server):
        while not listening(inside):
            time.sleep(0.1)  # Python and its packages load before there is any port; a closed one is no wait.
        return told("cold server", place, [*inside, *fetch(place, "2")], source)


def resumed_part(place: Path, inside: Sequence[str]) -> bool:
    """The receiver hashes a part that nothing vouches for, for longer than the time-out."""
    source = made(place, HASHED_SIZE)
    with started([*inside, *serve(source)]) as server:
        ready(server)
        first = subprocess.Popen([*inside, *fetch(place, "10")], cwd=ROOT, stderr=subprocess.DEVNULL)
        while first.poll() is None and not any((place / "out").rglob("part")):
            time.sleep(0.05)
        time.sleep(2)
        first.kill()
        first.wait()
        (part,) = (place / "out").rglob("part")
        with open(source, "rb") as whole, open(part, "r+b") as kept:
            shutil.copyfileobj(whole, kept, 1 << 24)
            kept.seek(1_000_000)
            kept.write(bytes(1000))
        for journal in (place / "out").rglob("state"):
            journal.unlink()
        return told("resumed part", place, [*inside, *fetch(place, "1")], source)


def told(name: str, place: Path, command: Sequence[str], source: Path, cold: Path | None = None) -> bool:
    """Run a fetch to its end and print what became of it."""
    start = time.monotonic()
    with open(place / "words", "w+") as words:
        process = subprocess.Popen(command, cwd=ROOT, env=environment(cold), stderr=words, start_new_session=True)
        with throttled(process) if cold is not None else contextlib.nullcontext():
            status = process.wait(PATIENCE_S)
    copy = place / "out" / source.name
    is_exact = copy.exists() and subprocess.run(["cmp", "-s", source, copy]).returncode == 0
    print(f"{name}: exit {status}, {'exact' if is_exact else 'not exact'}, {time.monotonic() - start:.0f} s")
    if status:
        print((place / "words").read_text()[-500:])
    return status == 0 and is_exact


def made(place: Path, size: int) -> Path:
    """A file of random octets, and a directory for its copy."""
    (place / "out").mkdir(parents=True)
    source = place / "object.bin"
    with open(source, "wb") as file:
        for at in range(0, size, 1 << 24):
            file.write(os.urandom(min(1 << 24, size - at)))
    return source


def serve(source: Path) -> list[str]:
    return [str(COMMANDS / "fountain-serve"), "--quiet", "--bind", "127.0.0.1", "--rate", "200M", str(source)]


def fetch(place: Path, timeout: str) -> list[str]:
    out = str(place / "out") + "/"
    return [str(COMMANDS / "fountain-fetch"), "--quiet", "--timeout", timeout, "-o", out, "127.0.0.1"]


@contextlib.contextmanager
def throttled(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """Give a command, and what it starts, a fifth of one core meanwhile."""
    over = threading.Event()
    os.sched_setaffinity(process.pid, {min(os.sched_getaffinity(0))})

    def throttle() -> None:
        while not over.wait(RUN_S):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGSTOP)
                over.wait(STOP_S)
                os.killpg(process.pid, signal.SIGCONT)

    thread = threading.Thread(target=throttle)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def listening(inside: Sequence[str]) -> bool:
    """Whether a server has its control port."""
    shown = subprocess.run([*inside, "ss", "-lunH"], capture_output=True, text=True, check=True).stdout
    return ":6330 " in shown


def ready(server: subprocess.Popen[bytes]) -> None:
    """Give a server the time to be ready: it is not what is looked at."""
    time.sleep(15)
    assert server.poll() is None, "the server has ended"


def environment(cold: Path | None) -> dict[str, str]:
    return os.environ if cold is None else {**os.environ, "NUMBA_CACHE_DIR": str(cold)}  # type: ignore[return-value]


@contextlib.contextmanager
def started(command: Sequence[str], cold: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A command that runs meanwhile, with all that it starts."""
    process = subprocess.Popen(command, cwd=ROOT, env=environment(cold), start_new_session=True)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


@contextlib.contextmanager
def namespace() -> Iterator[list[str]]:
    """A network namespace with a loopback; the words that run a command in it."""
    name = f"waits-cold-{os.getpid():x}"
    subprocess.run(["ip", "netns", "add", name], check=True)
    try:
        subprocess.run(["ip", "-n", name, "link", "set", "lo", "up"], check=True)
        yield ["ip", "netns", "exec", name]
    finally:
        subprocess.run(["ip", "netns", "delete", name], check=True)


if __name__ == "__main__":
    sys.exit(main())
