"""Kernels work where numba finds no place for machine code, and nobody else's directory is ever trusted with it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fountain import _jit
from fountain._version import __version__
from fountain.codes.registry import code_by_name
from fountain.engine.runtime import kernel_facts
from fountain.engine.runtime.warmup import WarmUp
from fountain.events import Warned
from fountain.sentences import sentence
from tests.engine.keeping import KeepingObserver

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the temporary directory is the user's own there")

KERNEL = """
from fountain._jit import cache_trouble, kernel

@kernel
def add(a, b):
    return a + b

print(add(1, 2), add.stats.cache_path, cache_trouble(), sep="|")
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package whose directory takes no machine code, not even root's."""
    home = tmp_path / "site" / "fountain"
    home.mkdir(parents=True)
    for name in ("_jit.py", "_version.py"):
        shutil.copy(Path(_jit.__file__).parent / name, home)
    (home / "__init__.py").touch()
    (home / "adding.py").write_text(KERNEL)
    (home / "__pycache__").touch()
    (tmp_path / "temporary").mkdir()
    return home


def run(package: Path) -> list[str]:
    """What the kernel gave, where it is kept, and why it is not."""
    variables = {name: text for name, text in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    variables |= {"HOME": "/proc", "TMPDIR": str(package.parents[1] / "temporary"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", "import fountain.adding"]
    done = subprocess.run(command, cwd=package.parent, env=variables, capture_output=True, text=True, check=True)
    return done.stdout.rstrip("\n").split("|")


def private_directory(package: Path) -> Path:
    return package.parents[1] / "temporary" / f"fountain-{os.geteuid()}-{__version__}"


def test_without_a_place_of_its_own_the_compiler_gets_a_private_one(package: Path) -> None:
    result, place, trouble = run(package)
    assert (result, trouble) == ("3", "")
    private = private_directory(package)
    assert Path(place).parent == private
    assert private.stat().st_mode & 0o777 == 0o700
    assert list(private.rglob("*.nbi"))
    assert run(package)[1] == place


def test_a_directory_that_others_can_write_is_not_used(package: Path) -> None:
    private = private_directory(package)
    private.mkdir()
    private.chmod(0o777)
    assert run(package) == ["3", "None", f"{private} is not this user's alone"]


def test_a_link_is_not_followed(package: Path) -> None:
    private = private_directory(package)
    (private.parent / "elsewhere").mkdir(mode=0o700)
    private.symlink_to("elsewhere")
    assert run(package)[1] == "None"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_not_used(package: Path) -> None:
    private = private_directory(package)
    private.mkdir(mode=0o700)
    os.chown(private, 12_345, -1)
    assert run(package)[1] == "None"


def test_that_kernels_cannot_be_kept_is_reported_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel_facts, "cache_trouble", lambda: "no place")
    watcher = KeepingObserver()
    WarmUp(code_by_name("raptorq")).finish(watcher, threading.Event())
    (warned,) = (event for event in watcher.events if isinstance(event, Warned))
    assert warned.message == "Compiled kernels cannot be kept: no place."
    assert "NUMBA_CACHE_DIR" in warned.hint


@pytest.mark.parametrize(
    ("trouble", "compiled_count", "phrase"),
    [
        ("", 9, "loading kernels"),
        ("", 8, "compiling kernels, first run only"),
        ("no place", 0, "compiling kernels"),
    ],
)
def test_a_warm_start_does_not_claim_to_compile(
    monkeypatch: pytest.MonkeyPatch, trouble: str, compiled_count: int, phrase: str
) -> None:
    monkeypatch.setattr(kernel_facts, "cache_trouble", lambda: trouble)
    monkeypatch.setattr(kernel_facts, "count_compiled", lambda: compiled_count)
    monkeypatch.setattr(kernel_facts, "count_kernels", lambda: 9)
    assert sentence(kernel_facts.waiting_for()) == phrase
