"""Starts commands as forks of one process that has imported the package: a command of its own takes 0.7 s for that.

What runs is a process with its own files, signals, sockets and exit status, and `python -m fountain` from its first
line on. Commands whose environment changes how Python or the compiler start are not forked. Only Linux has this.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from bench.commands import ROOT, MeasuredProcess, Process

__all__ = ["ForkedProcess", "start"]

COMMAND = (sys.executable, "-m", "fountain")
IN_NAMESPACE = ("ip", "netns", "exec")
FIXED = ("LD_", "LC_", "LANG", "TZ", "NUMBA", "PYTHON")
MESSAGE_SIZE_MAX = 1 << 17
CLONE_NEWNS, CLONE_NEWNET = 0x00020000, 0x40000000
MS_REC, MS_SLAVE, MNT_DETACH = 0x4000, 0x80000, 2


def fixed(env: Mapping[str, str]) -> dict[str, str]:
    """What a process of this environment reads once, as it starts."""
    return {name: value for name, value in env.items() if name.startswith(FIXED)}


FIXED_HERE = fixed({**os.environ, "PYTHONPATH": str(ROOT)})


class ForkedProcess:
    """A command that the server has forked, with what the tests use of `subprocess.Popen`.

    `memory_size` is the most that was resident in octets, `cpu_s` seconds of processor time, both once it has ended.
    """

    def __init__(self, report: int) -> None:
        self._report = report
        self._received = bytearray()
        self.returncode: int | None = None
        self.memory_size = 0
        self.cpu_s = 0.0
        while b"\n" not in self._received:
            self._read()
        self.pid = int(self._received.split(b"\n")[0])

    def poll(self) -> int | None:
        """The exit status, or None while it runs."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            self._read()
            if self._received.count(b"\n") == 2:
                os.close(self._report)
                code, self.memory_size, self.cpu_s = json.loads(self._received.split(b"\n")[1])
                self.returncode = os.waitstatus_to_exitcode(code)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _read(self) -> None:
        octets = os.read(self._report, 4096)
        assert octets, "the fork server has ended"
        self._received += octets


def start(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    stdin: int,
    stdout: IO[bytes],
    stderr: IO[bytes],
) -> Process:
    """Start a command as `subprocess.Popen` would, by the fork server if it can."""
    words, namespace = list(argv), ""
    if tuple(words[:3]) == IN_NAMESPACE:
        namespace, words = words[3], words[4:]
    can_fork = sys.platform == "linux" and tuple(words[:3]) == COMMAND
    if not can_fork or fixed(env) != FIXED_HERE:
        return MeasuredProcess(list(argv), cwd=cwd, env=env, stdin=stdin, stdout=stdout, stderr=stderr)
    assert stdin == subprocess.DEVNULL
    message = json.dumps([words[3:], str(cwd), dict(env), namespace])
    read, write = os.pipe()
    with open(os.devnull, "rb") as nothing:
        files = [nothing.fileno(), stdout.fileno(), stderr.fileno(), write]
        socket.send_fds(_channel(), [message.encode("utf-8", "surrogateescape")], files)
    os.close(write)
    return ForkedProcess(read)


@functools.cache
def _channel() -> socket.socket:
    """The way to this process's fork server, which ends when this process does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_SIZE_MAX)
    argv = [sys.executable, "-m", "tests.fork_server", str(theirs.fileno())]
    with theirs:
        server = subprocess.Popen(argv, pass_fds=[theirs.fileno()], cwd=ROOT, stdin=subprocess.DEVNULL)

    def end() -> None:
        ours.close()
        server.wait()

    atexit.register(end)
    return ours


# --- The server -------------------------------------------------------------------------------------------------


def serve(channel: socket.socket) -> None:
    """Fork for each message, until the other side is gone. Returns in each command, and never in what watches it."""
    import fountain
    from fountain.codes.registry import code_by_name
    from fountain.engine.runtime.warmup import WarmUp
    from tests.engine.keeping import KeepingObserver

    for module in pkgutil.walk_packages(fountain.__path__, "fountain."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    WarmUp(code_by_name("raptorq")).finish(KeepingObserver(), threading.Event())  # Commands find the kernels in memory.
    gc.collect()
    gc.freeze()  # The collector of a command does not touch, and so copy, what all have in common.
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # Nobody waits for those who watch.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    warnings.filterwarnings("ignore", "This process .* is multi-threaded", DeprecationWarning)  # Idle ones of numpy.
    while True:
        message, files, _, _ = socket.recv_fds(channel, MESSAGE_SIZE_MAX, 4)
        if not message:
            os._exit(0)
        if os.fork() == 0:
            channel.close()
            _watch(message, files)
            return
        for descriptor in files:
            os.close(descriptor)


def _watch(message: bytes, files: list[int]) -> None:
    """Fork the command, where this returns, and report its process, its end and what it used."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    command = os.fork()
    if command == 0:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        _become(*json.loads(message.decode("utf-8", "surrogateescape")), files)
        return
    report = files[3]
    os.write(report, b"%d\n" % command)
    _, code, usage = os.wait4(command, 0)
    os.write(report, json.dumps([code, usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime]).encode() + b"\n")
    os._exit(0)


def _become(argv: list[str], cwd: str, env: dict[str, str], namespace: str, files: list[int]) -> None:
    """Let this process be as a command is that was just started."""
    for descriptor, file in enumerate(files[:3]):
        os.dup2(file, descriptor)
    for file in files:
        os.close(file)
    if namespace:
        _enter(namespace)
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = ["fountain", *argv]


def _enter(namespace: str) -> None:
    """What `ip netns exec` does: the network's namespace, and a /sys that shows it."""
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/run/netns/{namespace}", os.O_RDONLY)
    results = [
        libc.setns(descriptor, CLONE_NEWNET),
        libc.unshare(CLONE_NEWNS),
        libc.mount(b"", b"/", b"none", MS_SLAVE | MS_REC, None),
        libc.umount2(b"/sys", MNT_DETACH) and 0,
        libc.mount(namespace.encode(), b"/sys", b"sysfs", 0, None),
    ]
    os.close(descriptor)
    assert not any(results), results


def _run() -> None:
    """Run the command, and end this process without taking apart all that was imported: that takes a while."""
    status: object = 0
    try:
        runpy.run_module("fountain", run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        status = ended.code
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status if isinstance(status, int) else 1)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
    _run()
