"""Codes of other packages: found as pip leaves them, and watched, so that what they do wrong has a name."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fountain.codes import registry
from fountain.codes.api import BlockProgress, Code
from fountain.codes.guard import GuardedCode
from fountain.codes.lt import LT
from fountain.codes.raptorq import RaptorQ
from fountain.codes.registry import code_by_name, code_by_profile, missing_code_error, register
from fountain.errors import LocalError, UsageError
from fountain.limits import BLOCK_SYMBOL_COUNT_MAX

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


class Own(RaptorQ):
    """A code that works, and that tests then break in one place."""

    name = "own"
    profile_id = b"own code"


@pytest.fixture(autouse=True)
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_codes", {})


def install_example(folder: Path) -> None:
    """The packaged example as pip would leave it: the module, and metadata that names its entry point."""
    project = (EXAMPLES / "own_code_package" / "pyproject.toml").read_text(encoding="utf-8")
    name = re.search(r'^name = "([\w-]+)"$', project, re.MULTILINE)
    points = re.search(r'^\[project\.entry-points\."([\w.]+)"\]\n([\w-]+) = "([\w:]+)"$', project, re.MULTILINE)
    assert name is not None
    assert points is not None
    shutil.copy(EXAMPLES / "own_code.py", folder)
    info = folder / f"{name[1].replace('-', '_')}-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name[1]}\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[{points[1]}]\n{points[2]} = {points[3]}\n")


def test_an_installed_package_adds_its_code(tmp_path: Path) -> None:
    install_example(tmp_path)
    program = """
import numpy as np
from fountain.codes.registry import available, code_by_name, code_by_profile
assert available() == ["lt", "random-linear", "raptorq"], available()
code = code_by_profile(b"RLC-GF2a")
assert code is code_by_name("random-linear")
source = np.arange(240, dtype=np.uint8).reshape(20, 12)
esis = np.array([*range(3, 20), *range(100, 120)], dtype=np.uint32)
rows = np.empty((len(esis), 12), dtype=np.uint8)
code.encoder(source).encode(esis, rows)
decoder = code.decoder(20, 12)
slots = decoder.reserve(esis)
decoder.slab[slots] = rows
decoder.commit(esis, slots)
assert decoder.decode().need == 0
assert (decoder.slab[:20] == source).all()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{EXAMPLES.parent}"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_program_registers_a_code_without_a_package() -> None:
    register(Own())
    assert code_by_name("own") is code_by_profile(b"own code")


@pytest.mark.parametrize("name", ["raptorq", "lt", ""])
def test_built_in_names_cannot_be_taken(name: str) -> None:
    code = Own()
    code.name = name
    with pytest.raises(UsageError, match="cannot be called"):
        register(code)


@pytest.mark.parametrize(
    ("attribute", "value", "message"),
    [
        ("profile_id", "own code", "no profile_id of 8 bytes"),
        ("profile_id", b"short", "no profile_id of 8 bytes"),
        ("profile_id", LT.profile_id, "profile_id of a built-in code"),
        ("systematic", None, "whether it is systematic"),
        ("symbol_count_max", 0, "no symbol_count_max"),
        ("symbol_count_max", BLOCK_SYMBOL_COUNT_MAX + 1, "no symbol_count_max"),
        ("decoder", None, "no method decoder"),
    ],
)
def test_a_code_that_is_none_is_refused_with_the_reason(attribute: str, value: object, message: str) -> None:
    code = Own()
    setattr(code, attribute, value)
    with pytest.raises(UsageError, match=message):
        register(code)


def test_a_missing_code_is_named_as_far_as_it_can_be() -> None:
    error = missing_code_error(b"RLC-GF2a")
    assert error.message == "The server's code (profile 'RLC-GF2a', 524c432d47463261) is not installed here."
    assert "lt, raptorq" in error.hint
    assert "(profile 00ff00ff00ff00ff)" in missing_code_error(b"\x00\xff" * 4).message


