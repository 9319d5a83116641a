"""Several peers of one server, and when a server ends by itself."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path

from tests.system.conftest import Writer
from tests.system.programs import Programs, unused_port


def test_four_clients_at_random_moments_through_loss_get_different_symbols(
    programs: Programs, write_file: Writer, tmp_path: Path, rng: random.Random
) -> None:
    path = write_file(15_000_000)
    server = programs.serve(path, "--rate", "200M")
    fetches = []
    for number in range(4):
        fetches.append(programs.fetch("--loss-test", "0.1", "-o", tmp_path / f"copy{number}", port=server.port))
        time.sleep(rng.uniform(0.0, 0.4))
    assert [fetch.wait() for fetch in fetches] == [0, 0, 0, 0]
    assert all((tmp_path / f"copy{number}").read_bytes() == path.read_bytes() for number in range(4))
    server.wait_event("peer_finished", count=4)
    joined = server.events("peer_joined")
    assert len({event["first_source"] for event in joined}) == 4
    assert len({event["first_esi"] for event in joined}) == 4


def test_a_server_ends_when_every_expected_peer_has_the_object(
    programs: Programs, write_file: Writer, tmp_path: Path
) -> None:
    server = programs.serve(write_file(100_000), "--expect", "2")
    for name in ("first", "second"):
        assert programs.fetch("-o", tmp_path / name, port=server.port).wait() == 0
    assert server.wait() == 0
    assert server.event("stopped")["reason"] == "every expected peer is done"


def test_a_peer_counts_that_needs_not_be_sent_the_zeros_of_its_file(
    programs: Programs, write_file: Writer, tmp_path: Path
) -> None:
    path = write_file(0)
    path.write_bytes(bytes(5_000_000) + b"end")
    server = programs.serve(path, "--expect", "1", "--rate", "20M")
    assert programs.fetch("-o", tmp_path / "copy", port=server.port).wait() == 0
    assert server.wait() == 0
    assert server.event("peer_finished")["sent_count"] < 1_500


def test_a_peer_that_fetches_twice_counts_once(programs: Programs, write_file: Writer, tmp_path: Path) -> None:
    server = programs.serve(write_file(1_000), "--expect", "2")
    for options in ([], ["--overwrite"]):
        assert programs.fetch("-o", tmp_path / "same", *options, port=server.port).wait() == 0
    server.wait_event("peer_finished", count=2)
    assert server.is_running
    assert server.interrupt() == 130
    assert "1 of 2 expected peers" in server.err


def test_a_server_that_waited_in_vain_for_a_peer_ends_with_8(
    programs: Programs, write_file: Writer, tmp_path: Path
) -> None:
    port = unused_port()
    fetch = programs.fetch("--wait", "-o", tmp_path / "copy", port=port)
    fetch.wait_event("searching")  # However long it takes to start: the server is idle for a moment alone.
    server = programs.serve(write_file(1_000), "--expect", "2", "--idle-exit", "4", port=port)
    assert fetch.wait() == 0
    assert server.wait() == 8
    assert "1 of 2 expected peers" in server.err


def test_an_idle_server_ends_with_0(programs: Programs, write_file: Writer) -> None:
    server = programs.serve(write_file(1_000), "--idle-exit", "0.2")
    assert server.wait() == 0
    assert server.event("stopped")["reason"] == "idle"


def test_a_full_server_refuses_with_7_until_there_is_room(
    programs: Programs, write_file: Writer, tmp_path: Path
) -> None:
    path = write_file(8_000_000)
    server = programs.serve(path, "--max-peers", "1", "--rate", "20M")
    first = programs.fetch("-o", tmp_path / "first", port=server.port)
    first.wait_middle()
    first.signal(signal.SIGSTOP)  # It keeps its place for half a minute, however long the second takes to start.
    second = programs.fetch("-o", tmp_path / "second", port=server.port)
    assert second.wait() == 7
    assert "as many peers as it accepts" in second.err
    assert server.wait_event("peer_refused")["reason"] == "server full"
    assert len(server.events("peer_refused")) == 1  # The client has asked again, to be sure.
    first.signal(signal.SIGCONT)
    assert first.wait() == 0
    assert programs.fetch("-o", tmp_path / "second", port=server.port).wait() == 0
    assert (tmp_path / "second").read_bytes() == path.read_bytes()
