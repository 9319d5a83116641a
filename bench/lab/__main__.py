"""`python -m bench.lab`: bring a laboratory up, use it, take it down. See docs/guides/lab.md."""

from __future__ import annotations

import argparse
import os
import sys

from bench.lab.link import LabError, Link
from bench.lab.topology import Lab, Pair, Star

__all__ = ["main"]

FAULTS = {
    "rate": ("RATE", "bits per second of whole packets: 100M, 2.5G"),
    "queue": ("SIZE", "room before the tail drops: 1bdp, 10ms or 64k"),
    "loss": ("FRACTION", "packets dropped at random: 0.05"),
    "delay": ("TIME", "time on the wire, one way: 25ms"),
    "jitter": ("TIME", "added to the delay, up to this much"),
    "reorder": ("FRACTION", "packets that are held back"),
    "reorder-delay": ("TIME", "for how long (default 5ms)"),
    "duplicate": ("FRACTION", "packets that arrive twice"),
}
NUMBERS = {"loss", "reorder", "duplicate"}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m bench.lab", description="A network laboratory of namespaces.")
    commands = top.add_subparsers(dest="command", required=True)
    up = commands.add_parser("up", help="make hosts and links; they stay until `down`")
    kinds = up.add_subparsers(dest="kind", required=True)
    for kind, text in (("pair", "two hosts: left and right"), ("star", "a server and receivers r1, r2 ...")):
        made = kinds.add_parser(kind, help=text, description=text)
        made.add_argument("--name", help="default: drawn from the process number")
        made.add_argument("--mtu", type=int, default=1500)
        if kind == "star":
            made.add_argument("--receivers", type=int, default=8, metavar="N")
        for fault, (shape, about) in FAULTS.items():
            number = float if fault in NUMBERS else str
            made.add_argument(f"--{fault}", type=number, metavar=shape, help=about)
            made.add_argument(f"--back-{fault}", type=number, metavar=shape, help="the same, in the other direction")
    run = commands.add_parser("exec", help="run a command on a host: exec left -- ip address")
    run.add_argument("host", help="left, right, server, r1 ...; NAME/left where several laboratories are up")
    run.add_argument("argv", nargs=argparse.REMAINDER, metavar="-- command")
    commands.add_parser("status", help="hosts, addresses and counters of what is up")
    down = commands.add_parser("down", help="take a laboratory down")
    which = down.add_mutually_exclusive_group()
    which.add_argument("name", nargs="?", help="default: the only one that is up")
    which.add_argument("--all", action="store_true", help="all of them, whoever brought them up")
    return top


def link_from(options: argparse.Namespace, prefix: str) -> Link:
    names = [fault.replace("-", "_") for fault in FAULTS]
    given = {name: getattr(options, prefix + name) for name in names}
    return Link(**{name: value for name, value in given.items() if value is not None})


def bring_up(options: argparse.Namespace) -> None:
    links = (link_from(options, ""), link_from(options, "back_"))
    if options.kind == "pair":
        lab: Lab = Pair(*links, mtu=options.mtu, name=options.name, keep=True)
    else:
        lab = Star(options.receivers, *links, mtu=options.mtu, name=options.name, keep=True)
    show(lab)


def show(lab: Lab) -> None:
    print(f"{lab.state.name}: {lab.state.kind}")
    for host in lab.hosts:
        counts = ", ".join(f"{name} {count}" for name, count in lab.counters(host).items() if count)
        print(f"  {host:8} {lab.address(host):12} {lab.address(host, 6):12} {counts}".rstrip())


def execute(options: argparse.Namespace) -> None:
    name, _, host = options.host.rpartition("/")
    argv = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
    if not argv:
        raise LabError("there is no command: exec left -- ip address")
    command = Lab.find(name or None).command(host, argv)
    sys.stdout.flush()
    os.execvp(command[0], command)


def main(argv: list[str]) -> int:
    """Do what the command line says; 0, or 1 with a sentence on stderr."""
    options = parser().parse_args(argv)
    try:
        if options.command == "up":
            bring_up(options)
        elif options.command == "exec":
            execute(options)
        elif options.command == "status":
            for lab in Lab.all():
                try:
                    show(lab)
                except LabError as error:  # coming up, or going, right now
                    print(f"lab: {error}", file=sys.stderr)
        else:
            for lab in Lab.all() if options.all else [Lab.find(options.name)]:
                lab.close()
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