def test_a_package_that_is_here_but_broken_is_named_when_a_code_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install_example(tmp_path)
    (tmp_path / "own_code.py").write_text("raise RuntimeError('on purpose')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "own_code", raising=False)
    assert code_by_profile(b"RLC-GF2a") is None
    hint = missing_code_error(b"RLC-GF2a").hint
    assert "'random-linear' could not be loaded" in hint
    assert "fountain-random-linear" in hint


# --- A guarded code -----------------------------------------------------------------------------------------

SOURCE = np.zeros((10, 8), dtype=np.uint8)
ESIS = np.arange(4, dtype=np.uint32)


def guarded(code: Code) -> GuardedCode:
    return GuardedCode(code, "own:Own of the package own-package")


def raising(*_: object) -> Any:
    raise KeyError("on purpose")


def broken_encoder(method: Callable[..., Any]) -> GuardedCode:
    code = Own()
    encoder = code.encoder(SOURCE)
    encoder.encode = method
    code.encoder = lambda source: encoder
    return guarded(code)


def broken_decoder(attribute: str, value: object) -> GuardedCode:
    code = Own()
    made = type("Broken", (type(code.decoder(10, 8)),), {attribute: value})
    code.decoder = lambda symbol_count, symbol_size, slab=None: made(symbol_count, symbol_size)
    return guarded(code)


def test_an_encoder_that_raises_is_an_error_with_its_name() -> None:
    with pytest.raises(LocalError, match=r"'own' \(own:Own of the package own-package\) is broken: encode raised Key"):
        broken_encoder(raising).encoder(SOURCE).encode(ESIS, np.empty((4, 8), dtype=np.uint8))


@pytest.mark.parametrize(
    ("method", "value"),
    [
        ("reserve", raising),
        ("reserve", lambda _, esis: [1, 2, 3, 4]),
        ("reserve", lambda _, esis: np.full(4, 10_000)),
        ("reserve", lambda own, esis: np.array([0, 1, 2, len(own.slab)])),
        ("reserve", lambda _, esis: np.full(4, -2)),
        ("reserve", lambda _, esis: np.zeros(3, dtype=np.int32)),
        ("reserve", lambda _, esis: np.zeros(4)),
        ("commit", raising),
        ("commit", lambda _, esis, slots: None),
        ("commit", lambda _, esis, slots: BlockProgress(-1, 4)),
        ("decode", raising),
        ("decode", lambda _: (1.5, 2)),
    ],
)
def test_a_decoder_that_does_nonsense_is_an_error_with_its_name(method: str, value: object) -> None:
    decoder = broken_decoder(method, value).decoder(10, 8)

    def use() -> None:
        decoder.commit(ESIS, decoder.reserve(ESIS))
        decoder.decode()

    with pytest.raises(LocalError, match=f"'own' .* is broken: {method} r"):
        use()


@pytest.mark.parametrize(
    "slab", [None, np.zeros((9, 8), dtype=np.uint8), np.zeros((40, 7), dtype=np.uint8), np.zeros((40, 8)),
             np.zeros((40, 16), dtype=np.uint8)[:, ::2]]
)  # fmt: skip
def test_a_slab_that_is_none_is_an_error(slab: object) -> None:
    class Slabless:
        def __init__(self) -> None:
            self.slab = slab

    code = Own()
    code.decoder = lambda *_: Slabless()
    with pytest.raises(LocalError, match="is broken: decoder returned a decoder whose slab"):
        guarded(code).decoder(10, 8)


def test_blocks_beyond_what_a_code_takes_never_reach_it() -> None:
    code = Own()
    code.symbol_count_max = 9
    for ask in (lambda: guarded(code).encoder(SOURCE), lambda: guarded(code).decoder(10, 8)):
        with pytest.raises(LocalError, match="at most 9 symbols, not 10"):
            ask()


def test_a_code_that_works_is_not_in_the_way_of_itself() -> None:
    code = guarded(Own())
    code.prepare(10)
    source = np.arange(80, dtype=np.uint8).reshape(10, 8)
    esis = np.arange(5, 25, dtype=np.uint32)
    rows = np.empty((20, 8), dtype=np.uint8)
    code.encoder(source).encode(esis, rows)
    decoder = code.decoder(10, 8)
    slots = decoder.reserve(esis)
    decoder.slab[slots] = rows
    assert decoder.commit(esis, slots) == decoder.progress == BlockProgress(20, 0)
    assert decoder.decode().need == 0
    assert np.array_equal(decoder.slab[:10], source)


# --- The example --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lost_share", [0.0, 0.3, 1.0])
def test_the_example_gives_blocks_back_whatever_is_lost(lost_share: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(EXAMPLES))
    monkeypatch.delitem(sys.modules, "own_code", raising=False)
    code = __import__("own_code").RandomLinear()
    random = np.random.default_rng(3)
    for count in (*range(1, 20), 100):
        source = random.integers(0, 256, (count, 9), dtype=np.uint8)
        arriving = np.flatnonzero(random.random(count) >= lost_share)
        esis = np.concatenate((arriving, np.arange(count, 3 * count + 60))).astype(np.uint32)
        rows = np.empty((len(esis), 9), dtype=np.uint8)
        code.encoder(source).encode(esis, rows)
        decoder = code.decoder(count, 9)
        while not decoder.solved:
            used = decoder.progress.have
            batch = slice(used, used + decoder.progress.need)
            slots = decoder.reserve(esis[batch])
            decoder.slab[slots] = rows[batch]
            decoder.commit(esis[batch], slots)
            decoder.decode()
        assert np.array_equal(decoder.slab[:count], source)
