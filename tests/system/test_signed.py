"""Real commands with signed releases: alone, in a group, and apart from it. Nothing else makes a file."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path

import pytest

from fountain.storage.kept_state import KeptState
from fountain.trust.floor import FLOOR_SIZE_MAX, Floor
from tests.system.conftest import Writer
from tests.system.groups import QUICKLY, SLOWLY, Fleet
from tests.system.programs import Programs
from tests.system.releases import Publisher
from tests.trust.support import NEEDS_SSH_KEYGEN, public_words

pytestmark = NEEDS_SSH_KEYGEN
SMALL_SIZE = 200_000


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    return Publisher(tmp_path / "publisher")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def version_of(state: Path) -> int:
    """The version that a machine remembers; 0: none."""
    octets = KeptState(state, "gateway", FLOOR_SIZE_MAX).read()
    floor = None if octets is None else Floor.parse(octets)
    return 0 if floor is None else floor.release.version


def test_a_fetch_takes_what_is_signed_and_never_less(
    programs: Programs, publisher: Publisher, state: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    image, place = write_file(SMALL_SIZE, "image.bin"), tmp_path / "place"
    place.mkdir()
    server = programs.serve(*publisher.publish(image, 42))
    words = ["-o", str(place), *publisher.words(state)]
    fetch = programs.fetch_plainly(*words, port=server.port)
    assert fetch.wait() == 0, fetch.err
    assert (place / "image.bin").read_bytes() == image.read_bytes()
    assert version_of(state) == 42
    (place / "image.bin").unlink()

    def refused(fetch_words: list[str], words_of_it: str) -> None:
        fetch = programs.fetch_here("-o", place, *fetch_words, port=server.port)
        assert fetch.wait() == 9, fetch.err
        assert words_of_it in fetch.err
        assert os.listdir(place) == []

    refused(["--signers", str(publisher.signers), "--product", "sensor", "--state", str(state)], "not of sensor")
    publisher.allow(publisher.another_key("other"))
    refused(publisher.words(state), "which --signers does not list for gateway")
    publisher.allow(publisher.key)
    server.interrupt()
    write_file(SMALL_SIZE, "image.bin")
    server = programs.serve(*publisher.publish(image, 41))
    refused(publisher.words(state), "gateway 41 is older than 42.")
    server.interrupt()
    server = programs.serve(*publisher.publish(image, 42))
    refused(publisher.words(state), "Two different objects are signed as gateway 42")
    server.interrupt()
    server = programs.serve(image)
    refused(publisher.words(state), "'image.bin' is offered without a signed release.")
    server.interrupt()
    server = programs.serve(*publisher.publish(image, 43))
    fetch = programs.fetch_here("-o", place, *publisher.words(state), port=server.port)
    assert fetch.wait() == 0, fetch.err
    assert version_of(state) == 43


def test_a_fetch_from_a_group_takes_what_is_signed_alone(
    fleet: Fleet, publisher: Publisher, state: Path, write_file: Writer
) -> None:  # fmt: skip
    image = write_file(SMALL_SIZE, "image.bin")
    signed = publisher.publish(image, 42)
    unsigned = fleet.serve(*QUICKLY, image)
    fetch = fleet.receive_here("box", "--timeout", "3", *publisher.words(state))
    assert fetch.wait() == 9, fetch.err
    assert "is offered without a signed release" in fetch.err
    assert os.listdir(fleet.place("box")) == []
    fetch = fleet.receive("box", *publisher.words(state))
    told = fetch.wait_event("warned", lambda event: "without a signed release" in event["message"])
    assert told["hint"]
    server = fleet.serve(*QUICKLY, *signed)
    assert fetch.wait() == 0, fetch.err
    assert version_of(state) == 42
    unsigned.interrupt()
    server.interrupt()
    server = fleet.serve(*QUICKLY, *publisher.publish(write_file(SMALL_SIZE, "image.bin"), 41))
    fetch = fleet.receive_here("old", "--timeout", "3", *publisher.words(state))
    assert fetch.wait() == 9, fetch.err
    assert "gateway 41 is older than 42." in fetch.err
    assert os.listdir(fleet.place("old")) == []


def test_who_goes_apart_takes_the_release_that_the_group_had(
    fleet: Fleet, publisher: Publisher, state: Path, write_file: Writer
) -> None:  # fmt: skip
    image = write_file(2_000_000, "image.bin")
    server = fleet.serve("--cc", "fixed", "--rate", "20M", "--min-rate", "19M", *publisher.publish(image, 42))
    slow = fleet.receive("slow", "--loss-test", "0.6", *publisher.words(state))
    assert slow.wait() == 0, slow.err
    assert slow.events("asked_to_leave"), "it stayed in the group, so nothing was tested"
    assert (fleet.place("slow") / "image.bin").read_bytes() == image.read_bytes()
    assert version_of(state) == 42
    server.interrupt()


def test_a_listener_installs_each_version_once_and_no_older_one(
    fleet: Fleet, publisher: Publisher, state: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    log = tmp_path / "log"
    hook = f'echo "$FOUNTAIN_PRODUCT $FOUNTAIN_VERSION $FOUNTAIN_SIGNER $FOUNTAIN_ATTEMPT" >> {log}'
    listen = ["--listen", "--hook", hook, *publisher.words(state)]
    listener = fleet.receive("box", *listen)
    image = write_file(SMALL_SIZE, "image.bin")
    for version in (42, 43):
        write_file(SMALL_SIZE, "image.bin")
        server = fleet.serve(*QUICKLY, "--expect", "1", *publisher.publish(image, version))
        assert server.wait() == 0, server.err
        assert server.event("hook_reported")["is_success"]
    write_file(SMALL_SIZE, "image.bin")
    server = fleet.serve(*QUICKLY, *publisher.publish(image, 41))
    listener.wait_event("warned", lambda event: event["message"] == "gateway 41 is older than 43.")
    server.interrupt()
    stranger = publisher.another_key("stranger")
    server = fleet.serve(*QUICKLY, *publisher.publish(image, 44, stranger))
    listener.wait_event("warned", lambda event: "does not list for gateway" in event["message"])
    publisher.allow(publisher.key, stranger)
    listener.wait_event("hook_finished", count=3)
    assert server.interrupt() in (0, 130)
    assert listener.interrupt() == 130
    lines = [line.split() for line in log.read_text().splitlines()]
    assert [(product, version, attempt) for product, version, _, attempt in lines] == [
        ("gateway", "42", "1"), ("gateway", "43", "1"), ("gateway", "44", "1"),
    ]  # fmt: skip
    assert all(signer.startswith("SHA256:") for _, _, signer, _ in lines)
    assert lines[0][2] == lines[1][2] != lines[2][2]
    assert len(listener.events("announced")) == 3
    assert version_of(state) == 44


def test_a_newer_release_takes_the_place_of_one_that_is_on_its_way(
    fleet: Fleet, publisher: Publisher, state: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    log = tmp_path / "log"
    listener = fleet.receive("box", "--listen", "--hook", f"echo $FOUNTAIN_VERSION >> {log}", *publisher.words(state))
    old, new = write_file(20_000_000, "old.bin"), write_file(SMALL_SIZE, "new.bin")
    slow = fleet.serve(*SLOWLY, *publisher.publish(old, 42))
    listener.wait_event("transfer_progress", lambda event: event["verified_size"] > 0)
    server = fleet.serve(*QUICKLY, "--expect", "1", *publisher.publish(new, 43))
    told = listener.wait_event("warned", lambda event: "is not fetched any more" in event["message"])
    assert told["message"] == "gateway 42 is not fetched any more: gateway 43 has come."
    assert server.wait() == 0, server.err
    listener.wait_event("warned", lambda event: event["message"] == "gateway 42 is older than 43.")
    assert log.read_text() == "43\n"
    assert slow.interrupt() in (0, 8, 130)
    assert listener.interrupt() == 130


def test_the_part_of_an_older_release_goes_when_a_newer_one_is_taken(
    fleet: Fleet, publisher: Publisher, state: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    """Such parts stayed for a week, and each newer release warned of each of them."""
    listener = fleet.receive("box", "--listen", *publisher.words(state))
    parts = fleet.place("box")
    old, new = write_file(10_000_000, "image.bin"), write_file(SMALL_SIZE, "new/image.bin")
    slow = fleet.serve(*SLOWLY, *publisher.publish(old, 42))
    listener.wait_event("transfer_progress", lambda event: event["verified_size"] > old.stat().st_size / 8)
    server = fleet.serve(*QUICKLY, "--expect", "1", *publisher.publish(new, 43))
    assert server.wait() == 0, server.err
    until = time.monotonic() + 20
    while sorted(os.listdir(parts)) != [".fountain-received", "image.bin"] and time.monotonic() < until:
        time.sleep(0.1)
    assert sorted(os.listdir(parts)) == [".fountain-received", "image.bin"]
    told = [event["message"] for event in listener.events("warned")]
    assert not [message for message in told if "A part of another object" in message]
    assert not [message for message in told if message.startswith("Without a key")]
    assert slow.interrupt() in (0, 8, 130)
    assert listener.interrupt() == 130


def test_hooks_of_a_product_are_run_by_one_listener(
    fleet: Fleet, publisher: Publisher, state: Path
) -> None:  # fmt: skip
    first = fleet.receive("first", "--listen", "--hook", "true", *publisher.words(state))
    second = fleet.receive("second", "--listen", "--hook", "true", *publisher.words(state))
    assert second.wait() == 6, second.err
    assert "Another listener runs hooks with the state in" in second.err
    assert first.interrupt() == 130
    third = fleet.receive("second", "--listen", "--hook", "true", *publisher.words(state))
    assert third.interrupt() == 130


# --- The list of signers -------------------------------------------------------------------------------------


def words_with_roots(publisher: Publisher, state: Path, roots: Path) -> list[str]:
    return [*publisher.words(state), "--root-signers", str(roots)]


def test_a_signed_list_brings_a_new_key_and_revokes_the_old_one(
    fleet: Fleet, publisher: Publisher, state: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    """What was signed by the stolen key is refused from then on, and the version that it had raised is lowered."""
    log, root, new = tmp_path / "log", publisher.another_key("root"), publisher.another_key("new")
    roots = tmp_path / "roots"
    roots.write_text(f'fountain-signers namespaces="signers@fountain-udp" {public_words(root)}\n')
    words = ["--listen", "--hook", f"echo $FOUNTAIN_VERSION >> {log}", *words_with_roots(publisher, state, roots)]
    listener = fleet.receive("box", *words)

    def serve(*words: str) -> None:
        server = fleet.serve(*QUICKLY, "--expect", "1", *words)
        assert server.wait() == 0, server.err

    image = write_file(SMALL_SIZE, "image.bin")
    serve(*publisher.publish(image, 9_000))
    assert version_of(state) == 9_000
    signers = tmp_path / "served" / "signers"
    listed = f'gateway namespaces="release@fountain-udp" {public_words(new)}\n'
    signers.write_text("# nobody\n")
    server = fleet.serve(*QUICKLY, *publisher.publish(signers, 1, root, product="fountain-signers"))
    listener.wait_event("warned", lambda event: "is no list of signers" in event["message"])
    server.kill()
    signers.write_text(listed + "# reset gateway 41\n")
    stranger = fleet.serve(*QUICKLY, *publisher.publish(signers, 2, publisher.key, product="fountain-signers"))
    listener.wait_event("warned", lambda event: "does not list for fountain-signers" in event["message"])
    stranger.kill()
    serve(*publisher.publish(signers, 2, root, product="fountain-signers"))
    assert version_of(state) == 41
    write_file(SMALL_SIZE, "image.bin")
    server = fleet.serve(*QUICKLY, *publisher.publish(image, 9_001))
    listener.wait_event("warned", lambda event: "does not list for gateway" in event["message"])
    server.kill()
    serve(*publisher.publish(image, 42, new))
    assert (version_of(state), log.read_text()) == (42, "9000\n42\n")
    assert listener.interrupt() == 130
    again = fleet.receive("box", *words)
    server = fleet.serve(*QUICKLY, *publisher.publish(write_file(SMALL_SIZE, "image.bin"), 43))
    again.wait_event("warned", lambda event: "does not list for gateway" in event["message"])
    server.kill()
    signers.write_text("gateway " + listed)
    server = fleet.serve(*QUICKLY, *publisher.publish(signers, 1, root, product="fountain-signers"))
    again.wait_event("warned", lambda event: event["message"] == "fountain-signers 1 is older than 2.")
    assert again.interrupt() == 130


def test_a_single_fetch_takes_the_list(
    programs: Programs, publisher: Publisher, state: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    root, new, roots = publisher.another_key("root"), publisher.another_key("new"), tmp_path / "roots"
    roots.write_text(f'fountain-signers namespaces="signers@fountain-udp" {public_words(root)}\n')
    signers = write_file(1, "signers")
    signers.write_text(f'gateway namespaces="release@fountain-udp" {public_words(new)}\n')
    server = programs.serve(*publisher.publish(signers, 1, root, product="fountain-signers"))
    words = words_with_roots(publisher, state, roots)
    fetch = programs.fetch_here(*words, "-o", tmp_path, port=server.port)
    assert fetch.wait() == 0, fetch.err
    server.interrupt()
    image = write_file(SMALL_SIZE, "image.bin")
    server = programs.serve(*publisher.publish(image, 1))
    fetch = programs.fetch_here(*words, "-o", tmp_path / "copy", port=server.port)
    assert fetch.wait() == 9
    assert "does not list for gateway" in fetch.err
    server.interrupt()
    server = programs.serve(*publisher.publish(image, 1, publisher.key, new))
    fetch = programs.fetch_here(*words, "-o", tmp_path / "copy", port=server.port)
    assert fetch.wait() == 0, fetch.err


# --- Kills ---------------------------------------------------------------------------------------------------


def kill_again_and_again(
    fleet: Fleet, publisher: Publisher, state: Path, write_file: Writer, log: Path, *, version_count: int,
    kill_count: int, seed: int = 3,
) -> None:  # fmt: skip
    """Kill a listener `kill_count` times for each of so many versions, at any moment, and let it end then."""
    draw, image = random.Random(seed), write_file(SMALL_SIZE, "image.bin")
    words = ["--listen", "--hook", f'echo "$FOUNTAIN_VERSION" >> {log}', *publisher.words(state)]
    for version in range(1, version_count + 1):
        write_file(SMALL_SIZE, "image.bin")
        server = fleet.serve(*QUICKLY, "--expect", "1", *publisher.publish(image, version))
        before = version_of(state)
        for _ in range(kill_count):
            listener = fleet.receive("box", *words)
            time.sleep(draw.random() * 0.4)
            listener.kill()
            assert before <= version_of(state) <= version
            before = version_of(state)
        listener = fleet.receive("box", *words)
        assert server.wait() == 0, server.err
        limit = time.monotonic() + 30
        while str(version) not in log.read_text().split():
            assert time.monotonic() < limit, "the hook did not run"
            time.sleep(0.1)
        assert listener.interrupt() == 130
        assert version_of(state) == version
    versions = [int(word) for word in log.read_text().split()]
    assert versions == sorted(versions), "the hook of an older version ran after that of a newer one"
    assert set(versions) == set(range(1, version_count + 1))
    assert max(versions.count(version) for version in versions) <= 3


def test_a_listener_that_is_killed_installs_each_version_in_order(
    fleet: Fleet, publisher: Publisher, state: Path, write_file: Writer, tmp_path: Path
) -> None:  # fmt: skip
    log = tmp_path / "log"
    log.write_text("")
    kill_again_and_again(fleet, publisher, state, write_file, log, version_count=2, kill_count=2)


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(4))
def test_a_listener_that_is_killed_fifty_times_installs_each_version_in_order(
    fleet: Fleet, publisher: Publisher, state: Path, write_file: Writer, tmp_path: Path, seed: int
) -> None:  # fmt: skip
    log = tmp_path / "log"
    log.write_text("")
    kill_again_and_again(fleet, publisher, state, write_file, log, version_count=10, kill_count=5, seed=seed)
