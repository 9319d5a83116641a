"""How groups end: receivers and servers that are killed, interrupted or slow, hooks, full disks, nobody there."""

from __future__ import annotations

import os
import platform
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from blake3 import blake3

from bench.trials.group_forger import Forger, honest
from fountain.wire.group import GroupReport, MemberState, Plan
from tests.storage.support import leftovers, mounted, needs_root
from tests.system.conftest import Writer
from tests.system.groups import QUICKLY, SLOWLY, Fleet, copy_is_exact, results
from tests.system.programs import Fetch, Server

SIZE = 5_000_000
SMALL_SIZE = 200_000
LARGE_SIZE = 60_000_000  # half a minute at SLOWLY: another server starts meanwhile
HOST = platform.node()
Lie = Callable[[Plan, int, int], GroupReport]


def catch_in_the_middle(fleet: Fleet, path: Path, *options: str) -> tuple[Server, Fetch]:
    """A slow server of `path`, and a receiver "first" that has a part of it."""
    server = fleet.serve(*SLOWLY, "--expect", "1", path)
    fetch = fleet.receive("first", *options)
    fetch.wait_middle()
    return server, fetch


# --- Receivers go --------------------------------------------------------------------------------------------


def test_a_killed_receiver_resumes_and_counts_once(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(fleet, path)
    fetch.kill()
    again = fleet.receive("first")
    assert again.wait() == 0, again.err
    assert copy_is_exact(fleet, "first", path)
    resumed, end = again.event("resumed")["verified_size"], again.event("fetched")
    assert resumed > 0
    assert round(end["rate_bps"] * end["duration_s"] / 8) == SIZE - resumed
    assert server.wait() == 0
    assert len(server.events("peer_joined")) == 1
    assert [result["state"] for result in results(server)] == ["done"]


def test_a_receiver_that_stays_away_is_named_and_the_status_is_8(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    fetches = [fleet.receive("first"), fleet.receive("second")]
    server = fleet.serve(*SLOWLY, "--wait", "2", "--expect", "2", "--idle-exit", "1", path)
    fetches[0].wait_received()
    fetches[0].kill()
    assert fetches[1].wait() == 0
    assert copy_is_exact(fleet, "second", path)
    assert server.wait() == 8
    assert server.event("stopped")["reason"] == "idle"
    assert server.event("peer_gone")["reason"] == "silent"
    silent = results(server, lambda result: result["state"] == "silent")[0]
    assert f"1 of 2 expected peers have the object; not done: {HOST} ({silent['address']}, silent)." in server.err
    assert sorted(result["state"] for result in results(server)) == ["done", "silent"]


def test_a_server_that_ends_before_anybody_came_does_not_report_a_start(fleet: Fleet, write_file: Writer) -> None:
    server = fleet.serve(*QUICKLY, "--idle-exit", "1", write_file(SMALL_SIZE))
    assert server.wait() == 0, server.err
    assert server.event("stopped")["reason"] == "idle"
    assert not [event for event in server.events("warned") if "starting with" in event["message"]]


def test_an_interrupted_receiver_notifies_the_server_and_resumes_later(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(fleet, path)
    assert fetch.interrupt() == 130
    assert len(leftovers(fleet.place("first"))) == 1
    assert server.wait_event("peer_gone")["reason"] == "interrupted"
    again = fleet.receive("first")
    assert (again.wait(), server.wait()) == (0, 0)
    assert again.event("resumed")["verified_size"] > 0
    assert copy_is_exact(fleet, "first", path)


@needs_root
def test_a_receiver_whose_disk_is_full_notifies_the_server(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    with mounted(fleet.place("small"), "size=2m"):
        fetches = [fleet.receive("small"), fleet.receive("large")]
        server = fleet.serve(*QUICKLY, "--wait", "2", "--expect", "2", "--idle-exit", "1", path)
        assert [fetch.wait() for fetch in fetches] == [6, 0]
        assert "Free some space" in fetches[0].event("failed")["hint"]
        assert server.wait() == 8
    assert copy_is_exact(fleet, "large", path)
    assert server.event("peer_gone")["reason"] == "could not store the object"
    full = results(server, lambda result: result["state"] == "failed")[0]
    assert f"not done: {HOST} ({full['address']}, could not store the object)" in server.err
    assert sorted(result["state"] for result in results(server)) == ["done", "failed"]


def test_a_receiver_that_cannot_keep_the_minimum_rate_gets_the_rest_alone(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    fetches = [fleet.receive("slow", "--loss-test", "0.6"), fleet.receive("quick")]
    server = fleet.serve(*SLOWLY, "--min-rate", "12M", "--wait", "2", "--expect", "2", path)
    assert [fetch.wait() for fetch in fetches] == [0, 0], fetches[0].err
    assert copy_is_exact(fleet, "slow", path)
    assert copy_is_exact(fleet, "quick", path)
    assert fetches[0].event("asked_to_leave")
    assert not fetches[1].events("asked_to_leave")
    assert server.wait() == 0
    assert "too slow for the group" in server.event("peer_gone")["reason"]
    assert [result["state"] for result in results(server)] == ["done", "done"]


# --- Somebody lies -----------------------------------------------------------------------------------------


@contextmanager
def liar(fleet: Fleet, lie: Lie, *, host: str = "127.0.0.1", key: bytes | None = None) -> Iterator[None]:
    """Somebody at `host` on the network of a group, who reports `lie` to its server all the time."""
    forger, is_over = Forger(key), threading.Event()
    ear, mouth = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))

    def run() -> None:
        while not is_over.is_set():
            with suppress(TimeoutError):
                data, server = ear.recvfrom(65_536)
                forger.hear(data)
                said = forger.speak(lie)
                if said is not None:
                    mouth.sendto(said[0], (server[0], said[1]))

    with ear, mouth:
        mouth.bind((host, 0))
        ear.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        ear.bind((fleet.address, fleet.port))
        membership = socket.inet_aton(fleet.address) + socket.inet_aton("127.0.0.1")
        ear.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
        ear.settimeout(0.05)
        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            is_over.set()
            thread.join()


def done_for_two(plan: Plan, count: int, _block_count: int) -> GroupReport:
    """Two receivers that are made up have the object."""
    peer_id = f"done   {count % 2}".encode()
    return replace(honest(plan), peer_id=peer_id, state=MemberState.DONE, fraction=65_535)


def any_state(plan: Plan, count: int, _block_count: int) -> GroupReport:
    """A receiver that is something else each time."""
    return replace(honest(plan), state=list(MemberState)[count * 5 % len(MemberState)])


class InNamesOfOthers:
    """Whoever stands in a Plan has failed, left, or has the object; `states` in turn."""

    def __init__(self, *states: MemberState) -> None:
        self._states = states
        self.names: set[bytes] = set()

    def __call__(self, plan: Plan, count: int, _block_count: int) -> GroupReport:
        self.names.update(plan.acknowledged, (peer for peer, _ in plan.echoes), [plan.clr] if any(plan.clr) else ())
        peer_id = sorted(self.names)[count % len(self.names)] if self.names else bytes(8)
        return replace(honest(plan), peer_id=peer_id, state=self._states[count // 3 % len(self._states)])


@pytest.mark.parametrize(
    "states",
    [(MemberState.FAILED,), pytest.param((MemberState.FAILED, MemberState.LEFT, MemberState.DONE), id="each")],
)
def test_nobody_ends_a_receiver_by_speaking_in_its_name_from_elsewhere(
    states: tuple[MemberState, ...], fleet: Fleet, write_file: Writer
) -> None:
    path, lie = write_file(SIZE), InNamesOfOthers(*states)
    with liar(fleet, lie, host="127.0.0.2"):
        fetches = [fleet.receive("first"), fleet.receive("second")]
        server = fleet.serve(*SLOWLY, "--wait", "2", "--expect", "2", path)
        assert [fetch.wait() for fetch in fetches] == [0, 0], fetches[0].err
        assert server.wait() == 0
    assert copy_is_exact(fleet, "first", path)
    assert copy_is_exact(fleet, "second", path)
    ends = [result for result in results(server) if result["host"] == HOST]
    assert [end["state"] for end in ends] == ["done", "done"]
    assert all(end["address"].startswith("127.0.0.1:") for end in ends)


def test_made_up_receivers_that_say_they_are_done_end_no_stream_that_others_receive(
    fleet: Fleet, write_file: Writer
) -> None:
    path = write_file(SIZE)
    fetch = fleet.receive("first")
    server = fleet.serve(*SLOWLY, "--expect", "2", path)
    fetch.wait_received()
    with liar(fleet, done_for_two):
        assert fetch.wait() == 0, fetch.err
        assert copy_is_exact(fleet, "first", path)
        assert server.wait() == 0
    assert len([result for result in results(server) if result["host"] != "forger"]) == 1


def test_made_up_receivers_that_are_heard_first_end_no_stream_and_are_counted_apart(
    fleet: Fleet, write_file: Writer
) -> None:
    path = write_file(SIZE)
    fetch = fleet.receive("first")
    with liar(fleet, done_for_two):
        server = fleet.serve_plainly(*SLOWLY, "--expect", "2", path)
        assert fetch.wait() == 0, fetch.err
        assert server.wait() == 0
    assert copy_is_exact(fleet, "first", path)
    assert server.out.count("RESULT;done;") == 3
    assert "receivers: 3 done; 2 said so in the first report\n" in server.err


@pytest.mark.slow
def test_made_up_receivers_that_are_done_end_no_stream_however_large_the_object_is(
    fleet: Fleet, write_file: Writer
) -> None:
    path = write_file(4 * SIZE)
    fetch = fleet.receive("first")
    with liar(fleet, done_for_two):
        server = fleet.serve("--cc", "fixed", "--rate", "4M", "--expect", "2", path)  # 40 s
        assert fetch.wait() == 0, fetch.err
        assert server.wait() == 0
    assert copy_is_exact(fleet, "first", path)


def test_a_receiver_that_says_something_else_each_time_gets_one_line_for_its_end(
    fleet: Fleet, write_file: Writer
) -> None:
    path = write_file(SIZE)
    with liar(fleet, any_state):
        fetch = fleet.receive("first")
        server = fleet.serve_plainly(*SLOWLY, "--wait", "2", "--wait-time", "30", "--expect", "2", path)
        assert fetch.wait() == 0, fetch.err
        assert server.wait() == 0
    lines = [line.split(";") for line in server.out.splitlines() if line.startswith("RESULT;")]
    states = [line[1] for line in lines if line[2] == "forger"]
    assert len(states) <= 3  # and two for its hook, which failed, and then did not
    assert len(set(states)) == 1
    assert [line[1] for line in lines if line[2] != "forger"] == ["done"]


# --- The server goes -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "way",
    [pytest.param(signal.SIGINT, id="interrupted", marks=pytest.mark.slow), pytest.param(signal.SIGKILL, id="killed")],
)
def test_receivers_go_on_where_a_server_that_comes_back_does(
    way: signal.Signals, fleet: Fleet, write_file: Writer
) -> None:
    path = write_file(SIZE)
    server = fleet.serve(*SLOWLY, "--wait", "2", "--expect", "2", path)  # Neither ends before the other is here.
    fetch, other = fleet.receive("first"), fleet.receive("other")
    fetch.wait_received()
    server.signal(way)
    assert server.wait() == (130 if way is signal.SIGINT else -way)
    again = fleet.serve(*QUICKLY, "--expect", "2", path)
    assert (fetch.wait(), other.wait(), again.wait()) == (0, 0, 0)
    assert copy_is_exact(fleet, "first", path)
    assert copy_is_exact(fleet, "other", path)
    why = "the server has left" if way is signal.SIGINT else "the group is silent"
    reasons = [event["reason"] for event in fetch.events("reconnecting")]
    # Of a server that was killed, the next session of the object may be followed before the old one counts as silent.
    assert reasons == [why] or (way is signal.SIGKILL and not reasons)


def test_receivers_of_a_server_that_stays_away_end_with_4_and_keep_their_part(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(fleet, path, "--timeout", "3")
    assert server.interrupt() == 130
    assert f"not done: {HOST} (at " in server.err
    assert fetch.wait() == 4
    assert "The group fell silent before all was here." in fetch.err
    assert len(leftovers(fleet.place("first"))) == 1


def test_a_fetch_stays_with_its_object_when_its_server_goes_and_another_object_is_announced(
    fleet: Fleet, write_file: Writer
) -> None:
    path, other = write_file(LARGE_SIZE, "first.bin"), write_file(SIZE, "other.bin")
    server, fetch = catch_in_the_middle(fleet, path, "--timeout", "6")
    fleet.serve(*SLOWLY, other)
    assert fetch.wait_event("warned", lambda event: "here as well" in event["message"])["message"] == (
        "other.bin is announced here as well."
    )
    server.kill()
    assert fetch.wait() == 4
    assert [event["name"] for event in fetch.events("announced")] == [path.name]
    assert len(leftovers(fleet.place("first"))) == 1


def test_a_server_that_returns_with_another_object_of_that_name_is_reported(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(fleet, path, "--timeout", "6")
    server.kill()
    path.write_bytes(path.read_bytes()[1:])
    fleet.serve(*SLOWLY, path)
    said = f"The group now announces another '{path.name}', of {SIZE - 1:,} bytes."
    assert fetch.wait_event("warned", lambda event: "another" in event["message"])["message"] == said
    assert fetch.wait() == 4
    assert said in fetch.err


# --- Listening -----------------------------------------------------------------------------------------------


def test_a_listener_takes_each_object_once_and_runs_its_hook(fleet: Fleet, write_file: Writer, tmp_path: Path) -> None:
    first, second = write_file(SMALL_SIZE, "first.bin"), write_file(SMALL_SIZE, "second.bin")
    log = tmp_path / "log"
    note = f'echo "$FOUNTAIN_NAME $FOUNTAIN_DIGEST $FOUNTAIN_OBJECT_ID" >> {log}'
    listen = ("--listen", "--unsigned", "--hook", f'{note}; cmp "$FOUNTAIN_PATH" {first}')
    listener = fleet.receive("listener", *listen)
    server = fleet.serve(*QUICKLY, "--expect", "1", first)
    assert server.wait() == 0, server.err
    assert server.event("hook_reported")["is_success"]
    assert listener.interrupt() == 130
    again = fleet.receive("listener", *listen)
    server = fleet.serve(*QUICKLY, "--expect", "1", first, second)
    assert server.wait() == 0, server.err
    assert server.event("hook_reported") | {"name": second.name, "is_success": False} == server.event("hook_reported")
    assert sorted(result["reason"] for result in results(server)) == ["", "the hook failed"]
    ends = [(event["attempt"], event["exit_status"], event["is_run_again"]) for event in again.events("hook_finished")]
    assert ends == [(1, 1, True), (2, 1, True), (3, 1, False)]
    assert again.interrupt() == 130
    assert [event["name"] for event in again.events("announced")] == [second.name]
    told = [(listener, first), *[(again, second)] * 3]
    assert log.read_text() == "".join(
        f"{path.name} {fetch.event('digest_computed')['digest']} {fetch.event('fetched')['object_id']}\n"
        for fetch, path in told
    )
    place, ids = fleet.place("listener"), [fetch.event("fetched")["object_id"] for fetch in (listener, again)]
    assert sorted(os.listdir(place)) == [".fountain-received", *sorted(ids)]
    for object_id, path in zip(ids, (first, second)):
        assert (place / object_id / path.name).read_bytes() == path.read_bytes()


def test_what_a_hook_reads_is_not_replaced_while_it_runs(fleet: Fleet, write_file: Writer, tmp_path: Path) -> None:
    """Another object of the same name used to take the place of $FOUNTAIN_PATH in the middle of its hook."""
    path, gate, installed = write_file(SMALL_SIZE, "image.iso"), tmp_path / "gate", tmp_path / "installed"
    installed.mkdir()
    hook = f'until test -e {gate}; do sleep 0.1; done; cp "$FOUNTAIN_PATH" {installed}/$FOUNTAIN_DIGEST'
    listener = fleet.receive("listener", "--listen", "--overwrite", "--unsigned", "--hook", hook)
    contents = []
    for count in (1, 2):
        contents.append(path.read_bytes())
        server = fleet.serve(*QUICKLY, path)
        listener.wait_event("fetched", count=count)
        server.kill()
        write_file(SMALL_SIZE, "image.iso")
    gate.touch()
    listener.wait_event("hook_finished", count=2)
    assert [event["exit_status"] for event in listener.events("hook_finished")] == [0, 0]
    assert {file.name: file.read_bytes() for file in installed.iterdir()} == {
        blake3(content).hexdigest(): content for content in contents
    }


def test_a_hook_that_was_killed_with_its_listener_runs_again(fleet: Fleet, write_file: Writer, tmp_path: Path) -> None:
    path, log = write_file(SMALL_SIZE), tmp_path / "log"
    last = f'cmp "$FOUNTAIN_PATH" {path} && test $FOUNTAIN_ATTEMPT = 2 || sleep 600'
    hook = f'echo "$$ $FOUNTAIN_ATTEMPT" >> {log}; {last}'
    listener = fleet.receive("listener", "--listen", "--unsigned", "--hook", hook)
    server = fleet.serve(*QUICKLY, "--expect", "1", path)
    server.wait_event("waiting", lambda event: event["what"].startswith("waiting for hooks to end"))
    listener.kill()
    os.killpg(int(log.read_text().split()[0]), signal.SIGKILL)
    again = fleet.receive("listener", "--listen", "--unsigned", "--hook", hook)
    finished = again.wait_event("hook_finished")
    assert (finished["attempt"], finished["exit_status"]) == (2, 0)
    assert server.wait() == 0, server.err
    assert [result["state"] for result in results(server)] == ["done"]
    assert not again.events("announced")


def test_a_listener_takes_several_objects_at_once(fleet: Fleet, write_file: Writer) -> None:
    paths = [write_file(SMALL_SIZE, name) for name in ("one", "two", "three")]
    listener = fleet.receive("listener", "--listen")
    server = fleet.serve(*QUICKLY, "--expect", "1", *paths)
    listener.wait_event("fetched", count=3)
    assert server.interrupt() in (0, 130)
    assert listener.interrupt() == 130
    assert all((fleet.place("listener") / path.name).read_bytes() == path.read_bytes() for path in paths)


def test_the_same_server_command_again_is_met_by_a_listener_that_has_the_object(
    fleet: Fleet, write_file: Writer
) -> None:
    path = write_file(SMALL_SIZE)
    listener = fleet.receive("listener", "--listen")
    for _ in range(2):
        server = fleet.serve(*QUICKLY, "--expect", "1", path)
        assert server.wait() == 0, server.err
        assert [result["state"] for result in results(server)] == ["done"]
    assert listener.interrupt() == 130
    assert len(listener.events("fetched")) == 1


def test_a_listener_that_was_killed_in_its_hook_has_the_object(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SMALL_SIZE)
    listener = fleet.receive("listener", "--listen", "--unsigned", "--hook", "exec sleep 20")
    server = fleet.serve(*QUICKLY, "--expect", "1", path)
    server.wait_event("waiting", lambda event: event["what"].startswith("waiting for hooks to end"))
    listener.kill()
    fleet.receive("listener", "--listen")
    assert server.wait() == 0, server.err
    assert [result["state"] for result in results(server)] == ["done"]


def test_with_overwrite_a_listener_replaces_a_file_and_nothing_else(fleet: Fleet, write_file: Writer) -> None:
    path, other = write_file(SMALL_SIZE, "image.iso"), write_file(SMALL_SIZE, "tree")
    place = fleet.place("listener")
    (place / other.name / "inside").mkdir(parents=True)
    (place / path.name).write_text("last week's")
    listener = fleet.receive("listener", "--listen", "--overwrite")
    server = fleet.serve(*QUICKLY, path, other)
    listener.wait_event("fetched")
    warned = listener.wait_event("warned", lambda event: "exists already" in event["message"])
    assert server.interrupt() in (8, 130)
    assert warned["hint"] == "Move it away and start the listener again, or use another -o."
    assert (place / path.name).read_bytes() == path.read_bytes()
    assert (place / other.name / "inside").is_dir()


def test_without_overwrite_a_listener_replaces_nothing_and_says_what_would_help(
    fleet: Fleet, write_file: Writer
) -> None:
    path = write_file(SMALL_SIZE, "image.iso")
    fleet.place("listener").mkdir()
    (fleet.place("listener") / path.name).write_text("last week's")
    listener = fleet.receive("listener", "--listen")
    fleet.serve(*QUICKLY, path)
    warned = listener.wait_event("warned", lambda event: "exists already" in event["message"])
    assert warned["hint"].endswith("or let it replace files with --overwrite.")
    assert (fleet.place("listener") / path.name).read_text() == "last week's"


def test_a_listener_counts_when_it_has_more_objects_than_it_takes_at_once(fleet: Fleet, write_file: Writer) -> None:
    paths = [write_file(SMALL_SIZE if number < 4 else SIZE, f"object{number}.bin") for number in range(6)]
    listener = fleet.receive("listener", "--listen")
    server = fleet.serve(*QUICKLY, "--expect", "1", *paths)
    assert server.wait() == 0, server.err
    assert sorted(result["state"] for result in results(server)) == ["done"] * len(paths)
    assert listener.interrupt() == 130
    assert all((fleet.place("listener") / path.name).read_bytes() == path.read_bytes() for path in paths)


def test_a_server_whose_file_changes_reports_what_became_of_its_receivers(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(fleet, path)
    path.write_bytes(bytes(SIZE))
    assert server.wait() == 6
    assert [result["state"] for result in results(server)] == ["incomplete"]
    assert fetch.interrupt() in (4, 130)


def test_a_server_does_not_wait_for_the_hook_of_a_receiver_that_was_interrupted(
    fleet: Fleet, write_file: Writer
) -> None:
    path = write_file(SMALL_SIZE)
    listener = fleet.receive("listener", "--listen", "--unsigned", "--hook", "exec sleep 20")
    server = fleet.serve(*QUICKLY, "--expect", "1", path)
    server.wait_event("waiting", lambda event: event["what"].startswith("waiting for hooks to end"))
    assert listener.interrupt() == 130
    assert server.wait() == 0, server.err
    assert [result["state"] for result in results(server)] == ["done"]


# --- Nobody there, nowhere to go -----------------------------------------------------------------------------


def test_nobody_announces_and_the_status_is_3(fleet: Fleet) -> None:
    fetch = fleet.receive("first", "--timeout", "0.3")
    assert fetch.wait() == 3
    message = f"Nobody announced anything in group {fleet.address}, port {fleet.port}, on lo within 0.3 s."
    assert fetch.event("failed")["message"] == message
    assert f"open UDP port {fleet.port} in this machine's firewall" in fetch.event("failed")["hint"]


def test_waiting_outlasts_the_timeout_until_a_server_announces(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SMALL_SIZE)
    fetch = fleet.receive("first", path.name, "--timeout", "0.2", "--wait")
    time.sleep(1.0)  # Several timeouts: without --wait it would have ended.
    server = fleet.serve(*QUICKLY, "--expect", "1", path)
    assert (fetch.wait(), server.wait()) == (0, 0)
    assert copy_is_exact(fleet, "first", path)


def test_an_object_of_another_name_is_not_taken(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SMALL_SIZE)
    fleet.serve(*QUICKLY, path)
    fetch = fleet.receive("first", "other.bin", "--timeout", "2")
    assert fetch.wait() == 3
    message = f"other.bin is not announced in group {fleet.address}, port {fleet.port}."
    assert fetch.event("failed")["message"] == message
    assert fetch.event("failed")["hint"] == f"This is: {path.name}."


def test_what_is_at_the_destination_is_left_alone_and_reported_to_the_server(fleet: Fleet, write_file: Writer) -> None:
    path = write_file(SMALL_SIZE)
    fleet.place("first").mkdir()
    (fleet.place("first") / path.name).write_text("mine")
    fetch = fleet.receive("first")
    server = fleet.serve(*QUICKLY, "--expect", "1", "--idle-exit", "1", path)
    assert fetch.wait() == 6
    assert "exists already" in fetch.err
    assert (fleet.place("first") / path.name).read_text() == "mine"
    assert server.wait() == 8
    assert "could not store the object" in server.err


@pytest.mark.parametrize(
    ("argv", "status", "message"),
    [
        ("--group 239.255.1.1 -i nowhere9", 2, "This machine has no interface 'nowhere9'."),
        ("--broadcast -i lo --broadcast-address 10.255.255.255", 2, "10.255.255.255 is not the broadcast address"),
        ("--group 239.255.1.1 -i lo --key /nowhere/key", 6, "The key /nowhere/key cannot be read"),
        ("--group 239.255.1.1 -i lo --key /dev/null", 2, "/dev/null holds no key. A key is 32 random bytes"),
        ("--group 232.1.1.1 -i lo", 2, "source-specific"),
        ("--group 224.0.0.1 -i lo", 2, "is reserved"),
    ],
)
def test_a_group_that_cannot_be_is_refused_before_anything_is_sent(
    argv: str, status: int, message: str, fleet: Fleet
) -> None:
    fleet.words = argv.split()
    fetch = fleet.receive_plainly()
    assert fetch.wait() == status, fetch.err
    assert message in fetch.err
    assert "  hint: " in fetch.err
