"""The real commands on file systems that lack something: the object arrives, and what is lost by it is said."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from tests.storage.layer import compile_layer, needs_layer
from tests.system.conftest import Writer
from tests.system.programs import Programs

pytestmark = needs_layer


@pytest.fixture
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where faults happen to the commands that are started from now on."""
    monkeypatch.setenv("LD_PRELOAD", str(compile_layer(tmp_path)))
    place = tmp_path / "there"
    place.mkdir()
    monkeypatch.setenv("FAULT_PREFIX", str(place))
    return place


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_fetch_goes_on_without_locks_and_says_what_that_means(
    programs: Programs, write_file: Writer, there: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    path = write_file(50_000)
    server = programs.serve(path)
    monkeypatch.setenv("FAULT", f"flock:0:{code}")
    fetch = programs.fetch_plainly("-o", there, port=server.port)
    assert fetch.wait() == 0
    assert "has no locks" in fetch.err
    assert (there / path.name).read_bytes() == path.read_bytes()


def test_a_fetch_goes_on_where_the_file_system_decides_who_owns_a_file(
    programs: Programs, write_file: Writer, there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_file(20_000_000)
    server = programs.serve(path, "--rate", "60M")
    monkeypatch.setenv("FAULT", "owner:0:77")
    first = programs.fetch("-o", there, port=server.port)
    first.wait_middle()
    first.kill()
    again = programs.fetch("-o", there, port=server.port)
    assert again.wait() == 0, again.err
    assert again.event("resumed")["verified_size"] > 0
    assert (there / path.name).read_bytes() == path.read_bytes()
