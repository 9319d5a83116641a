"""Make each mistake of the table in a copy of the tree, and see which test finds it.

`python -m tests.mutants [NAME...]` plays those whose names begin so, or all. For each it runs the tests that the table
names, and, if all of them pass, some seeds of the chaos that the table names. It prints the test that failed, or
SURVIVED. The exit status is 1 if a mutant survived.

The copy lies in `build/mutants` and is kept, because numba's cache knows source files by their paths. The recorded
traces are left out of it: they change with everything, and say nothing of a rule.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.mutants.table import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
COPY = ROOT / "build" / "mutants"
COPIED = ("fountain", "tests", "bench", "examples", "docs", "pyproject.toml", "Makefile", "README.md", "CHANGELOG.md")
NOT_COPIED = shutil.ignore_patterns("__pycache__", "traces.txt")
CHAOS = {
    "session": "tests/world/test_chaos.py::test_the_object_arrives_whole_or_not_at_all",
    "group": "tests/world/test_group_chaos.py::test_everybody_in_a_group_gets_the_object",
}
CHAOS_SEED_COUNT = 40
SEED_DEFAULT = 6330  # of the tests
TIMEOUT_S = 240  # for one test; a mutant that hangs is found by that
RUN_TIMEOUT_S = 1_200  # for one run of pytest: what hangs so that its own time-out cannot end it
_FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - |$)", re.MULTILINE)


def copy_tree() -> None:
    """Bring the copy up to date; a file that has not changed keeps its times."""
    for name in COPIED:
        shutil.rmtree(COPY / name, ignore_errors=True)
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, COPY / name, ignore=NOT_COPIED)
        else:
            COPY.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, COPY / name)


def failing_test(arguments: list[str], *, is_kernel: bool) -> str:
    """Run pytest in the copy up to the first failure; the test that failed, or an empty string."""
    # What is compiled from a mutant goes elsewhere, so that the machine code of the sources proper stays.
    cache = COPY / ".pytest_cache" / ("mutated" if is_kernel else "kernels")
    environment = {
        **os.environ, "PYTHONPATH": str(COPY), "FOUNTAIN_TEST_CACHE": str(cache), "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--timeout={TIMEOUT_S}"]
    try:
        run = subprocess.run(
            [*command, *arguments], cwd=COPY, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S,
            check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"time ({' '.join(arguments)})"
    if run.returncode == 0:
        return ""
    if "+ Timeout +" in run.stdout + run.stderr:
        return f"time ({' '.join(arguments)})"
    failed = _FAILED.search(run.stdout)
    if failed is None or run.returncode != 1:
        raise RuntimeError(f"no test failed, none passed: pytest {' '.join(arguments)}\n{run.stdout}{run.stderr}")
    return failed[1]


def chaos_arguments(kind: str) -> list[str]:
    """What makes pytest play the first seeds of one kind of chaos."""
    return [f"{CHAOS[kind]}[{seed}]" for seed in range(SEED_DEFAULT, SEED_DEFAULT + CHAOS_SEED_COUNT)]


def killer(mutant: Mutant) -> str:
    """The test that finds a mutant in the copy; empty for none."""
    path = mutant.path(COPY)
    source, status = path.read_text(), path.stat()
    is_kernel = "_jit" in source
    path.write_text(source.replace(mutant.before, mutant.after))
    try:
        runs = [mutant.tests.split(), *(chaos_arguments(kind) for kind in mutant.chaos.split())]
        return next(filter(None, (failing_test(run, is_kernel=is_kernel) for run in runs)), "")
    finally:
        path.write_text(source)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="play those mutants whose names begin so")
    names = tuple(parser.parse_args().names)
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name.startswith(names)]
    copy_tree()
    survived_count = 0
    for mutant in chosen:
        start = time.monotonic()
        found = killer(mutant)
        verdict = f"killed by {found}" if found else "SURVIVED"
        survived_count += not found
        print(f"{mutant.name:<34} {time.monotonic() - start:5.0f} s  {verdict}", flush=True)
    print(f"{len(chosen) - survived_count} of {len(chosen)} mutants killed")
    return 1 if survived_count else 0


if __name__ == "__main__":
    sys.exit(main())
