"""The state of a product: changed whole or not at all, by one process at a time, and kept through kills."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fountain.errors import LocalError, StorageError
from fountain.storage.kept_state import KeptState, state_directory

COUNTING = """
import sys
from pathlib import Path
from fountain.storage.kept_state import KeptState
state = KeptState(Path(sys.argv[1]), "gateway", 4096)
print("ready", flush=True)
while True:
    octets = state.change(lambda before: b"%d " % (int((before or b"0").split()[0]) + 1) + b"x" * 3000)
    print(int(octets.split()[0]), flush=True)
"""


def test_what_is_changed_is_read_again(tmp_path: Path) -> None:
    state = KeptState(tmp_path / "a" / "b", "gateway", 100)
    assert state.read() is None
    assert state.change(lambda before: b"one" if before is None else b"") == b"one"
    again = KeptState(tmp_path / "a" / "b", "gateway", 100)
    assert again.read() == b"one"
    assert again.change(lambda before: (before or b"") + b" two") == b"one two"
    assert state.read() == b"one two"
    assert [oct(os.stat(path).st_mode & 0o777) for path in (state.path.parent, state.path)] == ["0o700", "0o700"]
    assert sorted(os.listdir(state.path)) == ["lock", "state"]


def test_what_a_change_raises_changes_nothing(tmp_path: Path) -> None:
    state = KeptState(tmp_path, "gateway", 100)
    state.change(lambda _: b"one")

    def fail(before: bytes | None) -> bytes:
        raise LocalError(f"was {before!r}")

    with pytest.raises(LocalError):
        state.change(fail)
    assert state.read() == b"one"


def test_one_process_runs_hooks(tmp_path: Path) -> None:
    state = KeptState(tmp_path, "gateway", 100)
    held = state.hold_hooks()
    with pytest.raises(LocalError, match="Another listener runs hooks"):
        KeptState(tmp_path, "gateway", 100).hold_hooks()
    os.close(KeptState(tmp_path, "sensor", 100).hold_hooks())
    os.close(held)
    os.close(state.hold_hooks())


def test_a_place_that_cannot_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError) as caught:
        KeptState(tmp_path / "file", "gateway", 100)
    assert caught.value.field == "state"
    (tmp_path / "state").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "state" / "gateway").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError):
        KeptState(tmp_path / "state", "gateway", 100)


@pytest.mark.parametrize(
    ("kind", "hint"), [("directory", "A directory, or something else"), ("link", "A symbolic link stands")]
)  # fmt: skip
def test_a_state_that_is_no_file_is_named_as_what_it_is(tmp_path: Path, kind: str, hint: str) -> None:
    state = KeptState(tmp_path, "gateway", 100)
    place = state.path / "state"
    place.mkdir() if kind == "directory" else place.symlink_to(tmp_path / "target")
    for use in (state.read, lambda: state.change(lambda _: b"one")):
        with pytest.raises(StorageError) as raised:
            use()
        assert raised.value.message.startswith(f"Cannot read {place}: ")
        assert raised.value.hint.startswith(hint)
        assert raised.value.field == "state"


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"STATE_DIRECTORY": "/var/lib/a:/var/lib/b", "HOME": "/root"}, "/var/lib/a"),
        ({"XDG_STATE_HOME": "/x", "HOME": "/root"}, "/x/fountain"),
        ({"XDG_STATE_HOME": "relative", "HOME": "/root"}, "/root/.local/state/fountain"),
        ({"HOME": "/root"}, "/root/.local/state/fountain"),
    ],
)
def test_the_usual_place_is_that_of_the_service_or_of_the_user(variables: dict[str, str], place: str) -> None:
    assert state_directory(variables) == Path(place)


def kill_while_counting(place: Path, kill_count: int) -> None:
    """Kill a process that counts up, at any step, so often: the state is what was reported, or the next."""
    state, draw, reported = KeptState(place, "gateway", 4096), random.Random(1), 0
    for _ in range(kill_count):
        with subprocess.Popen([sys.executable, "-c", COUNTING, place], stdout=subprocess.PIPE) as counting:
            assert counting.stdout is not None
            assert counting.stdout.readline() == b"ready\n"
            first = counting.stdout.readline()
            time.sleep(draw.random() * 0.02)
            counting.send_signal(signal.SIGKILL)
            lines = [first, *counting.stdout.read().split()]
        reported = int(lines[-1])
        octets = state.read()
        number = 0 if octets is None else int(octets.split()[0])
        assert number in (reported, reported + 1)
        assert octets is None or len(octets) == len(b"%d " % number) + 3000
        reported = number
    assert reported >= kill_count


def test_a_kill_at_any_step_loses_nothing(tmp_path: Path) -> None:
    kill_while_counting(tmp_path, 10)


@pytest.mark.slow
def test_two_hundred_kills_lose_nothing(tmp_path: Path) -> None:
    kill_while_counting(tmp_path, 200)
