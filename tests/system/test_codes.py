"""Codes over the real network: LT, somebody else's, and what is said when a code is missing or broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.system.conftest import Writer
from tests.system.programs import Programs, Server

ROOT = Path(__file__).resolve().parents[2]

# A code that works, as long as BREAK_IN does not name one of its methods.
PLUG_IN = """
import os
from fountain.codes.raptorq import RaptorQ

class Brittle(RaptorQ):
    name, profile_id, symbol_count_max = "brittle", b"brittle1", 100

    def encoder(self, source):
        return breaking(super().encoder(source), "encode")

    def decoder(self, symbol_count, symbol_size, slab=None):
        return breaking(super().decoder(symbol_count, symbol_size, slab), "reserve", "decode")

def breaking(coder, *methods):
    def fall(*_):
        raise ZeroDivisionError("on purpose")
    for method in methods:
        if os.environ.get("BREAK_IN") == method:
            setattr(coder, method, fall)
    return coder
"""


@pytest.fixture
def plug_in(tmp_path: Path) -> Path:
    """A folder with the plug-in as pip would leave it."""
    folder = tmp_path / "site"
    info = folder / "brittle_code-1.dist-info"
    info.mkdir(parents=True)
    (folder / "brittle_code.py").write_text(PLUG_IN)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: brittle-code\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[fountain.codes]\nbrittle = brittle_code:Brittle\n")
    return folder


Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start(tmp_path: Path, plug_in: Path) -> Iterator[Start]:
    """Starts a command that has the plug-in; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def begin(*argv: str | Path, break_in: str = "") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", "fountain", *map(str, argv)],
            env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{plug_in}", "BREAK_IN": break_in},
            cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.communicate()


def serving_port(server: subprocess.Popen[str]) -> str:
    assert server.stdout is not None
    for line in server.stdout:
        event = json.loads(line)
        if event["event"] == "serving":
            return str(event["port"])
    raise AssertionError("the server ended before it served")


def serve_brittle(start: Start, path: Path, break_in: str = "") -> tuple[subprocess.Popen[str], str]:
    options = ("--bind", "127.0.0.1", "--port", "0", "--data-port", "0", "--json", "--quiet", "--code", "brittle")
    server = start("serve", *options, path, break_in=break_in)
    return server, serving_port(server)


def test_a_file_comes_by_lt_through_loss(programs: Programs, write_file: Writer, tmp_path: Path) -> None:
    path = write_file(5_000_000)
    server: Server = programs.serve(path, "--code", "lt")
    fetch = programs.fetch("-o", tmp_path / "copy", "--loss-test", "0.1", port=server.port)
    assert fetch.wait() == 0, fetch.err
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


def test_a_tree_and_an_empty_file_come_by_lt(programs: Programs, write_file: Writer, tmp_path: Path) -> None:
    write_file(3_000, "one.bin")
    folder = write_file(0, "empty.bin").parent
    server = programs.serve(folder, "--code", "lt")
    fetch = programs.fetch("-o", tmp_path / "copy", port=server.port)
    assert fetch.wait() == 0, fetch.err
    assert (tmp_path / "copy" / "one.bin").read_bytes() == (folder / "one.bin").read_bytes()
    assert (tmp_path / "copy" / "empty.bin").read_bytes() == b""


