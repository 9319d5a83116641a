"""Hooks that fail or are cut off run again, three times at most, also over restarts; what they read is not replaced."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fountain.engine.receiving import hooks as hooks_module
from fountain.engine.receiving.hook import Hook, is_running
from fountain.engine.receiving.hooks import ATTEMPT_COUNT_MAX, HOOK_COUNT_MAX, Hooks
from fountain.events import Event, HookFinished, Warned
from fountain.limits import NS
from fountain.storage.destination import object_directory
from fountain.storage.received import PendingHook, ReceivedList, ReceivedState
from fountain.wire.group import MemberState

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands here are for a POSIX shell")

ID = bytes(range(32))
needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="this system has no /proc")


class Stage:
    """The hooks of a listener in a directory, and a clock that a test moves."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.log = directory / "log"
        self.now_ns = 0
        self.events: list[Event] = []
        self.changes: list[tuple[bytes, bool]] = []
        self.hooks: Hooks | None = None

    def handle(self, event: Event) -> None:
        """Keep what is reported."""
        self.events.append(event)

    def start(self, command: str) -> Hooks:
        """A listener starts, or starts again, with this command behind a line for the log."""
        line = 'echo "$FOUNTAIN_ATTEMPT $FOUNTAIN_DIGEST $(cat "$FOUNTAIN_PATH")"'
        self.hooks = Hooks(f"{line} >> {shlex.quote(str(self.log))}; {command}", self.received(), self, self.now_ns)
        return self.hooks

    def received(self) -> ReceivedList:
        """What stands on the disk now."""
        return ReceivedList(self.directory)

    def put(self, object_id: bytes = ID, name: str = "a name.txt", content: str = "content") -> PendingHook:
        """An object in its place."""
        directory = object_directory(self.directory, object_id)
        directory.mkdir()
        (directory / name).write_text(content)
        return PendingHook(object_id, name, "ab" * 32)

    def path(self, pending: PendingHook) -> Path:
        """Where it stands."""
        return object_directory(self.directory, pending.object_id) / pending.name

    def run(self, until: Callable[[], bool]) -> None:
        """Let hooks end, and time pass whenever none runs."""
        assert self.hooks is not None
        for _ in range(5_000):
            self.changes += self.hooks.step(self.now_ns)
            if until():
                return
            self.now_ns += NS // 10
            time.sleep(0.005)  # for the processes; nothing depends on how long
        raise AssertionError("the hooks do not end")

    def finished(self) -> list[tuple[int, int, bool]]:
        """Attempt, status, and whether it is run again, of each hook that ended."""
        told = [event for event in self.events if isinstance(event, HookFinished)]
        return [(event.attempt, event.exit_status, event.is_run_again) for event in told]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    """A directory without anything."""
    return Stage(tmp_path)


