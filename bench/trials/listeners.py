"""A sender without the key beside a group that has one: what it costs, and whether a new release is taken.

    python -m bench.trials.listeners [--quick]

It runs in a network namespace of its own, on loopback, with the real commands; every file that arrives is compared.

1. One-way: a receiver takes an object while somebody without the key sends data packets of its session with wrong tags,
   of blocks all over the object, at a tenth of the rate. The figure is the time over that without a disturber.
2. A listener without any object hears the recordings of four old sessions: their Announces and Plans, a packet of each
   in 3 s, and their data at a tenth of the rate together. Then a new object is served. The figure is the time from
   there until the listener has it, over that without recordings.
3. A listener of an open group hears Announces of ever other objects, each with a FINAL behind it. The figures are its
   memory, threads, descriptors, files and lines; then a true object is served, and taken.

Needs root and `ip`.
"""

from __future__ import annotations

import argparse
import contextlib
import filecmp
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.commands import Command, Serve
from fountain.codes.registry import code_by_name
from fountain.protocol.group.channel import GroupChannel
from fountain.wire.control import OfferBody
from fountain.wire.group import Announce, AnnounceFlag, GroupPacketType

GROUP, PORT = "239.255.77.77", 6332
WHERE = ["--group", GROUP, "--group-port", str(PORT), "-i", "lo"]
RATE_BPS = 16_000_000
OLD_COUNT = 4
DATA_FIRST_OCTET = 0x1D
HEADERS_SIZE = 46
INSIDE = "FOUNTAIN_TRIAL_INSIDE"


def hearing() -> socket.socket:
    """A socket that hears the group."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    opened.bind((GROUP, PORT))
    member = socket.inet_aton(GROUP) + socket.inet_aton("127.0.0.1")
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
    opened.settimeout(0.2)
    return opened


def speaking() -> socket.socket:
    """A socket that sends to the group."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
    return opened


def is_data(packet: bytes) -> bool:
    return packet[:1] == bytes([DATA_FIRST_OCTET])


@contextlib.contextmanager
def on_a_thread(work: threading.Thread, stop: threading.Event) -> Iterator[None]:
    work.start()
    try:
        yield
    finally:
        stop.set()
        work.join()


class Disturber:
    """Sends packets of the session that it hears, with wrong tags, at a rate, until it is stopped."""

    def __init__(self, rate_bps: int) -> None:
        self.sent_count = 0
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(rate_bps,))

    def _run(self, rate_bps: int) -> None:
        draw = random.Random(1)
        with hearing() as ears, speaking() as mouth:
            heard = b""
            while not self.stop.is_set() and not is_data(heard):
                with contextlib.suppress(TimeoutError):
                    heard = ears.recv(65_536)
        if not heard:
            return
        spacing_s = (len(heard) + HEADERS_SIZE) * 8 / rate_bps
        with speaking() as mouth:
            due_s = time.monotonic()
            while not self.stop.is_set():
                number, block, esi = draw.randbytes(4), draw.randrange(12).to_bytes(4, "big"), draw.randbytes(3)
                forged = heard[:12] + number + heard[16:20] + block + esi + b"\0" + draw.randbytes(len(heard) - 28)
                mouth.sendto(forged, (GROUP, PORT))
                self.sent_count += 1
                due_s += spacing_s
                time.sleep(max(0.0, due_s - time.monotonic()))


class Player:
    """Plays recordings: a control packet of each in 3 s, and all of their data at a rate."""

    def __init__(self, recordings: Sequence[Sequence[bytes]], rate_bps: int) -> None:
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._run, args=(recordings, rate_bps))

    def _run(self, recordings: Sequence[Sequence[bytes]], rate_bps: int) -> None:
        controls = [[packet for packet in heard if not is_data(packet)] for heard in recordings]
        sessions = [[packet for packet in heard if is_data(packet)] for heard in recordings]
        rounds = [packet for turn in zip(*sessions) for packet in turn]
        spacing_s = (len(rounds[0]) + HEADERS_SIZE) * 8 / rate_bps
        with speaking() as mouth:
            begun_s = due_s = time.monotonic()
            told_count = 0
            for packet in rounds:
                if self.stop.is_set():
                    return
                if due_s - begun_s >= 3.0 * told_count:
                    for heard in controls:
                        mouth.sendto(heard[told_count % len(heard)], (GROUP, PORT))
                    told_count += 1
                mouth.sendto(packet, (GROUP, PORT))
                due_s += spacing_s
                time.sleep(max(0.0, due_s - time.monotonic()))


