"""One stream for many receivers, with the real commands on loopback: what all get, and what the server reports."""

from __future__ import annotations

import platform
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Writer
from tests.system.groups import QUICKLY, SLOWLY, Fleet, copy_is_exact, results
from tests.system.programs import Server, digest_line

SIZE = 3_000_000
SYMBOL_SIZE = 1_400  # and a little more


def packet_counts(server: Server) -> list[int]:
    """Data packets that went to each receiver that is done, while it was there."""
    return [event["sent_count"] for event in server.events("peer_finished")]


# --- Several receivers ---------------------------------------------------------------------------------------


def test_three_receivers_get_one_stream_and_a_result_line_each(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    names = ["first", "second", "third"]
    fetches = [fleet.receive_plainly("--wait", "-o", fleet.place(name)) for name in names]
    server = fleet.serve_plainly(*QUICKLY, "--wait", "3", "--expect", "3", path)
    assert [fetch.wait() for fetch in fetches] == [0, 0, 0]
    assert [fetch.out for fetch in fetches] == [digest_line(fleet.place(name)) for name in names]
    assert all(fleet.place(name).read_bytes() == path.read_bytes() for name in names)
    assert server.wait() == 0, server.err
    lines = [line.split(";") for line in server.out.splitlines()]
    assert [(line[0], line[1], line[2], line[4], line[5]) for line in lines] == [
        ("RESULT", "done", platform.node(), path.name, str(SIZE))
    ] * 3
    assert len({line[3] for line in lines}) == 3
    assert all(float(line[6]) >= 0 and 0 <= float(line[7]) <= 1 for line in lines)
    assert "receivers: 3 done" in server.err


def test_what_receivers_lose_costs_little_more_than_what_one_of_them_loses(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    fetches = [fleet.receive(name, "--loss-test", "0.1") for name in ("first", "second")]
    server = fleet.serve(*SLOWLY, "--wait", "2", "--expect", "2", path)
    assert [fetch.wait() for fetch in fetches] == [0, 0]
    assert copy_is_exact(fleet, "first", path)
    assert copy_is_exact(fleet, "second", path)
    assert server.wait() == 0
    assert server.event("stopped")["reason"] == "every expected peer is done"
    assert server.event("group_opened")["group"] == fleet.address
    assert len(server.events("peer_joined")) == len(server.events("peer_finished")) == 2
    assert [result["state"] for result in results(server)] == ["done", "done"]
    assert max(packet_counts(server)) < 1.4 * SIZE / SYMBOL_SIZE


def test_who_comes_late_gets_what_it_missed(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(5_000_000)
    first = fleet.receive("first")
    server = fleet.serve(*SLOWLY, "--expect", "2", path)
    first.wait_received()
    late = fleet.receive("late")
    assert (first.wait(), late.wait(), server.wait()) == (0, 0, 0)
    assert copy_is_exact(fleet, "first", path)
    assert copy_is_exact(fleet, "late", path)
    assert first.event("fetched")["received_count"] < 1.3 * 5_000_000 / SYMBOL_SIZE


def test_waiting_ends_when_its_time_is_over_and_whoever_is_there_is_served(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(100_000)
    fetch = fleet.receive("only")
    server = fleet.serve(*QUICKLY, "--wait", "5", "--wait-time", "1.5", "--expect", "1", path)
    assert (fetch.wait(), server.wait()) == (0, 0)
    assert copy_is_exact(fleet, "only", path)
    waited = server.events("waiting")[-1]
    assert (waited["have_count"], waited["want_count"]) == (1, 5)
    told = [event["message"] for event in server.events("warned")]
    assert "The time to wait is over: starting with 1 of 5 receivers." in told


def test_a_directory_and_an_empty_file_go_to_a_group(fleet: Fleet, tmp_path: Path) -> None:
    (tmp_path / "tree" / "sub").mkdir(parents=True)
    (tmp_path / "tree" / "sub" / "file").write_bytes(b"inside")
    (tmp_path / "empty").touch()
    fetches = [fleet.receive("first", "tree"), fleet.receive("second", "empty")]
    server = fleet.serve(*QUICKLY, "--expect", "2", tmp_path / "tree", tmp_path / "empty")
    assert ([fetch.wait() for fetch in fetches], server.wait()) == ([0, 0], 0)
    assert (fleet.place("first") / "tree" / "sub" / "file").read_bytes() == b"inside"
    assert (fleet.place("second") / "empty").read_bytes() == b""


def test_a_single_peer_may_ask_the_server_of_a_group_as_well(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(100_000)
    member = fleet.receive("member")
    server = fleet.serve(*QUICKLY, "--expect", "2", path)
    alone = fleet.fetch("-o", fleet.directory / "alone", port=server.port)
    assert (alone.wait(), member.wait(), server.wait()) == (0, 0, 0)
    assert (fleet.directory / "alone").read_bytes() == path.read_bytes()
    assert copy_is_exact(fleet, "member", path)


# --- Broadcast and keys --------------------------------------------------------------------------------------


@pytest.fixture
def everybody(tmp_path: Path) -> Iterator[Fleet]:
    """The same by broadcast."""
    started = Fleet(tmp_path, is_broadcast=True)
    yield started
    started.close()


def test_a_broadcast_reaches_everybody(everybody: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    fetches = [everybody.receive("first"), everybody.receive("second")]
    server = everybody.serve(*QUICKLY, "--wait", "2", "--expect", "2", path)
    assert ([fetch.wait() for fetch in fetches], server.wait()) == ([0, 0], 0)
    assert copy_is_exact(everybody, "first", path)
    assert copy_is_exact(everybody, "second", path)


def test_only_who_has_the_key_of_a_group_hears_it(fleet: Fleet, write_file: Writer, tmp_path: Path) -> None:
    path = write_file(SIZE)
    key, other = tmp_path / "group.key", tmp_path / "other.key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    other.write_text(f"{bytes(range(1, 33)).hex()}\n")
    server = fleet.serve(*QUICKLY, "--key", key, path)
    wrong = [fleet.receive("wrong", "--key", other, "--timeout", "2"), fleet.receive("none", "--timeout", "2")]
    assert [fetch.wait() for fetch in wrong] == [3, 3]
    for fetch in wrong:
        assert "it uses another key than this receiver" in fetch.err
        assert fetch.event("failed")["hint"] == "Give both the same --key, or none."
    right = fleet.receive("right", "--key", key)
    assert right.wait() == 0, right.err
    assert copy_is_exact(fleet, "right", path)
    assert not right.events("warned")
    assert server.interrupt() == 130
    assert [result["state"] for result in results(server)] == ["done"]


def test_a_client_that_waits_for_something_else_is_notified_what_is_there(
    fleet: Fleet, write_file: Writer, tmp_path: Path
) -> None:
    path, key = write_file(100_000, "here.bin"), tmp_path / "group.key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o600)
    keyed = fleet.receive("keyed", "--wait", "--key", key)
    other = fleet.receive("other", "--wait", "there.bin")
    fleet.serve(*QUICKLY, path)
    assert "it uses another key than this receiver" in keyed.wait_event("warned")["message"]
    told = other.wait_event("warned", lambda event: "is not announced" in event["message"])
    assert told["hint"] == "This is: here.bin."


def test_a_single_peer_without_the_key_of_a_group_is_refused(fleet: Fleet, write_file: Writer, tmp_path: Path) -> None:
    path = write_file(100_000)
    key = tmp_path / "group.key"
    key.write_bytes(bytes(range(32)))
    key.chmod(0o644)
    server = fleet.serve(*QUICKLY, "--key", key, path)
    assert server.event("warned")["message"] == f"Everybody on this machine can read the key {key}."
    alone = fleet.fetch("-o", fleet.directory / "alone", port=server.port)
    assert alone.wait() == 7
    assert "serves only peers that have its key" in alone.err
    assert not (fleet.directory / "alone").exists()
    assert server.event("serving")["is_keyed"]
    assert server.wait_event("peer_refused")["reason"] == "key mismatch"
    assert server.interrupt() == 130


def test_a_receiver_that_is_asked_to_leave_has_the_key_with_it(
    fleet: Fleet, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    path = write_file(SIZE)
    key = tmp_path / "group.key"
    key.write_bytes(bytes(range(32)))
    fetches = [fleet.receive("slow", "--key", key, "--loss-test", "0.6"), fleet.receive("quick", "--key", key)]
    server = fleet.serve(*SLOWLY, "--key", key, "--min-rate", "12M", "--wait", "2", "--expect", "2", path)
    assert [fetch.wait() for fetch in fetches] == [0, 0], fetches[0].err
    assert fetches[0].event("asked_to_leave")
    assert copy_is_exact(fleet, "slow", path)
    assert server.wait() == 0


# --- One way -------------------------------------------------------------------------------------------------


def test_one_pass_one_way_is_enough_for_the_loss_that_was_planned(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    fetches = [fleet.receive(name, "--loss-test", "0.05") for name in ("first", "second")]
    server = fleet.serve("--rate", "50M", "--oneway", "--passes", "1", "--plan-loss", "0.2", path)
    assert ([fetch.wait() for fetch in fetches], server.wait()) == ([0, 0], 0)
    assert copy_is_exact(fleet, "first", path)
    assert copy_is_exact(fleet, "second", path)
    assert server.event("air_time")["pass_count"] == 1
    assert not server.events("peer_joined")


def test_a_recorded_one_way_stream_serves_a_receiver_that_sends_nothing_at_all(
    fleet: Fleet, write_file: Writer
) -> None:
    path = write_file(1_000_000)
    stream: list[bytes] = []
    with group_listener(fleet) as listener:
        server = fleet.serve("--rate", "20M", "--oneway", "--passes", "1", path)
        while server.is_running:
            stream += drained(listener)
        stream += drained(listener)
        assert server.wait() == 0
    fetch = fleet.receive("diode")
    with bound(server.port) as control, bound(server.data_port) as data:
        for number, datagram in enumerate(stream):
            control.sendto(datagram, (fleet.address, fleet.port))
            if number % 20 == 0:
                time.sleep(0.002)
        assert fetch.wait() == 0, fetch.err
        assert drained(control) + drained(data) == []  # All that a receiver would answer to.
    assert copy_is_exact(fleet, "diode", path)


def group_listener(fleet: Fleet) -> socket.socket:
    """Hears what is sent to the group."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
    listener.bind((fleet.address, fleet.port))
    membership = socket.inet_aton(fleet.address) + socket.inet_aton("127.0.0.1")
    listener.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    listener.settimeout(0.05)
    return listener


def bound(port: int) -> socket.socket:
    """A socket at a port that a server had, which can send to groups on loopback."""
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.bind(("", port))
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
    opened.settimeout(0.05)
    return opened


def drained(opened: socket.socket) -> list[bytes]:
    """The datagrams that are there."""
    found = []
    try:
        while True:
            found.append(opened.recv(65_536))
    except TimeoutError:
        return found