def test_before_a_hook_begins_it_stands_on_the_disk_that_it_did(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may take the machine down with it: the next start must know that this attempt was made."""
    pending, remembered = stage.put(), []

    def begin(*words: object, **options: object) -> Hook:
        remembered.append([(known.object_id, known.begun_count) for known in stage.received().pending])
        return Hook(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(hooks_module, "Hook", begin)
    hooks = stage.start('test "$FOUNTAIN_ATTEMPT" = 2')
    hooks.begin(pending, stage.path(pending), 0)
    stage.run(lambda: not hooks.is_in_progress(ID))
    assert remembered == [[(ID, 1)], [(ID, 2)]]


def test_a_hook_that_fails_runs_again_and_is_done_once_it_ends_well(stage: Stage) -> None:
    pending = stage.put()
    hooks = stage.start('test "$FOUNTAIN_ATTEMPT" = 2')
    hooks.begin(pending, stage.path(pending), 0)
    assert hooks.state(ID) is MemberState.HOOKING
    stage.run(lambda: not hooks.is_in_progress(ID))
    assert stage.finished() == [(1, 1, True), (2, 0, False)]
    assert stage.changes == [(ID, True)]
    assert stage.received().state_of(ID) is ReceivedState.DONE
    assert stage.log.read_text() == f"1 {'ab' * 32} content\n2 {'ab' * 32} content\n"


def test_a_hook_that_always_fails_is_given_up_after_three_times_and_that_is_reported(stage: Stage) -> None:
    pending = stage.put()
    hooks = stage.start("exit 3")
    hooks.begin(pending, stage.path(pending), 0)
    stage.run(lambda: not hooks.is_in_progress(ID))
    assert stage.finished() == [(1, 3, True), (2, 3, True), (3, 3, False)]
    assert stage.changes == [(ID, False)]
    (warned,) = [event for event in stage.events if isinstance(event, Warned)]
    assert warned.message == "The hook of a name.txt failed 3 times; it is not run again."
    assert str(stage.path(pending)) in warned.hint
    again = stage.start("exit 0")
    assert not again.is_in_progress(ID)
    assert again.state(ID) is MemberState.HOOK_FAILED
    assert len(stage.log.read_text().splitlines()) == ATTEMPT_COUNT_MAX


def test_a_hook_runs_after_an_end_between_the_rename_and_its_start(stage: Stage) -> None:
    stage.received().expect_hook(stage.put())
    hooks = stage.start("exit 0")
    assert hooks.state(ID) is MemberState.HOOKING
    stage.run(lambda: not hooks.is_in_progress(ID))
    assert stage.log.read_text() == f"1 {'ab' * 32} content\n"
    assert stage.received().state_of(ID) is ReceivedState.DONE


def test_an_object_that_never_got_its_place_is_taken_again(stage: Stage) -> None:
    stage.received().expect_hook(PendingHook(ID, "gone", ""))
    received = stage.received()
    assert ID in received
    hooks = Hooks("exit 0", received, stage, 0)
    assert not hooks.is_in_progress(ID)
    assert ID not in received


@needs_proc
def test_a_hook_that_was_killed_with_its_listener_runs_again_at_the_next_start(stage: Stage) -> None:
    pending = stage.put()
    hooks = stage.start('test "$FOUNTAIN_ATTEMPT" != 1 || exec sleep 600')
    hooks.begin(pending, stage.path(pending), 0)
    stage.run(lambda: bool(stage.received().pending[0].process) and stage.log.exists() and bool(stage.log.read_text()))
    number = int(stage.received().pending[0].process.partition(".")[0])
    again = stage.start("exit 0")
    stage.changes += again.step(stage.now_ns)
    assert again.is_in_progress(ID)
    assert len(stage.received().pending) == 1  # It is not run beside itself.
    os.killpg(number, signal.SIGKILL)
    stage.run(lambda: not again.is_in_progress(ID))
    assert [line.split()[0] for line in stage.log.read_text().splitlines()] == ["1", "2"]
    assert stage.received().state_of(ID) is ReceivedState.DONE
    hooks.close()


@needs_proc
def test_a_hook_that_takes_its_machine_down_each_time_is_not_begun_a_fourth_time(stage: Stage) -> None:
    stage.received().expect_hook(PendingHook(ID, stage.put().name, "", ATTEMPT_COUNT_MAX, "1.1.gone"))
    hooks = stage.start("exit 0")
    assert not hooks.is_in_progress(ID)
    assert hooks.state(ID) is MemberState.HOOK_FAILED
    assert not stage.log.exists()
    assert [event.message for event in stage.events if isinstance(event, Warned)] == [
        "The hook of a name.txt was cut off; it is not run again."
    ]


def test_no_more_hooks_run_at_once_than_the_bound(stage: Stage) -> None:
    for number in range(HOOK_COUNT_MAX + 3):
        stage.received().expect_hook(stage.put(bytes([number]) * 32))
    gate = stage.directory / "gate"
    os.mkfifo(gate)
    hooks = stage.start(f"cat {shlex.quote(str(gate))}")
    hooks.step(0)
    assert len([pending for pending in stage.received().pending if pending.begun_count]) == HOOK_COUNT_MAX
    with subprocess.Popen(["sh", "-c", f"while :; do : > {shlex.quote(str(gate))}; done"]) as opener:
        stage.run(lambda: len(stage.finished()) == HOOK_COUNT_MAX + 3)
        opener.kill()
    assert {status for _, status, _ in stage.finished()} == {0}


def test_what_a_hook_leaves_empty_is_removed_and_what_it_leaves_stays(stage: Stage) -> None:
    first, second = stage.put(), stage.put(bytes(32), "other")
    hooks = stage.start('test "$FOUNTAIN_NAME" = other || rm "$FOUNTAIN_PATH"')
    for pending in (first, second):
        hooks.begin(pending, stage.path(pending), 0)
    stage.run(lambda: len(stage.finished()) == 2)
    assert not stage.path(first).parent.exists()
    assert stage.path(second).read_text() == "content"


def test_a_list_that_cannot_be_written_keeps_no_hook_from_running(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    pending = stage.put()
    hooks = stage.start("exit 0")
    (stage.directory / ".fountain-received").mkdir()
    hooks.begin(pending, stage.path(pending), 0)
    stage.run(lambda: not hooks.is_in_progress(ID))
    assert stage.finished() == [(1, 0, False)]
    assert any(isinstance(event, Warned) and "cannot be written" in event.message for event in stage.events)
    assert hooks_module.AGAIN_NS[0] < hooks_module.AGAIN_NS[1]


@needs_proc
def test_a_process_is_distinguished_from_another_of_its_number() -> None:
    hook = Hook("exec sleep 600", Path("x"), name="", object_id="", digest="")
    try:
        assert is_running(hook.process)
        number, start, boot = hook.process.split(".")
        assert not is_running(f"{number}.{int(start) + 1}.{boot}")
        assert not is_running(f"{number}.{start}.other")
        assert not is_running("")
        assert not is_running("../../etc")
    finally:
        os.kill(int(number), signal.SIGKILL)
    assert hook._process is not None
    hook._process.wait(60)
    assert not is_running(hook.process or f"{number}.{start}.{boot}")


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="this system has no /proc")
def test_a_hook_inherits_no_descriptor_but_the_first_three(tmp_path: Path) -> None:
    told = tmp_path / "told"
    with (tmp_path / "secret").open("w") as secret:
        os.set_inheritable(secret.fileno(), True)
        hook = Hook(f"ls /proc/self/fd > {shlex.quote(str(told))}", Path("x"), name="", object_id="", digest="")
        assert hook._process is not None
        assert hook._process.wait(60) == 0
        assert set(told.read_text().split()) <= {"0", "1", "2", "3"}  # 3 is the directory that ls reads.
