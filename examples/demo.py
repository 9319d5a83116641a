"""Watch a file cross a lossy network: `make demo`, or `python examples/demo.py [--size MB] [--loss FRACTION]`.

A file of random octets is served by the real `fountain-serve` and fetched by the real `fountain-fetch`, both here,
while the receiver throws away a tenth of what arrives. Then the two files are compared. Exit status 0 means that they
are equal; everything is done in `.demo/`, which is removed afterwards.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / ".demo"
MEGABYTE = 1_000_000
SERVER_EXIT_S = 15  # a server that was told --expect 1 ends by itself soon after its only peer has finished


class DemoError(Exception):
    """The demonstration failed, for the reason given."""


def say(text: str) -> None:
    print(text, flush=True)


def command(name: str) -> str:
    """The installed command: beside this interpreter (a virtual environment), or on the PATH."""
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found:
        raise DemoError(f"{name} is not installed: run `make demo`, which installs it into .venv")
    return found


def free_ports() -> tuple[int, int]:
    """Two UDP ports of the loopback that nobody uses now."""
    with socket.socket(type=socket.SOCK_DGRAM) as one, socket.socket(type=socket.SOCK_DGRAM) as two:
        one.bind(("127.0.0.1", 0))
        two.bind(("127.0.0.1", 0))
        return one.getsockname()[1], two.getsockname()[1]


def make_file(path: Path, size: int) -> str:
    """Write `size` random octets; the SHA-256 of them."""
    if shutil.disk_usage(path.parent).free < 2.2 * size:
        raise DemoError(f"{path.parent} has less than {2.2 * size / MEGABYTE:.0f} MB free")
    digest = hashlib.sha256()
    with path.open("wb") as file:
        while left := size - file.tell():
            octets = os.urandom(min(left, 8 << 20))
            digest.update(octets)
            file.write(octets)
    return digest.hexdigest()


def digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while octets := file.read(8 << 20):
            digest.update(octets)
    return digest.hexdigest()


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ask the process to end as Ctrl-C would, and insist after a while."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def transfer(source: Path, target: Path, loss: float) -> float:
    """Serve `source`, fetch it as `target` through `loss`; the seconds that the fetch took."""
    control, data = free_ports()
    log = FOLDER / "server.log"
    serve = [command("fountain-serve"), str(source), "--bind", "127.0.0.1", "--expect", "1"]
    serve += ["--port", str(control), "--data-port", str(data)]
    fetch = [command("fountain-fetch"), "127.0.0.1", "--port", str(control), "-o", str(target)]
    fetch += ["--loss-test", f"{loss:g}", "--wait"]
    for argv in (serve, fetch):
        say("$ " + " ".join([Path(argv[0]).name, *argv[1:]]))
    with log.open("wb") as errors:
        server = subprocess.Popen(serve, stdout=errors, stderr=errors, start_new_session=True)
        client = subprocess.Popen(fetch)
        try:
            return await_both(server, client)
        except DemoError as error:
            told = log.read_text()
            raise DemoError(f"{error}; the server said:\n{told}" if told else str(error)) from None
        finally:
            stop(client)
            stop(server)


def await_both(server: subprocess.Popen[bytes], client: subprocess.Popen[bytes]) -> float:
    """Wait until both have ended well; the seconds that the client took."""
    began = time.monotonic()
    while client.poll() is None:
        if server.poll():
            raise DemoError(f"the server ended with status {server.returncode}")
        time.sleep(0.05)
    seconds = time.monotonic() - began
    if client.returncode:
        raise DemoError(f"the client ended with status {client.returncode}")
    try:
        status = server.wait(SERVER_EXIT_S)
    except subprocess.TimeoutExpired:
        raise DemoError("the server did not end after its only peer had finished") from None
    if status:
        raise DemoError(f"the server ended with status {status}")
    return seconds


def demonstrate(size: int, loss: float) -> None:
    source, target = FOLDER / "sent.bin", FOLDER / "received.bin"
    say(f"Making a file of {size / MEGABYTE:.0f} MB of random octets in {FOLDER.relative_to(ROOT)}/ ...")
    digest = make_file(source, size)
    say(f"Sending it over UDP to this machine, and throwing away {loss:.0%} of the packets on arrival:\n")
    seconds = transfer(source, target, loss)
    say("\nComparing ...")
    for path, found in ((source, digest), (target, digest_of(target))):
        say(f"  sha256 {found}  {path.name}")
        if found != digest:
            raise DemoError("the files differ")
    say(f"Equal: every octet arrived, through {loss:.0%} loss, {seconds:.1f} s after the fetch was started.")
    say("(That counts the start of Python, and in a first run compiling the kernels; the line above tells the rate.)")


def main() -> int:
    parser = argparse.ArgumentParser(description="Serve a file on loopback, fetch it through loss, compare the octets.")
    parser.add_argument("--size", type=int, default=200, metavar="MB", help="size of the file (default 200)")
    parser.add_argument("--loss", type=float, default=0.1, metavar="FRACTION", help="share of packets thrown away")
    options = parser.parse_args()
    if not 0 <= options.loss < 1 or options.size < 1:
        parser.error("--loss is a fraction from 0 to below 1, and --size at least 1")
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir()
    try:
        demonstrate(options.size * MEGABYTE, options.loss)
    except DemoError as error:
        print(f"\nThe demonstration failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted.", file=sys.stderr)
        return 130
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
