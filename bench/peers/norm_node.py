"""A sender or receiver of NORM (RFC 5740) through the C library: `norm_node.py send|receive ...`.

A program of its own that needs nothing but Python and libnorm, so that a receiver costs no more than it must. It
writes "ready" once it can be sent to, and a receiver "completed SECONDS" (of the monotonic clock) when it has the file.
"""

from __future__ import annotations

import argparse
import ctypes
import ctypes.util
import sys
import time
from pathlib import Path

__all__ = ["main"]

LIBRARY = "libnorm.so.1"
PORT = 6003
SEGMENT_SIZE = 1400
BLOCK_COUNT = 64
PARITY_COUNT = 32
BUFFER_SIZE = 64 << 20
GRTT_S = 0.01  # its first guess, half a second, is of the internet, and every repair would wait for it
SOCKET_BUFFER_SIZE = 4 << 20
RX_OBJECT_COMPLETED = 20  # normApi.h, NormEventType
RX_OBJECT_ABORTED = 21


class Event(ctypes.Structure):
    """NormEvent of normApi.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("session", ctypes.c_void_p),
        ("sender", ctypes.c_void_p),
        ("object", ctypes.c_void_p),
    )


def load() -> ctypes.CDLL:
    """The library, with the types of what is called in it."""
    pointer, text = ctypes.c_void_p, ctypes.c_char_p
    wide, narrow, flag = ctypes.c_uint32, ctypes.c_uint16, ctypes.c_bool
    library = ctypes.CDLL(LIBRARY)
    for name, result, arguments in (
        ("NormCreateInstance", pointer, (flag,)),
        ("NormCreateSession", pointer, (pointer, text, narrow, wide)),
        ("NormSetMulticastInterface", flag, (pointer, text)),
        ("NormSetTTL", flag, (pointer, ctypes.c_ubyte)),
        ("NormSetTxRate", None, (pointer, ctypes.c_double)),
        ("NormSetGrttEstimate", None, (pointer, ctypes.c_double)),
        ("NormSetTxSocketBuffer", flag, (pointer, ctypes.c_uint)),
        ("NormSetRxSocketBuffer", flag, (pointer, ctypes.c_uint)),
        ("NormStartSender", flag, (pointer, narrow, wide, narrow, narrow, narrow, ctypes.c_ubyte)),
        ("NormFileEnqueue", pointer, (pointer, text, text, ctypes.c_uint)),
        ("NormSetCacheDirectory", flag, (pointer, text)),
        ("NormSetDefaultUnicastNack", None, (pointer, flag)),
        ("NormStartReceiver", flag, (pointer, wide)),
        ("NormGetNextEvent", flag, (pointer, ctypes.POINTER(Event), flag)),
        ("NormFileGetName", flag, (pointer, text, ctypes.c_uint)),
    ):
        function = getattr(library, name)
        function.restype = result
        function.argtypes = arguments
    return library


def check(done: object, what: str) -> None:
    if not done:
        sys.exit(f"libnorm: {what} failed")


def open_session(library: ctypes.CDLL, options: argparse.Namespace) -> tuple[int, int]:
    """(instance, session) on the group and the interface."""
    instance = library.NormCreateInstance(False)
    session = library.NormCreateSession(instance, options.group.encode(), PORT, options.number)
    check(session, "NormCreateSession")
    check(library.NormSetMulticastInterface(session, options.interface.encode()), "NormSetMulticastInterface")
    check(library.NormSetTTL(session, 1), "NormSetTTL")
    return instance, session


def send(library: ctypes.CDLL, options: argparse.Namespace) -> None:
    """Send the file and answer what is asked for, until killed."""
    instance, session = open_session(library, options)
    library.NormSetTxRate(session, float(options.rate))
    library.NormSetGrttEstimate(session, GRTT_S)
    check(
        library.NormStartSender(session, 1, BUFFER_SIZE, SEGMENT_SIZE, BLOCK_COUNT, PARITY_COUNT, 0),
        "NormStartSender",
    )
    library.NormSetTxSocketBuffer(session, SOCKET_BUFFER_SIZE)
    name = str(options.file).encode()
    check(library.NormFileEnqueue(session, name, b"", 0), "NormFileEnqueue")
    event = Event()
    while library.NormGetNextEvent(instance, ctypes.byref(event), True):
        pass


def receive(library: ctypes.CDLL, options: argparse.Namespace) -> None:
    """Take one file and give it its name; NACKs go to the group, so that others can keep quiet."""
    instance, session = open_session(library, options)
    check(library.NormSetCacheDirectory(instance, f"{options.cache}/".encode()), "NormSetCacheDirectory")
    library.NormSetDefaultUnicastNack(session, False)
    check(library.NormStartReceiver(session, BUFFER_SIZE), "NormStartReceiver")
    library.NormSetRxSocketBuffer(session, SOCKET_BUFFER_SIZE)
    print("ready", flush=True)
    event = Event()
    while library.NormGetNextEvent(instance, ctypes.byref(event), True):
        if event.type == RX_OBJECT_ABORTED:
            sys.exit("the sender gave the file up")
        if event.type == RX_OBJECT_COMPLETED:
            name = ctypes.create_string_buffer(4096)
            check(library.NormFileGetName(event.object, name, len(name)), "NormFileGetName")
            Path(name.value.decode()).rename(options.file)
            print(f"completed {time.monotonic()}", flush=True)
            return


def main(argv: list[str]) -> int:
    """Send or receive one file."""
    parser = argparse.ArgumentParser(prog="norm_node.py", description="A sender or receiver of NORM.")
    parser.add_argument("work", choices=("send", "receive"))
    parser.add_argument("file", type=Path, help="what to send, or what to call what comes")
    parser.add_argument("--group", required=True)
    parser.add_argument("--interface", required=True)
    parser.add_argument("--number", type=int, required=True, help="of this node, different for each")
    parser.add_argument("--rate", type=int, help="bits per second; a sender's")
    parser.add_argument("--cache", type=Path, help="where a file grows; a receiver's")
    options = parser.parse_args(argv)
    (send if options.work == "send" else receive)(load(), options)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
