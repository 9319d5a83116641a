"""Trees over loopback: they arrive whole, or both sides say how many entries were left out."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from fountain.config import FetchConfig, ServeConfig
from fountain.engine.receiving.fetch import fetch
from fountain.engine.serving.serve import serve
from fountain.errors import StorageError
from fountain.events import Event, Fetched, LeftOut, Serving, TransferProgress, TransferState, Warned

PATIENCE_S = 180  # Kernels may have to be compiled first.


class Watching:
    """Keeps the events, and notifies whoever waits when the server is there."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.port = 0
        self._is_serving = threading.Event()

    def handle(self, event: Event) -> None:
        """Keep one."""
        self.events.append(event)
        if isinstance(event, Serving):
            self.port = event.port
            self._is_serving.set()

    def of(self, kind: type[Event]) -> list[Event]:
        """Those of one kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def wait_for_port(self) -> int:
        """The control port."""
        assert self._is_serving.wait(PATIENCE_S)
        return self.port


def transfer(root: Path, out: Path) -> tuple[Watching, Watching, Fetched | None]:
    server, client, stop = Watching(), Watching(), threading.Event()
    config = ServeConfig(paths=(root,), port=0, data_port=0, bind="127.0.0.1", expect=1, skip_unportable=True)
    thread = threading.Thread(target=serve, args=(config, server, stop))
    thread.start()
    try:
        summary = fetch(
            FetchConfig(host="127.0.0.1", port=server.wait_for_port(), out=out), client, threading.Event()
        )  # fmt: skip
    finally:
        stop.set()
        thread.join(PATIENCE_S)
    return server, client, summary


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A tree with all that can travel, and two entries that cannot."""
    root = tmp_path / "tree"
    (root / "d").mkdir(parents=True)
    (root / "file").write_bytes(os.urandom(5_000))
    os.link(root / "file", root / "d" / "again")
    (root / "d" / "link").symlink_to("/outside")
    (root / "a:b").write_bytes(b"colon")
    with (root / "holes").open("wb") as stream:
        stream.truncate(1 << 20)
    for name in ("one", "two"):
        os.mkfifo(root / "d" / name)
    return root


def test_both_sides_are_notified_how_many_entries_were_left_out(root: Path, tmp_path: Path) -> None:
    server, client, _ = transfer(root, tmp_path / "copy")
    assert server.of(LeftOut) == [
        LeftOut("tree", 2, (f"{root}/d/one: a named pipe", f"{root}/d/two: a named pipe"))
    ]  # fmt: skip
    assert client.of(LeftOut) == [LeftOut("tree", 2)]
    assert [event.message for event in client.of(Warned) if isinstance(event, Warned)] == [
        "tree has 1 symbolic link to places outside of it."
    ]
    copy = tmp_path / "copy"
    assert sorted(os.listdir(copy)) == ["a:b", "d", "file", "holes"]
    assert sorted(os.listdir(copy / "d")) == ["again", "link"]
    assert os.path.samefile(copy / "file", copy / "d" / "again")
    assert os.readlink(copy / "d" / "link") == "/outside"


def test_files_of_the_summary_are_those_of_the_tree(root: Path, tmp_path: Path) -> None:
    _, client, summary = transfer(root, tmp_path / "copy")
    assert summary is not None
    paths = [path for _, path in summary.files]
    assert paths == [tmp_path / "copy" / name for name in ("a:b", "file", "holes")]
    assert summary.files[1][1] == tmp_path / "copy" / "file"
    states = {event.state for event in client.of(TransferProgress) if isinstance(event, TransferProgress)}
    assert states <= {TransferState.LISTING, TransferState.RECEIVING, TransferState.FINISHING}


def test_nothing_is_served_of_a_tree_that_cannot_travel_whole(root: Path) -> None:
    observer = Watching()
    config = ServeConfig(paths=(root,), port=0, data_port=0, bind="127.0.0.1")
    with pytest.raises(StorageError, match="2 entries that cannot be sent"):
        serve(config, observer, threading.Event())
    assert not observer.of(Serving)
