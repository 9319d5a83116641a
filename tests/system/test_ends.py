"""How commands end: nobody there, somebody gone, Ctrl-C, power cuts, clashes, full disks, files that change."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.storage.support import leftovers, mounted, needs_root
from tests.system.conftest import Writer
from tests.system.programs import Fetch, Programs, Server, silent_port, unused_port

SIZE = 12_000_000
SLOWLY = ("--rate", "40M")  # 2.4 s for SIZE: time to be caught in the middle
PROBE_COUNT_MAX = (
    10  # packets that a server may spend on a silent peer while a test looks: one a second, and some slack
)


def catch_in_the_middle(programs: Programs, path: Path, copy: Path, *options: str) -> tuple[Server, Fetch]:
    """A slow server of `path`, and a fetch that has a part of it."""
    copy.parent.mkdir(exist_ok=True)
    server = programs.serve(path, *SLOWLY)
    fetch = programs.fetch("-o", copy, *options, port=server.port)
    fetch.wait_middle()
    return server, fetch


def resume(programs: Programs, path: Path, copy: Path, server: Server | None = None) -> int:
    """Fetch what is missing; the octets that did not have to come again."""
    if server is None:
        server = programs.serve(path)
    fetch = programs.fetch("-o", copy, port=server.port)
    assert fetch.wait() == 0, fetch.err
    assert copy.read_bytes() == path.read_bytes()
    assert os.listdir(copy.parent) == [copy.name]
    resumed_size, end = int(fetch.event("resumed")["verified_size"]), fetch.event("fetched")
    assert round(end["rate_bps"] * end["duration_s"] / 8) == end["size"] - resumed_size
    return resumed_size


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Where fetches put the object: alone in its directory."""
    return tmp_path / "fetched" / "copy"


# --- Nobody answers --------------------------------------------------------------------------------------------------


def test_a_closed_port_is_status_3_whatever_the_timeout(programs: Programs) -> None:
    fetch = programs.fetch("--timeout", "1h", port=unused_port())
    assert fetch.wait() == 3
    assert "nothing listens on UDP port" in fetch.err


def test_an_address_that_never_answers_is_status_3_after_the_timeout(programs: Programs) -> None:
    with silent_port() as port:
        fetch = programs.fetch("--timeout", "0.5", port=port)
        assert fetch.wait() == 3
    assert f"No server answered at 127.0.0.1 port {port} within 0.5 s." in fetch.err


def test_waiting_outlasts_a_closed_port_and_the_timeout_until_a_server_appears(
    programs: Programs, write_file: Writer, copy: Path
) -> None:
    port = unused_port()
    fetch = programs.fetch("--wait", "--timeout", "0.2", "-o", copy.parent.parent, port=port)
    fetch.wait_event("searching")
    time.sleep(1.0)  # Several timeouts: without --wait it would have ended.
    assert fetch.is_running
    path = write_file(100_000)
    programs.serve(path, port=port)
    assert fetch.wait() == 0, fetch.err
    assert (copy.parent.parent / path.name).read_bytes() == path.read_bytes()


# --- The server goes -------------------------------------------------------------------------------------------------


def test_a_killed_server_that_comes_back_is_found_again(programs: Programs, write_file: Writer, copy: Path) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(programs, path, copy)
    server.kill()
    fetch.wait_event("reconnecting")
    programs.serve(path, port=server.port, data_port=server.data_port)
    assert fetch.wait() == 0, fetch.err
    assert copy.read_bytes() == path.read_bytes()


def test_a_killed_server_that_stays_away_is_status_4_and_a_later_fetch_resumes(
    programs: Programs, write_file: Writer, copy: Path
) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(programs, path, copy, "--timeout", "3")
    server.kill()
    assert fetch.wait() == 4
    assert "run the same command again" in fetch.event("failed")["hint"]
    assert len(leftovers(copy.parent)) == 1
    assert resume(programs, path, copy) > 0


