"""Any history of writes, commits, kills and power failures ends with the object and counts no missing block."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.storage.support import blocks_of, crash, finish_rest, leftovers, open_part, serve, snapshot, write_tree

ROOT = Path(__file__).resolve().parents[2]

# --- kill -9 -----------------------------------------------------------------------------------------------

WRITER = """
import os, random, sys, time
from pathlib import Path
import numpy as np
from fountain.storage.part import Part
from fountain.storage.source import open_source
source = open_source(sys.argv[1], symbol_size=1024, block_symbol_limit=64, profile_id=b"RQ6330\\0\\1")
part = Part.open(Path(sys.argv[2]), source.object_id, source.name, source.geometry.object_size, overwrite=False)
part.set_manifest(source.manifest_bytes)
scratch = np.empty(64 * 1024, dtype=np.uint8)
order = np.flatnonzero(~part.verified).tolist()
random.Random(int(sys.argv[3])).shuffle(order)
os.write(1, b"begin\\n")
for number, index in enumerate(order):
    assert part.write_block(index, source.read_block(index, scratch))
    os.write(1, b"%d\\n" % index)
    if number % 50 == 49:
        part.commit()
    if number == 74:
        time.sleep(600)  # It is killed now, however late that comes: six such runs leave something to do.
"""


def test_a_killed_process_loses_no_block_that_it_had_written(tmp_path: Path, rng: random.Random) -> None:
    path, copy = tmp_path / "file", tmp_path / "copy"
    path.write_bytes(rng.randbytes(30_000_000))
    with serve(path, 1024, 64) as source:
        written: set[int] = set()
        for attempt in range(6):
            command = [sys.executable, "-c", WRITER, str(path), str(copy), str(attempt)]
            with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
                assert process.stdout is not None
                assert process.stdout.readline() == b"begin\n"
                for _ in range(rng.randrange(10, 70)):
                    written.add(int(process.stdout.readline()))
                process.send_signal(signal.SIGKILL)
                written |= {int(line) for line in process.stdout.read().split(b"\n")[:-1]}
            part = open_part(source, copy)
            assert set(np.flatnonzero(part.verified).tolist()) >= written
            crash(part)
        part = open_part(source, copy)
        finish_rest(source, part)
        assert copy.read_bytes() == path.read_bytes()
        assert leftovers(tmp_path) == []


# --- Any history -------------------------------------------------------------------------------------------


class PartHistory(RuleBasedStateMachine):
    """Writes, commits, kills and power failures in any order, against a set of block numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="fountain-test-"))
        self.copy = self.directory / "copy"
        rng = random.Random(6330)
        self.tree = write_tree(self.directory / "tree", {"a": 900, "b/c": 3, "b/d": 0, "e": 1500}, rng)
        self.source = serve(self.tree)
        self.rows = blocks_of(self.source)
        self.written: set[int] = set()
        self.committed: set[int] = set()

    def teardown(self) -> None:
        if not self.part._is_closed:
            crash(self.part)
        self.source.close()
        shutil.rmtree(self.directory)

    @initialize()
    def begin(self) -> None:
        self.part = open_part(self.source, self.copy)
        self.part.set_manifest(self.source.manifest_bytes)
        self.remember_the_disk()

    def remember_the_disk(self) -> None:
        """What a power failure leaves for certain: everything as of the last commit."""
        space = self.part._workspace.path
        self.synced = {place: place.read_bytes() for place in space.rglob("*") if place.is_file()}

    @rule(block=st.integers(0, 7))
    def write(self, block: int) -> None:
        assert self.part.write_block(block, self.rows[block])
        self.written.add(block)

    @rule(block=st.integers(0, 7), other=st.integers(0, 7))
    def write_wrong(self, block: int, other: int) -> None:
        wrong = self.rows[other].copy()
        wrong[0, 0] ^= 0x80
        assert not self.part.write_block(block, wrong)

    @rule()
    def commit(self) -> None:
        self.part.commit()
        self.committed = set(self.written)
        self.remember_the_disk()

    @rule()
    def close_and_resume(self) -> None:
        is_kept = bool(self.written) or self.part._is_resumed
        self.part.close()
        self.committed = set(self.written)
        self.resume(is_kept)

    @rule()
    def kill(self) -> None:
        crash(self.part)
        self.resume(True)

    @precondition(lambda self: self.written != self.committed)
    @rule(data=st.data())
    def lose_power(self, data: st.DataObject) -> None:
        """Of what was not synced, any part may have reached the disk, and the journal's last record may be torn."""
        crash(self.part)
        for place, before in self.synced.items():
            after = bytearray(place.read_bytes())
            if place.name == "state":
                after = bytearray(before + data.draw(st.binary(max_size=20)))
            else:
                for at in range(0, len(after), 64):
                    if data.draw(st.booleans()):
                        after[at : at + 64] = before[at : at + 64]
            place.write_bytes(after)
        self.written = set(self.committed)
        self.resume(True, may_find_more=True)

    def resume(self, is_kept: bool, *, may_find_more: bool = False) -> None:
        self.part = open_part(self.source, self.copy)
        assert (self.part.manifest is not None) is is_kept
        if not is_kept:
            self.part.set_manifest(self.source.manifest_bytes)
        found = set(np.flatnonzero(self.part.verified).tolist())
        if may_find_more:
            assert found >= self.written
        else:
            assert found == self.written
        self.written = self.committed = found
        self.remember_the_disk()

    @precondition(lambda self: len(self.written) == 8)
    @rule()
    def finish(self) -> None:
        self.part.finish()
        assert snapshot(self.copy) == snapshot(self.tree)
        assert leftovers(self.directory) == []
        shutil.rmtree(self.copy)
        self.written, self.committed = set(), set()
        self.begin()

    @invariant()
    def what_counts_is_what_was_written(self) -> None:
        if hasattr(self, "part"):
            assert set(np.flatnonzero(self.part.verified).tolist()) == self.written


PartHistory.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestPartHistory = PartHistory.TestCase
