"""Numbered UDP packets, to see what a laboratory does to them: `python -m bench.lab.traffic receive|send|echo|ping`.

Each program ends with one JSON object on stdout. `receive` and `echo` print "ready" first, once they can be sent to.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import socket
import struct
import sys
import time

from bench.lab.link import parse_rate

__all__ = ["main"]

NUMBER = struct.Struct(">Q")
UDP_SEGMENT = 103  # linux/udp.h
TRAIN_COUNT = 40
BUFFER_SIZE = 16 << 20
SO_RCVBUFFORCE = 33
SO_SNDBUFFORCE = 32
PORT = 7000


def receive(quiet_s: float, patience_s: float) -> dict[str, float]:
    """Take packets until none comes for `quiet_s`: how many, how many distinct, late and twice, and for how long."""
    seen: set[int] = set()
    packets = late = octets = 0
    highest = -1
    first = last = 0.0
    buffer = bytearray(65536)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_SIZE)
        opened.bind(("", PORT))
        opened.settimeout(patience_s)
        print("ready", flush=True)
        with contextlib.suppress(TimeoutError):
            while size := opened.recv_into(buffer):
                last = time.monotonic()
                if not packets:
                    first = last
                    opened.settimeout(quiet_s)
                number = NUMBER.unpack_from(buffer)[0]
                late += number < highest and number not in seen
                highest = max(highest, number)
                seen.add(number)
                packets += 1
                octets += size
    found = {"packets": packets, "distinct": len(seen), "late": late, "twice": packets - len(seen), "octets": octets}
    return {**found, "s": last - first}


def send(host: str, count: int, size: int, rate_bps: int | None) -> dict[str, float]:
    """Send `count` packets of `size` octets, in trains, or one by one, on average at `rate_bps`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        # A small buffer would hold the sender back before the link's queue is full.
        opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, BUFFER_SIZE)
        opened.connect((host, PORT))
        if rate_bps is None:
            opened.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, size)
        train = bytearray(size * (1 if rate_bps else min(TRAIN_COUNT, 65_000 // size)))
        began = time.monotonic()
        number = 0
        while number < count:
            if rate_bps and (ahead := began + number * size * 8 / rate_bps - time.monotonic()) > 0.001:
                time.sleep(ahead)
            packets = min(len(train) // size, count - number)
            for index in range(packets):
                NUMBER.pack_into(train, index * size, number + index)
            opened.send(memoryview(train)[: packets * size])
            number += packets
        return {"packets": count, "s": time.monotonic() - began}


def echo() -> None:
    """Answer every packet with itself, until killed."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("", PORT))
        print("ready", flush=True)
        while True:
            packet, sender = opened.recvfrom(65536)
            opened.sendto(packet, sender)


def ping(host: str, count: int) -> dict[str, float]:
    """Round trips in milliseconds, of packets sent one after the other."""
    times = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.connect((host, PORT))
        opened.settimeout(5)
        for number in range(count):
            began = time.monotonic_ns()
            opened.send(NUMBER.pack(number))
            with contextlib.suppress(TimeoutError):
                opened.recv(65536)
                times.append((time.monotonic_ns() - began) / 1e6)
    times.sort()
    middle = times[len(times) // 2]
    return {"answers": len(times), "min_ms": times[0], "median_ms": middle, "max_ms": times[-1]}


def main(argv: list[str]) -> int:
    """Run one of the four programs."""
    top = argparse.ArgumentParser(prog="python -m bench.lab.traffic", description="Numbered UDP packets.")
    commands = top.add_subparsers(dest="command", required=True)
    taker = commands.add_parser("receive")
    taker.add_argument("--quiet", type=float, default=1.0, metavar="SECONDS", help="end when nothing came for so long")
    taker.add_argument("--patience", type=float, default=30.0, metavar="SECONDS", help="wait for the first packet")
    giver = commands.add_parser("send")
    giver.add_argument("host")
    giver.add_argument("--count", type=int, default=10_000)
    giver.add_argument("--size", type=int, default=1400, help="octets of UDP payload")
    giver.add_argument("--rate", type=parse_rate, help="bits per second of payload; default: as fast as it goes")
    commands.add_parser("echo")
    asker = commands.add_parser("ping")
    asker.add_argument("host")
    asker.add_argument("--count", type=int, default=20)
    options = top.parse_args(argv)
    if options.command == "echo":
        echo()
    elif options.command == "receive":
        print(json.dumps(receive(options.quiet, options.patience)))
    elif options.command == "send":
        print(json.dumps(send(options.host, options.count, options.size, options.rate)))
    else:
        print(json.dumps(ping(options.host, options.count)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