def test_the_example_runs(tmp_path: Path) -> None:
    lines = (ROOT / "examples" / "own_code.py").read_text(encoding="utf-8").splitlines()
    assert len(lines) < 80
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "own_code.py"], cwd=ROOT, capture_output=True, text=True, timeout=200,
        env={**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Fetched(" in done.stdout


def test_an_unknown_code_is_status_2_and_lists_the_known_ones(start: Start, write_file: Writer) -> None:
    server = start("serve", "--code", "morse", write_file(1))
    _, err = server.communicate(timeout=120)
    assert server.returncode == 2
    assert "There is no code called 'morse'." in err
    assert "Installed codes: brittle, lt, raptorq." in err


def test_a_plug_in_serves_blocks_as_small_as_it_needs(start: Start, write_file: Writer, tmp_path: Path) -> None:
    path = write_file(400_000)
    _, port = serve_brittle(start, path)
    fetch = start("fetch", "127.0.0.1", "--port", port, "-o", tmp_path / "copy", "--loss-test", "0.2")
    _, err = fetch.communicate(timeout=120)
    assert fetch.returncode == 0, err
    assert (tmp_path / "copy").read_bytes() == path.read_bytes()


def test_a_code_that_the_client_lacks_is_status_7(
    start: Start, programs: Programs, write_file: Writer, tmp_path: Path
) -> None:
    _, port = serve_brittle(start, write_file(100))
    fetch = programs.fetch("-o", tmp_path / "copy", port=int(port))
    assert fetch.wait() == 7
    assert f"The server's code (profile 'brittle1', {b'brittle1'.hex()}) is not installed here." in fetch.err
    assert "Install the package that has it" in fetch.err
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("method", [pytest.param("reserve", marks=pytest.mark.slow), "decode"])
def test_a_decoder_that_raises_ends_the_fetch_with_its_name(
    method: str, start: Start, write_file: Writer, tmp_path: Path
) -> None:
    _, port = serve_brittle(start, write_file(50_000))
    fetch = start("fetch", "127.0.0.1", "--port", port, "-o", tmp_path / "copy", break_in=method)
    _, err = fetch.communicate(timeout=120)
    assert fetch.returncode == 6, err
    assert f"is broken: {method} raised ZeroDivisionError('on purpose')." in err
    assert "brittle_code:Brittle of the package brittle-code" in err
    assert "Traceback" not in err


def test_an_encoder_that_raises_ends_the_server_with_its_name(start: Start, write_file: Writer, tmp_path: Path) -> None:
    server, port = serve_brittle(start, write_file(50_000), break_in="encode")
    start("fetch", "127.0.0.1", "--port", port, "-o", tmp_path / "copy", "--loss-test", "0.5")
    _, err = server.communicate(timeout=120)
    assert server.returncode == 6, err
    assert "is broken: encode raised ZeroDivisionError('on purpose')." in err
    assert "Traceback" not in err


def test_a_package_that_cannot_be_loaded_is_status_2_with_its_name(
    start: Start, plug_in: Path, write_file: Writer
) -> None:
    (plug_in / "brittle_code.py").write_text("import no_such_module")
    server = start("serve", "--code", "brittle", write_file(1))
    _, err = server.communicate(timeout=120)
    assert server.returncode == 2
    assert "'brittle' could not be loaded from brittle_code:Brittle of the package brittle-code" in err


def test_warming_up_lt_leaves_no_kernel_to_compile() -> None:
    program = """
import sys, threading
import numpy as np
from fountain.codes.lt import LT
from fountain.events import NullObserver
from fountain.engine.runtime.warmup import WarmUp

def compiled():
    modules = [module for name, module in sys.modules.items() if name.startswith("fountain.")]
    kernels = [value for module in modules for value in vars(module).values() if hasattr(value, "signatures")]
    return {(kernel.py_func.__module__, kernel.__name__): list(kernel.signatures) for kernel in kernels}

WarmUp(LT()).finish(NullObserver(), threading.Event())
warm = compiled()
source = np.random.default_rng(1).integers(0, 256, (500, 100), dtype=np.uint8)
esis = np.arange(530, dtype=np.uint32)
rows = np.empty((530, 100), dtype=np.uint8)
LT().encoder(source).encode(esis, rows)
decoder = LT().decoder(500, 100)
slots = decoder.reserve(esis)
decoder.slab[slots] = rows
decoder.commit(esis, slots)
assert decoder.decode().need == 0
assert np.array_equal(decoder.slab[:500], source)
assert compiled() == warm
used = {name for (_, name), signatures in warm.items() if signatures}
assert {"_take_rows", "_solve", "_mark_reached"} <= used
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=250, check=False
    )
    assert done.returncode == 0, done.stderr
