"""The hooks of a listener: one for each object that it has received, again where one has failed or was cut off.

What is to run stands in the list of received objects before it begins, so that neither a kill nor a power cut loses a
hook: the next start of the listener finds it, and runs it again if its process is gone. After `ATTEMPT_COUNT_MAX`
attempts the listener gives up and reports that.

Where only signed releases are taken, one hook runs at a time, and none of a release that a newer one has taken the
place of: an old hook that was cut off must not undo what the new one has done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from fountain.engine.receiving.hook import Hook, is_running
from fountain.errors import StorageError
from fountain.events import HookFinished, Observer, Warned
from fountain.limits import NS
from fountain.storage.destination import object_directory, remove_object_directory, stands
from fountain.storage.paths import printable
from fountain.storage.received import PendingHook, ReceivedList, ReceivedState
from fountain.wire.group import MemberState

__all__ = ["ATTEMPT_COUNT_MAX", "HOOK_COUNT_MAX", "Hooks"]

ATTEMPT_COUNT_MAX = 3
AGAIN_NS = (NS, 5 * NS)  # after the first and the second failure
HOOK_COUNT_MAX = 4  # that run at once; the others wait their turn
PROCESS_LOOK_NS = NS // 2  # how often the process of an earlier listener is looked for


@dataclass
class _Task:
    """A hook that runs, or will at `due_ns`."""

    pending: PendingHook
    path: Path
    due_ns: int
    hook: Hook | None = None


class Hooks:
    """Runs `command` for objects in the directory of `received`. All methods belong to the loop's thread.

    `variables` gives what more the hook of an object gets in its environment, or None where it must not run any more.
    """

    def __init__(
        self, command: str, received: ReceivedList, observer: Observer, now_ns: int,
        variables: Callable[[bytes], Mapping[str, str] | None] | None = None,
    ) -> None:  # fmt: skip
        self._command = command
        self._variables = variables
        self._received = received
        self._observer = observer
        self._tasks: dict[bytes, _Task] = {}
        self._changes: list[tuple[bytes, bool]] = []
        for pending in received.pending:
            self._resume(pending, now_ns)

    def is_in_progress(self, object_id: bytes) -> bool:
        """Whether an object's hook runs, or will."""
        return object_id in self._tasks

    def state(self, object_id: bytes) -> MemberState:
        """What a server should know of an object that was received."""
        if object_id in self._tasks:
            return MemberState.HOOKING
        is_failed = self._received.state_of(object_id) is ReceivedState.HOOK_FAILED
        return MemberState.HOOK_FAILED if is_failed else MemberState.DONE

    def begin(self, pending: PendingHook, path: Path, now_ns: int) -> None:
        """Run the hook of an object that stands at `path`."""
        self._tasks[pending.object_id] = _Task(pending, path, now_ns)

    def step(self, now_ns: int) -> list[tuple[bytes, bool]]:
        """Begin and end what is due; the objects whose hooks have ended for good, and whether they ended well."""
        for task in list(self._tasks.values()):
            if task.hook is not None and (status := task.hook.poll()) is not None:
                self._end(task, task.hook, status, now_ns)
        for task in list(self._tasks.values()):
            running = sum(other.hook is not None for other in self._tasks.values())
            if task.hook is None and now_ns >= task.due_ns and running < self._count_max:
                self._start(task, now_ns)
        changes, self._changes = self._changes, []
        return changes

    def close(self) -> None:
        """Leave those running that run: the next start looks after them."""
        for task in self._tasks.values():
            if task.hook is not None:
                task.hook.close()

    # --- Inside --------------------------------------------------------------------------------------------

    def _resume(self, pending: PendingHook, now_ns: int) -> None:
        """What an earlier run of the listener left."""
        path = object_directory(self._received.directory, pending.object_id) / pending.name
        if not pending.begun_count and not stands(path):
            self._received.forget(pending.object_id)  # That run ended before the object stood there.
            return
        if pending.begun_count < ATTEMPT_COUNT_MAX or is_running(pending.process):
            self._tasks[pending.object_id] = _Task(pending, path, now_ns)
        else:
            self._give_up(pending, path, "was cut off")

    @property
    def _count_max(self) -> int:
        return HOOK_COUNT_MAX if self._variables is None else 1

    def _start(self, task: _Task, now_ns: int) -> None:
        # An earlier run began one, and left it running: it is not run beside itself, nor beside one of its product.
        left = [task] if self._variables is None else self._tasks.values()
        if any(other.pending.process and is_running(other.pending.process) for other in left):
            task.due_ns = now_ns + PROCESS_LOOK_NS
            return
        pending = task.pending
        variables: Mapping[str, str] | None = {}
        if self._variables is not None and (variables := self._variables(pending.object_id)) is None:
            del self._tasks[pending.object_id]
            self._give_up(pending, task.path, "is of a release that a newer one has replaced")
            self._changes.append((pending.object_id, False))
            return
        if pending.begun_count >= ATTEMPT_COUNT_MAX:  # How the last one ended nobody knows.
            del self._tasks[pending.object_id]
            self._give_up(pending, task.path, "was cut off")
            self._changes.append((pending.object_id, False))
            return
        task.pending = replace(pending, begun_count=pending.begun_count + 1, process="")
        self._note(lambda: self._received.expect_hook(task.pending))  # Before: it may take this machine down with it.
        task.hook = Hook(
            self._command, task.path, name=pending.name, object_id=pending.object_id.hex(), digest=pending.digest,
            attempt=task.pending.begun_count, more=variables,
        )  # fmt: skip
        task.pending = replace(task.pending, process=task.hook.process)
        self._note(lambda: self._received.expect_hook(task.pending))

    def _end(self, task: _Task, hook: Hook, status: int, now_ns: int) -> None:
        pending, task.hook = replace(task.pending, process=""), None
        task.pending = pending
        will_try_again = status != 0 and pending.begun_count < ATTEMPT_COUNT_MAX
        self._observer.handle(HookFinished(hook.command, hook.path, status, pending.begun_count, will_try_again))
        if will_try_again:
            task.due_ns = now_ns + AGAIN_NS[pending.begun_count - 1]
            return
        del self._tasks[pending.object_id]
        if status:
            self._give_up(pending, task.path, f"failed {pending.begun_count} times")
            self._changes.append((pending.object_id, False))
        else:
            self._note(lambda: self._received.add(pending.object_id))
            self._changes.append((pending.object_id, True))
        with contextlib.suppress(OSError):
            remove_object_directory(task.path.parent)

    def _give_up(self, pending: PendingHook, path: Path, what: str) -> None:
        self._note(lambda: self._received.give_up_hook(pending.object_id))
        shown = printable(str(path))
        hint = f"Read what it wrote, and run it by hand: the object stays in {shown}."
        message = f"The hook of {printable(pending.name)} {what}; it is not run again."
        self._observer.handle(Warned(message, hint))

    def _note(self, write: Callable[[], None]) -> None:
        """A list that cannot be written is no reason to run no hook."""
        try:
            write()
        except StorageError as error:
            self._observer.handle(Warned(error.message, error.hint))