def test_an_interrupted_server_says_so_and_ends_with_130(programs: Programs, write_file: Writer, copy: Path) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(programs, path, copy, "--timeout", "3")
    assert server.interrupt() == 130
    assert server.event("stopped")["reason"] == "interrupted"
    assert server.event("peer_gone")["reason"] == "the server stopped"
    assert fetch.wait() == 4
    assert fetch.events("reconnecting")[0]["reason"] == "the server stopped"
    assert len(leftovers(copy.parent)) == 1


# --- The client goes -------------------------------------------------------------------------------------------------


def test_an_interrupted_fetch_notifies_the_server_keeps_the_part_and_resumes(
    programs: Programs, write_file: Writer, copy: Path
) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(programs, path, copy)
    assert fetch.interrupt() == 130
    assert server.wait_event("peer_gone")["reason"] == "interrupted"
    assert len(leftovers(copy.parent)) == 1
    assert resume(programs, path, copy, server) > 0


def test_a_killed_fetch_resumes(programs: Programs, write_file: Writer, copy: Path) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(programs, path, copy)
    fetch.wait_event("transfer_progress", lambda event: event["verified_size"] > SIZE // 2)
    fetch.kill()
    assert len(leftovers(copy.parent)) == 1
    assert resume(programs, path, copy, server) > 0


@pytest.mark.parametrize("comes_back", [True, False], ids=["comes back", "killed"])
def test_nothing_but_probes_goes_to_a_client_that_vanished(
    comes_back: bool, programs: Programs, write_file: Writer, copy: Path
) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(programs, path, copy)
    if comes_back:
        fetch.signal(signal.SIGSTOP)
    else:
        fetch.kill()
    server.wait_peer_state("silent")
    before, seen = server.sent_count(), len(server.events("peers_progress"))
    server.wait_event("peers_progress", count=seen + 8)  # a second and a half
    assert server.sent_count() - before <= PROBE_COUNT_MAX
    if comes_back:
        fetch.signal(signal.SIGCONT)
        assert fetch.wait() == 0, fetch.err
        assert copy.read_bytes() == path.read_bytes()


# --- This machine's trouble ------------------------------------------------------------------------------------------


def test_what_stands_at_the_destination_is_left_alone_with_status_6(
    programs: Programs, write_file: Writer, copy: Path
) -> None:
    path = write_file(1_000)
    copy.parent.mkdir()
    copy.write_text("mine")
    server = programs.serve(path)
    fetch = programs.fetch("-o", copy, port=server.port)
    assert fetch.wait() == 6
    assert "exists already" in fetch.err
    assert len(fetch.events("offered")) == 1  # It is asked for twice, and reported once.
    assert copy.read_text() == "mine"
    assert programs.fetch("-o", copy, "--overwrite", port=server.port).wait() == 0
    assert copy.read_bytes() == path.read_bytes()


def test_two_fetches_to_one_destination_cannot_harm_each_other(
    programs: Programs, write_file: Writer, copy: Path
) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(programs, path, copy)
    second = programs.fetch("-o", copy, port=server.port)
    assert second.wait() == 6
    assert "another" in second.event("failed")["message"].lower()
    assert fetch.wait() == 0, fetch.err
    assert copy.read_bytes() == path.read_bytes()


@needs_root
def test_an_object_that_does_not_fit_on_the_disk_is_status_6(
    programs: Programs, write_file: Writer, tmp_path: Path
) -> None:
    server = programs.serve(write_file(SIZE))
    with mounted(tmp_path / "small", "size=8m"):
        fetch = programs.fetch("-o", tmp_path / "small", port=server.port)
        assert fetch.wait() == 6
        assert "Free some space" in fetch.event("failed")["hint"]
        assert server.wait_event("peer_gone")["reason"] == "could not write the object"


# --- The file changes ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [pytest.param("modified", marks=pytest.mark.slow), "modified in place with its time put back", "truncated"],
)
def test_a_file_that_changes_while_it_is_served_ends_both_sides_clearly(
    change: str, programs: Programs, write_file: Writer, copy: Path
) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(programs, path, copy)
    if change == "modified":
        path.write_bytes(bytes(SIZE))
    elif change == "truncated":
        os.truncate(path, SIZE // 2)
    else:
        before = path.stat()
        with path.open("r+b") as stream:
            stream.write(bytes(SIZE))
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert server.wait() == 6
    assert "changed while it was being served" in server.err
    assert fetch.wait() == 4
    assert "The file changed on 127.0.0.1" in fetch.err
    assert not copy.exists()


def test_a_server_of_several_objects_survives_that_one_changes(
    programs: Programs, write_file: Writer, copy: Path
) -> None:
    path, other = write_file(SIZE), write_file(1_000, "other.bin")
    server = programs.serve(path, other, *SLOWLY)
    fetch = programs.fetch(path.name, "-o", copy.parent.parent, port=server.port)
    fetch.wait_middle()
    os.truncate(path, SIZE // 2)
    assert fetch.wait() == 4
    assert "changed" in server.wait_event("warned")["message"]
    assert programs.fetch(other.name, "-o", copy.parent.parent / "other", port=server.port).wait() == 0
    assert (copy.parent.parent / "other").read_bytes() == other.read_bytes()


def test_a_new_object_of_the_old_name_is_fetched_and_the_old_part_is_named(
    programs: Programs, write_file: Writer, copy: Path
) -> None:
    path = write_file(SIZE)
    server, fetch = catch_in_the_middle(programs, path, copy)
    assert fetch.interrupt() == 130
    assert server.interrupt() == 130
    (part,) = leftovers(copy.parent)
    path.write_bytes(b"new")
    again = programs.fetch("-o", copy, port=programs.serve(path).port)
    assert again.wait() == 0, again.err
    assert str(copy.parent / part) in again.event("warned")["message"]
    assert copy.read_bytes() == b"new"
    assert leftovers(copy.parent) == [part]


def test_a_directory_that_holds_something_survives_every_fetch(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "served" / ".ssh").mkdir(parents=True)
    (tmp_path / "served" / ".ssh" / "authorized_keys").write_text("theirs")
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh" / "authorized_keys").write_text("mine")
    server = programs.serve(tmp_path / "served" / ".ssh")
    for words in ((), (".ssh",), ("--overwrite",), (".ssh", "--overwrite")):
        fetch = programs.fetch(*words, "-o", home, port=server.port)
        assert fetch.wait() == 6
        assert "Move it away" in fetch.event("failed")["hint"]
    assert (home / ".ssh" / "authorized_keys").read_text() == "mine"
    assert os.listdir(home) == [".ssh"]


def test_overwrite_does_not_act_on_a_name_that_the_server_chose(
    programs: Programs, write_file: Writer, tmp_path: Path
) -> None:
    path = write_file(1_000)
    (tmp_path / "home").mkdir()
    there = tmp_path / "home" / path.name
    there.write_text("mine")
    server = programs.serve(path)
    fetch = programs.fetch("-o", tmp_path / "home", "--overwrite", port=server.port)
    assert fetch.wait() == 6
    assert path.name in fetch.event("failed")["hint"]
    assert there.read_text() == "mine"
    assert programs.fetch(path.name, "-o", tmp_path / "home", "--overwrite", port=server.port).wait() == 0
    assert there.read_bytes() == path.read_bytes()


def test_an_empty_directory_is_fetched_and_reported(programs: Programs, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    server = programs.serve(tmp_path / "empty")
    fetch = programs.fetch_plainly("-o", tmp_path / "copy", port=server.port)
    assert fetch.wait() == 0
    assert os.listdir(tmp_path / "copy") == []
    assert f"fetched {tmp_path / 'copy'} (0 B)" in fetch.err