class Stage:
    """A directory with a key, and commands that are ended."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.key = directory / "group.key"
        self.key.write_bytes(bytes(range(32)))
        self._count = 0
        self._stack = contextlib.ExitStack()

    def file(self, name: str, size: int) -> Path:
        """A file of random octets."""
        path = self.directory / name
        path.write_bytes(os.urandom(size))
        return path

    def place(self) -> Path:
        """A new directory."""
        self._count += 1
        path = self.directory / f"place-{self._count}"
        path.mkdir()
        return path

    def fetch(self, place: Path, *argv: str, is_keyed: bool = True) -> Command:
        """A receiver that hears the group."""
        key = ["--key", str(self.key)] if is_keyed else []
        words = [*WHERE, *key, "--json", "--quiet", "-o", str(place), *argv]
        command = Command("fetch", words, self.place() / "log")
        self._stack.callback(command.kill)
        command.wait_event("listening")
        return command

    def serve(self, *argv: str | Path, is_keyed: bool = True) -> Serve:
        """A server that answers."""
        key = ["--key", str(self.key)] if is_keyed else []
        words = [*WHERE, *key, "--rate", str(RATE_BPS), *map(str, argv)]
        server = Serve(words, self.place() / "log")
        self._stack.callback(server.kill)
        return server

    def close(self) -> None:
        """End all commands."""
        self._stack.close()


def oneway_s(stage: Stage, path: Path, *, is_disturbed: bool) -> float:
    """How long a one-way receiver takes from its first packet on."""
    place = stage.place()
    fetch = stage.fetch(place, "--wait")
    disturber = Disturber(RATE_BPS // 10)
    context = on_a_thread(disturber.thread, disturber.stop) if is_disturbed else contextlib.nullcontext()
    with context:
        server = stage.serve("--oneway", path)
        fetch.wait_event("announced")
        begun_s = time.monotonic()
        fetch.wait_event("fetched")
        duration_s = time.monotonic() - begun_s
    server.kill()
    assert filecmp.cmp(path, place / path.name, shallow=False), "the file is not exact"
    assert not is_disturbed or disturber.sent_count > 100
    return duration_s


def record(stage: Stage, size: int) -> list[list[bytes]]:
    """What four keyed sessions send to a group with a receiver in 4 s each."""
    heard: dict[bytes, list[bytes]] = {}
    paths = [stage.file(f"old-{number}", size) for number in range(OLD_COUNT)]
    fetch = stage.fetch(stage.place(), "--listen")
    with hearing() as ears:
        server = stage.serve("--cc", "fixed", *paths)
        limit_s = time.monotonic() + 4.0 * OLD_COUNT
        while time.monotonic() < limit_s:
            with contextlib.suppress(TimeoutError):
                packet = ears.recv(65_536)
                session = packet[4:12] if is_data(packet) else packet[8:16]
                heard.setdefault(session, []).append(packet)
    server.kill()
    fetch.kill()
    assert len(heard) == OLD_COUNT, f"{len(heard)} sessions were heard"
    return list(heard.values())


def listener_s(stage: Stage, path: Path, recordings: Sequence[Sequence[bytes]]) -> float:
    """How long a listener takes to have a new object, from when it is served."""
    place = stage.place()
    listener = stage.fetch(place, "--listen")
    player = Player(recordings, RATE_BPS // 10)
    context = on_a_thread(player.thread, player.stop) if recordings else contextlib.nullcontext()
    with context:
        time.sleep(8.0)  # for the recordings to take all places
        if recordings:
            announced = {event["name"] for event in listener.events("announced")}
            assert len(announced) == OLD_COUNT, f"{announced} hold places"
        server = stage.serve("--cc", "fixed", path)
        begun_s = time.monotonic()
        listener.wait_event("fetched", lambda event: event["name"] == path.name)
        duration_s = time.monotonic() - begun_s
    server.kill()
    listener.kill()
    assert filecmp.cmp(path, place / path.name, shallow=False), "the file is not exact"
    return duration_s


def forged(number: int, *, is_final: bool) -> bytes:
    """An Announce of an object that does not exist."""
    offer = OfferBody(
        object_id=number.to_bytes(32, "big"), server_public=bytes(32), key_index=0,
        profile_id=code_by_name("raptorq").profile_id, object_size=50_000_000, manifest_size=2_000, symbol_size=1408,
        block_symbol_limit=1002, data_port=6331, is_directory=False, name=f"forged-{number}", open=True,
    )  # fmt: skip
    flags = AnnounceFlag.FINAL if is_final else AnnounceFlag(0)
    told = Announce(0, 0, flags, 100_000_000, 0, 0, 6330, 1000, 0, offer)
    return GroupChannel(number, None).wrap(GroupPacketType.ANNOUNCE, 1 + is_final, told.encode())


def flood(stage: Stage, duration_s: float) -> bool:
    """What a flood of Announces makes of a listener; whether that is bounded, and a true object is taken behind it."""
    place, path = stage.place(), stage.file("true-object", 2_000_000)
    listener = stage.fetch(place, "--listen", is_keyed=False)
    process = Path(f"/proc/{listener.process_id}")
    most_threads = most_descriptors = number = 0
    with speaking() as mouth:
        limit_s = time.monotonic() + duration_s
        while time.monotonic() < limit_s:
            for _ in range(20):
                number += 1
                mouth.sendto(forged(number, is_final=False), (GROUP, PORT))
                mouth.sendto(forged(number, is_final=True), (GROUP, PORT))
            most_threads = max(most_threads, len(os.listdir(process / "task")))
            most_descriptors = max(most_descriptors, len(os.listdir(process / "fd")))
            time.sleep(0.01)
    line_count, names = len(listener.events()), os.listdir(place)
    server = stage.serve("--cc", "fixed", path, is_keyed=False)
    listener.wait_event("fetched", lambda event: event["name"] == path.name)
    server.kill()
    listener.interrupt()
    is_exact = filecmp.cmp(path, place / path.name, shallow=False)
    print(
        f"flood, {number:,} forged objects in {duration_s:g} s: memory {listener.memory_size / 1e6:.0f} MB (<= 300), "
        f"{most_threads} threads, {most_descriptors} descriptors, {len(names)} files, {line_count} lines; "
        f"a true object behind it is {'exact' if is_exact else 'WRONG'}",
        flush=True,
    )
    return is_exact and listener.memory_size <= 300_000_000 and not names and line_count < 100


def trial(directory: Path, *, is_quick: bool) -> bool:
    """Both figures; whether they are reached."""
    stage = Stage(directory)
    count, size = (1, 8_000_000) if is_quick else (3, 20_000_000)
    try:
        path = stage.file("object", size)
        oneway_s(stage, stage.file("first", 1_000_000), is_disturbed=False)  # Kernels are compiled once.
        pairs = [[oneway_s(stage, path, is_disturbed=is_on) for is_on in (False, True)] for _ in range(count)]
        alone_s, disturbed_s = (statistics.median(times) for times in zip(*pairs))
        print(f"one-way, alone {alone_s:.2f} s, with a keyless sender {disturbed_s:.2f} s: ratio "
              f"{disturbed_s / alone_s:.3f} (<= 1.05)", flush=True)  # fmt: skip
        recordings = record(stage, size)
        pairs = [[listener_s(stage, path, heard) for heard in ([], recordings)] for _ in range(count)]
        quiet_s, played_s = (statistics.median(times) for times in zip(*pairs))
        print(f"listener, alone {quiet_s:.2f} s, with four recordings {played_s:.2f} s: ratio "
              f"{played_s / quiet_s:.3f} (<= 1.1)", flush=True)  # fmt: skip
        is_bounded = flood(stage, 5.0 if is_quick else 20.0)
    finally:
        stage.close()
    return is_bounded and disturbed_s <= 1.05 * alone_s and played_s <= 1.1 * quiet_s


def main(argv: Sequence[str] | None = None) -> int:
    """The trial, in a network namespace of its own."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one run of each, of 8 MB")
    options = parser.parse_args(argv)
    if INSIDE not in os.environ:
        if os.geteuid() != 0 or not all(map(shutil.which, ("ip", "unshare"))):
            parser.error("needs root, ip and unshare")
        words = ["unshare", "-n", sys.executable, "-m", "bench.trials.listeners", *["--quick"] * options.quick]
        return subprocess.run(words, env={**os.environ, INSIDE: "1"}, check=False).returncode
    subprocess.run(["ip", "link", "set", "lo", "up", "multicast", "on"], check=True)
    with tempfile.TemporaryDirectory(prefix="fountain-listeners-") as directory:
        return 0 if trial(Path(directory), is_quick=options.quick) else 1


if __name__ == "__main__":
    sys.exit(main())
