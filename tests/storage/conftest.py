"""Places to write in, and the plain ways of systems that have less."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fountain.storage import files


@pytest.fixture
def public_path() -> Iterator[Path]:
    """A directory that every user can enter and read, unlike `tmp_path`."""
    path = Path(tempfile.mkdtemp(prefix="fountain-test-"))
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(params=["linux", "portable"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every test that asks for it runs twice: with all that this system offers, and with what every system has."""
    if request.param == "portable":
        monkeypatch.setattr(files, "_HAS_DIR_FD", False)
        monkeypatch.setattr(files, "_HAS_POSITIONAL_IO", False)
        monkeypatch.setattr(files, "_renameat2", lambda *_: False)
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
        monkeypatch.delattr(os, "fdatasync", raising=False)
        monkeypatch.delattr(os, "SEEK_DATA", raising=False)
    return str(request.param)
