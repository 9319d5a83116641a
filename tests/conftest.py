"""What all tests share: one seed that replays a failure, a kernel cache that is never stale, and skips with reasons.

`NUMBA_CACHE_DIR` must be set before numba is imported, so this module sets it when it is loaded. The directory is
named by a digest of every source file of the package that is compiled, because numba itself does not notice a change
in a jitted callee of another file: with the same sources a second run loads machine code, with others it compiles.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import random
import shutil
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parent.parent
CACHES_KEPT = 4
SEED_DEFAULT = 6330
CLONE_NEWNET = 0x40000000


def kernel_cache() -> Path:
    """The directory for machine code of exactly these sources, on exactly this interpreter and processor type."""
    digest = hashlib.blake2b(f"{sys.version} {platform.machine()}".encode(), digest_size=8)
    for path in sorted((ROOT / "fountain").rglob("*.py")):
        source = path.read_bytes()
        if b"_jit" in source or b"numba" in source:
            digest.update(str(path.relative_to(ROOT)).encode() + b"\0" + source)
    return Path(os.environ.get("FOUNTAIN_TEST_CACHE", ROOT / ".pytest_cache" / "kernels")) / digest.hexdigest()


def forget_old_caches(current: Path) -> None:
    """Remove all but the latest caches beside `current`."""
    others = sorted(
        (path for path in current.parent.iterdir() if path != current), key=lambda path: path.stat().st_mtime
    )
    for path in others[: max(0, len(others) - CACHES_KEPT)]:
        shutil.rmtree(path, ignore_errors=True)


cache = kernel_cache()
cache.mkdir(parents=True, exist_ok=True)
os.environ["NUMBA_CACHE_DIR"] = str(cache)
if "PYTEST_XDIST_WORKER" not in os.environ:
    os.utime(cache)
    forget_old_caches(cache)

# No deadline: a test never fails because a machine is slow or a kernel compiles.
settings.register_profile("fountain", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("fountain-random", deadline=None, print_blob=True)


def seed_option(text: str) -> int:
    return random.SystemRandom().getrandbits(32) if text == "random" else int(text, 0)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--seed",
        type=seed_option,
        default=SEED_DEFAULT,
        help=f"seed of everything random in the tests (default {SEED_DEFAULT}); `--seed random` draws one",
    )


def pytest_configure(config: pytest.Config) -> None:
    settings.load_profile("fountain" if config.getoption("seed") == SEED_DEFAULT else "fountain-random")


def pytest_report_header(config: pytest.Config) -> str:
    return f"seed: {config.getoption('seed')} (--seed {config.getoption('seed')} replays this run)"


# --- Randomness --------------------------------------------------------------------------------------------


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """A seed of this test's own: it depends on --seed and the test's name, not on the order in which tests run."""
    text = f"{request.config.getoption('seed')} {request.node.nodeid}"
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big")


@pytest.fixture
def rng(seed: int) -> random.Random:
    """A random source for this test, seeded by `seed`."""
    return random.Random(seed)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and call.when == "call" and "seed" in getattr(item, "fixturenames", ()):
        report.sections.append(("Replay", f"python -m pytest --seed {item.config.getoption('seed')} '{item.nodeid}'"))
    return report


# --- Tests that need root ----------------------------------------------------------------------------------


def why_no_namespaces() -> str:
    """Why this process cannot make network namespaces; empty when it can."""
    if sys.platform != "linux":
        return "network namespaces exist on Linux only"
    if os.geteuid() != 0:
        return "only root can make network namespaces"
    child = os.fork()
    if child == 0:
        os._exit(0 if ctypes.CDLL(None).unshare(CLONE_NEWNET) == 0 else 1)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
        return "this system does not let root make network namespaces"
    return ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `root("nft", ...)` where namespaces cannot be made or a named tool is missing."""
    marked = [(item, marker) for item in items for marker in item.iter_markers("root")]
    if not marked:
        return
    reason = why_no_namespaces()
    for item, marker in marked:
        missing = [tool for tool in marker.args if shutil.which(tool) is None]
        if reason or missing:
            item.add_marker(pytest.mark.skip(reason=reason or f"needs {' and '.join(missing)}"))
