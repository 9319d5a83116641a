"""No argument, name, environment or limit of memory ends a command with a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
SERVE = (sys.executable, "-m", "fountain", "serve", "--bind", "127.0.0.1", "--port", "0", "--idle-exit", "0.01")
STATUSES = {0, 2, 3, 4, 5, 6, 7, 8, 130}

# Nothing is refused for these, so that one run may have them all.
LOCALE = {"LC_ALL": "no_SUCH.locale", "LANG": "\udce9"}
PLACES = {"HOME": "/nonexistent", "XDG_CACHE_HOME": "relative", "TMPDIR": "/nonexistent"}
TERMINAL = {"TERM": "", "COLUMNS": "-5", "LINES": "x"}
COMPILES = pytest.mark.slow  # every kernel, and looks for no cache: one such case is in every run
VARIABLES = [
    {"NUMBA_DISABLE_JIT": "1"},
    pytest.param({"NUMBA_CPU_NAME": "no-such-processor"}, marks=COMPILES),
    pytest.param({"NUMBA_CPU_NAME": "\udce9"}, marks=pytest.mark.slow),
    pytest.param({"NUMBA_CPU_FEATURES": "x"}, marks=pytest.mark.slow),
    pytest.param({"NUMBA_NUM_THREADS": "many"}, marks=pytest.mark.slow),
    {"NUMBA_CACHE_DIR": "/dev/null/below"},
    {"FOUNTAIN_SIMD": "mmx"},
    pytest.param(
        {"PYTHONIOENCODING": "ascii", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        marks=pytest.mark.slow,
    ),
    {"PYTHONIOENCODING": "utf-16", **LOCALE, **PLACES, **TERMINAL},
    *(
        pytest.param(some, marks=pytest.mark.slow)
        for some in ({"PYTHONIOENCODING": "utf-16"}, LOCALE, PLACES, TERMINAL)
    ),
    {"PYTHONWARNINGS": "error"},
    pytest.param({"PYTHONOPTIMIZE": "2", "PYTHONDEVMODE": "1"}, marks=COMPILES),
]


NAMES = (
    "NUMBA_DISABLE_JIT", "NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_NUM_THREADS", "NUMBA_CACHE_DIR", "NUMBA_OPT",
    "NUMBA_DEBUG", "NUMBA_BOUNDSCHECK", "NUMBA_THREADING_LAYER", "FOUNTAIN_SIMD", "HOME", "XDG_CACHE_HOME", "TMPDIR",
    "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "LANG", "LC_ALL", "PYTHONUTF8", "PYTHONIOENCODING",
    "PYTHONWARNINGS", "PYTHONOPTIMIZE", "PYTHONDEVMODE", "PYTHONUNBUFFERED", "PYTHONHASHSEED", "TZ", "PATH",
)  # fmt: skip
VALUES = ("", "0", "1", "-1", "99999999999999999999", "x", "/nonexistent", "/dev/null", "\udce9", "ascii", "a" * 3000)
# Python itself refuses other values of these before any line of ours runs.
OWN_VALUES = {
    "PYTHONUTF8": ("0", "1"),
    "PYTHONHASHSEED": ("0", "1"),
    "PYTHONIOENCODING": ("ascii", "latin-1", "utf-16"),
}


def environments() -> st.SearchStrategy[dict[str, str]]:
    """Up to four variables with values that nobody would give them."""
    one = st.sampled_from(NAMES).flatmap(
        lambda name: st.tuples(st.just(name), st.sampled_from(OWN_VALUES.get(name, VALUES)))
    )
    return st.lists(one, min_size=1, max_size=4).map(dict)


def check_environment(variables: dict[str, str], place: Path) -> None:
    """Both commands end with a status, and without a traceback."""
    (place / "bäume").write_bytes(b"content")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    closed_port = ("--port", "9", "--timeout", "0.2", "127.0.0.1")
    for command in ([*SERVE, "bäume"], [sys.executable, "-m", "fountain", "fetch", *closed_port]):
        done = subprocess.run(command, cwd=place, env=environment, capture_output=True, check=False, timeout=120)
        assert done.returncode in STATUSES, (variables, done.stderr)
        assert b"Traceback" not in done.stderr, (variables, done.stderr)


def odd_draws(count: int, seed: int) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "tests.cli.odd_arguments", str(count), str(seed)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=3000, check=False)


@pytest.mark.root("ip")
def test_no_argument_ends_with_a_traceback(seed: int) -> None:
    done = odd_draws(100, seed)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.root("ip")
def test_none_of_ten_thousand_arguments_ends_with_a_traceback(seed: int) -> None:
    done = odd_draws(10_000, seed)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("variables", VARIABLES, ids=lambda variables: " ".join(variables))
def test_no_environment_ends_with_a_traceback(variables: dict[str, str], tmp_path: Path) -> None:
    check_environment(variables, tmp_path)


@pytest.mark.slow
@pytest.mark.timeout(3000)
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(environments())
def test_no_drawn_environment_ends_with_a_traceback(tmp_path: Path, variables: dict[str, str]) -> None:
    check_environment(variables, tmp_path)


@settings(max_examples=2, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(environments())
def test_few_drawn_environments_end_with_no_traceback(tmp_path: Path, variables: dict[str, str]) -> None:
    check_environment(variables, tmp_path)


def test_a_compiler_that_is_switched_off_is_said(tmp_path: Path) -> None:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": "1"}
    done = subprocess.run(
        [*SERVE, "pyproject.toml"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 6
    assert "NUMBA_DISABLE_JIT is set" in done.stderr.splitlines()[0]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
@pytest.mark.parametrize("count", [8, 14, 63])
def test_too_few_open_files_are_reported_as_that(count: int) -> None:
    command = f"ulimit -n {count}; exec {' '.join(SERVE)} pyproject.toml"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 6
    assert "Traceback" not in done.stderr
    assert "ulimit -n 64" in done.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_AS is kept by Linux")
@pytest.mark.parametrize("size_kb", [300_000, 600_000])
def test_too_little_address_space_is_said(size_kb: int) -> None:
    command = f"ulimit -v {size_kb}; exec {' '.join(SERVE)} pyproject.toml"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 6
    assert "There is not enough memory" in done.stderr
    assert f"ulimit -v {(1 << 30) // 1024}" in done.stderr
