"""Nothing depends on how a sentence is worded: with all of them rewritten, the commands do the same."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fountain import sentences
from fountain.cli import fetch as fetch_command
from fountain.cli import serve as serve_command
from fountain.cli.environment import Environment
from fountain.cli.streams import OutputStream
from fountain.errors import FountainError
from fountain.events import EndReason, LeaveReason, PeerReason, Warned
from fountain.protocol.session.client_events import Interruption
from fountain.sentences import Notice, sentence
from fountain.testing import payload
from fountain.wire.control import RefusalReason

PATIENCE_S = 60
WORDS = frozenset({"reason", "what", "message", "hint"})  # Fields of events that hold sentences.
SNAPSHOTS = frozenset({"preparing", "waiting", "peers_progress", "transfer_progress", "oneway_progress"})


@pytest.mark.parametrize("kind", [EndReason, Interruption, LeaveReason, Notice, PeerReason, RefusalReason])
def test_everything_has_a_sentence(kind: type) -> None:
    assert all(sentences._SENTENCES[member] for member in kind)


def test_a_sentence_has_its_fields_in_their_places_whatever_is_in_them() -> None:
    assert sentence(Notice.READING, path=Path("{a}")) == "reading {a}"
    assert sentence(PeerReason.UNFINISHED, fraction=0.37, name="not in it") == "at 37%"
    assert sentence(None) == ""


class Lines(io.StringIO):
    """A standard output of JSON events, of which somebody waits for one."""

    def __init__(self) -> None:
        super().__init__()
        self._written = threading.Condition()

    def write(self, text: str) -> int:
        with self._written:
            count = super().write(text)
            self._written.notify_all()
            return count

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.getvalue().splitlines(keepends=True) if line.endswith("\n")]

    def wait(self, name: str) -> dict[str, Any]:
        def found() -> dict[str, Any] | None:
            return next((event for event in self.events() if event["event"] == name), None)

        with self._written:
            assert self._written.wait_for(found, PATIENCE_S)
        event = found()
        assert event is not None
        return event


class Command:
    """One of the commands with --json, in this process, on a thread of its own."""

    def __init__(self, main: Callable[..., int], *argv: str | Path) -> None:
        self.lines = Lines()
        self._status = -1
        env = Environment(stdout=OutputStream(self.lines), stderr=OutputStream(io.StringIO()))
        words = [str(word) for word in ("--json", *argv)]
        self._thread = threading.Thread(target=lambda: self._run(main, words, env), daemon=True)
        self._thread.start()

    def _run(self, main: Callable[..., int], words: list[str], env: Environment) -> None:
        self._status = main(words, env)

    def ended(self) -> tuple[int, list[dict[str, Any]]]:
        """The exit status, and what happened, without snapshots, sentences, measurements and what chance gives."""
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        return self._status, [_told(event) for event in self.lines.events() if event["event"] not in SNAPSHOTS]


def _told(event: dict[str, Any]) -> dict[str, Any]:
    kept = {"event", "name", "size", "state", "status", "block_count", "is_success", "resumed_fraction", "results"}
    told = {field: value for field, value in event.items() if field in kept}
    if "results" in told:
        told["results"] = [(result["name"], result["state"]) for result in told["results"]]
    return told


def _served(path: Path, *argv: str | Path) -> Command:
    return Command(serve_command.main, "--bind", "127.0.0.1", "--port", "0", *argv, path)


def unicast_done(path: Path, place: Path) -> object:
    """A peer gets the object, and the server ends."""
    server = _served(path, "--expect", "1")
    port = server.lines.wait("serving")["port"]
    return Command(fetch_command.main, "127.0.0.1", "--port", port, "-o", place).ended(), server.ended()


def nobody_there(path: Path, place: Path) -> object:
    """A peer asks where nobody listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    return Command(fetch_command.main, "127.0.0.1", "--port", port, "-o", place, "--timeout", "2").ended()


def unicast_refused(path: Path, place: Path) -> object:
    """A peer asks for what there is not; nobody else comes."""
    server = _served(path, "--expect", "1", "--idle-exit", "3")
    port = server.lines.wait("serving")["port"]
    fetched = Command(fetch_command.main, "127.0.0.1", "none", "--port", port, "-o", place, "--timeout", "2").ended()
    return fetched, server.ended()


def group_done(path: Path, place: Path) -> object:
    """Of two receivers that are waited for one comes, and gets the object."""
    draw = random.SystemRandom()
    group = f"239.255.{draw.randrange(1, 255)}.{draw.randrange(1, 255)}"
    where = ["--group", group, "--group-port", str(draw.randrange(20_000, 30_000)), "-i", "lo"]
    fetch = Command(fetch_command.main, *where, "--wait", "-o", place)
    fetch.lines.wait("listening")
    server = Command(
        serve_command.main, *where, "--port", "0", "--wait", "2", "--wait-time", "1", "--expect", "2",
        "--idle-exit", "2", path,
    )  # fmt: skip
    return fetch.ended(), server.ended()


def _reworded(text: str) -> str:
    """Other words, which are the same for the same sentence."""
    return f"other words {zlib.crc32(text.encode())}" if text else ""


def reword(patch: pytest.MonkeyPatch) -> None:
    """Reword every sentence: of the table, and of errors and warnings, which have their words with them."""
    patch.setattr(sentences, "_SENTENCES", {what: _reworded(text) for what, text in sentences._SENTENCES.items()})
    fail, warn = FountainError.__init__, Warned.__init__

    def fail_reworded(error: FountainError, message: str, hint: str = "", **about: Any) -> None:
        fail(error, _reworded(message), _reworded(hint), **about)

    def warn_reworded(event: Warned, message: str, hint: str = "") -> None:
        warn(event, _reworded(message), _reworded(hint))

    patch.setattr(FountainError, "__init__", fail_reworded)
    patch.setattr(Warned, "__init__", warn_reworded)


@pytest.mark.parametrize("scene", [nobody_there, unicast_done, unicast_refused, group_done])
def test_with_all_sentences_rewritten_the_same_happens(
    scene: Callable[[Path, Path], object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "object"
    path.write_bytes(payload(300_000, 1))
    found = []
    for name in ("as it is", "rewritten"):
        (tmp_path / name).mkdir()
        found.append(scene(path, tmp_path / name))
        reword(monkeypatch)
    assert found[0] == found[1]
    assert os.listdir(tmp_path / "as it is") == os.listdir(tmp_path / "rewritten")
