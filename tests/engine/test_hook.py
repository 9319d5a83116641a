"""A listener's hook: what it learns, how its end is reported, and that the listener's end does not cut it short."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fountain.engine.receiving import hook
from fountain.engine.receiving.hook import Hook

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the commands here are for a POSIX shell")

NAME = "a 'quoted' $(name); é"


def run(command: str, path: Path = Path("object")) -> int:
    """The exit status of a hook that has ended."""
    started = Hook(command, path, name=NAME, object_id="ab" * 32, digest="cd" * 32)
    process = started._process
    assert process is not None
    process.wait(60)
    status = started.poll()
    assert status is not None
    return status


def python(code: str) -> str:
    return f"exec {shlex.quote(sys.executable)} -c {shlex.quote(code)}"


def test_a_hook_learns_of_its_object_from_its_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LANGUAGE_OF_THE_USER", "kept")
    names = ("FOUNTAIN_PATH", "FOUNTAIN_NAME", "FOUNTAIN_OBJECT_ID", "FOUNTAIN_DIGEST", "LANGUAGE_OF_THE_USER")
    told = tmp_path / "told"
    code = f"import os; open({str(told)!r}, 'wb').write(b'|'.join(os.environb[name.encode()] for name in {names}))"
    assert run(python(code), Path("object")) == 0
    expected = [str(tmp_path / "object"), NAME, "ab" * 32, "cd" * 32, "kept"]
    assert told.read_bytes() == "|".join(expected).encode()


def test_a_name_is_no_part_of_the_command(tmp_path: Path) -> None:
    told = tmp_path / "told"
    assert run(f'printf %s "$FOUNTAIN_NAME" > {shlex.quote(str(told))}') == 0
    assert told.read_text(encoding="utf-8") == NAME


@pytest.mark.parametrize("status", [0, 1, 127, 255])
def test_the_exit_status_is_reported(status: int) -> None:
    assert run(f"exit {status}") == status


def test_a_signal_is_reported_as_a_negative_status() -> None:
    assert run("kill -9 $$") == -9


def test_a_hook_that_runs_has_no_status_yet(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    started = Hook(f"cat {shlex.quote(str(gate))}", tmp_path, name="", object_id="", digest="")
    assert started.poll() is None
    gate.write_bytes(b"")
    assert started._process is not None
    assert started._process.wait(60) == 0
    assert started.poll() == 0


def test_where_there_is_no_shell_the_status_is_that_of_a_missing_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(hook.subprocess, "Popen", refuse)
    started = Hook("true", Path("object"), name="", object_id="", digest="")
    assert started.poll() == 127
    started.close()


def test_it_reads_nothing_and_writes_to_stderr_alone() -> None:
    code = (
        "from pathlib import Path; from fountain.engine.receiving.hook import Hook; "
        "hook = Hook('cat; echo written', Path('x'), name='', object_id='', digest=''); hook._process.wait(60)"
    )
    ended = subprocess.run([sys.executable, "-c", code], input=b"typed", capture_output=True, timeout=120, check=True)
    assert ended.stdout == b""
    assert ended.stderr == b"written\n"


def test_a_hook_outlives_the_listener_and_its_interrupt(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    # The listener interrupts its whole group of processes, as a terminal does, and ends.
    code = (
        "import os, signal, time; from pathlib import Path; from fountain.engine.receiving.hook import Hook; "
        f"hook = Hook('sleep 0.3; echo on > {shlex.quote(str(told))}', Path('x'), name='', object_id='', digest=''); "
        "hook.close(); os.killpg(0, signal.SIGINT); time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stderr=subprocess.DEVNULL) as listener:
        assert told.read_text() == "on\n"
        assert listener.wait(60) != 0
