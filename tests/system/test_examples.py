"""The examples for a fleet: the service is one that systemd takes and fountain understands, and its hook installs."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from configparser import RawConfigParser
from pathlib import Path

import pytest

from fountain.cli.fetch import fetch_parser

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SERVICE = EXAMPLES / "fountain-listen.service"
HOOK = EXAMPLES / "fountain-hook"
ID, OTHER_ID, DIGEST = "ab" * 32, "cd" * 32, "ef" * 32

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="the hook uses mv and ln as Linux has them")


def service_lines() -> dict[str, str]:
    """The settings of the service, without repeated ones."""
    parser = RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(SERVICE.read_text(encoding="utf-8").replace("\\\n", ""))
    return dict(parser["Service"])


def run_hook(home: Path, text: str, object_id: str, *, allowed: str | None = None) -> subprocess.CompletedProcess[str]:
    """Let an object come, and run the hook for it."""
    incoming = home / "incoming" / "image one.iso"
    incoming.parent.mkdir(exist_ok=True)
    incoming.write_text(text)
    if allowed is not None:
        (home / "allowed").write_text(allowed)
    variables = {
        "FOUNTAIN_HOME": str(home),
        "FOUNTAIN_ALLOWED": str(home / "allowed"),
        "FOUNTAIN_PATH": str(incoming),
        "FOUNTAIN_NAME": incoming.name,
        "FOUNTAIN_OBJECT_ID": object_id,
        "FOUNTAIN_DIGEST": DIGEST,
    }
    done = subprocess.run(
        [HOOK], env={**os.environ, **variables}, capture_output=True, text=True, timeout=60, check=False
    )
    assert not incoming.exists()
    return done


def test_the_command_of_the_service_is_one_that_the_parser_takes() -> None:
    program, *words = shlex.split(service_lines()["ExecStart"])
    assert Path(program).name == "fountain-fetch"
    options, arguments = fetch_parser().parse(words)
    assert (options["listen"], options["out"], arguments) == (True, "/var/lib/fountain/incoming", [])
    assert Path(options["hook"]).name == HOOK.name


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_finds_no_fault_in_the_service(tmp_path: Path) -> None:
    program = shlex.split(service_lines()["ExecStart"])[0]
    unit = tmp_path / SERVICE.name
    unit.write_text(SERVICE.read_text(encoding="utf-8").replace(program, "/bin/sh"))  # fountain is installed elsewhere
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_linux
def test_the_hook_keeps_every_version_and_points_to_the_latest(tmp_path: Path) -> None:
    assert run_hook(tmp_path, "one", ID).returncode == 0
    current = tmp_path / "current" / "image one.iso"
    assert current.read_text() == "one"
    assert run_hook(tmp_path, "two", OTHER_ID).returncode == 0
    assert current.read_text() == "two"
    assert (tmp_path / "installed" / ID / "image one.iso").read_text() == "one"
    assert os.listdir(current.parent) == ["image one.iso"]


@needs_linux
def test_the_hook_rejects_what_is_not_on_the_list(tmp_path: Path) -> None:
    assert run_hook(tmp_path, "good", ID, allowed=f"{DIGEST}  image one.iso\n").returncode == 0
    rejected = run_hook(tmp_path, "bad", OTHER_ID, allowed=f"{ID}  image one.iso\n")
    assert rejected.returncode == 1
    assert "image one.iso is not in" in rejected.stderr
    assert (tmp_path / "current" / "image one.iso").read_text() == "good"
    assert (tmp_path / "rejected" / OTHER_ID / "image one.iso").read_text() == "bad"
