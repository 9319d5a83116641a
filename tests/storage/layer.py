"""The layer that lets system calls fail (`faults.c`), compiled for the tests that preload it."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

_SOURCE = Path(__file__).parent / "faults.c"
_COMPILER = shutil.which("gcc") or shutil.which("cc")


def _why_not() -> str:
    if not sys.platform.startswith("linux"):
        return "libraries are preloaded on Linux only"
    return "" if _COMPILER else "needs a C compiler for the layer that lets system calls fail"


needs_layer = pytest.mark.skipif(bool(_why_not()), reason=_why_not())


def compile_layer(folder: Path) -> Path:
    """The layer as a shared library in `folder`."""
    library = folder / "faults.so"
    subprocess.run([str(_COMPILER), "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"], check=True)
    return library
